/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fleet as text: first whether one quota holds over all hosts now, then the hosts. */
#include "control/format_internal.h"

#include <string.h>

static void print_hosts(FILE *out, const json_t *list)
{
	struct table t = {.columns = 4, .align = "lrll"};
	const json_t *host;
	size_t i;

	table_row(&t, "HOST", "SEEN AGO", "VERSION", "QUOTAS");
	json_array_foreach(list, i, host)
	{
		json_int_t differ = field_whole(host, "quotas_that_differ");

		table_row(&t, field_text(host, "name"),
			  format_span((double)field_whole(host, "seen_ms_ago")),
			  field_text(host, "version"),
			  json_is_true(json_object_get(host, "this_host")) ? "this host"
			  : differ                                         ? "differ"
									   : "as here");
	}
	table_print(out, &t);
	json_array_foreach(list, i, host) if (field_whole(host, "quotas_that_differ"))
		fprintf(out, "note: %s: %s: they share no budget\n", field_text(host, "name"),
			field_text(host, "differs"));
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
}

void format_fleet(FILE *out, const json_t *answer)
{
	const json_t *fleet = json_object_get(answer, "fleet");
	const json_t *list = json_object_get(fleet, "list");

	if (!json_is_object(fleet)) {
		fputs("this host is in no fleet: quotas hold on it alone (setting `fleet`)\n", out);
		return;
	}
	format_fleet_line(out, fleet);
	if (json_array_size(list)) {
		fputc('\n', out);
		print_hosts(out, list);
	}
}
