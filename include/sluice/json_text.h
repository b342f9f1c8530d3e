/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * JSON by one character, as the most lenient readers of servers take it: a key names the model
 * whatever its case (Go, cJSON), and comments stand wherever white space does (jsoncpp, json-c,
 * Gson). A reader that takes less answers with 400, so what it would have read does no harm. Where
 * lenient readers differ, JSON_MODEL_GARBAGE says so.
 */
#ifndef SLUICE_JSON_TEXT_H
#define SLUICE_JSON_TEXT_H

#include "json_media.h"

#define JSON_MODEL_SEARCHES 16 /* of one call: the verifier walks each */

/*
 * The state after a key turned out to be one that matters, or another one (`matched` is 0). The
 * rest of the key is skipped: a C string ends at its first zero, so for some readers
 * "model\u0000x" is "model".
 */
static __always_inline void json_model_key_rest(struct json_model *j, __u8 matched)
{
	json_model_key_is(j, matched);
	j->state = JSON_MODEL_STRING;
	j->next = JSON_MODEL_COLON;
}

/*
 * One character (0xff if it is not ASCII and not of UTF-8) in a key that has matched so far.
 * Returns 0 if it does so no longer (c not consumed). Unknown escapes stand for the character
 * itself, as in Ruby; Jackson accepts overlong UTF-8.
 */
static __always_inline __u32 json_model_key(struct json_model *j, __u8 c)
{
	__u32 code = c;

	switch (j->state) {
	case JSON_MODEL_KEY_ESCAPE:
		if (c != 'u')
			break;
		j->state = JSON_MODEL_KEY_HEX;
		j->digits = 0;
		j->code = 0;
		return 1;
	case JSON_MODEL_KEY_HEX:
		c = scan_hex(c);
		if (c > 15) {
			json_model_key_rest(j, 0);
			return 0;
		}
		j->code = j->code << 4 | c;
		if (++j->digits < 4)
			return 1;
		code = j->code;
		break;
	case JSON_MODEL_KEY_LONG:
		if ((c & 0xc0) != 0x80) {
			json_model_key_rest(j, 0);
			return 0;
		}
		j->code = j->code << 6 | (c & 0x3f);
		if (--j->digits)
			return 1;
		code = j->code;
		break;
	default:
		if (!j->matched)
			json_media_key_begins(j, c);
		if (c == '\\') {
			j->state = JSON_MODEL_KEY_ESCAPE;
			return 1;
		}
		if (c == '"') {
			json_model_key_is(j, j->matched);
			j->state = JSON_MODEL_COLON;
			return 1;
		}
		if (c == 0xc0 || c == 0xc1 || c == 0xe0) {
			j->code = c & 1;
			j->digits = c == 0xe0 ? 2 : 1;
			j->state = JSON_MODEL_KEY_LONG;
			return 1;
		}
	}
	if (code < 0x80 && json_model_fits(j->matched, code | 0x20)) {
		j->matched = json_model_matched(j->matched, code | 0x20);
		j->state = JSON_MODEL_KEY_STRING;
	} else {
		json_model_key_rest(j, code ? 0 : j->matched);
	}
	return 1;
}

static __always_inline void json_model_key_begin(struct json_model *j)
{
	j->state = JSON_MODEL_KEY_STRING;
	j->matched = 0;
	j->media = 0;
	j->flags &= ~(JSON_MODEL_IS_MODEL | JSON_MODEL_IS_STREAM);
}

/* A comment may begin with c. It ends a scalar. */
static __always_inline void json_model_comment_begin(struct json_model *j, __u8 c)
{
	j->next = j->state == JSON_MODEL_SCALAR ? JSON_MODEL_AFTER : j->state;
	j->state = c == '/' ? JSON_MODEL_SLASH : JSON_MODEL_LINE;
}

/*
 * One character of a comment. Returns 0 if the comment ended before it. A carriage return ends a
 * line for jsoncpp, Gson and Jackson, but not for Ruby.
 */
static __always_inline __u32 json_model_comment(struct json_model *j, __u8 c)
{
	switch (j->state) {
	case JSON_MODEL_SLASH:
		if (c == '/')
			j->state = JSON_MODEL_LINE;
		else if (c == '*')
			j->state = JSON_MODEL_BLOCK;
		else
			json_model_garbage(j);
		return 1;
	case JSON_MODEL_LINE:
		if (c == '\n')
			j->state = j->next;
		else if (c == '\r')
			j->state = JSON_MODEL_LINE_CR;
		return 1;
	case JSON_MODEL_LINE_CR:
		j->state = j->next;
		if (c == '\n')
			return 1;
		j->flags |= JSON_MODEL_GARBAGE;
		return 0;
	case JSON_MODEL_BLOCK:
		if (c == '*')
			j->state = JSON_MODEL_BLOCK_STAR;
		return 1;
	default: /* after an asterisk in it */
		if (c == '/')
			j->state = j->next;
		else if (c != '*')
			j->state = JSON_MODEL_BLOCK;
		return 1;
	}
}

/* A string begins that is a value on the top level, and no name. */
static __always_inline void json_model_string_begin(struct json_model *j)
{
	j->state = j->flags & JSON_MODEL_IS_STREAM ? JSON_MODEL_WORD : JSON_MODEL_STRING;
	j->next = JSON_MODEL_AFTER;
}

/* At the first character of a string that asks for a stream or not; it is not consumed. */
static __always_inline void json_model_word(struct json_model *j, __u8 c)
{
	json_model_stream_is(j, c, 1);
	j->state = JSON_MODEL_STRING;
}

/*
 * One character of the top level, outside strings. White space is all up to the space, as in cJSON.
 * Single quotes are strings for some readers and unknown to others.
 */
static __always_inline void json_model_top(struct json_model *j, __u8 c)
{
	if (c <= ' ') {
		if (j->state == JSON_MODEL_SCALAR)
			j->state = JSON_MODEL_AFTER;
		return;
	}
	if (c == '/' || c == '#') {
		json_model_comment_begin(j, c);
		return;
	}
	switch (j->state) {
	case JSON_MODEL_START:
		if (c == '{') {
			j->state = JSON_MODEL_KEY;
			return;
		}
		if (c == 0xef || c == 0xbb || c == 0xbf) /* a byte order mark, which Python takes */
			return;
		break;
	case JSON_MODEL_KEY:
		if (c == '"') {
			json_model_key_begin(j);
			return;
		}
		if (c == '}') {
			json_model_close(j);
			return;
		}
		break;
	case JSON_MODEL_COLON:
		if (c == ':') {
			j->state = JSON_MODEL_VALUE;
			return;
		}
		break;
	case JSON_MODEL_VALUE:
		if (c == '"') {
			if (j->flags & JSON_MODEL_IS_MODEL) {
				json_model_name_begin(j);
			} else {
				json_model_string_begin(j);
			}
			return;
		}
		if (c == ',' || c == '}' || c == ']' || c == ':' || c == '\'')
			break;
		if (j->flags & JSON_MODEL_IS_MODEL)
			j->flags |= JSON_MODEL_NOT_STRING;
		if (j->flags & JSON_MODEL_IS_STREAM)
			json_model_stream_is(j, c, 0);
		if (c == '{' || c == '[') {
			j->depth = 1;
			j->state = JSON_MODEL_DEEP;
			json_media_value_begins(j, c);
		} else {
			j->state = JSON_MODEL_SCALAR;
		}
		return;
	case JSON_MODEL_SCALAR:
	case JSON_MODEL_AFTER:
		if (c == ',') {
			j->state = JSON_MODEL_KEY;
			return;
		}
		if (c == '}') {
			json_model_close(j);
			return;
		}
		if (j->state == JSON_MODEL_SCALAR && c != '"' && c != '\'' && c != '{' &&
		    c != '[' && c != ']' && c != ':')
			return;
		break;
	}
	json_model_garbage(j);
}

/* One character of a nested value, outside strings. Returns the new depth. */
static __always_inline __u32 json_model_deep(struct json_model *j, __u8 c, __u32 depth)
{
	if (c == '"') {
		j->state = json_media_quote(j, depth);
		j->next = JSON_MODEL_DEEP;
	} else if ((c | 0x20) == '{') {
		json_media_open(j, c, depth++);
	} else if ((c | 0x20) == '}') {
		json_media_close(j, --depth);
		if (!depth)
			j->state = JSON_MODEL_AFTER;
	} else if (c == '/' || c == '#') {
		json_model_comment_begin(j, c);
	} else if (c == '\'') {
		json_model_garbage(j);
	}
	return depth;
}

/*
 * Marks the characters that json_model_deep() acts on, and &, Y, y, _ and 0x7f; to be masked with
 * SCAN_HIGHS.
 */
static __always_inline __u64 json_model_deep_marks(__u64 w)
{
	return scan_equal(w & SCAN_ONES * 0xfa, '"') | scan_equal(w, '/') |
	       scan_equal(w & SCAN_ONES * 0xd9, 'Y');
}

/*
 * Marks the quotes and backslashes in a word; to be masked with SCAN_HIGHS. `quotes` are eight of
 * them, `turn` makes a backslash of a quote.
 */
static __always_inline __u64 json_model_marks(__u64 w, __u64 quotes, __u64 turn, __u64 ones)
{
	w ^= quotes;
	return ((w - ones) | ((w ^ turn) - ones)) & ~w;
}

/* Index of the first quote or backslash in the 64 bytes at p, 64 if there is none. */
static __always_inline __u64 json_model_string_end(const __u8 *p)
{
	__u64 quotes = scan_opaque(SCAN_ONES * '"'), turn = scan_opaque(SCAN_ONES * ('"' ^ '\\'));
	__u64 ones = scan_opaque(SCAN_ONES), n = SCAN_PAD, w = 0, first, second;

	SCAN_UNROLL
	for (int k = 0; k < SCAN_PAD; k += 16) {
		w = scan_load(p + k);
		first = json_model_marks(w, quotes, turn, ones);
		second = json_model_marks(scan_load(p + k + 8), quotes, turn, ones);
		if ((first | second) & SCAN_HIGHS) {
			first &= SCAN_HIGHS;
			n = first ? k + scan_index(first) : k + 8 + scan_index(second & SCAN_HIGHS);
			break;
		}
	}
	return scan_forget(n, w);
}

/* Whether the 64 bytes at p have no quote or backslash: sooner than json_model_string_end(). */
static __always_inline int json_model_string_on(const __u8 *p)
{
	__u64 quotes = scan_opaque(SCAN_ONES * '"'), turn = scan_opaque(SCAN_ONES * ('"' ^ '\\'));
	__u64 ones = scan_opaque(SCAN_ONES), marks = 0;

	SCAN_UNROLL
	for (int k = 0; k < SCAN_PAD; k += 8)
		marks |= json_model_marks(scan_load(p + k), quotes, turn, ones);
	return !(marks & SCAN_HIGHS);
}

/* A place in a long string from window->byte[pos] on, 63 bytes or less before its first quote or
 * backslash, if the search gets there; maybe past `end`. */
SCAN_SUBPROG int json_model_string(const struct json_model_window *window, __u32 pos, __u32 end)
{
	__u64 p = pos, stop = end;

	if (!window)
		return 0;
	SCAN_STEPS
	for (int i = 0; i < JSON_MODEL_SEARCHES; i++) {
		p = scan_clamp(p);
		if (!json_model_string_on(window->byte + p))
			break;
		p += SCAN_PAD;
		if (p >= stop)
			break;
	}
	return p;
}

/* Index of the first byte in the 64 at p that may end a comment, 64 if there is none. */
static __always_inline __u64 json_model_comment_end(const __u8 *p)
{
	__u64 n = SCAN_PAD, w = 0, marks;

	SCAN_UNROLL
	for (int k = 0; k < SCAN_PAD; k += 8) {
		w = scan_load(p + k);
		marks = (scan_equal(w, '*') | scan_below(w, 0x20)) & SCAN_HIGHS;
		if (marks) {
			n = k + scan_index(marks);
			break;
		}
	}
	return scan_forget(n, w);
}

/* Whether the scan is in a comment; json_model_comment_end() finds its end. */
static __always_inline int json_model_in_comment(const struct json_model *j)
{
	return j->state == JSON_MODEL_LINE || j->state == JSON_MODEL_BLOCK;
}

#endif
