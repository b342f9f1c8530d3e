/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The lines of `watch` and of `watch --summary`: what an interval says of counters, models, clients
 * and changes, and that no row is wider than 80 columns.
 */
#include "control_fixture.h"

#include <locale.h>
#include <string.h>
#include <time.h>

#include "control/summary.h"

#define S 1000000000ULL

static json_t *before, *clients_before;

static int summary_setup(void **state)
{
	setenv("TZ", "UTC", 1);
	tzset();
	setup(state);
	before = report_status(&f->state);
	clients_before = run("{\"cmd\":\"clients\",\"by\":\"rejected\"}");
	return 0;
}

static int summary_teardown(void **state)
{
	json_decref(before);
	json_decref(clients_before);
	return teardown(state);
}

/* Ten seconds on, at 22:13:30. */
static json_t *summary(void)
{
	json_t *now, *clients, *out;

	f->state.now_ns += 10 * S;
	f->state.unix_ns += 10 * S;
	now = report_status(&f->state);
	clients = summary_refused(before, now) ? run("{\"cmd\":\"clients\",\"by\":\"rejected\"}")
					       : NULL;
	out = summary_between(before, now, clients_before, clients, 10000);
	json_decref(clients);
	json_decref(now);
	assert_non_null(out);
	return out;
}

static void is(json_t *answer, const char *text)
{
	char *is = written(format_summary, answer);

	for (const char *line = is; *line; line += strcspn(line, "\n") + 1)
		if (strcspn(line, "\n") > 80)
			fail_msg("wider than 80 columns: %s", line);
	assert_string_equal(is, text);
	free(is);
}

static void a_quiet_interval_is_one_short_line(void **state)
{
	is(summary(), "22:13:30  quiet: no requests\n");
	f->counts[0].n += 420;
	is(summary(), "22:13:40  quiet: 42.0/s admitted, nothing refused\n");
}

static void refusals_are_said_by_reason_model_and_client(void **state)
{
	f->counts[0].n += 1200;
	f->counts[1].n += 21;
	f->counts[2].n += 11;
	f->counts[4].n += 5;
	f->counts[5].n += 30;
	f->clients[0].count.rejected += 31;
	f->clients[1].count.shadow_by_reason[SLUICE_REASON_ITL] += 5;
	is(summary(),
	   "22:13:30  120/s admitted, 3.2/s refused: ttft 2.1/s, client-blocked 1.1/s; 0.5/s\n"
	   "          shadow: itl 0.5/s; connections: 3.0/s reset\n"
	   "          models   llama 3.2/s of 123/s, fresh 0.5/s of 0.5/s\n"
	   "          clients  192.0.2.1 3.1/s, 2001:db8::/64 0.5/s\n");
}

static void an_interval_as_json_has_counts(void **state)
{
	json_int_t rejected, ttft, interval, of_model, of_client;
	const char *model, *client;
	json_t *one;

	f->counts[1].n += 2;
	f->clients[0].count.rejected += 2;
	one = summary();
	assert_int_equal(json_unpack(one, "{s:I, s:{s:I}, s:{s:I}, s:[{s:s, s:I}], s:[{s:s, s:I}]}",
				     "interval_ms", &interval, "requests", "rejected", &rejected,
				     "rejected_by_reason", "ttft", &ttft, "models", "name", &model,
				     "rejected", &of_model, "clients", "client", &client,
				     "rejected", &of_client),
			 0);
	assert_int_equal(interval, 10000);
	assert_int_equal(rejected, 2);
	assert_int_equal(ttft, 2);
	assert_string_equal(model, "llama");
	assert_int_equal(of_model, 2);
	assert_string_equal(client, "192.0.2.1");
	assert_int_equal(of_client, 2);
	assert_int_equal(json_array_size(json_object_get(one, "models")), 1);
	assert_int_equal(json_array_size(json_object_get(one, "changes")), 0);
	json_decref(one);
}

static void changes_of_state_are_said(void **state)
{
	f->state.changes[FIXTURE_LLAMA] += 3;
	f->state.changed_ns[FIXTURE_LLAMA] = FIXTURE_NOW_NS + 4 * S;
	f->state.changes[FIXTURE_FRESH] += 1;
	f->state.changed_ns[FIXTURE_FRESH] = FIXTURE_NOW_NS + 5 * S;
	f->state.mode = SLUICE_MODE_SHADOW;
	f->controller.drain.on = true;
	f->state.pid++;
	f->state.pins_note = "pins are missing";
	f->troubles[0][TROUBLE_OPAQUE].on = false;
	is(summary(),
	   "22:13:30  quiet: no requests\n"
	   "          change   a new daemon runs\n"
	   "          change   mode is shadow, was enforce\n"
	   "          change   a drain has begun\n"
	   "          change   llama shut at 22:13:24: ttft 1027 ms over 1000 ms, the last\n"
	   "                   of 3 changes\n"
	   "          change   fresh opened at 22:13:25\n"
	   "          change   TROUBLE: pins are missing\n"
	   "          change   no longer: *:8000: clients speak TLS or HTTP/2, of which\n"
	   "                   sluice reads no request: protect the plain port behind it, or\n"
	   "                   set `protocol: opaque`\n");
}

/* Of new maps. */
static void counters_that_start_anew_count_from_zero(void **state)
{
	f->counts[0].n = 20;
	is(summary(), "22:13:30  quiet: 2.7/s admitted, nothing refused\n");
}

/* A client that was below the last of a full list had that many refusals at most. */
static void a_client_new_in_a_full_list_counts_from_its_least(void **state)
{
	json_t *known =
		json_pack("{s:[{s:s, s:i}, {s:s, s:i}], s:i}", "clients", "client", "a", "rejected",
			  90, "client", "b", "rejected", 40, "clients_known", 100000);
	json_t *now = json_pack("{s:[{s:s, s:i}, {s:s, s:i}]}", "clients", "client", "c",
				"rejected", 95, "client", "a", "rejected", 91);
	json_t *one = summary_between(before, before, known, now, 1000);
	const char *first, *second;
	json_int_t of_first, of_second;

	assert_int_equal(json_unpack(one, "{s:[{s:s, s:I}, {s:s, s:I}]}", "clients", "client",
				     &first, "rejected", &of_first, "client", &second, "rejected",
				     &of_second),
			 0);
	assert_string_equal(first, "c");
	assert_int_equal(of_first, 55);
	assert_string_equal(second, "a");
	assert_int_equal(of_second, 1);
	json_decref(one);
	json_decref(now);
	json_decref(known);
}

static void the_worst_come_first_and_long_names_are_cut(void **state)
{
	char name[SLUICE_NAME_MAX];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	strcpy(f->controller.model[FIXTURE_FRESH].name, name);
	json_decref(before);
	before = report_status(&f->state);
	f->counts[1].n += 1;
	f->counts[4].n += 900;
	is(summary(),
	   "22:13:30  0/s admitted, 0.1/s refused: ttft 0.1/s; 90.0/s shadow: itl 90.0/s\n"
	   "          models   xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… 90.0/s of 90.0/s, llama\n"
	   "                   0.1/s of 0.1/s\n");
}

static void the_lines_of_watch_read_alike(void **state)
{
	struct sluice_refusal refusal = {
		.client = f->clients[0].client,
		.time_ns = FIXTURE_NOW_NS,
		.model = FIXTURE_LLAMA,
		.reason = SLUICE_REASON_TTFT,
		.action = SLUICE_ACTION_REPLY,
		.verdict = SLUICE_VERDICT_REJECTED,
		.retry_after_ms = 9000,
	};
	char *text = written(format_event, report_refusal(&f->state, &refusal));

	assert_string_equal(text, "22:13:20  refused  192.0.2.1: ttft, model llama, request to "
				  "*:8000, reply, retry after 9 s\n");
	free(text);
	refusal.verdict = SLUICE_VERDICT_SHADOW_REJECTED;
	refusal.at_syn = 1;
	refusal.retry_after_ms = 0;
	refusal.model = SLUICE_MODEL_ALL;
	refusal.action = SLUICE_ACTION_RESET;
	text = written(format_event, report_refusal(&f->state, &refusal));
	assert_string_equal(text,
			    "22:13:20  shadow   192.0.2.1: ttft, connection to *:8000, reset\n");
	free(text);
	text = written(format_event, report_change(&f->state, FIXTURE_LLAMA));
	assert_string_equal(text, "22:13:20  SHUT     llama: ttft 2000 ms over 1000 ms, opens in "
				  "about 10 s if nothing more arrives\n");
	free(text);
	text = written(format_event, report_change(&f->state, FIXTURE_FRESH));
	assert_string_equal(text, "22:13:20  open     fresh: within its targets\n");
	free(text);
}

#define SUMMARY(test) cmocka_unit_test_setup_teardown(test, summary_setup, summary_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SUMMARY(a_quiet_interval_is_one_short_line),
		SUMMARY(refusals_are_said_by_reason_model_and_client),
		SUMMARY(an_interval_as_json_has_counts),
		SUMMARY(changes_of_state_are_said),
		SUMMARY(counters_that_start_anew_count_from_zero),
		SUMMARY(a_client_new_in_a_full_list_counts_from_its_least),
		SUMMARY(the_worst_come_first_and_long_names_are_cut),
		SUMMARY(the_lines_of_watch_read_alike),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
