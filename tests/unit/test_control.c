/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The commands of the control socket: what they do to a fixed state, and which lines they refuse.
 */
#include "control_fixture.h"

static void networks_are_read_in_all_usual_forms(void **state)
{
	static const struct {
		const char *text, *means; /* NULL: refused */
	} rows[] = {
		{"192.0.2.1", "192.0.2.1"},
		{"192.0.2.1/32", "192.0.2.1"},
		{"10.1.2.3/8", "10.0.0.0/8"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"::/0", "::/0"},
		{"2001:db8::1", "2001:db8::1/128"},
		{"2001:db8:0:1::1/64", "2001:db8:0:1::/64"},
		{"2001:db8:ffff::/33", "2001:db8:8000::/33"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8"},
		{"", NULL},
		{"/8", NULL},
		{"10.0.0.0/", NULL},
		{"10.0.0.0/33", NULL},
		{"10.0.0.0/-1", NULL},
		{"10.0.0.0/+8", NULL},
		{"10.0.0.0/8 ", NULL},
		{"10.0.0.0/00000000008", NULL},
		{"10.0.0.0/4294967304", NULL},
		{"10.0.0", NULL},
		{"::/129", NULL},
		{"1:2:3:4:5:6:7:8:9", NULL},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL},
		{"example.com", NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct text_network net;
		struct sluice_client client = {0};
		char text[TEXT_CLIENT_MAX];
		int ret = text_parse_network(rows[i].text, &net);

		if ((ret == 0) != (rows[i].means != NULL))
			fail_msg("%s: %d", rows[i].text, ret);
		if (ret)
			continue;
		memcpy(client.addr, net.addr, 16);
		client.plen = net.plen;
		text_client(text, &client);
		assert_string_equal(text, rows[i].means);
	}
}

static void one_client_is_a_flag_and_a_network_is_a_prefix(void **state)
{
	static const struct {
		const char *client;
		bool one;
		unsigned plen;
	} rows[] = {
		{"192.0.2.1", true, 128},     {"192.0.2.1/32", true, 128},
		{"192.0.2.0/24", false, 120}, {"2001:db8::1", true, 64},
		{"2001:db8::1/64", true, 64}, {"2001:db8::1/128", false, 128},
		{"2001:db8::/32", false, 32}, {"::/0", false, 0},
		{"0.0.0.0/0", false, 96},     {"::ffff:192.0.2.1", true, 128},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char line[128];

		memset(&notes, 0, sizeof(notes));
		snprintf(line, sizeof(line), "{\"cmd\":\"block\",\"client\":\"%s\"}",
			 rows[i].client);
		accepted(line);
		if (notes.client_sets != rows[i].one || notes.prefix_sets == rows[i].one)
			fail_msg("%s", rows[i].client);
		if (rows[i].one) {
			assert_int_equal(notes.client_key.client.plen, rows[i].plen);
			assert_int_equal(notes.client_key.model, SLUICE_MODEL_ALL);
			assert_int_equal(notes.client_flag.allow, 0);
			assert_int_equal(notes.client_flag.reason, SLUICE_REASON_CLIENT_BLOCKED);
		} else {
			assert_int_equal(notes.prefix_key.plen, rows[i].plen);
			assert_int_equal(notes.prefix.class, SLUICE_PREFIX_BLOCKED);
		}
	}
}

static void allow_of_a_prefix_exempts_it(void **state)
{
	accepted("{\"cmd\":\"allow\",\"client\":\"10.0.0.0/8\"}");
	assert_int_equal(notes.prefix.class, SLUICE_PREFIX_EXEMPT);
	assert_int_equal(notes.prefix.expires_ns, 0);
}

static void an_ipv6_address_is_cut_to_its_64_and_the_answer_states_it(void **state)
{
	json_t *answer = run("{\"cmd\":\"block\",\"client\":\"2001:db8::dead:beef\"}");

	assert_string_equal(json_string_value(json_object_get(answer, "client")), "2001:db8::/64");
	assert_non_null(json_object_get(answer, "note"));
	assert_int_equal(notes.client_key.client.addr[15], 0);
	json_decref(answer);
	answer = run("{\"cmd\":\"block\",\"client\":\"2001:db8::/64\"}");
	assert_null(json_object_get(answer, "note"));
	json_decref(answer);
}

static void a_client_is_blocked_for_one_model_for_a_time(void **state)
{
	accepted(
		"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"model\":\"llama\",\"for_ms\":600000}");
	assert_int_equal(notes.client_key.model, FIXTURE_LLAMA);
	assert_int_equal(notes.client_flag.expires_ns, FIXTURE_NOW_NS + 600000000000ULL);
}

static void a_prefix_cannot_be_blocked_for_one_model(void **state)
{
	refused_with(
		"{\"cmd\":\"block\",\"client\":\"10.0.0.0/8\",\"model\":\"llama\"}",
		"a prefix is blocked for all models; name an address to block it for one model");
	assert_int_equal(notes.prefix_sets, 0);
}

static void a_command_names_a_model_that_the_full_table_has_lost(void **state)
{
	static const struct {
		const char *line;
		bool makes;
	} rows[] = {
		{"{\"cmd\":\"set\",\"model\":\"%s\",\"values\":[\"ttft=1s\"]}", true},
		{"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"model\":\"%s\"}", true},
		{"{\"cmd\":\"allow\",\"client\":\"192.0.2.1\",\"model\":\"%s\"}", true},
		{"{\"cmd\":\"quota-set\",\"client\":\"192.0.2.1\",\"model\":\"%s\",\"quota\":\"requests=5/1m\"}",
		 true},
		{"{\"cmd\":\"quota-set\",\"client\":\"10.0.0.0/8\",\"model\":\"%s\",\"quota\":\"requests=5/1m\"}",
		 false},
		{"{\"cmd\":\"block\",\"client\":\"10.0.0.0/8\",\"model\":\"%s\"}", false},
		{"{\"cmd\":\"clear\",\"client\":\"192.0.2.1\",\"model\":\"%s\"}", false},
		{"{\"cmd\":\"quota-clear\",\"client\":\"192.0.2.1\",\"model\":\"%s\"}", false},
		{"{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"model\":\"%s\"}", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char line[256], name[16];
		json_t *answer;

		memset(&notes, 0, sizeof(notes));
		snprintf(name, sizeof(name), "new-%zu", i);
		snprintf(line, sizeof(line), rows[i].line, name);
		f->controller.names_forgotten = false;
		refused_with(line, "no model is called"); /* all names are known: misspelt */
		f->controller.names_forgotten = true;
		if (!rows[i].makes) {
			refused_with(line, "no model is called");
			if (notes.names || controller_find(&f->controller, name) >= 0)
				fail_msg("%s", line);
			continue;
		}
		answer = run(line);
		if (notes.names != 1 || controller_find(&f->controller, name) < 0 ||
		    !strstr(json_string_value(json_object_get(answer, "note")), name))
			fail_msg("%s", line);
		json_decref(answer);
		accepted(line);
		assert_int_equal(notes.names, 1);
		snprintf(line, sizeof(line), rows[i].line, "pool:x");
		refused_with(line, "no model is called");
		notes.fail = -ENOSPC;
		snprintf(line, sizeof(line), rows[i].line, "no-room");
		refused_with(line, "");
		assert_int_equal(controller_find(&f->controller, "no-room"), -ENOENT);
	}
}

static bool take_key(void *arg, const char *secret, size_t len, struct sluice_client *out)
{
	*out = (struct sluice_client){.addr = {0xab, [7] = (uint8_t)len},
				      .kind = SLUICE_CLIENT_KEY};
	return !strncmp(secret, "sk-hunter2", len);
}

static void an_api_key_is_known_only_by_its_hash(void **state)
{
	static const struct state_lookup hashing = {.key = take_key};
	static const char *const lines[] = {
		"{\"cmd\":\"block\",\"client\":\"key=sk-hunter2\"}",
		"{\"cmd\":\"block\",\"client\":\"key:ab0000000000000a\"}",
		"{\"cmd\":\"quota-set\",\"client\":\"key=sk-hunter2\",\"quota\":\"requests=5/1m\"}",
	};

	f->state.lookup = &hashing;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		json_t *answer = run(lines[i]);
		char *text = json_dumps(answer, 0);

		assert_true(json_is_true(json_object_get(answer, "ok")));
		assert_null(strstr(text, "hunter2"));
		assert_non_null(strstr(text, "key:ab0000000000000a"));
		free(text);
		json_decref(answer);
	}
	assert_int_equal(notes.client_sets, 2);
	assert_int_equal(notes.client_key.client.kind, SLUICE_CLIENT_KEY);
	assert_int_equal(notes.quota_sets, 1);
	assert_true(notes.quota_subject.one);
	/* A key has no prefix, so clearing it must not remove the rule of ::/0. */
	json_decref(run("{\"cmd\":\"clear\",\"client\":\"key:ab0000000000000a\"}"));
	assert_int_equal(notes.prefix_clears, 0);
}

static void an_api_key_is_never_repeated(void **state)
{
	static const char *const lines[] = {
		"{\"cmd\":\"block\",\"client\":\"key=sk-hunter2\"}",
		"{\"cmd\":\"clear\",\"client\":\"key=sk-hunter2\"}",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		json_t *answer = run(lines[i]);
		char *text = json_dumps(answer, 0);

		assert_true(json_is_false(json_object_get(answer, "ok")));
		assert_null(strstr(text, "hunter2"));
		assert_non_null(strstr(text, "API key"));
		free(text);
		json_decref(answer);
	}
}

static void a_quota_is_set_over_the_socket(void **state)
{
	json_t *answer = run(
		"{\"cmd\":\"quota-set\",\"client\":\"192.0.2.1\",\"model\":\"llama\",\"quota\":\"requests=100/60s burst=20\"}");

	assert_string_equal(json_string_value(json_object_get(answer, "quota")),
			    "requests=100/60s burst=20");
	json_decref(answer);
	assert_int_equal(notes.quota_sets, 1);
	assert_int_equal(notes.quota_model, FIXTURE_LLAMA);
	assert_int_equal(notes.quota.requests.burst, 20);
	refused_with("{\"cmd\":\"quota-set\",\"client\":\"192.0.2.1\"}", "\"quota\" is missing");
	refused_with("{\"cmd\":\"quota-set\",\"client\":\"192.0.2.1\",\"quota\":\"request=3/1m\"}",
		     "did you mean \"requests\"?");
	refused_with(
		"{\"cmd\":\"quota-set\",\"client\":\"10.0.0.0/8\",\"model\":\"llama\",\"quota\":\"none\"}",
		"for all models");
	refused_with("{\"cmd\":\"quota-clear\",\"client\":\"192.0.2.1\"}",
		     "nothing was set by an operator");
	refused_with("{\"cmd\":\"clients\",\"by\":\"size\"}", "is not one of requests, tokens");
	assert_int_equal(notes.quota_sets, 1);
}

static void a_quota_of_a_fleet_needs_one(void **state)
{
	const char *line =
		"{\"cmd\":\"quota-set\",\"client\":\"192.0.2.1\",\"quota\":\"requests=5/10s fleet=on\"}";

	refused_with(line, "quota: fleet=on needs fleet and fleet-store, too");
	assert_int_equal(notes.quota_sets, 0);
	f->state.fleet = &(struct state_fleet){.name = "gpu"};
	accepted(line);
	assert_int_equal(notes.quota_sets, 1);
}

static void a_drain_says_until_when_and_what_new_requests_get(void **state)
{
	static const struct {
		const char *line, *did;
	} rows[] = {
		{"{\"cmd\":\"drain\",\"for_ms\":300000}",
		 "draining for 5 min: what is in flight ends, what is new gets a 503"},
		{"{\"cmd\":\"drain\",\"status\":429}",
		 "draining until `sluicectl resume`: what is in flight ends, what is new gets a 429"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *answer = run(rows[i].line);

		assert_string_equal(json_string_value(json_object_get(answer, "did")), rows[i].did);
		json_decref(answer);
	}
	refused_with("{\"cmd\":\"drain\",\"status\":500}", "\"status\" must be 503 or 429");
}

static void a_weight_is_set_for_a_prefix(void **state)
{
	json_t *answer =
		run("{\"cmd\":\"quota-set\",\"client\":\"10.0.0.0/8\",\"quota\":\"weight=0.5\"}");

	assert_true(json_number_value(json_object_get(answer, "weight")) == 0.5);
	assert_null(json_object_get(answer, "quota"));
	json_decref(answer);
	assert_int_equal(notes.weight_sets, 1);
	assert_int_equal(notes.quota_sets, 0);
	assert_int_equal(notes.weight, SLUICE_WEIGHT_ONE / 2);
	assert_int_equal(notes.prefix_key.plen, 104);
	accepted(
		"{\"cmd\":\"quota-set\",\"client\":\"192.0.2.1\",\"quota\":\"requests=5/1s weight=2 burst=9\"}");
	assert_int_equal(notes.weight_sets, 2);
	assert_int_equal(notes.prefix_key.plen, 128);
	assert_int_equal(notes.quota_sets, 1);
	assert_int_equal(notes.quota.requests.burst, 9);
	refused_with("{\"cmd\":\"quota-set\",\"client\":\"10.0.0.0/8\",\"quota\":\"weight=lots\"}",
		     "weight: \"lots\" is not a weight");
	refused_with(
		"{\"cmd\":\"quota-set\",\"client\":\"10.0.0.0/8\",\"quota\":\"weight=2 request=1/1s\"}",
		"did you mean \"requests\"?");
	refused_with(
		"{\"cmd\":\"quota-set\",\"client\":\"192.0.2.1\",\"model\":\"llama\",\"quota\":\"weight=2\"}",
		"for all models");
	refused_with(
		"{\"cmd\":\"quota-set\",\"client\":\"key:0123456789abcdef\",\"quota\":\"weight=2\"}",
		"a weight is of addresses");
	assert_int_equal(notes.weight_sets, 2);
}

static void an_override_of_an_address_holds_for_its_client_at_every_service(void **state)
{
	json_t *answer;

	f->services[0].identity.plen4 = 32;
	f->services[1].identity.plen4 = 24;
	f->services[0].identity.plen6 = 64;
	f->services[1].identity.plen6 = 48;
	answer = run("{\"cmd\":\"block\",\"client\":\"192.0.2.7\"}");
	assert_int_equal(notes.client_sets, 2);
	assert_int_equal(notes.client_key.client.plen, 120);
	assert_int_equal(notes.client_key.client.addr[15], 0);
	assert_string_equal(json_string_value(json_object_get(answer, "client")), "192.0.2.7");
	assert_string_equal(json_string_value(json_object_get(answer, "note")),
			    "at [2001:db8::1]:443 its client is 192.0.2.0/24");
	json_decref(answer);
	accepted("{\"cmd\":\"quota-set\",\"client\":\"192.0.2.7\",\"quota\":\"none\"}");
	assert_int_equal(notes.quota_sets, 2);
	assert_int_equal(notes.quota_subject.client.plen, 120);
	/* An address with its own length, which no service uses for clients, is a prefix. */
	accepted("{\"cmd\":\"block\",\"client\":\"2001:db8::/64\"}");
	assert_int_equal(notes.client_sets, 2);
	assert_int_equal(notes.prefix_sets, 1);
	f->services[0].identity.plen4 = 24;
	answer = run("{\"cmd\":\"block\",\"client\":\"192.0.2.7\"}");
	assert_int_equal(notes.client_sets, 3);
	assert_string_equal(json_string_value(json_object_get(answer, "client")), "192.0.2.0/24");
	json_decref(answer);
}

/* Quotas are those of the services; no client has used one, but where `last_used` says so. */
static int last_used;

static bool quota_of_service(void *arg, uint32_t service, struct sluice_question *question,
			     struct sluice_answer *out)
{
	*out = (struct sluice_answer){.answered = 1,
				      .now_ns = FIXTURE_NOW_NS,
				      .quota = f->services[service].quota_id,
				      .quota_from = SLUICE_QUOTA_FROM_SERVICE};
	return true;
}

static bool no_verdict(void *arg, uint32_t service, struct sluice_question *question,
		       struct sluice_answer *out)
{
	return false;
}

static bool find_counts(void *arg, const struct sluice_client *client,
			struct sluice_client_count *out)
{
	*out = (struct sluice_client_count){.last_seen_ns = FIXTURE_NOW_NS,
					    .last_service = (__u16)last_used};
	return last_used >= 0;
}

static int64_t nothing_in_flight(void *arg, const struct sluice_client *client)
{
	return 0;
}

static const char *quota_at(const json_t *object)
{
	return json_string_value(json_object_get(json_object_get(object, "quota"), "quota"));
}

static void quotas_are_those_of_the_named_service(void **state)
{
	static const struct state_lookup look = {.verdict = quota_of_service,
						 .counts = find_counts,
						 .in_flight = nothing_in_flight},
					 mute = {.verdict = no_verdict,
						 .counts = find_counts,
						 .in_flight = nothing_in_flight};
	struct quota_book *book = calloc(1, sizeof(*book));
	struct quota_def four = {.requests = {4, 10000000000, 4}},
			 nine = {.requests = {9, 10000000000, 9}};
	json_t *answer, *list;
	bool fresh, taken;
	char *text;

	last_used = -1;
	f->state.lookup = &look;
	f->state.quotas = book;
	f->services[0].quota_id = (uint16_t)quota_book_id(book, &four, SLUICE_SCOPE_SERVICE,
							  "*:8000", false, NULL, &fresh, &taken);
	answer = run("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\"}");
	assert_string_equal(quota_at(answer), "requests=4/10s");
	assert_int_equal(json_array_size(json_object_get(answer, "services")), 2);
	json_decref(answer);
	f->services[1].quota_id = (uint16_t)quota_book_id(book, &nine, SLUICE_SCOPE_SERVICE, "x",
							  false, NULL, &fresh, &taken);
	answer = run("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\"}");
	list = json_object_get(answer, "services");
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(quota_at(answer), "requests=4/10s");
	assert_string_equal(quota_at(json_array_get(list, 0)), "requests=4/10s");
	assert_string_equal(quota_at(json_array_get(list, 1)), "requests=9/10s");
	text = written(format_explain, answer);
	assert_non_null(
		strstr(text, "request      of 192.0.2.1 for model llama at service *:8000"));
	assert_non_null(strstr(text, "at service [2001:db8::1]:443"));
	free(text);
	answer = run(
		"{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"service\":\"[2001:db8::1]:443\"}");
	assert_string_equal(quota_at(answer), "requests=9/10s");
	assert_null(json_object_get(answer, "services"));
	json_decref(answer);
	/* A client that has used a service is meant there; one that is gone does not count. */
	last_used = 1;
	answer = run("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\"}");
	assert_string_equal(quota_at(answer), "requests=9/10s");
	assert_null(json_object_get(answer, "services"));
	json_decref(answer);
	last_used = 2;
	answer = run("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\"}");
	assert_int_equal(json_array_size(json_object_get(answer, "services")), 2);
	json_decref(answer);
	f->state.lookup = &mute;
	refused_with("{\"cmd\":\"explain\",\"client\":\"192.0.2.1\"}", "gave no verdict");
	f->state.lookup = &look;
	/* Clients: at the service where each was last seen, or all at the named one. */
	answer = run("{\"cmd\":\"clients\",\"by\":\"rejected\"}");
	list = json_object_get(answer, "clients");
	assert_string_equal(quota_at(json_array_get(list, 0)), "requests=4/10s");
	assert_string_equal(quota_at(json_array_get(list, 1)), "requests=9/10s");
	json_decref(answer);
	answer = run("{\"cmd\":\"clients\",\"by\":\"rejected\",\"service\":\"443\"}");
	list = json_object_get(answer, "clients");
	assert_string_equal(quota_at(json_array_get(list, 0)), "requests=9/10s");
	json_decref(answer);
	refused_with("{\"cmd\":\"clients\",\"service\":\"99\"}", "no service is \"99\"");
	free(book);
}

static void a_failed_operation_gives_its_reason(void **state)
{
	notes.fail = -E2BIG;
	refused_with("{\"cmd\":\"block\",\"client\":\"192.0.2.1\"}", "192.0.2.1");
	refused_with("{\"cmd\":\"reload\"}", "the file says nonsense");
}

static void clear_removes_every_rule_of_a_client(void **state)
{
	notes.rule_known = true;
	accepted("{\"cmd\":\"clear\",\"client\":\"192.0.2.1\"}");
	assert_int_equal(notes.client_clears, 1);
	assert_memory_equal(&notes.client_key.client, &f->clients[0].client,
			    sizeof(notes.client_key.client));
	assert_int_equal(notes.client_key.model, SLUICE_MODEL_ALL);
	assert_int_equal(notes.prefix_clears, 1);
	accepted("{\"cmd\":\"clear\",\"client\":\"192.0.2.1\",\"model\":\"llama\"}");
	assert_int_equal(notes.client_clears, 2);
	assert_int_equal(notes.client_key.model, FIXTURE_LLAMA);
	assert_int_equal(notes.prefix_clears, 1);
}

static void clear_of_a_prefix_removes_its_rule(void **state)
{
	notes.prefix_known = true;
	accepted("{\"cmd\":\"clear\",\"client\":\"10.0.0.0/8\"}");
	assert_int_equal(notes.prefix_clears, 1);
	assert_int_equal(notes.prefix_key.plen, 104);
}

static void clear_without_a_rule_is_refused(void **state)
{
	refused_with("{\"cmd\":\"clear\",\"client\":\"192.0.2.1\"}", "192.0.2.1 has no rule");
	refused_with("{\"cmd\":\"clear\",\"client\":\"10.0.0.0/8\"}", "10.0.0.0/8 has no rule");
	refused_with("{\"cmd\":\"clear\",\"client\":\"192.0.2.1\",\"model\":\"llama\"}",
		     "no rule for this model");
}

static void set_applies_all_pairs_and_shows_the_new_values(void **state)
{
	json_t *answer = run(
		"{\"cmd\":\"set\",\"model\":\"llama\",\"values\":[\"ttft=5s\",\"max-in-flight=8\"]}");
	const json_t *model = json_object_get(answer, "model");

	assert_int_equal(notes.set_count, 2);
	assert_string_equal(notes.set_model, "llama");
	assert_string_equal(notes.set_first, "ttft=5s");
	assert_true(json_number_value(json_object_get(model, "ttft_threshold_ms")) == 5000);
	assert_true(json_is_true(json_object_get(model, "open")));
	assert_int_equal(json_integer_value(json_object_get(model, "limit")), 8);
	json_decref(answer);
	answer = run("{\"cmd\":\"set\",\"values\":[\"itl=40ms\"]}");
	assert_string_equal(notes.set_model, "(all)");
	assert_true(json_number_value(json_object_get(json_object_get(answer, "global"),
						      "itl_threshold_ms")) == 40);
	json_decref(answer);
}

static void a_refused_value_carries_the_controllers_error(void **state)
{
	refused_with("{\"cmd\":\"set\",\"values\":[\"ttft=fast\"]}", "ttft");
	refused_with("{\"cmd\":\"set\",\"model\":\"nobody\",\"values\":[\"ttft=1s\"]}", "nobody");
}

static void hostile_lines_are_answered_with_an_error(void **state)
{
	static const char *const lines[] = {
		"",
		" ",
		"status",
		"{",
		"}",
		"[]",
		"null",
		"1e999",
		"\"status\"",
		"{\"cmd\":1}",
		"{\"cmd\":null}",
		"{\"cmd\":[]}",
		"{\"cmd\":\"\"}",
		"{\"cmd\":\"no such\"}",
		"{\"cmd\":\"status\"} x",
		"{\"cmd\":\"status\",\"cmd\":\"detach\"}",
		"{\"cmd\":\"sta\\u0000tus\"}",
		"{\"cmd\":\"\xff\xfe\"}",
		"\xff",
		"\x01",
		"{\"cmd\":\"block\"}",
		"{\"cmd\":\"block\",\"client\":7}",
		"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"model\":7}",
		"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"model\":\"\"}",
		"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"model\":\"nobody\"}",
		"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"for_ms\":\"1\"}",
		"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"for_ms\":-1}",
		"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"for_ms\":0}",
		"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"for_ms\":1e300}",
		"{\"cmd\":\"set\"}",
		"{\"cmd\":\"set\",\"values\":{}}",
		"{\"cmd\":\"set\",\"values\":[]}",
		"{\"cmd\":\"set\",\"values\":[1]}",
		"{\"cmd\":\"set\",\"values\":[\"\"]}",
		"{\"cmd\":\"set\",\"values\":[\"=\"]}",
		"{\"cmd\":\"set\",\"values\":[\"ttft\"]}",
		"{\"cmd\":\"set\",\"values\":\"ttft=1s\"}",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		refused_with(lines[i], "");
	assert_int_equal(notes.client_sets + notes.detaches, 0);
}

static void nesting_without_end_is_answered_with_an_error(void **state)
{
	char *line = malloc(CONTROL_LINE_MAX);

	memset(line, '[', CONTROL_LINE_MAX - 1);
	line[CONTROL_LINE_MAX - 1] = 0;
	refused_with(line, "");
	free(line);
}

static void a_quotation_cut_within_a_character_is_still_an_answer(void **state)
{
	refused_with("{\"cmd\":\"xéééééééééééééééééééééééééééé\"}", "no command is called");
	refused_with("{\"cmd\":\"éééééééééééééééééééééééééééé\"}", "no command is called");
}

/* Its sender would think that it counts. */
static void a_field_that_a_command_does_not_take_is_refused(void **state)
{
	static const char *const fields[] = {"for", "forms", "for_ms ", "model for_ms", "", "é"};
	char line[200], error[80];

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		snprintf(line, sizeof(line),
			 "{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"%s\":\"1m\"}", fields[i]);
		snprintf(error, sizeof(error), "block takes no field \"%s\"", fields[i]);
		refused_with(line, error);
	}
	refused_with("{\"cmd\":\"resume\",\"for_ms\":null}", "resume takes no field \"for_ms\"");
	assert_int_equal(notes.client_sets, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PURE(a_field_that_a_command_does_not_take_is_refused),
		PURE(networks_are_read_in_all_usual_forms),
		PURE(one_client_is_a_flag_and_a_network_is_a_prefix),
		PURE(allow_of_a_prefix_exempts_it),
		PURE(an_ipv6_address_is_cut_to_its_64_and_the_answer_states_it),
		PURE(a_client_is_blocked_for_one_model_for_a_time),
		PURE(a_prefix_cannot_be_blocked_for_one_model),
		PURE(a_command_names_a_model_that_the_full_table_has_lost),
		PURE(an_api_key_is_known_only_by_its_hash),
		PURE(an_api_key_is_never_repeated),
		PURE(a_quota_is_set_over_the_socket),
		PURE(a_quota_of_a_fleet_needs_one),
		PURE(a_drain_says_until_when_and_what_new_requests_get),
		PURE(a_weight_is_set_for_a_prefix),
		PURE(an_override_of_an_address_holds_for_its_client_at_every_service),
		PURE(quotas_are_those_of_the_named_service),
		PURE(a_failed_operation_gives_its_reason),
		PURE(clear_removes_every_rule_of_a_client),
		PURE(clear_of_a_prefix_removes_its_rule),
		PURE(clear_without_a_rule_is_refused),
		PURE(set_applies_all_pairs_and_shows_the_new_values),
		PURE(a_refused_value_carries_the_controllers_error),
		PURE(hostile_lines_are_answered_with_an_error),
		PURE(nesting_without_end_is_answered_with_an_error),
		PURE(a_quotation_cut_within_a_character_is_still_an_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
