/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The words of a refusal: builds the HTTP 429 that the kernel sends, with blanks where its numbers
 * go. The one idea: the length of the answer, and so its Content-Length, is the same for every
 * number, since each number is written into a field of fixed width and what is left over is padded
 * with spaces, which neither an HTTP header value nor JSON minds at its end. Pure.
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
 * UTF-8, or too long once escaped, is mended or cut; that is no error. -EINVAL: no such reason.
 */
int reply_text_build(struct sluice_reply *out, const char *model, enum sluice_reason reason,
		     bool no_retry);

/*
 * The template of a client that has used up a quota: it says which, and has the RateLimit fields of
 * draft-ietf-httpapi-ratelimit-headers-10. reason is REQUEST_QUOTA or TOKEN_QUOTA and the quota has
 * that budget, else -EINVAL.
 */
int reply_text_build_quota(struct sluice_reply *out, const struct quota_def *quota,
			   enum sluice_reason reason, bool no_retry);

/*
 * The reference for what the kernel does with a template: writes the answer for a wait of
 * retry_after_ms into out (no terminating zero). Returns its length, which is reply->len; -ENOSPC
 * if size is less; -EINVAL for a template whose places do not fit its length.
 */
int reply_text_fill(const struct sluice_reply *reply, uint32_t retry_after_ms, char *out,
		    size_t size);

#endif
