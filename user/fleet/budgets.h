/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The budgets that sync.c has to do with now, by key, and the lists in which they wait. A budget is
 * in one list at a time, so no call has it twice.
 */
#ifndef SLUICE_FLEET_BUDGETS_H
#define SLUICE_FLEET_BUDGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

/* From the most urgent on. */
enum budget_list {
	BUDGETS_LOW,     /* nearly used up */
	BUDGETS_SPENT,   /* found by a walk: to be claimed, or settled; more than half is spent */
	BUDGETS_AGAIN,   /* … the others */
	BUDGETS_CHANGED, /* used */
	BUDGETS_GRANTED, /* has a grant that goes back if it is not used */
	BUDGETS_IDLE,    /* known for its use; forgotten when it is due */
	BUDGETS_SENT,    /* in the call under way */
	BUDGETS_LISTS
};

enum budget_flags {
	BUDGET_CLAIM = 1,   /* the store has lost it */
	BUDGET_RECOVER = 2, /* it was used while the store was away */
	BUDGET_USED = 4,    /* has changed while it was in the call */
	BUDGET_USED_UP = 8, /* … and is nearly used up */
};

struct budget {
	struct sluice_budget_key key;
	uint8_t list; /* enum budget_list */
	uint8_t flags;
	uint32_t chain, prev, next; /* indexes; 0: none */
	uint64_t due_ns;            /* not before */
	/* Of requests and tokens: what this host and the others have used in the last SYNC_USE_NS,
	 * ns of the budget. */
	double own[2], others[2];
	uint64_t level_ns[2]; /* as the store said, without this host's grant */
	uint64_t seen_ns;     /* when these were right */
};

struct budgets;

struct budgets *budgets_new(void);
void budgets_free(struct budgets *b);
/* Finds a budget, or makes one; puts it at the end of a list unless it is in a more urgent one, or
 * in a call. NULL: out of memory. */
struct budget *budgets_put(struct budgets *b, const struct sluice_budget_key *key,
			   enum budget_list list, uint64_t due_ns);
/* Moves it to the end of a list. */
void budgets_move(struct budgets *b, struct budget *budget, enum budget_list list, uint64_t due_ns);
/* The first of a list; NULL: it is empty. */
struct budget *budgets_first(struct budgets *b, enum budget_list list);
void budgets_drop(struct budgets *b, struct budget *budget);
size_t budgets_count(const struct budgets *b, enum budget_list list);

#endif
