/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A multipart body (RFC 2046 5.1): delimiters, the header lines of parts, and their data. Parts
 * that do not matter are searched for two dashes, which compressed data has every 64 KiB.
 */
#ifndef SLUICE_FORM_MULTIPART_H
#define SLUICE_FORM_MULTIPART_H

#include "form_disposition.h"

static __always_inline __u8 form_break(__u8 last, __u8 c)
{
	if (c == '\r')
		return FORM_CR;
	if (c == '\n')
		return last == FORM_CR ? FORM_CRLF : FORM_LF;
	return FORM_NO_BREAK;
}

/* The break that ends this form's lines. */
static __always_inline __u8 form_usual_break(const struct form_model *form)
{
	return form->flags & FORM_LINES ? FORM_LF : FORM_CRLF;
}

/* A delimiter has ended. It ends the field, too, if that was under way. */
static __always_inline void form_delimited(struct form_model *form, struct json_model *j, __u32 *ev)
{
	if (form->from == FORM_PREAMBLE) {
		if (form->flags & FORM_MIDLINE)
			form->flags |= FORM_ODD;
		if (j->state >= JSON_MODEL_NAME && !(j->flags & JSON_MODEL_UNREAD))
			json_model_name_drop(j);
		j->flags &= ~JSON_MODEL_GARBAGE;
		j->state = JSON_MODEL_FORM;
		form->flags |= FORM_BEGUN;
	} else if (form->last != form_usual_break(form) || form->from == FORM_LINE) {
		form->flags |= FORM_ODD;
	}
	if (form->from == FORM_VALUE)
		form_name_end(j, ev);
	json_media_count(j, scan_opaque(form->file) >> 1);
	form->file = FORM_FILE_NONE;
}

/* A part begins after a delimiter and this break. */
static __always_inline void form_part_begin(struct form_model *form, struct json_model *j, __u8 end,
					    __u32 *ev)
{
	if (!(form->flags & FORM_BEGUN) && end == FORM_LF)
		form->flags |= FORM_LINES;
	form_delimited(form, j, ev);
	if (end != form_usual_break(form))
		form->flags |= FORM_ODD;
	form->flags &= ~FORM_FIELD;
	form->stream = FORM_STREAM_NONE;
	form->said = 0;
	form->param = FORM_NOT_READ;
	form->last = end;
	form->state = FORM_LINE;
}

/* The last delimiter. */
static __always_inline void form_last(struct form_model *form, struct json_model *j, __u32 *ev)
{
	if (form->from == FORM_PREAMBLE) { /* no form: some look for a first delimiter again */
		form->flags |= FORM_MIDLINE;
		form->matched = form->len > 2 ? 2 : 0;
		form->last = FORM_NO_BREAK;
		form->state = FORM_PREAMBLE;
		return;
	}
	form_delimited(form, j, ev);
	form_done(form, j);
}

/* The end of a header line of a part. */
static __always_inline void form_line_end(struct form_model *form, __u8 end)
{
	if (end != form_usual_break(form))
		form->flags |= FORM_ODD;
	form->last = end;
	form->state = FORM_LINE;
}

static __always_inline __u8 form_wanted(const struct form_model *form)
{
	__u64 at = scan_opaque(form->matched);

	return at < FORM_DELIMITER_MAX ? form->delimiter[at] : 0;
}

/* One byte before the first delimiter, which some servers take in the middle of a line. */
static __always_inline void form_preamble_byte(struct form_model *form, __u8 c)
{
	__u8 matched = form->matched;

	if (c == form_wanted(form)) {
		if (!matched) {
			form->flags &= ~FORM_MIDLINE;
			if (form->last == FORM_NO_BREAK)
				form->flags |= FORM_MIDLINE;
		}
		form->matched = ++matched;
		if (matched == form->len) {
			form->from = FORM_PREAMBLE;
			form->state = FORM_TAIL;
			form->matched = 0;
		}
	} else {
		/* Only at "--" could a match begin inside a match. */
		if (matched > 2 && form->flags & FORM_DASHES)
			form->flags |= FORM_ODD;
		form->matched = 0;
		form->flags |= FORM_MIDLINE;
		if (c == '-' && matched == form->dashes)
			form->matched = matched;
		else if (c == '-' && matched) {
			form->matched = matched - 1; /* the byte before */
			form->matched = form_wanted(form) == '-' ? 2 : 1;
		}
	}
	form->last = c == '\n' ? FORM_LF : FORM_NO_BREAK;
}

/* What matched was no delimiter; c is the first byte that says so. */
static __always_inline void form_no_delimiter(struct form_model *form, struct json_model *j, __u8 c)
{
	form->state = form->from;
	form->matched = 0;
	form->last = form_break(FORM_NO_BREAK, c);
	if (form->from == FORM_PREAMBLE) {
		form->last = FORM_NO_BREAK;
		form_preamble_byte(form, c);
	} else if (form->from == FORM_VALUE) {
		j->flags |= JSON_MODEL_INVALID;
		if (form->last)
			form->state = FORM_VALUE_BREAK;
	} else if (form->from == FORM_LINE) {
		form->key = FORM_NO_MATCH;
		form->state = FORM_HEADER;
		if (c == '\r')
			form->state = FORM_EOL_CR;
		else if (c == '\n')
			form_line_end(form, FORM_LF);
	}
}

/* A part's header ends with this break. If it is not the usual one, the header goes on for some
 * servers; for the others, a part that is not the field does not matter. */
static __always_inline void form_head_end(struct form_model *form, struct json_model *j, __u8 end)
{
	int field = form->flags & FORM_FIELD ||
		    (form->said & (FORM_SAYS_FIELD | FORM_SAYS_FILE)) == FORM_SAYS_FIELD;

	form_line_end(form, end);
	if (!field && end != form_usual_break(form))
		return;
	form_disposition_end(form);
	form->last = FORM_HEAD;
	form->state = FORM_DATA;
	if (form->stream)
		form->stream = FORM_STREAM_NEXT;
	form->file <<= 1; /* PART becomes DATA */
	j->blob = 0;
	if (field && !(j->flags & JSON_MODEL_UNREAD)) {
		form->unclear |= form->coded;
		json_model_name_begin(j);
		form->state = FORM_VALUE;
	}
	form->coded = 0;
}

/* A byte of the value of Content-Type or Content-Transfer-Encoding. */
static __always_inline void form_coding_byte(struct form_model *form, __u8 c)
{
	__u8 lower = c | 0x20;

	switch (form->transfer) {
	case FORM_TRANSFER_TYPE:
		form->coded |= form_charset_byte(form, c);
		return;
	case FORM_TRANSFER_CODING: /* 7bit, 8bit and binary are the bytes themselves */
		if (form_space(c))
			return;
		form->transfer = FORM_TRANSFER_NONE;
		form->key = FORM_NO_MATCH;
		if (lower == 'b')
			form->transfer = FORM_TRANSFER_B;
		else if (c != '7' && c != '8')
			form->coded = 1;
		return;
	case FORM_TRANSFER_B:
		form->transfer = FORM_TRANSFER_NONE;
		form->key = FORM_NO_MATCH;
		form->coded |= lower != 'i';
	}
}

/* A byte of a header's name, or the colon after it. */
static __always_inline void form_key_byte(struct form_model *form, __u8 c)
{
	if (form->transfer) {
		form_coding_byte(form, c);
		return;
	}
	if (form->key == FORM_KEY_TY || form->key == FORM_KEY_TR) {
		if (c == ':')
			form->transfer = form->key == FORM_KEY_TY ? FORM_TRANSFER_TYPE
								  : FORM_TRANSFER_CODING;
		return;
	}
	if (form->key == 8 && (c | 0x20) == 't') {
		form->key = FORM_KEY_T;
		return;
	}
	if (form->key == FORM_KEY_T) {
		form->key = (c | 0x20) == 'y'   ? FORM_KEY_TY
			    : (c | 0x20) == 'r' ? FORM_KEY_TR
						: FORM_NO_MATCH;
		return;
	}
	if (form->key == FORM_NO_MATCH || (form_space(c) && (!form->key || form->key == 19)))
		return;
	if (form->key < 19 &&
	    (c | 0x20) == form_letter(scan_literal("content-"), scan_literal("disposit"),
				      scan_literal("ion\0\0\0\0\0"), form->key)) {
		form->key++;
		return;
	}
	if (form->key == 19 && c == ':') {
		form_disposition_end(form);
		form->param = FORM_PARAM_REST;
	}
	form->key = FORM_NO_MATCH;
}

/* One byte of a value to be kept, in a part. */
static __always_inline void form_value_byte(struct form_model *form, struct json_model *j, __u8 c)
{
	if (c == '\r' || c == '\n') {
		form->last = form_break(FORM_NO_BREAK, c);
		form->state = FORM_VALUE_BREAK;
	} else if (c == '-' && form->last == FORM_HEAD) {
		form->from = FORM_VALUE;
		form->matched = 1;
		form->state = FORM_DELIMITER;
	} else {
		form->last = FORM_NO_BREAK;
		form_name_byte(j, c);
	}
}

/* The byte after a CR in delimiters and headers. Returns whether it is the LF that belongs to it.
 */
static __always_inline int form_after_cr(struct form_model *form, struct json_model *j, __u8 c,
					 __u32 *ev)
{
	__u8 end = c == '\n' ? FORM_CRLF : FORM_CR;

	switch (form->state) {
	case FORM_TAIL_CR:
		form_part_begin(form, j, end, ev);
		break;
	case FORM_EOL_CR:
		form_line_end(form, end);
		break;
	case FORM_EMPTY_CR:
		form_head_end(form, j, end);
		break;
	default:
		return 0;
	}
	return c == '\n';
}

/* The first byte of a header line. Returns whether that is all about it. */
static __always_inline int form_line_begin(struct form_model *form, struct json_model *j, __u8 c)
{
	if (c == '\r') {
		form->state = FORM_EMPTY_CR;
	} else if (c == '\n') {
		form_head_end(form, j, FORM_LF);
	} else if (c == '-') { /* a delimiter: servers differ, or refuse the form */
		form->from = FORM_LINE;
		form->matched = 1;
		form->state = FORM_DELIMITER;
	} else {
		/* else it is a folded line, or it begins no line for some */
		if (!form_space(c) && form->last == form_usual_break(form))
			form_disposition_end(form);
		form->key = 0;
		form->state = FORM_HEADER;
		return 0;
	}
	return 1;
}

/* A byte of a header line. */
static __always_inline void form_header_byte(struct form_model *form, __u8 c)
{
	int end = c == '\r' || c == '\n';

	if (end && form->transfer) {
		form->coded |= form_charset_end(form);
		form->transfer = FORM_TRANSFER_NONE;
	}
	if (c == '\r')
		form->state = FORM_EOL_CR;
	else if (c == '\n')
		form_line_end(form, FORM_LF);
	else
		form_key_byte(form, c);
	if (form->param)
		form_disposition_byte(form, end ? ' ' : c);
}

/* One byte of a multipart body, but for the data of parts that do not matter. */
static __always_inline void form_multipart_byte(struct form_model *form, struct json_model *j,
						__u8 c, __u32 *ev)
{
	switch (form->state) {
	case FORM_PREAMBLE:
		form_preamble_byte(form, c);
		return;
	case FORM_DELIMITER:
		if (c != form_wanted(form)) {
			form_no_delimiter(form, j, c);
		} else if (++form->matched == form->len) {
			form->state = FORM_TAIL;
			form->matched = 0;
		}
		return;
	case FORM_TAIL:
		if (c == '-') {
			form->state = FORM_TAIL_DASH;
			return;
		}
		/* fall through */
	case FORM_TAIL_GAP:
		if (c == '\r') {
			form->state = FORM_TAIL_CR;
		} else if (c == '\n') {
			form_part_begin(form, j, FORM_LF, ev);
		} else if (form_space(c)) { /* some allow it */
			form->flags |= FORM_ODD;
			form->state = FORM_TAIL_GAP;
		} else {
			form_no_delimiter(form, j, c);
		}
		return;
	case FORM_TAIL_DASH:
		if (c == '-')
			form_last(form, j, ev);
		else
			form_no_delimiter(form, j, c);
		return;
	}
	if (form->state >= FORM_TAIL_CR && form->state <= FORM_EMPTY_CR &&
	    form_after_cr(form, j, c, ev))
		return;
	switch (form->state) {
	case FORM_LINE:
		if (form_line_begin(form, j, c))
			return;
		/* fall through */
	case FORM_HEADER:
		form_header_byte(form, c);
		return;
	case FORM_VALUE:
		form_value_byte(form, j, c);
		return;
	case FORM_VALUE_BREAK:
		if (c == '\n' && form->last == FORM_CR) {
			form->last = FORM_CRLF;
		} else if (c == '-') {
			form->from = FORM_VALUE;
			form->matched = 1;
			form->state = FORM_DELIMITER;
		} else {
			j->flags |= JSON_MODEL_INVALID;
			form->last = form_break(FORM_NO_BREAK, c);
			if (!form->last)
				form->state = FORM_VALUE;
		}
		return;
	case FORM_DATA: /* after the CR of an empty line that is no CR LF */
		form_value_begin(form, j, c);
		form->last = form_break(FORM_NO_BREAK, c);
	}
}

/* The break that ends right before buf[at], where the step began at buf[pos]. */
static __always_inline __u8 form_break_before(const struct form_model *form, const __u8 *buf,
					      __u64 pos, __u64 at)
{
	__u8 last = form->last;

	if (at > pos + 1)
		last = form_break(FORM_NO_BREAK, buf[scan_clamp(at - 2)]);
	if (at > pos)
		last = form_break(last, buf[scan_clamp(at - 1)]);
	return last;
}

/*
 * One step in the data of a part: many searches for two dashes, until they begin a line or the
 * window ends. A dash at the window's end may be the first of two.
 */
static __always_inline __u32 form_data_step(struct form_model *form, const __u8 *buf, __u64 pos,
					    __u64 stop)
{
	__u64 p = pos, n;
	__u8 last;

	SCAN_STEPS
	for (int i = 0; i < FORM_SEARCHES; i++) {
		p = scan_clamp(p);
		n = form_find(buf + p, '-', 1);
		p = scan_forget(p + n, stop);
		if (p + 1 >= stop)
			break;
		if (n >= SCAN_PAD)
			continue;
		if (form_break_before(form, buf, pos, p))
			break;
		p++;
	}
	if (p >= stop)
		p = stop - 1;
	p = scan_clamp(p);
	last = form_break_before(form, buf, pos, p);
	if (buf[p] == '-' && last) {
		form->from = FORM_DATA;
		form->matched = 1;
		form->state = FORM_DELIMITER;
		form->last = last;
	} else {
		form->last = form_break(last, buf[p]);
	}
	return p + 1 - pos;
}

#endif
