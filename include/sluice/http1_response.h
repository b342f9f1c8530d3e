/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames HTTP/1.x responses (RFC 9112) and counts the generated events of a stream. http1.h says
 * how a driver uses it.
 */
#ifndef SLUICE_HTTP1_RESPONSE_H
#define SLUICE_HTTP1_RESPONSE_H

#include <stddef.h>

#include "http1_chunk.h"
#include "http1_line.h"
#include "http1_usual.h"
#include "stream.h"

/* Gets ready for the response to a request of this method. */
static __always_inline void http1_response_begin(struct http1_response *r, __u8 method)
{
	__builtin_memset(r, 0, sizeof(*r));
	r->frame.method = method;
}

/* As http1_request_skippable. */
static __always_inline __u64 http1_response_skippable(const struct http1_response *r)
{
	const struct http1_frame *f = &r->frame;

	if (f->state == HTTP1_AT_BODY && (f->flags & HTTP1_BEGUN) &&
	    (r->stream.kind == STREAM_NONE ||
	     (r->stream.kind == STREAM_ENCODED && (f->flags & HTTP1_CHUNK_COUNTED))))
		return f->left;
	return f->state >= HTTP1_AT_FRAMING_ERROR ? HTTP1_UNBOUNDED : 0;
}

static __always_inline void http1_response_end(struct http1_response *r, __u32 *ev)
{
	r->frame.state = HTTP1_AT_END;
	stream_end(&r->stream, ev);
	*ev |= HTTP1_END;
}

/* As http1_request_skipped. Losing bytes of a stream may leave an event uncounted. */
static __always_inline void http1_response_skipped(struct http1_response *r, __u64 n, __u32 *ev)
{
	if (r->frame.state == HTTP1_AT_BODY && http1_body_taken(&r->frame, n))
		http1_response_end(r, ev);
}

/*
 * The server has closed its side: HTTP1_END if that ends the response, HTTP1_FRAMING_ERROR if it
 * breaks it off.
 */
static __always_inline void http1_response_closed(struct http1_response *r, __u32 *ev)
{
	if (r->frame.state == HTTP1_AT_BODY && r->frame.left == HTTP1_UNBOUNDED)
		http1_response_end(r, ev);
	else if (r->frame.state != HTTP1_AT_END && r->frame.state < HTTP1_AT_FRAMING_ERROR)
		http1_framing_error(&r->frame, ev);
}

/* The response's head, or its trailer section, has ended: what follows (RFC 9112 6.3). */
static __always_inline void http1_response_head_end(struct http1_response *r, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	__u16 status = f->status;

	if (f->flags & HTTP1_TRAILER) {
		http1_response_end(r, ev);
		return;
	}
	if (status == 101 || (f->method == HTTP1_METHOD_CONNECT && status >= 200 && status < 300)) {
		f->state = HTTP1_AT_TUNNEL;
		*ev |= HTTP1_HEAD_END | HTTP1_UPGRADED;
		return;
	}
	if (status < 200) {
		f->state = HTTP1_AT_START;
		f->flags = 0;
		f->left = 0;
		f->head_bytes = 0;
		r->stream.kind = STREAM_NONE;
		*ev |= HTTP1_INTERIM;
		return;
	}
	if (f->method == HTTP1_METHOD_HEAD || status == 204 || status == 304) {
		f->left = 0;
		f->state = HTTP1_AT_END;
		*ev |= HTTP1_HEAD_END | HTTP1_END;
		return;
	}
	if ((f->flags & HTTP1_CODING) && ((f->flags & HTTP1_LENGTH) || !f->minor)) {
		http1_framing_error(f, ev);
		return;
	}
	*ev |= HTTP1_HEAD_END;
	if ((f->flags & HTTP1_ENCODED) && r->stream.kind)
		r->stream.kind = STREAM_ENCODED;
	if (f->flags & HTTP1_CHUNKED) {
		f->state = HTTP1_AT_CHUNK_SIZE;
		f->left = 0;
		f->token_len = 0;
	} else if (f->flags & HTTP1_LENGTH) {
		f->state = HTTP1_AT_BODY;
		if (!f->left) {
			f->state = HTTP1_AT_END;
			*ev |= HTTP1_END;
		}
	} else {
		f->state = HTTP1_AT_BODY;
		f->left = HTTP1_UNBOUNDED;
	}
}

/*
 * The usual status line, "HTTP/1.1 200 OK", or all of it before a longer reason. Returns how many
 * bytes it took; 0 if it is anything else.
 */
static __always_inline __u64 http1_status_line(struct http1_frame *f, const __u8 *p, __u64 left)
{
	__u8 hundreds = p[9] - '0', tens = p[10] - '0', ones = p[11] - '0';
	__u64 reason = scan_load(p + 13), n = 0;

	if (left < 24 || scan_load(p) != scan_literal("HTTP/1.1") || p[8] != ' ' || p[12] != ' ' ||
	    !hundreds || hundreds > 9 || tens > 9 || ones > 9)
		return 0;
	f->minor = 1;
	f->status = hundreds * 100 + tens * 10 + ones;
	f->state = HTTP1_AT_REST;
	n = scan_below(reason, 0x20) & SCAN_HIGHS;
	n = n ? scan_index(n) : 7;
	if ((reason >> 8 * n & 0xffff) != ('\r' | '\n' << 8))
		return 13;
	f->state = HTTP1_AT_LINE;
	return 13 + n + 2;
}

/* One step within the status line. */
static __always_inline __u32 http1_status_line_step(struct http1_frame *f, const __u8 *p,
						    __u64 left, __u32 *ev)
{
	__u8 c = p[0], d;
	__u32 n;

	switch (f->state) {
	case HTTP1_AT_START:
		http1_token_begin(f);
		f->state = HTTP1_AT_VERSION;
		f->status = 0;
		/* fall through */
	case HTTP1_AT_VERSION:
		n = http1_run(f, p, left, 0);
		if (n)
			return n;
		if (c != ' ')
			break;
		f->state = HTTP1_AT_STATUS;
		http1_version_end(f, ev);
		f->token_len = 0;
		return 1;
	case HTTP1_AT_STATUS:
		d = c - '0';
		if (d <= 9 && f->token_len < 3) {
			f->status = f->status * 10 + d;
			f->token_len++;
			return 1;
		}
		if (f->token_len != 3 || f->status < 100)
			break;
		if (c == ' ')
			f->state = HTTP1_AT_REST;
		else if (c == '\r' || c == '\n')
			http1_line_end(f, c);
		else
			break;
		return 1;
	}
	http1_framing_error(f, ev);
	return 1;
}

/* The first byte of a response's body. */
static __always_inline void http1_response_body_begin(struct http1_frame *f, __u32 *ev)
{
	if (!(f->flags & HTTP1_BEGUN)) {
		f->flags |= HTTP1_BEGUN;
		*ev |= HTTP1_BODY_BEGIN;
	}
}

#define HTTP1_BLANKS (1ULL << '\n' | 1ULL << '\r' | 1ULL << ' ' | 1ULL << '\t')

/* Whether c comes before a plain body in chunks, and means nothing: some servers (DeepSeek's) send
 * blank lines until it is ready. */
static __always_inline int http1_response_blank(const struct http1_response *r, __u8 c)
{
	return c < 64 && HTTP1_BLANKS >> (c & 63) & 1 && r->frame.flags & HTTP1_CHUNKED &&
	       !(r->frame.flags & HTTP1_BEGUN) && r->stream.kind == STREAM_NONE;
}

/*
 * In a body of which nothing is read: passes `left` bytes of it (not 0), or as many as it has.
 * Returns how many.
 */
static __always_inline __u32 http1_response_unread(struct http1_response *r, __u32 left, __u32 *ev)
{
	if (left > r->frame.left)
		left = r->frame.left;
	http1_response_body_begin(&r->frame, ev);
	http1_response_skipped(r, left, ev);
	return left;
}

/* One step within the body, or a chunk of it; as http1_response_step. */
static __always_inline __u32 http1_response_body_step(struct http1_response *r, const __u8 *buf,
						      __u32 pos, __u32 end, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	struct stream *s = &r->stream;
	__u64 p = scan_clamp(pos), left = end - p;
	__u32 n;

	if (left > f->left)
		left = f->left;
	if (http1_response_blank(r, buf[p]))
		left = 1;
	else
		http1_response_body_begin(f, ev);
	left = scan_forget(left, p);
	n = left;
	*ev = scan_forget(*ev, left); /* see http1_forget */
	if (s->kind == STREAM_SSE || s->kind == STREAM_NDJSON) {
		n = stream_step(s, buf, p, p + left, ev);
	} else if (s->kind == STREAM_ENCODED && !(f->flags & HTTP1_CHUNK_COUNTED)) {
		f->flags |= HTTP1_CHUNK_COUNTED;
		*ev |= STREAM_EVENT_BEGIN;
		stream_count(s, ev);
	}
	http1_forget(&n, ev, left);
	if (http1_body_taken(f, n))
		http1_response_end(r, ev);
	return n;
}

/* One step within the head, a chunk's extension or the trailers; as http1_response_step. */
static __always_inline __u32 http1_response_head_step(struct http1_response *r, const __u8 *buf,
						      __u32 pos, __u32 end, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	__u64 p = scan_clamp(pos), left = end - p;
	int head_end = 0;
	__u32 n, line = 0;

	if (f->state == HTTP1_AT_START) {
		line = http1_status_line(f, buf + p, left);
		p = scan_clamp(p + line);
	}
	line = scan_forget(line, left);
	if (f->state < HTTP1_AT_BODY) {
		n = http1_status_line_step(f, buf + p, left, ev);
		http1_head_bytes(f, n, ev);
		return n;
	}
	if (f->state == HTTP1_AT_LINE && !(f->flags & HTTP1_TRAILER)) {
		n = line + http1_usual_lines(f, buf, p, end, 1, 0, &r->stream.kind, &head_end) - p;
		if (n)
			goto taken;
	}
	n = line + http1_line_step(f, NULL, buf, p, end, NULL, &r->stream.kind, &head_end, ev);
taken:
	http1_forget(&n, ev, left);
	if (f->state < HTTP1_AT_CHUNK_REST)
		http1_head_bytes(f, n, ev);
	if (head_end && f->state != HTTP1_AT_FRAMING_ERROR)
		http1_response_head_end(r, ev);
	return n;
}

/*
 * As http1_request_step. Raises HTTP1_HEAD_END, HTTP1_INTERIM, HTTP1_UPGRADED (with
 * HTTP1_HEAD_END), HTTP1_BODY_BEGIN, STREAM_EVENT_BEGIN, STREAM_GENERATED, STREAM_GUESS,
 * STREAM_ERROR, HTTP1_END and HTTP1_FRAMING_ERROR.
 */
static __always_inline __u32 http1_response_step(struct http1_response *r, const __u8 *buf,
						 __u32 pos, __u32 end, __u32 *ev)
{
	if (r->frame.state == HTTP1_AT_BODY)
		return http1_response_body_step(r, buf, pos, end, ev);
	return r->frame.state >= HTTP1_AT_CHUNK_SIZE
		       ? http1_chunk_step(&r->frame, buf, scan_clamp(pos), end, ev)
		       : http1_response_head_step(r, buf, pos, end, ev);
}

#endif
