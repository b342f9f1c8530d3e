/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clients that hang up. Many servers go on with a request whose client has reset its connection,
 * and nothing on the wire shows when they end. So such a request keeps its slot for the time that
 * requests of its pool usually take. Its connection is over. What it holds moves to an entry of its
 * own in conns, under a key that no packet has. The sweep deletes it when its time has come.
 *
 * A service with `on-disconnect: free` has a server that stops at once.
 */
#ifndef SLUICE_BPF_DEPART_H
#define SLUICE_BPF_DEPART_H

#include "conn.h"
#include "request.h"

#define USUAL_LEFT 4 /* a request that has taken long takes a fourth of the usual time more */
/* Before the first response has ended, where slots are limited: else a client that hangs up on all
 * of them holds none, and none may ever end. */
#define USUAL_UNKNOWN_NS (10 * NSEC_PER_SEC)

/* Whether max-in-flight bounds requests for the model. */
static __always_inline bool model_is_limited(__u32 model)
{
	struct sluice_model_flag *flag = model_flag(model);

	return flag && flag->limit;
}

/* How long (ns) a request that was admitted at `since` usually goes on from now on; 0: that is not
 * known. */
static __always_inline __u64 usual_left(__u64 usual, __u64 since, __u64 now)
{
	__u64 least = usual / USUAL_LEFT;

	return since + usual > now + least ? since + usual - now : least;
}

/* Makes the entry that takes over what `conn` holds. Returns it, or NULL if conns has no room. */
static __always_inline struct sluice_conn *depart_to(struct sluice_conn *fresh,
						     const struct sluice_conn *conn,
						     struct sluice_conn_key *key, __u64 until)
{
	struct sluice_conn *gone = NULL;

	__builtin_memset(key->client_addr, 0, sizeof(*key)); /* its ports, too: no packet's */
	*(__u64 *)key->client_addr = fresh->last_seen_ns;
	*(__u64 *)key->server_addr = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
	fresh->departed_until_ns = until;
	fresh->flags = SLUICE_CONN_UNJUDGED | SLUICE_CONN_NO_RESPONSES;
	fresh->service = conn->service;
	fresh->bucket = conn->bucket;
	fresh->client = conn->client;
	fresh->exchange = conn->exchange;
	fresh->exchange.flags = 0;
	fresh->exchange_tail = 1;
	if (!bpf_map_update_elem(&conns, key, fresh, BPF_NOEXIST)) {
		conns_add(conn->bucket, 1);
		gone = bpf_map_lookup_elem(&conns, key);
	}
	fresh->departed_until_ns = 0;
	fresh->exchange_tail = 0;
	__builtin_memset(&fresh->exchange, 0, sizeof(fresh->exchange));
	return gone;
}

/*
 * The client of `conn` has reset it. A request that holds a slot goes on holding it without the
 * connection. If it still waits, its bytes go on to wait for as long as was predicted.
 */
SUBPROG int depart(struct sluice_conn *conn)
{
	struct sluice_client_flag_key held = {};
	struct sluice_model_state *pool;
	struct sluice_conn *gone, *fresh;
	struct sluice_conn_key key;
	struct request_scratch *s;
	struct sluice_exchange *e;
	__u32 had, zero = 0;
	__u64 now, left;

	s = bpf_map_lookup_elem(&request_scratch, &zero);
	if (!conn || !s)
		return 0;
	fresh = &s->fresh;
	e = &conn->exchange;
	now = fresh->last_seen_ns = conn->last_seen_ns;
	pool = model_counts(e->pool);
	if (!pool || !(e->flags & SLUICE_EXCHANGE_IN_FLIGHT) || conn->flags & SLUICE_CONN_FREES)
		return 0;
	left = pool->usual_ns;
	if (!left && (model_is_limited(e->model) || model_is_limited(SLUICE_MODEL_ALL)))
		left = USUAL_UNKNOWN_NS;
	left = usual_left(left, e->admitted_ns, now);
	if (!left)
		return 0;
	gone = depart_to(fresh, conn, &key, now + left);
	if (!gone)
		return 0;
	had = __sync_fetch_and_and(&e->flags, ~HELD) & HELD;
	if (had & SLUICE_EXCHANGE_WAITING) {
		__sync_fetch_and_add(&pool->waits.bytes, (__s64)waits_units(e->bytes) * WAITS_UNIT);
		if (waits_put(&pool->waits, e->wait_end, waits_units(e->bytes)))
			gone->exchange.flags = SLUICE_EXCHANGE_EXPECTED;
		release_held(e, SLUICE_EXCHANGE_WAITING);
		had &= ~SLUICE_EXCHANGE_WAITING;
	}
	if (!(had & SLUICE_EXCHANGE_IN_FLIGHT)) {
		release_held(e, had);
		return 0;
	}
	hold_everywhere(e, SLUICE_EXCHANGE_DEPARTED);
	held.client = e->client;
	held.model = SLUICE_POOL_DEPARTED;
	hold_for_client(&held);
	__sync_fetch_and_or(&gone->exchange.flags, had | SLUICE_EXCHANGE_DEPARTED);
	count(SLUICE_COUNTER_DEPARTED);
	return 0;
}

#endif
