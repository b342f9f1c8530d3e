/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Quotas as text, in nanoseconds and over simulated time; ids that only equal quotas share; and
 * explain's output about quotas. The arithmetic is gcra.h's, the same that the kernel compiles.
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

#include "core/explain.h"
#include "core/parse.h"
#include "core/quota.h"
#include "reply_case.h"
#include "desired/desired.h"
#include "state_fixture.h"

#define S 1000000000ULL

static struct quota_def read_quota(const char *text)
{
	struct quota_def def;
	char err[256] = "";

	if (quota_parse(&def, text, err, sizeof(err)))
		fail_msg("%s: %s", text, err);
	return def;
}

static void a_quota_reads_as_it_is_printed(void **state)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{"requests=100/60s", "requests=100/60s"},
		{"burst=20 requests=100/60s", "requests=100/60s burst=20"},
		{"requests=100/60", "requests=100/60s"},
		{"requests=100/1m,tokens=20000/1h", "requests=100/60s tokens=20000/1h"},
		{"tokens=5/s token-burst=7", "tokens=5/1s token-burst=7"},
		{"requests=100/60s burst=100", "requests=100/60s"},
		{"requests=3/1.5s", "requests=3/1500ms"},
		{"requests=3/2d", "requests=3/2d"},
		{"requests=none tokens=1/1s", "tokens=1/1s"},
		{"none", "none"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct quota_def def = read_quota(rows[i].text), again;
		char words[QUOTA_TEXT_MAX];

		quota_words(words, &def);
		assert_string_equal(words, rows[i].words);
		again = read_quota(words);
		assert_memory_equal(&def, &again, sizeof(def));
	}
}

static void a_wrong_quota_is_refused_in_one_line(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"", "is not a quota like"},
		{"  ", "is not a quota like"},
		{"none requests=1/1s", "is not a quota like"},
		{"100/60s", "is not KEY=VALUE"},
		{"requests=100", "is not N/PERIOD"},
		{"requests=0/60s", "is not N/PERIOD"},
		{"requests=-1/60s", "is not N/PERIOD"},
		{"requests=1/0s", "is not N/PERIOD"},
		{"requests=1/", "is not N/PERIOD"},
		{"requests=1/32d", "is not N/PERIOD"},
		{"requests=1/nan", "is not N/PERIOD"},
		{"requests=99999999999/1s", "is not N/PERIOD"},
		{"requests=1/1s burst=0", "is not a whole number"},
		{"requests=1/1s burst=1.5", "is not a whole number"},
		{"burst=5", "burst is given without requests"},
		{"requests=1/1s token-burst=5", "token-burst is given without tokens"},
		{"requests=1/31d burst=20", "more than 400 days"},
		{"tokens=1/1h", "fewer than one in 15 minutes"},
		{"request=1/1s", "did you mean \"requests\"?"},
		{"requests=1/1s\nx", "is not N/PERIOD"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct quota_def def = {.requests = {7, 7, 7}}, before = def;
		char err[256] = "";

		assert_int_equal(quota_parse(&def, rows[i].text, err, sizeof(err)), -EINVAL);
		if (!strstr(err, rows[i].says) || strchr(err, '\n'))
			fail_msg("%s: %s", rows[i].text, err);
		assert_memory_equal(&def, &before, sizeof(def));
	}
}

static void intervals_never_exceed_the_rate_and_miss_it_by_less_than_a_millionth(void **state)
{
	static const char *const rows[] = {
		"requests=7/60s", "requests=1000/1s", "requests=999/1s",   "requests=3/1h",
		"requests=1/31d", "requests=100/60s", "requests=59999/60s"};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct quota_def def = read_quota(rows[i]);
		struct sluice_quota q;
		double exact = (double)def.requests.period_ns / (double)def.requests.most;

		quota_value(&q, &def);
		assert_true((double)q.request_ns >= exact);
		assert_true(((double)q.request_ns - exact) / exact < 1e-6);
		assert_int_equal(q.request_span_ns, q.request_ns * def.requests.burst);
	}
}

/* Sends a request every step_ns for run_ns; returns the number admitted. */
static uint64_t admit(const struct sluice_quota *q, uint64_t run_ns, uint64_t step_ns)
{
	uint64_t tat = 0, n = 0;

	for (uint64_t now = 1000 * S; now <= 1000 * S + run_ns; now += step_ns) {
		if (gcra_wait(tat, now, q->request_ns, q->request_span_ns))
			continue;
		tat = gcra_charge(tat, now, q->request_ns, 1, q->request_span_ns);
		n++;
	}
	return n;
}

static void exactly_burst_and_rate_times_time_are_admitted(void **state)
{
	static const struct {
		const char *text;
		uint64_t run_s, admitted;
	} rows[] = {
		{"requests=4/10s", 100, 4 + 40},
		{"requests=4/10s burst=1", 100, 1 + 40},
		{"requests=100/60s burst=20", 60, 120},
		{"requests=100/60s burst=500", 60, 600},
		{"requests=1/1h", 7200, 3},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct quota_def def = read_quota(rows[i].text);
		struct sluice_quota q;

		quota_value(&q, &def);
		assert_int_equal(admit(&q, rows[i].run_s * S, S / 100), rows[i].admitted);
	}
}

static void a_client_is_admitted_after_its_exact_wait_and_not_a_nanosecond_before(void **state)
{
	srand(4);
	for (unsigned i = 0; i < 1000; i++) {
		struct quota_def def = {.requests = {1 + (uint64_t)rand() % 1000,
						     (1 + (uint64_t)rand() % 3600) * S,
						     1 + (uint64_t)rand() % 50}};
		uint64_t now = (uint64_t)rand() * 1000, tat = 0, wait, spent = 0;
		struct sluice_quota q;
		char err[128];

		assert_int_equal(quota_finish(&def, err, sizeof(err)), 0);
		quota_value(&q, &def);
		while (!(wait = gcra_wait(tat, now, q.request_ns, q.request_span_ns))) {
			tat = gcra_charge(tat, now, q.request_ns, 1, q.request_span_ns);
			now += (uint64_t)rand() % (q.request_ns / 2);
			assert_true(++spent < 1000);
		}
		assert_true(gcra_wait(tat, now + wait - 1, q.request_ns, q.request_span_ns) > 0);
		assert_true(gcra_wait(tat, now + wait, q.request_ns, q.request_span_ns) == 0);
	}
}

static void debt_is_at_most_one_further_period(void **state)
{
	struct quota_def def = read_quota("tokens=600/60s token-burst=50");
	uint64_t tat, now = 5000 * S;
	struct sluice_quota q;

	quota_value(&q, &def);
	tat = gcra_charge(0, now, q.token_ns, 10000000, q.token_most_ns);
	assert_int_equal(tat - now, 50 * S / 10 + 60 * S);
	assert_int_equal(gcra_wait(tat, now, q.token_ns, q.token_span_ns), 60 * S + S / 10);
	/* The largest of all: no product overflows. */
	def = read_quota("tokens=1/15m token-burst=38000");
	quota_value(&q, &def);
	tat = gcra_charge(now + q.token_most_ns, now, q.token_ns, 10000000, q.token_most_ns);
	assert_int_equal(tat, now + q.token_most_ns);
}

static void quotas_share_an_id_only_if_no_request_is_charged_twice(void **state)
{
	struct quota_book *book = calloc(1, sizeof(*book));
	struct quota_def a = read_quota("requests=100/60s"),
			 b = read_quota("requests=100/60s burst=20");
	bool fresh, taken;
	uint32_t id[8];

	id[0] = quota_book_id(book, &a, SLUICE_SCOPE_CLIENT, NULL, false, NULL, &fresh, &taken);
	assert_true(id[0] && fresh && !taken);
	id[1] = quota_book_id(book, &a, SLUICE_SCOPE_CLIENT, NULL, true, NULL, &fresh, &taken);
	id[2] = quota_book_id(book, &b, SLUICE_SCOPE_CLIENT, NULL, false, NULL, &fresh, &taken);
	id[3] = quota_book_id(book, &a, SLUICE_SCOPE_CLIENT_MODEL, "llama", false, NULL, &fresh,
			      &taken);
	id[4] = quota_book_id(book, &a, SLUICE_SCOPE_CLIENT_MODEL, "other", false, NULL, &fresh,
			      &taken);
	id[5] = quota_book_id(book, &a, SLUICE_SCOPE_MODEL, "llama", false, NULL, &fresh, &taken);
	id[6] = quota_book_id(book, &a, SLUICE_SCOPE_SERVICE, "*:8000", false, NULL, &fresh,
			      &taken);
	id[7] = quota_book_id(book, &a, SLUICE_SCOPE_SERVICE, "*:9000", false, NULL, &fresh,
			      &taken);
	for (unsigned i = 0; i < 8; i++)
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(id[i], id[j]);
	assert_int_equal(
		quota_book_id(book, &a, SLUICE_SCOPE_CLIENT, NULL, false, NULL, &fresh, &taken),
		id[0]);
	assert_false(fresh);
	free(book);
}

static void a_full_register_reuses_the_entry_of_an_unused_quota(void **state)
{
	static bool used[SLUICE_QUOTAS_MAX];
	struct quota_book *book = calloc(1, sizeof(*book));
	struct quota_def def = {0};
	bool fresh, taken;

	for (uint32_t i = 1; i < SLUICE_QUOTAS_MAX; i++) {
		def.requests = (struct quota_rate){i, 60 * S, i};
		assert_int_equal(quota_book_id(book, &def, SLUICE_SCOPE_CLIENT, NULL, false, NULL,
					       &fresh, &taken),
				 i);
		used[i] = i != 77;
	}
	def.requests = (struct quota_rate){9999, 60 * S, 5};
	assert_int_equal(
		quota_book_id(book, &def, SLUICE_SCOPE_CLIENT, NULL, false, NULL, &fresh, &taken),
		0);
	assert_int_equal(
		quota_book_id(book, &def, SLUICE_SCOPE_CLIENT, NULL, false, used, &fresh, &taken),
		77);
	assert_true(fresh && taken);
	used[77] = true;
	def.requests.burst = 6;
	assert_int_equal(
		quota_book_id(book, &def, SLUICE_SCOPE_CLIENT, NULL, false, used, &fresh, &taken),
		0);
	free(book);
}

static struct state_prefix_rule rule_of(const char *text, unsigned own, unsigned class,
					unsigned quota)
{
	struct state_prefix_rule rule = {
		.prefix = {.own = (__u8)own, .class = (__u8) class, .quota = (__u16)quota}};
	struct text_subject subject;

	assert_int_equal(text_parse_subject(text, &subject), 0);
	rule.key = subject.prefix;
	return rule;
}

static void a_narrow_prefix_inherits_from_a_wide_one(void **state)
{
	enum { CLASS = SLUICE_PREFIX_OWN_CLASS, QUOTA = SLUICE_PREFIX_OWN_QUOTA };
	struct state_prefix_rule r[] = {
		rule_of("10.1.2.0/24", CLASS, SLUICE_PREFIX_EXEMPT, 0),
		rule_of("10.0.0.0/8", CLASS, SLUICE_PREFIX_BLOCKED, 0),
		rule_of("10.1.0.0/16", QUOTA, SLUICE_PREFIX_PLAIN, 5),
		rule_of("10.2.0.0/16", QUOTA, SLUICE_PREFIX_EXEMPT,
			6), /* an old copy of a class: removed with its source */
		rule_of("11.0.0.0/8", QUOTA, SLUICE_PREFIX_BLOCKED, 7),
		rule_of("0.0.0.0/0", QUOTA, SLUICE_PREFIX_PLAIN, 9),
		rule_of("2001:db8::/32", CLASS, SLUICE_PREFIX_BLOCKED, 3),
	};
	static const struct {
		const char *text;
		unsigned class, quota;
	} want[] = {
		{"10.1.2.0/24", SLUICE_PREFIX_EXEMPT, 5},
		{"10.0.0.0/8", SLUICE_PREFIX_BLOCKED, 9},
		{"10.1.0.0/16", SLUICE_PREFIX_BLOCKED, 5},
		{"10.2.0.0/16", SLUICE_PREFIX_BLOCKED, 6},
		{"11.0.0.0/8", SLUICE_PREFIX_PLAIN, 7},
		{"0.0.0.0/0", SLUICE_PREFIX_PLAIN, 9},
		{"2001:db8::/32", SLUICE_PREFIX_BLOCKED, 0},
	};
	size_t n = sizeof(r) / sizeof(r[0]);

	qsort(r, n, sizeof(*r), desired_by_prefix);
	desired_inherit(r, n);
	for (size_t i = 0; i < n; i++) {
		struct state_prefix_rule key = rule_of(want[i].text, 0, 0, 0);
		size_t k = 0;

		while (memcmp(&r[k].key, &key.key, sizeof(key.key)))
			k++;
		assert_int_equal(r[k].prefix.class, want[i].class);
		assert_int_equal(r[k].prefix.quota, want[i].quota);
	}
}

static void a_missing_weight_is_inherited(void **state)
{
	enum { CLASS = SLUICE_PREFIX_OWN_CLASS, WEIGHT = SLUICE_PREFIX_OWN_WEIGHT };
	struct state_prefix_rule r[] = {
		rule_of("10.0.0.0/8", WEIGHT, SLUICE_PREFIX_PLAIN, 0),
		rule_of("10.1.0.0/16", CLASS, SLUICE_PREFIX_BLOCKED, 0),
		rule_of("10.1.2.0/24", WEIGHT, SLUICE_PREFIX_PLAIN, 0),
		rule_of("11.0.0.0/8", CLASS, SLUICE_PREFIX_EXEMPT, 0),
	};

	r[0].prefix.weight = 512;
	r[1].prefix.weight = 77; /* an old copy */
	r[2].prefix.weight = SLUICE_WEIGHT_ONE;
	r[3].prefix.weight = 77;
	qsort(r, 4, sizeof(*r), desired_by_prefix);
	desired_inherit(r, 4);
	assert_int_equal(r[0].prefix.weight, 512);
	assert_int_equal(r[1].prefix.weight, 512);
	assert_int_equal(r[2].prefix.weight, SLUICE_WEIGHT_ONE);
	assert_int_equal(r[2].prefix.class, SLUICE_PREFIX_BLOCKED);
	assert_int_equal(r[3].prefix.weight, 0);
}

static void a_missing_priority_is_inherited(void **state)
{
	enum { CLASS = SLUICE_PREFIX_OWN_CLASS, PRIORITY = SLUICE_PREFIX_OWN_PRIORITY };
	struct state_prefix_rule r[] = {
		rule_of("10.0.0.0/8", PRIORITY, SLUICE_PREFIX_PLAIN, 0),
		rule_of("10.1.0.0/16", CLASS, SLUICE_PREFIX_BLOCKED, 0),
		rule_of("10.1.2.0/24", PRIORITY, SLUICE_PREFIX_PLAIN, 0),
		rule_of("11.0.0.0/8", CLASS, SLUICE_PREFIX_EXEMPT, 0),
	};

	r[0].prefix.priority = 3;
	r[1].prefix.priority = 4; /* an old copy */
	r[2].prefix.priority = 1;
	r[3].prefix.priority = 4;
	qsort(r, 4, sizeof(*r), desired_by_prefix);
	desired_inherit(r, 4);
	assert_int_equal(r[0].prefix.priority, 3);
	assert_int_equal(r[1].prefix.priority, 3);
	assert_int_equal(r[2].prefix.priority, 1);
	assert_int_equal(r[3].prefix.priority, 0);
}

static void a_weight_of_two_decimals_comes_back_as_it_was_written(void **state)
{
	char written[32], read[TEXT_WEIGHT_MAX], err[256];
	uint16_t weight, before = 0;

	for (unsigned hundredths = 1; hundredths <= 25500; hundredths++) {
		snprintf(written, sizeof(written), "%u.%02u", hundredths / 100, hundredths % 100);
		assert_int_equal(parse_weight(written, &weight, err, sizeof(err)), 0);
		assert_true(weight > before);
		before = weight;
		assert_int_equal(text_weight_hundredths(weight), hundredths);
	}
	assert_int_equal(parse_weight("2", &weight, err, sizeof(err)), 0);
	assert_int_equal(weight, 2 * SLUICE_WEIGHT_ONE);
	assert_int_equal(parse_weight("0.5", &weight, err, sizeof(err)), 0);
	assert_int_equal(weight, SLUICE_WEIGHT_ONE / 2);
	text_weight(read, weight);
	assert_string_equal(read, "0.5");
	text_weight(read, 0);
	assert_string_equal(read, "1");
}

static void a_wrong_weight_is_refused_in_one_line(void **state)
{
	static const char *const rows[] = {"",    "0",     "0.00", "-1",  "256",        "255.01",
					   "1e3", "0.001", "2x",   ".5",  "1.",         "two",
					   "nan", "+1",    "1,5",  "1 2", "99999999999"};
	uint16_t weight = 7;
	char err[256];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(parse_weight(rows[i], &weight, err, sizeof(err)), -EINVAL);
		assert_non_null(strstr(err, "is not a weight: a number from 0.01 to 255"));
		assert_int_equal(weight, 7);
	}
}

static void a_weight_times_a_quota_is_exact(void **state)
{
	static const struct {
		const char *quota, *weight, *words;
	} rows[] = {
		{"requests=100/60s", "2", "requests=200/60s"},
		{"requests=100/60s burst=20", "10", "requests=1000/60s burst=200"},
		{"requests=100/60s tokens=20000/60s token-burst=5000", "0.5",
		 "requests=50/60s tokens=10000/60s token-burst=2500"},
		{"requests=5/60s", "0.5", "requests=5/120s burst=2"},
		{"requests=1/60s", "0.1", "requests=1/600s"},
		{"requests=100/60s", "0.1", "requests=10/60s"},
		{"requests=3/1s", "1.25", "requests=15/4s burst=3"},
		{"requests=3/1s", "1", "requests=3/1s"},
		{"tokens=1000/1h", "255", "tokens=255000/1h"},
		{"none", "4", "none"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct quota_def def = read_quota(rows[i].quota), scaled;
		char words[QUOTA_TEXT_MAX], err[256];
		struct sluice_quota one, many;
		uint16_t weight;

		assert_int_equal(parse_weight(rows[i].weight, &weight, err, sizeof(err)), 0);
		if (quota_scale(&scaled, &def, weight, err, sizeof(err)))
			fail_msg("%s: %s", rows[i].quota, err);
		quota_words(words, &scaled);
		assert_string_equal(words, rows[i].words);
		quota_value(&one, &def);
		quota_value(&many, &scaled);
		/*
		 * The interval is the quota's divided by the weight, up to a nanosecond of rounding
		 * in each.
		 */
		if (def.requests.most) {
			double want = (double)one.request_ns * 100 / text_weight_hundredths(weight);

			assert_true((double)many.request_ns >= want - 100 &&
				    (double)many.request_ns <= want + 1);
		}
	}
}

static void a_weight_that_leaves_no_quota_is_refused(void **state)
{
	static const struct {
		const char *quota;
		uint16_t weight;
		const char *says;
	} rows[] = {
		{"requests=1000000000/1s", 512, "more than 1000000000"},
		{"requests=1/31d", 3, "400 days"},
		{"tokens=1/10m", 128, "fewer than one in 15 minutes"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct quota_def def = read_quota(rows[i].quota), scaled = {.requests = {7, 7, 7}},
				 before = scaled;
		char err[256] = "";

		assert_int_equal(quota_scale(&scaled, &def, rows[i].weight, err, sizeof(err)),
				 -EINVAL);
		if (!strstr(err, rows[i].says))
			fail_msg("%s: %s", rows[i].quota, err);
		assert_memory_equal(&scaled, &before, sizeof(scaled));
	}
}

static void a_refusal_names_its_quota_and_its_reset(void **state)
{
	struct quota_def def = read_quota("requests=100/60s burst=20 tokens=5/500ms");
	struct sluice_reply reply;
	const struct service_reply plain = {0};
	uint8_t bytes[SLUICE_REPLY_BUFFER];
	const char *text = (const char *)bytes;

	assert_int_equal(reply_text_build_quota(&reply, &def, SLUICE_REASON_REQUEST_QUOTA), 0);
	assert_true(whole_reply(bytes, &plain, -1, &reply, SLUICE_API_OPENAI, false, false, 1501) >
		    0);
	assert_non_null(strstr(text, "\r\nRateLimit-Policy: \"requests\";q=100;w=60\r\n"));
	assert_non_null(strstr(text, "\r\nRateLimit: \"requests\";r=0;t=2         \r\n"));
	assert_non_null(strstr(text, "\r\nRetry-After: 2         \r\n"));
	assert_non_null(strstr(text, "\r\nretry-after-ms: 1501      \r\n"));
	assert_non_null(strstr(
		text,
		"\"This client has used up its quota of 100 requests per 60 s. Please try again after 2 seconds.\""));
	assert_null(strstr(text, "x-should-retry"));
	assert_int_equal(reply_text_build_quota(&reply, &def, SLUICE_REASON_TOKEN_QUOTA), 0);
	assert_true(whole_reply(bytes, &plain, -1, &reply, SLUICE_API_OPENAI, true, false,
				UINT32_MAX) > 0);
	assert_non_null(strstr(text, "RateLimit-Policy: \"tokens\";q=10;w=1\r\n"));
	assert_non_null(strstr(text, "RateLimit: \"tokens\";r=0;t=4294968   \r\n"));
	assert_non_null(strstr(text, "its quota of 5 tokens per 500 ms."));
	assert_non_null(strstr(text, "x-should-retry: false\r\n"));
	def = read_quota("requests=1000000000/31d burst=1000000000 tokens=1000000000/31d");
	for (unsigned i = 0; i < 2 * SLUICE_API_COUNT; i++) {
		struct service_reply most = {0};

		memset(most.lines, 'x', REPLY_LINES_MAX);
		assert_int_equal(reply_text_build_quota(&reply, &def,
							i % 2 ? SLUICE_REASON_TOKEN_QUOTA
							      : SLUICE_REASON_REQUEST_QUOTA),
				 0);
		assert_true(whole_reply(bytes, &most, -1, &reply, i / 2, true, false, UINT32_MAX) >
			    0);
	}
	assert_int_equal(reply_text_build_quota(&reply, &def, SLUICE_REASON_TTFT), -EINVAL);
	def = read_quota("tokens=5/s");
	assert_int_equal(reply_text_build_quota(&reply, &def, SLUICE_REASON_REQUEST_QUOTA),
			 -EINVAL);
}

static void an_address_is_a_client_of_each_service(void **state)
{
	static const struct {
		const char *typed;
		uint8_t plen4[2], plen6[2];
		const char *clients;
	} rows[] = {
		{"192.0.2.7", {32, 32}, {64, 64}, "192.0.2.7"},
		{"192.0.2.7", {24, 32}, {64, 64}, "192.0.2.0/24 192.0.2.7"},
		{"192.0.2.7", {24, 24}, {64, 64}, "192.0.2.0/24"},
		{"192.0.2.0/24", {32, 16}, {64, 64}, "192.0.2.0/24 192.0.0.0/16"},
		{"2001:db8:1:2::7", {32, 32}, {64, 48}, "2001:db8:1:2::/64 2001:db8:1::/48"},
		{"2001:db8:1:2::7", {32, 32}, {128, 128}, "2001:db8:1:2::7/128"},
		{"2001:db8:1:2::/64", {32, 32}, {128, 48}, "2001:db8:1:2::/64 2001:db8:1::/48"},
		{"key:0123456789abcdef", {24, 32}, {48, 64}, "key:0123456789abcdef"},
	};
	struct fixture *f = fixture_new();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sluice_client clients[SLUICE_SERVICES_MAX];
		char all[256] = "", text[TEXT_CLIENT_MAX];
		struct text_subject subject;
		size_t n;

		for (unsigned k = 0; k < 2; k++) {
			f->services[k].identity.plen4 = rows[i].plen4[k];
			f->services[k].identity.plen6 = rows[i].plen6[k];
		}
		assert_int_equal(text_parse_subject(rows[i].typed, &subject), 0);
		n = explain_clients(&f->state, &subject, clients);
		for (size_t k = 0; k < n; k++) {
			text_client(text, &clients[k]);
			if (k)
				strcat(all, " ");
			strcat(all, text);
		}
		assert_string_equal(all, rows[i].clients);
	}
	free(f);
}

static void clients_are_read_in_all_usual_forms(void **state)
{
	struct text_subject s;

	assert_int_equal(text_parse_subject("key:00ff0000000000AB", &s), 0);
	assert_true(s.one && s.client.kind == SLUICE_CLIENT_KEY && s.client.addr[1] == 0xff &&
		    s.client.addr[7] == 0xab);
	assert_int_equal(text_parse_subject("key:00ff", &s), -EINVAL);
	assert_int_equal(text_parse_subject("key:00ff0000000000zz", &s), -EINVAL);
	assert_int_equal(text_parse_subject("2001:db8::1", &s), 0);
	assert_true(s.one && s.client.plen == 64 && !s.client.addr[15] && s.addr[15] == 1 &&
		    s.note);
	assert_int_equal(text_parse_subject("10.0.0.0/8", &s), 0);
	assert_true(!s.one && s.prefix.plen == 104);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quota_reads_as_it_is_printed),
		cmocka_unit_test(a_wrong_quota_is_refused_in_one_line),
		cmocka_unit_test(
			intervals_never_exceed_the_rate_and_miss_it_by_less_than_a_millionth),
		cmocka_unit_test(exactly_burst_and_rate_times_time_are_admitted),
		cmocka_unit_test(
			a_client_is_admitted_after_its_exact_wait_and_not_a_nanosecond_before),
		cmocka_unit_test(debt_is_at_most_one_further_period),
		cmocka_unit_test(quotas_share_an_id_only_if_no_request_is_charged_twice),
		cmocka_unit_test(a_full_register_reuses_the_entry_of_an_unused_quota),
		cmocka_unit_test(a_narrow_prefix_inherits_from_a_wide_one),
		cmocka_unit_test(a_missing_weight_is_inherited),
		cmocka_unit_test(a_missing_priority_is_inherited),
		cmocka_unit_test(a_weight_of_two_decimals_comes_back_as_it_was_written),
		cmocka_unit_test(a_wrong_weight_is_refused_in_one_line),
		cmocka_unit_test(a_weight_times_a_quota_is_exact),
		cmocka_unit_test(a_weight_that_leaves_no_quota_is_refused),
		cmocka_unit_test(an_address_is_a_client_of_each_service),
		cmocka_unit_test(a_refusal_names_its_quota_and_its_reset),
		cmocka_unit_test(clients_are_read_in_all_usual_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
