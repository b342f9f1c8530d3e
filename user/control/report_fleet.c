/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fleet: its store, its hosts, and what went to the store. */
#include "control/report_internal.h"

#include <stdio.h>
#include <string.h>

static json_t *hosts(const struct state_fleet *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->list_count; i++) {
		const struct fleet_host *h = &f->list[i];

		json_array_append_new(
			list,
			json_pack(
				"{s:s, s:s, s:I, s:b, s:i, s:o, s:o, s:o}", "name", h->name,
				"version", h->version, "seen_ms_ago", (json_int_t)h->seen_ms,
				"this_host", !strcmp(h->name, f->host), "quotas_that_differ",
				(int)h->differ, "differs",
				h->differ ? json_string(h->differs) : json_null(), "rules_version",
				h->rules < 0 ? json_null() : json_integer(h->rules), "same_secret",
				h->keys && f->keys ? json_boolean(h->keys == f->keys)
						   : json_null()));
	}
	return list;
}

static json_t *rules(const struct state_fleet *f)
{
	if (f->rules < 0)
		return json_null();
	return json_pack("{s:I, s:I, s:o, s:I, s:o}", "version", (json_int_t)f->rules, "count",
			 (json_int_t)f->rule_count, "ignored", value_count(f->rules_ignored),
			 "of_other_secret", (json_int_t)f->rules_of_other_secret, "why",
			 f->rules_why[0] ? json_string(f->rules_why) : json_null());
}

json_t *report_fleet(const struct daemon_state *s)
{
	const struct state_fleet *f = s->fleet;
	char epoch[17];

	if (!f)
		return json_null();
	snprintf(epoch, sizeof(epoch), "%016llx", (unsigned long long)f->epoch);
	return json_pack(
		"{s:s, s:s, s:b, s:b, s:s, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:i, s:i, s:s, s:{s:o, "
		"s:o, s:o, s:o, s:o, s:o, s:o}, s:o, s:I, s:o, s:o}",
		"name", f->name, "host", f->host, "name_taken", f->name_taken, "up", f->up, "store",
		f->store, "store_evicts", f->evicts[0] ? json_string(f->evicts) : json_null(),
		"why", f->up ? json_null() : json_string(f->why), "since_unix_ms",
		(json_int_t)unix_ms(s, f->since_ns), "away_ms", (json_int_t)(f->away_ns / MS),
		"round_trip_ms",
		f->answered_ns ? json_real((double)f->round_trip_ns / 1e6) : json_null(),
		"answered_ms_ago",
		f->answered_ns && s->now_ns > f->answered_ns
			? value_count((s->now_ns - f->answered_ns) / MS)
		: f->answered_ns ? value_count(0)
				 : json_null(),
		"epoch", f->epoch ? json_string(epoch) : json_null(), "hosts", (int)f->hosts,
		"period_ms", (int)f->period_ms, "fallback", f->whole ? "whole" : "share", "counts",
		"calls", value_count(f->calls), "budgets", value_count(f->budgets), "lowered",
		value_count(f->raised), "claimed", value_count(f->claimed), "recovered",
		value_count(f->recovered), "lacked", value_count(f->lacked), "epoch_changes",
		value_count(f->epochs), "waiting", value_count(f->waiting), "waiting_ms",
		(json_int_t)(f->waiting_ns / MS), "rules", rules(f), "list", hosts(f));
}
