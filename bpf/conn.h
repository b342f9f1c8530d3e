/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections: how one is proven and begins, what the client's acknowledgements say about it, how
 * it ends. An address has no state here until it shows that it receives our packets. It does so
 * when it acknowledges the SYN-ACK that left through tc egress, or when an established socket has
 * it as its peer. A connection may be older than this program, and its server's socket in another
 * network namespace. Then the proof is a segment with data that acknowledges all data that has
 * left.
 */
#ifndef SLUICE_BPF_CONN_H
#define SLUICE_BPF_CONN_H

#include "crowd.h"
#include "identity.h"
#include "packet.h"
#include "stall.h"

#define ACK_NEAR        (1 << 18) /* bytes */
#define WINDOW_LEFT_MIN 1460      /* bytes of window that a chunk may need */
#define ACK_LATE_NS                                                                                \
	(250 * NSEC_PER_MSEC) /* bytes unacknowledged for longer have held the server up */

/* Connections that pass unread to their end, or until their server is seen to read them. */
#define PASSES (SLUICE_CONN_UNJUDGED | SLUICE_CONN_OPAQUE)

static __always_inline void conn_set(struct sluice_conn *conn, __u32 flags)
{
	if ((conn->flags & flags) != flags)
		__sync_fetch_and_or(&conn->flags, flags);
}

static __always_inline void conn_clear(struct sluice_conn *conn, __u32 flags)
{
	if (conn->flags & flags)
		__sync_fetch_and_and(&conn->flags, ~flags);
}

/*
 * What packets of judged requests, and of their responses, carry in tc_index: the network namespace
 * of the sluice that has judged them. The field goes with a packet over a veth. So if the sluice of
 * a pod and that of its node judge the same requests, each of them sees it: one by the requests,
 * one by the responses. The lowest bits stay: other programs have flags there (Cilium). 0: a test.
 */
const volatile __u32 judge_mark __weak = 0;

/* Marks a packet as judged here, and notes whether another sluice has judged it before. */
static __always_inline void conn_mark(struct __sk_buff *skb, struct sluice_conn *conn,
				      enum packet_side side)
{
	__u32 index = skb->tc_index, mark = index & SLUICE_MARK_BITS;

	skb->tc_index = (index & ~SLUICE_MARK_BITS) | judge_mark;
	if (mark == judge_mark) /* by a hook before this one */
		return;
	if ((mark & SLUICE_MARK_KIND_BITS) == SLUICE_MARK_KIND)
		conn_set(conn, SLUICE_CONN_TWICE);
	else if (side == FROM_CLIENT)
		conn_clear(conn, SLUICE_CONN_TWICE);
}

static __always_inline void conn_end(const struct sluice_conn_key *key, struct sluice_conn *conn)
{
	__u32 bucket = conn->bucket;

	release_all(conn, SLUICE_END_FAILED);
	conn_remove(key, bucket);
}

/* Gives up framing: the connection passes unjudged to its end and holds nothing. */
static __always_inline void give_up(struct sluice_conn *conn, enum sluice_counter why)
{
	if (__sync_fetch_and_or(&conn->flags, SLUICE_CONN_UNJUDGED | SLUICE_CONN_NO_RESPONSES) &
	    SLUICE_CONN_UNJUDGED)
		return;
	release_all(conn, SLUICE_END_FAILED);
	count(why);
}

/* Whether more than line ends and spaces has come of the request under way. Some servers
 * (cpp-httplib) answer those, and no request with that. */
static __always_inline bool request_begun(const struct sluice_conn *conn)
{
	return conn->flags & SLUICE_CONN_REQUEST && conn->request.frame.state != HTTP1_AT_START;
}

/* Whether the receiver accepts a RST at `seq`: only such a RST ends a connection here. */
static __always_inline bool rst_believed(__u32 seq, __u32 next)
{
	return seq == next;
}

/* Whether bytes were framed within the last `ns`. */
static __always_inline bool framed_within(const struct sluice_conn *conn, __u64 now, __u64 ns)
{
	return (__u32)(now >> 10) - conn->c_when < ns >> 10;
}

/* Why a segment has no connection: it proves none, conns is full, or its request was cut. */
enum lack { LACK_PROOF, LACK_ROOM, LACK_BEGINNING };

enum proof { PROOF_NONE, PROOF_HANDSHAKE, PROOF_SOCKET, PROOF_DATA, PROOF_EVICTED, PROOF_CUT };

/* The socket of this network namespace that has the connection, or that listens for it. The caller
 * releases it. */
static __always_inline struct bpf_sock *conn_socket(struct __sk_buff *skb,
						    const struct sluice_conn_key *key, bool ipv6)
{
	struct bpf_sock_tuple t = {};

	if (ipv6) {
		__builtin_memcpy(t.ipv6.saddr, key->client_addr, 16);
		__builtin_memcpy(t.ipv6.daddr, key->server_addr, 16);
		t.ipv6.sport = key->client_port;
		t.ipv6.dport = key->server_port;
		return bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(&t.ipv4.saddr, key->client_addr + 12, 4);
	__builtin_memcpy(&t.ipv4.daddr, key->server_addr + 12, 4);
	t.ipv4.sport = key->client_port;
	t.ipv4.dport = key->server_port;
	return bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
}

/* Reads the next sequence numbers of both sides from the packet's socket, if it is established. */
static __always_inline enum proof prove_by_socket(struct __sk_buff *skb, const struct packet *p,
						  __u32 *c_next, __u32 *s_next)
{
	struct bpf_sock *sk = conn_socket(skb, &p->key, p->ipv6);
	enum proof proof = PROOF_NONE;

	if (!sk)
		return PROOF_NONE;
	if (sk->state == BPF_TCP_ESTABLISHED || sk->state == BPF_TCP_CLOSE_WAIT) {
		struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);

		if (tcp) {
			*c_next = tcp->rcv_nxt;
			*s_next = tcp->snd_nxt;
			proof = PROOF_SOCKET;
		}
	}
	bpf_sk_release(sk);
	return proof;
}

SUBPROG int prove(struct __sk_buff *skb, const struct packet *p, struct sluice_conn *fresh)
{
	struct sluice_half_open *half;
	struct sluice_conn_key key;
	bool handshake;

	if (!p || !fresh)
		return PROOF_NONE;
	key = p->key;
	fresh->wscale = SLUICE_WSCALE_UNKNOWN;
	fresh->s_window = 0;
	fresh->s_hook = 0;
	half = bpf_map_lookup_elem(&half_open, &key);
	handshake = half && half->answered == SLUICE_ANSWERED_SYN;
	if (half && half->answered == SLUICE_ANSWERED_CUT)
		return p->payload_len ? PROOF_CUT : PROOF_NONE;
	if (half && half->answered && p->ack == half->server_seq + 1 &&
	    (handshake ? seq_diff(p->seq, half->client_seq) >= 0 &&
				 seq_diff(p->seq, half->client_seq) < (1 << 30)
		       : p->payload_len && p->seq == half->client_seq)) {
		fresh->c_next = half->client_seq;
		fresh->s_next = half->server_seq + 1;
		fresh->wscale = half->wscale;
		fresh->s_window = half->s_window;
		fresh->s_hook = half->s_hook;
		return handshake                                   ? PROOF_HANDSHAKE
		       : half->answered == SLUICE_ANSWERED_EVICTED ? PROOF_EVICTED
								   : PROOF_DATA;
	}
	return p->payload_len ? prove_by_socket(skb, p, &fresh->c_next, &fresh->s_next)
			      : PROOF_NONE;
}

/* Derives from conn->addr its client, and whether it is a trusted proxy. */
SUBPROG int conn_identify(struct sluice_conn *conn, const struct sluice_service *service)
{
	if (!conn || !service)
		return 0;
	client_of_address(conn->addr, service, &conn->client);
	if (trusted(conn->addr, service))
		conn_set(conn, SLUICE_CONN_TRUSTED);
	else
		conn_clear(conn, SLUICE_CONN_TRUSTED);
	return 0;
}

/*
 * Makes the connection of a segment that belongs to none yet, if the segment proves one. Returns
 * NULL if not, sets *lack, and counts the segment if it carries data. The entry of half_open stays
 * until conns has room. `fresh` is scratch for a new entry, zero but for last_seen_ns, which is
 * now, and for the fields set here.
 */
OWN_FRAME struct sluice_conn *conn_begin(struct __sk_buff *skb, const struct packet *p,
					 const struct sluice_service *service,
					 struct sluice_conn *fresh, enum lack *lack)
{
	int proof;
	long err;

	if (!(p->flags & TCP_ACK) || p->flags & TCP_RST)
		return NULL;
	proof = prove(skb, p, fresh);
	if (proof == PROOF_NONE || (proof == PROOF_SOCKET && p->seq != fresh->c_next)) {
		if (p->payload_len)
			count(SLUICE_COUNTER_PASSED_UNPROVEN);
		return NULL;
	}
	if (proof == PROOF_CUT) {
		*lack = LACK_BEGINNING;
		return NULL;
	}
	fresh->since_ns = fresh->sent_ns = fresh->last_seen_ns;
	fresh->c_max = fresh->s_ack = fresh->c_next;
	fresh->c_ack = p->ack;
	fresh->flags =
		(proof == PROOF_HANDSHAKE || proof == PROOF_EVICTED ? 0 : SLUICE_CONN_ADOPTED) |
		(service->protocol == SLUICE_PROTOCOL_OPAQUE ? SLUICE_CONN_OPAQUE : 0) |
		(service->unary ? SLUICE_CONN_UNARY : 0) |
		(service->feedback ? SLUICE_CONN_FEEDBACK : 0) |
		(service->frees ? SLUICE_CONN_FREES : 0) | (p->kept ? SLUICE_CONN_KEPT : 0);
	fresh->service = service->id;
	__builtin_memcpy(fresh->addr, p->key.client_addr, 16);
	conn_identify(fresh, service);
	fresh->bucket = conn_bucket(&fresh->client);
	if (service->proxy && proof == PROOF_HANDSHAKE)
		fresh->flags |= SLUICE_CONN_PROXY;
	err = bpf_map_update_elem(&conns, &p->key, fresh, BPF_NOEXIST);
	if (err && err != -17 /* EEXIST: another CPU was first */) {
		count(SLUICE_COUNTER_CONNS_FULL);
		*lack = LACK_ROOM;
		return NULL;
	}
	if (!err)
		conns_add(fresh->bucket, 1);
	if (proof != PROOF_SOCKET && !bpf_map_delete_elem(&half_open, &p->key))
		count(SLUICE_COUNTER_HALF_OPEN_DELETES);
	return bpf_map_lookup_elem(&conns, &p->key);
}

/*
 * Whether the server has sent bytes that the client acknowledges but tc egress never saw. Then its
 * packets leave by an interface that we are not attached to. The socket has to confirm what the
 * client claims.
 */
SUBPROG int conn_unseen(struct __sk_buff *skb, const struct packet *p)
{
	__u32 c_next = 0, s_next = 0;

	if (!p || prove_by_socket(skb, p, &c_next, &s_next) == PROOF_NONE)
		return 0;
	return seq_diff(p->ack, s_next) <= 0;
}

/* Notes the server's acknowledgement of the client's bytes, its window, and whether that is shut.
 */
static __always_inline void conn_taken(struct sluice_conn *conn, const struct packet *p, __u32 hook)
{
	__u8 shut = !p->window;

	if (!(p->flags & TCP_ACK))
		return;
	if (seq_diff(p->ack, conn->s_ack) > 0)
		conn->s_ack = p->ack;
	if (conn->s_shut != shut)
		conn->s_shut = shut;
	if (conn->s_window != p->window)
		conn->s_window = p->window;
	if (conn->s_hook != hook)
		conn->s_hook = hook;
}

/*
 * Notes from a client's segment how fast the client reads. The gap between two chunks is a sample
 * only if the client's window and acknowledgements let the server send during all of it.
 */
static __always_inline void conn_acknowledged(struct sluice_conn *conn, const struct packet *p,
					      __u64 now)
{
	__s64 window, room;
	bool full;

	/* A sequence number far from the client's next byte is a forgery or a stray packet. TCP
	 * ignores its acknowledgement, too. */
	if (!(p->flags & TCP_ACK) || seq_diff(p->seq, conn->c_next) > ACK_NEAR ||
	    seq_diff(p->seq, conn->c_next) < -ACK_NEAR)
		return;
	if (seq_diff(p->ack, conn->c_ack) > 0 && seq_diff(p->ack, conn->s_next) <= 0) {
		__u64 since = conn->unacked_since_ns;

		if (since && now - since > ACK_LATE_NS)
			conn_set(conn, SLUICE_CONN_CLIENT_LIMITED);
		if (since && now - since > CAUGHT_UP_NS)
			conn_limited(conn, now, now);
		conn->c_ack = p->ack;
		conn->unacked_since_ns = p->ack == conn->s_next ? 0 : now;
	}
	room = window = p->window;
	full = !window;
	if (conn->wscale != SLUICE_WSCALE_UNKNOWN) {
		window <<= conn->wscale & 15;
		room = window - (conn->s_next - conn->c_ack);
		full = room <= WINDOW_LEFT_MIN;
	}
	if (window > conn->window_max)
		conn->window_max = window;
	if (full)
		conn_set(conn, SLUICE_CONN_STALLED | SLUICE_CONN_CLIENT_LIMITED);
	else
		conn_clear(conn, SLUICE_CONN_STALLED);
	conn_took(conn, room, full, now);
}

/* The server probes a shut window, or retransmits: the client, or the path to it, holds it up. The
 * exchange of a stalled response stays, so that its bytes are still framed. */
static __always_inline void conn_knocked(struct sluice_conn *conn, __u64 now)
{
	if (conn->exchange_tail == conn->exchange_head)
		return;
	conn_limited(conn, conn->unacked_since_ns ?: now, now);
	conn_check_stall(conn, now);
}

#endif
