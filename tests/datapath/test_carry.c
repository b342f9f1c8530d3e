/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a daemon carries over from maps that it cannot use as they are: by the names of members, and
 * what the earlier programs write until they are replaced.
 */
#include "attached.h"
#include "maps_only.h"

#include <bpf/btf.h>

#include "datapath/layout.h"

/* ---- layouts ---- */

struct member {
	const char *name;
	int type, at; /* id, byte */
};

/* A BTF with u8 (1), u32 (2), u64 (3), u8[4] (4), u32[3] (5), u32[2] (6). */
static struct btf *basic_types(void)
{
	struct btf *btf = btf__new_empty();

	assert_int_equal(btf__add_int(btf, "u8", 1, 0), 1);
	assert_int_equal(btf__add_int(btf, "u32", 4, 0), 2);
	assert_int_equal(btf__add_int(btf, "u64", 8, 0), 3);
	assert_int_equal(btf__add_array(btf, 1, 1, 4), 4);
	assert_int_equal(btf__add_array(btf, 1, 2, 3), 5);
	assert_int_equal(btf__add_array(btf, 1, 2, 2), 6);
	return btf;
}

static int add_struct(struct btf *btf, const char *name, unsigned size, const struct member *m)
{
	int id = btf__add_struct(btf, name, size);

	for (; m->name; m++)
		assert_int_equal(btf__add_field(btf, m->name, m->type, 8 * m->at, 0), 0);
	return id;
}

struct inner_before {
	uint32_t a, b;
};
struct inner_now {
	uint32_t b, c, a;
};
struct before {
	uint64_t old_ns, seen_ns;
	uint32_t limit, kind;
	uint32_t list[3];
	struct inner_before inner;
	uint8_t pad[4];
};
struct now {
	uint32_t kind_wider[2];
	struct inner_now inner;
	uint32_t list[2];
	uint64_t kind;
	uint64_t seen_ns;
	uint32_t limit;
	uint8_t pad[4];
};

static int before_types(struct btf *btf)
{
	int inner = add_struct(btf, "inner", sizeof(struct inner_before),
			       (const struct member[]){{"a", 2, 0}, {"b", 2, 4}, {0}});

	return add_struct(btf, "all", sizeof(struct before),
			  (const struct member[]){
				  {"old_ns", 3, offsetof(struct before, old_ns)},
				  {"seen_ns", 3, offsetof(struct before, seen_ns)},
				  {"limit", 2, offsetof(struct before, limit)},
				  {"kind", 2, offsetof(struct before, kind)},
				  {"list", 5, offsetof(struct before, list)},
				  {"inner", inner, offsetof(struct before, inner)},
				  {"pad", 4, offsetof(struct before, pad)},
				  {0},
			  });
}

static int now_types(struct btf *btf)
{
	int inner = add_struct(btf, "inner", sizeof(struct inner_now),
			       (const struct member[]){{"b", 2, 0}, {"c", 2, 4}, {"a", 2, 8}, {0}});

	return add_struct(btf, "all", sizeof(struct now),
			  (const struct member[]){
				  {"kind_wider", 6, offsetof(struct now, kind_wider)},
				  {"inner", inner, offsetof(struct now, inner)},
				  {"list", 6, offsetof(struct now, list)},
				  {"kind", 3, offsetof(struct now, kind)},
				  {"seen_ns", 3, offsetof(struct now, seen_ns)},
				  {"limit", 2, offsetof(struct now, limit)},
				  {"pad", 4, offsetof(struct now, pad)},
				  {0},
			  });
}

static void a_member_goes_to_the_member_of_its_name(void **state)
{
	struct btf *btf[2] = {basic_types(), basic_types()};
	int types[2] = {before_types(btf[0]), now_types(btf[1])};
	const struct before was = {
		.old_ns = 1,
		.seen_ns = 2,
		.limit = 3,
		.kind = 4,
		.list = {5, 6, 7},
		.inner = {8, 9},
	};
	struct layout_moves moves;
	struct before again;
	struct now is;

	assert_int_equal(layout_moves(btf[0], types[0], btf[1], types[1], &moves), 0);
	/* A member of another type is another member, and one that is gone is named. */
	assert_string_equal(moves.lost, "old_ns, kind");
	memset(&is, 0xff, sizeof(is));
	assert_false(layout_copy(&moves, &was, &is));
	assert_int_equal(is.seen_ns, 2);
	assert_int_equal(is.limit, 3);
	assert_int_equal(is.kind, 0);
	assert_int_equal(is.list[0], 5);
	assert_int_equal(is.list[1], 6);
	assert_int_equal(is.inner.a, 8);
	assert_int_equal(is.inner.b, 9);
	assert_int_equal(is.inner.c, 0);
	assert_int_equal(is.kind_wider[1], 0);
	layout_free(&moves);

	/* And back. */
	assert_int_equal(layout_moves(btf[1], types[1], btf[0], types[0], &moves), 0);
	is.inner.c = is.kind = 0;
	assert_true(layout_copy(&moves, &is, &again));
	assert_int_equal(again.seen_ns, 2);
	assert_int_equal(again.limit, 3);
	assert_int_equal(again.list[1], 6);
	assert_int_equal(again.list[2], 0);
	assert_int_equal(again.inner.b, 9);
	assert_int_equal(again.old_ns, 0);
	layout_free(&moves);

	assert_false(layout_same(btf[0], types[0], btf[1], types[1]));
	assert_true(layout_same(btf[0], types[0], btf[0], types[0]));
	assert_int_equal(layout_u64(btf[1], types[1], "seen_ns"), offsetof(struct now, seen_ns));
	assert_int_equal(layout_u64(btf[1], types[1], "limit"), -1);
	btf__free(btf[0]);
	btf__free(btf[1]);
}

/* ---- maps of another size ---- */

static const struct sluice_budget_key a = {.quota = 1}, b = {.quota = 2}, c = {.quota = 3},
				      e = {.quota = 4};

static void spend(int fd, const struct sluice_budget_key *key, uint64_t tat_ns)
{
	const struct sluice_budget budget = {.request_tat_ns = tat_ns, .last_seen_ns = tat_ns};

	assert_int_equal(bpf_map_update_elem(fd, key, &budget, BPF_ANY), 0);
}

/* What is spent in the maps of this daemon. */
static uint64_t spent(const struct datapath *d, const struct sluice_budget_key *key)
{
	struct sluice_budget budget = {0};

	map_find(d->skel->maps.client_state, key, &budget);
	return budget.request_tat_ns;
}

/* Pins a map of another size in the place of one that an ended daemon left. */
static int replaced(const char *name, enum bpf_map_type type, uint32_t max)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	char path[64];
	int fd;

	snprintf(path, sizeof(path), PIN_DIR "/%s", name);
	fd = bpf_obj_get(path);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	close(fd);
	assert_int_equal(unlink(path), 0);
	fd = bpf_map_create(type, name, info.key_size, info.value_size, max, NULL);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	return fd;
}

static void what_the_earlier_programs_write_until_they_are_replaced_is_carried(void **state)
{
	struct datapath *d = opened();
	int before;

	closed(d);
	before = replaced("client_state", BPF_MAP_TYPE_LRU_HASH, 4096);
	spend(before, &a, 10);
	spend(before, &b, 20);
	spend(before, &c, 30);
	d = opened();
	assert_non_null(strstr(notice, "new maps for client_state"));
	assert_non_null(strstr(notice, "nothing is left out"));
	assert_int_equal(spent(d, &a), 10);
	assert_int_equal(spent(d, &c), 30);
	/* While the daemon starts. */
	spend(before, &a, 11);
	assert_int_equal(bpf_map_delete_elem(before, &c), 0);
	assert_int_equal(pinned_settings().paused_until_ns, 0);
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	assert_true(pinned_settings().paused_until_ns > 0);
	assert_int_equal(spent(d, &a), 11);
	assert_int_equal(spent(d, &b), 20);
	assert_int_equal(spent(d, &c), 0);
	/* While it replaces programs: those replaced already write into the new map, and the
	 * newer state stays. */
	spend(before, &e, 40);
	spend(before, &b, 19);
	spend(map_fd(d->skel->maps.client_state), &b, 21);
	assert_done(datapath_renew_lease(d, 1));
	assert_int_equal(pinned_settings().paused_until_ns, 0);
	assert_int_equal(spent(d, &e), 40);
	assert_int_equal(spent(d, &b), 21);
	/* From then on the earlier map is nobody's. */
	spend(before, &a, 12);
	assert_done(datapath_renew_lease(d, 2));
	assert_int_equal(spent(d, &a), 11);
	close(before);
	closed(d);
}

static void a_map_without_room_for_all_keeps_those_used_last(void **state)
{
	const struct sluice_kept one = {.more = 1};
	struct sluice_conn_key key = {.server_port = 1};
	struct datapath *d = opened();
	uint32_t room = bpf_map__max_entries(d->skel->maps.kept);
	struct sluice_kept kept = one;
	int before;

	closed(d);
	before = replaced("kept", BPF_MAP_TYPE_HASH, 2 * room);
	for (uint32_t i = 0; i < room + 100; i++) {
		memcpy(key.client_addr, &i, sizeof(i));
		kept.last_seen_ns = (i * 7919ULL) % (room + 100) + 1; /* in no order */
		assert_int_equal(bpf_map_update_elem(before, &key, &kept, BPF_ANY), 0);
	}
	close(before);
	d = opened();
	assert_non_null(strstr(notice, "not carried: 100 of kept"));
	for (uint32_t i = 0; i < room + 100; i++) {
		memcpy(key.client_addr, &i, sizeof(i));
		assert_int_equal(map_find(d->skel->maps.kept, &key, &kept),
				 (i * 7919ULL) % (room + 100) >= 100);
	}
	closed(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_member_goes_to_the_member_of_its_name),
		sandbox_test(what_the_earlier_programs_write_until_they_are_replaced_is_carried),
		maps_test(a_map_without_room_for_all_keeps_those_used_last),
	};

	return sandbox_main("carry", tests);
}
