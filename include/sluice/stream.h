/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counts the generated events of a streamed response (SSE or NDJSON): only generated output counts
 * as a token. An event is not generated if it is a comment, [DONE], a named opening event, or a
 * delta that has a role and no content, tool or reasoning text. Until the first generated event of
 * a response (the first token) the JSON of each event is read byte by byte; a string is a key if a
 * colon follows it, so no stack of objects is needed. After it only the starts of lines are looked
 * at and the rest is searched for the line's end, 64 bytes a step.
 */
#ifndef SLUICE_STREAM_H
#define SLUICE_STREAM_H

#include "scan.h"

enum stream_kind {
	STREAM_NONE,    /* not a streamed reply */
	STREAM_SSE,     /* text/event-stream */
	STREAM_NDJSON,  /* application/x-ndjson, application/jsonl */
	STREAM_ENCODED, /* either, compressed: each chunk of HTTP counts as one generated event */
};

enum stream_state {
	STREAM_AT_LINE,  /* at the first byte of a line */
	STREAM_AT_LF,    /* after a CR: an LF belongs to it */
	STREAM_AT_FIELD, /* in a field's name */
	STREAM_AT_VALUE, /* after the colon of `data` */
	STREAM_AT_MARK,  /* in what may become [DONE] */
	STREAM_AT_NAME,  /* in the value of `event` */
	STREAM_AT_JSON,  /* in data that is read byte by byte */
	STREAM_AT_REST,  /* in the rest of a line that does not matter */
};

enum stream_json {
	STREAM_JSON_OUT,    /* outside strings */
	STREAM_JSON_TOOL,   /* after the bracket of a tool value: empty or not? */
	STREAM_JSON_VALUE,  /* after the opening quote of a value that matters */
	STREAM_JSON_STRING, /* in any other string */
	STREAM_JSON_ESCAPE,
};

enum stream_key {
	STREAM_KEY_OTHER,
	STREAM_KEY_ROLE,
	STREAM_KEY_TEXT, /* a string that is not empty is generated text */
	STREAM_KEY_TOOL, /* … and so is an array or object that is not empty */
};

enum stream_flag {
	STREAM_FIRST_SEEN = 1, /* this response has had a generated event */
	STREAM_OPEN = 2,       /* an event is under way */
	STREAM_COUNTED = 4,    /* … and was counted */
	STREAM_DATA = 8,       /* … has data other than [DONE] */
	STREAM_NAMED = 16,     /* … is a named opening event */
	STREAM_ROLE = 32,      /* … has a role */
	STREAM_SPACE = 64,     /* the one space after a field's colon may follow */
};

struct stream {
	__u64 hash;   /* of the field name, event name or JSON string under way */
	__u32 events; /* generated events since the driver last zeroed it */
	__u8 kind;    /* enum stream_kind */
	__u8 state;   /* enum stream_state */
	__u8 flags;   /* enum stream_flag */
	__u8 json;    /* enum stream_json */
	__u8 key;     /* enum stream_key: of the value to come */
	__u8 matched; /* bytes of [DONE] */
	__u8 last;    /* enum stream_key: of the string that ended last */
	__u8 pad[5];
};
_Static_assert(sizeof(struct stream) == 24, "stream classifier");

/* FNV-1a, 64 bits: names are compared by it, and the compiler folds the constants. */
#define STREAM_HASH_EMPTY 0xcbf29ce484222325ULL

static __always_inline __u64 stream_hash(__u64 hash, __u8 c)
{
	return (hash ^ c) * 0x100000001b3ULL;
}

#define STREAM_HASH(literal) stream_hash_literal(literal, sizeof(literal) - 1)

static __always_inline __u64 stream_hash_literal(const char *s, unsigned long len)
{
	__u64 hash = STREAM_HASH_EMPTY;

	SCAN_UNROLL
	for (unsigned long i = 0; i < 24; i++)
		if (i < len)
			hash = stream_hash(hash, s[i]);
	return hash;
}

static __always_inline __u8 stream_key(__u64 hash)
{
	if (hash == STREAM_HASH("role"))
		return STREAM_KEY_ROLE;
	if (hash == STREAM_HASH("content") || hash == STREAM_HASH("text") ||
	    hash == STREAM_HASH("reasoning_content") || hash == STREAM_HASH("reasoning") ||
	    hash == STREAM_HASH("thinking") || hash == STREAM_HASH("arguments") ||
	    hash == STREAM_HASH("partial_json") || hash == STREAM_HASH("refusal") ||
	    hash == STREAM_HASH("delta") || hash == STREAM_HASH("response"))
		return STREAM_KEY_TEXT;
	if (hash == STREAM_HASH("tool_calls") || hash == STREAM_HASH("function_call"))
		return STREAM_KEY_TOOL;
	return STREAM_KEY_OTHER;
}

static __always_inline int stream_opening(__u64 hash)
{
	return hash == STREAM_HASH("message_start") || hash == STREAM_HASH("content_block_start") ||
	       hash == STREAM_HASH("ping") || hash == STREAM_HASH("response.created") ||
	       hash == STREAM_HASH("response.in_progress");
}

static __always_inline void stream_count(struct stream *s, __u32 *ev)
{
	s->events++;
	s->flags |= STREAM_FIRST_SEEN | STREAM_COUNTED;
	*ev |= STREAM_GENERATED;
}

/* The event under way has ended: what was not decided by its text is decided by its having none. */
static __always_inline void stream_event_end(struct stream *s, __u32 *ev)
{
	__u8 flags = s->flags;

	if ((flags & STREAM_DATA) && !(flags & (STREAM_COUNTED | STREAM_NAMED | STREAM_ROLE)))
		stream_count(s, ev);
	s->flags &= STREAM_FIRST_SEEN;
	s->json = STREAM_JSON_OUT;
	s->key = STREAM_KEY_OTHER;
	s->last = STREAM_KEY_OTHER;
}

/*
 * The response has ended. A last line of NDJSON needs no line feed; SSE discards what no blank line
 * ends.
 */
static __always_inline void stream_end(struct stream *s, __u32 *ev)
{
	if (s->kind == STREAM_NDJSON && (s->flags & STREAM_OPEN))
		stream_event_end(s, ev);
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
	__u8 flags = s->flags |= STREAM_DATA;

	s->state = STREAM_AT_REST;
	if (flags & (STREAM_NAMED | STREAM_COUNTED))
		return;
	if (flags & STREAM_FIRST_SEEN)
		stream_count(s, ev);
	else
		s->state = STREAM_AT_JSON;
}

/* One byte of an event's JSON before the first token. */
static __always_inline void stream_json(struct stream *s, __u8 c, __u32 *ev)
{
	switch (s->json) {
	case STREAM_JSON_ESCAPE:
		s->json = STREAM_JSON_STRING;
		s->hash = stream_hash(s->hash, c);
		return;
	case STREAM_JSON_STRING:
		if (c == '"') {
			s->json = STREAM_JSON_OUT;
			s->last = stream_key(s->hash);
			return;
		}
		if (c == '\\')
			s->json = STREAM_JSON_ESCAPE;
		s->hash = stream_hash(s->hash, c);
		return;
	case STREAM_JSON_VALUE:
		s->json = STREAM_JSON_OUT;
		s->key = STREAM_KEY_OTHER;
		s->last = STREAM_KEY_OTHER;
		if (c == '"')
			return;
		stream_count(s, ev);
		s->state = STREAM_AT_REST;
		return;
	}
	if (c == ' ' || c == '\t')
		return;
	if (s->json == STREAM_JSON_TOOL) {
		s->json = STREAM_JSON_OUT;
		s->key = STREAM_KEY_OTHER;
		if (c != ']' && c != '}') {
			stream_count(s, ev);
			s->state = STREAM_AT_REST;
			return;
		}
	}
	if (c == '"') {
		if (s->key >= STREAM_KEY_TEXT) {
			s->json = STREAM_JSON_VALUE;
			return;
		}
		if (s->key == STREAM_KEY_ROLE)
			s->flags |= STREAM_ROLE;
		s->key = STREAM_KEY_OTHER;
		s->hash = STREAM_HASH_EMPTY;
		s->json = STREAM_JSON_STRING;
	} else if (c == ':') {
		s->key = s->last;
		s->last = STREAM_KEY_OTHER;
	} else {
		if (s->key == STREAM_KEY_TOOL && (c == '[' || c == '{'))
			s->json = STREAM_JSON_TOOL;
		s->key = STREAM_KEY_OTHER;
	}
}

/* At the end of a line: c is its CR or LF. */
static __always_inline void stream_line_end(struct stream *s, __u8 c, __u32 *ev)
{
	if (s->json >= STREAM_JSON_VALUE) /* no string of JSON goes over a line's end */
		s->json = STREAM_JSON_OUT;
	if (s->state == STREAM_AT_MARK) /* [DON and no more is data */
		stream_data(s, ev);
	else if (s->state == STREAM_AT_NAME && stream_opening(s->hash))
		s->flags |= STREAM_NAMED;
	if (s->kind == STREAM_NDJSON && (s->flags & STREAM_OPEN))
		stream_event_end(s, ev);
	s->state = c == '\r' ? STREAM_AT_LF : STREAM_AT_LINE;
}

/* Any byte of a line but its first, its end, and what is in STREAM_AT_REST. */
static __always_inline void stream_byte(struct stream *s, __u8 c, __u32 *ev)
{
	__u8 space = s->flags & STREAM_SPACE;

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
		}
		return;
	case STREAM_AT_NAME:
		if (!(space && c == ' '))
			s->hash = stream_hash(s->hash, c);
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
		break;
	}
	if (s->state == STREAM_AT_JSON)
		stream_json(s, c, ev);
}

/*
 * Hashes up to 16 bytes of a name or string: until a control character, a or b. Returns how many.
 */
static __always_inline __u64 stream_run(struct stream *s, const __u8 *p, __u64 left, __u8 a, __u8 b)
{
	__u64 hash = s->hash, n = 0;

	SCAN_UNROLL
	for (int k = 0; k < 16; k++) {
		__u8 c = p[k];

		if (n >= left || c < 0x20 || c == a || c == b)
			break;
		hash = stream_hash(hash, c);
		n++;
	}
	s->hash = hash;
	return scan_forget(n, hash);
}

/*
 * One step from buf[pos] on. Returns how many bytes were consumed, 1 … end - pos; raises
 * STREAM_EVENT_BEGIN (before STREAM_GENERATED, if both) and STREAM_GENERATED.
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
			if (s->state == STREAM_AT_JSON) {
				stream_json(s, c, ev);
				return 1;
			}
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
					if (s->state == STREAM_AT_JSON)
						return p - pos;
				}
			}
		}
	}
	if (s->state == STREAM_AT_FIELD || s->state == STREAM_AT_NAME ||
	    (s->state == STREAM_AT_JSON && s->json == STREAM_JSON_STRING)) {
		__u8 a = s->state == STREAM_AT_JSON ? '"' : s->state == STREAM_AT_FIELD ? ':' : 0;
		__u8 b = s->state == STREAM_AT_JSON ? '\\' : 0;

		if (!(s->flags & STREAM_SPACE)) {
			n = stream_run(s, buf + p, stop - p, a, b);
			if (n)
				return n;
		}
	}
	if (s->state == STREAM_AT_REST) {
		p = scan_clamp(p);
		p += scan_control(buf + p);
		if (p >= stop)
			return end - pos;
		p = scan_clamp(p);
		c = buf[p];
		if (c >= 0x20)
			return p - pos;
	}
	p++;
	if (c == '\n' || c == '\r') {
		stream_line_end(s, c, ev);
		if (c == '\n' && s->kind == STREAM_SSE && (s->flags & STREAM_COUNTED) && p < stop &&
		    buf[p] == '\n') { /* the usual end of an event */
			stream_event_end(s, ev);
			p++;
		}
	} else if (s->state != STREAM_AT_REST) {
		stream_byte(s, c, ev);
	}
	return p - pos;
}

#endif
