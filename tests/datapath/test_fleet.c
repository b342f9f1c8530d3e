/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Budgets that a fleet of hosts shares, packet by packet, under a clock that the test moves: what
 * passes while the store answers and while it is away, and what the daemon learns and puts in.
 */
#include "fleet_budget.h"

#define SSE_HEAD                                                                                   \
	"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"                                   \
	"transfer-encoding: chunked\r\n\r\n"
#define EVENT "17\r\ndata: {\"content\":\"a\"}\n\n\r\n"

/* Sends requests until one is refused; returns how many passed. *wait_ms: of the refused one. */
static unsigned send_all(int64_t *wait_ms)
{
	for (unsigned n = 0;; n++) {
		*wait_ms = send_request();
		if (*wait_ms >= 0)
			return n;
		assert_true(n < 1000);
	}
}

/* ---- while the store answers ---- */

static void a_budget_that_the_store_has_not_heard_of_has_a_share(void **state)
{
	static const struct {
		uint64_t burst;
		uint32_t hosts;
		unsigned passes;
	} rows[] = {
		{20, 1, 10},  {20, 2, 5}, {20, 3, 3},  {20, 10, 1},
		{20, 500, 1}, {1, 1, 1},  {20, 0, 10},
	};
	int64_t wait;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin(per_period(rows[i].burst, 20000, rows[i].burst));
		put_fleet(1000, rows[i].hosts, 0);
		assert_int_equal(send_all(&wait), rows[i].passes);
		assert_int_equal(wait, rows[i].burst > 1 ? 1000 : 20000);
		assert_int_equal(budget().requests.used, rows[i].passes);
	}
	assert_int_equal(
		requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_REQUEST_QUOTA),
		sizeof(rows) / sizeof(rows[0]));
}

static void what_is_granted_is_given_out_and_no_more(void **state)
{
	int64_t wait;

	begin(per_period(20, 20000, 20));
	put_fleet(60000, 10, 0);
	assert_int_equal(send_all(&wait), 1);
	grant(5, 2);
	assert_int_equal(send_all(&wait), 7);
	assert_int_equal(wait, 1000);
	assert_int_equal(budget().requests.wanted, 1);
	assert_int_equal(send_request(), 1000);
	assert_int_equal(collect().units[0].wanted, 2);
	assert_int_equal(budget().requests.wanted, 0);
	assert_int_equal(budget().requests.used, 8); /* what is refused is not used */
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), 8000 * MS);
}

static void a_grant_does_not_exceed_the_budget(void **state)
{
	begin(per_period(4, 10000, 4));
	put_fleet(60000, 1, 0);
	send_request();
	grant(100, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 2500);
	assert_int_equal(budget().requests.used, 4);
	assert_int_equal(budget().requests.wanted, 0);
}

/* … or a host would give out one share after the other. */
static void a_share_comes_again_only_when_the_store_knows_of_all(void **state)
{
	int64_t wait;

	begin(per_period(20, 20000, 20));
	put_fleet(60000, 5, 0);
	assert_int_equal(send_all(&wait), 2);
	pass_ms(5000); /* stale, but not known */
	assert_int_equal(send_request(), 1000);
	grant(0, 0);
	pass_ms(999); /* known, but not stale */
	assert_int_equal(send_request(), 1000);
	pass_ms(1);
	assert_int_equal(send_all(&wait), 2);
	/* a grant that is as old counts no more */
	grant(10, 3);
	pass_ms(1000);
	assert_int_equal(send_all(&wait), 1);
	assert_int_equal(budget().requests.granted, 10);
}

static struct sluice_quota of_tokens(uint64_t tokens, uint64_t period_ms)
{
	uint64_t interval = period_ms * MS / tokens;

	return (struct sluice_quota){.token_ns = interval,
				     .token_span_ns = interval * tokens,
				     .token_most_ns = 2 * interval * tokens};
}

/* A request with so many tokens in its response. */
static void send_with_tokens(unsigned tokens)
{
	assert_int_equal(send_request(), -1);
	send_segment(true, PSH | ACK, SSE_HEAD);
	for (unsigned i = 0; i < tokens; i++)
		send_segment(true, PSH | ACK, EVENT);
	send_segment(true, PSH | ACK, "0\r\n\r\n");
}

static void tokens_are_counted_as_they_leave_and_bound_the_next_request(void **state)
{
	struct sluice_fleet_item item;

	begin(of_tokens(40, 40000));
	put_fleet(60000, 2, 0);
	send_with_tokens(9);
	assert_int_equal(budget().tokens.used, 9);
	assert_int_equal(budget().tokens.limit, 10);
	send_with_tokens(3);
	assert_int_equal(send_request(), 1000);
	assert_int_equal(
		requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TOKEN_QUOTA), 1);
	item = collect();
	assert_int_equal(item.units[1].wanted, 1);
	assert_int_equal(item.units[1].used, 12);
	assert_int_equal(item.units[1].level_ns, 12000 * MS);
	sync_one(SLUICE_FLEET_APPLY, NO_UNITS,
		 (struct sluice_fleet_item_units){
			 .level_ns = 30000 * MS, .settled = 12, .granted = 1});
	send_with_tokens(1);
	assert_int_equal(send_request(), 1000);
	assert_int_equal(gcra_spent(budget().token_tat_ns, NOW), 31000 * MS);
}

/* ---- while it is away ---- */

static void while_the_store_is_away_a_host_gives_out_its_part(void **state)
{
	static const struct {
		const char *what;
		uint64_t requests, burst; /* in `requests` seconds */
		uint32_t hosts, whole, part;
		unsigned passes;
		int64_t wait_ms, again_ms; /* after the first ones, and after each one more */
	} rows[] = {
		{"one of four hosts", 8, 8, 4, 0, 0, 2, 1000, 4000},
		{"a part of a half", 8, 8, 4, 0, SLUICE_FLEET_PART_ONE / 2, 4, 1000, 2000},
		{"the whole", 8, 8, 4, 1, 0, 8, 1000, 1000},
		{"… whatever the part", 8, 8, 4, 1, 9, 8, 1000, 1000},
		{"the only host", 8, 8, 1, 0, 0, 8, 1000, 1000},
		{"more hosts than the burst: not locked out", 8, 1, 64, 0, 0, 1, 64000, 64000},
		{"the least part", 8, 8, 4, 0, 1, 1, 65529000, 65536000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sluice_budget b = {.requests.part = rows[i].part};
		int64_t wait;

		begin(per_period(rows[i].requests, rows[i].requests * 1000, rows[i].burst));
		put_fleet(0, rows[i].hosts, rows[i].whole);
		put_budget(b);
		if (send_all(&wait) != rows[i].passes || wait != rows[i].wait_ms)
			fail_msg("%s: %u used, then %lld ms", rows[i].what, budget().requests.used,
				 (long long)wait);
		for (int k = 0; k < 3; k++) {
			pass_ms(wait - 1);
			assert_int_equal(send_request(), 1);
			pass_ms(1);
			assert_int_equal(send_request(), -1);
			wait = send_request();
			if (wait != rows[i].again_ms)
				fail_msg("%s: then %lld ms", rows[i].what, (long long)wait);
		}
		assert_int_equal(budget().requests.used, rows[i].passes + 3);
		reset_world();
	}
}

/* 2^48 ns are three days. Times 65536 they are 0 in 64 bits. */
static void a_unit_that_takes_days_is_not_lost_in_the_arithmetic(void **state)
{
	begin((struct sluice_quota){.request_ns = 1ULL << 48, .request_span_ns = 1ULL << 48});
	put_fleet(0, 100000, 0);
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), UINT32_MAX);
	pass_ms(100 * 31 * 86400000ULL);
	assert_int_equal(send_request(), UINT32_MAX);
}

/* ---- what the daemon learns ---- */

static void a_change_is_reported_once_for_each_state(void **state)
{
	begin(per_period(20, 20000, 20));
	put_fleet(60000, 1, 0); /* a share of ten */
	assert_int_equal(send_request(), -1);
	assert_false(woken(0));
	assert_int_equal(read_changes(), 1);
	assert_memory_equal(&change.key, &(struct sluice_budget_key[]){the_key()},
			    sizeof(change.key));
	assert_false(change.low);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_request(), -1);
	assert_int_equal(read_changes(), 0);
	assert_int_equal(budget().changed, SLUICE_FLEET_CHANGED);
	assert_int_equal(send_request(), -1); /* the fifth of ten */
	assert_true(woken(5000));
	assert_int_equal(read_changes(), 1);
	assert_true(change.low);
	assert_int_equal(budget().changed, SLUICE_FLEET_LOW);
	assert_int_equal(send_request(), -1);
	assert_int_equal(read_changes(), 0);
	assert_int_equal(collect().found, 1);
	assert_int_equal(budget().changed, SLUICE_FLEET_UNCHANGED);
	assert_int_equal(send_request(), -1);
	assert_int_equal(read_changes(), 1);
	assert_true(change.low);
	/* after an answer there is plenty again */
	grant(8, 8);
	assert_int_equal(send_request(), -1);
	assert_int_equal(read_changes(), 1);
	assert_false(change.low);
}

static void a_request_that_lacks_a_grant_wakes_the_daemon(void **state)
{
	int64_t wait;

	begin(per_period(20, 20000, 20));
	put_fleet(60000, 5, 0);
	send_all(&wait);
	grant(0, 0);
	read_changes();
	woken(0);
	assert_int_equal(send_request(), 1000);
	assert_true(woken(5000));
	assert_int_equal(read_changes(), 1);
	assert_true(change.low);
}

static void with_the_ring_full_the_next_change_is_reported(void **state)
{
	struct sluice_budget_key key = the_key();
	struct sluice_budget b;
	unsigned n = 0;

	begin(per_period(1000000, 1000000, 1000000));
	put_fleet(60000, 1, 0);
	do {
		assert_int_equal(send_request(), -1);
		b = budget();
		b.changed = SLUICE_FLEET_UNCHANGED;
		clear_map(fd_of(conns));
		if (budget().changed == SLUICE_FLEET_UNCHANGED)
			break;
		assert_int_equal(bpf_map_update_elem(fd_of(client_state), &key, &b, BPF_ANY), 0);
	} while (n++ < 10000);
	assert_in_range(n, 5000, 6000);
	assert_int_equal(read_changes(), n);
	assert_int_equal(send_request(), -1);
	assert_int_equal(budget().changed, SLUICE_FLEET_CHANGED);
	assert_int_equal(read_changes(), 1);
}

/* ---- what it puts in ---- */

static void an_answer_keeps_what_it_does_not_know_of(void **state)
{
	begin(per_period(20, 20000, 20));
	put_fleet(60000, 1, 0);
	send_request();
	send_request();
	collect();
	send_request();
	apply((struct sluice_fleet_item_units){
		.level_ns = 7000 * MS, .settled = 2, .granted = 4, .share = 1, .part = 77});
	assert_int_equal(budget().requests.settled, 2);
	assert_int_equal(budget().requests.used, 3);
	assert_int_equal(budget().requests.limit, 7);
	assert_int_equal(budget().requests.granted, 4);
	assert_int_equal(budget().requests.part, 77);
	assert_int_equal(budget().answered_ns, NOW);
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), 8000 * MS);
	assert_int_equal(budget().changed, SLUICE_FLEET_CHANGED); /* it is collected again */
	/* The level may fall, and a part of 0 changes nothing. */
	apply((struct sluice_fleet_item_units){.level_ns = 500 * MS, .settled = 3});
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), 500 * MS);
	assert_int_equal(budget().requests.part, 77);
	/* What is not known empties the budget at most. */
	collect();
	apply((struct sluice_fleet_item_units){.level_ns = 19500 * MS, .settled = 0});
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), 20000 * MS);
	apply((struct sluice_fleet_item_units){.level_ns = 25000 * MS, .settled = 0});
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), 25000 * MS);
}

static void an_answer_about_an_evicted_budget_is_not_taken_for_another(void **state)
{
	int64_t wait;

	begin(per_period(20, 20000, 20));
	put_fleet(60000, 2, 0);
	for (int i = 0; i < 3; i++)
		send_request();
	assert_int_equal(collect().units[0].used, 3);
	clear_map(fd_of(client_state));
	send_request();
	apply((struct sluice_fleet_item_units){
		.level_ns = 3000 * MS, .settled = 3, .granted = 2, .share = 1});
	assert_int_equal(budget().requests.settled, 0);
	assert_int_equal(budget().requests.used, 1);
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), 4000 * MS);
	assert_int_equal(send_all(&wait), 2);
	/* Without an entry, an answer makes one. */
	clear_map(fd_of(client_state));
	apply((struct sluice_fleet_item_units){
		.level_ns = 3000 * MS, .settled = 3, .granted = 2, .share = 1});
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), 3000 * MS);
	assert_int_equal(send_all(&wait), 3);
	assert_int_equal(collect().units[0].settled, 0);
	assert_int_equal(batch[0].units[0].used, 3);
	clear_map(fd_of(client_state));
	assert_int_equal(collect().found, 0);
	assert_int_equal(entries(fd_of(client_state)), 0);
}

static void another_hosts_use_raises_the_level(void **state)
{
	const struct sluice_fleet_item_units high = {.level_ns = 19500 * MS},
					     low = {.level_ns = 5000 * MS};

	begin(per_period(20, 20000, 20));
	put_fleet(60000, 2, 0);
	assert_int_equal(sync_one(SLUICE_FLEET_RAISE, high, NO_UNITS).found, 0);
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), 19500 * MS);
	assert_int_equal(send_request(), 500);
	sync_one(SLUICE_FLEET_RAISE, low, NO_UNITS);
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), 19500 * MS);
	pass_ms(500);
	assert_int_equal(send_request(), -1);
	/* … above what this host has used since */
	pass_ms(15000);
	sync_one(SLUICE_FLEET_RAISE, low, NO_UNITS);
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), 6000 * MS);
	assert_int_equal(budget().requests.settled, 0);
	assert_int_equal(budget().requests.used, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_budget_that_the_store_has_not_heard_of_has_a_share),
		packets_test(what_is_granted_is_given_out_and_no_more),
		packets_test(a_grant_does_not_exceed_the_budget),
		packets_test(a_share_comes_again_only_when_the_store_knows_of_all),
		packets_test(tokens_are_counted_as_they_leave_and_bound_the_next_request),
		packets_test(while_the_store_is_away_a_host_gives_out_its_part),
		packets_test(a_unit_that_takes_days_is_not_lost_in_the_arithmetic),
		packets_test(a_change_is_reported_once_for_each_state),
		packets_test(a_request_that_lacks_a_grant_wakes_the_daemon),
		packets_test(with_the_ring_full_the_next_change_is_reported),
		packets_test(an_answer_keeps_what_it_does_not_know_of),
		packets_test(an_answer_about_an_evicted_budget_is_not_taken_for_another),
		packets_test(another_hosts_use_raises_the_level),
	};

	return fleet_main("fleet", tests);
}
