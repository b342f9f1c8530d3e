/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a fleet costs its store and its daemons: the daemon's own engine and client
 * (user/fleet) before a real redis-server, with counters in the place of the kernel's maps.
 *
 *   bench_fleet ADDRESS CLIENTS SECONDS EVERY
 *
 * Every client uses one unit in EVERY seconds. What waits for its report then has half of EVERY.
 * Prints budgets and calls a second, and the CPU of this process, as JSON; fleet.py adds that of
 * the store.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fleet/store.h"
#include "fleet/sync.h"

#define SECOND 1000000000ULL

struct client {
	uint32_t used, settled, granted;
	uint64_t tat_ns;
	uint8_t changed;
};

static struct client *clients;
static size_t client_count;
static struct store *store;
static struct sync *engine;
static struct quota_book book;

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static struct sluice_budget_key key_of(uint32_t i)
{
	struct sluice_budget_key key = {.quota = 1, .client = {.plen = 128}};

	key.client.addr[10] = key.client.addr[11] = 0xff;
	memcpy(key.client.addr + 12, &i, sizeof(i));
	return key;
}

static struct client *client_of(const struct sluice_budget_key *key)
{
	uint32_t i;

	memcpy(&i, key->client.addr + 12, sizeof(i));
	return &clients[i];
}

static int run(void *arg, struct sluice_fleet_item *items, size_t count)
{
	uint64_t at = now(CLOCK_MONOTONIC);

	for (size_t i = 0; i < count; i++) {
		struct client *c = client_of(&items[i].key);
		struct sluice_fleet_item_units *u = &items[i].units[0];

		items[i].found = 1;
		if (items[i].op == SLUICE_FLEET_COLLECT) {
			c->changed = 0;
			*u = (struct sluice_fleet_item_units){
				.level_ns = c->tat_ns > at ? c->tat_ns - at : 0,
				.used = c->used,
				.settled = c->settled,
				.granted = c->granted,
			};
		} else if (items[i].op == SLUICE_FLEET_APPLY) {
			c->settled = u->settled;
			c->granted = u->granted;
			c->tat_ns = at + u->level_ns;
		}
	}
	return 0;
}

static void tell(void *arg, const struct sluice_fleet *fleet)
{
}

static void call(void *arg, uint64_t number, const struct store_budget *budgets, size_t count)
{
	store_call(store, number, budgets, count, now(CLOCK_MONOTONIC));
}

static void answered(void *arg, const struct store_answer *answer)
{
	sync_answered(engine, answer, now(CLOCK_MONOTONIC));
}

static void changed(void *arg, bool up, const char *why)
{
	if (!up)
		fprintf(stderr, "bench_fleet: %s\n", why);
	sync_up(engine, up, now(CLOCK_MONOTONIC));
}

/* So many clients use a unit each. */
static void use(size_t count, size_t *next)
{
	for (size_t i = 0; i < count; i++, *next = (*next + 1) % client_count) {
		struct client *c = &clients[*next];
		struct sluice_fleet_change change = {.key = key_of((uint32_t)*next)};

		c->used++;
		if (c->changed)
			continue;
		c->changed = 1;
		sync_changed(engine, &change, now(CLOCK_MONOTONIC));
	}
}

static int play(double seconds, double every)
{
	uint64_t began = now(CLOCK_MONOTONIC), end = began + (uint64_t)(seconds * 1e9), at = began;
	uint64_t cpu = now(CLOCK_PROCESS_CPUTIME_ID), due = 0, used = 0;
	uint64_t last = end + (uint64_t)(every / 2 * 1e9);
	size_t next = 0;

	while (at < end || (sync_waiting(engine) && at < last)) {
		struct pollfd fd = {.fd = store_fd(store), .events = POLLIN};
		uint64_t most = at + 10000000, wanted, wait;

		wanted = (uint64_t)((double)((at < end ? at : end) - began) / 1e9 / every *
				    (double)client_count);
		use(wanted - used, &next);
		used = wanted;
		store_run(store, at);
		due = sync_turn(engine, store_idle(store), at);
		wait = due < store_timeout_ns(store) ? due : store_timeout_ns(store);
		wait = wait < most ? wait : most;
		poll(&fd, 1, wait > at ? (int)((wait - at) / 1000000) : 0);
		at = now(CLOCK_MONOTONIC);
	}
	seconds = (double)(at - began) / 1e9;
	printf("{\"clients\": %zu, \"seconds\": %.2f, \"budgets_a_second\": %.0f, "
	       "\"calls_a_second\": %.0f, \"waiting\": %zu, \"daemon_cpu\": %.3f, \"forgotten\": "
	       "%" PRIu64 "}\n",
	       client_count, seconds, (double)sync_counts(engine)->charged / seconds,
	       (double)sync_counts(engine)->calls / seconds, sync_waiting(engine),
	       (double)(now(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e9 / seconds,
	       sync_counts(engine)->forgotten);
	return sync_counts(engine)->charged ? 0 : 1;
}

int main(int argc, char **argv)
{
	static struct sluice_fleet_call last_call;
	const struct sync_config config = {.period_ns = 100000000, .call = &last_call};
	const struct sync_handlers to_kernel = {run, tell, call, NULL};
	const struct store_handlers from_store = {answered, changed, NULL};
	const char *address = argc > 1 ? argv[1] : "";
	const struct store_config store_config = {
		.addresses = &address,
		.address_count = 1,
		.fleet = "bench",
		.host = "bench",
		.info = "",
		.incarnation = now(CLOCK_REALTIME),
	};
	double every;
	char err[256];

	if (argc != 5 || !(every = strtod(argv[4], NULL))) {
		fprintf(stderr, "usage: bench_fleet ADDRESS CLIENTS SECONDS EVERY\n");
		return 2;
	}
	client_count = strtoul(argv[2], NULL, 10);
	clients = calloc(client_count, sizeof(*clients));
	/* Ten units at once. What a client has used is back in half of EVERY; of a minute, in twice
	 * of it, so that all clients are in the store together. */
	book.text[1] = (struct sluice_quota_text){
		.requests = 20,
		.request_period_ns = (uint64_t)((every < 60 ? 10 : 40) * every * 1e9),
		.request_burst = 10,
		.scope = SLUICE_SCOPE_MODEL,
		.fleet = 1,
		.name = "bench",
	};
	engine = sync_new(&config, &to_kernel);
	if (!clients || !engine || store_new(&store, &store_config, &from_store, err, sizeof(err)))
		return 1;
	sync_quotas(engine, &book);
	if (sync_walk_begins(engine))
		sync_walk_ends(engine, 0);
	return play(strtod(argv[3], NULL), every);
}
