/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counts the generated events of a streamed response (SSE or NDJSON), and knows a failed one. Only
 * generated output is a token: text, reasoning, tool calls, audio and images in the places where
 * the known APIs put them (stream_json.h). Where a response has none of these places its format is
 * guessed: each event counts that has data in an unknown place, but for those whose name says that
 * they are none. user/docs/streams.md lists the servers.
 *
 * Most events of a response are alike up to their output. So an event whose first bytes have the
 * hash of those before the last output has output there, too, if its next byte ends no string. All
 * others are read byte by byte. Where usage is wanted, what follows such output is only searched
 * for a name that may be that of a number of tokens; if it has one, it is read byte by byte, too.
 * All ways give the same result, wherever segments cut an event.
 *
 * `tokens` is what the response has cost: its generated events so far, or what it has stated of
 * itself. Its end corrects it to what it stated last.
 */
#ifndef SLUICE_STREAM_H
#define SLUICE_STREAM_H

#include "stream_json.h"

/* The event under way has ended: what was not decided by its text is decided by its having none. */
static __always_inline void stream_event_end(struct stream *s, __u32 *ev)
{
	__u16 flags = s->flags;

	if (!(flags & (STREAM_COUNTED | STREAM_FAILED))) {
		if (flags & STREAM_WRONG) { /* Dynamo sends its text in a comment, and no data */
			stream_fail(s, ev);
		} else if ((flags & (STREAM_DATA | STREAM_UNKNOWN)) ==
				   (STREAM_DATA | STREAM_UNKNOWN) &&
			   !(flags & (STREAM_KNOWN | STREAM_NAMED))) {
			stream_count(s, ev);
			if (!(flags & STREAM_GUESSED))
				*ev |= STREAM_GUESS;
			s->flags |= STREAM_GUESSED;
		}
	}
	if (s->tokens < s->usage)
		s->tokens = s->usage;
	s->flags &= STREAM_OF_RESPONSE;
	__builtin_memset(&s->json, 0, sizeof(s->json));
}

/*
 * The response has ended. A last line of NDJSON needs no line feed; SSE discards what no blank line
 * ends.
 */
static __always_inline void stream_end(struct stream *s, __u32 *ev)
{
	if (s->kind == STREAM_NDJSON && (s->flags & STREAM_OPEN))
		stream_event_end(s, ev);
	if (s->usage && !(s->flags & STREAM_FAILED))
		s->tokens = s->usage;
}

/* The first byte of an event that is no comment. */
static __always_inline void stream_event_begin(struct stream *s, __u32 *ev)
{
	if (!(s->flags & STREAM_OPEN)) {
		s->flags |= STREAM_OPEN;
		*ev |= STREAM_EVENT_BEGIN;
	}
}

/* Data other than [DONE] has begun in the line under way; where it goes on. */
static __always_inline void stream_data(struct stream *s, __u32 *ev)
{
	__u16 flags = s->flags;

	s->flags |= STREAM_DATA;
	s->state = STREAM_AT_REST;
	if (flags & STREAM_FAILED || (flags & (STREAM_COUNTED | STREAM_WHOLE)) == STREAM_COUNTED)
		return;
	if (flags & STREAM_WRONG && !(flags & STREAM_COUNTED))
		stream_fail(s, ev);
	else
		s->state = STREAM_AT_JSON;
	if (!(flags & STREAM_DATA))
		s->offset = 0;
}

/* A hash of n bytes from byte p of the window on, 8 … STREAM_PREFIX_MAX of them. */
SCAN_SUBPROG __u64 stream_prefix(const struct stream_window *window, __u32 p, __u32 n)
{
	__u64 hash = n;

	if (!window)
		return 0;
	SCAN_STEPS
	for (__u32 i = 8; i <= STREAM_PREFIX_MAX && i <= n; i += 8) {
		hash ^= scan_load(window->byte + scan_clamp(p + i - 8));
		hash *= 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 29;
	}
	hash ^= scan_load(window->byte + scan_clamp(p + n - 8));
	hash *= 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

/*
 * Whether the colon of window->byte[p] may follow the name of a number that stream_key() knows. It
 * goes by the end of the name: of all of the *_tokens, of predicted_n, eval_count and
 * tokens_predicted. A space before the colon may hide the name.
 */
static __always_inline int stream_may_number(const struct stream_window *window, __u64 p)
{
	__u64 name = scan_load(window->byte + scan_clamp(p - 7)) >> 16;
	__u8 before = name >> 32;

	name &= 0xffffffffffULL;
	return before == ' ' || name == scan_literal("kens\"\0\0") ||
	       name == scan_literal("ed_n\"\0\0") || name == scan_literal("ount\"\0\0") ||
	       name == scan_literal("cted\"\0\0");
}

#define STREAM_REST_STEPS 64 /* words and colons that stream_rest() looks at */

/*
 * The end of the line that has output at byte p of the window, 8 or more: its CR or LF. 0 if the
 * line has to be read, since it may state usage, has a tab, or does not end its event before `end`.
 */
SCAN_SUBPROG int stream_rest(const struct stream_window *window, __u32 pos, __u32 end, __u32 kind)
{
	__u64 p = pos, stop = end, w, marks;

	if (!window)
		return 0;
	SCAN_STEPS
	for (int i = 0; i < STREAM_REST_STEPS; i++) {
		if (p >= stop)
			return 0;
		p = scan_clamp(p);
		w = scan_load(window->byte + p);
		marks = (scan_below(w, 0x20) | scan_equal(w, ':')) & SCAN_HIGHS;
		if (!marks) {
			p = scan_forget(p + 8, w);
			continue;
		}
		p = scan_clamp(p + scan_index(marks));
		w = scan_load(window->byte + p);
		if ((w & 0xff) != ':') {
			if (kind == STREAM_NDJSON)
				return (w & 0xff) == '\n' && p < stop ? p : 0;
			if ((w & 0xffff) == 0x0a0a)
				return p + 2 <= stop ? p : 0;
			return (w & 0xffffffff) == 0x0a0d0a0d && p + 4 <= stop ? p : 0;
		}
		if (stream_may_number(window, p))
			return 0;
		p = scan_forget(p + 1, w);
	}
	return 0;
}

/*
 * The first data of an event begins at buf[p]: does it have output where the last one had it?
 * Returns how many bytes need not be read: those before the output, or all of the line; else 0.
 */
static __always_inline __u64 stream_again(struct stream *s, const __u8 *buf, __u64 p, __u64 stop,
					  __u32 *ev)
{
	__u64 n = s->prefix_len, hash, rest;
	__u8 c;

	if (s->state != STREAM_AT_JSON || s->flags & STREAM_NAMED || s->offset || n < 8 ||
	    stop - p <= n)
		return 0;
	hash = stream_prefix((const struct stream_window *)buf, p, n);
	s->flags |= STREAM_TRIED;
	if (hash != s->prefix) {
		s->prefix = hash;
		s->flags &= ~STREAM_PREFIX;
		return 0;
	}
	c = buf[scan_clamp(p + n)];
	if (!(s->flags & STREAM_PREFIX) || c < 0x20 || c == '"')
		return 0;
	stream_count(s, ev);
	s->state = STREAM_AT_REST;
	if (s->flags & STREAM_WHOLE) {
		rest = stream_rest((const struct stream_window *)buf, p + n, stop, s->kind);
		if (rest)
			return rest - p;
		s->json = s->prefix_json;
		s->state = STREAM_AT_JSON;
	}
	return n;
}

/* At the end of a line: c is its CR or LF. */
static __always_inline void stream_line_end(struct stream *s, __u8 c, __u32 *ev)
{
	int name;

	if (s->json.state >= STREAM_JSON_VALUE) /* no string of JSON goes over a line's end */
		s->json.state = STREAM_JSON_BETWEEN;
	s->json.escape = 0;
	s->offset = STREAM_PREFIX_MAX;
	if (s->state == STREAM_AT_MARK) { /* [DON and no more is data */
		s->flags |= STREAM_DATA | STREAM_UNKNOWN;
	} else if (s->state == STREAM_AT_NAME) {
		name = stream_name(s->hash, s->tail);
		if (name == STREAM_NAME_ERROR)
			s->flags |= STREAM_WRONG;
		else if (name == STREAM_NAME_NONE)
			s->flags |= STREAM_NAMED;
	}
	if (s->kind == STREAM_NDJSON && (s->flags & STREAM_OPEN))
		stream_event_end(s, ev);
	s->state = c == '\r' ? STREAM_AT_LF : STREAM_AT_LINE;
}

/* Any byte of a line but its first, its end, and what is in STREAM_AT_JSON and STREAM_AT_REST. */
static __always_inline void stream_byte(struct stream *s, __u8 c, __u32 *ev)
{
	__u16 space = s->flags & STREAM_SPACE;

	s->flags &= ~STREAM_SPACE;
	switch (s->state) {
	case STREAM_AT_FIELD:
		if (c != ':') {
			s->hash = stream_hash(s->hash, c);
			return;
		}
		s->flags |= STREAM_SPACE;
		s->state = STREAM_AT_REST;
		if (s->hash == STREAM_HASH("data")) {
			s->state = STREAM_AT_VALUE;
		} else if (s->hash == STREAM_HASH("event")) {
			s->state = STREAM_AT_NAME;
			s->hash = STREAM_HASH_EMPTY;
			s->tail = 0;
		} else if (s->hash == STREAM_HASH("error")) { /* of an older llama.cpp */
			stream_fail(s, ev);
		}
		return;
	case STREAM_AT_NAME:
		if (!(space && c == ' ')) {
			s->hash = stream_hash(s->hash, c);
			s->tail = s->tail << 8 | c;
		}
		return;
	case STREAM_AT_VALUE:
		if (c == ' ' || c == '\t')
			return;
		if (c == '[') {
			s->state = STREAM_AT_MARK;
			s->matched = 1;
			return;
		}
		stream_data(s, ev);
		break;
	case STREAM_AT_MARK:
		if (c == (__u8)(0x5d454e4f445bULL /* "[DONE]" */ >> (8 * (s->matched & 7)))) {
			if (++s->matched == 6)
				s->state = STREAM_AT_REST;
			return;
		}
		stream_data(s, ev);
		s->flags |= STREAM_UNKNOWN;
		if (s->state == STREAM_AT_JSON)
			s->json.depth = 1; /* the bracket */
		break;
	}
}

/*
 * One step from buf[pos] on. Returns how many bytes were consumed, 1 … end - pos; raises
 * STREAM_EVENT_BEGIN (before the others, if several), STREAM_GENERATED, STREAM_GUESS and
 * STREAM_ERROR.
 */
static __always_inline __u32 stream_step(struct stream *s, const __u8 *buf, __u32 pos, __u32 end,
					 __u32 *ev)
{
	__u64 p = scan_clamp(pos), stop = end, n;
	__u8 c = buf[p];

	if (s->state == STREAM_AT_LF) {
		s->state = STREAM_AT_LINE;
		if (c == '\n')
			return 1;
	}
	if (s->state == STREAM_AT_LINE) {
		if (c == '\n' || c == '\r') {
			if (s->flags & STREAM_OPEN)
				stream_event_end(s, ev);
			s->state = c == '\r' ? STREAM_AT_LF : STREAM_AT_LINE;
			return 1;
		}
		if (s->kind == STREAM_NDJSON) {
			if (c == ' ' || c == '\t')
				return 1;
			stream_event_begin(s, ev);
			stream_data(s, ev);
			p += stream_again(s, buf, p, stop, ev);
		} else if (c == ':') {
			s->state = STREAM_AT_REST;
		} else {
			stream_event_begin(s, ev);
			s->state = STREAM_AT_FIELD;
			s->hash = STREAM_HASH_EMPTY;
			s->flags &= ~STREAM_SPACE;
			if (stop - p >= 8) {
				n = scan_load(buf + p);
				if ((n & 0xffffffffffULL) == (scan_literal("data:\0\0\0"))) {
					s->state = STREAM_AT_VALUE;
					c = n >> 40;
					p += 5;
					if (c == ' ') {
						c = n >> 48;
						p++;
					}
					if (c != '{')
						return p - pos;
					stream_data(s, ev);
					p += stream_again(s, buf, p, stop, ev);
				}
			}
		}
	}
	p = scan_clamp(p);
	if (s->state != STREAM_AT_REST && c != '\n' && c != '\r') {
		if (s->state != STREAM_AT_JSON) {
			if (s->state <= STREAM_AT_NAME && !(s->flags & STREAM_SPACE)) {
				n = stream_run(s, buf + p, stop - p,
					       s->state == STREAM_AT_FIELD ? ':' : 0, 0);
				if (n)
					return n;
			}
			stream_byte(s, c, ev);
			if (s->state != STREAM_AT_JSON)
				return p + 1 - pos;
		}
		return stream_json_steps(s, (const struct stream_window *)buf, p, stop, ev) - pos;
	}
	if (s->state == STREAM_AT_REST) {
		p += scan_control(buf + p);
		if (p >= stop)
			return end - pos;
		p = scan_clamp(p);
		c = buf[p];
		if (c >= 0x20)
			return p - pos;
	}
	p++;
	if (c != '\n' && c != '\r')
		return p - pos;
	stream_line_end(s, c, ev);
	if (c == '\n' && s->kind == STREAM_SSE && (s->flags & STREAM_COUNTED) && p < stop &&
	    buf[scan_clamp(p)] == '\n') { /* the usual end of an event */
		stream_event_end(s, ev);
		p++;
	}
	return p - pos;
}

#endif
