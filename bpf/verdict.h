/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict: one function for requests, one for SYNs. The order is operator, blocked client,
 * stalled responses, quota, limits, policy adaptive (with the client's share), flag. A refused
 * request takes no slot and is charged nothing. refuse.h and gate.bpf.c turn the verdict into
 * packets.
 */
#ifndef SLUICE_BPF_VERDICT_H
#define SLUICE_BPF_VERDICT_H

#include "crowd.h"
#include "identity.h"
#include "packet.h"
#include "slots.h"

#define RETRY_AFTER_MAX_MS 3600000 /* the stated wait if a block has no end */

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

/* The class of the key's longest prefix, PLAIN if none is in force. *found: the prefix, or NULL. */
static __always_inline __u8 prefix_class(const struct sluice_prefix_key *key, __u64 now,
					 struct sluice_prefix **found)
{
	struct sluice_prefix *prefix = bpf_map_lookup_elem(&client_prefixes, key);

	*found = prefix; /* also after the rule has expired: its quota does not expire */
	return prefix && in_force(prefix->expires_ns, now) ? prefix->class : SLUICE_PREFIX_PLAIN;
}

static __always_inline struct sluice_client_flag *client_flag(const struct sluice_client *client,
							      __u32 model, __u64 now)
{
	struct sluice_client_flag_key key = {.client = *client, .model = model};
	struct sluice_client_flag *flag = bpf_map_lookup_elem(&client_flags, &key);

	return flag && in_force(flag->expires_ns, now) ? flag : NULL;
}

/* The rule about the key's client and its model, or else about the client and any model. May change
 * the key's model, so that one key is enough. */
static __always_inline struct sluice_client_flag *flag_of_any(struct sluice_client_flag_key *key,
							      const __u64 *now)
{
	struct sluice_client_flag *flag = bpf_map_lookup_elem(&client_flags, key);

	if (flag && in_force(flag->expires_ns, *now))
		return flag;
	key->model = SLUICE_MODEL_ALL;
	flag = bpf_map_lookup_elem(&client_flags, key);
	barrier(); /* clang 19 would keep *now on the stack, for which 6.1 has no space */
	return flag && in_force(flag->expires_ns, *now) ? flag : NULL;
}

static __always_inline void judge_by_flag(struct judgement *j, const struct sluice_model_flag *flag,
					  __u32 model, __u64 now)
{
	if (j->reason || flag->allow || !in_force(flag->expires_ns, now))
		return;
	j->reason = flag->reason;
	j->retry_after_ms =
		flag->expires_ns ? ms_until(flag->expires_ns, now) : flag->retry_after_ms;
	j->about = model;
}

static __always_inline void judge_by_limit(struct judgement *j,
					   const struct sluice_model_flag *flag,
					   const struct sluice_model_state *state, __u32 model)
{
	if (j->reason || !flag->limit || state->in_flight < (__s64)flag->limit)
		return;
	j->reason = SLUICE_REASON_IN_FLIGHT;
	j->retry_after_ms = flag->limit_retry_ms;
	j->about = model;
}

/* Refuses a client with as many stalled responses as it may have, on any model. The total saves the
 * look-up while few responses stall. */
static __always_inline void judge_stalled(struct judging *a)
{
	struct sluice_model_state *all = model_counts(SLUICE_MODEL_ALL);
	struct judgement *j = &a->judgement;
	struct sluice_holding *held;

	if (j->reason || !all || all->stalled < SLUICE_STALLED_MAX)
		return;
	held = client_holding(a, SLUICE_POOL_STALLED);
	if (!held || held->in_flight < SLUICE_STALLED_MAX)
		return;
	j->reason = SLUICE_REASON_STALLED_RESPONSES;
	j->retry_after_ms = SLUICE_STALL_NS / NSEC_PER_MSEC;
	j->about = SLUICE_MODEL_ALL;
}

/*
 * Refuses a client that has hung up on so many requests that they hold half of the slots that the
 * limit leaves its model. It may hang up, but not drive all others out by that.
 */
static __always_inline void judge_departed(struct judging *a, const struct sluice_model_flag *all,
					   const struct sluice_model_flag *own)
{
	struct sluice_model_state *state = model_counts(SLUICE_MODEL_ALL),
				  *pool = model_counts(a->question.pool);
	__u32 limit = own->limit ?: all->limit, part = limit > 1 ? limit / 2 : 1;
	struct judgement *j = &a->judgement;
	struct sluice_holding *held;

	if (j->reason || !limit || !state || !pool || state->departed < part)
		return;
	held = client_holding(a, SLUICE_POOL_DEPARTED);
	if (!held || held->in_flight < part)
		return;
	j->reason = SLUICE_REASON_CLIENT_SHARE;
	j->retry_after_ms = pool->usual_ns / NSEC_PER_MSEC;
	j->about = SLUICE_MODEL_ALL;
}

/* Sets the action and the mode: the model's own, else SLUICE_MODEL_ALL's, else the service's. What
 * the operator closes is closed in mode shadow, too. */
static __always_inline void judge_how(struct judgement *j, const struct sluice_service *service,
				      const struct sluice_model_flag *all,
				      const struct sluice_model_flag *own)
{
	__u8 mode = own->mode ? own->mode : all->mode ? all->mode : service->mode;

	if (!j->action)
		j->action = own->action ? own->action : all->action ? all->action : service->action;
	j->shadow = mode == SLUICE_MODE_SHADOW && j->reason != SLUICE_REASON_OPERATOR;
}

/* The rule about the client: the stricter one of its key's and its address's. *about: the rule's
 * model. */
static __always_inline struct sluice_client_flag *client_rule(struct judging *a, __u32 *about)
{
	struct sluice_client_flag_key *key = &a->key;
	struct question *q = &a->question;
	struct sluice_client_flag *rule, *other;

	key->client = q->client;
	key->model = q->model;
	rule = flag_of_any(key, &q->now);
	*about = key->model;
	/* A block on the key or on the address holds: a rule about the other cannot lift it. */
	if (q->client.kind == SLUICE_CLIENT_KEY && (!rule || rule->allow)) {
		key->client = q->address;
		key->model = q->model;
		other = flag_of_any(key, &q->now);
		if (other && (!rule || !other->allow)) {
			rule = other;
			*about = key->model;
		}
	}
	return rule;
}

/* Judges by the rules about the client and its prefix, and by the operator's flags, which are about
 * all clients. */
static __always_inline void judge_client(struct judging *a, const struct sluice_model_flag *all,
					 const struct sluice_model_flag *own, __u32 empty)
{
	struct question *q = &a->question;
	struct judgement *j = &a->judgement;
	struct sluice_prefix *prefix = NULL;
	struct sluice_client_flag *rule = NULL;
	__u8 class = SLUICE_PREFIX_PLAIN;
	__u32 about = SLUICE_MODEL_ALL;

	if (!(empty & SLUICE_EMPTY_CLIENT_PREFIXES))
		class = prefix_class(&q->prefix, q->now, &prefix);
	q->prefix_quota = prefix ? prefix->quota : 0;
	set_class(a, prefix ? prefix->priority : 0);
	q->weight = prefix ? prefix->weight : 0;
	q->override = SLUICE_OVERRIDE_NONE;
	if (class == SLUICE_PREFIX_EXEMPT && prefix) {
		q->override = SLUICE_OVERRIDE_PREFIX_EXEMPT;
		a->override_expires_ns = prefix->expires_ns;
		return;
	}
	if (all->reason == SLUICE_REASON_OPERATOR)
		judge_by_flag(j, all, SLUICE_MODEL_ALL, q->now);
	if (own->reason == SLUICE_REASON_OPERATOR)
		judge_by_flag(j, own, q->model, q->now);
	if (j->reason)
		return;
	if (!(empty & SLUICE_EMPTY_CLIENT_FLAGS))
		rule = client_rule(a, &about);
	if (rule && rule->allow) {
		q->override = SLUICE_OVERRIDE_ALLOWED;
		a->override_expires_ns = rule->expires_ns;
	} else if (rule) {
		q->override = SLUICE_OVERRIDE_BLOCKED;
		a->override_expires_ns = rule->expires_ns;
		j->reason = rule->reason;
		j->retry_after_ms = ms_until(rule->expires_ns, q->now);
		j->action = rule->action;
		j->about = about;
	} else if (class == SLUICE_PREFIX_BLOCKED && prefix) {
		q->override = SLUICE_OVERRIDE_PREFIX_BLOCKED;
		a->override_expires_ns = prefix->expires_ns;
		j->reason = SLUICE_REASON_CLIENT_BLOCKED;
		j->retry_after_ms = ms_until(prefix->expires_ns, q->now);
		j->action = prefix->action;
	}
}

static __always_inline void judge_entry_limit(struct judging *a, __u32 id)
{
	struct sluice_model_state *state = model_counts(id);
	struct sluice_model_flag *flag = model_flag(id);

	if (state && flag)
		judge_by_limit(&a->judgement, flag, state,
			       id == SLUICE_MODEL_ALL ? id : a->question.model);
}

static __always_inline void judge_entry_flag(struct judging *a, __u32 id)
{
	struct sluice_model_flag *flag = model_flag(id);

	if (flag)
		judge_by_flag(&a->judgement, flag, id, a->question.now);
}

/* Judges by policy adaptive on the load as it is now. take_slots() does the same for a request that
 * takes its slots. */
static __always_inline void judge_policy(struct judging *a, __u32 which)
{
	struct sluice_model_state *state = model_counts(a->question.pool);
	struct sluice_model_flag *pool = model_flag(a->question.pool);

	if (!state || !pool || !pool->admission.floor)
		return;
	measure_pool(a, pool, state);
	if (!judge_by_policy(&a->judgement, &a->question, pool, &a->load))
		return;
	/* Again, since to keep it would take stack that 6.1 has not: judge_load() has 32 bytes. */
	state = model_counts(a->question.pool);
	if (which == JUDGING_PACKET && state)
		refused_by_policy(&a->judgement, &a->question, state);
	else
		a->refused_by_policy = 1;
}

/*
 * Judges by limits, policy and flags on the load as it is now: of SLUICE_MODEL_ALL, the model and
 * its pool. `with_policy` false: no flag is shut, and take_slots() applies the policy.
 */
SUBPROG int judge_load(__u32 which, bool with_policy)
{
	struct judging *a = judging_for(which);

	if (!a)
		return 0;
	judge_entry_limit(a, SLUICE_MODEL_ALL);
	judge_entry_limit(a, a->question.model);
	if (pool_apart(a->question.pool, a->question.model))
		judge_entry_limit(a, a->question.pool);
	if (with_policy)
		judge_policy(a, which);
	judge_entry_flag(a, SLUICE_MODEL_ALL);
	judge_entry_flag(a, a->question.model);
	return 0;
}

/*
 * Judges the question's request. The judgement's reason is NONE if it is admitted. With
 * question.take an admitted request takes its slots and is charged to its quota. A question about
 * SLUICE_MODEL_ALL gets the verdict before the model is known. `which`: enum judging_which.
 * `skipped`: enum sluice_empty, maps to leave out although they have entries.
 */
static __always_inline void judge_now(const struct sluice_service *service, __u32 which,
				      __u32 skipped)
{
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL), *own;
	struct sluice_settings *set = get_settings();
	struct judging *a = judging_for(which);
	struct sluice_quota *quota = NULL;
	struct sluice_budget *budget = NULL;
	struct judgement *j;
	struct question *q;
	__u32 empty;

	if (!set || !a)
		return;
	empty = set->empty | skipped;
	q = &a->question;
	j = &a->judgement;
	__builtin_memset(j, 0, sizeof(*j));
	own = model_flag(q->model);
	if (!all || !own)
		return;
	q->service = service->id;
	q->pool = service->pool ?: own->pool;
	if (service->unary || own->unary)
		q->unstreamed = 0; /* its duration is its TTFT */
	judge_client(a, all, own, empty);
	judge_how(j, service, all, own);
	if (q->override < SLUICE_OVERRIDE_ALLOWED) {
		judge_stalled(a);
		judge_departed(a, all, own);
		if (!j->reason && q->model != SLUICE_MODEL_ALL) {
			__u32 id = quota_of_request(a, service, own, empty, NULL);

			quota = quota_by_id(id);
			if (quota) {
				j->quota = id;
				budget = budget_of(&q->client, id, q->take, q->now, which);
			}
			if (quota && budget)
				judge_by_quota(j, quota, budget, q->now, which);
		}
		if (!q->take || !all->allow || !own->allow || all->limit || own->limit ||
		    pool_apart(q->pool, q->model))
			judge_load(which, !q->take || !all->allow || !own->allow);
	}
	if (!q->take || j->reason)
		return;
	KEEP(a); /* as in take_slots() */
	take_slots(a, q->override < SLUICE_OVERRIDE_ALLOWED);
	if (j->reason || !quota || !budget)
		return;
	charge_request(j, quota, budget, q->now);
	if (j->reason)
		release_slots();
}

/* … in a function of its own, for early consultation and for `predict`. */
SUBPROG int judge_request(const struct sluice_service *service, __u32 which, __u32 skipped)
{
	if (service)
		judge_now(service, which, skipped);
	return 0;
}

/* The client of a SYN's address. It is a SUBPROG so that the verifier walks its branches once. */
SUBPROG int syn_client(const struct sluice_conn_key *conn, const struct sluice_service *service,
		       struct sluice_client *out)
{
	if (conn && service && out)
		client_of_address(conn->client_addr, service, out);
	return 0;
}

/* Refuses a further connection of a client with many, while conns is nearly full. */
static __always_inline void judge_crowd(struct judgement *j, const struct sluice_client *client)
{
	if (conns_counted(SLUICE_CONNS_ALL) >= SLUICE_CONNS_CROWDED(conns_max) &&
	    conns_counted(conn_bucket(client)) >= SLUICE_CONNS_CLIENT_MAX(conns_max))
		j->reason = SLUICE_REASON_CLIENT_SHARE;
}

/*
 * Judges a SYN to `service` from the client's address in `conn`. It is refused only if every
 * request on the connection would be. On an http service that needs a blocked client or the
 * operator's flag. On an opaque service the flag of its one model is enough, too. A client whose
 * connections crowd others out gets no further one; a trusted proxy is no client. `which`: enum
 * judging_which.
 */
SUBPROG int judge_syn(const struct sluice_service *service, const struct sluice_conn_key *conn,
		      __u64 now, __u32 which)
{
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL), *own;
	struct sluice_prefix_key key = {.plen = 128};
	struct judging *a = judging_for(which);
	struct sluice_prefix *prefix = NULL;
	struct sluice_client_flag *rule;
	struct sluice_client client;
	struct judgement *j;
	bool proxy;
	__u8 class;

	if (!service || !conn || !a)
		return 0;
	j = &a->judgement;
	__builtin_memset(j, 0, sizeof(*j));
	a->question.override = SLUICE_OVERRIDE_NONE;
	own = model_flag(service->default_model);
	if (!all || !own)
		return 0;
	__builtin_memcpy(key.addr, conn->client_addr, 16);
	class = prefix_class(&key, now, &prefix);
	if (class == SLUICE_PREFIX_EXEMPT && prefix) {
		a->question.override = SLUICE_OVERRIDE_PREFIX_EXEMPT;
		a->override_expires_ns = prefix->expires_ns;
		return 0;
	}
	syn_client(conn, service, &client);
	rule = client_flag(&client, SLUICE_MODEL_ALL, now);
	proxy = trusted(conn->client_addr, service);
	if (proxy) { /* a proxy: its requests are other clients' */
		rule = NULL;
		class = SLUICE_PREFIX_PLAIN;
	}
	if (service->protocol == SLUICE_PROTOCOL_OPAQUE && !all->allow &&
	    all->reason == SLUICE_REASON_OPERATOR) {
		judge_by_flag(j, all, SLUICE_MODEL_ALL, now);
	} else if (rule) {
		a->question.override =
			rule->allow ? SLUICE_OVERRIDE_ALLOWED : SLUICE_OVERRIDE_BLOCKED;
		a->override_expires_ns = rule->expires_ns;
		if (rule->allow)
			return 0;
		j->reason = rule->reason;
		j->action = rule->action;
		j->named = 1;
	} else if (class == SLUICE_PREFIX_BLOCKED && prefix) {
		a->question.override = SLUICE_OVERRIDE_PREFIX_BLOCKED;
		a->override_expires_ns = prefix->expires_ns;
		j->reason = SLUICE_REASON_CLIENT_BLOCKED;
		j->action = prefix->action;
	} else if (service->protocol == SLUICE_PROTOCOL_OPAQUE) {
		judge_by_flag(j, all, SLUICE_MODEL_ALL, now);
		judge_by_flag(j, own, service->default_model, now);
	}
	if (!j->reason && !proxy)
		judge_crowd(j, &client);
	judge_how(j, service, all, own);
	return 0;
}

static __always_inline bool may_refuse(const struct sluice_settings *set, __u64 now)
{
	return set && !set->stopping && now < set->lease_until_ns;
}

#endif
