/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The wait for one of the server's slots, under policy adaptive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/adaptive.h"

#define MS   1000000ULL
#define S    (1000 * MS)
#define TICK (100 * MS)

static const struct adaptive_targets targets = {.ttft_ms = 1000, .itl_ms = 100, .floor = 1};

/* A server of four slots at work: first tokens on time, then one that queued bytes do not explain.
 * Ten are in flight, and one ends in each 100 ms. */
static struct adaptive at_work(uint64_t *now)
{
	struct adaptive_view v = {.in_flight = 10, .waiting = 6};
	struct adaptive a;

	*now = 100 * S;
	adaptive_init(&a, *now);
	for (uint32_t i = 0; i < 100; i++) {
		*now += TICK;
		adaptive_ttft(&a, &targets, 100, 2000, 2000, 2, 1 + i % 4, *now);
		v.admitted++;
		v.ended++;
		adaptive_look(&a, &targets, &v, *now);
	}
	adaptive_ttft(&a, &targets, 900, 2000, 2000, 8, 3, *now);
	return a;
}

static struct sluice_admission written(const struct adaptive *a)
{
	struct sluice_admission out;

	adaptive_write(a, &targets, &out);
	return out;
}

static uint32_t ticks(double ms)
{
	return (uint32_t)(ms * MS / (1 << ADMISSION_TICK_SHIFT));
}

static void a_late_first_token_shows_the_slots(void **state)
{
	uint64_t now;
	struct adaptive a = at_work(&now);
	struct sluice_admission out = written(&a);
	double rate = a.rate;

	assert_int_equal(out.slots, 4);
	assert_in_range(out.slot_wait_most, ticks(990), ticks(1000));
	assert_int_equal(out.spare, 8);
	/* What waited for a slot says nothing of the rate. */
	adaptive_ttft(&a, &targets, 900, 2000, 2000, 5, 4, now += TICK);
	assert_true(a.rate >= rate && a.rate <= rate);
	/* What queued bytes explain shows no slot. */
	adaptive_init(&a, now);
	for (int i = 0; i < 100; i++)
		adaptive_ttft(&a, &targets, 900, 2000, 18000, 2, 4, now += TICK);
	assert_int_equal(written(&a).slots, 0);
}

static void the_slots_are_those_that_the_server_serves_at_once(void **state)
{
	struct server_slots s = {0};

	server_slots_first_token(&s, 100, 100, 3);
	server_slots_first_token(&s, 5000, -1, 7); /* the rate is not known yet */
	assert_true(s.slots <= 0);
	/* The last of them began with six others a moment ago. */
	server_slots_first_token(&s, 300, 100, 2);
	assert_true(s.slots > 6.8 && s.slots <= 7);
	/* More are known at once, whatever they waited. */
	server_slots_first_token(&s, 100, 100, 9);
	assert_true(s.slots >= 9 && s.slots <= 9);
	/* Fewer are where those that wait show fewer, again and again. */
	server_slots_first_token(&s, 300, 100, 5);
	assert_true(s.slots > 8.9);
	for (int i = 0; i < 200; i++)
		server_slots_first_token(&s, 300, 100, 5);
	assert_true(s.slots > 5 && s.slots < 5.1);
	/* On time they say nothing of it. */
	for (int i = 0; i < 200; i++)
		server_slots_first_token(&s, 100, 100, 1);
	assert_true(s.slots > 5);
}

static void a_slot_is_kept_for_the_time_that_littles_law_gives(void **state)
{
	struct server_slots s = {0};

	server_slots_pass(&s, 500, 3, 0);
	server_slots_pass(&s, 500, 3, 2);
	assert_true(s.service_ms > 1499 && s.service_ms < 1501);
	/* What waits has no slot. */
	s.slots = 4;
	for (int i = 0; i < 200; i++)
		server_slots_pass(&s, 100, 50, 1);
	assert_true(s.service_ms > 399 && s.service_ms < 401);
	/* Half of the slots are idle. */
	for (int i = 0; i < 200; i++)
		server_slots_pass(&s, 100, 2, 1);
	assert_true(s.service_ms > 199 && s.service_ms < 201);
}

static uint32_t wait_with(int64_t in_flight, uint32_t bytes, uint64_t age)
{
	/* a byte a tick */
	const struct sluice_admission a = {
		.slots = 4, .service = 1000, .rate = 1 << ADMISSION_RATE_SHIFT};
	struct admission_load load = {.in_flight = in_flight};

	return admission_slot_wait(&a, &load, bytes,
				   (uint64_t)in_flight * age << ADMISSION_TICK_SHIFT);
}

static void the_wait_is_for_a_turn_or_for_the_first_end(void **state)
{
	const struct admission_load many = {.in_flight = 1 << 30};

	assert_int_equal(wait_with(-1, 50, 0), 0);
	assert_int_equal(wait_with(3, 50, 0), 0);
	/* All have begun now: the first end is far. Its own bytes come after that. */
	assert_int_equal(wait_with(4, 0, 0), 1000);
	assert_int_equal(wait_with(4, 50, 0), 1050);
	assert_int_equal(wait_with(4, 0, 200), 600);
	/* They began one after the other. */
	assert_int_equal(wait_with(4, 0, 500), 250);
	assert_int_equal(wait_with(7, 0, 900), 1000);
	assert_int_equal(wait_with(8, 0, 0), 1250);
	/* Counts of another moment. */
	assert_int_equal(wait_with(4, 0, UINT64_MAX >> 24), 250);
	assert_int_equal(admission_slot_wait(&(struct sluice_admission){.rate = 1}, &many, 0, 0),
			 0);
	assert_int_equal(
		admission_slot_wait(
			&(struct sluice_admission){.slots = 1, .service = UINT32_MAX, .rate = 1},
			&many, 0, 0),
		ADMISSION_WAIT_MAX);
}

static enum admission_verdict judged(const struct adaptive *a, int64_t in_flight,
				     double mean_age_ms, uint32_t rank)
{
	struct sluice_admission out = written(a);
	struct admission_load load = {.in_flight = in_flight};

	load.slot_wait = admission_slot_wait(&out, &load, 100,
					     (uint64_t)(mean_age_ms * MS) * (uint64_t)in_flight);
	return admission_judge(&out, &load, 100, rank, 0);
}

static void a_request_that_would_wait_too_long_for_a_slot_is_refused(void **state)
{
	const uint32_t rank = admission_rank(SLUICE_CLASS_NORMAL, 0);
	uint64_t now;
	struct adaptive a = at_work(&now);

	/* While nothing is refused, twice the slots are open. */
	assert_int_equal(judged(&a, 7, 0, rank), ADMISSION_ADMIT);
	assert_int_equal(judged(&a, 8, 0, rank), ADMISSION_WAIT);
	a.refused_share = 0.2;
	assert_int_equal(judged(&a, 3, 0, rank), ADMISSION_ADMIT);
	assert_int_equal(judged(&a, 4, 0, rank), ADMISSION_WAIT);
	assert_int_equal(judged(&a, 4, 500, rank), ADMISSION_ADMIT);
	assert_int_equal(judged(&a, 6, 500, rank), ADMISSION_ADMIT);
	assert_int_equal(judged(&a, 7, 500, rank), ADMISSION_WAIT);
	/* A class that yields waits for less. */
	a.class_level[1] = 0.7;
	assert_int_equal(judged(&a, 5, 500, rank), ADMISSION_WAIT);
}

static void one_in_twenty_misses_the_target(void **state)
{
	uint64_t now;
	struct adaptive a = at_work(&now);
	double was;

	for (int i = 0; i < 100; i++)
		adaptive_ttft(&a, &targets, 1100, 2000, 2000, 8, 4, now += TICK);
	assert_int_equal(written(&a).slot_wait_most, ticks(500));
	for (int i = 0; i < 100; i++)
		adaptive_ttft(&a, &targets, 900, 2000, 2000, 8, 4, now += TICK);
	was = a.aim;
	assert_true(was > 0.7 && was < 0.8);
	for (int i = 0; i < 2000; i++)
		adaptive_ttft(&a, &targets, i % 20 ? 900 : 1100, 2000, 2000, 8, 4, now += TICK);
	assert_true(a.aim > was - 0.06 && a.aim < was + 0.06);
	/* Late by its bytes alone: no wait for a slot made it late. */
	for (int i = 0; i < 100; i++)
		adaptive_ttft(&a, &targets, 1100, 30000, 30000, 8, 4, now += TICK);
	assert_true(a.aim > was - 0.06);
}

static void a_target_that_grows_with_the_request_lets_it_wait_longer(void **state)
{
	const uint32_t rank = admission_rank(SLUICE_CLASS_NORMAL, 0);
	struct adaptive_targets longer = targets;
	struct admission_load load = {.in_flight = 4, .slot_wait = ticks(1500)};
	struct sluice_admission out;
	uint64_t now;
	struct adaptive a = at_work(&now);

	longer.ttft_ms_per_kib = 300;
	a.refused_share = 0.2;
	adaptive_write(&a, &longer, &out);
	assert_int_equal(admission_judge(&out, &load, 1024, rank, 0), ADMISSION_WAIT);
	assert_int_equal(admission_judge(&out, &load, 2048, rank, 0), ADMISSION_ADMIT);
}

static void a_new_daemon_knows_the_slots(void **state)
{
	uint64_t now;
	struct adaptive a = at_work(&now), next;
	struct sluice_admission was = written(&a), is;

	adaptive_init(&next, now);
	adaptive_adopt(&next, &was, &targets);
	is = written(&next);
	assert_int_equal(is.slots, was.slots);
	assert_in_range(is.service, was.service - 1, was.service + 1);
	assert_in_range(is.slot_wait_most, was.slot_wait_most - 1, was.slot_wait_most + 1);
}

static void what_waited_while_the_server_stood_still_says_nothing(void **state)
{
	uint64_t now;
	struct adaptive a = at_work(&now);
	struct adaptive_view v = {.in_flight = 4, .waiting = 4, .waiting_bytes = 8000};
	double rate = a.rate, ceiling, aim = a.aim;

	for (; v.oldest_ns < 10 * S; v.oldest_ns += TICK)
		adaptive_look(&a, &targets, &v, now += TICK);
	assert_true(written(&a).stopped);
	ceiling = a.ceiling;
	for (uint32_t i = 1; i <= 4; i++)
		adaptive_ttft(&a, &targets, 10000, 2000, 2000, i, 9, now += MS);
	assert_true(a.rate >= rate && a.rate <= rate);
	assert_true(a.aim >= aim && a.aim <= aim);
	assert_true(a.ceiling >= ceiling);
	assert_int_equal(written(&a).slots, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_late_first_token_shows_the_slots),
		cmocka_unit_test(the_slots_are_those_that_the_server_serves_at_once),
		cmocka_unit_test(a_slot_is_kept_for_the_time_that_littles_law_gives),
		cmocka_unit_test(the_wait_is_for_a_turn_or_for_the_first_end),
		cmocka_unit_test(a_request_that_would_wait_too_long_for_a_slot_is_refused),
		cmocka_unit_test(one_in_twenty_misses_the_target),
		cmocka_unit_test(a_target_that_grows_with_the_request_lets_it_wait_longer),
		cmocka_unit_test(a_new_daemon_knows_the_slots),
		cmocka_unit_test(what_waited_while_the_server_stood_still_says_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
