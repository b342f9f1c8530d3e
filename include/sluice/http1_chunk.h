/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Chunks of a body (RFC 9112 7.1): the lines around them, and what a body has left. Chunk
 * extensions are skipped as the rest of any line is (http1_line.h).
 */
#ifndef SLUICE_HTTP1_CHUNK_H
#define SLUICE_HTTP1_CHUNK_H

#include "http1_headers.h"

/* The line with a chunk's size has ended. */
static __always_inline void http1_chunk_begin(struct http1_frame *f)
{
	f->state = HTTP1_AT_BODY;
	f->flags &= ~HTTP1_CHUNK_COUNTED;
	if (!f->left) {
		f->state = HTTP1_AT_LINE;
		f->header = HTTP1_HEADER_OTHER;
		f->flags |= HTTP1_TRAILER;
		f->head_bytes = 0;
	}
}

/* One byte of the lines around chunks; many readers take a LF alone for the end of one. */
static __always_inline void http1_chunk_byte(struct http1_frame *f, __u8 c, __u32 *ev)
{
	__u8 d;

	switch (f->state) {
	case HTTP1_AT_CHUNK_SIZE:
		d = scan_hex(c);
		if (d < 16 && !(f->left >> 59)) {
			f->left = f->left << 4 | d;
			f->token_len = 1;
			return;
		}
		if (!f->token_len) {
			if (c == ' ' || c == '\t')
				return;
			break;
		}
		if (c == '\r') {
			f->state = HTTP1_AT_CHUNK_LF;
			return;
		}
		if (c == '\n') {
			http1_chunk_begin(f);
			return;
		}
		if (c == ';' || c == ' ' || c == '\t') {
			f->state = HTTP1_AT_CHUNK_REST;
			return;
		}
		break;
	case HTTP1_AT_CHUNK_LF:
		if (c != '\n')
			break;
		http1_chunk_begin(f);
		return;
	case HTTP1_AT_DATA_CR:
		if (c == '\r') {
			f->state = HTTP1_AT_DATA_LF;
			return;
		}
		/* fall through */
	case HTTP1_AT_DATA_LF:
		if (c != '\n')
			break;
		f->state = HTTP1_AT_CHUNK_SIZE;
		f->token_len = 0;
		return;
	}
	http1_framing_error(f, ev); /* or stepped although the message had ended */
}

/* One step within these lines. Returns how many bytes it took. */
static __always_inline __u32 http1_chunk_step(struct http1_frame *f, const __u8 *buf, __u64 pos,
					      __u64 stop, __u32 *ev)
{
	__u64 p = pos;
	__u32 n;

	SCAN_UNROLL
	for (int k = 0; k < 8; k++) {
		http1_chunk_byte(f, buf[pos + k], ev);
		if (++p >= stop || f->state < HTTP1_AT_CHUNK_SIZE || f->state > HTTP1_AT_DATA_LF)
			break;
	}
	n = p - pos;
	http1_forget(&n, ev, scan_load(buf + pos));
	return n;
}

/* n bytes of the body were consumed. Returns 1 if the body has ended with them. */
static __always_inline int http1_body_taken(struct http1_frame *f, __u64 n)
{
	if (f->left == HTTP1_UNBOUNDED)
		return 0;
	f->left = n < f->left ? f->left - n : 0;
	if (f->left)
		return 0;
	if (!(f->flags & HTTP1_CHUNKED))
		return 1;
	f->state = HTTP1_AT_DATA_CR;
	return 0;
}

#endif
