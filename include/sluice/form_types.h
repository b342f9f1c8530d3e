/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state of the scanner of forms, as a connection keeps it between two packets, and what its
 * parts share. form_model.h says what it does.
 */
#ifndef SLUICE_FORM_TYPES_H
#define SLUICE_FORM_TYPES_H

#include "json_model.h"

#define FORM_DELIMITER_MAX 72 /* bytes of two dashes and a boundary (RFC 2046: at most 70) */
#define FORM_BYTES         4  /* bytes that one step takes outside of what does not matter */
#define FORM_SEARCHES      16 /* searches of one step: the verifier walks each */

enum form_kind {
	FORM_MULTIPART = 1,
	FORM_URLENCODED = 2,
};

enum form_state {
	FORM_PREAMBLE, /* before the first delimiter; the JSON scanner may read the same bytes */
	FORM_DELIMITER,
	FORM_TAIL, /* after a delimiter */
	FORM_TAIL_GAP,
	FORM_TAIL_DASH,
	FORM_TAIL_CR,
	FORM_EOL_CR, /* after the CR of a part's header line */
	FORM_LINE,   /* at the first byte of such a line */
	FORM_HEADER,
	FORM_EMPTY_CR, /* after the CR of the empty line */
	FORM_VALUE,    /* in the field to be kept */
	FORM_VALUE_BREAK,
	FORM_START, /* before the first field of an urlencoded form */
	FORM_KEY,
	FORM_KEY_HEX,
	FORM_KEY_HEX_2,
	FORM_KEPT, /* in the urlencoded value to be kept */
	FORM_KEPT_HEX,
	FORM_KEPT_HEX_2,
	FORM_DATA, /* in a part that does not matter */
	FORM_REST, /* in an urlencoded field that does not matter */
};

/* The break that ends right before the cursor. */
enum form_break {
	FORM_NO_BREAK,
	FORM_CR,
	FORM_LF,
	FORM_CRLF,
	FORM_HEAD, /* the empty line before a part's data */
};

enum form_flag {
	FORM_DOUBT = 1,    /* the type is read in several ways: only JSON is looked for */
	FORM_BEGUN = 2,    /* there was a delimiter */
	FORM_LINES = 4,    /* lines end in LF, not in CR LF */
	FORM_ODD = 8,      /* servers read this form in several ways */
	FORM_MIDLINE = 16, /* the match under way did not begin a line */
	FORM_DASHES = 32,  /* the boundary has "--" after another character */
	FORM_OBJECT = 64,  /* the body begins as a JSON object */
	FORM_FIELD = 128,  /* a disposition of this part names the field */
};

/* Where in the parameters of a header. */
enum form_param {
	FORM_NOT_READ,
	FORM_PARAM_REST,
	FORM_PARAM_REST_QUOTED,
	FORM_PARAM_NAME,
	FORM_PARAM_VALUE_START,
	FORM_PARAM_VALUE,
	FORM_PARAM_VALUE_GAP, /* of a Content-Type */
	FORM_PARAM_QUOTED,
	FORM_PARAM_ESCAPE,
};

/* What a Content-Disposition has said so far. */
enum form_said {
	FORM_SAYS_QUOTED = 1,     /* in quotes */
	FORM_SAYS_BACKSLASH = 2,  /* one was there: servers differ in where a string ends */
	FORM_SAYS_EXTENDED = 4,   /* the parameter's name ends in an asterisk (RFC 5987) */
	FORM_SAYS_FILENAME = 8,   /* the parameter is "filename" */
	FORM_SAYS_FIELD = 16,     /* the field is named */
	FORM_SAYS_FILE = 32,      /* this is a file */
	FORM_SAYS_SEPARATOR = 64, /* quotes have held a semicolon, where some end a parameter */
	FORM_SAYS_STREAM = 128,   /* as FORM_SAYS_FIELD, of "stream" */
};

/* All zero is the state before the request's head. */
struct form_model {
	__u8 kind;     /* enum form_kind; both before the head's end: two headers */
	__u8 state;    /* enum form_state */
	__u8 from;     /* … before the delimiter under way */
	__u8 flags;    /* enum form_flag */
	__u8 matched;  /* bytes of the delimiter that match */
	__u8 len;      /* of the delimiter, "--" included; 0: no boundary */
	__u8 dashes;   /* that it begins with */
	__u8 last;     /* enum form_break */
	__u8 key;      /* bytes of "content-disposition" that match; FORM_NO_MATCH */
	__u8 param;    /* enum form_param */
	__u8 index;    /* bytes of a parameter's name or value, or of a key, that match */
	__u8 said;     /* enum form_said */
	__u8 hex;      /* the digit of an escape under way */
	__u8 percent;  /* digits to come of an escape in a parameter */
	__u8 unclear;  /* 1: some servers may find another name in the body than the scanners */
	__u8 coded;    /* 1: the value of this part is coded in an unusual way */
	__u32 hash;    /* of the charset under way */
	__u8 charset;  /* letters of "charset" that match, or enum form_charset */
	__u8 transfer; /* enum form_transfer */
	__u8 stream;   /* enum form_stream */
	__u8 file;     /* enum form_file */
	char delimiter[FORM_DELIMITER_MAX];
};
_Static_assert(sizeof(struct form_model) == 96, "form scanner");

#define FORM_NO_MATCH 0xff

enum form_stream {
	FORM_STREAM_NONE,
	FORM_STREAM_PART, /* a disposition of this part names the field "stream" */
	FORM_STREAM_NEXT, /* the first byte of its value comes next */
};

enum form_file {
	FORM_FILE_NONE,
	FORM_FILE_PART, /* a disposition of this part says that it is a file */
	FORM_FILE_DATA, /* … and its data has begun: the bytes up to the next part are a blob */
};

/* Values of `key` after "content-" and these letters. */
#define FORM_KEY_T  0x40
#define FORM_KEY_TY 0x41
#define FORM_KEY_TR 0x42

static __always_inline int form_space(__u8 c)
{
	return c == ' ' || c == '\t';
}

/* After the letters of "charset". */
enum form_charset { FORM_CHARSET_NAMED = 7, FORM_CHARSET_START, FORM_CHARSET_VALUE };

/* In a part's header line. */
enum form_transfer {
	FORM_TRANSFER_NONE,
	FORM_TRANSFER_TYPE,   /* in Content-Type */
	FORM_TRANSFER_CODING, /* before the value of Content-Transfer-Encoding */
	FORM_TRANSFER_B,      /* after its "b" */
};

/* FORM_HASH() of "utf-8", "utf8", "us-ascii" and "iso-8859-1" */
#define FORM_UTF_8      0x6214683U
#define FORM_UTF8       0x96b468f2U
#define FORM_US_ASCII   0xfcd3aeffU
#define FORM_LATIN_1    0x350de415U
#define FORM_HASH(h, c) (((h) ^ (c)) * 16777619U) /* FNV-1a */

/* The name of a charset has ended. Those in which ASCII is ASCII hide no name of a field. */
static __always_inline int form_charset_end(struct form_model *form)
{
	__u32 h = form->hash;
	int named = form->charset == FORM_CHARSET_VALUE;

	form->charset = 0;
	form->hash = 0;
	return named && h != FORM_UTF_8 && h != FORM_UTF8 && h != FORM_US_ASCII &&
	       h != FORM_LATIN_1;
}

/* One byte of a Content-Type's parameters. Returns whether it ends a charset that is not known to
 * contain ASCII. */
static __always_inline int form_charset_byte(struct form_model *form, __u8 c)
{
	__u8 lower = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
	int mark = c == ' ' || c == '\t' || c == '"' || c == '\'';

	if (form->charset == FORM_CHARSET_VALUE) {
		if (mark || c == ';')
			return form_charset_end(form);
		form->hash = FORM_HASH(form->hash, lower);
	} else if (form->charset == FORM_CHARSET_START) {
		if (mark)
			return 0;
		form->charset = FORM_CHARSET_VALUE;
		form->hash = FORM_HASH(2166136261U, lower);
	} else if (form->charset == FORM_CHARSET_NAMED) {
		form->charset = c == '=' ? FORM_CHARSET_START : mark ? FORM_CHARSET_NAMED : 0;
		return c == '*';
	} else if (lower == (__u8)(scan_literal("charset\0") >> 8 * (form->charset & 7))) {
		form->charset++;
	} else {
		form->charset = lower == 'c';
	}
	return 0;
}

/* Byte i (of at most 24) of three words. */
static __always_inline __u8 form_letter(__u64 w0, __u64 w1, __u64 w2, __u8 i)
{
	__u64 w = i < 8 ? w0 : i < 16 ? w1 : w2;

	return w >> 8 * (i & 7);
}

/* A value begins with c, which is not consumed. */
static __always_inline void form_value_begin(struct form_model *form, struct json_model *j, __u8 c)
{
	if (form->stream == FORM_STREAM_NEXT) {
		form->stream = FORM_STREAM_NONE;
		json_model_stream_is(j, c, 1);
	}
}

static __always_inline void form_name_byte(struct json_model *j, __u8 c)
{
	if (c < 0x20 || c == 0x7f)
		j->flags |= JSON_MODEL_INVALID;
	else
		json_model_name_byte(j, c);
}

static __always_inline void form_name_end(struct json_model *j, __u32 *ev)
{
	json_model_name_end(j, ev);
	j->state = JSON_MODEL_FORM;
}

/* Nothing that was found is a name, but there may be one. */
static __always_inline void form_unclear(struct json_model *j)
{
	if (!j->name_len && !(j->flags & (JSON_MODEL_GAP | JSON_MODEL_UNREAD)))
		j->flags |= JSON_MODEL_INVALID | JSON_MODEL_GARBAGE;
}

/* The form ends here, with its last delimiter or without. */
static __always_inline void form_done(struct form_model *form, struct json_model *j)
{
	if (form->flags & FORM_ODD) {
		j->flags |= JSON_MODEL_GARBAGE;
		form_unclear(j);
	}
	j->state = JSON_MODEL_DONE;
}

/*
 * Index of the first of 64 bytes at p that is c and followed, `next` bytes on, by c. 64 if there is
 * none. A byte that a borrow has marked may be returned; the caller looks at it.
 */
static __always_inline __u64 form_find(const __u8 *p, __u8 c, __u64 next)
{
	__u64 wanted = scan_opaque(SCAN_ONES * c), ones = scan_opaque(SCAN_ONES), n = SCAN_PAD;
	__u64 w = 0, z, y, marks;

	SCAN_UNROLL
	for (int k = 0; k < SCAN_PAD; k += 8) {
		w = scan_load(p + k);
		z = w ^ wanted;
		y = scan_load(p + k + next) ^ wanted;
		marks = (z - ones) & ~z & (y - ones) & ~y & SCAN_HIGHS;
		if (marks) {
			n = k + scan_index(marks);
			break;
		}
	}
	return scan_forget(n, w);
}

#endif
