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

/* Whether these bytes begin a TLS record without application data. */
static __always_inline bool tls_talk(const __u8 head[3])
{
	return head[0] >= 20 && head[0] < TLS_APPLICATION_DATA && head[1] == 3;
}

/* Notes a client's segment on an opaque connection, if it has new bytes. */
OWN_FRAME void opaque_bytes(struct request_context *c, const struct packet *p)
{
	struct sluice_conn *conn = c->conn;
	struct sluice_exchange *e = &conn->exchange;
	__u32 end = p->seq + p->payload_len;
	__u8 head[3] = {};

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

/* Whether an http service's new connection speaks something else: TLS, or HTTP/2 with its preface
 * (RFC 9113 3.4). */
OWN_FRAME bool found_opaque(struct request_context *c, const struct packet *p)
{
	struct sluice_conn *conn = c->conn;
	__u8 head[8] = {};

	if (conn->flags & SLUICE_CONN_REQUEST || p->seq != conn->c_next ||
	    p->payload_len < sizeof(head) ||
	    bpf_skb_load_bytes(c->skb, p->payload_at, head, sizeof(head)))
		return false;
	if (!(head[0] == TLS_HANDSHAKE && head[1] == 3) &&
	    scan_load(head) != scan_literal("PRI * HT"))
		return false;
	conn_set(conn, SLUICE_CONN_OPAQUE);
	count(SLUICE_COUNTER_FOUND_OPAQUE);
	return true;
}

#endif
