/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc egress: packets of a protected server. A SYN-ACK leaves an entry that the handshake's ACK has
 * to match. Responses are framed and matched to their exchanges. Each response's first token, the
 * gaps between its chunks and its end are timed as they leave, and become samples. A chunk's time
 * is that of its first transmission: a retransmission is no sample. Packets leave unchanged, except
 * for a Date that becomes feedback, and for packets to a tombstone.
 */
#include <sluice/http1_response.h>

#include "feedback.h"
#include "kept_icmp.h"
#include "samples.h"
#include "tombstone.h"
#include "syn_ack.h"
#include "usage.h"

#define SECOND_HOOK_NS                                                                             \
	NSEC_PER_MSEC /* a packet usually passes all hooks on its path within this; TCP may repeat \
			 one soon after */
#define FULL_MIN                                                                                   \
	1000 /* bytes of a packet after which more may have waited; nearer to a chunk than to a    \
		segment */
#define GAP_NS                                                                                     \
	(300 * NSEC_PER_MSEC) /* more than TCP's least timeout, 200 ms: the missing bytes have     \
				 come again by then if they come by here */
#define QUIET_NS                                                                                   \
	(500 * 1000ULL) /* a packet that leaves sooner after another of its connection was let out \
			   by that one */

/*
 * Charges the tokens of a stream to the quota of its request: those that this packet carries, or
 * the difference to what the response says. Gives nothing back of a charge that was bounded.
 */
static __always_inline void charge_tokens(struct response_context *c,
					  const struct sluice_exchange *e)
{
	struct http1_response *r = &c->conn->response;
	__s32 tokens = r->stream.tokens - r->stream.charged;
	int bounded = 0;

	if (!tokens || !(c->conn->flags & SLUICE_CONN_RESPONSE) || r->frame.status < 200 ||
	    r->frame.status >= 300)
		return;
	r->stream.charged = r->stream.tokens;
	if (tokens < 0 && r->stream.bounded)
		return;
	if (e->quota)
		bounded = quota_tokens(&e->client, e->quota, tokens, c->s->now);
	if (e->flags & SLUICE_EXCHANGE_READINGS)
		bounded |= reading_tokens(c->conn, tokens, c->s->now);
	r->stream.bounded |= bounded;
}

/*
 * Charges the tokens that a plain reply states in its last packet, or the difference to those that
 * it has stated before. Its exchange has ended by then.
 */
static __always_inline void charge_plain(struct response_context *c, __u32 stated)
{
	struct sluice_exchange *e = &c->s->plain;
	__s32 tokens = stated - c->s->stated;

	if (!tokens || (tokens < 0 && c->conn->response.stream.bounded))
		return;
	if (e->quota)
		quota_tokens(&e->client, e->quota, tokens, c->s->now);
	if (e->flags & SLUICE_EXCHANGE_READINGS)
		reading_tokens(c->conn, tokens, c->s->now);
}

/*
 * A plain reply has ended, and its exchange: sends its duration. A reply that its client has held
 * up is no sample. The name of a model that is not learned yet may be the next request's by now.
 */
static __always_inline void plain_ended(struct response_context *c, __u32 tokens)
{
	struct response_scratch *s = c->s;
	struct sluice_exchange *e = &s->plain;

	if (e->flags & SLUICE_EXCHANGE_JUDGED)
		exchange_ended(c->conn, e, SLUICE_END_COMPLETED, tokens);
	if (e->stream != SLUICE_STREAM_NO || e->flags & SLUICE_EXCHANGE_NAMED)
		return;
	if (c->conn->flags & SLUICE_CONN_CLIENT_LIMITED)
		count(SLUICE_COUNTER_GAPS_CLIENT_LIMITED);
	else
		send_sample(c, e, SLUICE_SAMPLE_DURATION, s->now - e->admitted_ns, tokens);
}

/* For its sample, and for the record of its exchange. */
static __always_inline void measured_ttft(struct response_context *c, struct sluice_exchange *e,
					  __u64 ns)
{
	__u64 us = ns / NSEC_PER_USEC;

	c->conn->ttft_us = !us ? 1 : us > 0xffffffff ? 0xffffffff : us;
	send_sample(c, e, SLUICE_SAMPLE_TTFT, ns, 1);
}

/* The first token of `e` began to leave at conn->event_ns. */
static __always_inline void first_token(struct response_context *c, struct sluice_exchange *e)
{
	struct sluice_conn *conn = c->conn;

	conn_set(conn, SLUICE_CONN_FIRST_TOKEN);
	release_worked_off(e, c->s->now, SLUICE_EXCHANGE_WAITING | SLUICE_EXCHANGE_EXPECTED);
	conn->chunk_ns = c->s->now;
	if (conn->flags & SLUICE_CONN_CLIENT_LIMITED)
		count(SLUICE_COUNTER_GAPS_CLIENT_LIMITED);
	else
		measured_ttft(c, e, conn->event_ns - e->admitted_ns);
	gaps_count_again(c);
}

/* An error in a stream: what has no first token by now gets none, and waits no more. */
static __always_inline void stream_failed(struct sluice_exchange *e)
{
	struct sluice_model_state *model = model_counts(e->model);

	if (model)
		__sync_fetch_and_add(&model->failed, 1);
	release(e, SLUICE_EXCHANGE_WAITING | SLUICE_EXCHANGE_EXPECTED);
}

/* The first token of `e` is a guess. */
static __always_inline void stream_guessed(const struct sluice_exchange *e)
{
	struct sluice_model_state *model = model_counts(e->model);

	if (model)
		__sync_fetch_and_add(&model->guessed, 1);
}

/* Whether replies that are not streamed feed TTFT, as the model or the service is configured. */
static __always_inline bool unary(const struct response_context *c, const struct sluice_exchange *e)
{
	struct sluice_model_flag *flag = model_flag(e->model);

	return c->conn->flags & SLUICE_CONN_UNARY || (flag && flag->unary);
}

static __always_inline long response_events(struct response_context *c, __u32 ev)
{
	struct sluice_conn *conn = c->conn;
	struct response_scratch *s = c->s;
	struct sluice_exchange *e = current_exchange(conn);
	struct http1_response *r = &conn->response;
	bool judged = e && e->flags & SLUICE_EXCHANGE_JUDGED;
	bool ok = response_ok(r);

	if (ev & HTTP1_FRAMING_ERROR) {
		give_up(conn, SLUICE_COUNTER_RESPONSE_FRAMING_ERROR);
		return 1;
	}
	if (ev & HTTP1_UPGRADED) {
		give_up(conn, SLUICE_COUNTER_UPGRADED);
		return 1;
	}
	if (ev & HTTP1_INTERIM) /* a 100 Continue begins no response: its request may still be
				   refused */
		conn_clear(conn, SLUICE_CONN_RESPONSE);
	if (ev & HTTP1_DATE && conn->flags & SLUICE_CONN_FEEDBACK && judged && ok && e->quota) {
		__u32 at = s->at - 5;

		if (feedback_numbers(&e->client, e->quota, s->now, conn) &&
		    !feedback_write(c->skb, conn, s->tcp_at, at, s->end))
			conn->date_seq = s->seq + at;
		else
			conn->date_secs = 0;
		if (!conn->date_secs)
			count(SLUICE_COUNTER_FEEDBACK_ABSENT);
	}
	if (ev & HTTP1_HEAD_END) {
		if (!e && request_begun(conn)) {
			conn_set(conn, SLUICE_CONN_ANSWERED_EARLY);
			if (!(conn->flags & SLUICE_CONN_REQUEST)) /* it ends on another CPU */
				conn_clear(conn, SLUICE_CONN_ANSWERED_EARLY);
		}
		if (judged && ok && e->flags & SLUICE_EXCHANGE_NAMED)
			send_sample(c, e, SLUICE_SAMPLE_SEEN, 0, 0);
	}
	if (judged && ok) {
		if (ev & HTTP1_BODY_BEGIN && r->stream.kind == STREAM_NONE) {
			conn->event_ns = s->now;
			if (unary(c, e))
				first_token(c, e);
			else if (!(ev & HTTP1_END)) /* the end releases all at once */
				release_worked_off(e, s->now,
						   SLUICE_EXCHANGE_WAITING |
							   SLUICE_EXCHANGE_EXPECTED);
		}
		if (ev & STREAM_EVENT_BEGIN)
			conn->event_ns = s->now;
		if (ev & STREAM_ERROR)
			stream_failed(e);
		if (ev & STREAM_GUESS)
			stream_guessed(e);
		if (ev & STREAM_GENERATED) {
			if (conn->flags & SLUICE_CONN_FIRST_TOKEN)
				s->gaps++;
			else
				first_token(c, e);
		}
	}
	if (ev & HTTP1_END) {
		if (e) {
			__u32 had;

			if (judged) {
				charge_tokens(c, e);
				fold_gaps(c, e, true);
				if (ok)
					usual_took(e->pool, s->now - e->admitted_ns);
				if (ok && r->stream.kind == STREAM_NONE) {
					s->plain_end = s->at;
					s->stated = r->stream.tokens;
					s->plain = *e;
				}
			}
			had = release_worked_off(e, s->now, HELD | SLUICE_EXCHANGE_JUDGED);
			if (!(had & SLUICE_EXCHANGE_JUDGED)) /* another CPU has reported its end */
				s->plain.flags = 0;
			else if (!s->plain_end)
				exchange_ended(conn, e,
					       ok && !(r->stream.flags & STREAM_FAILED)
						       ? SLUICE_END_COMPLETED
						       : SLUICE_END_FAILED,
					       tokens_sent(conn));
			conn->exchange_head++;
		}
		conn->since_ns = s->now;
		conn_clear(conn, SLUICE_CONN_RESPONSE | SLUICE_CONN_FIRST_TOKEN);
		if (!e) /* another CPU may have begun it just now */
			release_all(conn, ok ? SLUICE_END_COMPLETED : SLUICE_END_FAILED);
	}
	return 0;
}

static __always_inline void begin_response(struct sluice_conn *conn)
{
	struct sluice_exchange *e = current_exchange(conn);

	http1_response_begin(&conn->response, e ? e->method : HTTP1_METHOD_POST);
	if (!(conn->flags & SLUICE_CONN_FEEDBACK))
		conn->response.frame.flags = HTTP1_DATE_UNCHECKED;
	if (e && (recording || e->flags & SLUICE_EXCHANGE_READINGS || quota_of_tokens(e->quota)))
		conn->response.stream.flags = STREAM_WHOLE;
	conn_set(conn, SLUICE_CONN_RESPONSE);
}

/*
 * Reads some of a head from s->buf[pos] on, and skips the usual body after it. Returns how many
 * bytes. s->ev: the events in them. It is a SUBPROG as body_bytes() is, and so that streamed bytes
 * do not pay for its stack.
 */
SUBPROG int response_head(struct sluice_conn *conn, struct response_scratch *s, __u32 pos)
{
	__u32 ev = 0, n, left;

	if (!conn || !s)
		return 0;
	left = s->end - s->at;
	n = http1_response_head_step(&conn->response, s->buf, pos, s->buf_len, &ev);
	if (ev == HTTP1_HEAD_END && left > n && conn->response.frame.state == HTTP1_AT_BODY &&
	    conn->response.stream.kind == STREAM_NONE)
		n += http1_response_unread(&conn->response, left - n, &ev);
	s->ev = ev;
	return n;
}

/* One step of framing, as in requests.bpf.c. The caller has bytes for the first step, and the loop
 * ends after the last byte. */
static long response_step(__u32 i, struct response_context *c)
{
	struct sluice_conn *conn = c->conn;
	struct response_scratch *s = c->s;
	__u32 left = s->end - s->at, n, ev = 0;
	__u64 skip;

	if (!(conn->flags & SLUICE_CONN_RESPONSE))
		begin_response(conn);
	skip = http1_response_skippable(&conn->response);
	if (skip) {
		n = skip < left ? skip : left;
		http1_response_skipped(&conn->response, n, &ev);
	} else {
		__u32 pos = s->at - s->buf_at;

		if (pos >= s->buf_len) {
			n = scan_fit(left);
			if (bpf_skb_load_bytes(c->skb, s->at, s->buf, n)) {
				give_up(conn, SLUICE_COUNTER_RESPONSE_FRAMING_ERROR);
				return 1;
			}
			s->buf_at = s->at;
			s->buf_len = n;
			pos = 0;
		}
		if (conn->response.frame.state == HTTP1_AT_BODY) {
			n = http1_response_body_step(&conn->response, s->buf, pos, s->buf_len, &ev);
		} else if (conn->response.frame.state >= HTTP1_AT_CHUNK_SIZE) {
			n = http1_chunk_step(&conn->response.frame, s->buf, scan_clamp(pos),
					     s->buf_len, &ev);
		} else {
			n = response_head(conn, s, pos);
			ev = s->ev;
		}
	}
	s->at += n;
	if (ev && response_events(c, ev))
		return 1;
	return s->at >= s->end;
}

/*
 * Opaque connections: the first bytes after a burst of the client count as the first token, and
 * each segment as a chunk. If the burst is no measurement (JUDGED is not set), only the direction
 * is noted.
 */
static __always_inline void opaque_reply(struct response_context *c)
{
	struct sluice_conn *conn = c->conn;
	struct sluice_exchange *e = current_exchange(conn);

	if (!e)
		return;
	conn_set(conn, SLUICE_CONN_RESPONSE);
	conn->since_ns = c->s->now;
	if (!(e->flags & SLUICE_EXCHANGE_JUDGED))
		return;
	conn->event_ns = c->s->now;
	if (conn->flags & SLUICE_CONN_FIRST_TOKEN) {
		c->s->gaps = 1;
		fold_gaps(c, e, false);
	} else {
		first_token(c, e);
	}
}

/*
 * A segment comes before missing bytes: it overtook theirs, or they were lost before this hook. It
 * is dropped, so that the server sends it again after them. If they do not come within GAP_NS, they
 * went another way.
 */
static __always_inline bool waits_for_gap(struct sluice_conn *conn, __u64 now)
{
	if (!(conn->flags & SLUICE_CONN_GAP)) {
		conn_set(conn, SLUICE_CONN_GAP);
		conn->sent_ns = now;
	}
	return now - conn->sent_ns < GAP_NS;
}

/*
 * The server's first bytes on a connection with something that sluice does not read. A server that
 * answers in HTTP/1.x may read on: requests may follow.
 */
OWN_FRAME void note_answer(struct __sk_buff *skb, struct sluice_conn *conn, __u32 at, __u32 len)
{
	__u8 begin[8] = {'H', 'T', 'T', 'P', '/', '1', '.', 0};
	__u32 id = conn->service, *answered = bpf_map_lookup_elem(&unread_answered, &id);

	if (!answered || *answered & conn->unread ||
	    load_bytes(skb, at, begin, len < 7 ? len : 7, 7))
		return;
	if (scan_load(begin) == scan_literal("HTTP/1.\0"))
		__sync_fetch_and_or(answered, conn->unread);
	else
		conn->unread = 0;
}

static __always_inline int on_response_packet(struct __sk_buff *skb, bool l2)
{
	struct response_context c = {.skb = skb};
	struct sluice_settings *set;
	struct response_scratch *s;
	struct sluice_tombstone *t;
	struct sluice_conn *conn;
	struct packet p = {};
	__u32 zero = 0, begin, end, ev = 0, tokens;
	enum kind kind;
	__s32 offset; /* of the segment from the next byte of the server */

	kind = packet_kind(skb, l2, FROM_SERVER);
	if (kind != PACKET_OWN) {
		on_icmp(skb, l2, kind, false);
		return TC_ACT_UNSPEC;
	}
	if (!packet_own(skb, &p, l2, FROM_SERVER))
		return TC_ACT_UNSPEC;
	set = get_settings();
	s = bpf_map_lookup_elem(&response_scratch, &zero);
	if (!set || !s)
		return TC_ACT_UNSPEC;
	if ((p.flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
		if (packet_service(&p))
			on_syn_ack(skb, &p);
		return TC_ACT_UNSPEC;
	}
	if (packet_is_paused(&p, set))
		return TC_ACT_SHOT;
	conn = bpf_map_lookup_elem(&conns, &p.key);
	if (!conn || conn->flags & SLUICE_CONN_KEPT) {
		int leaving = kept_leaves(skb, &p);

		if (leaving != KEPT_GOES_ON)
			return leaving == KEPT_REPLY ? TC_ACT_UNSPEC : TC_ACT_SHOT;
	}
	if (!conn) {
		t = bpf_map_lookup_elem(&tombstones, &p.key);
		if (t)
			return tombstone_from_server(skb, &p, t);
		if (p.payload_len && p.flags & TCP_ACK && packet_service(&p))
			half_open_note(&p, SLUICE_ANSWERED_DATA, p.seq + p.payload_len - 1,
				       p.window, hook_of(skb));
		return TC_ACT_UNSPEC;
	}
	if (p.flags & TCP_RST) {
		conn_end(&p.key, conn);
		return TC_ACT_UNSPEC;
	}
	conn_taken(conn, &p, hook_of(skb));
	end = p.seq + p.payload_len;
	offset = seq_diff(p.seq, conn->s_next);
	/* The server has bytes that we did not see: its client comes by another interface, too. */
	if (p.flags & TCP_ACK && seq_diff(p.ack, conn->c_next) > 0 &&
	    !(conn->flags & SLUICE_CONN_UNJUDGED))
		give_up(conn, SLUICE_COUNTER_UNSEEN_REQUESTS);
	if (offset > 0 && (p.payload_len || p.flags & TCP_FIN) &&
	    !(conn->flags & (SLUICE_CONN_NO_RESPONSES | SLUICE_CONN_OPAQUE)) &&
	    waits_for_gap(conn, now_ns(set))) {
		count(SLUICE_COUNTER_REORDERED_DROPPED);
		return TC_ACT_SHOT;
	}
	if (seq_diff(end, conn->s_next) < (p.payload_len ? 1 : 0)) {
		__u64 now = now_ns(set);

		/*
		 * A retransmission, or a probe of a shut window: the client, or the path to it,
		 * holds the server up. But the newest bytes within SECOND_HOOK_NS are the same
		 * packet at a second hook (a VLAN and its parent, a bridge and its port).
		 */
		bool second = p.payload_len && end == conn->s_next &&
			      now - conn->sent_ns <= SECOND_HOOK_NS;

		if (p.payload_len && !second)
			conn_set(conn, SLUICE_CONN_CLIENT_LIMITED);
		if (p.payload_len && conn->date_secs && seq_diff(conn->date_seq, p.seq) >= 0 &&
		    seq_diff(conn->date_seq, end) < 0)
			feedback_write(skb, conn, p.tcp_at, p.payload_at + (conn->date_seq - p.seq),
				       p.payload_at + p.payload_len);
		if (!second)
			conn_knocked(conn, now);
	} else if (p.payload_len) {
		conn_mark(skb, conn, FROM_SERVER);
		s->now = now_ns(set);
		s->waited = p.payload_len >= FULL_MIN || s->now - conn->last_seen_ns < QUIET_NS;
		conn->last_seen_ns = conn->sent_ns = s->now;
		if (conn->s_next == conn->c_ack || !conn->unacked_since_ns)
			conn->unacked_since_ns = s->now;
		if (conn->flags & SLUICE_CONN_GAP)
			conn_clear(conn, SLUICE_CONN_GAP);
		if (conn->unread && conn->flags & PASSES && offset <= 0)
			note_answer(skb, conn, p.payload_at - offset, p.payload_len + offset);
		if (!(conn->flags & SLUICE_CONN_NO_RESPONSES)) {
			if (offset > 0) {
				give_up(conn, SLUICE_COUNTER_RESPONSE_FRAMING_ERROR);
			} else {
				struct sluice_exchange *e;

				c.conn = conn;
				c.s = s;
				s->tcp_at = p.tcp_at;
				s->seq = p.seq - p.payload_at;
				s->at = begin = p.payload_at - offset;
				s->end = p.payload_at + p.payload_len;
				s->buf_at = s->buf_len = 0;
				s->gaps = s->plain_end = 0;
				if (conn->flags & SLUICE_CONN_OPAQUE) {
					opaque_reply(&c);
				} else {
					bpf_loop(1 << 23, response_step, &c, 0);
					if (s->plain_end) {
						tokens = plain_tokens(skb, conn, begin,
								      s->plain_end);
						if (!tokens)
							tokens = s->stated;
						charge_plain(&c, tokens);
						plain_ended(&c, tokens);
					} else if (current_exchange(conn) &&
						   plain_may_state(conn)) {
						tokens = plain_tokens(skb, conn, begin, s->end);
						if (tokens)
							conn->response.stream.tokens = tokens;
					}
					e = current_exchange(conn);
					if (e) {
						charge_tokens(&c, e);
						fold_gaps(&c, e, false);
					}
				}
			}
		}
		conn->s_next = end;
	}
	if (p.flags & TCP_FIN && end == conn->s_next) {
		conn->s_next++;
		if (conn->flags & SLUICE_CONN_RESPONSE &&
		    !(conn->flags & SLUICE_CONN_NO_RESPONSES) &&
		    !(conn->flags & SLUICE_CONN_OPAQUE)) {
			s->now = now_ns(set);
			s->at = p.payload_at + p.payload_len;
			s->gaps = s->waited = s->plain_end = 0;
			c.conn = conn;
			c.s = s;
			http1_response_closed(&conn->response, &ev);
			if (ev & HTTP1_FRAMING_ERROR) {
				struct sluice_exchange *e = current_exchange(conn);

				if (e)
					fold_gaps(&c, e, true);
				if (conn->flags & SLUICE_CONN_CLIENT_FIN)
					ev = 0; /* cut short as the client had gone: no error */
			}
			if (ev)
				response_events(&c, ev);
			if (s->plain_end)
				plain_ended(&c, s->stated);
		}
		release_all(conn, SLUICE_END_FAILED);
		conn_set(conn, SLUICE_CONN_SERVER_FIN);
		if (conn->flags & SLUICE_CONN_CLIENT_FIN)
			conn_end(&p.key, conn);
	}
	return TC_ACT_UNSPEC;
}

SEC("tc")
int responses(struct __sk_buff *skb)
{
	return on_response_packet(skb, true);
}

SEC("tc")
int responses_l3(struct __sk_buff *skb)
{
	return on_response_packet(skb, false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
