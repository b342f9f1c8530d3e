/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the daemon writes into the maps of models, clients and counts, and reads out of them: texts
 * before the flag that needs them, whole lists, and sums over all CPUs.
 */
#include "../unit/steps.h"
#include "maps_only.h"

#include <poll.h>

/* The maps that the programs skip. */
static uint32_t empty_maps(const struct datapath *d)
{
	struct sluice_settings set;
	uint32_t zero = 0;

	assert_done(bpf_map_lookup_elem(map_fd(d->skel->maps.settings), &zero, &set));
	return set.empty;
}

static void maps_are_skipped_only_while_they_are_empty(void **state)
{
	const uint32_t all = SLUICE_EMPTY_ALL;
	const struct sluice_model_flag open = {.allow = 1}, limited = {.allow = 1, .limit = 1},
				       shut = {.reason = SLUICE_REASON_TTFT};
	struct sluice_client_flag_key first = {.model = 0}, second = {.model = 2};
	struct sluice_prefix_key prefix = {.plen = 8};
	struct sluice_client_flag block = {.reason = SLUICE_REASON_CLIENT_BLOCKED};
	struct datapath *d = opened();

	assert_int_equal(empty_maps(d), all);
	assert_done(datapath_set_client(d, &first, &block));
	assert_done(datapath_set_client(d, &second, &block));
	assert_int_equal(empty_maps(d), all & ~SLUICE_EMPTY_CLIENT_FLAGS);
	assert_done(datapath_clear_client(d, &first));
	assert_int_equal(empty_maps(d), all & ~SLUICE_EMPTY_CLIENT_FLAGS);
	assert_done(datapath_set_prefix(d, &prefix, &(struct sluice_prefix){0}));
	assert_done(datapath_set_client_quota(d, &first, 1));
	assert_int_equal(empty_maps(d), SLUICE_EMPTY_MODEL_FLAGS);
	assert_done(datapath_set_flag(d, 9, "phi-4", &open));
	assert_int_equal(empty_maps(d), SLUICE_EMPTY_MODEL_FLAGS);
	assert_done(datapath_set_flag(d, 9, "phi-4", &limited));
	assert_done(datapath_set_flag(d, SLUICE_MODEL_ALL, NULL, &shut));
	assert_int_equal(empty_maps(d), 0);
	assert_done(datapath_set_flag(d, SLUICE_MODEL_ALL, NULL, &open));
	assert_int_equal(empty_maps(d), 0);
	/* A daemon that adopts the maps, or renews the lease, leaves these bits. */
	assert_done(datapath_renew_lease(d, 1));
	closed(d);
	d = opened();
	assert_int_equal(empty_maps(d), 0);
	assert_done(datapath_set_flag(d, 9, "phi-4", &open));
	assert_int_equal(empty_maps(d), SLUICE_EMPTY_MODEL_FLAGS);
	assert_done(datapath_clear_client(d, &second));
	assert_int_equal(empty_maps(d), SLUICE_EMPTY_CLIENT_FLAGS | SLUICE_EMPTY_MODEL_FLAGS);
	assert_done(datapath_clear_prefix(d, &prefix));
	assert_done(datapath_clear_client_quota(d, &first));
	assert_int_equal(empty_maps(d), all);
	closed(d);
}

static void a_flag_is_written_after_its_texts(void **state)
{
	struct sluice_model_flag flag = {.reason = SLUICE_REASON_TTFT, .limit = 4};
	struct datapath *d = opened();
	struct sluice_reply reply;
	int fd = map_fd(d->skel->maps.replies);

	assert_done(datapath_set_flag(d, 9, "phi-4", &flag));
	for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++) {
		bool wanted = r == SLUICE_REASON_TTFT || r == SLUICE_REASON_IN_FLIGHT;
		struct sluice_reply_key key = {.model = 9, .reason = r};

		assert_int_equal(!bpf_map_lookup_elem(fd, &key, &reply), wanted);
		assert_true(!wanted || strstr(reply.sentence, "phi-4"));
		key.model = SLUICE_MODEL_ALL;
		assert_int_equal(bpf_map_lookup_elem(fd, &key, &reply), 0);
		assert_null(strstr(reply.sentence, "phi-4"));
	}
	/* The id belongs to another model now: no text has the old name. */
	assert_done(datapath_set_flag(d, 9, "qwen",
				      &(struct sluice_model_flag){.allow = 1, .limit = 1}));
	{
		struct sluice_reply_key key = {.model = 9, .reason = SLUICE_REASON_TTFT};

		assert_int_equal(bpf_map_lookup_elem(fd, &key, &reply), 0);
		assert_non_null(strstr(reply.sentence, "qwen"));
		/*
		 * A client that is blocked for one model gets that model's name, though the model
		 * was never shut.
		 */
		assert_done(
			datapath_set_flag(d, 10, "gemma", &(struct sluice_model_flag){.allow = 1}));
		assert_done(datapath_set_client(
			d, &(struct sluice_client_flag_key){.model = 10},
			&(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED}));
		key.model = 10;
		key.reason = SLUICE_REASON_CLIENT_BLOCKED;
		assert_int_equal(bpf_map_lookup_elem(fd, &key, &reply), 0);
		assert_non_null(strstr(reply.sentence, "gemma"));
	}
	closed(d);
}

static void see_client(void *arg, const struct sluice_client *client,
		       const struct sluice_client_count *count_, int64_t in_flight)
{
	assert_int_equal(in_flight, client->addr[0] == 200 ? 0 : 2 + 3);
	++*(unsigned *)arg;
}

static void a_clients_in_flight_is_summed_over_pools(void **state)
{
	enum { CLIENTS = 3000 };
	struct datapath *d = opened();
	int fd = map_fd(d->skel->maps.client_in_flight),
	    counts = map_fd(d->skel->maps.client_counts);
	struct sluice_client_flag_key key = {0};
	struct sluice_client_count one = {.admitted = 1}, got;
	struct sluice_holding held;
	unsigned listed = 0;

	d->state[1].in_flight = d->state[2].shadow_in_flight = 1;
	for (unsigned i = 0; i < CLIENTS; i++)
		for (key.model = 1; key.model < 3; key.model++) {
			memcpy(key.client.addr + 4, &i, sizeof(i));
			held = (struct sluice_holding){key.model + 1, 0};
			assert_int_equal(bpf_map_update_elem(fd, &key, &held, BPF_ANY), 0);
		}
	for (unsigned i = 0; i < 10; i++) {
		struct sluice_client client = {0};

		memcpy(client.addr + 4, &i, sizeof(i));
		if (i == 9)
			client.addr[0] = 200; /* holds nothing */
		assert_int_equal(bpf_map_update_elem(counts, &client, &one, BPF_ANY), 0);
		assert_true(datapath_get_client(d, &client, &got));
		assert_int_equal(datapath_client_in_flight(d, &client), i == 9 ? 0 : 5);
	}
	assert_done(datapath_each_client(d, see_client, &listed));
	assert_int_equal(listed, 10);
	closed(d);
}

static void count_client(void *arg, const struct sluice_client *client,
			 const struct sluice_client_count *count, int64_t in_flight)
{
	++*(unsigned *)arg;
}

static void a_list_of_clients_walks_each_map_once_in_steps(void **state)
{
	enum { CLIENTS = 40000 };
	struct datapath *d = opened();
	int fd = map_fd(d->skel->maps.client_counts);
	struct sluice_client_count one = {.admitted = 1};
	struct sluice_client client = {0};
	unsigned listed = 0;

	for (unsigned i = 0; i < CLIENTS; i++) {
		memcpy(client.addr + 4, &i, sizeof(i));
		assert_int_equal(bpf_map_update_elem(fd, &client, &one, BPF_ANY), 0);
	}
	d->handlers.step = note_step;
	assert_done(datapath_each_client(d, count_client, &listed));
	assert_int_equal(listed, CLIENTS);
	assert_int_equal(steps.most, BATCH);
	assert_true(steps.all >= CLIENTS);
	/* Buckets are not cut, so a batch may be short by a few entries. */
	assert_true(steps.all < CLIENTS + CLIENTS / 10);
	closed(d);
}

/* Puts so many records of zeros into a ring. */
static void flood(const struct bpf_map *ring, int size, int records)
{
	const struct bpf_insn code[] = {
		{.code = BPF_LD | BPF_DW | BPF_IMM,
		 .dst_reg = 1,
		 .src_reg = BPF_PSEUDO_MAP_FD,
		 .imm = map_fd(ring)},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = size},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ringbuf_reserve},
		{.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 0, .off = 3},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 1, .src_reg = 0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ringbuf_submit},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	char packet[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		    .repeat = records);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "flood", "GPL", code,
			       sizeof(code) / sizeof(code[0]), NULL);

	assert_true(fd >= 0);
	assert_int_equal(bpf_prog_test_run_opts(fd, &opts), 0);
	close(fd);
}

static struct {
	int samples, refusals;
} came;

static void take_sample(void *arg, const struct sluice_sample *sample)
{
	came.samples++;
}

static void take_refusal(void *arg, const struct sluice_refusal *refusal)
{
	came.refusals++;
}

static void a_turn_takes_a_part_of_each_ring(void **state)
{
	enum { SAMPLES = 3 * DATAPATH_POLL_MAX, REFUSALS = DATAPATH_POLL_MAX + 100 };
	struct datapath *d = opened();
	struct pollfd rings = {.fd = datapath_fd(d), .events = POLLIN};

	d->handlers.sample = take_sample;
	d->handlers.refusal = take_refusal;
	flood(d->skel->maps.samples, sizeof(struct sluice_sample), SAMPLES);
	flood(d->skel->maps.verdicts, sizeof(struct sluice_refusal), REFUSALS);
	assert_int_equal(datapath_poll(d), 2 * DATAPATH_POLL_MAX);
	assert_int_equal(came.samples, DATAPATH_POLL_MAX);
	assert_int_equal(came.refusals, DATAPATH_POLL_MAX);
	assert_int_equal(poll(&rings, 1, 0), 1); /* the loop comes back for the rest */
	steps.most = 0;
	d->handlers.step = note_step;
	assert_done(datapath_drain(d));
	assert_int_equal(came.samples, SAMPLES);
	assert_int_equal(came.refusals, REFUSALS);
	assert_int_equal(steps.most, DATAPATH_RINGS * DATAPATH_POLL_MAX);
	assert_int_equal(poll(&rings, 1, 0), 0);
	closed(d);
}

static void count_class(void *arg, const struct sluice_client *key, uint32_t class)
{
	++*(unsigned *)arg;
}

static void the_classes_in_force_are_exactly_those_set(void **state)
{
	struct datapath *d = opened();
	struct sluice_client keys[3] = {{.addr = {7}, .kind = SLUICE_CLIENT_KEY}}, other;
	const struct bpf_map *classes_map = d->skel->maps.priorities;
	const uint32_t classes[3] = {2, 0, 3};
	unsigned count = 0;
	uint32_t class;

	assert_done(datapath_header_key(d, 4, "batch", &keys[1]));
	assert_done(datapath_header_key(d, 5, "batch", &keys[2]));
	assert_int_equal(keys[1].kind, SLUICE_CLIENT_HEADER);
	assert_memory_equal(keys[1].addr, keys[2].addr, 8);
	assert_done(datapath_key_client(d, "batch", 5, &other));
	assert_memory_equal(other.addr, keys[1].addr, 8);
	for (int i = 0; i < 3; i++)
		assert_done(datapath_set_priority(d, &keys[i], classes[i]));
	assert_true(map_find(classes_map, &keys[1], &class));
	assert_int_equal(class, 0);
	assert_done(datapath_clear_priority(d, &keys[1]));
	assert_int_equal(datapath_clear_priority(d, &keys[1]), -ENOENT);
	assert_int_equal(map_find(classes_map, &keys[0], &class) +
				 map_find(classes_map, &keys[1], &class) +
				 map_find(classes_map, &keys[2], &class),
			 2);
	assert_done(datapath_each_priority(d, count_class, &count));
	assert_int_equal(count, 2);
	assert_done(datapath_clear_priority(d, &keys[0]));
	assert_done(datapath_clear_priority(d, &keys[2]));
	assert_false(map_find(classes_map, &keys[0], &class));
	closed(d);
}

static void sums_are_over_all_cpus(void **state)
{
	struct datapath *d = opened();
	uint64_t *each = calloc(d->cpus, sizeof(*each)), out[SLUICE_COUNTER_COUNT];
	struct sluice_histogram *h = calloc(d->cpus, sizeof(*h)), sum;
	uint32_t counter = SLUICE_COUNTER_SWALLOWED, model = 4;

	for (int cpu = 0; cpu < d->cpus; cpu++) {
		each[cpu] = cpu + 1;
		h[cpu].count[1][SLUICE_HISTOGRAM_BUCKETS - 1] = 3;
		h[cpu].sum_ns[0] = 5;
	}
	assert_int_equal(
		bpf_map_update_elem(map_fd(d->skel->maps.counters), &counter, each, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(map_fd(d->skel->maps.histograms), &model, h, BPF_ANY),
			 0);
	assert_done(datapath_get_counters(d, out));
	assert_int_equal(out[counter], d->cpus * (d->cpus + 1) / 2);
	assert_int_equal(out[0], 0);
	assert_done(datapath_get_histogram(d, model, &sum));
	assert_int_equal(sum.count[1][SLUICE_HISTOGRAM_BUCKETS - 1], 3 * d->cpus);
	assert_int_equal(sum.sum_ns[0], 5 * d->cpus);
	free(each);
	free(h);
	closed(d);
}

static void add_up(void *arg, const struct sluice_count_key *key, uint64_t n)
{
	((uint64_t *)arg)[0]++;
	((uint64_t *)arg)[1] += n;
}

static void prefix_up(void *arg, const struct sluice_prefix_key *key,
		      const struct sluice_prefix *prefix)
{
	assert_int_equal(key->plen, 120);
	++*(int *)arg;
}

static void lists_are_whole(void **state)
{
	struct datapath *d = opened();
	uint64_t *each = calloc(d->cpus, sizeof(*each)), seen[2] = {0};
	struct sluice_prefix prefix = {.class = SLUICE_PREFIX_BLOCKED};
	struct sluice_prefix_key key = {.plen = 120};
	int prefixes = 0;

	for (int cpu = 0; cpu < d->cpus; cpu++)
		each[cpu] = 2;
	for (unsigned i = 0; i < 1000; i++) {
		struct sluice_count_key count_key = {.service = i % 200, .model = i};

		assert_int_equal(bpf_map_update_elem(map_fd(d->skel->maps.request_counts),
						     &count_key, each, BPF_ANY),
				 0);
		key.addr[0] = i;
		key.addr[1] = i >> 8;
		assert_done(datapath_set_prefix(d, &key, &prefix));
	}
	assert_done(datapath_each_count(d, add_up, seen));
	assert_int_equal(seen[0], 1000);
	assert_int_equal(seen[1], 2000 * d->cpus);
	assert_done(datapath_each_prefix(d, prefix_up, &prefixes));
	assert_int_equal(prefixes, 1000);
	assert_done(datapath_clear_prefix(d, &key));
	assert_int_equal(datapath_clear_prefix(d, &key), -ENOENT);
	free(each);
	closed(d);
}

static void add_admitted(void *arg, const struct sluice_count_key *key, uint64_t n)
{
	uint64_t *seen = arg;

	unsigned at = key->class ? 3 : key->service;

	assert_int_equal(key->verdict, SLUICE_VERDICT_ADMITTED);
	assert_int_equal(key->model, 7);
	assert_true(key->service < 3);
	assert_int_equal(seen[at], 0);
	seen[at] = n;
}

/* Each CPU has one service in admitted_counts; the other map has counts of two services, and of
 * another class than normal. */
static void admitted_requests_are_reported_once_from_both_maps(void **state)
{
	struct datapath *d = opened();
	struct sluice_admitted_count *own = calloc(d->cpus, sizeof(*own));
	uint64_t *each = calloc(d->cpus, sizeof(*each)), want[4] = {0}, seen[4];
	uint32_t model = 7;

	for (int cpu = 0; cpu < d->cpus; cpu++) {
		own[cpu] = (struct sluice_admitted_count){.n = 10 + cpu, .service = cpu % 2};
		want[cpu % 2] += 10 + cpu;
	}
	assert_int_equal(
		bpf_map_update_elem(map_fd(d->skel->maps.admitted_counts), &model, own, BPF_ANY),
		0);
	for (uint16_t i = 1; i < 4; i++) {
		struct sluice_count_key key = {
			.service = i % 3, .model = model, .class = i == 3 ? 2 + 1 : 0};

		each[0] = 100 * i;
		want[i] += 100 * i;
		assert_int_equal(bpf_map_update_elem(map_fd(d->skel->maps.request_counts), &key,
						     each, BPF_ANY),
				 0);
	}
	for (int daemon = 0; daemon < 2; daemon++) { /* the second finds the counts of the first */
		memset(seen, 0, sizeof(seen));
		assert_done(datapath_each_count(d, add_admitted, seen));
		assert_memory_equal(seen, want, sizeof(want));
		closed(d);
		d = opened();
	}
	closed(d);
	free(own);
	free(each);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		maps_test(a_flag_is_written_after_its_texts),
		maps_test(maps_are_skipped_only_while_they_are_empty),
		maps_test(a_clients_in_flight_is_summed_over_pools),
		maps_test(a_list_of_clients_walks_each_map_once_in_steps),
		maps_test(a_turn_takes_a_part_of_each_ring),
		maps_test(the_classes_in_force_are_exactly_those_set),
		maps_test(sums_are_over_all_cpus),
		maps_test(lists_are_whole),
		maps_test(admitted_requests_are_reported_once_from_both_maps),
	};

	return sandbox_main("maps", tests);
}
