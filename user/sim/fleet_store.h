/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A model of a fleet's store: what fleet/fleet.lua does with a call, without Redis. The arithmetic
 * of a budget is core/fleet_budget. Budgets are numbered, and clients have the number in their
 * address.
 */
#ifndef SLUICE_SIM_FLEET_STORE_H
#define SLUICE_SIM_FLEET_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/fleet_budget.h"
#include "fleet/store.h"

/* A call of one host, and its answer. */
struct fleet_call {
	uint64_t number;
	uint64_t answered, epoch, news_seen; /* what the host knows */
	struct store_budget budgets[STORE_BATCH];
	size_t count;
	struct store_news news[STORE_NEWS];
	struct store_answer answer; /* points to the two arrays */
	uint64_t news_id;
	uint64_t answered_us; /* on the store's clock, as far as the answer says */
};

struct fleet_store;

/* NULL: out of memory. */
struct fleet_store *fleet_store_new(uint32_t hosts, uint32_t clients);
void fleet_store_free(struct fleet_store *s);
/* Runs a host's call, once for each number. */
void fleet_store_call(struct fleet_store *s, uint32_t host, struct fleet_call *call,
		      uint64_t now_us);
/* Loses all contents. */
void fleet_store_flush(struct fleet_store *s);
/* *to, of as many hosts and clients, has the contents of *from. */
void fleet_store_copy(struct fleet_store *to, const struct fleet_store *from);

struct sluice_client fleet_client(uint32_t client);
uint32_t fleet_client_number(const struct sluice_client *client);

#endif
