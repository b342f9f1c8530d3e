/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Work in slices: what a turn of the loop does at most, the order of works, their end, and what
 * they do in threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "loop/work.h"

static struct work_queue *q;
static char order[32];
static size_t entries, most_entries, bytes, most_bytes;

static int setup(void **state)
{
	q = work_open();
	assert_non_null(q);
	order[0] = 0;
	most_entries = most_bytes = 0;
	return 0;
}

static int teardown(void **state)
{
	work_close(q);
	return 0;
}

struct task {
	struct work work;
	const char *name;
	size_t steps, entries, bytes; /* entries and bytes of a step */
};

static void note(const char *what)
{
	strcat(order, what);
}

static void run(struct work *w)
{
	const struct task *t = (struct task *)w;

	for (size_t i = 0; i < t->steps; i++) {
		work_step(q, t->entries, t->bytes);
		entries += t->entries;
		bytes += t->bytes;
	}
	note(t->name);
}

static void done(struct work *w)
{
	note("!");
}

static unsigned turns(void)
{
	unsigned n = 0;

	for (; work_pending(q); n++) {
		entries = bytes = 0;
		work_turn(q);
		most_entries = entries > most_entries ? entries : most_entries;
		most_bytes = bytes > most_bytes ? bytes : most_bytes;
	}
	return n;
}

static void a_turn_does_a_slice(void **state)
{
	static const struct {
		size_t steps, entries, bytes;
		unsigned turns;
	} rows[] = {
		{1, 0, 0, 1},         {4, 256, 0, 1},   {5, 256, 0, 2},      {64, 1024, 0, 64},
		{65536, 1, 0, 64},    {64, 0, 1024, 1}, {65, 0, 1024, 2},    {1000, 1, 1000, 16},
		{1000, 100, 10, 100}, {3, 1000, 0, 3},  {262144, 1, 1, 256},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct task t = {{run, done, WORK_ANSWERS, NULL},
				 "a",
				 rows[i].steps,
				 rows[i].entries,
				 rows[i].bytes};

		teardown(state);
		setup(state);
		work_start(q, &t.work);
		assert_int_equal(turns(), rows[i].turns);
		assert_true(most_entries <= WORK_ENTRIES_MAX && most_bytes <= WORK_BYTES_MAX);
		assert_string_equal(order, "a!");
	}
}

static void a_step_of_more_than_a_slice_is_a_turn_of_its_own(void **state)
{
	struct task t = {{run, done, WORK_ANSWERS, NULL}, "a", 3, 5000, 0};

	work_start(q, &t.work);
	assert_int_equal(turns(), 3);
	assert_int_equal(most_entries, 5000);
}

static void works_end_in_the_order_of_their_start(void **state)
{
	struct task tasks[3] = {{{run, done, WORK_ANSWERS, NULL}, "a", 10, 1000, 0},
				{{run, done, WORK_ANSWERS, NULL}, "b", 1, 1, 0},
				{{run, done, WORK_ANSWERS, NULL}, "c", 10, 1000, 0}};

	for (int i = 0; i < 3; i++)
		work_start(q, &tasks[i].work);
	turns();
	assert_string_equal(order, "a!b!c!");
}

#define A_LONG_ONE_AND_THREE                                                                       \
	{                                                                                          \
		{{run, done, WORK_ANSWERS, NULL}, "a", 10, 1000, 0},                               \
			{{run, done, WORK_ANSWERS, NULL}, "b", 1, 1, 0},                           \
			{{run, done, WORK_ANSWERS, NULL}, "c", 1, 1, 0},                           \
		{                                                                                  \
			{run, done, WORK_ANSWERS, NULL}, "d", 1, 1, 0                              \
		}                                                                                  \
	}

static void a_work_that_has_not_begun_can_be_cancelled(void **state)
{
	struct task tasks[4] = A_LONG_ONE_AND_THREE;

	for (int i = 0; i < 3; i++)
		work_start(q, &tasks[i].work);
	work_turn(q);
	assert_false(work_cancel(q, &tasks[0].work));
	assert_true(work_cancel(q, &tasks[2].work));
	assert_true(work_cancel(q, &tasks[1].work));
	work_start(q, &tasks[3].work);
	turns();
	assert_string_equal(order, "a!d!");
}

static void a_work_started_after_a_cancel_comes_last(void **state)
{
	struct task tasks[4] = A_LONG_ONE_AND_THREE;

	for (int i = 0; i < 3; i++)
		work_start(q, &tasks[i].work);
	assert_true(work_cancel(q, &tasks[2].work));
	work_start(q, &tasks[3].work);
	turns();
	assert_string_equal(order, "a!b!d!");
}

static struct task follower = {{run, done, WORK_ANSWERS, NULL}, "f", 1, 1, 0};

static void start_another(struct work *w)
{
	note("!");
	work_start(q, &follower.work);
}

static void an_ended_work_may_start_another(void **state)
{
	struct task t = {{run, start_another, WORK_ANSWERS, NULL}, "a", 1, 1, 0};

	work_start(q, &t.work);
	turns();
	assert_string_equal(order, "a!f!");
}

static void outside_of_a_work_a_step_is_nothing(void **state)
{
	struct task t = {{run, done, WORK_ANSWERS, NULL}, "a", 3, 1000, 0};

	work_start(q, &t.work);
	work_turn(q);
	work_step(q, 100000, 100000); /* of the loop itself, while a work is under way */
	assert_int_equal(turns(), 2);
}

static void the_lanes_take_turns(void **state)
{
	struct task tasks[4] = A_LONG_ONE_AND_THREE; /* a: ten slices */

	tasks[1].work.lane = tasks[3].work.lane = WORK_CHANGES;
	tasks[3].steps = 4;
	tasks[3].entries = 1000;
	for (int i = 0; i < 4; i++)
		work_start(q, &tasks[i].work);
	assert_int_equal(turns(), 10 + 1 + 1 + 4);
	assert_int_equal(most_entries, 1000); /* a turn is of one lane */
	assert_string_equal(order, "b!d!a!c!");
}

static void a_work_is_cancelled_in_its_lane(void **state)
{
	struct task tasks[4] = A_LONG_ONE_AND_THREE;

	tasks[1].work.lane = tasks[2].work.lane = WORK_CHANGES;
	for (int i = 0; i < 4; i++)
		work_start(q, &tasks[i].work);
	assert_true(work_cancel(q, &tasks[1].work));
	assert_true(work_cancel(q, &tasks[3].work));
	turns();
	assert_string_equal(order, "c!a!");
}

static int gate[2]; /* a pipe: the thread waits until a byte is in it */

static int wait_at_gate(void *arg)
{
	char byte;

	return read(gate[0], &byte, 1) == 1 ? *(const int *)arg : -1;
}

static void open_gate(void)
{
	assert_int_equal(write(gate[1], "", 1), 1);
}

static void go_away(struct work *w)
{
	int seven = 7;

	note("(");
	assert_int_equal(work_away(q, wait_at_gate, &seven), seven);
	run(w);
}

static void wait_for_thread(void)
{
	struct pollfd ended = {.fd = work_fd(q), .events = POLLIN};

	assert_int_equal(poll(&ended, 1, -1), 1);
}

static void while_a_work_is_away_the_loop_and_the_other_lanes_go_on(void **state)
{
	struct task tasks[3] = {{{go_away, done, WORK_CHANGES, NULL}, "a", 1, 1, 0},
				{{run, done, WORK_CHANGES, NULL}, "b", 1, 1, 0},
				{{run, done, WORK_ANSWERS, NULL}, "c", 3, 1000, 0}};

	assert_int_equal(pipe(gate), 0);
	for (int i = 0; i < 3; i++)
		work_start(q, &tasks[i].work);
	assert_false(work_is_away(q));
	turns(); /* ends although a does not */
	assert_string_equal(order, "(c!");
	assert_true(work_is_away(q));
	open_gate();
	wait_for_thread();
	turns();
	assert_false(work_is_away(q));
	assert_string_equal(order, "(c!a!b!");
	close(gate[0]);
	close(gate[1]);
}

static void a_queue_that_closes_waits_for_the_thread(void **state)
{
	struct task t = {{go_away, done, WORK_CHANGES, NULL}, "a", 1, 1, 0};
	char byte;

	assert_int_equal(pipe2(gate, O_NONBLOCK), 0);
	assert_int_equal(fcntl(gate[0], F_SETFL, 0), 0);
	work_start(q, &t.work);
	work_turn(q);
	open_gate();
	teardown(state);
	assert_int_equal(fcntl(gate[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(read(gate[0], &byte, 1), -1); /* the thread has read it */
	assert_string_equal(order, "(");
	close(gate[0]);
	close(gate[1]);
	setup(state);
}

static int add_one(void *arg)
{
	return ++*(int *)arg;
}

static void outside_of_a_work_nothing_is_away(void **state)
{
	int n = 1;

	assert_int_equal(work_away(NULL, add_one, &n), 2);
	assert_int_equal(work_away(q, add_one, &n), 3);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_turn_does_a_slice),
		TEST(a_step_of_more_than_a_slice_is_a_turn_of_its_own),
		TEST(works_end_in_the_order_of_their_start),
		TEST(a_work_that_has_not_begun_can_be_cancelled),
		TEST(a_work_started_after_a_cancel_comes_last),
		TEST(an_ended_work_may_start_another),
		TEST(outside_of_a_work_a_step_is_nothing),
		TEST(the_lanes_take_turns),
		TEST(a_work_is_cancelled_in_its_lane),
		TEST(while_a_work_is_away_the_loop_and_the_other_lanes_go_on),
		TEST(a_queue_that_closes_waits_for_the_thread),
		TEST(outside_of_a_work_nothing_is_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
