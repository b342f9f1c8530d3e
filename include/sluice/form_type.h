/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the Content-Type of a request: whether its body is a form, the boundary of a multipart one
 * (RFC 2046 5.1.1), and whether its charset is an unusual one. What servers read in different ways
 * is FORM_DOUBT: two such headers, two boundaries, quotes that may end elsewhere.
 */
#ifndef SLUICE_FORM_TYPE_H
#define SLUICE_FORM_TYPE_H

#include "form_types.h"
#include "http1_token.h"

/* At the colon of a Content-Type. */
static __always_inline void form_type_begin(struct http1_frame *f, struct form_model *form)
{
	http1_token_begin(f);
	f->state = HTTP1_AT_TYPE;
	if (form->kind)
		form->flags |= FORM_DOUBT;
}

/* The type itself has ended. */
static __always_inline void form_type_named(struct http1_frame *f, struct form_model *form)
{
	__u8 kind = 0;

	if (http1_word(f, 0) == scan_literal("multipar") &&
	    (__u16)http1_word(f, 1) == (__u16)scan_literal("t/\0\0\0\0\0\0"))
		kind = FORM_MULTIPART;
	else if (http1_word(f, 0) == scan_literal("applicat") &&
		 http1_word(f, 1) == scan_literal("ion/x-ww") &&
		 http1_word(f, 2) == scan_literal("w-form-u") &&
		 http1_word(f, 3) == scan_literal("rlencode"))
		kind = FORM_URLENCODED; /* NOLINT(bugprone-branch-clone): not Werkzeug */
	else if (http1_word(f, 0) == scan_literal("applicat") &&
		 http1_word(f, 1) == scan_literal("ion/x-ur") &&
		 http1_word(f, 2) == scan_literal("l-encode"))
		kind = FORM_URLENCODED; /* Werkzeug */
	if (kind && f->flags & HTTP1_TYPE)
		form->flags |= FORM_DOUBT;
	f->flags |= HTTP1_TYPE;
	form->kind |= kind;
	form->param = FORM_PARAM_REST;
}

/* One more byte of the boundary. */
static __always_inline void form_type_store(struct form_model *form, __u8 c)
{
	__u64 len = scan_opaque(form->len);

	if (len < 2 || len >= FORM_DELIMITER_MAX) {
		form->flags |= FORM_DOUBT;
		return;
	}
	form->delimiter[len] = c;
	form->len = len + 1;
	if (c != '-')
		return;
	if (form->dashes == len)
		form->dashes = len + 1;
	else if (form->delimiter[len - 1] == '-')
		form->flags |= FORM_DASHES;
}

/* A boundary begins. */
static __always_inline void form_type_boundary(struct form_model *form)
{
	if (form->len)
		form->flags |= FORM_DOUBT;
	form->len = form->dashes = 2;
	form->delimiter[0] = form->delimiter[1] = '-';
	form->param = FORM_PARAM_VALUE_START;
}

/* One byte of the parameters. */
static __always_inline void form_type_byte(struct form_model *form, __u8 c)
{
	switch (form->param) {
	case FORM_PARAM_REST:
		if (c == ';') {
			form->param = FORM_PARAM_NAME;
			form->index = 0;
		} else if (c == '"') {
			form->param = FORM_PARAM_REST_QUOTED;
		}
		return;
	case FORM_PARAM_REST_QUOTED:
		if (c == '"')
			form->param = FORM_PARAM_REST;
		else if (c == ';' || c == '\\')
			form->flags |= FORM_DOUBT;
		return;
	case FORM_PARAM_NAME:
		if (c == ';') {
			form->index = 0;
		} else if (form->index == 8 && c == '=') {
			form_type_boundary(form);
		} else if (form->index < 8 &&
			   (c | 0x20) == form_letter(scan_literal("boundary"), 0, 0, form->index)) {
			form->index++;
		} else if (!form_space(c) || (form->index && form->index < 8)) {
			if (form->index == 8 && c == '*')
				form->flags |= FORM_DOUBT;
			form->param = c == '"' ? FORM_PARAM_REST_QUOTED : FORM_PARAM_REST;
		}
		return;
	case FORM_PARAM_VALUE_START:
		if (form_space(c))
			return;
		form->param = FORM_PARAM_VALUE;
		if (c == '"') {
			form->param = FORM_PARAM_QUOTED;
			return;
		}
		/* fall through */
	case FORM_PARAM_VALUE:
	case FORM_PARAM_VALUE_GAP:
		if (c == ';') {
			form->param = FORM_PARAM_NAME;
			form->index = 0;
		} else if (form_space(c)) {
			form->param = FORM_PARAM_VALUE_GAP;
		} else if (form->param == FORM_PARAM_VALUE_GAP || c == '"' || c == '\\') {
			form->flags |= FORM_DOUBT;
		} else {
			form_type_store(form, c);
		}
		return;
	case FORM_PARAM_QUOTED:
		if (c == '"')
			form->param = FORM_PARAM_REST;
		else if (c == ';' || c == '\\')
			form->flags |= FORM_DOUBT;
		else
			form_type_store(form, c);
	}
}

/* One step within the value of Content-Type. Returns how many bytes it took. */
static __always_inline __u32 form_type_step(struct http1_frame *f, struct form_model *form,
					    const __u8 *buf, __u64 pos, __u64 stop, __u32 *ev)
{
	__u64 p = pos;
	__u8 c = buf[p];
	__u32 n;

	if (!form->param) {
		n = http1_run(f, buf + p, stop - p, 0x20);
		if (n)
			return n;
		if (form_space(c) && !f->token_len)
			return 1;
		form_type_named(f, form);
	}
	SCAN_STEPS
	for (int i = 0; i < FORM_BYTES; i++) {
		c = buf[scan_clamp(p)];
		p = scan_forget(p + 1, stop);
		if (!c || c == '\r' || c == '\n')
			break;
		if (form->kind == FORM_MULTIPART)
			form_type_byte(form, c);
		form->unclear |= form_charset_byte(form, c);
		if (p >= stop)
			return p - pos;
		SCAN_FENCE();
	}
	if (!c)
		http1_framing_error(f, ev);
	if (c == '\r' || c == '\n') {
		form->unclear |= form_charset_end(form);
		form->param = FORM_NOT_READ;
		http1_line_end(f, c);
	}
	return p - pos;
}

#endif
