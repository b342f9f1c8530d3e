/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Simulates a fleet of hosts that share a quota. A host is the daemon's fleet/sync.c with models of
 * the kernel's half (fleet_host.h) and of the store's client; the hosts reach one store
 * (fleet_store.h) over a network with a round trip. One queue of events, no clock: a seed gives one
 * run.
 */
#ifndef SLUICE_SIM_FLEET_H
#define SLUICE_SIM_FLEET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/quota.h"

#define FLEET_SIM_HOSTS_MAX 1000

/* What clients and faults there are. */
enum fleet_pattern {
	FLEET_SPREAD, /* clients use twice their quota, over all hosts */
	FLEET_HEAVY,  /* … more than the whole quota on each host */
	FLEET_ONE,    /* a client uses one host */
	FLEET_HOPS,  /* a client sends its next request to another host, and waits as a refusal says
		      */
	FLEET_LIGHT, /* many clients that use a tenth of their quota */
	FLEET_BURST, /* a client sends a burst to one host within 20 ms */
	FLEET_TOKENS, /* as spread, with a quota of tokens */
	FLEET_OBEYS,  /* a client sends one request after the other, each to another host, 250 ms
			 apart, and waits as refusals say */
	FLEET_OBEYS_TOKENS, /* … with a quota of tokens */
	FLEET_AWAY,         /* spread; the store is away for a while */
	FLEET_STICKY,       /* … and each client uses one host */
	FLEET_EMPTY,        /* spread; the store is away for a while, and comes back empty */
	FLEET_FAILOVER,     /* … and comes back with what it had two seconds before */
	FLEET_FLUSH,        /* spread; the store loses all */
	FLEET_DEATHS,       /* spread; half of the hosts die */
	FLEET_PATTERNS
};

struct fleet_options {
	uint32_t hosts;
	uint64_t period_ns, round_trip_ns, seed;
	uint64_t away_ns; /* how long the store is away */
	bool whole;       /* fleet-fallback */
	bool only;        /* simulate `pattern` alone */
	enum fleet_pattern pattern;
	struct quota_def quota;
};

struct fleet_result {
	uint64_t offered, admitted;
	uint64_t lacked;         /* refused for want of a grant */
	uint64_t waits, broken;  /* waits that were obeyed; those after which the next is refused */
	uint64_t calls, charges; /* of all hosts; budgets in them */
	double run_seconds;
	double value;  /* the pattern's measure: fleet_patterns[] */
	double lowest; /* … of the client that has the least */
	double over;   /* the most units above burst + rate × T, for any T, of any client */
	double bound;  /* … that are permitted */
};

/* How a pattern is shown and judged. */
struct fleet_pattern_info {
	const char *name, *measure;
	double least, most;  /* of the measure */
	uint32_t hosts_most; /* `least` holds up to so many hosts; 0: any */
};

extern const struct fleet_pattern_info fleet_patterns[FLEET_PATTERNS];

/* 0 or -ENOMEM. */
int fleet_simulate(const struct fleet_options *options, enum fleet_pattern pattern,
		   struct fleet_result *out);
/* What the result breaks of what the documentation states, a sentence; NULL: nothing. */
const char *fleet_broken(const struct fleet_options *options, enum fleet_pattern pattern,
			 const struct fleet_result *result);

#endif
