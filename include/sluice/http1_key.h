/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The API key that identifies a client. The scanner hashes a key as it comes and keeps the hash
 * only (invariant 9), keyed with a secret of this host. A service names up to HTTP1_KEYS_MAX
 * headers that may hold a key; the first of them that has one counts, anywhere in the head.
 * Authorization holds a key only under the scheme Bearer (RFC 6750 2.1).
 *
 * The values of the priority header (http1_priority.h) and of Origin pass through the same state:
 * no two values are ever read at once.
 */
#ifndef SLUICE_HTTP1_KEY_H
#define SLUICE_HTTP1_KEY_H

#include "siphash.h"

#define HTTP1_KEYS_MAX  3  /* headers that may hold a client's API key */
#define HTTP1_KEY_BYTES 32 /* bytes of a key that one step takes */

enum http1_key_state {
	HTTP1_KEY_GAP,    /* before the value */
	HTTP1_KEY_SCHEME, /* in the scheme, "Bearer" */
	HTTP1_KEY_VALUE,
};

struct http1_key {
	struct siphash under_way;
	__u64 hash;     /* of the best key so far */
	__u64 priority; /* of the priority header's value, 0: none yet */
	__u64 origin;   /* of Origin's value, 0: none yet */
	__u8 rank;   /* of its header, 1 … HTTP1_KEYS_MAX, the first is the best; 0: no key yet */
	__u8 trying; /* rank of the one under way; HTTP1_PRIORITY, HTTP1_ORIGIN: it is no key */
	__u8 state;  /* enum http1_key_state */
	__u8 matched; /* bytes of "Bearer" */
	__u8 bearer;  /* 1: the value under way has a scheme */
	__u8 pad[3];
};

/* What one byte says of the value that it belongs to. */
enum http1_key_byte {
	HTTP1_KEY_MORE,  /* the key is still to come, or to end */
	HTTP1_KEY_ENDED, /* the key ended before this byte */
	HTTP1_KEY_NONE,  /* there is no key in this value */
};

/* Whether a key in the header of this rank (1 …) would count. */
static __always_inline int http1_key_counts(const struct http1_key *key, __u8 rank)
{
	return !key->rank || rank < key->rank;
}

/* At the colon of a header of this rank; bearer: a key in it has the scheme in front. */
static __always_inline void http1_key_begin(struct http1_key *key, __u8 rank, int bearer)
{
	key->trying = rank;
	key->state = HTTP1_KEY_GAP;
	key->matched = 0;
	key->bearer = bearer;
}

/* One byte of the value, or the CR or LF after it; never a zero. */
static __always_inline enum http1_key_byte http1_key_byte(struct http1_key *key, __u8 c,
							  const struct siphash_secret *secret)
{
	__u8 want;

	if (c > ' ') {
		if (key->state == HTTP1_KEY_GAP) {
			key->state = key->bearer && key->matched < 6 ? HTTP1_KEY_SCHEME
								     : HTTP1_KEY_VALUE;
			siphash_begin(&key->under_way, secret);
		}
		if (key->state == HTTP1_KEY_VALUE) {
			siphash_byte(&key->under_way, secret, c);
			return HTTP1_KEY_MORE;
		}
		/* the scheme's letters are bytes 0 … 5 of a word */
		want = scan_literal("bearer\0\0") >> (8 * (key->matched & 7));
		return key->matched++ < 6 && (c | 0x20) == want ? HTTP1_KEY_MORE : HTTP1_KEY_NONE;
	}
	if (key->state == HTTP1_KEY_SCHEME) {
		key->state = HTTP1_KEY_GAP;
		return key->matched == 6 ? HTTP1_KEY_MORE : HTTP1_KEY_NONE;
	}
	return key->state == HTTP1_KEY_VALUE ? HTTP1_KEY_ENDED : HTTP1_KEY_MORE;
}

/*
 * Some bytes of the usual value: " Bearer " where it is expected, or bytes of the key.
 * Returns how many, 0 if the value is anything else.
 */
static __always_inline __u64 http1_key_run(struct http1_key *key, const __u8 *buf, __u64 pos,
					   __u64 stop, const struct siphash_secret *secret)
{
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

/* The key has ended (HTTP1_KEY_ENDED). */
static __always_inline void http1_key_end(struct http1_key *key,
					  const struct siphash_secret *secret)
{
	key->hash = siphash_end(&key->under_way, secret);
	key->rank = key->trying;
}

#endif
