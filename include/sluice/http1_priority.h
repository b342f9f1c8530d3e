/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Values that are hashed though they are no key. The priority class that a request names by itself:
 * a service may say which header's value is looked up in `priorities`. And Origin, the page that
 * sends the request: with a list of origins, a refusal allows the one that is in it. The first such
 * header of a head counts. Its value is hashed as an API key is, since a map key has a fixed size,
 * and with the same state; what it means is up to the daemon and the programs.
 */
#ifndef SLUICE_HTTP1_PRIORITY_H
#define SLUICE_HTTP1_PRIORITY_H

#include "http1_key.h"

/* In http1_key.trying: what is hashed is no key. */
#define HTTP1_PRIORITY (HTTP1_KEYS_MAX + 1)
#define HTTP1_ORIGIN   (HTTP1_KEYS_MAX + 2)

/* Whether a priority header would count. */
static __always_inline int http1_priority_counts(const struct http1_key *key)
{
	return !key->priority;
}

/* The value of what is tried has ended (HTTP1_KEY_ENDED); it is no key. */
static __always_inline void http1_priority_end(struct http1_key *key,
					       const struct siphash_secret *secret)
{
	__u64 hash = siphash_end(&key->under_way, secret);

	if (key->trying == HTTP1_ORIGIN)
		key->origin = hash;
	else
		key->priority = hash;
}

#endif
