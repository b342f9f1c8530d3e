/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See call.h. fleet.lua has the order of the words. */
#include "fleet/call.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/fleet_budget.h"
#include "fleet_script.h" /* of fleet.lua, by the Makefile */

#define INFO_EVERY_NS 5000000000ULL /* a store that has lost it gets it again */

const char *const store_script = fleet_script;

/* Printable ASCII without spaces and braces: it is a part of keys, and of a hash tag. */
static bool is_name(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	if (!len || len == size)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] < '!' || text[i] > '~' || text[i] == '{' || text[i] == '}')
			return false;
	return true;
}

int store_call_new(struct store_call *call, const char *fleet, const char *host,
		   uint64_t (*random)(void), char *err, size_t len)
{
	if (!is_name(fleet, sizeof(call->fleet)) || !is_name(host, sizeof(call->host))) {
		snprintf(
			err, len,
			"the names of a fleet and its hosts have 1 to 63 characters, without spaces and braces");
		return -EINVAL;
	}
	memcpy(call->fleet, fleet, strlen(fleet) + 1);
	memcpy(call->host, host, strlen(host) + 1);
	call->random = random;
	memcpy(call->news_id, "0", 2);
	return 0;
}

void store_call_info(struct store_call *call, const char *info)
{
	if (strlen(info) >= sizeof(call->info))
		return;
	memcpy(call->info, info, strlen(info) + 1);
	call->info_new = true;
}

int store_call_begin(struct store_call *call, uint64_t number, const struct store_budget *budgets,
		     size_t count)
{
	if (count > STORE_BATCH)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		size_t len = strnlen(budgets[i].key, STORE_KEY_MAX);

		if (!len || len == STORE_KEY_MAX)
			return -EINVAL;
		for (size_t at = 0; at < len; at++)
			if (budgets[i].key[at] < '!' || budgets[i].key[at] > '~')
				return -EINVAL;
	}
	if (count)
		memmove(call->budgets, budgets, count * sizeof(budgets[0]));
	call->count = count;
	call->number = number;
	return 0;
}

__attribute__((format(printf, 2, 3))) static void word(struct store_call *call, const char *format,
						       ...)
{
	char *text = call->text + call->used;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(call->text) - call->used, format, args);
	va_end(args);
	call->argv[call->argc] = text;
	call->lens[call->argc++] = (size_t)len;
	call->used += (size_t)len + 1;
}

int store_call_format(struct store_call *call, uint64_t now_ns, const char ***argv,
		      const size_t **lens)
{
	static const char *const keys[] = {"epoch", "news", "hosts", "infos"};
	bool tells = call->info_new || now_ns >= call->info_ns;

	call->argc = 0;
	call->used = 0;
	if (tells)
		call->info_ns = now_ns + INFO_EVERY_NS;
	call->info_new = false;
	call->asks_hosts = call->each;

	word(call, "EVALSHA");
	word(call, "%s", call->sha);
	word(call, "%zu", 6 + call->count);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		word(call, "sluice:{%s}:%s", call->fleet, keys[i]);
	word(call, "sluice:{%s}:done:%016" PRIx64, call->fleet, call->incarnation);
	word(call, "sluice:{%s}:" STORE_RULES_VERSION, call->fleet);
	for (size_t i = 0; i < call->count; i++)
		word(call, "sluice:{%s}:b:%s", call->fleet, call->budgets[i].key);

	word(call, "%d", STORE_FORMAT);
	word(call, "%" PRIu64, call->random());
	word(call, "%s", call->host);
	word(call, "%016" PRIx64, call->incarnation);
	word(call, "%" PRIu64, call->number);
	word(call, "%" PRIu64, call->answered);
	word(call, "%" PRIu64, call->epoch);
	word(call, "%s", call->news_id);
	word(call, "%s", tells ? call->info : "");
	word(call, "%d", call->asks_hosts);
	for (size_t i = 0; i < call->count; i++) {
		const struct store_budget *b = &call->budgets[i];
		struct fleet_budget_call c = {.interval_ns = b->interval_ns,
					      .span_us = b->span_us,
					      .most_us = b->most_us,
					      .reach_us = b->reach_us,
					      .want = b->want,
					      .claim_us = b->claim_us,
					      .charge_us = b->charge_us};

		fleet_budget_bound(&c);
		word(call, "%" PRIu64, c.interval_ns);
		word(call, "%" PRIu64, c.span_us);
		word(call, "%" PRIu64, c.most_us);
		word(call, "%" PRIu64, c.reach_us);
		word(call, "%" PRIu64, c.want);
		word(call, "%" PRIu64, c.claim_us);
		word(call, "%" PRId64, c.charge_us);
	}
	*argv = call->argv;
	*lens = call->lens;
	return call->argc;
}

void store_call_answered(struct store_call *call, const struct store_reading *reading,
			 const struct redisReply *hosts)
{
	call->answered = call->number;
	call->epoch = reading->answer.epoch;
	memcpy(call->news_id, reading->news_id, sizeof(call->news_id));
	if (!call->asks_hosts)
		return;
	store_read_hosts(hosts, call->each, call->each_arg);
	call->each = NULL;
}
