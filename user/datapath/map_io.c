/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads, writes and walks one map of any kind. The one idea: a whole map is read in batches
 * (BPF_MAP_LOOKUP_BATCH), so that a list of 64 Ki entries takes some hundred system calls, and an
 * entry that stays is seen exactly once. A walk from key to key starts over when its key is deleted
 * meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "map_io.h"

int map_fd(const struct bpf_map *map)
{
	return bpf_map__fd(map);
}

bool map_full(int err)
{
	return err == -E2BIG || err == -ENOSPC || err == -ENOMEM;
}

int map_read_result(const struct bpf_map *map, int err)
{
	return err ? datapath_fail(err, "%s cannot be read: %s", bpf_map__name(map), strerror(-err))
		   : 0;
}

int map_write_result(const struct bpf_map *map, int err)
{
	return err ? datapath_fail(err, "%s cannot be written: %s", bpf_map__name(map),
				   map_full(err) ? "it is full" : strerror(-err))
		   : 0;
}

int map_read(const struct bpf_map *map, const void *key, void *value)
{
	return map_read_result(map, bpf_map_lookup_elem(map_fd(map), key, value));
}

bool map_find(const struct bpf_map *map, const void *key, void *value)
{
	return !bpf_map_lookup_elem(map_fd(map), key, value);
}

int map_write(const struct bpf_map *map, const void *key, const void *value)
{
	return map_write_result(map, bpf_map_update_elem(map_fd(map), key, value, BPF_ANY));
}

/* Many callers expect -ENOENT; the sentence is for those to which it is a failure. */
int map_delete(const struct bpf_map *map, const void *key)
{
	int err = bpf_map_delete_elem(map_fd(map), key);

	return err == -ENOENT ? datapath_fail(err, "%s has no such entry", bpf_map__name(map))
			      : map_write_result(map, err);
}

/* Bytes of one value in user space. */
static size_t value_bytes(const struct datapath *d, const struct bpf_map *map)
{
	size_t size = bpf_map__value_size(map);

	switch (bpf_map__type(map)) {
	case BPF_MAP_TYPE_PERCPU_ARRAY:
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
		return (size + 7) / 8 * 8 * d->cpus;
	default:
		return size;
	}
}

int map_walk(const struct datapath *d, int fd, size_t key_size, size_t value_size,
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
			datapath_step(d, capacity);
			err = bpf_map_lookup_batch(fd, first ? NULL : cursor[0], cursor[1], keys,
						   values, &count, &opts);
			if (err && err != -ENOENT)
				break;
			for (uint32_t i = 0; i < count; i++)
				each(arg, keys + i * key_size, values + i * value_size);
			memcpy(cursor[0], cursor[1], sizeof(cursor[0]));
			first = false;
		} while (!err);
		if (err == -ENOENT)
			return 0;
		if (err != -ENOSPC || capacity > 65536)
			return err;
		capacity *= 4; /* one hash bucket holds more than `capacity` */
	}
}

int map_each(const struct datapath *d, const struct bpf_map *map,
	     void (*each)(void *arg, const void *key, const void *value), void *arg)
{
	return map_read_result(map, map_walk(d, map_fd(map), bpf_map__key_size(map),
					     value_bytes(d, map), each, arg));
}

static void count_one(void *arg, const void *key, const void *value)
{
	++*(uint64_t *)arg;
}

bool map_has_any(const struct bpf_map *map)
{
	uint8_t first[64];

	return !bpf_map_get_next_key(map_fd(map), NULL, first);
}

int map_count(const struct datapath *d, const struct bpf_map *map, uint64_t *entries)
{
	uint64_t n = 0;
	int err = map_each(d, map, count_one, &n);

	if (!err)
		*entries = n;
	return err;
}

struct key_list {
	char *keys;
	size_t count, capacity, size; /* of a key */
	bool no_memory;
};

static void add_key(void *arg, const void *key, const void *value)
{
	struct key_list *list = arg;
	char *keys = list_grow(list->keys, list->count, &list->capacity, list->size);

	if (!keys) {
		list->no_memory = true;
		return;
	}
	list->keys = keys;
	memcpy(list->keys + list->count++ * list->size, key, list->size);
}

int map_keys(const struct datapath *d, const struct bpf_map *map, void **keys, size_t *count)
{
	struct key_list list = {.size = bpf_map__key_size(map)};
	int err = map_each(d, map, add_key, &list);

	*keys = list.keys;
	*count = list.count;
	return err ? err : map_read_result(map, list.no_memory ? -ENOMEM : 0);
}

#define COMPARED 4096 /* comparisons that take the time of a batch */

int map_compared(struct datapath *d, int result)
{
	if (++d->compared % COMPARED == 0)
		datapath_step(d, BATCH);
	return result;
}

void *list_grow(void *list, size_t count, size_t *capacity, size_t entry_size)
{
	size_t more = *capacity ? 2 * *capacity : 64;
	void *grown;

	if (count < *capacity)
		return list;
	grown = realloc(list, more * entry_size);
	if (grown)
		*capacity = more;
	return grown;
}
