/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ring of ages against a plain list of start times: for waits of any length, for few requests,
 * and for many threads at once.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/ages.h>

#include "sim/random.h"

#define MS          1000000ULL
#define S           (1000 * MS)
#define WAITING_MAX 64

static struct sluice_ages ages;
static uint64_t waiting[WAITING_MAX];
static unsigned count;

static int fresh(void **state)
{
	memset(&ages, 0, sizeof(ages));
	count = 0;
	return 0;
}

static void begin(uint64_t now)
{
	waiting[count++] = now;
	ages_add(&ages, now);
}

static void end(unsigned i)
{
	ages_remove(&ages, waiting[i]);
	waiting[i] = waiting[--count];
}

static uint64_t counted(void)
{
	uint64_t n = ages.older;

	for (int i = 0; i < AGES_SLOTS; i++)
		n += (uint32_t)ages.slot[i];
	return n;
}

static uint64_t oldest(uint64_t now)
{
	uint64_t first = now;

	for (unsigned i = 0; i < count; i++)
		if (waiting[i] < first)
			first = waiting[i];
	return ages_time(now) - ages_time(first);
}

static void within_one_round_the_oldest_is_exact_to_a_slot(void **state)
{
	uint64_t now = 5 * S;

	srand(20261122);
	for (int step = 0; step < 200000; step++) {
		now += (uint64_t)(rand() % 100) * MS;
		while (count &&
		       (count == WAITING_MAX || rand() % 3 == 0 || now - waiting[0] > 15 * S))
			end(now - waiting[0] > 15 * S ? 0 : (unsigned)rand() % count);
		for (unsigned i = 0; i < count; i++)
			if (now - waiting[i] > 15 * S)
				end(i--);
		if (rand() % 2)
			begin(now);
		assert_int_equal(counted(), count);
		assert_int_equal(ages_oldest(&ages, now) >> AGES_SHIFT, oldest(now));
	}
}

static void a_lone_request_has_its_age_however_long_it_waits(void **state)
{
	begin(5 * S);
	for (uint64_t waited = 1; waited < 4000; waited *= 3)
		assert_in_range(ages_oldest(&ages, (5 + waited) * S), waited * S - 68 * MS,
				waited * S + 68 * MS);
	end(0);
	assert_int_equal(ages_oldest(&ages, 9000 * S), 0);
}

static void a_request_that_the_ring_overtakes_keeps_its_age(void **state)
{
	uint64_t slot = 1ULL << AGES_SHIFT, round = slot * AGES_SLOTS, start = 1000 * slot;

	begin(start);
	begin(start + round);
	assert_int_equal(ages.older, 1);
	for (uint64_t i = 2; i < 10; i++) {
		begin(start + i * round);
		assert_int_equal(ages.older, i);
		assert_int_equal(ages_oldest(&ages, start + i * round), i * round);
	}
	while (count)
		end(count - 1);
	assert_int_equal(counted(), 0);
	assert_int_equal(ages_oldest(&ages, start + 20 * round), 0);
}

static void a_start_in_the_near_future_has_no_age(void **state)
{
	begin(5 * S);
	assert_int_equal(ages_oldest(&ages, 5 * S - 200 * MS), 0);
}

/*
 * Threads that begin and end waits at once, all in the newest slot of a clock that they push on
 * together. The clock waits for the slowest thread, as the clocks of CPUs differ by less than a
 * round. It still goes round under some requests that wait.
 */
#define RACERS      3
#define RACE_ROUNDS 2000000
#define RACE_LAG    (AGES_SLOTS / 4 * 3)
#define RACE_FROM   1000
#define RACE_TO     (RACE_FROM + 100 * AGES_SLOTS)
#define RACE_MOST   64

static struct racer {
	pthread_t thread;
	struct chance chance;
	uint64_t seen;            /* the clock as this thread last read it */
	uint64_t held[RACE_MOST]; /* the start of each wait; 0: none */
} racers[RACERS];
static uint64_t race_clock; /* in slots */

static void race_push_on(void)
{
	uint64_t now = __atomic_load_n(&race_clock, __ATOMIC_SEQ_CST);

	for (unsigned i = 0; i < RACERS; i++)
		if (__atomic_load_n(&racers[i].seen, __ATOMIC_SEQ_CST) + RACE_LAG <= now)
			return;
	__sync_val_compare_and_swap(&race_clock, now, now + 1);
}

/* Repeats until it succeeds: four tries are enough only where CPUs do other work too. */
static void race_change(uint64_t time, bool add)
{
	__u64 *slot = &ages.slot[time % AGES_SLOTS];

	while (!(add ? ages_try_add(&ages, slot, time) : ages_try_remove(&ages, slot, time)))
		;
}

static void *race(void *arg)
{
	struct racer *r = arg;

	for (unsigned round = 0; round < RACE_ROUNDS || r->seen < RACE_TO; round++) {
		/* The first entries change often, the last ones wait for long. */
		uint64_t *held = &r->held[chance_below(&r->chance, RACE_MOST) *
					  chance_below(&r->chance, RACE_MOST) / RACE_MOST];
		uint64_t now = __atomic_load_n(&race_clock, __ATOMIC_SEQ_CST);

		__atomic_store_n(&r->seen, now, __ATOMIC_SEQ_CST);
		race_change(*held ? *held : now, !*held);
		*held = *held ? 0 : now;
		if (round % 8 == 0)
			race_push_on();
	}
	__atomic_store_n(&r->seen, UINT64_MAX / 2, __ATOMIC_SEQ_CST);
	return NULL;
}

static void concurrent_changes_lose_no_request(void **state)
{
	uint64_t waiting_still = 2;

	/*
	 * One request waits from the first round to the last, and the ring overtakes it. It stays
	 * the oldest, whatever happens to the others.
	 */
	race_change(RACE_FROM, true);
	race_change(RACE_FROM + AGES_SLOTS, true);
	race_clock = RACE_FROM + AGES_SLOTS;
	for (unsigned i = 0; i < RACERS; i++)
		racers[i] = (struct racer){.chance = {i}, .seen = race_clock};
	for (unsigned i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	for (unsigned i = 0; i < RACERS; i++)
		assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
	for (unsigned i = 0; i < RACERS; i++)
		for (unsigned k = 0; k < RACE_MOST; k++)
			waiting_still += racers[i].held[k] != 0;
	assert_int_equal(counted(), waiting_still);
	assert_int_equal(ages_oldest(&ages, race_clock << AGES_SHIFT) >> AGES_SHIFT,
			 race_clock - RACE_FROM);
	for (unsigned i = 0; i < RACERS; i++)
		for (unsigned k = 0; k < RACE_MOST; k++)
			if (racers[i].held[k])
				race_change(racers[i].held[k], false);
	race_change(RACE_FROM, false);
	race_change(RACE_FROM + AGES_SLOTS, false);
	assert_int_equal(ages.older, 0);
	for (int i = 0; i < AGES_SLOTS; i++)
		assert_int_equal((uint32_t)ages.slot[i], 0);
	/* A request that begins to wait now has its own age. */
	race_change(race_clock, true);
	assert_int_equal(ages_oldest(&ages, (race_clock + 9) << AGES_SHIFT) >> AGES_SHIFT, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(within_one_round_the_oldest_is_exact_to_a_slot, fresh),
		cmocka_unit_test_setup(a_lone_request_has_its_age_however_long_it_waits, fresh),
		cmocka_unit_test_setup(a_request_that_the_ring_overtakes_keeps_its_age, fresh),
		cmocka_unit_test_setup(a_start_in_the_near_future_has_no_age, fresh),
		cmocka_unit_test_setup(concurrent_changes_lose_no_request, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
