/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What clients hold, and which class their requests are of. client_in_flight has an entry for each
 * client and law under which it has something in flight; who wants to know of a client as such adds
 * them up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static int unread(int err, const char *what)
{
	return err ? datapath_fail(err, "%s cannot be read: %s", what, strerror(-err)) : 0;
}

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

	if (all->count == all->capacity) {
		size_t capacity = all->capacity ? all->capacity * 2 : 256;
		void *more = realloc(all->list, capacity * sizeof(*all->list));

		if (!more) {
			all->no_memory = true;
			return;
		}
		all->list = more;
		all->capacity = capacity;
	}
	all->list[all->count].client = k->client;
	all->list[all->count++].in_flight = ((const struct sluice_holding *)value)->in_flight;
}

static int by_client(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sluice_client)); /* a holding begins with its client */
}

/* Every client once, sorted, with all that it holds. */
static int add_up_holdings(struct datapath *d, struct holdings *out)
{
	struct holdings all = {0};
	size_t n = 0;
	int err = map_each(d, map_fd(d->skel->maps.client_in_flight),
			   sizeof(struct sluice_client_flag_key), sizeof(struct sluice_holding),
			   note_holding, &all);

	if (err || all.no_memory) {
		free(all.list);
		return err ? err : -ENOMEM;
	}
	if (all.count)
		qsort(all.list, all.count, sizeof(*all.list), by_client);
	for (size_t i = 0; i < all.count; i++) {
		if (n && !by_client(&all.list[n - 1], &all.list[i]))
			all.list[n - 1].in_flight += all.list[i].in_flight;
		else
			all.list[n++] = all.list[i];
	}
	all.count = n;
	*out = all;
	return 0;
}

struct client_visitor {
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

	v->each(v->arg, key, value, held ? held->in_flight : 0);
}

int datapath_each_client(struct datapath *d,
			 void (*each)(void *, const struct sluice_client *,
				      const struct sluice_client_count *, int64_t in_flight),
			 void *arg)
{
	struct client_visitor v = {.each = each, .arg = arg};
	int err = unread(add_up_holdings(d, &v.held), "client_in_flight");

	if (!err)
		err = unread(map_each(d, map_fd(d->skel->maps.client_counts),
				      sizeof(struct sluice_client),
				      sizeof(struct sluice_client_count), visit_client, &v),
			     "client_counts");
	free(v.held.list);
	return err;
}

bool datapath_get_client(struct datapath *d, const struct sluice_client *client,
			 struct sluice_client_count *out, int64_t *in_flight)
{
	struct holdings held = {0};
	const struct holding *own = NULL;

	if (!add_up_holdings(d, &held) && held.count)
		own = bsearch(client, held.list, held.count, sizeof(*held.list), by_client);
	*in_flight = own ? own->in_flight : 0;
	free(held.list);
	return !bpf_map_lookup_elem(map_fd(d->skel->maps.client_counts), client, out);
}

struct sluice_holding datapath_held(struct datapath *d, const struct sluice_client_flag_key *key)
{
	struct sluice_holding held;

	if (bpf_map_lookup_elem(map_fd(d->skel->maps.client_in_flight), key, &held))
		held = (struct sluice_holding){0};
	return held;
}

struct class_list {
	const struct datapath_priority *wanted;
	size_t count;
	struct sluice_client *stale;
	size_t stale_count, capacity;
	bool no_memory;
};

static int by_key(const void *a, const void *b)
{
	return memcmp(a, b,
		      sizeof(struct sluice_client)); /* a datapath_priority begins with its key */
}

static void note_stale(void *arg, const void *key, const void *value)
{
	struct class_list *list = arg;

	if (list->count && bsearch(key, list->wanted, list->count, sizeof(*list->wanted), by_key))
		return;
	if (list->stale_count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 64;
		void *more = realloc(list->stale, capacity * sizeof(*list->stale));

		if (!more) {
			list->no_memory = true;
			return;
		}
		list->stale = more;
		list->capacity = capacity;
	}
	memcpy(&list->stale[list->stale_count++], key, sizeof(*list->stale));
}

int datapath_set_priorities(struct datapath *d, struct datapath_priority *list, size_t count)
{
	struct class_list stale = {.wanted = list, .count = count};
	int fd = map_fd(d->skel->maps.priorities), err = 0;

	if (count)
		qsort(list, count, sizeof(*list), by_key);
	for (size_t i = 0; i < count && !err; i++)
		err = bpf_map_update_elem(fd, &list[i].key, &list[i].class, BPF_ANY);
	if (err)
		return datapath_fail(err, "priorities cannot be written: %s",
				     err == -E2BIG || err == -ENOSPC || err == -ENOMEM
					     ? "it is full"
					     : strerror(-err));
	err = map_each(d, fd, sizeof(struct sluice_client), sizeof(uint32_t), note_stale, &stale);
	for (size_t i = 0; i < stale.stale_count; i++)
		bpf_map_delete_elem(fd, &stale.stale[i]);
	free(stale.stale);
	return unread(err ? err : stale.no_memory ? -ENOMEM : 0, "priorities");
}

bool datapath_get_priority(struct datapath *d, const struct sluice_client *key, uint32_t *class)
{
	return !bpf_map_lookup_elem(map_fd(d->skel->maps.priorities), key, class);
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
