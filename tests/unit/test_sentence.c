/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sentence of `explain`: every reason of a refusal has one, with why, until when and a command;
 * and what an override, shadow mode, an ended lease and a drain make of it.
 */
#include "programs.h"
#include "remedy.h"

#include <string.h>

#define S       1000000000ULL
#define EXPLAIN "{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"service\":\"8000\"}"

static const char *sentence_of(const char *command)
{
	static char text[1024];
	json_t *answer = run(command);
	const char *sentence = json_string_value(json_object_get(answer, "sentence"));

	assert_non_null(sentence);
	snprintf(text, sizeof(text), "%s", sentence);
	json_decref(answer);
	return text;
}

static void says(const char *sentence)
{
	assert_string_equal(sentence_of(EXPLAIN), sentence);
}

static void every_reason_has_a_sentence_and_a_command(void **state)
{
	static char said[SLUICE_REASON_COUNT][1024];

	for (unsigned reason = 1; reason < SLUICE_REASON_COUNT; reason++) {
		const char *why;

		programs.reason = (__u8)reason;
		snprintf(said[reason], sizeof(said[0]), "%s", sentence_of(EXPLAIN));
		if (strncmp(said[reason], "Refused (", 9))
			fail_msg("%s: %s", text_reason(reason), said[reason]);
		why = strstr(said[reason], "): ");
		if (!why || strlen(why) < 30 || strstr(why, "): .") ||
		    !strstr(why, ": `sluicectl ") || strcmp(why + strlen(why) - 2, "`."))
			fail_msg("%s: %s", text_reason(reason), said[reason]);
		for (unsigned other = 1; other < reason; other++)
			assert_string_not_equal(why, strstr(said[other], "): "));
	}
}

static void a_refusal_says_why_until_when_and_what_changes_it(void **state)
{
	programs.reason = SLUICE_REASON_REQUEST_QUOTA;
	says("Refused (429, retry after 42 s): this client has used up its request quota of 60 in 60 s; its next request is admitted at 22:14:02. To give this client more: `sluicectl quota set 192.0.2.1 requests=120/60s burst=24 tokens=500/10s`. To admit this client anyway: `sluicectl allow 192.0.2.1 --for 10m`.");
	programs.reason = SLUICE_REASON_TOKEN_QUOTA;
	programs.quota_from = SLUICE_QUOTA_FROM_MODEL;
	programs.retry_after_ms = 1200;
	says("Refused (429, retry after 2 s): this client has used up its token quota of 500 in 10 s; its next request is admitted at 22:13:22. To give this client more: `sluicectl quota set 192.0.2.1 --model llama requests=60/60s burst=12 tokens=1000/10s`. To admit this client anyway: `sluicectl allow 192.0.2.1 --for 10m`.");
	programs.retry_after_ms = 3000;
	programs.reason = SLUICE_REASON_TTFT;
	says("Refused (429, retry after 3 s): the average TTFT of model 'llama' is 2000 ms, over its target of 1000 ms; it opens about 22:13:23 if nothing more arrives. To admit it by a higher target: `sluicectl set ttft=2400ms --model llama`. To admit this client anyway: `sluicectl allow 192.0.2.1 --for 10m`.");
	programs.reason = SLUICE_REASON_IN_FLIGHT;
	says("Refused (429, retry after 3 s): model 'llama' has 5 requests in flight, and its limit is 64; a slot is free when one ends. To admit it by a higher limit: `sluicectl set max-in-flight=77 --model llama`. To admit this client anyway: `sluicectl allow 192.0.2.1 --for 10m`.");
	programs.action = SLUICE_ACTION_RESET;
	programs.reason = SLUICE_REASON_STALLED_RESPONSES;
	says("Refused (connection reset): this client does not read 8 of its responses, until it does. To admit this client anyway: `sluicectl allow 192.0.2.1 --for 10m`.");
	programs.action = SLUICE_ACTION_DROP;
	programs.reason = SLUICE_REASON_CLIENT_BLOCKED;
	programs.override = SLUICE_OVERRIDE_BLOCKED;
	programs.override_expires_ns = FIXTURE_NOW_NS + 600 * S;
	says("Refused (dropped without an answer): this client is blocked from model 'llama' until 22:23:20. To lift it: `sluicectl clear 192.0.2.1 --model llama`.");
	programs.about = SLUICE_MODEL_ALL;
	programs.action = SLUICE_ACTION_REPLY;
	programs.override = SLUICE_OVERRIDE_PREFIX_BLOCKED;
	programs.override_expires_ns = 0;
	says("Refused (new connections reset, else 429, retry after 3 s): a prefix of this client is blocked without end. To admit this client alone: `sluicectl allow 192.0.2.1`.");
}

/* A policy that shuts by averages. */
static void the_command_of_a_latency_refusal_opens_the_model(void **state)
{
	static const struct {
		uint8_t reason;
		const char *target, *raised;
	} rows[] = {
		{SLUICE_REASON_TTFT, "ttft=5", "`sluicectl set ttft=2400ms --model llama`"},
		{SLUICE_REASON_TTFT, "ttft=800+0.2/KiB",
		 "`sluicectl set ttft=2400ms+0.6ms/KiB --model llama`"},
		{SLUICE_REASON_ITL, "itl=5", "`sluicectl set itl=15ms --model llama`"},
		{SLUICE_REASON_DURATION, "duration=7",
		 "`sluicectl set duration=4800ms --model llama`"},
		{SLUICE_REASON_NORMALIZED_LATENCY, "normalized-latency=7",
		 "`sluicectl set normalized-latency=96ms --model llama`"},
	};
	struct controller *c = &f->controller;
	char err[128];

	for (unsigned all = 0; all < 2; all++) {
		c->per_model = !all;
		programs.about = all ? SLUICE_MODEL_ALL : FIXTURE_LLAMA;
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			const char *pairs[] = {"ttft=none", "itl=none", "duration=none",
					       "normalized-latency=none", rows[i].target};
			const char *said;

			assert_false(controller_set_all(c, all ? NULL : "llama", pairs, 5, err,
							sizeof(err)));
			assert_int_equal(controller_read(c, programs.about, FIXTURE_NOW_NS).reason,
					 rows[i].reason);
			programs.reason = rows[i].reason;
			said = sentence_of(EXPLAIN);
			if (!all && !strstr(said, rows[i].raised))
				fail_msg("%s", said);
			assert_int_equal(run_set_commands(c, said), 1);
			assert_true(controller_read(c, programs.about, FIXTURE_NOW_NS).open);
		}
	}
}

static void policy_adaptive_says_its_numbers(void **state)
{
	programs.reason = SLUICE_REASON_TTFT;
	programs.spread = 1;
	programs.admission = (struct sluice_admission){.rate = 1 << 20, .floor = 2, .ceiling = 16};
	programs.expected_bytes = 1 << 20;
	programs.allowed_bytes = 1 << 18;
	assert_non_null(strstr(sentence_of(EXPLAIN), "429, retry after about 42 s"));
	assert_non_null(strstr(sentence_of(EXPLAIN), "the request would wait "));
	assert_non_null(strstr(sentence_of(EXPLAIN), "(target 1 s); by estimate until 22:14:02."));
	programs.admission.stopped = 1;
	assert_non_null(strstr(sentence_of(EXPLAIN), "): model 'llama' is stuck: "));
	programs.reason = SLUICE_REASON_IN_FLIGHT;
	programs.slots = 13;
	programs.load.in_flight = 13;
	assert_non_null(strstr(
		sentence_of(EXPLAIN),
		"): model 'llama' has 13 requests in flight, of 13 that this rank may use; "));
	programs.reason = SLUICE_REASON_CLIENT_SHARE;
	programs.rank = 3;
	programs.held.in_flight = 5;
	programs.share = 5 * ADMISSION_ALL / 2;
	assert_non_null(strstr(sentence_of(EXPLAIN),
			       "): this client has 5 in flight, above its share of "
			       "2.5 slots, "));
	programs.reason = SLUICE_REASON_NONE;
	programs.quota = 0;
	programs.load.in_flight = 3;
	says("Admitted: no quota, 3 in flight of 13.");
}

static void an_admitted_request_says_what_is_left(void **state)
{
	programs.budget.request_tat_ns = FIXTURE_NOW_NS + 9 * S;
	says("Admitted: 3 of 12 requests left, 500 of 500 tokens left, 5 in flight of 64.");
	programs.override = SLUICE_OVERRIDE_PREFIX_EXEMPT;
	says("Admitted: a prefix of this client is exempt without end: no drain, quota, limit or target refuses it.");
	programs.override = SLUICE_OVERRIDE_ALLOWED;
	programs.override_expires_ns = FIXTURE_NOW_NS + 60 * S;
	says("Admitted: a rule allows this client until 22:14:20: no quota, limit or target refuses it.");
}

static void what_is_not_enforced_is_admitted_and_says_so(void **state)
{
	programs.reason = SLUICE_REASON_ITL;
	programs.shadow = 1;
	assert_non_null(strstr(
		sentence_of(EXPLAIN),
		"Admitted, since sluice only watches (mode shadow). Enforced, it would be refused (429, retry after 42 s): model 'llama' is over its ITL target; "));
	programs.shadow = 0;
	programs.enforced = 0;
	assert_non_null(strstr(
		sentence_of(EXPLAIN),
		"Admitted, since the lease has ended and nothing is enforced. Enforced, it would be refused (429, "));
	f->state.detaching = true;
	assert_non_null(strstr(sentence_of(EXPLAIN), "Admitted, since sluice is detaching. "));
}

static void a_drain_says_when_it_ends_and_what_ends_it(void **state)
{
	f->controller.drain = (struct controller_drain){
		.on = true, .unavailable = true, .until_ns = FIXTURE_NOW_NS + 30 * S};
	programs.reason = SLUICE_REASON_OPERATOR;
	programs.about = SLUICE_MODEL_ALL;
	says("Refused (503, retry after 42 s): an operator drains this server until 22:13:50. To end the drain: `sluicectl resume`.");
	f->controller.drain.until_ns = 0;
	f->controller.drain.unavailable = false;
	says("Refused (429, retry after 42 s): an operator drains this server without end. To end the drain: `sluicectl resume`.");
}

static void a_connection_is_refused_by_a_reset(void **state)
{
	static const char opaque[] =
		"{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"service\":\"443\"}";

	programs.quota = 0;
	assert_string_equal(
		sentence_of(opaque),
		"Admitted: no rule and no shut model refuses its connections; 0 in flight.");
	programs.reason = SLUICE_REASON_CLIENT_SHARE;
	assert_string_equal(
		sentence_of(opaque),
		"Refused (connection reset): its connections crowd out those of others, until it closes some. To admit this client anyway: `sluicectl allow 192.0.2.1 --for 10m`.");
}

/* Clients choose the names of models. */
static void a_name_in_a_command_is_quoted_for_a_shell(void **state)
{
	strcpy(f->controller.model[FIXTURE_LLAMA].name, "$(reboot)'");
	programs.reason = SLUICE_REASON_CLIENT_BLOCKED;
	assert_non_null(strstr(sentence_of(EXPLAIN),
			       "`sluicectl clear 192.0.2.1 --model $'$(reboot)\\x27'`."));
}

static void a_rule_of_the_fleet_is_lifted_on_all_hosts(void **state)
{
	struct state_client_rule rule = {.key = {.client = f->clients[0].client},
					 .flag = {.fleet = 1}};

	f->state.client_rules = &rule;
	f->state.client_rule_count = 1;
	programs.reason = SLUICE_REASON_CLIENT_BLOCKED;
	programs.about = SLUICE_MODEL_ALL;
	assert_non_null(strstr(sentence_of(EXPLAIN), "`sluicectl clear 192.0.2.1 --fleet`."));
}

static void the_sentence_is_the_first_line(void **state)
{
	static const char first[] =
		"Admitted: 12 of 12 requests left, 500 of 500 tokens left, 5 in flight of 64.\n\n"
		"request      of 192.0.2.1 for model llama at service *:8000\n";
	char *text = written(format_explain, run(EXPLAIN));

	assert_memory_equal(text, first, strlen(first));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAMS(every_reason_has_a_sentence_and_a_command),
		PROGRAMS(a_refusal_says_why_until_when_and_what_changes_it),
		PROGRAMS(the_command_of_a_latency_refusal_opens_the_model),
		PROGRAMS(policy_adaptive_says_its_numbers),
		PROGRAMS(an_admitted_request_says_what_is_left),
		PROGRAMS(what_is_not_enforced_is_admitted_and_says_so),
		PROGRAMS(a_drain_says_when_it_ends_and_what_ends_it),
		PROGRAMS(a_connection_is_refused_by_a_reset),
		PROGRAMS(a_name_in_a_command_is_quoted_for_a_shell),
		PROGRAMS(a_rule_of_the_fleet_is_lifted_on_all_hosts),
		PROGRAMS(the_sentence_is_the_first_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
