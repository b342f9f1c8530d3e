/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames HTTP/1.x requests (RFC 9112) and keeps what a limiter needs: method, target, the headers
 * that the service wants, and the model that the body names. http1.h says how a driver uses it.
 */
#ifndef SLUICE_HTTP1_REQUEST_H
#define SLUICE_HTTP1_REQUEST_H

#include "form_model.h"
#include "http1_chunk.h"
#include "http1_line.h"
#include "http1_usual.h"

/* Gets ready for the first request of a connection, or for the next one (after HTTP1_END). */
static __always_inline void http1_request_next(struct http1_request *r)
{
	__builtin_memset(r, 0, sizeof(*r));
}

/* How many bytes from here on need not be seen, 0 if the next one must be. */
static __always_inline __u64 http1_request_skippable(const struct http1_request *r)
{
	if (r->frame.state == HTTP1_AT_BODY && r->json.state == JSON_MODEL_DONE)
		return r->frame.left;
	return 0;
}

/*
 * n bytes have passed unseen: at most as many as were skippable, or bytes of a body that were lost,
 * at most frame.left. Losing bytes ends the search for the model.
 */
static __always_inline void http1_request_skipped(struct http1_request *r, __u64 n, __u32 *ev)
{
	if (r->frame.state != HTTP1_AT_BODY || !n)
		return;
	json_model_gap(&r->json);
	if (http1_body_taken(&r->frame, n)) {
		if (r->form.flags & FORM_DOUBT)
			form_unclear(&r->json);
		r->frame.state = HTTP1_AT_END;
		*ev |= HTTP1_END;
	}
}

/*
 * The next n bytes of the body, at least eight and not the last ones, were read before the bytes
 * that came now: by themselves they are of a blob. If there is none here, those bytes have hidden
 * something, and nothing that was read counts. `first` has the first eight (scan_load()); a form's
 * end in the break `last`.
 */
static __always_inline void http1_request_blob_read(struct http1_request *r, __u64 n, __u64 first,
						    __u8 last)
{
	__u64 blob = r->json.blob;

	r->frame.left -= n;
	if (r->json.state == JSON_MODEL_DONE)
		return;
	if (r->form.kind ? form_file_goes_on(&r->form, first, last)
			 : json_media_goes_on(&r->json, first))
		r->json.blob = blob + n;
	else
		json_model_rollback(&r->json);
}

/*
 * What a request of so many bytes, as far as they have come, counts for. A blob counts for
 * `blob_bytes` and not for its length, which says nothing of the tokens that it costs. If servers
 * read the body in several ways, one may take a blob for text.
 */
static __always_inline __u64 http1_request_size(const struct http1_request *r, __u64 bytes,
						__u32 blob_bytes)
{
	if (r->form.flags & (FORM_ODD | FORM_DOUBT))
		return bytes;
	return bytes - r->json.blob_bytes + (__u64)r->json.blobs * blob_bytes;
}

/* Whether a blob may end in the bytes to come. */
static __always_inline int http1_request_may_hold_blobs(const struct http1_request *r)
{
	return r->json.state != JSON_MODEL_DONE && r->form.kind != FORM_URLENCODED;
}

/* The length of a method that servers read a body with, whoever handles it; 0 for POST and others.
 */
static __always_inline __u32 http1_method_len(const struct http1_frame *f)
{
	return f->method == HTTP1_METHOD_PUT      ? 3
	       : f->method == HTTP1_METHOD_PATCH  ? 5
	       : f->method == HTTP1_METHOD_DELETE ? 6
						  : 0;
}

/*
 * The method ends. Some servers read methods without regard to case (gunicorn, werkzeug). So do we
 * for those that may be judged. HEAD and CONNECT decide how their response is framed, and are as
 * RFC 9110 9.1 has them.
 */
static __always_inline void http1_method_end(struct http1_frame *f)
{
	__u64 w = http1_word(f, 0), upper = w & ~(SCAN_ONES * 0x20);

	f->method = HTTP1_METHOD_OTHER;
	if (f->token_len > 7)
		return;
	if (upper == scan_literal("POST\0\0\0\0"))
		f->method = HTTP1_METHOD_POST;
	else if (upper == scan_literal("GET\0\0\0\0\0"))
		f->method = HTTP1_METHOD_GET;
	else if (w == scan_literal("HEAD\0\0\0\0"))
		f->method = HTTP1_METHOD_HEAD;
	else if (w == scan_literal("CONNECT\0"))
		f->method = HTTP1_METHOD_CONNECT;
	else if (upper == scan_literal("PUT\0\0\0\0\0"))
		f->method = HTTP1_METHOD_PUT;
	else if (upper == scan_literal("PATCH\0\0\0"))
		f->method = HTTP1_METHOD_PATCH;
	else if (upper == scan_literal("DELETE\0\0"))
		f->method = HTTP1_METHOD_DELETE;
	if (http1_method_len(f) && w != upper)
		f->flags |= HTTP1_SEVERAL_ENDS;
}

/* The body has ended: so has a name in a form. */
static __always_inline void http1_body_end(struct http1_request *r, __u32 *ev)
{
	if (r->form.kind || r->form.flags)
		form_model_end(&r->form, &r->json, ev);
}

#define HTTP1_HIDES_MIN 16 /* bytes of "POST / HTTP/1.1" and a line end */

/*
 * Whether the body of a request may be the next request for some servers: cpp-httplib and handlers
 * of http.server read none with GET, nor with what they answer by an error; cpp-httplib reads no
 * chunks with DELETE. POST is judged by itself.
 */
static __always_inline int http1_body_hides(const struct http1_frame *f)
{
	__u32 chunks = f->flags & HTTP1_CODING;

	if (f->method == HTTP1_METHOD_POST)
		return 0;
	if (http1_method_len(f) && !(f->flags & HTTP1_SEVERAL_ENDS))
		return chunks && f->method == HTTP1_METHOD_DELETE;
	return chunks || f->left >= HTTP1_HIDES_MIN;
}

/* The request's head, or its trailer section, has ended: what follows (RFC 9112 6.3). */
static __always_inline void http1_request_head_end(struct http1_request *r, __u32 *ev)
{
	struct http1_frame *f = &r->frame;

	if (f->flags & HTTP1_TRAILER) {
		http1_body_end(r, ev);
		f->state = HTTP1_AT_END;
		*ev |= HTTP1_END;
		return;
	}
	if (http1_body_hides(f)) {
		http1_framing_error(f, ev);
		return;
	}
	if (f->flags & HTTP1_CODING) {
		if (!(f->flags & HTTP1_CHUNKED) || !f->minor) {
			http1_framing_error(f, ev);
			return;
		}
		if (f->flags & HTTP1_LENGTH) { /* most servers ignore the length (RFC 9112 6.3) */
			f->flags &= ~HTTP1_LENGTH;
			f->flags |= HTTP1_SEVERAL_ENDS;
		}
		f->state = HTTP1_AT_CHUNK_SIZE;
		f->left = 0;
		f->token_len = 0;
	} else if (f->left) {
		if (f->method == HTTP1_METHOD_CONNECT) {
			http1_framing_error(f, ev);
			return;
		}
		f->state = HTTP1_AT_BODY;
	} else {
		f->state = HTTP1_AT_END;
		*ev |= HTTP1_END;
	}
	if (r->form.kind)
		form_begin(&r->form, &r->json);
	if (f->flags & HTTP1_ENCODED)
		json_model_gap(&r->json);
	*ev |= HTTP1_HEAD_END;
}

/* Up to eight bytes of the request target. */
static __always_inline __u32 http1_target(struct http1_request *r, const __u8 *p, __u64 left)
{
	__u64 w = scan_load(p), len = scan_opaque(r->frame.path_len);
	__u64 marks = (scan_below(w, 0x21) & SCAN_HIGHS) | scan_cut(left);
	__u64 n = marks ? scan_index(marks) : 8;

	if (len <= HTTP1_PATH_MAX - 8) {
		scan_store(r->path + len, w & scan_mask(marks));
		r->frame.path_len = len + n;
	} else if (n) {
		n = 1;
		if (len < HTTP1_PATH_MAX) {
			r->path[len] = p[0];
			r->frame.path_len = len + 1;
		} else {
			r->frame.flags |= HTTP1_PATH_CUT;
		}
	}
	return n;
}

/*
 * The usual request line, with a target of up to 40 bytes, where the window has all of it. Returns
 * how many bytes it took; 0 if it is anything else, and then only r->path may have been written.
 */
static __always_inline __u64 http1_request_line(struct http1_request *r, const __u8 *buf, __u64 pos,
						__u64 left)
{
	struct http1_frame *f = &r->frame;
	__u64 p = pos, w = scan_load(buf + p), marks = 0, n = 0;
	__u8 method;

	if (left < SCAN_PAD)
		return 0;
	if ((w & 0xffffffffffULL) == scan_literal("POST \0\0\0")) {
		method = HTTP1_METHOD_POST;
		p += 5;
	} else if ((w & 0xffffffffULL) == scan_literal("GET \0\0\0\0")) {
		method = HTTP1_METHOD_GET;
		p += 4;
	} else {
		return 0;
	}
	p = scan_clamp(p);
	SCAN_UNROLL
	for (int k = 0; k < 40; k += 8) {
		w = scan_load(buf + p + k);
		marks = scan_below(w, 0x21) & SCAN_HIGHS;
		scan_store(r->path + k, w & scan_mask(marks));
		if (marks) {
			n = k + scan_index(marks);
			break;
		}
	}
	n = scan_forget(n, w);
	p = scan_clamp(p + n);
	if (!marks || !n || buf[p] != ' ' || scan_load(buf + p + 1) != scan_literal("HTTP/1.1") ||
	    buf[p + 9] != '\r' || buf[p + 10] != '\n')
		return 0;
	f->method = method;
	f->path_len = n;
	f->minor = 1;
	f->flags |= HTTP1_READABLE;
	f->state = HTTP1_AT_LINE;
	return p + 11 - pos;
}

/* What Python's str.split() takes for a space in a line: http.server splits the request line so. */
static __always_inline int http1_space(__u8 c)
{
	return c == ' ' || (c >= '\t' && c <= '\f' && c != '\n') || (c >= 0x1c && c <= 0x1f);
}

/*
 * The version of a request has ended. llhttp (node, uvicorn, aiohttp) serves RTSP/1.0 and ICE/1.0,
 * too. cpp-httplib answers a request line that is not exact with an error.
 */
static __always_inline void http1_request_version_end(struct http1_frame *f, __u32 *ev)
{
	__u64 w = http1_word(f, 0);
	__u32 len = http1_method_len(f);

	http1_version_end(f, ev);
	if (f->token_len || f->method != HTTP1_METHOD_OTHER)
		f->flags |= HTTP1_READABLE;
	if (len && (f->head_bytes != len + f->path_len + sizeof("  HTTP/1.1") - 1 ||
		    f->flags & HTTP1_PATH_CUT ||
		    (w != scan_literal("HTTP/1.1") && w != scan_literal("HTTP/1.0"))))
		f->flags |= HTTP1_SEVERAL_ENDS;
}

/*
 * One step within the request line. Servers read HTTP/0.9 where the version is missing, and no two
 * agree on control characters in a target. Tornado and Twisted take any character in a method.
 */
static __always_inline __u32 http1_request_line_step(struct http1_request *r, const __u8 *p,
						     __u64 left, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	__u8 c = p[0];
	__u32 n;

	switch (f->state) {
	case HTTP1_AT_START:
		if (c == '\r' || c == '\n' || http1_space(c))
			return 1;
		f->state = HTTP1_AT_METHOD;
		/* fall through */
	case HTTP1_AT_METHOD:
		n = http1_run(f, p, left, 0);
		if (n)
			return n;
		if (http1_word(f, 0) & SCAN_HIGHS & ~0xffffffULL)
			f->flags |= HTTP1_READABLE; /* http.server takes U+00A0 for a space */
		if (c == '\r' || c == '\n')
			break;
		if (!http1_space(c)) {
			f->token_len = HTTP1_TOKEN_MAX + 1;
			return 1;
		}
		http1_method_end(f);
		f->state = HTTP1_AT_TARGET_GAP;
		return 1;
	case HTTP1_AT_TARGET_GAP:
		if (http1_space(c))
			return 1;
		f->state = HTTP1_AT_TARGET;
		/* fall through */
	case HTTP1_AT_TARGET:
		n = http1_target(r, p, left);
		if (n)
			return n;
		if (c != ' ' && (f->method != HTTP1_METHOD_OTHER || (c != '\r' && c != '\n')))
			f->flags |= HTTP1_READABLE;
		if (!http1_space(c))
			break;
		f->state = HTTP1_AT_VERSION_GAP;
		return 1;
	case HTTP1_AT_VERSION_GAP:
		if (http1_space(c))
			return 1;
		http1_token_begin(f);
		f->state = HTTP1_AT_VERSION;
		/* fall through */
	case HTTP1_AT_VERSION:
		n = f->flags & HTTP1_GAP ? 0 : http1_run(f, p, left, 0);
		if (n)
			return n;
		if (http1_space(c)) {
			f->flags |= HTTP1_GAP;
			return 1;
		}
		if (c != '\r' && c != '\n')
			break;
		http1_request_version_end(f, ev);
		http1_line_end(f, c);
		return 1;
	}
	http1_framing_error(f, ev);
	return 1;
}

/* One step within the head, or within what frames the chunks of a body. */
static __always_inline __u32 http1_request_head_step(struct http1_request *r, const __u8 *buf,
						     __u32 pos, __u32 end, const char *wanted,
						     __u64 names,
						     const struct siphash_secret *secret, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	__u64 p = scan_clamp(pos), left;
	int head_end = 0;
	__u32 n, line = 0;
	__u8 kind;

	left = end - p;
	if (f->state >= HTTP1_AT_CHUNK_SIZE)
		return http1_chunk_step(f, buf, p, end, ev);
	if (f->state == HTTP1_AT_START) {
		line = http1_request_line(r, buf, p, left);
		p = scan_clamp(p + line);
		if (p >= end) {
			http1_head_bytes(f, line, ev);
			return line;
		}
	}
	line = scan_forget(line, left);
	if (f->state < HTTP1_AT_BODY) {
		n = http1_request_line_step(r, buf + p, left, ev);
		http1_head_bytes(f, n, ev);
		return n;
	}
	if (f->state == HTTP1_AT_LINE && !(f->flags & HTTP1_TRAILER)) {
		n = line + http1_usual_lines(f, buf, p, end, 0, names, &kind, &head_end) - p;
		if (n)
			goto taken;
	}
	if (f->state == HTTP1_AT_VALUE) {
		n = http1_wanted_step(r, buf + p, left, ev);
		http1_forget(&n, ev, left);
		http1_head_bytes(f, n, ev);
		return n;
	}
	if (f->state == HTTP1_AT_KEY) {
		p = scan_clamp(p + http1_key_run(&r->key, buf, p, end, secret));
		n = p - pos;
		if (p < end) {
			http1_key_step(r, buf[p], secret, ev);
			n++;
		}
		http1_forget(&n, ev, left);
		http1_head_bytes(f, n, ev);
		return n;
	}
	if (f->state == HTTP1_AT_TYPE) {
		n = form_type_step(f, &r->form, buf, p, end, ev);
		http1_forget(&n, ev, left);
		http1_head_bytes(f, n, ev);
		return n;
	}
	if (f->state == HTTP1_AT_FORWARDED) {
		http1_forwarded_step(r, buf[p], ev);
		http1_head_bytes(f, 1, ev);
		return 1;
	}
	n = line + http1_line_step(f, r, buf, p, end, wanted, &kind, &head_end, ev);
taken:
	http1_forget(&n, ev, left);
	if (f->state < HTTP1_AT_CHUNK_REST)
		http1_head_bytes(f, n, ev);
	if (head_end && f->state != HTTP1_AT_FRAMING_ERROR)
		http1_request_head_end(r, ev);
	return n;
}

/* n bytes of the body, or of a chunk of it, were read. */
static __always_inline void http1_request_body_read(struct http1_request *r, __u32 n, __u32 *ev)
{
	if (!http1_body_taken(&r->frame, n))
		return;
	http1_body_end(r, ev);
	r->frame.state = HTTP1_AT_END;
	*ev |= HTTP1_END;
}

/*
 * n bytes of a body were read in one way. Servers that read it in the other one find other fields:
 * in an object whose type says that it is a form, after an ampersand; in an urlencoded form, after
 * a semicolon, where some end a field.
 */
static __always_inline void http1_body_separators_end(struct http1_request *r, __u32 ev)
{
	if (r->form.flags & FORM_DOUBT && ev & HTTP1_CLOSED &&
	    (!(r->frame.flags & HTTP1_LENGTH) || r->frame.left >= 8))
		r->form.unclear = 1; /* "&model=x" fits */
}

/* One step from buf[*pos] on. Returns 1 after the last one; SCAN_BUF / SCAN_PAD are enough. */
static __always_inline int http1_body_separator(struct http1_request *r, const __u8 *buf,
						__u32 *pos, __u32 stop)
{
	__u64 p = scan_clamp(*pos);
	__u64 n = form_find(buf + p, r->form.kind ? ';' : '&', 0);

	if (n < SCAN_PAD && p + n < stop)
		r->form.unclear = 1;
	*pos = p + SCAN_PAD;
	return *pos >= stop;
}

/* Whether http1_body_separator() is to look at the bytes that a step has read. */
static __always_inline int http1_body_separates(const struct http1_request *r)
{
	return r->form.flags & FORM_DOUBT || r->form.kind == FORM_URLENCODED;
}

/* One step of the JSON scanner within the body, or a chunk of it. */
static __always_inline __u32 http1_request_json_step(struct http1_request *r, const __u8 *buf,
						     __u32 pos, __u32 end, __u32 *ev)
{
	__u64 left = end - pos;
	__u8 before = r->json.closed;
	__u32 n;

	if (left > r->frame.left)
		left = r->frame.left;
	n = json_model_step(&r->json, buf, pos, pos + left, ev);
	http1_forget(&n, ev, left);
	if (r->form.kind)
		return n;
	http1_request_body_read(r, n, ev);
	if (r->json.closed && !before && !(*ev & HTTP1_END))
		*ev |= HTTP1_CLOSED;
	return n;
}

/* How many of the next bytes of a form the JSON scanner has to read first; 0: none. */
static __always_inline __u32 http1_request_beside(const struct http1_request *r, const __u8 *buf,
						  __u32 pos, __u32 end)
{
	__u64 left = end - pos;

	if (!form_beside_json(&r->form, &r->json))
		return 0;
	if (left > r->frame.left)
		left = r->frame.left;
	return form_together(&r->form, buf + scan_clamp(pos), left);
}

/* One step within a form; n: how many bytes the JSON scanner has read, if any. */
static __always_inline __u32 http1_request_form_step(struct http1_request *r, const __u8 *buf,
						     __u32 pos, __u32 end, __u32 n, __u32 *ev)
{
	__u64 left = n ? n : end - pos;

	if (left > r->frame.left)
		left = r->frame.left;
	form_json_read(&r->form, &r->json);
	n = form_model_step(&r->form, &r->json, buf, pos, pos + left, ev);
	http1_forget(&n, ev, left);
	http1_request_body_read(r, n, ev);
	return n;
}

/* One step within the body, or a chunk of it. */
static __always_inline __u32 http1_request_body_step(struct http1_request *r, const __u8 *buf,
						     __u32 pos, __u32 end, __u32 *ev)
{
	int separates = http1_body_separates(r);
	__u32 n, at = pos;

	if (!r->form.kind) {
		n = http1_request_json_step(r, buf, pos, end, ev);
	} else {
		n = http1_request_beside(r, buf, pos, end);
		if (n)
			n = http1_request_json_step(r, buf, pos, pos + n, ev);
		n = http1_request_form_step(r, buf, pos, end, n, ev);
	}
	if (separates) {
		while (!http1_body_separator(r, buf, &at, pos + n))
			;
		http1_body_separators_end(r, *ev);
	}
	return n;
}

/*
 * One step from buf[pos] on, pos < end <= SCAN_BUF, where nothing is skippable. Returns how many
 * bytes it consumed: 1 … end - pos, never past the request's end. Raises HTTP1_HEAD_END,
 * HTTP1_MODEL, HTTP1_CLOSED, HTTP1_END (then call http1_request_next) and HTTP1_FRAMING_ERROR, that
 * at each further step, too. With HTTP1_READABLE some server may read what follows the error.
 * `wanted`: see http1_wanted.h; `names` is http1_names() of it; `secret` keys the hashes of
 * http1_key.h. A driver may also choose between the two halves itself.
 */
static __always_inline __u32 http1_request_step(struct http1_request *r, const __u8 *buf, __u32 pos,
						__u32 end, const char *wanted, __u64 names,
						const struct siphash_secret *secret, __u32 *ev)
{
	return r->frame.state == HTTP1_AT_BODY
		       ? http1_request_body_step(r, buf, pos, end, ev)
		       : http1_request_head_step(r, buf, pos, end, wanted, names, secret, ev);
}

#endif
