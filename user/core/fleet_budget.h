/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One call's step of one budget that a fleet of hosts shares. Pure. fleet/fleet.lua does the same
 * in the store, and tests/e2e/test_fleet_store.sh holds the two against each other. The script has
 * doubles, so all products stay below 2^53.
 *
 * A budget is a theoretical arrival time (gcra.h) on the store's clock, in µs. A step raises it to
 * what a host claims, charges what the host has used, and grants at most half of what is left.
 */
#ifndef SLUICE_FLEET_BUDGET_H
#define SLUICE_FLEET_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define FLEET_BUDGET_MAX_US 1000000000000000ULL /* 31 years: of a span, a level, a charge */
#define FLEET_ROOM_MAX_US   9000000000000ULL    /* 104 days: what is granted, and announced, from */
#define FLEET_UNITS_MAX     1000000000000ULL
#define FLEET_NEWS_EVERY_US 50000 /* of one budget, but for its last unit */

/* What the store keeps of a budget. All 0: nothing is spent. */
struct fleet_budget {
	uint64_t arrival_us;   /* in the past: nothing is spent */
	uint64_t announced_us; /* when it was last announced to other hosts */
	bool owed;             /* … and news came too soon after it */
};

struct fleet_budget_call {
	uint64_t interval_ns; /* of a unit; at least 1 */
	uint64_t span_us;     /* burst × interval */
	uint64_t most_us;     /* the largest level */
	uint64_t reach_us;    /* a charge raises the level no further */
	uint64_t want;        /* units */
	uint64_t claim_us;
	int64_t charge_us;
};

struct fleet_budget_result {
	uint64_t level_us; /* spent, with the grant */
	uint64_t granted;  /* units */
	bool announce;
};

/* The call with each number cut to what the arithmetic bears. */
void fleet_budget_bound(struct fleet_budget_call *call);
/* The call is bounded. */
void fleet_budget_step(struct fleet_budget *b, const struct fleet_budget_call *call,
		       uint64_t now_us, struct fleet_budget_result *out);

#endif
