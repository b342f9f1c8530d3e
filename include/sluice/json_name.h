/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state of the search for a model's name in JSON (json_model.h), and the name itself: it is
 * kept after unescaping (RFC 8259 7), as UTF-8, whatever encoding it came in. A name of several
 * readings is kept as some server would read it, or it is invalid; it is never cut.
 */
#ifndef SLUICE_JSON_NAME_H
#define SLUICE_JSON_NAME_H

#include "scan.h"

#define JSON_MODEL_NAME_MAX 96  /* bytes of a name, its terminating zero included */
#define JSON_MODEL_RUN      32  /* … of it that one iteration takes at most */
#define JSON_MODEL_BLOBS    255 /* blobs that are counted; further ones count by their length */

/* Their order matters: top level up to AFTER, comments from SLASH on, names from NAME on. */
enum json_model_state {
	JSON_MODEL_START,      /* before the opening brace */
	JSON_MODEL_KEY,        /* before a key or the closing brace */
	JSON_MODEL_KEY_STRING, /* in a key that has matched so far */
	JSON_MODEL_KEY_ESCAPE,
	JSON_MODEL_KEY_HEX,
	JSON_MODEL_KEY_LONG, /* in an overlong form of a letter */
	JSON_MODEL_COLON,
	JSON_MODEL_VALUE,
	JSON_MODEL_SCALAR, /* in a number or true, false, null */
	JSON_MODEL_AFTER,  /* after a value */
	JSON_MODEL_WORD,   /* at the first character of a string that asks for a stream or not */
	JSON_MODEL_DEEP,   /* inside a nested value, outside strings */
	JSON_MODEL_STRING, /* in a string that does not matter; `next` follows it */
	JSON_MODEL_STRING_ESCAPE,
	JSON_MODEL_MEDIA_KEY,   /* in a string that may be a key of media (json_media.h) */
	JSON_MODEL_MEDIA_COLON, /* after such a key */
	JSON_MODEL_MEDIA_VALUE,
	JSON_MODEL_BLOB_ESCAPE,
	JSON_MODEL_BLOB,    /* in a string that is a blob so far */
	JSON_MODEL_FORM,    /* the body is a form, outside of the name (form_model.h) */
	JSON_MODEL_SLASH,   /* a comment begins; `next` follows it */
	JSON_MODEL_LINE,    /* in a comment up to the end of its line */
	JSON_MODEL_LINE_CR, /* … after a carriage return */
	JSON_MODEL_BLOCK,   /* in a comment between asterisks */
	JSON_MODEL_BLOCK_STAR,
	JSON_MODEL_NAME, /* in the string to be kept */
	JSON_MODEL_NAME_ESCAPE,
	JSON_MODEL_NAME_HEX,
	JSON_MODEL_NAME_LONG, /* in a sequence of UTF-8 that may be overlong */
	JSON_MODEL_DONE,
};

enum json_model_flag {
	JSON_MODEL_NOT_STRING = 1, /* a "model" was no string, and was ignored */
	JSON_MODEL_INVALID = 2,    /* the last name is too long or no text: name_len 0 */
	JSON_MODEL_GARBAGE = 4,    /* no JSON object, or one that readers disagree on */
	JSON_MODEL_GAP = 8,        /* the scan was ended because bytes were not seen */
	JSON_MODEL_IS_MODEL = 16,  /* the value to come belongs to "model" */
	JSON_MODEL_UNREAD = 32,    /* the body's names do not count: the head has one, or shall */
	JSON_MODEL_IS_STREAM = 64, /* the value to come belongs to "stream" */
};

/* What the body says of its response. */
enum json_model_stream {
	JSON_STREAM_UNSAID, /* nothing, or null */
	JSON_STREAM_NO,
	JSON_STREAM_YES,
};

/* Of `matched`: the letters are those of "stream", or "images"; all of "model", and of those. */
#define JSON_MODEL_IN_STREAM 8
#define JSON_MODEL_IN_IMAGES 16
#define JSON_MODEL_IS_NAME   5
#define JSON_MODEL_ASKS      (JSON_MODEL_IN_STREAM + 6)
#define JSON_MODEL_SHOWS     (JSON_MODEL_IN_IMAGES + 6)

/* A wide encoding is the bytes of its units, plus one if the high byte comes first. */
enum json_model_encoding {
	JSON_MODEL_UNKNOWN, /* too few bytes have come */
	JSON_MODEL_UTF8,
	JSON_MODEL_UTF16_LE,
	JSON_MODEL_UTF16_BE,
	JSON_MODEL_UTF32_LE,
	JSON_MODEL_UTF32_BE,
};

/* What of a value to come may hold a blob. */
enum json_model_media {
	JSON_MEDIA_STRING = 1,  /* the value is one, if it is a string */
	JSON_MEDIA_OBJECT = 2,  /* members of an object are */
	JSON_MEDIA_STRINGS = 4, /* strings of an array are */
	JSON_MEDIA_PLACES = 8,  /* objects of an array have keys of media */
};

/* All zero is the state before the first byte. */
struct json_model {
	__u8 state; /* enum json_model_state */
	__u8 next;
	__u8 flags;   /* enum json_model_flag */
	__u8 matched; /* letters of "model" that the key has matched, or JSON_MODEL_IN_STREAM + … */
	__u8 digits;   /* of a \u escape; bytes to come of a sequence of UTF-8 */
	__u8 name_len; /* bytes, the terminating zero not counted */
	__u16 code;    /* the \u escape or sequence under way */
	__u16 high;    /* a high surrogate; its low half must follow */
	__u8 encoding; /* enum json_model_encoding */
	__u8 unit_len; /* bytes of `unit`; while the encoding is unknown, bytes of the body */
	__u32 depth;   /* of nested values, 0 on the top level */
	__u32 unit;    /* the part of a code unit that has come */
	__u8 closed;   /* 1: the object has ended, and readers may act on it */
	__u8 stream;   /* enum json_model_stream, by the last one */
	__u8 blobs;    /* media that have ended, JSON_MODEL_BLOBS at most */
	__u8 media;    /* enum json_model_media of the value to come, or of the object around */
	char name[JSON_MODEL_NAME_MAX]; /* padded with zeros */
	__u64 blob_bytes;               /* of `blobs`, all together */
	__u64 blob;                     /* bytes of the one under way */
	__u64 key[2];                   /* a key of media under way */
	__u32 place;  /* the depth at which strings are looked at for media; 0: none */
	__u8 key_len; /* bytes of `key` */
	__u8 holder;  /* what strings there are, after JSON_MODEL_STRING: the value of a key of
			 media holds them; 0: none does */
	__u8 pad2[2];
};
_Static_assert(sizeof(struct json_model) == 160, "model scanner");
_Static_assert(__builtin_offsetof(struct json_model, name) % 8 == 0, "compared by words");

static __always_inline void json_model_garbage(struct json_model *j)
{
	j->flags |= JSON_MODEL_GARBAGE;
	j->state = JSON_MODEL_DONE;
}

/* The object has ended. */
static __always_inline void json_model_close(struct json_model *j)
{
	j->closed = 1;
	j->state = JSON_MODEL_DONE;
}

/* The letter that a key must have next, to be "model", "stream" or "images"; 0: none. */
static __always_inline __u8 json_model_want(__u8 matched)
{
	__u64 word = matched & JSON_MODEL_IN_STREAM   ? scan_literal("stream\0\0")
		     : matched & JSON_MODEL_IN_IMAGES ? scan_literal("images\0\0")
						      : scan_literal("model\0\0\0");

	return word >> 8 * (matched & 7);
}

/* The letters that a key has matched, after `letter` has matched, too. */
static __always_inline __u8 json_model_matched(__u8 matched, __u8 letter)
{
	if (matched)
		return matched + 1;
	return letter == 's'   ? JSON_MODEL_IN_STREAM + 1
	       : letter == 'i' ? JSON_MODEL_IN_IMAGES + 1
			       : 1;
}

/* Whether a key may have this letter next (in lower case). */
static __always_inline int json_model_fits(__u8 matched, __u8 letter)
{
	return letter && (letter == json_model_want(matched) ||
			  (!matched && (letter == 's' || letter == 'i')));
}

/* A key has ended that has matched so much. Does a value to come matter? */
static __always_inline void json_model_key_is(struct json_model *j, __u8 matched)
{
	if (matched == JSON_MODEL_IS_NAME && !(j->flags & JSON_MODEL_UNREAD))
		j->flags |= JSON_MODEL_IS_MODEL;
	else if (matched == JSON_MODEL_ASKS)
		j->flags |= JSON_MODEL_IS_STREAM;
	else if (matched == JSON_MODEL_SHOWS)
		j->media = JSON_MEDIA_STRINGS;
}

/*
 * The value of "stream" begins with c. Servers take a number or a word for a truth (pydantic): what
 * begins as true, yes, on or a number but zero asks for a stream. What is no such value is answered
 * with 400.
 */
static __always_inline void json_model_stream_is(struct json_model *j, __u8 c, int string)
{
	__u8 lower = c | 0x20;

	if (lower == 't' || lower == 'y' || lower == 'o' || (c >= '1' && c <= '9'))
		j->stream = JSON_STREAM_YES;
	else if (lower == 'n' && !string) /* null */
		j->stream = JSON_STREAM_UNSAID;
	else
		j->stream = JSON_STREAM_NO;
}

static __always_inline void json_model_name_drop(struct json_model *j)
{
	__builtin_memset(j->name, 0, sizeof(j->name));
	j->name_len = 0;
}

static __always_inline void json_model_name_begin(struct json_model *j)
{
	json_model_name_drop(j);
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
	} else if (code >= 0x10000 && code < 0x110000 && len < JSON_MODEL_NAME_MAX - 4) {
		j->name[len] = 0xf0 | code >> 18;
		j->name[len + 1] = 0x80 | (code >> 12 & 0x3f);
		j->name[len + 2] = 0x80 | (code >> 6 & 0x3f);
		j->name[len + 3] = 0x80 | (code & 0x3f);
		j->name_len = len + 4;
	} else {
		j->flags |= JSON_MODEL_INVALID;
	}
}

/* Appends what an escape or a wide code unit stands for: a code point, or half a surrogate pair. */
static __always_inline void json_model_name_unit(struct json_model *j, __u32 unit)
{
	__u32 high = j->high;

	j->high = 0;
	if (unit >= 0xdc00 && unit <= 0xdfff && high) {
		json_model_name_code(j, 0x10000 + ((high & 0x3ff) << 10) + (unit & 0x3ff));
		return;
	}
	if (high || (unit >= 0xdc00 && unit <= 0xdfff))
		j->flags |= JSON_MODEL_INVALID;
	if (unit >= 0xd800 && unit <= 0xdbff)
		j->high = unit;
	else
		json_model_name_code(j, unit);
}

static __always_inline void json_model_name_end(struct json_model *j, __u32 *ev)
{
	if (j->high)
		j->flags |= JSON_MODEL_INVALID;
	if (j->flags & JSON_MODEL_INVALID)
		json_model_name_drop(j);
	j->state = JSON_MODEL_AFTER;
	*ev |= HTTP1_MODEL;
}

/* What an escape of one character stands for, 0 if there is no such escape. */
static __always_inline __u8 json_model_unescape(__u32 c)
{
	if (c == 'n')
		return '\n';
	if (c == 't')
		return '\t';
	if (c == 'r')
		return '\r';
	if (c == 'b')
		return '\b';
	if (c == 'f')
		return '\f';
	return c == '"' || c == '\\' || c == '/' ? c : 0;
}

/* One byte or wide code unit of the name. */
static __always_inline void json_model_name_char(struct json_model *j, __u32 c, __u32 *ev)
{
	__u8 d;

	switch (j->state) {
	case JSON_MODEL_NAME_ESCAPE:
		j->state = JSON_MODEL_NAME;
		if (c == 'u') {
			j->state = JSON_MODEL_NAME_HEX;
			j->digits = 0;
			j->code = 0;
			return;
		}
		c = json_model_unescape(c); /* 0: the name is invalid */
		break;
	case JSON_MODEL_NAME_HEX:
		d = c < 0x80 ? scan_hex(c) : 16;
		if (d > 15) { /* not JSON; c may be the closing quote */
			j->flags |= JSON_MODEL_INVALID;
			json_model_garbage(j);
			return;
		}
		j->code = j->code << 4 | d;
		if (++j->digits < 4)
			return;
		j->state = JSON_MODEL_NAME;
		c = j->code;
		break;
	case JSON_MODEL_NAME_LONG:
		j->state = JSON_MODEL_NAME;
		if ((c & 0xc0) == 0x80) {
			j->code = j->code << 6 | (c & 0x3f);
			if (--j->digits) {
				j->state = JSON_MODEL_NAME_LONG;
				return;
			}
			c = j->code;
			break;
		}
		j->flags |= JSON_MODEL_INVALID;
		/* fall through */
	default:
		if (c == '\\') {
			j->state = JSON_MODEL_NAME_ESCAPE;
			return;
		}
		if (c == '"') {
			json_model_name_end(j, ev);
			return;
		}
		if (c < 0x80 || j->encoding != JSON_MODEL_UTF8)
			break;
		if (j->high) {
			j->high = 0;
			j->flags |= JSON_MODEL_INVALID;
		}
		if ((c & 0xde) == 0xc0) { /* 0xc0, 0xc1, 0xe0, 0xe1 */
			j->code = c & 0x0f;
			j->digits = c < 0xe0 ? 1 : 2;
			j->state = JSON_MODEL_NAME_LONG;
		} else {
			json_model_name_byte(j, c);
		}
		return;
	}
	json_model_name_unit(j, scan_forget(c, j->unit));
}

/*
 * Up to JSON_MODEL_RUN plain bytes of the name, of which there is one at least, and the quote
 * after them. Bytes that may begin an overlong sequence are not plain.
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
		marks = ((scan_equal(w, '"') | scan_equal(w, '\\') | scan_below(w, 1) |
			  scan_equal(w & SCAN_ONES * 0xde, 0xc0)) &
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

/* One step inside the name of a body in UTF-8: a run of plain bytes, or one that is not. */
static __always_inline __u32 json_model_name(struct json_model *j, const __u8 *p, __u64 left,
					     __u32 *ev)
{
	__u8 c = p[0];

	if (j->state != JSON_MODEL_NAME || c == '"' || c == '\\' || !c || (c & 0xde) == 0xc0 ||
	    j->high || j->name_len > JSON_MODEL_NAME_MAX - 9) {
		json_model_name_char(j, c, ev);
		return 1;
	}
	return json_model_name_run(j, p, left, ev);
}

#endif
