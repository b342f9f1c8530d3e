/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * `explain` over known maps: the daemon's state is the unit tests' fixture, the verdict is the
 * program's. Each question writes all maps anew, so a case is exactly the values that it sets.
 */
#include "packets.h"

#include "../unit/state_fixture.h"
#include "core/explain.h"
#define names_changed names_changed_in_datapath /* world.h has its own */
#include "datapath/internal.h"

#define S    1000000000ULL
#define POOL 9

static const struct siphash_secret secret = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL, 0};

static struct fixture *f;
static struct quota_book *book;
static struct datapath datapath;

static struct maps {
	struct sluice_client_flag rule;
	uint32_t client_quota, client_model_quota;
	struct sluice_prefix prefix;
	struct sluice_budget budget;
	uint32_t budget_of;
	uint32_t weighted, weighted_of;
	struct sluice_model_flag flag[16]; /* by model */
	struct sluice_holding held;        /* of the client, in the pool held_in */
	uint32_t held_in;
	const char *header; /* a value of the priority header, of class header_class */
	uint32_t header_class, key_class;
	bool has_rule, has_prefix, has_key_class;
} maps;

static void put(int fd, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(fd, key, value, BPF_ANY), 0);
}

static void put_models(void)
{
	for (uint32_t id = 0; id < 16; id++) {
		const struct state_load *load = &f->state.kernel[id];
		struct sluice_model_state state = {
			.in_flight = load->in_flight,
			.waiting = load->waiting,
			.waiting_bytes = load->waiting_bytes,
			.token_ns = load->token_ns,
			.admitted = load->admitted,
		};

		put(fd_of(model_flags), &id, &maps.flag[id]);
		put(fd_of(model_state), &id, &state);
	}
}

static void put_quotas(const struct sluice_client *client)
{
	struct sluice_client_flag_key key = {.client = *client};
	struct sluice_budget_key spent = {.client = *client, .quota = maps.budget_of};

	for (uint32_t id = 1; id < 16; id++) {
		struct sluice_quota value;
		struct quota_def def;

		quota_of_text(&def, &book->text[id]);
		quota_value(&value, &def);
		put(fd_of(quotas), &id, &value);
		for (uint16_t weight = 1; weight && maps.weighted_of == id; weight = 0) {
			struct sluice_weighted_key twice = {2 * SLUICE_WEIGHT_ONE, (__u16)id};

			put(fd_of(weighted_quotas), &twice, &maps.weighted);
		}
	}
	if (maps.client_quota)
		put(fd_of(client_quotas), &key, &maps.client_quota);
	key.model = FIXTURE_LLAMA;
	if (maps.client_model_quota)
		put(fd_of(client_quotas), &key, &maps.client_model_quota);
	if (maps.budget_of)
		put(fd_of(client_state), &spent, &maps.budget);
}

static void put_client(const struct sluice_client *client, const uint8_t *addr, uint32_t service)
{
	struct sluice_client_flag_key key = {.client = *client};
	struct sluice_prefix_key prefix = {.plen = 128};
	struct sluice_client header;

	memcpy(prefix.addr, addr, 16);
	if (maps.has_rule)
		put(fd_of(client_flags), &key, &maps.rule);
	if (maps.has_prefix)
		put(fd_of(client_prefixes), &prefix, &maps.prefix);
	key.model = maps.held_in;
	if (maps.held_in)
		put(fd_of(client_in_flight), &key, &maps.held);
	if (maps.has_key_class)
		put(fd_of(priorities), client, &maps.key_class);
	if (maps.header) {
		assert_int_equal(datapath_header_key(&datapath, service, maps.header, &header), 0);
		put(fd_of(priorities), &header, &maps.header_class);
	}
}

static void put_maps(uint32_t service, const struct sluice_question *q)
{
	struct service *v = &f->services[service];
	struct sluice_service value = http_service();
	uint32_t zero = 0;

	reset_world();
	clear_map(fd_of(client_state));
	clear_map(fd_of(priorities));
	w.settings.clock_ns = f->state.now_ns;
	w.settings.lease_until_ns = f->state.now_ns + HOUR;
	write_settings();
	put(fd_of(hash_key), &zero, &secret);
	v->id = value.id = service;
	value.quota = v->quota_id;
	value.default_model = v->model_id;
	set_both(v->port, value);
	v->wildcard = false;
	memcpy(v->addr, server_v4, 16);
	datapath.services = f->services;
	datapath.service_count = 2;
	put_models();
	put_quotas(&q->client);
	put_client(&q->client, f->clients[0].client.addr, service);
}

static bool verdict(void *arg, uint32_t service, struct sluice_question *q,
		    struct sluice_answer *out)
{
	put_maps(service, q);
	if (datapath_predict(&datapath, service, q, out))
		fail_msg("%s", datapath_error());
	return true;
}

static bool find_counts(void *arg, const struct sluice_client *client,
			struct sluice_client_count *out)
{
	return true;
}

static int64_t three(void *arg, const struct sluice_client *client)
{
	return 3;
}

static bool find_key(void *arg, const char *text, size_t len, struct sluice_client *out)
{
	return !datapath_key_client(&datapath, text, len, out);
}

static const struct state_lookup lookup = {
	.verdict = verdict, .counts = find_counts, .in_flight = three, .key = find_key};

static int setup(void **state)
{
	f = fixture_new();
	book = calloc(1, sizeof(*book));
	memset(&maps, 0, sizeof(maps));
	f->state.lookup = &lookup;
	f->state.quotas = book;
	datapath.skel = w.skel;
	f->services[0].identity.plen4 = 32;
	f->services[0].identity.plen6 = 64;
	for (uint32_t id = 0; id < 16; id++)
		maps.flag[id] = (struct sluice_model_flag){
			.allow = 1, .pool = (__u16)id, .limit_retry_ms = 2500};
	return 0;
}

static int teardown(void **state)
{
	free(book);
	free(f);
	return 0;
}

static struct explanation ask_of(const struct sluice_client *client, const uint8_t *addr,
				 uint32_t model, uint32_t bytes, const char *priority)
{
	const struct explain_request_of about = {bytes, priority};
	struct explanation e;

	assert_true(explain_request(&f->state, client, addr, model, 0, &about, &e));
	return e;
}

static struct explanation predict_answer(uint32_t model, uint32_t bytes, const char *priority)
{
	const struct sluice_client *client = &f->clients[0].client;

	return ask_of(client, client->addr, model, bytes, priority);
}

/* ---- the order ---- */

static struct quota_def quota_words_of(const char *words)
{
	struct quota_def def;
	char err[256];

	assert_int_equal(quota_parse(&def, words, err, sizeof(err)), 0);
	return def;
}

static uint32_t book_quota(const char *words)
{
	struct quota_def def = quota_words_of(words);
	bool fresh, taken;

	return quota_book_id(book, &def, SLUICE_SCOPE_SERVICE, "*:8000", false, NULL, &fresh,
			     &taken);
}

static void quotas_precede_limits_and_limits_precede_flags(void **state)
{
	uint32_t id = book_quota("requests=4/10s");
	struct explanation e;

	f->services[0].quota_id = (uint16_t)id;
	maps.flag[FIXTURE_LLAMA] = (struct sluice_model_flag){
		.reason = SLUICE_REASON_TTFT, .retry_after_ms = 900, .pool = FIXTURE_LLAMA};
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_false(e.admitted);
	assert_int_equal(e.answer.reason, SLUICE_REASON_TTFT);
	assert_int_equal(e.answer.retry_after_ms, 900);
	assert_int_equal(e.answer.action, SLUICE_ACTION_REPLY);
	assert_int_equal(e.quota.from, SLUICE_QUOTA_FROM_SERVICE);
	assert_int_equal(e.quota.requests.left, 4);
	assert_int_equal(e.client_in_flight, 3);

	/* A full limit precedes the flag. */
	maps.flag[FIXTURE_LLAMA].limit = 5;
	maps.flag[FIXTURE_LLAMA].limit_retry_ms = 1000;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).answer.reason,
			 SLUICE_REASON_IN_FLIGHT);

	/* The quota precedes both, and its wait is exact. */
	maps.budget_of = id;
	maps.budget.request_tat_ns = FIXTURE_NOW_NS + 9 * S;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.answer.reason, SLUICE_REASON_REQUEST_QUOTA);
	assert_int_equal(e.answer.retry_after_ms, 1500);
	assert_int_equal(e.quota.wait_ns, 1500000000);
	assert_int_equal(e.quota.requests.left, 0);
	assert_int_equal(e.quota.requests.reset_ns, 9 * S);
}

static void the_quota_is_of_client_and_model_client_prefix_then_the_service(void **state)
{
	const struct sluice_client *client = &f->clients[0].client;

	f->services[0].quota_id = (uint16_t)book_quota("requests=4/10s");
	maps.has_prefix = true;
	maps.prefix.quota = 9;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).quota.from,
			 SLUICE_QUOTA_FROM_PREFIX);
	assert_int_equal(ask_of(client, NULL, FIXTURE_LLAMA, 0, NULL).quota.from,
			 SLUICE_QUOTA_FROM_SERVICE);
	maps.client_quota = 9;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).quota.from,
			 SLUICE_QUOTA_FROM_CLIENT);
	maps.client_model_quota = 9;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).quota.from,
			 SLUICE_QUOTA_FROM_CLIENT_MODEL);
}

static void a_weight_selects_another_quota_for_shared_quotas_only(void **state)
{
	uint32_t id = book_quota("requests=4/10s");
	struct sluice_client key = {.addr = {9}, .kind = SLUICE_CLIENT_KEY};
	struct explanation e;

	f->services[0].quota_id = (uint16_t)id;
	maps.has_prefix = true;
	maps.weighted_of = id;
	maps.weighted = book_quota("requests=8/10s");
	maps.prefix.weight = 2 * SLUICE_WEIGHT_ONE;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.quota.from, SLUICE_QUOTA_FROM_SERVICE);
	assert_int_equal(e.quota.id, maps.weighted);
	assert_int_equal(e.quota.whole, id);
	assert_int_equal(e.quota.requests.limit, 8);
	assert_int_equal(e.quota.weight, 2 * SLUICE_WEIGHT_ONE);
	maps.client_quota = 9;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.quota.id, 9);
	assert_int_equal(e.quota.whole, 0);
	maps.client_quota = 0;
	e = ask_of(&key, f->clients[0].client.addr, FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.quota.id, id);
	assert_int_equal(e.quota.weight, 0);
	maps.prefix.weight = SLUICE_WEIGHT_ONE;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).quota.id, id);
}

static void a_rule_precedes_the_quota_and_the_operator_precedes_both(void **state)
{
	uint32_t id = book_quota("requests=4/10s");
	struct explanation e;

	f->services[0].quota_id = (uint16_t)id;
	maps.budget_of = id;
	maps.budget.request_tat_ns = FIXTURE_NOW_NS + 9 * S;
	maps.flag[FIXTURE_LLAMA].allow = 0;
	maps.flag[FIXTURE_LLAMA].reason = SLUICE_REASON_TTFT;
	maps.has_rule = maps.has_prefix = true;
	maps.rule = (struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						.expires_ns = FIXTURE_NOW_NS + 2 * S,
						.action = SLUICE_ACTION_DROP};
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.answer.reason, SLUICE_REASON_CLIENT_BLOCKED);
	assert_int_equal(e.answer.retry_after_ms, 2000);
	assert_int_equal(e.answer.action, SLUICE_ACTION_DROP);
	maps.rule.allow = 1;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_true(e.admitted && e.answer.override == SLUICE_OVERRIDE_ALLOWED);
	maps.flag[FIXTURE_LLAMA].reason = SLUICE_REASON_OPERATOR;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).answer.reason,
			 SLUICE_REASON_OPERATOR);
	maps.prefix.class = SLUICE_PREFIX_EXEMPT;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_true(e.admitted && e.answer.override == SLUICE_OVERRIDE_PREFIX_EXEMPT);
	maps.prefix.class = SLUICE_PREFIX_PLAIN;
	maps.flag[FIXTURE_LLAMA].mode = SLUICE_MODE_SHADOW;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_true(!e.admitted && !e.shadow); /* what the operator closes is closed */
	maps.flag[FIXTURE_LLAMA].reason = SLUICE_REASON_TTFT;
	maps.rule.allow = 0;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_true(!e.admitted && e.shadow);
}

/* ---- adaptive admission ---- */

/* 10 bytes a ms, so that 1000 ms are 10000 bytes. */
static void set_pool(uint32_t id, struct sluice_admission a)
{
	for (int rank = 0; rank < SLUICE_RANKS; rank++)
		a.level[rank] = a.queue_budget_level[rank] = ADMISSION_ALL;
	maps.flag[id].admission = a;
}

static int setup_adaptive(void **state)
{
	setup(state);
	f->controller.model[FIXTURE_LLAMA].own.ttft_ms = 1000;
	f->controller.model[FIXTURE_LLAMA].own.ttft_ms_per_kib = 0.5;
	f->state.kernel[FIXTURE_LLAMA] = (struct state_load){
		.in_flight = 14,
		.waiting = 4,
		.waiting_bytes = 8000,
		.token_ns = FIXTURE_NOW_NS,
	};
	maps.flag[FIXTURE_FRESH].pool = POOL;
	set_pool(FIXTURE_LLAMA,
		 (struct sluice_admission){
			 .queue_budget = 10000,
			 .credit_most = 5000,
			 .rate = (uint32_t)(10 * 1.048576 * (1 << ADMISSION_RATE_SHIFT)),
			 .ceiling = 16,
			 .floor = 2,
		 });
	return 0;
}

static void the_shown_wait_is_the_one_that_decides(void **state)
{
	struct explanation e = predict_answer(FIXTURE_LLAMA, 0, NULL);

	/* 8000 bytes wait, and 3/8 of 2000, the mean of the four that do: 875 ms of 1000. */
	assert_true(e.admitted);
	assert_int_equal(e.answer.bytes, 2000);
	assert_in_range((int)e.predicted_ms, 874, 875);
	assert_in_range((int)e.allowed_ms, 999, 1001);
	assert_in_range((int)e.target_ms, 1000, 1001);
	assert_int_equal(e.answer.rank, 2);

	e = predict_answer(FIXTURE_LLAMA, 6000, NULL); /* 1025 ms */
	assert_false(e.admitted);
	assert_int_equal(e.answer.reason, SLUICE_REASON_TTFT);
	assert_int_equal(e.answer.retry_after_ms, 2500);
	assert_in_range((int)e.predicted_ms, 1024, 1026);
	assert_true(e.target_ms > 1002 && e.target_ms < 1003);

	/* The server's progress since the last first token is credited. */
	f->state.kernel[FIXTURE_LLAMA].token_ns -= 200000000;
	e = predict_answer(FIXTURE_LLAMA, 6000, NULL);
	assert_true(e.admitted);
	assert_in_range((int)e.predicted_ms, 824, 828);

	/* A wait for a slot that is longer: two of 14 wait, and 12 end in 8000 ticks. Then its own
	 * bytes are read. */
	maps.flag[FIXTURE_LLAMA].admission.slots = 12;
	maps.flag[FIXTURE_LLAMA].admission.service = 8000;
	maps.flag[FIXTURE_LLAMA].admission.slot_wait_most = 2600;
	e = predict_answer(FIXTURE_LLAMA, 6000, NULL);
	assert_true(e.admitted);
	assert_in_range((int)e.predicted_ms, 2695, 2698);
	assert_in_range((int)e.allowed_ms, 2725, 2727);
	maps.flag[FIXTURE_LLAMA].admission.slot_wait_most = 1000;
	e = predict_answer(FIXTURE_LLAMA, 6000, NULL);
	assert_int_equal(e.answer.reason, SLUICE_REASON_TTFT);
	assert_in_range((int)e.predicted_ms, 2695, 2698);
	assert_in_range((int)e.allowed_ms, 1047, 1049);
	maps.flag[FIXTURE_LLAMA].admission.spare = 15; /* not asked */
	e = predict_answer(FIXTURE_LLAMA, 6000, NULL);
	assert_true(e.admitted);
	assert_in_range((int)e.predicted_ms, 824, 828);

	f->state.kernel[FIXTURE_LLAMA].in_flight = 16;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).answer.reason,
			 SLUICE_REASON_IN_FLIGHT);
	maps.flag[FIXTURE_LLAMA].admission.stopped = 1;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).answer.reason, SLUICE_REASON_TTFT);
	f->state.kernel[FIXTURE_LLAMA].in_flight = 1; /* below the floor */
	assert_true(predict_answer(FIXTURE_LLAMA, 0, NULL).admitted);
	/* A limit precedes the policy's numbers. */
	f->state.kernel[FIXTURE_LLAMA].in_flight = 9;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).answer.reason, SLUICE_REASON_TTFT);
	maps.flag[FIXTURE_LLAMA].limit = 1;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).answer.reason,
			 SLUICE_REASON_IN_FLIGHT);
}

static void explain_shows_a_client_above_its_share(void **state)
{
	struct explanation e;

	maps.flag[FIXTURE_LLAMA].admission.fair = 4 * ADMISSION_ALL;
	maps.flag[FIXTURE_LLAMA].admission.level[3] = ADMISSION_ALL / 2;
	maps.held_in = FIXTURE_LLAMA;
	maps.held.in_flight = 3;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_true(e.admitted && !(e.answer.rank & 1));
	assert_int_equal(e.answer.held.in_flight, 3);
	maps.held.in_flight = 4;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_false(e.admitted);
	assert_int_equal(e.answer.reason, SLUICE_REASON_CLIENT_SHARE);
	assert_int_equal(e.answer.rank, 3);
	assert_true(e.share == 4);
	assert_int_equal(e.answer.slots, 8);
	/* With nothing in flight, for admissions before their theoretical arrival time. */
	maps.held =
		(struct sluice_holding){.tat = (100 + 2 * ADMISSION_TOLERANCE + 1) * ADMISSION_ALL};
	maps.flag[FIXTURE_LLAMA].admission.interval = 2 * ADMISSION_ALL;
	f->state.kernel[FIXTURE_LLAMA].admitted = 100;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.answer.reason, SLUICE_REASON_CLIENT_SHARE);
	assert_true(e.client_excess == 4.5);
	maps.held.tat -= ADMISSION_ALL;
	assert_true(predict_answer(FIXTURE_LLAMA, 0, NULL).admitted);
	maps.held = (struct sluice_holding){.in_flight = 4};
	/* A weight of two is twice the share. */
	maps.has_prefix = true;
	maps.prefix.weight = 2 * SLUICE_WEIGHT_ONE;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_true(e.share == 8 && !(e.answer.rank & 1));
	maps.prefix.weight = 0;
	/* If every request would be refused, the share is not the reason. */
	f->state.kernel[FIXTURE_LLAMA].in_flight = 16;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, NULL).answer.reason,
			 SLUICE_REASON_IN_FLIGHT);
}

static uint32_t decides_unnamed(void)
{
	const struct sluice_client *client = &f->clients[0].client;

	return explain_unnamed(&f->state, client, client->addr, 0, &(struct explain_request_of){0});
}

static void without_a_readable_model_the_strictest_verdict_holds(void **state)
{
	static struct sluice_named_models named = {.count = 2, .id = {FIXTURE_LLAMA, 7}};

	f->services[0].model_id = FIXTURE_FRESH;
	f->state.named = &named;
	assert_int_equal(decides_unnamed(), FIXTURE_FRESH);
	maps.flag[7] = (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT, .pool = 7};
	assert_int_equal(decides_unnamed(), 7);
	f->services[0].unnamed_default = true;
	assert_int_equal(decides_unnamed(), FIXTURE_FRESH);
	f->services[0].unnamed_default = false;
	maps.flag[FIXTURE_FRESH] = maps.flag[7];
	assert_int_equal(decides_unnamed(), FIXTURE_FRESH);
}

static void a_class_comes_from_the_header_the_key_or_the_prefix(void **state)
{
	struct sluice_client key = {.addr = {9}, .kind = SLUICE_CLIENT_KEY};
	struct explanation e;

	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.answer.class, SLUICE_CLASS_NORMAL);
	assert_int_equal(e.answer.class_from, SLUICE_CLASS_FROM_DEFAULT);
	maps.has_prefix = true;
	maps.prefix.priority = 1;
	e = predict_answer(FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.answer.class, 0);
	assert_int_equal(e.answer.class_from, SLUICE_CLASS_FROM_PREFIX);
	assert_int_equal(e.answer.rank, 0);
	maps.header = "batch";
	maps.header_class = 3;
	assert_int_equal(predict_answer(FIXTURE_LLAMA, 0, "other").answer.class, 0);
	e = predict_answer(FIXTURE_LLAMA, 0, "batch");
	assert_int_equal(e.answer.class, 3);
	assert_int_equal(e.answer.class_from, SLUICE_CLASS_FROM_HEADER);
	maps.has_key_class = true;
	maps.key_class = 2;
	e = ask_of(&key, NULL, FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.answer.class, 2);
	assert_int_equal(e.answer.class_from, SLUICE_CLASS_FROM_KEY);
	assert_int_equal(ask_of(&key, NULL, FIXTURE_LLAMA, 0, "batch").answer.class, 3);
}

static void a_model_of_a_pool_is_decided_by_its_numbers(void **state)
{
	struct explanation e;

	assert_int_equal(predict_answer(FIXTURE_FRESH, 0, NULL).answer.admission.floor, 0);
	set_pool(POOL, (struct sluice_admission){.floor = 2, .ceiling = 4});
	f->state.kernel[POOL].in_flight = 4;
	e = predict_answer(FIXTURE_FRESH, 0, NULL);
	assert_int_equal(e.answer.pool, POOL);
	assert_int_equal(e.answer.reason, SLUICE_REASON_IN_FLIGHT);
	assert_true(e.predicted_ms < 0); /* no rate: no prediction */
}

#define quota_test(t)    cmocka_unit_test_setup_teardown(t, setup, teardown)
#define adaptive_test(t) cmocka_unit_test_setup_teardown(t, setup_adaptive, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		quota_test(quotas_precede_limits_and_limits_precede_flags),
		quota_test(the_quota_is_of_client_and_model_client_prefix_then_the_service),
		quota_test(a_weight_selects_another_quota_for_shared_quotas_only),
		quota_test(a_rule_precedes_the_quota_and_the_operator_precedes_both),
		adaptive_test(the_shown_wait_is_the_one_that_decides),
		adaptive_test(explain_shows_a_client_above_its_share),
		quota_test(without_a_readable_model_the_strictest_verdict_holds),
		adaptive_test(a_class_comes_from_the_header_the_key_or_the_prefix),
		adaptive_test(a_model_of_a_pool_is_decided_by_its_numbers),
	};

	return packets_main("test_explain", tests);
}
