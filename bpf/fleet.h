/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Budgets that a fleet of hosts shares (abi_fleet.h). No packet waits for the store. While the
 * store answers, a host gives out what it was granted, and a small share that the store learns of
 * later. While it is away, each unit costs more, so that the host gives out its part of the budget.
 * A charge changes `used` before the TAT, and fleet_sync reads them the other way round: so none is
 * lost.
 */
#ifndef SLUICE_BPF_FLEET_H
#define SLUICE_BPF_FLEET_H

#include <sluice/fleet.h>

#include "question.h"

enum fleet_kind { FLEET_NONE, FLEET_REQUESTS, FLEET_TOKENS };

struct charge {
	__u64 now, interval, span;
	__u64 cost; /* ns that are charged, or given back */
	__u64 most; /* 0: only if `interval` still fits the span */
	__u64 wait;
	__u32 back;          /* 1: `cost` is given back */
	__u32 done, bounded; /* bounded: the charge went to `most` */
	__u32 pad;
};

/* Working memory that does not fit the stack at the end of the longest chain of calls. */
struct quota_scratch {
	struct charge charge;
	struct sluice_fleet_change change; /* its key is that of the budget looked up last */
	struct sluice_budget full;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct quota_scratch);
	__uint(max_entries, JUDGINGS);
} quota_scratch __weak SEC(".maps");

static __always_inline struct quota_scratch *get_quota_scratch(__u32 which)
{
	return bpf_map_lookup_elem(&quota_scratch, &which);
}

static __always_inline struct sluice_fleet *get_fleet(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fleet, &zero);
}

/* Gives an idle budget a new share. An answer that comes meanwhile holds. */
static __always_inline void fleet_renew(const struct sluice_fleet *f, const struct sluice_quota *q,
					struct sluice_budget *b, __u32 kind, __u64 now)
{
	struct sluice_fleet_units *u = kind == FLEET_TOKENS ? &b->tokens : &b->requests;
	__u32 limit = *(volatile __u32 *)&u->limit, settled = u->settled;
	__u64 left;

	if (!fleet_idle(b, u, now))
		return;
	if (kind == FLEET_TOKENS)
		left = gcra_left(b->token_tat_ns, now, q->token_ns, q->token_span_ns);
	else
		left = gcra_left(b->request_tat_ns, now, q->request_ns, q->request_span_ns);
	__sync_val_compare_and_swap(&u->limit, limit, settled + fleet_share(left, f->hosts));
}

/* Tells the daemon of a change, once for each state. If the ring is full, the next change tries
 * again. */
static __always_inline void fleet_report(struct quota_scratch *s, struct sluice_budget *b,
					 __u32 state)
{
	__u32 old = *(volatile __u32 *)&b->changed;
	bool low = state == SLUICE_FLEET_LOW;

	if (old >= state || __sync_val_compare_and_swap(&b->changed, old, state) != old)
		return;
	s->change.low = low;
	if (bpf_ringbuf_output(&fleet_changes, &s->change, sizeof(s->change),
			       low ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP))
		__sync_val_compare_and_swap(&b->changed, state, old);
}

/*
 * Which kind of units this host may not give out now, although the budget has some: none was
 * granted. `which`: enum judging_which; a question changes nothing.
 */
SUBPROG int fleet_lacks(const struct sluice_quota *q, struct sluice_budget *b, __u64 now,
			__u32 which)
{
	struct quota_scratch *s = get_quota_scratch(which);
	struct sluice_fleet *f = get_fleet();
	bool requests, tokens;

	if (!q || !b || !s || !f || now >= f->fresh_until_ns)
		return FLEET_NONE;
	requests =
		q->request_ns && fleet_exhausted(&b->requests) && !fleet_idle(b, &b->requests, now);
	tokens = q->token_ns && fleet_exhausted(&b->tokens) && !fleet_idle(b, &b->tokens, now);
	if (which == JUDGING_PACKET) {
		if (requests)
			__sync_fetch_and_add(&b->requests.wanted, 1);
		if (tokens)
			__sync_fetch_and_add(&b->tokens.wanted, 1);
		if (requests || tokens)
			fleet_report(s, b, SLUICE_FLEET_LOW);
	}
	return requests ? FLEET_REQUESTS : tokens ? FLEET_TOKENS : FLEET_NONE;
}

/*
 * Counts units as used, before they are charged to the TAT; below 0: they are given back. Sets what
 * the charge costs. Returns 0 if there was no grant for them, and they are not used. With `passes`
 * they are used in any case.
 */
SUBPROG int fleet_use(const struct sluice_quota *q, struct sluice_budget *b, __u32 kind,
		      __s32 units, bool passes)
{
	struct quota_scratch *s = get_quota_scratch(JUDGING_PACKET);
	struct sluice_fleet *f = get_fleet();
	struct sluice_fleet_units *u;

	if (!q || !b || !s || !f)
		return 1;
	u = kind == FLEET_TOKENS ? &b->tokens : &b->requests;
	if (s->charge.now >= f->fresh_until_ns) {
		/* What is given back may have cost less when it was charged. */
		if (!s->charge.back)
			s->charge.cost = fleet_away_cost(f, u, s->charge.cost);
		__sync_fetch_and_add(&u->used, units);
		return 1;
	}
	fleet_renew(f, q, b, kind, s->charge.now);
	if ((__s32)(__sync_fetch_and_add(&u->used, units) - u->limit) < 0 || passes)
		return 1;
	__sync_fetch_and_add(&u->used, -units);
	__sync_fetch_and_add(&u->wanted, 1);
	fleet_report(s, b, SLUICE_FLEET_LOW);
	return 0;
}

/* … after the charge: reports it. If it was not done after all, one unit is not used, but the
 * daemon may have counted it meanwhile. */
SUBPROG int fleet_used(struct sluice_budget *b, __u32 kind, bool done)
{
	struct quota_scratch *s = get_quota_scratch(JUDGING_PACKET);
	struct sluice_fleet *f = get_fleet();
	struct sluice_fleet_units *u;
	__u32 state = SLUICE_FLEET_CHANGED;

	if (!b || !s || !f)
		return 0;
	u = kind == FLEET_TOKENS ? &b->tokens : &b->requests;
	if (!done)
		__sync_fetch_and_add(&u->used, -1);
	if (s->charge.now < f->fresh_until_ns && fleet_low(u))
		state = SLUICE_FLEET_LOW;
	fleet_report(s, b, state);
	return 0;
}

#endif
