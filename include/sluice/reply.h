/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Makes the bytes of a 429 from its three parts (abi.h) and its wait. Each part is copied whole, to
 * where the one before it ends, and so overwrites what that one had after its end. The copies have
 * a fixed size: no length decides how much is read. Parts have zeros after their ends. The same
 * code runs in BPF and in tests.
 */
#ifndef SLUICE_REPLY_H
#define SLUICE_REPLY_H

#include "abi.h"
#include "scan.h"

/* What reply_make() needs: a copy may reach past the longest reply by its own size. */
#define SLUICE_REPLY_BUFFER (SLUICE_REPLY_MAX + SLUICE_REPLY_HEAD_MAX)

/* An offset in the text that the verifier takes for one in its first SLUICE_REPLY_MAX bytes. */
static __always_inline __u64 reply_offset(__u64 at)
{
	return scan_opaque(at) & (SLUICE_REPLY_MAX - 1);
}

/* Copies `bytes` (a multiple of 8) of a part to text[at]. */
static __always_inline void reply_copy(__u8 *text, __u64 at, const char *from, __u32 bytes)
{
	text += reply_offset(at);
	SCAN_STEPS
	for (__u32 i = 0; i < bytes; i += 8)
		scan_store(text + i, scan_load(from + i));
}

/* Writes n in decimal to `at`, returns its digits, 1 … SLUICE_NUMBER_WIDTH. */
static __always_inline __u32 write_number(__u8 *at, __u32 n)
{
	__u32 digits = 1, power = 10;

	SCAN_UNROLL
	for (int i = 0; i < SLUICE_NUMBER_WIDTH - 1; i++) {
		digits += n >= power;
		power *= 10;
	}
	for (int i = SLUICE_NUMBER_WIDTH - 1; i >= 0; i--) {
		if (i < (int)digits) {
			at[i] = '0' + n % 10;
			n /= 10;
		}
	}
	return digits;
}

static __always_inline __u32 reply_number(__u8 *text, __u64 at, __u32 n)
{
	return write_number(text + reply_offset(at), n);
}

/* A wait of ms as whole seconds, rounded up, at least 1. */
static __always_inline __u32 reply_seconds(__u32 ms)
{
	__u32 s = ms / 1000 + (ms % 1000 != 0);

	return s ? s : 1;
}

/*
 * Makes the 429 in text[SLUICE_REPLY_BUFFER], with zeros after it up to SLUICE_REPLY_MAX. Returns
 * its length in bytes; 0 if the parts do not make a reply of less than that.
 */
static __always_inline __u32 reply_make(__u8 *text, const struct sluice_reply_head *head,
					const struct sluice_reply *reply,
					const struct sluice_reply_form *form, __u32 retry_after_ms)
{
	__u32 fields_at = head->len, open_at = fields_at + reply->fields_len;
	__u32 sentence_at = open_at + form->len, message_at = sentence_at + reply->len;
	__u32 len = message_at + SLUICE_NUMBER_WIDTH + SLUICE_REPLY_TAIL_MAX;
	__u32 body = len - open_at - form->body_at, seconds = reply_seconds(retry_after_ms);

	if (len >= SLUICE_REPLY_MAX || body < 100 || body > 999)
		return 0;
	SCAN_STEPS
	for (__u32 i = SLUICE_REPLY_HEAD_MAX; i < SLUICE_REPLY_MAX; i += 8)
		scan_store(text + i, 0);
	reply_copy(text, 0, head->text, SLUICE_REPLY_HEAD_MAX);
	reply_copy(text, fields_at, reply->fields, SLUICE_REPLY_FIELDS_MAX);
	reply_copy(text, open_at, form->open, SLUICE_REPLY_OPEN_MAX);
	reply_copy(text, sentence_at, reply->sentence, SLUICE_SENTENCE_MAX);
	reply_number(text, head->length_at, body);
	reply_number(text, head->seconds_at, seconds);
	reply_number(text, head->ms_at, retry_after_ms);
	if (reply->reset_at)
		reply_number(text, fields_at + reply->reset_at, seconds);
	message_at += reply_number(text, message_at, seconds);
	reply_copy(text, message_at, form->tail, sizeof(form->tail));
	text += reply_offset(len);
	scan_store(text, 0); /* the tail may reach SLUICE_REPLY_AFTER bytes further */
	scan_store(text + 8, 0);
	return len;
}

#endif
