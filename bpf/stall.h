/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Stalled responses. A client that does not read keeps the server from sending, and would hold its
 * slot for as long as it likes. So a response whose client takes next to nothing for
 * SLUICE_STALL_NS gives its slot back, and counts as stalled instead: for its pool, and for its
 * client. When the client reads again, the response takes its slot again, whatever the limit.
 *
 * The clock (limited_since_ns) begins when the client's window is full, when an acknowledgement is
 * late, or when the server probes or retransmits. It ends when the client has taken
 * SLUICE_STALL_TAKEN_MIN bytes, or has had taken everything, with room for more, for CAUGHT_UP_NS.
 * A server that is held up uses the room within that time, so a byte now and then ends no clock.
 */
#ifndef SLUICE_BPF_STALL_H
#define SLUICE_BPF_STALL_H

#include "slots.h"

#define CAUGHT_UP_NS NSEC_PER_SEC
#define ROOM_ENOUGH  65536 /* bytes: no segment is longer */

/* Counts one more of a client's requests in `pool`. */
static __always_inline void hold_for_client(const struct sluice_client_flag_key *key)
{
	struct sluice_holding *held = bpf_map_lookup_elem(&client_in_flight, key), none = {};

	if (!held) {
		bpf_map_update_elem(&client_in_flight, key, &none, BPF_NOEXIST);
		held = bpf_map_lookup_elem(&client_in_flight, key);
	}
	if (held)
		__sync_fetch_and_add(&held->in_flight, 1);
	else
		count_atomically(SLUICE_COUNTER_COUNTS_FULL);
}

static __always_inline struct sluice_model_state *hold_counts(__u32 model, __u32 flag)
{
	struct sluice_model_state *state = model_counts(model);

	if (!state)
		return NULL;
	if (flag == SLUICE_EXCHANGE_STALLED)
		__sync_fetch_and_add(&state->stalled, 1);
	else if (flag == SLUICE_EXCHANGE_DEPARTED)
		__sync_fetch_and_add(&state->departed, 1);
	else
		__sync_fetch_and_add(&state->in_flight, 1);
	return state;
}

/* Counts what an exchange holds from now on in all entries that count it. */
static __always_inline void hold_everywhere(const struct sluice_exchange *e, __u32 flag)
{
	struct sluice_model_state *carrier;

	if (e->pool != SLUICE_MODEL_ALL)
		hold_counts(SLUICE_MODEL_ALL, flag);
	if (e->pool != e->model && e->model != SLUICE_MODEL_ALL)
		hold_counts(e->model, flag);
	carrier = hold_counts(e->pool, flag);
	if (carrier && flag == SLUICE_EXCHANGE_IN_FLIGHT)
		__sync_fetch_and_add(&carrier->began_ns, e->admitted_ns);
}

/*
 * Replaces the flags in `from`, all that the exchange holds, by `to`: STALLED or IN_FLIGHT. The
 * compare-and-swap decides against the end of the response on another CPU. Returns whether it did.
 */
SUBPROG int hold_instead(struct sluice_exchange *e, __u32 from, __u32 to)
{
	struct sluice_client_flag_key key = {};
	__u32 had;

	if (!e)
		return 0;
	had = e->flags;
	if (!(had & from) || !__sync_bool_compare_and_swap(&e->flags, had, (had & ~HELD) | to))
		return 0;
	hold_everywhere(e, to);
	key.client = e->client;
	key.model = to == SLUICE_EXCHANGE_STALLED ? SLUICE_POOL_STALLED : e->pool;
	hold_for_client(&key);
	release_held(e, had & HELD);
	return 1;
}

/* Whether the client had taken everything, with room for more, for long enough before the server
 * sent what is not acknowledged yet. */
static __always_inline bool caught_up(const struct sluice_conn *conn, __u64 now)
{
	__u64 until = conn->unacked_since_ns ?: now;

	return conn->caught_up_ns && until >= conn->caught_up_ns + CAUGHT_UP_NS;
}

/* The client keeps the server from sending, `since` then. */
static __always_inline void conn_limited(struct sluice_conn *conn, __u64 since, __u64 now)
{
	if (!conn->limited_since_ns || caught_up(conn, now) ||
	    conn->c_ack - conn->limited_ack >= SLUICE_STALL_TAKEN_MIN) {
		conn->limited_since_ns = since;
		conn->limited_ack = conn->c_ack;
	}
	conn->caught_up_ns = 0;
}

/* Releases the slot of a response that has stalled, and takes it again for one that no longer is.
 * Runs at packets, and once a second for all connections. */
static __always_inline void conn_check_stall(struct sluice_conn *conn, __u64 now)
{
	struct sluice_exchange *e = &conn->exchange;
	bool limited = conn->limited_since_ns && !caught_up(conn, now);

	if (e->flags & SLUICE_EXCHANGE_STALLED) {
		if (!limited || conn->c_ack - conn->limited_ack >= SLUICE_STALL_TAKEN_MIN)
			hold_instead(e, SLUICE_EXCHANGE_STALLED, SLUICE_EXCHANGE_IN_FLIGHT);
	} else if (limited && !conn->caught_up_ns &&
		   now - conn->limited_since_ns > SLUICE_STALL_NS) {
		if (hold_instead(e, SLUICE_EXCHANGE_IN_FLIGHT, SLUICE_EXCHANGE_STALLED))
			count_atomically(SLUICE_COUNTER_STALLS_RELEASED);
		release(e, SLUICE_EXCHANGE_SHADOW);
	}
}

/* The client has acknowledged with `room` bytes of window left. `full`: that is no segment. */
static __always_inline void conn_took(struct sluice_conn *conn, __s64 room, bool full, __u64 now)
{
	__u32 enough = conn->window_max / 2;

	if (enough > ROOM_ENOUGH)
		enough = ROOM_ENOUGH;
	if (full && conn->flags & SLUICE_CONN_RESPONSE) {
		conn_limited(conn, now, now);
	} else if (conn->limited_since_ns) {
		if (caught_up(conn, now) ||
		    conn->c_ack - conn->limited_ack >= SLUICE_STALL_TAKEN_MIN)
			conn->limited_since_ns = conn->caught_up_ns = 0;
		else if (full || conn->c_ack != conn->s_next || room < enough)
			conn->caught_up_ns = 0;
		else if (!conn->caught_up_ns)
			conn->caught_up_ns = now;
	}
	if (conn->exchange.flags & SLUICE_EXCHANGE_STALLED)
		conn_check_stall(conn, now);
}

#endif
