/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Tokens: header names, methods, versions and the elements of lists, eight bytes at a time. A token
 * is collected in frame.token with zeros after it, in lower case where its case does not matter, so
 * that it compares with a literal word by word.
 */
#ifndef SLUICE_HTTP1_TOKEN_H
#define SLUICE_HTTP1_TOKEN_H

#include "http1_types.h"

#define HTTP1_RUN 24 /* bytes of a token that one step takes */

/* A framing error: from here on the ends of messages are unknown. */
static __always_inline void http1_framing_error(struct http1_frame *f, __u32 *ev)
{
	f->state = HTTP1_AT_FRAMING_ERROR;
	*ev |= HTTP1_FRAMING_ERROR;
}

/* The end of a head line; c is its CR, or a LF alone, which some servers take for no end. A framing
 * error is final. */
static __always_inline void http1_line_end(struct http1_frame *f, __u8 c)
{
	if (c == '\n')
		f->flags |= HTTP1_SEVERAL_ENDS;
	if (f->state != HTTP1_AT_FRAMING_ERROR)
		f->state = c == '\r' ? HTTP1_AT_LF : HTTP1_AT_LINE;
}

/*
 * Takes bytes of a token into f->token, HTTP1_RUN at most, in lower case if fold is 0x20. Stops
 * before white space, a control character and any of , : ;. Returns the number of bytes.
 */
static __always_inline __u32 http1_run(struct http1_frame *f, const __u8 *p, __u64 left, __u8 fold)
{
	__u64 taken = 0, w = 0;

	SCAN_UNROLL
	for (__u32 k = 0; k < HTTP1_RUN; k += 8) {
		__u64 len, n, marks, word;

		if (left <= k)
			break;
		w = scan_load(p + k);
		marks = ((scan_below(w, 0x21) | scan_equal(w, ',') |
			  scan_equal(w & ~SCAN_ONES, ':')) &
			 SCAN_HIGHS) |
			scan_cut(left - k);
		/* Before the length, which must not wait on the stack between its test and its use
		 * (6.1). */
		word = scan_opaque((w | SCAN_ONES * fold) & scan_mask(marks));
		len = scan_opaque(f->token_len);
		if (len <= HTTP1_TOKEN_MAX)
			scan_store(f->token + len, word);
		n = marks ? scan_index(marks) : 8;
		taken += n;
		len += n;
		f->token_len = len > HTTP1_TOKEN_MAX ? HTTP1_TOKEN_MAX + 1 : len;
		if (marks)
			break;
	}
	return scan_forget(taken, w);
}

/* Word i of the token under way. */
static __always_inline __u64 http1_word(const struct http1_frame *f, int i)
{
	return scan_load(f->token + 8 * i);
}

static __always_inline void http1_token_begin(struct http1_frame *f)
{
	f->token_len = 0;
	f->flags &= ~HTTP1_GAP;
	SCAN_UNROLL
	for (int i = 0; i < HTTP1_TOKEN_MAX; i += 8)
		scan_store(f->token + i, 0);
}

/*
 * Reads the token at p into four words, as http1_run() would, with zeros after it. It also stops
 * before all that is below a hyphen, which usual tokens do not have: that takes one search fewer.
 * Returns the token's length, and in *end the byte after it; 32 and 0 if the token is no shorter.
 */
static __always_inline __u64 http1_words(const __u8 *p, __u64 w[4], __u8 *end)
{
	__u64 word = 0, marks = 0, n = 32;

	*end = 0;
	w[0] = w[1] = w[2] = w[3] = 0;
	SCAN_UNROLL
	for (int k = 0; k < 4; k++) {
		word = scan_load(p + 8 * k);
		marks = (scan_below(word, '-') | scan_equal(word & ~SCAN_ONES, ':')) & SCAN_HIGHS;
		w[k] = word | SCAN_ONES * 0x20;
		if (marks) {
			w[k] &= scan_mask(marks);
			n = scan_index(marks);
			*end = word >> 8 * n;
			n += 8 * k;
			break;
		}
	}
	return scan_forget(n, word);
}

/*
 * n bytes were taken and ev was raised, and the verifier need not know by which step: else it would
 * explore the driver once for every pair of them.
 */
static __always_inline void http1_forget(__u32 *n, __u32 *ev, __u64 unknown)
{
	*n = scan_forget(*n, unknown);
	*ev = scan_forget(*ev, unknown);
}

#endif
