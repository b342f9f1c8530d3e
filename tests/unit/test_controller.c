/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The controller as the daemon drives it: samples go in, flags come out, an operator changes
 * targets. Time is a number here. Rows give inputs and expected values; a row that fails prints its
 * name.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/controller.h"
#include "core/parse.h"

#define S           1000000000ull
#define MS          1000000ull
#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static const struct controller_targets pool = {
	.ttft_ms = 1000,
	.itl_ms = 30,
	.tau_s = 15,
	.max_in_flight = -1,
};

static const struct controller_targets nothing = {
	.ttft_ms = -1,
	.itl_ms = -1,
	.tau_s = 15,
	.max_in_flight = -1,
};

static struct controller c;

static void fresh(const struct controller_targets *all, bool per_model)
{
	controller_init(&c, all, per_model);
}

/* One record of n samples with the mean ms; by name if it has one, else by id. */
static uint32_t sample(const char *name, uint32_t id, int kind, double ms, uint32_t n, uint64_t at)
{
	struct sluice_sample s = {
		.time_ns = at,
		.sum_ns = (uint64_t)(ms * 1e6 * n),
		.n = n,
		.model = (uint16_t)id,
		.kind = (uint8_t)kind,
	};

	if (name) {
		s.model = SLUICE_MODEL_OTHER;
		memcpy(s.name, name, strnlen(name, sizeof(s.name)));
	}
	return controller_sample(&c, &s);
}

static uint32_t ttft(const char *name, double ms, uint64_t at)
{
	return sample(name, SLUICE_MODEL_ALL, SLUICE_SAMPLE_TTFT, ms, 1, at);
}

static uint32_t itl(const char *name, double ms, uint64_t at)
{
	return sample(name, SLUICE_MODEL_ALL, SLUICE_SAMPLE_ITL, ms, 1, at);
}

static struct sluice_model_flag flag(uint32_t id, uint64_t at)
{
	struct sluice_model_flag f;

	memset(&f, 0xff, sizeof(f));
	controller_flag(&c, id, at, &f);
	return f;
}

static void set(const char *model, const char *key, const char *value)
{
	char err[256] = "";

	if (controller_set(&c, model, key, value, err, sizeof(err)))
		fail_msg("%s=%s: %s", key, value, err);
}

static void a_model_without_a_sample_is_open(void **state)
{
	uint32_t id;

	fresh(&pool, true);
	id = controller_learn(&c, "llama", S);
	assert_true(controller_read(&c, id, 2 * S).open);
	assert_true(controller_read(&c, id, 2 * S).ttft_ms < 0);
	assert_true(controller_read(&c, id, 2 * S).itl_ms < 0);
	assert_int_equal(flag(id, 2 * S).allow, 1);
	assert_int_equal(flag(id, 2 * S).retry_after_ms, 0);
}

/* The kernel counts what meets a target. That of TTFT grows with the request. */
static void a_flag_has_the_targets_of_its_model(void **state)
{
	struct sluice_model_flag f;
	uint32_t id;

	fresh(&nothing, true);
	id = controller_learn(&c, "m", S);
	f = flag(id, S);
	assert_int_equal(f.target_us[SLUICE_LATENCY_TTFT], 0);
	set("m", "ttft", "800ms+0.25ms/KiB");
	set(NULL, "itl", "30.5ms");
	set("m", "duration", "2s");
	set("m", "normalized-latency", "10000000");
	assert_true(controller_flag(&c, id, S, &f));
	assert_int_equal(f.target_us[SLUICE_LATENCY_TTFT], 800000);
	assert_int_equal(f.ttft_us_per_kib, 250);
	assert_int_equal(f.target_us[SLUICE_LATENCY_ITL], 30500);
	assert_int_equal(f.target_us[SLUICE_LATENCY_DURATION], 2000000);
	assert_int_equal(f.target_us[SLUICE_LATENCY_NORMALIZED], UINT32_MAX);
	set(NULL, "itl", "31ms");
	assert_true(controller_flag(&c, id, S, &f));
	assert_false(controller_flag(&c, id, S, &f));
}

static void a_verdict_is_strict_and_names_ttft_first(void **state)
{
	static const struct {
		double ttft, itl; /* negative: no sample */
		bool open;
		enum sluice_reason reason;
	} rows[] = {
		{999, -1, true, SLUICE_REASON_NONE},       {1000, 30, true, SLUICE_REASON_NONE},
		{1000.001, -1, false, SLUICE_REASON_TTFT}, {-1, 30.001, false, SLUICE_REASON_ITL},
		{500, 36, false, SLUICE_REASON_ITL},       {1200, 29, false, SLUICE_REASON_TTFT},
		{1200, 3000, false, SLUICE_REASON_TTFT},   {0, 0, true, SLUICE_REASON_NONE},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct controller_reading r;
		uint32_t id;

		fresh(&pool, true);
		id = controller_learn(&c, "m", S);
		if (rows[i].ttft >= 0)
			ttft("m", rows[i].ttft, S);
		if (rows[i].itl >= 0)
			itl("m", rows[i].itl, S);
		r = controller_read(&c, id, S);
		if (r.open != rows[i].open || r.reason != rows[i].reason)
			fail_msg("ttft %g itl %g: open %d reason %d", rows[i].ttft, rows[i].itl,
				 r.open, r.reason);
	}
}

static void a_shut_model_shuts_no_other(void **state)
{
	uint32_t a, b;

	fresh(&pool, true);
	a = ttft("a", 5000, S);
	b = ttft("b", 50, S);
	assert_int_equal(flag(a, S).allow, 0);
	assert_int_equal(flag(b, S).allow, 1);
	assert_int_equal(flag(SLUICE_MODEL_ALL, S).allow, 1);
}

static void all_models_together_shut_only_without_per_model_limits(void **state)
{
	for (int per_model = 0; per_model < 2; per_model++) {
		struct controller_reading all, a;
		uint32_t id;

		fresh(&pool, per_model);
		id = ttft("a", 3000, S);
		ttft("b", 1000, S);
		ttft(NULL, 500, S);
		all = controller_read(&c, SLUICE_MODEL_ALL, S);
		a = controller_read(&c, id, S);
		assert_true(fabs(all.ttft_ms - 1500) < 1e-9);
		assert_true(fabs(a.ttft_ms - 3000) < 1e-9);
		assert_int_equal(c.model[SLUICE_MODEL_ALL].ttft_samples, 3);
		assert_int_equal(c.model[id].ttft_samples, 1);
		assert_int_equal(all.open, per_model);
		assert_int_equal(a.open, !per_model);
		assert_int_equal(all.reason, per_model ? SLUICE_REASON_NONE : SLUICE_REASON_TTFT);
	}
}

static void a_flood_of_unknown_names_shuts_itself_only(void **state)
{
	uint32_t known;

	fresh(&pool, true);
	known = ttft("real", 100, S);
	for (int i = 0; i < 5000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "invented-%d", i);
		ttft(name, 60000, S);
	}
	assert_int_equal(c.model_count, SLUICE_MODELS_MAX);
	assert_int_equal(c.names_refused, 5000 - (SLUICE_MODELS_MAX - SLUICE_MODEL_FIRST - 1));
	assert_true(controller_read(&c, SLUICE_MODEL_OTHER, S).ttft_ms > 50000);
	assert_int_equal(flag(SLUICE_MODEL_OTHER, S).allow, 0);
	assert_int_equal(flag(known, S).allow, 1);
	assert_int_equal(controller_find(&c, "real"), known);
	assert_int_equal(controller_learn(&c, "real", S), known);
}

static void names_have_ids_below_the_most_and_pools_may_have_any(void **state)
{
	fresh(&pool, true);
	c.ids_max = SLUICE_MODEL_FIRST + 2;
	assert_true(controller_declare_pool(&c, "shared") >= (int)c.ids_max);
	assert_int_equal(controller_room(&c), 2);
	assert_false(controller_may_miss(&c));
	assert_int_equal(controller_adopt(&c, "late", c.ids_max, S), -EINVAL);
	assert_int_equal(controller_learn(&c, "a", S), SLUICE_MODEL_FIRST);
	assert_int_equal(controller_adopt(&c, "b", SLUICE_MODEL_FIRST + 1, S), 0);
	assert_true(controller_may_miss(&c));
	assert_int_equal(controller_learn(&c, "c", S), SLUICE_MODEL_OTHER);
	assert_true(c.names_wanted);
	assert_int_equal(c.names_refused, 1);
}

/* The first names that nobody configured have averages of their own; the later ones share. */
static void later_names_share_the_averages_of_other(void **state)
{
	uint32_t id[CONTROLLER_EARLY + 2], last = CONTROLLER_EARLY + 1;

	fresh(&pool, true);
	for (uint32_t i = 0; i <= last; i++) {
		const char name[] = {(char)('a' + i), '\0'};

		id[i] = controller_learn(&c, name, S);
		assert_int_equal(controller_is_stranger(&c, id[i]), i >= CONTROLLER_EARLY);
	}
	sample(NULL, id[last], SLUICE_SAMPLE_TTFT, 60000, 1, S);
	assert_int_equal(flag(id[0], S).allow, 1);
	assert_int_equal(flag(id[last - 1], S).allow, 0);
	assert_int_equal(flag(SLUICE_MODEL_OTHER, S).allow, 0);
	assert_true(controller_read(&c, id[last], S).ttft_ms > 50000);
	assert_true(controller_read(&c, id[last - 1], S).ttft_ms < 0);
	set("e", "ttft", "90s");
	assert_int_equal(flag(id[last - 1], S).allow, 1);
	controller_forget(&c, id[0]);
	assert_false(controller_is_stranger(&c, controller_learn(&c, "new", S)));
	assert_true(controller_is_stranger(&c, controller_learn(&c, "newer", S)));
}

static void a_name_that_is_no_model_counts_as_other(void **state)
{
	char longest[SLUICE_NAME_MAX], too_long[SLUICE_NAME_MAX + 1];
	const struct {
		const char *name;
		bool learned;
		unsigned refused;
	} rows[] = {
		{"", false, 0},
		{"global", false, 1},
		{"other", false, 1},
		{longest, true, 0},
		{too_long, false, 1},
		{"a\nb", false, 1},
		{"a\x7f", false, 1},
		{"caf\xc3\xa9", true, 0},
		{"caf\xc3", false, 1},
		{"\xc0\xaf", false, 1},
		{"\xed\xa0\x80", false, 1},
		{"\xf0\x9f\xa6\x99", true, 0},
		{"\xf4\x90\x80\x80", false, 1},
		{"org/m:7b q4", true, 0},
	};

	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	memset(too_long, 'x', sizeof(too_long));
	too_long[sizeof(too_long) - 1] = '\0';
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint32_t id;

		fresh(&pool, true);
		id = controller_learn(&c, rows[i].name, S);
		if ((id >= SLUICE_MODEL_FIRST) != rows[i].learned ||
		    c.names_refused != rows[i].refused)
			fail_msg("row %zu \"%s\": id %u, refused %u", i, rows[i].name, id,
				 (unsigned)c.names_refused);
		if (!rows[i].learned)
			assert_int_equal(id, SLUICE_MODEL_OTHER);
	}
	/*
	 * The same from the ring buffer, where a name that fills its field has no zero at its end.
	 */
	fresh(&pool, true);
	assert_int_equal(ttft(too_long, 10, S), SLUICE_MODEL_OTHER);
	assert_int_equal(controller_find(&c, ""), -ENOENT);
	assert_int_equal(controller_find(&c, "global"), SLUICE_MODEL_ALL);
	assert_int_equal(controller_find(&c, "other"), SLUICE_MODEL_OTHER);
}

static void a_sample_is_counted_for_its_name_then_its_id(void **state)
{
	uint32_t a;

	fresh(&pool, true);
	a = controller_learn(&c, "a", S);
	assert_int_equal(sample("a", 0, SLUICE_SAMPLE_ITL, 10, 4, S), a);
	assert_int_equal(sample(NULL, a, SLUICE_SAMPLE_ITL, 10, 4, S), a);
	assert_int_equal(c.model[a].itl_samples, 8);
	assert_int_equal(c.model[SLUICE_MODEL_ALL].itl_samples, 8);
	assert_int_equal(sample(NULL, a + 1, SLUICE_SAMPLE_ITL, 10, 1, S), SLUICE_MODEL_OTHER);
	assert_int_equal(sample(NULL, 60000, SLUICE_SAMPLE_ITL, 10, 1, S), SLUICE_MODEL_OTHER);
	assert_int_equal(sample(NULL, 0, SLUICE_SAMPLE_ITL, 10, 1, S), SLUICE_MODEL_ALL);
	assert_int_equal(c.model[SLUICE_MODEL_ALL].itl_samples, 11);
	assert_int_equal(c.model[SLUICE_MODEL_OTHER].itl_samples, 2);
}

static void a_record_without_a_time_only_learns_its_name(void **state)
{
	uint32_t id;

	fresh(&pool, true);
	id = sample("new", 0, SLUICE_SAMPLE_SEEN, 0, 0, 7 * S);
	assert_int_equal(id, SLUICE_MODEL_FIRST);
	assert_int_equal(c.model[id].last_seen_ns, 7 * S);
	sample("new", 0, SLUICE_SAMPLE_ITL, 0, 0, 8 * S);
	sample("new", 0, 77, 9, 1, 8 * S);
	assert_true(controller_read(&c, id, S).ttft_ms < 0);
	assert_true(controller_read(&c, id, S).itl_ms < 0);
	assert_true(controller_read(&c, SLUICE_MODEL_ALL, S).itl_ms < 0);
}

static void an_adopted_flag_shuts_as_long_as_it_said_ten_seconds_at_most(void **state)
{
	static const struct {
		const char *what;
		struct sluice_model_flag flag;
		uint32_t id;
		bool open;
	} rows[] = {
		{"shut by ttft", {.reason = SLUICE_REASON_TTFT, .retry_after_ms = 5000}, 2, false},
		{"shut by itl", {.reason = SLUICE_REASON_ITL, .retry_after_ms = 5000}, 2, false},
		{"shut by duration",
		 {.reason = SLUICE_REASON_DURATION, .retry_after_ms = 5000},
		 2,
		 false},
		{"shut by normalized latency",
		 {.reason = SLUICE_REASON_NORMALIZED_LATENCY, .retry_after_ms = 5000},
		 2,
		 false},
		{"open", {.allow = 1, .retry_after_ms = 5000}, 2, true},
		{"set by an operator",
		 {.reason = SLUICE_REASON_OPERATOR, .retry_after_ms = 5000},
		 2,
		 true},
		{"never written", {0}, 2, true},
		{"the whole, per model",
		 {.reason = SLUICE_REASON_TTFT, .retry_after_ms = 5000},
		 0,
		 true},
		{"the others", {.reason = SLUICE_REASON_TTFT, .retry_after_ms = 5000}, 1, false},
	};
	const struct controller_targets all = {.ttft_ms = 1000,
					       .itl_ms = 30,
					       .duration_ms = 9000,
					       .normalized_ms = 80,
					       .tau_s = 15,
					       .max_in_flight = -1};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		controller_init(&c, &all, true);
		controller_learn(&c, "a", S);
		controller_adopt_flag(&c, rows[i].id, &rows[i].flag, S);
		if (controller_read(&c, rows[i].id, 1 * S).open != rows[i].open ||
		    controller_read(&c, rows[i].id, 6 * S - 1000000).open != rows[i].open ||
		    !controller_read(&c, rows[i].id, 6 * S + 1000000).open)
			fail_msg("%s", rows[i].what);
	}
	controller_init(&c, &all, true);
	controller_learn(&c, "a", S);
	controller_adopt_flag(
		&c, 2,
		&(struct sluice_model_flag){.reason = SLUICE_REASON_TTFT, .retry_after_ms = 60000},
		S);
	assert_false(controller_read(&c, 2, 10 * S).open);
	assert_true(controller_read(&c, 2, 12 * S).open);
}

/* A drain shuts the whole, and nothing else, until its end; a new daemon goes on with it. */
static void a_drain_is_in_the_flag_of_the_whole(void **state)
{
	static const enum controller_policy policies[] = {CONTROLLER_EMA_FLAG, CONTROLLER_ADAPTIVE};

	for (unsigned i = 0; i < 2; i++) {
		struct controller_targets all = {
			.ttft_ms = 1000, .tau_s = 15, .max_in_flight = -1, .policy = policies[i]};
		struct sluice_model_flag flag;
		struct controller next;

		controller_init(&c, &all, true);
		controller_learn(&c, "a", S);
		c.drain = (struct controller_drain){true, true, 9 * S};
		assert_true(controller_flag(&c, SLUICE_MODEL_ALL, 2 * S, &flag));
		assert_int_equal(flag.allow, 0);
		assert_int_equal(flag.reason, SLUICE_REASON_OPERATOR);
		assert_int_equal(flag.unavailable, 1);
		assert_int_equal(flag.expires_ns, 9 * S);
		controller_init(&next, &all, true);
		controller_adopt_drain(&next, &flag, 3 * S);
		assert_true(controller_drains(&next, 9 * S - 1));
		assert_false(controller_drains(&next, 9 * S));
		controller_adopt_drain(&next, &flag, 9 * S);
		assert_false(next.drain.on);
		assert_true(controller_flag(&c, SLUICE_MODEL_FIRST, 2 * S, &flag));
		assert_int_equal(flag.allow, 1);
		c.drain.until_ns = 10 * S; /* for longer */
		assert_true(controller_flag(&c, SLUICE_MODEL_ALL, 3 * S, &flag));
		assert_true(controller_flag(&c, SLUICE_MODEL_ALL, 10 * S, &flag));
		assert_int_equal(flag.allow, 1);
		assert_int_equal(flag.expires_ns, 0);
	}
}

static void an_adopted_name_keeps_its_id(void **state)
{
	fresh(&pool, true);
	assert_int_equal(controller_adopt(&c, "five", 5, S), 0);
	assert_int_equal(controller_adopt(&c, "five", 5, S), 0);
	assert_int_equal(controller_adopt(&c, "five", 6, S), -EEXIST);
	assert_int_equal(controller_adopt(&c, "six", 5, S), -EEXIST);
	assert_int_equal(controller_adopt(&c, "x", SLUICE_MODEL_OTHER, S), -EINVAL);
	assert_int_equal(controller_adopt(&c, "x", SLUICE_MODELS_MAX, S), -EINVAL);
	assert_int_equal(controller_adopt(&c, "", 9, S), -EINVAL);
	assert_int_equal(controller_find(&c, "five"), 5);
	for (uint32_t want = 2; want < 9; want++) {
		char name[16];

		if (want == 5)
			continue;
		snprintf(name, sizeof(name), "m%u", want);
		assert_int_equal(controller_learn(&c, name, S), want);
		assert_int_equal(controller_find(&c, name), want);
	}
	assert_int_equal(c.model_count, 9);
}

static void a_full_table_takes_a_name_once_another_is_forgotten(void **state)
{
	uint32_t id;

	fresh(&pool, true);
	for (int i = 0; i < SLUICE_MODELS_MAX - SLUICE_MODEL_FIRST; i++) {
		char name[32];

		assert_false(controller_may_miss(&c));
		snprintf(name, sizeof(name), "invented-%d", i);
		ttft(name, 60000, S);
	}
	assert_false(c.names_wanted);
	assert_int_equal(controller_learn(&c, "global", S), SLUICE_MODEL_OTHER);
	assert_int_equal(controller_learn(&c, "a\nb", S), SLUICE_MODEL_OTHER);
	assert_false(c.names_wanted); /* room would not help them */
	assert_int_equal(controller_learn(&c, "new", S), SLUICE_MODEL_OTHER);
	assert_true(c.names_wanted);
	assert_true(controller_may_miss(&c));
	id = (uint32_t)controller_find(&c, "invented-7");
	assert_false(flag(id, S).allow);
	controller_forget(&c, id);
	assert_int_equal(controller_find(&c, "invented-7"), -ENOENT);
	assert_int_equal(controller_learn(&c, "new", 9 * S), id);
	assert_int_equal(c.model_count, SLUICE_MODELS_MAX);
	assert_int_equal(c.model[id].ttft_samples, 0);
	assert_int_equal(c.model[id].last_seen_ns, 9 * S);
	assert_true(controller_read(&c, id, 9 * S).ttft_ms < 0);
	assert_true(controller_flag(&c, id, 9 * S, &(struct sluice_model_flag){0}));
	assert_true(controller_targets(&c, id).ttft_ms == 1000);
}

static void only_what_nobody_has_configured_may_be_forgotten(void **state)
{
	static const char *const keys[] = {"ttft", "itl",    "tau",  "max-in-flight",
					   "mode", "action", "floor"};
	static const char *const values[] = {"1s", "none", "9s", "4", "shadow", "drop", "3"};
	uint32_t a, b, full, empty;

	fresh(&pool, true);
	a = controller_learn(&c, "a", S);
	b = controller_learn(&c, "b", S);
	full = (uint32_t)controller_declare_pool(&c, "full");
	empty = (uint32_t)controller_declare_pool(&c, "empty");
	controller_join(&c, b, full);
	assert_true(controller_may_forget(&c, a) && controller_may_forget(&c, empty));
	assert_false(controller_may_forget(&c, full));
	assert_false(controller_may_forget(&c, SLUICE_MODEL_ALL));
	assert_false(controller_may_forget(&c, SLUICE_MODEL_OTHER));
	assert_false(controller_may_forget(&c, 77)); /* it has no name */
	for (size_t i = 0; i < COUNT(keys); i++) {
		set("a", keys[i], values[i]);
		if (controller_may_forget(&c, a))
			fail_msg("%s", keys[i]);
		set("a", keys[i], "default");
		if (!controller_may_forget(&c, a))
			fail_msg("%s=default", keys[i]);
	}
	c.model[a].pinned = true;
	assert_false(controller_may_forget(&c, a));
	controller_forget(&c, b);
	assert_int_equal(c.model[full].members, 0);
	assert_true(controller_may_forget(&c, full));
}

static void retry_after_is_the_longer_wait_within_its_bounds(void **state)
{
	static const struct {
		double ttft, itl;
		uint64_t idle_ms;
		uint32_t least, most; /* ms */
	} rows[] = {
		{2000, -1, 0, 10398, 10398}, /* 15 s · ln 2 = 10397.2 */
		{2000, -1, 4000, 6398, 6398}, {-1, 60, 0, 10398, 10398},
		{2000, 90, 0, 16480, 16480},                             /* ln 3 beats ln 2 */
		{3000, 60, 0, 16480, 16480},  {1001, -1, 0, 1000, 1000}, /* 15 ms */
		{9e9, -1, 0, 60000, 60000},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		uint32_t id, got;

		fresh(&pool, true);
		id = controller_learn(&c, "m", S);
		if (rows[i].ttft >= 0)
			ttft("m", rows[i].ttft, S);
		if (rows[i].itl >= 0)
			itl("m", rows[i].itl, S);
		got = flag(id, S + rows[i].idle_ms * MS).retry_after_ms;
		if (got < rows[i].least || got > rows[i].most)
			fail_msg("row %zu: %u ms", i, got);
	}
}

static void an_idle_model_reopens_when_its_retry_after_ends(void **state)
{
	uint32_t id, wait;

	fresh(&pool, true);
	id = ttft("m", 2000, S);
	itl("m", 90, S);
	wait = flag(id, S).retry_after_ms;
	assert_int_equal(flag(id, S + (wait - 2) * MS).allow, 0);
	assert_int_equal(flag(id, S + (wait - 2) * MS).reason, SLUICE_REASON_ITL);
	assert_int_equal(flag(id, S + wait * MS).allow, 1);
	assert_int_equal(flag(id, S + wait * MS).reason, SLUICE_REASON_NONE);
}

static void a_flag_is_handed_out_only_when_it_differs(void **state)
{
	struct sluice_model_flag f;
	uint32_t id;

	fresh(&pool, true);
	id = controller_learn(&c, "m", S);
	assert_true(controller_flag(&c, id, S, &f));
	assert_false(controller_flag(&c, id, S, &f));
	assert_int_equal(f.allow, 1);
	ttft("m", 500, S);
	assert_false(controller_flag(&c, id, S, &f));
	ttft("m", 20000, S);
	assert_true(controller_flag(&c, id, S, &f));
	assert_int_equal(f.allow, 0);
	assert_false(controller_flag(&c, id, S + 100 * MS, &f));
	/*
	 * 101 ms in small steps is news too: the controller compares with the value it last handed
	 * out.
	 */
	for (int i = 1; i <= 5; i++)
		assert_false(controller_flag(&c, id, S + (uint64_t)i * 20 * MS, &f));
	assert_true(controller_flag(&c, id, S + 102 * MS, &f));
	set("m", "max-in-flight", "5");
	assert_true(controller_flag(&c, id, S + 102 * MS, &f));
	assert_int_equal(f.limit, 5);
	set("m", "action", "drop");
	assert_true(controller_flag(&c, id, S + 102 * MS, &f));
	set("m", "mode", "shadow");
	assert_true(controller_flag(&c, id, S + 102 * MS, &f));
	c.model[id].unary = true;
	assert_true(controller_flag(&c, id, S + 102 * MS, &f));
	assert_int_equal(f.unary, 1);
	/* Still shut, for another reason. */
	itl("m", 31, S + 102 * MS);
	assert_false(controller_flag(&c, id, S + 102 * MS, &f));
	set("m", "ttft", "none");
	assert_true(controller_flag(&c, id, S + 102 * MS, &f));
	assert_int_equal(f.reason, SLUICE_REASON_ITL);
	assert_false(controller_flag(&c, id, S + 102 * MS, &f));
}

static void a_flag_is_written_whole(void **state)
{
	static const struct sluice_model_flag want = {
		.limit = 64,
		.limit_retry_ms = 1000,
		.allow = 1,
		.action = SLUICE_ACTION_RESET,
		.mode = SLUICE_MODE_SHADOW,
		.pool = SLUICE_MODEL_FIRST,
	};
	struct sluice_model_flag f;

	fresh(&nothing, true);
	set(NULL, "max-in-flight", "64");
	set(NULL, "action", "reset");
	set(NULL, "mode", "shadow");
	f = flag(controller_learn(&c, "m", S), S);
	assert_memory_equal(&f, &want, sizeof(f));
}

static void a_models_targets_fall_back_to_those_of_all(void **state)
{
	static const struct {
		const char *what;
		bool per_model;
		struct controller_targets all, own, want;
	} rows[] = {
		{"all from the whole",
		 true,
		 {900, 25, 5000, 80, 10, 8, 2, 1, 0, 0, 0},
		 {-1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0},
		 {900, 25, 5000, 80, 10, 8, 2, 1, 0, 0, 2}},
		{"all its own",
		 true,
		 {900, 25, 5000, 80, 10, 8, 2, 1, 0, 0, 0},
		 {700, 20, 3000, 60, 5, 4, 3, 2, 0, 0, 0},
		 {700, 20, 3000, 60, 5, 4, 3, 2, 0, 0, 2}},
		{"some",
		 true,
		 {900, 25, 5000, 80, 10, 8, 2, 1, 0, 0, 0},
		 {-1, 20, -1, 60, -1, 4, 0, 2, 0, 0, 0},
		 {900, 20, 5000, 60, 10, 4, 2, 2, 0, 0, 2}},
		{"removed",
		 true,
		 {900, 25, 5000, 80, 10, 8, 0, 0, 0, 0, 0},
		 {0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0},
		 {0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 2}},
		{"nothing anywhere",
		 true,
		 {-1, -1, -1, -1, 15, -1, 0, 0, 0, 0, 0},
		 {-1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0},
		 {0, 0, 0, 0, 15, 0, 0, 0, 0, 0, 2}},
		{"no tau",
		 true,
		 {-1, -1, -1, -1, 0, -1, 0, 0, 0, 0, 0},
		 {-1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0},
		 {0, 0, 0, 0, 15, 0, 0, 0, 0, 0, 2}},
		{"not per model",
		 false,
		 {900, 25, 5000, 80, 10, 8, 2, 1, 0, 0, 0},
		 {700, -1, 3000, -1, 5, 4, 3, 2, 0, 0, 0},
		 {0, 0, 0, 0, 5, 4, 3, 2, 0, 0, 2}},
		{"not per model, no limit",
		 false,
		 {900, 25, 0, 0, 10, 8, 2, 1, 0, 0, 0},
		 {-1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0},
		 {0, 0, 0, 0, 10, 0, 2, 1, 0, 0, 2}},
		{"growth and floor of the whole",
		 true,
		 {900, 25, 0, 0, 10, 8, 0, 0, 1, 0.5, 3},
		 {-1, -1, -1, -1, -1, -1, 0, 0, 0, 0, -1},
		 {900, 25, 0, 0, 10, 8, 0, 0, 1, 0.5, 3}},
		{"growth goes with its target",
		 true,
		 {900, 25, 0, 0, 10, 8, 0, 0, 1, 0.5, 3},
		 {700, -1, 0, 0, -1, -1, 0, 0, 0, 0, 4},
		 {700, 25, 0, 0, 10, 8, 0, 0, 1, 0, 4}},
		{"no growth without a target",
		 true,
		 {900, 25, 0, 0, 10, 8, 0, 0, 1, 0.5, 3},
		 {0, -1, 0, 0, -1, -1, 0, 0, 0, 0.5, -1},
		 {0, 25, 0, 0, 10, 8, 0, 0, 1, 0, 3}},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct controller_targets got;
		uint32_t id;

		fresh(&rows[i].all, rows[i].per_model);
		id = controller_learn(&c, "m", S);
		c.model[id].own = rows[i].own;
		got = controller_targets(&c, id);
		if (got.ttft_ms != rows[i].want.ttft_ms || got.itl_ms != rows[i].want.itl_ms ||
		    got.duration_ms != rows[i].want.duration_ms ||
		    got.normalized_ms != rows[i].want.normalized_ms ||
		    got.tau_s != rows[i].want.tau_s ||
		    got.max_in_flight != rows[i].want.max_in_flight ||
		    got.action != rows[i].want.action || got.mode != rows[i].want.mode ||
		    got.ttft_ms_per_kib != rows[i].want.ttft_ms_per_kib ||
		    got.floor != rows[i].want.floor)
			fail_msg("%s", rows[i].what);
	}
}

static void a_limit_holds_for_each_model_or_for_all_together(void **state)
{
	for (int per_model = 0; per_model < 2; per_model++) {
		uint32_t id;

		fresh(&nothing, per_model);
		set(NULL, "max-in-flight", "64");
		id = controller_learn(&c, "m", S);
		assert_int_equal(flag(SLUICE_MODEL_ALL, S).limit, per_model ? 0 : 64);
		assert_int_equal(flag(id, S).limit, per_model ? 64 : 0);
		assert_int_equal(flag(SLUICE_MODEL_OTHER, S).limit, per_model ? 64 : 0);
		set("m", "max-in-flight", "7");
		assert_int_equal(flag(id, S).limit, 7);
		set("m", "max-in-flight", "off");
		assert_int_equal(flag(id, S).limit, 0);
		set("m", "max-in-flight", "default");
		assert_int_equal(flag(id, S).limit, per_model ? 64 : 0);
	}
}

static void a_model_with_its_own_tau_decays_by_it(void **state)
{
	uint32_t slow, fast;

	fresh(&pool, true);
	slow = controller_learn(&c, "slow", S);
	fast = controller_learn(&c, "fast", S);
	set("fast", "tau", "1s");
	ttft("slow", 800, S);
	ttft("fast", 800, S);
	assert_true(fabs(controller_read(&c, slow, 2 * S).ttft_ms - 800 * exp(-1 / 15.0)) < 1e-9);
	assert_true(fabs(controller_read(&c, fast, 2 * S).ttft_ms - 800 * exp(-1)) < 1e-9);
}

static void set_takes_what_an_operator_types(void **state)
{
	static const struct {
		const char *model, *key, *value;
		struct {
			double ttft_ms, itl_ms, tau_s;
			int64_t max_in_flight;
			uint8_t action, mode;
		} want; /* of what was set */
	} rows[] = {
		{NULL, "ttft", "800ms", {800, 30, 15, -1, 0, 0}},
		{NULL, "ttft", "800", {800, 30, 15, -1, 0, 0}},
		{NULL, "ttft", "0.8s", {800, 30, 15, -1, 0, 0}},
		{NULL, "ttft", "10000000", {1e7, 30, 15, -1, 0, 0}},
		{NULL, "ttft", "none", {0, 30, 15, -1, 0, 0}},
		{NULL, "itl", "30ms", {1000, 30, 15, -1, 0, 0}},
		{NULL, "itl", "12.5", {1000, 12.5, 15, -1, 0, 0}},
		{NULL, "itl", "off", {1000, 0, 15, -1, 0, 0}},
		{NULL, "tau", "20s", {1000, 30, 20, -1, 0, 0}},
		{NULL, "tau", "20", {1000, 30, 20, -1, 0, 0}},
		{NULL, "tau", "500ms", {1000, 30, 0.5, -1, 0, 0}},
		{NULL, "tau", "2m", {1000, 30, 120, -1, 0, 0}},
		{NULL, "tau", "0.001", {1000, 30, 0.001, -1, 0, 0}},
		{NULL, "tau", "1d", {1000, 30, 86400, -1, 0, 0}},
		{NULL, "max-in-flight", "64", {1000, 30, 15, 64, 0, 0}},
		{NULL, "max-in-flight", "1000000", {1000, 30, 15, 1000000, 0, 0}},
		{NULL, "max-in-flight", "none", {1000, 30, 15, 0, 0, 0}},
		{NULL, "action", "reset", {1000, 30, 15, -1, SLUICE_ACTION_RESET, 0}},
		{NULL, "action", "default", {1000, 30, 15, -1, 0, 0}},
		{NULL, "mode", "shadow", {1000, 30, 15, -1, 0, SLUICE_MODE_SHADOW}},
		{NULL, "policy", "ema-flag", {1000, 30, 15, -1, 0, 0}},
		{"global", "ttft", "9", {9, 30, 15, -1, 0, 0}},
		{"m", "ttft", "9", {9, -1, -1, -1, 0, 0}},
		{"m", "ttft", "none", {0, -1, -1, -1, 0, 0}},
		{"m", "ttft", "default", {-1, -1, -1, -1, 0, 0}},
		{"m", "tau", "default", {-1, -1, -1, -1, 0, 0}},
		{"m", "max-in-flight", "3", {-1, -1, -1, 3, 0, 0}},
		{"m", "action", "drop", {-1, -1, -1, -1, SLUICE_ACTION_DROP, 0}},
		{"other", "max-in-flight", "3", {-1, -1, -1, 3, 0, 0}},
		{"other", "ttft", "none", {0, -1, -1, -1, 0, 0}},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct controller_targets *got = &c.all;
		const __typeof__(rows[0].want) *want = &rows[i].want;
		char err[256] = "";

		fresh(&pool, true);
		controller_learn(&c, "m", S);
		if (controller_set(&c, rows[i].model, rows[i].key, rows[i].value, err, sizeof(err)))
			fail_msg("%s=%s: %s", rows[i].key, rows[i].value, err);
		if (rows[i].model && strcmp(rows[i].model, "global"))
			got = &c.model[controller_find(&c, rows[i].model)].own;
		if (got->ttft_ms != want->ttft_ms || got->itl_ms != want->itl_ms ||
		    got->tau_s != want->tau_s || got->max_in_flight != want->max_in_flight ||
		    got->action != want->action || got->mode != want->mode)
			fail_msg("row %zu: %s=%s", i, rows[i].key, rows[i].value);
	}
}

#define NO_THRESHOLD                                                                               \
	" is not a number of milliseconds above 0 and at most 10000000 (or 1.5s, 2m), nor none"
#define NO_TAU   " is not a number of seconds from 0.001 to 86400 (or 500ms, 2m)"
#define NO_LIMIT " is not a whole number from 1 to 1000000, nor none"

static void set_refuses_a_wrong_value_and_says_why(void **state)
{
	static const struct {
		const char *model, *key, *value, *err;
	} rows[] = {
		{NULL, "ttft", "", "ttft: \"\"" NO_THRESHOLD},
		{NULL, "ttft", "abc", "ttft: \"abc\"" NO_THRESHOLD},
		{NULL, "ttft", "0", "ttft: \"0\"" NO_THRESHOLD},
		{NULL, "ttft", "-1", "ttft: \"-1\"" NO_THRESHOLD},
		{NULL, "ttft", "+1", "ttft: \"+1\"" NO_THRESHOLD},
		{NULL, "ttft", " 1", "ttft: \" 1\"" NO_THRESHOLD},
		{NULL, "ttft", "1 ", "ttft: \"1 \"" NO_THRESHOLD},
		{NULL, "ttft", "1\n", "ttft: \"1?\"" NO_THRESHOLD},
		{NULL, "ttft", "nan", "ttft: \"nan\"" NO_THRESHOLD},
		{NULL, "ttft", "inf", "ttft: \"inf\"" NO_THRESHOLD},
		{NULL, "ttft", "infs", "ttft: \"infs\"" NO_THRESHOLD},
		{NULL, "ttft", "0x10", "ttft: \"0x10\"" NO_THRESHOLD},
		{NULL, "ttft", "1e3", "ttft: \"1e3\"" NO_THRESHOLD},
		{NULL, "ttft", ".5", "ttft: \".5\"" NO_THRESHOLD},
		{NULL, "ttft", "5.", "ttft: \"5.\"" NO_THRESHOLD},
		{NULL, "ttft", "1.2.3", "ttft: \"1.2.3\"" NO_THRESHOLD},
		{NULL, "ttft", "800mss", "ttft: \"800mss\"" NO_THRESHOLD},
		{NULL, "ttft", "800 ms", "ttft: \"800 ms\"" NO_THRESHOLD},
		{NULL, "ttft", "10000000.1", "ttft: \"10000000.1\"" NO_THRESHOLD},
		{NULL, "ttft", "3h", "ttft: \"3h\"" NO_THRESHOLD},
		{NULL, "itl", "ms", "itl: \"ms\"" NO_THRESHOLD},
		{NULL, "tau", "0", "tau: \"0\"" NO_TAU},
		{NULL, "tau", "0.0009", "tau: \"0.0009\"" NO_TAU},
		{NULL, "tau", "86401", "tau: \"86401\"" NO_TAU},
		{NULL, "tau", "none", "tau: \"none\"" NO_TAU},
		{NULL, "max-in-flight", "0", "max-in-flight: \"0\"" NO_LIMIT},
		{NULL, "max-in-flight", "1.5", "max-in-flight: \"1.5\"" NO_LIMIT},
		{NULL, "max-in-flight", "8s", "max-in-flight: \"8s\"" NO_LIMIT},
		{NULL, "max-in-flight", "1000001", "max-in-flight: \"1000001\"" NO_LIMIT},
		{NULL, "max-in-flight", "18446744073709551617",
		 "max-in-flight: \"18446744073709551617\"" NO_LIMIT},
		{NULL, "action", "nope", "action: \"nope\" is not one of reply, reset, drop"},
		{NULL, "action", "Reply", "action: \"Reply\" is not one of reply, reset, drop"},
		{NULL, "mode", "", "mode: \"\" is not one of enforce, shadow"},
		{NULL, "policy", "x", "policy: \"x\" is not one of adaptive, ema-flag"},
		{NULL, "ttft", "default",
		 "ttft: \"default\" is only for what a model has of its own"},
		{NULL, "tft", "1", "unknown key \"tft\"; did you mean \"ttft\"?"},
		{NULL, "max-inflight", "1",
		 "unknown key \"max-inflight\"; did you mean \"max-in-flight\"?"},
		{NULL, "unheard", "1",
		 "unknown key \"unheard\"; there are ttft, itl, duration, normalized-latency, tau, max-in-flight, floor, action, mode, policy"},
		{"n", "ttft", "1", "no model \"n\" is configured or has answered a request yet"},
		{"", "ttft", "1", "no model \"\" is configured or has answered a request yet"},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		static struct controller before;
		char err[256] = "";
		int rc;

		fresh(&pool, true);
		controller_learn(&c, "m", S);
		before = c;
		rc = controller_set(&c, rows[i].model, rows[i].key, rows[i].value, err,
				    sizeof(err));
		if (!rc || strcmp(err, rows[i].err))
			fail_msg("row %zu: %d: %s", i, rc, err);
		assert_int_equal(rc, strncmp(err, "no model", 8) ? -EINVAL : -ENOENT);
		assert_memory_equal(&before, &c, sizeof(c));
	}
}

static void a_number_that_overflows_or_vanishes_is_refused(void **state)
{
	char digits[500], err[256] = "";

	fresh(&pool, true);
	memset(digits, '9', sizeof(digits));
	digits[sizeof(digits) - 1] = '\0';
	assert_int_equal(controller_set(&c, NULL, "ttft", digits, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "999…\" is not"));
	memset(digits, '0', sizeof(digits) - 1);
	digits[1] = '.';
	digits[sizeof(digits) - 2] = '1';
	assert_int_equal(controller_set(&c, NULL, "ttft", digits, err, sizeof(err)), -EINVAL);
	assert_int_equal(controller_set(&c, NULL, "max-in-flight", digits, err, sizeof(err)),
			 -EINVAL);
}

static void without_per_model_limits_a_models_own_threshold_is_refused(void **state)
{
	char err[256] = "";

	fresh(&pool, false);
	controller_learn(&c, "m", S);
	assert_int_equal(controller_set(&c, "m", "ttft", "5", err, sizeof(err)), -EINVAL);
	assert_string_equal(
		err, "ttft: a model has no threshold of its own while per-model-limits is false");
	set("m", "max-in-flight", "5");
	set(NULL, "ttft", "5");
}

static void a_list_of_settings_is_applied_whole_or_not_at_all(void **state)
{
	static const struct {
		size_t n;
		const char *pairs[4];
		const char *err; /* NULL: applied */
	} rows[] = {
		{3, {"ttft=800ms", "itl=none", "max-in-flight=64"}, NULL},
		{2, {"action=drop", "mode=shadow"}, NULL},
		{3, {"ttft=800ms", "itl=20", "tau=0"}, "tau: \"0\"" NO_TAU},
		{2,
		 {"ttft=800ms", "bogus=1"},
		 "unknown key \"bogus\"; there are ttft, itl, duration, normalized-latency, tau, max-in-flight, floor, action, mode, policy"},
		{2, {"ttft=800ms", "itl"}, "\"itl\" is not KEY=VALUE"},
		{1, {"=5"}, "\"=5\" is not KEY=VALUE"},
		{1, {""}, "\"\" is not KEY=VALUE"},
		{0, {NULL}, "nothing to set: KEY=VALUE is missing"},
		{1, {"ttft=1=2"}, "ttft: \"1=2\"" NO_THRESHOLD},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		static struct controller before;
		char err[256] = "";
		int rc;

		fresh(&pool, true);
		controller_learn(&c, "m", S);
		before = c;
		rc = controller_set_all(&c, "m", rows[i].pairs, rows[i].n, err, sizeof(err));
		if (!rows[i].err) {
			assert_int_equal(rc, 0);
			assert_memory_not_equal(&before, &c, sizeof(c));
			continue;
		}
		assert_int_equal(rc, -EINVAL);
		assert_string_equal(err, rows[i].err);
		assert_memory_equal(&before, &c, sizeof(c));
	}
	assert_int_equal(controller_set_all(&c, "gone", rows[0].pairs, 3, NULL, 0), -ENOENT);
}

static void a_changed_threshold_acts_at_the_next_flag(void **state)
{
	uint32_t id;

	fresh(&nothing, true);
	id = ttft("m", 700, S);
	assert_int_equal(flag(id, S).allow, 1);
	set(NULL, "ttft", "600ms");
	assert_int_equal(flag(id, S).allow, 0);
	set("m", "ttft", "800ms");
	assert_int_equal(flag(id, S).allow, 1);
	set("m", "ttft", "default");
	assert_int_equal(flag(id, S).allow, 0);
	set(NULL, "ttft", "off");
	assert_int_equal(flag(id, S).allow, 1);
}

static void an_unused_id_reads_as_other(void **state)
{
	fresh(&pool, true);
	assert_true(controller_read(&c, 5000000, S).open);
	assert_true(controller_targets(&c, 5000000).ttft_ms == pool.ttft_ms);
	assert_int_equal(flag(5000000, S).allow, 1);
}

static void durations_have_units_and_nothing_else(void **state)
{
	static const struct {
		const char *text;
		double unit_ms, want; /* negative: refused */
	} rows[] = {
		{"800", 1, 800},   {"800", 1000, 800000}, {"800ms", 1000, 800}, {"15s", 1, 15000},
		{"2m", 1, 120000}, {"1.5h", 1, 5400000},  {"1d", 1, 86400000},  {"250us", 1, 0.25},
		{"0", 1, 0},       {"0s", 1, 0},          {"", 1, -1},          {"s", 1, -1},
		{"-1s", 1, -1},    {"1 s", 1, -1},        {"1S", 1, -1},        {"1ss", 1, -1},
		{"1m30s", 1, -1},  {"nan", 1, -1},        {"infinity", 1, -1},  {"1e2s", 1, -1},
		{"0x1p3", 1, -1},  {"1,5", 1, -1},        {"1.s", 1, -1},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		double got = -7;
		int rc = parse_duration_ms(rows[i].text, rows[i].unit_ms, &got);

		if (rows[i].want < 0 ? (rc != -EINVAL || got != -7)
				     : (rc != 0 || got != rows[i].want))
			fail_msg("\"%s\": %d, %g", rows[i].text, rc, got);
	}
}

static void one_table_reads_and_writes_words(void **state)
{
	double value;
	char err[64];

	for (int action = SLUICE_ACTION_REPLY; action <= SLUICE_ACTION_DROP; action++) {
		const char *word = parse_word_of(&parse_as_action, action);

		assert_non_null(word);
		assert_int_equal(parse_value(&parse_as_action, word, &value, err, sizeof(err)), 0);
		assert_true(value == action);
	}
	assert_null(parse_word_of(&parse_as_action, SLUICE_ACTION_DEFAULT));
	assert_null(parse_word_of(&parse_as_policy, -1));
	assert_string_equal(parse_word_of(&parse_as_mode, SLUICE_MODE_SHADOW), "shadow");
	assert_string_equal(parse_word_of(&parse_as_protocol, SLUICE_PROTOCOL_OPAQUE), "opaque");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_model_without_a_sample_is_open),
		cmocka_unit_test(a_verdict_is_strict_and_names_ttft_first),
		cmocka_unit_test(a_shut_model_shuts_no_other),
		cmocka_unit_test(all_models_together_shut_only_without_per_model_limits),
		cmocka_unit_test(a_flag_has_the_targets_of_its_model),
		cmocka_unit_test(names_have_ids_below_the_most_and_pools_may_have_any),
		cmocka_unit_test(later_names_share_the_averages_of_other),
		cmocka_unit_test(a_flood_of_unknown_names_shuts_itself_only),
		cmocka_unit_test(a_name_that_is_no_model_counts_as_other),
		cmocka_unit_test(a_sample_is_counted_for_its_name_then_its_id),
		cmocka_unit_test(a_record_without_a_time_only_learns_its_name),
		cmocka_unit_test(an_adopted_flag_shuts_as_long_as_it_said_ten_seconds_at_most),
		cmocka_unit_test(a_drain_is_in_the_flag_of_the_whole),
		cmocka_unit_test(an_adopted_name_keeps_its_id),
		cmocka_unit_test(a_full_table_takes_a_name_once_another_is_forgotten),
		cmocka_unit_test(only_what_nobody_has_configured_may_be_forgotten),
		cmocka_unit_test(retry_after_is_the_longer_wait_within_its_bounds),
		cmocka_unit_test(an_idle_model_reopens_when_its_retry_after_ends),
		cmocka_unit_test(a_flag_is_handed_out_only_when_it_differs),
		cmocka_unit_test(a_flag_is_written_whole),
		cmocka_unit_test(a_models_targets_fall_back_to_those_of_all),
		cmocka_unit_test(a_limit_holds_for_each_model_or_for_all_together),
		cmocka_unit_test(a_model_with_its_own_tau_decays_by_it),
		cmocka_unit_test(set_takes_what_an_operator_types),
		cmocka_unit_test(set_refuses_a_wrong_value_and_says_why),
		cmocka_unit_test(a_number_that_overflows_or_vanishes_is_refused),
		cmocka_unit_test(without_per_model_limits_a_models_own_threshold_is_refused),
		cmocka_unit_test(a_list_of_settings_is_applied_whole_or_not_at_all),
		cmocka_unit_test(a_changed_threshold_acts_at_the_next_flag),
		cmocka_unit_test(an_unused_id_reads_as_other),
		cmocka_unit_test(durations_have_units_and_nothing_else),
		cmocka_unit_test(one_table_reads_and_writes_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
