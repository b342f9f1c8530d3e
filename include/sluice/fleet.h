/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a host may give out of a budget that a fleet shares (abi_fleet.h): the decisions of the
 * kernel's half, without its atomics. The programs and the simulator use the same ones.
 */
#ifndef SLUICE_FLEET_DECISIONS_H
#define SLUICE_FLEET_DECISIONS_H

#include <stdbool.h>

#include "abi_quota.h"
#include "gcra.h"

#define FLEET_WAIT_NS  1000000000ULL /* stated wait of a request that lacks a grant */
#define FLEET_COST_MAX (1ULL << 62)
/* Differences of the numbers must keep their sign. */
#define FLEET_SHARE_MAX (1U << 30)

/*
 * Whether the budget needs a new unsynced share: the store knows of all that was used, and its last
 * answer says little by now. While the store has yet to learn of something there is no new share,
 * or one after the other would exceed the budget.
 */
static __always_inline bool fleet_idle(const struct sluice_budget *b,
				       const struct sluice_fleet_units *u, __u64 now)
{
	return u->used == u->settled &&
	       (!b->answered_ns || now >= b->answered_ns + SLUICE_FLEET_STALE_NS);
}

static __always_inline bool fleet_exhausted(const struct sluice_fleet_units *u)
{
	return (__s32)(u->used - u->limit) >= 0;
}

/* The unsynced share of a budget that has `left` units. */
static __always_inline __u32 fleet_share(__u64 left, __u32 hosts)
{
	__u64 share = left / (2 * (__u64)(hosts ?: 1));

	if (share > FLEET_SHARE_MAX)
		share = FLEET_SHARE_MAX;
	return share ? (__u32)share : 1;
}

/* The part of a budget that a host gives out while the store is away, in
 * 1 / SLUICE_FLEET_PART_ONE. `part`: of sluice_fleet_units. */
static __always_inline __u64 fleet_part(__u32 part, __u32 hosts, __u32 whole)
{
	__u64 own = part ? part : SLUICE_FLEET_PART_ONE / (hosts ?: 1);

	if (whole || own > SLUICE_FLEET_PART_ONE)
		return SLUICE_FLEET_PART_ONE;
	return own ?: 1;
}

/* What units of `cost` ns cost while the store is away. */
static __always_inline __u64 fleet_away_cost(const struct sluice_fleet *f,
					     const struct sluice_fleet_units *u, __u64 cost)
{
	__u64 part = fleet_part(u->part, f->hosts, f->whole), whole = cost / part;

	if (part == SLUICE_FLEET_PART_ONE)
		return cost;
	if (whole >= FLEET_COST_MAX / SLUICE_FLEET_PART_ONE)
		return FLEET_COST_MAX;
	return whole * SLUICE_FLEET_PART_ONE + cost % part * SLUICE_FLEET_PART_ONE / part;
}

/* Whether half of what may be given out is used, so that the daemon should call at once. */
static __always_inline bool fleet_low(const struct sluice_fleet_units *u)
{
	__s32 left = u->limit - u->used, most = u->limit - u->settled;

	return left <= 0 || left <= most >> 1;
}

/*
 * How far the budget is spent: as the store says, and by the units that it does not know of.
 * `most`: units beyond an empty budget are the store's to count.
 */
static __always_inline __u64 fleet_level(__u64 level, __s32 unsynced, __u64 interval, __u64 most)
{
	__u64 room;

	if (unsynced <= 0 || level >= most)
		return level;
	room = most - level;
	return (__u32)unsynced > room / interval ? most : level + (__u32)unsynced * interval;
}

#endif
