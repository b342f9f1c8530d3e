/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clients as text: each client's counts, what is left of its quota, the rules in force, and the
 * quotas.
 */
#include "control/format_internal.h"

#include <string.h>

/* When the client's quota admits its next request. */
static const char *next_time(const json_t *client)
{
	const json_t *ms = json_object_get(client, "next_ms");

	return !json_is_integer(ms)     ? DASH
	       : json_integer_value(ms) ? format_span((double)json_integer_value(ms))
					: "now";
}

/* "ttft 18, request-quota 2; shadow: itl 6" */
static const char *reasons(const json_t *client, char *buf, size_t len)
{
	static const char *const keys[] = {"rejected_by_reason", "shadow_rejected_by_reason"};
	const char *name;
	size_t at = 0;
	json_t *n;

	for (unsigned k = 0; k < 2; k++) {
		const char *sep = !k ? "" : at ? "; shadow: " : "shadow: ";

		json_object_foreach(json_object_get(client, keys[k]), name, n)
		{
			if (json_integer_value(n) <= 0 || at >= len)
				continue;
			at += (size_t)snprintf(buf + at, len - at, "%s%s %" JSON_INTEGER_FORMAT,
					       sep, name, json_integer_value(n));
			sep = ", ";
		}
	}
	return at ? buf : DASH;
}

/* "block", "allow, weight 2" */
static const char *rule_and_weight(const json_t *client, char *buf, size_t len)
{
	const char *rule = field_text(client, "rule"), *weight = field_weight(client);

	if (!strcmp(weight, "1"))
		return rule;
	if (!strcmp(rule, DASH))
		snprintf(buf, len, "weight %s", weight);
	else
		snprintf(buf, len, "%s, weight %s", rule, weight);
	return buf;
}

void format_clients(FILE *out, const json_t *clients)
{
	struct table seen = {.columns = 11, .align = "lrrrrrrrlll"};
	struct table rules = {.columns = 5, .align = "lllll"};
	const json_t *list = json_object_get(clients, "clients");
	const json_t *set = json_object_get(clients, "rules"), *one;
	size_t i;

	table_row(&seen, "CLIENT", "ADMITTED", "REJECTED", "IN FLIGHT", "REQUESTS LEFT",
		  "TOKENS LEFT", "NEXT", "LAST SEEN", "REASONS", "LAST MODEL", "RULE");
	json_array_foreach(list, i, one)
	{
		char ago[64] = DASH, why[400], rule[64];

		if (json_is_integer(json_object_get(one, "last_seen_ms_ago")))
			snprintf(ago, sizeof(ago), "%s ago",
				 format_span((double)field_whole(one, "last_seen_ms_ago")));
		table_row(&seen, field_text(one, "client"), field_number(one, "admitted", 0),
			  field_number(one, "rejected", 0), field_number(one, "in_flight", 0),
			  field_number(one, "requests_left", 0),
			  field_number(one, "tokens_left", 0), next_time(one), ago,
			  reasons(one, why, sizeof(why)), field_text(one, "last_model"),
			  rule_and_weight(one, rule, sizeof(rule)));
	}
	table_print(out, &seen);
	if (!json_array_size(list))
		fputs("No client has sent a request yet.\n", out);
	else if (field_whole(clients, "clients_known") > (json_int_t)json_array_size(list))
		fprintf(out, "… the %zu last seen of %" JSON_INTEGER_FORMAT " known\n",
			json_array_size(list), field_whole(clients, "clients_known"));
	if (!json_array_size(set))
		return;
	fputc('\n', out);
	table_row(&rules, "RULE FOR", "KIND", "SAYS", "MODEL", "ENDS IN");
	json_array_foreach(set, i, one) table_row(
		&rules, field_text(one, "client"), field_text(one, "kind"),
		field_text(one, "verdict"),
		json_is_string(json_object_get(one, "model")) ? field_text(one, "model") : "all",
		json_is_integer(json_object_get(one, "expires_in_ms"))
			? format_span((double)field_whole(one, "expires_in_ms"))
			: "never");
	table_print(out, &rules);
}

void format_quotas(FILE *out, const json_t *answer)
{
	struct table t = {.columns = 5, .align = "lllll"};
	const json_t *list = json_object_get(answer, "quotas"), *one;
	const json_t *weights = json_object_get(answer, "weights");
	size_t i;

	if (json_array_size(list) || json_array_size(weights))
		table_row(&t, "QUOTA OF", "KIND", "MODEL", "QUOTA", "BY");
	else
		fputs("No quota is set.\n", out);
	json_array_foreach(list, i, one)
	{
		const char *kind = field_text(one, "kind");

		table_row(&t,
			  !strcmp(kind, "service") ? field_text(one, "service")
			  : !strcmp(kind, "model") ? "each client"
						   : field_text(one, "client"),
			  !strcmp(kind, "service") ? "each client of the service" : kind,
			  json_is_string(json_object_get(one, "model")) ? field_text(one, "model")
									: "all",
			  field_text(one, "quota"), field_text(one, "by"));
	}
	json_array_foreach(weights, i, one)
	{
		char words[32];

		snprintf(words, sizeof(words), "weight=%s", field_weight(one));
		table_row(&t, field_text(one, "client"), "prefix", "all", words,
			  field_text(one, "by"));
	}
	table_print(out, &t);
	if (field_whole(answer, "clients_with_quota") > (json_int_t)json_array_size(list))
		fprintf(out, "… of %" JSON_INTEGER_FORMAT " clients and prefixes with a quota\n",
			field_whole(answer, "clients_with_quota"));
}
