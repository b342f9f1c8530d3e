/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The table of names when it is full: the daemon forgets names that nobody has configured and that
 * nothing in the kernel refers to, the one longest unseen first. The next name of an id begins with
 * nothing. The daemon's own functions run here on the kernel's maps.
 */
#include "maps_only.h"

#include "daemon/daemon.h"

#define S      1000000000ULL
#define NOW    (5000 * S)
#define NAMES  (SLUICE_MODELS_MAX - SLUICE_MODEL_FIRST)
#define OLDEST 100 /* the id that was longest unseen; ids after it were seen later and later */

static struct datapath *dp;
static struct daemon d;
static const struct controller_targets all = {
	.ttft_ms = 1000, .itl_ms = 30, .tau_s = 15, .max_in_flight = -1};

static void map_put(const struct bpf_map *map, const void *key, const void *value)
{
	assert_done(map_write(map, key, value));
}

static void no_names(void)
{
	size_t count;
	void *keys;

	assert_done(map_keys(dp, dp->skel->maps.model_ids, &keys, &count));
	for (size_t i = 0; i < count; i++)
		map_delete(dp->skel->maps.model_ids, (struct sluice_model_name *)keys + i);
	free(keys);
}

static void new_daemon(void)
{
	desired_free(d.desired);
	memset(&d, 0, sizeof(d));
	d.datapath = dp;
	d.state.controller = &d.controller;
	d.state.now_ns = NOW;
	d.desired = desired_new();
	controller_init(&d.controller, &all, true);
}

/* A daemon whose table is full of names from traffic, id n called "junk-n". */
static void full_table(void)
{
	no_names();
	new_daemon();
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
		char name[32];

		snprintf(name, sizeof(name), "junk-%u", id);
		assert_int_equal(controller_learn(&d.controller, name, 1), id);
	}
	assert_int_equal(write_flags(&d, false), 0);
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		dp->state[id].seen_ns = (1000 + (id - OLDEST) % SLUICE_MODELS_MAX) * S;
}

static bool known(uint32_t id)
{
	return d.controller.model[id].name[0];
}

/* Whether the programs know the name. */
static bool in_kernel(const char *name)
{
	struct sluice_model_name key = {0};
	uint32_t id;

	strcpy(key.name, name);
	return map_find(dp->skel->maps.model_ids, &key, &id);
}

static uint32_t learned(const char *name)
{
	return controller_learn(&d.controller, name, d.state.now_ns);
}

static void a_full_table_forgets_the_names_longest_unseen(void **state)
{
	full_table();
	forget_names(&d);
	assert_int_equal(d.controller.model_count, SLUICE_MODELS_MAX); /* nobody needs the room */
	assert_int_equal(learned("new"), SLUICE_MODEL_OTHER);
	assert_int_equal(d.controller.names_refused, 1);
	forget_names(&d);
	assert_int_equal(d.controller.model_count, SLUICE_MODELS_MAX - 64);
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++)
		if (known(id) == (id >= OLDEST && id < OLDEST + 64))
			fail_msg("id %u", id);
	assert_false(in_kernel("junk-100"));
	assert_true(in_kernel("junk-99"));
	assert_int_equal(learned("new"), OLDEST);
	assert_int_equal(write_flags(&d, false), 0);
	assert_true(in_kernel("new"));
}

/* The loop, between two steps. */
static void tick(void *arg, size_t entries)
{
	assert_int_equal(write_flags(&d, false), 0);
}

static void a_name_that_leaves_gets_no_flag_and_no_id_meanwhile(void **state)
{
	full_table();
	learned("new");
	dp->handlers.step = tick;
	forget_names(&d);
	dp->handlers.step = NULL;
	assert_int_equal(d.controller.model_count, SLUICE_MODELS_MAX - 64);
	assert_false(in_kernel("junk-100"));
	assert_false(in_kernel("junk-163"));
	assert_true(in_kernel("junk-164"));
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		assert_false(d.leaving[id]);
}

static void a_name_in_use_is_not_replaced_by_a_new_one(void **state)
{
	full_table();
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		dp->state[id].seen_ns = NOW - 600 * S; /* the kernel saw a request just then */
	dp->state[OLDEST].seen_ns--;
	dp->state[OLDEST + 1].seen_ns--;
	d.controller.model[OLDEST + 1].last_seen_ns = NOW; /* the daemon has seen an answer */
	learned("new");
	forget_names(&d);
	assert_int_equal(d.controller.model_count, SLUICE_MODELS_MAX - 1);
	assert_false(known(OLDEST));
	learned("new");
	learned("newer");
	assert_true(d.controller.names_wanted);
	d.state.now_ns = NOW + 9 * S;
	forget_names(&d); /* not again so soon */
	assert_true(d.controller.names_wanted);
}

/* In each of these ways. */
static void a_name_that_something_refers_to_is_kept(void **state)
{
	struct sluice_conn_key where = {.server_port = 1};
	static struct sluice_conn conn, pool, ended;
	struct sluice_tombstone refusal = {
		.parts.reply = {.model = OLDEST + 3, .reason = SLUICE_REASON_IN_FLIGHT}};
	struct sluice_tombstone quota = {
		.parts.reply = {.model = OLDEST + 4, .reason = SLUICE_REASON_TOKEN_QUOTA}};
	const struct sluice_service_key at = {.port = 1};
	const struct sluice_service service = {.default_model = OLDEST + 5};
	const struct sluice_client_flag_key rule = {.model = OLDEST + 6};
	const struct sluice_client_flag flag = {.allow = 1};
	const struct sluice_client_flag_key own_quota = {.model = OLDEST + 7};
	const uint32_t one = 1;
	char err[200];

	full_table();
	conn.exchange_tail = pool.exchange_tail = 1;
	conn.exchange.model = conn.exchange.pool = OLDEST;
	pool.exchange.model = SLUICE_MODEL_OTHER;
	pool.exchange.pool = OLDEST + 1;
	ended.exchange.model = ended.exchange.pool = ended.reading[0] = OLDEST + 2;
	conn.flags = SLUICE_CONN_REQUEST; /* the next one is under way */
	conn.reading[1] = OLDEST + 12;
	map_put(dp->skel->maps.conns, &where, &conn);
	where.server_port++;
	map_put(dp->skel->maps.conns, &where, &pool);
	where.server_port++;
	map_put(dp->skel->maps.conns, &where, &ended);
	map_put(dp->skel->maps.tombstones, &where, &refusal);
	where.server_port++;
	map_put(dp->skel->maps.tombstones, &where, &quota);
	map_put(dp->skel->maps.services, &at, &service);
	map_put(dp->skel->maps.client_flags, &rule, &flag);
	map_put(dp->skel->maps.client_quotas, &own_quota, &one);
	dp->state[OLDEST + 8].in_flight = 1;
	dp->state[OLDEST + 9].shadow_in_flight = 1;
	d.controller.model[OLDEST + 10].pinned = true;
	assert_int_equal(controller_set(&d.controller, "junk-111", "ttft", "1s", err, sizeof(err)),
			 0);
	learned("new");
	forget_names(&d);
	assert_int_equal(d.controller.model_count, SLUICE_MODELS_MAX - 64);
	for (uint32_t id = OLDEST; id <= OLDEST + 13; id++)
		if (known(id) != (id != OLDEST + 2 && id != OLDEST + 4 && id != OLDEST + 13))
			fail_msg("id %u", id);
	dp->state[OLDEST + 8].in_flight = dp->state[OLDEST + 9].shadow_in_flight = 0;
	for (; where.server_port; where.server_port--) {
		map_delete(dp->skel->maps.conns, &where);
		map_delete(dp->skel->maps.tombstones, &where);
	}
	map_delete(dp->skel->maps.services, &at);
	map_delete(dp->skel->maps.client_flags, &rule);
	map_delete(dp->skel->maps.client_quotas, &own_quota);
}

static uint64_t forgotten_admitted, others;

static void add_count(void *arg, const struct sluice_count_key *key, uint64_t n)
{
	if (key->model == SLUICE_MODEL_FORGOTTEN && key->verdict == SLUICE_VERDICT_ADMITTED)
		forgotten_admitted += n;
	else if (key->model == OLDEST)
		others += n;
}

static uint16_t shown_model;

static void see_client(void *arg, const struct sluice_client *client,
		       const struct sluice_client_count *count, int64_t in_flight)
{
	shown_model = count->last_model;
}

/* Everything that the kernel and the daemon may hold of an id. */
static void fill(uint32_t id)
{
	const struct sluice_count_key counts[] = {
		{.service = 3, .model = (__u16)id, .verdict = SLUICE_VERDICT_ADMITTED},
		{.service = 3,
		 .model = (__u16)id,
		 .verdict = SLUICE_VERDICT_REJECTED,
		 .reason = SLUICE_REASON_TTFT},
	};
	const struct sluice_client_flag_key held = {.model = id};
	const struct sluice_holding nothing = {.tat = 77};
	const struct sluice_client client = {.plen = 128};
	const struct sluice_client_count count = {
		.admitted = 1, .last_seen_ns = NOW + S, .last_model = (__u16)id};
	struct sluice_model_flag shut = {.allow = 0, .reason = SLUICE_REASON_TTFT, .pool = id};
	uint64_t *n = calloc(dp->cpus, sizeof(*n));
	struct sluice_admitted_count *admitted = calloc(dp->cpus, sizeof(*admitted));
	struct sluice_histogram *h = calloc(dp->cpus, sizeof(*h));

	for (int cpu = 0; cpu < dp->cpus; cpu++) {
		n[cpu] = 5;
		admitted[cpu] = (struct sluice_admitted_count){.n = 2, .service = 3};
		h[cpu].count[0][3] = h[cpu].sum_ns[0] = 9;
	}
	map_put(dp->skel->maps.request_counts, &counts[0], n);
	map_put(dp->skel->maps.request_counts, &counts[1], n);
	map_put(dp->skel->maps.admitted_counts, &id, admitted);
	map_put(dp->skel->maps.histograms, &id, h);
	map_put(dp->skel->maps.client_in_flight, &held, &nothing);
	map_put(dp->skel->maps.client_counts, &client, &count);
	assert_done(datapath_set_flag(dp, id, d.controller.model[id].name, &shut));
	dp->state[id].admitted = dp->state[id].ended = dp->state[id].refused[2] = 7;
	dp->state[id].token_ns = 7;
	d.controller.model[id].ttft_samples = 4;
	d.controller.model[id].ttft = (struct ema){.average = 9000, .weight = 4, .last_ns = NOW};
	d.controller.model[id].adapting = true;
	d.controller.model[id].adaptive.ceiling = 3;
	d.shut[id] = d.dirty[id] = true;
	d.state.changes[id] = 2;
	d.active.slot[5] = (struct active_client){.seen_ns = NOW, .weight = 1, .pool = (__u16)id};
	free(n);
	free(admitted);
	free(h);
}

static bool has_reply(uint32_t id, unsigned reason)
{
	const struct sluice_reply_key key = {.model = id, .reason = (__u16)reason};
	struct sluice_reply reply;

	return map_find(dp->skel->maps.replies, &key, &reply);
}

static void nothing_of_a_forgotten_name_is_left_for_the_next_of_its_id(void **state)
{
	const struct sluice_client_flag_key held = {.model = OLDEST};
	const struct sluice_histogram none = {0};
	struct sluice_model_flag flag, fresh;
	struct sluice_histogram histogram;
	struct sluice_holding holding;
	struct sluice_model_state was;

	full_table();
	fill(OLDEST);
	assert_true(has_reply(OLDEST, SLUICE_REASON_TTFT));
	learned("new");
	forget_names(&d);
	assert_false(known(OLDEST));
	assert_false(has_reply(OLDEST, SLUICE_REASON_TTFT));
	assert_false(map_find(dp->skel->maps.client_in_flight, &held, &holding));
	assert_done(datapath_get_histogram(dp, OLDEST, &histogram));
	assert_memory_equal(&histogram, &none, sizeof(none));
	assert_done(datapath_each_client(dp, see_client, NULL));
	assert_int_equal(shown_model, SLUICE_MODEL_OTHER);

	d.state.now_ns = NOW + 2 * S;
	assert_int_equal(learned("new"), OLDEST);
	assert_int_equal(write_flags(&d, false), 0);
	assert_done(datapath_each_client(dp, see_client, NULL));
	assert_int_equal(shown_model, SLUICE_MODEL_OTHER);
	assert_done(datapath_each_count(dp, add_count, NULL));
	assert_int_equal(others, 0);
	assert_int_equal(forgotten_admitted, dp->cpus * (5 + 2)); /* the sums do not fall */
	assert_done(datapath_get_flag(dp, OLDEST, &flag));
	assert_done(datapath_get_flag(dp, OLDEST - 1, &fresh));
	fresh.pool = OLDEST;
	assert_memory_equal(&flag, &fresh, sizeof(flag));
	memset(&was, 0, sizeof(was));
	was.seen_ns = was.named_ns = NOW + 2 * S;
	assert_memory_equal(&dp->state[OLDEST], &was, sizeof(was));
	assert_int_equal(d.controller.model[OLDEST].ttft_samples, 0);
	assert_true(controller_read(&d.controller, OLDEST, NOW + 2 * S).ttft_ms < 0);
	assert_false(d.controller.model[OLDEST].adapting || d.shut[OLDEST]);
	assert_int_equal(d.state.changes[OLDEST], 0);
	assert_int_equal(d.active.slot[5].seen_ns, 0);
}

static struct config configured(unsigned models)
{
	static struct config_model list[SLUICE_MODELS_MAX];
	static struct service service;

	memset(list, 0, sizeof(list));
	for (unsigned i = 0; i < models; i++) {
		snprintf(list[i].name, sizeof(list[i].name), "mine-%u", i);
		list[i].ttft_threshold_ms = list[i].itl_threshold_ms = -1;
	}
	strcpy(list[0].name, "junk-100"); /* one that traffic brought */
	strcpy(list[1].pool, "gpu0");
	strcpy(service.model, "new-default");
	return (struct config){.services = &service,
			       .service_count = 1,
			       .models = list,
			       .model_count = models,
			       .per_model_limits = true,
			       .ttft_threshold_ms = -1,
			       .itl_threshold_ms = -1,
			       .time_constant_secs = 15};
}

/* Takes up a configuration, as a start or a reload does. */
static void configure(const struct config *config)
{
	char err[256] = "";

	assert_done(name_configured(&d, config));
	if (configure_models(&d.controller, config, d.state.now_ns, err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(write_flags(&d, false), 0);
}

static void configured_names_always_find_room(void **state)
{
	struct config config = configured(NAMES - 3);
	uint32_t kept;

	full_table();
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		dp->state[id].seen_ns = NOW; /* in use: it does not matter */
	dp->state[OLDEST].seen_ns = 1;
	configure(&config);
	assert_int_equal(controller_find(&d.controller, "junk-100"), OLDEST);
	assert_true(controller_find(&d.controller, "new-default") > 0);
	assert_true(controller_find(&d.controller, "pool:gpu0") > 0);
	assert_true(in_kernel("mine-1018"));
	kept = d.controller.model_count;
	configure(&config);
	assert_int_equal(d.controller.model_count, kept);
}

static void a_command_finds_room_for_its_model(void **state)
{
	char err[256] = "";
	int id;

	full_table();
	commands.arg = &d;
	dp->state[OLDEST].in_flight = 1; /* the next one goes */
	id = commands.name_model(&d, "mine", err, sizeof(err));
	assert_int_equal(id, OLDEST + 1);
	assert_true(in_kernel("mine"));
	assert_int_equal(commands.name_model(&d, "junk-50", err, sizeof(err)), 50);
	for (uint32_t i = 0; i < SLUICE_MODELS_MAX; i++)
		d.controller.model[i].pinned = true;
	assert_int_equal(commands.name_model(&d, "mine-2", err, sizeof(err)), -ENOSPC);
	assert_non_null(strstr(err, "\"mine-2\""));
	dp->state[OLDEST].in_flight = 0;
}

static void names_adopted_from_a_killed_run_give_way_in_the_order_they_were_seen(void **state)
{
	struct config config = configured(11);

	full_table();
	closed(dp);
	dp = opened();
	new_daemon();
	adopt_models(&d);
	assert_int_equal(d.controller.model_count, SLUICE_MODELS_MAX);
	configure(&config);
	assert_int_equal(controller_find(&d.controller, "junk-100"), OLDEST);
	for (uint32_t id = OLDEST; id <= OLDEST + 12; id++) {
		char name[32];

		snprintf(name, sizeof(name), "junk-%u", id);
		if (in_kernel(name) == (id > OLDEST && id < OLDEST + 13))
			fail_msg("%s", name);
	}
	assert_true(in_kernel("junk-113") && in_kernel("mine-10") && in_kernel("new-default"));
}

static int open_once(void **state)
{
	if (sandbox_enter(state) || maps_setup(state))
		return -1;
	dp = opened();
	return 0;
}

static int close_once(void **state)
{
	desired_free(d.desired);
	return maps_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_table_forgets_the_names_longest_unseen),
		cmocka_unit_test(a_name_that_leaves_gets_no_flag_and_no_id_meanwhile),
		cmocka_unit_test(a_name_in_use_is_not_replaced_by_a_new_one),
		cmocka_unit_test(a_name_that_something_refers_to_is_kept),
		cmocka_unit_test(nothing_of_a_forgotten_name_is_left_for_the_next_of_its_id),
		cmocka_unit_test(configured_names_always_find_room),
		cmocka_unit_test(a_command_finds_room_for_its_model),
		cmocka_unit_test(
			names_adopted_from_a_killed_run_give_way_in_the_order_they_were_seen),
	};

	if (geteuid())
		return sandbox_main("names", tests);
	return cmocka_run_group_tests_name("names", tests, open_once, close_once);
}
