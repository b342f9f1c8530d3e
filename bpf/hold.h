/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Heads that wait for their bodies. Many clients send the head of a request and its body in two
 * segments. If the server had the head, a refusal could not keep the connection. So a head that
 * comes alone is dropped, unacknowledged, and sluice keeps a copy. The body's first segment then
 * carries the head before it, and is framed, judged, and refused or admitted as one segment.
 *
 * For the connection it is as if the head had been lost: its client still has all of it, and sends
 * it again. So nothing depends on an entry of `held`. Its next byte, c_next, is that of the head.
 */
#ifndef SLUICE_BPF_HOLD_H
#define SLUICE_BPF_HOLD_H

#include "keep.h"
#include "segment.h"
#include "verdict.h"

/* A copy of the head that comes sooner is a copy of the packet; later it is TCP's, which waits for
 * the head's acknowledgement: Nagle's algorithm keeps the body back (RFC 896). */
#define HOLD_COPY_NS (20 * NSEC_PER_MSEC)
/* Such a client's TCP may also send the body, to probe (RFC 8985 7): 200 ms after the head. */
#define HOLD_LATE_NS (150 * NSEC_PER_MSEC)
/* A client that waits is told from one that was slow by doing so again. */
#define UNHELD_FIRST_NS (10 * NSEC_PER_SEC)
#define UNHELD_GROWS    4
#define UNHELD_MAX_NS   (600 * NSEC_PER_SEC)

/* Bytes of head and body. Above HOLD_LINEAR_MAX the kernel grows only packets that are to be cut
 * into segments; it has no larger others with an MTU of HOLD_MTU_MAX. */
#define HOLD_MAX        65000
#define HOLD_LINEAR_MAX 15800
#define HOLD_MTU_MAX    9216

#define HOLD_WIPE 64 /* bytes of a head that are wiped at once */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct sluice_held);
	__uint(max_entries, 1);
} hold_scratch __weak SEC(".maps");

static long hold_wipe_step(__u32 i, struct sluice_held **h)
{
	__u32 at = (i & (sizeof((*h)->head) / HOLD_WIPE - 1)) * HOLD_WIPE;

	__builtin_memset((*h)->head + at, 0, HOLD_WIPE);
	return 0;
}

/* Wipes a head, which may show a key. */
SUBPROG int hold_wipe(struct sluice_held *h)
{
	if (h)
		bpf_loop(h->len / HOLD_WIPE + 1, hold_wipe_step, &h, 0);
	return 0;
}

/* Whether a request could be refused now: some rule, limit, quota or policy is in force. */
static __always_inline bool could_refuse(const struct sluice_service *service)
{
	struct sluice_model_state *all = model_counts(SLUICE_MODEL_ALL);
	struct sluice_model_flag *flag = model_flag(SLUICE_MODEL_ALL);
	struct sluice_settings *set = get_settings();

	if (!all || !flag || !set)
		return false;
	return (flag->mode ? flag->mode : service->mode) != SLUICE_MODE_SHADOW &&
	       ((set->empty & SLUICE_EMPTY_ALL) != SLUICE_EMPTY_ALL || service->quota ||
		all->stalled >= SLUICE_STALLED_MAX);
}

/* Whether the packet is a head alone, and head and body are short enough for hold_arrives(). */
static __always_inline bool hold_fits(struct __sk_buff *skb, const struct packet *p,
				      const struct sluice_conn *conn)
{
	const struct http1_frame *f = &conn->request.frame;
	__u64 all = p->payload_len + f->left;
	__u32 mtu = 0;

	if (f->state != HTTP1_AT_BODY || !(f->flags & HTTP1_LENGTH) || f->expects ||
	    conn->c_begin != p->seq || p->seq != conn->c_next || f->head_bytes != p->payload_len ||
	    conn->request_bytes != p->payload_len || p->payload_len > SLUICE_HELD_BYTES ||
	    all >= HOLD_MAX || p->tcp_at != p->l2_len + (p->ipv6 ? 40 : 20) ||
	    (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)))
		return false;
	if (all <= HOLD_LINEAR_MAX)
		return true;
	bpf_check_mtu(skb, 0, &mtu, 0, 0);
	return mtu <= HOLD_MTU_MAX;
}

/* The client has waited for the acknowledgement of its head, or has been slow. */
static __noinline void hold_no_more(const struct sluice_conn_key *key, __u64 now)
{
	struct sluice_unheld next = {.at_ns = now, .for_ns = UNHELD_FIRST_NS};
	const struct sluice_unheld *last = bpf_map_lookup_elem(&unheld, &key->client_addr);

	if (last && now - last->at_ns < 2 * UNHELD_GROWS * last->for_ns)
		next.for_ns = last->for_ns * UNHELD_GROWS < UNHELD_MAX_NS
				      ? last->for_ns * UNHELD_GROWS
				      : UNHELD_MAX_NS;
	bpf_map_update_elem(&unheld, &key->client_addr, &next, BPF_ANY);
}

/*
 * Holds the current packet, whose bytes are framed, if it is a head without its body, and a refusal
 * could keep its connection: 1. Then the connection is as before the packet, which is to be
 * dropped. The server's socket has to be here, and has to wait for the head's first byte. If the
 * body has come already and was dropped, its client waits for the head's acknowledgement now.
 */
SUBPROG int hold_head(struct __sk_buff *skb, struct sluice_conn *conn,
		      const struct sluice_service *service, __u64 now)
{
	__u32 zero = 0, c_next = 0, s_next = 0;
	struct request_scratch *s = bpf_map_lookup_elem(&request_scratch, &zero);
	struct sluice_held *h = bpf_map_lookup_elem(&hold_scratch, &zero);
	struct packet *p;
	const struct sluice_unheld *late;
	__u16 sum;
	long err;

	if (!s || !h || !conn || !service)
		return 0;
	p = &s->packet;
	if (conn->flags & SLUICE_CONN_REORDERED || !hold_fits(skb, p, conn) ||
	    !could_refuse(service) || keep_hindered(skb, s, conn, now) != KEEPS)
		return 0;
	late = bpf_map_lookup_elem(&unheld, &p->key.client_addr);
	if (late && now - late->at_ns < late->for_ns)
		return 0;
	if (prove_by_socket(skb, p, &c_next, &s_next) != PROOF_SOCKET || c_next != p->seq ||
	    !segment_sum(skb, p->payload_at, p->payload_at + p->payload_len, &sum) ||
	    !segment_is_right(skb, p, sum))
		return 0;
	h->since_ns = now;
	h->seq = p->seq;
	h->len = p->payload_len;
	h->acked = s->acked;
	h->sum = sum;
	err = load_bytes(skb, p->payload_at, h->head, p->payload_len, SLUICE_HELD_BYTES);
	if (!err && bpf_map_update_elem(&held, &p->key, h, BPF_ANY)) {
		count(SLUICE_COUNTER_HOLD_FULL);
		err = -1;
	}
	hold_wipe(h);
	if (err)
		return 0;
	count(SLUICE_COUNTER_HELD);
	http1_request_next(&conn->request);
	conn_clear(conn, SLUICE_CONN_REQUEST | SLUICE_CONN_JUDGE);
	conn_set(conn, SLUICE_CONN_HELD);
	conn->request_bytes = 0;
	return 1;
}

/*
 * A segment of a connection whose head is held. The body's first one gets the head before it. The
 * head's own retransmission ends the wait, and passes as any. Returns 1 if the segment is to be
 * dropped.
 */
SUBPROG int hold_arrives(struct __sk_buff *skb, struct sluice_conn *conn, __u64 now)
{
	__u32 zero = 0, end;
	struct request_scratch *s = bpf_map_lookup_elem(&request_scratch, &zero);
	struct sluice_held *h;
	struct packet *p;
	int drop = 0;

	if (!s || !conn)
		return 0;
	p = &s->packet;
	h = bpf_map_lookup_elem(&held, &p->key);
	end = p->seq + p->payload_len;
	if (!h || h->seq != conn->c_next) {
		conn_clear(conn, SLUICE_CONN_HELD); /* its client sends the head again */
		return 0;
	}
	if (!p->payload_len || p->flags & TCP_RST || seq_diff(end, h->seq) <= 0)
		return 0;
	if (p->seq == h->seq + h->len) {
		if (now - h->since_ns > HOLD_LATE_NS)
			hold_no_more(&p->key, now);
		s->acked = h->acked;
		drop = segment_prepend(skb, p, h) != 0;
	} else if (seq_diff(p->seq, h->seq) > 0) {
		return 0; /* it comes before missing bytes, of the head or of the body */
	} else if (seq_diff(end, h->seq + h->len) <= 0) {
		if (now - h->since_ns < HOLD_COPY_NS) {
			count(SLUICE_COUNTER_REORDERED_DROPPED);
			return 1;
		}
		hold_no_more(&p->key, now);
		count(SLUICE_COUNTER_HOLD_RELEASED);
	}
	hold_wipe(h);
	bpf_map_delete_elem(&held, &p->key);
	conn_clear(conn, SLUICE_CONN_HELD);
	return drop;
}

#endif
