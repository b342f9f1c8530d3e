/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See fleet_host.h. */
#include "sim/fleet_host.h"

#include <stdlib.h>

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

/* judge_by_quota() and quota_take() */
uint64_t fleet_host_request(struct fleet_host *h, uint32_t client, uint64_t now_ns, bool *lacks,
			    bool *wakes)
{
	const struct sluice_quota *q = h->quota;
	struct sluice_budget *b = budget_of(h, client, true, now_ns);
	struct sluice_fleet_units *u = b ? &b->requests : NULL;
	bool fresh = now_ns < h->fleet.fresh_until_ns;
	uint64_t wait, cost = q->request_ns;

	*lacks = *wakes = false;
	if (!b)
		return 0;
	wait = gcra_wait(b->request_tat_ns, now_ns, q->request_ns, q->request_span_ns);
	if (wait)
		return wait;
	if (!fresh) {
		cost = fleet_away_cost(&h->fleet, u, cost);
	} else if (fleet_idle(b, u, now_ns)) {
		u->limit = u->settled + fleet_share(gcra_left(b->request_tat_ns, now_ns,
							      q->request_ns, q->request_span_ns),
						    h->fleet.hosts);
	} else if (fleet_exhausted(u)) {
		u->wanted++;
		*lacks = true;
		*wakes = report(h, client, b, SLUICE_FLEET_LOW);
		return FLEET_WAIT_NS;
	}
	u->used++;
	b->last_seen_ns = now_ns;
	b->request_tat_ns = gcra_charge(b->request_tat_ns, now_ns, cost, 1, FLEET_COST_MAX);
	*wakes = report(h, client, b,
			fresh && fleet_low(u) ? SLUICE_FLEET_LOW : SLUICE_FLEET_CHANGED);
	return 0;
}

static void set_tat(const struct fleet_host *h, struct sluice_budget *b, uint64_t level, bool raise,
		    uint64_t now)
{
	const struct sluice_fleet_units *u = &b->requests;
	uint64_t next = now + fleet_level(level, (int32_t)(u->used - u->settled),
					  h->quota->request_ns, h->quota->request_span_ns);

	if (!raise || next > b->request_tat_ns)
		b->request_tat_ns = next;
}

static void collect(struct sluice_fleet_item_units *out, struct sluice_budget *b, uint64_t now)
{
	struct sluice_fleet_units *u = &b->requests;

	b->collected = 1;
	b->changed = SLUICE_FLEET_UNCHANGED;
	*out = (struct sluice_fleet_item_units){
		.level_ns = gcra_spent(b->request_tat_ns, now),
		.used = u->used,
		.settled = u->settled,
		.granted = u->granted,
		.wanted = u->wanted,
		.part = u->part,
	};
	u->wanted = 0;
}

static void apply(const struct fleet_host *h, struct sluice_budget *b,
		  const struct sluice_fleet_item_units *in, uint64_t now)
{
	struct sluice_fleet_units *u = &b->requests;

	b->answered_ns = now;
	if (b->collected)
		u->settled = in->settled;
	u->granted = in->granted;
	u->limit = u->settled + in->granted + in->share;
	if (in->part)
		u->part = in->part;
	set_tat(h, b, in->level_ns, false, now);
}

void fleet_host_run(struct fleet_host *h, struct sluice_fleet_item *items, size_t count,
		    uint64_t now_ns)
{
	for (size_t i = 0; i < count; i++) {
		struct sluice_fleet_item *item = &items[i];
		uint32_t client = fleet_client_number(&item->key.client);
		struct sluice_budget *b = budget_of(h, client, false, now_ns);

		item->found = b != NULL;
		if (item->op == SLUICE_FLEET_COLLECT) {
			item->units[0] = item->units[1] = (struct sluice_fleet_item_units){0};
			if (b)
				collect(&item->units[0], b, now_ns);
			continue;
		}
		b = budget_of(h, client, true, now_ns);
		if (b && item->op == SLUICE_FLEET_APPLY)
			apply(h, b, &item->units[0], now_ns);
		else if (b)
			set_tat(h, b, item->units[0].level_ns, true, now_ns);
	}
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
