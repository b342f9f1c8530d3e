/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The engine as the mock server drives it, by a clock. It reports every token, reports change
 * nothing else, and a cancelled request frees its slot and memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/engine.h"
#include "sim/random.h"

#define REQUESTS 300

struct job {
	uint64_t at_ns, gone_ns; /* gone_ns: the client hangs up; 0: never */
	uint32_t prompt, generate;
};

struct reported {
	uint64_t first_ns[REQUESTS], last_ns[REQUESTS], ended_ns[REQUESTS];
	uint32_t tokens[REQUESTS];
	bool gone[REQUESTS];
};

static void saw_first(void *context, uint32_t id, uint64_t now_ns)
{
	struct reported *t = context;

	assert_int_equal(t->first_ns[id], 0);
	assert_false(t->gone[id]);
	t->first_ns[id] = t->last_ns[id] = now_ns;
	t->tokens[id]++;
}

static void saw_token(void *context, uint32_t id, uint64_t now_ns)
{
	struct reported *t = context;

	assert_true(t->first_ns[id] && now_ns > t->last_ns[id]);
	assert_int_equal(t->ended_ns[id], 0);
	assert_false(t->gone[id]);
	t->last_ns[id] = now_ns;
	t->tokens[id]++;
}

static void saw_end(void *context, uint32_t id, uint64_t now_ns)
{
	struct reported *t = context;

	assert_int_equal(t->ended_ns[id], 0);
	assert_false(t->gone[id]);
	t->ended_ns[id] = now_ns;
}

static const struct engine_shape shapes[] = {
	{24, 16000, 12, 0.4, 256, false, 65536},
	{4, 3000, 25, 2, 64, false, 65536},
	{16, 40000, 14, 0.5, 2048, true, 65536},
	{24, 10000, 12, 0.5, 256, false, 4000}, /* the memory is soon full */
	{24, 10000, 12, 0.5, 256, true, 3000},
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void make_jobs(struct job *jobs, uint64_t seed, bool hang_up)
{
	struct chance c = {seed};
	uint64_t at = 0;

	for (uint32_t i = 0; i < REQUESTS; i++) {
		at += (uint64_t)(chance_exponential(&c, 60) * 1e6);
		jobs[i] = (struct job){at, 0, 1 + chance_below(&c, 900), 1 + chance_below(&c, 60)};
		if (hang_up && chance_below(&c, 2))
			jobs[i].gone_ns = at + (uint64_t)(chance_exponential(&c, 800) * 1e6);
	}
}

/* Wakes up for each of the engine's times, and up to 3 ms late. */
static void run_by_clock(struct engine *e, uint64_t until_ns, struct chance *late)
{
	uint64_t wake_ns;

	while ((wake_ns = engine_due(e)) < until_ns) {
		wake_ns += 1 + chance_below(late, 3000000);
		engine_run(e, wake_ns < until_ns ? wake_ns : until_ns);
	}
	engine_run(e, until_ns);
}

static uint64_t next_gone(const struct job *jobs, const struct reported *t, uint32_t *id)
{
	uint64_t soonest = UINT64_MAX;

	for (uint32_t i = 0; i < REQUESTS; i++) {
		if (!jobs[i].gone_ns || t->gone[i] || jobs[i].gone_ns >= soonest)
			continue;
		soonest = jobs[i].gone_ns;
		*id = i;
	}
	return soonest;
}

static void run_reported(const struct engine_shape *shape, const struct job *jobs,
			 struct reported *t)
{
	const struct engine_events events = {saw_first, saw_end, t};
	struct chance late = {7};
	struct engine e;
	uint32_t next = 0, id = 0;

	memset(t, 0, sizeof(*t));
	assert_int_equal(engine_init(&e, shape, &events, REQUESTS), 0);
	engine_report_tokens(&e, saw_token);
	for (;;) {
		uint64_t comes = next < REQUESTS ? jobs[next].at_ns : UINT64_MAX;
		uint64_t goes = next_gone(jobs, t, &id);

		if (comes == UINT64_MAX && goes == UINT64_MAX)
			break;
		if (comes <= goes) {
			run_by_clock(&e, comes, &late);
			assert_true(engine_submit(&e, next, jobs[next].prompt, jobs[next].generate,
						  comes));
			next++;
			continue;
		}
		run_by_clock(&e, goes, &late);
		if (!t->ended_ns[id])
			engine_cancel(&e, id, goes);
		t->gone[id] = true;
		assert_true(e.kv_used <= shape->kv_tokens);
	}
	while (!engine_idle(&e))
		run_by_clock(&e, engine_due(&e) + 1, &late);
	assert_int_equal(engine_due(&e), UINT64_MAX);
	assert_int_equal(e.kv_used, 0);
	engine_free(&e);
}

static void reports_of_tokens_change_nothing_and_leave_none_out(void **state)
{
	for (size_t s = 0; s < SHAPES; s++) {
		static struct job jobs[REQUESTS];
		static struct reported reported, plain;
		const struct engine_events events = {saw_first, saw_end, &plain};
		struct engine e;

		make_jobs(jobs, s + 1, false);
		run_reported(&shapes[s], jobs, &reported);
		memset(&plain, 0, sizeof(plain));
		assert_int_equal(engine_init(&e, &shapes[s], &events, REQUESTS), 0);
		for (uint32_t i = 0; i < REQUESTS; i++) {
			engine_run(&e, jobs[i].at_ns);
			assert_true(engine_submit(&e, i, jobs[i].prompt, jobs[i].generate,
						  jobs[i].at_ns));
		}
		engine_run(&e, UINT64_MAX);
		engine_free(&e);
		for (uint32_t i = 0; i < REQUESTS; i++) {
			assert_int_equal(reported.tokens[i], jobs[i].generate);
			assert_int_equal(reported.first_ns[i], plain.first_ns[i]);
			assert_int_equal(reported.ended_ns[i], plain.ended_ns[i]);
			assert_int_equal(reported.last_ns[i], reported.ended_ns[i]);
		}
	}
}

static void a_client_that_hangs_up_frees_its_memory_and_the_others_are_answered(void **state)
{
	for (size_t s = 0; s < SHAPES; s++) {
		static struct job jobs[REQUESTS];
		static struct reported reported;
		uint32_t gone = 0;

		make_jobs(jobs, s + 1, true);
		run_reported(&shapes[s], jobs, &reported);
		for (uint32_t i = 0; i < REQUESTS; i++) {
			gone += !reported.ended_ns[i];
			if (!jobs[i].gone_ns || reported.ended_ns[i])
				assert_int_equal(reported.tokens[i], jobs[i].generate);
			else
				assert_true(reported.tokens[i] < jobs[i].generate);
		}
		assert_true(gone > REQUESTS / 20);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reports_of_tokens_change_nothing_and_leave_none_out),
		cmocka_unit_test(
			a_client_that_hangs_up_frees_its_memory_and_the_others_are_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
