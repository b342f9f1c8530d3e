/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The active clients of each pool: those admitted, served or refused within the last two minutes.
 * Their weights add up to what the pool is shared by. A client with nothing in flight counts, too:
 * a refused client has nothing, and on a server of few slots most clients have nothing at most
 * times. The table is bounded: a client that finds it full replaces the one seen longest ago. Pure.
 */
#ifndef SLUICE_ACTIVE_H
#define SLUICE_ACTIVE_H

#include <stdbool.h>
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

/* All zero: no client. */
struct active {
	struct active_client slot[ACTIVE_SLOTS];
};

/*
 * The client came to the pool at now_ns. weight() is called for a client that was not active, and
 * again after a second, so a changed weight takes effect then.
 */
void active_seen(struct active *a, const struct sluice_client *client, uint16_t pool,
		 double (*weight)(void *arg, const struct sluice_client *), void *arg,
		 uint64_t now_ns);

/* Forgets the clients of these pools. */
void active_forget(struct active *a, const bool pools[SLUICE_MODELS_MAX]);

/* Adds the weights of each pool's active clients to out[pool]. */
void active_weights(const struct active *a, uint64_t now_ns, double out[SLUICE_MODELS_MAX]);

#endif
