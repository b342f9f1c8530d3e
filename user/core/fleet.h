/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is shown of a fleet, and what its hosts say of themselves. Pure. The text of
 * another host is hostile: whoever writes to the store writes it.
 */
#ifndef SLUICE_FLEET_H
#define SLUICE_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quota.h"

#define FLEET_HOSTS_MAX 256 /* that are shown */
#define FLEET_INFO_MAX  4096

/* A host of the fleet. */
struct fleet_host {
	char name[64];
	char version[32];
	uint64_t seen_ms; /* ago */
	uint64_t start;   /* a random number of the daemon's; 0: it reported none */
	uint64_t keys;    /* of which secret its IDs of keys are; 0: it knows no keys */
	int64_t rules; /* the version of the fleet's rules that is in force there; negative: none */
	unsigned differ;   /* shared quotas of models and services with other numbers than ours */
	char differs[256]; /* the first of them, in words */
};

/* Round trips of calls. A count is of those up to its bound and above the one before; the last one
 * is of the others. */
#define FLEET_CALL_BOUNDS 10
extern const uint64_t fleet_call_bounds_us[FLEET_CALL_BOUNDS];

struct fleet_calls {
	uint64_t count[FLEET_CALL_BOUNDS + 1];
	uint64_t sum_ns;
};

void fleet_call_answered(struct fleet_calls *calls, uint64_t ns);

struct state_fleet {
	const char *name, *host;
	const char *store; /* the address in use; "": none */
	char evicts[32];   /* the store's maxmemory-policy, if that is another than noeviction */
	bool up;
	char why[256];                       /* why it is not up, a sentence */
	uint64_t since_ns;                   /* since when it is up, or not */
	uint64_t away_ns;                    /* how long it was not up, in all */
	uint64_t round_trip_ns, answered_ns; /* of the last answer; 0: none */
	struct fleet_calls answered;
	uint64_t keys;  /* of which secret this host's IDs of keys are; 0: it knows no keys */
	uint64_t epoch; /* of the store's contents; 0: unknown */
	uint32_t hosts, period_ms;
	bool whole;
	uint64_t calls, budgets, raised, claimed, recovered, lacked, epochs, forgotten;
	size_t waiting;      /* budgets that wait for a call */
	uint64_t waiting_ns; /* … since when the first of them does; 0: none does */
	int64_t rules;       /* the version in force here; negative: the rules are off */
	size_t rule_count;
	uint64_t rules_ignored;       /* texts of the store that are no rules, or do not fit */
	size_t rules_of_other_secret; /* by key:ID; they match no key here */
	const char *rules_why;        /* why the list of the store is not in force; "": it is */
	bool name_taken;              /* another daemon has this host's name */
	struct fleet_host *list;
	size_t list_count;
};

/* What this host tells: its version, a random number of this start of the daemon, the version of
 * the rules in force (negative: off), of which secret its IDs of keys are (0: it knows none), and
 * its shared quotas of models and services, as lines. */
void fleet_info(char out[FLEET_INFO_MAX], const char *version, uint64_t start, int64_t rules,
		uint64_t keys, const struct quota_book *book);
/* Reads what a host says of itself, and compares its quotas with ours. */
void fleet_host_read(struct fleet_host *out, const char *name, const char *info, uint64_t seen_ms,
		     const struct quota_book *ours);
/* Of the hosts that are shown, those with other numbers of a shared quota. */
unsigned fleet_hosts_that_differ(const struct state_fleet *f);
/* The name of a quota that all hosts have: of a service its port. */
const char *fleet_quota_name(const struct sluice_quota_text *text);

#endif
