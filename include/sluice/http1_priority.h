/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The priority class that a request names by itself: a service may say which header's value is
 * looked up in `priorities`. The first such header of a head counts. Its value is hashed as an API
 * key is, since a map key has a fixed size, and with the same state; the class itself is up to the
 * daemon and the programs.
 */
#ifndef SLUICE_HTTP1_PRIORITY_H
#define SLUICE_HTTP1_PRIORITY_H

#include "http1_key.h"

#define HTTP1_PRIORITY (HTTP1_KEYS_MAX + 1) /* in http1_key.trying: what is hashed is no key */

/* Whether a priority header would count. */
static __always_inline int http1_priority_counts(const struct http1_key *key)
{
	return !key->priority;
}

/* The value has ended (HTTP1_KEY_ENDED). */
static __always_inline void http1_priority_end(struct http1_key *key,
					       const struct siphash_secret *secret)
{
	key->priority = siphash_end(&key->under_way, secret);
}

#endif
