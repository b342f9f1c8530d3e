/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The headers of requests that a service asks for: one that names the model, those that may hold an
 * API key, one by which a proxy forwards its client's address, and one that names the request's
 * class. The driver passes their names as one array, `wanted`, in this order:
 * HTTP1_TOKEN_MAX bytes each, in lower case, zeros after the name, all zero for none.
 */
#ifndef SLUICE_HTTP1_WANTED_H
#define SLUICE_HTTP1_WANTED_H

#include "http1_headers.h"

#define HTTP1_WANTED    (HTTP1_KEYS_MAX + 3) /* headers that a driver may ask for */
#define HTTP1_KEY_BYTES 32                   /* bytes of a key that one step takes */
#define HTTP1_PRIORITY  (HTTP1_KEYS_MAX + 1) /* in http1_key.trying: what is hashed is no key */

/*
 * Whether the finished name in f->token is the wanted one: HTTP1_TOKEN_MAX bytes, zeros behind the
 * name, of which there is one at least. Both are compared as http1_run() folds names.
 */
static __always_inline int http1_wanted(const struct http1_frame *f, const char *wanted)
{
	__u64 differ;

	if (!wanted)
		return 0;
	differ = scan_fold(scan_load(wanted)) ^ http1_word(f, 0);
	if (differ || f->token_len >= HTTP1_TOKEN_MAX)
		return 0;
	SCAN_UNROLL
	for (int i = 1; i < HTTP1_TOKEN_MAX / 8; i++)
		differ |= scan_fold(scan_load(wanted + 8 * i)) ^ http1_word(f, i);
	return !differ;
}

/* The bits of the wanted headers' names: the `names` of http1_request_step(). */
static __always_inline __u64 http1_names(const char *wanted)
{
	__u64 bits = 0;

	for (int i = 0; i < HTTP1_WANTED; i++, wanted += HTTP1_TOKEN_MAX) {
		__u64 sum = 0;

		for (int k = 0; k < HTTP1_TOKEN_MAX / 8; k++)
			sum += http1_name_sum(scan_fold(scan_load(wanted + 8 * k)), k);
		if (wanted[0])
			bits |= 1ULL << (sum >> 58);
	}
	return bits;
}

/*
 * Whether the finished name is one of the headers that may hold an API key, and none that comes
 * before it in their order has been seen. Then its value is hashed as it comes.
 */
static __always_inline int http1_key_begin(struct http1_frame *f, const char *names)
{
	struct http1_key *key = &((struct http1_request *)f)->key;
	__u8 rank = 0;

	SCAN_UNROLL
	for (int i = HTTP1_KEYS_MAX - 1; i >= 0; i--)
		if (http1_wanted(f, names + i * HTTP1_TOKEN_MAX))
			rank = i + 1;
	if (!rank && !key->priority &&
	    http1_wanted(f, names + (1 + HTTP1_KEYS_MAX) * HTTP1_TOKEN_MAX))
		rank = HTTP1_PRIORITY;
	if (!rank || (rank != HTTP1_PRIORITY && key->rank && key->rank <= rank))
		return 0;
	key->trying = rank;
	key->state = HTTP1_KEY_GAP;
	key->matched = 0;
	key->bearer = f->token_len == 13 && http1_word(f, 0) == scan_literal("authoriz");
	f->state = HTTP1_AT_KEY;
	return 1;
}

/* Whether the finished name is the header that says whom a proxy forwards for: then its value is
 * read. */
static __always_inline int http1_forwarded_begin(struct http1_frame *f, const char *name)
{
	if (!http1_wanted(f, name))
		return 0;
	forwarded_begin(&((struct http1_request *)f)->forwarded,
			f->token_len == 9 && http1_word(f, 0) == scan_literal("forwarde"));
	f->state = HTTP1_AT_FORWARDED;
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

/* One byte of a header's value that holds an API key. */
static __always_inline void http1_key_step(struct http1_request *r, __u8 c,
					   const struct siphash_secret *secret, __u32 *ev)
{
	struct http1_key *key = &r->key;
	struct http1_frame *f = &r->frame;

	if (!c || !secret) {
		http1_framing_error(f, ev);
		return;
	}
	if (c > ' ') {
		if (key->state == HTTP1_KEY_GAP) {
			key->state = key->bearer && key->matched < 6 ? HTTP1_KEY_SCHEME
								     : HTTP1_KEY_VALUE;
			siphash_begin(&key->under_way, secret);
		}
		if (key->state == HTTP1_KEY_VALUE) {
			siphash_byte(&key->under_way, secret, c);
		} else {
			/* the scheme's letters, at places 0 … 5 of a word */
			__u8 want = scan_literal("bearer\0\0") >> (8 * (key->matched & 7));

			if (key->matched >= 6 || (c | 0x20) != want)
				f->state = HTTP1_AT_REST; /* some other scheme: no key */
			key->matched++;
		}
		return;
	}
	if (key->state == HTTP1_KEY_SCHEME) {
		key->state = HTTP1_KEY_GAP;
		if (key->matched != 6)
			f->state = HTTP1_AT_REST;
	} else if (key->state == HTTP1_KEY_VALUE) {
		if (key->trying == HTTP1_PRIORITY) {
			key->priority = siphash_end(&key->under_way, secret);
		} else {
			key->hash = siphash_end(&key->under_way, secret);
			key->rank = key->trying;
		}
		f->state = HTTP1_AT_REST;
	}
	if (c == '\r' || c == '\n')
		http1_line_end(f, c);
}

/*
 * Some of the value of a header that holds an API key, as it usually is: " Bearer " where that is
 * wanted, or bytes of the key itself. Returns how many.
 */
static __always_inline __u64 http1_key_run(struct http1_request *r, const __u8 *buf, __u64 pos,
					   __u64 stop, const struct siphash_secret *secret)
{
	struct http1_key *key = &r->key;
	__u64 p = pos, w = scan_load(buf + p);

	if (key->state == HTTP1_KEY_GAP && key->bearer && !key->matched && stop - p >= 8 &&
	    buf[p] == ' ' && buf[p + 7] == ' ' &&
	    (w | SCAN_ONES * 0x20) == scan_literal(" bearer ")) {
		key->matched = 6;
		return 8;
	}
	if (key->state != HTTP1_KEY_VALUE || !secret)
		return 0;
	SCAN_STEPS
	for (int i = 0; i < HTTP1_KEY_BYTES; i++) {
		p = scan_clamp(p);
		if (p >= stop || buf[p] <= ' ')
			break;
		siphash_byte(&key->under_way, secret, buf[p]);
		p = scan_forget(p + 1, w);
		SCAN_FENCE();
	}
	return scan_forget(p - pos, w);
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
