/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The output for policy adaptive: the model's JSON, explain's numbers for a request, both as text,
 * and the metrics. The fixture's model "llama" has its own pool, "fresh" and "third" share one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "control/control.h"
#include "control/format_text.h"
#include "control/report.h"
#include "metrics/metrics.h"
#include "remedy.h"
#include "state_fixture.h"
#include "written.h"

static struct fixture *f;
static uint32_t pool;

/* ---- the programs' answer, as a variable ---- */

static struct sluice_answer answers[SLUICE_MODELS_MAX]; /* by model */
static struct sluice_question question;                 /* the last one */

static bool find_verdict(void *arg, uint32_t service, struct sluice_question *q,
			 struct sluice_answer *out)
{
	question = *q;
	*out = answers[q->model];
	return true;
}

static bool find_counts(void *arg, const struct sluice_client *client,
			struct sluice_client_count *out)
{
	*out = (struct sluice_client_count){.last_seen_ns = FIXTURE_NOW_NS};
	return true;
}

static int64_t seven(void *arg, const struct sluice_client *client)
{
	return 7;
}

static bool hash(void *arg, const char *secret, size_t len, struct sluice_client *out)
{
	*out = (struct sluice_client){.addr = {[0] = (uint8_t)len}, .kind = SLUICE_CLIENT_KEY};
	return true;
}

static const struct state_lookup lookup = {
	.verdict = find_verdict, .counts = find_counts, .in_flight = seven, .key = hash};

static void refresh(void *arg, unsigned parts)
{
}

static struct control_ops ops = {.refresh = refresh};

/* 10 bytes a ms, so that 1000 ms are 10000 bytes. */
#define RATE ((uint32_t)(10 * 1.048576 * (1 << ADMISSION_RATE_SHIFT)))

static int setup(void **state)
{
	const struct adaptive_view view = {0};
	struct controller *c;

	f = fixture_new();
	c = &f->controller;
	memset(answers, 0, sizeof(answers));
	c->all.policy = CONTROLLER_ADAPTIVE;
	f->state.policy = "adaptive";
	f->state.lookup = &lookup;
	c->model[FIXTURE_LLAMA].own.ttft_ms = 1000;
	c->model[FIXTURE_LLAMA].own.ttft_ms_per_kib = 0.5;
	pool = (uint32_t)controller_declare_pool(c, "gpu0");
	controller_join(c, FIXTURE_FRESH, pool);
	controller_join(c, controller_learn(c, "third", FIXTURE_NOW_NS), pool);
	controller_look(c, FIXTURE_LLAMA, &view, FIXTURE_NOW_NS);
	controller_look(c, pool, &view, FIXTURE_NOW_NS);
	f->state.kernel[FIXTURE_LLAMA] = (struct state_load){
		.in_flight = 14,
		.waiting = 4,
		.shadow_in_flight = 3,
		.stalled = 2,
		.departed = 3,
		.waiting_bytes = 8000,
		.token_ns = FIXTURE_NOW_NS,
		.refused = {[2] = 5, [3] = 9},
		.oldest_ns = 250000000,
	};
	f->state.changes[FIXTURE_LLAMA] = 6;
	return 0;
}

static int teardown(void **state)
{
	free(f);
	return 0;
}

static void a_model_shows_its_admission_numbers_and_its_pool(void **state)
{
	json_t *llama = report_model(&f->state, FIXTURE_LLAMA), *one, *a;
	const char *name;

	a = json_object_get(llama, "admission");
	assert_true(json_is_object(a));
	assert_int_equal(json_integer_value(json_object_get(a, "floor")), 2);
	assert_int_equal(json_integer_value(json_object_get(a, "waiting_bytes")), 8000);
	assert_int_equal(json_integer_value(json_object_get(a, "oldest_waiting_ms")), 250);
	assert_true(json_is_null(json_object_get(a, "rate_bytes_per_second")));
	assert_true(json_is_null(json_object_get(a, "client_share")));
	assert_true(json_is_null(json_object_get(a, "client_interval")));
	assert_int_equal(json_array_size(json_object_get(a, "queue_budget_levels_by_rank")),
			 SLUICE_RANKS);
	assert_int_equal(json_array_size(json_object_get(a, "levels_by_rank")), SLUICE_RANKS);
	assert_int_equal(
		json_integer_value(json_array_get(json_object_get(a, "refused_by_rank"), 3)), 9);
	assert_int_equal(json_integer_value(json_object_get(llama, "limit")),
			 json_integer_value(json_object_get(a, "ceiling")));
	assert_true(json_integer_value(json_object_get(a, "ceiling")) > 2);
	assert_true(json_number_value(json_object_get(llama, "ttft_threshold_ms_per_kib")) == 0.5);
	assert_int_equal(json_integer_value(json_object_get(llama, "changes")), 6);
	assert_int_equal(json_integer_value(json_object_get(llama, "shadow_in_flight")), 3);
	assert_int_equal(json_integer_value(json_object_get(llama, "stalled")), 2);
	assert_int_equal(json_integer_value(json_object_get(llama, "departed")), 3);
	assert_int_equal(json_integer_value(json_object_get(llama, "floor")), 2);
	assert_true(json_is_null(json_object_get(llama, "pool")));
	assert_true(json_is_true(
		json_object_get(llama, "open"))); /* though its average is over the target */
	json_decref(llama);

	one = report_model(&f->state, FIXTURE_FRESH);
	assert_string_equal(json_string_value(json_object_get(one, "pool")), "gpu0");
	assert_true(json_is_null(json_object_get(one, "admission")));
	assert_true(json_is_null(json_object_get(one, "ttft_threshold_ms_per_kib")));
	json_decref(one);

	one = report_model(&f->state, pool);
	assert_int_equal(json_unpack(one, "{s:s}", "name", &name), 0);
	assert_string_equal(name, "pool:gpu0");
	assert_int_equal(json_array_size(json_object_get(one, "members")), 2);
	assert_true(json_is_object(json_object_get(one, "admission")));
	json_decref(one);

	f->controller.all.policy = CONTROLLER_EMA_FLAG;
	one = report_model(&f->state, FIXTURE_LLAMA);
	assert_true(json_is_null(json_object_get(one, "admission")));
	assert_true(json_is_null(json_object_get(one, "floor")));
	assert_int_equal(json_integer_value(json_object_get(one, "limit")), 64);
	json_decref(one);
}

static void pools_are_listed_while_they_have_members(void **state)
{
	json_t *models = report_models(&f->state);

	assert_int_equal(json_array_size(json_object_get(models, "models")), 4);
	json_decref(models);
	for (uint32_t id = 0; id < pool; id++)
		if (f->controller.model[id].in_pool)
			controller_join(&f->controller, id, 0);
	models = report_models(&f->state);
	assert_int_equal(json_array_size(json_object_get(models, "models")), 3);
	json_decref(models);
}

/* The client, its whole address if it has one, and the known facts of the request. */
static void a_question_has_all_known_facts_of_the_request(void **state)
{
	const struct explain_request_of about = {6000, "batch"}, nothing = {0};
	const struct sluice_client *client = &f->clients[0].client;
	const struct sluice_client key = {.addr = {9}, .kind = SLUICE_CLIENT_KEY};
	struct quota_book *book = calloc(1, sizeof(*book));
	struct explanation e;

	f->state.quotas = book;
	assert_true(explain_request(&f->state, client, client->addr, FIXTURE_LLAMA, 0, &about, &e));
	assert_memory_equal(&question.client, client, sizeof(*client));
	assert_memory_equal(question.addr, client->addr, sizeof(question.addr));
	assert_int_equal(question.flags, SLUICE_QUESTION_ADDRESS);
	assert_int_equal(question.model, FIXTURE_LLAMA);
	assert_int_equal(question.bytes, 6000);
	assert_int_equal(question.now_ns, 0);
	assert_int_equal(((const uint8_t *)&question.priority)[0], 5); /* the hash of "batch" */
	assert_true(explain_request(&f->state, &key, NULL, FIXTURE_LLAMA, 0, &nothing, &e));
	assert_memory_equal(&question.client, &key, sizeof(key));
	assert_int_equal(question.flags, 0);
	assert_int_equal(question.priority, 0);
	/* An opaque service judges connections; an unknown model is OTHER. */
	assert_true(explain_request(&f->state, client, client->addr, SLUICE_MODELS_MAX, 1, &nothing,
				    &e));
	assert_int_equal(question.flags, SLUICE_QUESTION_ADDRESS | SLUICE_QUESTION_SYN);
	assert_int_equal(question.model, SLUICE_MODEL_OTHER);
	assert_false(
		explain_request(&f->state, client, client->addr, FIXTURE_LLAMA, 2, &nothing, &e));
	free(book);
}

static void a_request_that_passes_is_admitted_for_any_reason(void **state)
{
	static const struct {
		uint8_t reason, shadow, enforced;
		bool admitted, counted;
	} rows[] = {
		{SLUICE_REASON_NONE, 0, 1, true, false},  {SLUICE_REASON_NONE, 1, 1, true, false},
		{SLUICE_REASON_TTFT, 0, 1, false, false}, {SLUICE_REASON_TTFT, 1, 1, false, true},
		{SLUICE_REASON_TTFT, 0, 0, true, false}, /* the lease has run out */
		{SLUICE_REASON_TTFT, 1, 0, false, true},
	};
	const struct sluice_client *client = &f->clients[0].client;
	struct explanation e;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		answers[FIXTURE_LLAMA] = (struct sluice_answer){.reason = rows[i].reason,
								.shadow = rows[i].shadow,
								.enforced = rows[i].enforced};
		assert_true(explain(&f->state, client, client->addr, FIXTURE_LLAMA, 0, &e));
		assert_int_equal(e.admitted, rows[i].admitted);
		assert_int_equal(e.shadow, rows[i].counted);
	}
}

static json_t *answer(const char *line)
{
	const struct ucred peer = {0};
	enum control_after after;
	char *text = control_run(control_read(&f->state, &ops, &peer, line, strlen(line)), &after);
	json_t *whole = json_loads(text, 0, NULL);

	free(text);
	return whole;
}

static void has_line(const char *text, const char *line)
{
	const char *at = strstr(text, line);

	if (!at || (at != text && at[-1] != '\n') || at[strlen(line)] != '\n')
		fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void explain_prints_the_numbers(void **state)
{
	json_t *bad;
	char *text;

	answers[FIXTURE_LLAMA] = (struct sluice_answer){
		.answered = 1,
		.enforced = 1,
		.reason = SLUICE_REASON_IN_FLIGHT,
		.about = FIXTURE_LLAMA,
		.action = SLUICE_ACTION_REPLY,
		.retry_after_ms = 2500,
		.class = SLUICE_CLASS_NORMAL,
		.rank = 3,
		.pool = FIXTURE_LLAMA,
		.bytes = 6000,
		.admission = {.rate = RATE, .ceiling = 16, .floor = 2, .interval = 512},
		.load = {.in_flight = 14, .waiting = 4, .waiting_bytes = 8000},
		.held = {.in_flight = 5, .tat = 103 * ADMISSION_ALL},
		.admitted = 100,
		.share = 4 * ADMISSION_ALL,
		.interval = 2 * ADMISSION_ALL,
		.slots = 8,
		.expected_bytes = 14000,
		.allowed_bytes = 2500,
	};
	answers[FIXTURE_LLAMA].admission.level[3] = ADMISSION_ALL / 2;
	answers[FIXTURE_LLAMA].admission.queue_budget_level[3] = ADMISSION_ALL / 4;
	f->state.services[0].model_id = FIXTURE_LLAMA;
	text = written(format_explain,
		       answer("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"bytes\":6000}"));
	has_line(
		text,
		"Refused (429, retry after 3 s): model 'llama' has 14 requests in flight, of 8 that this rank may use; a slot is free when one ends. To admit it by a higher floor: `sluicectl set floor=36 --model llama`. To admit this client anyway: `sluicectl allow 192.0.2.1 --for 10m`.");
	has_line(
		text,
		"class        normal (default), rank 3 of 0 to 7: may use 50 % of the slots and 25 % of the queue budget");
	has_line(text,
		 "slots        14 in flight of 16, 8 for this rank; fewer than 2: always admitted");
	has_line(
		text,
		"wait         4 waiting with 8000 bytes; a request of 6000 bytes is expected to wait 1400 ms, and may 250 ms (target 1003 ms)");
	has_line(
		text,
		"share        5 in flight of the client; its share is 4.0 slots; 1.5 of 4 intervals ahead: above its share");
	free(text);
	answers[FIXTURE_FRESH] = (struct sluice_answer){
		.answered = 1,
		.class = SLUICE_CLASS_NORMAL,
		.rank = 2,
		.pool = pool,
		.bytes = 2048,
		.admission = {.ceiling = 4, .floor = 2},
		.held = {.in_flight = 5},
	};
	text = written(
		format_explain,
		answer("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"model\":\"fresh\"}"));
	has_line(text, "pool         pool:gpu0");
	has_line(
		text,
		"wait         0 waiting with 0 bytes; a request of 2048 bytes waits for an unknown time: too few first tokens so far");
	has_line(text, "share        no other client shares the slots");
	free(text);
	bad = answer("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"bytes\":0}");
	assert_true(json_is_false(json_object_get(bad, "ok")));
	json_decref(bad);
}

/* The verdict on a request to a model, as the programs reach it. */
static void judge(uint32_t id, uint32_t of_pool, const struct admission_load *load)
{
	struct sluice_answer *a = &answers[id];
	enum admission_verdict verdict;

	*a = (struct sluice_answer){.answered = 1,
				    .enforced = 1,
				    .about = id,
				    .rank = 4,
				    .pool = of_pool,
				    .bytes = 6000,
				    .load = *load};
	assert_true(controller_admission(&f->controller, of_pool, &a->admission));
	a->slots = admission_slots(&a->admission, a->rank);
	a->expected_bytes = admission_expected(&a->admission, load, a->bytes, a->rank, 0);
	a->allowed_bytes = admission_allowed(&a->admission, a->bytes, a->rank);
	verdict = admission_judge(&a->admission, load, a->bytes, a->rank, 0);
	a->reason = verdict == ADMISSION_CEILING ? SLUICE_REASON_IN_FLIGHT
		    : verdict                    ? SLUICE_REASON_TTFT
						 : SLUICE_REASON_NONE;
}

/* The commands of `explain` for a request that waits too long, or finds no slot. */
static void the_commands_of_a_refusal_admit_the_request(void **state)
{
	static const struct {
		const char *model;
		int64_t in_flight;
		uint8_t reason;
		unsigned commands;
		const char *said;
	} rows[] = {
		{"llama", 5, SLUICE_REASON_TTFT, 1, "ms/KiB --model llama`"},
		{"llama", 40, SLUICE_REASON_IN_FLIGHT, 1, "`sluicectl set floor="},
		/* a pool: of "fresh" and of all models, since "third" has no target of its own */
		{"fresh", 5, SLUICE_REASON_TTFT, 2, "ms --model fresh`, `sluicectl set ttft="},
		{"fresh", 40, SLUICE_REASON_IN_FLIGHT, 1, "`sluicectl set floor="},
	};
	struct controller *c = &f->controller;
	const struct adaptive_view view = {0};

	c->model[FIXTURE_FRESH].own.ttft_ms = 500;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct admission_load load = {
			.in_flight = rows[i].in_flight, .waiting = 4, .waiting_bytes = 90000};
		uint32_t id = (uint32_t)controller_find(c, rows[i].model);
		uint32_t in = id == FIXTURE_LLAMA ? id : pool;
		char line[128];
		const char *said;
		json_t *whole;

		c->model[in].adaptive.rate = 10;
		c->model[in].adaptive.rate_samples = 100;
		judge(id, in, &load);
		assert_int_equal(answers[id].reason, rows[i].reason);
		snprintf(line, sizeof(line),
			 "{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"model\":\"%s\"}",
			 rows[i].model);
		whole = answer(line);
		said = json_string_value(json_object_get(whole, "sentence"));
		assert_non_null(said);
		if (!strstr(said, rows[i].said))
			fail_msg("%s", said);
		if (run_set_commands(c, said) != rows[i].commands)
			fail_msg("%s", said);
		controller_look(c, in, &view, FIXTURE_NOW_NS);
		judge(id, in, &load);
		if (answers[id].reason)
			fail_msg("%s", said);
		json_decref(whole);
	}
}

static void a_stopped_model_is_shown(void **state)
{
	char *text;

	setenv("TZ", "UTC", 1);
	tzset();
	f->controller.model[FIXTURE_LLAMA].adaptive.stopped = true;
	text = written(format_status, report_status(&f->state));
	text[strcspn(text, "\n")] = 0;
	assert_string_equal(
		text,
		"enforce, policy adaptive: SHUT: llama (ttft: what waits for a first token moves no more) since 22:12:38 (42 s), opens with the next first token or end of a response");
	free(text);
	text = written(format_event, report_change(&f->state, FIXTURE_LLAMA));
	assert_string_equal(
		text,
		"22:13:20  SHUT     llama: ttft: what waits for a first token moves no more, opens with the next first token or end of a response\n");
	free(text);
}

static void targets_are_shown_as_they_are_written(void **state)
{
	char *text = written(format_models, report_models(&f->state));

	assert_non_null(strstr(text, "1000 + 0.5/KiB"));
	free(text);
	text = written(format_set,
		       json_pack("{s:o, s:s}", "global", report_model(&f->state, SLUICE_MODEL_ALL),
				 "policy", "adaptive"));
	assert_string_equal(
		text,
		"all models: open, ttft 1000 ms, itl 30 ms, tau 15 s, max-in-flight none, floor 2, policy adaptive\n");
	free(text);
	text = written(format_set,
		       json_pack("{s:o}", "model", report_model(&f->state, FIXTURE_LLAMA)));
	assert_string_equal(
		text,
		"llama: open, ttft 1000 ms + 0.5 ms/KiB, itl 30 ms, tau 15 s, max-in-flight 64, floor 2\n");
	free(text);
}

static void metrics_have_the_admission_numbers_and_leave_pools_out_of_sums(void **state)
{
	static const char *const rows[] = {
		"sluice_shadow_in_flight{model=\"llama\"} 3\n",
		"sluice_departed{model=\"llama\"} 3\n",
		"sluice_stalled{model=\"llama\"} 2\n",
		"sluice_waiting_bytes{model=\"llama\"} 8000\n",
		"sluice_waiting_bytes{model=\"pool:gpu0\"} 0\n",
		"sluice_model_changes_total{model=\"llama\"} 6\n",
		"sluice_model_open{model=\"pool:gpu0\"} 1\n",
		"sluice_in_flight_limit{model=\"pool:gpu0\"} ",
		"sluice_in_flight_limit{model=\"fresh\"} ",
	};
	static const char *const absent[] = {
		"sluice_in_flight{model=\"pool:gpu0\"}",
		"sluice_waiting{model=\"pool:gpu0\"}",
		"sluice_shadow_in_flight{model=\"pool:gpu0\"}",
		"sluice_time_to_first_token_seconds_count{model=\"pool:gpu0\"}",
		"sluice_waiting_bytes{model=\"fresh\"}",
		"sluice_rate_bytes_per_second{model=\"llama\"}",
	};
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	metrics_write_exposition(out, &f->state);
	fclose(out);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!strstr(text, rows[i]))
			fail_msg("%s", rows[i]);
	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
		if (strstr(text, absent[i]))
			fail_msg("%s", absent[i]);
	free(text);
	f->controller.model[FIXTURE_LLAMA].adaptive.rate = 10;
	f->controller.model[FIXTURE_LLAMA].adaptive.rate_samples = 100;
	out = open_memstream(&text, &len);
	metrics_write_exposition(out, &f->state);
	fclose(out);
	assert_non_null(strstr(text, "sluice_rate_bytes_per_second{model=\"llama\"} 1000"));
	free(text);
}

#define WITH_POOLS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_POOLS(a_model_shows_its_admission_numbers_and_its_pool),
		WITH_POOLS(pools_are_listed_while_they_have_members),
		WITH_POOLS(a_question_has_all_known_facts_of_the_request),
		WITH_POOLS(a_request_that_passes_is_admitted_for_any_reason),
		WITH_POOLS(explain_prints_the_numbers),
		WITH_POOLS(the_commands_of_a_refusal_admit_the_request),
		WITH_POOLS(a_stopped_model_is_shown),
		WITH_POOLS(targets_are_shown_as_they_are_written),
		WITH_POOLS(metrics_have_the_admission_numbers_and_leave_pools_out_of_sums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
