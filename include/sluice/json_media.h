/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Blobs in JSON: images, sound and files as data: URLs or base64. Their length says nothing of the
 * tokens that they cost. json_model.h finds the strings; here is where they may be, and which text
 * is one.
 *
 * A server must not take for text what counts as a blob. So a blob is the value of a known key, at
 * a known place: in an object in an array … in an array of "messages" or "input", or in "images" on
 * the top level. Definitions of tools, and arguments of their calls, are at no such place. The text
 * of a blob has no space, no control character and nothing but ASCII.
 */
#ifndef SLUICE_JSON_MEDIA_H
#define SLUICE_JSON_MEDIA_H

#include "json_name.h"

#define JSON_MEDIA_KEY_MAX  12 /* bytes of a key with its quote */
#define JSON_MEDIA_SEARCHES 16 /* of one step: the verifier walks each */

/* A window, for a function that the verifier walks by itself. */
struct json_model_window {
	__u8 byte[SCAN_CAPACITY + SCAN_PAD];
};

/* 1 if a number below 2^63 is zero, else 0; without a branch, which the verifier would follow. */
static __always_inline __u64 json_media_zero(__u64 n)
{
	return scan_opaque(n - 1) >> 63;
}

/* `n` blobs have ended, 0 or 1. */
static __always_inline void json_media_count(struct json_model *j, __u64 n)
{
	n &= ~json_media_zero(j->blobs ^ JSON_MODEL_BLOBS);
	j->blobs += n;
	j->blob_bytes += j->blob & -n;
	j->blob = 0;
}

/* A key of the top level begins with c: it may be "messages", "input" or "images". */
static __always_inline void json_media_key_begins(struct json_model *j, __u8 c)
{
	j->media = c == 'm' || c == 'i' ? JSON_MEDIA_PLACES : 0;
}

/* A nested value of the top level begins with c. */
static __always_inline void json_media_value_begins(struct json_model *j, __u8 c)
{
	j->holder = j->media == JSON_MEDIA_STRINGS ? JSON_MODEL_BLOB - JSON_MODEL_STRING : 0;
	j->place = c == '[' && j->media && j->encoding == JSON_MODEL_UTF8;
}

/* The state in a string of a nested value. Keys of objects are at even depths. */
static __always_inline __u8 json_media_quote(const struct json_model *j, __u64 depth)
{
	__u64 key = JSON_MODEL_MEDIA_KEY - JSON_MODEL_STRING, holder = j->holder;

	holder |= key & -(json_media_zero(holder) & ~depth);
	return JSON_MODEL_STRING + (holder & -json_media_zero(depth ^ j->place));
}

/* A bracket opens a value inside one that is `depth` deep: an array at an odd depth, or an object
 * at an even one, is a place. */
static __always_inline void json_media_open(struct json_model *j, __u64 c, __u64 depth)
{
	j->place +=
		json_media_zero(depth ^ j->place) & json_media_zero(j->holder) & ~(c >> 5 ^ depth);
}

/* A bracket closes a value; what is around it is `depth` deep. */
static __always_inline void json_media_close(struct json_model *j, __u64 depth)
{
	__u64 over = -(scan_opaque(depth - j->place) >> 63);

	j->place += (depth - j->place) & over;
	j->holder &= ~over;
}

/* The letter c as a bit of a set of letters. */
#define JSON_MEDIA_LETTER(c) (1ULL << ((c)&31))

/* A string that may be a key of media begins with these `two` bytes, or with the first of them if
 * only one is `left`. Most such strings are none by their first two letters. */
static __always_inline void json_media_filter(struct json_model *j, __u64 two, __u64 left)
{
	__u64 held = json_media_zero(j->holder) - 1; /* "data", "url" */
	__u64 first = JSON_MEDIA_LETTER('a') | JSON_MEDIA_LETTER('f') | JSON_MEDIA_LETTER('i') |
		      JSON_MEDIA_LETTER('s') | JSON_MEDIA_LETTER('v') |
		      ((JSON_MEDIA_LETTER('d') | JSON_MEDIA_LETTER('u')) & held);
	__u64 second = JSON_MEDIA_LETTER('u') | JSON_MEDIA_LETTER('i') | JSON_MEDIA_LETTER('n') |
		       JSON_MEDIA_LETTER('m') | JSON_MEDIA_LETTER('o') |
		       ((JSON_MEDIA_LETTER('a') | JSON_MEDIA_LETTER('r')) & held);

	second = second >> (two >> 8 & 31) | json_media_zero(left - 1);
	j->state -= (JSON_MODEL_MEDIA_KEY - JSON_MODEL_STRING) &
		    ((first >> (two & 31) & second & 1) - 1);
}

/* What of its value may be a blob if a key with its quote is at these 16 bytes. */
static __always_inline __u8 json_media_key_is(const struct json_model *j, __u64 w, __u64 next)
{
	const __u64 five = 0xffffffffffULL, seven = 0xffffffffffffffULL;

	if (w == scan_literal("file_dat") && (next & 0xffff) == scan_literal("a\"\0\0\0\0\0\0"))
		return JSON_MEDIA_STRING;
	if (j->holder)
		return (w & 0xffffffff) == scan_literal("url\"\0\0\0\0") ||
				       (w & five) == scan_literal("data\"\0\0\0")
			       ? JSON_MEDIA_STRING
			       : 0;
	if ((w & seven) == scan_literal("images\"\0"))
		return JSON_MEDIA_STRINGS;
	if ((w & seven) == scan_literal("source\"\0") || (w & five) == scan_literal("file\"\0\0\0"))
		return JSON_MEDIA_OBJECT;
	if (((w == scan_literal("image_ur") || w == scan_literal("video_ur") ||
	      w == scan_literal("audio_ur")) &&
	     (next & 0xffff) == scan_literal("l\"\0\0\0\0\0\0")) ||
	    (w == scan_literal("input_au") && (next & 0xffffffff) == scan_literal("dio\"\0\0\0\0")))
		return JSON_MEDIA_STRING | JSON_MEDIA_OBJECT;
	return 0;
}

/* How many bytes a key with its quote has that is one of media. */
static __always_inline __u32 json_media_key_len(__u64 w, __u64 next)
{
	__u64 marks = scan_equal(w, '"') & SCAN_HIGHS;

	return marks ? scan_index(marks) + 1 : scan_index(scan_equal(next, '"') & SCAN_HIGHS) + 9;
}

/*
 * At the first byte of a string at a place of media, with 16 bytes from there in the window: takes
 * a key of media and its quote, or sees that it is none. Returns how many bytes it took.
 */
static __always_inline __u32 json_media_key(struct json_model *j, const __u8 *p)
{
	__u64 w = scan_load(p), next = scan_load(p + 8);
	__u8 media = json_media_key_is(j, w, next);

	j->state = JSON_MODEL_STRING;
	if (!media)
		return 0;
	j->media = media;
	j->state = JSON_MODEL_MEDIA_COLON;
	return json_media_key_len(w, next);
}

/* A byte of a string that may be a key of media. Returns 0 if it is none (c not consumed). */
static __always_inline int json_media_key_byte(struct json_model *j, __u8 c)
{
	__u64 at = scan_opaque(j->key_len);

	if (!at)
		j->key[0] = j->key[1] = 0;
	if (c == '\\' || at >= JSON_MEDIA_KEY_MAX) {
		j->key_len = 0;
		j->state = JSON_MODEL_STRING;
		return 0;
	}
	if (at < 8)
		j->key[0] |= (__u64)c << 8 * at;
	else
		j->key[1] |= (__u64)c << 8 * (at & 7);
	j->key_len = at + 1;
	if (c != '"')
		return 1;
	j->key_len = 0;
	j->media = json_media_key_is(j, j->key[0], j->key[1]);
	j->state = j->media ? JSON_MODEL_MEDIA_COLON : JSON_MODEL_DEEP;
	return 1;
}

/* The value of a key of media begins with c. Returns 0 if it holds no blob (c not consumed). */
static __always_inline int json_media_value(struct json_model *j, __u8 c)
{
	if (c == '"' && j->media & JSON_MEDIA_STRING) {
		j->state = JSON_MODEL_BLOB;
		return 1;
	}
	j->state = JSON_MODEL_DEEP;
	if ((c != '{' || !(j->media & JSON_MEDIA_OBJECT)) &&
	    (c != '[' || !(j->media & JSON_MEDIA_STRINGS)))
		return 0;
	j->place = ++j->depth;
	j->holder = (c == '{' ? JSON_MODEL_MEDIA_KEY : JSON_MODEL_BLOB) - JSON_MODEL_STRING;
	return 1;
}

/* A byte of an escape in a blob. Clients escape a slash, or a plus sign as \u002b, and no more. */
static __always_inline int json_media_escape(struct json_model *j, __u8 c)
{
	__u64 at = scan_opaque(j->key_len) & 7;
	__u8 want = scan_literal("u002b\0\0\0") >> 8 * at;

	if (c == want || (at == 4 && c == 'B') || (!at && c == '/')) {
		j->blob++;
		j->key_len = at + 1;
		if (at == 4 || c == '/') {
			j->key_len = 0;
			j->state = JSON_MODEL_BLOB;
		}
		return 1;
	}
	j->blob = j->key_len = 0;
	j->state = at ? JSON_MODEL_STRING : JSON_MODEL_STRING_ESCAPE;
	return 0;
}

/* Whether the bytes that come next, already read as bytes of a blob, are that. `first` has the
 * first eight: an escape that is under way ends in them. */
static __always_inline int json_media_goes_on(struct json_model *j, __u64 first)
{
	SCAN_UNROLL
	for (int i = 0; i < 5 && j->state == JSON_MODEL_BLOB_ESCAPE; i++)
		json_media_escape(j, first >> 8 * i);
	return j->state == JSON_MODEL_BLOB;
}

/* Index of the first of 64 bytes at p that is none of base64 or of a data: URL, 64 if there is
 * none. All from + to z pass, but for the backslash. */
static __always_inline __u64 json_media_end(const __u8 *p)
{
	__u64 low = scan_opaque(SCAN_ONES * '+'), high = scan_opaque(SCAN_ONES * (0x7f - 'z'));
	__u64 slash = scan_opaque(SCAN_ONES * '\\'), ones = scan_opaque(SCAN_ONES);
	__u64 n = SCAN_PAD, w = 0, marks;

	SCAN_UNROLL
	for (int k = 0; k < SCAN_PAD; k += 8) {
		w = scan_load(p + k);
		marks = ((w - low) | (w + high) | ((w ^ slash) - ones) | w) & SCAN_HIGHS;
		if (marks) {
			n = k + scan_index(marks);
			break;
		}
	}
	return scan_forget(n, w);
}

/* One step in a blob. Returns how many bytes were consumed, 1 … stop - pos. */
static __always_inline __u32 json_media_blob(struct json_model *j, const __u8 *buf, __u64 pos,
					     __u64 stop)
{
	__u64 p = pos, n;
	__u8 c;

	SCAN_STEPS
	for (int i = 0; i < JSON_MEDIA_SEARCHES; i++) {
		p = scan_clamp(p);
		n = json_media_end(buf + p);
		p = scan_forget(p + n, stop);
		if (n < SCAN_PAD || p >= stop)
			break;
	}
	if (p >= stop)
		p = stop - 1;
	p = scan_clamp(p);
	c = buf[p];
	j->blob += p - pos;
	if (c == '"') {
		json_media_count(j, 1);
		j->state = JSON_MODEL_DEEP;
	} else if (c == '\\') {
		j->blob++;
		j->state = JSON_MODEL_BLOB_ESCAPE;
	} else if (c < '+' || c > 'z') {
		j->blob = 0;
		j->state = JSON_MODEL_STRING;
	} else {
		j->blob++;
	}
	return p + 1 - pos;
}

/*
 * One step in a state from MEDIA_KEY to BLOB, from window->byte[pos] on. Returns how many bytes
 * were consumed, 0 if another state is to take the first one.
 */
SCAN_SUBPROG int json_media_step(struct json_model *j, const struct json_model_window *window,
				 __u32 pos, __u32 end)
{
	__u64 p = scan_clamp(pos), stop = end;
	__u8 c;

	if (!j || !window)
		return 0;
	c = window->byte[p];
	switch (j->state) {
	case JSON_MODEL_BLOB:
		return json_media_blob(j, window->byte, p, stop);
	case JSON_MODEL_BLOB_ESCAPE:
		return json_media_escape(j, c);
	case JSON_MODEL_MEDIA_KEY:
		if (!j->key_len && p + 16 <= stop)
			return json_media_key(j, window->byte + p);
		return json_media_key_byte(j, c);
	}
	if (c <= ' ')
		return 1;
	if (j->state == JSON_MODEL_MEDIA_VALUE)
		return json_media_value(j, c);
	j->state = c == ':' ? JSON_MODEL_MEDIA_VALUE : JSON_MODEL_DEEP;
	return c == ':';
}

#endif
