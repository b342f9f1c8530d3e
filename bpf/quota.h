/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Budgets: which quota a client's request falls under, what is left of it, and its charge by one compare-and-swap on
 * one word, exact however many CPUs charge it at once. Requests are charged when they are admitted, tokens as they
 * leave. A client whose state is new, or was the longest unused and forgotten, has a full budget.
 */
#ifndef SLUICE_BPF_QUOTA_H
#define SLUICE_BPF_QUOTA_H

#include <sluice/gcra.h>

#include "count.h"

#define CHARGE_TRIES 64 /* each lost try is another CPU's success */

static __always_inline struct sluice_quota *quota_by_id(__u32 id)
{
	return id ? bpf_map_lookup_elem(&quotas, &id) : NULL;
}

static __always_inline __u32 quota_of_client(const struct sluice_client *client, __u32 model)
{
	struct sluice_client_flag_key key = { .client = *client, .model = model };
	__u32 *id = bpf_map_lookup_elem(&client_quotas, &key);

	return id ? *id : 0;
}

/* What a client has spent; made where there is nothing yet and `make` says so. */
static __always_inline struct sluice_budget *budget_of(const struct sluice_client *client, __u32 quota,
						       bool make, __u64 now)
{
	struct sluice_budget_key key = { .client = *client, .quota = quota };
	struct sluice_budget *budget = bpf_map_lookup_elem(&client_state, &key);

	if (!budget && make) {
		struct sluice_budget full = { .last_seen_ns = now };

		bpf_map_update_elem(&client_state, &key, &full, BPF_NOEXIST);
		budget = bpf_map_lookup_elem(&client_state, &key);
		if (!budget)
			count(SLUICE_COUNTER_BUDGETS_LOST);
	}
	return budget;
}

struct charge {
	__u64 *tat;
	__u64 now, interval, span;
	__u64 units, most; /* most 0: only if `interval` still fits the span */
	__u64 wait;
	__u32 done, pad;
};

static long charge_step(__u32 i, struct charge *c)
{
	__u64 tat = *c->tat, next;

	if (!c->most) {
		c->wait = gcra_wait(tat, c->now, c->interval, c->span);
		if (c->wait)
			return 1;
		next = gcra_charge(tat, c->now, c->interval, 1, c->span);
	} else {
		next = gcra_charge(tat, c->now, c->interval, c->units, c->most);
	}
	if (__sync_val_compare_and_swap(c->tat, tat, next) != tat)
		return 0;
	c->done = 1;
	return 1;
}

/* Nanoseconds until the quota would admit a request, by requests and (if *tokens) by tokens; 0: it does. */
static __always_inline __u64 quota_wait(const struct sluice_quota *q, const struct sluice_budget *b,
					__u64 now, bool *tokens)
{
	__u64 wait = q->request_ns ? gcra_wait(b->request_tat_ns, now, q->request_ns,
					       q->request_span_ns)
				   : 0;
	__u64 token_wait =
		q->token_ns ? gcra_wait(b->token_tat_ns, now, q->token_ns, q->token_span_ns) : 0;

	*tokens = token_wait > wait;
	return *tokens ? token_wait : wait;
}

/*
 * Charges one request. 0: done; else the nanoseconds to wait, nothing charged. With `passes` it is charged in any
 * case, down to an empty budget.
 */
static __always_inline __u64 quota_take(const struct sluice_quota *q, struct sluice_budget *b, __u64 now,
					bool passes)
{
	struct charge c = { .tat = &b->request_tat_ns, .now = now, .interval = q->request_ns,
			    .span = q->request_span_ns };

	b->last_seen_ns = now;
	if (!q->request_ns)
		return 0;
	if (passes) {
		c.units = 1;
		c.most = q->request_span_ns;
	}
	bpf_loop(CHARGE_TRIES, charge_step, &c, 0);
	return c.done || passes ? 0 : c.wait ? c.wait : q->request_ns;
}

/* Charges tokens that have left. */
SUBPROG int quota_tokens(const struct sluice_client *whom, __u32 id, __u32 tokens, __u64 now)
{
	struct sluice_quota *q = quota_by_id(id);
	struct charge c = { .now = now, .units = tokens };
	struct sluice_client client;
	struct sluice_budget *b;

	if (!whom || !q || !q->token_ns || !tokens)
		return 0;
	client = *whom;
	b = budget_of(&client, id, true, now);
	if (!b)
		return 0;
	c.tat = &b->token_tat_ns;
	c.interval = q->token_ns;
	c.most = q->token_most_ns;
	bpf_loop(CHARGE_TRIES, charge_step, &c, 0);
	return 0;
}

#endif
