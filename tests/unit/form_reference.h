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

struct reference {
	bool strict;
	char names[8192]; /* "model(a) model!" */
};

/* Appends a name; NULL: an invalid one. */
static inline void reference_append(char names[8192], const char *name, size_t n)
{
	size_t len = strlen(names);

	if (len > 8000)
		return;
	if (name)
		sprintf(names + len, "%smodel(%.*s)", len ? " " : "", (int)n, name);
	else
		sprintf(names + len, "%smodel!", len ? " " : "");
}

/* As `heard` of a feed with the listener `char names[8192]`: the names that the scanner finds. */
static inline void reference_heard(struct feed *f, __u32 ev)
{
	const struct json_model *j = &f->request.json;

	if (ev & HTTP1_MODEL)
		reference_append(f->listener, j->flags & JSON_MODEL_INVALID ? NULL : j->name,
				 j->name_len);
}

/* The boundaries of the fuzzer's multipart types; an urlencoded form comes after them. */
static const char *const reference_boundaries[] = {"B", "----x", "a--b"};

#define REFERENCE_TYPES 4

/* A request with this body and a type 0 … REFERENCE_TYPES - 1. The caller frees it. */
static inline char *reference_request(unsigned type, const void *body, size_t len, size_t *out)
{
	char *request = malloc(len + 256);
	int n;

	assert(request);
	n = sprintf(request, "POST / HTTP/1.1\r\nContent-Length: %zu\r\nContent-Type: %s%s\r\n\r\n",
		    len,
		    type < 3 ? "multipart/form-data; boundary="
			     : "application/x-www-form-urlencoded",
		    type < 3 ? reference_boundaries[type] : "");
	memcpy(request + n, body, len);
	*out = n + len;
	return request;
}

static inline const char *reference_find(const char *from, const char *end, const char *what)
{
	return memmem(from, end - from, what, strlen(what));
}

/*
 * Whether the parameters are `; name="…"; name="…"`. *field: one named "name" is "model";
 * *file: there is a filename.
 */
static inline bool reference_parameters(const char *from, const char *end, bool *field, bool *file)
{
	*field = *file = false;
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
			if (*field)
				return false;
			*field = quote - equals == 7 && !strncasecmp(equals + 2, "model", 5);
		}
		if (equals - name == 8 && !strncasecmp(name, "filename", 8)) {
			if (quote == equals + 2)
				return false;
			*file = true;
		}
		from = quote + 1;
	}
	return true;
}

/* A name is what a key of a map can be. */
static inline void reference_name(struct reference *r, const char *from, size_t n, bool invalid)
{
	invalid |= n >= JSON_MODEL_NAME_MAX;
	for (size_t i = 0; i < n; i++)
		invalid |= (unsigned char)from[i] < 0x20 || from[i] == 0x7f;
	reference_append(r->names, invalid ? NULL : from, n);
}

/* The header of a part. Returns where its data begins, NULL if it is not as all agree. */
static inline const char *reference_header(const char *from, const char *end, bool *field)
{
	bool file = false, one = false;

	*field = false;
	while (from < end) {
		const char *eol = reference_find(from, end, "\r\n"), *colon;
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
			    !reference_parameters(from + sizeof(name) - 1, eol, field, &file))
				return NULL;
			one = true;
			*field &= !file;
		}
		from = eol + 2;
	}
	return NULL;
}

/* The names in a body, and whether it is a form that all servers read alike. */
static inline void reference_multipart(struct reference *r, const char *body, size_t len,
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
		bool field;

		if (end - p >= 2 && !memcmp(p, "--", 2)) {
			/* after a last delimiter that is the first, some look for another first one
			 */
			r->strict = parts;
			return;
		}
		if (end - p < 2 || memcmp(p, "\r\n", 2))
			break;
		data = reference_header(p + 2, end, &field);
		if (!data)
			break;
		/* what looks like a delimiter after another break, or is none to the end, is left
		 * to the rows */
		for (stop = data; (stop = reference_find(stop, end, delimiter + 2)); stop++) {
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
		if (field && *data == '-') /* a delimiter may begin there, for some */
			break;
		if (field)
			reference_name(r, data, stop - 2 - data, false);
		p = stop + n - 2;
	}
odd:
	r->strict = false;
}

/* Unescapes into out. Returns how many bytes; *invalid: an escape is none. */
static inline size_t reference_unescape(const char *from, size_t n, char *out, bool *invalid)
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

/* The names in an urlencoded form. */
static inline void reference_urlencoded(struct reference *r, const char *body, size_t len)
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
		n = reference_unescape(body, equals - body, text, &bad);
		if (n != 5 || bad || strncasecmp(text, "model", 5))
			continue;
		n = reference_unescape(equals + 1, next - equals - 1, text, &bad);
		reference_name(r, text, n, bad);
	}
	free(text);
}

/* Whether the scanner finds the reference's names in a body of this type. */
static inline bool reference_agrees(unsigned type, const char *body, size_t len)
{
	char names[8192] = "", *request;
	struct reference want;
	struct feed f;
	size_t n;

	if (type < 3)
		reference_multipart(&want, body, len, reference_boundaries[type]);
	else
		reference_urlencoded(&want, body, len);
	if (!want.strict || strlen(want.names) > 7000)
		return true;
	request = reference_request(type, body, len, &n);
	feed_begin(&f, FEED_REQUEST, 0, SCAN_BUF);
	f.heard = reference_heard;
	f.listener = names;
	feed(&f, request, n);
	feed_end(&f);
	free(request);
	if (!strcmp(names, want.names))
		return true;
	fprintf(stderr, "ours: %s\nreference: %s\n", names, want.names);
	return false;
}

#endif
