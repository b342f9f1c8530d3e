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
#include "quota.h"

/* What is asked of judge_request(). */
struct question {
	struct sluice_client client;
	struct sluice_client address;	 /* the client that its address is, the same where it shows no key */
	struct sluice_prefix_key prefix; /* the client's whole address */
	__u32 model;
	__u64 now;
	__u32 take;
	/* found out on the way */
	__u32 favoured;	    /* exempt, or allowed by hand: only counted */
	__u32 prefix_quota; /* of the address's prefix */
	__u32 weight;
};

struct judgement {
	__u32 retry_after_ms;
	__u32 quota; /* under which the request falls, 0: none */
	__u32 about; /* the model that it is refused for; SLUICE_MODEL_ALL: it would be for any */
	__u8 reason; /* NONE: admit */
	__u8 action;
	__u8 shadow;
	__u8 named; /* by what was said of this very client */
};

/*
 * The judging under way. Per CPU, since the stack has no room for it on the longest chain of calls, and only parts of a
 * map's value are keys to 6.1: so everything that judges looks it up itself.
 */
struct admission {
	struct question question;
	struct judgement judgement;
	struct sluice_client_flag_key key; /* whatever is asked by client and model */
	struct sluice_refusal refusal;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct admission);
	__uint(max_entries, 1);
} admission __weak SEC(".maps");

static __always_inline struct admission *get_admission(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&admission, &zero);
}

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
static __always_inline void client_of_address(const __u8 addr[16],
					      const struct sluice_service *service,
					      struct sluice_client *out)
{
	const __u32 *word = (const __u32 *)addr;
	bool ipv4 = !word[0] && !word[1] && word[2] == bpf_htonl(0xffff);
	__u32 plen = ipv4 ? 96 + service->client_plen4 : service->client_plen6;
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

/* Whether the service takes this address's word on whom it speaks for. */
static __always_inline bool trusted(const __u8 addr[16], const struct sluice_service *service)
{
	struct sluice_trusted_key key = { .plen = 160, .service = service->id };

	if (!service->forwarded && !service->proxy)
		return false;
	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&trusted_proxies, &key) != NULL;
}

/* The class of the key's longest prefix, PLAIN if it has none in force; and the prefix, or NULL. */
static __always_inline __u8 prefix_class(const struct sluice_prefix_key *key, __u64 now,
					 struct sluice_prefix **found)
{
	struct sluice_prefix *prefix = bpf_map_lookup_elem(&client_prefixes, key);

	*found = prefix; /* its quota has no end */
	return prefix && in_force(prefix->expires_ns, now) ? prefix->class : SLUICE_PREFIX_PLAIN;
}

static __always_inline struct sluice_client_flag *client_flag(const struct sluice_client *client,
							      __u32 model, __u64 now)
{
	struct sluice_client_flag_key key = { .client = *client, .model = model };
	struct sluice_client_flag *flag = bpf_map_lookup_elem(&client_flags, &key);

	return flag && in_force(flag->expires_ns, now) ? flag : NULL;
}

/* What was said of the key's client for its model, or else for all of them. Changes the key, so that one is enough. */
static __always_inline struct sluice_client_flag *flag_of_any(struct sluice_client_flag_key *key, __u64 now)
{
	struct sluice_client_flag *flag = bpf_map_lookup_elem(&client_flags, key);

	if (flag && in_force(flag->expires_ns, now))
		return flag;
	key->model = SLUICE_MODEL_ALL;
	flag = bpf_map_lookup_elem(&client_flags, key);
	return flag && in_force(flag->expires_ns, now) ? flag : NULL;
}

static __always_inline __u32 ms_of_ns(__u64 ns)
{
	__u64 ms = (ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;

	return ms > 0xffffffff ? 0xffffffff : ms;
}

static __always_inline void judge_by_flag(struct judgement *j, const struct sluice_model_flag *flag,
					  __u32 model, __u64 now)
{
	if (j->reason || flag->allow || !in_force(flag->expires_ns, now))
		return;
	j->reason = flag->reason;
	j->retry_after_ms = flag->retry_after_ms;
	j->about = model;
}

static __always_inline void judge_by_limit(struct judgement *j, const struct sluice_model_flag *flag,
					   const struct sluice_model_state *state, __u32 model)
{
	if (j->reason || !flag->limit || state->in_flight < (__s64)flag->limit)
		return;
	j->reason = SLUICE_REASON_IN_FLIGHT;
	j->retry_after_ms = flag->limit_retry_ms;
	j->about = model;
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

/* What was said of the client by hand, the strictest of its key and its address; *about: for which model. */
static __always_inline struct sluice_client_flag *said_of_client(struct admission *a, __u32 *about)
{
	struct sluice_client_flag_key *key = &a->key;
	struct question *q = &a->question;
	struct sluice_client_flag *said, *other;

	key->client = q->client;
	key->model = q->model;
	said = flag_of_any(key, q->now);
	*about = key->model;
	/* A block of the one is not got round by the other. */
	if (q->client.kind == SLUICE_CLIENT_KEY && (!said || said->allow)) {
		key->client = q->address;
		key->model = q->model;
		other = flag_of_any(key, q->now);
		if (other && (!said || !other->allow)) {
			said = other;
			*about = key->model;
		}
	}
	return said;
}

/* What is said of the client by hand, or of its prefix; and what is said of everybody by the operator. */
static __always_inline void judge_client(struct admission *a, const struct sluice_model_flag *all,
					 const struct sluice_model_flag *own, __u32 empty)
{
	struct question *q = &a->question;
	struct judgement *j = &a->judgement;
	struct sluice_prefix *prefix = NULL;
	struct sluice_client_flag *said = NULL;
	__u8 class = SLUICE_PREFIX_PLAIN;
	__u32 about = SLUICE_MODEL_ALL;

	if (!(empty & SLUICE_EMPTY_CLIENT_PREFIXES))
		class = prefix_class(&q->prefix, q->now, &prefix);
	q->prefix_quota = prefix ? prefix->quota : 0;
	q->weight = prefix ? prefix->weight : 0;
	q->favoured = class == SLUICE_PREFIX_EXEMPT;
	if (q->favoured)
		return;
	if (all->reason == SLUICE_REASON_OPERATOR)
		judge_by_flag(j, all, SLUICE_MODEL_ALL, q->now);
	if (own->reason == SLUICE_REASON_OPERATOR)
		judge_by_flag(j, own, q->model, q->now);
	if (j->reason)
		return;
	if (!(empty & SLUICE_EMPTY_CLIENT_FLAGS))
		said = said_of_client(a, &about);
	if (said && said->allow) {
		q->favoured = 1;
	} else if (said) {
		j->reason = said->reason;
		j->retry_after_ms = ms_until(said->expires_ns, q->now);
		j->action = said->action;
		j->about = about;
	} else if (class == SLUICE_PREFIX_BLOCKED && prefix) {
		j->reason = SLUICE_REASON_CLIENT_BLOCKED;
		j->retry_after_ms = ms_until(prefix->expires_ns, q->now);
		j->action = prefix->action;
	}
}

/* The quota that the request falls under: of client and model, client, prefix, model, service; 0: none. */
static __always_inline __u32 quota_of_request(struct admission *a, const struct sluice_service *service,
					      const struct sluice_model_flag *own, __u32 empty)
{
	struct question *q = &a->question;
	__u32 id = 0;

	if (!(empty & SLUICE_EMPTY_CLIENT_QUOTAS)) {
		a->key.client = q->client;
		a->key.model = q->model;
		id = quota_of_client(&a->key);
	}
	if (!id)
		id = q->prefix_quota;
	if (!id) {
		id = own->quota ? own->quota : service->quota;
		/* The holder of a key is in no prefix: it would have a second budget wherever it came from. */
		if (q->weight && q->weight != SLUICE_WEIGHT_ONE && q->client.kind == SLUICE_CLIENT_ADDRESS)
			id = weighted_quota(q->weight, id);
	}
	return id;
}

static __always_inline void judge_by_quota(struct judgement *j, const struct sluice_quota *quota,
					   const struct sluice_budget *budget, __u64 now)
{
	bool tokens;
	__u64 wait = quota_wait(quota, budget, now, &tokens);

	if (wait) {
		j->reason = tokens ? SLUICE_REASON_TOKEN_QUOTA : SLUICE_REASON_REQUEST_QUOTA;
		j->retry_after_ms = ms_of_ns(wait);
	}
}

/*
 * Charges a request to its quota. Refuses it after all if another CPU has just taken the last of it; but with
 * `passes` the request passes whatever is left, and at most empties the budget.
 */
static __always_inline void charge_request(struct judgement *j, const struct sluice_quota *quota,
					   struct sluice_budget *budget, __u64 now, bool passes)
{
	__u64 wait = quota_take(quota, budget, now, passes);

	if (wait) {
		j->reason = SLUICE_REASON_REQUEST_QUOTA;
		j->retry_after_ms = ms_of_ns(wait);
	}
}

/* Takes the places of a request that passes although it was not admitted, and charges it. */
SUBPROG int hold_passing(void)
{
	struct admission *a = get_admission();
	struct sluice_model_state *all = model_counts(SLUICE_MODEL_ALL), *own;
	struct sluice_budget *budget;
	struct sluice_quota *quota;

	if (!a || !all)
		return 0;
	own = model_counts(a->question.model);
	if (!own)
		return 0;
	__sync_fetch_and_add(&all->in_flight, 1);
	__sync_fetch_and_add(&all->waiting, 1);
	__sync_fetch_and_add(&own->in_flight, 1);
	__sync_fetch_and_add(&own->waiting, 1);
	quota = quota_by_id(a->judgement.quota);
	if (!quota)
		return 0;
	budget = budget_of(&a->question.client, a->judgement.quota, true, a->question.now);
	if (budget)
		charge_request(&a->judgement, quota, budget, a->question.now, true);
	return 0;
}

/*
 * Judges the request that is asked about: the judgement's reason is NONE if it is admitted. question.take: this is the
 * last time, and where it is admitted its places are taken and its quota charged. A request for the whole
 * (SLUICE_MODEL_ALL) asks what is known before the model is.
 */
SUBPROG int judge_request(const struct sluice_service *service)
{
	struct sluice_model_state *all_state = model_counts(SLUICE_MODEL_ALL), *own_state;
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL), *own;
	struct sluice_settings *set = get_settings();
	struct admission *a = get_admission();
	struct sluice_quota *quota = NULL;
	struct sluice_budget *budget = NULL;
	struct judgement *j;
	struct question *q;
	bool bound;

	if (!service || !set || !a)
		return 0;
	q = &a->question;
	j = &a->judgement;
	__builtin_memset(j, 0, sizeof(*j));
	own = model_flag(q->model);
	own_state = model_counts(q->model);
	if (!all || !own || !all_state || !own_state)
		return 0;
	judge_client(a, all, own, set->empty);
	bound = !q->favoured;
	if (bound && !j->reason && q->model != SLUICE_MODEL_ALL) {
		__u32 id = quota_of_request(a, service, own, set->empty);

		quota = quota_by_id(id);
		if (quota) {
			j->quota = id;
			budget = budget_of(&q->client, id, q->take, q->now);
		}
		if (quota && budget)
			judge_by_quota(j, quota, budget, q->now);
	}
	if (bound) {
		judge_by_limit(j, all, all_state, SLUICE_MODEL_ALL);
		judge_by_limit(j, own, own_state, q->model);
		judge_by_flag(j, all, SLUICE_MODEL_ALL, q->now);
		judge_by_flag(j, own, q->model, q->now);
	}
	judge_how(j, service, all, own);
	if (!q->take || j->reason)
		return 0;
	if (!take_place(all_state, bound ? all->limit : 0)) {
		j->reason = SLUICE_REASON_IN_FLIGHT;
		j->retry_after_ms = all->limit_retry_ms;
		return 0;
	}
	if (!take_place(own_state, bound ? own->limit : 0)) {
		j->reason = SLUICE_REASON_IN_FLIGHT;
		j->retry_after_ms = own->limit_retry_ms;
		j->about = q->model;
	} else {
		if (quota && budget)
			charge_request(j, quota, budget, q->now, false);
		if (j->reason)
			__sync_fetch_and_add(&own_state->in_flight, -1);
	}
	if (j->reason) {
		__sync_fetch_and_add(&all_state->in_flight, -1);
		return 0;
	}
	__sync_fetch_and_add(&all_state->waiting, 1);
	__sync_fetch_and_add(&own_state->waiting, 1);
	return 0;
}

/*
 * Judges a SYN: refused only where every request that the connection could carry would be. On an http service that
 * is a blocked client or the operator's word; on an opaque one also its one model's flag.
 */
SUBPROG int judge_syn(const struct sluice_service *service, const struct packet *p, __u64 now)
{
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL), *own;
	struct sluice_prefix_key key = { .plen = 128 };
	struct admission *a = get_admission();
	struct sluice_prefix *prefix = NULL;
	struct sluice_client_flag *said;
	struct sluice_client client;
	struct judgement *j;
	__u8 class;

	if (!service || !p || !a)
		return 0;
	j = &a->judgement;
	__builtin_memset(j, 0, sizeof(*j));
	own = model_flag(service->default_model);
	if (!all || !own)
		return 0;
	__builtin_memcpy(key.addr, p->key.client_addr, 16);
	class = prefix_class(&key, now, &prefix);
	if (class == SLUICE_PREFIX_EXEMPT)
		return 0;
	client_of_address(p->key.client_addr, service, &client);
	said = client_flag(&client, SLUICE_MODEL_ALL, now);
	if (trusted(p->key.client_addr, service)) { /* its requests are others' */
		said = NULL;
		class = SLUICE_PREFIX_PLAIN;
	}
	if (!all->allow && all->reason == SLUICE_REASON_OPERATOR) {
		judge_by_flag(j, all, SLUICE_MODEL_ALL, now);
	} else if (said && said->allow) {
		return 0;
	} else if (said) {
		j->reason = said->reason;
		j->action = said->action;
		j->named = 1;
	} else if (class == SLUICE_PREFIX_BLOCKED && prefix) {
		j->reason = SLUICE_REASON_CLIENT_BLOCKED;
		j->action = prefix->action;
	} else if (service->protocol == SLUICE_PROTOCOL_OPAQUE) {
		judge_by_flag(j, all, SLUICE_MODEL_ALL, now);
		judge_by_flag(j, own, service->default_model, now);
	}
	judge_how(j, service, all, own);
	return 0;
}

static __always_inline bool may_refuse(const struct sluice_settings *set, __u64 now)
{
	return set && !set->stopping && now < set->lease_until_ns;
}

/*
 * What became of a request, or of a SYN that did not simply pass: counted by service, model and reason and for its
 * client, and told to the daemon if it was, or in shadow mode would have been, refused.
 */
SUBPROG int account(const struct sluice_service *service, __u32 verdict)
{
	struct admission *a = get_admission();
	const struct judgement *j;
	const struct question *q;
	struct sluice_refusal *r;

	if (!service || !a)
		return 0;
	q = &a->question;
	j = &a->judgement;
	r = &a->refusal;
	count_request(service->id, q->model, verdict, j->reason);
	if (verdict != SLUICE_VERDICT_SYN_SHADOW)
		count_client(&q->client, verdict, j->reason, q->model, service->id, q->now,
			     verdict < SLUICE_VERDICT_SYN_RESET || j->named);
	if (verdict == SLUICE_VERDICT_ADMITTED)
		return 0;
	r->client = q->client;
	r->time_ns = q->now;
	r->service = service->id;
	r->retry_after_ms = j->retry_after_ms;
	r->model = q->model;
	r->reason = j->reason;
	r->action = j->action;
	r->verdict = verdict >= SLUICE_VERDICT_SYN_SHADOW  ? SLUICE_VERDICT_SHADOW_REJECTED
		     : verdict >= SLUICE_VERDICT_SYN_RESET ? SLUICE_VERDICT_REJECTED
							   : verdict;
	r->at_syn = verdict >= SLUICE_VERDICT_SYN_RESET;
	if (r->at_syn && r->action == SLUICE_ACTION_REPLY)
		r->action = SLUICE_ACTION_RESET; /* a SYN has nobody to reply to */
	tell_refusal(r);
	return 0;
}

/* Accounts for a SYN that is refused, or in shadow mode would have been. */
SUBPROG int account_syn(const struct sluice_service *service, const struct packet *p, __u64 now)
{
	struct admission *a = get_admission();
	struct question *q;

	if (!service || !p || !a)
		return 0;
	q = &a->question;
	client_of_address(p->key.client_addr, service, &q->client);
	q->model = service->default_model;
	q->now = now;
	account(service, a->judgement.shadow			    ? SLUICE_VERDICT_SYN_SHADOW
			 : a->judgement.action == SLUICE_ACTION_DROP ? SLUICE_VERDICT_SYN_DROPPED
								     : SLUICE_VERDICT_SYN_RESET);
	return 0;
}

/* Counts what a client has in flight; entries of clients that have nothing are the daemon's to delete. */
static __always_inline void hold_client(const struct sluice_client *client, __s64 change)
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

/* The usual end of judging: the request counts by service and model, and for its client, which now holds it. */
SUBPROG int account_admitted(__u32 service)
{
	struct admission *a = get_admission();
	const struct question *q;

	if (!a)
		return 0;
	q = &a->question;
	count_request(service, q->model, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE);
	count_client(&q->client, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, q->model, service, q->now,
		     true);
	hold_client(&q->client, 1);
	return 0;
}

SUBPROG int client_holds(const struct sluice_client *whom, __s64 change)
{
	struct sluice_client client;

	if (!whom)
		return 0;
	client = *whom; /* a key to 6.1 */
	hold_client(&client, change);
	return 0;
}

/* Gives back what an exchange still holds, once however many ask. */
static __always_inline void release_exchange(struct sluice_conn *conn, struct sluice_exchange *e,
					     bool only_waiting)
{
	__u32 drop = SLUICE_EXCHANGE_WAITING | (only_waiting ? 0 : SLUICE_EXCHANGE_IN_FLIGHT);
	__u32 had = __sync_fetch_and_and(&e->flags, ~drop) & drop;
	struct sluice_model_state *all, *own;

	if (!had)
		return;
	all = model_counts(SLUICE_MODEL_ALL);
	own = model_counts(e->model);
	if (!all || !own)
		return;
	if (had & SLUICE_EXCHANGE_WAITING) {
		__sync_fetch_and_add(&all->waiting, -1);
		__sync_fetch_and_add(&own->waiting, -1);
	}
	if (had & SLUICE_EXCHANGE_IN_FLIGHT) {
		client_holds(&e->client, -1);
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
