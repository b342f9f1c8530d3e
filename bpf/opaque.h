/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Opaque connections: a burst of client bytes begins a measurement, and the server's answer ends
 * it. Only the type of a TLS record is read. A connection's first burst (a hello, a preface) is no
 * sample, nor is a TLS record of the protocol itself.
 */
#ifndef SLUICE_BPF_OPAQUE_H
#define SLUICE_BPF_OPAQUE_H

#include "conn.h"
#include "request.h"

#define TLS_HANDSHAKE        22 /* RFC 8446 5.1: types of records */
#define TLS_APPLICATION_DATA 23

/* A connection whose client's bytes are no hello any more, or are not read. */
#define SPEAKS_KNOWN                                                                               \
	(SLUICE_CONN_REQUEST | SLUICE_CONN_HELD | SLUICE_CONN_UNJUDGED | SLUICE_CONN_OPAQUE)

/* Whether these bytes begin a TLS record without application data. */
static __always_inline bool tls_talk(const __u8 head[3])
{
	return head[0] >= 20 && head[0] < TLS_APPLICATION_DATA && head[1] == 3;
}

/* Notes a client's segment on an opaque connection, if it has new bytes. `found`: its service is
 * http. */
OWN_FRAME void opaque_bytes(struct request_context *c, const struct packet *p, bool found)
{
	struct sluice_conn *conn = c->conn;
	struct sluice_exchange *e = &conn->exchange;
	__u32 end = p->seq + p->payload_len;
	__u8 head[3] = {};

	if (found) {
		conn_set(conn, SLUICE_CONN_OPAQUE);
		count(SLUICE_COUNTER_FOUND_OPAQUE);
	}
	if (seq_diff(end, conn->c_next) <= 0)
		return;
	if (conn->flags & SLUICE_CONN_RESPONSE || conn->exchange_head == conn->exchange_tail) {
		if (p->payload_len >= sizeof(head))
			bpf_skb_load_bytes(c->skb, p->payload_at, head, sizeof(head));
		e->bytes = e->queued_bytes = e->in_flight_at_admission = 0;
		e->stream = SLUICE_STREAM_UNKNOWN;
		e->model = e->pool = c->service->default_model;
		e->flags = conn->exchange_head == conn->exchange_tail || tls_talk(head)
				   ? 0
				   : SLUICE_EXCHANGE_JUDGED;
		conn_clear(conn, SLUICE_CONN_RESPONSE | SLUICE_CONN_FIRST_TOKEN);
		conn->exchange_tail = conn->exchange_head + 1;
		conn->since_ns = c->a->question.now;
		if (e->flags)
			count_admitted(c->service->id, e->model, 0);
	}
	e->admitted_ns = c->a->question.now;
	e->bytes += p->payload_len;
	conn->c_next = end;
	if (!(conn->flags & SLUICE_CONN_STALLED))
		conn_clear(conn, SLUICE_CONN_CLIENT_LIMITED);
}

/*
 * What an http service's new connection speaks instead, enum sluice_unread: TLS, or HTTP/2 with its
 * preface (RFC 9113 3.4); 0: neither. HTTP/1 servers read less than the whole preface as a request.
 */
OWN_FRAME __u32 speaks_another(const struct request_context *c, const struct packet *p)
{
	const struct sluice_conn *conn = c->conn;
	__u8 head[24] = {};

	if (conn->exchange_tail || conn->flags & SPEAKS_KNOWN || p->seq != conn->c_next ||
	    p->payload_len < sizeof(head) ||
	    bpf_skb_load_bytes(c->skb, p->payload_at, head, sizeof(head)))
		return 0;
	if (head[0] == TLS_HANDSHAKE && head[1] == 3)
		return SLUICE_UNREAD_TLS;
	return scan_load(head) == scan_literal("PRI * HT") &&
			       scan_load(head + 8) == scan_literal("TP/2.0\r\n") &&
			       scan_load(head + 16) == scan_literal("\r\nSM\r\n\r\n")
		       ? SLUICE_UNREAD_HTTP2
		       : 0;
}

#endif
