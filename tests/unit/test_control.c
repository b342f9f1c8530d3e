/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The control socket: the effects of its commands on a daemon state, with operations that only take
 * notes; and its clients, which can do no harm, however they write, read or hang.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control/control.h"
#include "control/format_text.h"
#include "control/report.h"
#include "core/text.h"
#include "state_fixture.h"
#include "written.h"

/* The arguments of the last operation. */
static struct notes {
	unsigned refreshed;
	int client_sets, client_clears, prefix_sets, prefix_clears, sets, reloads, detaches;
	struct sluice_client_flag_key client_key;
	struct sluice_client_flag client_flag;
	struct sluice_prefix_key prefix_key;
	struct sluice_prefix prefix;
	char set_model[128], set_first[128];
	size_t set_count;
	bool prefix_known;
	int quota_sets, weight_sets;
	uint16_t weight;
	struct text_subject quota_subject;
	uint32_t quota_model;
	struct quota_def quota;
	int fail; /* the -errno that the next operation returns, without a message */
} notes;

static void take_refresh(void *arg, unsigned parts)
{
	notes.refreshed |= parts;
}

static int take_set(void *arg, const char *model, const char *const *pairs, size_t count, char *err,
		    size_t err_len)
{
	struct fixture *f = arg;

	notes.sets++;
	notes.set_count = count;
	snprintf(notes.set_model, sizeof(notes.set_model), "%s", model ? model : "(all)");
	snprintf(notes.set_first, sizeof(notes.set_first), "%s", pairs[0]);
	return controller_set_all(&f->controller, model, pairs, count, err, err_len);
}

static int take_set_client(void *arg, const struct sluice_client_flag_key *key,
			   const struct sluice_client_flag *flag, char *err, size_t err_len)
{
	notes.client_sets++;
	notes.client_key = *key;
	notes.client_flag = *flag;
	return notes.fail;
}

static int take_clear_client(void *arg, const struct sluice_client_flag_key *key, char *err,
			     size_t err_len)
{
	notes.client_clears++;
	notes.client_key = *key;
	return notes.fail;
}

static int take_set_prefix(void *arg, const struct sluice_prefix_key *key,
			   const struct sluice_prefix *prefix, char *err, size_t err_len)
{
	notes.prefix_sets++;
	notes.prefix_key = *key;
	notes.prefix = *prefix;
	return notes.fail;
}

static int take_clear_prefix(void *arg, const struct sluice_prefix_key *key, char *err,
			     size_t err_len)
{
	notes.prefix_clears++;
	notes.prefix_key = *key;
	return notes.prefix_known ? 0 : -ENOENT;
}

static int take_set_quota(void *arg, const struct text_subject *subject, uint32_t model,
			  const struct quota_def *quota, char *err, size_t err_len)
{
	notes.quota_sets++;
	notes.quota_subject = *subject;
	notes.quota_model = model;
	notes.quota = *quota;
	return notes.fail;
}

static int take_set_weight(void *arg, const struct sluice_prefix_key *key, uint16_t weight,
			   char *err, size_t err_len)
{
	notes.weight_sets++;
	notes.prefix_key = *key;
	notes.weight = weight;
	return notes.fail;
}

static int take_clear_quota(void *arg, const struct text_subject *subject, uint32_t model,
			    char *err, size_t err_len)
{
	snprintf(err, err_len, "nothing was set by an operator");
	return -ENOENT;
}

static int take_reload(void *arg, char *said, size_t said_len, char *err, size_t err_len)
{
	notes.reloads++;
	snprintf(err, err_len, "the file says nonsense");
	return -EINVAL;
}

static int take_detach(void *arg, char *err, size_t err_len)
{
	notes.detaches++;
	return 0;
}

static struct fixture *f;
static struct control_ops ops = {
	.refresh = take_refresh,
	.set = take_set,
	.set_client = take_set_client,
	.clear_client = take_clear_client,
	.set_prefix = take_set_prefix,
	.clear_prefix = take_clear_prefix,
	.set_quota = take_set_quota,
	.set_weight = take_set_weight,
	.clear_quota = take_clear_quota,
	.reload = take_reload,
	.detach = take_detach,
};

static int setup(void **state)
{
	f = fixture_new();
	ops.arg = f;
	memset(&notes, 0, sizeof(notes));
	return 0;
}

static int teardown(void **state)
{
	free(f);
	return 0;
}

static json_t *run(const char *line)
{
	enum control_after after;
	char *text = control_answer(&f->state, &ops, line, strlen(line), &after);
	json_t *answer;

	assert_non_null(text);
	assert_null(strchr(text, '\n'));
	answer = json_loads(text, 0, NULL);
	free(text);
	assert_true(json_is_object(answer));
	assert_true(json_is_boolean(json_object_get(answer, "ok")));
	return answer;
}

static void accepted(const char *line)
{
	json_t *answer = run(line);

	if (!json_is_true(json_object_get(answer, "ok")))
		fail_msg("%s: %s", line, json_string_value(json_object_get(answer, "error")));
	json_decref(answer);
}

static void refused_with(const char *line, const char *part)
{
	json_t *answer = run(line);
	const char *error = json_string_value(json_object_get(answer, "error"));

	assert_true(json_is_false(json_object_get(answer, "ok")));
	assert_non_null(error);
	if (!strstr(error, part))
		fail_msg("%s\n\"%s\" does not say \"%s\"", line, error, part);
	json_decref(answer);
}

/* ---- reports ---- */

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

/* ---- operations ---- */

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
			struct sluice_client_count *out, int64_t *in_flight)
{
	*in_flight = 0;
	*out = (struct sluice_client_count){.last_seen_ns = FIXTURE_NOW_NS,
					    .last_service = (__u16)last_used};
	return last_used >= 0;
}

static const char *quota_at(const json_t *object)
{
	return json_string_value(json_object_get(json_object_get(object, "quota"), "quota"));
}

static void quotas_are_those_of_the_named_service(void **state)
{
	static const struct state_lookup look = {.verdict = quota_of_service,
						 .counts = find_counts},
					 mute = {.verdict = no_verdict, .counts = find_counts};
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
	assert_non_null(strstr(text, "service *:8000: the next request is admitted"));
	assert_non_null(strstr(text, "service [2001:db8::1]:443: the next request is admitted"));
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
	struct state_client_rule rules[3] = {
		{.key = {.client = f->clients[0].client, .model = SLUICE_MODEL_ALL}},
		{.key = {.client = f->clients[0].client, .model = FIXTURE_LLAMA}},
		{.key = {.client = f->clients[1].client, .model = SLUICE_MODEL_ALL}},
	};

	f->state.client_rules = rules;
	f->state.client_rule_count = 3;
	accepted("{\"cmd\":\"clear\",\"client\":\"192.0.2.1\"}");
	assert_int_equal(notes.client_clears, 2);
	memset(&notes, 0, sizeof(notes));
	accepted("{\"cmd\":\"clear\",\"client\":\"192.0.2.1\",\"model\":\"llama\"}");
	assert_int_equal(notes.client_clears, 1);
	assert_int_equal(notes.client_key.model, FIXTURE_LLAMA);
	assert_int_equal(notes.prefix_clears, 0);
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

/* ---- the socket ---- */

static char path[96];
static struct control *control;

static int setup_socket(void **state)
{
	char err[256];

	setup(state);
	snprintf(path, sizeof(path), "/tmp/sluice-test-%d/control.sock", getpid());
	if (control_open(&control, path, &f->state, &ops, err, sizeof(err)))
		fail_msg("%s", err);
	return 0;
}

static int teardown_socket(void **state)
{
	control_close(control);
	assert_int_not_equal(access(path, F_OK), 0); /* it took its socket away */
	*strrchr(path, '/') = 0;
	rmdir(path);
	return teardown(state);
}

static int connected(void)
{
	int fd = control_connect(path);

	assert_true(fd >= 0);
	control_poll(control, 0);
	return fd;
}

/* The daemon's next line; runs the loop until it is there. NULL: the connection has ended. */
static char *heard(int fd)
{
	for (int i = 0; i < 200000; i++) {
		char *line, byte;
		ssize_t n;

		control_poll(control, 0);
		n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return NULL;
		if (n > 0)
			return control_hear(fd, 1, &line) ? NULL : line;
	}
	fail_msg("no line came");
	return NULL;
}

static void heard_ok(int fd)
{
	char *line = heard(fd);

	assert_non_null(line);
	assert_memory_equal(line, "{\"ok\":true", 10);
	free(line);
}

static void the_socket_is_for_root_and_its_group(void **state)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	*strrchr(path, '/') = 0;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	path[strlen(path)] = '/';
}

static void a_living_daemons_socket_is_not_taken(void **state)
{
	struct control *second = NULL;
	char err[256];

	assert_int_equal(control_open(&second, path, &f->state, &ops, err, sizeof(err)),
			 -EADDRINUSE);
	assert_null(second);
	assert_non_null(strstr(err, path));
	int fd = connected();

	assert_int_equal(control_say(fd, "{\"cmd\":\"status\"}"), 0);
	heard_ok(fd);
	close(fd);
}

static void a_dead_daemons_socket_is_replaced(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct control *second = NULL;
	char other[80], err[256];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(other, sizeof(other), "/tmp/sluice-test-%d/dead.sock", getpid());
	strcpy(address.sun_path, other);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(control_open(&second, other, &f->state, &ops, err, sizeof(err)), 0);
	control_close(second);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
	struct control *second = NULL;
	char other[80], err[256];

	snprintf(other, sizeof(other), "/tmp/sluice-test-%d/file", getpid());
	close(open(other, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(control_open(&second, other, &f->state, &ops, err, sizeof(err)), -EEXIST);
	assert_int_equal(unlink(other), 0);
}

static void a_line_written_byte_by_byte_is_answered_once(void **state)
{
	static const char line[] = "{\"cmd\":\"status\"}\n";
	int fd = connected();
	char byte;

	for (size_t i = 0; i < sizeof(line) - 1; i++) {
		assert_int_equal(send(fd, line + i, 1, 0), 1);
		control_poll(control, 0);
	}
	heard_ok(fd);
	control_poll(control, 0);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	close(fd);
}

static void many_lines_at_once_are_answered_in_order_one_each_loop(void **state)
{
	int fd = connected(), other = connected();

	assert_int_equal(
		control_say(fd, "{\"cmd\":\"status\"}\n{\"cmd\":\"nope\"}\n{\"cmd\":\"models\"}"),
		0);
	assert_int_equal(control_say(other, "{\"cmd\":\"clients\"}"), 0);
	control_poll(control, 0);
	control_poll(control, 0);
	assert_int_equal(notes.refreshed & STATE_HISTOGRAMS, 0);
	assert_true(
		notes.refreshed &
		STATE_CLIENTS); /* the second client did not wait for all of the first's answers */
	heard_ok(fd);
	char *line = heard(fd);

	assert_memory_equal(line, "{\"ok\":false", 11);
	free(line);
	heard_ok(fd);
	heard_ok(other);
	close(fd);
	close(other);
}

static void a_client_that_has_shut_its_writing_side_still_gets_its_answer(void **state)
{
	int fd = connected();

	assert_int_equal(control_say(fd, "{\"cmd\":\"status\"}"), 0);
	shutdown(fd, SHUT_WR);
	heard_ok(fd);
	assert_null(heard(fd));
	close(fd);
}

static void a_line_too_long_is_refused_and_ends_the_connection(void **state)
{
	int fd = connected();
	char *line = malloc(CONTROL_LINE_MAX + 1);

	memset(line, 'x', CONTROL_LINE_MAX);
	line[CONTROL_LINE_MAX] = 0;
	for (size_t at = 0; at < CONTROL_LINE_MAX;) {
		ssize_t n = send(fd, line + at, CONTROL_LINE_MAX - at, MSG_DONTWAIT);

		at += n > 0 ? (size_t)n : 0;
		control_poll(control, 0);
	}
	free(line);
	line = heard(fd);
	assert_non_null(line);
	assert_memory_equal(line, "{\"ok\":false", 11);
	free(line);
	assert_null(heard(fd));
	close(fd);
}

static void one_client_too_many_gets_an_error(void **state)
{
	int fds[CONTROL_CLIENTS_MAX + 1];
	char *line;

	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		fds[i] = connected();
	line = heard(fds[CONTROL_CLIENTS_MAX]);
	assert_non_null(line);
	assert_non_null(strstr(line, "too many"));
	free(line);
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		control_poll(control, 0);
	fds[0] = connected();
	assert_int_equal(control_say(fds[0], "{\"cmd\":\"status\"}"), 0);
	heard_ok(fds[0]);
	close(fds[0]);
}

static void a_watcher_sees_refusals_and_models(void **state)
{
	struct sluice_refusal refusal = {
		.time_ns = FIXTURE_NOW_NS,
		.client = f->clients[0].client,
		.model = FIXTURE_LLAMA,
		.reason = SLUICE_REASON_TTFT,
		.action = SLUICE_ACTION_REPLY,
		.verdict = SLUICE_VERDICT_REJECTED,
		.retry_after_ms = 1500,
	};
	int fd = connected(), idle = connected();
	char *line, byte;

	assert_int_equal(control_say(fd, "{\"cmd\":\"watch\"}"), 0);
	heard_ok(fd);
	control_refusal(control, &refusal);
	control_model_changed(control, FIXTURE_LLAMA);
	line = heard(fd);
	assert_non_null(strstr(line, "\"event\":\"refusal\""));
	assert_non_null(strstr(line, "\"client\":\"192.0.2.1\""));
	assert_non_null(strstr(line, "\"service\":\"*:8000\""));
	assert_non_null(strstr(line, "\"unix_ms\":1700000000000"));
	free(line);
	line = heard(fd);
	assert_non_null(strstr(line, "\"event\":\"model\""));
	assert_non_null(strstr(line, "\"open\":false"));
	free(line);
	assert_int_equal(recv(idle, &byte, 1, MSG_DONTWAIT), -1);
	close(fd);
	close(idle);
}

static void a_watcher_that_does_not_read_is_dropped_and_delays_no_other(void **state)
{
	struct sluice_refusal refusal = {.client = f->clients[0].client,
					 .reason = SLUICE_REASON_TTFT};
	int slow = connected(), other = connected();

	assert_int_equal(control_say(slow, "{\"cmd\":\"watch\"}"), 0);
	heard_ok(slow);
	for (int i = 0; i < 20000; i++)
		control_refusal(control, &refusal);
	assert_int_equal(control_say(other, "{\"cmd\":\"status\"}"), 0);
	heard_ok(other);
	for (;;) {
		char *line = heard(slow);

		if (!line)
			break;
		free(line);
	}
	close(slow);
	close(other);
}

static void a_client_that_leaves_its_answer_unread_is_dropped_in_time(void **state)
{
	int fd = connected(), n = 0;

	/*
	 * Sends requests until an answer does not fit the socket any more: then the daemon reads no
	 * command.
	 */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (send(fd, "{\"cmd\":\"status\"}\n", 17, 0) == 17 && n++ < 100000)
		for (int i = 0; i < 4; i++)
			control_poll(control, 1);
	for (int i = 0; i < 1000; i++)
		control_poll(control, 1);
	control_expire(control, CONTROL_STALL_NS);
	control_expire(control, CONTROL_STALL_NS + 2);
	for (;;) {
		char buffer[65536];
		ssize_t got = recv(fd, buffer, sizeof(buffer), 0);

		if (got <= 0) {
			/* The connection has ended, not only run empty. */
			assert_true(got == 0 || errno == ECONNRESET);
			break;
		}
	}
	close(fd);
}

static void a_client_gone_in_mid_answer_does_no_harm(void **state)
{
	for (int i = 0; i < 50; i++) {
		int fd = connected();

		assert_int_equal(
			control_say(fd, i & 1 ? "{\"cmd\":\"watch\"}" : "{\"cmd\":\"status\"}"), 0);
		if (i & 2)
			control_poll(control, 0);
		close(fd);
		control_model_changed(control, FIXTURE_LLAMA);
		control_poll(control, 0);
	}
	int fd = connected();

	assert_int_equal(control_say(fd, "{\"cmd\":\"status\"}"), 0);
	heard_ok(fd);
	close(fd);
}

static void detach_is_answered_when_it_is_done(void **state)
{
	int fd = connected();
	char byte;

	assert_int_equal(control_say(fd, "{\"cmd\":\"detach\"}"), 0);
	for (int i = 0; i < 10; i++)
		control_poll(control, 0);
	assert_int_equal(notes.detaches, 1);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	control_detached(control, NULL);
	heard_ok(fd);
	close(fd);
}

/* ---- text output ---- */

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

static void columns_stand_under_their_headers(void **state)
{
	char *text = written(format_models, report_models(&f->state)), *save, *line;
	size_t len = 0;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (len)
			assert_int_equal(strlen(line), len);
		len = strlen(line);
	}
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
		"{\"models\":[1,null,{}],\"services\":[{}],\"interfaces\":[7],\"clients\":[[]],\"rules\":[{}]}",
		"{\"event\":\"refusal\"}",
		"{\"event\":\"model\",\"open\":false}",
		"{\"event\":\"new kind\"}",
		"{\"models\":{},\"global\":[],\"maps\":{\"x\":3},\"counters\":[],\"client\":1}",
	};

	for (size_t s = 0; s < sizeof(shows) / sizeof(shows[0]); s++)
		for (size_t a = 0; a < sizeof(answers) / sizeof(answers[0]); a++)
			free(written(shows[s], json_loads(answers[a], 0, NULL)));
}

#define PURE(test)   cmocka_unit_test_setup_teardown(test, setup, teardown)
#define SOCKET(test) cmocka_unit_test_setup_teardown(test, setup_socket, teardown_socket)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PURE(status_has_every_documented_field_with_its_type),
		PURE(sums_are_over_models_and_services),
		PURE(every_reason_but_none_is_listed_zeros_included),
		PURE(a_shut_model_shows_its_reason_and_its_opening_time),
		PURE(a_count_caught_below_zero_is_shown_as_zero),
		PURE(other_is_listed_only_when_it_has_seen_traffic),
		PURE(unknown_ids_are_named_and_not_looked_up),
		PURE(clients_come_last_seen_first_with_their_rules),
		PURE(a_rule_that_has_ended_is_not_shown),
		PURE(networks_are_read_in_all_usual_forms),
		PURE(one_client_is_a_flag_and_a_network_is_a_prefix),
		PURE(allow_of_a_prefix_exempts_it),
		PURE(an_ipv6_address_is_cut_to_its_64_and_the_answer_states_it),
		PURE(a_client_is_blocked_for_one_model_for_a_time),
		PURE(a_prefix_cannot_be_blocked_for_one_model),
		PURE(an_api_key_is_known_only_by_its_hash),
		PURE(an_api_key_is_never_repeated),
		PURE(a_quota_is_set_over_the_socket),
		PURE(a_weight_is_set_for_a_prefix),
		PURE(a_client_is_counted_by_reason),
		PURE(services_show_how_clients_are_identified),
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
		SOCKET(the_socket_is_for_root_and_its_group),
		SOCKET(a_living_daemons_socket_is_not_taken),
		SOCKET(a_dead_daemons_socket_is_replaced),
		SOCKET(a_file_that_is_no_socket_is_left_alone),
		SOCKET(a_line_written_byte_by_byte_is_answered_once),
		SOCKET(many_lines_at_once_are_answered_in_order_one_each_loop),
		SOCKET(a_client_that_has_shut_its_writing_side_still_gets_its_answer),
		SOCKET(a_line_too_long_is_refused_and_ends_the_connection),
		SOCKET(one_client_too_many_gets_an_error),
		SOCKET(a_watcher_sees_refusals_and_models),
		SOCKET(a_watcher_that_does_not_read_is_dropped_and_delays_no_other),
		SOCKET(a_client_that_leaves_its_answer_unread_is_dropped_in_time),
		SOCKET(a_client_gone_in_mid_answer_does_no_harm),
		SOCKET(detach_is_answered_when_it_is_done),
		PURE(the_first_line_states_the_shut_models_reason_and_times),
		PURE(columns_stand_under_their_headers),
		PURE(an_answer_without_its_fields_is_still_printed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
