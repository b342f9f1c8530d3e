/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Head lines and trailers, whatever they hold, split anywhere: one state machine for both
 * directions. It knows names, not their meaning: http1_headers.h has the headers that the scanners
 * read by themselves, http1_wanted.h those that a service wants.
 */
#ifndef SLUICE_HTTP1_LINE_H
#define SLUICE_HTTP1_LINE_H

#include "form_type.h"
#include "http1_wanted.h"

/*
 * At the colon after a header's name: where its value goes. r is the request (its frame is f) and
 * `wanted` the names that its service wants; both are NULL for a response.
 */
static __always_inline void http1_name_end(struct http1_frame *f, struct http1_request *r,
					   const char *wanted, __u32 *ev)
{
	f->state = HTTP1_AT_REST;
	if (!f->token_len) {
		f->header = HTTP1_HEADER_OTHER;
		if (!r)
			http1_framing_error(f, ev);
		return;
	}
	f->header = f->flags & HTTP1_TRAILER ? HTTP1_HEADER_OTHER : http1_header(f, !r);
	if (f->header == HTTP1_HEADER_OTHER) {
		if (r && !(f->flags & HTTP1_TRAILER) && http1_wanted_begin(r, wanted))
			f->header = HTTP1_HEADER_WANTED;
		return;
	}
	http1_header_begin(f, ev);
	if (r && f->header == HTTP1_HEADER_CONTENT_TYPE)
		form_type_begin(f, &r->form);
}

#define HTTP1_SIGN 8 /* where frame.token notes the sign of a Content-Length, after its value */

/* One byte of the value of a header that matters, or a run of a token in it. */
static __always_inline __u32 http1_value_step(struct http1_frame *f, const __u8 *p, __u64 left,
					      __u8 *kind, __u32 *ev)
{
	__u8 c = p[0], d;
	__u32 n;

	if (f->state == HTTP1_AT_LENGTH) {
		d = c - '0';
		if (d <= 9 && !(f->flags & HTTP1_GAP) && !(f->value >> 59)) {
			f->value = f->value * 10 + d;
			f->token_len = 1;
		} else if (c == '+' && !f->token_len && !f->token[HTTP1_SIGN]) {
			f->token[HTTP1_SIGN] = c;
		} else if ((c == ' ' || c == '\t') && (f->token_len || !f->token[HTTP1_SIGN])) {
			if (f->token_len)
				f->flags |= HTTP1_GAP;
		} else if (c == ',') {
			http1_length_end(f, ev);
			http1_token_begin(f);
		} else if (c == '\r' || c == '\n') {
			http1_length_end(f, ev);
			http1_line_end(f, c);
		} else {
			http1_framing_error(f, ev);
		}
		return 1;
	}
	n = f->flags & HTTP1_GAP ? 0 : http1_run(f, p, left, 0x20);
	if (n)
		return n;
	if (c == ' ' || (c == '\t' && http1_allows_tabs(f))) {
		if (f->token_len)
			f->flags |= HTTP1_GAP;
		return 1;
	}
	if (c == ',' || c == '\r' || c == '\n' || (c == ';' && http1_has_parameters(f))) {
		http1_element(f, kind, ev);
		http1_token_begin(f);
		if (c == ';')
			f->state = HTTP1_AT_REST;
		else if (c != ',')
			http1_line_end(f, c);
		return 1;
	}
	if (!c || c == '\t') /* a tab: only where http1_allows_tabs() does not */
		http1_framing_error(f, ev);
	f->token_len = HTTP1_TOKEN_MAX + 1; /* parameters, two words: no token that we know */
	f->flags &= ~HTTP1_GAP;
	return 1;
}

/*
 * The usual value that matters: a space and one short token. Returns how many of the `left` bytes
 * at p it took; f->state says whether more of the value is to be read.
 */
static __always_inline __u64 http1_token_line(struct http1_frame *f, const __u8 *p, __u64 left,
					      __u8 *kind, __u32 *ev)
{
	__u64 n;
	__u8 c;

	if (left < SCAN_PAD - 8 || p[0] != ' ')
		return 0;
	n = scan_opaque(1 + (__u64)http1_run(f, p + 1, left - 1, 0x20));
	n = n > 1 + HTTP1_RUN ? 1 + HTTP1_RUN : n;
	c = p[n];
	if (n > 1 && (c == '\r' || (c == ';' && http1_has_parameters(f)))) {
		http1_element(f, kind, ev);
		if (f->state != HTTP1_AT_FRAMING_ERROR)
			f->state = HTTP1_AT_REST;
	}
	return n;
}

/*
 * One step within head lines, chunk extensions or trailers: a whole line, if it is short and
 * nothing in it is unusual, and the empty line after it. Sets *head_end after the empty line.
 * Returns how many bytes it took. r and `wanted` as http1_name_end() has them.
 */
static __always_inline __u32 http1_line_step(struct http1_frame *f, struct http1_request *r,
					     const __u8 *buf, __u64 pos, __u64 stop,
					     const char *wanted, __u8 *kind, int *head_end,
					     __u32 *ev)
{
	__u64 p = pos, n;
	__u8 c;

	if (f->state == HTTP1_AT_TOKEN || f->state == HTTP1_AT_LENGTH)
		return http1_value_step(f, buf + p, stop - p, kind, ev);
	c = buf[p];
	if (f->state == HTTP1_AT_LF || f->state == HTTP1_AT_HEAD_LF) {
		if (c != '\n')
			http1_framing_error(f, ev);
		else if (f->state == HTTP1_AT_HEAD_LF)
			*head_end = 1;
		else
			f->state = HTTP1_AT_LINE;
		return 1;
	}
	if (f->state == HTTP1_AT_LINE) {
		if (c == '\r') {
			if (p + 1 < stop && buf[p + 1] == '\n') {
				*head_end = 1;
				return 2;
			}
			f->state = HTTP1_AT_HEAD_LF;
			return 1;
		}
		if (c == '\n') {
			f->flags |= HTTP1_SEVERAL_ENDS;
			*head_end = 1;
			return 1;
		}
		http1_token_begin(f);
		f->state = HTTP1_AT_NAME;
		if (r && (c == ' ' || c == '\t') && f->header == HTTP1_HEADER_OTHER)
			f->state = HTTP1_AT_REST; /* folded: more of a value that does not matter */
	}
	if (f->state == HTTP1_AT_NAME) {
		n = http1_run(f, buf + p, stop - p, 0x20);
		p = scan_clamp(p + n);
		if (p >= stop)
			return p - pos;
		c = buf[p];
		if (c != ':') {
			if (!n && r && c == ',')
				f->token_len = HTTP1_TOKEN_MAX + 1; /* no name that matters */
			else if (!n) /* a space before the colon, a folded line, no header */
				http1_framing_error(f, ev);
			return n ? n : 1;
		}
		http1_name_end(f, r, wanted, ev);
		p++;
		if (p >= stop || *ev)
			return p - pos; /* the driver acts at this very byte */
		if (f->state == HTTP1_AT_TOKEN)
			p += http1_token_line(f, buf + p, stop - p, kind, ev);
		if (f->state != HTTP1_AT_REST)
			return p - pos;
	}
	/* in the rest of a line, or in a chunk extension */
	p = scan_clamp(p);
	n = scan_control(buf + p);
	p += n;
	if (p >= stop)
		return stop - pos;
	if (n >= SCAN_PAD)
		return p - pos;
	p = scan_clamp(p);
	c = buf[p++];
	if (c == '\r') {
		if (f->state == HTTP1_AT_CHUNK_REST) {
			f->state = HTTP1_AT_CHUNK_LF;
			return p - pos;
		}
		f->state = HTTP1_AT_LF;
		if (p < stop && buf[p] == '\n') {
			f->state = HTTP1_AT_LINE;
			p++;
			if (p + 1 < stop && buf[p] == '\r' && buf[p + 1] == '\n') {
				*head_end = 1;
				p += 2;
			}
		}
	} else if ((!c && (!r || f->state == HTTP1_AT_CHUNK_REST)) ||
		   (c == '\n' && f->state == HTTP1_AT_CHUNK_REST)) {
		http1_framing_error(f, ev);
	} else if (c == '\n') {
		f->state = HTTP1_AT_LINE;
		f->flags |= HTTP1_SEVERAL_ENDS;
	}
	return p - pos;
}

/* Counts the bytes of heads and trailers: too many are a framing error. */
static __always_inline void http1_head_bytes(struct http1_frame *f, __u32 n, __u32 *ev)
{
	f->head_bytes += n;
	if (f->head_bytes > HTTP1_HEAD_MAX)
		http1_framing_error(f, ev);
}

/*
 * A version has ended. Some servers read any version after "HTTP/" as 1.1, or 0.9 as 1.0, and some
 * (gunicorn) answer with the version of the request.
 */
static __always_inline void http1_version_end(struct http1_frame *f, __u32 *ev)
{
	__u64 w = http1_word(f, 0);

	f->minor = w != scan_literal("HTTP/1.0") && w != scan_literal("HTTP/0.9");
	if ((w & 0xffffffffffULL) != scan_literal("HTTP/\0\0\0"))
		http1_framing_error(f, ev);
}

#endif
