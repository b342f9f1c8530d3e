/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Parsers of whole forms, to compare the scanner with. The one of multipart bodies reads what all
 * servers agree on (RFC 7578): lines end in CR LF, a part has one Content-Disposition with quoted
 * parameters. `strict` says whether the body is such a form.
 */
#ifndef SLUICE_TEST_FORM_REFERENCE_H
#define SLUICE_TEST_FORM_REFERENCE_H

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "feed.h"

/* What a form says. */
struct form_found {
	char names[8192]; /* "model(a) model!" */
	__u8 stream;      /* enum json_model_stream */
	__u8 blobs;       /* parts that are files, JSON_MODEL_BLOBS at most */
	__u64 blob_bytes; /* of their data and of the delimiters after it */
};

static inline bool form_found_equal(const struct form_found *ours, const struct form_found *wanted)
{
	if (!strcmp(ours->names, wanted->names) && ours->stream == wanted->stream &&
	    ours->blobs == wanted->blobs && ours->blob_bytes == wanted->blob_bytes)
		return true;
	fprintf(stderr, "ours: %s stream %u blobs %u/%llu\nreference: %s stream %u blobs %u/%llu\n",
		ours->names, ours->stream, ours->blobs, (unsigned long long)ours->blob_bytes,
		wanted->names, wanted->stream, wanted->blobs,
		(unsigned long long)wanted->blob_bytes);
	return false;
}

struct form_reference {
	bool strict;
	struct form_found found;
};

/* A part of a multipart body. */
struct form_part {
	bool model, stream; /* it is the field of this name, and no file */
	bool file;
};

/* Appends a name; NULL: an invalid one. */
static inline void form_reference_append(char names[8192], const char *name, size_t n)
{
	size_t len = strlen(names);

	if (len > 8000)
		return;
	if (name)
		sprintf(names + len, "%smodel(%.*s)", len ? " " : "", (int)n, name);
	else
		sprintf(names + len, "%smodel!", len ? " " : "");
}

/* As `heard` of a feed with the listener `struct form_found`: what the scanner finds. */
static inline void form_reference_heard(struct feed *f, __u32 ev)
{
	const struct json_model *j = &f->request.json;
	struct form_found *found = f->listener;

	if (ev & HTTP1_MODEL)
		form_reference_append(found->names, j->flags & JSON_MODEL_INVALID ? NULL : j->name,
				      j->name_len);
	if (ev & HTTP1_END) {
		found->stream = j->stream;
		found->blobs = j->blobs;
		found->blob_bytes = j->blob_bytes;
	}
}

/* The boundaries of the fuzzer's multipart types; an urlencoded form comes after them. */
static const char *const form_reference_boundaries[] = {"B", "----x", "a--b"};

#define FORM_REFERENCE_TYPES 4

/* A request with this body and a type 0 … FORM_REFERENCE_TYPES - 1. The caller frees it. */
static inline char *form_reference_request(unsigned type, const void *body, size_t len, size_t *out)
{
	char *request = malloc(len + 256);
	int n;

	assert(request);
	n = sprintf(request, "POST / HTTP/1.1\r\nContent-Length: %zu\r\nContent-Type: %s%s\r\n\r\n",
		    len,
		    type < 3 ? "multipart/form-data; boundary="
			     : "application/x-www-form-urlencoded",
		    type < 3 ? form_reference_boundaries[type] : "");
	memcpy(request + n, body, len);
	*out = n + len;
	return request;
}

static inline const char *form_reference_find(const char *from, const char *end, const char *what)
{
	return memmem(from, end - from, what, strlen(what));
}

/* What a field "stream" says whose value begins with c; 0: it is empty. */
static inline __u8 form_reference_truth(char c)
{
	return c && strchr("tTyYoO123456789", c) ? JSON_STREAM_YES : JSON_STREAM_NO;
}

/* Whether the parameters are `; name="…"; name="…"`, and what they say of the part. */
static inline bool form_reference_parameters(const char *from, const char *end,
					     struct form_part *part)
{
	while (from < end) {
		const char *name = from + 2, *equals, *quote;

		if (end - from < 6 || memcmp(from, "; ", 2))
			return false;
		equals = memchr(name, '=', end - name);
		if (!equals || end - equals < 3 || equals[1] != '"')
			return false;
		quote = memchr(equals + 2, '"', end - equals - 2);
		if (!quote || memchr(equals, '\\', quote - equals) ||
		    memchr(equals, ';', quote - equals))
			return false;
		for (const char *p = name; p < equals; p++)
			if (!isalpha((unsigned char)*p))
				return false;
		if (equals - name == 4 && !strncasecmp(name, "name", 4)) {
			if (part->model || part->stream)
				return false;
			part->model = quote - equals == 7 && !strncasecmp(equals + 2, "model", 5);
			part->stream = quote - equals == 8 && !strncasecmp(equals + 2, "stream", 6);
		}
		if (equals - name == 8 && !strncasecmp(name, "filename", 8)) {
			if (quote == equals + 2)
				return false;
			part->file = true;
		}
		from = quote + 1;
	}
	return true;
}

/* A name is what a key of a map can be. */
static inline void form_reference_name(struct form_reference *r, const char *from, size_t n,
				       bool invalid)
{
	invalid |= n >= JSON_MODEL_NAME_MAX;
	for (size_t i = 0; i < n; i++)
		invalid |= (unsigned char)from[i] < 0x20 || from[i] == 0x7f;
	form_reference_append(r->found.names, invalid ? NULL : from, n);
}

/* The header of a part. Returns where its data begins, NULL if it is not as all agree. */
static inline const char *form_reference_header(const char *from, const char *end,
						struct form_part *part)
{
	bool one = false;

	memset(part, 0, sizeof(*part));
	while (from < end) {
		const char *eol = form_reference_find(from, end, "\r\n"), *colon;
		static const char name[] = "content-disposition: form-data";

		if (!eol || memchr(from, '\n', eol - from) || memchr(from, '\r', eol - from))
			return NULL;
		if (eol == from)
			return eol + 2;
		colon = memchr(from, ':', eol - from);
		if (!colon || colon == from)
			return NULL;
		for (const char *p = from; p < colon; p++)
			if (!isalpha((unsigned char)*p) && (*p != '-' || p == from))
				return NULL;
		if (colon - from == 19 && !strncasecmp(from, name, 19)) {
			if (one || (size_t)(eol - from) < sizeof(name) - 1 ||
			    strncasecmp(from, name, sizeof(name) - 1) ||
			    !form_reference_parameters(from + sizeof(name) - 1, eol, part))
				return NULL;
			one = true;
			part->model &= !part->file;
			part->stream &= !part->file;
		}
		from = eol + 2;
	}
	return NULL;
}

/* What a body says, and whether it is a form that all servers read alike. */
static inline void form_reference_multipart(struct form_reference *r, const char *body, size_t len,
					    const char *boundary)
{
	const char *end = body + len, *p = body;
	bool parts = false;
	char delimiter[128];
	size_t n = snprintf(delimiter, sizeof(delimiter), "\r\n--%s", boundary);

	memset(r, 0, sizeof(*r));
	if (len >= 2 && !memcmp(p, "\r\n", 2))
		p += 2;
	if ((size_t)(end - p) < n || memcmp(p, delimiter + 2, n - 2))
		return;
	p += n - 2;
	r->strict = true;
	for (;;) {
		const char *data, *stop;
		struct form_part part;

		if (end - p >= 2 && !memcmp(p, "--", 2)) {
			/* after a last delimiter that is the first, some look for another first one
			 */
			r->strict = parts;
			return;
		}
		if (end - p < 2 || memcmp(p, "\r\n", 2))
			break;
		data = form_reference_header(p + 2, end, &part);
		if (!data)
			break;
		/* what looks like a delimiter after another break, or is none to the end, is left
		 * to the rows */
		for (stop = data; (stop = form_reference_find(stop, end, delimiter + 2)); stop++) {
			const char *after = stop + n - 2;

			if (stop == data || (stop[-1] != '\n' && stop[-1] != '\r'))
				continue;
			if (end - after < 2 ||
			    (memcmp(after, "\r\n", 2) && memcmp(after, "--", 2) &&
			     strchr(" \t\r\n", *after)))
				goto odd;
			if (memcmp(after, "\r\n", 2) && memcmp(after, "--", 2))
				continue;
			if (stop - data >= 2 && !memcmp(stop - 2, "\r\n", 2))
				break;
			goto odd;
		}
		if (!stop || !memcmp(data, delimiter + 2, n - 2))
			break;
		parts = true;
		if (part.model && *data == '-') /* a delimiter may begin there, for some */
			break;
		if (part.model)
			form_reference_name(r, data, stop - 2 - data, false);
		if (part.stream)
			r->found.stream = form_reference_truth(*data);
		p = stop + n - 2;
		if (part.file && r->found.blobs < JSON_MODEL_BLOBS) {
			r->found.blobs++;
			r->found.blob_bytes += p + 2 - data;
		}
	}
odd:
	r->strict = false;
}

/* Unescapes into out. Returns how many bytes; *invalid: an escape is none. */
static inline size_t form_reference_unescape(const char *from, size_t n, char *out, bool *invalid)
{
	char *to = out;

	for (size_t i = 0; i < n; i++) {
		if (from[i] == '%' && n - i > 2 && isxdigit((unsigned char)from[i + 1]) &&
		    isxdigit((unsigned char)from[i + 2])) {
			char hex[3] = {from[i + 1], from[i + 2], 0};

			*to++ = strtoul(hex, NULL, 16);
			i += 2;
			continue;
		}
		*invalid |= from[i] == '%';
		*to++ = from[i] == '+' ? ' ' : from[i];
	}
	return to - out;
}

/* What an urlencoded form says. An escape is no truth. */
static inline void form_reference_urlencoded(struct form_reference *r, const char *body, size_t len)
{
	const char *end = body + len, *next;
	char *text = malloc(len + 1);

	assert(text);
	memset(r, 0, sizeof(*r));
	r->strict = true;
	for (; body < end && strchr(" \t\r\n\xef\xbb\xbf", *body) && *body; body++)
		r->strict = false; /* what may stand before an object */
	/* what may begin an object, in any encoding or after a comment, is read as JSON */
	if (body < end && (strchr("{/#", *body) || (unsigned char)*body >= 0xfe))
		r->strict = false;
	for (; body < end; body = next + 1) {
		const char *equals;
		bool bad = false;
		size_t n;

		next = memchr(body, '&', end - body);
		if (!next)
			next = end;
		equals = memchr(body, '=', next - body);
		if (!equals)
			continue;
		n = form_reference_unescape(body, equals - body, text, &bad);
		if (n == 6 && !bad && !strncasecmp(text, "stream", 6))
			r->found.stream = form_reference_truth(equals + 1 < next ? equals[1] : 0);
		if (n != 5 || bad || strncasecmp(text, "model", 5))
			continue;
		n = form_reference_unescape(equals + 1, next - equals - 1, text, &bad);
		form_reference_name(r, text, n, bad);
	}
	free(text);
}

/* Whether the scanner finds what the reference finds in a body of this type. */
static inline bool form_reference_agrees(unsigned type, const char *body, size_t len)
{
	struct form_found found = {};
	struct form_reference want;
	struct feed f;
	char *request;
	size_t n;

	if (type < 3)
		form_reference_multipart(&want, body, len, form_reference_boundaries[type]);
	else
		form_reference_urlencoded(&want, body, len);
	if (!want.strict || strlen(want.found.names) > 7000)
		return true;
	request = form_reference_request(type, body, len, &n);
	feed_begin(&f, FEED_REQUEST, 0, SCAN_BUF);
	f.heard = form_reference_heard;
	f.listener = &found;
	feed(&f, request, n);
	feed_end(&f);
	free(request);
	return form_found_equal(&found, &want.found);
}

#endif
