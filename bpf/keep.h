/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Refusing a request and keeping its connection. It takes a request that came whole in one segment,
 * with nothing in flight before it: then the server's TCP need not learn of it, and what it has
 * sent before is the client's already. Else the refusal closes the connection, and a counter says
 * why.
 */
#ifndef SLUICE_BPF_KEEP_H
#define SLUICE_BPF_KEEP_H

#include "account.h"
#include "kept.h"
#include "request.h"

/* Servers close a connection on which they have heard nothing for some seconds (uvicorn and Node:
 * 5 s), and neither the request nor its refusal is anything to them. */
#define HEARD_NS (2 * NSEC_PER_SEC)

/* Connections whose state does not say what the server has. */
#define KEEP_NEVER                                                                                 \
	(SLUICE_CONN_UNJUDGED | SLUICE_CONN_ADOPTED | SLUICE_CONN_OPAQUE | SLUICE_CONN_HOLE |      \
	 SLUICE_CONN_LAST | SLUICE_CONN_SERVER_FIN | SLUICE_CONN_CLIENT_FIN)

#define KEEPS 0 /* of keep_declined() */

/* Why a refusal of the current packet's request has to close its connection, even if it is whole
 * (enum sluice_counter), or KEEPS. */
SUBPROG int keep_hindered(struct __sk_buff *skb, const struct request_scratch *s,
			  const struct sluice_conn *conn, __u64 now)
{
	const struct http1_frame *f;
	const struct packet *p;
	__be32 options = 0;
	__u32 len;

	if (!s || !conn)
		return SLUICE_COUNTER_KEEP_IN_FLIGHT;
	f = &conn->request.frame;
	p = &s->packet;
	len = p->payload_at - p->tcp_at - 20;
	if (!f->minor || f->flags & HTTP1_CLOSE || f->method == HTTP1_METHOD_HEAD ||
	    p->flags & TCP_FIN)
		return SLUICE_COUNTER_KEEP_CLOSES;
	if (conn->flags & KEEP_NEVER || response_under_way(conn) || p->ack != conn->s_next ||
	    conn->s_ack != conn->c_next || conn->s_shut)
		return SLUICE_COUNTER_KEEP_IN_FLIGHT;
	if (!conn->s_window || now - conn->sent_ns > HEARD_NS)
		return SLUICE_COUNTER_KEEP_UNHEARD;
	if (len && (len != 12 || bpf_skb_load_bytes(skb, p->tcp_at + 20, &options, 4) ||
		    options != bpf_htonl(TIMESTAMPS_ONLY)))
		return SLUICE_COUNTER_KEEP_OPTIONS;
	if (conn->s_hook != hook_of(skb))
		return SLUICE_COUNTER_KEEP_PATH;
	return KEEPS;
}

/* … or because it is not one segment. */
static __always_inline int keep_declined(struct __sk_buff *skb, const struct request_scratch *s,
					 const struct sluice_conn *conn, __u64 now)
{
	const struct packet *p = &s->packet;

	if (conn->request.frame.state != HTTP1_AT_END || s->at != s->end ||
	    conn->c_begin != p->seq || p->seq != conn->c_next ||
	    s->end != p->payload_at + p->payload_len)
		return SLUICE_COUNTER_KEEP_SPLIT;
	return keep_hindered(skb, s, conn, now);
}

/* Whether the server is in a network namespace that is not the daemon's: `sweep` cannot look for
 * its sockets. */
SUBPROG int server_is_elsewhere(const struct packet *p)
{
	struct sluice_server_link link = {};

	if (!p)
		return 0;
	__builtin_memcpy(link.addr, p->key.server_addr, 16);
	return bpf_map_lookup_elem(&server_links, &link) != NULL;
}

/*
 * The entry of the current packet's connection, a new one if it has none. *why is set if there is
 * none. The server's TCP may have accepted the connection only in part (TCP_DEFER_ACCEPT): then it
 * would go on with the handshake. Whether it has shows its socket, or that it has answered.
 */
static __always_inline struct sluice_kept *keep_entry(struct __sk_buff *skb,
						      struct request_scratch *s,
						      const struct sluice_conn *conn, int *why)
{
	struct sluice_kept *k = kept_of(&s->packet.key), *fresh = &s->kept;
	__u32 c_next = 0, s_next = 0;
	struct sluice_conn_key key;

	if (k)
		return k;
	__builtin_memset(fresh, 0, sizeof(*fresh));
	fresh->hook = hook_of(skb);
	if (prove_by_socket(skb, &s->packet, &c_next, &s_next) == PROOF_SOCKET) {
		fresh->flags = server_is_elsewhere(&s->packet) ? 0 : SLUICE_KEPT_LOCAL;
	} else if (!conn->exchange_tail) {
		*why = SLUICE_COUNTER_KEEP_UNHEARD;
		return NULL;
	}
	key = s->packet.key;
	bpf_map_update_elem(&kept, &key, fresh, BPF_NOEXIST);
	k = bpf_map_lookup_elem(&kept, &key);
	if (!k)
		*why = SLUICE_COUNTER_KEEP_FULL;
	return k;
}

/* The server gets the acknowledgement that the refused request carried, if it had not that yet. */
SUBPROG int keep_acknowledge(struct __sk_buff *skb, struct packet *p)
{
	struct forged f = {.flags = TCP_ACK};
	struct timestamps t;

	if (!p)
		return -1;
	f.seq = p->seq;
	f.ack = p->ack;
	f.window = p->window;
	if (packet_timestamps(skb, p, &t)) {
		f.with_timestamps = 1;
		f.timestamps = t;
	}
	kept_forged(skb, p, &f);
	if (forge(skb, p, &f))
		return -1;
	return bpf_clone_redirect(skb, skb->ifindex, way_to_server(skb, p));
}

/*
 * Refuses the current packet's request and keeps its connection, if it can: s->tombstone.parts and
 * .retry_after_ms are those of the 429. Returns the program's verdict, or TC_ACT_UNSPEC: the
 * refusal has to close the connection.
 */
SUBPROG int keep_request(struct __sk_buff *skb, struct sluice_conn *conn,
			 const struct sluice_service *service)
{
	__u32 zero = 0, text_len, request_at, reply_at, len;
	struct request_scratch *s = bpf_map_lookup_elem(&request_scratch, &zero);
	struct forged f = {};
	struct sluice_kept *k;
	struct packet *p;
	__u64 now;
	int why;

	if (!s || !conn || !service)
		return TC_ACT_UNSPEC;
	p = &s->packet;
	now = s->tombstone.born_ns;
	why = keep_declined(skb, s, conn, now);
	if (why != KEEPS) {
		count(why);
		return TC_ACT_UNSPEC;
	}
	k = keep_entry(skb, s, conn, &why);
	if (!k) {
		count(why);
		return TC_ACT_UNSPEC;
	}
	k->parts = s->tombstone.parts;
	k->parts.kept = 1;
	k->retry_after_ms = s->tombstone.retry_after_ms;
	k->window = conn->s_window;
	k->last_seen_ns = now;
	if (p->l2_len)
		bpf_skb_load_bytes(skb, 0, conn->link, sizeof(conn->link));
	text_len = fill_reply(&k->parts, k->retry_after_ms);
	if (!text_len)
		return TC_ACT_UNSPEC; /* the caller counts it */
	conn_set(conn, SLUICE_CONN_KEPT);
	account(service, SLUICE_VERDICT_REJECTED);
	count(SLUICE_COUNTER_REFUSALS_KEPT);
	answer_timestamps(skb, p, &f);
	request_at = p->seq + kept_client(k->more);
	reply_at = p->ack + kept_server(k->more);
	len = p->payload_len;
	if (s->acked != p->ack)
		keep_acknowledge(skb, p); /* *p may describe that segment now */
	kept_refuse(k, request_at, len, reply_at, text_len);
	http1_request_next(&conn->request);
	conn_clear(conn, SLUICE_CONN_REQUEST | SLUICE_CONN_JUDGE | SLUICE_CONN_ADMITTED |
				 SLUICE_CONN_REORDERED);
	conn->request_bytes = 0;
	conn->since_ns = now;
	conn->c_begin = conn->c_next - 1; /* the next request begins at the same number */
	conn->busy = 0;
	return kept_send(skb, p, k, &f);
}

#endif
