/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clients: the key of a client that an API key or a header names, its requests in flight, and the
 * priority class of its requests. The one idea: client_in_flight has an entry for each client and
 * pool with something in flight; a client's total is the sum of its entries.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "map_io.h"
#include "settings.h"

struct holding {
	struct sluice_client client;
	int64_t in_flight;
};

struct holdings {
	struct holding *list;
	size_t count, capacity;
	bool no_memory;
};

static void note_holding(void *arg, const void *key, const void *value)
{
	const struct sluice_client_flag_key *k = key;
	struct holdings *all = arg;
	void *list;

	if (k->model >= SLUICE_MODELS_MAX)
		return; /* SLUICE_POOL_STALLED */
	list = list_grow(all->list, all->count, &all->capacity, sizeof(*all->list));

	if (!list) {
		all->no_memory = true;
		return;
	}
	all->list = list;
	all->list[all->count].client = k->client;
	all->list[all->count++].in_flight = ((const struct sluice_holding *)value)->in_flight;
}

static int by_client(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sluice_client)); /* a holding begins with its client */
}

static int by_client_in_steps(const void *a, const void *b, void *d)
{
	return map_compared(d, by_client(a, b));
}

/* Lists every client once, sorted, with the sum of what it holds. */
static int add_up_holdings(struct datapath *d, struct holdings *out)
{
	struct holdings all = {0};
	size_t n = 0;
	const struct bpf_map *map = d->skel->maps.client_in_flight;
	int err = map_each(d, map, note_holding, &all);

	if (err || all.no_memory) {
		free(all.list);
		return err ? err : map_read_result(map, -ENOMEM);
	}
	if (all.count)
		qsort_r(all.list, all.count, sizeof(*all.list), by_client_in_steps, d);
	for (size_t i = 0; i < all.count; i++) {
		if (i % BATCH == 0)
			datapath_step(d, BATCH);
		if (n && !by_client(&all.list[n - 1], &all.list[i]))
			all.list[n - 1].in_flight += all.list[i].in_flight;
		else
			all.list[n++] = all.list[i];
	}
	all.count = n;
	*out = all;
	return 0;
}

/* The model of a client's last request: OTHER, if its id has lost that name since. */
static uint16_t last_model(const struct datapath *d, const struct sluice_client_count *count)
{
	uint32_t id = count->last_model;

	return id < SLUICE_MODELS_MAX && count->last_seen_ns < d->state[id].named_ns
		       ? SLUICE_MODEL_OTHER
		       : id;
}

struct client_visitor {
	const struct datapath *d;
	void (*each)(void *arg, const struct sluice_client *client,
		     const struct sluice_client_count *count, int64_t in_flight);
	void *arg;
	struct holdings held;
};

static void visit_client(void *arg, const void *key, const void *value)
{
	const struct client_visitor *v = arg;
	const struct holding *held = v->held.count ? bsearch(key, v->held.list, v->held.count,
							     sizeof(*v->held.list), by_client)
						   : NULL;
	struct sluice_client_count count;

	memcpy(&count, value, sizeof(count));
	count.last_model = last_model(v->d, &count);
	v->each(v->arg, key, &count, held ? held->in_flight : 0);
}

int datapath_each_client(struct datapath *d,
			 void (*each)(void *, const struct sluice_client *,
				      const struct sluice_client_count *, int64_t in_flight),
			 void *arg)
{
	struct client_visitor v = {.d = d, .each = each, .arg = arg};
	int err = add_up_holdings(d, &v.held);

	if (!err)
		err = map_each(d, d->skel->maps.client_counts, visit_client, &v);
	free(v.held.list);
	return err;
}

bool datapath_get_client(struct datapath *d, const struct sluice_client *client,
			 struct sluice_client_count *out)
{
	if (!map_find(d->skel->maps.client_counts, client, out))
		return false;
	out->last_model = last_model(d, out);
	return true;
}

int64_t datapath_client_in_flight(struct datapath *d, const struct sluice_client *client)
{
	struct sluice_client_flag_key key = {.client = *client};
	int64_t sum = 0;

	/* A client holds nothing of a pool with nothing in flight. */
	for (key.model = 0; key.model < SLUICE_MODELS_MAX; key.model++) {
		const struct sluice_model_state *pool = &d->state[key.model];
		struct sluice_holding held;

		if ((__atomic_load_n(&pool->in_flight, __ATOMIC_RELAXED) ||
		     __atomic_load_n(&pool->shadow_in_flight, __ATOMIC_RELAXED)) &&
		    map_find(d->skel->maps.client_in_flight, &key, &held))
			sum += held.in_flight;
	}
	return sum;
}

int datapath_set_priority(struct datapath *d, const struct sluice_client *key, uint32_t class)
{
	return map_write(d->skel->maps.priorities, key, &class);
}

int datapath_clear_priority(struct datapath *d, const struct sluice_client *key)
{
	return map_delete(d->skel->maps.priorities, key);
}

struct priority_visitor {
	void (*each)(void *arg, const struct sluice_client *key, uint32_t class);
	void *arg;
};

static void visit_priority(void *arg, const void *key, const void *value)
{
	const struct priority_visitor *v = arg;
	uint32_t class;

	memcpy(&class, value, sizeof(class));
	v->each(v->arg, key, class);
}

int datapath_each_priority(struct datapath *d,
			   void (*each)(void *arg, const struct sluice_client *key, uint32_t class),
			   void *arg)
{
	struct priority_visitor v = {each, arg};

	return map_each(d, d->skel->maps.priorities, visit_priority, &v);
}

int datapath_key_client(struct datapath *d, const char *secret, size_t len,
			struct sluice_client *out)
{
	uint64_t hash;
	int err = hash_text(d, secret, len, &hash);

	if (err)
		return err;
	memset(out, 0, sizeof(*out));
	memcpy(out->addr, &hash, sizeof(hash));
	out->kind = SLUICE_CLIENT_KEY;
	return 0;
}

int datapath_header_key(struct datapath *d, uint32_t service, const char *value,
			struct sluice_client *out)
{
	int err = datapath_key_client(d, value, strlen(value), out);

	if (err)
		return err;
	out->kind = SLUICE_CLIENT_HEADER;
	memcpy(out->addr + 8, &service, sizeof(service));
	return 0;
}
