/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A body of type application/x-www-form-urlencoded: the fields "model" and "stream", unescaped. */
#ifndef SLUICE_FORM_URLENCODED_H
#define SLUICE_FORM_URLENCODED_H

#include "form_types.h"

/* One step in a field of an urlencoded form that does not matter. */
static __always_inline __u32 form_rest_step(struct form_model *form, const __u8 *buf, __u64 pos,
					    __u64 stop)
{
	__u64 p = pos, n;

	SCAN_STEPS
	for (int i = 0; i < FORM_SEARCHES; i++) {
		p = scan_clamp(p);
		n = form_find(buf + p, '&', 0);
		p = scan_forget(p + n, stop);
		if (n < SCAN_PAD || p >= stop)
			break;
	}
	if (p >= stop)
		return stop - pos;
	p = scan_clamp(p);
	if (buf[p] == '&') {
		form->state = FORM_KEY;
		form->index = 0;
	}
	return p + 1 - pos;
}

/* A byte of a field's name, unescaped. */
static __always_inline void form_urlencoded_key(struct form_model *form, __u8 c)
{
	form->state = FORM_KEY;
	if (json_model_fits(form->index, c | 0x20))
		form->index = json_model_matched(form->index, c | 0x20);
	else
		form->state = FORM_REST;
}

/* One byte of an urlencoded body, but for the fields that do not matter. */
static __always_inline void form_urlencoded_byte(struct form_model *form, struct json_model *j,
						 __u8 c, __u32 *ev)
{
	__u8 d = scan_hex(c);

	if (form->state == FORM_START) {
		if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0xef || c == 0xbb ||
		    c == 0xbf)
			return;
		/* Some servers read JSON, whatever its type, and in other encodings. */
		if (c == '{' || c == '/' || c == '#' || !c || c >= 0xfe) {
			form->kind = 0;
			form->flags |= FORM_DOUBT;
			j->state = JSON_MODEL_START;
			j->unit = c;
			j->unit_len = 1;
			return;
		}
		form->state = FORM_KEY;
	}
	if (c == '&') {
		if (form->state == FORM_KEPT_HEX || form->state == FORM_KEPT_HEX_2)
			j->flags |= JSON_MODEL_INVALID;
		if (form->state >= FORM_KEPT)
			form_name_end(j, ev);
		form->state = FORM_KEY;
		form->index = 0;
		return;
	}
	switch (form->state) {
	case FORM_KEY:
		if (c == '%') {
			form->state = FORM_KEY_HEX;
		} else if (c == '=' && form->index == JSON_MODEL_IS_NAME &&
			   !(j->flags & JSON_MODEL_UNREAD)) {
			json_model_name_begin(j);
			form->state = FORM_KEPT;
		} else if (c == '=' && form->index == JSON_MODEL_ASKS) {
			form->stream = FORM_STREAM_NEXT;
			form->state = FORM_REST;
		} else {
			form_urlencoded_key(form, c);
		}
		return;
	case FORM_KEY_HEX:
		form->hex = d;
		form->state = d > 15 ? FORM_REST : FORM_KEY_HEX_2;
		return;
	case FORM_KEY_HEX_2:
		if (d > 15)
			form->state = FORM_REST;
		else
			form_urlencoded_key(form, form->hex << 4 | d);
		return;
	case FORM_KEPT:
		if (c == '%')
			form->state = FORM_KEPT_HEX;
		else
			form_name_byte(j, c == '+' ? ' ' : c);
		return;
	case FORM_KEPT_HEX:
		form->hex = d;
		form->state = FORM_KEPT_HEX_2;
		break;
	case FORM_KEPT_HEX_2:
		form_name_byte(j, form->hex << 4 | (d & 15));
		form->state = FORM_KEPT;
		break;
	}
	if (d > 15) { /* no escape */
		j->flags |= JSON_MODEL_INVALID;
		form->state = FORM_KEPT;
	}
}

#endif
