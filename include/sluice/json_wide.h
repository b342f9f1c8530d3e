/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * JSON in UTF-16 and UTF-32, which Python and Jackson detect by themselves. The zeros among the
 * first four bytes give the encoding away, since a JSON text begins with an ASCII character (RFC
 * 4627 3), or a byte order mark does. Code units may be split anywhere.
 */
#ifndef SLUICE_JSON_WIDE_H
#define SLUICE_JSON_WIDE_H

#include "json_text.h"

#define JSON_MODEL_BOM   0xfeff
#define JSON_MODEL_UNITS 8 /* code units, or runs of them, that one step takes at most */

/*
 * One byte of the first four. Returns how many bytes it consumed: 1, or 0 once the encoding is
 * known. What has been consumed is then part of j->unit, or has been scanned.
 */
static __always_inline __u32 json_model_detect(struct json_model *j, const __u8 *p, __u64 left)
{
	__u64 w = scan_load(p);
	__u32 first = j->unit;
	__u8 c = p[0];

	switch (j->unit_len) {
	case 0:
		if (left >= 4 && !(scan_below(w, 1) & SCAN_HIGHS & 0xffffffff) &&
		    (w & 0xffff) != 0xfeff && (w & 0xffff) != 0xfffe) {
			j->encoding = JSON_MODEL_UTF8;
			return 0;
		}
		j->unit = c;
		j->unit_len = 1;
		return 1;
	case 1:
		if (!first || (first == 0xfe && c == 0xff)) {
			j->encoding = first || c ? JSON_MODEL_UTF16_BE : JSON_MODEL_UTF32_BE;
			return 0;
		}
		if (!c || (first == 0xff && c == 0xfe)) {
			j->unit = first | c << 8;
			j->unit_len = 2;
			return 1;
		}
		j->encoding = JSON_MODEL_UTF8;
		break;
	case 2:
		if (!c) {
			j->unit_len = 3;
			return 1;
		}
		j->encoding = JSON_MODEL_UTF16_LE;
		break;
	default:
		j->encoding = c ? JSON_MODEL_UTF16_LE : JSON_MODEL_UTF32_LE;
		if (!c)
			return 0;
	}
	j->unit = 0; /* the low byte of the second unit, if that has come */
	j->unit_len = j->unit_len == 3;
	if (first != JSON_MODEL_BOM)
		json_model_top(j, j->encoding == JSON_MODEL_UTF8 || first < 0x80 ? first : 0xff);
	return 0;
}

/* One code unit in any state. Returns the events in it. */
SCAN_SUBPROG int json_model_unit(struct json_model *j, __u32 unit)
{
	__u8 c = unit < 0x80 ? unit : 0xff;
	__u32 ev = 0;

	if (!j)
		return 0;
	if (j->state >= JSON_MODEL_NAME) {
		if (j->state != JSON_MODEL_DONE)
			json_model_name_char(j, unit, &ev);
		return ev;
	}
	if (j->state >= JSON_MODEL_SLASH && json_model_comment(j, c))
		return 0;
	if (j->state >= JSON_MODEL_KEY_STRING && j->state < JSON_MODEL_COLON &&
	    json_model_key(j, c))
		return 0;
	if (j->state == JSON_MODEL_WORD)
		json_model_word(j, c);
	switch (j->state) {
	case JSON_MODEL_STRING:
		if (c == '"')
			j->state = j->next;
		else if (c == '\\')
			j->state = JSON_MODEL_STRING_ESCAPE;
		return 0;
	case JSON_MODEL_STRING_ESCAPE:
		j->state = JSON_MODEL_STRING;
		return 0;
	case JSON_MODEL_DEEP:
		j->depth = json_model_deep(j, c, j->depth);
		return 0;
	}
	if (unit != JSON_MODEL_BOM || j->state != JSON_MODEL_START)
		json_model_top(j, c);
	return 0;
}

/* The code unit at p. */
static __always_inline __u32 json_model_load_unit(const __u8 *p, __u8 encoding)
{
	__u32 w = scan_load(p);

	if (encoding & 1)
		w = __builtin_bswap32(w);
	if (encoding >= JSON_MODEL_UTF32_LE)
		return w;
	return encoding & 1 ? w >> 16 : w & 0xffff;
}

struct json_model_pad {
	__u8 byte[SCAN_PAD];
};

/* How many bytes at `pad` do not matter: of a string, or of a comment. */
SCAN_SUBPROG int json_model_run(const struct json_model *j, const struct json_model_pad *pad)
{
	if (!j || !pad)
		return 0;
	if (j->state == JSON_MODEL_STRING)
		return json_model_string_end(pad->byte);
	return json_model_in_comment(j) ? json_model_comment_end(pad->byte) : 0;
}

/*
 * One step of a wide text from buf[pos] on: several units, or runs that do not matter. Returns how
 * many bytes were consumed, 1 … end - pos.
 */
static __always_inline __u32 json_model_wide_step(struct json_model *j, const __u8 *buf, __u32 pos,
						  __u32 end, __u32 *ev)
{
	__u64 p = scan_clamp(pos), stop = end, n, size = j->encoding & 6;
	__u32 unit;

	SCAN_STEPS
	for (int i = 0; i < JSON_MODEL_UNITS; i++) {
		p = scan_clamp(p);
		if (!j->unit_len) {
			n = 0;
			if (j->state == JSON_MODEL_STRING || json_model_in_comment(j))
				n = json_model_run(j, (const struct json_model_pad *)(buf + p));
			n = scan_forget(n, stop);
			if (n > stop - p)
				n = stop - p;
			n = scan_forget(n & -size, stop);
			p = scan_clamp(p + n);
			if (n >= SCAN_PAD || p >= stop)
				goto next;
		}
		if (j->unit_len || stop - p < size) {
			unit = j->encoding & 1 ? j->unit << 8 | (__u32)buf[p]
					       : j->unit | (__u32)buf[p] << 8 * (j->unit_len & 3);
			p++;
			if (++j->unit_len < size) {
				j->unit = unit;
				goto next;
			}
			j->unit = 0;
			j->unit_len = 0;
		} else {
			unit = json_model_load_unit(buf + p, j->encoding);
			p += size;
		}
		SCAN_FENCE();
		*ev |= json_model_unit(j, unit);
	next:
		p = scan_forget(p, stop);
		if (p >= stop || *ev || j->state == JSON_MODEL_DONE)
			break;
		SCAN_FENCE();
	}
	return p - pos;
}

#endif
