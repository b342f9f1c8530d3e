/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See fleet_host.h. */
#include "sim/fleet_host.h"

#include <stdlib.h>
#include <string.h>

#include <sluice/fleet.h>

#include "sim/fleet_store.h"

#define FIRST_CAPACITY 64 /* a power of two */

void fleet_host_free(struct fleet_host *h)
{
	free(h->entries);
	free(h->slots);
	free(h->changes);
}

static uint32_t *slot_of(const struct fleet_host *h, uint32_t client)
{
	uint32_t mask = 2 * h->capacity - 1;
	uint32_t i = client * 2654435761U & mask;

	while (h->slots[i] && h->entries[h->slots[i] - 1].client != client)
		i = (i + 1) & mask;
	return &h->slots[i];
}

static bool grow(struct fleet_host *h)
{
	uint32_t capacity = h->capacity ? 2 * h->capacity : FIRST_CAPACITY;
	struct fleet_entry *entries = realloc(h->entries, capacity * sizeof(*entries));
	uint32_t *slots = calloc(2 * (size_t)capacity, sizeof(*slots));

	if (entries)
		h->entries = entries;
	if (!entries || !slots) {
		free(slots);
		h->failed = true;
		return false;
	}
	free(h->slots);
	h->slots = slots;
	h->capacity = capacity;
	for (uint32_t i = 0; i < h->count; i++)
		*slot_of(h, h->entries[i].client) = i + 1;
	return true;
}

/* NULL: there is none, and `make` is not set, or memory has run out. */
static struct sluice_budget *budget_of(struct fleet_host *h, uint32_t client, bool make,
				       uint64_t now)
{
	uint32_t *slot = h->capacity ? slot_of(h, client) : NULL;

	if (slot && *slot)
		return &h->entries[*slot - 1].budget;
	if (!make || (h->count == h->capacity && !grow(h)))
		return NULL;
	h->entries[h->count] =
		(struct fleet_entry){.client = client, .budget = {.last_seen_ns = now}};
	*slot_of(h, client) = ++h->count;
	return &h->entries[h->count - 1].budget;
}

/* Returns whether the daemon is woken. */
static bool report(struct fleet_host *h, uint32_t client, struct sluice_budget *b, uint32_t state)
{
	if (b->changed >= state)
		return false;
	if (h->change_count == h->change_capacity) {
		size_t capacity = 2 * h->change_capacity + FIRST_CAPACITY;
		struct sluice_fleet_change *changes =
			realloc(h->changes, capacity * sizeof(*changes));

		if (!changes) {
			h->failed = true;
			return false;
		}
		h->changes = changes;
		h->change_capacity = capacity;
	}
	b->changed = state;
	h->changes[h->change_count++] = (struct sluice_fleet_change){
		.key = {.client = fleet_client(client), .quota = FLEET_QUOTA},
		.low = state == SLUICE_FLEET_LOW,
	};
	return state == SLUICE_FLEET_LOW;
}

/* One kind of units of a budget. */
struct kind {
	struct sluice_fleet_units *units;
	__u64 *tat;
	uint64_t interval, span, most; /* interval 0: the quota has none */
};

static struct kind kind_of(const struct fleet_host *h, struct sluice_budget *b, unsigned kind)
{
	const struct sluice_quota *q = h->quota;

	if (kind)
		return (struct kind){&b->tokens, &b->token_tat_ns, q->token_ns, q->token_span_ns,
				     q->token_most_ns};
	return (struct kind){&b->requests, &b->request_tat_ns, q->request_ns, q->request_span_ns,
			     q->request_span_ns};
}

/* fleet_use(), a charge that passes, fleet_used(). Returns whether the daemon is woken. */
static bool use(struct fleet_host *h, uint32_t client, struct sluice_budget *b, unsigned kind,
		uint32_t units, uint64_t now)
{
	struct kind k = kind_of(h, b, kind);
	uint64_t cost = k.interval * units;
	bool fresh = now < h->fleet.fresh_until_ns;

	if (!fresh)
		cost = fleet_away_cost(&h->fleet, k.units, cost);
	else if (fleet_idle(b, k.units, now))
		k.units->limit =
			k.units->settled +
			fleet_share(gcra_left(*k.tat, now, k.interval, k.span), h->fleet.hosts);
	k.units->used += units;
	*k.tat = gcra_charge(*k.tat, now, cost, 1, kind ? k.most : FLEET_COST_MAX);
	return report(h, client, b,
		      fresh && fleet_low(k.units) ? SLUICE_FLEET_LOW : SLUICE_FLEET_CHANGED);
}

/* judge_by_quota() and quota_take() */
uint64_t fleet_host_request(struct fleet_host *h, uint32_t client, uint64_t now_ns, bool *lacks,
			    bool *wakes)
{
	struct sluice_budget *b = budget_of(h, client, true, now_ns);
	uint64_t wait = 0;

	*lacks = *wakes = false;
	if (!b)
		return 0;
	for (unsigned i = 0; i < SLUICE_FLEET_KINDS; i++) {
		struct kind k = kind_of(h, b, i);
		uint64_t ns = k.interval ? gcra_wait(*k.tat, now_ns, k.interval, k.span) : 0;

		wait = ns > wait ? ns : wait;
	}
	if (wait)
		return wait;
	for (unsigned i = 0; i < SLUICE_FLEET_KINDS && now_ns < h->fleet.fresh_until_ns; i++) {
		struct kind k = kind_of(h, b, i);

		if (!k.interval || !fleet_exhausted(k.units) || fleet_idle(b, k.units, now_ns))
			continue;
		k.units->wanted++;
		*lacks = true;
		*wakes |= report(h, client, b, SLUICE_FLEET_LOW);
	}
	if (*lacks)
		return FLEET_WAIT_NS;
	b->last_seen_ns = now_ns;
	if (h->quota->request_ns)
		*wakes = use(h, client, b, 0, 1, now_ns);
	return 0;
}

/* quota_tokens() */
bool fleet_host_tokens(struct fleet_host *h, uint32_t client, uint32_t tokens, uint64_t now_ns)
{
	struct sluice_budget *b = budget_of(h, client, true, now_ns);

	return b && use(h, client, b, 1, tokens, now_ns);
}

static void set_tat(const struct kind *k, uint64_t level, bool raise, uint64_t now)
{
	uint64_t next = now + fleet_level(level, (int32_t)(k->units->used - k->units->settled),
					  k->interval, k->most);

	if (!raise || next > *k->tat)
		*k->tat = next;
}

static void collect(struct sluice_fleet_item_units *out, const struct kind *k, uint64_t now)
{
	*out = (struct sluice_fleet_item_units){
		.level_ns = gcra_spent(*k->tat, now),
		.used = k->units->used,
		.settled = k->units->settled,
		.granted = k->units->granted,
		.wanted = k->units->wanted,
		.part = k->units->part,
	};
	k->units->wanted = 0;
}

static void apply(const struct kind *k, bool collected, const struct sluice_fleet_item_units *in,
		  uint64_t now)
{
	struct sluice_fleet_units *u = k->units;

	if (collected)
		u->settled = in->settled;
	u->granted = in->granted;
	u->limit = u->settled + in->granted + in->share;
	if (in->part)
		u->part = in->part;
	set_tat(k, in->level_ns, false, now);
}

/* sync_item() */
static void run_item(struct fleet_host *h, struct sluice_fleet_item *item, uint64_t now)
{
	uint32_t client = fleet_client_number(&item->key.client);
	struct sluice_budget *b = budget_of(h, client, false, now);

	item->found = b != NULL;
	if (item->op == SLUICE_FLEET_COLLECT)
		memset(item->units, 0, sizeof(item->units));
	else
		b = budget_of(h, client, true, now);
	if (!b)
		return;
	if (item->op == SLUICE_FLEET_COLLECT) {
		b->collected = 1;
		b->changed = SLUICE_FLEET_UNCHANGED;
	} else if (item->op == SLUICE_FLEET_APPLY) {
		b->answered_ns = now;
	}
	for (unsigned i = 0; i < SLUICE_FLEET_KINDS; i++) {
		struct kind k = kind_of(h, b, i);

		if (!k.interval)
			continue;
		if (item->op == SLUICE_FLEET_COLLECT)
			collect(&item->units[i], &k, now);
		else if (item->op == SLUICE_FLEET_APPLY)
			apply(&k, b->collected, &item->units[i], now);
		else
			set_tat(&k, item->units[i].level_ns, true, now);
	}
}

void fleet_host_run(struct fleet_host *h, struct sluice_fleet_item *items, size_t count,
		    uint64_t now_ns)
{
	for (size_t i = 0; i < count; i++)
		run_item(h, &items[i], now_ns);
}

void fleet_host_changes(struct fleet_host *h, struct sync *sync, uint64_t now_ns)
{
	for (size_t i = 0; i < h->change_count; i++)
		sync_changed(sync, &h->changes[i], now_ns);
	h->change_count = 0;
}

void fleet_host_walk(const struct fleet_host *h, struct sync *sync, uint64_t now_ns)
{
	for (uint32_t i = 0; i < h->count; i++) {
		struct sluice_budget_key key = {.client = fleet_client(h->entries[i].client),
						.quota = FLEET_QUOTA};

		sync_walked(sync, &key, &h->entries[i].budget, now_ns);
	}
	sync_walk_ends(sync, now_ns);
}
