/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a daemon takes over of the maps that another has pinned: of the same version, of an older or
 * a newer one, or of other sizes. The one idea: a map of the same layout and size is used as it is,
 * so that the programs of both write into one map. For any other a new map is made, and its entries
 * are copied, member by member of the same name (layout.c). The map `layout` holds the BTF of the
 * maps that are pinned beside it, so each version reads the other's.
 *
 * The earlier programs run on until they are replaced, and write into their own maps. So the copy
 * is made in passes, each of which copies what has changed since the last: after the load, before
 * the programs are replaced, and once they are. From the second pass on, the packets of services
 * are dropped by the programs of this version, and their senders send them again: a connection of
 * which each version saw a part would be judged by neither. A start that fails before the second
 * pass leaves the pins as they were.
 */
#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "carry.h"
#include "layout.h"
#include "map_io.h"
#include "pins.h"
#include "settings.h"

#define PAUSE_NS (2 * NSEC_PER_SEC) /* at most; it takes milliseconds */

enum {
	OF_TRAFFIC = 1, /* says what the programs of one version have under way: no other reads it
			 */
	LATE = 2,       /* what is written until the programs are replaced is copied, too */
	/* Each program writes an entry as a whole. A connection is written from both sides, which
	 * are not replaced at once. */
	WHOLE = 4,
};

static const struct {
	const char *name;
	unsigned is;
} special[] = {
	{"conns", OF_TRAFFIC | LATE},
	{"tombstones", OF_TRAFFIC | LATE},
	{"half_open", OF_TRAFFIC},
	{"client_in_flight", OF_TRAFFIC},
	{"model_state", OF_TRAFFIC},
	{"conn_counts", OF_TRAFFIC},
	{"samples", OF_TRAFFIC},
	{"verdicts", OF_TRAFFIC},
	{"fleet_changes", OF_TRAFFIC},
	{"client_state", LATE | WHOLE},
	{"kept", LATE},
};

/* An entry as it was copied last: hashes of its key and value. */
struct copied {
	uint64_t key, value; /* key 0: the slot is free */
	unsigned pass;
};

/* A map that is made anew. */
struct made {
	struct bpf_map *map;
	char *path; /* of its pin */
	int fd;     /* of the one that is pinned; -1: nothing of it is carried */
	unsigned is;
	struct bpf_map_info info;
	struct layout_moves key, value;
	int64_t time_at;   /* where a value says when it was used last, ns; -1: it does not */
	uint64_t oldest;   /* … and from when on there is room for it */
	size_t value_size; /* of the pinned map's values in user space, those of all CPUs … */
	size_t cpus;       /* … which are so many; 1: the values are not per CPU */
	struct copied *copied;
	size_t slots, used; /* slots: a power of two */
	uint64_t left_out;
};

struct carry {
	struct btf *before, *now;
	unsigned version; /* of what is pinned */
	struct made *made;
	size_t count, capacity;
	unsigned pass;
	bool committed, paused;
	char lost[200]; /* what is not carried, by ", " */
};

static unsigned is_special(const char *name)
{
	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
		if (!strcmp(special[i].name, name))
			return special[i].is;
	return 0;
}

static void __attribute__((format(printf, 2, 3))) lose(struct carry *c, const char *format, ...)
{
	size_t used = strlen(c->lost);
	va_list args;

	if (used && used < sizeof(c->lost) - 2)
		used += (size_t)sprintf(c->lost + used, ", ");
	va_start(args, format);
	vsnprintf(c->lost + used, sizeof(c->lost) - used, format, args);
	va_end(args);
}

/* ---- what is pinned ---- */

/* A descriptor of a pinned map; -ENOENT: there is none. */
static int open_pin(const struct datapath *d, const char *name, struct bpf_map_info *info)
{
	char path[PATH_MAX + 64];
	uint32_t len = sizeof(*info);
	int fd;

	snprintf(path, sizeof(path), "%s/%s", d->pin_dir, name);
	fd = bpf_obj_get(path);
	*info = (struct bpf_map_info){0};
	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, info, &len)) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

/* The layout of the object's own maps, without what describes its programs. */
static struct btf *own_layout(const struct datapath *d)
{
	struct btf *btf = btf__new_empty();

	if (libbpf_get_error(btf))
		return NULL;
	if (btf__add_btf(btf, bpf_object__btf(d->skel->obj)) < 0) {
		btf__free(btf);
		return NULL;
	}
	return btf;
}

/* Reads version and layout of the pinned maps. -ENOENT: they are not complete. */
static int read_pins(struct datapath *d)
{
	struct sluice_settings settings;
	struct carry *c = d->carry;
	struct layout_map map;
	int fd = settings_pinned(d->pin_dir, &settings), err;

	if (fd < 0)
		return fd;
	close(fd);
	if (!settings.abi_version)
		return -ENOENT;
	c->version = settings.abi_version;
	err = pins_layout(d->pin_dir, &c->before);
	for (uint32_t i = 0; !err && layout_map(c->before, i, &map); i++) {
		struct bpf_map_info info;

		fd = map.pinned ? open_pin(d, map.name, &info) : -1;
		if (map.pinned && fd < 0)
			err = fd;
		close_fd(&fd);
	}
	return err;
}

static bool same_type(const struct btf *a, uint32_t a_type, const struct btf *b, uint32_t b_type)
{
	return a_type || b_type ? layout_same(a, a_type, b, b_type) : true;
}

/* Whether the pinned map is what its layout says. */
static bool is_sound(const struct btf *btf, const struct layout_map *map,
		     const struct bpf_map_info *info)
{
	return map->key && map->value && layout_size(btf, map->key) == info->key_size &&
	       layout_size(btf, map->value) == info->value_size;
}

static bool is_used_as_it_is(const struct carry *c, const struct bpf_map *map, int fd,
			     const struct layout_map *before, const struct layout_map *now)
{
	const char *name = bpf_map__name(map);

	if (!pins_fit(fd, map) || (c->version != SLUICE_ABI_VERSION &&
				   (is_special(name) & OF_TRAFFIC || !strcmp(name, "settings"))))
		return false;
	if (!strcmp(name, "layout")) {
		uint32_t before_size, now_size;
		const void *before_data = btf__raw_data(c->before, &before_size);
		const void *now_data = btf__raw_data(c->now, &now_size);

		return before_size == now_size && !memcmp(before_data, now_data, now_size);
	}
	return same_type(c->before, before->key, c->now, now->key) &&
	       same_type(c->before, before->value, c->now, now->value);
}

static bool is_per_cpu(const struct bpf_map *map)
{
	enum bpf_map_type type = bpf_map__type(map);

	return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH;
}

static bool is_array(const struct bpf_map *map)
{
	enum bpf_map_type type = bpf_map__type(map);

	return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

/* Prepares the copy of one map. */
static int prepare(struct datapath *d, struct made *m, const struct layout_map *before,
		   const struct layout_map *now)
{
	struct carry *c = d->carry;
	int err = layout_moves(c->before, before->key, c->now, now->key, &m->key);

	if (!err)
		err = layout_moves(c->before, before->value, c->now, now->value, &m->value);
	m->cpus = is_per_cpu(m->map) ? (size_t)d->cpus : 1;
	m->value_size = m->cpus > 1 || is_per_cpu(m->map)
				? (m->info.value_size + 7) / 8 * 8 * m->cpus
				: m->info.value_size;
	m->time_at = layout_u64(c->before, before->value, "last_seen_ns");
	for (m->slots = 64; m->slots < 2 * (size_t)m->info.max_entries;)
		m->slots *= 2;
	m->copied = calloc(m->slots, sizeof(*m->copied));
	if (err || !m->copied)
		return datapath_fail(-ENOMEM, "out of memory");
	if (m->value.lost[0])
		lose(c, "of %s: %s", before->name, m->value.lost);
	return 0;
}

/* Decides about one map of the object. */
static int decide(struct datapath *d, struct bpf_map *map)
{
	const char *name = bpf_map__name(map);
	struct layout_map before = {0}, now = {0};
	struct carry *c = d->carry;
	struct made *grown, *m;
	bool known = layout_find(c->before, name, &before);

	layout_find(c->now, name, &now);
	grown = list_grow(c->made, c->count, &c->capacity, sizeof(*c->made));
	if (!grown)
		return datapath_fail(-ENOMEM, "out of memory");
	c->made = grown;
	m = &c->made[c->count];
	*m = (struct made){.map = map, .is = is_special(name)};
	m->fd = open_pin(d, name, &m->info);
	if (m->fd < 0 && m->fd != -ENOENT)
		return datapath_fail(m->fd, "%s/%s: %s", d->pin_dir, name, strerror(-m->fd));
	if (m->fd >= 0 && is_used_as_it_is(c, map, m->fd, &before, &now)) {
		close(m->fd);
		return 0;
	}
	c->count++;
	m->path = strdup(bpf_map__pin_path(map));
	if (!m->path || bpf_map__set_pin_path(map, NULL))
		return datapath_fail(-ENOMEM, "out of memory");
	if (m->fd < 0)
		return 0;
	if (map == d->skel->maps.layout || !known || !is_sound(c->before, &before, &m->info) ||
	    (m->is & OF_TRAFFIC && c->version != SLUICE_ABI_VERSION)) {
		uint8_t first[256];

		/* An entry of an array is always there, so that it says nothing. */
		if (m->info.type != BPF_MAP_TYPE_ARRAY && m->info.type != BPF_MAP_TYPE_RINGBUF &&
		    m->info.key_size <= sizeof(first) && !bpf_map_get_next_key(m->fd, NULL, first))
			lose(c, "%s", name);
		close(m->fd);
		m->fd = -1;
		return 0;
	}
	return prepare(d, m, &before, &now);
}

int carry_find(struct datapath *d, enum carry_found *found)
{
	struct bpf_map *map, *layout = d->skel->maps.layout;
	struct carry *c = d->carry = calloc(1, sizeof(*d->carry));
	uint32_t size;
	int err = 0;

	if (!c || !(c->now = own_layout(d)) || !btf__raw_data(c->now, &size) ||
	    bpf_map__set_value_size(layout, size))
		return datapath_fail(-ENOMEM, "the layout of the maps cannot be read");
	*found = pins_any(d->pin_dir, d->skel->obj) ? CARRY_UNFINISHED : CARRY_NOTHING;
	if (*found == CARRY_NOTHING)
		return 0;
	err = read_pins(d);
	if (err) {
		btf__free(c->before);
		c->before = NULL;
		return err == -ENOENT
			       ? 0
			       : datapath_fail(err, "what is pinned in %s cannot be read: %s",
					       d->pin_dir, strerror(-err));
	}
	*found = CARRY_PINNED;
	bpf_object__for_each_map(map, d->skel->obj)
	{
		if (!err && bpf_map__pin_path(map) && map != layout)
			err = decide(d, map);
	}
	return err ? err : decide(d, layout); /* the last one */
}

/* ---- copies ---- */

static uint64_t hash(const void *data, size_t size)
{
	const uint8_t *p = data;
	uint64_t h = size;

	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = 0;

		memcpy(&word, p + i, size - i < 8 ? size - i : 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	return h;
}

static struct copied *slot_of(struct made *m, uint64_t key)
{
	size_t i = key & (m->slots - 1);

	while (m->copied[i].key && m->copied[i].key != key)
		i = (i + 1) & (m->slots - 1);
	return &m->copied[i];
}

struct copying {
	struct made *m;
	unsigned pass;
	uint8_t *key, *value; /* as this version has them */
	uint8_t *there;       /* room for a value of the new map, which its programs write, too */
	size_t value_size;
	int err;
};

/* Whether it is an entry of an array that the new one has not, and was not written to. */
static bool is_beyond(const struct copying *p, const void *key, const uint8_t *value)
{
	uint32_t i;

	if (!is_array(p->m->map))
		return false;
	memcpy(&i, key, sizeof(i));
	return i >= bpf_map__max_entries(p->m->map) && !value[0] &&
	       !memcmp(value, value + 1, p->m->value_size - 1);
}

/* Whether a program that was replaced already has written to the entry: that is the newer state. */
static bool is_newer_there(const struct copying *p, const struct copied *slot)
{
	return p->there && !bpf_map_lookup_elem(map_fd(p->m->map), p->key, p->there) &&
	       (!slot->key || slot->value != hash(p->there, p->value_size));
}

static void copy(void *arg, const void *key, const void *value)
{
	struct copying *p = arg;
	struct made *m = p->m;
	size_t before = m->value_size / m->cpus, now = p->value_size / m->cpus;
	struct copied *slot;
	uint64_t seen, id, h;
	int err;

	if (is_beyond(p, key, value))
		return;
	if (m->time_at >= 0) {
		memcpy(&seen, (const uint8_t *)value + m->time_at, sizeof(seen));
		if (seen < m->oldest) {
			m->left_out++;
			return;
		}
	}
	if (!layout_copy(&m->key, key, p->key)) {
		m->left_out++;
		return;
	}
	for (size_t cpu = 0; cpu < m->cpus; cpu++)
		layout_copy(&m->value, (const uint8_t *)value + cpu * before, p->value + cpu * now);
	id = hash(p->key, m->key.to_size) | 1;
	slot = slot_of(m, id);
	h = hash(p->value, p->value_size);
	if ((slot->key && slot->value == h) || is_newer_there(p, slot)) {
		slot->pass = p->pass;
		return;
	}
	err = bpf_map_update_elem(map_fd(m->map), p->key, p->value, BPF_ANY);
	if (map_full(err)) {
		m->left_out++;
	} else if (err) {
		p->err = err;
	} else if (slot->key || m->used < m->slots / 4 * 3) { /* entries come and go */
		m->used += !slot->key;
		*slot = (struct copied){id, h, p->pass};
	}
}

/* Deletes what was copied, and is no more. */
static int delete_gone(struct datapath *d, struct made *m, unsigned pass)
{
	size_t size = bpf_map__key_size(m->map), count = 0;
	void *keys;
	int err = map_keys(d, m->map, &keys, &count);

	for (size_t i = 0; i < count && !err; i++) {
		const uint8_t *key = (const uint8_t *)keys + i * size;
		struct copied *slot = slot_of(m, hash(key, size) | 1);

		if (!slot->key || !slot->value || slot->pass == pass)
			continue;
		bpf_map_delete_elem(map_fd(m->map), key);
		slot->value = 0; /* what comes there next is another's */
	}
	free(keys);
	return err;
}

struct times {
	uint64_t *list;
	size_t count, capacity;
	int64_t at;
	int err;
};

static void add_time(void *arg, const void *key, const void *value)
{
	struct times *t = arg;
	uint64_t *grown = list_grow(t->list, t->count, &t->capacity, sizeof(*grown));

	if (!grown) {
		t->err = -ENOMEM;
		return;
	}
	t->list = grown;
	memcpy(&t->list[t->count++], (const uint8_t *)value + t->at, sizeof(*grown));
}

static int newest_first(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* From when on entries are carried, if not all have room. */
static int find_oldest(struct datapath *d, struct made *m)
{
	struct times t = {.at = m->time_at};
	size_t max = bpf_map__max_entries(m->map);
	int err = 0;

	if (m->time_at >= 0 && m->info.max_entries > max) {
		err = map_walk(d, m->fd, m->info.key_size, m->value_size, add_time, &t);
		if (!err)
			err = t.err;
	}
	if (!err && t.count > max) {
		qsort(t.list, t.count, sizeof(*t.list), newest_first);
		m->oldest = t.list[max - 1];
	}
	free(t.list);
	return err;
}

/* late: programs of this version write into the new map. */
static int copy_map(struct datapath *d, struct made *m, unsigned pass, bool late)
{
	size_t size = bpf_map__value_size(m->map);
	struct copying p = {.m = m, .pass = pass};
	int err = pass == 1 ? find_oldest(d, m) : 0;

	p.value_size = is_per_cpu(m->map) ? (size + 7) / 8 * 8 * m->cpus : size;
	p.key = calloc(1, m->key.to_size);
	p.value = calloc(1, p.value_size);
	late = late && m->is & WHOLE;
	p.there = late ? calloc(1, p.value_size) : NULL;
	m->left_out = 0;
	if (!p.key || !p.value || (late && !p.there))
		err = -ENOMEM;
	if (!err)
		err = map_walk(d, m->fd, m->info.key_size, m->value_size, copy, &p);
	if (!err)
		err = p.err;
	free(p.key);
	free(p.value);
	free(p.there);
	if (!err && pass > 1 && !is_array(m->map))
		err = delete_gone(d, m, pass);
	return err ? datapath_fail(err, "%s cannot be carried over: %s", bpf_map__name(m->map),
				   strerror(-err))
		   : 0;
}

static int copy_all(struct datapath *d, unsigned only)
{
	struct carry *c = d->carry;
	int err = 0;

	c->pass++;
	for (size_t i = 0; i < c->count && !err; i++)
		if (c->made[i].fd >= 0 && (c->made[i].is & only) == only)
			err = copy_map(d, &c->made[i], c->pass, only & LATE);
	return err;
}

/* ---- the passes ---- */

static void say_what_is_carried(struct datapath *d)
{
	struct carry *c = d->carry;
	char why[200] = "";

	for (size_t i = 0; i < c->count; i++)
		if (c->made[i].left_out)
			lose(c, "%llu of %s", (unsigned long long)c->made[i].left_out,
			     bpf_map__name(c->made[i].map));
	if (c->version != SLUICE_ABI_VERSION)
		snprintf(why, sizeof(why), ": it was of ABI version %u, and this is version %d",
			 c->version, SLUICE_ABI_VERSION);
	for (size_t i = 0; i < c->count && c->version == SLUICE_ABI_VERSION; i++) {
		size_t used = strlen(why);

		if (c->made[i].fd >= 0)
			snprintf(why + used, sizeof(why) - used, "%s%s",
				 used ? ", " : ": there are new maps for ",
				 bpf_map__name(c->made[i].map));
	}
	if (!why[0])
		datapath_notify(&d->handlers, NOTICE_ADOPTED, d->pin_dir,
				"adopted the maps pinned in %s", d->pin_dir);
	else
		datapath_notify(&d->handlers, NOTICE_CARRIED, d->pin_dir,
				"carried over what was pinned in %s%s; %s%s", d->pin_dir, why,
				c->lost[0] ? "not carried: " : "nothing is left out", c->lost);
}

static int write_layout(struct datapath *d)
{
	uint32_t size, zero = 0;

	return map_write(d->skel->maps.layout, &zero, btf__raw_data(d->carry->now, &size));
}

int carry_load(struct datapath *d)
{
	struct carry *c = d->carry;
	int err = 0;

	if (!c->before || (c->count && c->made[c->count - 1].map == d->skel->maps.layout))
		err = write_layout(d);
	if (err || !c->before) {
		carry_free(d);
		return err;
	}
	err = copy_all(d, 0);
	if (!err)
		say_what_is_carried(d);
	if (!c->count)
		carry_free(d);
	return err;
}

/* Removes the pins of maps that this version lacks. */
static void unpin_unknown(const struct datapath *d)
{
	struct layout_map map;

	for (uint32_t i = 0; layout_map(d->carry->before, i, &map); i++) {
		char path[PATH_MAX + 64];

		if (!map.pinned || bpf_object__find_map_by_name(d->skel->obj, map.name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", d->pin_dir, map.name);
		unlink(path);
	}
}

/* The layout goes first and comes last: without it, the next start takes the maps as unfinished. */
static int pin_made(struct datapath *d)
{
	struct carry *c = d->carry;
	struct made *layout = &c->made[c->count - 1];

	if (layout->map == d->skel->maps.layout && unlink(layout->path) && errno != ENOENT)
		return datapath_fail(-errno, "%s: %s", layout->path, strerror(errno));
	unpin_unknown(d);
	for (size_t i = 0; i < c->count; i++) {
		struct made *m = &c->made[i];

		if ((unlink(m->path) && errno != ENOENT) || bpf_obj_pin(map_fd(m->map), m->path) ||
		    bpf_map__set_pin_path(m->map, m->path))
			return datapath_fail(-errno, "%s: %s", m->path, strerror(errno));
	}
	return 0;
}

/* A daemon that is killed meanwhile does not come back to end it. */
static int pause_traffic(struct datapath *d)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	d->carry->paused = true;
	return settings_pause(d, now.tv_sec * NSEC_PER_SEC + now.tv_nsec + PAUSE_NS);
}

static bool any_is_late(const struct carry *c)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->made[i].fd >= 0 && c->made[i].is & LATE)
			return true;
	return false;
}

int carry_commit(struct datapath *d)
{
	struct carry *c = d->carry;
	bool late;
	int err;

	if (!c || c->committed)
		return 0;
	c->committed = true;
	late = any_is_late(c);
	/* Before the pass for the earlier programs, if they read the same settings; after it, since
	 * it copies other settings. */
	err = late ? pause_traffic(d) : 0;
	if (!err)
		err = copy_all(d, 0);
	if (!err && late)
		err = pause_traffic(d);
	return err ? err : pin_made(d);
}

int carry_finish(struct datapath *d)
{
	int err = d->carry ? copy_all(d, LATE) : 0;

	carry_free(d);
	return err;
}

void carry_free(struct datapath *d)
{
	struct carry *c = d->carry;

	if (c && c->paused)
		settings_pause(d, 0);
	for (size_t i = 0; c && i < c->count; i++) {
		struct made *m = &c->made[i];

		free(m->path);
		free(m->copied);
		layout_free(&m->key);
		layout_free(&m->value);
		close_fd(&m->fd);
	}
	if (c) {
		btf__free(c->before);
		btf__free(c->now);
		free(c->made);
	}
	free(c);
	d->carry = NULL;
}
