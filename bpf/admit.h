/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict: one function for requests, one for SYNs, and the places that admitted requests hold. The order is
 * operator, blocked client, (quota, client share,) limit, flag; a refused request takes and is charged nothing.
 * What a verdict becomes on the wire is not decided here.
 */
#ifndef SLUICE_BPF_ADMIT_H
#define SLUICE_BPF_ADMIT_H

#include "count.h"
#include "packet.h"

/* What is asked of judge_request(). */
struct question {
	struct sluice_client client;
	__u8 addr[16]; /* the client's whole address */
	__u64 now;
	__u32 model;
	__u32 take;
};

struct judgement {
	__u32 retry_after_ms;
	__u8 reason; /* NONE: admit */
	__u8 action;
	__u8 shadow;
	__u8 pad;
};

#define RETRY_AFTER_MAX_MS 3600000 /* told where a block has no end */

static __always_inline __u32 ms_until(__u64 expires_ns, __u64 now)
{
	__u64 ms;

	if (!expires_ns)
		return RETRY_AFTER_MAX_MS;
	ms = (expires_ns - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
	return ms > 0xffffffff ? 0xffffffff : ms;
}

static __always_inline bool in_force(__u64 expires_ns, __u64 now)
{
	return !expires_ns || now < expires_ns;
}

/* The client of an address: cut to the service's prefix length. */
static __always_inline void client_of_address(const __u8 addr[16], bool ipv6,
					      const struct sluice_service *service,
					      struct sluice_client *out)
{
	__u32 plen = ipv6 ? service->client_plen6 : 96 + service->client_plen4;
	__u64 *half = (__u64 *)out->addr;

	__builtin_memset(out, 0, sizeof(*out));
	__builtin_memcpy(out->addr, addr, 16);
	out->plen = plen;
	if (plen < 64) {
		half[0] &= plen ? bpf_cpu_to_be64(~0ULL << (64 - plen)) : 0;
		half[1] = 0;
	} else if (plen < 128) {
		half[1] &= plen > 64 ? bpf_cpu_to_be64(~0ULL << (128 - plen)) : 0;
	}
}

/* The class of an address's longest prefix, PLAIN if it has none in force. */
static __always_inline __u8 prefix_class(const __u8 addr[16], __u64 now, struct sluice_prefix **found)
{
	struct sluice_prefix_key key = { .plen = 128 };
	struct sluice_prefix *prefix;

	__builtin_memcpy(key.addr, addr, 16);
	prefix = bpf_map_lookup_elem(&client_prefixes, &key);
	if (!prefix || !in_force(prefix->expires_ns, now))
		return SLUICE_PREFIX_PLAIN;
	*found = prefix;
	return prefix->class;
}

static __always_inline struct sluice_client_flag *client_flag(const struct sluice_client *client,
							      __u32 model, __u64 now)
{
	struct sluice_client_flag_key key = { .client = *client, .model = model };
	struct sluice_client_flag *flag = bpf_map_lookup_elem(&client_flags, &key);

	return flag && in_force(flag->expires_ns, now) ? flag : NULL;
}

static __always_inline void judge_by_flag(struct judgement *j, const struct sluice_model_flag *flag,
					  __u64 now)
{
	if (j->reason || flag->allow || !in_force(flag->expires_ns, now))
		return;
	j->reason = flag->reason;
	j->retry_after_ms = flag->retry_after_ms;
}

static __always_inline void judge_by_limit(struct judgement *j, const struct sluice_model_flag *flag,
					   const struct sluice_model_state *state)
{
	if (j->reason || !flag->limit || state->in_flight < (__s64)flag->limit)
		return;
	j->reason = SLUICE_REASON_IN_FLIGHT;
	j->retry_after_ms = flag->limit_retry_ms;
}

/* Takes a place if `limit` (0: none) leaves one; exact on all CPUs. */
static __always_inline bool take_place(struct sluice_model_state *state, __u32 limit)
{
	__s64 before = __sync_fetch_and_add(&state->in_flight, 1);

	if (!limit || before < (__s64)limit)
		return true;
	__sync_fetch_and_add(&state->in_flight, -1);
	return false;
}

static __always_inline struct sluice_model_flag *model_flag(__u32 model)
{
	return bpf_map_lookup_elem(&model_flags, &model);
}

static __always_inline struct sluice_model_state *model_counts(__u32 model)
{
	return bpf_map_lookup_elem(&model_state, &model);
}

/* The action and the mode: the model's own, else the whole's, else the service's. */
static __always_inline void judge_how(struct judgement *j, const struct sluice_service *service,
				      const struct sluice_model_flag *all,
				      const struct sluice_model_flag *own)
{
	__u8 mode = own->mode ? own->mode : all->mode ? all->mode : service->mode;

	if (!j->action)
		j->action = own->action ? own->action : all->action ? all->action : service->action;
	j->shadow = mode == SLUICE_MODE_SHADOW;
}

/*
 * Judges a request of q->client for q->model: j->reason is NONE if it is admitted. q->take: this is the last time,
 * and where it is admitted its places are taken. A request for the whole (SLUICE_MODEL_ALL) asks what is
 * known before the model is.
 */
SUBPROG int judge_request(const struct sluice_service *service, const struct question *q,
			  struct judgement *j)
{
	struct sluice_model_state *all_state = model_counts(SLUICE_MODEL_ALL), *own_state;
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL), *own;
	struct sluice_prefix *prefix = NULL;
	struct sluice_client_flag *said;
	bool favoured = false;
	__u32 model;
	__u8 class;
	__u64 now;

	if (!service || !q || !j)
		return 0;
	__builtin_memset(j, 0, sizeof(*j));
	now = q->now;
	model = q->model;
	own = model_flag(model);
	own_state = model_counts(model);
	if (!all || !own || !all_state || !own_state)
		return 0;

	class = prefix_class(q->addr, now, &prefix);
	if (class == SLUICE_PREFIX_EXEMPT) {
		favoured = true;
	} else {
		if (all->reason == SLUICE_REASON_OPERATOR)
			judge_by_flag(j, all, now);
		if (own->reason == SLUICE_REASON_OPERATOR)
			judge_by_flag(j, own, now);
		said = client_flag(&q->client, model, now);
		if (!said && model != SLUICE_MODEL_ALL)
			said = client_flag(&q->client, SLUICE_MODEL_ALL, now);
		if (!j->reason && said && said->allow) {
			favoured = true;
		} else if (!j->reason && said) {
			j->reason = said->reason;
			j->retry_after_ms = ms_until(said->expires_ns, now);
			j->action = said->action;
		} else if (!j->reason && class == SLUICE_PREFIX_BLOCKED && prefix) {
			j->reason = SLUICE_REASON_CLIENT_BLOCKED;
			j->retry_after_ms = ms_until(prefix->expires_ns, now);
			j->action = prefix->action;
		}
	}
	if (!favoured) {
		judge_by_limit(j, all, all_state);
		judge_by_limit(j, own, own_state);
		judge_by_flag(j, all, now);
		judge_by_flag(j, own, now);
	}
	judge_how(j, service, all, own);
	if (!q->take || j->reason)
		return 0;
	if (!take_place(all_state, favoured ? 0 : all->limit)) {
		j->reason = SLUICE_REASON_IN_FLIGHT;
		j->retry_after_ms = all->limit_retry_ms;
	} else if (!take_place(own_state, favoured ? 0 : own->limit)) {
		__sync_fetch_and_add(&all_state->in_flight, -1);
		j->reason = SLUICE_REASON_IN_FLIGHT;
		j->retry_after_ms = own->limit_retry_ms;
	} else {
		__sync_fetch_and_add(&all_state->waiting, 1);
		__sync_fetch_and_add(&own_state->waiting, 1);
	}
	return 0;
}

/* Takes places for a request that passes although it was not admitted. */
static __always_inline void hold_places(__u32 model)
{
	struct sluice_model_state *all = model_counts(SLUICE_MODEL_ALL);
	struct sluice_model_state *own = model_counts(model);

	if (!all || !own)
		return;
	__sync_fetch_and_add(&all->in_flight, 1);
	__sync_fetch_and_add(&all->waiting, 1);
	__sync_fetch_and_add(&own->in_flight, 1);
	__sync_fetch_and_add(&own->waiting, 1);
}

/*
 * Judges a SYN: refused only where every request that the connection could carry would be. On an http service that
 * is a blocked client or the operator's word; on an opaque one also its one model's flag.
 */
SUBPROG int judge_syn(const struct sluice_service *service, const struct packet *p, __u64 now,
		      struct judgement *j)
{
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL), *own;
	struct sluice_prefix *prefix = NULL;
	struct sluice_client_flag *said;
	struct sluice_client client;
	__u8 class;

	if (!service || !p || !j)
		return 0;
	__builtin_memset(j, 0, sizeof(*j));
	own = model_flag(service->default_model);
	if (!all || !own)
		return 0;
	class = prefix_class(p->key.client_addr, now, &prefix);
	if (class == SLUICE_PREFIX_EXEMPT)
		return 0;
	client_of_address(p->key.client_addr, p->ipv6, service, &client);
	said = client_flag(&client, SLUICE_MODEL_ALL, now);
	if (!all->allow && all->reason == SLUICE_REASON_OPERATOR) {
		judge_by_flag(j, all, now);
	} else if (said && said->allow) {
		return 0;
	} else if (said) {
		j->reason = said->reason;
		j->action = said->action;
	} else if (class == SLUICE_PREFIX_BLOCKED && prefix) {
		j->reason = SLUICE_REASON_CLIENT_BLOCKED;
		j->action = prefix->action;
	} else if (service->protocol == SLUICE_PROTOCOL_OPAQUE) {
		judge_by_flag(j, all, now);
		judge_by_flag(j, own, now);
	}
	judge_how(j, service, all, own);
	return 0;
}

static __always_inline bool may_refuse(const struct sluice_settings *set, __u64 now)
{
	return set && !set->stopping && now < set->lease_until_ns;
}

static __always_inline void tell(const struct sluice_service *service,
				 const struct sluice_client *client, __u32 model,
				 const struct judgement *j, enum sluice_verdict verdict, bool at_syn,
				 __u64 now)
{
	struct sluice_refusal r = {
		.time_ns = now,
		.client = *client,
		.service = service->id,
		.retry_after_ms = j->retry_after_ms,
		.model = model,
		.reason = j->reason,
		.action = j->action,
		.verdict = verdict,
		.at_syn = at_syn,
	};

	tell_refusal(&r);
}

/* Counts and tells a SYN that is refused. */
SUBPROG int syn_refused(const struct sluice_service *service, const struct packet *p,
			const struct judgement *j, __u64 now)
{
	struct sluice_client client;

	if (!service || !p || !j)
		return 0;
	client_of_address(p->key.client_addr, p->ipv6, service, &client);
	count_client(&client, false, j->reason, service->default_model, now);
	tell(service, &client, service->default_model, j, SLUICE_VERDICT_REJECTED, true, now);
	count_request(service->id, service->default_model,
		      j->action == SLUICE_ACTION_DROP ? SLUICE_VERDICT_SYN_DROPPED
						      : SLUICE_VERDICT_SYN_RESET,
		      j->reason);
	return 0;
}

/* Counts what a client has in flight; entries of clients that have nothing are the daemon's to delete. */
static __always_inline void client_holds(const struct sluice_client *client, __s64 change)
{
	__s64 *n = bpf_map_lookup_elem(&client_in_flight, client), first = change;

	if (n) {
		__sync_fetch_and_add(n, change);
	} else if (change > 0 && bpf_map_update_elem(&client_in_flight, client, &first, BPF_NOEXIST)) {
		n = bpf_map_lookup_elem(&client_in_flight, client);
		if (n)
			__sync_fetch_and_add(n, change);
		else
			count(SLUICE_COUNTER_COUNTS_FULL);
	}
}

/* Gives back what an exchange still holds, once however many ask. */
static __always_inline void release_exchange(struct sluice_conn *conn, struct sluice_exchange *e,
					     bool only_waiting)
{
	__u32 drop = SLUICE_EXCHANGE_WAITING | (only_waiting ? 0 : SLUICE_EXCHANGE_IN_FLIGHT);
	__u32 had = __sync_fetch_and_and(&e->flags, ~drop) & drop;
	struct sluice_model_state *all, *own;
	struct sluice_client client;

	if (!had)
		return;
	client = conn->client;
	all = model_counts(SLUICE_MODEL_ALL);
	own = model_counts(e->model);
	if (!all || !own)
		return;
	if (had & SLUICE_EXCHANGE_WAITING) {
		__sync_fetch_and_add(&all->waiting, -1);
		__sync_fetch_and_add(&own->waiting, -1);
	}
	if (had & SLUICE_EXCHANGE_IN_FLIGHT) {
		client_holds(&client, -1);
		__sync_fetch_and_add(&all->in_flight, -1);
		__sync_fetch_and_add(&own->in_flight, -1);
	}
}

SUBPROG int release_all(struct sluice_conn *conn)
{
	if (!conn)
		return 0;
#pragma unroll
	for (int i = 0; i < SLUICE_EXCHANGES_MAX; i++)
		release_exchange(conn, &conn->exchange[i], false);
	conn->exchange_head = conn->exchange_tail;
	return 0;
}

/* The connection is no longer understood: it passes to its end, holding nothing. */
static __always_inline void give_up(struct sluice_conn *conn, enum sluice_counter why)
{
	if (__sync_fetch_and_or(&conn->flags, SLUICE_CONN_UNJUDGED | SLUICE_CONN_NO_RESPONSES) &
	    SLUICE_CONN_UNJUDGED)
		return;
	release_all(conn);
	count(why);
}

#endif
