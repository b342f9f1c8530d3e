/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Heads and chunked bodies of HTTP/1.x for the mock model server and the load generator: see
 * mock.h.
 */
#include "mock.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* A line without its CRLF. */
struct line {
	const char *at;
	size_t len;
};

static bool token_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static struct line trim(const char *at, size_t len)
{
	while (len && (*at == ' ' || *at == '\t')) {
		at++;
		len--;
	}
	while (len && (at[len - 1] == ' ' || at[len - 1] == '\t'))
		len--;
	return (struct line){at, len};
}

static bool line_is(struct line l, const char *word)
{
	return l.len == strlen(word) && strncasecmp(l.at, word, l.len) == 0;
}

/* Returns true if the comma-separated list has the word. */
static bool list_has(struct line list, const char *word)
{
	while (list.len) {
		const char *comma = memchr(list.at, ',', list.len);
		size_t len = comma ? (size_t)(comma - list.at) : list.len;

		if (line_is(trim(list.at, len), word))
			return true;
		list.at += len + (comma ? 1 : 0);
		list.len -= len + (comma ? 1 : 0);
	}
	return false;
}

static bool parse_length(struct line v, uint64_t *out)
{
	uint64_t n = 0;

	if (!v.len || v.len > 18)
		return false;
	for (size_t i = 0; i < v.len; i++) {
		if (!isdigit((unsigned char)v.at[i]))
			return false;
		n = n * 10 + (uint64_t)(v.at[i] - '0');
	}
	*out = n;
	return true;
}

static bool parse_version(struct line v, int *minor)
{
	if (v.len != 8 || memcmp(v.at, "HTTP/1.", 7) != 0 || (v.at[7] != '0' && v.at[7] != '1'))
		return false;
	*minor = v.at[7] - '0';
	return true;
}

static bool parse_request_line(struct line l, struct http_head *h)
{
	const char *first = memchr(l.at, ' ', l.len);
	const char *second =
		first ? memchr(first + 1, ' ', (size_t)(l.at + l.len - first - 1)) : NULL;
	size_t method, target;

	if (!second)
		return false;
	method = (size_t)(first - l.at);
	target = (size_t)(second - first - 1);
	if (!method || method >= sizeof(h->method) || !target)
		return false;
	for (size_t i = 0; i < method; i++)
		if (!token_char(l.at[i]))
			return false;
	memcpy(h->method, l.at, method);
	memcpy(h->target, first + 1, target < sizeof(h->target) ? target : sizeof(h->target) - 1);
	return parse_version((struct line){second + 1, (size_t)(l.at + l.len - second - 1)},
			     &h->minor);
}

static bool parse_status_line(struct line l, struct http_head *h)
{
	if (l.len < 12 || l.at[8] != ' ' || !parse_version((struct line){l.at, 8}, &h->minor))
		return false;
	for (int i = 9; i < 12; i++) {
		if (!isdigit((unsigned char)l.at[i]))
			return false;
		h->status = h->status * 10 + (l.at[i] - '0');
	}
	return h->status >= 100 && (l.len == 12 || l.at[12] == ' ');
}

static bool parse_field(struct line l, struct http_head *h, bool *keep_alive)
{
	const char *colon = memchr(l.at, ':', l.len);
	struct line name, v;
	uint64_t length;

	if (!colon || colon == l.at)
		return false;
	name = (struct line){l.at, (size_t)(colon - l.at)};
	for (size_t i = 0; i < name.len; i++)
		if (!token_char(name.at[i]))
			return false;
	v = trim(colon + 1, l.len - name.len - 1);
	if (line_is(name, "content-length")) {
		if (!parse_length(v, &length) || (h->has_length && h->length != length))
			return false;
		h->has_length = true;
		h->length = length;
	} else if (line_is(name, "transfer-encoding")) {
		if (!line_is(v, "chunked") || h->chunked)
			return false;
		h->chunked = true;
	} else if (line_is(name, "connection")) {
		h->close |= list_has(v, "close");
		*keep_alive |= list_has(v, "keep-alive");
	} else if (line_is(name, "expect")) {
		h->expect_continue = line_is(v, "100-continue");
	} else if (line_is(name, "content-type")) {
		const char *semicolon = memchr(v.at, ';', v.len);
		struct line type = trim(v.at, semicolon ? (size_t)(semicolon - v.at) : v.len);

		for (size_t i = 0; i < type.len && i + 1 < sizeof(h->content_type); i++)
			h->content_type[i] = (char)tolower((unsigned char)type.at[i]);
	} else if (line_is(name, "retry-after")) {
		char text[32] = "";

		memcpy(text, v.at, v.len < sizeof(text) ? v.len : sizeof(text) - 1);
		h->has_retry_after = parse_number(text, 0, 1e9, &h->retry_after_s);
	}
	return true;
}

ssize_t http_parse_head(const char *data, size_t len, bool response, struct http_head *h)
{
	const char *end = memmem(data, len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX, "\r\n\r\n", 4);
	bool keep_alive = false;
	bool first = true;

	if (!end)
		return len >= HTTP_HEAD_MAX ? -1 : 0;
	memset(h, 0, sizeof(*h));
	for (const char *at = data; at < end + 2;) {
		const char *crlf = memmem(at, (size_t)(end + 2 - at), "\r\n", 2);
		struct line l = {at, (size_t)(crlf - at)};

		if (memchr(l.at, '\n', l.len) || memchr(l.at, '\0', l.len))
			return -1;
		if (first && !(response ? parse_status_line(l, h) : parse_request_line(l, h)))
			return -1;
		if (!first && !parse_field(l, h, &keep_alive))
			return -1;
		first = false;
		at = crlf + 2;
	}
	if (h->chunked && h->has_length)
		return -1;
	if (h->minor == 0 && !(response && keep_alive))
		h->close = true;
	return end + 4 - data;
}

enum chunk_state {
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_TRAILER,
	CHUNK_TRAILER_LINE,
	CHUNK_END_LF,
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Parses one byte outside chunk data. Returns false if it is not allowed. */
static bool chunked_step(struct chunked *c, char byte)
{
	int digit;

	switch ((enum chunk_state)c->state) {
	case CHUNK_SIZE:
		digit = hex_digit(byte);
		if (digit >= 0) {
			c->left = c->left * 16 + (uint64_t)digit;
			return ++c->digits <= 15;
		}
		if (!c->digits || !(byte == '\r' || byte == ';' || byte == ' ' || byte == '\t'))
			return false;
		c->state = byte == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
		return true;
	case CHUNK_EXTENSION:
		if (byte == '\r')
			c->state = CHUNK_SIZE_LF;
		return byte != '\n';
	case CHUNK_SIZE_LF:
		c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
		return byte == '\n';
	case CHUNK_DATA_CR:
		c->state = CHUNK_DATA_LF;
		return byte == '\r';
	case CHUNK_DATA_LF:
		c->state = CHUNK_SIZE;
		c->digits = 0;
		return byte == '\n';
	case CHUNK_TRAILER:
		c->state = byte == '\r' ? CHUNK_END_LF : CHUNK_TRAILER_LINE;
		return true;
	case CHUNK_TRAILER_LINE:
		if (byte == '\n')
			c->state = CHUNK_TRAILER;
		return true;
	case CHUNK_END_LF:
		c->done = true;
		return byte == '\n';
	case CHUNK_DATA:
		break;
	}
	return false;
}

ssize_t chunked_decode(struct chunked *c, const char *in, size_t len, struct buf *out)
{
	size_t at = 0;

	while (at < len && !c->done) {
		if (c->state == CHUNK_DATA) {
			size_t n = len - at < c->left ? len - at : (size_t)c->left;

			buf_append(out, in + at, n);
			at += n;
			c->left -= n;
			if (!c->left)
				c->state = CHUNK_DATA_CR;
		} else if (!chunked_step(c, in[at++])) {
			return -1;
		}
	}
	return (ssize_t)at;
}
