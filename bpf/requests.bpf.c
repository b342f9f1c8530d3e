/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc ingress: packets from clients to a protected port. SYNs are judged as in gate.bpf.c, for
 * interfaces without XDP. Bytes in order are framed as HTTP/1.x requests. A request is judged as
 * soon as its client or model is known, and finally at its last byte. An admitted request's bytes
 * are not touched. A refused request's packet never reaches the server: it becomes a RST for the
 * server and an answer for the client.
 */
#include <sluice/http1_request.h>

#include "depart.h"
#include "hold.h"
#include "kept_icmp.h"
#include "lookup.h"
#include "opaque.h"
#include "readings.h"
#include "reassembly.h"
#include "refuse.h"
#include "route.h"
#include "scan_step.h"
#include "segment.h"
#include "syn.h"

/* Of these connections a FIN passes wherever it is. Else it comes after bytes that have not passed,
 * and is sent again after them. */
#define FIN_PASSES (SLUICE_CONN_UNJUDGED | SLUICE_CONN_OPAQUE | SLUICE_CONN_HOLE)

/* A connection that was adopted in the middle of a request or of a response, and so could not be
 * framed. Its next segment may begin a request. */
#define ADOPTED_IN_VAIN (SLUICE_CONN_UNJUDGED | SLUICE_CONN_ADOPTED)

/* The least and the most that the request may count for, while bytes of it are still to come. */
static __always_inline void consulted_size(struct judging *a, const struct sluice_conn *conn,
					   const struct sluice_service *service)
{
	__u64 size = request_size(conn, service), left = ADMISSION_BYTES_MAX, blobs;

	blobs = http1_request_may_hold_blobs(&conn->request);
	if (conn->request.frame.flags & HTTP1_LENGTH)
		left = conn->request.frame.left + blobs * JSON_MODEL_BLOBS * service->blob_bytes;
	a->question.bytes_most = admission_bytes(size + left);
	a->question.bytes = blobs || !(conn->request.frame.flags & HTTP1_LENGTH)
				    ? admission_bytes(size)
				    : a->question.bytes_most;
}

/*
 * Judges early, as soon as the model is known or (SLUICE_MODEL_ALL) the head has ended. Only a
 * refusal that would be carried out counts; all else waits for the request's end. If this packet
 * holds that end, the judging there is enough, and so it is if the head waits for its body.
 */
static __always_inline void consult(struct request_context *c, __u32 model)
{
	const struct sluice_service *service = c->service;
	const struct http1_frame *f = &c->conn->request.frame;
	struct sluice_conn *conn = c->conn;
	struct request_scratch *s = c->s;
	struct judging *a = get_judging();

	if (f->flags & HTTP1_LENGTH && f->left <= s->end - s->at)
		return;
	if (!a || response_under_way(conn) || !may_refuse(get_settings(), a->question.now))
		return;
	s->held = service->keep && hold_head(c->skb, conn, service, a->question.now);
	if (s->held)
		return;
	a->question.model = model;
	a->question.take = 0;
	consulted_size(a, conn, service);
	judge_request(service, JUDGING_PACKET, 0);
	if (a->judgement.reason && !a->judgement.shadow)
		s->refuse = REFUSE_REQUEST;
}

/* Whether the model of a request that has ended is the one that this packet looked up: no byte of a
 * name came after that. */
static __always_inline bool model_known(const struct request_scratch *s,
					const struct http1_request *r, __u32 ev)
{
	const struct json_model *j = &r->json;

	return s->named && !(ev & (HTTP1_HEAD_END | HTTP1_MODEL)) && j->name_len &&
	       (j->state < JSON_MODEL_NAME || j->state == JSON_MODEL_DONE) &&
	       !(j->flags & (JSON_MODEL_GAP | JSON_MODEL_INVALID | JSON_MODEL_GARBAGE));
}

/* enum sluice_stream of a request whose body has ended. */
SUBPROG int stream_asked(const struct sluice_conn *conn)
{
	return conn ? request_stream(&conn->request) : SLUICE_STREAM_UNKNOWN;
}

/*
 * The exchange of an admitted request begins.
 *
 * The response of one that is served early may end on another CPU just now. So its exchange begins
 * before this CPU looks whether the response is still under way, and responses.bpf.c looks for an
 * exchange after the response's end. At least one of them ends it.
 */
SUBPROG int begin_exchange(struct sluice_conn *conn)
{
	__u32 early;

	if (!conn)
		return 0;
	early = conn->flags & SLUICE_CONN_ANSWERED_EARLY;
	if (early) { /* nothing waits, and the client may keep the server from generating */
		release(&conn->exchange, SLUICE_EXCHANGE_WAITING | SLUICE_EXCHANGE_EXPECTED);
		conn_set(conn, SLUICE_CONN_CLIENT_LIMITED);
	} else if (!(conn->flags & SLUICE_CONN_STALLED)) {
		conn_clear(conn, SLUICE_CONN_CLIENT_LIMITED);
	}
	conn->limited_since_ns = conn->caught_up_ns = 0;
	barrier();
	conn->exchange_tail++;
	if (early && !(__sync_fetch_and_and(&conn->flags, ~early) & SLUICE_CONN_RESPONSE))
		release_all(conn, response_ok(&conn->response) ? SLUICE_END_COMPLETED
							       : SLUICE_END_FAILED);
	return 0;
}

/*
 * Judges a request at its last byte, or because it is served early: refuses it, or begins its
 * exchange. A refusal of what is served early is a reset: bytes of its response have left.
 */
static __always_inline void judge_at_end(struct request_scratch *s, struct sluice_conn *conn,
					 const struct sluice_service *service, __u32 model)
{
	__u32 flags = 0, verdict = SLUICE_VERDICT_ADMITTED, stream = SLUICE_STREAM_UNKNOWN;
	struct judging *a = get_judging();
	struct sluice_exchange *e;
	struct http1_request *r;
	struct judgement *j;
	__u64 now;

	if (!a)
		return;
	r = &conn->request;
	j = &a->judgement;
	now = a->question.now;
	a->question.bytes = a->question.bytes_most = a->question.judged =
		admission_bytes(request_size(conn, service));
	if (conn->flags & SLUICE_CONN_JUDGE) {
		stream = stream_asked(conn);
		a->question.model = model;
		a->question.take = 1;
		a->question.unstreamed = stream == SLUICE_STREAM_NO;
		a->question.holds = 0;
		judge_now(service, JUDGING_PACKET, 0);
		if (j->reason) {
			if (j->shadow) {
				verdict = SLUICE_VERDICT_SHADOW_REJECTED;
			} else if (!may_refuse(get_settings(), now)) {
				count(SLUICE_COUNTER_PASSED_LEASE);
				j->reason = SLUICE_REASON_NONE;
			} else if (response_under_way(conn) && !served_early(conn)) {
				count(SLUICE_COUNTER_PASSED_ANSWERED_EARLY);
				j->reason = SLUICE_REASON_NONE;
			} else {
				if (conn->flags & SLUICE_CONN_ANSWERED_EARLY)
					j->action = SLUICE_ACTION_RESET;
				s->refuse = REFUSE_REQUEST;
				return;
			}
			if (verdict == SLUICE_VERDICT_ADMITTED)
				take_slots_passing();
		}
		flags = SLUICE_EXCHANGE_JUDGED;
		if (verdict == SLUICE_VERDICT_ADMITTED) {
			account_admitted(&a->question, service->id);
			if (s->reading) {
				charge_readings(s, conn);
				flags |= SLUICE_EXCHANGE_READINGS;
			}
			flags |= a->question.holds;
		} else {
			account(service, verdict);
			count_shadow_in_flight(model, a->question.pool);
			flags |= SLUICE_EXCHANGE_SHADOW | (__u32)j->reason
								  << SLUICE_EXCHANGE_REASON_SHIFT;
			a->question.queued_bytes = a->question.in_flight_at_admission = 0;
		}
		if (model == SLUICE_MODEL_OTHER && r->json.name_len) {
			__builtin_memcpy(conn->name, r->json.name, SLUICE_NAME_MAX);
			flags |= SLUICE_EXCHANGE_NAMED;
		}
	}
	e = &conn->exchange;
	e->admitted_ns = now;
	e->bytes = a->question.bytes;
	e->model = model;
	e->pool = a->question.pool;
	e->queued_bytes = a->question.queued_bytes;
	e->in_flight_at_admission = a->question.in_flight_at_admission;
	e->wait_end = a->question.wait_end;
	e->turn = a->question.turn;
	e->quota = flags ? j->quota : 0;
	e->client = a->question.client;
	e->method = r->frame.method;
	e->stream = stream;
	e->flags = flags;
	begin_exchange(conn);
}

/* The head has ended: finds out whether the request is judged, its model if the head names it, and
 * its client. */
static __always_inline void head_ended(struct sluice_conn *conn,
				       const struct sluice_service *service)
{
	route_head(conn, service);
	identify_request(conn, service);
}

/* The PROXY header has ended: a trusted peer's header names the connection's client. */
SUBPROG int proxy_end(struct sluice_conn *conn, const struct sluice_service *service)
{
	if (!conn || !service)
		return 0;
	if (conn->flags & SLUICE_CONN_TRUSTED && conn->proxy.known) {
		__builtin_memcpy(conn->addr, conn->proxy.addr, 16);
		conn_identify(conn, service);
	}
	http1_request_next(&conn->request);
	conn_clear(conn, SLUICE_CONN_PROXY);
	return 0;
}

/* The model of the judged request, as far as its bytes name one; SLUICE_MODEL_ALL: not yet. */
static __always_inline __u32 model_at(struct request_scratch *s, struct sluice_conn *conn,
				      const struct sluice_service *service, __u32 ev)
{
	struct http1_request *r = &conn->request;
	__u32 model;

	if (ev & (HTTP1_END | HTTP1_CLOSED)) {
		if (!request_named(r)) {
			route_after_body(conn, service->id);
			s->named = 0;
		}
		if (model_known(s, r, ev))
			return s->named - 1;
	} else if (!(ev & HTTP1_MODEL) && !(ev & HTTP1_HEAD_END && request_named(r))) {
		return SLUICE_MODEL_ALL;
	}
	model = model_of_name(r, service);
	if (r->json.name_len) {
		reading_add(conn, model);
		s->named = model + 1;
	}
	return model;
}

/* The request's last byte has come. */
static __always_inline void request_ended(struct sluice_conn *conn)
{
	http1_request_next(&conn->request);
	conn_clear(conn, SLUICE_CONN_REQUEST | SLUICE_CONN_ADOPTED | SLUICE_CONN_JUDGE |
				 SLUICE_CONN_ADMITTED | SLUICE_CONN_ANSWERED_EARLY |
				 SLUICE_CONN_REORDERED);
}

/*
 * Acts on what a step of framing has found. A request gets its verdict at its last byte, or when
 * its JSON object has ended: some servers decode the object, and answer without the bytes after it.
 */
static __always_inline long request_events(struct request_context *c, __u32 ev)
{
	struct sluice_conn *conn = c->conn;
	struct request_scratch *s = c->s;
	__u32 model = SLUICE_MODEL_ALL, end = ev & (HTTP1_END | HTTP1_CLOSED);

	if (ev & HTTP1_FRAMING_ERROR) {
		request_framing_error(s, conn, c->service, SLUICE_UNREAD_BYTES,
				      conn->request.frame.flags & HTTP1_READABLE);
		return 1;
	}
	if (s->reading) {
		model = next_reading(s, conn, c->service);
	} else {
		if (conn->request.frame.flags & HTTP1_SEVERAL_ENDS)
			conn_set(conn, SLUICE_CONN_UNCLEAR | SLUICE_CONN_LAST);
		if (ev & HTTP1_HEAD_END)
			head_ended(conn, c->service);
		if (!(conn->flags & SLUICE_CONN_JUDGE)) {
			if (!(ev & HTTP1_END))
				return conn->flags & SLUICE_CONN_UNJUDGED;
			if (conn->flags & SLUICE_CONN_ADMITTED) {
				request_ended(conn);
				return conn->flags & SLUICE_CONN_UNJUDGED;
			}
		} else {
			model = model_at(s, conn, c->service, ev);
			if (!end) {
				if (ev & (HTTP1_HEAD_END | HTTP1_MODEL))
					consult(c, model);
				return s->refuse || conn->flags & SLUICE_CONN_UNJUDGED;
			}
			if (readings_begin(s, conn, c->service, model))
				model = SLUICE_MODEL_ALL;
		}
	}
	if (s->reading && model == SLUICE_MODEL_ALL) {
		s->ev = end; /* the next step judges the next reading */
		return 0;
	}
	judge_at_end(s, conn, c->service, model);
	if (s->refuse)
		return 1;
	s->named = s->reading = 0;
	if (end & HTTP1_END) {
		request_ended(conn);
	} else {
		conn_clear(conn, SLUICE_CONN_JUDGE);
		conn_set(conn, SLUICE_CONN_ADMITTED);
	}
	return conn->flags & SLUICE_CONN_UNJUDGED;
}

/* Acts on the end of the PROXY header, or on an error in it. */
static __always_inline long proxy_events(struct request_context *c)
{
	struct sluice_conn *conn = c->conn;

	if (conn->proxy.state == PROXY_BAD) {
		request_framing_error(c->s, conn, c->service, SLUICE_UNREAD_BYTES, 0);
		return 1;
	}
	if (conn->proxy.state == PROXY_DONE)
		proxy_end(conn, c->service);
	return 0;
}

/*
 * A request that comes while the response to the one before it is unfinished waits in its client's
 * TCP: from its first byte on, the packet will be cut. Line ends between two requests are none of a
 * request's (RFC 9112 2.2), and pass.
 */
static __always_inline long hold_request(struct request_scratch *s, __u32 pos)
{
	__u8 c = s->buf[scan_clamp(pos)];

	if (c != '\r' && c != '\n') {
		s->hold = s->at;
		return 1;
	}
	s->at++;
	return s->at >= s->end;
}

/* The next byte is a request's first. After a roll-back it comes again, and begins nothing new. */
static __always_inline void begin_request(struct request_context *c)
{
	struct sluice_conn *conn = c->conn;
	__u32 begin = c->s->packet.seq + (c->s->at - c->s->packet.payload_at);

	if (begin != conn->c_begin)
		conn->since_ns = c->a->question.now;
	conn->c_begin = begin;
	conn_set(conn, SLUICE_CONN_REQUEST);
	conn->request_bytes = 0;
	readings_reset(conn);
}

/*
 * The packet's bytes are framed. If their request is served early, it is to be judged now, in the
 * next step: returns 1. The name of another model may be in the bytes that are still to come.
 */
SUBPROG int served_now(struct sluice_conn *conn, struct request_scratch *s)
{
	if (!conn || !s || !served_early(conn))
		return 0;
	json_model_gap(&conn->request.json);
	s->ev = HTTP1_CLOSED;
	return 1;
}

/* One step of framing. The loop's state is in map values, so the verifier sees one iteration. */
static long request_step(__u32 i, struct request_context *c)
{
	struct sluice_conn *conn = c->conn;
	struct request_scratch *s = c->s;
	__u32 left = s->end - s->at, n, ev = s->ev;
	__u64 skip;
	bool proxy, held, separates;

	if (ev) { /* of bytes lost in a hole, or of the form's end */
		s->ev = 0;
		goto events;
	}
	if (s->at >= s->end)
		return 1;
	proxy = conn->flags & SLUICE_CONN_PROXY;
	held = !proxy && !request_begun(conn) && response_under_way(conn);
	if (!proxy && !held && !(conn->flags & SLUICE_CONN_REQUEST)) {
		if (conn->flags & SLUICE_CONN_LAST && reset_for_framing(s, conn, c->service, 1))
			return 1;
		begin_request(c);
	}
	skip = proxy || held ? 0 : http1_request_skippable(&conn->request);
	if (skip) {
		n = skip < left ? skip : left;
		http1_request_skipped(&conn->request, n, &ev);
	} else {
		__u32 pos;

		if (load_window(c->skb, s)) {
			give_up(conn, SLUICE_COUNTER_PASSED_FRAMING_ERROR);
			return 1;
		}
		pos = s->at - s->buf_at;
		if (held)
			return hold_request(s, pos);
		if (proxy) {
			n = proxy_bytes(conn, s, pos, s->buf_len - pos);
			s->at += n;
			return proxy_events(c);
		}
		if (conn->request.frame.state != HTTP1_AT_BODY) {
			n = head_bytes(conn, s, pos, c->rules, c->secret);
		} else {
			separates = http1_body_separates(&conn->request);
			n = conn->request.form.kind ? form_step(conn, s, pos)
						    : body_bytes(conn, s, pos, s->buf_len);
			if (separates)
				body_separators(conn, s, pos, n);
		}
		ev = s->ev;
		s->ev = 0;
	}
	s->at += n;
	conn->request_bytes += n;
events:
	if (ev && request_events(c, ev)) {
		s->ev = 0;
		return 1;
	}
	return s->at >= s->end && !s->ev && !served_now(conn, s);
}

/*
 * Frames the packet's new bytes. Any packet that passes lets the server send more. So a request
 * that is served early is judged after them, and also where there are none. False: the caller has
 * to drop the packet.
 */
static __always_inline bool frame(struct request_context *c, const struct packet *p)
{
	enum order order = ORDER_OLD;
	__u32 end;

	if (p->payload_len && !(p->flags & TCP_RST))
		order = next_bytes(c, p, &end);
	if (order == ORDER_DROP)
		return false;
	if (order == ORDER_OLD) {
		if (c->s->refuse || !served_now(c->conn, c->s))
			return true;
		c->s->at = c->s->end = 0;
		end = c->conn->c_next;
	}
	bpf_loop(1 << 23, request_step, c, 0);
	if (c->s->hold)
		end = p->seq + (c->s->hold - p->payload_at);
	if (c->s->refuse)
		return true;
	if (c->s->held)
		return false;
	if (c->s->closes)
		close_blob_hole(c->conn);
	c->conn->c_next = end;
	return true;
}

/* Handles a segment with bytes of a request. Returns the program's verdict. */
static __always_inline int request_bytes(struct request_context *c)
{
	struct sluice_conn *conn = c->conn;
	struct packet *p = &c->s->packet;
	__u32 zero = 0;
	bool pass;

	c->secret = bpf_map_lookup_elem(&hash_key, &zero);
	c->rules = service_rules(c->service->id);
	if (!c->rules || !c->secret)
		return TC_ACT_UNSPEC;
	if (!take_busy(conn)) {
		count(SLUICE_COUNTER_REORDERED_DROPPED);
		return TC_ACT_SHOT;
	}
	c->s->refuse = REFUSE_NOTHING;
	c->s->buf_used = 0;
	c->s->hold = c->s->closes = c->s->cut = 0;
	c->s->named = 0;
	c->s->reading = c->s->held = 0;
	if (conn->flags & SLUICE_CONN_HELD && hold_arrives(c->skb, conn, c->a->question.now)) {
		conn->busy = 0;
		return TC_ACT_SHOT;
	}
	if (conn->flags & SLUICE_CONN_REQUEST) /* else head_ended() names the client */
		name_client(conn, c->service);
	pass = frame(c, p);
	wipe(c->s);
	if (c->s->refuse == REFUSE_LATER) {
		conn->busy = 0;
		count(SLUICE_COUNTER_PIPELINED_HELD);
		return TC_ACT_SHOT;
	}
	if (c->s->refuse)
		return refuse_request(c->skb, conn, c->service);
	conn->busy = 0;
	if (!pass)
		return TC_ACT_SHOT;
	if (c->s->hold) {
		count(SLUICE_COUNTER_PIPELINED_HELD);
		c->s->cut = c->s->hold;
	}
	if (c->s->cut && segment_cut(c->skb, p, c->s->cut - p->payload_at))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

/* A packet does nothing for its request, passes bytes that nobody frames, or has bytes to be framed
 * or a request to be judged. It is a SUBPROG so that the verifier forgets which of them. */
enum does { NOTHING, PASSES_BYTES, FRAMES };

SUBPROG int packet_does(const struct sluice_conn *conn, const struct packet *p)
{
	if (!conn || !p)
		return NOTHING;
	if (served_early(conn))
		return FRAMES;
	if (!p->payload_len || p->flags & TCP_RST)
		return NOTHING;
	return conn->flags & (SLUICE_CONN_UNJUDGED | SLUICE_CONN_SERVER_FIN) ? PASSES_BYTES
									     : FRAMES;
}

static __always_inline int on_request_packet(struct __sk_buff *skb, bool l2)
{
	struct request_context c = {.skb = skb};
	struct sluice_tombstone *t;
	struct sluice_settings *set;
	struct sluice_conn *conn;
	struct packet *p;
	__u32 zero = 0, end;
	__u64 now;
	enum lack lack = LACK_PROOF;
	enum kind kind;
	int does;
	bool syn, urgent;

	kind = packet_kind(skb, l2, FROM_CLIENT);
	if (kind != PACKET_OWN) {
		on_icmp(skb, l2, kind, true);
		return TC_ACT_UNSPEC;
	}
	c.s = bpf_map_lookup_elem(&request_scratch, &zero);
	c.a = get_judging();
	set = get_settings();
	if (!c.s || !c.a || !set)
		return TC_ACT_UNSPEC;
	p = &c.s->packet;
	if (!packet_own(skb, p, l2, FROM_CLIENT))
		return TC_ACT_UNSPEC;
	if (packet_is_paused(p, set))
		return TC_ACT_SHOT;
	/* A connection in conns belongs to a service. So only a packet without one, a SYN, one
	 * with payload or the urgent flag and one at which a request is judged need the look-up. */
	conn = bpf_map_lookup_elem(&conns, &p->key);
	now = now_ns(set);
	syn = (p->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
	if (!syn && (!conn || conn->flags & SLUICE_CONN_KEPT)) {
		int verdict = kept_arrives(skb, p, now);

		if (verdict != TC_ACT_UNSPEC)
			return verdict;
	}
	if (!conn || p->payload_len || syn || p->flags & TCP_URG || served_early(conn)) {
		c.service = packet_known_service(p, set->names);
		if (!c.service)
			return TC_ACT_UNSPEC;
	}
	urgent = p->flags & TCP_URG;
	if (urgent && segment_not_urgent(skb, p))
		return TC_ACT_SHOT;
	c.a->question.now = now;

	if (syn && c.service) {
		bpf_map_delete_elem(&tombstones, &p->key);
		judge_syn(c.service, &p->key, now, JUDGING_PACKET);
		if (c.a->judgement.reason) {
			int verdict = refuse_syn(skb, p, c.service, now);

			if (verdict != TC_ACT_UNSPEC)
				return verdict;
		}
		return syn_options(skb, p) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	}

	if (conn && c.service && p->payload_len &&
	    (conn->flags & ADOPTED_IN_VAIN) == ADOPTED_IN_VAIN) {
		conn_end(&p->key, conn);
		conn = NULL;
	}
	if (!conn) {
		struct sluice_service *service = c.service;

		KEEP(service);
		if (!service)
			return TC_ACT_UNSPEC;
		t = bpf_map_lookup_elem(&tombstones, &p->key);
		if (t)
			return tombstone_from_client(skb, p, t, now);
		c.s->fresh.last_seen_ns = now;
		conn = conn_begin(skb, p, c.service, &c.s->fresh, &lack);
		if (!conn)
			return lack ? without_conn(skb, p, c.service, lack, now) : TC_ACT_UNSPEC;
	}
	c.conn = conn;
	if (skb->tc_index != OWN_KEPT_PROBE)
		conn->last_seen_ns = now;
	if (p->fragment) {
		c.s->refuse = REFUSE_NOTHING; /* its other fragments come without ports */
		if (c.service)
			request_framing_error(c.s, conn, c.service, SLUICE_UNREAD_FRAGMENT, 0);
		else
			give_up(conn, SLUICE_COUNTER_PASSED_FRAMING_ERROR);
		if (c.s->refuse == REFUSE_LATER)
			return TC_ACT_SHOT;
		return c.s->refuse ? refuse_request(skb, conn, c.service) : TC_ACT_UNSPEC;
	}
	c.s->another = c.service ? speaks_another(&c, p) : 0;
	if (c.s->another && !(conn->flags & SLUICE_CONN_ADOPTED))
		conn->unread = c.s->another;
	if (c.s->another || ((urgent || conn->unread) && p->payload_len && c.service)) {
		c.s->refuse = REFUSE_NOTHING;
		if (reset_for_framing(c.s, conn, c.service, 0))
			return c.s->refuse == REFUSE_LATER ? TC_ACT_SHOT
							   : refuse_request(skb, conn, c.service);
	}
	c.s->acked = conn->c_ack;
	if (!(p->flags & TCP_RST)) {
		conn_acknowledged(conn, p, now);
		if (p->flags & TCP_ACK && seq_diff(p->ack, conn->s_next) > 0 &&
		    !(conn->flags & SLUICE_CONN_UNJUDGED) && conn_unseen(skb, p))
			give_up(conn, SLUICE_COUNTER_UNSEEN_RESPONSES);
	}

	end = p->seq + p->payload_len;
	does = packet_does(conn, p);
	if (does && c.service) {
		conn_mark(skb, conn, FROM_CLIENT);
		if (does == PASSES_BYTES) {
			if (seq_diff(end, conn->c_next) > 0)
				conn->c_next = end;
		} else if (c.s->another || conn->flags & SLUICE_CONN_OPAQUE) {
			opaque_bytes(&c, p, c.s->another);
		} else {
			int verdict = request_bytes(&c);

			if (verdict != TC_ACT_UNSPEC)
				return verdict;
			end = p->seq + p->payload_len;
		}
	}
	if (p->flags & TCP_RST) {
		if (rst_believed(p->seq, conn->c_next)) {
			depart(conn);
			release_all(conn, SLUICE_END_DEPARTED);
			conn_end(&p->key, conn);
		}
		return TC_ACT_UNSPEC;
	}
	if (p->flags & TCP_FIN && end == conn->c_next) {
		conn->c_next++;
		conn_set(conn, SLUICE_CONN_CLIENT_FIN);
		if (conn->flags & SLUICE_CONN_SERVER_FIN)
			conn_end(&p->key, conn);
	} else if (p->flags & TCP_FIN && seq_diff(end, conn->c_next) > 0 &&
		   !(conn->flags & FIN_PASSES) && segment_cut(skb, p, p->payload_len)) {
		return TC_ACT_SHOT;
	}
	return TC_ACT_UNSPEC;
}

SEC("tc")
int requests(struct __sk_buff *skb)
{
	return on_request_packet(skb, true);
}

SEC("tc")
int requests_l3(struct __sk_buff *skb)
{
	return on_request_packet(skb, false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
