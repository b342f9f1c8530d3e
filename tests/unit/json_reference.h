/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the scanner of bodies must find, by a parser that has all of the body at once. It shares no
 * code with the scanner: it decodes the body into units first (bytes, or code units of UTF-16 and
 * UTF-32), then reads them with a plain index. Like the scanner it stops at garbage, and at the end
 * of a body that is not complete.
 */
#ifndef SLUICE_TEST_JSON_REFERENCE_H
#define SLUICE_TEST_JSON_REFERENCE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sluice/json_model.h"

struct reference {
	uint32_t *unit;
	size_t count, at;
	bool wide;
	char *said; /* as feed.h: "model(a) model!" */
	size_t said_len, said_size;
	__u8 flags;  /* enum json_model_flag, FEED_PASSING aside */
	__u8 stream; /* enum json_model_stream */
	unsigned blobs;
	size_t blob_bytes;
	bool over; /* garbage, or the end of the units */
	bool done; /* … or the end of the object */
};

static inline void reference_decode(struct reference *r, const uint8_t *p, size_t len)
{
	size_t size = 1;
	bool big = false;

	if (len < 2) {
		len = 0; /* too short to tell anything */
	} else if (!p[0] || (p[0] == 0xfe && p[1] == 0xff)) {
		big = true;
		size = p[0] || p[1] ? 2 : 4;
	} else if (!p[1] || (p[0] == 0xff && p[1] == 0xfe)) {
		if (len < 4 && (len < 3 || !p[2]))
			len = 0;
		else
			size = p[2] || p[3] ? 2 : 4;
	}
	r->wide = size > 1;
	r->count = len / size;
	r->unit = calloc(r->count + 1, sizeof(*r->unit));
	assert(r->unit);
	for (size_t i = 0; i < r->count; i++)
		for (size_t k = 0; k < size; k++)
			r->unit[i] |= (uint32_t)p[i * size + k] << 8 * (big ? size - 1 - k : k);
}

static inline void reference_garbage(struct reference *r)
{
	r->flags |= JSON_MODEL_GARBAGE;
	r->over = r->done = true;
}

/* The unit at the cursor. False, and `over`, if there is none. */
static inline bool reference_peek(struct reference *r, uint32_t *c)
{
	if (!r->over && r->at >= r->count)
		r->over = true;
	*c = r->over ? 0 : r->unit[r->at];
	return !r->over;
}

static inline bool reference_take(struct reference *r, uint32_t *c)
{
	bool there = reference_peek(r, c);

	r->at += there;
	return there;
}

/* Behind the first character of a comment, up to its end. */
static inline void reference_comment(struct reference *r, uint32_t first)
{
	uint32_t c, before = 0;

	if (first == '/') {
		if (!reference_take(r, &c))
			return;
		if (c == '*') {
			while (reference_take(r, &c)) {
				if (before == '*' && c == '/')
					return;
				before = c;
			}
			return;
		}
		if (c != '/') {
			reference_garbage(r);
			return;
		}
	}
	while (reference_take(r, &c)) {
		if (c == '\n')
			return;
		if (c != '\r')
			continue;
		if (!reference_peek(r, &c))
			return;
		if (c == '\n')
			r->at++;
		else
			r->flags |= JSON_MODEL_GARBAGE;
		return;
	}
}

/* The next unit that is neither white space nor comment; consumed. */
static inline bool reference_next(struct reference *r, uint32_t *c)
{
	while (reference_take(r, c)) {
		if (*c == '/' || *c == '#')
			reference_comment(r, *c);
		else if (*c > ' ')
			return true;
	}
	return false;
}

/* Behind the quote of a string that does not matter. */
static inline void reference_string(struct reference *r)
{
	uint32_t c;

	while (reference_take(r, &c) && c != '"')
		if (c == '\\')
			reference_take(r, &c);
}

static inline int reference_digit(uint32_t c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *at = c && c < 0x80 ? strchr(digits, (int)c) : NULL;

	return at ? (int)((at - digits) & 15) : -1;
}

/* Four digits of an escape. -1, with the cursor at it, at one that is none or is not there. */
static inline long reference_hex(struct reference *r)
{
	long code = 0;

	for (int i = 0; i < 4; i++) {
		uint32_t c;
		int digit;

		if (!reference_peek(r, &c))
			return -1;
		digit = reference_digit(c);
		if (digit < 0)
			return -1;
		r->at++;
		code = code << 4 | digit;
	}
	return code;
}

/* Units of an overlong sequence from its lead (consumed) on; -1 as above. */
static inline long reference_long(struct reference *r, uint32_t lead)
{
	long code = lead & 15;

	for (int i = lead < 0xe0 ? 1 : 2; i; i--) {
		uint32_t c;

		if (!reference_peek(r, &c) || (c & 0xc0) != 0x80)
			return -1;
		r->at++;
		code = code << 6 | (c & 63);
	}
	return code;
}

enum reference_key {
	REFERENCE_OTHER,
	REFERENCE_MODEL,
	REFERENCE_STREAM,
	REFERENCE_IMAGES,
};

/* What a key is after `n` characters that matched `text`. */
static inline enum reference_key reference_key_is(const char *text, int n)
{
	static const char *const keys[] = {"", "model", "stream", "images"};

	for (int i = REFERENCE_MODEL; i <= REFERENCE_IMAGES; i++)
		if (n == (int)strlen(keys[i]) && !memcmp(text, keys[i], n))
			return i;
	return REFERENCE_OTHER;
}

/* Behind the quote of a key, up to behind its end. What some reader takes it for. */
static inline enum reference_key reference_key(struct reference *r)
{
	char text[8];
	int n = 0;
	uint32_t c;

	while (reference_take(r, &c)) {
		long code = c;

		if (c == '"')
			return reference_key_is(text, n);
		if (c == '\\') {
			if (!reference_take(r, &c))
				return REFERENCE_OTHER;
			code = c == 'u' ? reference_hex(r) : c;
		} else if (!r->wide && (c == 0xc0 || c == 0xc1 || c == 0xe0)) {
			code = reference_long(r, c);
		}
		if (n < 7 && code >= 'A' && code <= 'z') {
			text[n++] = code | 0x20;
			continue;
		}
		if (code < 0) /* it ends where the digit that is none does */
			n = 0;
		reference_string(r);
		return code ? REFERENCE_OTHER : reference_key_is(text, n);
	}
	return REFERENCE_OTHER;
}

/* What a value of "stream" that begins with c says. */
static inline __u8 reference_truth(uint32_t c, bool string)
{
	if (c == 'n' || c == 'N')
		return string ? JSON_STREAM_NO : JSON_STREAM_UNSAID;
	return c && c < 0x80 && strchr("tTyYoO123456789", (int)c) ? JSON_STREAM_YES
								  : JSON_STREAM_NO;
}

static inline void reference_say(struct reference *r, const char *text, bool invalid)
{
	size_t more = strlen(text) + 10;

	if (r->said_len + more > r->said_size) {
		r->said = realloc(r->said, r->said_size = 2 * (r->said_len + more));
		assert(r->said);
	}
	r->said_len += sprintf(r->said + r->said_len, "%s%s", r->said_len ? " " : "",
			       invalid ? "model!" : "model(");
	if (!invalid)
		r->said_len += sprintf(r->said + r->said_len, "%s)", text);
}

struct reference_name {
	char text[JSON_MODEL_NAME_MAX];
	size_t len;
	uint32_t high;
	bool invalid;
};

static inline void reference_put(struct reference_name *n, const char *bytes, size_t len)
{
	if (n->len + len >= sizeof(n->text) || !bytes[0]) {
		n->invalid = true;
		return;
	}
	memcpy(n->text + n->len, bytes, len);
	n->len += len;
}

/* A code point, or half a surrogate pair; as UTF-8. */
static inline void reference_point(struct reference_name *n, uint32_t c)
{
	bool low = c >= 0xdc00 && c < 0xe000;
	char b[4];

	if (low && n->high) {
		c = 0x10000 + (n->high - 0xd800) * 0x400 + (c - 0xdc00);
		n->high = low = 0;
	}
	if (n->high || low || c > 0x10ffff)
		n->invalid = true;
	n->high = 0;
	if (low || c > 0x10ffff)
		return;
	if (c >= 0xd800 && c < 0xdc00) {
		n->high = c;
		return;
	}
	if (c < 0x80) {
		b[0] = c;
		reference_put(n, b, 1);
	} else if (c < 0x800) {
		b[0] = 0xc0 + (c >> 6);
		b[1] = 0x80 + (c & 63);
		reference_put(n, b, 2);
	} else if (c < 0x10000) {
		b[0] = 0xe0 + (c >> 12);
		b[1] = 0x80 + (c >> 6 & 63);
		b[2] = 0x80 + (c & 63);
		reference_put(n, b, 3);
	} else {
		b[0] = 0xf0 + (c >> 18);
		b[1] = 0x80 + (c >> 12 & 63);
		b[2] = 0x80 + (c >> 6 & 63);
		b[3] = 0x80 + (c & 63);
		reference_put(n, b, 4);
	}
}

/* Behind the quote of a name, up to behind its end. */
static inline void reference_name(struct reference *r)
{
	static const char escapes[] = "\"\"\\\\//n\nt\tr\rb\bf\f";
	struct reference_name n = {};
	uint32_t c;

	r->flags &= ~JSON_MODEL_INVALID;
	while (reference_take(r, &c)) {
		long code = c;

		if (c == '"') {
			n.invalid |= n.high != 0;
			if (n.invalid)
				r->flags |= JSON_MODEL_INVALID;
			n.text[n.len] = 0;
			reference_say(r, n.text, n.invalid);
			return;
		}
		if (c == '\\') {
			if (!reference_take(r, &c))
				break;
			code = 0;
			for (size_t i = 0; escapes[i] && c < 0x80; i += 2)
				if ((uint32_t)escapes[i] == c)
					code = escapes[i + 1];
			if (c == 'u') {
				code = reference_hex(r);
				if (code < 0 && !r->over) {
					n.invalid = true;
					r->at++;
					reference_garbage(r);
				}
				if (code < 0)
					break;
			}
		} else if (!r->wide && (c & 0xde) == 0xc0) {
			n.invalid |= n.high != 0;
			code = reference_long(r, c);
			if (code < 0) {
				n.invalid |= !r->over;
				continue;
			}
		} else if (!r->wide && c >= 0x80) {
			n.invalid |= n.high != 0;
			n.high = 0;
			reference_put(&n, (const char[]){(char)c}, 1);
			continue;
		}
		reference_point(&n, code);
	}
	if (n.invalid)
		r->flags |= JSON_MODEL_INVALID;
}

/* A key of media, and which of its values hold blobs. */
struct reference_media {
	const char *key;
	bool text, object, array;
};

/* From after the quote of a string to after its end. Returns its length, -1: it is no blob. */
static inline long reference_blob(struct reference *r)
{
	size_t begin = r->at;
	bool good = true;
	uint32_t c;

	while (reference_take(r, &c) && c != '"') {
		const char *plus = "u002b";

		if (c != '\\') {
			good &= c >= '+' && c <= 'z';
			continue;
		}
		if (!reference_take(r, &c))
			break;
		if (c == '/')
			continue;
		good &= c == 'u';
		while (good && *++plus && reference_peek(r, &c)) {
			good = (uint32_t)*plus == c || (*plus == 'b' && c == 'B');
			r->at += good;
		}
	}
	return good && !r->over ? (long)(r->at - 1 - begin) : -1;
}

/* From after the quote of a string that is a value of a key of media to after its end. */
static inline void reference_medium(struct reference *r)
{
	long len = reference_blob(r);

	if (len >= 0 && r->blobs < JSON_MODEL_BLOBS) {
		r->blobs++;
		r->blob_bytes += len;
	}
}

/* The key of media whose text and quote begin at `begin` and end before the cursor. */
static inline const struct reference_media *reference_media(const struct reference *r, size_t begin,
							    bool inside)
{
	static const struct reference_media outer[] = {
		{"image_url", true, true, false}, {"video_url", true, true, false},
		{"audio_url", true, true, false}, {"input_audio", true, true, false},
		{"source", false, true, false},   {"file", false, true, false},
		{"images", false, false, true},   {"file_data", true, false, false},
		{NULL, false, false, false},
	};
	static const struct reference_media inner[] = {
		{"url", true, false, false},
		{"data", true, false, false},
		{"file_data", true, false, false},
		{NULL, false, false, false},
	};

	for (const struct reference_media *m = inside ? inner : outer; m->key; m++) {
		size_t len = strlen(m->key), same = 0;

		while (same < len && begin + same < r->count &&
		       r->unit[begin + same] == (uint32_t)m->key[same])
			same++;
		if (same == len && r->at == begin + len + 1)
			return m;
	}
	return NULL;
}

/* Where a nested value is: a place has keys of media, and the value of such a key holds blobs. */
enum reference_place { REFERENCE_NOWHERE, REFERENCE_PLACE, REFERENCE_HOLDER };

static inline void reference_nested(struct reference *r, uint32_t open, enum reference_place place);

/* Behind a string of an object at a place, which began at `begin`: its value, if it is a key of
 * media and that may hold blobs. */
static inline void reference_member(struct reference *r, size_t begin, bool inside)
{
	const struct reference_media *m = reference_media(r, begin, inside);
	uint32_t c;

	if (!m)
		return;
	while (reference_peek(r, &c) && c <= ' ')
		r->at++;
	if (!reference_peek(r, &c) || c != ':')
		return;
	r->at++;
	while (reference_peek(r, &c) && c <= ' ')
		r->at++;
	if (!reference_peek(r, &c) || (c == '"'   ? !m->text
				       : c == '{' ? !m->object
						  : c != '[' || !m->array))
		return;
	r->at++;
	if (c == '"')
		reference_medium(r);
	else
		reference_nested(r, c, REFERENCE_HOLDER);
}

/* Behind the opening bracket of a nested value, up to behind its end. */
static inline void reference_nested(struct reference *r, uint32_t open, enum reference_place place)
{
	bool array = open == '[';
	uint32_t c;

	while (reference_next(r, &c) && c != ']' && c != '}') {
		if (c == '"' && array && place == REFERENCE_HOLDER) {
			reference_medium(r);
		} else if (c == '"') {
			size_t begin = r->at;

			reference_string(r);
			if (!array && place != REFERENCE_NOWHERE && !r->over)
				reference_member(r, begin, place == REFERENCE_HOLDER);
		} else if (c == '\'') {
			reference_garbage(r);
		} else if (c == '[' || c == '{') {
			reference_nested(r, c,
					 place == REFERENCE_PLACE && array == (c == '{')
						 ? REFERENCE_PLACE
						 : REFERENCE_NOWHERE);
		}
	}
}

/* A value and the comma or brace after it. */
static inline void reference_value(struct reference *r, enum reference_key key,
				   enum reference_place place)
{
	bool is_model = key == REFERENCE_MODEL;
	bool scalar = false;
	uint32_t c;

	if (!reference_next(r, &c))
		return;
	if (strchr(",}]:'", c < 0x80 ? (int)c : 1)) {
		reference_garbage(r);
		return;
	}
	if (c != '"' && is_model)
		r->flags |= JSON_MODEL_NOT_STRING;
	if (key == REFERENCE_STREAM && c != '"')
		r->stream = reference_truth(c, false);
	else if (key == REFERENCE_STREAM && r->at < r->count)
		r->stream = reference_truth(r->unit[r->at], true);
	if (c == '"' && is_model)
		reference_name(r);
	else if (c == '"')
		reference_string(r);
	else if (c == '[' || c == '{')
		reference_nested(r, c, c == '[' && !r->wide ? place : REFERENCE_NOWHERE);
	else
		scalar = true;
	while (scalar && reference_peek(r, &c) && c > ' ' && c != '/' && c != '#' && c != ',' &&
	       c != '}') {
		r->at++;
		if (strchr("\"'{[]:", c < 0x80 ? (int)c : 1)) {
			reference_garbage(r);
			return;
		}
	}
	if (!reference_next(r, &c))
		return;
	if (c == '}')
		r->over = r->done = true;
	else if (c != ',')
		reference_garbage(r);
}

/* Reads a body; reference_end() frees what it said. */
static inline void reference_read(struct reference *r, const void *body, size_t len)
{
	uint32_t c;

	memset(r, 0, sizeof(*r));
	r->said = calloc(1, r->said_size = 64);
	assert(r->said);
	reference_decode(r, body, len);
	do {
		if (!reference_next(r, &c))
			return;
	} while (r->wide ? c == 0xfeff : c == 0xef || c == 0xbb || c == 0xbf);
	if (c != '{')
		reference_garbage(r);
	while (!r->over && reference_next(r, &c)) {
		enum reference_key key;
		uint32_t first;

		if (c == '}') {
			r->over = r->done = true;
			return;
		}
		if (c != '"') {
			reference_garbage(r);
			return;
		}
		first = r->at < r->count ? r->unit[r->at] : 0;
		key = reference_key(r);
		if (!reference_next(r, &c))
			return;
		if (c != ':') {
			reference_garbage(r);
			return;
		}
		reference_value(r, key,
				key == REFERENCE_IMAGES        ? REFERENCE_HOLDER
				: first == 'm' || first == 'i' ? REFERENCE_PLACE
							       : REFERENCE_NOWHERE);
	}
}

static inline void reference_end(struct reference *r)
{
	free(r->unit);
	free(r->said);
}

#endif
