/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The headers that the scanners read by themselves, because they frame a message or say what its
 * body is, and how a finished name is found among them. Names are compared by words
 * (http1_token.h); one bit of a 64-bit set says first that most names are none of them.
 */
#ifndef SLUICE_HTTP1_HEADERS_H
#define SLUICE_HTTP1_HEADERS_H

#include "http1_token.h"

/* Headers that matter. A new one needs a line in http1_header() and one in http1_token(). */
enum http1_header {
	HTTP1_HEADER_OTHER,
	HTTP1_HEADER_CONTENT_LENGTH,
	HTTP1_HEADER_TRANSFER_ENCODING,
	HTTP1_HEADER_CONTENT_ENCODING,
	HTTP1_HEADER_CONTENT_TYPE,
	HTTP1_HEADER_DATE,
	HTTP1_HEADER_WANTED, /* the one that the driver asks for */
};

/*
 * Each name has one of 64 bits, so that one test says that a name is none of those that matter. The
 * bit's number is the highest six bits of a sum: the words of the name, in lower case and with
 * zeros after it, each times an odd number. The four numbers are chosen so that no header that
 * clients and servers often send shares its bit with one that matters. Where a bit is shared, the
 * names themselves decide. This is the part of word i.
 */
static __always_inline __u64 http1_name_sum(__u64 word, int i)
{
	return word * (i == 0   ? 0xa1b4b4eb6ad5b539ULL
		       : i == 1 ? 0x0a46c565f490f87fULL
		       : i == 2 ? 0xef9cf37aebb20b21ULL
				: 0xa6403724cb17720dULL);
}

static __always_inline __u64 http1_name_bit(__u64 w0, __u64 w1, __u64 w2)
{
	return 1ULL << ((http1_name_sum(w0, 0) + http1_name_sum(w1, 1) + http1_name_sum(w2, 2)) >>
			58);
}

/* The bits of the headers that matter in any case. */
static __always_inline __u64 http1_own_names(const struct http1_frame *f, int response)
{
	__u64 content = scan_literal("content-"), bits;

	bits = http1_name_bit(content, scan_literal("length\0\0"), 0) |
	       http1_name_bit(content, scan_literal("encoding"), 0) |
	       http1_name_bit(scan_literal("transfer"), scan_literal("-encodin"), 'g');
	if (response)
		bits |= http1_name_bit(content, scan_literal("type\0\0\0\0"), 0);
	if (response && !(f->flags & HTTP1_DATE_UNCHECKED))
		bits |= http1_name_bit(scan_literal("date\0\0\0\0"), 0, 0);
	return bits;
}

/* Which header the finished name in f->token is. */
static __always_inline __u8 http1_header(const struct http1_frame *f, int response)
{
	__u64 w0 = http1_word(f, 0), w1 = http1_word(f, 1);

	switch (f->token_len) {
	case 4:
		if (response && w0 == scan_literal("date\0\0\0\0"))
			return HTTP1_HEADER_DATE;
		break;
	case 12:
		if (response && w0 == scan_literal("content-") &&
		    w1 == scan_literal("type\0\0\0\0"))
			return HTTP1_HEADER_CONTENT_TYPE;
		break;
	case 14:
		if (w0 == scan_literal("content-") && w1 == scan_literal("length\0\0"))
			return HTTP1_HEADER_CONTENT_LENGTH;
		break;
	case 16:
		if (w0 == scan_literal("content-") && w1 == scan_literal("encoding"))
			return HTTP1_HEADER_CONTENT_ENCODING;
		break;
	case 17:
		if (w0 == scan_literal("transfer") && w1 == scan_literal("-encodin") &&
		    f->token[16] == 'g')
			return HTTP1_HEADER_TRANSFER_ENCODING;
		break;
	}
	return HTTP1_HEADER_OTHER;
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

/*
 * An element of the list that is a header's value has ended. *kind becomes the kind of a
 * Content-Type.
 */
static __always_inline void http1_token(struct http1_frame *f, __u8 *kind, __u32 *ev)
{
	__u64 w0 = http1_word(f, 0), w1 = http1_word(f, 1), w2 = http1_word(f, 2);
	__u8 len = f->token_len;

	if (!len) {
		if (f->header == HTTP1_HEADER_TRANSFER_ENCODING)
			http1_framing_error(
				f, ev); /* others take ", chunked" for no coding they know */
		return;
	}
	switch (f->header) {
	case HTTP1_HEADER_TRANSFER_ENCODING:
		if (f->flags & HTTP1_CHUNKED)
			http1_framing_error(f, ev); /* chunked must be the last, and once */
		else if (len == 7 && w0 == scan_literal("chunked\0"))
			f->flags |= HTTP1_CHUNKED;
		else
			f->flags |= HTTP1_ENCODED;
		break;
	case HTTP1_HEADER_CONTENT_ENCODING:
		if (len != 8 || w0 != scan_literal("identity"))
			f->flags |= HTTP1_ENCODED;
		break;
	case HTTP1_HEADER_CONTENT_TYPE:
		*kind = len <= HTTP1_TOKEN_MAX ? http1_kind(w0, w1, w2, http1_word(f, 3))
					       : STREAM_NONE;
		break;
	}
}

/* A Content-Length has ended: a number, and the same as any before it (RFC 9112 6.3). */
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
