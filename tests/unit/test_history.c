/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The last hour: its rates, its bounds, which models it keeps; and /v1/history. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "core/history.h"
#include "metrics/metrics.h"
#include "state_fixture.h"

static struct fixture *f;
static struct history *h;

static int setup(void **state)
{
	f = fixture_new();
	h = calloc(1, sizeof(*h));
	f->state.history = h;
	return 0;
}

static int teardown(void **state)
{
	free(h);
	free(f);
	return 0;
}

/* `secs` later. */
static void add(double secs)
{
	f->state.now_ns += (uint64_t)(secs * 1e9);
	f->state.unix_ns += (uint64_t)(secs * 1e9);
	history_add(h, &f->state);
}

static const struct history_series *series(const char *name)
{
	for (unsigned i = 0; i < HISTORY_MODELS; i++)
		if (!strcmp(h->model[i].name, name))
			return &h->model[i];
	return NULL;
}

static bool near(double a, double b)
{
	return a > b - 1e-3 && a < b + 1e-3;
}

static json_t *answer(const char *model, uint64_t after_ms, unsigned status)
{
	json_error_t error;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	json_t *json;

	assert_int_equal(metrics_write_history(out, &f->state, model, after_ms), status);
	fclose(out);
	json = json_loads(text, 0, &error);
	if (!json)
		fail_msg("%s in %s", error.text, text);
	free(text);
	return json;
}

static double at(const json_t *json, const char *column, size_t i)
{
	const json_t *value = json_array_get(json_object_get(json, column), i);

	return json_is_number(value) ? json_number_value(value) : -1;
}

static void a_point_has_what_the_state_has_and_rates_since_the_last(void **state)
{
	const struct history_series *llama;

	add(0);
	llama = series("llama");
	assert_non_null(llama);
	assert_true(h->all.point[0].admitted < 0 && llama->point[0].rejected < 0);
	assert_true(near(llama->point[0].ttft_ms, 2000) && llama->point[0].ttft_target_ms == 1000 &&
		    near(llama->point[0].itl_ms, 12.5) && llama->point[0].itl_target_ms == 30 &&
		    llama->point[0].in_flight == 5 && llama->point[0].limit == 64);
	f->counts[0].n += 10; /* admitted */
	f->counts[1].n += 25; /* by ttft */
	f->counts[4].n += 99; /* shadow */
	add(2.5);
	assert_true(near(llama->point[1].admitted, 4) && near(llama->point[1].rejected, 10));
	assert_true(near(h->all.point[1].admitted, 4) && near(h->all.point[1].rejected, 10));
	assert_true(near(h->by_reason[1][SLUICE_REASON_TTFT], 10) &&
		    h->by_reason[1][SLUICE_REASON_ITL] == 0);
	assert_true(near(h->admitted_by_class[1][SLUICE_CLASS_NORMAL], 4) &&
		    near(h->rejected_by_class[1][SLUICE_CLASS_NORMAL], 10) &&
		    h->admitted_by_class[1][0] == 0);
	assert_true(near(series("fresh")->point[1].admitted, 0) &&
		    series("fresh")->point[1].ttft_ms < 0);
	f->counts[0].n = 3; /* the id has another name's requests now */
	add(5);
	assert_true(llama->point[2].admitted < 0 && h->all.point[2].admitted < 0);
}

static void an_hour_is_kept_and_no_more(void **state)
{
	json_t *json;

	for (unsigned i = 0; i < HISTORY_POINTS + 10; i++) {
		f->state.kernel[SLUICE_MODEL_ALL].in_flight = i;
		f->counts[0].n++;
		add(HISTORY_SECS);
	}
	assert_int_equal(HISTORY_POINTS * HISTORY_SECS, 3600);
	json = answer(NULL, 0, 200);
	assert_int_equal(json_array_size(json_object_get(json, "unix_ms")), HISTORY_POINTS);
	assert_true(at(json, "in_flight", 0) == 10);
	assert_true(at(json, "in_flight", HISTORY_POINTS - 1) == HISTORY_POINTS + 9);
	assert_true(at(json, "unix_ms", HISTORY_POINTS - 1) - at(json, "unix_ms", 0) == 3595000);
	assert_true(near(at(json, "admitted_per_second", 0), .2));
	json_decref(json);
	assert_true(sizeof(*h) < 2 << 20);
}

static void name_of(char name[32], int i)
{
	snprintf(name, 32, "model-%d", i);
}

static void the_model_without_requests_for_longest_gives_way(void **state)
{
	char name[32];

	f->state.kernel[FIXTURE_LLAMA].in_flight = 0;
	f->counts[3].n = 0;
	add(5); /* llama has a series */
	for (int i = 0; i < HISTORY_MODELS; i++) {
		name_of(name, i);
		f->state.kernel[controller_learn(&f->controller, name, FIXTURE_NOW_NS)].in_flight =
			1;
	}
	add(5);
	assert_null(series("llama"));
	for (int i = 0; i < HISTORY_MODELS; i++) {
		name_of(name, i);
		assert_non_null(series(name));
	}
	f->counts[0].n++; /* all others are busy: it has to wait */
	add(5);
	assert_null(series("llama"));
	f->state.kernel[controller_find(&f->controller, "model-7")].in_flight = 0;
	add(5);
	f->state.kernel[controller_find(&f->controller, "model-6")].in_flight = 0;
	f->state.kernel[controller_find(&f->controller, "model-8")].in_flight = 0;
	f->counts[0].n++;
	add(5);
	assert_null(series("model-7"));
	assert_non_null(series("model-6"));
	assert_non_null(series("llama"));
	assert_true(series("llama")->point[0].ttft_ms < 0); /* nothing of model-7 */
	assert_non_null(series("model-8"));
}

static void a_model_without_requests_for_an_hour_leaves(void **state)
{
	f->state.kernel[FIXTURE_LLAMA].in_flight = 0;
	for (unsigned i = 0; i < HISTORY_POINTS + 1; i++)
		add(HISTORY_SECS);
	assert_non_null(series("llama"));
	add(HISTORY_SECS);
	assert_null(series("llama"));
}

static void a_reader_gets_what_is_later(void **state)
{
	json_t *json, *classes;

	f->counts[2].key.class = 2 + 1;
	f->counts[3].key.class = 0 + 1;
	add(0);
	add(5);
	f->counts[1].n += 5;
	f->counts[2].n += 10;
	f->counts[3].n += 20;
	add(5);
	json = answer(NULL, f->state.unix_ns / 1000000 - 5000, 200);
	assert_int_equal(json_array_size(json_object_get(json, "unix_ms")), 1);
	assert_true(at(json_object_get(json, "rejected_by_reason_per_second"), "ttft", 0) == 1);
	classes = json_object_get(json, "rejected_by_class_per_second");
	assert_true(at(classes, "normal", 0) == 1 && at(classes, "low", 0) == 2 &&
		    json_object_size(classes) == 2);
	classes = json_object_get(json, "admitted_by_class_per_second");
	assert_true(at(classes, "high", 0) == 4 && json_object_size(classes) == 1);
	assert_true(json_is_null(json_object_get(json, "model")));
	json_decref(json);
	json = answer(NULL, UINT64_MAX, 200);
	assert_int_equal(json_array_size(json_object_get(json, "ttft_ms")), 0);
	json_decref(json);
	json_decref(answer("nobody", 0, 404));
	json_decref(answer("", 0, 404));
	f->state.history = NULL;
	json_decref(answer(NULL, 0, 503));
}

static void a_model_is_found_as_its_answer_spells_it(void **state)
{
	const char *spelt;
	json_t *json, *again;

	strcpy(f->controller.model[FIXTURE_LLAMA].name, "a\"\xe2\x80\xae\n<b>");
	add(0);
	add(5);
	json = answer("a\"\xe2\x80\xae\n<b>", 0, 200);
	spelt = json_string_value(json_array_get(json_object_get(json, "models"), 0));
	assert_string_equal(json_string_value(json_object_get(json, "model")), spelt);
	again = answer(spelt, 0, 200);
	assert_true(json_equal(json, again));
	assert_true(near(at(json, "ttft_target_ms", 1), 1000));
	json_decref(json);
	json_decref(again);
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		ROW(a_point_has_what_the_state_has_and_rates_since_the_last),
		ROW(an_hour_is_kept_and_no_more),
		ROW(the_model_without_requests_for_longest_gives_way),
		ROW(a_model_without_requests_for_an_hour_leaves),
		ROW(a_reader_gets_what_is_later),
		ROW(a_model_is_found_as_its_answer_spells_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
