/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rules for a whole fleet: what the store says, which is hostile input, and how they join a host's
 * own. tests/e2e/test_fleet_rules.sh has a real store. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "core/fleet.h"
#include "core/fleet_rule.h"
#include "desired/desired.h"
#include "fleet/internal.h"
#include "fleet/rule_list.h"
#include "fleet/rules.h"

#define S 1000000000ULL

/* ---- texts ---- */

static int read_rule(struct fleet_rule *out, const char *entry)
{
	size_t len = strlen(entry);
	char *copy = malloc(len ? len : 1); /* of its size, for the sanitizer */
	int ret;

	memcpy(copy, entry, len);
	ret = fleet_rule_read(out, copy, len);
	free(copy);
	return ret;
}

static void a_rule_is_read_as_it_was_written(void **state)
{
	static const struct {
		const char *client, *model, *field, *text;
		enum fleet_rule_kind kind;
		uint64_t keys;
	} rows[] = {
		{"192.0.2.1", NULL, "rule\t192.0.2.1\t", "block", FLEET_RULE_VERDICT, 0},
		{"192.0.2.1", "llama 3", "rule\t192.0.2.1\tllama 3", "allow", FLEET_RULE_VERDICT,
		 0},
		{"10.1.2.3/8", NULL, "rule\t10.0.0.0/8\t", "block", FLEET_RULE_VERDICT, 0},
		{"2001:db8::1", NULL, "rule\t2001:db8::1\t", "block", FLEET_RULE_VERDICT, 0},
		{"2001:db8::/64", NULL, "rule\t2001:db8::/64\t", "block", FLEET_RULE_VERDICT, 0},
		{"key:0123456789abcdef", "m", "quota\tkey:0123456789abcdef\tm", "requests=5/60s",
		 FLEET_RULE_QUOTA, 0},
		{"key:0123456789abcdef", "m", "quota\tkey:0123456789abcdef\tm", "requests=5/60s",
		 FLEET_RULE_QUOTA, 0xfedcba9876543210},
		{"10.0.0.0/8", NULL, "weight\t10.0.0.0/8\t", "0.5", FLEET_RULE_WEIGHT, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char field[FLEET_RULE_FIELD_MAX], entry[512], err[128];
		struct fleet_rule_text plain, marked;
		struct text_subject subject;
		struct fleet_rule rule;

		assert_int_equal(text_parse_subject(rows[i].client, &subject), 0);
		fleet_rule_field(field, rows[i].kind, &subject, rows[i].model);
		assert_string_equal(field, rows[i].field);
		snprintf(plain.field, sizeof(plain.field), "%s", field);
		snprintf(plain.text, sizeof(plain.text), "%s", rows[i].text);
		assert_int_equal(
			fleet_rules_mark(&marked, 1, &plain, 1, rows[i].keys, err, sizeof(err)), 0);
		snprintf(entry, sizeof(entry), "%s\n77 %u %s", field, 1500u, marked.text);
		assert_int_equal(read_rule(&rule, entry), 0);
		assert_int_equal(rule.kind, rows[i].kind);
		assert_true(rule.keys == rows[i].keys);
		assert_int_equal(rule.version, 77);
		assert_int_equal(rule.ms, 1500);
		assert_false(rule.cleared);
		assert_string_equal(rule.model, rows[i].model ? rows[i].model : "");
		assert_int_equal(rule.block, !strcmp(rows[i].text, "block"));
		assert_memory_equal(rule.subject.addr, subject.addr, sizeof(subject.addr));
		assert_memory_equal(&rule.subject.client, &subject.client, sizeof(subject.client));
		assert_int_equal(rule.subject.one, subject.one);
	}
}

static void a_change_of_too_many_rules_is_refused_in_words(void **state)
{
	const struct fleet_rule_text rules[3] = {{"rule\t192.0.2.1\t", "block"}};
	struct fleet_rule_text marked[2] = {{"", ""}};
	char err[128] = "";

	assert_int_equal(fleet_rules_mark(marked, 2, rules, 3, 0, err, sizeof(err)), -EINVAL);
	assert_string_equal(err, "one command changes up to 2 rules of the fleet, not 3");
	assert_string_equal(marked[0].field, "");
	assert_int_equal(fleet_rules_mark(marked, 2, rules, 2, 0, err, sizeof(err)), 0);
	assert_string_equal(marked[0].field, rules[0].field);
}

static void a_text_that_is_no_rule_in_every_part_is_none(void **state)
{
	static const char *const rows[] = {
		"",
		"\n",
		"rule\t192.0.2.1\t",
		"rule\t192.0.2.1\t\n",
		"rule\t192.0.2.1\t\nblock",
		"rule\t192.0.2.1\t\n1 0",
		"rule\t192.0.2.1\t\n0 block",
		"rule\t192.0.2.1\t\n-1 0 block",
		"rule\t192.0.2.1\t\n9000000000000001 0 block",
		"rule\t192.0.2.1\t\n1 0 clear ",
		"rules\t192.0.2.1\t\n1 0 clear",
		"rule\t192.0.2.1\t\n1 0 ",
		"rule\t192.0.2.1\t\n1 0 Block",
		"rule\t192.0.2.1\t\n1 0 block ",
		"rule\t192.0.2.1\t\n1 -1 block",
		"rule\t192.0.2.1\t\n1 4000000000001 block",
		"rule\t192.0.2.1\t\n1 99999999999999999999999999 block",
		"rule\t192.0.2.1\n1 0 block",
		"rule 192.0.2.1\t\n1 0 block",
		"rules\t192.0.2.1\t\n1 0 block",
		"rule\t192.0.2\t\n1 0 block",
		"rule\tkey=secret\t\n1 0 block",
		"rule\t192.0.2.1\tm\x01\n1 0 block",
		"rule\t192.0.2.1\tm\tn\n1 0 block",
		"rule\t192.0.2.1\t\xff\n1 0 block",
		"rule\t10.0.0.0/8\tm\n1 0 block",
		"weight\t10.0.0.0/8\tm\n1 0 2",
		"weight\tkey:0123456789abcdef\t\n1 0 2",
		"weight\t10.0.0.0/8\t\n1 0 -2",
		"weight\t10.0.0.0/8\t\n1 0 1e99",
		"quota\t192.0.2.1\t\n1 0 requests=0/1s",
		"quota\t192.0.2.1\t\n1 0 requests=1/1s burst=x",
		"quota\t192.0.2.1\t\n1 0 block",
		"rule\t192.0.2.1\t\n1 0 block keys=0123456789abcdef",
		"rule\tkey:0123456789abcdef\t\n1 0 block keys=",
		"rule\tkey:0123456789abcdef\t\n1 0 block keys=0123456789abcde",
		"rule\tkey:0123456789abcdef\t\n1 0 block keys=0123456789ABCDEF",
		"rule\tkey:0123456789abcdef\t\n1 0 block keys=0123456789abcdef ",
	};
	struct fleet_rule rule;
	char text[4096];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!read_rule(&rule, rows[i]))
			fail_msg("row %zu was taken", i);
	memset(text, 'm', sizeof(text));
	memcpy(text, "rule\t192.0.2.1\t", 15);
	for (size_t len = 15 + SLUICE_NAME_MAX; len < sizeof(text) - 16; len++) {
		memcpy(text + len, "\n1 0 block", 11);
		assert_int_not_equal(read_rule(&rule, text), 0);
		memset(text + len, 'm', 11);
	}
	assert_int_not_equal(fleet_rule_read(&rule, "rule\t192.0.2.1\t\n1 0 block\0", 26), 0);
}

static void random_changes_of_a_text_do_no_harm(void **state)
{
	static const char good[] = "quota\t10.0.0.0/8\t\n17 123 requests=5/60s tokens=7/1h burst=9";
	struct fleet_rule rule;

	srandom(1);
	for (unsigned i = 0; i < 20000; i++) {
		char text[sizeof(good)];

		memcpy(text, good, sizeof(good));
		for (unsigned k = 0; k < 1 + i % 4; k++)
			text[(size_t)random() % (sizeof(good) - 1)] = (char)random();
		if (!fleet_rule_read(&rule, text, (size_t)random() % sizeof(good)))
			assert_true(rule.ms <= FLEET_RULE_MS_MAX);
	}
}

static int read_page(const char *bytes, struct store_rules_page *page, redisReply **reply)
{
	redisReader *reader = store_reader();
	void *got = NULL;

	assert_int_equal(redisReaderFeed(reader, bytes, strlen(bytes)), 0);
	assert_int_equal(redisReaderGetReply(reader, &got), 0);
	assert_non_null(got);
	redisReaderFree(reader);
	*reply = got;
	return store_rules_page(page, got);
}

static void a_page_has_its_form_or_is_none(void **state)
{
	static const char *const rows[] = {
		":1\r\n",
		"+OK\r\n",
		"*0\r\n",
		"*2\r\n$1\r\n7\r\n$1\r\n0\r\n",
		"*3\r\n$1\r\nx\r\n$1\r\n0\r\n$1\r\n0\r\n",
		"*3\r\n$1\r\n7\r\n$1\r\nx\r\n$1\r\n0\r\n",
		"*3\r\n$1\r\n7\r\n$0\r\n\r\n$1\r\n0\r\n",
		"*3\r\n$1\r\n7\r\n$1\r\n0\r\n$2\r\n-1\r\n",
		"*3\r\n$1\r\n7\r\n$1\r\n0\r\n:0\r\n",
		"*3\r\n$17\r\n11111111111111111\r\n$1\r\n0\r\n$1\r\n0\r\n",
		"*3\r\n$1\r\n7\r\n$24\r\n111111111111111111111111\r\n$1\r\n0\r\n",
		"*4\r\n$1\r\n7\r\n$1\r\n0\r\n$1\r\n0\r\n:1\r\n",
	};
	struct store_rules_page page;
	redisReply *reply;
	size_t len;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!read_page(rows[i], &page, &reply))
			fail_msg("row %zu was taken", i);
		freeReplyObject(reply);
	}
	assert_int_equal(read_page("*5\r\n$1\r\n7\r\n$2\r\n12\r\n$1\r\n3\r\n$1\r\na\r\n$0\r\n\r\n",
				   &page, &reply),
			 0);
	assert_int_equal(page.version, 7);
	assert_string_equal(page.next, "12");
	assert_int_equal(page.ignored, 3);
	assert_int_equal(page.count, 2);
	assert_memory_equal(store_rules_entry(&page, 0, &len), "a", 1);
	assert_int_equal(len, 1);
	freeReplyObject(reply);
}

static void hosts_tell_the_version_that_is_in_force(void **state)
{
	static const struct {
		const char *info;
		int64_t rules;
	} rows[] = {
		{"version\t1\nrules\t1796005083357000\n", 1796005083357000},
		{"version\t1\nrules\t0\n", 0},
		{"version\t1\n", -1},
		{"rules\t", -1},
		{"rules\tx\n", -1},
		{"rules\t-1\n", -1},
		{"rules\t99999999999999999\n", -1},
	};
	struct quota_book *book = calloc(1, sizeof(*book));
	char info[FLEET_INFO_MAX];
	struct fleet_host host;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fleet_host_read(&host, "h", rows[i].info, 0, book);
		assert_true(host.rules == rows[i].rules);
		assert_int_equal(host.differ, 0);
	}
	fleet_info(info, "1", 0xabc, 12, 0xdef, book);
	assert_string_equal(info, "version\t1\nstart\t0000000000000abc\nrules\t12\n"
				  "keys\t0000000000000def\n");
	fleet_host_read(&host, "h", info, 0, book);
	assert_int_equal(host.keys, 0xdef);
	fleet_info(info, "1", 1, -1, 0, book);
	assert_string_equal(info, "version\t1\nstart\t0000000000000001\n");
	free(book);
}

/* ---- what a store has lost ---- */

static void add_entry(struct rule_list *list, const char *entry)
{
	assert_int_equal(rule_list_add(list, entry, strlen(entry), S), 0);
}

static bool lacks(const struct rule_list *list, const char *entry, uint64_t now_ns)
{
	struct rule_list one = {0};
	bool lacked;

	add_entry(&one, entry);
	lacked = rule_list_lacks(list, &one.at[0], now_ns);
	rule_list_free(&one);
	return lacked;
}

static void a_list_lacks_what_is_later_than_its_own(void **state)
{
	struct rule_list list = {0};

	assert_true(lacks(&list, "rule\t192.0.2.1\t\n5 0 block", S));
	add_entry(&list, "rule\t192.0.2.3\t\n7 0 clear");
	add_entry(&list, "rule\t192.0.2.2\t\n6 1000 allow");
	add_entry(&list, "rule\t192.0.2.1\t\n5 0 block");
	rule_list_sort(&list);
	assert_int_equal(list.count, 3);
	assert_int_equal(list.rules, 2);
	assert_string_equal(list.at[0].field, "rule\t192.0.2.1\t");
	assert_string_equal(list.at[0].text, "block");
	assert_string_equal(list.at[1].text, "allow");
	assert_int_equal(list.at[1].expires_ns, 2 * S);
	assert_false(lacks(&list, "rule\t192.0.2.1\t\n5 0 block", S));
	assert_false(lacks(&list, "rule\t192.0.2.1\t\n4 0 allow", S));
	assert_true(lacks(&list, "rule\t192.0.2.1\t\n6 0 clear", S));
	assert_true(lacks(&list, "rule\t192.0.2.1\tm\n5 0 block", S));
	/* Cleared since. */
	assert_false(lacks(&list, "rule\t192.0.2.3\t\n6 0 block", S));
	/* Has ended. */
	assert_true(lacks(&list, "rule\t192.0.2.9\t\n8 1000 block", 2 * S - 1));
	assert_false(lacks(&list, "rule\t192.0.2.9\t\n8 1000 block", 2 * S));
	rule_list_free(&list);
	assert_int_equal(list.count, 0);
}

static void a_list_has_a_most_of_rules_and_of_cleared_ones(void **state)
{
	struct rule_list list = {0};
	char entry[64];

	for (unsigned i = 0; i < 2 * FLEET_RULES_MAX + 1; i++) {
		bool cleared = i >= FLEET_RULES_MAX;
		int ret, len = snprintf(entry, sizeof(entry), "rule\t10.0.%u.%u\t\n1 0 %s", i >> 8,
					i & 255, cleared ? "clear" : "block");

		ret = rule_list_add(&list, entry, (size_t)len, S);
		assert_int_equal(ret, i == 2 * FLEET_RULES_MAX ? -ENOSPC : 0);
		if (i == FLEET_RULES_MAX - 1)
			assert_int_equal(rule_list_add(&list, entry, (size_t)len, S), -ENOSPC);
	}
	assert_int_equal(list.rules, FLEET_RULES_MAX);
	rule_list_free(&list);
}

/* ---- beside a host's own ---- */

struct world {
	struct controller models;
	struct desired_part file, manual, fleet;
	struct desired *state;
};

static int set_up(void **state)
{
	static const struct controller_targets none = {.max_in_flight = -1};
	struct world *w = calloc(1, sizeof(*w));

	controller_init(&w->models, &none, true);
	desired_part_init(&w->file);
	desired_part_init(&w->manual);
	desired_part_init(&w->fleet);
	w->state = desired_new();
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	desired_part_free(&w->file);
	desired_part_free(&w->manual);
	desired_part_free(&w->fleet);
	desired_free(w->state);
	free(w);
	return 0;
}

static void build(struct world *w)
{
	const struct desired_input in = {
		.file = &w->file, .manual = &w->manual, .fleet = &w->fleet, .models = &w->models};
	struct desired *next;
	char err[256];

	assert_int_equal(desired_build(&next, &in, w->state, err, sizeof(err)), 0);
	desired_free(w->state);
	w->state = next;
}

static struct sluice_client_flag_key key_of(const char *client)
{
	struct text_subject subject;

	assert_int_equal(text_parse_subject(client, &subject), 0);
	return (struct sluice_client_flag_key){.client = subject.client, .model = SLUICE_MODEL_ALL};
}

static void set_rule(struct desired_part *part, const char *client, bool allow, uint64_t ends)
{
	const struct state_client_rule rule = {key_of(client),
					       {.allow = allow, .expires_ns = ends}};

	assert_int_equal(table_put(&part->rules, &rule), 0);
}

static const struct sluice_client_flag *rule_of(struct world *w, const char *client)
{
	struct sluice_client_flag_key key = key_of(client);
	const struct state_client_rule *rule;

	build(w);
	rule = table_find(&w->state->rules, &key);
	return rule ? &rule->flag : NULL;
}

static void a_block_comes_before_an_allowance_whosever_it_is(void **state)
{
	struct world *w = *state;

	set_rule(&w->manual, "192.0.2.1", true, 0);
	assert_true(rule_of(w, "192.0.2.1")->allow);
	set_rule(&w->fleet, "192.0.2.1", false, 9 * S);
	assert_false(rule_of(w, "192.0.2.1")->allow);
	assert_true(rule_of(w, "192.0.2.1")->fleet);
	set_rule(&w->manual, "192.0.2.1", false, 0); /* lasts longer */
	assert_false(rule_of(w, "192.0.2.1")->fleet);
	set_rule(&w->fleet, "192.0.2.1", true, 0);
	assert_false(rule_of(w, "192.0.2.1")->allow);
	assert_true(desired_expire(&w->fleet, UINT64_MAX) == false);
	set_rule(&w->fleet, "192.0.2.2", true, 5 * S);
	assert_true(rule_of(w, "192.0.2.2")->allow);
	assert_true(desired_expire(&w->fleet, 5 * S));
	assert_null(rule_of(w, "192.0.2.2"));
}

static void set_quota(struct desired_part *part, const char *client, const char *text)
{
	struct desired_client_quota quota = {.key = key_of(client)};
	char err[256];

	if (quota_parse(&quota.quota, text, err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(table_put(&part->client_quotas, &quota), 0);
}

static void quota_is(struct world *w, const char *client, const char *wanted, unsigned origin)
{
	struct sluice_client_flag_key key = key_of(client);
	const struct state_client_quota *found;
	char words[QUOTA_TEXT_MAX];
	struct quota_def def;

	build(w);
	found = table_find(&w->state->client_quotas, &key);
	assert_non_null(found);
	quota_of_text(&def, &w->state->quotas.text[found->quota]);
	quota_words(words, &def);
	assert_string_equal(words, wanted);
	assert_int_equal(w->state->quotas.text[found->quota].origin, origin);
}

static void of_two_quotas_the_lower_rates_hold(void **state)
{
	struct world *w = *state;

	set_quota(&w->fleet, "192.0.2.1", "requests=10/60s tokens=700/1h");
	quota_is(w, "192.0.2.1", "requests=10/60s tokens=700/1h", SLUICE_ORIGIN_FLEET);
	set_quota(&w->file, "192.0.2.1", "requests=5/60s");
	quota_is(w, "192.0.2.1", "requests=5/60s tokens=700/1h", SLUICE_ORIGIN_FLEET);
	set_quota(&w->manual, "192.0.2.1", "requests=50/60s tokens=90/1h");
	quota_is(w, "192.0.2.1", "requests=10/60s tokens=90/1h", SLUICE_ORIGIN_FLEET);
	set_quota(&w->manual, "192.0.2.1", "requests=1/60s tokens=90/1h");
	quota_is(w, "192.0.2.1", "requests=1/60s tokens=90/1h", SLUICE_ORIGIN_MANUAL);
	set_quota(&w->manual, "192.0.2.1", "none");
	quota_is(w, "192.0.2.1", "requests=10/60s tokens=700/1h", SLUICE_ORIGIN_FLEET);
	set_quota(&w->fleet, "192.0.2.1", "none");
	quota_is(w, "192.0.2.1", "none", SLUICE_ORIGIN_MANUAL);
}

static void set_prefix(struct desired_part *part, uint8_t class, uint16_t weight)
{
	struct desired_prefix p = {.class = class, .weight = weight};
	struct text_network net;

	assert_int_equal(text_parse_network("10.0.0.0/8", &net), 0);
	p.key.plen = net.plen;
	memcpy(p.key.addr, net.addr, sizeof(p.key.addr));
	p.own = (class ? SLUICE_PREFIX_OWN_CLASS : 0) | (weight ? SLUICE_PREFIX_OWN_WEIGHT : 0);
	assert_int_equal(desired_set_prefix(part, &p), 0);
}

static const struct sluice_prefix *prefix_of(struct world *w)
{
	build(w);
	assert_int_equal(w->state->prefixes.count, 1);
	return &((struct state_prefix_rule *)table_at(&w->state->prefixes, 0))->prefix;
}

static void of_a_prefix_each_field_is_the_stricter(void **state)
{
	struct world *w = *state;
	const struct sluice_prefix *p;

	set_prefix(&w->manual, SLUICE_PREFIX_EXEMPT, 128);
	set_prefix(&w->fleet, SLUICE_PREFIX_BLOCKED, 256);
	p = prefix_of(w);
	assert_int_equal(p->class, SLUICE_PREFIX_BLOCKED);
	assert_int_equal(p->weight, 128);
	assert_int_equal(p->own, SLUICE_PREFIX_OWN_CLASS | SLUICE_PREFIX_CLASS_FLEET |
					 SLUICE_PREFIX_OWN_WEIGHT | SLUICE_PREFIX_WEIGHT_MANUAL);
	set_prefix(&w->fleet, SLUICE_PREFIX_EXEMPT, 64);
	set_prefix(&w->manual, SLUICE_PREFIX_BLOCKED, 0);
	p = prefix_of(w);
	assert_int_equal(p->class, SLUICE_PREFIX_BLOCKED);
	assert_int_equal(p->weight, 64);
	assert_int_equal(p->own, SLUICE_PREFIX_OWN_CLASS | SLUICE_PREFIX_OWN_WEIGHT |
					 SLUICE_PREFIX_WEIGHT_FLEET);
}

/* A daemon that starts finds both parts in the maps again. */
static void the_maps_keep_whose_a_rule_is(void **state)
{
	struct world *w = *state;
	struct desired_part manual, fleet;

	set_rule(&w->manual, "192.0.2.1", true, 0);
	set_rule(&w->fleet, "192.0.2.2", false, 0);
	set_quota(&w->manual, "192.0.2.1", "requests=1/60s");
	set_quota(&w->fleet, "192.0.2.2", "requests=1/60s");
	set_prefix(&w->manual, SLUICE_PREFIX_EXEMPT, 0);
	set_prefix(&w->fleet, 0, 64);
	build(w);
	assert_int_equal(desired_adopted_part(w->state, SLUICE_ORIGIN_MANUAL, &manual), 0);
	assert_int_equal(desired_adopted_part(w->state, SLUICE_ORIGIN_FLEET, &fleet), 0);
	assert_int_equal(manual.rules.count, 1);
	assert_int_equal(fleet.rules.count, 1);
	assert_int_equal(manual.client_quotas.count, 1);
	assert_int_equal(fleet.client_quotas.count, 1);
	assert_true(((struct state_client_rule *)table_at(&manual.rules, 0))->flag.allow);
	assert_false(((struct state_client_rule *)table_at(&fleet.rules, 0))->flag.allow);
	assert_int_equal(((struct desired_prefix *)table_at(&manual.prefixes, 0))->own,
			 SLUICE_PREFIX_OWN_CLASS);
	assert_int_equal(((struct desired_prefix *)table_at(&fleet.prefixes, 0))->own,
			 SLUICE_PREFIX_OWN_WEIGHT);
	desired_part_free(&manual);
	desired_part_free(&fleet);
}

/* … and what was set here while the fleet's rule goes before it. */
static void what_is_overridden_is_found_again(void **state)
{
	struct world *w = *state;
	struct desired_part manual, fleet;
	const struct desired_prefix *p;

	set_rule(&w->manual, "192.0.2.1", true, 7 * S);
	set_rule(&w->fleet, "192.0.2.1", false, 0);
	set_rule(&w->manual, "192.0.2.9", false, 0); /* holds */
	set_rule(&w->fleet, "192.0.2.9", true, 0);
	set_quota(&w->manual, "192.0.2.2", "requests=9/60s tokens=5/60s");
	set_quota(&w->fleet, "192.0.2.2", "requests=3/60s");
	set_quota(&w->file, "192.0.2.3", "requests=9/60s");
	set_quota(&w->fleet, "192.0.2.3", "requests=3/60s");
	set_prefix(&w->manual, SLUICE_PREFIX_EXEMPT, 128);
	set_prefix(&w->fleet, SLUICE_PREFIX_BLOCKED, 64);
	assert_false(rule_of(w, "192.0.2.1")->allow);
	assert_int_equal(w->state->rules.count, 2);
	assert_int_equal(w->state->overridden_rules.count, 2);
	assert_int_equal(w->state->overridden_quotas.count, 1);
	for (unsigned twice = 0; twice < 2; twice++) {
		assert_int_equal(desired_adopt(w->state), 0);
		assert_int_equal(desired_adopted_part(w->state, SLUICE_ORIGIN_MANUAL, &manual), 0);
		assert_int_equal(desired_adopted_part(w->state, SLUICE_ORIGIN_FLEET, &fleet), 0);
		assert_int_equal(manual.rules.count, 2);
		assert_int_equal(manual.client_quotas.count, 1);
		assert_int_equal(manual.prefixes.count, 1);
		p = table_at(&manual.prefixes, 0);
		assert_int_equal(p->own, SLUICE_PREFIX_OWN_CLASS | SLUICE_PREFIX_OWN_WEIGHT);
		desired_part_free(&w->manual);
		desired_part_free(&w->fleet);
		w->manual = manual;
		w->fleet = fleet;
		build(w);
	}
	/* The fleet's are cleared. */
	desired_part_free(&w->fleet);
	desired_part_init(&w->fleet);
	assert_true(rule_of(w, "192.0.2.1")->allow);
	assert_true(rule_of(w, "192.0.2.1")->expires_ns == 7 * S);
	quota_is(w, "192.0.2.2", "requests=9/60s tokens=5/60s", SLUICE_ORIGIN_MANUAL);
	quota_is(w, "192.0.2.3", "requests=9/60s", SLUICE_ORIGIN_FILE);
	assert_int_equal(prefix_of(w)->class, SLUICE_PREFIX_EXEMPT);
	assert_int_equal(prefix_of(w)->weight, 128);
	assert_int_equal(w->state->overridden_rules.count, 0);
	assert_int_equal(w->state->overridden_quotas.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rule_is_read_as_it_was_written),
		cmocka_unit_test(a_change_of_too_many_rules_is_refused_in_words),
		cmocka_unit_test(a_text_that_is_no_rule_in_every_part_is_none),
		cmocka_unit_test(random_changes_of_a_text_do_no_harm),
		cmocka_unit_test(a_page_has_its_form_or_is_none),
		cmocka_unit_test(a_list_lacks_what_is_later_than_its_own),
		cmocka_unit_test(a_list_has_a_most_of_rules_and_of_cleared_ones),
		cmocka_unit_test(hosts_tell_the_version_that_is_in_force),
		cmocka_unit_test_setup_teardown(a_block_comes_before_an_allowance_whosever_it_is,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_two_quotas_the_lower_rates_hold, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(of_a_prefix_each_field_is_the_stricter, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_maps_keep_whose_a_rule_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_overridden_is_found_again, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
