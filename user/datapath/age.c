/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The walk that keeps counts honest: takes away connections and tombstones that are long silent, and mends
 * model_state where it has drifted from what conns holds.
 *
 * The programs count while we look, so a difference seen once means nothing. It is believed of a model only if, in
 * two consecutive walks over conns, the model's counts were the same before and after each walk, and exactly
 * the same exchanges held them; and then only if a second such pair, of another call, shows the same difference.
 * What a program was just doing (counted, not yet noted in its connection) does not last that long. The correction
 * is an atomic addition on the mapped array, never a store: whatever is counted meanwhile stays counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define BATCHES_PER_CALL 32 /* bounds one call to 8192 entries of each map */

#define IDLE_IN_FLIGHT_NS (600 * NSEC_PER_SEC)
#define IDLE_NS           (3600 * NSEC_PER_SEC)
#define IDLE_CLOSED_NS    (30 * NSEC_PER_SEC)
#define IDLE_TOMBSTONE_NS (10 * NSEC_PER_SEC)

/* A place in a map that is read in batches, over several calls. */
struct cursor {
	uint8_t at[64];
	bool under_way;
};

struct sum {
	struct sluice_model_state counted; /* what conns says */
	struct sluice_model_state before;  /* model_state at the walk's start … */
	struct sluice_model_state after;   /* … and at its end */
	uint64_t holders;                  /* a fingerprint of the exchanges that are counted */
};

struct suspect {
	struct sluice_model_state drift;
	uint64_t call;
};

struct idle_client {
	struct sluice_client client;
	int64_t value;
};

struct age {
	uint64_t call;
	bool walked; /* last[] is of a whole walk */
	struct cursor conns, tombstones;
	struct sum now[SLUICE_MODELS_MAX], last[SLUICE_MODELS_MAX];
	struct suspect suspect[SLUICE_MODELS_MAX];

	struct sluice_client
		*busy; /* clients with an exchange in flight, as this walk found them */
	size_t busy_count, busy_room;
	struct idle_client *idle, *idle_last; /* counts of clients that have none */
	size_t idle_count, idle_room, idle_last_count;
	bool out_of_memory;

	struct sluice_conn_key keys[BATCH];
	struct sluice_conn values[BATCH];
	struct sluice_tombstone dead[BATCH];
};

void age_free(struct age *age)
{
	if (!age)
		return;
	free(age->busy);
	free(age->idle);
	free(age->idle_last);
	free(age);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 32) * 0x9fb21c651e98df25ULL;
	x = (x ^ x >> 29) * 0xd6e8feb86659fd93ULL;
	return x ^ x >> 32;
}

static uint64_t hash_bytes(const void *data, size_t size)
{
	const uint8_t *p = data;
	uint64_t h = size;

	for (size_t i = 0; i < size; i++)
		h = mix(h ^ p[i]);
	return h;
}

static struct sluice_model_state read_state(struct datapath *d, uint32_t model)
{
	return (struct sluice_model_state){
		.in_flight = __atomic_load_n(&d->state[model].in_flight, __ATOMIC_SEQ_CST),
		.waiting = __atomic_load_n(&d->state[model].waiting, __ATOMIC_SEQ_CST),
	};
}

static void add_state(struct datapath *d, uint32_t model, int64_t in_flight, int64_t waiting)
{
	if (in_flight)
		__atomic_fetch_add(&d->state[model].in_flight, in_flight, __ATOMIC_SEQ_CST);
	if (waiting)
		__atomic_fetch_add(&d->state[model].waiting, waiting, __ATOMIC_SEQ_CST);
}

static bool in_flight(const struct sluice_conn *conn)
{
	for (int i = 0; i < SLUICE_EXCHANGES_MAX; i++)
		if (conn->exchange[i].flags & SLUICE_EXCHANGE_IN_FLIGHT)
			return true;
	return false;
}

/*
 * Long enough silent to be forgotten. All limits are longer than the time between two walks, so this also means
 * unchanged since the last one. A client that has closed its side may still wait for its answer.
 */
static bool forgotten(const struct sluice_conn *conn, uint64_t now)
{
	uint64_t idle = now > conn->last_seen_ns ? now - conn->last_seen_ns : 0;
	bool held = in_flight(conn);

	if (conn->flags & SLUICE_CONN_SERVER_FIN || (conn->flags & SLUICE_CONN_CLIENT_FIN && !held))
		return idle > IDLE_CLOSED_NS;
	return idle > (held ? IDLE_IN_FLIGHT_NS : IDLE_NS);
}

/* Deletes a connection if it still is what it was, and gives back what it held. */
static bool forget(struct datapath *d, const struct sluice_conn_key *key, uint64_t last_seen_ns)
{
	int fd = map_fd(d->skel->maps.conns);
	struct sluice_conn conn;

	if (bpf_map_lookup_elem(fd, key, &conn) || conn.last_seen_ns != last_seen_ns ||
	    bpf_map_lookup_and_delete_elem(fd, key, &conn))
		return false;
	for (int i = 0; i < SLUICE_EXCHANGES_MAX; i++) {
		const struct sluice_exchange *e = &conn.exchange[i];
		int held = !!(e->flags & SLUICE_EXCHANGE_IN_FLIGHT);
		int waiting = !!(e->flags & SLUICE_EXCHANGE_WAITING);

		if (e->model >= SLUICE_MODELS_MAX)
			continue;
		add_state(d, SLUICE_MODEL_ALL, -held, -waiting);
		add_state(d, e->model, -held, -waiting);
	}
	return true;
}

static void note_busy(struct age *age, const struct sluice_client *client)
{
	if (age->busy_count == age->busy_room) {
		size_t room = age->busy_room ? 2 * age->busy_room : 256;
		void *grown = realloc(age->busy, room * sizeof(*age->busy));

		if (!grown) {
			age->out_of_memory = true;
			return;
		}
		age->busy = grown;
		age->busy_room = room;
	}
	age->busy[age->busy_count++] = *client;
}

static void add_up(struct age *age, const struct sluice_conn_key *key,
		   const struct sluice_conn *conn)
{
	for (int i = 0; i < SLUICE_EXCHANGES_MAX; i++) {
		const struct sluice_exchange *e = &conn->exchange[i];
		uint32_t flags = e->flags & (SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_WAITING);
		uint32_t models[2] = {SLUICE_MODEL_ALL, e->model};
		uint64_t holder;

		if (!flags || e->model >= SLUICE_MODELS_MAX)
			continue;
		note_busy(age, &e->client);
		holder = mix(hash_bytes(key, sizeof(*key)) ^ mix(e->admitted_ns) ^
			     (uint64_t)i << 32 ^ flags);
		for (int m = 0; m < 2; m++) {
			struct sum *sum = &age->now[models[m]];

			sum->counted.in_flight += !!(flags & SLUICE_EXCHANGE_IN_FLIGHT);
			sum->counted.waiting += !!(flags & SLUICE_EXCHANGE_WAITING);
			sum->holders += holder;
		}
	}
}

/* One batch. Returns how many entries came; *done: they were the last. */
static int next_batch(int fd, struct cursor *c, void *keys, void *values, bool *done)
{
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t count = BATCH;
	struct cursor next = {.under_way = true};
	int err = bpf_map_lookup_batch(fd, c->under_way ? c->at : NULL, next.at, keys, values,
				       &count, &opts);

	if (err && err != -ENOENT) {
		c->under_way = false;
		return err;
	}
	*c = next;
	*done = err == -ENOENT;
	if (*done)
		c->under_way = false;
	return count;
}

static bool same(struct sluice_model_state a, struct sluice_model_state b)
{
	return a.in_flight == b.in_flight && a.waiting == b.waiting;
}

/* Compares the walk that ended with the one before it, model by model. */
static void compare(struct datapath *d, struct age *age)
{
	for (uint32_t m = 0; m < SLUICE_MODELS_MAX; m++) {
		const struct sum *now = &age->now[m], *last = &age->last[m];
		struct suspect *suspect = &age->suspect[m];
		struct sluice_model_state drift = {
			.in_flight = now->counted.in_flight - now->after.in_flight,
			.waiting = now->counted.waiting - now->after.waiting,
		};

		if (!same(last->before, last->after) || !same(last->after, now->before) ||
		    !same(now->before, now->after) || !same(last->counted, now->counted) ||
		    last->holders != now->holders)
			continue; /* in motion: says nothing */
		if (!drift.in_flight && !drift.waiting) {
			suspect->call = 0;
		} else if (!suspect->call || !same(suspect->drift, drift)) {
			*suspect = (struct suspect){drift, age->call};
		} else if (suspect->call != age->call) {
			add_state(d, m, drift.in_flight, drift.waiting);
			suspect->call = 0;
		}
	}
}

static void start_walk(struct datapath *d, struct age *age)
{
	memcpy(age->last, age->now, sizeof(age->last));
	memset(age->now, 0, sizeof(age->now));
	age->busy_count = 0;
	age->out_of_memory = false;
	for (uint32_t m = 0; m < SLUICE_MODELS_MAX; m++)
		age->now[m].before = read_state(d, m);
}

static void end_walk(struct datapath *d, struct age *age)
{
	for (uint32_t m = 0; m < SLUICE_MODELS_MAX; m++)
		age->now[m].after = read_state(d, m);
	if (age->walked)
		compare(d, age);
	age->walked = true;
}

static int by_client(const void *a, const void *b)
{
	return memcmp(a, b,
		      sizeof(struct sluice_client)); /* an idle_client begins with its client */
}

static void note_idle(void *arg, const void *key, const void *value)
{
	struct age *age = arg;

	if (age->busy_count &&
	    bsearch(key, age->busy, age->busy_count, sizeof(*age->busy), by_client))
		return;
	if (age->idle_count == age->idle_room) {
		size_t room = age->idle_room ? 2 * age->idle_room : 256;
		void *grown = realloc(age->idle, room * sizeof(*age->idle));

		if (!grown)
			return;
		age->idle = grown;
		age->idle_room = room;
	}
	memcpy(&age->idle[age->idle_count].client, key, sizeof(struct sluice_client));
	memcpy(&age->idle[age->idle_count].value, value, sizeof(int64_t));
	age->idle_count++;
}

/*
 * client_in_flight is a hash, on which user space cannot add atomically. But a client that holds nothing, in two
 * calls, with the same count in both, needs no entry at all: it is deleted, and its next request makes it anew.
 */
static int drop_idle_clients(struct datapath *d, struct age *age)
{
	int fd = map_fd(d->skel->maps.client_in_flight), err;
	struct idle_client *last = age->idle_last;

	age->idle_last = age->idle;
	age->idle_last_count = age->idle_count;
	age->idle = last;
	age->idle_count = 0;
	age->idle_room = 0;
	free(age->idle);
	age->idle = NULL;
	if (age->busy_count)
		qsort(age->busy, age->busy_count, sizeof(*age->busy), by_client);
	err = map_each(d, fd, sizeof(struct sluice_client), sizeof(int64_t), note_idle, age);
	if (err)
		return err;
	if (age->idle_count)
		qsort(age->idle, age->idle_count, sizeof(*age->idle), by_client);
	for (size_t i = 0; i < age->idle_count && age->idle_last_count; i++) {
		const struct idle_client *was =
			bsearch(&age->idle[i], age->idle_last, age->idle_last_count, sizeof(*was),
				by_client);

		if (was && was->value == age->idle[i].value)
			bpf_map_delete_elem(fd, &age->idle[i].client);
	}
	return 0;
}

/* Walks conns; in one call twice where it is small, so that even a busy model has a quiet moment. */
static int age_conns(struct datapath *d, struct age *age, uint64_t now)
{
	int walks = 0, err;

	for (int batch = 0; batch < BATCHES_PER_CALL && walks < 2; batch++) {
		bool done;
		int count;

		if (!age->conns.under_way)
			start_walk(d, age);
		datapath_alive(d);
		count = next_batch(map_fd(d->skel->maps.conns), &age->conns, age->keys, age->values,
				   &done);
		if (count < 0) {
			age->walked = false;
			return count;
		}
		for (int i = 0; i < count; i++)
			if (!forgotten(&age->values[i], now) ||
			    !forget(d, &age->keys[i], age->values[i].last_seen_ns))
				add_up(age, &age->keys[i], &age->values[i]);
		if (!done)
			continue;
		end_walk(d, age);
		if (walks++ == 0 && !age->out_of_memory) {
			err = drop_idle_clients(d, age);
			if (err)
				return err;
		}
	}
	return 0;
}

static int age_tombstones(struct datapath *d, struct age *age, uint64_t now)
{
	int fd = map_fd(d->skel->maps.tombstones);
	bool done = false;

	for (int batch = 0; batch < BATCHES_PER_CALL && !done; batch++) {
		int count = next_batch(fd, &age->tombstones, age->keys, age->dead, &done);

		datapath_alive(d);

		if (count < 0)
			return count;
		for (int i = 0; i < count; i++) {
			struct sluice_tombstone still;

			if (now < age->dead[i].last_seen_ns + IDLE_TOMBSTONE_NS)
				continue;
			if (!bpf_map_lookup_elem(fd, &age->keys[i], &still) &&
			    still.last_seen_ns == age->dead[i].last_seen_ns)
				bpf_map_delete_elem(fd, &age->keys[i]);
		}
	}
	return 0;
}

int datapath_age(struct datapath *d, uint64_t now_ns)
{
	int conns, tombstones;

	if (!d->age)
		d->age = calloc(1, sizeof(*d->age));
	if (!d->age)
		return datapath_fail(-ENOMEM, "out of memory");
	d->age->call++;
	conns = age_conns(d, d->age, now_ns);
	tombstones = age_tombstones(d, d->age, now_ns);
	if (conns || tombstones)
		return datapath_fail(conns ? conns : tombstones, "%s cannot be walked: %s",
				     conns ? "conns" : "tombstones",
				     strerror(conns ? -conns : -tombstones));
	return 0;
}
