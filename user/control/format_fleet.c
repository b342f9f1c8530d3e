/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fleet as text: first whether one quota holds over all hosts now, then the hosts. */
#include "control/format_internal.h"

#include <string.h>

static const char *rules_of(const json_t *host, json_int_t ours)
{
	const json_t *version = json_object_get(host, "rules_version");

	return !json_is_integer(version)             ? "off"
	       : json_integer_value(version) == ours ? "as here"
	       : json_integer_value(version) < ours  ? "older"
						     : "newer";
}

void format_fleet_change(FILE *out, const json_t *fleet)
{
	const json_t *missing = json_object_get(fleet, "missing"), *name;
	size_t i;

	if (!json_object_get(fleet, "hosts")) {
		fputs(", on the fleet", out);
		return;
	}
	fprintf(out, ", in force on %s of %s %s", field_number(fleet, "in_force", 0),
		field_number(fleet, "hosts", 0),
		field_whole(fleet, "hosts") == 1 ? "host" : "hosts");
	json_array_foreach(missing, i, name)
		fprintf(out, "%s%s", i ? ", " : ", not on ", json_string_value(name));
}

/* rules: the version of the fleet's that is in force here; negative: they are off. */
static void print_hosts(FILE *out, const json_t *list, json_int_t rules)
{
	struct table t = {.columns = rules < 0 ? 4 : 5, .align = "lrlll"};
	const json_t *host;
	size_t i;

	table_row(&t, "HOST", "SEEN AGO", "VERSION", "QUOTAS", "RULES");
	json_array_foreach(list, i, host)
	{
		json_int_t differ = field_whole(host, "quotas_that_differ");

		table_row(&t, field_text(host, "name"),
			  format_span((double)field_whole(host, "seen_ms_ago")),
			  field_text(host, "version"),
			  json_is_true(json_object_get(host, "this_host")) ? "this host"
			  : differ                                         ? "differ"
									   : "as here",
			  rules_of(host, rules));
	}
	table_print(out, &t);
	json_array_foreach(list, i, host) if (field_whole(host, "quotas_that_differ"))
		fprintf(out, "note: %s: %s: they share no budget\n", field_text(host, "name"),
			field_text(host, "differs"));
	json_array_foreach(list, i, host)
	{
		if (!json_is_false(json_object_get(host, "same_secret")))
			continue;
		fprintf(out,
			"note: %s has another hash secret: quotas and rules by API key are not shared with it (setting `hash-secret-file`)\n",
			field_text(host, "name"));
	}
}

void format_fleet_line(FILE *out, const json_t *fleet)
{
	fprintf(out, "fleet %s: ", field_text(fleet, "name"));
	if (json_is_true(json_object_get(fleet, "up")))
		fprintf(out, "the store %s answers, in %s ms; quotas hold over %s %s\n",
			field_text(fleet, "store"), field_number(fleet, "round_trip_ms", 1),
			field_number(fleet, "hosts", 0),
			field_whole(fleet, "hosts") == 1 ? "host" : "hosts");
	else
		fprintf(out, "the store is away since %s (%s); this host gives out %s\n",
			format_clock(field_whole(fleet, "since_unix_ms")), field_text(fleet, "why"),
			!strcmp(field_text(fleet, "fallback"), "whole")
				? "whole budgets"
				: "its share of each budget");
	if (json_is_string(json_object_get(fleet, "store_evicts")))
		fprintf(out,
			"note: the store may evict budgets, which forgives what was used of them: set its maxmemory-policy, %s, to noeviction\n",
			field_text(fleet, "store_evicts"));
}

static void print_rules(FILE *out, const json_t *rules)
{
	if (!json_is_object(rules))
		return;
	fprintf(out, "rules of the fleet: %s in force here", field_number(rules, "count", 0));
	if (field_whole(rules, "ignored"))
		fprintf(out, "; %s texts in the store ignored", field_number(rules, "ignored", 0));
	if (field_whole(rules, "of_other_secret"))
		fprintf(out, "; %s by key:ID are of another hash secret, and match no key here",
			field_number(rules, "of_other_secret", 0));
	if (json_is_string(json_object_get(rules, "why")))
		fprintf(out, "; the store's list is not: %s", field_text(rules, "why"));
	fputc('\n', out);
}

void format_fleet(FILE *out, const json_t *answer)
{
	const json_t *fleet = json_object_get(answer, "fleet");
	const json_t *list = json_object_get(fleet, "list");
	const json_t *rules = json_object_get(fleet, "rules");

	if (!json_is_object(fleet)) {
		fputs("this host is in no fleet: quotas hold on it alone (setting `fleet`)\n", out);
		return;
	}
	format_fleet_line(out, fleet);
	if (json_is_true(json_object_get(fleet, "name_taken")))
		fprintf(out,
			"note: another daemon of the fleet is called %s, too: give each host a name of its own (setting `fleet-host`)\n",
			field_text(fleet, "host"));
	print_rules(out, json_object_get(fleet, "rules"));
	if (json_array_size(list)) {
		fputc('\n', out);
		print_hosts(out, list, json_is_object(rules) ? field_whole(rules, "version") : -1);
	}
}
