/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How many requests were in flight, on average, while one waited. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/recent_load.h"

#define MS 1000000ULL
#define S  (1000 * MS)

static void is(double value, double wanted)
{
	if (!(value > wanted - 1e-3 && value < wanted + 1e-3))
		fail_msg("%f, not %f", value, wanted);
}

static void the_mean_is_over_the_time_that_is_asked_for(void **state)
{
	struct recent_load l = {0};

	is(recent_load_mean(&l, 0, S), 0);
	for (uint64_t at = 10 * S; at < 11 * S; at += 100 * MS)
		recent_load_note(&l, 2, at);
	for (uint64_t at = 11 * S; at < 13 * S; at += 50 * MS)
		recent_load_note(&l, 12, at);
	is(recent_load_mean(&l, 11 * S, 13 * S), 12);
	is(recent_load_mean(&l, 10 * S, 13 * S), (2 + 2 * 12) / 3.0);
	is(recent_load_mean(&l, 10 * S, 14 * S), (2 + 3 * 12) / 4.0); /* unchanged since */
	is(recent_load_mean(&l, 0, 13 * S), (2 + 2 * 12) / 3.0);      /* no more is known */
	/* It began between two steps: from the earlier one on. */
	is(recent_load_mean(&l, 11 * S - 1, 13 * S), (0.1 * 2 + 2 * 12) / 2.1);
	is(recent_load_mean(&l, 20 * S, 12 * S), 12);
}

static void the_last_seconds_are_kept_however_often_it_is_noted(void **state)
{
	struct recent_load l = {0};
	uint64_t at = 10 * S;

	for (int i = 0; i < 100000; i++)
		recent_load_note(&l, i & 1 ? 3 : 1, at += MS / 2);
	is(recent_load_mean(&l, at - 5 * S, at), 2);
	is(recent_load_mean(&l, at - 60 * S, at), 2); /* over what is kept */
	/* A clock that went back. */
	recent_load_note(&l, 9, at - S);
	assert_true(recent_load_mean(&l, at, at + S) > 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_mean_is_over_the_time_that_is_asked_for),
		cmocka_unit_test(the_last_seconds_are_kept_however_often_it_is_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
