/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finds the fields "model" and "stream" of a form that arrives in pieces: multipart/form-data (RFC
 *7578) or application/x-www-form-urlencoded. It stores the delimiter and the name, nothing else.
 *What it finds goes where the JSON scanner stores it, with the same flags and events
 *(json_model.h).
 *
 * Servers differ in what they take for a line end, a delimiter or the field's name. What any of the
 * common ones takes for the field is reported. FORM_ODD notes that they differ. If no name was
 *found then, the name is JSON_MODEL_INVALID: there may be one.
 *
 *	form_type.h         the Content-Type of a request
 *	form_types.h        state
 *	form_multipart.h    delimiters, header lines and data; with form_disposition.h
 *	form_urlencoded.h
 */
#ifndef SLUICE_FORM_MODEL_H
#define SLUICE_FORM_MODEL_H

#include "form_multipart.h"
#include "form_urlencoded.h"

/* The head has ended, and with it what the type says. */
static __always_inline void form_begin(struct form_model *form, struct json_model *j)
{
	if (form->kind == FORM_MULTIPART && !form->len && !(form->flags & FORM_DOUBT))
		form->kind = 0; /* no server can read it */
	if (form->kind == (FORM_MULTIPART | FORM_URLENCODED))
		form->flags |= FORM_DOUBT;
	if (form->flags & FORM_DOUBT) {
		form->kind = 0;
		form->unclear = 1;
	}
	form->param = FORM_NOT_READ;
	form->last = FORM_LF; /* the first delimiter needs no break before it */
	if (form->kind == FORM_URLENCODED) {
		form->state = FORM_START;
		j->state = JSON_MODEL_FORM;
	}
}

/* Whether the JSON scanner reads these bytes, too: those before the first delimiter. */
static __always_inline int form_beside_json(const struct form_model *form,
					    const struct json_model *j)
{
	return form->kind == FORM_MULTIPART && !(form->flags & FORM_BEGUN) &&
	       j->state != JSON_MODEL_FORM && j->state != JSON_MODEL_DONE;
}

/*
 * How many of the `left` bytes at p, before the first delimiter, the two scanners may take together
 * at once: one, or those that are no part of a delimiter.
 */
static __always_inline __u64 form_together(const struct form_model *form, const __u8 *p, __u64 left)
{
	__u64 n = 0, w = 0, marks;

	if (form->state != FORM_PREAMBLE || form->matched)
		return 1;
	SCAN_UNROLL
	for (int k = 0; k < 16; k += 8) {
		w = scan_load(p + k);
		marks = (scan_equal(w, '-') | scan_below(w, 0x20)) & SCAN_HIGHS;
		n = k + (marks ? scan_index(marks) : 8);
		if (marks)
			break;
	}
	n = n > left ? left : n;
	return scan_forget(n ? n : 1, w);
}

/* Before the first delimiter: what the JSON scanner has made of the bytes to come. */
static __always_inline void form_json_read(struct form_model *form, struct json_model *j)
{
	if (form->kind != FORM_MULTIPART || form->flags & FORM_BEGUN)
		return;
	if (j->state != JSON_MODEL_START && j->state != JSON_MODEL_DONE &&
	    j->state != JSON_MODEL_FORM)
		form->flags |= FORM_OBJECT;
	if (j->state != JSON_MODEL_DONE || j->flags & JSON_MODEL_GAP)
		return;
	if (!(form->flags & FORM_OBJECT))
		j->flags &= ~JSON_MODEL_GARBAGE; /* no object: what a form begins with */
	j->state = JSON_MODEL_FORM;
}

/* How many of n bytes are of a file. */
static __always_inline __u64 form_blob_bytes(const struct form_model *form, __u64 n)
{
	return n & -(scan_opaque(form->file) >> 1);
}

/*
 * Whether the bytes that come next, already read as the data of a file, are that. `first` is the
 * first one; they end in the break `last`.
 */
static __always_inline int form_file_goes_on(struct form_model *form, __u8 first, __u8 last)
{
	if (form->file != FORM_FILE_DATA || form->stream)
		return 0;
	if (form->state == FORM_DELIMITER && form->from == FORM_DATA && first != form_wanted(form))
		form->state = FORM_DATA;
	form->matched = 0;
	form->last = last;
	return form->state == FORM_DATA;
}

/*
 * One step from buf[pos] on. Returns how many bytes were consumed, 1 … end - pos; all of what
 * form_together() allowed, if that was asked. Raises HTTP1_MODEL.
 */
static __always_inline __u32 form_model_step(struct form_model *form, struct json_model *j,
					     const __u8 *buf, __u32 pos, __u32 end, __u32 *ev)
{
	__u64 p = scan_clamp(pos), stop = end;

	if (j->state == JSON_MODEL_DONE)
		return end - pos;
	if (form->state >= FORM_DATA)
		form_value_begin(form, j, buf[p]);
	if (form->state == FORM_DATA) {
		__u32 n = form_data_step(form, buf, p, stop);

		j->blob += form_blob_bytes(form, n);
		return n;
	}
	if (form->state == FORM_REST)
		return form_rest_step(form, buf, p, stop);
	if (form->state == FORM_PREAMBLE && !form->matched) {
		__u64 n = form_together(form, buf + p, stop - p);

		if (n > 1) {
			form->last = FORM_NO_BREAK;
			return n;
		}
	}
	SCAN_STEPS
	for (int i = 0; i < FORM_BYTES; i++) {
		__u8 c = buf[scan_clamp(p)];

		j->blob += form_blob_bytes(form, 1);
		if (form->kind == FORM_MULTIPART)
			form_multipart_byte(form, j, c, ev);
		else
			form_urlencoded_byte(form, j, c, ev);
		p = scan_forget(p + 1, stop);
		if (p >= stop || *ev || form->state >= FORM_DATA || !form->kind ||
		    j->state == JSON_MODEL_DONE)
			break;
		SCAN_FENCE();
	}
	return p - pos;
}

/* The body has ended. Raises HTTP1_MODEL if a name ended with it, or did not. */
static __always_inline void form_model_end(struct form_model *form, struct json_model *j, __u32 *ev)
{
	if (form->flags & FORM_DOUBT)
		form_unclear(j);
	if (j->state == JSON_MODEL_DONE)
		return;
	if (form->kind == FORM_URLENCODED) {
		form_value_begin(form, j, 0); /* an empty one */
		if (form->state == FORM_KEPT_HEX || form->state == FORM_KEPT_HEX_2)
			j->flags |= JSON_MODEL_INVALID;
		if (form->state >= FORM_KEPT && form->state <= FORM_KEPT_HEX_2)
			form_name_end(j, ev);
		j->state = JSON_MODEL_DONE;
	} else if (form->kind == FORM_MULTIPART) {
		if (form->flags & FORM_BEGUN && j->state == JSON_MODEL_NAME) {
			j->flags |= JSON_MODEL_INVALID;
			form_name_end(j, ev);
		}
		if (form->flags & FORM_BEGUN || !(form->flags & FORM_OBJECT))
			j->flags |= JSON_MODEL_GARBAGE;
		form_done(form, j);
	}
}

#endif
