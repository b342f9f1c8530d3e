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
 * A request keeps its slot for 1,100 ms. */
static struct adaptive at_work(uint64_t *now)
{
	struct adaptive_view v = {.in_flight = 10, .waiting = 6};
	struct adaptive a;

	*now = 100 * S;
	adaptive_init(&a, *now);
	for (int i = 0; i < 100; i++) {
		*now += TICK;
		adaptive_ttft(&a, &targets, 100, 2000, 2000, 2, *now);
		adaptive_ended(&a, &targets, 50, 20, *now);
		v.admitted++;
		v.ended++;
		adaptive_look(&a, &targets, &v, *now);
	}
	adaptive_ttft(&a, &targets, 900, 2000, 2000, 8, *now);
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
	struct adaptive_view v = {.in_flight = 10, .waiting = 6};
	struct sluice_admission out = written(&a);
	double rate = a.rate;

	assert_int_equal(out.slots, 4);
	assert_in_range(out.service, ticks(1095), ticks(1105));
	assert_in_range(out.slot_wait_most, ticks(990), ticks(1000));
	assert_int_equal(out.spare, 8);
	/* What waited for a slot says nothing of the rate. */
	adaptive_ttft(&a, &targets, 900, 2000, 2000, 5, now += TICK);
	assert_true(a.rate >= rate && a.rate <= rate);
	/* What queued bytes explain shows no slot. */
	adaptive_init(&a, now);
	for (int i = 0; i < 100; i++) {
		adaptive_look(&a, &targets, &v, now += TICK);
		adaptive_ttft(&a, &targets, 900, 2000, 18000, 2, now);
	}
	assert_int_equal(written(&a).slots, 0);
}

static void more_that_decode_are_more_slots(void **state)
{
	uint64_t now;
	struct adaptive a = at_work(&now);
	struct adaptive_view v = {.in_flight = 10, .waiting = 3};

	adaptive_look(&a, &targets, &v, now += TICK);
	assert_int_equal(written(&a).slots, 7);
	/* Fewer are, where all those that come late show fewer. */
	v.waiting = 5;
	for (int i = 0; i < 400; i++) {
		adaptive_look(&a, &targets, &v, now += TICK);
		adaptive_ttft(&a, &targets, 900, 2000, 2000, 10, now);
	}
	assert_int_equal(written(&a).slots, 5);
}

static void the_wait_is_for_a_turn_or_for_the_first_end(void **state)
{
	const struct sluice_admission a = {.slots = 4, .service = 1000};
	const uint64_t tick = 1 << ADMISSION_TICK_SHIFT;

	assert_int_equal(admission_slot_wait(&a, -1, 0), 0);
	assert_int_equal(admission_slot_wait(&a, 3, 0), 0);
	/* All have begun now: the first end is far. */
	assert_int_equal(admission_slot_wait(&a, 4, 0), 1000);
	assert_int_equal(admission_slot_wait(&a, 4, 4 * 200 * tick), 600);
	/* They began one after the other. */
	assert_int_equal(admission_slot_wait(&a, 4, 4 * 500 * tick), 250);
	assert_int_equal(admission_slot_wait(&a, 7, 7 * 900 * tick), 1000);
	assert_int_equal(admission_slot_wait(&a, 8, 0), 1250);
	/* Counts of another moment. */
	assert_int_equal(admission_slot_wait(&a, 4, UINT64_MAX), 250);
	assert_int_equal(admission_slot_wait(&(struct sluice_admission){0}, 9, 0), 0);
	assert_int_equal(
		admission_slot_wait(&(struct sluice_admission){.slots = 1, .service = UINT32_MAX},
				    1 << 30, 0),
		ADMISSION_WAIT_MAX);
}

static enum admission_verdict judged(const struct adaptive *a, int64_t in_flight,
				     double mean_age_ms, uint32_t rank)
{
	struct sluice_admission out = written(a);
	struct admission_load load = {.in_flight = in_flight};

	load.slot_wait = admission_slot_wait(&out, in_flight,
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
		adaptive_ttft(&a, &targets, 1100, 2000, 2000, 8, now += TICK);
	assert_int_equal(written(&a).slot_wait_most, ticks(500));
	for (int i = 0; i < 100; i++)
		adaptive_ttft(&a, &targets, 900, 2000, 2000, 8, now += TICK);
	was = a.aim;
	assert_true(was > 0.7 && was < 0.8);
	for (int i = 0; i < 2000; i++)
		adaptive_ttft(&a, &targets, i % 20 ? 900 : 1100, 2000, 2000, 8, now += TICK);
	assert_true(a.aim > was - 0.06 && a.aim < was + 0.06);
	/* Late by its bytes alone: no wait for a slot made it late. */
	for (int i = 0; i < 100; i++)
		adaptive_ttft(&a, &targets, 1100, 30000, 30000, 8, now += TICK);
	assert_true(a.aim > was - 0.06);
}

static void replies_that_are_not_streamed_hide_the_slots(void **state)
{
	uint64_t now;
	struct adaptive a = at_work(&now);

	for (int i = 0; i < 20; i++)
		adaptive_duration(&a, &targets, 900, 2000, 20, 5, now += TICK);
	assert_int_equal(written(&a).slots, 0);
	for (int i = 0; i < 60; i++)
		adaptive_ended(&a, &targets, 50, 20, now += TICK);
	assert_int_equal(written(&a).slots, 4);
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
		adaptive_ttft(&a, &targets, 10000, 2000, 2000, i, now += MS);
	assert_true(a.rate >= rate && a.rate <= rate);
	assert_true(a.aim >= aim && a.aim <= aim);
	assert_true(a.ceiling >= ceiling);
	assert_int_equal(written(&a).slots, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_late_first_token_shows_the_slots),
		cmocka_unit_test(more_that_decode_are_more_slots),
		cmocka_unit_test(the_wait_is_for_a_turn_or_for_the_first_end),
		cmocka_unit_test(a_request_that_would_wait_too_long_for_a_slot_is_refused),
		cmocka_unit_test(one_in_twenty_misses_the_target),
		cmocka_unit_test(replies_that_are_not_streamed_hide_the_slots),
		cmocka_unit_test(a_new_daemon_knows_the_slots),
		cmocka_unit_test(what_waited_while_the_server_stood_still_says_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
