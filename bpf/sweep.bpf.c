/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A pass over all connections, which the daemon runs by BPF_PROG_TEST_RUN: once a second, for what
 * has to happen although no packet comes, and when conns is nearly full. The program is never
 * attached. It runs here and not in the daemon because only a program changes a connection
 * atomically, and because it takes milliseconds.
 */
#include "conn.h"

#define KEPT_QUIET_NS NSEC_PER_SEC
#define KEPT_AWAY_NS  (60 * NSEC_PER_SEC)
#define HELD_MAX_NS   NSEC_PER_SEC

struct sweep {
	__u64 now;
	__u64 idle_ns;
	__u32 evict;
};

/* What its removal would do to a connection. */
enum loss {
	LOSS_NONE,    /* its next request is judged as any */
	LOSS_REQUEST, /* the request that it has begun, and that comes too slowly */
	LOSS_JUDGED,  /* a request or response under way, or an identity that only it knows */
};

/*
 * How long a connection has completed nothing, ns. Its last byte does not count, because a hostile
 * client sends one now and then. The bytes of the request under way count SLUICE_CONNS_BYTE_NS
 * each, so that a slow upload is not idle. (Apache's mod_reqtimeout has such a MinRate.)
 */
static __always_inline __u64 idle_for(const struct sluice_conn *conn, __u64 now)
{
	__u64 since = conn->since_ns;

	if (conn->flags & SLUICE_CONN_REQUEST)
		since += conn->request_bytes * SLUICE_CONNS_BYTE_NS;
	return now > since ? now - since : 0;
}

static __always_inline enum loss loss_of(const struct sluice_conn_key *key,
					 const struct sluice_conn *conn, __u64 now)
{
	const __u64 *peer = (const __u64 *)key->client_addr, *named = (const __u64 *)conn->addr;
	bool open = conn->exchange_tail != conn->exchange_head;

	if (peer[0] != named[0] || peer[1] != named[1] || conn->exchange.flags & HELD)
		return LOSS_JUDGED; /* its PROXY header came once; it holds a slot */
	if (conn->flags & SLUICE_CONN_UNJUDGED)
		return LOSS_NONE;
	if (conn->flags & SLUICE_CONN_OPAQUE)
		return open && !(conn->flags & SLUICE_CONN_RESPONSE) &&
				       idle_for(conn, now) <= SLUICE_CONNS_SLOW_NS
			       ? LOSS_JUDGED
			       : LOSS_NONE;
	if (open || conn->flags & SLUICE_CONN_RESPONSE)
		return LOSS_JUDGED;
	if (!(conn->flags & SLUICE_CONN_REQUEST) &&
	    (!(conn->flags & SLUICE_CONN_PROXY) || conn->c_next == conn->c_max))
		return LOSS_NONE;
	return idle_for(conn, now) > SLUICE_CONNS_SLOW_NS ? LOSS_REQUEST : LOSS_JUDGED;
}

/*
 * How the next byte of a connection proves it: by its handshake if it has had none, else by what it
 * acknowledges. One that was unjudged or opaque, or was adopted and has shown no request, is
 * adopted again.
 */
static __always_inline __u8 answered_again(const struct sluice_conn *conn, enum loss loss)
{
	if (loss == LOSS_REQUEST)
		return SLUICE_ANSWERED_CUT;
	if (conn->flags & (SLUICE_CONN_UNJUDGED | SLUICE_CONN_ADOPTED | SLUICE_CONN_OPAQUE))
		return SLUICE_ANSWERED_DATA;
	return conn->c_next == conn->c_max && !conn->exchange_tail ? SLUICE_ANSWERED_SYN
								   : SLUICE_ANSWERED_EVICTED;
}

static __always_inline void note_eviction(const struct sluice_conn_key *key)
{
	struct sluice_conn_key copy = *key;
	struct sluice_kept *k = bpf_map_lookup_elem(&kept, &copy);

	if (k)
		__sync_fetch_and_or(&k->flags, SLUICE_KEPT_EVICTED);
}

/* Removes a connection that no CPU works on, and notes in half_open what its next byte proves. */
static __always_inline void evict(struct sweep *s, const struct sluice_conn_key *key,
				  struct sluice_conn *conn)
{
	struct sluice_half_open half = {};
	__u32 bucket = conn->bucket;
	enum loss loss;
	bool closed, is_kept;

	if (!__sync_bool_compare_and_swap(&conn->busy, 0, 1))
		return;
	loss = loss_of(key, conn, s->now);
	half.server_seq = conn->s_next - 1;
	half.client_seq = conn->c_next;
	half.wscale = conn->wscale;
	half.s_window = conn->s_window;
	half.s_hook = conn->s_hook;
	half.answered = answered_again(conn, loss);
	closed = loss != LOSS_REQUEST &&
		 conn->flags & (SLUICE_CONN_CLIENT_FIN | SLUICE_CONN_SERVER_FIN);
	is_kept = conn->flags & SLUICE_CONN_KEPT;
	if (loss == LOSS_JUDGED || !conn_remove(key, bucket)) {
		conn->busy = 0;
		return;
	}
	if (is_kept && !closed)
		note_eviction(key);
	s->evict--;
	count_atomically(SLUICE_COUNTER_CONNS_EVICTED);
	if (!closed && !bpf_map_update_elem(&half_open, key, &half, BPF_ANY))
		count_atomically(SLUICE_COUNTER_HALF_OPEN_INSERTS);
}

/* Whether a connection has been idle for long enough. */
static __always_inline bool may_go(const struct sweep *s, const struct sluice_conn_key *key,
				   const struct sluice_conn *conn)
{
	return loss_of(key, conn, s->now) != LOSS_JUDGED && idle_for(conn, s->now) >= s->idle_ns;
}

static long sweep_conn(void *map, const struct sluice_conn_key *key, struct sluice_conn *conn,
		       struct sweep *s)
{
	__u32 bucket = conn->bucket;

	if (conn->departed_until_ns) {
		if (s->now >= conn->departed_until_ns) {
			release_all(conn, SLUICE_END_DEPARTED);
			conn_remove(key, bucket);
		}
		return 0;
	}
	if (conn->exchange.flags & HELD)
		conn_check_stall(conn, s->now);
	else if (s->evict && may_go(s, key, conn))
		evict(s, key, conn);
	return 0;
}

struct kept_sweep {
	struct __sk_buff *skb;
	__u64 now;
};

/* Whether a socket of this network namespace has the connection, be it in TIME-WAIT. */
static __always_inline bool has_socket(struct __sk_buff *skb, const struct sluice_conn_key *key)
{
	const __u32 *client = (const __u32 *)key->client_addr;
	bool mapped = !client[0] && !client[1] && client[2] == bpf_htonl(0xffff);
	struct bpf_sock *sk = conn_socket(skb, key, !mapped);
	bool found;

	if (!sk)
		return false;
	found = sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return found;
}

/*
 * A kept connection has ended when no socket has it, nor a tombstone: whatever comes later is
 * answered from its own numbers. The socket of a server in another network namespace cannot be
 * asked. Such a connection has ended when both sides have closed it, or it was silent for long
 * (conns lacks it, and not for want of room), and KEPT_AWAY_NS have passed.
 */
static long sweep_kept(void *map, const struct sluice_conn_key *key, struct sluice_kept *k,
		       struct kept_sweep *s)
{
	__u64 quiet = s->now > k->last_seen_ns ? s->now - k->last_seen_ns : 0;
	__u64 away = k->flags & SLUICE_KEPT_EVICTED ? SLUICE_CONNS_IDLE_NS : KEPT_AWAY_NS;
	bool ended;

	if (quiet < KEPT_QUIET_NS)
		return 0;
	if (k->flags & SLUICE_KEPT_LOCAL)
		ended = !has_socket(s->skb, key);
	else
		ended = quiet >= away && !bpf_map_lookup_elem(&conns, key);
	if (ended && !bpf_map_lookup_elem(&tombstones, key))
		bpf_map_delete_elem(&kept, key);
	return 0;
}

/*
 * A head whose body has not come for HELD_MAX_NS is forgotten: its client sends it again. While the
 * connection is alive, only the CPU that works on it may do so.
 */
static long sweep_held(void *map, const struct sluice_conn_key *key, struct sluice_held *h,
		       struct kept_sweep *s)
{
	struct sluice_conn *conn;

	if (s->now <= h->since_ns || s->now - h->since_ns < HELD_MAX_NS)
		return 0;
	conn = bpf_map_lookup_elem(&conns, key);
	if (conn && !__sync_bool_compare_and_swap(&conn->busy, 0, 1))
		return 0;
	bpf_map_delete_elem(&held, key);
	if (conn) {
		conn_clear(conn, SLUICE_CONN_HELD);
		conn->busy = 0;
	}
	return 0;
}

SEC("tc")
int sweep(struct __sk_buff *skb)
{
	struct sluice_settings *set = get_settings();
	struct sluice_sweep asked = {};
	struct kept_sweep ks = {};
	struct sweep s = {};

	if (!set || bpf_skb_load_bytes(skb, 0, &asked, sizeof(asked)))
		return TC_ACT_SHOT;
	s.now = now_ns(set);
	s.idle_ns = asked.idle_ns;
	s.evict = asked.evict;
	ks.skb = skb;
	ks.now = s.now;
	bpf_for_each_map_elem(&kept, sweep_kept, &ks, 0);
	bpf_for_each_map_elem(&held, sweep_held, &ks, 0);
	return bpf_for_each_map_elem(&conns, sweep_conn, &s, 0) < 0 ? TC_ACT_SHOT : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
