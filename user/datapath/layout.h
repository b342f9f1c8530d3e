/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a map's keys and values look like, from the BTF of a BPF object (layout.c). */
#ifndef SLUICE_DATAPATH_LAYOUT_H
#define SLUICE_DATAPATH_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct btf;

/* A map as an object declares it. */
struct layout_map {
	const char *name;
	uint32_t key, value; /* ids of types; 0: declared by its size only */
	bool pinned;
};

/* The object's map number i, from 0 on; false: there are no more. */
bool layout_map(const struct btf *btf, uint32_t i, struct layout_map *out);
bool layout_find(const struct btf *btf, const char *name, struct layout_map *out);
/* Bytes of a type; 0: there is none. */
uint32_t layout_size(const struct btf *btf, uint32_t type);
/* Where a struct has a member of 8 bytes with that name; -1: nowhere. */
int64_t layout_u64(const struct btf *btf, uint32_t type, const char *name);
/* Whether two types have the same members, by name, type and place. */
bool layout_same(const struct btf *a, uint32_t a_type, const struct btf *b, uint32_t b_type);

/* Bytes that are copied from one type's place to another's. */
struct layout_move {
	uint32_t from, to, size;
};

struct layout_moves {
	struct layout_move *move;
	size_t count, capacity;
	uint32_t from_size, to_size;
	/* Members that `to` lacks, or that have another type there: their names, by ", "; padding
	 * is not among them. */
	char lost[96];
};

/* The moves from a value of one type to one of another, member by member of the same name. 0 or
 * -ENOMEM; *out is to be freed by layout_free(), also after an error. */
int layout_moves(const struct btf *from, uint32_t from_type, const struct btf *to, uint32_t to_type,
		 struct layout_moves *out);
void layout_free(struct layout_moves *moves);
/* Copies a value; what no move writes becomes 0. False: a byte that is not 0 has no place. */
bool layout_copy(const struct layout_moves *moves, const void *from, void *to);

#endif
