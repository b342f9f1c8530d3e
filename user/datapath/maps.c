/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads and writes the maps for the daemon. The one idea: a whole map is read in batches
 * (BPF_MAP_LOOKUP_BATCH), so that listing 64 Ki entries takes some hundred system calls, and an
 * entry that stays is seen exactly once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/reply_text.h"
#include "core/state.h"
#include "internal.h"

int map_each(const struct datapath *d, int fd, uint32_t key_size, uint32_t value_size,
	     void (*each)(void *arg, const void *key, const void *value), void *arg)
{
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint8_t cursor[2][256];
	uint32_t capacity = BATCH;
	bool first = true;

	for (;;) {
		_cleanup_free_ uint8_t *keys = calloc(capacity, key_size);
		_cleanup_free_ uint8_t *values = calloc(capacity, value_size);
		uint32_t count = capacity;
		int err;

		if (!keys || !values)
			return -ENOMEM;
		do {
			count = capacity;
			err = bpf_map_lookup_batch(fd, first ? NULL : cursor[0], cursor[1], keys,
						   values, &count, &opts);
			if (err && err != -ENOENT)
				break;
			for (uint32_t i = 0; i < count; i++)
				each(arg, keys + (size_t)i * key_size,
				     values + (size_t)i * value_size);
			memcpy(cursor[0], cursor[1], sizeof(cursor[0]));
			first = false;
			datapath_alive(d);
		} while (!err);
		if (err == -ENOENT)
			return 0;
		if (err != -ENOSPC || capacity > 65536)
			return err;
		capacity *= 4; /* one hash bucket holds more than that */
	}
}

static int written(int err, const char *what)
{
	return err ? datapath_fail(err, "%s cannot be written: %s", what,
				   err == -E2BIG || err == -ENOSPC || err == -ENOMEM
					   ? "it is full"
					   : strerror(-err))
		   : 0;
}

static int read_failed(int err, const char *what)
{
	return err ? datapath_fail(err, "%s cannot be read: %s", what, strerror(-err)) : 0;
}

/* Bytes of one entry of a per-CPU map as user space sees it. */
static size_t per_cpu_size(const struct datapath *d, size_t value_size)
{
	return (value_size + 7) / 8 * 8 * d->cpus;
}

int datapath_set_model(struct datapath *d, const char *name, uint32_t id)
{
	struct sluice_model_name key = {0};
	int err;

	if (id >= SLUICE_MODELS_MAX || strlen(name) >= sizeof(key.name))
		return datapath_fail(-EINVAL, "model name '%s' is too long, or its id %u too big",
				     name, id);
	memcpy(key.name, name, strlen(name));
	err = written(bpf_map_update_elem(map_fd(d->skel->maps.model_ids), &key, &id, BPF_ANY),
		      "model_ids");
	return err ? err : names_changed(d);
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

	return read_failed(map_each(d, map_fd(d->skel->maps.model_ids),
				    sizeof(struct sluice_model_name), sizeof(uint32_t), visit_model,
				    &v),
			   "model_ids");
}

/*
 * Writes the templates of a model for a set of reasons, where this daemon has not yet. A full map
 * is no failure: the kernel then takes the text that names no model.
 */
int replies_write(struct datapath *d, uint32_t model, const char *name, uint16_t reasons)
{
	struct reply_written *w = &d->replies[model];

	if (strncmp(w->name, name ? name : "", sizeof(w->name) - 1)) {
		/* The id has a new name: what was written before must not be told of it. */
		reasons |= w->reasons;
		w->reasons = 0;
		snprintf(w->name, sizeof(w->name), "%s", name ? name : "");
	}
	for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++) {
		if (!(reasons >> r & 1) || w->reasons >> r & 1)
			continue;
		for (unsigned no_retry = 0; no_retry < 2; no_retry++) {
			struct sluice_reply_key key = {
				.model = model, .reason = r, .no_retry = no_retry};
			struct sluice_reply reply;
			int err = reply_text_build(&reply, w->name, r, no_retry);

			if (!err)
				err = bpf_map_update_elem(map_fd(d->skel->maps.replies), &key,
							  &reply, BPF_ANY);
			if ((err == -E2BIG || err == -ENOMEM) && model != SLUICE_MODEL_ALL)
				return 0;
			if (err)
				return written(err, "replies");
		}
		w->reasons |= 1U << r;
	}
	return 0;
}

int datapath_set_flag(struct datapath *d, uint32_t id, const char *name,
		      const struct sluice_model_flag *flag)
{
	uint16_t reasons = 0;
	int err;

	if (id >= SLUICE_MODELS_MAX || flag->reason >= SLUICE_REASON_COUNT)
		return datapath_fail(-EINVAL, "no model has id %u, or no reason number %u", id,
				     flag->reason);
	if (!flag->allow)
		reasons |= 1U << flag->reason;
	if (flag->limit)
		reasons |= 1U << SLUICE_REASON_IN_FLIGHT;
	if (flag->admission.ceiling || (flag->pool != id && flag->pool != SLUICE_MODEL_ALL))
		reasons |= 1U << SLUICE_REASON_TTFT | 1U << SLUICE_REASON_IN_FLIGHT |
			   1U << SLUICE_REASON_CLIENT_SHARE;
	if (id != SLUICE_MODEL_ALL) { /* without reasons too: it remembers the name */
		err = replies_write(d, id, name, reasons);
		if (err)
			return err;
	}
	return written(bpf_map_update_elem(map_fd(d->skel->maps.model_flags), &id, flag, BPF_ANY),
		       "model_flags");
}

int datapath_get_flag(struct datapath *d, uint32_t id, struct sluice_model_flag *out)
{
	return read_failed(bpf_map_lookup_elem(map_fd(d->skel->maps.model_flags), &id, out),
			   "model_flags");
}

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

int datapath_get_load(struct datapath *d, uint32_t id, uint64_t now_ns, struct state_load *out)
{
	struct sluice_model_state *s;

	if (id >= SLUICE_MODELS_MAX)
		return datapath_fail(-EINVAL, "no model has id %u", id);
	s = &d->state[id];
	*out = (struct state_load){
		.in_flight = LOAD(s->in_flight),
		.waiting = LOAD(s->waiting),
		.shadow_in_flight = LOAD(s->shadow_in_flight),
		.waiting_bytes = LOAD(s->waiting_bytes),
		.token_ns = LOAD(s->token_ns),
		.waiting_ns = LOAD(s->waiting_ns),
		.admitted = LOAD(s->admitted),
		.ended = LOAD(s->ended),
	};
	for (int r = 0; r < SLUICE_RANKS; r++)
		out->refused[r] = LOAD(s->refused[r]);
	/* Where nobody waits, ages that say otherwise have drifted: age.c mends them. */
	if (out->waiting > 0)
		out->oldest_ns = ages_oldest(&s->ages, now_ns);
	return 0;
}

int datapath_get_histogram(struct datapath *d, uint32_t id, struct sluice_histogram *out)
{
	_cleanup_free_ struct sluice_histogram *each = calloc(d->cpus, sizeof(*each));
	struct sluice_histogram sum = {0};
	int err;

	if (!each)
		return datapath_fail(-ENOMEM, "out of memory");
	err = bpf_map_lookup_elem(map_fd(d->skel->maps.histograms), &id, each);
	if (err)
		return read_failed(err, "histograms");
	for (int cpu = 0; cpu < d->cpus; cpu++)
		for (int k = 0; k < 2; k++) {
			for (int b = 0; b < SLUICE_HISTOGRAM_BUCKETS; b++)
				sum.count[k][b] += each[cpu].count[k][b];
			sum.sum_ns[k] += each[cpu].sum_ns[k];
		}
	*out = sum;
	return 0;
}

int datapath_get_counters(struct datapath *d, uint64_t out[SLUICE_COUNTER_COUNT])
{
	_cleanup_free_ uint64_t *each = calloc(d->cpus, sizeof(*each));
	uint64_t sum[SLUICE_COUNTER_COUNT] = {0};

	if (!each)
		return datapath_fail(-ENOMEM, "out of memory");
	for (uint32_t i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		int err = bpf_map_lookup_elem(map_fd(d->skel->maps.counters), &i, each);

		if (err)
			return read_failed(err, "counters");
		for (int cpu = 0; cpu < d->cpus; cpu++)
			sum[i] += each[cpu];
	}
	memcpy(out, sum, sizeof(sum));
	return 0;
}

struct count_visitor {
	void (*each)(void *arg, const struct sluice_count_key *key, uint64_t n);
	void *arg;
	int cpus;
	struct sluice_admitted_count *admitted; /* of model and CPU */
};

static void visit_admitted(void *arg, const void *key, const void *value)
{
	const struct count_visitor *v = arg;
	uint32_t model;

	memcpy(&model, key, sizeof(model));
	memcpy(&v->admitted[(size_t)model * v->cpus], value, v->cpus * sizeof(*v->admitted));
}

/* Takes what all CPUs have admitted of a service's requests for a model out of v->admitted. */
static uint64_t take_admitted(const struct count_visitor *v, uint32_t service, uint32_t model)
{
	struct sluice_admitted_count *each = &v->admitted[(size_t)model * v->cpus];
	uint64_t sum = 0;

	for (int cpu = 0; cpu < v->cpus; cpu++) {
		if (each[cpu].service != service)
			continue;
		sum += each[cpu].n;
		each[cpu].n = 0;
	}
	return sum;
}

static void visit_count(void *arg, const void *key, const void *value)
{
	const struct count_visitor *v = arg;
	const uint64_t *each = value;
	struct sluice_count_key k;
	uint64_t sum = 0;

	memcpy(&k, key, sizeof(k));
	for (int cpu = 0; cpu < v->cpus; cpu++)
		sum += each[cpu];
	if (k.verdict == SLUICE_VERDICT_ADMITTED && k.reason == SLUICE_REASON_NONE &&
	    k.model < SLUICE_MODELS_MAX)
		sum += take_admitted(v, k.service, k.model);
	v->each(v->arg, &k, sum);
}

/* A service's requests for a model that were admitted may be counted in both maps; they are told
 * once. */
int datapath_each_count(struct datapath *d,
			void (*each)(void *arg, const struct sluice_count_key *key, uint64_t n),
			void *arg)
{
	size_t cpus = d->cpus, all = SLUICE_MODELS_MAX * cpus;
	_cleanup_free_ struct sluice_admitted_count *admitted = calloc(all, sizeof(*admitted));
	struct count_visitor v = {each, arg, d->cpus, admitted};
	int err;

	if (!admitted)
		return datapath_fail(-ENOMEM, "out of memory");
	err = map_each(d, map_fd(d->skel->maps.admitted_counts), sizeof(uint32_t),
		       per_cpu_size(d, sizeof(*admitted)), visit_admitted, &v);
	if (err)
		return read_failed(err, "admitted_counts");
	err = map_each(d, map_fd(d->skel->maps.request_counts), sizeof(struct sluice_count_key),
		       per_cpu_size(d, sizeof(uint64_t)), visit_count, &v);
	if (err)
		return read_failed(err, "request_counts");
	for (size_t i = 0; i < all; i++) {
		struct sluice_count_key key = {.service = admitted[i].service, .model = i / cpus};

		if (admitted[i].n)
			each(arg, &key, take_admitted(&v, key.service, key.model));
	}
	return 0;
}

static bool policy_empty(struct datapath *d, enum sluice_empty which)
{
	const struct bpf_map *map = which == SLUICE_EMPTY_CLIENT_FLAGS ? d->skel->maps.client_flags
				    : which == SLUICE_EMPTY_CLIENT_PREFIXES
					    ? d->skel->maps.client_prefixes
					    : d->skel->maps.client_quotas;
	uint8_t first[64];

	return bpf_map_get_next_key(map_fd(map), NULL, first) == -ENOENT;
}

uint32_t policies_empty(struct datapath *d)
{
	static const enum sluice_empty all[] = {SLUICE_EMPTY_CLIENT_FLAGS,
						SLUICE_EMPTY_CLIENT_PREFIXES,
						SLUICE_EMPTY_CLIENT_QUOTAS};
	uint32_t empty = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (policy_empty(d, all[i]))
			empty |= all[i];
	return empty;
}

int policy_begins(struct datapath *d, enum sluice_empty which)
{
	if (!(d->settings.empty & which))
		return 0;
	d->settings.empty &= ~(uint32_t)which;
	return settings_write(d);
}

void policy_ends(struct datapath *d, enum sluice_empty which)
{
	if (!policy_empty(d, which))
		return;
	d->settings.empty |= which;
	settings_write(d); /* should that fail, the programs ask in vain, and that is all */
}

int datapath_set_client(struct datapath *d, const struct sluice_client_flag_key *key,
			const struct sluice_client_flag *flag)
{
	int err = 0;

	/* A refusal for one model names it; its name is known since its flag was written. */
	if (!flag->allow && key->model >= SLUICE_MODEL_FIRST && key->model < SLUICE_MODELS_MAX &&
	    d->replies[key->model].name[0])
		err = replies_write(d, key->model, d->replies[key->model].name,
				    (uint16_t)(1U << flag->reason));
	if (!err)
		err = policy_begins(d, SLUICE_EMPTY_CLIENT_FLAGS);
	if (err)
		return err;
	return written(bpf_map_update_elem(map_fd(d->skel->maps.client_flags), key, flag, BPF_ANY),
		       "client_flags");
}

/* -ENOENT is an answer and no failure to speak of, but the text is there for who wants it. */
static int cleared(int err, const char *what)
{
	return err == -ENOENT ? datapath_fail(err, "%s has no such entry", what)
			      : written(err, what);
}

int datapath_clear_client(struct datapath *d, const struct sluice_client_flag_key *key)
{
	int err = bpf_map_delete_elem(map_fd(d->skel->maps.client_flags), key);

	policy_ends(d, SLUICE_EMPTY_CLIENT_FLAGS);
	return cleared(err, "client_flags");
}

int datapath_set_prefix(struct datapath *d, const struct sluice_prefix_key *key,
			const struct sluice_prefix *prefix)
{
	int err = policy_begins(d, SLUICE_EMPTY_CLIENT_PREFIXES);

	if (err)
		return err;
	return written(
		bpf_map_update_elem(map_fd(d->skel->maps.client_prefixes), key, prefix, BPF_ANY),
		"client_prefixes");
}

int datapath_clear_prefix(struct datapath *d, const struct sluice_prefix_key *key)
{
	int err = bpf_map_delete_elem(map_fd(d->skel->maps.client_prefixes), key);

	policy_ends(d, SLUICE_EMPTY_CLIENT_PREFIXES);
	return cleared(err, "client_prefixes");
}

struct flag_visitor {
	void (*each)(void *, const struct sluice_client_flag_key *,
		     const struct sluice_client_flag *);
	void *arg;
};

static void visit_flag(void *arg, const void *key, const void *value)
{
	const struct flag_visitor *v = arg;

	v->each(v->arg, key, value);
}

int datapath_each_client_flag(struct datapath *d,
			      void (*each)(void *, const struct sluice_client_flag_key *,
					   const struct sluice_client_flag *),
			      void *arg)
{
	struct flag_visitor v = {each, arg};

	return read_failed(map_each(d, map_fd(d->skel->maps.client_flags),
				    sizeof(struct sluice_client_flag_key),
				    sizeof(struct sluice_client_flag), visit_flag, &v),
			   "client_flags");
}

struct prefix_visitor {
	void (*each)(void *, const struct sluice_prefix_key *, const struct sluice_prefix *);
	void *arg;
};

static void visit_prefix(void *arg, const void *key, const void *value)
{
	const struct prefix_visitor *v = arg;

	v->each(v->arg, key, value);
}

int datapath_each_prefix(struct datapath *d,
			 void (*each)(void *, const struct sluice_prefix_key *,
				      const struct sluice_prefix *),
			 void *arg)
{
	struct prefix_visitor v = {each, arg};

	return read_failed(map_each(d, map_fd(d->skel->maps.client_prefixes),
				    sizeof(struct sluice_prefix_key), sizeof(struct sluice_prefix),
				    visit_prefix, &v),
			   "client_prefixes");
}

static void count_one(void *arg, const void *key, const void *value)
{
	++*(uint64_t *)arg;
}

/* By batches: a walk from key to key starts over when its key is deleted meanwhile. */
static int map_entries(const struct datapath *d, const struct bpf_map *map, uint64_t *entries)
{
	bool per_cpu = bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_HASH;
	size_t size =
		per_cpu ? per_cpu_size(d, bpf_map__value_size(map)) : bpf_map__value_size(map);
	uint64_t n = 0;
	int err = map_each(d, map_fd(map), bpf_map__key_size(map), size, count_one, &n);

	if (!err)
		*entries = n;
	return read_failed(err, bpf_map__name(map));
}

int datapath_map_fill(struct datapath *d, const char *name, uint64_t *entries, uint64_t *max)
{
	struct bpf_map *map = bpf_object__find_map_by_name(d->skel->obj, name);
	int err;

	if (!map)
		return datapath_fail(-ENOENT, "there is no map %s", name);
	err = map_entries(d, map, entries);
	if (err)
		return err;
	*max = bpf_map__max_entries(map);
	return 0;
}

size_t datapath_tombstones(struct datapath *d)
{
	uint64_t n = 0;

	return map_entries(d, d->skel->maps.tombstones, &n) ? 0 : n;
}
