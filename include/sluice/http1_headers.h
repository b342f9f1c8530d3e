/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The headers that the scanners read by themselves, because they frame a message or say what its
 * body is. HTTP1_HEADERS has them all; how a name is found, how its value is read and which names
 * the fast path stops at follow from it. One bit of a 64-bit set says of most other names that they
 * are none of these.
 */
#ifndef SLUICE_HTTP1_HEADERS_H
#define SLUICE_HTTP1_HEADERS_H

#include "http1_token.h"

enum http1_message { HTTP1_REQUESTS = 1, HTTP1_RESPONSES = 2, HTTP1_BOTH = 3 };

/*
 * One line registers a header: X(NAME, name, messages that it matters in, begin, element).
 * begin(f, ev) runs at the colon and says how the value is read: not at all, unless it changes
 * f->state. element(f, kind, ev) runs at the end of each element of a value read as a list, with
 * the element in f->token, in lower case. A header also needs an example in
 * tests/unit/test_http1.c.
 */
#define HTTP1_HEADERS(X)                                                                           \
	X(CONTENT_LENGTH, "content-length", HTTP1_BOTH, http1_read_length, http1_no_element)       \
	X(TRANSFER_ENCODING, "transfer-encoding", HTTP1_BOTH, http1_read_transfer_codings,         \
	  http1_transfer_coding)                                                                   \
	X(CONTENT_ENCODING, "content-encoding", HTTP1_BOTH, http1_read_list, http1_content_coding) \
	X(CONTENT_TYPE, "content-type", HTTP1_BOTH, http1_read_list, http1_content_type)           \
	X(CONNECTION, "connection", HTTP1_REQUESTS, http1_read_list, http1_connection)             \
	X(EXPECT, "expect", HTTP1_REQUESTS, http1_note_expect, http1_no_element)                   \
	X(DATE, "date", HTTP1_RESPONSES, http1_report_date, http1_no_element)

enum http1_header {
	HTTP1_HEADER_OTHER, /* a folded line after such a one changes nothing */
#define X(header, name, messages, begin, element) HTTP1_HEADER_##header,
	HTTP1_HEADERS(X)
#undef X
		HTTP1_HEADER_COUNT,
	HTTP1_HEADER_WANTED, /* one that a service wants (http1_wanted.h) */
};

/* A name as names are compared: HTTP1_TOKEN_MAX bytes, zeros after it. */
#define HTTP1_NAME(name) (name "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")

#define X(header, name, messages, begin, element)                                                  \
	_Static_assert(sizeof(name) > 1 && sizeof(name) <= HTTP1_TOKEN_MAX, name " is no token");
HTTP1_HEADERS(X)
#undef X

/* ---- names ---- */

/*
 * Each name has one of 64 bits, so that one test says that a name is none of those that matter. The
 * bit's number is the highest six bits of a sum: the words of the name, in lower case and with
 * zeros after it, each times an odd number. The four numbers are chosen so that no header that
 * clients and servers often send shares its bit with one that matters. Where a bit is shared, the
 * names themselves decide. This is the part of word i.
 */
static __always_inline __u64 http1_name_sum(__u64 word, int i)
{
	return word * (i == 0   ? 0xeb190e16c21c532dULL
		       : i == 1 ? 0x51157ed6fdc0fd09ULL
		       : i == 2 ? 0x7da4d94710ee1721ULL
				: 0x24ba7ad6e95f345bULL);
}

/* The bit of a name of HTTP1_TOKEN_MAX bytes, zeros after it. */
static __always_inline __u64 http1_name_bit(const char *name)
{
	__u64 sum = 0;

	SCAN_UNROLL
	for (int i = 0; i < HTTP1_TOKEN_MAX / 8; i++)
		sum += http1_name_sum(scan_fold(scan_literal(name + 8 * i)), i);
	return 1ULL << (sum >> 58);
}

/* Whether this header matters in the message under way. A driver may do without Date. */
static __always_inline int http1_matters(const struct http1_frame *f, int response,
					 enum http1_header header, enum http1_message messages)
{
	return messages & (response ? HTTP1_RESPONSES : HTTP1_REQUESTS) &&
	       (header != HTTP1_HEADER_DATE || !(f->flags & HTTP1_DATE_UNCHECKED));
}

/* The bits of the headers that matter in any case. */
static __always_inline __u64 http1_own_names(const struct http1_frame *f, int response)
{
	__u64 bits = 0;

#define X(header, name, messages, begin, element)                                                  \
	if (http1_matters(f, response, HTTP1_HEADER_##header, messages))                           \
		bits |= http1_name_bit(HTTP1_NAME(name));
	HTTP1_HEADERS(X)
#undef X
	return bits;
}

/* Whether the finished name in f->token is this one, of `len` bytes and zeros after them. */
static __always_inline int http1_named(const struct http1_frame *f, const char *name, __u8 len)
{
	__u64 differ = f->token_len ^ len;

	SCAN_UNROLL
	for (int i = 0; i < (len + 7) / 8; i++)
		differ |= http1_word(f, i) ^ scan_fold(scan_literal(name + 8 * i));
	return !differ;
}

/* Which header the finished name in f->token is. */
static __always_inline __u8 http1_header(const struct http1_frame *f, int response)
{
#define X(header, name, messages, begin, element)                                                  \
	if (http1_matters(f, response, HTTP1_HEADER_##header, messages) &&                         \
	    http1_named(f, HTTP1_NAME(name), sizeof(name) - 1))                                    \
		return HTTP1_HEADER_##header;
	HTTP1_HEADERS(X)
#undef X
	return HTTP1_HEADER_OTHER;
}

/* ---- values: begin ---- */

static __always_inline void http1_read_list(struct http1_frame *f, __u32 *ev)
{
	http1_token_begin(f);
	f->state = HTTP1_AT_TOKEN;
}

static __always_inline void http1_read_transfer_codings(struct http1_frame *f, __u32 *ev)
{
	http1_read_list(f, ev);
	f->flags |= HTTP1_CODING;
}

static __always_inline void http1_read_length(struct http1_frame *f, __u32 *ev)
{
	http1_token_begin(f);
	f->state = HTTP1_AT_LENGTH;
}

static __always_inline void http1_report_date(struct http1_frame *f, __u32 *ev)
{
	*ev |= HTTP1_DATE;
}

static __always_inline void http1_note_expect(struct http1_frame *f, __u32 *ev)
{
	f->expects = 1;
}

/* At the colon after the name of f->header, which is not OTHER. */
static __always_inline void http1_header_begin(struct http1_frame *f, __u32 *ev)
{
	switch (f->header) {
#define X(header, name, messages, begin, element)                                                  \
	case HTTP1_HEADER_##header:                                                                \
		begin(f, ev);                                                                      \
		break;
		/* NOLINTNEXTLINE(bugprone-branch-clone): a branch is a row of the table */
		HTTP1_HEADERS(X)
#undef X
	}
}

/* ---- values: element ---- */

static __always_inline void http1_no_element(struct http1_frame *f, __u8 *kind, __u32 *ev)
{
}

/* Chunked must be the last coding, and once; some take an empty element for an unknown coding. */
static __always_inline void http1_transfer_coding(struct http1_frame *f, __u8 *kind, __u32 *ev)
{
	if (!f->token_len || f->flags & HTTP1_CHUNKED)
		http1_framing_error(f, ev);
	else if (f->token_len == 7 && http1_word(f, 0) == scan_literal("chunked\0"))
		f->flags |= HTTP1_CHUNKED;
	else
		f->flags |= HTTP1_ENCODED;
}

static __always_inline void http1_content_coding(struct http1_frame *f, __u8 *kind, __u32 *ev)
{
	if (f->token_len && (f->token_len != 8 || http1_word(f, 0) != scan_literal("identity")))
		f->flags |= HTTP1_ENCODED;
}

static __always_inline void http1_connection(struct http1_frame *f, __u8 *kind, __u32 *ev)
{
	if (f->token_len == 5 && http1_word(f, 0) == scan_literal("close\0\0\0"))
		f->flags |= HTTP1_CLOSE;
}

/* The kind of a Content-Type (enum stream_kind) by its words, with zeros after it. */
static __always_inline __u8 http1_kind(__u64 w0, __u64 w1, __u64 w2, __u64 w3)
{
	if (w3)
		return STREAM_NONE;
	if (w0 == scan_literal("text/eve") && w1 == scan_literal("nt-strea") && w2 == 'm')
		return STREAM_SSE;
	if (w0 == scan_literal("applicat") &&
	    ((w1 == scan_literal("ion/x-nd") && w2 == scan_literal("json\0\0\0\0")) ||
	     (w1 == scan_literal("ion/json") && w2 == 'l')))
		return STREAM_NDJSON;
	return STREAM_NONE;
}

static __always_inline void http1_content_type(struct http1_frame *f, __u8 *kind, __u32 *ev)
{
	if (!f->token_len)
		return;
	*kind = STREAM_NONE;
	if (f->token_len <= HTTP1_TOKEN_MAX)
		*kind = http1_kind(http1_word(f, 0), http1_word(f, 1), http1_word(f, 2),
				   http1_word(f, 3));
}

/* An element of the list that is the value of f->header has ended. */
static __always_inline void http1_element(struct http1_frame *f, __u8 *kind, __u32 *ev)
{
	switch (f->header) {
#define X(header, name, messages, begin, element)                                                  \
	case HTTP1_HEADER_##header:                                                                \
		element(f, kind, ev);                                                              \
		break;
		/* NOLINTNEXTLINE(bugprone-branch-clone): a branch is a row of the table */
		HTTP1_HEADERS(X)
#undef X
	}
}

/* Whether a ';' ends an element, because parameters that do not matter follow. */
static __always_inline int http1_has_parameters(const struct http1_frame *f)
{
	return f->header == HTTP1_HEADER_CONTENT_TYPE;
}

/* Whether a tab is white space between elements: in a coding others take it for part of one. */
static __always_inline int http1_allows_tabs(const struct http1_frame *f)
{
	return f->header != HTTP1_HEADER_TRANSFER_ENCODING;
}

/* A Content-Length, or an element of its list, has ended: a number, and the same as any before it
 * (RFC 9112 6.3). */
static __always_inline void http1_length_end(struct http1_frame *f, __u32 *ev)
{
	__u64 value = f->value;

	if (!f->token_len || ((f->flags & HTTP1_LENGTH) && f->left != value)) {
		http1_framing_error(f, ev);
		return;
	}
	f->left = value;
	f->flags |= HTTP1_LENGTH;
}

#endif
