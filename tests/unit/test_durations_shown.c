/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How averages and targets of replies that are not streamed are shown: as JSON, as text, on the
 * page. The fixture's model "llama" has had one such reply: 4 s, and 50 tokens.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "control/control.h"
#include "control/format_text.h"
#include "control/report.h"
#include "metrics/metrics.h"
#include "state_fixture.h"
#include "written.h"

static struct fixture *f;

static int setup(void **state)
{
	f = fixture_new();
	f->controller.all.duration_ms = 60000;
	f->controller.all.normalized_ms = 90;
	return 0;
}

static int teardown(void **state)
{
	free(f);
	return 0;
}

static double number(const json_t *model, const char *key)
{
	const json_t *value = json_object_get(model, key);

	assert_true(json_is_number(value));
	return json_number_value(value);
}

static void json_has_averages_targets_and_counts(void **state)
{
	json_t *one = report_model(&f->state, FIXTURE_LLAMA);

	assert_true(number(one, "duration_ema_ms") == 4000);
	assert_true(number(one, "duration_threshold_ms") == 60000);
	assert_true(number(one, "duration_samples") == 1);
	assert_true(number(one, "normalized_latency_ema_ms") == 80);
	assert_true(number(one, "normalized_latency_threshold_ms") == 90);
	assert_true(number(one, "normalized_latency_samples") == 1);
	json_decref(one);
	f->controller.all.duration_ms = f->controller.all.normalized_ms = -1;
	one = report_model(&f->state, FIXTURE_FRESH);
	assert_true(json_is_null(json_object_get(one, "duration_ema_ms")));
	assert_true(json_is_null(json_object_get(one, "duration_threshold_ms")));
	assert_true(json_is_null(json_object_get(one, "normalized_latency_ema_ms")));
	assert_true(json_is_null(json_object_get(one, "normalized_latency_threshold_ms")));
	json_decref(one);
}

static void models_are_listed_by_duration_if_any_has_one(void **state)
{
	char *text = written(format_models, report_models(&f->state));

	assert_non_null(strstr(
		text,
		"NOT STREAMED    DURATION ms  TARGET ms  NORMALIZED ms  TARGET ms  SAMPLES  WITH TOKENS\n"
		"llama                  4000      60000           80.0         90        1            1\n"));
	free(text);
	f->controller.all.duration_ms = f->controller.all.normalized_ms = -1;
	text = written(format_models, report_models(&f->state));
	assert_null(strstr(strstr(text, "NOT STREAMED"), "fresh"));
	assert_non_null(strstr(text, "(all together)         4000          -"));
	free(text);
	f->controller.model[FIXTURE_LLAMA].duration_samples = 0;
	f->controller.model[SLUICE_MODEL_ALL].duration_samples = 0;
	text = written(format_models, report_models(&f->state));
	assert_null(strstr(text, "NOT STREAMED"));
	free(text);
}

static void a_model_shut_by_either_says_so(void **state)
{
	static const struct {
		double duration_ms, normalized_ms;
		const char *text;
	} rows[] = {
		{3000, 0, "SHUT: llama (duration 4000 ms over 3000 ms)"},
		{0, 70, "SHUT: llama (normalized-latency 80 ms over 70 ms)"},
	};

	f->controller.all.ttft_ms = -1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text;

		f->controller.all.duration_ms = rows[i].duration_ms;
		f->controller.all.normalized_ms = rows[i].normalized_ms;
		text = written(format_status, report_status(&f->state));
		if (!strstr(text, rows[i].text))
			fail_msg("%s\nis not in\n%s", rows[i].text, text);
		free(text);
	}
}

static void a_target_alone_counts_as_one(void **state)
{
	char *text;

	f->controller.all = (struct controller_targets){
		.ttft_ms = -1, .itl_ms = -1, .tau_s = 15, .max_in_flight = -1};
	f->controller.model[FIXTURE_LLAMA].own.max_in_flight = -1;
	text = written(format_status, report_status(&f->state));
	assert_non_null(strstr(text, "no target is set"));
	free(text);
	f->controller.all.duration_ms = 60000;
	text = written(format_status, report_status(&f->state));
	assert_null(strstr(text, "no target is set"));
	free(text);
	f->controller.all.duration_ms = -1;
	f->controller.all.normalized_ms = 90;
	text = written(format_status, report_status(&f->state));
	assert_null(strstr(text, "no target is set"));
	free(text);
}

static void set_names_both_targets(void **state)
{
	char *text = written(format_set,
			     json_pack("{s:o}", "model", report_model(&f->state, FIXTURE_FRESH)));

	assert_string_equal(
		text,
		"fresh: open, ttft 1000 ms, itl 30 ms, duration 60000 ms, normalized-latency 90 ms, tau 15 s, max-in-flight none\n");
	free(text);
}

static void the_page_has_both(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	metrics_write_page(out, &f->state, NULL);
	fclose(out);
	assert_non_null(strstr(text,
			       "<td class=n data-h=\"duration ms / target\">4000.0 / 60000</td>"
			       "<td class=n data-h=\"normalized ms / target\">80.0 / 90</td>"));
	free(text);
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		ROW(json_has_averages_targets_and_counts),
		ROW(models_are_listed_by_duration_if_any_has_one),
		ROW(a_model_shut_by_either_says_so),
		ROW(a_target_alone_counts_as_one),
		ROW(set_names_both_targets),
		ROW(the_page_has_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
