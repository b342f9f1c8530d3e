/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the daemon does to budgets that a fleet shares: it reads what was used, and puts in what the
 * store has answered (abi_fleet.h). It runs here and not in the daemon, because a write from there
 * replaces an entry, and loses what was charged meanwhile. BPF_PROG_TEST_RUN runs it on a packet
 * that begins with the number of items in fleet_batch. The program is never attached.
 *
 * A charge adds to `used`, and then moves the TAT by compare-and-swap. So this program reads the
 * TAT first. If a charge comes in between, the swap here fails and is tried again; or the charge's
 * own swap fails, and moves the new TAT, in which it is counted already. The next answer corrects
 * that.
 */
#include <sluice/fleet.h>

#include "count.h"

#define SWAP_TRIES 64

struct sync {
	struct sluice_budget *budget;
	struct sluice_fleet_units *units;
	__u64 *tat;
	__u64 now, level, interval, most;
	__u32 raise, pad;
};

/* Reads after all that was read before, on any CPU. */
#define READ_AFTER(pointer) __sync_fetch_and_add(pointer, 0)

static long swap_step(__u32 i, struct sync *x)
{
	__u64 tat = READ_AFTER(x->tat), next;
	__s32 unsynced = READ_AFTER(&x->units->used) - x->units->settled;

	next = x->now + fleet_level(x->level, unsynced, x->interval, x->most);
	if (x->raise && next <= tat)
		return 1;
	return __sync_val_compare_and_swap(x->tat, tat, next) == tat;
}

static __always_inline void set_tat(struct sync *x, const struct sluice_fleet_item_units *in)
{
	x->level = in->level_ns;
	if (!swap_step(0, x))
		bpf_loop(SWAP_TRIES, swap_step, x, 0);
}

static __always_inline void collect(struct sluice_fleet_item_units *out,
				    struct sluice_fleet_units *units, __u64 tat, __u64 now)
{
	out->wanted = __sync_lock_test_and_set(&units->wanted, 0);
	out->used = READ_AFTER(&units->used);
	out->settled = units->settled;
	out->granted = units->granted;
	out->part = units->part;
	out->level_ns = gcra_spent(tat, now);
}

static __always_inline void apply(struct sync *x, const struct sluice_fleet_item_units *in)
{
	struct sluice_fleet_units *u = x->units;

	if (x->budget->collected)
		u->settled = in->settled;
	u->granted = in->granted;
	u->limit = u->settled + in->granted + in->share;
	if (in->part)
		u->part = in->part;
	set_tat(x, in);
}

/* One kind of units. */
static __always_inline void sync_units(struct sync *x, struct sluice_fleet_item_units *item,
				       __u32 op)
{
	if (!x->interval)
		return;
	if (op == SLUICE_FLEET_COLLECT)
		collect(item, x->units, READ_AFTER(x->tat), x->now);
	else if (op == SLUICE_FLEET_APPLY)
		apply(x, item);
	else
		set_tat(x, item);
}

/* A budget that has not been used yet. */
static __always_inline struct sluice_budget *make_budget(const struct sluice_budget_key *key,
							 __u64 now)
{
	struct sluice_budget full = {.last_seen_ns = now};

	bpf_map_update_elem(&client_state, key, &full, BPF_NOEXIST);
	return bpf_map_lookup_elem(&client_state, key);
}

struct run {
	__u64 now;
};

static long sync_item(__u32 i, struct run *run)
{
	struct sluice_fleet_item *item = bpf_map_lookup_elem(&fleet_batch, &i);
	struct sluice_budget *b;
	struct sluice_quota *q;
	struct sync x = {.now = run->now};
	__u32 op, id;

	if (!item)
		return 1;
	op = item->op;
	id = item->key.quota;
	q = bpf_map_lookup_elem(&quotas, &id);
	b = bpf_map_lookup_elem(&client_state, &item->key);
	item->found = b && q;
	if (op == SLUICE_FLEET_COLLECT)
		__builtin_memset(item->units, 0, sizeof(item->units));
	else if (!b && q)
		b = make_budget(&item->key, run->now);
	if (!b || !q)
		return 0;
	x.budget = b;
	x.raise = op == SLUICE_FLEET_RAISE;
	if (op == SLUICE_FLEET_COLLECT) {
		b->collected = 1;
		__sync_lock_test_and_set(&b->changed, SLUICE_FLEET_UNCHANGED);
	} else if (op == SLUICE_FLEET_APPLY) {
		b->answered_ns = run->now;
	}
	x.units = &b->requests;
	x.tat = &b->request_tat_ns;
	x.interval = q->request_ns;
	x.most = q->request_span_ns;
	sync_units(&x, &item->units[0], op);
	x.units = &b->tokens;
	x.tat = &b->token_tat_ns;
	x.interval = q->token_ns;
	x.most = q->token_most_ns;
	sync_units(&x, &item->units[1], op);
	return 0;
}

SEC("tc")
int fleet_sync(struct __sk_buff *skb)
{
	struct sluice_settings *set = get_settings();
	struct run run = {};
	__u32 count = 0;

	if (!set || bpf_skb_load_bytes(skb, 0, &count, sizeof(count)))
		return TC_ACT_SHOT;
	run.now = now_ns(set);
	return bpf_loop(count, sync_item, &run, 0) < 0 ? TC_ACT_SHOT : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
