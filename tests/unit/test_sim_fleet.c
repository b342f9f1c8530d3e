/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fleets, simulated: what the documentation states holds in each pattern. sluice-sim --fleet-table
 * has more hosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "sim/fleet_show.h"

static struct fleet_options options_of(uint32_t hosts, uint64_t seed)
{
	struct fleet_options options = {.hosts = hosts,
					.period_ns = 100000000,
					.round_trip_ns = 1000000,
					.away_ns = 5000000000,
					.seed = seed};
	char why[256];

	assert_int_equal(fleet_options_read(&options, FLEET_QUOTA_TEXT, NULL, why, sizeof(why)), 0);
	return options;
}

static struct fleet_result simulate(const struct fleet_options *options, enum fleet_pattern p)
{
	struct fleet_result r;
	const char *broken;

	assert_int_equal(fleet_simulate(options, p, &r), 0);
	broken = fleet_broken(options, p, &r);
	if (broken)
		fail_msg("%u hosts, seed %u, %s: %s: %.2f of %.0f units over, measure %.3f",
			 options->hosts, (unsigned)options->seed, fleet_patterns[p].name, broken,
			 r.over, r.bound, r.value);
	return r;
}

static void the_bound_and_the_use_hold_in_each_pattern(void **state)
{
	static const uint32_t hosts[] = {1, 2, 10};

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		for (unsigned p = 0; p < FLEET_PATTERNS; p++) {
			struct fleet_options options = options_of(hosts[i], i + 1);

			if (p == FLEET_DEATHS && hosts[i] == 1)
				continue;
			simulate(&options, p);
		}
	}
}

static void a_long_round_trip_and_a_long_period_keep_the_bound(void **state)
{
	for (unsigned p = 0; p < FLEET_PATTERNS; p++) {
		struct fleet_options options = options_of(10, 3);
		struct fleet_result r;

		options.round_trip_ns = 300000000;
		options.period_ns = 1000000000;
		assert_int_equal(fleet_simulate(&options, p, &r), 0);
		if (r.over > r.bound)
			fail_msg("%s: %.2f of %.0f units over", fleet_patterns[p].name, r.over,
				 r.bound);
	}
}

/* The hosts' unsynced units are many bursts: a debt of the store's budget. */
static void many_hosts_with_a_small_burst_keep_the_bound(void **state)
{
	struct fleet_options options = options_of(100, 1);
	char why[256];

	assert_int_equal(
		fleet_options_read(&options, "requests=60/60s burst=1", NULL, why, sizeof(why)), 0);
	assert_true(simulate(&options, FLEET_HEAVY).over > 5);
}

/* A client that goes from host to host gets its quota, and a few units more: the hosts hear of each
 * other. */
static void hosts_hear_of_a_debt(void **state)
{
	struct fleet_options options = options_of(100, 1);

	assert_true(simulate(&options, FLEET_HOPS).over < 10);
	assert_true(simulate(&options, FLEET_HEAVY).over < 50);
}

/* Whichever host it asks then, and whatever its quota counts. */
static void a_client_that_waits_as_it_is_told_is_served(void **state)
{
	static const enum fleet_pattern patterns[] = {FLEET_OBEYS, FLEET_OBEYS_TOKENS};
	static const char *const quotas[] = {FLEET_QUOTA_TEXT, "requests=4/10s",
					     "requests=60/60s burst=1"};
	char why[256];

	for (size_t i = 0; i < 2; i++) {
		for (size_t q = 0; q < 3; q++) {
			for (uint32_t hosts = 1; hosts <= 100; hosts *= 10) {
				struct fleet_options options = options_of(hosts, q + 1);
				struct fleet_result r;

				assert_int_equal(fleet_options_read(&options, quotas[q], NULL, why,
								    sizeof(why)),
						 0);
				r = simulate(&options, patterns[i]);
				assert_true(r.waits > 50);
				assert_int_equal(r.broken, 0);
			}
		}
	}
}

/* A response may bring its client into debt, which it pays. */
static void a_quota_of_tokens_is_exact_in_the_long_run(void **state)
{
	for (uint32_t hosts = 1; hosts <= 100; hosts *= 10) {
		struct fleet_options options = options_of(hosts, 1);
		struct fleet_result r = simulate(&options, FLEET_TOKENS);

		assert_true(r.over > 1);
		assert_true(r.value < 1.02);
	}
}

static void a_seed_gives_one_run(void **state)
{
	struct fleet_options options = options_of(10, 5), other = options_of(10, 6);
	struct fleet_result a = simulate(&options, FLEET_AWAY), b = simulate(&options, FLEET_AWAY),
			    c = simulate(&other, FLEET_AWAY);

	assert_memory_equal(&a, &b, sizeof(a));
	assert_memory_not_equal(&a, &c, sizeof(a));
}

/* Clients send twice their rate, over all hosts. */
static void whole_budgets_are_given_out_while_the_store_is_away_if_so_set(void **state)
{
	struct fleet_options options = options_of(10, 1);
	struct fleet_result share, whole;

	options.away_ns = 30000000000;
	share = simulate(&options, FLEET_AWAY);
	options.whole = true;
	assert_int_equal(fleet_simulate(&options, FLEET_AWAY, &whole), 0);
	if (whole.value < share.value + 0.5)
		fail_msg("%.2f of the rate, and by shares %.2f", whole.value, share.value);
}

/* While the store is away a unit costs a host more. A store that is empty then, or lacks its last
 * calls, charges what was used, as one that has kept all. */
static void a_store_that_comes_back_empty_charges_no_more_than_was_used(void **state)
{
	static const enum fleet_pattern patterns[] = {FLEET_EMPTY, FLEET_FAILOVER};

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		for (uint32_t hosts = 2; hosts <= 100; hosts *= 7) {
			struct fleet_options options = options_of(hosts, 1);
			struct fleet_result kept, lost;

			options.away_ns = 2000000000;
			kept = simulate(&options, FLEET_AWAY);
			lost = simulate(&options, patterns[i]);
			assert_true(lost.value > 0.85);
			assert_true(lost.admitted > kept.admitted * 95 / 100);
			assert_true(lost.over < kept.over + 4);
		}
	}
}

/* Each of the hosts has given out a unit more than its share then, and the client is not shut out
 * until all these units are paid. */
static void after_a_long_absence_a_client_gets_its_rate_at_once(void **state)
{
	static const enum fleet_pattern patterns[] = {FLEET_EMPTY, FLEET_FAILOVER};

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		for (uint32_t hosts = 2; hosts <= 100; hosts *= 7) {
			struct fleet_options options = options_of(hosts, i + 1);
			struct fleet_result r;

			options.away_ns = 100000000000;
			r = simulate(&options, patterns[i]);
			assert_true(r.lowest > 0.8 && r.value < 1.05);
		}
	}
}

static void a_breach_is_reported(void **state)
{
	struct fleet_options options = options_of(10, 1);
	struct fleet_result r = simulate(&options, FLEET_ONE), wrong = r;

	wrong.over = r.bound + 1;
	assert_non_null(fleet_broken(&options, FLEET_ONE, &wrong));
	wrong = r;
	wrong.value = 0.94;
	assert_non_null(fleet_broken(&options, FLEET_ONE, &wrong));
	wrong.value = 0.79;
	assert_non_null(fleet_broken(&options, FLEET_BURST, &wrong));
	options.hosts = 11;
	assert_null(fleet_broken(&options, FLEET_BURST, &wrong));
	wrong = r;
	wrong.value = 1;
	wrong.broken = 1;
	assert_non_null(fleet_broken(&options, FLEET_OBEYS, &wrong));
	wrong.value = 0.002;
	assert_non_null(fleet_broken(&options, FLEET_LIGHT, &wrong));
}

static void an_option_that_is_none_is_refused(void **state)
{
	static const struct {
		const char *quota, *pattern, *why;
	} rows[] = {
		{"requests=0/1s", NULL, "--quota: "},
		{"tokens=5/1s", NULL, "--quota: give a quota of requests alone"},
		{FLEET_QUOTA_TEXT, "tide", "--fleet-pattern: \"tide\" is none"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fleet_options options = {0};
		char why[256];

		assert_int_equal(fleet_options_read(&options, rows[i].quota, rows[i].pattern, why,
						    sizeof(why)),
				 -EINVAL);
		assert_non_null(strstr(why, rows[i].why));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bound_and_the_use_hold_in_each_pattern),
		cmocka_unit_test(a_long_round_trip_and_a_long_period_keep_the_bound),
		cmocka_unit_test(many_hosts_with_a_small_burst_keep_the_bound),
		cmocka_unit_test(hosts_hear_of_a_debt),
		cmocka_unit_test(a_client_that_waits_as_it_is_told_is_served),
		cmocka_unit_test(a_quota_of_tokens_is_exact_in_the_long_run),
		cmocka_unit_test(a_seed_gives_one_run),
		cmocka_unit_test(whole_budgets_are_given_out_while_the_store_is_away_if_so_set),
		cmocka_unit_test(a_store_that_comes_back_empty_charges_no_more_than_was_used),
		cmocka_unit_test(after_a_long_absence_a_client_gets_its_rate_at_once),
		cmocka_unit_test(a_breach_is_reported),
		cmocka_unit_test(an_option_that_is_none_is_refused),
	};

	return cmocka_run_group_tests_name("sim_fleet", tests, NULL, NULL);
}
