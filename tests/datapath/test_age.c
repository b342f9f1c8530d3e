/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The walk that keeps counts honest: which connections it removes and when, and how it corrects a
 * count by adding, only where nothing moves. The test writes connections into the maps; no packet
 * flows. Part of invariant 8.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>

#include <sluice/kept.h>

#include "core/state.h"
#include "../unit/steps.h"
#include "maps_only.h"

#define SECOND NSEC_PER_SEC
#define NOW    (100000 * SECOND)

static void key_of(struct sluice_conn_key *key, uint32_t n)
{
	memset(key, 0, sizeof(*key));
	memcpy(key->client_addr, &n, sizeof(n));
	key->server_port = 80;
}

/* A connection last seen `idle` seconds before NOW; `held`: it has an exchange of a model. */
static void put_conn(struct datapath *d, uint32_t n, uint64_t idle, uint32_t flags, bool held,
		     uint16_t model, uint32_t exchange_flags)
{
	struct sluice_conn conn = {.last_seen_ns = NOW - idle * SECOND, .flags = flags};
	struct sluice_conn_key key;

	key_of(&key, n);
	memcpy(conn.client.addr, &n, sizeof(n));
	if (held) {
		conn.exchange.model = conn.exchange.pool = model;
		conn.exchange.flags = exchange_flags;
		conn.exchange.client = conn.client;
	}
	assert_int_equal(bpf_map_update_elem(map_fd(d->skel->maps.conns), &key, &conn, BPF_ANY), 0);
}

static bool has_conn(struct datapath *d, uint32_t n)
{
	struct sluice_conn conn;
	struct sluice_conn_key key;

	key_of(&key, n);
	return !bpf_map_lookup_elem(map_fd(d->skel->maps.conns), &key, &conn);
}

static void count(struct datapath *d, uint32_t model, int64_t in_flight, int64_t waiting)
{
	d->state[model].in_flight += in_flight;
	d->state[model].waiting += waiting;
}

#define assert_counts(d, model, flying, waits)                                                     \
	do {                                                                                       \
		struct state_load s_;                                                              \
		assert_done(datapath_get_load(d, model, NOW, &s_));                                \
		assert_int_equal(s_.in_flight, flying);                                            \
		assert_int_equal(s_.waiting, waits);                                               \
	} while (0)

/*
 * Runs the walk over n connections: exactly the rows with `goes` are removed. `stay` requests
 * remain in flight, all of model 3.
 */
#define assert_aged(d, rows, n, stay)                                                              \
	do {                                                                                       \
		assert_done(datapath_age(d, NOW));                                                 \
		for (unsigned i_ = 0; i_ < (n); i_++)                                              \
			if (has_conn(d, i_) == (rows)[i_].goes)                                    \
				fail_msg("row %u", i_);                                            \
		assert_counts(d, SLUICE_MODEL_ALL, stay, stay);                                    \
		assert_counts(d, 3, stay, stay);                                                   \
	} while (0)

#define BOTH (SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_WAITING)

static void silent_connections_go_each_after_its_time(void **state)
{
	static const struct {
		uint64_t idle;
		uint32_t flags;
		unsigned held;
		bool goes;
	} rows[] = {
		{599, 0, 1, false},
		{601, 0, 1, true},
		{601, 0, 0, false},
		{3599, 0, 0, false},
		{3601, 0, 0, true},
		{29, SLUICE_CONN_CLIENT_FIN | SLUICE_CONN_SERVER_FIN, 0, false},
		{31, SLUICE_CONN_CLIENT_FIN | SLUICE_CONN_SERVER_FIN, 0, true},
		{31, SLUICE_CONN_CLIENT_FIN, 0, true},
		{31, SLUICE_CONN_SERVER_FIN, 1, true},
		/* A client that has only closed its sending side still waits for its response. */
		{31, SLUICE_CONN_CLIENT_FIN, 1, false},
		{601, SLUICE_CONN_CLIENT_FIN, 1, true},
	};
	unsigned stay = 0, n = sizeof(rows) / sizeof(rows[0]);
	struct datapath *d = opened();

	for (unsigned i = 0; i < n; i++) {
		put_conn(d, i, rows[i].idle, rows[i].flags, rows[i].held, 3, BOTH);
		count(d, SLUICE_MODEL_ALL, rows[i].held, rows[i].held);
		count(d, 3, rows[i].held, rows[i].held);
		stay += rows[i].goes ? 0 : rows[i].held;
	}
	assert_aged(d, rows, n, stay);
	closed(d);
}

/*
 * A request that the server has not acknowledged for thirty seconds has not reached it, whatever
 * else its client sends.
 */
static void a_request_that_has_not_reached_the_server_holds_no_slot(void **state)
{
	static const struct {
		uint64_t since; /* seconds ago */
		uint32_t flags, c_next, s_ack, tail;
		bool goes;
	} rows[] = {
		{31, 0, 500, 100, 1, true},
		{31, 0, 100, 0xffffff00, 1, true},
		{29, 0, 500, 100, 1, false},
		{31, 0, 500, 500, 1, false},
		{31, SLUICE_CONN_CLIENT_FIN, 501, 500, 1, false},
		{31, SLUICE_CONN_CLIENT_FIN, 501, 499, 1, true},
		/* the missing bytes may belong to another request */
		{31, SLUICE_CONN_REQUEST, 500, 100, 1, false},
		{31, 0, 500, 100, 0, false},
	};
	unsigned stay = 0, n = sizeof(rows) / sizeof(rows[0]);
	struct datapath *d = opened();

	for (unsigned i = 0; i < n; i++) {
		struct sluice_conn_key key;
		struct sluice_conn conn;

		put_conn(d, i, 0, rows[i].flags, true, 3, BOTH);
		key_of(&key, i);
		assert_int_equal(bpf_map_lookup_elem(map_fd(d->skel->maps.conns), &key, &conn), 0);
		conn.exchange.admitted_ns = NOW - rows[i].since * SECOND;
		conn.c_next = rows[i].c_next;
		conn.s_ack = rows[i].s_ack;
		conn.exchange_tail = rows[i].tail;
		assert_int_equal(
			bpf_map_update_elem(map_fd(d->skel->maps.conns), &key, &conn, BPF_ANY), 0);
		count(d, SLUICE_MODEL_ALL, 1, 1);
		count(d, 3, 1, 1);
		stay += !rows[i].goes;
	}
	assert_aged(d, rows, n, stay);
	closed(d);
}

static unsigned tombstones(struct datapath *d)
{
	uint64_t n, max;

	assert_done(datapath_map_fill(d, "tombstones", &n, &max));
	return (unsigned)n;
}

static void silent_tombstones_go_after_ten_seconds(void **state)
{
	struct datapath *d = opened();
	int fd = map_fd(d->skel->maps.tombstones);

	for (uint32_t i = 0; i < 600; i++) {
		struct sluice_tombstone t = {.last_seen_ns = NOW - (i % 2 ? 9 : 11) * SECOND};
		struct sluice_conn_key key;

		key_of(&key, i);
		assert_int_equal(bpf_map_update_elem(fd, &key, &t, BPF_ANY), 0);
	}
	assert_int_equal(tombstones(d), 600);
	assert_done(datapath_age(d, NOW));
	assert_int_equal(tombstones(d), 300);
	assert_true(datapath_has_tombstones(d));
	assert_done(datapath_age(d, NOW + 2 * SECOND));
	assert_int_equal(tombstones(d), 0);
	assert_false(datapath_has_tombstones(d));
	closed(d);
}

/* Before a kept connection is forgotten, its server may show that it still has it. */
static void a_silent_kept_connection_is_probed_before_it_goes(void **state)
{
	static const struct row {
		uint64_t idle;
		uint32_t flags, kept_flags;
		bool probed;
	} rows[] = {
		{3539, SLUICE_CONN_KEPT, 0, false},
		{3570, 0, 0, false},
		{3570, SLUICE_CONN_KEPT, SLUICE_KEPT_LOCAL, false}, /* its socket is asked */
		{3570, SLUICE_CONN_KEPT, 0, true},
	};
	_cleanup_fd_ int seen = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
	struct pollfd arrives = {.fd = seen, .events = POLLIN};
	const struct sockaddr_ll lo = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = 1};
	uint8_t packet[256];
	int n;

	assert_int_equal(bind(seen, (const void *)&lo, sizeof(lo)), 0);
	assert_int_equal(system("ip link set lo up"), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct sluice_kept kept = {.hook = 1, .flags = r->kept_flags};
		struct datapath *d = opened();
		struct sluice_conn_key key;

		put_conn(d, 7, r->idle, r->flags, false, 0, 0);
		key_of(&key, 7);
		assert_int_equal(
			bpf_map_update_elem(map_fd(d->skel->maps.kept), &key, &kept, BPF_ANY), 0);
		assert_done(datapath_age(d, NOW));
		n = poll(&arrives, 1, r->probed ? 20000 : 0);
		while (read(seen, packet, sizeof(packet)) > 0)
			;
		assert_int_equal(n, r->probed);
		assert_true(has_conn(d, 7));
		closed(d);
	}
}

static void a_call_goes_in_steps_of_a_batch(void **state)
{
	struct datapath *d = opened();
	int fd = map_fd(d->skel->maps.client_in_flight);

	for (uint32_t i = 0; i < 5000; i++) {
		struct sluice_client_flag_key key = {.model = 3};
		struct sluice_holding held = {1, 0};

		memcpy(key.client.addr, &i, sizeof(i));
		assert_int_equal(bpf_map_update_elem(fd, &key, &held, BPF_ANY), 0);
		put_conn(d, i, 0, 0, true, 3, BOTH);
	}
	d->handlers.step = note_step;
	for (int i = 0; i < 3; i++)
		assert_done(datapath_age(d, NOW + (uint64_t)i * SECOND));
	assert_int_equal(steps.most, BATCH);
	closed(d);
}

static void put_conn_of_bucket(struct datapath *d, uint32_t n, uint64_t idle, uint16_t bucket)
{
	struct sluice_conn conn = {.last_seen_ns = NOW - idle * SECOND,
				   .since_ns = NOW - idle * SECOND,
				   .bucket = bucket};
	struct sluice_conn_key key;

	key_of(&key, n);
	memcpy(conn.addr, key.client_addr, sizeof(conn.addr));
	assert_int_equal(bpf_map_update_elem(map_fd(d->skel->maps.conns), &key, &conn, BPF_ANY), 0);
}

/* As a daemon that was killed amid a deletion leaves it. */
static void the_connections_of_a_client_are_recounted(void **state)
{
	struct datapath *d = opened();

	for (uint32_t i = 0; i < 3; i++)
		put_conn_of_bucket(d, i, i == 2 ? 3601 : 0, 5); /* the last one is forgotten */
	d->conn_counts[5] = 7;
	d->conn_counts[6] = 1;
	d->conn_counts[SLUICE_CONNS_ALL] = -4;
	for (int i = 0; i < 2; i++)
		assert_done(datapath_age(d, NOW));
	assert_int_equal(d->conn_counts[5], 2);
	assert_int_equal(d->conn_counts[6], 0);
	assert_int_equal(d->conn_counts[SLUICE_CONNS_ALL], 2);
	closed(d);
}

static void a_forgotten_connection_is_counted_out(void **state)
{
	struct datapath *d = opened();

	put_conn_of_bucket(d, 1, 3601, 5);
	d->conn_counts[5] = d->conn_counts[SLUICE_CONNS_ALL] = 1;
	for (uint32_t i = 2; i < 600; i++) /* so that no walk ends where it began */
		put_conn_of_bucket(d, i, 0, 6);
	d->conn_counts[6] = 598;
	d->conn_counts[SLUICE_CONNS_ALL] += 598;
	assert_done(datapath_age(d, NOW));
	assert_int_equal(d->conn_counts[5], 0);
	assert_int_equal(d->conn_counts[SLUICE_CONNS_ALL], 598);
	closed(d);
}

/* The idlest go first, and no more than must. */
static void idle_connections_make_room_the_idlest_first(void **state)
{
	struct datapath *d = opened();
	const uint32_t n = SLUICE_CONNS_EVICT(SLUICE_CONNS_MAX),
		       old = n - SLUICE_CONNS_CROWDED(SLUICE_CONNS_MAX);

	d->settings.clock_ns = NOW;
	settings_write(d);
	for (uint32_t i = 0; i < n - 1; i++)
		put_conn_of_bucket(d, i, i < old ? 700 : 30, 5);
	d->conn_counts[5] = d->conn_counts[SLUICE_CONNS_ALL] = n - 1;
	assert_done(datapath_sweep(d));
	assert_true(has_conn(d, 0));
	put_conn_of_bucket(d, n - 1, 30, 5);
	d->conn_counts[5] = d->conn_counts[SLUICE_CONNS_ALL] = n;
	assert_done(datapath_sweep(d));
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(has_conn(d, i), i >= old);
	assert_int_equal(d->conn_counts[SLUICE_CONNS_ALL], SLUICE_CONNS_CROWDED(SLUICE_CONNS_MAX));
	closed(d);
}

static void a_drifted_count_is_corrected_by_addition(void **state)
{
	struct datapath *d = opened();

	put_conn(d, 1, 1, 0, true, 7, BOTH);
	put_conn(d, 2, 1, 0, true, 7, BOTH);
	put_conn(d, 3, 1, 0, true, 7, SLUICE_EXCHANGE_IN_FLIGHT);
	count(d, SLUICE_MODEL_ALL, 3, 2);
	count(d, 7, 5, 0);  /* two too many, two too few */
	count(d, 8, -1, 0); /* a model without requests */
	for (int i = 0; i < 3; i++)
		assert_done(datapath_age(d, NOW));
	assert_counts(d, SLUICE_MODEL_ALL, 3, 2);
	assert_counts(d, 7, 3, 2);
	assert_counts(d, 8, 0, 0);
	/* Right counts stay right. */
	for (int i = 0; i < 5; i++)
		assert_done(datapath_age(d, NOW));
	assert_counts(d, SLUICE_MODEL_ALL, 3, 2);
	assert_counts(d, 7, 3, 2);
	closed(d);
}

static void a_count_in_motion_is_left_alone(void **state)
{
	struct datapath *d = opened();

	/*
	 * Each call finds another exchange in the slot, or another count: the walk must conclude
	 * nothing.
	 */
	for (int i = 0; i < 12; i++) {
		count(d, 5, i % 2 ? 1 : -1, 0);
		assert_done(datapath_age(d, NOW));
	}
	assert_counts(d, 5, 0, 0);
	closed(d);
}

static void a_walk_over_several_calls_counts_everything_once(void **state)
{
	enum { CONNS = 20000 };
	struct datapath *d = opened();
	uint64_t entries, max;

	for (uint32_t i = 0; i < CONNS; i++)
		put_conn(d, i, 1, 0, true, 9, BOTH);
	assert_done(datapath_map_fill(d, "conns", &entries, &max));
	assert_int_equal(entries, CONNS);
	assert_int_equal(max, SLUICE_CONNS_MAX);
	count(d, SLUICE_MODEL_ALL, CONNS, CONNS);
	count(d, 9, CONNS - 4, CONNS + 4);
	for (int i = 0; i < 15; i++)
		assert_done(datapath_age(d, NOW));
	assert_counts(d, SLUICE_MODEL_ALL, CONNS, CONNS);
	assert_counts(d, 9, CONNS, CONNS);
	closed(d);
}

static void a_client_that_holds_nothing_loses_its_stale_count(void **state)
{
	struct datapath *d = opened();
	int fd = map_fd(d->skel->maps.client_in_flight);
	struct sluice_client_flag_key idle = {.client.addr = {9}, .model = 7};
	struct sluice_client_flag_key busy = {.client.addr = {1}, .model = 7};
	struct sluice_holding n = {2, 0};

	put_conn(d, 1, 1, 0, true, 7, BOTH); /* its client is `busy` */
	assert_int_equal(bpf_map_update_elem(fd, &idle, &n, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(fd, &busy, &n, BPF_ANY), 0);
	assert_done(datapath_age(d, NOW));
	assert_int_equal(bpf_map_lookup_elem(fd, &idle, &n), 0);
	n.in_flight = 1; /* it moved: not yet */
	assert_int_equal(bpf_map_update_elem(fd, &idle, &n, BPF_ANY), 0);
	assert_done(datapath_age(d, NOW));
	assert_int_equal(bpf_map_lookup_elem(fd, &idle, &n), 0);
	assert_done(datapath_age(d, NOW));
	assert_int_equal(bpf_map_lookup_elem(fd, &idle, &n), -ENOENT);
	assert_int_equal(bpf_map_lookup_elem(fd, &busy, &n), 0);
	closed(d);
}

static void a_client_above_its_share_is_kept_until_its_theoretical_arrival_time(void **state)
{
	struct datapath *d = opened();
	int fd = map_fd(d->skel->maps.client_in_flight);
	struct sluice_client_flag_key above = {.client.addr = {8}, .model = 7},
				      even = {.client.addr = {9}, .model = 7};
	struct sluice_holding of_above = {0, 101 * ADMISSION_ALL},
			      of_even = {0, 100 * ADMISSION_ALL};

	d->state[7].admitted = 100;
	assert_int_equal(bpf_map_update_elem(fd, &above, &of_above, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(fd, &even, &of_even, BPF_ANY), 0);
	for (uint64_t s = 0; s < 100; s += 10) {
		assert_done(datapath_age(d, NOW + s * SECOND));
		assert_int_equal(bpf_map_lookup_elem(fd, &above, &of_above), 0);
	}
	assert_int_equal(bpf_map_lookup_elem(fd, &even, &of_even), -ENOENT);
	d->state[7].admitted++; /* another admission */
	assert_done(datapath_age(d, NOW + 100 * SECOND));
	assert_int_equal(bpf_map_lookup_elem(fd, &above, &of_above), -ENOENT);
	/* Without further admissions the entry goes after a time. */
	of_above.tat = 1000 * ADMISSION_ALL;
	assert_int_equal(bpf_map_update_elem(fd, &above, &of_above, BPF_ANY), 0);
	assert_done(datapath_age(d, NOW + 110 * SECOND));
	assert_done(datapath_age(d, NOW + 229 * SECOND));
	assert_int_equal(bpf_map_lookup_elem(fd, &above, &of_above), 0);
	assert_done(datapath_age(d, NOW + 230 * SECOND));
	assert_int_equal(bpf_map_lookup_elem(fd, &above, &of_above), -ENOENT);
	closed(d);
}

/* A request of model 3 in pool 900. */
static void put_waiting(struct datapath *d, uint32_t n, uint64_t idle, uint64_t since,
			uint32_t bytes, uint32_t flags)
{
	struct sluice_conn conn = {.last_seen_ns = NOW - idle * SECOND};
	struct sluice_conn_key key;

	key_of(&key, n);
	conn.exchange = (struct sluice_exchange){
		.admitted_ns = since, .bytes = bytes, .flags = flags, .model = 3, .pool = 900};
	assert_int_equal(bpf_map_update_elem(map_fd(d->skel->maps.conns), &key, &conn, BPF_ANY), 0);
}

static void a_removed_connection_is_subtracted_from_every_count(void **state)
{
	const uint64_t since = NOW - 700 * SECOND, kept = NOW - 3 * SECOND;
	struct datapath *d = opened();
	struct state_load pool;

	put_waiting(d, 1, 650, since, 5000, BOTH);
	put_waiting(d, 2, 650, since, 70, SLUICE_EXCHANGE_SHADOW);
	put_waiting(d, 3, 2, kept, 300, BOTH);
	count(d, SLUICE_MODEL_ALL, 2, 2);
	count(d, 3, 2, 2);
	count(d, 900, 2, 2);
	d->state[SLUICE_MODEL_ALL].shadow_in_flight = d->state[3].shadow_in_flight =
		d->state[900].shadow_in_flight = 1;
	d->state[900].waiting_bytes = 5300;
	ages_add(&d->state[900].ages, since);
	ages_add(&d->state[900].ages, kept);
	assert_done(datapath_get_load(d, 900, NOW, &pool));
	assert_int_equal(pool.oldest_ns, (uint64_t)(ages_time(NOW) - ages_time(since))
						 << AGES_SHIFT);
	assert_done(datapath_age(d, NOW));
	for (unsigned i = 0; i < 3; i++) {
		const uint32_t models[] = {SLUICE_MODEL_ALL, 3, 900};

		assert_counts(d, models[i], 1, 1);
		assert_int_equal(d->state[models[i]].shadow_in_flight, 0);
	}
	assert_done(datapath_get_load(d, 900, NOW, &pool));
	assert_int_equal(pool.oldest_ns, (uint64_t)(ages_time(NOW) - ages_time(kept))
						 << AGES_SHIFT);
	assert_int_equal(pool.waiting_bytes, 300);
	assert_int_equal(pool.ended, 1);
	assert_int_equal(d->state[900].ages.slot[ages_time(since) & (AGES_SLOTS - 1)] & 0xffffffff,
			 0);
	assert_int_equal(d->state[900].ages.slot[ages_time(kept) & (AGES_SLOTS - 1)] & 0xffffffff,
			 1);
	assert_int_equal(d->state[SLUICE_MODEL_ALL].waiting_bytes, 0);
	assert_int_equal(d->state[3].waiting_bytes, 0);
	closed(d);
}

static void bytes_times_and_shadow_in_flight_are_corrected(void **state)
{
	struct datapath *d = opened();

	put_waiting(d, 1, 1, NOW - SECOND, 5000, BOTH);
	put_waiting(d, 2, 1, NOW - SECOND, 3U << 30, BOTH); /* counts for 1 GiB, as in the kernel */
	put_waiting(d, 3, 1, NOW - SECOND, 70, SLUICE_EXCHANGE_SHADOW);
	put_waiting(d, 4, 1, NOW - SECOND, 9, SLUICE_EXCHANGE_IN_FLIGHT);
	for (int i = 0; i < 3; i++)
		assert_done(datapath_age(d, NOW));
	for (unsigned i = 0; i < 3; i++) {
		const uint32_t models[] = {SLUICE_MODEL_ALL, 3, 900};

		assert_counts(d, models[i], 3, 2);
		assert_int_equal(d->state[models[i]].shadow_in_flight, 1);
		assert_int_equal(d->state[models[i]].waiting_bytes,
				 models[i] == 900 ? 5000 + ADMISSION_BYTES_MAX : 0);
		assert_int_equal(d->state[models[i]].began_ns,
				 models[i] == 900 ? 3 * (NOW - SECOND) : 0);
	}
	closed(d);
}

static void ages_without_a_request_are_cleared_on_an_idle_model(void **state)
{
	struct datapath *d = opened();
	struct state_load load;

	put_waiting(d, 1, 1, NOW - SECOND, 10, BOTH); /* pool 900 has a request that waits */
	count(d, SLUICE_MODEL_ALL, 1, 1);
	count(d, 3, 1, 1);
	count(d, 900, 1, 1);
	d->state[900].waiting_bytes = 10;
	ages_add(&d->state[900].ages, NOW - SECOND);
	ages_add(&d->state[5].ages, NOW - 9 * SECOND);
	ages_add(&d->state[5].ages, NOW - 2 * SECOND);
	d->state[5].ages.older = 3;
	d->state[6].ages.older = -1;
	assert_done(datapath_get_load(d, 5, NOW, &load));
	assert_int_equal(load.oldest_ns, 0); /* nothing waits, whatever the ages say */
	assert_done(datapath_age(d, NOW));
	assert_int_equal(d->state[5].ages.older, 3);
	assert_done(datapath_age(d, NOW));
	assert_done(datapath_age(d, NOW));
	assert_int_equal(d->state[5].ages.older, 0);
	assert_int_equal(d->state[6].ages.older, 0);
	assert_int_equal(ages_oldest(&d->state[5].ages, NOW), 0);
	assert_int_equal(ages_oldest(&d->state[900].ages, NOW),
			 (uint64_t)(ages_time(NOW) - ages_time(NOW - SECOND)) << AGES_SHIFT);
	closed(d);
}

/* The number of requests in the slot of `since` that wait since then. */
static uint64_t waiting_since(struct datapath *d, uint64_t since)
{
	uint64_t word = d->state[900].ages.slot[ages_time(since) & (AGES_SLOTS - 1)];

	return word >> 32 == ages_time(since) ? word & 0xffffffff : 0;
}

/* One more request waits in pool 900 since `since`, and is in its ages or not. */
static void begin_waiting(struct datapath *d, uint32_t n, uint64_t since, bool noted)
{
	put_waiting(d, n, 0, since, 10, BOTH);
	count(d, SLUICE_MODEL_ALL, 1, 1);
	count(d, 3, 1, 1);
	count(d, 900, 1, 1);
	d->state[900].waiting_bytes += 10;
	if (noted)
		ages_add(&d->state[900].ages, since);
}

static void end_waiting(struct datapath *d, uint32_t n, uint64_t since)
{
	struct sluice_conn_key key;

	key_of(&key, n);
	assert_int_equal(bpf_map_delete_elem(map_fd(d->skel->maps.conns), &key), 0);
	count(d, SLUICE_MODEL_ALL, -1, -1);
	count(d, 3, -1, -1);
	count(d, 900, -1, -1);
	d->state[900].waiting_bytes -= 10;
	ages_remove(&d->state[900].ages, since);
}

static void ages_are_corrected_on_a_model_that_is_never_idle(void **state)
{
	const uint64_t wrong = NOW - 9 * SECOND, missing = NOW - 4 * SECOND,
		       moving = NOW - 7 * SECOND;
	const uint64_t step = SECOND / 4;
	struct datapath *d = opened();
	uint64_t now = NOW;

	for (uint32_t n = 0; n < 3; n++)
		begin_waiting(d, n, now - (2 - n) * step, true);
	begin_waiting(d, 1000, wrong, true);
	for (int i = 0; i < 2; i++)
		ages_add(&d->state[900].ages, wrong); /* two more that no request has */
	begin_waiting(d, 1001, missing, true);
	begin_waiting(d, 1002, missing, false);
	for (int i = 0; i < 5; i++)
		ages_add(&d->state[900].ages, moving);
	d->state[900].ages.older = 4;
	for (uint32_t n = 3; n < 9;
	     n++) { /* each call: one begins, and the oldest of the three gets its first token */
		assert_int_equal(d->state[900].waiting, 6);
		assert_int_equal(waiting_since(d, wrong),
				 n < 5 ? 3 : 1); /* two calls must agree first */
		assert_int_equal(waiting_since(d, missing), n < 5 ? 1 : 2);
		assert_int_equal(d->state[900].ages.older, n < 5 ? 4 : 0);
		if (n < 6)
			ages_remove(&d->state[900].ages, moving);
		assert_int_equal(waiting_since(d, moving), n < 6 ? 7 - n : n < 7 ? 2 : 0);
		assert_done(datapath_age(d, now));
		now += step;
		begin_waiting(d, n, now, true);
		end_waiting(d, n - 3, now - 3 * step);
	}
	assert_int_equal(ages_oldest(&d->state[900].ages, NOW),
			 (uint64_t)(ages_time(NOW) - ages_time(wrong)) << AGES_SHIFT);
	closed(d);
}

static void right_and_new_ages_stay_as_they_are(void **state)
{
	const uint64_t old = NOW - 40 * SECOND;
	/* A round of the ring later, in the slot of the first: that one has moved to `older`. */
	const uint64_t round = old + ((uint64_t)AGES_SLOTS << AGES_SHIFT);
	struct datapath *d = opened();
	struct sluice_ages was;

	begin_waiting(d, 1, old, true);
	begin_waiting(d, 2, round, true);
	begin_waiting(d, 3, NOW - SECOND, true);
	begin_waiting(d, 4, NOW - 2 * SECOND,
		      false); /* never in the ages, in a slot of an older time */
	d->state[900].ages.slot[ages_time(NOW - 2 * SECOND) & (AGES_SLOTS - 1)] = 0;
	assert_int_equal(d->state[900].ages.older, 1);
	for (int i = 0; i < 3; i++)
		ages_add(&d->state[900].ages, NOW); /* counted, but not yet in conns */
	was = d->state[900].ages;
	for (int i = 0; i < 6; i++)
		assert_done(datapath_age(d, NOW));
	assert_memory_equal(&d->state[900].ages, &was, sizeof(was));
	/* After a time the walk finds that no request has the new ones. */
	for (int i = 0; i < 3; i++)
		assert_done(datapath_age(d, NOW + SECOND));
	assert_int_equal(waiting_since(d, NOW), 0);
	assert_int_equal(waiting_since(d, round), 1);
	assert_int_equal(d->state[900].ages.older, 1);
	closed(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		maps_test(silent_connections_go_each_after_its_time),
		maps_test(a_request_that_has_not_reached_the_server_holds_no_slot),
		maps_test(silent_tombstones_go_after_ten_seconds),
		maps_test(a_silent_kept_connection_is_probed_before_it_goes),
		maps_test(a_call_goes_in_steps_of_a_batch),
		maps_test(the_connections_of_a_client_are_recounted),
		maps_test(a_forgotten_connection_is_counted_out),
		maps_test(idle_connections_make_room_the_idlest_first),
		maps_test(a_drifted_count_is_corrected_by_addition),
		maps_test(a_count_in_motion_is_left_alone),
		maps_test(a_walk_over_several_calls_counts_everything_once),
		maps_test(a_client_that_holds_nothing_loses_its_stale_count),
		maps_test(a_client_above_its_share_is_kept_until_its_theoretical_arrival_time),
		maps_test(a_removed_connection_is_subtracted_from_every_count),
		maps_test(bytes_times_and_shadow_in_flight_are_corrected),
		maps_test(ages_without_a_request_are_cleared_on_an_idle_model),
		maps_test(ages_are_corrected_on_a_model_that_is_never_idle),
		maps_test(right_and_new_ages_stay_as_they_are),
	};

	return sandbox_main("age", tests);
}
