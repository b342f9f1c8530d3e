/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012), a byte at a time, so that a value that comes in
 * pieces need never be kept: what is stored between two bytes is the keyed state and, under a mask
 * of its own, the bytes of the word under way.
 */
#ifndef SLUICE_SIPHASH_H
#define SLUICE_SIPHASH_H

#include <linux/types.h>

#include "scan.h"

/* Random numbers of this installation. */
struct siphash_secret {
	__u64 k0, k1;
	__u64 mask; /* over the word under way; it has no part in the hash */
};

struct siphash {
	__u64 v[4];
	__u64 word; /* masked */
	__u64 len;  /* bytes taken */
};

static __always_inline __u64 siphash_rotate(__u64 x, int n)
{
	return x << n | x >> (64 - n);
}

static __always_inline void siphash_round(struct siphash *s)
{
	__u64 v0 = s->v[0], v1 = s->v[1], v2 = s->v[2], v3 = s->v[3];

	v0 += v1;
	v2 += v3;
	v1 = siphash_rotate(v1, 13) ^ v0;
	v3 = siphash_rotate(v3, 16) ^ v2;
	v0 = siphash_rotate(v0, 32);
	v2 += v1;
	v0 += v3;
	v1 = siphash_rotate(v1, 17) ^ v2;
	v3 = siphash_rotate(v3, 21) ^ v0;
	v2 = siphash_rotate(v2, 32);
	s->v[0] = v0;
	s->v[1] = v1;
	s->v[2] = v2;
	s->v[3] = v3;
}

static __always_inline void siphash_take(struct siphash *s, __u64 word)
{
	s->v[3] ^= word;
	siphash_round(s);
	siphash_round(s);
	s->v[0] ^= word;
}

static __always_inline void siphash_begin(struct siphash *s, const struct siphash_secret *secret)
{
	s->v[0] = secret->k0 ^ 0x736f6d6570736575ULL;
	s->v[1] = secret->k1 ^ 0x646f72616e646f6dULL;
	s->v[2] = secret->k0 ^ 0x6c7967656e657261ULL;
	s->v[3] = secret->k1 ^ 0x7465646279746573ULL;
	s->word = secret->mask;
	s->len = 0;
}

static __always_inline void siphash_byte(struct siphash *s, const struct siphash_secret *secret,
					 __u8 c)
{
	__u64 word = s->word ^ (__u64)c << (8 * (s->len & 7));

	s->len++;
	if (!(s->len & 7)) {
		siphash_take(s, word ^ secret->mask);
		word = secret->mask;
	}
	s->word = word;
}

/* The hash of all bytes taken; the state is used up. */
static __always_inline __u64 siphash_end(struct siphash *s, const struct siphash_secret *secret)
{
	siphash_take(s, (s->word ^ secret->mask) | s->len << 56);
	s->v[2] ^= 0xff;
	siphash_round(s);
	siphash_round(s);
	siphash_round(s);
	siphash_round(s);
	return s->v[0] ^ s->v[1] ^ s->v[2] ^ s->v[3];
}

#endif
