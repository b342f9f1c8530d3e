/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The part of abi.h about quotas that a fleet of hosts shares. A store has each budget's
 * theoretical arrival time (gcra.h) as all hosts have charged it. A host gets units of it in
 * advance (a grant), and reports later what it has used. The kernel decides by what the daemon has
 * heard last.
 */
#ifndef SLUICE_ABI_FLEET_H
#define SLUICE_ABI_FLEET_H

#include "abi_client.h"

#define SLUICE_FLEET_STALE_NS 1000000000ULL /* an answer that is as old says little */
#define SLUICE_FLEET_PART_ONE 65536         /* of sluice_fleet_units.part: the whole budget */
#define SLUICE_FLEET_BATCH    512           /* budgets in one run of fleet_sync */
#define SLUICE_FLEET_KINDS    2             /* requests, tokens */
#define SLUICE_FLEET_CALL     128           /* budgets in one call of the store */
#define SLUICE_FLEET_NAME     64            /* bytes of a fleet's name */

/* The key of client_state: what a client has spent of a quota. */
struct sluice_budget_key {
	struct sluice_client client;
	__u32 quota;
	__u32 pad;
};
_Static_assert(sizeof(struct sluice_budget_key) == 32, "budget key");

/* fleet[0], written by the daemon. */
struct sluice_fleet {
	__u64 fresh_until_ns; /* the store answers; later than this, it is away */
	__u32 hosts;          /* that share the quotas; at least 1 */
	__u32 whole;          /* while the store is away, this host gives out whole budgets */
};
_Static_assert(sizeof(struct sluice_fleet) == 16, "fleet");

/*
 * Requests or tokens of one budget. The numbers count units and wrap; only differences mean
 * anything. While the store answers, `used` may not exceed `limit`.
 */
struct sluice_fleet_units {
	__u32 used;    /* charged on this host, less what was given back */
	__u32 settled; /* … of which the store knows */
	__u32 limit;   /* settled, the grant, and the unsynced share */
	__u32 granted; /* the grant of the last answer */
	__u32 wanted;  /* units refused for want of a grant since they were last collected */
	__u32 part;    /* of the budget that this host gives out while the store is away, in
			  1 / SLUICE_FLEET_PART_ONE; 0: 1 / hosts */
};
_Static_assert(sizeof(struct sluice_fleet_units) == 24, "fleet units");

enum sluice_fleet_changed {
	SLUICE_FLEET_UNCHANGED,
	SLUICE_FLEET_CHANGED, /* and reported to the daemon */
	SLUICE_FLEET_LOW,     /* … and woken, since half of the grant is used, or more */
};

/* The ring fleet_changes: a budget that has to be collected. Once for each change of state from
 * UNCHANGED to CHANGED, and to LOW. */
struct sluice_fleet_change {
	struct sluice_budget_key key;
	__u32 low;
	__u32 pad;
};
_Static_assert(sizeof(struct sluice_fleet_change) == 40, "fleet change");

enum sluice_fleet_op {
	/* Takes the state of a budget: `changed` becomes UNCHANGED and `wanted` 0, before the rest
	 * is read. */
	SLUICE_FLEET_COLLECT,
	/* Puts in what the store has answered. Makes the budget if it is not there. An entry that
	 * was never collected is another than the one that the answer is about, which was evicted:
	 * the store knows of nothing that was used of it, whatever the answer says. */
	SLUICE_FLEET_APPLY,
	/* Another host has spent it: level_ns is the least that is spent. Makes the budget, too. */
	SLUICE_FLEET_RAISE,
};

/* One kind of units, in fleet_batch. */
struct sluice_fleet_item_units {
	__u64 level_ns; /* how far the budget is spent (gcra_spent()). COLLECT: output. APPLY: after
			   `settled`, without the grant. */
	__u32 used;     /* COLLECT: output */
	__u32 settled;  /* COLLECT: output. APPLY: the value of `used` that the store has counted */
	__u32 granted;  /* COLLECT: output. APPLY: the new grant */
	__u32 wanted;   /* COLLECT: output */
	__u32 share;    /* APPLY: units that may be used besides the grant */
	__u32 part;     /* COLLECT: output. APPLY; 0: as it is */
};
_Static_assert(sizeof(struct sluice_fleet_item_units) == 32, "fleet item units");

/*
 * fleet_batch[i]: what the program fleet_sync does with one budget. The daemon maps the array,
 * fills in the first `count` items, and runs the program.
 */
struct sluice_fleet_item {
	struct sluice_budget_key key;
	__u32 op;    /* enum sluice_fleet_op */
	__u32 found; /* output: the budget was there */
	/* All 0 where the quota has no such budget. */
	struct sluice_fleet_item_units units[SLUICE_FLEET_KINDS];
};
_Static_assert(sizeof(struct sluice_fleet_item) == 40 + 64, "fleet item");

/* What a call says of one kind of units: fleet/fleet.lua. */
struct sluice_fleet_said {
	__u64 interval_ns; /* 0: it says nothing */
	__u64 span_us, most_us, want, claim_us;
	__s64 charge_us;
};

/* … and of a budget. */
struct sluice_fleet_sent {
	struct sluice_budget_key key;
	__u64 fingerprint; /* of the quota */
	__u32 flags;       /* enum budget_flags of the daemon */
	__u32 pad;
	struct sluice_fleet_item_units units[SLUICE_FLEET_KINDS]; /* as collected */
	struct sluice_fleet_said said[SLUICE_FLEET_KINDS];
};
_Static_assert(sizeof(struct sluice_fleet_sent) == 48 + 64 + 96, "fleet sent");

/*
 * fleet_call[0]: the daemon's last call of the store. No program reads it. A daemon may be killed
 * between the store's step and the answer. So a call is written here before it is sent, and the
 * next daemon makes it again under the same number, and the store counts it once.
 */
struct sluice_fleet_call {
	__u64 incarnation; /* a random name under which the store counts the calls */
	__u64 number;
	__u64 epoch;     /* of the store's contents, by the last answer; 0: none yet */
	__u64 called_ns; /* CLOCK_MONOTONIC */
	char fleet[SLUICE_FLEET_NAME];
	__u32 under_way; /* it charges budgets, and its answer is not in the kernel yet. Written
			    after all else */
	__u32 count;
	struct sluice_fleet_sent sent[SLUICE_FLEET_CALL];
};
_Static_assert(sizeof(struct sluice_fleet_call) == 104 + 128 * 208, "fleet call");

#endif
