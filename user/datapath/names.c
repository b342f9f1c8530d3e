/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The names of models, and how an id loses its name. The one idea: an id is free only when nothing
 * in the kernel refers to it. So the name goes first, then datapath_settle_names() waits for the
 * programs that have read it. datapath_held_models() then finds the ids that requests, refusals or
 * policy still hold. The entries of all others are cleared.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "map_io.h"
#include "replies.h"
#include "settings.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_SEQ_CST)

static int name_key(const char *name, uint32_t id, struct sluice_model_name *key)
{
	if (id >= SLUICE_MODELS_MAX || strlen(name) >= sizeof(key->name))
		return datapath_fail(-EINVAL, "model name '%s' is too long, or its id %u too big",
				     name, id);
	*key = (struct sluice_model_name){0};
	memcpy(key->name, name, strlen(name));
	return 0;
}

int datapath_set_model(struct datapath *d, const char *name, uint32_t id, uint64_t now_ns)
{
	struct sluice_model_name key;
	int err = name_key(name, id, &key);

	if (err)
		return err;
	/* No program writes them yet: the id has no name. */
	d->state[id].seen_ns = d->state[id].named_ns = now_ns;
	err = map_write(d->skel->maps.model_ids, &key, &id);
	return err ? err : names_changed(d);
}

int datapath_unset_model(struct datapath *d, const char *name, uint32_t id)
{
	struct sluice_model_name key;
	int err = name_key(name, id, &key);

	return err ? err : map_delete(d->skel->maps.model_ids, &key);
}

/* Waits for an RCU grace period, as a program's run is one reader. */
static int wait_for_programs(void *arg)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) ? -errno : 0;
}

int datapath_settle_names(struct datapath *d)
{
	int err = names_changed(d);

	if (err)
		return err;
	err = datapath_away(d, wait_for_programs, NULL);
	return err ? datapath_fail(err, "the kernel cannot wait for its programs: %s",
				   strerror(-err))
		   : 0;
}

uint64_t datapath_model_seen(const struct datapath *d, uint32_t id)
{
	return LOAD(d->state[id].seen_ns);
}

struct model_visitor {
	void (*each)(void *arg, const char *name, uint32_t id);
	void *arg;
};

static void visit_model(void *arg, const void *key, const void *value)
{
	const struct model_visitor *v = arg;
	char name[SLUICE_NAME_MAX + 1] = "";
	uint32_t id;

	memcpy(name, key, SLUICE_NAME_MAX);
	memcpy(&id, value, sizeof(id));
	v->each(v->arg, name, id);
}

int datapath_each_model(struct datapath *d, void (*each)(void *arg, const char *name, uint32_t id),
			void *arg)
{
	struct model_visitor v = {each, arg};

	return map_each(d, d->skel->maps.model_ids, visit_model, &v);
}

/* ---- what refers to an id ---- */

static void hold(bool *held, uint32_t id)
{
	if (id < SLUICE_MODELS_MAX)
		held[id] = true;
}

static void hold_of_conn(void *held, const void *key, const void *value)
{
	const struct sluice_conn *conn = value;

	for (int i = 0; i < SLUICE_READINGS_MAX && conn->flags & SLUICE_CONN_REQUEST; i++)
		hold(held, conn->reading[i]);
	if (conn->exchange_head == conn->exchange_tail)
		return;
	hold(held, conn->exchange.model);
	hold(held, conn->exchange.pool);
}

/* A 429 that is sent again has to be the same text. */
static void hold_of_tombstone(void *held, const void *key, const void *value)
{
	const struct sluice_reply_key *reply =
		&((const struct sluice_tombstone *)value)->parts.reply;

	if (reply->reason != SLUICE_REASON_REQUEST_QUOTA &&
	    reply->reason != SLUICE_REASON_TOKEN_QUOTA)
		hold(held, reply->model);
}

static void hold_of_service(void *held, const void *key, const void *value)
{
	hold(held, ((const struct sluice_service *)value)->default_model);
}

static void hold_of_client(void *held, const void *key, const void *value)
{
	hold(held, ((const struct sluice_client_flag_key *)key)->model);
}

int datapath_held_models(struct datapath *d, bool held[SLUICE_MODELS_MAX])
{
	const struct {
		const struct bpf_map *map;
		void (*each)(void *arg, const void *key, const void *value);
	} maps[] = {
		{d->skel->maps.conns, hold_of_conn},
		{d->skel->maps.tombstones, hold_of_tombstone},
		{d->skel->maps.services, hold_of_service},
		{d->skel->maps.client_flags, hold_of_client},
		{d->skel->maps.client_quotas, hold_of_client},
	};
	int err = 0;

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]) && !err; i++)
		err = map_each(d, maps[i].map, maps[i].each, held);
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
		const struct sluice_model_state *s = &d->state[id];

		held[id] |= LOAD(s->in_flight) || LOAD(s->waiting) || LOAD(s->shadow_in_flight) ||
			    LOAD(s->stalled);
	}
	return err;
}

/* ---- an id without a name and without a holder ---- */

static int clear_in_flight(struct datapath *d, const bool *ids)
{
	const struct bpf_map *map = d->skel->maps.client_in_flight;
	const struct sluice_client_flag_key *key;
	size_t count;
	void *keys;
	int err = map_keys(d, map, &keys, &count);

	key = keys;
	for (size_t i = 0; i < count && !err; i++) {
		datapath_step(d, 1);
		if (key[i].model < SLUICE_MODELS_MAX && ids[key[i].model])
			err = map_delete(map, &key[i]);
	}
	free(keys);
	return err;
}

/* Adds to the counts of forgotten names. Only the daemon writes these entries. */
static int add_forgotten(struct datapath *d, struct sluice_count_key key, uint64_t n)
{
	const struct bpf_map *map = d->skel->maps.request_counts;
	_cleanup_free_ uint64_t *each = calloc(d->cpus, sizeof(*each));

	if (!each)
		return datapath_fail(-ENOMEM, "out of memory");
	key.model = SLUICE_MODEL_FORGOTTEN;
	if (!map_find(map, &key, each))
		memset(each, 0, d->cpus * sizeof(*each));
	each[0] += n;
	return map_write(map, &key, each);
}

static int clear_counts(struct datapath *d, const bool *ids)
{
	const struct bpf_map *map = d->skel->maps.request_counts;
	_cleanup_free_ uint64_t *each = calloc(d->cpus, sizeof(*each));
	const struct sluice_count_key *key;
	size_t count;
	void *keys;
	int err = each ? 0 : datapath_fail(-ENOMEM, "out of memory");

	if (err)
		return err;
	err = map_keys(d, map, &keys, &count);
	key = keys;
	for (size_t i = 0; i < count && !err; i++) {
		datapath_step(d, 1);
		if (key[i].model >= SLUICE_MODELS_MAX || !ids[key[i].model])
			continue;
		err = map_read(map, &key[i], each);
		for (int cpu = 0; cpu < d->cpus && !err; cpu++)
			if (each[cpu])
				err = add_forgotten(d, key[i], each[cpu]);
		if (!err)
			err = map_delete(map, &key[i]);
	}
	free(keys);
	return err;
}

static int clear_admitted(struct datapath *d, uint32_t id)
{
	const struct bpf_map *map = d->skel->maps.admitted_counts;
	_cleanup_free_ struct sluice_admitted_count *each = calloc(d->cpus, sizeof(*each));
	int err = each ? map_read(map, &id, each) : datapath_fail(-ENOMEM, "out of memory");

	for (int cpu = 0; cpu < d->cpus && !err; cpu++)
		if (each[cpu].n)
			err = add_forgotten(
				d, (struct sluice_count_key){.service = (__u16)each[cpu].service},
				each[cpu].n);
	if (err)
		return err;
	memset(each, 0, d->cpus * sizeof(*each));
	return map_write(map, &id, each);
}

static int clear_entries(struct datapath *d, uint32_t id)
{
	_cleanup_free_ struct sluice_histogram *none = calloc(d->cpus, sizeof(*none));
	const struct sluice_model_flag flag = {0};
	int err = none ? map_write(d->skel->maps.histograms, &id, none)
		       : datapath_fail(-ENOMEM, "out of memory");

	if (!err)
		err = flag_write(d, id, &flag);
	if (!err)
		err = clear_admitted(d, id);
	if (!err)
		err = replies_remove(d, id);
	if (err)
		return err;
	memset(&d->state[id], 0, sizeof(d->state[id]));
	d->state[id].named_ns = UINT64_MAX;
	return 0;
}

int datapath_clear_models(struct datapath *d, const bool ids[SLUICE_MODELS_MAX])
{
	int err = clear_in_flight(d, ids);

	if (!err)
		err = clear_counts(d, ids);
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX && !err; id++) {
		if (!ids[id])
			continue;
		datapath_step(d, BATCH);
		err = clear_entries(d, id);
	}
	return err;
}
