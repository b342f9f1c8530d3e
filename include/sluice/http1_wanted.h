/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The headers of requests that a service wants: one that names the model, those that may hold an
 * API key, one by which a proxy forwards its client's address, one that names the request's class,
 * and Origin. The driver passes their names as one array, `wanted`, in the order of enum
 * http1_wanted_header: HTTP1_TOKEN_MAX bytes each, in lower case, zeros after the name, all zero
 * for none.
 */
#ifndef SLUICE_HTTP1_WANTED_H
#define SLUICE_HTTP1_WANTED_H

#include "http1_headers.h"
#include "http1_priority.h"

/* Whether the finished name in f->token is number i of the wanted ones. */
static __always_inline int http1_wanted(const struct http1_frame *f, const char *wanted, int i)
{
	__u64 differ;

	wanted += i * HTTP1_TOKEN_MAX;
	differ = scan_fold(scan_load(wanted)) ^ http1_word(f, 0);
	if (differ || f->token_len >= HTTP1_TOKEN_MAX)
		return 0;
	SCAN_UNROLL
	for (int k = 1; k < HTTP1_TOKEN_MAX / 8; k++)
		differ |= scan_fold(scan_load(wanted + 8 * k)) ^ http1_word(f, k);
	return !differ;
}

/* The bits of the wanted headers' names: the `names` of http1_request_step(). */
static __always_inline __u64 http1_names(const char *wanted)
{
	__u64 bits = 0;

	for (int i = 0; i < HTTP1_WANTED; i++, wanted += HTTP1_TOKEN_MAX)
		if (wanted[0])
			bits |= http1_name_bit(wanted);
	return bits;
}

/*
 * At the colon of a header with a value to hash, if it would count: an API key, priority, Origin.
 * Returns whether it is one.
 */
static __always_inline int http1_key_wanted(struct http1_request *r, const char *wanted)
{
	struct http1_frame *f = &r->frame;
	struct http1_key *key = &r->key;
	__u8 rank = 0;

	SCAN_UNROLL
	for (int i = HTTP1_KEYS_MAX - 1; i >= 0; i--)
		if (http1_wanted(f, wanted, HTTP1_WANTED_KEY + i))
			rank = i + 1;
	if (!rank && http1_priority_counts(key) && http1_wanted(f, wanted, HTTP1_WANTED_PRIORITY))
		rank = HTTP1_PRIORITY;
	if (!rank && !key->origin && http1_wanted(f, wanted, HTTP1_WANTED_ORIGIN))
		rank = HTTP1_ORIGIN;
	if (!rank || (rank <= HTTP1_KEYS_MAX && !http1_key_counts(key, rank)))
		return 0;
	http1_key_begin(key, rank,
			f->token_len == 13 && http1_word(f, 0) == scan_literal("authoriz"));
	f->state = HTTP1_AT_KEY;
	return 1;
}

/* At the colon of the header by which a proxy forwards an address. Returns whether it is that one.
 */
static __always_inline int http1_forwarded_wanted(struct http1_request *r, const char *wanted)
{
	struct http1_frame *f = &r->frame;

	if (!http1_wanted(f, wanted, HTTP1_WANTED_FORWARDED))
		return 0;
	forwarded_begin(&r->forwarded,
			f->token_len == 9 && http1_word(f, 0) == scan_literal("forwarde"));
	f->state = HTTP1_AT_FORWARDED;
	return 1;
}

/* At the colon of a header that the scanner does not read by itself. Returns whether it is a wanted
 * one. */
static __always_inline int http1_wanted_begin(struct http1_request *r, const char *wanted)
{
	struct http1_frame *f = &r->frame;

	if (http1_key_wanted(r, wanted) || http1_forwarded_wanted(r, wanted))
		return 1;
	f->state = HTTP1_AT_REST;
	if (!http1_wanted(f, wanted, HTTP1_WANTED_MODEL))
		return 0;
	if (f->flags & HTTP1_VALUE) {
		f->flags |= HTTP1_VALUE_BAD;
	} else {
		f->flags |= HTTP1_VALUE;
		f->state = HTTP1_AT_VALUE;
	}
	return 1;
}

/* The model's header has no usable value: the rest is skipped as any other header's. */
static __always_inline void http1_value_bad(struct http1_frame *f)
{
	f->flags |= HTTP1_VALUE_BAD;
	f->state = HTTP1_AT_REST;
}

/* Up to eight bytes of the value that names the model, or one byte around it. */
static __always_inline __u32 http1_wanted_step(struct http1_request *r, const __u8 *p, __u64 left,
					       __u32 *ev)
{
	__u64 w = scan_load(p), len = scan_opaque(r->frame.value_len);
	__u64 marks = (scan_below(w, 0x21) & SCAN_HIGHS) | scan_cut(left);
	__u64 n = marks ? scan_index(marks) : 8;
	struct http1_frame *f = &r->frame;
	__u8 c = p[0];

	if (!n) {
		if (c == '\r' || c == '\n')
			http1_line_end(f, c);
		else if (!c)
			http1_framing_error(f, ev);
		else if (c != ' ' && c != '\t')
			http1_value_bad(f);
		else if (len)
			f->flags |= HTTP1_GAP;
		return 1;
	}
	if (f->flags & HTTP1_GAP || len >= HTTP1_VALUE_MAX - 1) {
		http1_value_bad(f);
		return 1;
	}
	if (len > HTTP1_VALUE_MAX - 9) {
		r->value[len] = c;
		f->value_len = len + 1;
		return 1;
	}
	scan_store(r->value + len, w & scan_mask(marks));
	f->value_len = len + n;
	return n;
}

/* One byte of a value that is hashed. A zero may end it for the server: a framing error. */
static __always_inline void http1_key_step(struct http1_request *r, __u8 c,
					   const struct siphash_secret *secret, __u32 *ev)
{
	struct http1_key *key = &r->key;
	struct http1_frame *f = &r->frame;
	enum http1_key_byte said;

	if (!c || !secret) {
		http1_framing_error(f, ev);
		return;
	}
	said = http1_key_byte(key, c, secret);
	if (said == HTTP1_KEY_ENDED) {
		if (key->trying > HTTP1_KEYS_MAX)
			http1_priority_end(key, secret);
		else
			http1_key_end(key, secret);
	}
	if (said != HTTP1_KEY_MORE)
		f->state = HTTP1_AT_REST;
	if (c == '\r' || c == '\n')
		http1_line_end(f, c);
}

/* One byte of the value by which a proxy forwards an address. */
static __always_inline void http1_forwarded_step(struct http1_request *r, __u8 c, __u32 *ev)
{
	if (!c) {
		http1_framing_error(&r->frame, ev);
	} else if (c == '\r' || c == '\n') {
		forwarded_element_end(&r->forwarded);
		http1_line_end(&r->frame, c);
	} else {
		forwarded_byte(&r->forwarded, c);
	}
}

#endif
