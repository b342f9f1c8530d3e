/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sizes of the maps that the operator chooses. The one idea: a setting counts what an operator
 * counts, and each map that grows with it is a row here. The kernel allocates these maps whole when
 * they are made, and charges them to the daemon's cgroup.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "map_io.h"
#include "sizes.h"

struct row {
	const char *map;
	enum { CONNECTIONS, CLIENTS, MODELS } of;
	uint32_t times, by;
};

static const struct row rows[] = {
	{"conns", CONNECTIONS, 1, 1},     {"tombstones", CONNECTIONS, 1, 1},
	{"kept", CONNECTIONS, 1, 2},      {"half_open", CONNECTIONS, 4, 1},
	{"client_state", CLIENTS, 2, 1}, /* of each, of two quotas */
	{"client_counts", CLIENTS, 1, 1}, {"client_in_flight", CLIENTS, 1, 1},
	{"histograms", MODELS, 1, 1}, /* for each CPU; the other maps by model are small */
};

static const char *const settings[] = {"max-connections", "max-clients", "max-models"};

static const struct row *row_of(const char *map)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!strcmp(rows[i].map, map))
			return &rows[i];
	return NULL;
}

static void note_id(void *most, const void *name, const void *value)
{
	uint32_t id;

	memcpy(&id, value, sizeof(id));
	if (id < SLUICE_MODELS_MAX && id >= *(uint32_t *)most)
		*(uint32_t *)most = id + 1;
}

/* One more than the highest id that has a name in the pinned map; 0: nothing is pinned. */
static uint32_t ids_pinned(const struct datapath *d)
{
	const char *path = bpf_map__pin_path(d->skel->maps.model_ids);
	_cleanup_fd_ int fd = path ? bpf_obj_get(path) : -1;
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info), most = 0;

	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
	    info.key_size == sizeof(struct sluice_model_name) && info.value_size == sizeof(most))
		map_walk(d, fd, info.key_size, info.value_size, note_id, &most);
	return most;
}

/* What is to be room for: a lower number of models waits until no name has a higher id. */
static uint32_t wanted(struct datapath *d, const struct datapath_sizes *sizes, int of)
{
	uint32_t models = SLUICE_MODEL_FIRST + sizes->models, pinned;

	if (of != MODELS)
		return of == CONNECTIONS ? sizes->connections : sizes->clients;
	pinned = ids_pinned(d);
	if (pinned <= models)
		return models;
	datapath_notify(
		&d->handlers, NOTICE_ADOPTED, d->pin_dir,
		"max-models is %u, but there is room for %u: a name of a model has that number (`sluicectl detach` forgets it)",
		sizes->models, pinned - SLUICE_MODEL_FIRST);
	return pinned;
}

int sizes_set(struct datapath *d, const struct datapath_sizes *sizes)
{
	for (size_t i = 0; sizes && i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(d->skel->obj, rows[i].map);
		uint32_t n = wanted(d, sizes, rows[i].of);
		int err = map ? bpf_map__set_max_entries(map, n * rows[i].times / rows[i].by)
			      : -ENOENT;

		if (err)
			return datapath_fail(err, "the size of %s cannot be set: %s", rows[i].map,
					     strerror(-err));
	}
	d->skel->rodata->conns_max = bpf_map__max_entries(d->skel->maps.conns);
	return 0;
}

/* What the kernel allocates for a map at once, MiB (its htab_map_alloc() and array_map_alloc()). */
static uint64_t needs_mib(const struct bpf_map *map)
{
	uint64_t n = bpf_map__max_entries(map), buckets = 1;
	uint64_t element;

	if (bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY)
		return (n * bpf_map__value_size(map) * (uint64_t)libbpf_num_possible_cpus() +
			(1 << 20) - 1) >>
		       20;
	element =
		48 + (bpf_map__key_size(map) + 7) / 8 * 8 + (bpf_map__value_size(map) + 7) / 8 * 8;

	if (bpf_map__map_flags(map) & BPF_F_NO_PREALLOC)
		element = 0;
	while (buckets < n)
		buckets *= 2;
	return (n * element + buckets * 16 + (1 << 20) - 1) >> 20;
}

static bool read_number(const char *root, const char *group, const char *name, uint64_t *out)
{
	char path[2 * PATH_MAX];
	unsigned long long n;
	bool read = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s%s/%s", root, group, name);
	f = fopen(path, "re");
	if (f) {
		read = fscanf(f, "%llu", &n) == 1;
		fclose(f);
	}
	if (read)
		*out = n;
	return read;
}

static const struct kind {
	const char *line, *root, *limit, *used;
} kinds[] = {
	{"0::", "/sys/fs/cgroup", "memory.max", "memory.current"}, /* v2 */
	{":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"},
};

struct limit {
	char group[PATH_MAX];
	uint64_t most, used; /* bytes */
};

/* The least of the limits of a group, which it shortens, and of those above it. */
static bool least_limit(const struct kind *kind, char *group, struct limit *least)
{
	bool found = false;

	for (char *end; *group; *end = 0) {
		uint64_t most, used;

		if (read_number(kind->root, group, kind->limit, &most) &&
		    read_number(kind->root, group, kind->used, &used) && most < 1ULL << 60 &&
		    (!found || most - used < least->most - least->used)) {
			snprintf(least->group, sizeof(least->group), "%s", group);
			least->most = most;
			least->used = used;
			found = true;
		}
		end = strrchr(group, '/');
		if (!end)
			break;
	}
	return found;
}

/* The limit on the daemon's memory that leaves least. The controller of memory is in one of the
 * hierarchies. False: there is none. */
static bool cgroup_limit(struct limit *out)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]) && !found; k++) {
			char *group = strstr(line, kinds[k].line);

			if (group)
				found = least_limit(&kinds[k], group + strlen(kinds[k].line), out);
		}
	}
	if (f)
		fclose(f);
	return found;
}

int sizes_no_memory(const struct datapath *d, int err, const char *said)
{
	char name[64] = "", why[PATH_MAX + 128] = "this host has not enough memory";
	const char *failed = strstr(said, "': failed to create");
	const struct bpf_map *map;
	const struct row *row;
	uint64_t all = 0;
	struct limit limit;

	if (cgroup_limit(&limit))
		snprintf(
			why, sizeof(why),
			"the cgroup %s may use %llu MiB (MemoryMax of its unit), and uses %llu without the maps",
			limit.group, (unsigned long long)limit.most >> 20,
			(unsigned long long)limit.used >> 20);
	while (failed && failed > said && failed[-1] != '\'')
		failed--;
	if (failed)
		sscanf(failed, "%63[^']", name);
	map = bpf_object__find_map_by_name(d->skel->obj, name);
	if (!map)
		return datapath_fail(err, "no memory for the BPF programs: %s", why);
	row = row_of(name);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		all += needs_mib(bpf_object__find_map_by_name(d->skel->obj, rows[i].map));
	return datapath_fail(
		err,
		"no memory for the map %s, %llu MiB%s%s; the maps of max-connections, max-clients and max-models take %llu MiB: %s",
		name, (unsigned long long)needs_mib(map), row ? " by " : "",
		row ? settings[row->of] : "", (unsigned long long)all, why);
}
