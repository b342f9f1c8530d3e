/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict: one function for requests, one for SYNs. The order is operator, blocked client,
 * quota, limits set by hand, the law of policy adaptive (a client's share among it), flag; a
 * refused request takes and is charged nothing. What a verdict becomes on the wire is not decided
 * here.
 */
#ifndef SLUICE_BPF_ADMIT_H
#define SLUICE_BPF_ADMIT_H

#include "count.h"
#include "packet.h"
#include "places.h"
#include "quota.h"

/* What is asked of judge_request(). */
struct question {
	struct sluice_client client;
	struct sluice_client
		address; /* the client that its address is, the same where it shows no key */
	struct sluice_prefix_key prefix; /* the client's whole address */
	__u32 model;
	__u64 now;
	__u32 take;
	__u32 bytes;    /* of the request, as far as it is known */
	__u64 priority; /* the hash of its priority header's value, 0: none */
	/* found out on the way */
	__u32 favoured;     /* exempt, or allowed by hand: only counted */
	__u32 prefix_quota; /* of the address's prefix */
	__u32 weight;       /* of the client, ×256 */
	__u32 class;        /* of its prefix + 1; 0: not said */
	__u32 rank;         /* by its class and its share */
	__u32 service;
	__u32 law;           /* the entry that carries the model's law */
	__u32 ahead, beside; /* as its exchange keeps them */
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
 * The judging under way. Per CPU, since the stack has no room for it on the longest chain of calls,
 * and only parts of a map's value are keys to 6.1: so everything that judges looks it up itself.
 */
struct judging {
	struct question question;
	struct judgement judgement;
	struct sluice_client_flag_key key; /* whatever is asked by client and model */
	struct admission_load load;
	struct sluice_refusal refusal;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct judging);
	__uint(max_entries, 1);
} judging __weak SEC(".maps");

static __always_inline struct judging *get_judging(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&judging, &zero);
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
	struct sluice_trusted_key key = {.plen = 160, .service = service->id};

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
	struct sluice_client_flag_key key = {.client = *client, .model = model};
	struct sluice_client_flag *flag = bpf_map_lookup_elem(&client_flags, &key);

	return flag && in_force(flag->expires_ns, now) ? flag : NULL;
}

/* What was said of the key's client for its model, or else for all of them. Changes the key, so
 * that one is enough. */
static __always_inline struct sluice_client_flag *flag_of_any(struct sluice_client_flag_key *key,
							      __u64 now)
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

/* What was said of the client by hand, the strictest of its key and its address; *about: for which
 * model. */
static __always_inline struct sluice_client_flag *said_of_client(struct judging *a, __u32 *about)
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

/* What is said of the client by hand, or of its prefix; and what is said of everybody by the
 * operator. */
static __always_inline void judge_client(struct judging *a, const struct sluice_model_flag *all,
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
	q->class = prefix ? prefix->priority : 0;
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

/* The quota that the request falls under: of client and model, client, prefix, model, service; 0:
 * none. */
static __always_inline __u32 quota_of_request(struct judging *a,
					      const struct sluice_service *service,
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
		/* The holder of a key is in no prefix: it would have a second budget wherever it
		 * came from. */
		if (q->weight && q->weight != SLUICE_WEIGHT_ONE &&
		    q->client.kind == SLUICE_CLIENT_ADDRESS)
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
 * Charges a request to its quota. Refuses it after all if another CPU has just taken the last of
 * it; but with `passes` the request passes whatever is left, and at most empties the budget.
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

/* A request's class: its header's word, its key's, its prefix's. */
static __always_inline __u32 class_of(struct judging *a)
{
	struct question *q = &a->question;
	struct sluice_client *key = &a->key.client;
	__u32 *class = NULL;

	if (q->priority) {
		__builtin_memset(key, 0, sizeof(*key));
		*(__u64 *)key->addr = q->priority;
		*(__u32 *)(key->addr + 8) = q->service;
		key->kind = SLUICE_CLIENT_HEADER;
		class = bpf_map_lookup_elem(&priorities, key);
	}
	if (!class && q->client.kind == SLUICE_CLIENT_KEY) {
		*key = q->client;
		class = bpf_map_lookup_elem(&priorities, key);
	}
	return class ? *class : q->class ? q->class - 1 : SLUICE_CLASS_NORMAL;
}

/* The weight of a client among those that share a law; the holder of a key is in no prefix. */
static __always_inline __u32 share_weight(const struct question *q)
{
	return q->weight && q->client.kind == SLUICE_CLIENT_ADDRESS ? q->weight : SLUICE_WEIGHT_ONE;
}

/* What the client asked about has of the law; NULL: nothing. */
static __always_inline struct sluice_holding *client_holding(struct judging *a)
{
	a->key.client = a->question.client;
	a->key.model = a->question.law;
	return bpf_map_lookup_elem(&client_in_flight, &a->key);
}

/* Those refused together do not come back together. */
static __always_inline __u32 spread(__u32 ms)
{
	return ms + (((__u64)ms * (bpf_get_prandom_u32() & 127)) >> 8);
}

/*
 * What the law says of one more request on top of `load`. Where one of a client within its share
 * would be admitted, the share is the reason.
 */
static __always_inline void judge_by_law(struct judgement *j, const struct question *q,
					 const struct sluice_model_flag *law,
					 struct sluice_model_state *state,
					 const struct admission_load *load)
{
	const struct sluice_admission *a = &law->admission;
	enum admission_verdict verdict;

	if (j->reason || !a->floor)
		return;
	verdict = admission_judge(a, load, q->bytes, q->rank, q->now);
	if (!verdict)
		return;
	barrier(); /* or what the second call reads again is kept on the stack from the first on */
	if (q->rank & 1 && !admission_judge(a, load, q->bytes, q->rank - 1, q->now))
		j->reason = SLUICE_REASON_CLIENT_SHARE;
	else
		j->reason =
			verdict == ADMISSION_CEILING ? SLUICE_REASON_IN_FLIGHT : SLUICE_REASON_TTFT;
	j->retry_after_ms = spread(law->limit_retry_ms);
	j->about = q->law == SLUICE_MODEL_ALL ? SLUICE_MODEL_ALL : q->model;
	if (q->take || !j->shadow)
		__sync_fetch_and_add(&state->refused[q->rank & (SLUICE_RANKS - 1)], 1);
}

/* Takes a place of one entry and begins to wait there; false, with the reason, if with `bound` its
 * limit leaves none. */
static __always_inline bool take_place(struct judging *a, __u32 id, bool bound)
{
	struct sluice_model_state *state = model_counts(id);
	struct sluice_model_flag *flag = model_flag(id);
	__s64 before;

	if (!state || !flag)
		return false;
	before = __sync_fetch_and_add(&state->in_flight, 1);
	if (bound && flag->limit && before >= (__s64)flag->limit) {
		__sync_fetch_and_add(&state->in_flight, -1);
		a->judgement.reason = SLUICE_REASON_IN_FLIGHT;
		a->judgement.retry_after_ms = flag->limit_retry_ms;
		a->judgement.about = id == SLUICE_MODEL_ALL ? SLUICE_MODEL_ALL : a->question.model;
		return false;
	}
	a->load.in_flight = before < 0 ? 0 : before;
	a->load.waiting = __sync_fetch_and_add(&state->waiting, 1);
	return true;
}

static __always_inline void leave_place(__u32 id)
{
	struct sluice_model_state *state = model_counts(id);

	if (state)
		give_back_to(state, SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_WAITING);
}

/* The law's word on a request that has its place, on top of what was there before: true if it
 * stays. */
static __always_inline bool join_law(struct judging *a, const struct sluice_model_flag *law,
				     struct sluice_model_state *state, bool bound)
{
	struct question *q = &a->question;

	a->load.waiting_bytes = __sync_fetch_and_add(&state->waiting_bytes, q->bytes);
	a->load.since_ns = load_since(state);
	if (bound)
		judge_by_law(&a->judgement, q, law, state, &a->load);
	if (a->judgement.reason) {
		__sync_fetch_and_add(&state->waiting_bytes, -(__s64)q->bytes);
		return false;
	}
	return true;
}

/* It stays: its clock runs, and its exchange will keep what it found. */
static __always_inline void begin_waiting(struct judging *a, const struct sluice_model_flag *law,
					  struct sluice_model_state *state)
{
	struct question *q = &a->question;

	if (a->load.waiting <= 0)
		state->waiting_ns = q->now;
	ages_add(&state->ages, q->now);
	__sync_fetch_and_add(&state->admitted, 1);
	q->ahead = admission_ahead(&law->admission, &a->load, q->bytes, q->now);
	q->beside = a->load.in_flight + 1;
}

/*
 * Takes the request's places, wherever it is counted; all of them or, with the reason in the
 * judgement, none. With `bound` as far as limits and the law leave one. The client's own is the
 * first, so that what it held before is its share; the law's is the last, so that what was there
 * before is its load. A client that has nothing yet begins behind them: who is refused makes no
 * entry.
 */
static __always_inline void take_places(struct judging *a, bool bound)
{
	struct sluice_holding *held, had = {};
	struct sluice_model_state *state;
	struct sluice_model_flag *law;
	struct question *q = &a->question;

	law = model_flag(q->law);
	state = model_counts(q->law);
	if (!law || !state)
		return;
	if (bound && law->admission.floor)
		q->rank = admission_rank(class_of(a), 0);
	held = client_holding(a);
	if (held) {
		had.due = held->due;
		had.in_flight = __sync_fetch_and_add(&held->in_flight, 1);
		if (admission_above_share(&law->admission, &had, share_weight(q), state->admitted))
			q->rank |= 1;
	}
	if (q->law != SLUICE_MODEL_ALL && !take_place(a, SLUICE_MODEL_ALL, bound))
		goto none;
	if (q->law != q->model && !take_place(a, q->model, bound))
		goto all_back;
	if (!take_place(a, q->law, bound))
		goto model_back;
	if (!join_law(a, law, state, bound))
		goto law_back;
	KEEP(state); /* or the addresses of its parts go on the stack, which has 480 bytes used then
			and not 512 */
	begin_waiting(a, law, state);
	if (!held) {
		bpf_map_update_elem(&client_in_flight, &a->key, &had, BPF_NOEXIST);
		held = bpf_map_lookup_elem(&client_in_flight, &a->key);
		if (!held) {
			count(SLUICE_COUNTER_COUNTS_FULL);
			return;
		}
		__sync_fetch_and_add(&held->in_flight, 1);
	}
	/* Two CPUs that let it in at once may put it ahead by one turn: no place rests on that. */
	if (law->admission.turn)
		held->due =
			admission_due(&law->admission, held->due, share_weight(q), state->admitted);
	return;

law_back:
	give_back_to(state, SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_WAITING);
model_back:
	if (q->law != q->model)
		leave_place(q->model);
all_back:
	if (q->law != SLUICE_MODEL_ALL)
		leave_place(SLUICE_MODEL_ALL);
none:
	if (held)
		__sync_fetch_and_add(&held->in_flight, -1);
}

/* Takes the places of a request that passes although it was not admitted, and charges it. */
SUBPROG int hold_passing(void)
{
	struct judging *a = get_judging();
	struct sluice_budget *budget;
	struct sluice_quota *quota;

	if (!a)
		return 0;
	take_places(a, false);
	quota = quota_by_id(a->judgement.quota);
	if (!quota)
		return 0;
	budget = budget_of(&a->question.client, a->judgement.quota, true, a->question.now);
	if (budget)
		charge_request(&a->judgement, quota, budget, a->question.now, true);
	return 0;
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

/* The law's word as things stand; where the request takes its place now, take_places() asks for it.
 */
static __always_inline void judge_law(struct judging *a)
{
	struct sluice_model_state *state = model_counts(a->question.law);
	struct sluice_model_flag *law = model_flag(a->question.law);
	struct question *q = &a->question;
	struct sluice_holding *held;

	if (!state || !law || !law->admission.floor)
		return;
	q->rank = admission_rank(class_of(a), 0);
	if (law->admission.fair || law->admission.turn) {
		held = client_holding(a);
		if (held &&
		    admission_above_share(&law->admission, held, share_weight(q), state->admitted))
			q->rank |= 1;
	}
	a->load.in_flight = state->in_flight;
	a->load.waiting = state->waiting;
	a->load.waiting_bytes = state->waiting_bytes;
	a->load.since_ns = load_since(state);
	judge_by_law(&a->judgement, q, law, state, &a->load);
}

/* Limits, law and flags, as things stand: of the whole, of the model, of its law. */
SUBPROG int judge_load(void)
{
	struct judging *a = get_judging();

	if (!a)
		return 0;
	judge_entry_limit(a, SLUICE_MODEL_ALL);
	judge_entry_limit(a, a->question.model);
	if (law_apart(a->question.law, a->question.model))
		judge_entry_limit(a, a->question.law);
	if (!a->question.take)
		judge_law(a);
	judge_entry_flag(a, SLUICE_MODEL_ALL);
	judge_entry_flag(a, a->question.model);
	return 0;
}

/* Gives back what take_places() has just taken; the turn that its client had under the law stays
 * counted, as the law's own does. */
SUBPROG int leave_places(void)
{
	struct judging *a = get_judging();
	struct question *q;

	if (!a)
		return 0;
	q = &a->question;
	give_back_now(q->model, q->law, q->bytes, q->now,
		      SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_WAITING);
	a->key.client = q->client;
	a->key.model = q->law;
	client_lets_go(&a->key);
	return 0;
}

/*
 * Judges the request that is asked about: the judgement's reason is NONE if it is admitted.
 * question.take: this is the last time, and where it is admitted its places are taken and its quota
 * charged. A request for the whole (SLUICE_MODEL_ALL) asks what is known before the model is.
 */
static __always_inline void judge_now(const struct sluice_service *service)
{
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL), *own;
	struct sluice_settings *set = get_settings();
	struct judging *a = get_judging();
	struct sluice_quota *quota = NULL;
	struct sluice_budget *budget = NULL;
	struct judgement *j;
	struct question *q;

	if (!set || !a)
		return;
	q = &a->question;
	j = &a->judgement;
	__builtin_memset(j, 0, sizeof(*j));
	own = model_flag(q->model);
	if (!all || !own)
		return;
	q->service = service->id;
	q->law = own->law;
	judge_client(a, all, own, set->empty);
	judge_how(j, service, all, own);
	if (!q->favoured) {
		if (!j->reason && q->model != SLUICE_MODEL_ALL) {
			__u32 id = quota_of_request(a, service, own, set->empty);

			quota = quota_by_id(id);
			if (quota) {
				j->quota = id;
				budget = budget_of(&q->client, id, q->take, q->now);
			}
			if (quota && budget)
				judge_by_quota(j, quota, budget, q->now);
		}
		if (!q->take || !all->allow || !own->allow || all->limit || own->limit ||
		    law_apart(q->law, q->model))
			judge_load();
	}
	if (!q->take || j->reason)
		return;
	KEEP(a); /* as in take_places() */
	take_places(a, !q->favoured);
	if (j->reason || !quota || !budget)
		return;
	charge_request(j, quota, budget, q->now, false);
	if (j->reason)
		leave_places();
}

/* … apart, for who asks before the request's end. */
SUBPROG int judge_request(const struct sluice_service *service)
{
	if (service)
		judge_now(service);
	return 0;
}

/*
 * Judges a SYN: refused only where every request that the connection could carry would be. On an
 * http service that is a blocked client or the operator's word; on an opaque one also its one
 * model's flag.
 */
SUBPROG int judge_syn(const struct sluice_service *service, const struct packet *p, __u64 now)
{
	struct sluice_model_flag *all = model_flag(SLUICE_MODEL_ALL), *own;
	struct sluice_prefix_key key = {.plen = 128};
	struct judging *a = get_judging();
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
 * What became of a request, or of a SYN that did not simply pass: counted by service, model and
 * reason and for its client, and told to the daemon if it was, or in shadow mode would have been,
 * refused.
 */
SUBPROG int account(const struct sluice_service *service, __u32 verdict)
{
	struct judging *a = get_judging();
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
	struct judging *a = get_judging();
	struct question *q;

	if (!service || !p || !a)
		return 0;
	q = &a->question;
	client_of_address(p->key.client_addr, service, &q->client);
	q->model = service->default_model;
	q->now = now;
	account(service, a->judgement.shadow                         ? SLUICE_VERDICT_SYN_SHADOW
			 : a->judgement.action == SLUICE_ACTION_DROP ? SLUICE_VERDICT_SYN_DROPPED
								     : SLUICE_VERDICT_SYN_RESET);
	return 0;
}

/* The usual end of judging: the request counts by service and model, and for its client. */
static __always_inline void account_admitted(const struct question *q, __u32 service)
{
	count_admitted(service, q->model);
	count_client(&q->client, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, q->model, service,
		     q->now, true);
}

/* Counts a request that shadow mode would have refused: it takes no place. */
SUBPROG int count_beyond(__u32 model, __u32 law)
{
	struct sluice_model_state *all = model_counts(SLUICE_MODEL_ALL), *own = model_counts(model);
	struct sluice_model_state *ruling = model_counts(law);

	if (!all || !own || !ruling)
		return 0;
	__sync_fetch_and_add(&all->beyond, 1);
	__sync_fetch_and_add(&own->beyond, 1);
	if (law_apart(law, model))
		__sync_fetch_and_add(&ruling->beyond, 1);
	return 0;
}

#define HELD (SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_WAITING | SLUICE_EXCHANGE_BEYOND)

SUBPROG int release_all(struct sluice_conn *conn)
{
	if (!conn)
		return 0;
#pragma unroll
	for (int i = 0; i < SLUICE_EXCHANGES_MAX; i++)
		release(&conn->exchange[i], HELD);
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
