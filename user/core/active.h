/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who wants something of each law: the clients that were admitted, served or refused within the
 * last two minutes. What they weigh together is what it is shared by. Not only those with something
 * in flight: a client that is refused has nothing, and on a server of few slots most have nothing
 * at most times. Bounded: a full table forgets the longest unseen of those it is crowded with.
 * Pure.
 */
#ifndef SLUICE_ACTIVE_H
#define SLUICE_ACTIVE_H

#include <stdint.h>

#include <sluice/abi.h>

#define ACTIVE_NS    120000000000ULL
#define ACTIVE_SLOTS 8192 /* a power of two */

struct active_client {
	struct sluice_client client;
	uint64_t seen_ns; /* 0: the slot is free */
	double weight;
	uint16_t pool;
};

/* All zero: nobody. */
struct active {
	struct active_client slot[ACTIVE_SLOTS];
};

/*
 * The client came to the law. Where it was not active, its weight is asked for; one that changes
 * meanwhile holds from when it is asked again.
 */
void active_seen(struct active *a, const struct sluice_client *client, uint16_t pool,
		 double (*weight)(void *arg, const struct sluice_client *), void *arg,
		 uint64_t now_ns);

/* Adds what its active clients weigh together to out[law], for all laws; ids behind
 * SLUICE_MODELS_MAX are left out. */
void active_weights(const struct active *a, uint64_t now_ns, double out[SLUICE_MODELS_MAX]);

#endif
