/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Order: which bytes of a client's segment are the next ones of its stream. Framing needs every
 * byte once and in order, as the server's TCP accepts them. A segment that comes too early is
 * dropped, and the client sends it again. If a segment repeats bytes, the server's socket says
 * which of them it has accepted.
 */
#ifndef SLUICE_BPF_REASSEMBLY_H
#define SLUICE_BPF_REASSEMBLY_H

#include <sluice/http1_request.h>

#include "early.h"
#include "readings.h"
#include "refuse.h"

/* Less than TCP's retransmission timeout (RFC 6298): its retransmission comes later than this. A
 * packet passes all hooks on its path sooner, on a machine that is held up, too. */
#define RETRANSMISSION_SOON_NS (50 * NSEC_PER_MSEC)

/* A segment that repeats framed bytes: the server has them, or they can be framed again (TAKEN); it
 * comes too soon to know, and is dropped (SOON); the request is ambiguous (FRAMING_ERROR). */
enum again { RETRANSMISSION_TAKEN, RETRANSMISSION_SOON, RETRANSMISSION_FRAMING_ERROR };

/* Takes back the verdict on the last request, unless its response has begun, and releases its slot.
 * Returns whether it did. */
static __always_inline bool roll_back_verdict(struct sluice_conn *conn)
{
	if (conn->exchange_tail == conn->exchange_head || conn->flags & SLUICE_CONN_RESPONSE)
		return false;
	release(&conn->exchange, HELD | SLUICE_EXCHANGE_JUDGED);
	conn->exchange_tail--;
	return true;
}

/* Rolls back the request that is being framed, or else the one that was framed last: the server has
 * not accepted it. */
static __always_inline void roll_back_request(struct sluice_conn *conn)
{
	__u32 request = conn->flags & (SLUICE_CONN_REQUEST | SLUICE_CONN_ADMITTED);

	if (request != SLUICE_CONN_REQUEST)
		roll_back_verdict(conn);
	if (!request)
		return;
	http1_request_next(&conn->request);
	conn_clear(conn, SLUICE_CONN_REQUEST | SLUICE_CONN_JUDGE | SLUICE_CONN_HOLE |
				 SLUICE_CONN_ADMITTED);
}

/*
 * The segment repeats bytes that were framed. If the server has acknowledged them, nothing is to be
 * done. If not, the server may have dropped the first copy: for a wrong checksum, a bad
 * acknowledgement or timestamp, or for want of memory. Then it accepts this segment instead, and a
 * conflicting retransmission may hold another request (Ptacek and Newsham, "Insertion, Evasion, and
 * Denial of Service", 1998). The server's socket says what it has accepted; without a socket the
 * bytes count as accepted.
 *
 * While the application reads, segments wait in the socket's backlog, so rcv_nxt lags. A repetition
 * within RETRANSMISSION_SOON_NS is therefore dropped: it is a copy, or TCP sends it once more.
 *
 * If the server lacks framed bytes, framing goes back to its rcv_nxt. A FIN that it did not accept
 * is framed again, and so is the last request if the server lacks all of it. In a body of known
 * length at most the model's name is lost. All else is a framing error.
 */
SUBPROG int retransmission(struct __sk_buff *skb, struct request_scratch *s,
			   struct sluice_conn *conn, const struct sluice_service *service,
			   __u64 now)
{
	__u32 end, taken = 0, s_next = 0, lost;
	struct http1_frame *f;

	if (!s || !conn || !service)
		return RETRANSMISSION_TAKEN;
	end = s->packet.seq + s->packet.payload_len;
	if (seq_diff(end, conn->c_next) > 0)
		end = conn->c_next;
	if (seq_diff(end, conn->s_ack) <= 0 ||
	    prove_by_socket(skb, &s->packet, &taken, &s_next) == PROOF_NONE ||
	    seq_diff(end, taken) <= 0)
		return RETRANSMISSION_TAKEN;
	if (framed_within(conn, now, RETRANSMISSION_SOON_NS))
		return RETRANSMISSION_SOON;
	if (conn->flags & SLUICE_CONN_CLIENT_FIN) {
		conn_clear(conn, SLUICE_CONN_CLIENT_FIN);
		if (--conn->c_next == taken)
			return RETRANSMISSION_TAKEN;
	}
	f = &conn->request.frame;
	lost = conn->c_next - taken;
	conn->c_next = taken; /* also the sequence number at which the server accepts a RST */
	if (conn->flags & SLUICE_CONN_REQUEST && f->state == HTTP1_AT_BODY &&
	    f->flags & HTTP1_LENGTH && conn->request_bytes >= f->head_bytes + (__u64)lost) {
		if (conn->flags & SLUICE_CONN_ADMITTED && roll_back_verdict(conn)) {
			conn_clear(conn, SLUICE_CONN_ADMITTED);
			conn_set(conn, SLUICE_CONN_JUDGE);
		}
		json_model_rollback(&conn->request.json);
		f->left += lost;
		conn->request_bytes -= lost;
		return RETRANSMISSION_TAKEN;
	}
	if (!(conn->flags & SLUICE_CONN_PROXY) &&
	    (conn->flags & SLUICE_CONN_REQUEST || (conn->exchange_tail != conn->exchange_head &&
						   !(conn->flags & SLUICE_CONN_RESPONSE)))) {
		roll_back_request(conn);
		if (taken == conn->c_begin)
			return RETRANSMISSION_TAKEN;
	}
	request_framing_error(s, conn, service, SLUICE_UNREAD_BYTES, 0);
	return RETRANSMISSION_FRAMING_ERROR;
}

/* Whether this may be the packet that was framed last, at a second hook on its path (a VLAN and its
 * parent, a bridge and its port). */
static __always_inline bool second_hook(const struct request_context *c)
{
	return c->conn->c_hook != (__u16)hook_of(c->skb) &&
	       framed_within(c->conn, c->a->question.now, RETRANSMISSION_SOON_NS);
}

/* A packet is dropped, passes with nothing to frame, or has bytes to frame next. */
enum order { ORDER_DROP, ORDER_OLD, ORDER_NEXT };

/* Whether bytes of the body may pass unseen: no model's name is looked for in them, or it would
 * change nothing. Those of a blob may not, or it would count for its length. */
static __always_inline bool hole_is_harmless(const struct sluice_conn *conn,
					     const struct sluice_service *service)
{
	const struct json_model *j = &conn->request.json;

	return j->state == JSON_MODEL_DONE ||
	       (!j->blob && (j->flags & JSON_MODEL_UNREAD || !unnamed_is_strict(service)));
}

/* The packet is framed at this hook. */
static __always_inline void framed_here(const struct request_context *c)
{
	c->conn->c_hook = hook_of(c->skb);
	c->conn->c_when = c->a->question.now >> 10;
}

/*
 * Whether a segment with bytes up to `end`, which comes before missing ones, passes. It has to lie
 * in a body of known length, and has to be in one piece with others that passed so. Bytes of a blob
 * are read, and none of them passes twice. The last byte of a body is of no blob.
 */
static __always_inline bool passes_early(struct request_context *c, const struct packet *p,
					 __u32 end)
{
	struct sluice_conn *conn = c->conn;
	const struct http1_frame *f = &conn->request.frame;
	bool hole = conn->flags & SLUICE_CONN_HOLE;
	bool harmless = hole_is_harmless(conn, c->service);
	__u64 far = (__u32)(end - conn->c_next);

	if (!(conn->flags & SLUICE_CONN_REQUEST) || f->state != HTTP1_AT_BODY ||
	    !(f->flags & HTTP1_LENGTH) || far > f->left)
		return false;
	if (hole && (seq_diff(p->seq, conn->c_max) > 0 || seq_diff(p->seq, conn->c_hole_end) < 0))
		return false;
	if (hole ? conn->c_blob : !harmless && conn->request.json.blob) {
		if (hole && seq_diff(end, conn->c_max) <= 0 && second_hook(c))
			return true;
		if ((hole && p->seq != conn->c_max) || far == f->left ||
		    http1_body_separates(&conn->request) || !early_blob(c->skb, c->s, conn))
			return false;
		framed_here(c);
	} else {
		if (!harmless)
			return false;
		conn->c_blob = 0;
	}
	if (!hole) {
		conn->c_hole_end = p->seq;
		conn->c_max = end;
		conn_set(conn, SLUICE_CONN_HOLE);
	} else if (seq_diff(end, conn->c_max) > 0) {
		conn->c_max = end;
	}
	return true;
}

/*
 * The packet's new bytes, which end at `end`, close the hole. Returns the end of all bytes that
 * have passed then. Those of a blob were read; they go on where the packet's bytes will have been
 * read, and what the packet has of them is cut off. All others passed unread, and belong to this
 * body.
 */
static __always_inline __u32 hole_closes(struct request_context *c, __u32 end)
{
	struct sluice_conn *conn = c->conn;
	struct request_scratch *s = c->s;
	__u32 lost = conn->c_max - conn->c_next, over = end - conn->c_hole_end, ev = 0;

	if (conn->c_blob) {
		s->closes = 1;
		s->end -= over;
		s->cut = over ? s->end : 0;
		return conn->c_max;
	}
	conn_clear(conn, SLUICE_CONN_HOLE);
	if (seq_diff(end, conn->c_max) <= 0) {
		s->at = s->end;
		end = conn->c_max;
	} else {
		s->at += lost;
	}
	http1_request_skipped(&conn->request, lost, &ev);
	conn->request_bytes += lost;
	s->ev = ev;
	return end;
}

/*
 * Finds the packet's new bytes: they go from s->at to s->end, and *stream_end is the sequence
 * number after them, and after bytes that passed before them. A segment that comes before missing
 * bytes passes if its bytes name no model. Else it is dropped, and the client sends it again in
 * order.
 */
static __always_inline enum order next_bytes(struct request_context *c, const struct packet *p,
					     __u32 *stream_end)
{
	struct sluice_conn *conn = c->conn;
	struct request_scratch *s = c->s;
	__u32 end = p->seq + p->payload_len;
	__s32 offset; /* of the segment from the next byte of the client */

	if (conn->s_shut && seq_diff(p->seq, conn->s_ack) >= 0)
		return ORDER_OLD; /* a probe of the server's shut window: TCP sends it again */
	if (seq_diff(p->seq, conn->c_next) < 0 && !second_hook(c)) {
		int again = retransmission(c->skb, s, conn, c->service, c->a->question.now);

		if (again == RETRANSMISSION_SOON)
			count(SLUICE_COUNTER_REORDERED_DROPPED);
		if (again != RETRANSMISSION_TAKEN)
			return again == RETRANSMISSION_FRAMING_ERROR ? ORDER_OLD : ORDER_DROP;
	}
	offset = seq_diff(p->seq, conn->c_next);
	if (offset > 0) {
		if (passes_early(c, p, end))
			return ORDER_OLD;
		conn_set(conn, SLUICE_CONN_REORDERED);
		count(SLUICE_COUNTER_REORDERED_DROPPED);
		return ORDER_DROP;
	}
	if (seq_diff(end, conn->c_next) <= 0)
		return ORDER_OLD; /* a retransmission without new bytes */
	framed_here(c);

	s->at = p->payload_at - offset;
	s->end = p->payload_at + p->payload_len;
	s->buf_at = s->buf_len = s->ev = 0;
	if (conn->flags & SLUICE_CONN_HOLE && seq_diff(end, conn->c_hole_end) >= 0)
		end = hole_closes(c, end);
	*stream_end = end;
	return ORDER_NEXT;
}

#endif
