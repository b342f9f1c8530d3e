/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The reference policy: golden values and edges. The expected numbers come from its definition, a
 * weighted mean over all samples, in long double. So the recurrence in the code is compared with
 * something other than itself.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/ema.h"

#define S  1000000000ull
#define MS 1000000ull

struct step {
	double value;
	uint32_t n;
	uint64_t at_ns;
};

/* Within `relative` of the expected value; the reference policy promises 1e-12. */
static void assert_near(const char *what, double got, long double want, long double relative)
{
	long double off = fabsl((long double)got - want);

	if (!(off <= relative * fabsl(want)))
		fail_msg("%s: %.17g is not %.17Lg", what, got, want);
}

/* The definition: each sample weighs exp(-age/tau), its age counted back from the newest. */
static long double weighted_mean(const struct step *steps, size_t count, double tau_s)
{
	long double sum = 0, weight = 0, newest = steps[count - 1].at_ns;

	for (size_t i = 0; i < count; i++) {
		long double w = steps[i].n * expl((steps[i].at_ns - newest) / 1e9L / tau_s);

		sum += w * steps[i].value;
		weight += w;
	}
	return sum / weight;
}

static void golden_values_hold(void **state)
{
	struct ema ema = {0};

	ema_record(&ema, 1000, 1, 0, 1);
	ema_record(&ema, 100, 1, 1 * S, 1);
	assert_near("two samples", ema.average, 342.04727L, 1e-7L); /* its digits, cut off */
	assert_near("two samples, exactly", ema.average, (1000 * expl(-1) + 100) / (1 + expl(-1)),
		    1e-12L);

	memset(&ema, 0, sizeof(ema));
	for (uint64_t i = 0; i < 50000; i++)
		ema_record(&ema, 123.456, 1, i * 7 * MS, 15);
	assert_near("50,000 equal samples", ema.average, 123.456L, 1e-6L);

	memset(&ema, 0, sizeof(ema));
	ema_record(&ema, 1, 1, 5 * S, 0.1);
	assert_true(ema_read(&ema, 7 * S, 0.1) < 1e-5);
	assert_true(ema_read(&ema, 7 * S, 0.1) > 0);
}

static void averages_follow_the_definition_to_1e_12(void **state)
{
	static const struct {
		const char *what;
		double tau_s;
		size_t count;
		struct step step[6];
	} rows[] = {
		{"one", 15, 1, {{7, 1, 3 * S}}},
		{"one folded", 15, 1, {{7, 40, 3 * S}}},
		{"same time", 15, 3, {{7, 1, S}, {9, 1, S}, {1000, 1, S}}},
		{"spread", 2, 4, {{100, 1, 0}, {300, 1, S}, {50, 1, 1500 * MS}, {999, 1, 9 * S}}},
		{"folded", 1, 3, {{30, 5, 0}, {36, 64, 2 * S}, {1, 2, 2001 * MS}}},
		{"folded big", 15, 2, {{30, 4000000000u, 0}, {36, 4000000000u, S}}},
		{"long gap", 0.1, 2, {{1e6, 1, 0}, {1, 1, 100 * S}}},
		{"boot far away", 15, 2, {{5, 1, 1ull << 60}, {8, 3, (1ull << 60) + 40 * MS}}},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ema ema = {0};

		for (size_t j = 0; j < rows[i].count; j++)
			ema_record(&ema, rows[i].step[j].value, rows[i].step[j].n,
				   rows[i].step[j].at_ns, rows[i].tau_s);
		assert_near(rows[i].what, ema.average,
			    weighted_mean(rows[i].step, rows[i].count, rows[i].tau_s), 1e-12L);
	}
}

static void a_folded_record_is_n_samples_at_its_end(void **state)
{
	struct ema folded = {0}, single = {0};

	ema_record(&folded, 20, 1, S, 15);
	ema_record(&single, 20, 1, S, 15);
	ema_record(&folded, 31.5, 17, 2 * S, 15);
	for (int i = 0; i < 17; i++)
		ema_record(&single, 31.5, 1, 2 * S, 15);
	assert_near("average", folded.average, single.average, 1e-12L);
	assert_near("weight", folded.weight, single.weight, 1e-12L);
}

static void a_record_of_no_samples_changes_nothing(void **state)
{
	struct ema ema = {0}, before;

	ema_record(&ema, 5, 0, S, 15);
	assert_true(ema.weight == 0);
	ema_record(&ema, 5, 1, S, 15);
	before = ema;
	ema_record(&ema, 500, 0, 9 * S, 15);
	assert_memory_equal(&ema, &before, sizeof(ema));
}

static void without_a_sample_a_reading_is_zero(void **state)
{
	struct ema ema = {0};

	assert_true(ema_read(&ema, 0, 15) == 0);
	assert_true(ema_read(&ema, UINT64_MAX, 15) == 0);
	assert_true(ema_seconds_until(&ema, 1, S, 15) == 0);
}

static void a_time_going_backwards_counts_as_the_last_time(void **state)
{
	struct ema back = {0}, same = {0};

	ema_record(&back, 100, 1, 10 * S, 1);
	ema_record(&same, 100, 1, 10 * S, 1);
	ema_record(&back, 50, 1, 4 * S, 1);
	ema_record(&same, 50, 1, 10 * S, 1);
	assert_memory_equal(&back, &same, sizeof(back));
	assert_true(ema_read(&back, 1 * S, 1) == back.average);
	assert_true(ema_read(&back, 11 * S, 1) < back.average);
}

static void a_reading_decays_and_reopens_when_it_says(void **state)
{
	static const struct {
		double value, threshold, tau_s;
		uint64_t idle_ns;
	} rows[] = {
		{2000, 1000, 15, 0},    {2000, 1000, 15, 4 * S}, {36, 30, 15, S},
		{1e7, 0.001, 0.001, 0}, {1e7, 1, 86400, 0},      {1000.0001, 1000, 1, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ema ema = {0};
		double now, wait;

		ema_record(&ema, rows[i].value, 1, S, rows[i].tau_s);
		now = ema_read(&ema, S + rows[i].idle_ns, rows[i].tau_s);
		assert_near("read", now,
			    rows[i].value * expl(-(rows[i].idle_ns / 1e9L) / rows[i].tau_s),
			    1e-12L);
		wait = ema_seconds_until(&ema, rows[i].threshold, S + rows[i].idle_ns,
					 rows[i].tau_s);
		assert_near("then", now * exp(-wait / rows[i].tau_s), rows[i].threshold, 1e-12L);
	}
}

static void at_or_below_the_threshold_there_is_no_wait(void **state)
{
	struct ema ema = {0};

	ema_record(&ema, 30, 1, S, 15);
	assert_true(ema_seconds_until(&ema, 30, S, 15) == 0);
	assert_true(ema_seconds_until(&ema, 31, S, 15) == 0);
	assert_true(ema_seconds_until(&ema, 29.999, S, 15) > 0);
}

static void values_from_1e_minus_15_to_1e15_stay_finite(void **state)
{
	struct ema ema = {0};
	uint64_t now = 0;

	for (int i = 0; i < 20000; i++) {
		ema_record(&ema, pow(10, i * 7 % 31 - 15), 1 + (uint32_t)i * 97 % 5000, now, 0.5);
		assert_true(isfinite(ema.average) && isfinite(ema.weight));
		assert_true(ema.average >= 0 && ema.average <= 1.000001e15);
		assert_true(isfinite(ema_read(&ema, now + 1000 * S, 0.001)));
		now += (uint64_t)(i % 13) * 40 * MS;
	}
}

static void equal_samples_leave_the_average_at_any_weight(void **state)
{
	struct ema ema = {0};

	for (int i = 0; i < 50000; i++)
		ema_record(&ema, 1e-15, UINT32_MAX, S, 15);
	assert_near("average", ema.average, 1e-15L, 1e-12L);
	assert_true(isfinite(ema.weight));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_values_hold),
		cmocka_unit_test(averages_follow_the_definition_to_1e_12),
		cmocka_unit_test(a_folded_record_is_n_samples_at_its_end),
		cmocka_unit_test(a_record_of_no_samples_changes_nothing),
		cmocka_unit_test(without_a_sample_a_reading_is_zero),
		cmocka_unit_test(a_time_going_backwards_counts_as_the_last_time),
		cmocka_unit_test(a_reading_decays_and_reopens_when_it_says),
		cmocka_unit_test(at_or_below_the_threshold_there_is_no_wait),
		cmocka_unit_test(values_from_1e_minus_15_to_1e15_stay_finite),
		cmocka_unit_test(equal_samples_leave_the_average_at_any_weight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
