/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs' counts: requests by verdict and reason, losses, and how full a map is. The one
 * idea: the kernel counts per CPU and user space adds up; a request that two maps count is reported
 * once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "map_io.h"

int datapath_get_counters(struct datapath *d, uint64_t out[SLUICE_COUNTER_COUNT])
{
	_cleanup_free_ uint64_t *each = calloc(d->cpus, sizeof(*each));
	uint64_t sum[SLUICE_COUNTER_COUNT] = {0};

	if (!each)
		return datapath_fail(-ENOMEM, "out of memory");
	for (uint32_t i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		int err = map_read(d->skel->maps.counters, &i, each);

		if (err)
			return err;
		for (int cpu = 0; cpu < d->cpus; cpu++)
			sum[i] += each[cpu];
	}
	memcpy(out, sum, sizeof(sum));
	return 0;
}

int datapath_records_lost(struct datapath *d, uint64_t *n)
{
	_cleanup_free_ uint64_t *each = calloc(d->cpus, sizeof(*each));
	uint32_t key = SLUICE_COUNTER_RECORDS_LOST;
	uint64_t sum = 0;
	int err = each ? map_read(d->skel->maps.counters, &key, each)
		       : datapath_fail(-ENOMEM, "out of memory");

	for (int cpu = 0; !err && cpu < d->cpus; cpu++)
		sum += each[cpu];
	*n = err ? 0 : sum - d->records_lost;
	if (!err)
		d->records_lost = sum;
	return err;
}

struct count_visitor {
	void (*each)(void *arg, const struct sluice_count_key *key, uint64_t n);
	void *arg;
	int cpus;
	struct sluice_admitted_count *admitted; /* by model and CPU */
};

static void visit_admitted(void *arg, const void *key, const void *value)
{
	const struct count_visitor *v = arg;
	uint32_t model;

	memcpy(&model, key, sizeof(model));
	memcpy(&v->admitted[(size_t)model * v->cpus], value, v->cpus * sizeof(*v->admitted));
}

/* Removes from v->admitted what all CPUs have admitted of a service's requests of class normal for
 * a model. */
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
	if (k.verdict == SLUICE_VERDICT_ADMITTED && k.reason == SLUICE_REASON_NONE && !k.class &&
	    k.model < SLUICE_MODELS_MAX)
		sum += take_admitted(v, k.service, k.model);
	v->each(v->arg, &k, sum);
}

/* Both maps may count a service's admitted requests of class normal for a model; they are reported
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
	err = map_each(d, d->skel->maps.admitted_counts, visit_admitted, &v);
	if (!err)
		err = map_each(d, d->skel->maps.request_counts, visit_count, &v);
	if (err)
		return err;
	for (size_t i = 0; i < all; i++) {
		struct sluice_count_key key = {.service = admitted[i].service, .model = i / cpus};

		if (admitted[i].n)
			each(arg, &key, take_admitted(&v, key.service, key.model));
	}
	return 0;
}

int datapath_map_fill(struct datapath *d, const char *name, uint64_t *entries, uint64_t *max)
{
	struct bpf_map *map = bpf_object__find_map_by_name(d->skel->obj, name);
	int err;

	if (!map)
		return datapath_fail(-ENOENT, "there is no map %s", name);
	err = map_count(d, map, entries);
	if (err)
		return err;
	*max = bpf_map__max_entries(map);
	return 0;
}

bool datapath_has_tombstones(struct datapath *d)
{
	return map_has_any(d->skel->maps.tombstones);
}
