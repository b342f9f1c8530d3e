/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Budgets: which quota a client's request falls under, what is left of it, and its charge. A charge
 * is one compare-and-swap on one word, exact however many CPUs charge at once. Requests are charged
 * when they are admitted, tokens as they leave. A new client has a full budget. So has a client
 * after the LRU map evicted its state.
 */
#ifndef SLUICE_BPF_QUOTA_H
#define SLUICE_BPF_QUOTA_H

#include <sluice/gcra.h>

#include "fleet.h"

#define CHARGE_TRIES  64 /* each lost try is another CPU's success */
#define CHARGE_MAX_NS (1ULL << 62)

static __always_inline struct sluice_quota *quota_by_id(__u32 id)
{
	return id ? bpf_map_lookup_elem(&quotas, &id) : NULL;
}

static __always_inline bool quota_of_tokens(__u32 id)
{
	struct sluice_quota *q = quota_by_id(id);

	return q && q->token_ns;
}

/* The quota set for the key's client and model, or else for that client and all models; 0: none.
 * May change the key's model. */
static __always_inline __u32 quota_of_client(struct sluice_client_flag_key *key)
{
	__u32 *id = bpf_map_lookup_elem(&client_quotas, key);

	if (!id || !*id) {
		key->model = SLUICE_MODEL_ALL;
		id = bpf_map_lookup_elem(&client_quotas, key);
	}
	return id ? *id : 0;
}

/* The quota of a client of this weight, if `id` is the quota of weight one. */
static __always_inline __u32 weighted_quota(__u32 weight, __u32 id)
{
	struct sluice_weighted_key key = {.weight = weight, .quota = id};
	__u32 *own = id ? bpf_map_lookup_elem(&weighted_quotas, &key) : NULL;

	return own ? *own : id;
}

/* Where the quota of a request is set, for the answers of `predict`. */
struct quota_source {
	__u32 whole; /* the quota that the client has a weighted part of; 0: none */
	__u32 from;  /* enum sluice_quota_from */
};

/* The quota that the request falls under: the first that is set of client and model, client,
 * prefix, model, service; 0: none. `source`: output, where it is set; NULL for a packet. */
static __always_inline __u32 quota_of_request(struct judging *a,
					      const struct sluice_service *service,
					      const struct sluice_model_flag *own, __u32 empty,
					      struct quota_source *source)
{
	struct question *q = &a->question;
	__u32 id = 0, whole = 0, from = SLUICE_QUOTA_FROM_NONE;

	if (!(empty & SLUICE_EMPTY_CLIENT_QUOTAS)) {
		a->key.client = q->client;
		a->key.model = q->model;
		id = quota_of_client(&a->key);
		from = a->key.model == SLUICE_MODEL_ALL ? SLUICE_QUOTA_FROM_CLIENT
							: SLUICE_QUOTA_FROM_CLIENT_MODEL;
	}
	if (!id) {
		id = q->prefix_quota;
		from = SLUICE_QUOTA_FROM_PREFIX;
	}
	if (!id) {
		id = own->quota ? own->quota : service->quota;
		from = own->quota ? SLUICE_QUOTA_FROM_MODEL : SLUICE_QUOTA_FROM_SERVICE;
		/* A client known by its key has no weight from its prefix: else it would have one
		 * more budget for each prefix that it connects from. */
		if (q->weight && q->weight != SLUICE_WEIGHT_ONE &&
		    q->client.kind == SLUICE_CLIENT_ADDRESS) {
			whole = id;
			id = weighted_quota(q->weight, id);
		}
	}
	if (source) {
		source->whole = whole != id ? whole : 0;
		source->from = id ? from : SLUICE_QUOTA_FROM_NONE;
	}
	return id;
}

/* What a client has spent of a quota; NULL: no entry. `make`: make a full budget if there is none.
 * `which`: enum judging_which. */
static __always_inline struct sluice_budget *
budget_of(const struct sluice_client *client, __u32 quota, bool make, __u64 now, __u32 which)
{
	struct quota_scratch *s = get_quota_scratch(which);
	struct sluice_budget *budget;

	if (!s)
		return NULL;
	KEEP(s);
	__builtin_memset(&s->change.key, 0, sizeof(s->change.key));
	s->change.key.client = *client;
	s->change.key.quota = quota;
	budget = bpf_map_lookup_elem(&client_state, &s->change.key);
	if (!budget && make) {
		KEEP(s);
		__builtin_memset(&s->full, 0, sizeof(s->full));
		s->full.last_seen_ns = now;
		bpf_map_update_elem(&client_state, &s->change.key, &s->full, BPF_NOEXIST);
		budget = bpf_map_lookup_elem(&client_state, &s->change.key);
		if (!budget)
			count(SLUICE_COUNTER_BUDGETS_LOST);
	}
	return budget;
}

struct charge_context {
	__u64 *tat;
	struct charge *charge;
};

/* One try to charge a budget's word. 1: it settled c->done or c->wait; 0: another CPU was first. */
static __always_inline long charge_try(__u64 *word, struct charge *c)
{
	__u64 tat = *word, next;

	if (!c->most) {
		c->wait = gcra_wait(tat, c->now, c->interval, c->span);
		if (c->wait)
			return 1;
		next = gcra_charge(tat, c->now, c->cost, 1, CHARGE_MAX_NS);
	} else if (c->back) {
		next = gcra_give_back(tat, c->now, c->cost, 1);
	} else {
		next = gcra_charge(tat, c->now, c->cost, 1, c->most);
		c->bounded = next == c->now + c->most;
	}
	if (__sync_val_compare_and_swap(word, tat, next) != tat)
		return 0;
	c->done = 1;
	return 1;
}

static long charge_step(__u32 i, struct charge_context *ctx)
{
	return charge_try(ctx->tat, ctx->charge);
}

/* Charges a budget's word by c. The first try nearly always settles it. */
static __always_inline void charge(__u64 *word, struct charge *c)
{
	struct charge_context ctx = {.tat = word, .charge = c};

	c->wait = c->done = c->bounded = 0;
	if (!charge_try(word, c))
		bpf_loop(CHARGE_TRIES, charge_step, &ctx, 0);
}

/* Nanoseconds until the quota admits a request; 0: now. *tokens: output, whether the tokens decide
 * that and not the requests. */
static __always_inline __u64 quota_wait(const struct sluice_quota *q, const struct sluice_budget *b,
					__u64 now, bool *tokens)
{
	__u64 wait = q->request_ns
			     ? gcra_wait(b->request_tat_ns, now, q->request_ns, q->request_span_ns)
			     : 0;
	__u64 token_wait =
		q->token_ns ? gcra_wait(b->token_tat_ns, now, q->token_ns, q->token_span_ns) : 0;

	*tokens = token_wait > wait;
	return *tokens ? token_wait : wait;
}

/*
 * Charges one request. Returns 0, or the nanoseconds to wait if nothing was charged. With `passes`
 * the request is charged in any case, down to an empty budget.
 */
static __always_inline __u64 quota_take(const struct sluice_quota *q, struct sluice_budget *b,
					__u64 now, bool passes)
{
	struct quota_scratch *s = get_quota_scratch(JUDGING_PACKET);
	struct charge *c;

	b->last_seen_ns = now;
	if (!q->request_ns || !s)
		return 0;
	c = &s->charge;
	c->now = now;
	c->interval = c->cost = q->request_ns;
	c->span = q->request_span_ns;
	c->back = 0;
	c->most = passes ? q->request_span_ns : 0;
	if (q->fleet && !fleet_use(q, b, FLEET_REQUESTS, 1, passes))
		return FLEET_WAIT_NS;
	charge(&b->request_tat_ns, c);
	if (q->fleet)
		fleet_used(b, FLEET_REQUESTS, c->done || passes);
	return c->done || passes ? 0 : c->wait ? c->wait : q->request_ns;
}

static __always_inline __u32 ms_of_ns(__u64 ns)
{
	__u64 ms = (ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;

	return ms > 0xffffffff ? 0xffffffff : ms;
}

static __always_inline void judge_by_quota(struct judgement *j, const struct sluice_quota *quota,
					   struct sluice_budget *budget, __u64 now, __u32 which)
{
	bool tokens;
	__u64 wait = quota_wait(quota, budget, now, &tokens);

	if (!wait && quota->fleet) {
		int kind = fleet_lacks(quota, budget, now, which);

		wait = kind ? FLEET_WAIT_NS : 0;
		tokens = kind == FLEET_TOKENS;
	}
	if (wait) {
		j->reason = tokens ? SLUICE_REASON_TOKEN_QUOTA : SLUICE_REASON_REQUEST_QUOTA;
		j->retry_after_ms = ms_of_ns(wait);
	}
}

/* Charges a request to its quota. Refuses it after all if another CPU has just used up the budget.
 */
static __always_inline void charge_request(struct judgement *j, const struct sluice_quota *quota,
					   struct sluice_budget *budget, __u64 now)
{
	__u64 wait = quota_take(quota, budget, now, false);

	if (wait) {
		j->reason = SLUICE_REASON_REQUEST_QUOTA;
		j->retry_after_ms = ms_of_ns(wait);
	}
}

/* Charges the packet's request to the quota `id`, if that is one, whatever is left of it: the
 * request passes, and at most empties the budget. */
static __always_inline void charge_passing(const struct question *q, __u32 id)
{
	struct sluice_quota *quota = quota_by_id(id);
	struct sluice_budget *budget;

	if (!quota)
		return;
	budget = budget_of(&q->client, id, true, q->now, JUDGING_PACKET);
	if (budget)
		quota_take(quota, budget, q->now, true);
}

/*
 * Charges `tokens` that the server has sent to the client; gives them back if they are below zero.
 * Returns 1 if the debt is bounded now, so that less may have been charged.
 */
SUBPROG int quota_tokens(const struct sluice_client *subject, __u32 id, __s32 tokens, __u64 now)
{
	struct sluice_quota *q = quota_by_id(id);
	struct quota_scratch *s = get_quota_scratch(JUDGING_PACKET);
	struct sluice_budget *b;
	struct charge *c;

	if (!subject || !q || !q->token_ns || !tokens || !s)
		return 0;
	b = budget_of(subject, id, true, now, JUDGING_PACKET);
	if (!b)
		return 0;
	c = &s->charge;
	c->now = now;
	c->back = tokens < 0;
	c->cost = q->token_ns * (c->back ? -(__s64)tokens : tokens);
	c->most = q->token_most_ns;
	if (q->fleet)
		fleet_use(q, b, FLEET_TOKENS, tokens, true);
	charge(&b->token_tat_ns, c);
	if (q->fleet)
		fleet_used(b, FLEET_TOKENS, true);
	return c->bounded;
}

/* … to the quotas of the readings of the connection's last request. */
SUBPROG int reading_tokens(const struct sluice_conn *conn, __s32 tokens, __u64 now)
{
	int bounded = 0;

	if (!conn)
		return 0;
#pragma clang loop unroll(disable)
	for (__u64 i = 0; i < SLUICE_READING_QUOTAS; i++)
		if (conn->reading_quota[i])
			bounded |= quota_tokens(&conn->exchange.client, conn->reading_quota[i],
						tokens, now);
	return bounded;
}

#endif
