/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A hash table with short probes. A client that finds no free slot replaces the one seen longest
 * ago. */
#include "active.h"

#include <string.h>

#define PROBES    8
#define WEIGHT_NS 1000000000ULL /* a weight is looked up again after so long */

static uint32_t slot_of(const struct sluice_client *client, uint16_t pool)
{
	const uint8_t *byte = (const uint8_t *)client;
	uint64_t h = 0xcbf29ce484222325ULL ^ pool;

	for (size_t i = 0; i < sizeof(*client); i++)
		h = (h ^ byte[i]) * 0x100000001b3ULL; /* FNV-1a */
	return (uint32_t)(h ^ h >> 32);
}

static bool is_active(const struct active_client *c, uint64_t now_ns)
{
	return c->seen_ns && now_ns < c->seen_ns + ACTIVE_NS;
}

void active_seen(struct active *a, const struct sluice_client *client, uint16_t pool,
		 double (*weight)(void *arg, const struct sluice_client *), void *arg,
		 uint64_t now_ns)
{
	uint32_t first = slot_of(client, pool);
	struct active_client *best = NULL;

	for (uint32_t i = 0; i < PROBES; i++) {
		struct active_client *c = &a->slot[(first + i) & (ACTIVE_SLOTS - 1)];

		if (c->seen_ns && c->pool == pool && !memcmp(&c->client, client, sizeof(*client))) {
			best = c;
			break;
		}
		if (!best || c->seen_ns < best->seen_ns)
			best = c;
	}
	if (best->pool != pool || memcmp(&best->client, client, sizeof(*client)) ||
	    now_ns >= best->seen_ns + WEIGHT_NS || !best->seen_ns) {
		best->client = *client;
		best->pool = pool;
		best->weight = weight(arg, client);
		best->seen_ns = now_ns;
	}
}

void active_forget(struct active *a, const bool pools[SLUICE_MODELS_MAX])
{
	for (uint32_t i = 0; i < ACTIVE_SLOTS; i++)
		if (a->slot[i].pool < SLUICE_MODELS_MAX && pools[a->slot[i].pool])
			a->slot[i] = (struct active_client){0};
}

void active_weights(const struct active *a, uint64_t now_ns, double out[SLUICE_MODELS_MAX])
{
	for (uint32_t i = 0; i < ACTIVE_SLOTS; i++)
		if (is_active(&a->slot[i], now_ns) && a->slot[i].pool < SLUICE_MODELS_MAX)
			out[a->slot[i].pool] += a->slot[i].weight;
}
