/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How many connections a client has in conns. They are counted in buckets, by a keyed hash of the
 * client: an array never fills up, and needs no deletions. Two clients of 65,535 may share a
 * bucket. Whoever adds an entry to conns or deletes one counts it, and only if the call succeeded.
 */
#ifndef SLUICE_BPF_CROWD_H
#define SLUICE_BPF_CROWD_H

#include "count.h"

/* The bucket of a client, 1 … SLUICE_CONN_BUCKETS - 1. */
SUBPROG int conn_bucket(const struct sluice_client *client)
{
	struct siphash_secret *secret;
	const __u64 *half;
	__u32 zero = 0;
	__u64 h;

	secret = bpf_map_lookup_elem(&hash_key, &zero);
	if (!client || !secret)
		return 1;
	half = (const __u64 *)client->addr;
	h = (half[0] ^ secret->k0) * 0x9fb21c651e98df25ULL;
	h = (h ^ h >> 32 ^ half[1] ^ secret->k1) * 0xd6e8feb86659fd93ULL;
	h = (h ^ h >> 29) * 0x9fb21c651e98df25ULL;
	h >>= 48;
	return h ? h : 1;
}

static __always_inline __s64 conns_counted(__u32 bucket)
{
	__s64 *n = bpf_map_lookup_elem(&conn_counts, &bucket);

	return n ? *n : 0;
}

static __always_inline void conns_add(__u32 bucket, __s64 more)
{
	__u32 all = SLUICE_CONNS_ALL;
	__s64 *n = bpf_map_lookup_elem(&conn_counts, &bucket);

	if (n)
		__sync_fetch_and_add(n, more);
	n = bpf_map_lookup_elem(&conn_counts, &all);
	if (n)
		__sync_fetch_and_add(n, more);
}

/* Deletes a connection, which counts once however many CPUs try. */
static __always_inline bool conn_remove(const struct sluice_conn_key *key, __u32 bucket)
{
	if (bpf_map_delete_elem(&conns, key))
		return false;
	conns_add(bucket, -1);
	return true;
}

#endif
