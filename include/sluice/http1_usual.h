/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fast path: head lines with nothing unusual about them, whole lines at a time and without the
 * state machine. It may leave any line to http1_line.h, and has to leave every line that it is not
 * sure of; both say the same of the lines that it takes.
 */
#ifndef SLUICE_HTTP1_USUAL_H
#define SLUICE_HTTP1_USUAL_H

#include "http1_headers.h"

#define HTTP1_LINES 16 /* lines that one step takes: the verifier walks each of them */

/*
 * The usual Content-Length: a space, one to seven digits, the end of the line. Returns how many of
 * the `left` bytes at p it took, up to the line's end, and its *value; 0 if it is anything else.
 */
static __always_inline __u64 http1_usual_length(const __u8 *p, __u64 left, __u64 *value)
{
	__u64 w = scan_load(p + 1) ^ SCAN_ONES * '0', digits;

	/* what is above 9 gets its high bit by adding 0x76 or has it already */
	digits = ((w & ~SCAN_HIGHS) + SCAN_ONES * 0x76) | w;
	digits = scan_index((digits & SCAN_HIGHS) | 1ULL << 63);
	if (left <= 1 + digits || p[0] != ' ' || !digits ||
	    (w >> 8 * digits & 0xff) != ('\r' ^ '0'))
		return 0;
	/* pairs, fours and eights of digits, the first in the lowest byte */
	w <<= 64 - 8 * digits;
	w = (w * 10 + (w >> 8)) & 0x00ff00ff00ff00ffULL;
	w = (w * 100 + (w >> 16)) & 0x0000ffff0000ffffULL;
	*value = (__u32)(w * 10000 + (w >> 32));
	return 1 + digits;
}

/*
 * Takes usual lines of a head from buf[p] on: those that do not matter, by the bits of their names
 * (`names`, and our own); a Content-Length; a response's Content-Type, and a request's first one if
 * it is JSON; a Connection that is to stay alive; and the empty line, after which *head_end is set.
 * Returns where it stopped: at `stop`, in the rest of a line (HTTP1_AT_REST), or at a line that
 * http1_line_step() has to read from its beginning.
 */
static __always_inline __u64 http1_usual_lines(struct http1_frame *f, const __u8 *buf, __u64 p,
					       __u64 stop, int response, __u64 names, __u8 *kind,
					       int *head_end)
{
	__u64 at, n, value, w[4];
	__u8 end;

	names |= http1_own_names(f, response);
	SCAN_STEPS
	for (int i = 0; i < HTTP1_LINES; i++) {
		p = scan_clamp(p);
		n = http1_words(buf + p, w, &end);
		if (p + n >= stop)
			break;
		if (!n && end == '\r' && p + 1 < stop && buf[p + 1] == '\n') {
			*head_end = 1;
			p += 2;
			break;
		}
		if (!n || end != ':')
			break;
		at = scan_clamp(p + n + 1);
		if (names >> ((http1_name_sum(w[0], 0) + http1_name_sum(w[1], 1) +
			       http1_name_sum(w[2], 2) + http1_name_sum(w[3], 3)) >>
			      58) &
		    1) {
			if (!response && w[0] == scan_literal("connecti") &&
			    w[1] == scan_literal("on\0\0\0\0\0\0") &&
			    scan_load(buf + at) == scan_literal(" keep-al") &&
			    (scan_load(buf + at + 8) & 0xffffffff) ==
				    scan_literal("ive\r\0\0\0\0") &&
			    at + 12 < stop) {
				f->header = HTTP1_HEADER_CONNECTION;
				/* NOLINTNEXTLINE(bugprone-branch-clone): read elsewhere */
			} else if (w[0] != scan_literal("content-")) {
				break;
			} else if (w[1] == scan_literal("length\0\0")) {
				n = http1_usual_length(buf + at, stop - at, &value);
				if (!n || f->flags & HTTP1_LENGTH)
					break;
				f->left = value;
				f->flags |= HTTP1_LENGTH;
				f->header = HTTP1_HEADER_CONTENT_LENGTH;
			} else if (response && w[1] == scan_literal("type\0\0\0\0")) {
				n = http1_words(buf + at + 1, w, &end);
				if (buf[at] != ' ' || at + n + 1 >= stop || !n ||
				    (end != '\r' && end != ';'))
					break;
				*kind = http1_kind(w[0], w[1], w[2], w[3]);
			} else if (!response && w[1] == scan_literal("type\0\0\0\0") &&
				   !(f->flags & HTTP1_TYPE) &&
				   scan_load(buf + at) == scan_literal(" applica") &&
				   scan_load(buf + at + 8) == scan_literal("tion/jso") &&
				   buf[at + 16] == 'n' && at + 17 < stop &&
				   (buf[at + 17] == '\r' ||
				    (scan_load(buf + at + 17) == scan_literal("; charse") &&
				     scan_load(buf + at + 25) == scan_literal("t=utf-8\r")))) {
				f->flags |= HTTP1_TYPE;
				f->header = HTTP1_HEADER_CONTENT_TYPE;
			} else {
				break;
			}
		} else {
			f->header = HTTP1_HEADER_OTHER;
		}
		p = scan_clamp(at + scan_control(buf + at));
		if (p + 1 >= stop || (scan_load(buf + p) & 0xffff) != 0x0a0d /* CR LF */) {
			f->state = HTTP1_AT_REST;
			break;
		}
		p = scan_forget(p + 2, stop);
		SCAN_FENCE();
	}
	return p > stop ? stop : p;
}

#endif
