/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Replies that are not streamed: their samples, averages and targets, and what both policies make
 * of them. Time is a number here.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/adaptive.h"
#include "core/controller.h"

#define S    1000000000ULL
#define MS   1000000ULL
#define TICK (100 * MS)

static struct controller c;

static uint32_t controlled(const struct controller_targets *all)
{
	controller_init(&c, all, true);
	return controller_learn(&c, "m", S);
}

/* A reply that took `ms` and stated so many tokens. */
static void reply(uint32_t id, double ms, uint32_t tokens, uint64_t at)
{
	struct sluice_sample s = {
		.time_ns = at,
		.sum_ns = (uint64_t)(ms * 1e6),
		.n = tokens,
		.model = (uint16_t)id,
		.kind = SLUICE_SAMPLE_DURATION,
		.bytes = 1000,
		.queued_bytes = 1000,
		.in_flight_at_admission = 8,
	};

	assert_int_equal(controller_sample(&c, &s), id);
}

static void a_reply_is_one_observation_of_duration_and_of_normalized_latency(void **state)
{
	const struct controller_targets all = {.tau_s = 1, .max_in_flight = -1};
	uint32_t id = controlled(&all);
	struct controller_reading r = controller_read(&c, id, S);

	assert_true(r.duration_ms < 0 && r.normalized_ms < 0);
	reply(id, 10000, 10, S);
	reply(id, 1000, 10, 2 * S); /* as the golden values of the average, times 10 and 1 */
	for (int all_together = 0; all_together < 2; all_together++) {
		r = controller_read(&c, all_together ? SLUICE_MODEL_ALL : id, 2 * S);
		assert_true(fabs(r.duration_ms - 3420.4727) < 1e-3);
		assert_true(fabs(r.normalized_ms - 342.04727) < 1e-4);
		assert_true(r.ttft_ms < 0 && r.itl_ms < 0);
	}
	assert_int_equal(c.model[id].duration_samples, 2);
	assert_int_equal(c.model[id].normalized_samples, 2);
}

static void a_reply_that_states_no_tokens_has_only_a_duration(void **state)
{
	const struct controller_targets all = {.tau_s = 1, .max_in_flight = -1};
	uint32_t id = controlled(&all);

	reply(id, 500, 0, S);
	assert_true(controller_read(&c, id, S).duration_ms == 500);
	assert_true(controller_read(&c, id, S).normalized_ms < 0);
	assert_int_equal(c.model[id].duration_samples, 1);
	assert_int_equal(c.model[id].normalized_samples, 0);
	assert_int_equal(c.model[SLUICE_MODEL_ALL].duration_samples, 1);
}

static void an_average_over_its_target_shuts_a_model_under_ema_flag(void **state)
{
	static const struct {
		double ms;
		uint32_t tokens;
		enum sluice_reason reason;
	} rows[] = {
		{5000, 100, SLUICE_REASON_NONE},
		{5001, 1000, SLUICE_REASON_DURATION},
		{5001, 0, SLUICE_REASON_DURATION},
		{4000, 50, SLUICE_REASON_NONE},
		{4000, 49, SLUICE_REASON_NORMALIZED_LATENCY},
		{9000, 10, SLUICE_REASON_DURATION},
	};
	const struct controller_targets all = {
		.duration_ms = 5000, .normalized_ms = 80, .tau_s = 15, .max_in_flight = -1};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t id = controlled(&all);
		struct controller_reading r;
		struct sluice_model_flag flag;

		reply(id, rows[i].ms, rows[i].tokens, S);
		r = controller_read(&c, id, S);
		assert_true(controller_flag(&c, id, S, &flag));
		if (r.reason != rows[i].reason || flag.reason != rows[i].reason ||
		    flag.allow != (rows[i].reason == SLUICE_REASON_NONE))
			fail_msg("%g ms, %u tokens: reason %d", rows[i].ms, rows[i].tokens,
				 r.reason);
		/* It reopens when its longest wait is over. */
		assert_true(
			controller_read(&c, id, S + (uint64_t)(r.retry_after_s * 1e9) + MS).open);
	}
}

static void targets_of_durations_alone_put_a_model_under_policy_adaptive(void **state)
{
	static const struct controller_targets rows[] = {
		{.duration_ms = 5000, .policy = CONTROLLER_ADAPTIVE},
		{.normalized_ms = 80, .policy = CONTROLLER_ADAPTIVE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t id = controlled(&rows[i]);
		struct sluice_admission out;

		assert_true(controller_adapts(&c, id));
		reply(id, 100, 10, S);
		assert_true(controller_admission(&c, id, &out));
		assert_int_equal(out.rate, 0); /* no first token has shown one */
		assert_true(out.ceiling > 0);
		assert_true(c.model[id].adaptive.fresh == 1);
	}
}

static void a_pool_has_the_smallest_targets_of_its_models(void **state)
{
	const struct controller_targets all = {.duration_ms = 5000,
					       .normalized_ms = 80,
					       .policy = CONTROLLER_ADAPTIVE,
					       .tau_s = 15,
					       .max_in_flight = -1};
	uint32_t id = controlled(&all);
	int pool = controller_declare_pool(&c, "gpu");
	struct controller_targets t;

	assert_true(pool > 0);
	controller_join(&c, id, (uint32_t)pool);
	controller_join(&c, controller_learn(&c, "n", S), (uint32_t)pool);
	c.model[id].own.duration_ms = 900;
	c.model[id].own.normalized_ms = 100;
	t = controller_targets(&c, (uint32_t)pool);
	assert_true(t.duration_ms == 900 && t.normalized_ms == 80);
}

static const struct adaptive_targets targets = {
	.ttft_ms = 1000, .itl_ms = 50, .duration_ms = 5000, .normalized_ms = 80, .floor = 2};

/* An adaptive that has seen a reply, so that it is not cold, at 1 s. */
static struct adaptive warm(void)
{
	struct adaptive a;

	adaptive_init(&a, 0);
	adaptive_duration(&a, &targets, 100, 1000, 10, 8, S);
	return a;
}

/* A second with a reply before each look, and `in_flight` of its ceiling in use. */
static void second_of(struct adaptive *a, const struct adaptive_targets *t, double ms,
		      uint32_t tokens, double in_flight, uint64_t from)
{
	for (uint64_t now = from; now < from + S; now += TICK) {
		struct adaptive_view v = {.in_flight = (int64_t)(in_flight * a->ceiling)};

		adaptive_duration(a, t, ms, 1000, tokens, (uint32_t)a->ceiling, now);
		adaptive_look(a, t, &v, now);
	}
}

static void durations_alone_move_the_ceiling(void **state)
{
	static const struct {
		const char *what;
		double ms;
		uint32_t tokens;
		int way; /* of the ceiling, with all of it in use */
	} rows[] = {
		{"both far below", 1000, 100, 1},
		{"a long duration", 6000, 1000, -1},
		{"a slow reply", 4000, 40, -1},
		{"a long one, without tokens", 6000, 0, -1},
		{"a short one, without tokens", 1000, 0, 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct adaptive a = warm();
		double was = a.ceiling;

		second_of(&a, &targets, rows[i].ms, rows[i].tokens, 1, 12 * S);
		if ((a.ceiling > was) - (a.ceiling < was) != rows[i].way)
			fail_msg("%s: %g after %g", rows[i].what, a.ceiling, was);
	}
}

static void a_ceiling_stands_still_where_replies_just_meet_their_targets(void **state)
{
	struct adaptive a = warm();
	double was = a.ceiling;

	second_of(&a, &targets, 4950, 1000, 1, 12 * S);
	assert_true(a.ceiling >= was && a.ceiling < was + 0.1);
}

static void one_slow_reply_in_ten_lowers_no_ceiling(void **state)
{
	struct adaptive a = warm();
	double was = a.ceiling;

	for (unsigned i = 0; i < 200; i++) {
		struct adaptive_view v = {.in_flight = (int64_t)a.ceiling};

		adaptive_duration(&a, &targets, i % 10 == 9 ? 4400 : 1000, 1000, 40,
				  (uint32_t)a.ceiling, 12 * S + i * TICK);
		adaptive_look(&a, &targets, &v, 12 * S + i * TICK);
	}
	assert_true(a.ceiling > was);
}

static void late_replies_of_one_level_lower_the_ceiling_once(void **state)
{
	static const struct adaptive_targets both = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2};
	struct adaptive a = warm();

	a.ceiling = 20;
	/* 40 tokens may take 1000 + 40 * 50 ms; a reply that states none may take any time. */
	for (unsigned i = 0; i < 50; i++)
		adaptive_duration(&a, &both, i % 2 ? 2999 : 30000, 0, i % 2 ? 40 : 0, 20,
				  12 * S + i * TICK);
	assert_true(a.ceiling == 20);
	for (unsigned i = 0; i < 50; i++) {
		struct adaptive_view v = {.in_flight = 20};

		adaptive_duration(&a, &both, 3001, 0, 40, 20, 20 * S + i * TICK);
		adaptive_look(&a, &both, &v, 20 * S + i * TICK);
	}
	assert_true(a.ceiling == 19);
}

static void durations_leave_the_rate_alone(void **state)
{
	struct adaptive a = warm();

	for (unsigned i = 0; i < 5; i++)
		adaptive_ttft(&a, &targets, 100, 1000, 5000, 4, 0, 2 * S + i * TICK);
	assert_true(fabs(a.rate - 50) < 1e-9);
	second_of(&a, &targets, 900, 10, 0.5, 3 * S);
	assert_true(fabs(a.rate - 50) < 1e-9);
}

static void a_reply_while_the_model_loads_is_no_measure(void **state)
{
	struct adaptive a;
	double was;

	adaptive_init(&a, 0);
	was = a.ceiling;
	/* They waited together for a minute, until the model was loaded. */
	for (unsigned i = 0; i < 8; i++) {
		struct adaptive_view v = {.in_flight = 8};

		adaptive_duration(&a, &targets, 60000, 1000, 40, 8, 61 * S + i * TICK);
		adaptive_look(&a, &targets, &v, 61 * S + i * TICK);
	}
	assert_true(a.ceiling >= was);
}

static void nothing_is_stopped_while_replies_finish(void **state)
{
	struct adaptive a = warm();
	uint64_t now = 2 * S;

	/* A streamed request waits ever longer, while a reply ends each 800 ms. */
	for (unsigned i = 0; i < 200; i++, now += TICK) {
		struct adaptive_view v = {.in_flight = 8, .waiting = 1, .oldest_ns = i * TICK};

		if (i % 8 == 0)
			adaptive_duration(&a, &targets, 700, 1000, 20, 8, now);
		adaptive_look(&a, &targets, &v, now);
		assert_false(a.stopped);
	}
	/* When none ends any more, the server is stuck. */
	for (unsigned i = 200; i < 220; i++, now += TICK) {
		struct adaptive_view v = {.in_flight = 8, .waiting = 1, .oldest_ns = i * TICK};

		adaptive_look(&a, &targets, &v, now);
	}
	assert_true(a.stopped);
	adaptive_duration(&a, &targets, 900, 1000, 20, 8, now);
	adaptive_look(&a, &targets, &(struct adaptive_view){.in_flight = 7}, now);
	assert_false(a.stopped);
}

static void bytes_count_as_queued_until_their_predicted_end(void **state)
{
	struct sluice_waits w = {0};
	uint32_t end = waits_end(S, 500 * MS);

	w.bytes = 10 * WAITS_UNIT;
	assert_true(waits_put(&w, end, 10));
	assert_int_equal(waits_bytes(&w, S), 10 * WAITS_UNIT);
	assert_int_equal(waits_bytes(&w, S + 500 * MS), 10 * WAITS_UNIT);
	/* Nobody has emptied the slot, which is 67 ms long. */
	assert_int_equal(waits_bytes(&w, S + 700 * MS), 0);
	assert_int_equal(w.bytes, 10 * WAITS_UNIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reply_is_one_observation_of_duration_and_of_normalized_latency),
		cmocka_unit_test(a_reply_that_states_no_tokens_has_only_a_duration),
		cmocka_unit_test(an_average_over_its_target_shuts_a_model_under_ema_flag),
		cmocka_unit_test(targets_of_durations_alone_put_a_model_under_policy_adaptive),
		cmocka_unit_test(a_pool_has_the_smallest_targets_of_its_models),
		cmocka_unit_test(durations_alone_move_the_ceiling),
		cmocka_unit_test(a_ceiling_stands_still_where_replies_just_meet_their_targets),
		cmocka_unit_test(one_slow_reply_in_ten_lowers_no_ceiling),
		cmocka_unit_test(late_replies_of_one_level_lower_the_ceiling_once),
		cmocka_unit_test(durations_leave_the_rate_alone),
		cmocka_unit_test(a_reply_while_the_model_loads_is_no_measure),
		cmocka_unit_test(nothing_is_stopped_while_replies_finish),
		cmocka_unit_test(bytes_count_as_queued_until_their_predicted_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
