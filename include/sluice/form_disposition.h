/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The Content-Disposition of a part of a multipart form (RFC 7578 4.2): is the part the field
 * "model" or "stream"? Whatever a common server takes for that is it: quotes or none, escapes, RFC
 * 5987 and RFC 2231, parameters that a semicolon in quotes begins.
 */
#ifndef SLUICE_FORM_DISPOSITION_H
#define SLUICE_FORM_DISPOSITION_H

#include "form_types.h"

/* A byte of the value of a parameter "name", without quotes and escapes. */
static __always_inline void form_field_byte(struct form_model *form, __u8 c)
{
	if (form->said & FORM_SAYS_EXTENDED && c == '\'') /* charset'language'name */
		form->index = 0;
	else if (json_model_fits(form->index, c | 0x20))
		form->index = json_model_matched(form->index, c | 0x20);
	else
		form->index = FORM_NO_MATCH;
}

/* … which has ended. */
static __always_inline void form_field_end(struct form_model *form)
{
	if (form->said & FORM_SAYS_FILENAME)
		return;
	if (form->index == JSON_MODEL_IS_NAME)
		form->said |= FORM_SAYS_FIELD;
	else if (form->index == JSON_MODEL_ASKS)
		form->said |= FORM_SAYS_STREAM;
}

/* A parameter begins after this semicolon. */
static __always_inline void form_param_begin(struct form_model *form)
{
	form->param = FORM_PARAM_NAME;
	form->index = 0;
	form->said &= ~(FORM_SAYS_EXTENDED | FORM_SAYS_FILENAME);
}

/* A byte of a parameter's name, or the sign after it. */
static __always_inline void form_param_name(struct form_model *form, __u8 c)
{
	int file, len;

	if (!form->index && (c | 0x20) == 'f')
		form->said |= FORM_SAYS_FILENAME;
	file = form->said & FORM_SAYS_FILENAME;
	len = file ? 8 : 4;
	if (form_space(c) && (!form->index || form->index == len))
		return;
	if (form->index < len && (c | 0x20) == form_letter(file ? scan_literal("filename")
								: scan_literal("name\0\0\0\0"),
							   0, 0, form->index)) {
		form->index++;
		return;
	}
	if (form->index == len && c == '*') {
		form->said |= FORM_SAYS_EXTENDED;
		return;
	}
	/* name*0=mod; name*1=el: some put it together */
	if (form->index == len && form->said & FORM_SAYS_EXTENDED && c >= '0' && c <= '9') {
		if (!file)
			form->said |= FORM_SAYS_FIELD;
		return;
	}
	form->param = FORM_PARAM_REST;
	if (form->index != len || c != '=')
		return;
	form->param = FORM_PARAM_VALUE_START;
	form->index = 0;
	form->percent = 0;
}

/* A byte of a parameter's value. */
static __always_inline void form_param_value(struct form_model *form, __u8 c)
{
	__u8 d;

	if (form->said & FORM_SAYS_FILENAME) {
		/* If a backslash or an extended name was there, some servers take a field. */
		if (!(form->said &
		      (FORM_SAYS_BACKSLASH | FORM_SAYS_EXTENDED | FORM_SAYS_SEPARATOR)))
			form->said |= FORM_SAYS_FILE;
		return;
	}
	if (form->said & FORM_SAYS_EXTENDED) {
		if (form->percent) {
			d = scan_hex(c);
			form->hex = form->hex << 4 | (d & 15);
			if (--form->percent)
				return;
			c = form->hex;
		} else if (c == '%') {
			form->percent = 2;
			return;
		}
	}
	form_field_byte(form, c);
}

/* One byte of a Content-Disposition; a space for a line's end. */
static __always_inline void form_disposition_byte(struct form_model *form, __u8 c)
{
	int quoted = form->said & FORM_SAYS_QUOTED;

	if (form->param == FORM_PARAM_ESCAPE) {
		form->param = FORM_PARAM_QUOTED;
		form_param_value(form, c);
		return;
	}
	if (c == '\\')
		form->said |= FORM_SAYS_BACKSLASH;
	if (c == ';') {
		if (form->param == FORM_PARAM_VALUE)
			form_field_end(form);
		if (quoted) /* a few servers split here */
			form->said |= FORM_SAYS_SEPARATOR;
		form_param_begin(form);
		return;
	}
	switch (form->param) {
	case FORM_PARAM_REST:
		break;
	case FORM_PARAM_NAME:
		if (c != '"')
			form_param_name(form, c);
		else
			form->param = FORM_PARAM_REST;
		break;
	case FORM_PARAM_VALUE_START:
		if (form_space(c))
			return;
		if (c == '"' && !quoted) {
			form->said |= FORM_SAYS_QUOTED;
			form->param = FORM_PARAM_QUOTED;
			return;
		}
		form->param = FORM_PARAM_VALUE;
		/* fall through */
	case FORM_PARAM_VALUE:
		if (form_space(c)) {
			form_field_end(form);
			form->param = FORM_PARAM_REST;
		} else {
			form_param_value(form, c);
		}
		break;
	case FORM_PARAM_QUOTED:
		if (c == '\\') {
			form->param = FORM_PARAM_ESCAPE;
		} else if (c == '"') {
			form_field_end(form);
			form->said &= ~FORM_SAYS_QUOTED;
			form->param = FORM_PARAM_REST;
		} else {
			form_param_value(form, c);
		}
		return;
	}
	if (c == '"')
		form->said ^= FORM_SAYS_QUOTED;
}

/* The disposition under way has ended: does it name the field? */
static __always_inline void form_disposition_end(struct form_model *form)
{
	if ((form->said & (FORM_SAYS_FIELD | FORM_SAYS_FILE)) == FORM_SAYS_FIELD)
		form->flags |= FORM_FIELD;
	if ((form->said & (FORM_SAYS_STREAM | FORM_SAYS_FILE)) == FORM_SAYS_STREAM)
		form->stream = FORM_STREAM_PART;
	if (form->said & FORM_SAYS_FILE)
		form->file = FORM_FILE_PART;
	form->said = 0;
	form->param = FORM_NOT_READ;
}

#endif
