/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Brings budgets that a fleet shares to the store and back. No I/O and no clock of its own: the
 * daemon and the simulator give it handlers and the time.
 *
 * Each period, and sooner when a budget is nearly used up, it collects the budgets that have
 * changed from the kernel and sends them in one call: what was used, less the grant that was
 * counted in advance, and a wish for the next grant. The answer goes to the kernel. A grant that
 * nobody uses goes back with the next call.
 */
#ifndef SLUICE_FLEET_SYNC_H
#define SLUICE_FLEET_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "core/quota.h"
#include "store.h"

#define SYNC_EARLY_NS   2000000ULL     /* the least between two calls */
#define SYNC_EARLY_RATE 200            /* early calls a second, in the long run, … */
#define SYNC_EARLY_MOST 50             /* … and at once */
#define SYNC_RECOVER_NS 3000000000ULL  /* the most that budgets used without the store may take */
#define SYNC_USE_NS     10000000000ULL /* the use of a budget is averaged over so long */

struct sync_handlers {
	/* Runs the operations in the kernel; fills in what they return. 0 or -errno. */
	int (*run)(void *arg, struct sluice_fleet_item *items, size_t count);
	/* What all budgets go by. */
	void (*tell)(void *arg, const struct sluice_fleet *fleet);
	/* Sends a call. sync_answered() will come. */
	void (*call)(void *arg, uint64_t number, const struct store_budget *budgets, size_t count);
	void *arg;
};

struct sync_config {
	uint64_t period_ns;
	uint32_t hosts_min; /* counts as so many hosts at least */
	bool calls_anyhow;  /* without a shared quota, too: an answer brings more than budgets */
	bool whole;         /* while the store is away, give out whole budgets, not shares */
	/* Where the last call is kept for the next daemon. A call that is under way in it is the
	 * first one. */
	struct sluice_fleet_call *call;
};

/* What has happened since the start. */
struct sync_counts {
	uint64_t calls, charged,
		raised;              /* calls; budgets in them; budgets lowered by other hosts */
	uint64_t claimed, recovered; /* … after the store lost them; used while it was away */
	uint64_t lacked;             /* requests refused for want of a grant */
	uint64_t epochs;             /* times that the store has lost its contents */
	uint64_t forgotten;          /* budgets left out because memory ran out */
};

struct sync;

/* NULL: out of memory. */
struct sync *sync_new(const struct sync_config *config, const struct sync_handlers *handlers);
void sync_free(struct sync *s);

/* Reads the quotas again: call it after every change of the register. */
void sync_quotas(struct sync *s, const struct quota_book *book);
/* Whether a quota is shared. */
bool sync_has_quotas(const struct sync *s);
/* A record of the kernel's ring. */
void sync_changed(struct sync *s, const struct sluice_fleet_change *change, uint64_t now_ns);
/* The store can be called, or no more. */
void sync_up(struct sync *s, bool up, uint64_t now_ns);
/* Makes a call if it is time; `idle`: the store can take one. Returns when to call this again, ns;
 * UINT64_MAX: when something happens. */
uint64_t sync_turn(struct sync *s, bool idle, uint64_t now_ns);
void sync_answered(struct sync *s, const struct store_answer *answer, uint64_t now_ns);

/*
 * After a start, an absence of the store or a loss of its contents, every budget in the kernel has
 * to be looked at. True: walk them once, sync_walked() for each, and call sync_walk_ends(). Calls
 * go on meanwhile.
 */
bool sync_walk_begins(struct sync *s);
void sync_walked(struct sync *s, const struct sluice_budget_key *key,
		 const struct sluice_budget *budget, uint64_t now_ns);
void sync_walk_ends(struct sync *s, uint64_t now_ns);

const struct sync_counts *sync_counts(const struct sync *s);
uint32_t sync_hosts(const struct sync *s);
uint64_t sync_epoch(const struct sync *s); /* 0: not known yet */
size_t sync_waiting(const struct sync *s); /* budgets that wait for a call */
/* How long the first of those that are due waits, ns; 0: none is. */
uint64_t sync_waiting_ns(const struct sync *s, uint64_t now_ns);

/* The store's key of a budget: FINGERPRINT:r|t:CLIENT. The fingerprint is that of scope, name (of a
 * service: its port) and numbers, so hosts with different quotas do not share. `fingerprint`:
 * quota_fingerprint(). */
void sync_key(char out[STORE_KEY_MAX], uint64_t fingerprint, bool tokens,
	      const struct sluice_client *client);
/* 0, or -EINVAL: it is none. */
int sync_read_key(const char *text, uint64_t *fingerprint, bool *tokens,
		  struct sluice_client *client);
uint64_t sync_fingerprint(const struct sluice_quota_text *text);

#endif
