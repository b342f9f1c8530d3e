/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The text of a refusal: builds the HTTP 429 that the kernel sends, with blanks for its numbers.
 * The one idea: the reply, and so its Content-Length, has the same length for every number. Each
 * number goes into a field of fixed width, and spaces fill the rest; an HTTP header value and JSON
 * both allow spaces at the end. Pure.
 */
#ifndef SLUICE_REPLY_TEXT_H
#define SLUICE_REPLY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "quota.h"

/*
 * Builds the template for `reason`. `model` NULL or "": the text names no model. A name that is not
 * UTF-8 is repaired, and one that is too long once escaped is cut; neither is an error. -EINVAL: no
 * such reason.
 */
int reply_text_build(struct sluice_reply *out, const char *model, enum sluice_reason reason,
		     bool no_retry);

/*
 * The template for a client that has used up a quota: it names the quota and has the RateLimit
 * fields of draft-ietf-httpapi-ratelimit-headers-10. -EINVAL unless reason is REQUEST_QUOTA or
 * TOKEN_QUOTA and the quota has that budget.
 */
int reply_text_build_quota(struct sluice_reply *out, const struct quota_def *quota,
			   enum sluice_reason reason, bool no_retry);

/*
 * The reference for what the kernel does with a template: writes the answer for a wait of
 * retry_after_ms into out (no terminating zero). Returns its length, which is reply->len; -ENOSPC
 * if size is less; -EINVAL if a number field of the template lies outside its length.
 */
int reply_text_fill(const struct sluice_reply *reply, uint32_t retry_after_ms, char *out,
		    size_t size);

#endif
