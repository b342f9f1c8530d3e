/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Quotas in the maps, and what clients have spent of them. The one idea: a quota's refusal texts
 * are written before the quota can refuse, and its numbers before any client comes under it.
 */
#include <errno.h>
#include <stdlib.h>

#include "map_io.h"
#include "replies.h"
#include "settings.h"

int datapath_set_quota(struct datapath *d, uint32_t id, const struct sluice_quota *quota,
		       const struct sluice_quota_text *text)
{
	int err = replies_write_quota(d, id, text);

	if (!err)
		err = map_write(d->skel->maps.quotas, &id, quota);
	if (!err)
		err = map_write(d->skel->maps.quota_texts, &id, text);
	return err;
}

int datapath_each_quota(struct datapath *d,
			void (*each)(void *arg, uint32_t id, const struct sluice_quota_text *text),
			void *arg)
{
	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++) {
		struct sluice_quota_text text;
		int err = map_read(d->skel->maps.quota_texts, &id, &text);

		if (err)
			return err;
		text.name[sizeof(text.name) - 1] = 0;
		if (text.scope)
			each(arg, id, &text);
	}
	return 0;
}

struct budget_list {
	uint32_t quota;
	struct sluice_budget_key *keys;
	size_t count, capacity;
	bool no_memory;
};

static void note_budget(void *arg, const void *key, const void *value)
{
	struct budget_list *list = arg;
	const struct sluice_budget_key *k = key;
	void *keys;

	if (k->quota != list->quota)
		return;
	keys = list_grow(list->keys, list->count, &list->capacity, sizeof(*list->keys));
	if (!keys) {
		list->no_memory = true;
		return;
	}
	list->keys = keys;
	list->keys[list->count++] = *k;
}

int datapath_forget_budgets(struct datapath *d, uint32_t id)
{
	const struct bpf_map *map = d->skel->maps.client_state;
	struct budget_list list = {.quota = id};
	int err = map_each(d, map, note_budget, &list);

	for (size_t i = 0; i < list.count; i++) {
		datapath_step(d, 1);
		bpf_map_delete_elem(map_fd(map), &list.keys[i]);
	}
	free(list.keys);
	return err ? err : map_read_result(map, list.no_memory ? -ENOMEM : 0);
}

int datapath_set_weighted(struct datapath *d, const struct sluice_weighted_key *key, uint32_t id)
{
	return map_write(d->skel->maps.weighted_quotas, key, &id);
}

int datapath_clear_weighted(struct datapath *d, const struct sluice_weighted_key *key)
{
	return map_delete(d->skel->maps.weighted_quotas, key);
}

struct weighted_visitor {
	void (*each)(void *, const struct sluice_weighted_key *, uint32_t);
	void *arg;
};

static void visit_weighted(void *arg, const void *key, const void *value)
{
	const struct weighted_visitor *v = arg;
	uint32_t id;

	memcpy(&id, value, sizeof(id));
	v->each(v->arg, key, id);
}

int datapath_each_weighted(struct datapath *d,
			   void (*each)(void *, const struct sluice_weighted_key *, uint32_t id),
			   void *arg)
{
	struct weighted_visitor v = {each, arg};

	return map_each(d, d->skel->maps.weighted_quotas, visit_weighted, &v);
}

int datapath_set_client_quota(struct datapath *d, const struct sluice_client_flag_key *key,
			      uint32_t id)
{
	int err = policy_begins(d, SLUICE_EMPTY_CLIENT_QUOTAS);

	return err ? err : map_write(d->skel->maps.client_quotas, key, &id);
}

int datapath_clear_client_quota(struct datapath *d, const struct sluice_client_flag_key *key)
{
	int err = map_delete(d->skel->maps.client_quotas, key);

	policy_ends(d, SLUICE_EMPTY_CLIENT_QUOTAS);
	return err;
}

struct quota_visitor {
	void (*each)(void *, const struct sluice_client_flag_key *, uint32_t);
	void *arg;
};

static void visit_quota(void *arg, const void *key, const void *value)
{
	const struct quota_visitor *v = arg;
	uint32_t id;

	memcpy(&id, value, sizeof(id));
	v->each(v->arg, key, id);
}

int datapath_each_client_quota(struct datapath *d,
			       void (*each)(void *, const struct sluice_client_flag_key *,
					    uint32_t id),
			       void *arg)
{
	struct quota_visitor v = {each, arg};

	return map_each(d, d->skel->maps.client_quotas, visit_quota, &v);
}
