/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A whole 429 from its parts, as the programs make it. */
#ifndef SLUICE_TESTS_REPLY_CASE_H
#define SLUICE_TESTS_REPLY_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/reply.h>

#include "core/reply_text.h"

/* Makes the 429 in text, with a zero after it. Returns its length; 0: the parts make none. */
static inline uint32_t whole_reply(uint8_t text[SLUICE_REPLY_BUFFER],
				   const struct service_reply *service, int origin,
				   const struct sluice_reply *reply, enum sluice_api api,
				   bool no_retry, bool kept, uint32_t ms)
{
	struct sluice_reply_head head;
	struct sluice_reply_form form;

	assert_int_equal(reply_text_head(&head, service, origin, false, NULL), 0);
	reply_text_form(&form, api, false, no_retry, kept);
	/* A retransmission may find the text of another refusal there. */
	memset(text, 'x', SLUICE_REPLY_BUFFER);
	return reply_make(text, &head, reply, &form, ms);
}

#endif
