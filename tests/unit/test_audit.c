/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the log gets of a command that changes something: who gave it, and the value before it and
 * after it.
 */
#include "control_fixture.h"

#include <string.h>

#include "core/quota.h"

#define WHO "1000 100 4242 "

/* ---- operations that change what is in force ---- */

static struct state_client_rule client_rules[4];
static struct state_prefix_rule prefix_rules[2];
static struct state_client_quota quotas[2];
static struct quota_book book;

static int change_client(void *arg, const struct sluice_client_flag_key *key,
			 const struct sluice_client_flag *flag, char *err, size_t err_len)
{
	size_t n = rules_in_force.client_count;

	if (n && !memcmp(&client_rules[n - 1].key, key, sizeof(*key)))
		n--;
	client_rules[n] = (struct state_client_rule){*key, *flag};
	rules_in_force.clients = client_rules;
	rules_in_force.client_count = n + 1;
	return 0;
}

static int drop_clients(void *arg, const struct sluice_client *clients, size_t count,
			uint32_t model, char *err, size_t err_len)
{
	rules_in_force.client_count = 0;
	return 0;
}

static int change_prefix(void *arg, const struct sluice_prefix_key *key,
			 const struct sluice_prefix *prefix, char *err, size_t err_len)
{
	prefix_rules[0] = (struct state_prefix_rule){*key, *prefix};
	prefix_rules[0].prefix.own = SLUICE_PREFIX_OWN_CLASS;
	rules_in_force.prefixes = prefix_rules;
	rules_in_force.prefix_count = 1;
	return 0;
}

static int drop_prefix(void *arg, const struct sluice_prefix_key *key, char *err, size_t err_len)
{
	bool there = rules_in_force.prefix_count;

	rules_in_force.prefix_count = 0;
	return there ? 0 : -ENOENT;
}

static int change_quota(void *arg, const struct text_subject *subject, uint32_t model,
			const struct quota_def *quota, char *err, size_t err_len)
{
	book.text[7] = (struct sluice_quota_text){
		.requests = quota->requests.most,
		.request_period_ns = quota->requests.period_ns,
		.request_burst = quota->requests.burst,
	};
	quotas[0] = (struct state_client_quota){.key = {.client = subject->client, .model = model},
						.quota = 7};
	rules_in_force.quotas = quotas;
	rules_in_force.quota_count = 1;
	return 0;
}

static int change_weight(void *arg, const struct sluice_prefix_key *key, uint16_t weight, char *err,
			 size_t err_len)
{
	prefix_rules[0] = (struct state_prefix_rule){
		*key, {.weight = weight, .own = SLUICE_PREFIX_OWN_WEIGHT}};
	rules_in_force.prefixes = prefix_rules;
	rules_in_force.prefix_count = 1;
	return 0;
}

static int change_drain(void *arg, const struct controller_drain *drain, char *err, size_t err_len)
{
	f->controller.drain = *drain;
	return 0;
}

static int change_fleet(void *arg, enum control_fleet_change change,
			const struct fleet_rule_text *rules, size_t count, uint64_t for_ns,
			uint64_t *version, char *err, size_t err_len)
{
	*version = 5;
	return notes.fail;
}

static int change_detach(void *arg, uint64_t kept_ns, char *err, size_t err_len)
{
	f->state.detaching = true;
	return 0;
}

static int begin(void **state)
{
	setup(state);
	f->state.quotas = &book;
	ops.set_client = change_client;
	ops.clear_clients = drop_clients;
	ops.set_prefix = change_prefix;
	ops.clear_prefix = drop_prefix;
	ops.set_quota = change_quota;
	ops.set_weight = change_weight;
	ops.drain = change_drain;
	ops.change_fleet = change_fleet;
	ops.detach = change_detach;
	return 0;
}

static void audited(const char *line, const char *report)
{
	enum control_after after;

	notes.audit[0] = 0;
	free(control_run(control_read(&f->state, &ops, &peer, line, strlen(line)), &after));
	if (strcmp(notes.audit, report) != 0)
		fail_msg("%s\nis reported as \"%s\"\n       not \"%s\"", line, notes.audit, report);
}

static void a_change_is_reported_with_who_and_from_what_to_what(void **state)
{
	static const char *const rows[][2] = {
		{"{\"cmd\":\"set\",\"values\":[\"ttft=250ms\",\"mode=shadow\"]}",
		 WHO "set|-|-|ttft=1000ms, mode=default|ttft=250ms, mode=shadow|done"},
		{"{\"cmd\":\"set\",\"model\":\"llama\",\"values\":[\"ttft=1s+0.5/KiB\"]}",
		 WHO "set|-|llama|ttft=default|ttft=1000ms + 0.5ms/KiB|done"},
		{"{\"cmd\":\"set\",\"model\":\"llama\",\"values\":[\"max-in-flight=none\"]}",
		 WHO "set|-|llama|max-in-flight=64|max-in-flight=none|done"},
		{"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"for_ms\":7200000}",
		 WHO "block|192.0.2.1|-|none|blocked for 2 h|done"},
		{"{\"cmd\":\"allow\",\"client\":\"192.0.2.1\"}",
		 WHO "allow|192.0.2.1|-|blocked for 2 h|allowed|done"},
		{"{\"cmd\":\"block\",\"client\":\"192.0.2.1\",\"model\":\"llama\"}",
		 WHO "block|192.0.2.1|llama|none|llama: blocked|done"},
		{"{\"cmd\":\"clear\",\"client\":\"192.0.2.1\"}",
		 WHO "clear|192.0.2.1|-|allowed, llama: blocked|none|done"},
		{"{\"cmd\":\"block\",\"client\":\"10.0.0.0/8\",\"for_ms\":1000}",
		 WHO "block|10.0.0.0/8|-|none|blocked for 1 s|done"},
		{"{\"cmd\":\"clear\",\"client\":\"10.0.0.0/8\"}",
		 WHO "clear|10.0.0.0/8|-|blocked for 1 s|none|done"},
		{"{\"cmd\":\"quota-set\",\"client\":\"192.0.2.1\",\"quota\":\"requests=9/60s\"}",
		 WHO "quota-set|192.0.2.1|-|none|requests=9/60s|done"},
		{"{\"cmd\":\"quota-set\",\"client\":\"192.0.2.1\",\"quota\":\"weight=2\"}",
		 WHO "quota-set|192.0.2.1|-|requests=9/60s|requests=9/60s, weight=2|done"},
		{"{\"cmd\":\"drain\",\"for_ms\":600000}",
		 WHO "drain|-|-|in service|drained by 503 for 10 min|done"},
		{"{\"cmd\":\"resume\"}",
		 WHO "resume|-|-|drained by 503 for 10 min|in service|done"},
		{"{\"cmd\":\"block\",\"client\":\"192.0.2.9\",\"fleet\":true,\"for_ms\":1000}",
		 WHO "block fleet|192.0.2.9|-|none|blocked for 1 s|done"},
		{"{\"cmd\":\"clear\",\"client\":\"192.0.2.9\",\"fleet\":true}",
		 WHO "clear fleet|192.0.2.9|-|none|none|done"},
		{"{\"cmd\":\"quota-set\",\"client\":\"key:0123456789abcdef\",\"fleet\":true,\"quota\":\"requests=1/s\"}",
		 WHO "quota-set fleet|key:0123456789abcdef|-|none|requests=1/s|done"},
		{"{\"cmd\":\"detach\"}", WHO "detach|-|-|attached|detaching|done"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		audited(rows[i][0], rows[i][1]);
}

static void a_refused_change_is_reported_with_its_error(void **state)
{
	audited("{\"cmd\":\"set\",\"values\":[\"itl=-3\"]}", WHO
		"set|-|-|itl=30ms|itl=30ms|itl: \"…\" is not a number of milliseconds above 0 and at most 10000000 (or 1.5s, 2m), nor none");
	audited("{\"cmd\":\"reload\"}", WHO "reload|-|-|||the file says nonsense");
	audited("{\"cmd\":\"clear\",\"client\":\"10.0.0.0/8\",\"model\":\"llama\"}", WHO
		"clear|10.0.0.0/8|llama|none|none|a prefix has one rule for all models; leave --model out");
	notes.fail = -ENOENT;
	audited("{\"cmd\":\"clear\",\"client\":\"192.0.2.9\",\"fleet\":true}",
		WHO "clear fleet|192.0.2.9|-|none|none|the fleet has no such rule of 192.0.2.9");
}

/* An API key that is given as a client: its text is in the answer, and nowhere else. */
static void what_may_be_a_key_is_not_reported(void **state)
{
	audited("{\"cmd\":\"block\",\"client\":\"sk-secret\"}",
		WHO "block|-|-|none|none|its client is no address, no prefix and no key");
	refused_with("{\"cmd\":\"block\",\"client\":\"sk-secret\"}", "sk-secret");
	audited("{\"cmd\":\"quota-set\",\"client\":\"sk-secret\",\"fleet\":true,\"quota\":\"requests=1/s\"}",
		WHO "quota-set fleet|-|-|none|none|its client is no address, no prefix and no key");
	audited("{\"cmd\":\"block\",\"client\":\"192.0.2.9\",\"model\":\"sk-secret\"}", WHO
		"block|192.0.2.9|-|none|none|no model is called \"…\" (`sluicectl models` lists them)");
	audited("{\"cmd\":\"set\",\"values\":[\"sk-secret=1\"]}", WHO
		"set|-|-|||unknown key \"…\"; there are ttft, itl, duration, normalized-latency, tau, max-in-flight, floor, action, mode, policy");
}

static void what_only_reads_is_not_reported(void **state)
{
	audited("{\"cmd\":\"status\"}", "");
	audited("{\"cmd\":\"quota-show\"}", "");
	audited("{\"cmd\":\"watch\"}", "");
	audited("{\"cmd\":\"nonsense\"}", "");
	audited("no JSON", "");
}

static void a_value_is_written_as_set_takes_it(void **state)
{
	static const char *const values[][3] = {
		{"ttft", "250ms", "none"},
		{"ttft", "1ms + 0.25ms/KiB", "default"},
		{"itl", "12.5ms", "none"},
		{"duration", "30000ms", "default"},
		{"normalized-latency", "3ms", "none"},
		{"tau", "0.5s", "default"},
		{"max-in-flight", "64", "none"},
		{"floor", "3", "default"},
		{"action", "reset", "default"},
		{"mode", "shadow", "default"},
	};
	char text[CONTROLLER_VALUE_MAX], err[256];
	struct controller *c = &f->controller;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		for (unsigned k = 1; k < 3; k++) {
			if (controller_set(c, "fresh", values[i][0], values[i][k], err,
					   sizeof(err)))
				fail_msg("%s=%s: %s", values[i][0], values[i][k], err);
			assert_int_equal(controller_value(c, FIXTURE_FRESH, values[i][0], text), 0);
			assert_string_equal(text, values[i][k]);
		}
	assert_int_equal(controller_value(c, SLUICE_MODEL_ALL, "policy", text), 0);
	assert_string_equal(text, "ema-flag");
	assert_int_equal(controller_value(c, SLUICE_MODEL_ALL, "nonsense", text), -ENOENT);
}

#define AUDIT(test) cmocka_unit_test_setup_teardown(test, begin, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		AUDIT(a_change_is_reported_with_who_and_from_what_to_what),
		AUDIT(a_refused_change_is_reported_with_its_error),
		AUDIT(what_may_be_a_key_is_not_reported),
		AUDIT(what_only_reads_is_not_reported),
		AUDIT(a_value_is_written_as_set_takes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
