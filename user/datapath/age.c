/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The walk that keeps counts correct. It deletes connections and tombstones that have been silent
 * for long, and corrects model_state if it has drifted from the connections in conns.
 *
 * The programs count during the walk, so one observed difference proves nothing. Two consecutive
 * walks over conns must agree on a model: its counts are the same before and after each walk, and
 * exactly the same exchanges hold them. A second such pair, in another call, must show the same
 * difference. What a program was just doing (counted, not yet noted in its connection) does not
 * last that long. The correction is an atomic addition on the mapped array, never a store, so it
 * loses nothing that a program counts meanwhile.
 *
 * Ages (ages.h) are compared slot by slot, so they are corrected even on a model that is never
 * empty. No request begins to wait in the past. So the number in an old slot, and that of the
 * requests waiting since then, only falls. If both are the same in two walks, twice, nothing
 * happened in between. The correction is one compare-and-swap.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "age.h"
#include "crowd.h"
#include "kept.h"
#include "map_io.h"
#include "ports.h"

#define BATCHES_PER_CALL 32 /* bounds one call to 8192 entries of each map */

#define IDLE_IN_FLIGHT_NS (600 * NSEC_PER_SEC)
#define PROBED_NS         (60 * NSEC_PER_SEC) /* before that, a kept one has to show itself */
#define IDLE_CLOSED_NS    (30 * NSEC_PER_SEC)
#define IDLE_TOMBSTONE_NS (10 * NSEC_PER_SEC)
#define UNHEARD_NS        (30 * NSEC_PER_SEC)
#define SKEW_NS           (120 * NSEC_PER_SEC)

/* The counts of a model_state that may drift. */
struct held {
	int64_t in_flight, waiting, shadow_in_flight, waiting_bytes, stalled, departed;
	uint64_t began_ns;
};

struct sum {
	struct held counted; /* as conns has it */
	struct held before;  /* model_state at the walk's start … */
	struct held after;   /* … and at its end */
	uint64_t holders;    /* a fingerprint of the exchanges in these counts */
};

struct suspect {
	struct held drift;
	uint64_t call;
};

/* One walk's view of a pool's ages, and of the requests that wait. */
struct walked_ages {
	uint64_t word[AGES_SLOTS];  /* at the walk's start */
	uint32_t count[AGES_SLOTS]; /* in conns, waiting since the slot's time … */
	int64_t older, older_count; /* … and since a time without a slot now */
	uint64_t older_holders;     /* a fingerprint of the older ones */
	uint64_t start_ns;
};

/* For a pool with waiting requests, or with ages that still count some. */
struct pool_ages {
	unsigned walks; /* complete ones */
	struct walked_ages now, last;
	uint64_t call[AGES_SLOTS]; /* the first that found the slot wrong; 0: none */
	uint64_t older_call;
};

struct idle_client {
	struct sluice_client_flag_key client; /* and pool */
	struct sluice_holding value;
	uint64_t since; /* … and it has been that */
};

/* A position in a map that several calls read in batches. */
struct cursor {
	uint8_t at[64];
	bool under_way;
};

struct age {
	uint64_t call;
	bool walked; /* last[] is of a complete walk */
	struct cursor conns, tombstones;
	struct sum now[SLUICE_MODELS_MAX], last[SLUICE_MODELS_MAX];
	struct suspect suspect[SLUICE_MODELS_MAX];
	struct pool_ages *ages[SLUICE_MODELS_MAX];
	struct crowd crowd;

	struct sluice_client_flag_key
		*busy; /* clients and pools with an exchange in flight, found in this walk */
	size_t busy_count, busy_capacity;
	struct idle_client *idle, *idle_last; /* entries of clients without exchanges */
	size_t idle_count, idle_capacity, idle_last_count;
	bool out_of_memory;

	struct sluice_conn_key keys[BATCH];
	struct sluice_conn values[BATCH];
	struct sluice_tombstone dead[BATCH];
};

void age_free(struct age *age)
{
	if (!age)
		return;
	for (uint32_t m = 0; m < SLUICE_MODELS_MAX; m++)
		free(age->ages[m]);
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

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_SEQ_CST)
#define ADD(field, n)                                                                              \
	do {                                                                                       \
		if (n)                                                                             \
			__atomic_fetch_add(&(field), n, __ATOMIC_SEQ_CST);                         \
	} while (0)

static struct held read_state(struct datapath *d, uint32_t model)
{
	struct sluice_model_state *s = &d->state[model];

	return (struct held){LOAD(s->in_flight),     LOAD(s->waiting), LOAD(s->shadow_in_flight),
			     LOAD(s->waiting_bytes), LOAD(s->stalled), LOAD(s->departed),
			     LOAD(s->began_ns)};
}

static void add_state(struct datapath *d, uint32_t model, struct held more)
{
	struct sluice_model_state *s = &d->state[model];

	ADD(s->in_flight, more.in_flight);
	ADD(s->waiting, more.waiting);
	ADD(s->shadow_in_flight, more.shadow_in_flight);
	ADD(s->waiting_bytes, more.waiting_bytes);
	ADD(s->stalled, more.stalled);
	ADD(s->departed, more.departed);
	ADD(s->began_ns, more.began_ns);
}

/*
 * The entries that count an exchange, each once; 0: none. The last is its pool, the only entry that
 * counts waiting bytes.
 */
static unsigned entries(const struct sluice_exchange *e, uint32_t out[3])
{
	unsigned n = 0;

	if (e->model >= SLUICE_MODELS_MAX || e->pool >= SLUICE_MODELS_MAX)
		return 0;
	if (e->pool != SLUICE_MODEL_ALL)
		out[n++] = SLUICE_MODEL_ALL;
	if (e->model != e->pool && e->model != SLUICE_MODEL_ALL)
		out[n++] = e->model;
	out[n++] = e->pool;
	return n;
}

/* What an exchange adds to an entry's counts. */
static struct held held_of(const struct sluice_exchange *e, bool pool)
{
	bool waits = e->flags & SLUICE_EXCHANGE_WAITING,
	     runs = e->flags & SLUICE_EXCHANGE_IN_FLIGHT;

	return (struct held){
		.in_flight = runs,
		.waiting = waits,
		.shadow_in_flight = !!(e->flags & SLUICE_EXCHANGE_SHADOW),
		.waiting_bytes = waits && pool ? admission_bytes(e->bytes) : 0,
		.stalled = !!(e->flags & SLUICE_EXCHANGE_STALLED),
		.departed = !!(e->flags & SLUICE_EXCHANGE_DEPARTED),
		.began_ns = runs && pool ? e->admitted_ns : 0,
	};
}

static void release_slots_of(struct datapath *d, const struct sluice_exchange *e)
{
	uint32_t models[3];
	unsigned n = entries(e, models);

	for (unsigned m = 0; m < n; m++) {
		struct held h = held_of(e, m + 1 == n);

		add_state(d, models[m],
			  (struct held){-h.in_flight, -h.waiting, -h.shadow_in_flight,
					-h.waiting_bytes, -h.stalled, -h.departed, -h.began_ns});
	}
	if (n && e->flags & SLUICE_EXCHANGE_WAITING)
		ages_remove(&d->state[e->pool].ages, e->admitted_ns);
	if (n && e->flags & SLUICE_EXCHANGE_IN_FLIGHT)
		ADD(d->state[e->pool].ended, 1);
}

static bool has_ages(const struct sluice_ages *a)
{
	if (LOAD(a->older))
		return true;
	for (int i = 0; i < AGES_SLOTS; i++)
		if (LOAD(a->slot[i]) & 0xffffffff)
			return true;
	return false;
}

static bool in_flight(const struct sluice_conn *conn)
{
	return conn->exchange.flags &
	       (SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_SHADOW | SLUICE_EXCHANGE_STALLED);
}

/*
 * Whether the server has not received the only request in flight. It would have acknowledged the
 * request within half a second (RFC 9293 3.8.6.3), or one of its retransmissions by now. Its TCP
 * may have dropped it, for a wrong checksum or a full queue.
 */
static bool unheard(const struct sluice_conn *conn, uint64_t now)
{
	const struct sluice_exchange *e = &conn->exchange;
	uint32_t end = conn->c_next - (conn->flags & SLUICE_CONN_CLIENT_FIN ? 1 : 0);

	return conn->exchange_tail != conn->exchange_head &&
	       !(conn->flags & (SLUICE_CONN_REQUEST | SLUICE_CONN_OPAQUE)) &&
	       (int32_t)(end - conn->s_ack) > 0 && now > e->admitted_ns &&
	       now - e->admitted_ns > UNHEARD_NS;
}

/*
 * Whether a connection has been silent long enough to be deleted. All limits are longer than the
 * time between two walks, so it is also unchanged since the last one. A client that has closed its
 * side may still wait for its answer.
 */
static bool forgotten(const struct sluice_conn *conn, uint64_t now)
{
	uint64_t idle = now > conn->last_seen_ns ? now - conn->last_seen_ns : 0;
	bool held = in_flight(conn);

	if (held && unheard(conn, now))
		return true;
	if (conn->flags & SLUICE_CONN_SERVER_FIN || (conn->flags & SLUICE_CONN_CLIENT_FIN && !held))
		return idle > IDLE_CLOSED_NS;
	return idle > (held ? IDLE_IN_FLIGHT_NS : SLUICE_CONNS_IDLE_NS);
}

/* A kept connection would break without its entry: a server that still has it answers a probe. */
static bool may_be_forgotten(const struct sluice_conn *conn, uint64_t now)
{
	return conn->flags & SLUICE_CONN_KEPT && now > conn->last_seen_ns &&
	       now - conn->last_seen_ns > SLUICE_CONNS_IDLE_NS - PROBED_NS;
}

/* Deletes a connection if it is unchanged, and releases what it held. */
static bool forget(struct datapath *d, const struct sluice_conn_key *key, uint64_t last_seen_ns)
{
	int fd = map_fd(d->skel->maps.conns);
	struct sluice_conn conn;

	if (bpf_map_lookup_elem(fd, key, &conn) || conn.last_seen_ns != last_seen_ns ||
	    bpf_map_lookup_and_delete_elem(fd, key, &conn))
		return false;
	crowd_leaves(d, conn.bucket);
	release_slots_of(d, &conn.exchange);
	return true;
}

static void note_busy(struct age *age, const struct sluice_exchange *e, uint32_t pool)
{
	void *busy = list_grow(age->busy, age->busy_count, &age->busy_capacity, sizeof(*age->busy));

	if (!busy) {
		age->out_of_memory = true;
		return;
	}
	age->busy = busy;
	age->busy[age->busy_count++] =
		(struct sluice_client_flag_key){.client = e->client, .model = pool};
}

/* Counts a request that waits in pool `m` in the slot from which its end will remove it. */
static void note_waiting(struct datapath *d, struct age *age, uint32_t m, uint64_t since,
			 uint64_t holder)
{
	struct pool_ages *ages = age->ages[m];
	uint64_t time = ages_time(since), slot_time;
	unsigned i = time & (AGES_SLOTS - 1);

	if (!ages)
		return;
	slot_time = LOAD(d->state[m].ages.slot[i]) >> 32;
	if (slot_time == time) {
		ages->now.count[i]++;
	} else if (slot_time > time) { /* a smaller slot_time: never noted, so not old */
		ages->now.older_count++;
		ages->now.older_holders += holder;
	}
}

static void add_up(struct datapath *d, struct age *age, const struct sluice_conn_key *key,
		   const struct sluice_conn *conn)
{
	const struct sluice_exchange *e = &conn->exchange;
	uint32_t flags = e->flags & (SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_WAITING |
				     SLUICE_EXCHANGE_SHADOW | SLUICE_EXCHANGE_STALLED |
				     SLUICE_EXCHANGE_DEPARTED);
	uint32_t models[3];
	unsigned n = entries(e, models);
	uint64_t holder;

	if (!flags || !n)
		return;
	note_busy(age, e, flags & SLUICE_EXCHANGE_STALLED ? SLUICE_POOL_STALLED : e->pool);
	if (flags & SLUICE_EXCHANGE_DEPARTED)
		note_busy(age, e, SLUICE_POOL_DEPARTED);
	holder = mix(hash_bytes(key, sizeof(*key)) ^ mix(e->admitted_ns) ^ flags);
	for (unsigned m = 0; m < n; m++) {
		struct sum *sum = &age->now[models[m]];
		struct held h = held_of(e, m + 1 == n);

		sum->counted.in_flight += h.in_flight;
		sum->counted.waiting += h.waiting;
		sum->counted.shadow_in_flight += h.shadow_in_flight;
		sum->counted.waiting_bytes += h.waiting_bytes;
		sum->counted.stalled += h.stalled;
		sum->counted.departed += h.departed;
		sum->counted.began_ns += h.began_ns;
		sum->holders += holder;
	}
	if (flags & SLUICE_EXCHANGE_WAITING)
		note_waiting(d, age, e->pool, e->admitted_ns, holder);
}

static bool same(struct held a, struct held b)
{
	return a.in_flight == b.in_flight && a.waiting == b.waiting &&
	       a.shadow_in_flight == b.shadow_in_flight && a.waiting_bytes == b.waiting_bytes &&
	       a.stalled == b.stalled && a.departed == b.departed && a.began_ns == b.began_ns;
}

/* Begins a walk of a pool's ages, if there is anything to compare. */
static void start_ages(struct datapath *d, struct age *age, uint32_t m, uint64_t now)
{
	const struct sluice_ages *was = &d->state[m].ages;
	struct pool_ages *ages = age->ages[m];

	if (!age->now[m].before.waiting && !has_ages(was)) {
		free(ages);
		age->ages[m] = NULL;
		return;
	}
	if (!ages || !age->walked) { /* only a walk that continues the last one counts */
		free(ages);
		ages = age->ages[m] = calloc(1, sizeof(*ages));
	}
	if (!ages)
		return;
	ages->last = ages->now;
	ages->now = (struct walked_ages){.older = LOAD(was->older), .start_ns = now};
	for (int i = 0; i < AGES_SLOTS; i++)
		ages->now.word[i] = LOAD(was->slot[i]);
}

/*
 * Whether a difference may be corrected: two agreeing walks of this call found it, and so did an
 * earlier call and all calls since.
 */
static bool believed(uint64_t *since_call, bool wrong, uint64_t call)
{
	bool mend = wrong && *since_call && *since_call != call;

	*since_call = !wrong || mend ? 0 : *since_call ? *since_call : call;
	return mend;
}

/* Compares two walks' views of a pool's ages. */
static void mend_ages(struct datapath *d, struct age *age, uint32_t m)
{
	struct sluice_ages *is = &d->state[m].ages;
	struct pool_ages *ages = age->ages[m];
	const struct walked_ages *now, *last;
	uint64_t settled;

	if (!ages || ++ages->walks < 2)
		return;
	now = &ages->now;
	last = &ages->last;
	settled = ages_time(last->start_ns) - 1; /* earlier slots get no new requests */
	for (int i = 0; i < AGES_SLOTS; i++) {
		uint64_t word = last->word[i];
		bool wrong = word >> 32 < settled && LOAD(is->slot[i]) == word &&
			     last->count[i] == now->count[i] && now->count[i] != (uint32_t)word;

		if (believed(&ages->call[i], wrong, age->call))
			__sync_bool_compare_and_swap(&is->slot[i], word,
						     word >> 32 << 32 | now->count[i]);
	}
	if (believed(&ages->older_call,
		     last->older == now->older && now->older == LOAD(is->older) &&
			     last->older_count == now->older_count &&
			     last->older_holders == now->older_holders &&
			     now->older_count != now->older,
		     age->call))
		ADD(is->older, now->older_count - now->older);
}

/* Compares the walk that ended with the one before it, for each model. */
static void compare(struct datapath *d, struct age *age)
{
	for (uint32_t m = 0; m < SLUICE_MODELS_MAX; m++) {
		const struct sum *now = &age->now[m], *last = &age->last[m];
		struct suspect *suspect = &age->suspect[m];
		struct held drift = {
			.in_flight = now->counted.in_flight - now->after.in_flight,
			.waiting = now->counted.waiting - now->after.waiting,
			.shadow_in_flight =
				now->counted.shadow_in_flight - now->after.shadow_in_flight,
			.waiting_bytes = now->counted.waiting_bytes - now->after.waiting_bytes,
			.stalled = now->counted.stalled - now->after.stalled,
			.departed = now->counted.departed - now->after.departed,
			.began_ns = now->counted.began_ns - now->after.began_ns,
		};

		if (!same(last->before, last->after) || !same(last->after, now->before) ||
		    !same(now->before, now->after) || !same(last->counted, now->counted) ||
		    last->holders != now->holders)
			continue; /* in motion: proves nothing */
		if (same(drift, (struct held){0})) {
			suspect->call = 0;
		} else if (!suspect->call || !same(suspect->drift, drift)) {
			suspect->drift = drift;
			suspect->call = age->call;
		} else if (suspect->call != age->call) {
			add_state(d, m, drift);
			suspect->call = 0;
		}
	}
}

static void start_walk(struct datapath *d, struct age *age, uint64_t now)
{
	crowd_start(d, &age->crowd);
	memcpy(age->last, age->now, sizeof(age->last));
	memset(age->now, 0, sizeof(age->now));
	age->busy_count = 0;
	age->out_of_memory = false;
	for (uint32_t m = 0; m < SLUICE_MODELS_MAX; m++) {
		age->now[m].before = read_state(d, m);
		start_ages(d, age, m, now);
	}
}

static void end_walk(struct datapath *d, struct age *age)
{
	crowd_end(d, &age->crowd);
	for (uint32_t m = 0; m < SLUICE_MODELS_MAX; m++)
		age->now[m].after = read_state(d, m);
	for (uint32_t m = 0; m < SLUICE_MODELS_MAX; m++)
		mend_ages(d, age, m);
	if (age->walked)
		compare(d, age);
	age->walked = true;
}

static int by_client(const void *a, const void *b)
{
	return memcmp(a, b,
		      sizeof(struct sluice_client_flag_key)); /* an idle_client begins with it */
}

static int by_client_in_steps(const void *a, const void *b, void *d)
{
	return map_compared(d, by_client(a, b));
}

static void note_idle(void *arg, const void *key, const void *value)
{
	struct age *age = arg;
	struct idle_client *idle;

	if (age->busy_count &&
	    bsearch(key, age->busy, age->busy_count, sizeof(*age->busy), by_client))
		return;
	idle = list_grow(age->idle, age->idle_count, &age->idle_capacity, sizeof(*age->idle));
	if (!idle)
		return;
	age->idle = idle;
	idle = &age->idle[age->idle_count++];
	memcpy(&idle->client, key, sizeof(idle->client));
	memcpy(&idle->value, value, sizeof(idle->value));
}

/* Whether the client is still over its fair share. While its pool admits nothing the TAT never
 * passes, so after SKEW_NS without change the answer is no. */
static bool exceeds_share(struct datapath *d, const struct idle_client *c, uint64_t now)
{
	return c->client.model < SLUICE_MODELS_MAX &&
	       c->value.tat > LOAD(d->state[c->client.model].admitted) * ADMISSION_ALL &&
	       now - c->since < SKEW_NS;
}

/*
 * client_in_flight is a hash, on which user space cannot add atomically. But a client needs no
 * entry if it holds nothing in two calls, with the same count in both, and is not over its share.
 * Its entry is deleted, and its next request makes a new one. This also removes a wrong count at
 * once.
 */
static int drop_idle_clients(struct datapath *d, struct age *age, uint64_t now)
{
	const struct bpf_map *map = d->skel->maps.client_in_flight;
	struct idle_client *last = age->idle_last;
	int err;

	age->idle_last = age->idle;
	age->idle_last_count = age->idle_count;
	age->idle = last;
	age->idle_count = 0;
	age->idle_capacity = 0;
	free(age->idle);
	age->idle = NULL;
	if (age->busy_count)
		qsort_r(age->busy, age->busy_count, sizeof(*age->busy), by_client_in_steps, d);
	err = map_each(d, map, note_idle, age);
	if (err)
		return err;
	if (age->idle_count)
		qsort_r(age->idle, age->idle_count, sizeof(*age->idle), by_client_in_steps, d);
	for (size_t i = 0; i < age->idle_count; i++) {
		struct idle_client *c = &age->idle[i];
		const struct idle_client *was =
			age->idle_last_count ? bsearch(c, age->idle_last, age->idle_last_count,
						       sizeof(*was), by_client)
					     : NULL;

		datapath_step(d, 1);
		c->since = now;
		if (!was || was->value.in_flight != c->value.in_flight ||
		    was->value.tat != c->value.tat)
			continue;
		c->since = was->since;
		if (c->value.in_flight || !exceeds_share(d, c, now))
			bpf_map_delete_elem(map_fd(map), &c->client);
	}
	return 0;
}

/* Reads one batch of at most BATCH entries. Returns their number; *done: these were the last. */
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

/* Walks conns; twice in one call if it is small, so that even a busy model has a quiet moment. */
static int age_conns(struct datapath *d, struct age *age, uint64_t now)
{
	int walks = 0, err;

	for (int batch = 0; batch < BATCHES_PER_CALL && walks < 2; batch++) {
		bool done;
		int count;

		if (!age->conns.under_way)
			start_walk(d, age, now);
		datapath_step(d, BATCH);
		count = next_batch(map_fd(d->skel->maps.conns), &age->conns, age->keys, age->values,
				   &done);
		if (count < 0) {
			age->walked = age->crowd.walked = false;
			return count;
		}
		for (int i = 0; i < count; i++) {
			if (may_be_forgotten(&age->values[i], now))
				kept_probe(d, &age->keys[i]);
			if (!forgotten(&age->values[i], now) ||
			    !forget(d, &age->keys[i], age->values[i].last_seen_ns)) {
				add_up(d, age, &age->keys[i], &age->values[i]);
				crowd_add(&age->crowd, &age->values[i]);
			}
		}
		if (!done)
			continue;
		end_walk(d, age);
		if (walks++ == 0 && !age->out_of_memory) {
			err = drop_idle_clients(d, age, now);
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
		int count;

		datapath_step(d, BATCH);
		count = next_batch(fd, &age->tombstones, age->keys, age->dead, &done);
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
	if (d->ports_linger)
		ports_settle(d);
	if (conns || tombstones)
		return datapath_fail(conns ? conns : tombstones, "%s cannot be walked: %s",
				     conns ? "conns" : "tombstones",
				     strerror(conns ? -conns : -tombstones));
	return 0;
}
