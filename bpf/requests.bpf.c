/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc ingress: what clients send to a protected port. SYNs are consulted as in gate.bpf.c (where
 * there is no XDP this is the gate); bytes in order are framed as HTTP/1.x requests, and the
 * request is judged as soon as something of it is known and for the last time at its last byte. An
 * admitted request's bytes are not touched. A refused one's packet never reaches the server: it
 * becomes a RST for the server and an answer for the client.
 */
#include "route.h"
#include "syn.h"
#include "tombstone.h"

#define MODELS_KNOWN 64
#define WIPE_STEP    64 /* bytes; SCAN_BUF is a multiple */
#define AGAIN_SOON_NS                                                                              \
	(50 * NSEC_PER_MSEC) /* less than TCP waits before it sends again for certain (RFC 6298)   \
			      */
#define TLS_HANDSHAKE        22 /* RFC 8446 5.1: types of records */
#define TLS_APPLICATION_DATA 23

/* Whether these bytes begin a TLS record that carries none of the application's. */
static __always_inline bool tls_talk(const __u8 head[3])
{
	return head[0] >= 20 && head[0] < TLS_APPLICATION_DATA && head[1] == 3;
}

/* What is to be done with bytes that were framed and come again; SOON: the packet is dropped. */
enum again { AGAIN_TAKEN, AGAIN_SOON, AGAIN_DOUBT };

/* What a packet is refused for: by question and judgement, or because its framing is in doubt. */
enum refusal { REFUSE_NOTHING, REFUSE_REQUEST, REFUSE_DOUBT };

struct request_scratch {
	struct packet packet;
	__u32 at;     /* offset in the packet of the next byte to be framed */
	__u32 end;    /* … behind the last one */
	__u32 buf_at; /* offset in the packet of buf[0] */
	__u32 buf_len;
	__u32 buf_used; /* bytes of buf that hold what a client sent */
	__u32 refuse;   /* enum refusal */
	__u32 ev;       /* what ended in the bytes that a step finds read, or lost, already */
	__u32 named; /* a model of the request that ends in this packet, not asked for yet, and 1;
			0: none */
	struct sluice_conn fresh;
	struct sluice_tombstone tombstone;
	__u8 buf[SCAN_ROOM + SCAN_PAD];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct request_scratch);
	__uint(max_entries, 1);
} request_scratch SEC(".maps");

/* Models that this CPU has found. */
struct known_model {
	char name[SLUICE_NAME_MAX] SLUICE_ALIGNED(8);
	__u32 names;
	__u32 id;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct known_model);
	__uint(max_entries, MODELS_KNOWN);
} known_models SEC(".maps");

struct request_context {
	struct __sk_buff *skb;
	struct sluice_conn *conn;
	struct sluice_service *service;
	struct request_scratch *s;
	struct judging *a;
	const struct sluice_rules *rules;
	const struct siphash_secret *secret;
};

/* Whether an earlier response is still under way, so that nothing may be refused. */
static __always_inline bool response_under_way(const struct sluice_conn *conn)
{
	return conn->exchange_head != conn->exchange_tail ||
	       conn->flags & (SLUICE_CONN_RESPONSE | SLUICE_CONN_ANSWERED_EARLY);
}

/* The id of the request's model, by memory where that will do: see known_services. */
static __always_inline __u32 id_of_name(const struct http1_request *r)
{
	const __u64 *name = (const __u64 *)r->json.name;
	struct sluice_settings *set = get_settings();
	struct known_model *known;
	__u64 *kept, differ = 0;
	__u32 names, at, *id;

	at = (name[0] + 3 * name[1] + 5 * name[2] + 7 * name[3]) * 0x9e3779b97f4a7c15ULL >> 58;
	known = bpf_map_lookup_elem(&known_models, &at);
	if (!known || !set)
		return SLUICE_MODEL_OTHER;
	names = set->names;
	kept = (__u64 *)known->name;
#pragma unroll
	for (int i = 0; i < SLUICE_NAME_MAX / 8; i++)
		differ |= kept[i] ^ name[i];
	if (!differ && known->names == names && names)
		return known->id;
	__sync_fetch_and_and(&known->names, 0);
	id = bpf_map_lookup_elem(&model_ids, r->json.name);
	if (!id || *id >= SLUICE_MODELS_MAX)
		return SLUICE_MODEL_OTHER;
	__builtin_memcpy(known->name, r->json.name, SLUICE_NAME_MAX);
	known->names = names;
	known->id = *id;
	return *id;
}

static __always_inline __u32 model_of_name(const struct http1_request *r,
					   const struct sluice_service *service)
{
	if (r->json.flags & JSON_MODEL_INVALID)
		return SLUICE_MODEL_OTHER;
	return r->json.name_len ? id_of_name(r) : service->default_model;
}

static __always_inline void consult_for(struct request_scratch *s, struct sluice_conn *conn,
					const struct sluice_service *service, __u32 model)
{
	struct judging *a = get_judging();

	if (!a || response_under_way(conn) || !may_refuse(get_settings(), a->question.now))
		return;
	a->question.model = model;
	a->question.take = 0;
	a->question.bytes = admission_bytes(
		conn->request_bytes +
		(conn->request.frame.flags & HTTP1_LENGTH ? conn->request.frame.left : 0));
	judge_request(service);
	if (a->judgement.reason && !a->judgement.shadow)
		s->refuse = REFUSE_REQUEST;
}

/*
 * Judges early, as soon as the model is known or (SLUICE_MODEL_ALL) the head is: only a refusal
 * that would be carried out counts, everything else waits for the request's end. Where the end is
 * in the packet at hand it will do; then only a name that another one follows is asked for, so that
 * the strictest verdict of all holds.
 */
static __always_inline void consult(struct request_scratch *s, struct sluice_conn *conn,
				    const struct sluice_service *service, __u32 model)
{
	const struct http1_frame *f = &conn->request.frame;
	__u32 ask = s->named;

	if (!(f->flags & HTTP1_LENGTH) || f->left > s->end - s->at)
		ask = model + 1;
	if (ask)
		consult_for(s, conn, service, ask - 1);
	s->named = model != SLUICE_MODEL_ALL ? model + 1 : 0;
}

/* Whether the model of a request that has ended is the one looked up for this packet: nothing of
 * its name came behind that. */
static __always_inline bool model_known(const struct request_scratch *s,
					const struct http1_request *r, __u32 ev)
{
	const struct json_model *j = &r->json;

	return s->named && !(ev & (HTTP1_HEAD_END | HTTP1_MODEL)) && j->name_len &&
	       (j->state < JSON_MODEL_NAME || j->state == JSON_MODEL_DONE) &&
	       !(j->flags & (JSON_MODEL_GAP | JSON_MODEL_INVALID | JSON_MODEL_GARBAGE));
}

/* What a client sends cannot be framed: it passes unjudged, or is reset where the service wants
 * that and nothing forbids it. */
SUBPROG int request_doubt(struct request_scratch *s, struct sluice_conn *conn,
			  const struct sluice_service *service)
{
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL);
	struct sluice_prefix_key key = {.plen = 128};
	struct judging *a = get_judging();
	struct sluice_prefix *prefix = NULL;

	if (!s || !conn || !service || !all || !a)
		return 0;
	__builtin_memcpy(key.addr, conn->addr, 16);
	if (service->doubt_reset &&
	    !(conn->flags & (SLUICE_CONN_ADOPTED | SLUICE_CONN_UNJUDGED | SLUICE_CONN_OPAQUE)) &&
	    !response_under_way(conn) && may_refuse(get_settings(), a->question.now) &&
	    (all->mode ? all->mode : service->mode) != SLUICE_MODE_SHADOW &&
	    prefix_class(&key, a->question.now, &prefix) != SLUICE_PREFIX_EXEMPT)
		s->refuse = REFUSE_DOUBT;
	else
		give_up(conn, SLUICE_COUNTER_PASSED_DOUBT);
	return 0;
}

/* Judges the request whose last byte has come: it is refused, or takes its place in the ring of
 * exchanges. */
static __always_inline void judge_at_end(struct request_scratch *s, struct sluice_conn *conn,
					 const struct sluice_service *service, __u32 model)
{
	__u32 flags = 0, verdict = SLUICE_VERDICT_ADMITTED;
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
	if (conn->flags & SLUICE_CONN_JUDGE) {
		a->question.model = model;
		a->question.take = 1;
		a->question.bytes = admission_bytes(conn->request_bytes);
		judge_now(service);
		if (j->reason) {
			if (j->shadow) {
				verdict = SLUICE_VERDICT_SHADOW_REJECTED;
			} else if (!may_refuse(get_settings(), now)) {
				count(SLUICE_COUNTER_PASSED_LEASE);
				j->reason = SLUICE_REASON_NONE;
			} else if (response_under_way(conn)) {
				count(SLUICE_COUNTER_PASSED_PIPELINED);
				j->reason = SLUICE_REASON_NONE;
			} else {
				s->refuse = REFUSE_REQUEST;
				return;
			}
			if (verdict == SLUICE_VERDICT_ADMITTED)
				hold_passing();
		}
		flags = SLUICE_EXCHANGE_JUDGED;
		if (verdict == SLUICE_VERDICT_ADMITTED) {
			account_admitted(&a->question, service->id);
			flags |= SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_WAITING;
		} else {
			account(service, verdict);
			count_beyond(model, a->question.law);
			flags |= SLUICE_EXCHANGE_BEYOND;
			a->question.ahead = a->question.beside = 0;
		}
		if (model == SLUICE_MODEL_OTHER && r->json.name_len) {
			__builtin_memcpy(conn->name, r->json.name, SLUICE_NAME_MAX);
			flags |= SLUICE_EXCHANGE_NAMED;
		}
	}
	e = &conn->exchange[conn->exchange_tail & (SLUICE_EXCHANGES_MAX - 1)];
	e->admitted_ns = now;
	e->bytes = admission_bytes(conn->request_bytes);
	e->model = model;
	e->law = a->question.law;
	e->ahead = a->question.ahead;
	e->beside = a->question.beside;
	e->quota = flags ? j->quota : 0;
	e->client = a->question.client;
	e->method = r->frame.method;
	e->flags = flags;
	if (conn->flags & SLUICE_CONN_ANSWERED_EARLY) {
		release(e, HELD);
		conn_clear(conn, SLUICE_CONN_ANSWERED_EARLY);
		return;
	}
	if (!(conn->flags & SLUICE_CONN_STALLED))
		conn_clear(conn, SLUICE_CONN_TAINTED);
	barrier();
	conn->exchange_tail++;
}

/*
 * Whom a trusted proxy forwards the request for: of the addresses that the chain of proxies has
 * appended the last that is not a proxy's itself; the first that is known where all are.
 */
SUBPROG int forwarded_client(const struct sluice_conn *conn, const struct sluice_service *service)
{
	struct judging *a = get_judging();
	const struct forwarded *f;

	if (!a || !conn || !service)
		return 0;
	f = &conn->request.forwarded;
	__builtin_memcpy(a->question.prefix.addr, f->addr, 16);
#pragma unroll
	for (int i = 0; i < FORWARDED_HOPS - 1; i++) {
		if (f->hops < i + 2 || !trusted(a->question.prefix.addr, service))
			break;
		__builtin_memcpy(a->question.prefix.addr, f->before[i], 16);
	}
	return 0;
}

/*
 * Whose the request under way is, as far as it has come: its address is its connection's, or the
 * one that a trusted proxy forwards it for; and the client it is charged to is that, or the holder
 * of its key, whichever the service names first.
 */
static __always_inline void whose_request(const struct sluice_conn *conn,
					  const struct sluice_service *service)
{
	const struct http1_request *r = &conn->request;
	struct judging *a = get_judging();
	struct question *q;
	__u64 *half;
	bool forwarded;

	if (!a)
		return;
	q = &a->question;
	half = (__u64 *)q->client.addr;
	q->prefix.plen = 128;
	__builtin_memcpy(q->prefix.addr, conn->addr, 16);
	q->address = conn->client;
	q->client = conn->client;
	q->priority = 0;
	if (conn->flags & SLUICE_CONN_PROXY)
		return;
	q->priority = r->key.priority;
	forwarded = service->forwarded && conn->flags & SLUICE_CONN_TRUSTED &&
		    r->forwarded.flags & FORWARDED_KNOWN;
	if (forwarded) {
		forwarded_client(conn, service);
		client_of_address(q->prefix.addr, service, &q->address);
		q->client = q->address;
	}
	if (!r->key.rank || (forwarded && service->forwarded <= r->key.rank))
		return;
	half[0] = r->key.hash;
	half[1] = 0;
	q->client.plen = 0;
	q->client.kind = SLUICE_CLIENT_KEY;
}

/* … of a request whose head has ended, or begun, in an earlier packet. */
SUBPROG int name_client(const struct sluice_conn *conn, const struct sluice_service *service)
{
	if (conn && service)
		whose_request(conn, service);
	return 0;
}

/* The head has ended: whether the request is judged, its model if the head names one, and whose it
 * is. */
static __always_inline void head_ended(struct sluice_conn *conn,
				       const struct sluice_service *service)
{
	route_head(conn, service->id);
	whose_request(conn, service);
}

/* The PROXY header has ended: from a trusted peer, the connection is whose it says. */
SUBPROG int proxy_end(struct sluice_conn *conn, const struct sluice_service *service)
{
	if (!conn || !service)
		return 0;
	if (conn->flags & SLUICE_CONN_TRUSTED && conn->proxy.known) {
		__builtin_memcpy(conn->addr, conn->proxy.addr, 16);
		conn_whose(conn, service);
	}
	http1_request_next(&conn->request);
	conn_clear(conn, SLUICE_CONN_PROXY);
	return 0;
}

static __always_inline long request_events(struct request_context *c, __u32 ev)
{
	struct sluice_conn *conn = c->conn;
	struct http1_request *r = &conn->request;
	__u32 model = SLUICE_MODEL_ALL;
	bool end = ev & HTTP1_END;

	if (ev & HTTP1_DOUBT) {
		request_doubt(c->s, conn, c->service);
		return 1;
	}
	if (ev & HTTP1_HEAD_END)
		head_ended(conn, c->service);
	if (end) {
		if (conn->flags & SLUICE_CONN_JUDGE && !request_named(r)) {
			route_behind(conn, c->service->id);
			c->s->named = 0;
		}
	} else if (!(conn->flags & SLUICE_CONN_JUDGE) || !(ev & (HTTP1_HEAD_END | HTTP1_MODEL))) {
		return conn->flags & SLUICE_CONN_UNJUDGED;
	}
	if (end && conn->exchange_tail - conn->exchange_head >= SLUICE_EXCHANGES_MAX) {
		give_up(conn, SLUICE_COUNTER_PASSED_DOUBT);
		return 1;
	}
	if (end && model_known(c->s, r, ev))
		model = c->s->named - 1;
	else if (end || ev & HTTP1_MODEL || request_named(r))
		model = model_of_name(r, c->service);
	if (!end) {
		consult(c->s, conn, c->service, model);
	} else {
		judge_at_end(c->s, conn, c->service, model);
		if (!c->s->refuse) {
			http1_request_next(r);
			c->s->named = 0;
			conn_clear(conn,
				   SLUICE_CONN_REQUEST | SLUICE_CONN_ADOPTED | SLUICE_CONN_JUDGE);
		}
	}
	return c->s->refuse || conn->flags & SLUICE_CONN_UNJUDGED;
}

/* Reads some of a PROXY header: `left` bytes at most from s->buf[pos] on. Returns how many. */
SUBPROG int proxy_bytes(struct sluice_conn *conn, const struct request_scratch *s, __u32 pos,
			__u32 left)
{
	if (!conn || !s)
		return 0;
	return proxy_step(&conn->proxy, s->buf + scan_clamp(pos), left);
}

/*
 * Reads some of a body from s->buf[pos] on; returns how many bytes. s->ev: what ended with them.
 * Apart, so that the verifier walks its turns from one state only.
 */
SUBPROG int body_bytes(struct sluice_conn *conn, struct request_scratch *s, __u32 pos)
{
	__u32 ev = 0, n;

	if (!conn || !s)
		return 0;
	n = http1_request_body_step(&conn->request, s->buf, pos, s->buf_len, &ev);
	s->ev = ev;
	return n;
}

/* … of a head, or of what frames the chunks of a body: likewise. */
SUBPROG int head_bytes(struct sluice_conn *conn, struct request_scratch *s, __u32 pos,
		       const struct sluice_rules *rules, const struct siphash_secret *secret)
{
	__u32 ev = 0, n;

	if (!conn || !s || !rules || !secret)
		return 0;
	n = http1_request_head_step(&conn->request, s->buf, pos, s->buf_len, rules->header,
				    rules->names, secret, &ev);
	s->ev = ev;
	return n;
}

/* What became of it with them. */
static __always_inline long proxy_events(struct request_context *c)
{
	struct sluice_conn *conn = c->conn;

	if (conn->proxy.state == PROXY_BAD) {
		request_doubt(c->s, conn, c->service);
		return 1;
	}
	if (conn->proxy.state == PROXY_DONE)
		proxy_end(conn, c->service);
	return 0;
}

/* One step of framing; the loop's state is in map values, so that the verifier sees one iteration.
 */
static long request_step(__u32 i, struct request_context *c)
{
	struct sluice_conn *conn = c->conn;
	struct request_scratch *s = c->s;
	__u32 left = s->end - s->at, n, ev = s->ev;
	__u64 skip;
	bool proxy;

	if (ev) { /* of what was lost in a hole */
		s->ev = 0;
		goto events;
	}
	if (s->at >= s->end)
		return 1;
	proxy = conn->flags & SLUICE_CONN_PROXY;
	if (!proxy && !(conn->flags & SLUICE_CONN_REQUEST)) {
		conn_set(conn, SLUICE_CONN_REQUEST);
		conn->request_bytes = 0;
		conn->c_begin = s->packet.seq + (s->at - s->packet.payload_at);
	}
	skip = proxy ? 0 : http1_request_skippable(&conn->request);
	if (skip) {
		n = skip < left ? skip : left;
		http1_request_skipped(&conn->request, n, &ev);
	} else {
		__u32 pos = s->at - s->buf_at;

		if (pos >= s->buf_len) {
			n = scan_fit(left);
			if (bpf_skb_load_bytes(c->skb, s->at, s->buf, n)) {
				give_up(conn, SLUICE_COUNTER_PASSED_DOUBT);
				return 1;
			}
			s->buf_at = s->at;
			s->buf_len = n;
			if (n > s->buf_used)
				s->buf_used = n;
			pos = 0;
		}
		if (proxy) {
			n = proxy_bytes(conn, s, pos, s->buf_len - pos);
			s->at += n;
			return proxy_events(c);
		}
		if (conn->request.frame.state == HTTP1_AT_BODY)
			n = body_bytes(conn, s, pos);
		else
			n = head_bytes(conn, s, pos, c->rules, c->secret);
		ev = s->ev;
		s->ev = 0;
	}
	s->at += n;
	conn->request_bytes += n;
events:
	if (ev && request_events(c, ev))
		return 1;
	return s->at >= s->end;
}

/*
 * Refuses the request, or what cannot be framed, that the packet at hand belongs to. Returns the
 * program's verdict. The scratch is looked up again, since only so are its parts keys and values
 * to 6.1, and its stack has no room for copies.
 */
SUBPROG int refuse_request(struct __sk_buff *skb, struct sluice_conn *conn,
			   const struct sluice_service *service)
{
	__u32 zero = 0, text_len = 0;
	struct request_scratch *s = bpf_map_lookup_elem(&request_scratch, &zero);
	struct judging *a = get_judging();
	struct sluice_tombstone *t;
	struct judgement *j;
	struct forged f = {};
	struct packet *p;
	__u64 now;

	if (!s || !a || !conn || !service)
		return TC_ACT_UNSPEC;
	p = &s->packet;
	j = &a->judgement;
	t = &s->tombstone;
	now = a->question.now;
	if (s->refuse == REFUSE_DOUBT)
		j->action = SLUICE_ACTION_RESET;
	__builtin_memset(t, 0, sizeof(*t));
	t->born_ns = t->last_seen_ns = now;
	t->reply.model =
		j->reason == SLUICE_REASON_REQUEST_QUOTA || j->reason == SLUICE_REASON_TOKEN_QUOTA
			? j->quota
			: j->about;
	t->reply.reason = j->reason;
	t->reply.no_retry = j->retry_after_ms > 60000;
	t->retry_after_ms = j->retry_after_ms;
	t->reply_seq = conn->s_next;
	t->c_ack = conn->c_ack;
	t->c_end = p->seq + p->payload_len + (p->flags & TCP_FIN ? 1 : 0);
	t->rst_seq = conn->c_next;
	if (t->c_ack != t->reply_seq)
		t->flags = SLUICE_TOMBSTONE_DEFERRED;
	if (j->action == SLUICE_ACTION_REPLY) {
		text_len = fill_reply(&t->reply, t->retry_after_ms);
		t->reply_end = t->reply_seq + text_len + 1;
		if (!text_len) {
			count(SLUICE_COUNTER_PASSED_NO_ROOM);
		} else if (bpf_map_update_elem(&tombstones, &p->key, t, BPF_ANY)) {
			count(SLUICE_COUNTER_TOMBSTONES_FULL);
			text_len = 0;
		}
	}
	if (s->refuse == REFUSE_DOUBT)
		count(SLUICE_COUNTER_DOUBT_RESET);
	else
		account(service, SLUICE_VERDICT_REJECTED);
	release_all(conn);
	bpf_map_delete_elem(&conns, &p->key);

	answer_timestamps(skb, p, &f);
	if (reset_server(skb, p, t->rst_seq))
		return TC_ACT_SHOT;
	if (text_len)
		return answer_429(skb, p, t, &f);
	f.seq = p->ack;
	f.flags = TCP_RST;
	return answer_client(skb, p, &f);
}

/* Whether bytes were framed within the last `ns`. */
static __always_inline bool framed_within(const struct sluice_conn *conn, __u64 now, __u64 ns)
{
	return (__u32)(now >> 10) - conn->c_when < ns >> 10;
}

/* The server has nothing of the request that was framed last, or is being framed: it is forgotten,
 * and its place given back. */
static __always_inline void begin_again(struct sluice_conn *conn)
{
	if (conn->flags & SLUICE_CONN_REQUEST) {
		http1_request_next(&conn->request);
		conn_clear(conn, SLUICE_CONN_REQUEST | SLUICE_CONN_JUDGE | SLUICE_CONN_HOLE);
	} else {
		release(&conn->exchange[(conn->exchange_tail - 1) & (SLUICE_EXCHANGES_MAX - 1)],
			HELD);
		conn->exchange_tail--;
	}
}

/*
 * The segment begins with bytes that were framed, but that the server has not acknowledged. It may
 * have dropped them, for a wrong checksum, an acknowledgement or a timestamp that it does not
 * believe, or want of room, and take these in their place, whatever they say (Ptacek and Newsham,
 * "Insertion, Evasion, and Denial of Service", 1998). Its socket knows; where there is none to be
 * asked they count as taken. While its application reads, a socket takes in nothing for a moment,
 * so what comes again so soon is dropped: it would be a copy, or comes once more. A FIN that was
 * none, or a whole request, is framed again; in a body of known length no more than the model's
 * name is lost; anything else is in doubt.
 */
SUBPROG int came_again(struct __sk_buff *skb, struct request_scratch *s, struct sluice_conn *conn,
		       const struct sluice_service *service, __u64 now)
{
	__u32 end, taken = 0, s_next = 0, lost, waiting;
	struct http1_frame *f;

	if (!s || !conn || !service)
		return AGAIN_TAKEN;
	end = s->packet.seq + s->packet.payload_len;
	if (seq_diff(end, conn->c_next) > 0)
		end = conn->c_next;
	if (seq_diff(end, conn->s_ack) <= 0 ||
	    prove_by_socket(skb, &s->packet, &taken, &s_next) == PROOF_NONE ||
	    seq_diff(end, taken) <= 0)
		return AGAIN_TAKEN;
	if (framed_within(conn, now, AGAIN_SOON_NS))
		return AGAIN_SOON;
	if (conn->flags & SLUICE_CONN_CLIENT_FIN) {
		conn_clear(conn, SLUICE_CONN_CLIENT_FIN);
		if (--conn->c_next == taken)
			return AGAIN_TAKEN;
	}
	f = &conn->request.frame;
	lost = conn->c_next - taken;
	waiting = conn->exchange_tail - conn->exchange_head;
	conn->c_next = taken; /* also where the server would believe a RST */
	if (conn->flags & SLUICE_CONN_REQUEST && f->state == HTTP1_AT_BODY &&
	    f->flags & HTTP1_LENGTH && conn->request_bytes >= f->head_bytes + (__u64)lost) {
		json_model_unsay(&conn->request.json);
		f->left += lost;
		conn->request_bytes -= lost;
		return AGAIN_TAKEN;
	}
	if (!(conn->flags & SLUICE_CONN_PROXY) &&
	    (conn->flags & SLUICE_CONN_REQUEST ||
	     waiting > (conn->flags & SLUICE_CONN_RESPONSE ? 1 : 0))) {
		begin_again(conn);
		if (taken == conn->c_begin)
			return AGAIN_TAKEN;
	}
	request_doubt(s, conn, service);
	return AGAIN_DOUBT;
}

/* Whether this may be the packet that was framed last, at a second hook of its way (a VLAN and its
 * parent, a bridge and its port). */
static __always_inline bool second_hook(const struct request_context *c)
{
	return c->conn->c_hook != (__u16)c->skb->ifindex &&
	       framed_within(c->conn, c->a->question.now, SECOND_HOOK_NS);
}

/*
 * Frames the packet's new bytes. A segment ahead of missing bytes passes only inside a body of
 * known length, where nothing but the model's name can be lost; elsewhere it is dropped, and the
 * client sends it again in order. Returns false if the packet is to be dropped.
 */
static __always_inline bool frame(struct request_context *c, const struct packet *p)
{
	struct sluice_conn *conn = c->conn;
	struct request_scratch *s = c->s;
	__u32 end = p->seq + p->payload_len, ev = 0;
	__s32 ahead;

	if (conn->s_shut && seq_diff(p->seq, conn->s_ack) >= 0)
		return true; /* a knock on the server's shut window: it will come again */
	if (seq_diff(p->seq, conn->c_next) < 0 && !second_hook(c)) {
		int again = came_again(c->skb, s, conn, c->service, c->a->question.now);

		if (again == AGAIN_SOON)
			count(SLUICE_COUNTER_REORDERED_DROPPED);
		if (again != AGAIN_TAKEN)
			return again == AGAIN_DOUBT;
	}
	ahead = seq_diff(p->seq, conn->c_next);
	if (ahead > 0) {
		bool body = conn->flags & SLUICE_CONN_REQUEST &&
			    conn->request.frame.state == HTTP1_AT_BODY &&
			    conn->request.frame.flags & HTTP1_LENGTH &&
			    (__u64)(end - conn->c_next) <= conn->request.frame.left;

		if (body && !(conn->flags & SLUICE_CONN_HOLE)) {
			conn->c_hole_end = p->seq;
			conn->c_max = end;
			conn_set(conn, SLUICE_CONN_HOLE);
			return true;
		}
		if (body && seq_diff(p->seq, conn->c_max) <= 0 &&
		    seq_diff(p->seq, conn->c_hole_end) >= 0) {
			if (seq_diff(end, conn->c_max) > 0)
				conn->c_max = end;
			return true;
		}
		count(SLUICE_COUNTER_REORDERED_DROPPED);
		return false;
	}
	if (seq_diff(end, conn->c_next) <= 0)
		return true; /* sent again */
	conn->c_hook = c->skb->ifindex;
	conn->c_when = c->a->question.now >> 10;

	s->at = p->payload_at - ahead;
	s->end = p->payload_at + p->payload_len;
	s->buf_at = s->buf_len = s->ev = 0;
	if (conn->flags & SLUICE_CONN_HOLE && seq_diff(end, conn->c_hole_end) >= 0) {
		/* The hole closes: what passed unseen behind it is part of this same body. */
		__u32 lost = conn->c_max - conn->c_next;

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
	}
	bpf_loop(1 << 23, request_step, c, 0);
	if (!s->refuse)
		conn->c_next = end;
	return true;
}

/* Drops a refused SYN, or makes it a RST. */
SUBPROG int refuse_syn(struct __sk_buff *skb, struct packet *p,
		       const struct sluice_service *service, __u64 now)
{
	struct forged f = {.flags = TCP_RST | TCP_ACK};
	struct judging *a = get_judging();

	if (!p || !service || !a)
		return TC_ACT_UNSPEC;
	f.ack = p->seq + 1 + p->payload_len + (p->flags & TCP_FIN ? 1 : 0);
	account_syn(service, p, now);
	if (a->judgement.shadow)
		return TC_ACT_UNSPEC;
	return a->judgement.action == SLUICE_ACTION_DROP ? TC_ACT_SHOT : answer_client(skb, p, &f);
}

/*
 * Opaque connections: a burst of client bytes begins a measurement, the server's answer ends it;
 * nothing is read but the type of a TLS record. No sample are a connection's first burst (a hello,
 * a preface) and what TLS says of itself.
 */
OWN_FRAME void opaque_bytes(struct request_context *c, const struct packet *p)
{
	struct sluice_conn *conn = c->conn;
	struct sluice_exchange *e = &conn->exchange[0];
	__u32 end = p->seq + p->payload_len;
	__u8 head[3] = {};

	if (seq_diff(end, conn->c_next) <= 0)
		return;
	if (conn->flags & SLUICE_CONN_RESPONSE || conn->exchange_head == conn->exchange_tail) {
		if (p->payload_len >= sizeof(head))
			bpf_skb_load_bytes(c->skb, p->payload_at, head, sizeof(head));
		e->bytes = e->ahead = e->beside = 0;
		e->model = e->law = c->service->default_model;
		e->flags = conn->exchange_head == conn->exchange_tail || tls_talk(head)
				   ? 0
				   : SLUICE_EXCHANGE_JUDGED;
		conn_clear(conn, SLUICE_CONN_RESPONSE | SLUICE_CONN_FIRST_TOKEN);
		conn->exchange_tail = conn->exchange_head + 1;
		if (e->flags)
			count_admitted(c->service->id, e->model);
	}
	e->admitted_ns = c->a->question.now;
	e->bytes += p->payload_len;
	conn->c_next = end;
	if (!(conn->flags & SLUICE_CONN_STALLED))
		conn_clear(conn, SLUICE_CONN_TAINTED);
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

/* Keys and prompts do not stay behind in the scratch. */
static __always_inline void wipe(struct request_scratch *s)
{
#pragma clang loop unroll(disable)
	for (__u32 at = 0; at < SCAN_BUF; at += WIPE_STEP) {
		if (at >= s->buf_used)
			break;
#pragma unroll
		for (int k = 0; k < WIPE_STEP; k += 8)
			*(__u64 *)(s->buf + at + k) = 0;
	}
}

/* A segment of a known connection with bytes of a request. Returns the program's verdict. */
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
	/* Two CPUs may hold segments of one connection; the later one's comes again. */
	if (!__sync_bool_compare_and_swap(&conn->busy, 0, 1)) {
		count(SLUICE_COUNTER_REORDERED_DROPPED);
		return TC_ACT_SHOT;
	}
	c->s->refuse = REFUSE_NOTHING;
	c->s->buf_used = 0;
	c->s->named = 0;
	if (conn->flags & SLUICE_CONN_REQUEST) /* else the end of its head does */
		name_client(conn, c->service);
	pass = frame(c, p);
	wipe(c->s);
	if (c->s->refuse)
		return refuse_request(c->skb, conn, c->service);
	conn->busy = 0;
	if (!pass)
		return TC_ACT_SHOT;
	if ((conn->flags & (SLUICE_CONN_UNJUDGED | SLUICE_CONN_ADOPTED)) ==
	    (SLUICE_CONN_UNJUDGED | SLUICE_CONN_ADOPTED))
		conn_end(&p->key, conn); /* in the middle of something; the next segment may do */
	return TC_ACT_UNSPEC;
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
	bool syn;

	if (foreign(skb, l2, FROM_CLIENT))
		return TC_ACT_UNSPEC;
	c.s = bpf_map_lookup_elem(&request_scratch, &zero);
	c.a = get_judging();
	set = get_settings();
	if (!c.s || !c.a || !set)
		return TC_ACT_UNSPEC;
	p = &c.s->packet;
	if (!packet_own(skb, p, l2, FROM_CLIENT))
		return TC_ACT_UNSPEC;
	/* Whatever is in conns is a service's; only the others and what carries a request need to
	 * ask. */
	conn = bpf_map_lookup_elem(&conns, &p->key);
	syn = (p->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
	if (!conn || p->payload_len || syn) {
		c.service = packet_known_service(p, set->names);
		if (!c.service)
			return TC_ACT_UNSPEC;
	}
	now = now_ns(set);
	c.a->question.now = now;

	if (syn && c.service) {
		struct judgement *j = &c.a->judgement;

		bpf_map_delete_elem(&tombstones, &p->key);
		judge_syn(c.service, p, now);
		if (j->reason && !j->shadow && !may_refuse(set, now)) {
			count(SLUICE_COUNTER_PASSED_LEASE);
			j->reason = SLUICE_REASON_NONE;
		}
		if (j->reason) {
			int verdict = refuse_syn(skb, p, c.service, now);

			if (verdict != TC_ACT_UNSPEC)
				return verdict;
		}
		return syn_options(skb, p) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	}

	if (!conn) {
		t = bpf_map_lookup_elem(&tombstones, &p->key);
		if (t)
			return tombstone_from_client(skb, p, t, now);
		conn = conn_begin(skb, p, c.service, &c.s->fresh, now);
		if (!conn)
			return TC_ACT_UNSPEC;
	}
	c.conn = conn;
	conn->last_seen_ns = now;
	if (p->fragment) {
		c.s->refuse = REFUSE_NOTHING; /* its other bytes come without ports */
		if (c.service)
			request_doubt(c.s, conn, c.service);
		else
			give_up(conn, SLUICE_COUNTER_PASSED_DOUBT);
		return c.s->refuse ? refuse_request(skb, conn, c.service) : TC_ACT_UNSPEC;
	}
	if (p->flags & TCP_RST) {
		if (rst_believed(p->seq, conn->c_next))
			conn_end(&p->key, conn);
		return TC_ACT_UNSPEC;
	}
	conn_acknowledged(conn, p, now);
	if (p->flags & TCP_ACK && seq_diff(p->ack, conn->s_next) > 0 &&
	    !(conn->flags & SLUICE_CONN_UNJUDGED) && conn_unseen(skb, p))
		give_up(conn, SLUICE_COUNTER_UNSEEN_RESPONSES);

	end = p->seq + p->payload_len;
	if (p->payload_len && c.service) {
		if (conn->flags & (SLUICE_CONN_UNJUDGED | SLUICE_CONN_SERVER_FIN)) {
			if (seq_diff(end, conn->c_next) > 0)
				conn->c_next = end;
		} else if (conn->flags & SLUICE_CONN_OPAQUE ||
			   (!conn->exchange_tail && found_opaque(&c, p))) {
			opaque_bytes(&c, p);
		} else {
			int verdict = request_bytes(&c);

			if (verdict != TC_ACT_UNSPEC)
				return verdict;
		}
	}
	if (p->flags & TCP_FIN && end == conn->c_next) {
		conn->c_next++;
		conn_set(conn, SLUICE_CONN_CLIENT_FIN);
		if (conn->flags & SLUICE_CONN_SERVER_FIN)
			conn_end(&p->key, conn);
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
