/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Drives the scanners as bpf/ does, for tests and fuzzers. Bytes come in segments, and a segment
 * passes through a window of SCAN_BUF bytes, or fewer to cut it finer. Bytes that may be skipped
 * are skipped unseen, and the bytes after the window's end are rubbish. The scanners' marks become
 * one line of text, so a fixture is a row, and "split anywhere gives the same" is strcmp.
 */
#ifndef SLUICE_TEST_FEED_H
#define SLUICE_TEST_FEED_H

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sluice/http1.h"

/* Flags of the JSON scanner that only hold within a member. */
#define FEED_PASSING (JSON_MODEL_IS_MODEL | JSON_MODEL_IS_STREAM)

/* Beside the kind of a stream: it is read for its usage, and its tokens are the last mark. */
#define FEED_USAGE 0x80

enum feed_kind { FEED_REQUEST, FEED_RESPONSE, FEED_JSON, FEED_STREAM };

static const struct siphash_secret feed_secret = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL,
						  0x5ee0dd1eULL};

struct feed {
	enum feed_kind kind;
	size_t window;                               /* bytes, at most SCAN_BUF */
	__u8 rubbish;                                /* the bytes after the window's end */
	__u8 method;                                 /* responses: of their requests */
	char wanted[HTTP1_WANTED * HTTP1_TOKEN_MAX]; /* requests: the header to keep */
	union {
		struct http1_request request;
		struct http1_response response;
		struct json_model json;
		struct stream stream;
	};
	__u64 offset;  /* bytes consumed */
	__u64 skipped; /* … of them unseen */
	int framing_error;
	void (*heard)(struct feed *f, __u32 ev); /* if set, gets events before the text */
	void *listener;
	char *text; /* "head(…)@57 model(gpt-x)@80 end@81"; @N: the bytes consumed so far */
	size_t text_len;
	size_t text_size;
};

static inline void feed_begin(struct feed *f, enum feed_kind kind, __u8 detail, size_t window)
{
	memset(f, 0, sizeof(*f));
	f->kind = kind;
	f->window = window;
	f->rubbish = '"';
	f->method = detail;
	if (kind == FEED_RESPONSE)
		http1_response_begin(&f->response, detail);
	if (kind == FEED_STREAM) {
		f->stream.kind = detail & ~FEED_USAGE;
		f->stream.flags = detail & FEED_USAGE ? STREAM_WHOLE : 0;
	}
	f->text = calloc(1, f->text_size = 256);
	assert(f->text);
}

static inline void feed_end(struct feed *f)
{
	free(f->text);
	f->text = NULL;
}

__attribute__((format(printf, 2, 3))) static inline void feed_say(struct feed *f,
								  const char *format, ...)
{
	va_list ap;

	while (f->text_size - f->text_len < 512) {
		f->text = realloc(f->text, f->text_size *= 2);
		assert(f->text);
	}
	if (f->text_len)
		f->text[f->text_len++] = ' ';
	va_start(ap, format);
	f->text_len += vsnprintf(f->text + f->text_len, 500, format, ap);
	va_end(ap);
}

static inline void feed_say_flags(struct feed *f, const struct http1_frame *frame)
{
	static const struct {
		unsigned flag;
		const char *text;
	} flags[] = {
		{HTTP1_CHUNKED, " chunked"},  {HTTP1_ENCODED, " encoded"},
		{HTTP1_CLOSE, " close"},      {HTTP1_PATH_CUT, " cut"},
		{HTTP1_VALUE_BAD, " value!"}, {HTTP1_SEVERAL_ENDS, " several-ends"},
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (frame->flags & flags[i].flag)
			f->text_len += sprintf(f->text + f->text_len, "%s", flags[i].text);
	if (frame->expects)
		f->text_len += sprintf(f->text + f->text_len, " expects");
	if (frame->left == HTTP1_UNBOUNDED)
		f->text_len += sprintf(f->text + f->text_len, " unbounded");
	else if (frame->left)
		f->text_len += sprintf(f->text + f->text_len, " length=%llu",
				       (unsigned long long)frame->left);
	f->text_len += sprintf(f->text + f->text_len, ")@%llu", (unsigned long long)f->offset);
}

static inline void feed_say_value(struct feed *f, const struct http1_request *r)
{
	if (!(r->frame.flags & HTTP1_VALUE) || r->frame.flags & HTTP1_VALUE_BAD)
		return;
	assert(strnlen(r->value, HTTP1_VALUE_MAX) == r->frame.value_len);
	for (size_t i = r->frame.value_len; i < HTTP1_VALUE_MAX; i++)
		assert(!r->value[i]); /* a map key: padded with zeros */
	f->text_len += sprintf(f->text + f->text_len, " <%s>", r->value);
}

/* What a body has said of its response, and how many blobs and bytes of them it has. */
static inline void feed_say_body(struct feed *f, const struct json_model *j)
{
	if (j->stream)
		feed_say(f, "stream=%s", j->stream == JSON_STREAM_YES ? "yes" : "no");
	if (j->blobs)
		feed_say(f, "blobs=%u/%llu", j->blobs, (unsigned long long)j->blob_bytes);
}

static inline void feed_say_events(struct feed *f, __u32 ev)
{
	static const char *const methods[] = {"OTHER",   "POST", "GET",   "HEAD",
					      "CONNECT", "PUT",  "PATCH", "DELETE"};
	static const char *const kinds[] = {"", " sse", " ndjson", " encoded-stream"};
	const struct json_model *j = f->kind == FEED_JSON ? &f->json : &f->request.json;
	unsigned long long at = f->offset;

	if (f->heard && ev)
		f->heard(f, ev);
	if (ev & HTTP1_INTERIM)
		feed_say(f, "interim@%llu", at);
	if (ev & HTTP1_HEAD_END && f->kind == FEED_REQUEST) {
		feed_say(f, "head(%s %.96s 1.%d", methods[f->request.frame.method], f->request.path,
			 f->request.frame.minor);
		assert(strnlen(f->request.path, HTTP1_PATH_MAX) == f->request.frame.path_len);
		feed_say_value(f, &f->request);
		if (f->request.form.kind == FORM_MULTIPART)
			f->text_len += sprintf(f->text + f->text_len, " multipart=%.*s",
					       f->request.form.len, f->request.form.delimiter);
		else if (f->request.form.kind)
			f->text_len += sprintf(f->text + f->text_len, " urlencoded");
		else if (f->request.form.flags)
			f->text_len += sprintf(f->text + f->text_len, " form?");
		feed_say_flags(f, &f->request.frame);
		if (f->request.key.rank)
			feed_say(f, "key(%u %016llx)", f->request.key.rank,
				 (unsigned long long)f->request.key.hash);
		if (f->request.forwarded.flags & FORWARDED_KNOWN)
			feed_say(f, "for(%016llx %016llx)",
				 (unsigned long long)scan_load(f->request.forwarded.addr),
				 (unsigned long long)scan_load(f->request.forwarded.addr + 8));
	}
	if (ev & HTTP1_HEAD_END && f->kind == FEED_RESPONSE) {
		feed_say(f, "head(%d%s", f->response.frame.status, kinds[f->response.stream.kind]);
		feed_say_flags(f, &f->response.frame);
	}
	if (ev & HTTP1_DATE)
		feed_say(f, "date@%llu", at);
	if (ev & HTTP1_UPGRADED)
		feed_say(f, "upgraded");
	if (ev & HTTP1_BODY_BEGIN)
		feed_say(f, "body");
	if (ev & STREAM_EVENT_BEGIN)
		feed_say(f, "event");
	if (ev & STREAM_GENERATED)
		feed_say(f, "generated");
	if (ev & STREAM_GUESS)
		feed_say(f, "guess");
	if (ev & STREAM_ERROR)
		feed_say(f, "failed");
	if (ev & HTTP1_MODEL) {
		assert(strnlen(j->name, JSON_MODEL_NAME_MAX) == j->name_len);
		for (size_t i = j->name_len; i < JSON_MODEL_NAME_MAX; i++)
			assert(!j->name[i]); /* a map key: padded with zeros */
		if (j->flags & JSON_MODEL_INVALID)
			feed_say(f, "model!@%llu", at);
		else
			feed_say(f, "model(%s)@%llu", j->name, at);
	}
	if (ev & HTTP1_END && f->kind == FEED_REQUEST)
		feed_say_body(f, j);
	if (ev & HTTP1_END)
		feed_say(f, "end@%llu", at);
	if (ev & HTTP1_FRAMING_ERROR) {
		feed_say(f, f->kind == FEED_REQUEST && !(f->request.frame.flags & HTTP1_READABLE)
				    ? "no-request"
				    : "framing-error");
		f->framing_error = 1;
	}
	if (ev & HTTP1_END && f->kind == FEED_REQUEST)
		http1_request_next(&f->request);
	if (ev & HTTP1_END && f->kind == FEED_RESPONSE)
		http1_response_begin(&f->response, f->method);
}

static inline __u64 feed_skip(struct feed *f, __u64 left, __u32 *ev)
{
	__u64 n = 0;

	if (f->kind == FEED_REQUEST)
		n = f->framing_error ? left : http1_request_skippable(&f->request);
	else if (f->kind == FEED_RESPONSE)
		n = http1_response_skippable(&f->response);
	else if (f->kind == FEED_JSON && json_model_done(&f->json))
		n = left;
	if (n > left)
		n = left;
	if (n && f->kind == FEED_REQUEST)
		http1_request_skipped(&f->request, n, ev);
	else if (n && f->kind == FEED_RESPONSE)
		http1_response_skipped(&f->response, n, ev);
	f->skipped += n;
	return n;
}

/* One segment. */
static inline void feed(struct feed *f, const void *data, size_t len)
{
	__u8 buf[SCAN_BUF + SCAN_PAD];
	__u32 pos = 0, end = 0, n, ev;
	const __u8 *next = data;
	__u64 skip;

	while (len || pos < end) {
		ev = 0;
		skip = feed_skip(f, end - pos + len, &ev);
		if (skip) {
			f->offset += skip;
			if (skip <= end - pos) {
				pos += skip;
			} else {
				skip -= end - pos;
				pos = end = 0;
				next += skip;
				len -= skip;
			}
			feed_say_events(f, ev);
			continue;
		}
		if (pos == end) {
			pos = 0;
			end = len < f->window ? len : f->window;
			memset(buf, f->rubbish, sizeof(buf));
			memcpy(buf, next, end);
			next += end;
			len -= end;
		}
		switch (f->kind) {
		case FEED_REQUEST:
			n = http1_request_step(&f->request, buf, pos, end, f->wanted,
					       http1_names(f->wanted), &feed_secret, &ev);
			break;
		case FEED_RESPONSE:
			n = http1_response_step(&f->response, buf, pos, end, &ev);
			break;
		case FEED_JSON:
			n = json_model_step(&f->json, buf, pos, end, &ev);
			break;
		default:
			n = stream_step(&f->stream, buf, pos, end, &ev);
		}
		assert(n >= 1 && n <= end - pos);
		pos += n;
		f->offset += n;
		feed_say_events(f, ev);
	}
}

/* The name of the wanted header in all requests, at most 31 bytes. */
static const char *feed_wanted = "";
/* The names of two headers that hold a key, and of the one with forwarded addresses. */
static const char *feed_keys[2] = {"", ""}, *feed_forwarded = "";

/*
 * Feeds all of data, cut at the given offset (0: not cut), through windows of the given size.
 * Returns the marks; the caller frees them.
 */
static inline char *feed_cut(enum feed_kind kind, __u8 detail, const void *data, size_t len,
			     size_t cut, size_t window, __u8 rubbish)
{
	struct feed f;

	feed_begin(&f, kind, detail, window);
	f.rubbish = rubbish;
	if (kind == FEED_REQUEST) {
		memcpy(f.wanted, feed_wanted, strlen(feed_wanted));
		memcpy(f.wanted + HTTP1_WANTED_KEY * HTTP1_TOKEN_MAX, feed_keys[0],
		       strlen(feed_keys[0]));
		memcpy(f.wanted + (HTTP1_WANTED_KEY + 1) * HTTP1_TOKEN_MAX, feed_keys[1],
		       strlen(feed_keys[1]));
		memcpy(f.wanted + HTTP1_WANTED_FORWARDED * HTTP1_TOKEN_MAX, feed_forwarded,
		       strlen(feed_forwarded));
	}
	feed(&f, data, cut);
	feed(&f, (const __u8 *)data + cut, len - cut);
	if (kind == FEED_JSON)
		feed_say_body(&f, &f.json);
	if (kind == FEED_STREAM && detail & FEED_USAGE) {
		__u32 ev = 0;

		stream_end(&f.stream, &ev);
		feed_say_events(&f, ev);
		feed_say(&f, "tokens=%u", f.stream.tokens);
	}
	return f.text;
}

/*
 * The marks of all of data. Aborts, and prints where, unless every cut in two and every window from
 * one byte on gives the same.
 */
static inline char *feed_every_way(enum feed_kind kind, __u8 detail, const void *data, size_t len)
{
	static const __u8 rubbish[] = {0, '\n', '"', '}', 'a', '\r', ':', 0xff};
	static const size_t windows[] = {1,  2,  3,  5,  7,  8,  9,   15,      16,
					 17, 31, 33, 63, 64, 65, 100, SCAN_BUF};
	char *whole = feed_cut(kind, detail, data, len, 0, SCAN_BUF, 0);

	for (size_t cut = 1; cut < len; cut++) {
		char *text = feed_cut(kind, detail, data, len, cut, SCAN_BUF, rubbish[cut % 8]);

		if (strcmp(whole, text)) {
			fprintf(stderr, "whole: %s\ncut at %zu: %s\n", whole, cut, text);
			abort();
		}
		free(text);
	}
	for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
		char *text = feed_cut(kind, detail, data, len, 0, windows[i], rubbish[i % 8]);

		if (strcmp(whole, text)) {
			fprintf(stderr, "whole: %s\nby %zu: %s\n", whole, windows[i], text);
			abort();
		}
		free(text);
	}
	return whole;
}

#endif
