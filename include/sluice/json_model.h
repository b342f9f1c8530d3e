/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finds the value of the top-level key "model" in a JSON object that arrives in pieces, without
 * storing any of it but that name. Only the top level is parsed; below it nothing counts but
 * strings and depth, which are searched a word at a time. Key and name are compared and kept after
 * unescaping (RFC 8259 7).
 *
 * This is no validator: what a server would answer with 400 may be scanned to its end. Text that
 * cannot be an object, or garbage on its top level, ends the scan; names reported until then stay
 * reported.
 */
#ifndef SLUICE_JSON_MODEL_H
#define SLUICE_JSON_MODEL_H

#include "scan.h"

#define JSON_MODEL_NAME_MAX 96 /* bytes of a name, its terminating zero included */
#define JSON_MODEL_RUN      32 /* … of it that one iteration takes at most */
#define JSON_MODEL_TOP      2  /* bytes of the top level that one iteration takes at most */
#define JSON_MODEL_STEPS    16 /* … of one step at most: the verifier walks each */

enum json_model_state {
	JSON_MODEL_START,      /* before the opening brace */
	JSON_MODEL_KEY,        /* before a key or the closing brace */
	JSON_MODEL_KEY_STRING, /* in a key that has matched so far */
	JSON_MODEL_KEY_ESCAPE,
	JSON_MODEL_KEY_HEX,
	JSON_MODEL_COLON,
	JSON_MODEL_VALUE,
	JSON_MODEL_SCALAR, /* in a number or true, false, null */
	JSON_MODEL_AFTER,  /* after a value */
	JSON_MODEL_DEEP,   /* inside a nested value, outside strings */
	JSON_MODEL_STRING, /* in a string that does not matter; `next` follows it */
	JSON_MODEL_STRING_ESCAPE,
	JSON_MODEL_NAME, /* in the string to be kept */
	JSON_MODEL_NAME_ESCAPE,
	JSON_MODEL_NAME_HEX,
	JSON_MODEL_DONE,
};

enum json_model_flag {
	JSON_MODEL_NOT_STRING = 1, /* a "model" was no string, and was ignored */
	JSON_MODEL_INVALID = 2,    /* the last name is too long or no text: name_len 0 */
	JSON_MODEL_GARBAGE = 4,    /* this is not a JSON object */
	JSON_MODEL_GAP = 8,        /* the scan was ended because bytes were not seen */
	JSON_MODEL_IS_MODEL = 16,  /* the value to come belongs to "model" */
	JSON_MODEL_UNREAD = 32,    /* the head named the model, or the body is not read */
};

/* All zero is the state before the first byte. */
struct json_model {
	__u8 state; /* enum json_model_state */
	__u8 next;
	__u8 flags;    /* enum json_model_flag */
	__u8 matched;  /* bytes of "model" that the key has matched */
	__u8 digits;   /* of a \u escape */
	__u8 name_len; /* bytes, the terminating zero not counted */
	__u16 code;    /* the \u escape under way */
	__u16 high;    /* a high surrogate; its low half must follow */
	__u8 pad[2];
	__u32 depth;                    /* of nested values, 0 on the top level */
	char name[JSON_MODEL_NAME_MAX]; /* padded with zeros */
};
_Static_assert(sizeof(struct json_model) == 112, "model scanner");

static __always_inline int json_model_done(const struct json_model *j)
{
	return j->state == JSON_MODEL_DONE;
}

/* Ends the scan because bytes of the body will not be seen; half a name is none. */
static __always_inline void json_model_gap(struct json_model *j)
{
	if (j->state != JSON_MODEL_DONE) {
		if (j->state >= JSON_MODEL_NAME) {
			__builtin_memset(j->name, 0, sizeof(j->name));
			j->name_len = 0;
		}
		j->state = JSON_MODEL_DONE;
		j->flags |= JSON_MODEL_GAP;
	}
}

/* What was read here cannot be relied on, and so nothing is: no name. */
static __always_inline void json_model_rollback(struct json_model *j)
{
	if (j->flags & JSON_MODEL_UNREAD)
		return;
	__builtin_memset(j->name, 0, sizeof(j->name));
	j->name_len = 0;
	j->flags = JSON_MODEL_GAP;
	j->state = JSON_MODEL_DONE;
}

static __always_inline void json_model_name_begin(struct json_model *j)
{
	__builtin_memset(j->name, 0, sizeof(j->name));
	j->name_len = 0;
	j->high = 0;
	j->flags &= ~JSON_MODEL_INVALID;
	j->state = JSON_MODEL_NAME;
}

static __always_inline void json_model_name_byte(struct json_model *j, __u8 c)
{
	__u64 len = scan_opaque(j->name_len);

	if (len >= JSON_MODEL_NAME_MAX - 1 || !c) {
		j->flags |= JSON_MODEL_INVALID;
		return;
	}
	j->name[len] = c;
	j->name_len = len + 1;
}

/* Appends a code point (not a surrogate) as UTF-8. */
static __always_inline void json_model_name_code(struct json_model *j, __u32 code)
{
	__u64 len = scan_opaque(j->name_len);

	if (code < 0x80) {
		json_model_name_byte(j, code);
	} else if (code < 0x800 && len < JSON_MODEL_NAME_MAX - 2) {
		j->name[len] = 0xc0 | code >> 6;
		j->name[len + 1] = 0x80 | (code & 0x3f);
		j->name_len = len + 2;
	} else if (code >= 0x800 && code < 0x10000 && len < JSON_MODEL_NAME_MAX - 3) {
		j->name[len] = 0xe0 | code >> 12;
		j->name[len + 1] = 0x80 | (code >> 6 & 0x3f);
		j->name[len + 2] = 0x80 | (code & 0x3f);
		j->name_len = len + 3;
	} else if (code >= 0x10000 && len < JSON_MODEL_NAME_MAX - 4) {
		j->name[len] = 0xf0 | code >> 18;
		j->name[len + 1] = 0x80 | (code >> 12 & 0x3f);
		j->name[len + 2] = 0x80 | (code >> 6 & 0x3f);
		j->name[len + 3] = 0x80 | (code & 0x3f);
		j->name_len = len + 4;
	} else {
		j->flags |= JSON_MODEL_INVALID;
	}
}

static __always_inline void json_model_name_end(struct json_model *j, __u32 *ev)
{
	if (j->high)
		j->flags |= JSON_MODEL_INVALID;
	if (j->flags & JSON_MODEL_INVALID) {
		__builtin_memset(j->name, 0, sizeof(j->name));
		j->name_len = 0;
	}
	j->state = JSON_MODEL_AFTER;
	*ev |= HTTP1_MODEL;
}

/*
 * Up to JSON_MODEL_RUN plain bytes of the name, of which there is one at least, and the quote
 * after them.
 */
static __always_inline __u32 json_model_name_run(struct json_model *j, const __u8 *p, __u64 left,
						 __u32 *ev)
{
	__u64 w = 0, marks, n, taken = 0;

	SCAN_UNROLL
	for (__u64 k = 0; k < JSON_MODEL_RUN; k += 8) {
		__u64 len = scan_opaque(j->name_len);

		if (len > JSON_MODEL_NAME_MAX - 9 || left <= k)
			break;
		w = scan_load(p + k);
		marks = ((scan_equal(w, '"') | scan_equal(w, '\\') | scan_below(w, 1)) &
			 SCAN_HIGHS) |
			scan_cut(left - k);
		scan_store(j->name + len, w & scan_mask(marks));
		n = marks ? scan_index(marks) : 8;
		j->name_len = len + n;
		taken += n;
		if (marks) {
			if (n < left - k && (w >> 8 * n & 0xff) == '"') {
				json_model_name_end(j, ev);
				taken++;
			}
			break;
		}
	}
	return scan_forget(taken, w);
}

/* One step inside the name: a run of plain bytes, or one that is not. */
static __always_inline __u32 json_model_name(struct json_model *j, const __u8 *p, __u64 left,
					     __u32 *ev)
{
	__u64 len = scan_opaque(j->name_len);
	__u8 c = p[0], d;

	switch (j->state) {
	case JSON_MODEL_NAME_ESCAPE:
		j->state = JSON_MODEL_NAME;
		if (c == 'u') {
			j->state = JSON_MODEL_NAME_HEX;
			j->digits = 0;
			j->code = 0;
			return 1;
		}
		if (j->high) {
			j->high = 0;
			j->flags |= JSON_MODEL_INVALID;
		}
		d = c;
		if (c == 'n')
			d = '\n';
		else if (c == 't')
			d = '\t';
		else if (c == 'r')
			d = '\r';
		else if (c == 'b')
			d = '\b';
		else if (c == 'f')
			d = '\f';
		else if (c != '"' && c != '\\' && c != '/')
			d = 0; /* no escape of JSON: the name is invalid */
		json_model_name_byte(j, d);
		return 1;
	case JSON_MODEL_NAME_HEX:
		d = scan_hex(c);
		if (d > 15) { /* not JSON; c may be the closing quote */
			j->flags |= JSON_MODEL_INVALID | JSON_MODEL_GARBAGE;
			j->state = JSON_MODEL_DONE;
			return 1;
		}
		j->code = j->code << 4 | d;
		if (++j->digits < 4)
			return 1;
		j->state = JSON_MODEL_NAME;
		if (j->high) {
			if (j->code >= 0xdc00 && j->code <= 0xdfff)
				json_model_name_code(j, 0x10000 + ((j->high & 0x3ffu) << 10) +
								(j->code & 0x3ffu));
			else
				j->flags |= JSON_MODEL_INVALID;
			j->high = 0;
		} else if (j->code >= 0xd800 && j->code <= 0xdbff) {
			j->high = j->code;
		} else if (j->code >= 0xdc00 && j->code <= 0xdfff) {
			j->flags |= JSON_MODEL_INVALID;
		} else {
			json_model_name_code(j, j->code);
		}
		return 1;
	}
	if (c == '\\') {
		j->state = JSON_MODEL_NAME_ESCAPE;
		return 1;
	}
	if (c == '"') {
		json_model_name_end(j, ev);
		return 1;
	}
	if (j->high) {
		j->high = 0;
		j->flags |= JSON_MODEL_INVALID;
	}
	if (len > JSON_MODEL_NAME_MAX - 9 || !c) {
		json_model_name_byte(j, c);
		return 1;
	}
	return json_model_name_run(j, p, left, ev);
}

/* In a key that has matched "model" so far. Returns 0 if it does so no longer (c not consumed). */
static __always_inline __u32 json_model_key(struct json_model *j, __u8 c)
{
	__u8 want = j->matched < 5 ? 0x6c65646f6dULL /* "model" */ >> (8 * (j->matched & 7)) : 0;
	__u8 d;

	switch (j->state) {
	case JSON_MODEL_KEY_ESCAPE:
		if (c == 'u') {
			j->state = JSON_MODEL_KEY_HEX;
			j->digits = 0;
			j->code = 0;
			return 1;
		}
		j->state = JSON_MODEL_STRING;
		j->next = JSON_MODEL_COLON;
		return 1; /* no other escape is a letter */
	case JSON_MODEL_KEY_HEX:
		d = scan_hex(c);
		if (d > 15)
			break;
		j->code = j->code << 4 | d;
		if (++j->digits < 4)
			return 1;
		j->state = JSON_MODEL_KEY_STRING;
		if (want && j->code == want) {
			j->matched++;
		} else {
			j->state = JSON_MODEL_STRING;
			j->next = JSON_MODEL_COLON;
		}
		return 1;
	default:
		if (want && c == want) {
			j->matched++;
			return 1;
		}
		if (c == '\\') {
			j->state = JSON_MODEL_KEY_ESCAPE;
			return 1;
		}
		if (c == '"') {
			if (j->matched == 5)
				j->flags |= JSON_MODEL_IS_MODEL;
			j->state = JSON_MODEL_COLON;
			return 1;
		}
	}
	j->state = JSON_MODEL_STRING;
	j->next = JSON_MODEL_COLON;
	return 0;
}

/*
 * At the first byte of a key, with eight bytes from there in the window: takes "model" and its
 * quote at once, or sees that it is another key. Returns how many bytes it took. A key with an
 * escape is left to json_model_key().
 */
static __always_inline __u32 json_model_key_word(struct json_model *j, const __u8 *p)
{
	const __u64 six = 0xffffffffffffULL;
	__u64 w = scan_load(p);

	if ((w & six) == scan_literal("model\"\0\0")) {
		j->flags |= JSON_MODEL_IS_MODEL;
		j->state = JSON_MODEL_COLON;
		return 6;
	}
	if (!(scan_equal(w, '\\') & SCAN_HIGHS & six)) {
		j->state = JSON_MODEL_STRING;
		j->next = JSON_MODEL_COLON;
	}
	return 0;
}

static __always_inline void json_model_key_begin(struct json_model *j)
{
	j->state = JSON_MODEL_KEY_STRING;
	j->matched = 0;
	j->flags &= ~JSON_MODEL_IS_MODEL;
}

/* One byte of the top level, outside strings. */
static __always_inline void json_model_top(struct json_model *j, __u8 c)
{
	if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
		if (j->state == JSON_MODEL_SCALAR)
			j->state = JSON_MODEL_AFTER;
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
			j->state = JSON_MODEL_DONE;
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
				j->state = JSON_MODEL_STRING;
				j->next = JSON_MODEL_AFTER;
			}
			return;
		}
		if (c == ',' || c == '}' || c == ']' || c == ':')
			break;
		if (j->flags & JSON_MODEL_IS_MODEL)
			j->flags |= JSON_MODEL_NOT_STRING;
		if (c == '{' || c == '[') {
			j->depth = 1;
			j->state = JSON_MODEL_DEEP;
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
			j->state = JSON_MODEL_DONE;
			return;
		}
		if (j->state == JSON_MODEL_SCALAR && c != '"' && c != '{' && c != '[' && c != ']' &&
		    c != ':')
			return;
		break;
	}
	j->flags |= JSON_MODEL_GARBAGE;
	j->state = JSON_MODEL_DONE;
}

/*
 * Takes the usual bytes between two strings of the top level: a colon or comma, a space or none,
 * and the quote of the second. Returns how many bytes it took of `left`, 0 for any other bytes.
 */
static __always_inline __u32 json_model_between(struct json_model *j, const __u8 *p, __u64 left)
{
	__u64 space = p[1] == ' ';

	if (left < 3 || p[0] != (j->state == JSON_MODEL_COLON ? ':' : ',') || p[1 + space] != '"')
		return 0;
	if (j->state == JSON_MODEL_AFTER) {
		json_model_key_begin(j);
	} else if (j->state != JSON_MODEL_COLON) {
		return 0;
	} else if (j->flags & JSON_MODEL_IS_MODEL) {
		json_model_name_begin(j);
	} else {
		j->state = JSON_MODEL_STRING;
		j->next = JSON_MODEL_AFTER;
	}
	return 2 + space;
}

/* Marks the quotes and backslashes in a word; to be masked with SCAN_HIGHS. */
static __always_inline __u64 json_model_marks(__u64 w, __u64 quotes, __u64 backslashes, __u64 ones)
{
	return (((w ^ quotes) - ones) | ((w ^ backslashes) - ones)) & ~w;
}

/* Index of the first quote or backslash in the 64 bytes at p, 64 if there is none. */
static __always_inline __u64 json_model_string_end(const __u8 *p)
{
	__u64 quotes = scan_opaque(SCAN_ONES * '"'), backslashes = scan_opaque(SCAN_ONES * '\\');
	__u64 ones = scan_opaque(SCAN_ONES), n = SCAN_PAD, w = 0, first, second;

	SCAN_UNROLL
	for (int k = 0; k < SCAN_PAD; k += 16) {
		w = scan_load(p + k);
		first = json_model_marks(w, quotes, backslashes, ones);
		second = json_model_marks(scan_load(p + k + 8), quotes, backslashes, ones);
		if ((first | second) & SCAN_HIGHS) {
			first &= SCAN_HIGHS;
			n = first ? k + scan_index(first) : k + 8 + scan_index(second & SCAN_HIGHS);
			break;
		}
	}
	return scan_forget(n, w);
}

/*
 * One iteration at p: up to 64 bytes of a string that does not matter and what follows it, a few
 * bytes of the top level and what usually follows those, up to 32 of a nested value or of the name.
 * Returns where it ends, maybe past `stop`; *more: whether another may follow.
 */
static __always_inline __u64 json_model_advance(struct json_model *j, const __u8 *buf, __u64 p,
						__u64 stop, int *more, __u32 *ev)
{
	__u64 n, w, marks;
	__u32 depth;

	if (j->state == JSON_MODEL_STRING) {
		n = json_model_string_end(buf + p);
		p += n;
		if (n >= SCAN_PAD || p >= stop)
			return p;
		p = scan_clamp(p);
		if (buf[p++] == '\\') {
			if (p < stop)
				return p + 1;
			j->state = JSON_MODEL_STRING_ESCAPE;
			return p;
		}
		j->state = j->next;
		if (p >= stop)
			return p;
		p = scan_clamp(p);
		SCAN_FENCE();
	}
	n = json_model_between(j, buf + p, stop - p);
	p = scan_clamp(p + n);
	if (!n && j->state <= JSON_MODEL_AFTER) {
		SCAN_UNROLL
		for (int k = 0; k < JSON_MODEL_TOP; k++) {
			json_model_top(j, buf[p++]);
			if (p >= stop ||
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
	if (j->state == JSON_MODEL_NAME) {
		n = json_model_name_run(j, buf + p, stop - p, ev);
		*more = n && !*ev;
		return p + n;
	}
	if (j->state != JSON_MODEL_DEEP) {
		*more = j->state != JSON_MODEL_KEY_STRING && j->state != JSON_MODEL_DONE;
		return p;
	}
	depth = j->depth;
	SCAN_UNROLL
	for (int k = 0; k < 4; k++) {
		__u8 c;

		p = scan_clamp(p);
		if (p >= stop)
			break;
		w = scan_load(buf + p);
		marks = (scan_equal(w, '"') | scan_equal(w | SCAN_ONES * 0x20, '{') |
			 scan_equal(w | SCAN_ONES * 0x20, '}')) &
			SCAN_HIGHS;
		if (!marks) {
			p += 8;
			continue;
		}
		p = scan_clamp(p + scan_index(marks));
		if (p >= stop)
			break;
		c = buf[p++];
		if (c == '"') {
			j->state = JSON_MODEL_STRING;
			j->next = JSON_MODEL_DEEP;
			break;
		}
		if ((c | 0x20) == '{') {
			depth++;
			continue;
		}
		if (!--depth) {
			j->state = JSON_MODEL_AFTER;
			break;
		}
	}
	j->depth = depth;
	return p;
}

/*
 * One step from buf[pos] on: several iterations, since a step costs its driver a call. Returns how
 * many bytes were consumed, 1 … end - pos; raises HTTP1_MODEL.
 */
static __always_inline __u32 json_model_step(struct json_model *j, const __u8 *buf, __u32 pos,
					     __u32 end, __u32 *ev)
{
	__u64 p = scan_clamp(pos), stop = end;
	int more = 1;

	if (j->state >= JSON_MODEL_NAME) {
		if (j->state == JSON_MODEL_DONE)
			return end - pos;
		return json_model_name(j, buf + p, stop - p, ev);
	}
	if (j->state >= JSON_MODEL_KEY_STRING && j->state <= JSON_MODEL_KEY_HEX &&
	    json_model_key(j, buf[p]))
		return 1;
	if (j->state == JSON_MODEL_STRING_ESCAPE) {
		j->state = JSON_MODEL_STRING;
		return 1;
	}
	SCAN_STEPS
	for (int i = 0; i < JSON_MODEL_STEPS; i++) {
		p = json_model_advance(j, buf, scan_clamp(p), stop, &more, ev);
		p = scan_forget(p, stop);
		if (!more || p >= stop)
			break;
		SCAN_FENCE();
	}
	return p > stop ? end - pos : p - pos;
}

#endif
