/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The controller under policy adaptive: the pool that a sample moves, the numbers that the kernel
 * gets, and the time when it gets them. How the policy moves its numbers is in test_adaptive.c; the
 * reference policy is in test_controller.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/controller.h"
#include "core/parse.h"

#define S  1000000000ull
#define MS 1000000ull

static const struct controller_targets requested = {
	.ttft_ms = 1000,
	.itl_ms = 30,
	.tau_s = 15,
	.max_in_flight = -1,
	.policy = CONTROLLER_ADAPTIVE,
};

static struct controller c;

static uint32_t fresh(bool per_model)
{
	controller_init(&c, &requested, per_model);
	return controller_learn(&c, "m", S);
}

/* A first token after ms, of a request that had 10 bytes a ms before it. */
static void ttft(uint32_t id, double ms, uint32_t in_flight_at_admission, uint64_t at)
{
	const struct sluice_sample s = {
		.time_ns = at,
		.sum_ns = (uint64_t)(ms * 1e6),
		.n = 1,
		.model = (uint16_t)id,
		.kind = SLUICE_SAMPLE_TTFT,
		.bytes = 1024,
		.queued_bytes = (uint32_t)(ms * 10),
		.in_flight_at_admission = in_flight_at_admission,
	};

	controller_sample(&c, &s);
}

/* Enough first tokens that the rate is known: 10 bytes a ms. */
static uint64_t warm(uint32_t id, uint64_t at)
{
	for (int i = 0; i < 8; i++, at += 200 * MS)
		ttft(id, 100, 3, at);
	return at;
}

static struct sluice_model_flag flag(uint32_t id, uint64_t at)
{
	struct sluice_model_flag f;

	memset(&f, 0xff, sizeof(f));
	controller_flag(&c, id, at, &f);
	return f;
}

static void look(uint32_t id, const struct adaptive_view *view, uint64_t at)
{
	controller_look(&c, id, view, at);
}

static void set(const char *model, const char *pair)
{
	char err[256] = "";

	if (controller_set_all(&c, model, &pair, 1, err, sizeof(err)))
		fail_msg("%s: %s", pair, err);
}

static void the_flag_stays_open_and_its_admission_decides(void **state)
{
	uint32_t id = fresh(true);
	struct sluice_model_flag f;
	uint64_t at;

	f = flag(id, S);
	assert_int_equal(f.allow, 1);
	assert_int_equal(f.admission.floor, CONTROLLER_FLOOR);
	assert_true(f.admission.ceiling > CONTROLLER_FLOOR);
	assert_int_equal(f.admission.rate, 0); /* without samples no prediction */
	at = warm(id, 2 * S);
	for (int i = 0; i < 20; i++, at += 100 * MS)
		ttft(id, 5000, 3, at);
	/* The average is far over its threshold: the reference policy would shut this model. */
	assert_true(controller_read(&c, id, at).ttft_ms > 2000);
	assert_true(controller_read(&c, id, at).open);
	f = flag(id, at);
	assert_int_equal(f.allow, 1);
	assert_int_equal(f.reason, SLUICE_REASON_NONE);
	assert_int_equal(f.pool, id);
	assert_true(f.admission.rate > 0);
	assert_true(f.admission.queue_budget > 0);
	assert_true(f.limit_retry_ms >= 1000);
	/* ALL carries no numbers, OTHER does. */
	assert_int_equal(flag(SLUICE_MODEL_ALL, at).admission.floor, 0);
	assert_int_equal(flag(SLUICE_MODEL_OTHER, at).admission.floor, CONTROLLER_FLOOR);
	assert_int_equal(flag(SLUICE_MODEL_OTHER, at).pool, SLUICE_MODEL_OTHER);
}

static void without_a_target_the_kernel_gets_no_numbers(void **state)
{
	static const struct sluice_admission none;
	const struct adaptive_view view = {0};
	uint32_t id = fresh(true);
	struct sluice_model_flag f;

	warm(id, S);
	assert_true(flag(id, 5 * S).admission.ceiling > 0);
	set(NULL, "ttft=none");
	assert_true(flag(id, 5 * S).admission.ceiling > 0); /* the ITL target is still there */
	set(NULL, "itl=none");
	f = flag(id, 5 * S);
	assert_memory_equal(&f.admission, &none, sizeof(none));
	look(id, &view, 5 * S);
	assert_int_equal(controller_limit(&c, id), 0);
	/* The reference policy has none either. */
	set(NULL, "ttft=1s");
	set(NULL, "policy=ema-flag");
	f = flag(id, 5 * S);
	assert_memory_equal(&f.admission, &none, sizeof(none));
	assert_int_equal(f.pool, id);
}

static void a_policy_that_was_switched_off_begins_anew(void **state)
{
	const struct adaptive_view view = {0};
	uint32_t id = fresh(true);
	uint64_t at = warm(id, S);

	assert_true(flag(id, at).admission.rate > 0);
	set(NULL, "policy=ema-flag");
	look(id, &view, at);
	set(NULL, "policy=adaptive");
	assert_int_equal(flag(id, at).admission.rate, 0);
}

static void a_model_has_its_own_pool_a_declared_one_or_that_of_all(void **state)
{
	uint32_t id = fresh(true);
	int pool = controller_declare_pool(&c, "gpu0");

	assert_true(pool >= SLUICE_MODEL_FIRST);
	assert_int_equal(controller_pool(&c, id), id);
	controller_join(&c, id, (uint32_t)pool);
	assert_int_equal(controller_pool(&c, id), pool);
	assert_int_equal(controller_pool(&c, SLUICE_MODEL_OTHER), SLUICE_MODEL_OTHER);
	assert_true(controller_adapts(&c, (uint32_t)pool));
	assert_false(controller_adapts(&c, id));
	assert_false(controller_adapts(&c, SLUICE_MODEL_ALL));
	c.per_model = false;
	assert_int_equal(controller_pool(&c, id), SLUICE_MODEL_ALL);
	assert_int_equal(controller_pool(&c, SLUICE_MODEL_OTHER), SLUICE_MODEL_ALL);
	assert_true(controller_adapts(&c, SLUICE_MODEL_ALL));
	assert_false(controller_adapts(&c, (uint32_t)pool));
	c.per_model = true;
	c.all.policy = CONTROLLER_EMA_FLAG;
	assert_int_equal(controller_pool(&c, id), id);
	assert_false(controller_adapts(&c, (uint32_t)pool));
}

static void models_move_their_pool_each_by_its_own_target(void **state)
{
	uint32_t a = fresh(true), b = controller_learn(&c, "b", S), pool;
	struct sluice_model_flag f;
	uint64_t at;

	pool = (uint32_t)controller_declare_pool(&c, "gpu0");
	assert_int_equal(controller_declare_pool(&c, "gpu0"), pool);
	controller_join(&c, a, pool);
	controller_join(&c, b, pool);
	set("m", "ttft=400ms");
	set("b", "ttft=4s + 1ms/KiB");
	set("b", "floor=7");
	at = warm(b, S);
	f = flag(pool, at);
	assert_true(f.admission.rate > 0);
	assert_int_equal(f.pool, pool);
	assert_int_equal(f.admission.floor, 2);
	/* A queue budget of six times 400 ms: the smallest target, which does not grow. */
	assert_in_range(f.admission.queue_budget, 5.9 * 400 * 10, 6 * 400 * 10);
	assert_int_equal(f.admission.queue_budget_per_kib, 0);
	/* The entries of its members carry only the pool's id. */
	assert_int_equal(flag(a, at).admission.floor, 0);
	assert_int_equal(flag(a, at).pool, pool);
	assert_int_equal(flag(b, at).pool, pool);
	assert_int_equal(controller_limit(&c, a), f.admission.ceiling);
	/*
	 * A wait of one second is late for m, and not for b. With so few bytes before it, the
	 * ceiling comes down.
	 */
	for (int of_m = 0; of_m < 2; of_m++) {
		c.model[pool].adaptive.refused_share = 0.02; /* the ceiling holds */
		for (int i = 0; i < 4; i++) {
			const struct sluice_sample s = {
				.time_ns = at + 2 * S,
				.sum_ns = S,
				.n = 1,
				.model = (uint16_t)(of_m ? a : b),
				.bytes = 100,
				.queued_bytes = 100,
				.in_flight_at_admission = 8,
			};

			controller_sample(&c, &s);
		}
		if (of_m)
			assert_in_range(flag(pool, at + 2 * S).admission.ceiling, 2, 7);
		else
			assert_int_equal(flag(pool, at + 2 * S).admission.ceiling,
					 f.admission.ceiling);
	}
}

static void a_request_cannot_name_a_pool_as_its_model(void **state)
{
	uint32_t id = fresh(true);
	uint32_t pool = (uint32_t)controller_declare_pool(&c, "gpu0");
	char err[256] = "";

	assert_int_equal(controller_learn(&c, "pool:gpu0", S), SLUICE_MODEL_OTHER);
	assert_int_equal(controller_learn(&c, "pool:other", S), SLUICE_MODEL_OTHER);
	assert_int_equal(c.names_refused, 2);
	assert_int_equal(controller_adopt(&c, "pool:x", 9, S), -EINVAL);
	assert_int_equal(controller_find(&c, "pool:gpu0"), pool);
	assert_int_equal(controller_set(&c, "pool:gpu0", "ttft", "5", err, sizeof(err)), -EINVAL);
	assert_string_equal(err, "pool:gpu0 is a pool: its models have the targets");
	assert_int_equal(controller_declare_pool(&c, ""), -EINVAL);
	/* In use while it has a member. */
	assert_false(controller_in_use(&c, pool));
	controller_join(&c, id, pool);
	assert_true(controller_in_use(&c, pool));
	controller_join(&c, id, 0);
	assert_false(controller_in_use(&c, pool));
	assert_int_equal(flag(pool, S).admission.floor, 0);
}

static void without_per_model_limits_all_models_are_one_pool(void **state)
{
	uint32_t id = fresh(false);
	uint64_t at = warm(id, S);

	assert_true(flag(SLUICE_MODEL_ALL, at).admission.rate > 0);
	assert_int_equal(flag(id, at).admission.floor, 0);
	assert_int_equal(flag(id, at).pool, SLUICE_MODEL_ALL);
	assert_int_equal(flag(SLUICE_MODEL_OTHER, at).pool, SLUICE_MODEL_ALL);
	assert_true(controller_limit(&c, SLUICE_MODEL_ALL) > 0);
}

static void a_request_that_only_shadow_mode_admitted_moves_no_pool(void **state)
{
	uint32_t id = fresh(true);
	uint64_t at = S;

	for (int i = 0; i < 8; i++, at += 200 * MS)
		ttft(id, 100, 0, at);
	assert_int_equal(c.model[id].ttft_samples, 8);
	assert_true(controller_read(&c, id, at).ttft_ms > 0);
	assert_int_equal(flag(id, at).admission.rate, 0);
}

static void gaps_and_ended_responses_are_counted_apart(void **state)
{
	struct sluice_sample s = {.kind = SLUICE_SAMPLE_ITL, .time_ns = 2 * S};
	uint32_t id = fresh(true);

	s.model = (uint16_t)id;
	s.n = 4;
	s.sum_ns = 4 * 20 * MS;
	controller_sample(&c, &s);
	assert_true(c.model[id].adaptive.gap.weight > 3.9);
	assert_true(c.model[id].adaptive.missed.weight == 0);
	/* Its end, without a new gap: the mean of all its gaps is 50 ms, over 30. */
	s.n = 0;
	s.sum_ns = 0;
	s.queued_bytes = 50000;
	s.in_flight_at_admission = 12;
	controller_sample(&c, &s);
	assert_true(c.model[id].adaptive.gap.weight < 4.1);
	assert_true(c.model[id].adaptive.missed.weight == 1);
	assert_true(c.model[id].adaptive.missed.sum == 1);
	assert_int_equal(c.model[id].itl_samples, 4);
}

static void a_stuck_model_is_shut_by_its_ttft(void **state)
{
	struct adaptive_view view = {.in_flight = 9, .waiting = 9, .waiting_bytes = 9000};
	uint32_t id = fresh(true), pool;
	struct sluice_model_flag f;
	uint64_t at = warm(id, S);

	look(id, &view, at);
	assert_true(controller_read(&c, id, at).open);
	view.oldest_ns = 30 * S;
	for (int i = 0; i < 100; i++, at += 100 * MS)
		look(id, &view, at);
	assert_false(controller_read(&c, id, at).open);
	assert_int_equal(controller_read(&c, id, at).reason, SLUICE_REASON_TTFT);
	assert_true(controller_read(&c, id, at).retry_after_s >= 1);
	f = flag(id, at);
	assert_int_equal(f.allow, 1);
	assert_int_equal(f.admission.stopped, 1);
	/* All models of a pool are shut together. */
	pool = (uint32_t)controller_declare_pool(&c, "gpu0");
	controller_join(&c, id, pool);
	controller_join(&c, controller_learn(&c, "b", S), pool);
	view.oldest_ns = 100 * S; /* the server may have to load it first */
	for (int i = 0; i < 100; i++, at += 100 * MS)
		look(pool, &view, at);
	assert_false(controller_read(&c, pool, at).open);
	assert_false(controller_read(&c, (uint32_t)controller_find(&c, "b"), at).open);
	assert_true(controller_read(&c, SLUICE_MODEL_ALL, at).open);
}

static void counts_from_before_this_daemon_are_no_news(void **state)
{
	struct adaptive_view view = {.admitted = 1000, .ended = 1000, .refused = {[2] = 500000}};
	uint32_t id = fresh(true);

	look(id, &view, 2 * S);
	assert_true(c.model[id].adaptive.refused_share < 0.01);
	assert_true(c.model[id].adaptive.arrivals < 1);
	view.refused[2] += 50;
	look(id, &view, 2 * S + 100 * MS);
	assert_true(c.model[id].adaptive.arrivals_refused > 49);
}

static void the_kernel_gets_only_numbers_that_have_moved(void **state)
{
	uint32_t id = fresh(true);
	uint64_t at = warm(id, S);
	struct sluice_model_flag f;

	assert_true(controller_flag(&c, id, at, &f));
	assert_false(controller_flag(&c, id, at, &f));
	c.model[id].adaptive.rate *= 1.01;
	assert_false(controller_flag(&c, id, at, &f));
	c.model[id].adaptive.rate *= 1.02;
	assert_true(controller_flag(&c, id, at, &f));
	c.model[id].adaptive.ceiling += 1;
	assert_true(controller_flag(&c, id, at, &f));
	c.model[id].adaptive.refused_share = 0.02;
	assert_true(controller_flag(&c, id, at, &f));
	c.model[id].adaptive.failed_level = 8;
	assert_true(controller_flag(&c, id, at, &f));
	c.model[id].adaptive.class_level[3] = 0.5;
	assert_true(controller_flag(&c, id, at, &f));
	c.model[id].adaptive.active_weight = 4;
	assert_true(controller_flag(&c, id, at, &f));
	c.model[id].adaptive.active_weight = 4.1;
	assert_false(controller_flag(&c, id, at, &f));
	c.model[id].adaptive.active_weight = 5;
	assert_true(controller_flag(&c, id, at, &f));
	set(NULL, "floor=3");
	assert_true(controller_flag(&c, id, at, &f));
	assert_int_equal(f.admission.floor, 3);
	controller_join(&c, id, (uint32_t)controller_declare_pool(&c, "g"));
	assert_true(controller_flag(&c, id, at, &f));
	controller_join(
		&c, id,
		(uint32_t)controller_declare_pool(&c, "h")); /* nothing but the pool's id differs */
	assert_true(controller_flag(&c, id, at, &f));
}

static void the_limit_is_the_smaller_of_both(void **state)
{
	uint32_t id = fresh(true), ceiling;

	ceiling = flag(id, S).admission.ceiling;
	assert_int_equal(controller_limit(&c, id), ceiling);
	set("m", "max-in-flight=5");
	assert_int_equal(controller_limit(&c, id), 5);
	assert_int_equal(flag(id, S).limit, 5);
	set("m", "max-in-flight=500");
	assert_int_equal(controller_limit(&c, id), ceiling);
	assert_int_equal(flag(id, S).limit, 500);
	assert_int_equal(controller_limit(&c, SLUICE_MODEL_ALL), 0);
}

static void a_restart_goes_on_from_the_last_daemons_numbers(void **state)
{
	uint32_t id = fresh(true);
	struct sluice_model_flag was, now;

	warm(id, S);
	c.model[id].adaptive.ceiling = 41;
	was = flag(id, 5 * S);
	fresh(true);
	controller_adopt_flag(&c, id, &was, 6 * S);
	now = flag(id, 6 * S);
	assert_int_equal(now.admission.ceiling, 41);
	assert_true(now.admission.rate > 0);
	/* An entry of another pool's member says nothing of this model. */
	was.pool = SLUICE_MODEL_ALL;
	fresh(true);
	controller_adopt_flag(&c, id, &was, 6 * S);
	assert_int_not_equal(flag(id, 6 * S).admission.ceiling, 41);
	/* A flag that the reference policy has shut does not shut the model here. */
	was = (struct sluice_model_flag){
		.pool = (__u16)id, .reason = SLUICE_REASON_TTFT, .retry_after_ms = 9000};
	fresh(true);
	controller_adopt_flag(&c, id, &was, 6 * S);
	assert_true(controller_read(&c, id, 6 * S).open);
	assert_true(controller_read(&c, id, 6 * S).ttft_ms < 0);
}

static void set_takes_policy_floor_and_growing_targets(void **state)
{
	static const struct {
		const char *model, *pair;
		double ttft, per_kib;
		int64_t floor;
		uint8_t policy;
	} rows[] = {
		{NULL, "ttft=800ms + 0.2ms/KiB", 800, 0.2, 0, 1},
		{NULL, "ttft=800+0.2/KiB", 800, 0.2, 0, 1},
		{NULL, "ttft=1s  +  500us / KiB", 1000, 0.5, 0, 1},
		{NULL, "ttft=800", 800, 0, 0, 1},
		{NULL, "floor=8", 1000, 0, 8, 1},
		{NULL, "policy=ema-flag", 1000, 0, 0, 0},
		{NULL, "policy=adaptive", 1000, 0, 0, 1},
		{"m", "ttft=1ms+1s/KiB", 1, 1000, -1, 0},
		{"m", "floor=4096", -1, 0, 4096, 0},
		{"m", "floor=default", -1, 0, -1, 0},
	};
	static const struct {
		const char *model, *key, *value, *err;
	} wrong[] = {
		{NULL, "ttft", "800 + 0.2",
		 "ttft: \"800 + 0.2\" is not a number of milliseconds above 0 and at most 10000000 (or 1.5s, 2m), nor none"},
		{NULL, "ttft", "800 + 0.2/kb",
		 "ttft: \"800 + 0.2/kb\" is not a target that grows with the request, like 800 + 0.2/KiB or 1s + 0.5ms/KiB"},
		{NULL, "ttft", "none + 0.2/KiB",
		 "ttft: \"none + 0.2/KiB\" is not a target that grows with the request, like 800 + 0.2/KiB or 1s + 0.5ms/KiB"},
		{NULL, "ttft", "5 + 0/KiB",
		 "ttft: \"5 + 0/KiB\" is not a target that grows with the request, like 800 + 0.2/KiB or 1s + 0.5ms/KiB"},
		{NULL, "ttft", "5 + -1/KiB",
		 "ttft: \"5 + -1/KiB\" is not a target that grows with the request, like 800 + 0.2/KiB or 1s + 0.5ms/KiB"},
		{NULL, "floor", "0", "floor: \"0\" is not a whole number from 1 to 4096"},
		{NULL, "floor", "none", "floor: \"none\" is not a whole number from 1 to 4096"},
		{NULL, "floor", "default",
		 "floor: \"default\" is only for what a model has of its own"},
		{"m", "policy", "adaptive",
		 "policy: there is one for all models; leave the model out"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t id = fresh(true);
		const struct controller_targets *t = rows[i].model ? &c.model[id].own : &c.all;

		set(rows[i].model, rows[i].pair);
		if (t->ttft_ms != rows[i].ttft || t->ttft_ms_per_kib != rows[i].per_kib ||
		    t->floor != rows[i].floor || t->policy != rows[i].policy)
			fail_msg("%s", rows[i].pair);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char err[256] = "";

		fresh(true);
		assert_int_equal(controller_set(&c, wrong[i].model, wrong[i].key, wrong[i].value,
						err, sizeof(err)),
				 -EINVAL);
		assert_string_equal(err, wrong[i].err);
	}
}

static void a_growing_target_gives_long_requests_a_larger_queue_budget(void **state)
{
	uint32_t id = fresh(true);
	struct sluice_model_flag f;
	uint64_t at;

	set(NULL, "ttft=800ms + 0.2ms/KiB");
	at = warm(id, S);
	f = flag(id, at);
	assert_in_range(f.admission.queue_budget, 5.9 * 800 * 10, 6 * 800 * 10);
	assert_in_range(f.admission.queue_budget_per_kib, 8, 12);
	assert_true(controller_targets(&c, id).ttft_ms_per_kib == 0.2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_flag_stays_open_and_its_admission_decides),
		cmocka_unit_test(without_a_target_the_kernel_gets_no_numbers),
		cmocka_unit_test(a_policy_that_was_switched_off_begins_anew),
		cmocka_unit_test(a_model_has_its_own_pool_a_declared_one_or_that_of_all),
		cmocka_unit_test(models_move_their_pool_each_by_its_own_target),
		cmocka_unit_test(a_request_cannot_name_a_pool_as_its_model),
		cmocka_unit_test(without_per_model_limits_all_models_are_one_pool),
		cmocka_unit_test(a_request_that_only_shadow_mode_admitted_moves_no_pool),
		cmocka_unit_test(gaps_and_ended_responses_are_counted_apart),
		cmocka_unit_test(a_stuck_model_is_shut_by_its_ttft),
		cmocka_unit_test(counts_from_before_this_daemon_are_no_news),
		cmocka_unit_test(the_kernel_gets_only_numbers_that_have_moved),
		cmocka_unit_test(the_limit_is_the_smaller_of_both),
		cmocka_unit_test(a_restart_goes_on_from_the_last_daemons_numbers),
		cmocka_unit_test(set_takes_policy_floor_and_growing_targets),
		cmocka_unit_test(a_growing_target_gives_long_requests_a_larger_queue_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
