/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A model of the kernel's half of one host of a fleet, for one quota: bpf/quota.h,
 * bpf/fleet.h and bpf/fleet_sync.bpf.c one packet after the other. The decisions are theirs
 * (sluice/fleet.h).
 */
#ifndef SLUICE_SIM_FLEET_HOST_H
#define SLUICE_SIM_FLEET_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/abi.h>

#include "fleet/sync.h"

#define FLEET_QUOTA 1 /* its id */

struct fleet_entry {
	uint32_t client;
	struct sluice_budget budget;
};

struct fleet_host {
	const struct sluice_quota *quota;
	struct sluice_fleet fleet;
	struct fleet_entry *entries;
	uint32_t *slots; /* of a hash by client: index of the entry, and 1 */
	uint32_t count, capacity;
	struct sluice_fleet_change *changes; /* the ring */
	size_t change_count, change_capacity;
	bool failed; /* out of memory */
};

void fleet_host_free(struct fleet_host *h);
/* Nanoseconds to wait; 0: the request is admitted. *lacks: it had budget, but no grant. *wakes: the
 * daemon is woken. */
uint64_t fleet_host_request(struct fleet_host *h, uint32_t client, uint64_t now_ns, bool *lacks,
			    bool *wakes);
/* What a response has used, at its end. Returns whether the daemon is woken. */
bool fleet_host_tokens(struct fleet_host *h, uint32_t client, uint32_t tokens, uint64_t now_ns);
/* fleet_sync */
void fleet_host_run(struct fleet_host *h, struct sluice_fleet_item *items, size_t count,
		    uint64_t now_ns);
/* The daemon reads the ring, and walks all budgets. */
void fleet_host_changes(struct fleet_host *h, struct sync *sync, uint64_t now_ns);
void fleet_host_walk(const struct fleet_host *h, struct sync *sync, uint64_t now_ns);

#endif
