/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What an operator reads of policy adaptive: the model's JSON, the explanation of a request with
 * its numbers, both as text, and the metrics. The fixture's model "llama" is under a law of its
 * own, "fresh" and "third" under that of a group.
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
#include "state_fixture.h"
#include "written.h"

static struct fixture *f;
static uint32_t group;

/* ---- the kernel's maps, made by hand ---- */

static struct {
	struct sluice_model_flag flag[SLUICE_MODELS_MAX];
	struct sluice_prefix prefix;
	struct sluice_holding held;
	struct sluice_client_flag_key held_by;
	struct sluice_client priority_key;
	uint32_t class;
	bool has_priority;
} maps;

static bool no_rule(void *arg, const struct sluice_client_flag_key *key,
		    struct sluice_client_flag *out)
{
	return false;
}

static bool no_quota(void *arg, const struct sluice_client_flag_key *key, uint32_t *out)
{
	return false;
}

static bool find_prefix(void *arg, const uint8_t addr[16], struct sluice_prefix *out)
{
	*out = maps.prefix;
	return true;
}

static bool no_budget(void *arg, const struct sluice_client *client, uint32_t quota,
		      struct sluice_budget *out)
{
	return false;
}

static bool find_flag(void *arg, uint32_t model, struct sluice_model_flag *out)
{
	*out = maps.flag[model];
	return true;
}

static bool find_counts(void *arg, const struct sluice_client *client,
			struct sluice_client_count *out, int64_t *in_flight)
{
	*in_flight = 7;
	return true;
}

static struct sluice_holding find_held(void *arg, const struct sluice_client_flag_key *key)
{
	maps.held_by = *key;
	return maps.held;
}

static bool find_priority(void *arg, const struct sluice_client *key, uint32_t *class)
{
	maps.priority_key = *key;
	*class = maps.class;
	return maps.has_priority;
}

static bool hash(void *arg, const char *secret, size_t len, struct sluice_client *out)
{
	*out = (struct sluice_client){.addr = {[0] = (uint8_t)len}, .kind = SLUICE_CLIENT_KEY};
	return true;
}

static const struct state_lookup lookup = {
	.client_rule = no_rule,
	.client_quota = no_quota,
	.prefix = find_prefix,
	.budget = no_budget,
	.flag = find_flag,
	.counts = find_counts,
	.held = find_held,
	.priority = find_priority,
	.key = hash,
};

static void refresh(void *arg, unsigned parts)
{
}

static struct control_ops ops = {.refresh = refresh};

/* 10 bytes a ms, so that 1000 ms are 10000 bytes. */
static void pool(uint32_t id, struct sluice_admission a)
{
	for (int r = 0; r < SLUICE_RANKS; r++)
		if (!a.level[r])
			a.level[r] = a.queue_budget_level[r] = ADMISSION_ALL;
	maps.flag[id].admission = a;
}

static int setup(void **state)
{
	const struct adaptive_view view = {0};
	struct controller *c;

	f = fixture_new();
	c = &f->controller;
	memset(&maps, 0, sizeof(maps));
	c->all.policy = CONTROLLER_ADAPTIVE;
	f->state.policy = "adaptive";
	f->state.lookup = &lookup;
	c->model[FIXTURE_LLAMA].own.ttft_ms = 1000;
	c->model[FIXTURE_LLAMA].own.ttft_ms_per_kib = 0.5;
	group = (uint32_t)controller_declare_pool(c, "gpu0");
	controller_join(c, FIXTURE_FRESH, group);
	controller_join(c, controller_learn(c, "third", FIXTURE_NOW_NS), group);
	controller_look(c, FIXTURE_LLAMA, &view, FIXTURE_NOW_NS);
	controller_look(c, group, &view, FIXTURE_NOW_NS);
	f->state.kernel[FIXTURE_LLAMA] = (struct state_load){
		.in_flight = 14,
		.waiting = 4,
		.shadow_in_flight = 3,
		.waiting_bytes = 8000,
		.token_ns = FIXTURE_NOW_NS,
		.refused = {[2] = 5, [3] = 9},
		.oldest_ns = 250000000,
	};
	f->state.changes[FIXTURE_LLAMA] = 6;
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		maps.flag[id] = (struct sluice_model_flag){
			.allow = 1, .pool = (__u16)id, .limit_retry_ms = 2500};
	maps.flag[FIXTURE_FRESH].pool = (__u16)group;
	pool(FIXTURE_LLAMA, (struct sluice_admission){
				    .queue_budget = 10000,
				    .credit_most = 5000,
				    .rate = (uint32_t)(10 * 1.048576 * (1 << ADMISSION_RATE_SHIFT)),
				    .ceiling = 16,
				    .floor = 2,
			    });
	return 0;
}

static int teardown(void **state)
{
	free(f);
	return 0;
}

static struct explanation explain_one(uint32_t model, uint32_t bytes, const char *priority)
{
	const struct explain_request_of about = {bytes, priority};
	const struct sluice_client *client = &f->clients[0].client;
	struct explanation e;

	explain_request(&f->state, client, client->addr, model, 0, &about, &e);
	return e;
}

static void a_model_shows_the_law_that_it_carries_and_its_group(void **state)
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

	one = report_model(&f->state, group);
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

static void groups_are_listed_while_they_have_members(void **state)
{
	json_t *models = report_models(&f->state);

	assert_int_equal(json_array_size(json_object_get(models, "models")), 4);
	json_decref(models);
	for (uint32_t id = 0; id < group; id++)
		if (f->controller.model[id].in_pool)
			controller_join(&f->controller, id, 0);
	models = report_models(&f->state);
	assert_int_equal(json_array_size(json_object_get(models, "models")), 3);
	json_decref(models);
}

static void a_request_is_held_against_the_law_as_the_kernel_does(void **state)
{
	struct explanation e = explain_one(FIXTURE_LLAMA, 0, NULL);

	/* 8000 bytes wait, and half of 2000, the mean of the four that do: 900 ms of 1000. */
	assert_true(e.admitted);
	assert_true(e.pool.in_force);
	assert_int_equal(e.pool.bytes, 2000);
	assert_in_range((int)e.pool.predicted_ms, 899, 901);
	assert_in_range((int)e.pool.allowed_ms, 999, 1001);
	assert_in_range((int)e.pool.target_ms, 1000, 1001);
	assert_int_equal(e.pool.rank, 2);

	e = explain_one(FIXTURE_LLAMA, 6000, NULL); /* 1100 ms */
	assert_false(e.admitted);
	assert_int_equal(e.reason, SLUICE_REASON_TTFT);
	assert_int_equal(e.wait_ns, 2500000000);
	assert_in_range((int)e.pool.predicted_ms, 1099, 1101);
	assert_true(e.pool.target_ms > 1002 && e.pool.target_ms < 1003);

	/* What the server has done since the last first token is credited. */
	f->state.kernel[FIXTURE_LLAMA].token_ns -= 200000000;
	e = explain_one(FIXTURE_LLAMA, 6000, NULL);
	assert_true(e.admitted);
	assert_in_range((int)e.pool.predicted_ms, 899, 902);

	f->state.kernel[FIXTURE_LLAMA].in_flight = 16;
	assert_int_equal(explain_one(FIXTURE_LLAMA, 0, NULL).reason, SLUICE_REASON_IN_FLIGHT);
	maps.flag[FIXTURE_LLAMA].admission.stopped = 1;
	assert_int_equal(explain_one(FIXTURE_LLAMA, 0, NULL).reason, SLUICE_REASON_TTFT);
	f->state.kernel[FIXTURE_LLAMA].in_flight = 1; /* below the floor */
	assert_true(explain_one(FIXTURE_LLAMA, 0, NULL).admitted);
	/* A limit by hand comes before, whatever the law says. */
	f->state.kernel[FIXTURE_LLAMA].in_flight = 9;
	assert_int_equal(explain_one(FIXTURE_LLAMA, 0, NULL).reason, SLUICE_REASON_TTFT);
	maps.flag[FIXTURE_LLAMA].limit = 1;
	assert_int_equal(explain_one(FIXTURE_LLAMA, 0, NULL).reason, SLUICE_REASON_IN_FLIGHT);
}

static void a_client_above_its_share_is_told_so(void **state)
{
	struct explanation e;

	maps.flag[FIXTURE_LLAMA].admission.fair = 4 * ADMISSION_ALL;
	maps.flag[FIXTURE_LLAMA].admission.level[3] = ADMISSION_ALL / 2;
	maps.held.in_flight = 3;
	e = explain_one(FIXTURE_LLAMA, 0, NULL);
	assert_true(e.admitted && !e.pool.above_share);
	assert_int_equal(maps.held_by.model, FIXTURE_LLAMA);
	assert_memory_equal(&maps.held_by.client, &f->clients[0].client,
			    sizeof(struct sluice_client));
	maps.held.in_flight = 4;
	e = explain_one(FIXTURE_LLAMA, 0, NULL);
	assert_false(e.admitted);
	assert_int_equal(e.reason, SLUICE_REASON_CLIENT_SHARE);
	assert_int_equal(e.pool.rank, 3);
	assert_true(e.pool.share == 4);
	assert_int_equal(e.pool.slots, 8);
	/* Or with nothing in flight, for what it was let in ahead of its share. */
	maps.held =
		(struct sluice_holding){.tat = (100 + 2 * ADMISSION_TOLERANCE + 1) * ADMISSION_ALL};
	maps.flag[FIXTURE_LLAMA].admission.interval = 2 * ADMISSION_ALL;
	f->state.kernel[FIXTURE_LLAMA].admitted = 100;
	e = explain_one(FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.reason, SLUICE_REASON_CLIENT_SHARE);
	assert_true(e.pool.queued_bytes == 4.5);
	maps.held.tat--;
	maps.held.tat -= ADMISSION_ALL - 1;
	assert_true(explain_one(FIXTURE_LLAMA, 0, NULL).admitted);
	maps.held = (struct sluice_holding){.in_flight = 4};
	/* A weight of two is twice the share. */
	maps.prefix.weight = 2 * SLUICE_WEIGHT_ONE;
	e = explain_one(FIXTURE_LLAMA, 0, NULL);
	assert_true(e.pool.share == 8 && !e.pool.above_share);
	maps.prefix.weight = 0;
	/* Where everybody would be refused, its share is not the reason. */
	f->state.kernel[FIXTURE_LLAMA].in_flight = 16;
	assert_int_equal(explain_one(FIXTURE_LLAMA, 0, NULL).reason, SLUICE_REASON_IN_FLIGHT);
}

static void a_class_is_of_the_header_the_key_or_the_prefix(void **state)
{
	struct sluice_client key = {.addr = {9}, .kind = SLUICE_CLIENT_KEY};
	const struct explain_request_of no_request = {0};
	struct explanation e;
	uint32_t service = 1;

	e = explain_one(FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.pool.class, SLUICE_CLASS_NORMAL);
	assert_int_equal(e.pool.class_from, EXPLAIN_CLASS_DEFAULT);
	maps.prefix.priority = 1;
	e = explain_one(FIXTURE_LLAMA, 0, NULL);
	assert_int_equal(e.pool.class, 0);
	assert_int_equal(e.pool.class_from, EXPLAIN_CLASS_PREFIX);
	assert_int_equal(e.pool.rank, 0);
	maps.class = 3;
	maps.has_priority = true;
	e = explain_one(FIXTURE_LLAMA, 0, "batch");
	assert_int_equal(e.pool.class, 3);
	assert_int_equal(e.pool.class_from, EXPLAIN_CLASS_HEADER);
	assert_int_equal(maps.priority_key.kind, SLUICE_CLIENT_HEADER);
	assert_int_equal(maps.priority_key.addr[0], 5);
	explain_request(&f->state, &key, NULL, FIXTURE_LLAMA, service, &no_request, &e);
	assert_int_equal(e.pool.class_from, EXPLAIN_CLASS_KEY);
	assert_memory_equal(&maps.priority_key, &key, sizeof(key));
	explain_request(&f->state, &key, NULL, FIXTURE_LLAMA, service,
			&(struct explain_request_of){0, "x"}, &e);
	assert_memory_equal(maps.priority_key.addr + 8, &service, sizeof(service));
}

static void a_model_of_a_group_is_under_its_law(void **state)
{
	struct explanation e;

	assert_false(explain_one(FIXTURE_FRESH, 0, NULL).pool.in_force);
	pool(group, (struct sluice_admission){.floor = 2, .ceiling = 4});
	f->state.kernel[group].in_flight = 4;
	e = explain_one(FIXTURE_FRESH, 0, NULL);
	assert_int_equal(e.pool.id, group);
	assert_int_equal(e.reason, SLUICE_REASON_IN_FLIGHT);
	assert_true(e.pool.predicted_ms < 0); /* no rate: not known */
}

static json_t *answer(const char *line)
{
	enum control_after after;
	char *text = control_answer(&f->state, &ops, line, strlen(line), &after);
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

static void explain_says_the_numbers(void **state)
{
	json_t *bad;
	char *text;

	maps.flag[FIXTURE_LLAMA].admission.fair = 4 * ADMISSION_ALL;
	maps.flag[FIXTURE_LLAMA].admission.level[3] = ADMISSION_ALL / 2;
	maps.held.in_flight = 5;
	maps.flag[FIXTURE_LLAMA].admission.queue_budget_level[3] = ADMISSION_ALL / 4;
	maps.flag[FIXTURE_LLAMA].admission.interval = 2 * ADMISSION_ALL;
	f->state.kernel[FIXTURE_LLAMA].admitted = 100;
	maps.held.tat = 103 * ADMISSION_ALL;
	f->state.services[0].model_id = FIXTURE_LLAMA;
	text = written(format_explain,
		       answer("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"bytes\":6000}"));
	has_line(
		text,
		"192.0.2.1, model llama, service *:8000: the next request is REFUSED: in-flight, reply, retry after 3 s");
	has_line(
		text,
		"class        normal (nothing is said of it), rank 3 of 0 to 7: has 50 % of the places and 25 % of the room");
	has_line(text,
		 "places       14 in flight of 16, 8 for this rank; below 2 all are admitted");
	has_line(
		text,
		"wait         4 waiting with 8000 bytes; a request of 6000 bytes is expected to wait 1100 ms, and may 250 ms (target 1003 ms)");
	has_line(
		text,
		"share        5 in flight of the client, of 4.0 places that are its share, and 1.5 requests ahead of it, of 4: above it, and so behind those within theirs");
	free(text);
	maps.flag[FIXTURE_FRESH].pool = (__u16)group;
	pool(group, (struct sluice_admission){.floor = 2, .ceiling = 4});
	text = written(
		format_explain,
		answer("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"model\":\"fresh\"}"));
	has_line(text, "law          that of pool:gpu0");
	has_line(
		text,
		"wait         0 waiting with 0 bytes; a request of 2048 bytes waits for what nobody knows yet: too few first tokens were seen");
	has_line(text, "share        5 in flight of the client; it has the places for itself");
	free(text);
	bad = answer("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"bytes\":0}");
	assert_true(json_is_false(json_object_get(bad, "ok")));
	json_decref(bad);
}

static void a_model_that_stopped_says_so(void **state)
{
	char *text;

	setenv("TZ", "UTC", 1);
	tzset();
	f->controller.model[FIXTURE_LLAMA].adaptive.stopped = true;
	text = written(format_status, report_status(&f->state));
	text[strcspn(text, "\n")] = 0;
	assert_string_equal(
		text,
		"enforce, policy adaptive: SHUT: llama (ttft: what waits for a first token moves no more) since 22:12:38 (42 s), opens with the next first token");
	free(text);
	text = written(format_event, report_change(&f->state, FIXTURE_LLAMA));
	assert_string_equal(
		text,
		"22:13:20  model llama shut: ttft: what waits for a first token moves no more, opens with the next first token\n");
	free(text);
}

static void targets_are_shown_as_they_are_said(void **state)
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

static void metrics_have_the_law_and_leave_groups_out_of_sums(void **state)
{
	static const char *const rows[] = {
		"sluice_shadow_in_flight{model=\"llama\"} 3\n",
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
		WITH_POOLS(a_model_shows_the_law_that_it_carries_and_its_group),
		WITH_POOLS(groups_are_listed_while_they_have_members),
		WITH_POOLS(a_request_is_held_against_the_law_as_the_kernel_does),
		WITH_POOLS(a_client_above_its_share_is_told_so),
		WITH_POOLS(a_class_is_of_the_header_the_key_or_the_prefix),
		WITH_POOLS(a_model_of_a_group_is_under_its_law),
		WITH_POOLS(explain_says_the_numbers),
		WITH_POOLS(a_model_that_stopped_says_so),
		WITH_POOLS(targets_are_shown_as_they_are_said),
		WITH_POOLS(metrics_have_the_law_and_leave_groups_out_of_sums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
