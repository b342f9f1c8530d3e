/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The answers of the control socket that show the state, as JSON and as text.
 */
#include "control_fixture.h"

#include <time.h>

static void status_has_every_documented_field_with_its_type(void **state)
{
	/*
	 * A path, and the JSON type of its value: n number, s text, b boolean, a list, o object, 0
	 * null.
	 */
	static const char *const rows[] = {
		"s mode",
		"s policy",
		"n lease_ms",
		"a interfaces",
		"s interfaces.0.name",
		"s interfaces.0.xdp",
		"b interfaces.0.tc",
		"b interfaces.0.leads_to_server",
		"0 interfaces.0.xdp_note",
		"n interfaces.0.restored",
		"a troubles",
		"a trouble_details",
		"s trouble_details.0.kind",
		"s trouble_details.0.service",
		"s trouble_details.0.text",
		"b trouble_details.0.blind",
		"n trouble_details.0.since_unix_ms",
		"a services",
		"s services.0.address",
		"n services.0.port",
		"s services.0.protocol",
		"s services.0.action",
		"s services.0.mode",
		"a models",
		"s models.0.name",
		"b models.0.open",
		"s models.0.reason",
		"n models.0.ttft_ema_ms",
		"n models.0.itl_ema_ms",
		"n models.0.ttft_threshold_ms",
		"n models.0.itl_threshold_ms",
		"n models.0.in_flight",
		"n models.0.waiting",
		"n models.0.limit",
		"n models.0.ttft_samples",
		"n models.0.itl_samples",
		"n models.0.duration_ema_ms",
		"n models.0.duration_samples",
		"n models.0.normalized_latency_ema_ms",
		"n models.0.normalized_latency_samples",
		"0 models.1.reason",
		"0 models.1.ttft_ema_ms",
		"0 models.1.itl_ema_ms",
		"0 models.1.limit",
		"o requests",
		"n requests.admitted",
		"n requests.rejected",
		"n requests.shadow_rejected",
		"o rejected_by_reason",
		"n rejected_by_reason.ttft",
		"n shadow_rejected_by_reason.ttft",
		"n connections.reset",
		"n connections.dropped",
		"n lost_samples",
		"n counters.passed-lease",
		"n maps.conns.entries",
		"n maps.conns.max",
		"o global",
		"n global.ttft_ema_ms",
	};
	json_t *status = run("{\"cmd\":\"status\"}");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char path[128], *save, *part;
		const json_t *at = status;

		snprintf(path, sizeof(path), "%s", rows[i] + 2);
		for (part = strtok_r(path, ".", &save); part; part = strtok_r(NULL, ".", &save))
			at = json_is_array(at) ? json_array_get(at, (size_t)atoi(part))
					       : json_object_get(at, part);
		if (!at || (rows[i][0] == 'n' && !json_is_number(at)) ||
		    (rows[i][0] == 's' && !json_is_string(at)) ||
		    (rows[i][0] == 'b' && !json_is_boolean(at)) ||
		    (rows[i][0] == 'a' && !json_is_array(at)) ||
		    (rows[i][0] == 'o' && !json_is_object(at)) ||
		    (rows[i][0] == '0' && !json_is_null(at)))
			fail_msg("%s", rows[i]);
	}
	json_decref(status);
}

static void sums_are_over_models_and_services(void **state)
{
	json_t *status = report_status(&f->state);
	int admitted, rejected, shadow, ttft, blocked, itl, shadow_ttft, shadow_itl;

	assert_int_equal(json_unpack(status, "{s:{s:i, s:i, s:i}, s:{s:i, s:i, s:i}, s:{s:i, s:i}}",
				     "requests", "admitted", &admitted, "rejected", &rejected,
				     "shadow_rejected", &shadow, "rejected_by_reason", "ttft",
				     &ttft, "client-blocked", &blocked, "itl", &itl,
				     "shadow_rejected_by_reason", "ttft", &shadow_ttft, "itl",
				     &shadow_itl),
			 0);
	assert_int_equal(admitted, 77);
	assert_int_equal(rejected, 23);
	assert_int_equal(shadow, 1);
	assert_int_equal(ttft, 20);
	assert_int_equal(blocked, 3);
	assert_int_equal(itl, 0);
	assert_int_equal(shadow_ttft, 0);
	assert_int_equal(shadow_itl, 1);
	json_decref(status);
}

static void requests_are_counted_by_class_where_classes_are_in_use(void **state)
{
	json_t *status = report_status(&f->state);
	int high, low, normal, normal_blocked, low_blocked, admitted_high, admitted_normal, lowest;
	char *text;

	assert_true(json_is_null(json_object_get(status, "admitted_by_class")));
	assert_true(json_is_null(json_object_get(status, "rejected_by_class")));
	text = written(format_status, status);
	assert_null(strstr(text, "by class"));
	free(text);
	f->counts[3].key.class = 0 + 1;
	status = report_status(&f->state);
	assert_int_equal(json_unpack(status, "{s:{s:i, s:i, s:i}, s:{s:{s:i}, s:{s:i}}}",
				     "admitted_by_class", "high", &admitted_high, "normal",
				     &admitted_normal, "lowest", &lowest, "rejected_by_class",
				     "high", "ttft", &high, "normal", "client-blocked",
				     &normal_blocked),
			 0);
	assert_int_equal(admitted_high, 7);
	assert_int_equal(admitted_normal, 70);
	assert_int_equal(lowest, 0);
	assert_int_equal(high, 0);
	assert_int_equal(normal_blocked, 3);
	json_decref(status);
	f->counts[2].key.class = 2 + 1;
	status = report_status(&f->state);
	assert_int_equal(json_unpack(status, "{s:{s:{s:i}, s:{s:i, s:i}, s:{s:i}}}",
				     "rejected_by_class", "high", "client-blocked", &high, "normal",
				     "ttft", &normal, "client-blocked", &normal_blocked, "low",
				     "client-blocked", &low_blocked),
			 0);
	assert_int_equal(high, 0);
	assert_int_equal(normal, 20);
	assert_int_equal(normal_blocked, 0);
	assert_int_equal(low_blocked, 3);
	assert_int_equal(json_unpack(status, "{s:{s:i}}", "admitted_by_class", "low", &low), 0);
	assert_int_equal(low, 0);
	text = written(format_status, status);
	assert_non_null(strstr(text, "\nby class     high 7 admitted, 0 rejected\n"
				     "             normal 70 admitted, 20 rejected (ttft 20)\n"
				     "             low 0 admitted, 3 rejected (client-blocked 3)\n"
				     "connections"));
	free(text);
}

static void every_reason_but_none_is_listed_zeros_included(void **state)
{
	json_t *status = report_status(&f->state);
	const json_t *reasons = json_object_get(status, "rejected_by_reason");

	assert_int_equal(json_object_size(reasons), SLUICE_REASON_COUNT - 1);
	assert_null(json_object_get(reasons, "none"));
	for (unsigned r = 1; r < SLUICE_REASON_COUNT; r++)
		assert_true(json_is_integer(json_object_get(reasons, text_reason(r))));
	json_decref(status);
}

static void a_shut_model_shows_its_reason_and_its_opening_time(void **state)
{
	json_t *model = report_model(&f->state, FIXTURE_LLAMA);
	const char *reason;
	double retry;
	int open;
	json_int_t since;

	assert_int_equal(json_unpack(model, "{s:b, s:s, s:f, s:I}", "open", &open, "reason",
				     &reason, "retry_after_ms", &retry, "changed_unix_ms", &since),
			 0);
	assert_false(open);
	assert_string_equal(reason, "ttft");
	assert_true(retry > 10397 && retry < 10398); /* 15 s · ln 2 */
	assert_int_equal(since, FIXTURE_UNIX_NS / 1000000 - 42000);
	json_decref(model);
}

static void a_count_caught_below_zero_is_shown_as_zero(void **state)
{
	json_t *model = report_model(&f->state, FIXTURE_FRESH);

	assert_int_equal(json_integer_value(json_object_get(model, "in_flight")), 0);
	json_decref(model);
}

static void other_is_listed_only_when_it_has_seen_traffic(void **state)
{
	json_t *models = report_models(&f->state);

	assert_int_equal(json_array_size(json_object_get(models, "models")), 2);
	json_decref(models);
	f->counts[3].key.model = SLUICE_MODEL_OTHER;
	models = report_models(&f->state);
	assert_int_equal(json_array_size(json_object_get(models, "models")), 3);
	json_decref(models);
}

static void unknown_ids_are_named_and_not_looked_up(void **state)
{
	struct sluice_refusal r = {
		.service = 4000000000U, .model = 65535, .reason = 200, .action = 99, .verdict = 77};
	json_t *event = report_refusal(&f->state, &r);
	char *text = json_dumps(event, 0);

	assert_non_null(strstr(text, "unknown-65535"));
	assert_non_null(strstr(text, "unknown-4000000000"));
	free(text);
	json_decref(event);
}

static void clients_come_last_seen_first_with_their_rules(void **state)
{
	struct state_client_rule rule = {
		.key = {.client = f->clients[1].client, .model = SLUICE_MODEL_ALL},
		.flag = {.allow = 0,
			 .reason = SLUICE_REASON_CLIENT_BLOCKED,
			 .expires_ns = FIXTURE_NOW_NS + 5000000000ULL},
	};
	struct state_prefix_rule prefixes[2] = {
		{.key = {.plen = 96 + 8},
		 .prefix = {.class = SLUICE_PREFIX_BLOCKED, .own = SLUICE_PREFIX_OWN_CLASS}},
		{.key = {.plen = 96 + 24},
		 .prefix = {.class = SLUICE_PREFIX_EXEMPT, .own = SLUICE_PREFIX_OWN_CLASS}},
	};
	json_t *answer, *first, *second;

	fixture_address(prefixes[0].key.addr, 192, 0, 0, 0);
	fixture_address(prefixes[1].key.addr, 192, 0, 2, 0);
	f->state.client_rules = &rule;
	f->state.client_rule_count = 1;
	f->state.prefix_rules = prefixes;
	f->state.prefix_rule_count = 2;
	answer = run("{\"cmd\":\"clients\"}");
	first = json_array_get(json_object_get(answer, "clients"), 0);
	second = json_array_get(json_object_get(answer, "clients"), 1);
	assert_string_equal(json_string_value(json_object_get(first, "client")), "2001:db8::/64");
	assert_string_equal(json_string_value(json_object_get(first, "rule")), "block");
	assert_string_equal(json_string_value(json_object_get(second, "client")), "192.0.2.1");
	assert_string_equal(json_string_value(json_object_get(second, "rule")), "allow");
	assert_int_equal(json_array_size(json_object_get(answer, "rules")), 3);
	first = json_array_get(json_object_get(answer, "rules"), 0);
	assert_int_equal(json_integer_value(json_object_get(first, "expires_in_ms")), 5000);
	json_decref(answer);
}

static void a_rule_that_has_ended_is_not_shown(void **state)
{
	struct state_client_rule rule = {
		.key = {.client = f->clients[1].client, .model = FIXTURE_LLAMA},
		.flag = {.allow = 0, .expires_ns = FIXTURE_NOW_NS},
	};
	json_t *answer;

	f->state.client_rules = &rule;
	f->state.client_rule_count = 1;
	answer = run("{\"cmd\":\"clients\"}");
	assert_int_equal(json_array_size(json_object_get(answer, "rules")), 0);
	json_decref(answer);
}

static void a_client_is_counted_by_reason(void **state)
{
	json_t *answer = run("{\"cmd\":\"clients\",\"by\":\"rejected\"}");
	json_t *one = json_array_get(json_object_get(answer, "clients"), 0);
	const json_t *why = json_object_get(one, "rejected_by_reason");
	const json_t *shadow = json_object_get(one, "shadow_rejected_by_reason");
	char *text;

	assert_int_equal(json_integer_value(json_object_get(why, "ttft")), 18);
	assert_int_equal(json_integer_value(json_object_get(why, "request-quota")), 2);
	assert_int_equal(json_integer_value(json_object_get(why, "itl")), 0);
	assert_int_equal(json_object_size(why), SLUICE_REASON_COUNT - 1);
	assert_int_equal(json_integer_value(json_object_get(shadow, "itl")), 6);
	assert_int_equal(json_integer_value(json_object_get(one, "shadow_rejected")), 6);
	assert_string_equal(json_string_value(json_object_get(one, "last_service")), "*:8000");
	text = written(format_clients, answer);
	assert_non_null(strstr(text, "ttft 18, request-quota 2; shadow: itl 6"));
	free(text);
}

static void services_show_how_clients_are_identified(void **state)
{
	struct service *v = &f->services[0];
	json_t *answer, *one;
	char *text;

	strcpy(v->rules.key[0], "authorization");
	strcpy(v->rules.key[1], "x-my-key");
	strcpy(v->rules.forwarded, "x-forwarded-for");
	v->identity.forwarded_at = 2;
	v->identity.plen4 = 24;
	v->identity.plen6 = 56;
	v->identity.trusted_count = 1;
	v->identity.trusted[0].plen = 104;
	fixture_address(v->identity.trusted[0].addr, 10, 0, 0, 0);
	answer = run("{\"cmd\":\"services\"}");
	one = json_array_get(json_object_get(answer, "services"), 0);
	assert_int_equal(json_array_size(json_object_get(one, "identity")), 4);
	assert_string_equal(json_string_value(json_array_get(json_object_get(one, "identity"), 2)),
			    "header:x-my-key");
	assert_int_equal(json_integer_value(json_object_get(one, "client_prefix_v4")), 24);
	assert_true(json_is_false(json_object_get(one, "proxy_protocol")));
	text = written(format_services, answer);
	assert_non_null(strstr(
		text,
		"\n*:8000: clients are authorization, x-forwarded-for, header:x-my-key, address (IPv4 /24, IPv6 /56); trusted proxies 10.0.0.0/8\n"));
	free(text);
}

static void the_first_line_states_the_shut_models_reason_and_times(void **state)
{
	char *text;

	setenv("TZ", "UTC", 1);
	tzset();
	text = written(format_status, report_status(&f->state));
	text[strcspn(text, "\n")] = 0;
	assert_string_equal(
		text,
		"enforce, policy ema-flag: SHUT: llama (ttft 2000 ms over 1000 ms) since 22:12:38 (42 s), opens about 22:13:30 (in 10 s) if nothing more arrives");
	free(text);
}

static void what_sluice_does_not_see_is_said_after_the_first_line(void **state)
{
	static const char *const missing[] = {"a namespace is missing"};
	struct state_interface *eth0 = &f->interfaces[0];
	char *text;

	strcpy(eth0->note[STATE_TC_OUT], "eth0: program 7 comes first");
	strcpy(eth0->note[STATE_XDP], "eth0: has no XDP");
	eth0->restored = 3;
	f->state.netns_notes = missing;
	f->state.netns_note_count = 1;
	f->state.pins_note = "pins are missing";
	f->troubles[1][TROUBLE_NOT_LISTENING].on = true;
	f->troubles[SLUICE_SERVICES_MAX][TROUBLE_MODELS] =
		(struct trouble){.on = true, .facts.n = 7};
	text = written(format_status, report_status(&f->state));
	assert_ptr_equal(
		strstr(text,
		       "\nTROUBLE: pins are missing\nTROUBLE: a namespace is missing\nTROUBLE: eth0: program 7 comes first\n"),
		strchr(text, '\n'));
	assert_non_null(strstr(
		text, "\nnote: 3 times sluice set right what somebody had changed at eth0\n"));
	assert_non_null(strstr(text, "\nnote: eth0: has no XDP\n"));
	assert_null(strstr(text, "TROUBLE: eth0: has no XDP"));
	assert_non_null(strstr(text, ": nobody listens there: "));
	assert_non_null(strstr(
		text, "\nnote: some service: 7 models that nobody configured are busy at once: "));
	free(text);
}

static void columns_stand_under_their_headers(void **state)
{
	char *text = written(format_models, report_models(&f->state)), *save, *line;
	size_t len = 0;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (len && strncmp(line, "NOT STREAMED", strlen("NOT STREAMED")) != 0)
			assert_int_equal(strlen(line), len);
		len = strlen(line);
	}
	free(text);
}

static void names_of_clients_choice_are_escaped_in_every_text(void **state)
{
	static const char *const names[] = {"\xe2\x80\xae", "\xc2\x9b"};
	json_t *answer = report_status(&f->state), *model;
	char *text;

	model = json_array_get(json_object_get(answer, "models"), 0);
	json_object_set_new(model, "name", json_string("a\xe2\x80\xae\x1b[31m\xc2\x9b"));
	format_printable(answer);
	text = written(format_status, answer);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_null(strstr(text, names[i]));
	/* The shut model is in the first line and in the table. */
	assert_non_null(strstr(text, "SHUT: a\\u202e\\u001b[31m\\u009b (ttft"));
	assert_non_null(strstr(text, "\na\\u202e\\u001b[31m\\u009b "));
	free(text);
}

static void an_answer_without_its_fields_is_still_printed(void **state)
{
	static void (*const shows[])(FILE *, const json_t *) = {
		format_status, format_models, format_clients, format_services,
		format_event,  format_set,    format_done,
	};
	static const char *const answers[] = {
		"{}",
		"{\"models\":[1,null,{}],\"services\":[{}],\"interfaces\":[7],\"troubles\":[7],\"clients\":[[]],\"rules\":[{}]}",
		"{\"event\":\"refusal\"}",
		"{\"event\":\"model\",\"open\":false}",
		"{\"event\":\"new kind\"}",
		"{\"models\":{},\"global\":[],\"maps\":{\"x\":3},\"counters\":[],\"client\":1}",
	};

	for (size_t s = 0; s < sizeof(shows) / sizeof(shows[0]); s++)
		for (size_t a = 0; a < sizeof(answers) / sizeof(answers[0]); a++)
			free(written(shows[s], json_loads(answers[a], 0, NULL)));
}

static void an_empty_value_is_a_dash_and_no_line_is_empty(void **state)
{
	static const struct {
		void (*show)(FILE *, const json_t *);
		const char *answer;
	} rows[] = {
		{format_status, "{}"},
		{format_status,
		 "{\"mode\":\"\",\"version\":\"\",\"interfaces\":[{\"name\":\"\"}]}"},
		{format_models, "{\"models\":[{\"name\":\"\"}]}"},
		{format_clients,
		 "{\"clients\":[{\"client\":\"\",\"last_model\":\"\",\"rule\":\"\"}]}"},
		{format_clients, "{\"rules\":[{\"client\":\"\",\"kind\":\"\"}]}"},
		{format_services, "{\"services\":[{\"address\":\"\",\"default_model\":\"\"}]}"},
		{format_event, "{\"event\":\"refusal\",\"client\":\"\",\"action\":\"\"}"},
		{format_set, "{\"model\":{\"name\":\"\"},\"note\":\"\"}"},
		{format_done, "{\"did\":\"\"}"},
		{format_done, "{\"did\":\"\",\"client\":\"\",\"note\":\"\"}"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = written(rows[i].show, json_loads(rows[i].answer, 0, NULL));

		if (!*text || *text == '\n' || strstr(text, " \n") || strstr(text, "\n\n\n"))
			fail_msg("%s:\n%s", rows[i].answer, text);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PURE(status_has_every_documented_field_with_its_type),
		PURE(sums_are_over_models_and_services),
		PURE(requests_are_counted_by_class_where_classes_are_in_use),
		PURE(every_reason_but_none_is_listed_zeros_included),
		PURE(a_shut_model_shows_its_reason_and_its_opening_time),
		PURE(a_count_caught_below_zero_is_shown_as_zero),
		PURE(other_is_listed_only_when_it_has_seen_traffic),
		PURE(unknown_ids_are_named_and_not_looked_up),
		PURE(clients_come_last_seen_first_with_their_rules),
		PURE(a_rule_that_has_ended_is_not_shown),
		PURE(a_client_is_counted_by_reason),
		PURE(services_show_how_clients_are_identified),
		PURE(the_first_line_states_the_shut_models_reason_and_times),
		PURE(what_sluice_does_not_see_is_said_after_the_first_line),
		PURE(columns_stand_under_their_headers),
		PURE(names_of_clients_choice_are_escaped_in_every_text),
		PURE(an_answer_without_its_fields_is_still_printed),
		PURE(an_empty_value_is_a_dash_and_no_line_is_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
