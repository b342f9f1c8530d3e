/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "core/fleet_budget.h"

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void fleet_budget_bound(struct fleet_budget_call *call)
{
	int64_t most = (int64_t)FLEET_BUDGET_MAX_US;

	if (!call->interval_ns)
		call->interval_ns = 1;
	call->interval_ns = least(call->interval_ns, FLEET_BUDGET_MAX_US);
	call->span_us = least(call->span_us, FLEET_BUDGET_MAX_US);
	call->most_us = least(call->most_us, FLEET_BUDGET_MAX_US);
	call->reach_us = least(call->reach_us, FLEET_BUDGET_MAX_US);
	call->claim_us = least(call->claim_us, FLEET_BUDGET_MAX_US);
	call->want = least(call->want, FLEET_UNITS_MAX);
	if (call->charge_us > most)
		call->charge_us = most;
	if (call->charge_us < -most)
		call->charge_us = -most;
}

static uint64_t room_of(const struct fleet_budget_call *call, uint64_t level_us)
{
	return level_us < call->span_us ? least(call->span_us - level_us, FLEET_ROOM_MAX_US) : 0;
}

static uint64_t debt_of(const struct fleet_budget_call *call, uint64_t level_us)
{
	return level_us > call->span_us ? least(level_us - call->span_us, FLEET_ROOM_MAX_US) : 0;
}

/* Bits of the number: they change when its power of two changes. */
static unsigned bits(uint64_t units)
{
	return units ? 64 - (unsigned)__builtin_clzll(units) : 0;
}

void fleet_budget_step(struct fleet_budget *b, const struct fleet_budget_call *call,
		       uint64_t now_us, struct fleet_budget_result *out)
{
	uint64_t before = 0, level, room, units, units_before, debt, debt_before;
	int64_t charge, room_for_it, charged;
	bool low;

	if (b->arrival_us > now_us)
		before = b->arrival_us - now_us;
	else
		*b = (struct fleet_budget){0};
	units_before = room_of(call, before) * 1000 / call->interval_ns;
	debt_before = debt_of(call, before) * 1000 / call->interval_ns;
	level = before > call->claim_us ? before : call->claim_us;
	room_for_it = level < call->reach_us ? (int64_t)(call->reach_us - level) : 0;
	charge = call->charge_us < room_for_it ? call->charge_us : room_for_it;
	charged = (int64_t)level + charge;
	level = charged < 0 ? 0 : least((uint64_t)charged, call->most_us);
	out->granted = least(call->want, room_of(call, level) * 500 / call->interval_ns);
	level += (out->granted * call->interval_ns + 999) / 1000;
	room = room_of(call, level);
	units = room * 1000 / call->interval_ns;
	debt = debt_of(call, level) * 1000 / call->interval_ns;

	low = room * 2 < call->span_us &&
	      (b->owed || bits(units) < bits(units_before) || bits(debt) > bits(debt_before));
	out->announce = (!units && units_before) ||
			(low && now_us - b->announced_us >= FLEET_NEWS_EVERY_US);
	out->level_us = level;
	b->owed = low && !out->announce;
	if (out->announce)
		b->announced_us = now_us;
	b->arrival_us = now_us + level;
	if (!level)
		*b = (struct fleet_budget){0};
}
