/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The part of abi.h about quotas, and what clients have spent of them. */
#ifndef SLUICE_ABI_QUOTA_H
#define SLUICE_ABI_QUOTA_H

#include "abi_fleet.h"

/*
 * quotas[id]: a client's budgets of requests and tokens (gcra.h). Nanoseconds a unit (0: no such
 * budget), how far the budget may be spent, and how far tokens, known only when they leave, may
 * bring it into debt.
 */
struct sluice_quota {
	__u64 request_ns, request_span_ns;
	__u64 token_ns, token_span_ns;
	__u64 token_most_ns; /* span and debt together */
	__u32 fleet;         /* all hosts of a fleet share the budgets (abi_fleet.h) */
	__u32 pad;
};
_Static_assert(sizeof(struct sluice_quota) == 48, "quota");

/*
 * quota_texts[id]: what the daemon wants to know of a quota again after a restart; the programs
 * never read it. A slot with scope 0 was never used.
 */
enum sluice_quota_scope {
	SLUICE_SCOPE_NONE = 0,
	SLUICE_SCOPE_CLIENT = 1,       /* of clients and prefixes, for all models */
	SLUICE_SCOPE_CLIENT_MODEL = 2, /* of clients, for the model `name` */
	SLUICE_SCOPE_MODEL = 3,   /* of everybody without one of their own, for the model `name` */
	SLUICE_SCOPE_SERVICE = 4, /* … at the service `name` (ADDR:PORT) */
};

enum sluice_origin {
	SLUICE_ORIGIN_FILE = 0,   /* the configuration */
	SLUICE_ORIGIN_MANUAL = 1, /* `sluicectl`, for this host */
	SLUICE_ORIGIN_FLEET = 2,  /* … for all hosts of the fleet */
};

struct sluice_quota_text {
	__u64 requests, request_period_ns, request_burst; /* 0 requests: no such budget */
	__u64 tokens, token_period_ns, token_burst;
	__u8 scope;  /* enum sluice_quota_scope */
	__u8 origin; /* enum sluice_origin */
	__u8 fleet;
	__u8 pad[5];
	char name[SLUICE_NAME_MAX];
};
_Static_assert(sizeof(struct sluice_quota_text) == 56 + 96, "quota text");

/*
 * weighted_quotas: the quota that a client of this weight has instead of a model's or a service's
 * general one. The value is its id. Without an entry the general quota applies.
 */
struct sluice_weighted_key {
	__u16 weight;
	__u16 quota;
};
_Static_assert(sizeof(struct sluice_weighted_key) == 4, "weighted key");

/* client_quotas: key as in client_flags, value a quota id. client_state, by sluice_budget_key: */
struct sluice_budget {
	__u64 request_tat_ns; /* changed by compare-and-swap only */
	__u64 token_tat_ns;
	__u64 last_seen_ns;
	/* Of a quota with `fleet`: */
	__u64 answered_ns; /* of the store's last answer; 0: none */
	struct sluice_fleet_units requests, tokens;
	__u32 changed;   /* enum sluice_fleet_changed */
	__u32 collected; /* the daemon has read this entry: an answer may be about it */
};
_Static_assert(sizeof(struct sluice_budget) == 88, "budget");

#endif
