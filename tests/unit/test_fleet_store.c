/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The pure parts of a fleet's store: the budget's step, and what the client makes of a reply, which
 * is hostile input. tests/e2e/test_fleet_store.sh has a real server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "core/fleet_budget.h"
#include "fleet/call.h"

#define S_US 1000000ULL
#define NOW  (1000 * S_US)

/* Ten units of a second each, and a debt of ten more. */
static struct fleet_budget_result step(struct fleet_budget *b, uint64_t now_us, uint64_t want,
				       uint64_t claim_us, int64_t charge_us)
{
	struct fleet_budget_call call = {.interval_ns = 1000000000,
					 .span_us = 10 * S_US,
					 .most_us = 20 * S_US,
					 .reach_us = 20 * S_US,
					 .want = want,
					 .claim_us = claim_us,
					 .charge_us = charge_us};
	struct fleet_budget_result result;

	fleet_budget_step(b, &call, now_us, &result);
	return result;
}

static void a_step_is(struct fleet_budget_result got, uint64_t level_us, uint64_t granted,
		      bool announce)
{
	assert_int_equal(got.level_us, level_us);
	assert_int_equal(got.granted, granted);
	assert_int_equal(got.announce, announce);
}

static void a_budget_is_charged_and_drains(void **state)
{
	struct fleet_budget b = {0};

	a_step_is(step(&b, NOW, 0, 0, 3 * S_US), 3 * S_US, 0, false);
	a_step_is(step(&b, NOW + S_US, 0, 0, 0), 2 * S_US, 0, false);
	a_step_is(step(&b, NOW + 9 * S_US, 0, 0, 0), 0, 0, false);
	assert_int_equal(b.arrival_us, 0);
}

static void half_of_what_is_left_is_granted(void **state)
{
	struct fleet_budget b = {0};

	a_step_is(step(&b, NOW, 100, 0, 1), 4 * S_US + 1, 4, false);
	a_step_is(step(&b, NOW, 1, 0, 0), 5 * S_US + 1, 1, false);
}

static void a_claim_raises_and_never_lowers(void **state)
{
	struct fleet_budget b = {0};

	a_step_is(step(&b, NOW, 0, 4 * S_US, 0), 4 * S_US, 0, false);
	a_step_is(step(&b, NOW, 0, 2 * S_US, S_US), 5 * S_US, 0, false);
}

static void a_level_stays_within_its_bounds(void **state)
{
	struct fleet_budget b = {0};

	a_step_is(step(&b, NOW, 9, 0, 99 * S_US), 20 * S_US, 0, true);
	a_step_is(step(&b, NOW, 0, 0, -99LL * (int64_t)S_US), 0, 0, false);
}

static void a_charge_goes_no_further_than_it_may(void **state)
{
	struct fleet_budget_call call = {.interval_ns = 1000000000,
					 .span_us = 10 * S_US,
					 .most_us = 20 * S_US,
					 .reach_us = 10 * S_US,
					 .charge_us = 7 * S_US};
	struct fleet_budget b = {0};
	struct fleet_budget_result r;

	fleet_budget_step(&b, &call, NOW, &r);
	assert_int_equal(r.level_us, 7 * S_US);
	fleet_budget_step(&b, &call, NOW, &r);
	assert_int_equal(r.level_us, 10 * S_US);
	/* A debt from elsewhere stays, and what is given back counts. */
	assert_int_equal(step(&b, NOW, 0, 0, 3 * S_US).level_us, 13 * S_US);
	fleet_budget_step(&b, &call, NOW, &r);
	assert_int_equal(r.level_us, 13 * S_US);
	call.charge_us = -2LL * (int64_t)S_US;
	fleet_budget_step(&b, &call, NOW, &r);
	assert_int_equal(r.level_us, 11 * S_US);
}

static void news_comes_when_the_power_of_two_falls_and_not_too_often(void **state)
{
	struct fleet_budget b = {0};

	a_step_is(step(&b, NOW, 0, 0, 4 * S_US), 4 * S_US, 0, false);         /* more than half */
	a_step_is(step(&b, NOW, 0, 0, 3 * S_US), 7 * S_US, 0, true);          /* 6 to 3 */
	a_step_is(step(&b, NOW, 0, 0, S_US / 2), 7500000, 0, false);          /* 3 to 2 */
	a_step_is(step(&b, NOW + 1, 0, 0, S_US), 8499999, 0, false);          /* 2 to 1, too soon */
	a_step_is(step(&b, NOW + 60000, 0, 0, 0), 8440000, 0, true);          /* which is owed */
	a_step_is(step(&b, NOW + 60000, 0, 0, 2 * S_US), 10440000, 0, true);  /* the last one */
	a_step_is(step(&b, NOW + 60000, 0, 0, S_US / 4), 10690000, 0, false); /* … was announced */
	/* A debt is announced as it doubles: hosts would each give out a unit at its old end. */
	a_step_is(step(&b, NOW + 120000, 0, 0, S_US), 11630000, 0, true);
	a_step_is(step(&b, NOW + 120000, 0, 0, S_US), 12630000, 0, false); /* too soon */
	a_step_is(step(&b, NOW + 180000, 0, 0, 0), 12570000, 0, true);     /* which is owed */
	a_step_is(step(&b, NOW + 240000, 0, 0, S_US / 4), 12760000, 0, false);
}

static void numbers_of_any_size_are_borne(void **state)
{
	const uint64_t sizes[] = {0, 1, 1000, 1ULL << 40, 1ULL << 62, UINT64_MAX};
	struct fleet_budget_result r;

	for (unsigned i = 0; i < 6 * 6 * 6 * 6; i++) {
		struct fleet_budget b = {.arrival_us = NOW + sizes[i % 5]};
		struct fleet_budget_call call = {.interval_ns = sizes[i % 6],
						 .span_us = sizes[i / 6 % 6],
						 .most_us = sizes[5 - i % 6],
						 .reach_us = sizes[i / 36 % 6],
						 .want = sizes[i / 36 % 6],
						 .claim_us = sizes[i / 36 % 6],
						 .charge_us = (int64_t)sizes[i / 216]};

		fleet_budget_bound(&call);
		assert_in_range(call.interval_ns, 1, FLEET_BUDGET_MAX_US);
		assert_true(call.span_us <= FLEET_BUDGET_MAX_US);
		assert_true(call.most_us <= FLEET_BUDGET_MAX_US);
		assert_true(call.reach_us <= FLEET_BUDGET_MAX_US);
		assert_true(call.claim_us <= FLEET_BUDGET_MAX_US);
		assert_true(call.want <= FLEET_UNITS_MAX);
		assert_true(llabs(call.charge_us) <= (long long)FLEET_BUDGET_MAX_US);
		b.arrival_us = b.arrival_us > NOW + FLEET_BUDGET_MAX_US ? 0 : b.arrival_us;
		fleet_budget_step(&b, &call, NOW, &r);
		assert_true(r.level_us <= call.most_us + FLEET_ROOM_MAX_US);
		assert_true(r.granted <= call.want);
	}
}

/* What the reader makes of bytes: a type of hiredis; 0: more is needed; -1: they are refused. */
static int type_of(const char *bytes)
{
	redisReader *reader = store_reader();
	void *reply = NULL;
	int type = -1;

	assert_int_equal(redisReaderFeed(reader, bytes, strlen(bytes)), 0);
	if (!redisReaderGetReply(reader, &reply))
		type = reply ? ((redisReply *)reply)->type : 0;
	if (reply)
		freeReplyObject(reply);
	redisReaderFree(reader);
	return type;
}

static void a_reply_of_any_form_is_bounded(void **state)
{
	static const struct {
		const char *bytes;
		int type;
	} rows[] = {
		{"$2\r\nab\r\n", REDIS_REPLY_STRING},
		{"*2\r\n:1\r\n*0\r\n", REDIS_REPLY_ARRAY},
		{"-ERR x\r\n", REDIS_REPLY_ERROR},
		{"$-1\r\n", REDIS_REPLY_NIL},
		{"*2\r\n:1\r\n", 0},
		{"$1048577\r\n", 0}, /* its bytes are counted as they come */
		{"*3081\r\n", -1},
		{"*2147483647\r\n", -1},
		{"*4294967297\r\n", -1},
		{"*-2\r\n", -1},
		{"HTTP/1.1 400 Bad Request\r\n", -1},
		{"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", -1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (type_of(rows[i].bytes) != rows[i].type)
			fail_msg("%s is %d", rows[i].bytes, type_of(rows[i].bytes));
}

/* The script's text as the answer to call 7 with two budgets that want 5 units each. */
static int read_answer(struct store_reading *r, const char *text, size_t len)
{
	struct store_budget budgets[2] = {{.want = 5}, {.want = 5}};
	char *copy = malloc(len + 1); /* the sanitizer sees a read beyond its end */
	int result;

	memcpy(copy, text, len);
	result = store_read_answer(r, copy, len, 7, budgets, 2);
	r->answer.budgets = NULL;
	free(copy);
	return result;
}

static const char good[] =
	"7 18446744073709551615 1 3 12-0 1 2 2 100 5 0 0 ab:r:192.0.2.1 9 cd:t:key:0 1";

static void an_answer_is_read(void **state)
{
	static struct store_reading r;

	assert_int_equal(read_answer(&r, good, strlen(good)), 0);
	assert_true(r.answer.epoch == UINT64_MAX);
	assert_true(r.answer.behind);
	assert_int_equal(r.answer.hosts, 3);
	assert_string_equal(r.news_id, "12-0");
	assert_true(r.answer.news_lost);
	assert_int_equal(r.answer.news_count, 2);
	assert_string_equal(r.news[0].key, "ab:r:192.0.2.1");
	assert_int_equal(r.news[0].level_us, 9);
}

static void an_answer_of_another_form_is_refused(void **state)
{
	static struct store_reading r;
	static const char *const rows[] = {
		"",
		" ",
		"7",
		"8 1 0 3 12-0 0 2 0 1 1 1 1",   /* another call */
		"7 1 2 3 12-0 0 2 0 1 1 1 1",   /* no truth */
		"7 1 0 3 12-0 0 1 0 1 1",       /* one budget */
		"7 1 0 3 12-0 0 2 0 1 1 1",     /* one and a half */
		"7 1 0 3 12-0 0 2 0 1 1 1 1 1", /* more */
		"7 1 0 3 12-0 0 2 0 1 6 1 1",   /* more than wanted */
		"7 1 0 3 12-0 0 2 0 -1 1 1 1",
		"7 1 0 3 12-0 0 2 0 1e3 1 1 1",
		"7 1 0 3 12-0 0 2 0 inf 1 1 1",
		"7 1 0 3 12-0 0 2 0 9007199254740993 1 1 1",
		"7 1 0 3 12-0 0 2 0 99999999999999999999 1 1 1",
		"7 18446744073709551616 0 3 12-0 0 2 0 1 1 1 1",
		"7 1 0 99999999 12-0 0 2 0 1 1 1 1",
		"7 1 0 3 12-0 0 2 257 1 1 1 1",
		"7 1 0 3 12-0 0 2 1 1 1 1 1 a\nb 1",
		"7 1 0 3 12-0 0 2 1 1 1 1 1 \x1b[2J 1",
		"7 1 0 3 123456789012345678901234567890123456789012345678 0 2 0 1 1 1 1",
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!read_answer(&r, rows[i], strlen(rows[i])))
			fail_msg("\"%s\" is taken", rows[i]);
	assert_int_not_equal(read_answer(&r, "7 1 0 3 12-0 0 2 0 1 1 1 1\0", 27), 0);
}

static void an_answer_cut_or_changed_anywhere_does_no_harm(void **state)
{
	static struct store_reading r;
	char text[sizeof(good)];

	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		/* The last number may be cut to a shorter one; here it has one digit. */
		assert_int_not_equal(read_answer(&r, good, i), 0);
		for (int byte = 0; byte < 256; byte++) {
			memcpy(text, good, sizeof(good));
			text[i] = (char)byte;
			read_answer(&r, text, sizeof(good) - 1);
		}
	}
}

static redisReply *reply_of(const char *bytes)
{
	redisReader *reader = store_reader();
	void *reply = NULL;

	redisReaderFeed(reader, bytes, strlen(bytes));
	redisReaderGetReply(reader, &reply);
	redisReaderFree(reader);
	assert_non_null(reply);
	return reply;
}

static unsigned hosts_seen;
static void count_host(void *arg, const char *host, const char *info, uint64_t seen_ms_ago)
{
	hosts_seen++;
}

static int hosts_of(const char *bytes)
{
	redisReply *reply = reply_of(bytes);
	int result = store_read_hosts(reply, count_host, NULL);

	freeReplyObject(reply);
	return result;
}

static void a_list_of_hosts_is_read_whole_or_not_at_all(void **state)
{
	hosts_seen = 0;
	assert_int_equal(hosts_of("*0\r\n"), 0);
	assert_int_equal(hosts_of("*3\r\n$1\r\na\r\n$1\r\n5\r\n$2\r\n{}\r\n"), 0);
	assert_int_equal(hosts_seen, 1);
	assert_int_not_equal(hosts_of(":1\r\n"), 0);
	assert_int_not_equal(hosts_of("*2\r\n$1\r\na\r\n$1\r\n5\r\n"), 0);
	assert_int_not_equal(hosts_of("*3\r\n$1\r\na\r\n:5\r\n$2\r\n{}\r\n"), 0);
	assert_int_not_equal(hosts_of("*3\r\n$1\r\na\r\n$1\r\nx\r\n$2\r\n{}\r\n"), 0);
	assert_int_equal(hosts_seen, 1);
}

/* The levels of an answer that is had again are as old as it. */
static void an_old_answer_is_read_as_of_now(void **state)
{
	static const struct {
		const char *age, *policy;
		uint64_t level_us, news_us; /* 0: it is no answer */
	} rows[] = {{"$1\r\n0\r\n", "$0\r\n\r\n", 500, 90},
		    {"$3\r\n100\r\n", "$11\r\nallkeys-lru\r\n", 400, 0},
		    {"$2\r\n-1\r\n", "$0\r\n\r\n", 0, 0},
		    {":1\r\n", "$0\r\n\r\n", 0, 0},
		    {"$1\r\n0\r\n", ":1\r\n", 0, 0},
		    {"$1\r\n0\r\n", "$32\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", 0, 0}};
	struct store_reading *r = calloc(1, sizeof(*r));

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store_budget budget = {.key = "k:r:a", .want = 3};
		char bytes[256];
		redisReply *reply;

		snprintf(bytes, sizeof(bytes),
			 "*5\r\n$33\r\n7 77 0 2 9-1 0 1 1 500 3 k:r:b 90\r\n*0\r\n$1\r\n6\r\n%s"
			 "%s",
			 rows[i].age, rows[i].policy);
		reply = reply_of(bytes);
		assert_int_equal(!store_read_reply(r, reply, 7, &budget, 1), rows[i].level_us > 0);
		freeReplyObject(reply);
		if (!rows[i].level_us)
			continue;
		assert_int_equal(budget.level_us, rows[i].level_us);
		assert_int_equal(r->news[0].level_us, rows[i].news_us);
		assert_int_equal(r->answer.rules, 6);
		assert_string_equal(r->answer.policy, i ? "allkeys-lru" : "");
	}
	free(r);
}

static void roles_hashes_and_masters_are_read(void **state)
{
	char sha[41], host[STORE_HOST_MAX];
	uint16_t port;
	redisReply *reply;
	static const struct {
		const char *bytes;
		bool master, sha, sentinel;
	} rows[] = {
		{"*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n", true, false, false},
		{"*2\r\n$5\r\nslave\r\n:1\r\n", false, false, false},
		{"*0\r\n", false, false, false},
		{"*-1\r\n", false, false, false},
		{"$40\r\n0123456789abcdef0123456789abcdef01234567\r\n", false, true, false},
		{"$40\r\n0123456789abcdef0123456789abcdef0123456\n\r\n", false, false, false},
		{"$3\r\nabc\r\n", false, false, false},
		{"*2\r\n$4\r\n::12\r\n$4\r\n6379\r\n", false, false, true},
		{"*2\r\n$0\r\n\r\n$4\r\n6379\r\n", false, false, false},
		{"*2\r\n$1\r\na\r\n$5\r\n65536\r\n", false, false, false},
		{"*2\r\n$1\r\na\r\n$2\r\n-1\r\n", false, false, false},
		{"*2\r\n$1\r\na\r\n$0\r\n\r\n", false, false, false},
		{"*1\r\n$6\r\nmaster\r\n", true, false, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		reply = reply_of(rows[i].bytes);
		if (store_is_master(reply) != rows[i].master ||
		    !store_read_sha(reply, sha) != rows[i].sha ||
		    !store_read_sentinel(reply, host, &port) != rows[i].sentinel)
			fail_msg("%s", rows[i].bytes);
		freeReplyObject(reply);
	}
}

static void an_error_is_a_sentence(void **state)
{
	char why[STORE_WHY_MAX], host[STORE_HOST_MAX];
	uint16_t port = 0;
	static const struct {
		const char *error;
		enum store_fault fault;
		const char *why;
	} rows[] = {
		{"READONLY You can't write against a read only replica.", STORE_FAULT_OTHER,
		 "the store is a read-only replica"},
		/* of version 6.2 */
		{"ERR Error running script (call to f_ab): @user_script:1: -READONLY You can't write",
		 STORE_FAULT_OTHER, "the store is a read-only replica"},
		{"OOM command not allowed when used memory > 'maxmemory'.", STORE_FAULT_OTHER,
		 "the store's memory is full"},
		{"NOSCRIPT No matching script.", STORE_FAULT_NO_SCRIPT,
		 "the store answers with an error: NOSCRIPT No matching script."},
		{"MOVED 3999 [x] y", STORE_FAULT_OTHER,
		 "the store answers with an error: MOVED 3999 [x] y"},
		{"ERR \x1b[2J", STORE_FAULT_OTHER,
		 "the store answers with an error: ERR \\u001b[2J"},
		{"ASK 3999 192.0.2.1:6381", STORE_FAULT_OTHER,
		 "the cluster moves the fleet's keys to another node"},
		{"TRYAGAIN Multiple keys request during rehashing of slot", STORE_FAULT_OTHER,
		 "the cluster moves the fleet's keys to another node"},
		{"MOVED 3999 192.0.2.1:6381", STORE_FAULT_MOVED,
		 "the fleet's keys are on another node"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(store_fault_of(rows[i].error, why, host, &port), rows[i].fault);
		assert_string_equal(why, rows[i].why);
	}
	assert_string_equal(host, "192.0.2.1");
	assert_int_equal(port, 6381);
	assert_int_equal(store_fault_of("MOVED 1 :7001", why, host, &port), STORE_FAULT_MOVED);
	assert_string_equal(host, "");
	assert_int_equal(store_fault_of("MOVED 1 ::1:7002", why, host, &port), STORE_FAULT_MOVED);
	assert_string_equal(host, "::1");
}

static void an_address_is_a_name_with_a_port_or_a_path(void **state)
{
	struct store_address a;
	char err[256], text[300];
	static const char *const good_ones[] = {"redis.example:6379", "192.0.2.1:1", "[::1]:65535",
						"/run/redis.sock"};
	static const char *const bad_ones[] = {
		"",     "redis",    ":6379", "a:",    "a:0",  "a:65536",
		"a:1x", "::1:6379", "[]:1",  "[::1]", "a: 1", "run/redis.sock"};

	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(store_address_read(&a, good_ones[i], err, sizeof(err)), 0);
		store_address_text(text, sizeof(text), &a);
		assert_string_equal(text, good_ones[i]);
	}
	for (size_t i = 0; i < sizeof(bad_ones) / sizeof(bad_ones[0]); i++)
		if (!store_address_read(&a, bad_ones[i], err, sizeof(err)))
			fail_msg("\"%s\" is taken", bad_ones[i]);
}

static uint64_t no_chance(void)
{
	return 5;
}

static void a_call_that_is_made_again_has_the_same_words(void **state)
{
	static struct store_call call;
	struct store_budget budget = {.key = "k:r:a", .interval_ns = 1, .charge_us = -3};
	struct store_reading *reading = calloc(1, sizeof(*reading));
	char err[128], first[17][64];
	const char **argv;
	const size_t *lens;
	int argc;

	assert_int_equal(store_call_new(&call, "f", "h", no_chance, err, sizeof(err)), 0);
	assert_int_equal(store_call_begin(&call, 1, &budget, 1), 0);
	argc = store_call_format(&call, 1, &argv, &lens);
	assert_int_equal(argc, 3 + 6 + 1 + 10 + 7);
	assert_string_equal(argv[9], "sluice:{f}:b:k:r:a");
	assert_string_equal(argv[argc - 1], "-3");
	for (int i = 0; i < 17; i++)
		snprintf(first[i], sizeof(first[i]), "%s", argv[i]);
	store_call_format(&call, 2, &argv, &lens);
	for (int i = 0; i < 17; i++)
		assert_string_equal(argv[i], first[i]);
	/* The next one has the next number, and says what was answered. */
	reading->answer.epoch = 77;
	memcpy(reading->news_id, "9-1", 4);
	store_call_answered(&call, reading, NULL);
	free(reading);
	store_call_begin(&call, 2, NULL, 0);
	store_call_format(&call, 3, &argv, &lens);
	assert_string_equal(argv[13], "2");
	assert_string_equal(argv[14], "1");
	assert_string_equal(argv[15], "77");
	assert_string_equal(argv[16], "9-1");
}

static void the_largest_call_has_room(void **state)
{
	static struct store_call call;
	static struct store_budget budgets[STORE_BATCH + 1];
	char name[STORE_FLEET_MAX], info[STORE_INFO_MAX], err[128];
	const char **argv;
	const size_t *lens;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	memset(info, 'i', sizeof(info) - 1);
	info[sizeof(info) - 1] = 0;
	for (size_t i = 0; i <= STORE_BATCH; i++) {
		budgets[i] = (struct store_budget){.interval_ns = UINT64_MAX,
						   .span_us = UINT64_MAX,
						   .most_us = UINT64_MAX,
						   .reach_us = UINT64_MAX,
						   .want = UINT64_MAX,
						   .claim_us = UINT64_MAX,
						   .charge_us = INT64_MIN};
		memset(budgets[i].key, 'k', STORE_KEY_MAX - 1);
	}
	assert_int_equal(store_call_new(&call, name, name, no_chance, err, sizeof(err)), 0);
	store_call_info(&call, info);
	assert_int_not_equal(store_call_begin(&call, 1, budgets, STORE_BATCH + 1), 0);
	assert_int_equal(store_call_begin(&call, 1, budgets, STORE_BATCH), 0);
	assert_int_equal(store_call_format(&call, 1, &argv, &lens), STORE_CALL_ARGS);
	assert_true(call.used < STORE_CALL_TEXT);
	budgets[3].key[5] = ' ';
	assert_int_not_equal(store_call_begin(&call, 1, budgets, STORE_BATCH), 0);
	name[3] = '}';
	assert_int_not_equal(store_call_new(&call, name, "h", no_chance, err, sizeof(err)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_budget_is_charged_and_drains),
		cmocka_unit_test(half_of_what_is_left_is_granted),
		cmocka_unit_test(a_claim_raises_and_never_lowers),
		cmocka_unit_test(a_level_stays_within_its_bounds),
		cmocka_unit_test(a_charge_goes_no_further_than_it_may),
		cmocka_unit_test(news_comes_when_the_power_of_two_falls_and_not_too_often),
		cmocka_unit_test(numbers_of_any_size_are_borne),
		cmocka_unit_test(a_reply_of_any_form_is_bounded),
		cmocka_unit_test(an_answer_is_read),
		cmocka_unit_test(an_answer_of_another_form_is_refused),
		cmocka_unit_test(an_answer_cut_or_changed_anywhere_does_no_harm),
		cmocka_unit_test(a_list_of_hosts_is_read_whole_or_not_at_all),
		cmocka_unit_test(an_old_answer_is_read_as_of_now),
		cmocka_unit_test(roles_hashes_and_masters_are_read),
		cmocka_unit_test(an_error_is_a_sentence),
		cmocka_unit_test(an_address_is_a_name_with_a_port_or_a_path),
		cmocka_unit_test(a_call_that_is_made_again_has_the_same_words),
		cmocka_unit_test(the_largest_call_has_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
