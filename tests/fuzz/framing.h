/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A second opinion on the ends of heads and messages: http_parser. It framed HTTP/1 for Node for
 * years, is small, and is the one HTTP/1 parser for C in Debian 12 (which does not package llhttp,
 * its successor). Both parsers take the bytes one at a time, so each mark has an exact offset.
 *
 * Up to the first byte at which either gives up, both must have set the same marks, and the bodies
 * that http_parser decoded must give the scanners' results. After our framing error nothing more is
 * compared, since sluice does not judge such a connection. After an error of http_parser neither: a
 * server like it answers 400 and closes, so no parser frames the later bytes. Two differences are
 * tolerated, both in responses, where a wrong end costs a sample and lets no request through:
 * http_parser does not know by itself that 1xx, 204, 304 and responses to HEAD have no body (RFC
 * 9112 6.3), and both end at a tunnel (101, CONNECT).
 *
 * http_parser takes any two bytes for the end of a chunk. If they are no CR LF, it gives up before
 * them: servers of today take CR LF or LF there, or answer 400.
 */
#ifndef SLUICE_FUZZ_FRAMING_H
#define SLUICE_FUZZ_FRAMING_H

#include <http_parser.h>

#include "fuzz.h"

struct framing_mark {
	size_t at;  /* bytes taken */
	__u32 what; /* HTTP1_HEAD_END, HTTP1_INTERIM or HTTP1_END */
	int detail; /* of a head: the status; of an end: the result of the body */
};

struct framing {
	struct framing_mark *marks;
	size_t n, size;
	size_t at;
	size_t gave_up; /* bytes taken up to then; SIZE_MAX: never */
	__u8 method;    /* responses: of their requests */
	const __u8 *data;
	/* how to read http_parser's bodies: from the heads that ours saw */
	const struct framing *heads;
	size_t head;
	__u8 *body;
	size_t body_len;
};

/* The result of a body in one number: the name's hash and length, or the tokens of a stream. */
static inline int framing_said(enum feed_kind kind, const void *scanner)
{
	const struct json_model *j = scanner;
	const struct stream *s = scanner;
	__u64 hash = STREAM_HASH_EMPTY;

	if (kind == FEED_RESPONSE)
		return s->kind == STREAM_SSE || s->kind == STREAM_NDJSON ? (int)s->tokens : 0;
	for (int i = 0; i < j->name_len; i++)
		hash = stream_hash(hash, j->name[i]);
	return (int)(hash >> 32) ^ j->name_len ^ (j->flags & JSON_MODEL_INVALID);
}

static inline void framing_mark(struct framing *m, __u32 what, int detail)
{
	if (m->n == m->size) {
		m->size = m->size ? 2 * m->size : 16;
		m->marks = realloc(m->marks, m->size * sizeof(*m->marks));
		assert(m->marks);
	}
	m->marks[m->n++] = (struct framing_mark){.at = m->at, .what = what, .detail = detail};
}

static inline void framing_end(struct framing *m)
{
	free(m->marks);
	free(m->body);
}

/* ---- ours ---- */

/* Of a head, with the status: how its body is to be read. */
#define FRAMING_KIND(detail)    ((detail) >> 10 & 7)
#define FRAMING_ENCODED(detail) ((detail) >> 13 & 1)
#define FRAMING_STATUS(detail)  ((detail)&1023)

static inline void framing_heard(struct feed *f, __u32 ev)
{
	struct http1_frame *frame =
		f->kind == FEED_REQUEST ? &f->request.frame : &f->response.frame;
	struct framing *m = f->listener;
	int detail = frame->status;

	m->at = f->offset;
	if (m->gave_up != SIZE_MAX)
		return;
	if (ev & (HTTP1_FRAMING_ERROR | HTTP1_UPGRADED)) {
		m->gave_up = f->offset;
		return;
	}
	if (ev & HTTP1_INTERIM)
		framing_mark(m, HTTP1_INTERIM, 0);
	if (f->kind == FEED_RESPONSE)
		detail |= f->response.stream.kind << 10;
	if (frame->flags & HTTP1_ENCODED)
		detail |= 1 << 13;
	if (ev & HTTP1_HEAD_END)
		framing_mark(m, HTTP1_HEAD_END, detail);
	if (ev & HTTP1_END) {
		detail = framing_said(f->kind, f->kind == FEED_REQUEST
						       ? (void *)&f->request.json
						       : (void *)&f->response.stream);
		framing_mark(m, HTTP1_END, frame->flags & HTTP1_ENCODED ? 0 : detail);
	}
}

static inline void framing_ours(struct framing *m, enum feed_kind kind, const __u8 *data,
				size_t len)
{
	struct feed f;
	__u32 ev = 0;

	m->gave_up = SIZE_MAX;
	feed_begin(&f, kind, m->method, 1);
	f.heard = framing_heard;
	f.listener = m;
	feed(&f, data, len);
	m->at = len;
	if (kind == FEED_RESPONSE && m->gave_up == SIZE_MAX) {
		http1_response_closed(&f.response, &ev);
		if (ev & HTTP1_END)
			framing_heard(&f, HTTP1_END);
	}
	feed_end(&f);
}

/* ---- theirs ---- */

static inline int framing_on_head(http_parser *p)
{
	struct framing *m = p->data;
	int status = p->type == HTTP_RESPONSE ? p->status_code : 0;

	m->body_len = 0;
	if (status >= 100 && status < 200)
		return 1;
	framing_mark(m, HTTP1_HEAD_END, status);
	return m->method == HTTP1_METHOD_HEAD || status == 204 || status == 304;
}

static inline int framing_on_body(http_parser *p, const char *at, size_t len)
{
	struct framing *m = p->data;

	memcpy(m->body + m->body_len, at, len);
	m->body_len += len;
	return 0;
}

/* At a chunk's end, for which http_parser takes any two bytes: it reads no further. */
static inline int framing_on_chunk(http_parser *p)
{
	struct framing *m = p->data;

	if (p->flags & F_TRAILING || !memcmp(m->data + m->at - 2, "\r\n", 2))
		return 0;
	m->gave_up = m->at - 1;
	return 1;
}

/*
 * The scanners' result of a body as http_parser decoded it. Our parser saw in the head how to read
 * it.
 */
static inline int framing_decoded(struct framing *m, enum feed_kind kind)
{
	struct feed f;
	__u32 ev = 0;
	int said, how = 0;
	size_t i;

	for (i = m->head; i < m->heads->n && m->heads->marks[i].what != HTTP1_HEAD_END; i++)
		;
	if (i < m->heads->n)
		how = m->heads->marks[i].detail;
	m->head = i + 1;
	if (FRAMING_ENCODED(how))
		return 0;
	if (kind == FEED_RESPONSE) {
		feed_begin(&f, FEED_STREAM, FRAMING_KIND(how), SCAN_BUF);
		if (f.stream.kind == STREAM_SSE || f.stream.kind == STREAM_NDJSON)
			feed(&f, m->body, m->body_len);
		stream_end(&f.stream, &ev);
		said = framing_said(kind, &f.stream);
	} else {
		feed_begin(&f, FEED_JSON, 0, SCAN_BUF);
		feed(&f, m->body, m->body_len);
		said = framing_said(kind, &f.json);
	}
	feed_end(&f);
	return said;
}

static inline int framing_on_end(http_parser *p)
{
	struct framing *m = p->data;

	if (p->type == HTTP_RESPONSE && p->status_code < 200)
		framing_mark(m, HTTP1_INTERIM, 0);
	else
		framing_mark(
			m, HTTP1_END,
			framing_decoded(m, p->type == HTTP_REQUEST ? FEED_REQUEST : FEED_RESPONSE));
	return 0;
}

static inline void framing_theirs(struct framing *m, enum feed_kind kind, const __u8 *data,
				  size_t len)
{
	http_parser_settings settings;
	http_parser p;

	m->gave_up = SIZE_MAX;
	m->data = data;
	m->body = malloc(len + 1);
	assert(m->body);
	http_parser_settings_init(&settings);
	settings.on_headers_complete = framing_on_head;
	settings.on_body = framing_on_body;
	settings.on_chunk_complete = framing_on_chunk;
	settings.on_message_complete = framing_on_end;
	http_parser_init(&p, kind == FEED_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE);
	p.data = m;
	for (size_t i = 0; i < len; i++) {
		m->at = i + 1;
		http_parser_execute(&p, &settings, (const char *)data + i, 1);
		if (HTTP_PARSER_ERRNO(&p) != HPE_OK) {
			if (m->gave_up == SIZE_MAX)
				m->gave_up = m->at;
			return;
		}
	}
	if (kind == FEED_RESPONSE)
		http_parser_execute(&p, &settings, "", 0);
}

/* ---- both ---- */

static inline void framing_print(const char *who, const struct framing *m)
{
	fprintf(stderr, "%s:", who);
	for (size_t i = 0; i < m->n; i++)
		fprintf(stderr, " %s@%zu(%x)",
			m->marks[i].what == HTTP1_END       ? "end"
			: m->marks[i].what == HTTP1_INTERIM ? "interim"
							    : "head",
			m->marks[i].at, m->marks[i].detail);
	if (m->gave_up != SIZE_MAX)
		fprintf(stderr, " gave up@%zu", m->gave_up);
	fprintf(stderr, "\n");
}

/* Aborts if both are sure and differ. */
static inline void framing_compare(enum feed_kind kind, __u8 method, const __u8 *data, size_t len)
{
	struct framing ours = {.method = method}, theirs = {.method = method, .heads = &ours};
	size_t limit, i = 0;

	framing_ours(&ours, kind, data, len);
	framing_theirs(&theirs, kind, data, len);
	limit = ours.gave_up < theirs.gave_up ? ours.gave_up : theirs.gave_up;
	for (;; i++) {
		int here = i < ours.n && ours.marks[i].at < limit;
		int there = i < theirs.n && theirs.marks[i].at < limit;
		const struct framing_mark *a, *b;

		if (!here && !there)
			break;
		a = here ? &ours.marks[i] : NULL;
		b = there ? &theirs.marks[i] : NULL;
		if (a && b && a->at == b->at && a->what == b->what) {
			if (a->what == HTTP1_HEAD_END && FRAMING_STATUS(a->detail) == b->detail)
				continue;
			if (a->what != HTTP1_HEAD_END && a->detail == b->detail)
				continue;
		}
		framing_print("ours", &ours);
		framing_print("http_parser", &theirs);
		abort();
	}
	framing_end(&ours);
	framing_end(&theirs);
}

#endif
