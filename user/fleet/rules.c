/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See rules.h. The script is sent with each command: they are rare, and no server has to keep it.
 */
#include "fleet/rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "fleet/internal.h"
#include "rules_script.h" /* of rules.lua, by the Makefile */

#define HEAD     5 /* EVAL, script, number of keys, keys */
#define KEY_LEN  128
#define PUT_ARGS 4 /* a rule that is put back */

static int eval(struct store *s, enum store_request kind, const char **argv, int argc,
		store_replied done, void *arg)
{
	char rules[KEY_LEN], version[KEY_LEN];
	size_t lens[HEAD + 1 + PUT_ARGS * STORE_PUT_MAX];

	_Static_assert(PUT_ARGS * STORE_PUT_MAX > 1 + 2 * STORE_SET_MAX, "lens fits every change");

	snprintf(rules, sizeof(rules), "sluice:{%s}:rules", store_fleet(s));
	snprintf(version, sizeof(version), "sluice:{%s}:" STORE_RULES_VERSION, store_fleet(s));
	argv[0] = "EVAL";
	argv[1] = rules_script;
	argv[2] = "2";
	argv[3] = rules;
	argv[4] = version;
	for (int i = 0; i < argc; i++)
		lens[i] = strlen(argv[i]);
	return store_request(s, kind, argc, argv, lens, done, arg);
}

int store_rules_list(struct store *s, const char *cursor, store_replied done, void *arg)
{
	const char *argv[HEAD + 2] = {[HEAD] = "list", cursor};

	return eval(s, STORE_READ, argv, HEAD + 2, done, arg);
}

int store_rules_change(struct store *s, enum store_rules_change change,
		       const struct fleet_rule_text *rules, size_t count, uint64_t ms,
		       store_replied done, void *arg)
{
	static const char *const names[] = {
		[STORE_RULES_SET] = "set",
		[STORE_RULES_CLEAR] = "clear",
		[STORE_RULES_CLEAR_ALL] = "clear-all",
	};
	const char *argv[HEAD + 2 + 2 * STORE_SET_MAX] = {[HEAD] = names[change]};
	char duration[24];
	int argc = HEAD + 1;

	if (count > STORE_SET_MAX)
		return -EINVAL;
	snprintf(duration, sizeof(duration), "%" PRIu64, ms);
	if (change == STORE_RULES_SET)
		argv[argc++] = duration;
	for (size_t i = 0; i < count; i++) {
		argv[argc++] = rules[i].field;
		if (change == STORE_RULES_SET)
			argv[argc++] = rules[i].text;
	}
	return eval(s, STORE_WRITE, argv, argc, done, arg);
}

int store_rules_put(struct store *s, const struct store_rule_put *rules, size_t count,
		    store_replied done, void *arg)
{
	const char *argv[HEAD + 1 + PUT_ARGS * STORE_PUT_MAX] = {[HEAD] = "put"};
	char numbers[STORE_PUT_MAX][2][24];
	int argc = HEAD + 1;

	if (count > STORE_PUT_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		snprintf(numbers[i][0], sizeof(numbers[i][0]), "%" PRIu64, rules[i].version);
		snprintf(numbers[i][1], sizeof(numbers[i][1]), "%" PRIu64, rules[i].ms);
		argv[argc++] = rules[i].field;
		argv[argc++] = numbers[i][0];
		argv[argc++] = numbers[i][1];
		argv[argc++] = rules[i].text;
	}
	return eval(s, STORE_READ, argv, argc, done, arg);
}

static bool is_array(const redisReply *reply, size_t least)
{
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements < least)
		return false;
	for (size_t i = 0; i < reply->elements; i++)
		if (reply->element[i]->type != REDIS_REPLY_STRING)
			return false;
	return true;
}

int store_rules_page(struct store_rules_page *out, const redisReply *reply)
{
	struct store_rules_page page = {.reply = reply};
	const redisReply *next;

	if (!is_array(reply, 3) || store_read_version(reply->element[0], &page.version) ||
	    store_read_version(reply->element[2], &page.ignored))
		return -EINVAL;
	next = reply->element[1];
	if (!next->len || next->len >= STORE_CURSOR_MAX ||
	    strspn(next->str, "0123456789") != (size_t)next->len)
		return -EINVAL;
	memcpy(page.next, next->str, (size_t)next->len + 1);
	page.count = reply->elements - 3;
	*out = page;
	return 0;
}

const char *store_rules_entry(const struct store_rules_page *page, size_t i, size_t *len)
{
	const redisReply *entry = page->reply->element[3 + i];

	*len = (size_t)entry->len;
	return entry->str;
}

int store_rules_changed(const redisReply *reply, uint64_t *version, uint64_t *removed)
{
	if (!is_array(reply, 2) || store_read_version(reply->element[0], version) || !*version)
		return -EINVAL;
	return store_read_version(reply->element[1], removed);
}
