/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads, writes and walks one map. Functions that return int give 0 or -errno and set
 * datapath_error() to a sentence that names the map.
 */
#ifndef SLUICE_DATAPATH_MAP_IO_H
#define SLUICE_DATAPATH_MAP_IO_H

#include "internal.h"

#define BATCH 256 /* entries of one map that are copied at once */

int map_fd(const struct bpf_map *map);
int map_read(const struct bpf_map *map, const void *key, void *value);
int map_write(const struct bpf_map *map, const void *key, const void *value);
int map_delete(const struct bpf_map *map, const void *key);
/* A look-up that expects absent entries: false, without a sentence. */
bool map_find(const struct bpf_map *map, const void *key, void *value);
/*
 * Calls each() with every entry of a map, which may change meanwhile. The value of a per-CPU map is
 * an array of d->cpus values, each padded to 8 bytes.
 */
int map_each(const struct datapath *d, const struct bpf_map *map,
	     void (*each)(void *arg, const void *key, const void *value), void *arg);
/* map_each() of a map by its descriptor. value_size: bytes in user space. -errno, without a
 * sentence. */
int map_walk(const struct datapath *d, int fd, size_t key_size, size_t value_size,
	     void (*each)(void *arg, const void *key, const void *value), void *arg);
/* Whether a map, whose keys have at most 64 bytes, has an entry. */
bool map_has_any(const struct bpf_map *map);
/* The number of entries that map_each() finds. */
int map_count(const struct datapath *d, const struct bpf_map *map, uint64_t *entries);
/* The keys of all entries, one after the other. *keys is to be freed, also after an error. */
int map_keys(const struct datapath *d, const struct bpf_map *map, void **keys, size_t *count);
/* For reads or writes that do not use the functions above: returns err, and stores the sentence
 * unless it is 0. */
int map_read_result(const struct bpf_map *map, int err);
int map_write_result(const struct bpf_map *map, int err);
/* Whether a failed write means that the map is full. */
bool map_full(int err);

/* Returns result. For the comparisons of a long qsort_r(): every few thousand are a step. */
int map_compared(struct datapath *d, int result);

/*
 * Grows a list of `count` entries by at least one. Returns the list, which may have moved. NULL if
 * memory runs out; then the list is unchanged.
 */
void *list_grow(void *list, size_t count, size_t *capacity, size_t entry_size);

#endif
