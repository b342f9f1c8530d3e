/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Policy adaptive, simulated, on each mix of work, against the same work all streamed. One test for
 * each promise; each run is checked for all that hold at every load. Then what clients that obey
 * Retry-After get.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim/mix.h"

#define SEEDS 3

/* Plays a mix on an engine at a multiple of its capacity. Nothing is shown as shut while replies
 * end, and no admission exceeds the ceiling. */
static struct mix_result play(const struct mix *m, const struct mix_engine *e, double load)
{
	double capacity = mix_capacity(m, e);
	struct mix_result r;

	assert_true(capacity > 0);
	assert_int_equal(mix_play(m, e, load * capacity, SEEDS, &r), 0);
	if (r.shown.shut_while_replies || r.shown.above_ceiling || r.shown.changes > 2 * SEEDS)
		fail_msg(
			"%s, %s, %g×: shut in %u ticks in which a reply ended, %u admitted above the ceiling, %u changes of state",
			e->name, m->name, load, r.shown.shut_while_replies, r.shown.above_ceiling,
			r.shown.changes);
	return r;
}

static void little_load_is_not_refused(void **state)
{
	for (const struct mix_engine *e = mix_engines; e->name; e++) {
		for (const struct mix *m = mixes; m->name; m++) {
			struct mix_result r = play(m, e, 0.3);

			/* With four slots, two prompts of 8,000 tokens exceed any queue budget. */
			if (r.arrived - r.admitted > (e->shape.slots > 4 ? 0 : r.arrived / 2000))
				fail_msg("%s, %s: %u refused of %u", e->name, m->name,
					 r.arrived - r.admitted, r.arrived);
		}
	}
}

static void hold_to_all_streamed(double load)
{
	for (const struct mix_engine *e = mix_engines; e->name; e++) {
		for (const struct mix *m = mixes; m->name; m++) {
			struct mix_result r = play(m, e, load);
			/* Without any stream the slots are not known. */
			double least = m->unary >= 1 ? 0.94 : 0.95;

			if (r.goodput < least * r.streamed)
				fail_msg("%s, %s: %.3f of %.3f", e->name, m->name, r.goodput,
					 r.streamed);
		}
	}
}

static void load_near_the_capacity_is_served_as_well_as_if_all_of_it_were_streamed(void **state)
{
	hold_to_all_streamed(0.8);
}

static void overload_is_served_as_well_as_if_all_of_it_were_streamed(void **state)
{
	hold_to_all_streamed(2);
}

/* The share of `count` calls at 1.5 times the capacity that are admitted at last. Each is tried
 * three times, and obeys Retry-After. */
static double admitted_in_three(const struct mix_engine *e, uint32_t count, uint64_t seed)
{
	struct policy_rule rule = {.kind = POLICY_ADAPTIVE, .targets = e->targets};
	struct arrivals how = {.synthetic = SYNTHETIC_POISSON,
			       .count = count,
			       .clients = 20,
			       .rate = 1.5 * mix_capacity(&mixes[0], e),
			       .seed = seed};
	struct run_result r = {0};
	struct workload w;
	struct trace t;

	assert_int_equal(trace_make(4000, &t), 0);
	assert_int_equal(workload_make(&t, &how, &w), 0);
	w.retries = 2;
	assert_int_equal(run(&w, &e->shape, &rule, &r, NULL), 0);
	workload_free(&w);
	trace_free(&t);
	return r.admitted / (double)r.arrived;
}

/* The capacity is two thirds of that load. */
static void calls_that_obey_retry_after_get_what_the_capacity_allows(void **state)
{
	for (const struct mix_engine *e = mix_engines; e->name; e++) {
		double share = admitted_in_three(e, 3000, 1);

		if (share < 0.63)
			fail_msg("%s: %.3f are admitted", e->name, share);
	}
}

static void after_a_burst_of_ten_seconds_nine_in_ten_have_been_admitted(void **state)
{
	for (const struct mix_engine *e = mix_engines; e->name; e++) {
		uint32_t count = (uint32_t)(10 * 1.5 * mix_capacity(&mixes[0], e));
		double sum = 0;

		for (uint64_t seed = 1; seed <= 10; seed++)
			sum += admitted_in_three(e, count, seed) / 10;
		if (sum < 0.9)
			fail_msg("%s: %.3f are admitted", e->name, sum);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(little_load_is_not_refused),
		cmocka_unit_test(
			load_near_the_capacity_is_served_as_well_as_if_all_of_it_were_streamed),
		cmocka_unit_test(overload_is_served_as_well_as_if_all_of_it_were_streamed),
		cmocka_unit_test(calls_that_obey_retry_after_get_what_the_capacity_allows),
		cmocka_unit_test(after_a_burst_of_ten_seconds_nine_in_ten_have_been_admitted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
