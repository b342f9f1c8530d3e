/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * control_fixture.h with programs that give one answer to every question, and a quota book. A test
 * changes `programs`.
 */
#ifndef SLUICE_TESTS_PROGRAMS_H
#define SLUICE_TESTS_PROGRAMS_H

#include "control_fixture.h"

#include <time.h>

static struct sluice_answer programs; /* their answer to every question */
static struct quota_book *book;

static bool answer_all(void *arg, uint32_t service, struct sluice_question *question,
		       struct sluice_answer *out)
{
	*out = programs;
	return true;
}

static bool unknown(void *arg, const struct sluice_client *client, struct sluice_client_count *out)
{
	return false;
}

static int64_t none_in_flight(void *arg, const struct sluice_client *client)
{
	return 0;
}

static int programs_setup(void **state)
{
	static const struct state_lookup look = {
		.verdict = answer_all, .counts = unknown, .in_flight = none_in_flight};
	struct quota_def def;
	bool fresh, taken;
	char err[128];

	setenv("TZ", "UTC", 1);
	tzset();
	setup(state);
	book = calloc(1, sizeof(*book));
	f->state.quotas = book;
	f->state.lookup = &look;
	assert_int_equal(
		quota_parse(&def, "requests=60/1m tokens=500/10s burst=12", err, sizeof(err)), 0);
	programs = (struct sluice_answer){
		.now_ns = FIXTURE_NOW_NS,
		.answered = 1,
		.enforced = 1,
		.about = FIXTURE_LLAMA,
		.retry_after_ms = 42000,
		.quota = quota_book_id(book, &def, SLUICE_SCOPE_SERVICE, "*:8000", false, NULL,
				       &fresh, &taken),
		.quota_from = SLUICE_QUOTA_FROM_SERVICE,
		.pool = FIXTURE_LLAMA,
	};
	return 0;
}

static int programs_teardown(void **state)
{
	free(book);
	return teardown(state);
}

/* A test with them. */
#define PROGRAMS(test) cmocka_unit_test_setup_teardown(test, programs_setup, programs_teardown)

#endif
