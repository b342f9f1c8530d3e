/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Refusing: the current packet becomes the refusal. A refused request's connection goes on
 * (keep.h), or becomes a tombstone; its packet becomes a RST for the server, then the answer for
 * the client. A refused SYN is dropped or answered with a RST. A framing error is refused, too, if
 * some server may read it, if this one does, or if the service sets `on-framing-error: reset`.
 */
#ifndef SLUICE_BPF_REFUSE_H
#define SLUICE_BPF_REFUSE_H

#include <sluice/api_path.h>

#include "keep.h"
#include "tombstone.h"
#include "verdict.h"

/* Whether the server answers what its client sends there and sluice does not read (conn->unread):
 * it has answered a request of the connection, or such bytes on any. */
static __always_inline bool unread_is_answered(const struct sluice_conn *conn,
					       const struct sluice_service *service)
{
	__u32 id = service->id, *answered = bpf_map_lookup_elem(&unread_answered, &id);

	if (service->on_framing_error != SLUICE_ON_FRAMING_ERROR_AUTO || !answered || !conn->unread)
		return false;
	return *answered & conn->unread ||
	       (!(conn->flags & PASSES) &&
		(conn->exchange_head || conn->flags & SLUICE_CONN_RESPONSE));
}

/*
 * Resets the connection for what its client has sent, if sluice may do so now: where the service is
 * set to that, and where a server may read requests in it that sluice does not see (`readable`), or
 * this one does. Then it waits for the end of a response under way. Returns whether it resets, now
 * or later.
 */
SUBPROG int reset_for_framing(struct request_scratch *s, struct sluice_conn *conn,
			      const struct sluice_service *service, __u32 readable)
{
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL);
	struct sluice_prefix_key key = {.plen = 128};
	struct judging *a = get_judging();
	struct sluice_prefix *prefix = NULL;
	bool answered, under_way;

	if (!s || !conn || !service || !all || !a)
		return 0;
	__builtin_memcpy(key.addr, conn->addr, 16);
	answered = unread_is_answered(conn, service);
	under_way = response_under_way(conn) && !(conn->flags & PASSES);
	if ((answered ||
	     ((readable ||
	       (service->on_framing_error == SLUICE_ON_FRAMING_ERROR_RESET && !under_way)) &&
	      !(conn->flags & PASSES))) &&
	    !(conn->flags & SLUICE_CONN_ADOPTED) && may_refuse(get_settings(), a->question.now) &&
	    (all->mode ? all->mode : service->mode) != SLUICE_MODE_SHADOW &&
	    prefix_class(&key, a->question.now, &prefix) != SLUICE_PREFIX_EXEMPT)
		s->refuse = under_way ? REFUSE_LATER : REFUSE_FRAMING_ERROR;
	return s->refuse != REFUSE_NOTHING;
}

/* A framing error in a client's bytes: the connection is reset, or passes unjudged. `unread`: enum
 * sluice_unread. */
static __always_inline void request_framing_error(struct request_scratch *s,
						  struct sluice_conn *conn,
						  const struct sluice_service *service,
						  __u32 unread, __u32 readable)
{
	if (!(conn->flags & (SLUICE_CONN_ADOPTED | PASSES)))
		conn->unread = unread;
	if (!reset_for_framing(s, conn, service, readable))
		give_up(conn, SLUICE_COUNTER_PASSED_FRAMING_ERROR);
}

/*
 * The refusal of the current packet's request or framing error: what its tombstone would be, in
 * s->tombstone. This function and refuse_by_closing() look the scratch up again: only then does
 * Linux 6.1 take its parts as keys and values of maps, and the stack has no space for copies.
 */
SUBPROG int prepare_refusal(const struct sluice_conn *conn, const struct sluice_service *service)
{
	__u32 zero = 0;
	struct request_scratch *s = bpf_map_lookup_elem(&request_scratch, &zero);
	struct judging *a = get_judging();
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL);
	struct sluice_tombstone *t;
	struct judgement *j;
	struct packet *p;
	bool drained;

	if (!s || !a || !conn || !service || !all)
		return 0;
	p = &s->packet;
	j = &a->judgement;
	drained = j->reason == SLUICE_REASON_OPERATOR;
	t = &s->tombstone;
	if (s->refuse == REFUSE_FRAMING_ERROR)
		j->action = SLUICE_ACTION_RESET;
	__builtin_memset(t, 0, sizeof(*t));
	t->born_ns = t->last_seen_ns = a->question.now;
	t->parts.head.service = service->id;
	t->parts.head.origin = conn->request.key.origin;
	t->parts.reply.model =
		j->reason == SLUICE_REASON_REQUEST_QUOTA || j->reason == SLUICE_REASON_TOKEN_QUOTA
			? j->quota
			: j->about;
	t->parts.reply.reason = j->reason;
	/* Another server may take what this one refuses while it drains: a new connection finds it.
	 */
	t->parts.head.unavailable = drained && all->unavailable;
	t->parts.no_retry = j->retry_after_ms > 60000 && !drained;
	t->parts.api = api_of_path(conn->request.path);
	t->retry_after_ms = j->retry_after_ms;
	t->reply_seq = conn->s_next;
	t->c_ack = conn->c_ack;
	t->c_end = p->seq + p->payload_len + (p->flags & TCP_FIN ? 1 : 0);
	t->rst_seq = conn->c_next;
	if (t->c_ack != t->reply_seq)
		t->flags = SLUICE_TOMBSTONE_DEFERRED;
	return service->keep && j->action == SLUICE_ACTION_REPLY && !drained;
}

/* Refuses the current packet's request or framing error, and closes the connection. Returns the
 * program's verdict. */
SUBPROG int refuse_by_closing(struct __sk_buff *skb, struct sluice_conn *conn,
			      const struct sluice_service *service)
{
	__u32 zero = 0, text_len = 0;
	struct request_scratch *s = bpf_map_lookup_elem(&request_scratch, &zero);
	struct judging *a = get_judging();
	struct sluice_tombstone *t;
	struct forged f = {};
	struct packet *p;

	if (!s || !a || !conn || !service)
		return TC_ACT_UNSPEC;
	p = &s->packet;
	t = &s->tombstone;
	if (a->judgement.action == SLUICE_ACTION_REPLY) {
		text_len = fill_reply(&t->parts, t->retry_after_ms);
		t->reply_end = t->reply_seq + text_len + 1;
		if (!text_len) {
			count(SLUICE_COUNTER_PASSED_NO_ROOM);
		} else if (bpf_map_update_elem(&tombstones, &p->key, t, BPF_ANY)) {
			count(SLUICE_COUNTER_TOMBSTONES_FULL);
			text_len = 0;
		}
	}
	if (s->refuse == REFUSE_FRAMING_ERROR) {
		count(SLUICE_COUNTER_FRAMING_ERROR_RESET);
	} else {
		account(service, SLUICE_VERDICT_REJECTED);
		count(SLUICE_COUNTER_REFUSALS_CLOSED);
	}
	conn_end(&p->key, conn);

	answer_timestamps(skb, p, &f);
	f.seq = p->ack;
	if (reset_server(skb, p, t->rst_seq))
		return TC_ACT_SHOT;
	if (text_len)
		return answer_429(skb, p, t, &f);
	f.flags = TCP_RST;
	return answer_client(skb, p, &f);
}

/* Refuses the current packet's request or framing error. Returns the program's verdict. */
static __always_inline int refuse_request(struct __sk_buff *skb, struct sluice_conn *conn,
					  const struct sluice_service *service)
{
	int verdict = TC_ACT_UNSPEC;

	if (prepare_refusal(conn, service))
		verdict = keep_request(skb, conn, service);
	return verdict == TC_ACT_UNSPEC ? refuse_by_closing(skb, conn, service) : verdict;
}

/* Whether this SYN has passed before: at another hook, or it is a retransmission. */
SUBPROG int syn_again(const struct packet *p)
{
	struct sluice_half_open *half;
	struct sluice_conn_key key;

	if (!p)
		return 0;
	key = p->key;
	half = bpf_map_lookup_elem(&half_open, &key);
	return half && half->client_seq == p->seq + 1;
}

/* Drops a refused SYN, or answers it with a RST. In shadow mode and without a lease it passes, and
 * counts once. Returns the program's verdict. */
SUBPROG int refuse_syn(struct __sk_buff *skb, struct packet *p,
		       const struct sluice_service *service, __u64 now)
{
	struct forged f = {.flags = TCP_RST | TCP_ACK};
	struct judging *a = get_judging();

	if (!p || !service || !a)
		return TC_ACT_UNSPEC;
	if (a->judgement.shadow || !may_refuse(get_settings(), now)) {
		if (syn_again(p))
			return TC_ACT_UNSPEC;
		if (a->judgement.shadow)
			account_syn(service, p, now);
		else
			count(SLUICE_COUNTER_PASSED_LEASE);
		return TC_ACT_UNSPEC;
	}
	f.ack = p->seq + 1 + p->payload_len + (p->flags & TCP_FIN ? 1 : 0);
	account_syn(service, p, now);
	return a->judgement.action == SLUICE_ACTION_DROP ? TC_ACT_SHOT : answer_client(skb, p, &f);
}

/*
 * Handles a segment with data whose connection cannot be in conns, so that nobody passes unjudged
 * because there are too many. Without room it is dropped: the client sends it again until there is
 * some. Where a request was cut, the connection is reset. Returns the program's verdict.
 */
SUBPROG int without_conn(struct __sk_buff *skb, struct packet *p,
			 const struct sluice_service *service, __u32 lack, __u64 now)
{
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL);
	struct sluice_prefix_key key = {.plen = 128};
	struct sluice_prefix *prefix = NULL;
	struct sluice_half_open *half;
	struct sluice_conn_key conn;
	struct forged f = {};

	if (!service || !p || !all || !p->payload_len)
		return TC_ACT_UNSPEC;
	__builtin_memcpy(key.addr, p->key.client_addr, 16);
	if (!may_refuse(get_settings(), now) ||
	    (all->mode ? all->mode : service->mode) == SLUICE_MODE_SHADOW ||
	    prefix_class(&key, now, &prefix) == SLUICE_PREFIX_EXEMPT)
		return TC_ACT_UNSPEC;
	count(SLUICE_COUNTER_CONNS_DROPPED);
	if (lack != LACK_BEGINNING)
		return TC_ACT_SHOT;
	conn = p->key; /* 6.1 takes no part of an argument as a key */
	half = bpf_map_lookup_elem(&half_open, &conn);
	answer_timestamps(skb, p, &f);
	f.seq = p->ack;
	if (!half || reset_server(skb, p, half->client_seq))
		return TC_ACT_SHOT;
	f.flags = TCP_RST;
	return answer_client(skb, p, &f);
}

#endif
