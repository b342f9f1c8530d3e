/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a map's keys and values look like, from the BTF of a BPF object. The one idea: versions
 * agree on names. A member is copied to the member of the same name and type, wherever that is; so
 * a member that changes its type or its meaning gets another name. Then neither version needs to
 * know the other's structures.
 */
#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "map_io.h"

/* The type that a member of a map's declaration points to; 0: there is no such member. */
static uint32_t declared(const struct btf *btf, const struct btf_type *map, const char *name)
{
	const struct btf_member *m = btf_members(map);

	for (uint16_t i = 0; i < btf_vlen(map); i++) {
		const struct btf_type *t;

		if (strcmp(btf__name_by_offset(btf, m[i].name_off), name))
			continue;
		t = btf__type_by_id(btf, m[i].type);
		return t && btf_is_ptr(t) ? t->type : 0;
	}
	return 0;
}

bool layout_map(const struct btf *btf, uint32_t i, struct layout_map *out)
{
	int id = btf__find_by_name_kind(btf, ".maps", BTF_KIND_DATASEC);
	const struct btf_type *maps = id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);
	const struct btf_type *var, *map;

	if (!maps || i >= btf_vlen(maps))
		return false;
	var = btf__type_by_id(btf, btf_var_secinfos(maps)[i].type);
	map = var ? btf__type_by_id(btf, var->type) : NULL;
	if (!map || !btf_is_struct(map))
		return false;
	*out = (struct layout_map){
		.name = btf__name_by_offset(btf, var->name_off),
		.key = declared(btf, map, "key"),
		.value = declared(btf, map, "value"),
		.pinned = declared(btf, map, "pinning"),
	};
	return true;
}

bool layout_find(const struct btf *btf, const char *name, struct layout_map *out)
{
	for (uint32_t i = 0; layout_map(btf, i, out); i++)
		if (!strcmp(out->name, name))
			return true;
	return false;
}

uint32_t layout_size(const struct btf *btf, uint32_t type)
{
	int64_t size = type ? btf__resolve_size(btf, type) : 0;

	return size > 0 ? (uint32_t)size : 0;
}

/* The type behind typedefs and qualifiers. */
static const struct btf_type *resolved(const struct btf *btf, uint32_t type)
{
	int id = btf__resolve_type(btf, type);

	return id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);
}

int64_t layout_u64(const struct btf *btf, uint32_t type, const char *name)
{
	const struct btf_type *t = resolved(btf, type);

	for (uint16_t i = 0; t && btf_is_struct(t) && i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_members(t)[i].name_off), name))
			return layout_size(btf, btf_members(t)[i].type) == sizeof(uint64_t)
				       ? (int64_t)btf_member_bit_offset(t, i) / 8
				       : -1;
	return -1;
}

static bool same_name(const struct btf *a, uint32_t a_name, const struct btf *b, uint32_t b_name)
{
	return !strcmp(btf__name_by_offset(a, a_name), btf__name_by_offset(b, b_name));
}

bool layout_same(const struct btf *a, uint32_t a_type, const struct btf *b, uint32_t b_type)
{
	const struct btf_type *at = resolved(a, a_type), *bt = resolved(b, b_type);
	const struct btf_member *am, *bm;

	if (!at || !bt || btf_kind(at) != btf_kind(bt))
		return false;
	switch (btf_kind(at)) {
	case BTF_KIND_INT:
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
		return at->size == bt->size;
	case BTF_KIND_ARRAY:
		return btf_array(at)->nelems == btf_array(bt)->nelems &&
		       layout_same(a, btf_array(at)->type, b, btf_array(bt)->type);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		break;
	default:
		return false;
	}
	if (at->size != bt->size || btf_vlen(at) != btf_vlen(bt))
		return false;
	am = btf_members(at);
	bm = btf_members(bt);
	for (uint16_t i = 0; i < btf_vlen(at); i++)
		if (!same_name(a, am[i].name_off, b, bm[i].name_off) ||
		    btf_member_bit_offset(at, i) != btf_member_bit_offset(bt, i) ||
		    !layout_same(a, am[i].type, b, bm[i].type))
			return false;
	return true;
}

struct pair {
	const struct btf *from, *to;
	struct layout_moves *out;
};

static int add_move(struct layout_moves *out, uint32_t from, uint32_t to, uint32_t size)
{
	struct layout_move *grown =
		list_grow(out->move, out->count, &out->capacity, sizeof(*out->move));

	if (!grown)
		return -ENOMEM;
	out->move = grown;
	out->move[out->count++] = (struct layout_move){from, to, size};
	return 0;
}

static void lose(struct layout_moves *out, const char *name)
{
	size_t used = strlen(out->lost);

	if (strncmp(name, "pad", 3))
		snprintf(out->lost + used, sizeof(out->lost) - used, "%s%s", used ? ", " : "",
			 name);
}

/* `name` is of the member that has the two types. */
static int match(struct pair *p, uint32_t from_type, uint32_t from_at, uint32_t to_type,
		 uint32_t to_at, const char *name)
{
	const struct btf_type *from = resolved(p->from, from_type);
	const struct btf_type *to = resolved(p->to, to_type);
	const struct btf_member *fm, *tm;
	int err = 0;

	if (layout_same(p->from, from_type, p->to, to_type))
		return add_move(p->out, from_at, to_at, layout_size(p->to, to_type));
	if (from && to && btf_is_array(from) && btf_is_array(to)) {
		uint32_t n = btf_array(from)->nelems, m = btf_array(to)->nelems;
		uint32_t from_size = layout_size(p->from, btf_array(from)->type);
		uint32_t to_size = layout_size(p->to, btf_array(to)->type);

		for (uint32_t i = 0; i < n && i < m && !err; i++)
			err = match(p, btf_array(from)->type, from_at + i * from_size,
				    btf_array(to)->type, to_at + i * to_size, name);
		return err;
	}
	if (!from || !to || !btf_is_struct(from) || !btf_is_struct(to)) {
		lose(p->out, name);
		return 0;
	}
	fm = btf_members(from);
	tm = btf_members(to);
	for (uint16_t i = 0; i < btf_vlen(from) && !err; i++) {
		const char *member = btf__name_by_offset(p->from, fm[i].name_off);
		uint16_t j = 0;

		while (j < btf_vlen(to) &&
		       !same_name(p->from, fm[i].name_off, p->to, tm[j].name_off))
			j++;
		if (j == btf_vlen(to))
			lose(p->out, member);
		else
			err = match(p, fm[i].type, from_at + btf_member_bit_offset(from, i) / 8,
				    tm[j].type, to_at + btf_member_bit_offset(to, j) / 8, member);
	}
	return err;
}

int layout_moves(const struct btf *from, uint32_t from_type, const struct btf *to, uint32_t to_type,
		 struct layout_moves *out)
{
	struct pair p = {from, to, out};

	*out = (struct layout_moves){
		.from_size = layout_size(from, from_type),
		.to_size = layout_size(to, to_type),
	};
	return match(&p, from_type, 0, to_type, 0, "all of it");
}

void layout_free(struct layout_moves *moves)
{
	free(moves->move);
	*moves = (struct layout_moves){0};
}

bool layout_copy(const struct layout_moves *moves, const void *from, void *to)
{
	uint8_t rest[moves->from_size];

	memcpy(rest, from, sizeof(rest));
	memset(to, 0, moves->to_size);
	for (size_t i = 0; i < moves->count; i++) {
		const struct layout_move *m = &moves->move[i];

		memcpy((uint8_t *)to + m->to, (const uint8_t *)from + m->from, m->size);
		memset(rest + m->from, 0, m->size);
	}
	for (size_t i = 0; i < sizeof(rest); i++)
		if (rest[i])
			return false;
	return true;
}
