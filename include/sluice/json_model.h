/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finds the values of the top-level keys "model" and "stream" in a JSON object that arrives in
 * pieces, without storing any of it but that name. Only the top level is parsed; below it nothing
 * counts but strings, comments and depth, which are searched a word at a time. json_text.h says
 * which text counts as JSON, json_wide.h how UTF-16 and UTF-32 are read, json_name.h how a name is
 * kept.
 *
 * This is no validator: what a server would answer with 400 may be scanned to its end. Text that
 * cannot be an object, or garbage on its top level, ends the scan; names reported until then stay
 * reported.
 */
#ifndef SLUICE_JSON_MODEL_H
#define SLUICE_JSON_MODEL_H

#include "json_wide.h"

#define JSON_MODEL_TOP        2 /* bytes of the top level that one iteration takes at most */
#define JSON_MODEL_ITERATIONS 4 /* … of one call at most: the verifier walks each */
#define JSON_MODEL_STRINGS    4 /* … strings and values between them of one call at most */
#define JSON_MODEL_CALLS      8 /* … of one step at most */

static __always_inline int json_model_done(const struct json_model *j)
{
	return j->state == JSON_MODEL_DONE;
}

/* Ends the scan because bytes of the body will not be seen; half a name is none. */
static __always_inline void json_model_gap(struct json_model *j)
{
	if (j->state != JSON_MODEL_DONE) {
		if (j->state >= JSON_MODEL_NAME)
			json_model_name_drop(j);
		j->state = JSON_MODEL_DONE;
		j->flags |= JSON_MODEL_GAP;
		j->blob = 0;
	}
}

/* What was read here cannot be relied on, and so nothing is: no name. */
static __always_inline void json_model_rollback(struct json_model *j)
{
	if (!(j->flags & JSON_MODEL_UNREAD)) {
		json_model_name_drop(j);
		j->flags = 0;
	}
	j->flags |= JSON_MODEL_GAP;
	j->state = JSON_MODEL_DONE;
	j->blob = j->blob_bytes = j->blobs = 0;
}

/*
 * At the first byte of a key, with eight bytes from there in the window: takes "model", "stream"
 * or "images" and its quote at once, or sees that it is another key. Returns how many bytes it
 * took. A key with an escape, a zero or a byte that is not ASCII is left to json_model_key().
 */
static __always_inline __u32 json_model_key_word(struct json_model *j, const __u8 *p)
{
	const __u64 six = 0xffffffffffffULL, seven = 0xffffffffffffffULL;
	__u64 w = scan_load(p);

	json_media_key_begins(j, w);
	if (((w | 0x2020202020ULL) & six) == scan_literal("model\"\0\0")) {
		json_model_key_is(j, JSON_MODEL_IS_NAME);
		j->state = JSON_MODEL_COLON;
		return 6;
	}
	if (((w | 0x202020202020ULL) & seven) == scan_literal("stream\"\0")) {
		json_model_key_is(j, JSON_MODEL_ASKS);
		j->state = JSON_MODEL_COLON;
		return 7;
	}
	if (((w | 0x202020202020ULL) & seven) == scan_literal("images\"\0")) {
		json_model_key_is(j, JSON_MODEL_SHOWS);
		j->state = JSON_MODEL_COLON;
		return 7;
	}
	if (!((scan_equal(w, '\\') | scan_below(w, 1) | w) & SCAN_HIGHS & seven)) {
		j->state = JSON_MODEL_STRING;
		j->next = JSON_MODEL_COLON;
	}
	return 0;
}

/*
 * Some of a comment at p; what follows a carriage return may stay. Returns where it ends, maybe
 * past `stop`.
 */
static __always_inline __u64 json_model_comment_run(struct json_model *j, const __u8 *buf, __u64 p,
						    __u64 stop)
{
	if (json_model_in_comment(j))
		p += json_model_comment_end(buf + p);
	if (p >= stop)
		return p;
	p = scan_clamp(p);
	return p + json_model_comment(j, buf[p]);
}

/*
 * Takes the usual bytes after a string or a scalar of the top level: a colon or comma, a space or
 * none, and the quote of the next string, if the value is one. Returns how many bytes it took of
 * `left`, 0 for any other bytes.
 */
static __always_inline __u32 json_model_between(struct json_model *j, const __u8 *p, __u64 left)
{
	__u64 space = p[1] == ' ';

	if (left < 3 || p[0] != (j->state == JSON_MODEL_COLON ? ':' : ','))
		return 0;
	if (p[1 + space] != '"') {
		if (j->state != JSON_MODEL_COLON)
			return 0;
		j->state = JSON_MODEL_VALUE;
	} else if (j->state == JSON_MODEL_AFTER || j->state == JSON_MODEL_SCALAR) {
		json_model_key_begin(j);
	} else if (j->state != JSON_MODEL_COLON) {
		return 0;
	} else if (j->flags & JSON_MODEL_IS_MODEL) {
		json_model_name_begin(j);
	} else {
		json_model_string_begin(j);
	}
	return 1 + space + (j->state != JSON_MODEL_VALUE);
}

/* Marks the bytes of a word that may end a scalar; to be masked with SCAN_HIGHS. */
static __always_inline __u64 json_model_scalar_marks(__u64 w)
{
	return scan_below(w, '0') | scan_equal(w, ':') | scan_equal(w & SCAN_ONES * 0xd9, 'Y');
}

/*
 * A few bytes of the top level at p and what usually follows them, up to 32 of the name, or some of
 * a comment. Returns where it ends, maybe past `stop`.
 */
static __always_inline __u64 json_model_outside(struct json_model *j, const __u8 *buf, __u64 p,
						__u64 stop, __u32 *ev)
{
	__u64 n, marks;

	if (j->state == JSON_MODEL_SCALAR) {
		marks = json_model_scalar_marks(scan_load(buf + p)) & SCAN_HIGHS;
		p += marks ? scan_index(marks) : 8;
		if (p >= stop)
			return p;
		p = scan_clamp(p);
	}
	n = json_model_between(j, buf + p, stop - p);
	p = scan_clamp(p + n);
	if ((!n || j->state == JSON_MODEL_VALUE) && j->state <= JSON_MODEL_AFTER) {
		SCAN_UNROLL
		for (int k = 0; k < JSON_MODEL_TOP; k++) {
			json_model_top(j, buf[p++]);
			if (p >= stop || j->state == JSON_MODEL_SCALAR ||
			    (j->state > JSON_MODEL_KEY && j->state < JSON_MODEL_COLON) ||
			    j->state > JSON_MODEL_AFTER)
				break;
			SCAN_FENCE();
		}
		p = scan_clamp(p);
	}
	SCAN_FENCE();
	if (j->state == JSON_MODEL_KEY_STRING && p + 8 <= stop) {
		p = scan_clamp(p + json_model_key_word(j, buf + p));
		p = scan_clamp(p + json_model_between(j, buf + p, stop - p));
	}
	if (j->state == JSON_MODEL_NAME)
		p += json_model_name_run(j, buf + p, stop - p, ev);
	else if (j->state >= JSON_MODEL_SLASH && j->state < JSON_MODEL_NAME)
		p = json_model_comment_run(j, buf, p, stop);
	return p;
}

/* Up to 32 bytes of a nested value at p, outside strings. Returns where it ends, maybe past
 * `stop`. */
static __always_inline __u64 json_model_deep_run(struct json_model *j, const __u8 *buf, __u64 p,
						 __u64 stop)
{
	__u32 depth = j->depth;
	__u64 w, marks;

	SCAN_UNROLL
	for (int k = 0; k < 4; k++) {
		p = scan_clamp(p);
		if (p >= stop)
			break;
		w = scan_load(buf + p);
		marks = json_model_deep_marks(w) & SCAN_HIGHS;
		if (!marks) {
			p += 8;
			continue;
		}
		p = scan_clamp(p + scan_index(marks));
		if (p >= stop)
			break;
		depth = json_model_deep(j, buf[p++], depth);
		if (j->state != JSON_MODEL_DEEP)
			break;
	}
	j->depth = depth;
	return p;
}

/*
 * Up to 64 bytes of a string that does not matter, at p, and its quote, or up to an escape. Returns
 * where that ends, maybe past `stop`.
 */
static __always_inline __u64 json_model_string_run(struct json_model *j, const __u8 *buf, __u64 p,
						   __u64 stop)
{
	__u64 n = json_model_string_end(buf + p);

	p += n;
	if (n >= SCAN_PAD || p >= stop)
		return p;
	p = scan_clamp(p);
	if (buf[p++] != '\\')
		j->state = j->next;
	else if (p < stop)
		p++;
	else
		j->state = JSON_MODEL_STRING_ESCAPE;
	return p;
}

/* Some of a nested value from window->byte[pos] on, with its strings. Returns where it ends, maybe
 * past `end`. */
SCAN_SUBPROG int json_model_inside(struct json_model *j, const struct json_model_window *window,
				   __u32 pos, __u32 end)
{
	__u64 p = pos, stop = end;

	if (!j || !window)
		return 0;
	SCAN_STEPS
	for (int i = 0; i < JSON_MODEL_STRINGS; i++) {
		p = scan_clamp(p);
		if (j->state == JSON_MODEL_STRING) {
			p = json_model_string_run(j, window->byte, p, stop);
			p = scan_forget(p, stop);
			SCAN_FENCE();
		}
		if (p < stop && j->state == JSON_MODEL_DEEP) {
			p = json_model_deep_run(j, window->byte, scan_clamp(p), stop);
			if (j->state == JSON_MODEL_MEDIA_KEY && p < stop)
				json_media_filter(j, scan_load(window->byte + scan_clamp(p)),
						  stop - p);
		}
		p = scan_forget(p, stop);
		SCAN_FENCE();
		if (p >= stop || (j->state != JSON_MODEL_STRING && j->state != JSON_MODEL_DEEP))
			break;
	}
	return p;
}

/* Whether json_model_inside() reads on; else json_model_iterate() does. */
static __always_inline int json_model_is_inside(const struct json_model *j)
{
	return j->state == JSON_MODEL_DEEP ||
	       (j->state == JSON_MODEL_STRING && j->next == JSON_MODEL_DEEP);
}

/* Whether another iteration may follow one that has raised `ev`; else another part of the step has
 * to. */
static __always_inline int json_model_iterates(const struct json_model *j, __u32 ev)
{
	const __u64 others = 1 << JSON_MODEL_KEY_STRING | 1 << JSON_MODEL_KEY_ESCAPE |
			     1 << JSON_MODEL_KEY_HEX | 1 << JSON_MODEL_KEY_LONG |
			     1 << JSON_MODEL_WORD | 1 << JSON_MODEL_STRING_ESCAPE |
			     1 << JSON_MODEL_MEDIA_KEY | 1 << JSON_MODEL_MEDIA_COLON |
			     1 << JSON_MODEL_MEDIA_VALUE | 1 << JSON_MODEL_BLOB_ESCAPE |
			     1 << JSON_MODEL_BLOB | ~0ULL << JSON_MODEL_NAME;

	return !(others >> (j->state & 63) & 1) && !(ev & HTTP1_MODEL);
}

/*
 * Some of the top level from window->byte[pos] on. One iteration takes a string that does not
 * matter, and what follows it. Returns where it ends, maybe past `end`; raises HTTP1_MODEL. The
 * verifier walks the iterations once, and not at each call.
 */
SCAN_SUBPROG int json_model_iterate(struct json_model *j, const struct json_model_window *window,
				    __u32 pos, __u32 end, __u32 *ev)
{
	__u64 p = pos, stop = end;
	int i = 0;

	if (!j || !window || !ev)
		return 0;
	/* 6.1 refuses a loop whose last instruction is no jump. */
	SCAN_STEPS
	do {
		p = scan_clamp(p);
		if (j->state == JSON_MODEL_STRING) {
			p = json_model_string_run(j, window->byte, p, stop);
			p = scan_forget(p, stop);
			SCAN_FENCE();
		}
		if (p < stop && j->state != JSON_MODEL_STRING)
			p = json_model_outside(j, window->byte, scan_clamp(p), stop, ev);
		p = scan_forget(p, stop);
		SCAN_FENCE();
	} while (p < stop && json_model_iterates(j, *ev) && !json_model_is_inside(j) &&
		 ++i < JSON_MODEL_ITERATIONS);
	return p;
}

/*
 * One step from buf[pos] on: several iterations, since a step costs its driver a call. Returns how
 * many bytes were consumed, 1 … end - pos; raises HTTP1_MODEL.
 */
static __always_inline __u32 json_model_step(struct json_model *j, const __u8 *buf, __u32 pos,
					     __u32 end, __u32 *ev)
{
	const struct json_model_window *window = (const struct json_model_window *)buf;
	__u64 p = scan_clamp(pos), stop = end;

	if (j->state == JSON_MODEL_DONE)
		return end - pos;
	if (j->encoding == JSON_MODEL_UNKNOWN && json_model_detect(j, buf + p, stop - p))
		return 1;
	SCAN_FENCE();
	if (j->encoding != JSON_MODEL_UTF8)
		return json_model_wide_step(j, buf, pos, end, ev);
	if (j->state >= JSON_MODEL_NAME) {
		if (j->state == JSON_MODEL_DONE)
			return end - pos;
		return json_model_name(j, buf + p, stop - p, ev);
	}
	if (j->state >= JSON_MODEL_KEY_STRING && j->state < JSON_MODEL_COLON &&
	    json_model_key(j, buf[p]))
		return 1;
	if (j->state >= JSON_MODEL_MEDIA_KEY && j->state <= JSON_MODEL_BLOB) {
		__u32 n = json_media_step(j, window, p, stop);

		if (n)
			return n;
	}
	if (j->state == JSON_MODEL_STRING_ESCAPE) {
		j->state = JSON_MODEL_STRING;
		return 1;
	}
	if (j->state == JSON_MODEL_WORD)
		json_model_word(j, buf[p]);
	SCAN_STEPS
	for (int i = 0; i < JSON_MODEL_CALLS; i++) {
		p = json_model_is_inside(j) ? json_model_inside(j, window, p, stop)
					    : json_model_iterate(j, window, p, stop, ev);
		if (p < stop && j->state == JSON_MODEL_STRING)
			p = json_model_string(window, p, stop);
		if (p >= stop || !json_model_iterates(j, *ev))
			break;
	}
	return p > stop ? end - pos : p - pos;
}

#endif
