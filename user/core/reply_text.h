/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The texts of a refusal: builds the parts of the HTTP 429 that the kernel sends, with blanks for
 * its numbers. The one idea: the reply, and so its Content-Length, has the same length for every
 * number. Each number goes into a field of fixed width, and spaces fill the rest; an HTTP header
 * value and JSON both allow spaces at the end. Pure.
 */
#ifndef SLUICE_REPLY_TEXT_H
#define SLUICE_REPLY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "quota.h"
#include "service.h"

/*
 * Builds the sentence for `reason`. `model` NULL or "": it names no model. A name that is not UTF-8
 * is repaired, and one that is too long once escaped is cut; neither is an error. -EINVAL: no such
 * reason.
 */
int reply_text_build(struct sluice_reply *out, const char *model, enum sluice_reason reason);

/*
 * The sentence for a client that has used up a quota: it names the quota, and has the RateLimit
 * fields of draft-ietf-httpapi-ratelimit-headers-10. -EINVAL unless reason is REQUEST_QUOTA or
 * TOKEN_QUOTA and the quota has that budget.
 */
int reply_text_build_quota(struct sluice_reply *out, const struct quota_def *quota,
			   enum sluice_reason reason);

/*
 * Builds the head of a service's refusals to pages of its origin number `origin` (-1: of none in
 * its list), a 429 or, if `unavailable`, a 503. -EMSGSIZE: its own header lines are longer than
 * REPLY_LINES_MAX, with those for origins; *bytes, unless NULL, is their length.
 */
int reply_text_head(struct sluice_reply_head *out, const struct service_reply *reply, int origin,
		    bool unavailable, size_t *bytes);

/* Builds the form of an API. `kept`: the connection goes on after the refusal. */
void reply_text_form(struct sluice_reply_form *out, enum sluice_api api, bool unavailable,
		     bool no_retry, bool kept);

#endif
