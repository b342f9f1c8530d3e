// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The ring of ages against a plain list of who waits since when: however long, and however sparse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/ages.h>

#define MS 1000000ULL
#define S  (1000 * MS)
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

static void the_oldest_is_known_to_a_slot_while_nobody_waits_a_round(void **state)
{
	uint64_t now = 5 * S;

	srand(20261122);
	for (int step = 0; step < 200000; step++) {
		now += (uint64_t)(rand() % 100) * MS;
		while (count && (count == WAITING_MAX || rand() % 3 == 0 || now - waiting[0] > 15 * S))
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

static void who_waits_alone_is_as_old_as_it_is_however_long(void **state)
{
	begin(5 * S);
	for (uint64_t waited = 1; waited < 4000; waited *= 3)
		assert_in_range(ages_oldest(&ages, (5 + waited) * S), waited * S - 68 * MS, waited * S + 68 * MS);
	end(0);
	assert_int_equal(ages_oldest(&ages, 9000 * S), 0);
}

static void who_is_overtaken_by_the_ring_keeps_its_age(void **state)
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

static void a_clock_that_is_a_little_ahead_is_no_age(void **state)
{
	begin(5 * S);
	assert_int_equal(ages_oldest(&ages, 5 * S - 200 * MS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_oldest_is_known_to_a_slot_while_nobody_waits_a_round, fresh),
		cmocka_unit_test_setup(who_waits_alone_is_as_old_as_it_is_however_long, fresh),
		cmocka_unit_test_setup(who_is_overtaken_by_the_ring_keeps_its_age, fresh),
		cmocka_unit_test_setup(a_clock_that_is_a_little_ahead_is_no_age, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
