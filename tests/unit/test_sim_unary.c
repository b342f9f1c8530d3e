/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Policy adaptive, simulated, on responses that are not streamed and on requests with images,
 * against a load of the same work that is all streamed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/run.h"

#define SEEDS 3

static const struct engine_shape shape = {32, 10000, 12, 0.4, 512, false, 65536};
static const struct policy_rule rule = {
	.kind = POLICY_ADAPTIVE,
	.targets = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2},
};

static const struct mix {
	const char *what;
	double unary, images;
	uint32_t long_tokens; /* of each response that is not streamed; 0: as of the trace */
} mixes[] = {
	{"half not streamed", 0.5, 0, 0},
	{"none streamed", 1, 0, 0},
	{"one long one in twenty", 0.05, 0, 1000},
	{"images in one of six", 0, 1.0 / 6, 0},
};

#define MIXES (sizeof(mixes) / sizeof(mixes[0]))

/* A trace of the mix, and what the engine can do of it at best if all of it is streamed. */
static double make(const struct mix *m, struct trace *t)
{
	struct trace streamed;
	double capacity;
	uint32_t n;

	assert_int_equal(trace_make(2000, t), 0);
	trace_images(t, m->images);
	trace_unary(t, m->unary);
	for (uint32_t i = 0; i < t->count; i++)
		if (m->long_tokens && t->requests[i].unary)
			t->requests[i].generate = m->long_tokens;
	streamed = (struct trace){calloc(t->count, sizeof(*t->requests)), t->count};
	assert_non_null(streamed.requests);
	memcpy(streamed.requests, t->requests, t->count * sizeof(*t->requests));
	trace_unary(&streamed, 0);
	capacity = run_capacity(&streamed, &shape, &rule.targets, &n);
	trace_free(&streamed);
	assert_true(capacity > 0);
	return capacity;
}

/* Nothing is shown as stopped, and no more is in flight than the highest ceiling of the run let in:
 * clients within their share may use 1.6 times as much. */
static void check_curve(char *curve)
{
	char *save = NULL;
	double highest = 16;

	strtok_r(curve, "\n", &save);
	for (char *line; (line = strtok_r(NULL, "\n", &save));) {
		double seconds;
		unsigned limit, open, in_flight;

		assert_int_equal(sscanf(line, "%lf,%u,%u,%u", &seconds, &limit, &open, &in_flight),
				 4);
		assert_int_equal(open, 1);
		if (limit > highest)
			highest = limit;
		assert_true(in_flight <= 1.6 * highest);
	}
}

static struct run_result simulate(const struct trace *t, double rate, uint64_t seed, bool streamed)
{
	struct arrivals how = {.synthetic = SYNTHETIC_POISSON,
			       .count = 2000,
			       .clients = 20,
			       .rate = rate,
			       .seed = seed};
	struct run_result r = {0};
	struct workload w;
	char *curve = NULL;
	size_t len;
	FILE *out = open_memstream(&curve, &len);

	assert_int_equal(workload_make(t, &how, &w), 0);
	for (uint32_t i = 0; streamed && i < w.count; i++)
		w.requests[i].unary = false;
	assert_int_equal(run(&w, &shape, &rule, &r, out), 0);
	fclose(out);
	check_curve(curve);
	free(curve);
	workload_free(&w);
	return r;
}

static void little_load_is_not_refused_whatever_is_streamed(void **state)
{
	for (size_t i = 0; i < MIXES; i++) {
		struct trace t;
		double rate = 0.3 * make(&mixes[i], &t);

		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			struct run_result r = simulate(&t, rate, seed, false);

			/* A burst that would miss its targets may be refused. */
			if (r.refused > r.arrived / 200)
				fail_msg("%s, seed %llu: %u refused", mixes[i].what,
					 (unsigned long long)seed, r.refused);
		}
		trace_free(&t);
	}
}

static void overload_is_served_as_well_as_if_all_of_it_were_streamed(void **state)
{
	for (size_t i = 0; i < MIXES; i++) {
		double goodput = 0, streamed = 0;
		struct trace t;
		double rate = 2 * make(&mixes[i], &t);

		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			goodput += simulate(&t, rate, seed, false).goodput;
			streamed += simulate(&t, rate, seed, true).goodput;
		}
		trace_free(&t);
		if (goodput < 0.95 * streamed)
			fail_msg("%s: %.2f of %.2f", mixes[i].what, goodput / SEEDS,
				 streamed / SEEDS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(little_load_is_not_refused_whatever_is_streamed),
		cmocka_unit_test(overload_is_served_as_well_as_if_all_of_it_were_streamed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
