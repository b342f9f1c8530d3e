/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The engine of a fleet (fleet/sync.c), under a clock and with losses that the test chooses. The
 * kernel's half and the store are the simulator's models.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include <sluice/gcra.h>

#include "fleet/sync.h"
#include "sim/fleet_host.h"
#include "sim/fleet_store.h"
#include "sim/random.h"

#define S       1000000000ULL
#define MS      1000000ULL
#define PERIOD  (100 * MS)
#define CLIENTS 20000
#define HOST    0
#define OTHER   1
#define HOSTS   2
/* A unit takes so long that a test sees none come back. */
#define INTERVAL (100000 * S)
#define BURST    40ULL

const char *__asan_default_options(void);

/* An array of more than a MiB cannot be had. */
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1:max_allocation_size_mb=1";
}

static struct quota_book book;
static struct sluice_quota quota;
static struct fleet_host kernel;
static struct fleet_store *store;
static struct fleet_call call;
static struct sluice_fleet_call kept; /* the map */
static struct sync *engine;
static bool calling, run_fails;
static uint64_t now;

static int run_items(void *arg, struct sluice_fleet_item *items, size_t count)
{
	if (run_fails)
		return -EIO;
	fleet_host_run(&kernel, items, count, now);
	return 0;
}

static void tell(void *arg, const struct sluice_fleet *fleet)
{
	kernel.fleet = *fleet;
}

static void make_call(void *arg, uint64_t number, const struct store_budget *budgets, size_t count)
{
	assert_false(calling);
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(budgets[i].key, budgets[k].key);
	calling = true;
	if (number == call.number) { /* again; the model of the store has its answer in it */
		assert_int_equal(count, call.count);
		for (size_t i = 0; i < count; i++) {
			assert_string_equal(budgets[i].key, call.budgets[i].key);
			assert_int_equal(budgets[i].charge_us, call.budgets[i].charge_us);
			assert_int_equal(budgets[i].want, call.budgets[i].want);
		}
		return;
	}
	memcpy(call.budgets, budgets, count * sizeof(*budgets));
	call.count = count;
	call.number = number;
}

static void begin_engine(void)
{
	const struct sync_config config = {.period_ns = PERIOD, .hosts_min = 1, .call = &kept};

	calling = false;
	engine = sync_new(&config, &(struct sync_handlers){run_items, tell, make_call, NULL});
	sync_quotas(engine, &book);
	sync_up(engine, true, now);
}

static int begin(void **state)
{
	struct quota_def def;

	memset(&book, 0, sizeof(book));
	book.text[FLEET_QUOTA] = (struct sluice_quota_text){
		.requests = BURST,
		.request_period_ns = BURST * INTERVAL,
		.request_burst = BURST,
		.scope = SLUICE_SCOPE_SERVICE,
		.fleet = 1,
		.name = ":8000",
	};
	quota_of_text(&def, &book.text[FLEET_QUOTA]);
	quota_value(&quota, &def);
	kernel = (struct fleet_host){.quota = &quota};
	memset(&call, 0, sizeof(call));
	memset(&kept, 0, sizeof(kept));
	now = 1000 * S;
	run_fails = false;
	store = fleet_store_new(HOSTS, CLIENTS);
	begin_engine();
	return 0;
}

static int end(void **state)
{
	sync_free(engine);
	fleet_store_free(store);
	fleet_host_free(&kernel);
	return 0;
}

static uint64_t turn(void)
{
	fleet_host_changes(&kernel, engine, now);
	if (sync_walk_begins(engine))
		fleet_host_walk(&kernel, engine, now);
	return sync_turn(engine, !calling, now);
}

static void store_gets_it(void)
{
	assert_true(calling);
	fleet_store_call(store, HOST, &call, now / 1000);
}

static void answer_comes(void)
{
	call.answered = call.number;
	call.epoch = call.answer.epoch;
	call.news_seen = call.news_id;
	calling = false;
	sync_answered(engine, &call.answer, now);
}

/* A call and its answer, a period later. */
static void exchange(void)
{
	now += PERIOD;
	turn();
	store_gets_it();
	answer_comes();
}

/* Requests of a client; returns how many were admitted. */
static unsigned request(uint32_t client, unsigned count)
{
	unsigned admitted = 0;
	bool lacks, wakes;

	while (count--)
		admitted += !fleet_host_request(&kernel, client, now, &lacks, &wakes);
	return admitted;
}

/* A call of the other host about one budget; returns how many units are spent, with grants. */
static unsigned other_host(uint32_t client, unsigned charge)
{
	static struct fleet_call other;
	struct sluice_client c = fleet_client(client);

	other.number++;
	other.count = 1;
	other.answered = other.number - 1;
	other.budgets[0] = (struct store_budget){
		.interval_ns = quota.request_ns,
		.span_us = quota.request_span_ns / 1000,
		.most_us = 4 * quota.request_span_ns / 1000,
		.reach_us = 4 * quota.request_span_ns / 1000,
		.charge_us = (int64_t)(charge * INTERVAL / 1000),
	};
	sync_key(other.budgets[0].key, sync_fingerprint(&book.text[FLEET_QUOTA]), false, &c);
	fleet_store_call(store, OTHER, &other, now / 1000);
	return (unsigned)((other.budgets[0].level_us * 1000 + INTERVAL / 2) / INTERVAL);
}

static unsigned spent(uint32_t client)
{
	return other_host(client, 0);
}

static struct sluice_fleet_item_units collect(uint32_t client)
{
	struct sluice_fleet_item item = {
		.key = {.client = fleet_client(client), .quota = FLEET_QUOTA},
		.op = SLUICE_FLEET_COLLECT};

	fleet_host_run(&kernel, &item, 1, now);
	return item.units[0];
}

/* How many units this host takes for spent. */
static unsigned known(uint32_t client)
{
	return (unsigned)((collect(client).level_ns + INTERVAL / 2) / INTERVAL);
}

/* ---- charges ---- */

static void what_is_used_is_charged_once_and_unused_grants_go_back(void **state)
{
	exchange();
	assert_int_equal(request(1, 3), 3);
	exchange();
	assert_int_equal(spent(1), 3 + 6); /* twice as much is granted */
	exchange();
	assert_int_equal(spent(1), 3);
	for (int i = 0; i < 5; i++)
		exchange();
	assert_int_equal(spent(1), 3);
	assert_int_equal(known(1), 3);
	assert_int_equal(sync_waiting(engine), 0);
}

static void what_waits_for_a_report_is_as_old_as_its_first_use(void **state)
{
	exchange();
	assert_int_equal(sync_waiting_ns(engine, now), 0);
	sync_up(engine, false, now);
	request(1, 1);
	turn();
	now += 3 * S;
	request(2, 1);
	turn();
	assert_int_equal(sync_waiting(engine), 2);
	assert_int_equal(sync_waiting_ns(engine, now), 3 * S);
	sync_up(engine, true, now);
	for (int i = 0; i < 5; i++)
		exchange();
	assert_int_equal(sync_waiting_ns(engine, now), 0);
}

/* Answers are lost, calls too; the store's client makes a call again as it was. */
static void no_loss_makes_a_unit_count_twice_or_never(void **state)
{
	struct chance chance = {1};
	unsigned admitted = 0, lost = 0;

	exchange();
	for (int i = 0; i < 3000 && admitted < BURST - 5; i++) {
		if (!chance_below(&chance, 10))
			admitted += request(7, 1);
		now += MS * chance_below(&chance, 30);
		turn();
		if (!calling)
			continue;
		switch (chance_below(&chance, 3)) {
		case 0: /* lost on its way */
			lost++;
			sync_up(engine, false, now);
			break;
		case 1: /* the answer is lost */
			lost++;
			store_gets_it();
			sync_up(engine, false, now);
			break;
		default:
			sync_up(engine, true, now);
			store_gets_it();
			answer_comes();
		}
	}
	sync_up(engine, true, now);
	if (calling) {
		store_gets_it();
		answer_comes();
	}
	for (int i = 0; i < 5; i++)
		exchange();
	assert_true(lost > 50 && admitted > BURST / 2);
	assert_int_equal(spent(7), admitted);
	assert_int_equal(known(7), admitted);
}

/* Six units of a client are used, and five of them are in a call. */
static void call_about_five(void)
{
	exchange();
	assert_int_equal(request(1, 1), 1);
	for (int i = 0; i < 3; i++)
		exchange();
	assert_int_equal(request(1, 5), 5);
	now += PERIOD;
	turn();
	assert_int_equal(call.count, 1);
}

static void next_daemon(void)
{
	sync_free(engine);
	begin_engine();
}

/* The next daemon makes the call again, whether the store has had it or not. */
static void a_daemon_killed_before_an_answer_counts_each_unit_once(void **state)
{
	for (int had = 0; had < 2; had++) {
		uint64_t number;

		call_about_five();
		number = call.number;
		if (had)
			store_gets_it();
		next_daemon();
		assert_int_equal(request(1, 2), 2);
		now += 10 * S;
		turn();
		assert_int_equal(call.number, number);
		assert_int_equal(call.count, 1);
		store_gets_it();
		answer_comes();
		for (int i = 0; i < 5; i++)
			exchange();
		assert_int_equal(spent(1), 8);
		assert_int_equal(known(1), 8);
		assert_int_equal(sync_waiting(engine), 0);
		end(NULL);
		begin(NULL);
	}
}

/* … also after the answer is in the kernel; and it makes no call that was answered. */
static void a_call_that_was_answered_is_not_made_again(void **state)
{
	uint64_t number;

	call_about_five();
	store_gets_it();
	answer_comes();
	kept.under_way = 1; /* as it was before the last step of that */
	kept.count = 1;
	next_daemon();
	for (int i = 0; i < 5; i++)
		exchange();
	assert_int_equal(spent(1), 6);
	assert_int_equal(known(1), 6);
	number = call.number;
	next_daemon();
	exchange();
	assert_int_equal(call.number, number + 1);
	assert_int_equal(spent(1), 6);
}

/* A quota that has other numbers by now is another budget, which the answer is not about. */
static void an_answer_about_a_quota_that_has_changed_does_nothing_to_it(void **state)
{
	call_about_five();
	store_gets_it();
	sync_free(engine);
	book.text[FLEET_QUOTA].request_burst++;
	begin_engine();
	turn();
	store_gets_it();
	call.budgets[0].level_us = 30 * INTERVAL / 1000;
	answer_comes();
	assert_int_equal(known(1), 6);
}

/* An answer that is had again is old, and so is what was collected for it. */
static void an_old_answer_locks_nobody_out(void **state)
{
	call_about_five();
	store_gets_it();
	next_daemon();
	now += 3 * INTERVAL;
	turn();
	store_gets_it();
	answer_comes();
	assert_int_equal(known(1), 3);
}

static void a_restart_sees_that_the_store_has_lost_its_contents(void **state)
{
	call_about_five();
	store_gets_it();
	answer_comes();
	next_daemon();
	fleet_store_flush(store);
	for (int i = 0; i < 5; i++)
		exchange();
	assert_int_equal(spent(1), 6);
}

static void a_call_has_some_budgets_and_the_next_ones_come_at_once(void **state)
{
	unsigned calls = 0;

	exchange();
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(request(i, 1), 1);
	now += PERIOD;
	while (turn(), calling) {
		assert_in_range(call.count, 1, STORE_BATCH);
		store_gets_it();
		answer_comes();
		calls++;
	}
	assert_int_equal(calls, (1000 + STORE_BATCH / 2 - 1) / (STORE_BATCH / 2));
	for (int i = 0; i < 20; i++)
		exchange();
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(spent(i), 1);
}

static void a_kernel_that_fails_is_asked_again(void **state)
{
	exchange();
	request(1, 3);
	run_fails = true;
	exchange();
	assert_int_equal(call.count, 0);
	run_fails = false;
	exchange();
	exchange();
	exchange();
	assert_int_equal(spent(1), 3);
}

/* The kernel's map is LRU. */
static void evicted_budgets_are_charged_as_far_as_they_were_read(void **state)
{
	exchange();
	request(1, 2);
	request(2, 2);
	now += PERIOD;
	turn();
	request(1, 3); /* nobody reads these */
	fleet_host_free(&kernel);
	kernel = (struct fleet_host){.quota = &quota, .fleet = kernel.fleet};
	assert_int_equal(request(1, 1), 1);
	store_gets_it();
	answer_comes();
	assert_int_equal(known(1), 3);
	assert_int_equal(known(2), 2);
	for (int i = 0; i < 5; i++)
		exchange();
	assert_int_equal(spent(1), 3);
	assert_int_equal(spent(2), 2);
	/* … and before they were read: */
	request(3, 3);
	fleet_host_changes(&kernel, engine, now);
	fleet_host_free(&kernel);
	kernel = (struct fleet_host){.quota = &quota, .fleet = kernel.fleet};
	exchange();
	assert_int_equal(spent(3), 0);
	assert_int_equal(sync_waiting(engine), 0);
}

static void without_memory_budgets_come_later_and_none_is_lost(void **state)
{
	const uint32_t many = 8192; /* the simulated kernel has no memory for more, either */

	exchange();
	for (uint32_t i = many; i < many + 2000; i++) {
		struct sluice_fleet_change evicted = {
			.key = {.client = fleet_client(i), .quota = FLEET_QUOTA}};

		sync_changed(engine, &evicted, now);
	}
	for (uint32_t i = 0; i < many; i++)
		assert_int_equal(request(i, 1), 1);
	exchange();
	assert_true(sync_counts(engine)->forgotten > 1000);
	/* A budget that is at rest is forgotten after a while, which makes room. */
	for (int i = 0; i < 400; i++)
		exchange();
	for (uint32_t i = 0; i < many; i++)
		if (spent(i) != 1)
			fail_msg("client %u has spent %u", i, spent(i));
}

/* ---- what others use ---- */

static void what_others_use_comes_with_answers_and_with_news(void **state)
{
	exchange();
	request(1, 1);
	exchange();
	exchange();
	other_host(1, 9);
	request(1, 1);
	exchange();
	exchange();
	assert_int_equal(known(1), 11);
	/* This host has never used it. */
	other_host(2, BURST - 1);
	assert_int_equal(known(2), 0);
	exchange();
	assert_int_equal(known(2), BURST - 1);
	assert_int_equal(request(2, 2), 1);
	assert_true(sync_counts(engine)->raised > 0);
}

/* … and news of others' use must not hide it. */
static void a_hosts_part_is_its_use_among_that_of_all(void **state)
{
	exchange();
	request(1, 3);
	request(2, 3);
	for (int i = 0; i < 4; i++)
		exchange();
	other_host(1, 1);
	other_host(2, 20);
	exchange();
	assert_int_equal(known(2), 23);
	request(1, 2);
	request(2, 2);
	exchange();
	exchange();
	assert_in_range(collect(1).part, SLUICE_FLEET_PART_ONE * 8 / 10,
			SLUICE_FLEET_PART_ONE * 9 / 10);
	assert_int_equal(collect(2).part, SLUICE_FLEET_PART_ONE / HOSTS);
}

static void news_of_a_budget_that_is_none_do_nothing(void **state)
{
	static const char *const keys[] = {"", "x", "0000000000000001:r:", "k:r:low"};
	struct store_news news[4] = {0};

	exchange();
	for (int i = 0; i < 4; i++) {
		memcpy(news[i].key, keys[i], strlen(keys[i]) + 1);
		news[i].level_us = 1;
	}
	now += PERIOD;
	turn();
	store_gets_it();
	call.answer.news = news;
	call.answer.news_count = 4;
	answer_comes();
	assert_int_equal(sync_counts(engine)->raised, 0);
	assert_int_equal(kernel.count, 0);
}

/* ---- losses of the store ---- */

static void after_a_flush_what_was_spent_is_claimed_and_the_most_spent_first(void **state)
{
	unsigned position = 0;

	exchange();
	/* Each has 8 of 40 units spent, every third one 30. */
	for (uint32_t i = 0; i < 300; i++) {
		other_host(i, i % 3 ? 7 : 29);
		request(i, 1);
	}
	for (int i = 0; i < 20; i++)
		exchange();
	fleet_store_flush(store);
	exchange();
	assert_int_equal(sync_counts(engine)->epochs, 1);
	while (now += PERIOD, turn(), call.count) {
		for (size_t i = 0; i < call.count; i++, position++) {
			struct sluice_client client;
			uint64_t fingerprint;
			bool tokens;

			assert_int_equal(
				sync_read_key(call.budgets[i].key, &fingerprint, &tokens, &client),
				0);
			assert_int_equal(fleet_client_number(&client) % 3 == 0, position < 100);
			assert_true(call.budgets[i].claim_us > 0);
		}
		store_gets_it();
		answer_comes();
	}
	assert_int_equal(position, 300);
	store_gets_it();
	answer_comes();
	for (uint32_t i = 0; i < 300; i++)
		assert_int_equal(spent(i), i % 3 ? 8 : 30);
}

static void the_host_that_sees_a_flush_forgives_nothing_meanwhile(void **state)
{
	exchange();
	other_host(1, 29);
	request(1, 1);
	for (int i = 0; i < 3; i++)
		exchange();
	fleet_store_flush(store);
	assert_int_equal(request(1, 1), 1);
	exchange();
	assert_int_equal(known(1), 31);
	for (int i = 0; i < 3; i++)
		exchange();
	assert_int_equal(spent(1), 31);
	assert_int_equal(known(1), 31);
}

/* late: a call is made before the walk of all budgets, which takes its time. */
static void charged_up_to_the_share(bool late)
{
	unsigned admitted;

	exchange();
	other_host(1, 20);
	request(1, 4);
	exchange();
	exchange();
	exchange();
	assert_int_equal(spent(1), 24);
	/* The store is away for a long time, in which units come back. */
	now += PERIOD;
	turn();
	sync_up(engine, false, now);
	now += 30 * INTERVAL;
	admitted = request(1, 40);
	assert_true(admitted > 0 && admitted < BURST);
	now += 300 * INTERVAL;
	admitted += request(1, 40);
	now += 300 * INTERVAL;
	admitted += request(1, 40);
	sync_up(engine, true, now);
	store_gets_it();
	answer_comes();
	if (late) {
		now += PERIOD;
		fleet_host_changes(&kernel, engine, now);
		sync_turn(engine, !calling, now);
		assert_int_equal(call.count, 1);
		store_gets_it();
		answer_comes();
	}
	for (int i = 0; i < 10; i++)
		exchange();
	assert_true(sync_counts(engine)->recovered > 0);
	assert_true(spent(1) < admitted);
	assert_in_range(spent(1), 1, BURST / 2 + 2);
	assert_int_equal(known(1), spent(1));
}

static void what_was_used_without_the_store_is_charged_up_to_this_hosts_share(void **state)
{
	charged_up_to_the_share(false);
	end(NULL);
	begin(NULL);
	charged_up_to_the_share(true);
}

/* ---- when calls are made ---- */

static void a_budget_that_is_low_is_sent_early_but_not_too_often(void **state)
{
	unsigned calls = 0;

	exchange();
	for (unsigned ms = 0; ms < 2000; ms++) {
		uint64_t due;

		request(ms % CLIENTS, 40);
		due = turn();
		if (calling) {
			store_gets_it();
			answer_comes();
			calls++;
		} else {
			assert_true(due > now && due <= now + PERIOD);
		}
		now += MS;
	}
	assert_in_range(calls, SYNC_EARLY_RATE, 2 * SYNC_EARLY_RATE + SYNC_EARLY_MOST + 20);
}

static void requests_that_lack_a_grant_are_counted(void **state)
{
	unsigned admitted;

	exchange();
	admitted = request(1, BURST);
	assert_true(admitted < BURST);
	exchange();
	assert_int_equal(sync_counts(engine)->lacked, BURST - admitted);
}

static void without_the_store_no_call_is_made(void **state)
{
	exchange();
	request(1, 1);
	sync_up(engine, false, now);
	now += PERIOD;
	assert_true(turn() == UINT64_MAX);
	assert_false(calling);
	sync_up(engine, true, now);
	turn();
	assert_true(calling);
}

int main(void)
{
#define engine_test(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		engine_test(what_is_used_is_charged_once_and_unused_grants_go_back),
		engine_test(what_waits_for_a_report_is_as_old_as_its_first_use),
		engine_test(no_loss_makes_a_unit_count_twice_or_never),
		engine_test(a_daemon_killed_before_an_answer_counts_each_unit_once),
		engine_test(a_call_that_was_answered_is_not_made_again),
		engine_test(an_answer_about_a_quota_that_has_changed_does_nothing_to_it),
		engine_test(an_old_answer_locks_nobody_out),
		engine_test(a_restart_sees_that_the_store_has_lost_its_contents),
		engine_test(a_call_has_some_budgets_and_the_next_ones_come_at_once),
		engine_test(a_kernel_that_fails_is_asked_again),
		engine_test(evicted_budgets_are_charged_as_far_as_they_were_read),
		engine_test(without_memory_budgets_come_later_and_none_is_lost),
		engine_test(what_others_use_comes_with_answers_and_with_news),
		engine_test(a_hosts_part_is_its_use_among_that_of_all),
		engine_test(news_of_a_budget_that_is_none_do_nothing),
		engine_test(after_a_flush_what_was_spent_is_claimed_and_the_most_spent_first),
		engine_test(the_host_that_sees_a_flush_forgives_nothing_meanwhile),
		engine_test(what_was_used_without_the_store_is_charged_up_to_this_hosts_share),
		engine_test(a_budget_that_is_low_is_sent_early_but_not_too_often),
		engine_test(requests_that_lack_a_grant_are_counted),
		engine_test(without_the_store_no_call_is_made),
	};

	return cmocka_run_group_tests_name("fleet_sync", tests, NULL, NULL);
}
