/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What tests read of the programs' maps, whatever their keys. */
#ifndef SLUICE_MAP_ACCESS_H
#define SLUICE_MAP_ACCESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define KEY_MAX 256 /* bytes of any map's key */

static inline void clear_map(int fd)
{
	uint8_t key[KEY_MAX];

	while (!bpf_map_get_next_key(fd, NULL, key))
		assert_int_equal(bpf_map_delete_elem(fd, key), 0);
}

static inline unsigned entries(int fd)
{
	uint8_t key[KEY_MAX];
	unsigned n = 0;

	for (int err = bpf_map_get_next_key(fd, NULL, key); !err;
	     err = bpf_map_get_next_key(fd, key, key))
		n++;
	return n;
}

/* The sum of a per-CPU entry's numbers; 0 if there is none. */
static inline uint64_t sum_cpus(int fd, const void *key)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t values[cpus], sum = 0;

	if (bpf_map_lookup_elem(fd, key, values))
		return 0;
	for (int i = 0; i < cpus; i++)
		sum += values[i];
	return sum;
}

#endif
