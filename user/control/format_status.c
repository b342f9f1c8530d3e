/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The status as text. The one idea: its first line is for an operator at three in the morning: does
 * sluice enforce, is any model shut, why, since when, until when.
 */
#include "control/format_internal.h"

/* A shut model: why, since when, until when. */
static void shut_line(FILE *out, const json_t *model, const char *name, json_int_t now_ms)
{
	const json_t *since = json_object_get(model, "changed_unix_ms");
	double retry_ms = json_number_value(json_object_get(model, "retry_after_ms"));

	fprintf(out, "SHUT: %s (", name);
	model_print_reason(out, model);
	fputs(")", out);
	if (json_is_integer(since))
		fprintf(out, " since %s (%s)", format_clock(json_integer_value(since)),
			format_span((double)(now_ms - json_integer_value(since))));
	if (model_shut_by_average(model))
		fprintf(out, ", opens about %s (in %s) if nothing more arrives\n",
			format_clock(now_ms + (json_int_t)retry_ms), format_span(retry_ms));
	else
		fputs(", opens with the next first token or end of a response\n", out);
}

/* The server is taken out of service: until when, and whether it is empty yet. */
static void drain_line(FILE *out, const json_t *drain, const json_t *all)
{
	const json_t *ends = json_object_get(drain, "ends_in_ms");

	fprintf(out, "DRAINING: %s in flight, what is new gets a %s",
		field_number(all, "in_flight", 0), field_number(drain, "status", 0));
	if (json_is_number(ends))
		fprintf(out, " for another %s\n", format_span(json_number_value(ends)));
	else
		fputs(", until `sluicectl resume`\n", out);
}

static bool has_target(const json_t *model)
{
	return json_is_number(json_object_get(model, "ttft_threshold_ms")) ||
	       json_is_number(json_object_get(model, "itl_threshold_ms")) ||
	       json_is_number(json_object_get(model, "duration_threshold_ms")) ||
	       json_is_number(json_object_get(model, "normalized_latency_threshold_ms")) ||
	       json_is_number(json_object_get(model, "limit"));
}

static bool any_target(const json_t *models)
{
	const json_t *model;
	size_t i;

	json_array_foreach(models, i, model) if (has_target(model)) return true;
	return false;
}

/* " (ttft 20, in-flight 10)", or nothing if all are 0. */
static void print_reasons(FILE *out, const json_t *reasons, int decimals)
{
	const char *reason, *sep = " (";
	json_t *n;

	json_object_foreach((json_t *)reasons, reason, n) if (json_number_value(n) > 0)
	{
		fprintf(out, "%s%s %.*f", sep, reason, decimals, json_number_value(n));
		sep = ", ";
	}
	fputs(*sep == ',' ? ")" : "", out);
}

/* What is refused while no model is shut, such as by the queue of policy adaptive. */
static void refusing(FILE *out, const json_t *rates)
{
	double rejected = json_number_value(json_object_get(rates, "rejected_per_s"));

	if (!(rejected > 0))
		return;
	fprintf(out, "%.1f requests a second are refused", rejected);
	print_reasons(out, json_object_get(rates, "rejected_per_s_by_reason"), 1);
	fprintf(out, ", %.1f admitted; ",
		json_number_value(json_object_get(rates, "admitted_per_s")));
}

static void headline(FILE *out, const json_t *status)
{
	const json_t *list = json_object_get(status, "models"), *model;
	const json_t *all = json_object_get(status, "global");
	json_int_t now_ms = field_whole(status, "now_unix_ms");
	const json_t *drain = json_object_get(status, "drain");
	unsigned shut = 0;
	size_t i;

	fprintf(out, "%s, policy %s: ",
		json_is_true(json_object_get(status, "detaching")) ? "detaching"
								   : field_text(status, "mode"),
		field_text(status, "policy"));
	json_array_foreach(list, i, model) shut += !model_is_open(model);
	if (json_is_object(drain)) {
		drain_line(out, drain, all);
	} else if (all && !model_is_open(all)) {
		shut_line(out, all, "everything", now_ms);
	} else if (!shut) {
		refusing(out, json_object_get(status, "rates"));
		fputs(has_target(all) || any_target(list)
			      ? "no model is shut\n"
			      : "no model is shut (no target is set: latency is only observed)\n",
		      out);
	} else {
		bool first = true;

		if (shut > 1)
			fprintf(out, "%u of %zu models are shut\n", shut, json_array_size(list));
		json_array_foreach(list, i, model) if (!model_is_open(model))
		{
			fputs(shut > 1 || !first ? "  " : "", out);
			shut_line(out, model, field_text(model, "name"), now_ms);
			first = false;
		}
	}
}

/* "by class     low 7 admitted, 30 rejected (ttft 20, in-flight 10)", and so for each class with
 * requests. */
static void print_classes(FILE *out, const json_t *status)
{
	const char *class, *reason, *begin = "\nby class     ";
	json_t *reasons, *n;

	json_object_foreach(json_object_get(status, "rejected_by_class"), class, reasons)
	{
		json_int_t admitted =
			field_whole(json_object_get(status, "admitted_by_class"), class);
		json_int_t rejected = 0;

		json_object_foreach(reasons, reason, n) rejected += json_integer_value(n);
		if (!admitted && !rejected)
			continue;
		fprintf(out,
			"%s%s %" JSON_INTEGER_FORMAT " admitted, %" JSON_INTEGER_FORMAT " rejected",
			begin, class, admitted, rejected);
		print_reasons(out, reasons, 0);
		begin = "\n             ";
	}
}

static void print_counts(FILE *out, const json_t *status)
{
	const json_t *requests = json_object_get(status, "requests");
	const json_t *connections = json_object_get(status, "connections");

	fprintf(out, "requests     %s admitted, %s rejected", field_number(requests, "admitted", 0),
		field_number(requests, "rejected", 0));
	print_reasons(out, json_object_get(status, "rejected_by_reason"), 0);
	if (field_whole(requests, "shadow_rejected"))
		fprintf(out, ", %s would have been (shadow)",
			field_number(requests, "shadow_rejected", 0));
	print_classes(out, status);
	fprintf(out, "\nconnections  %s reset, %s dropped at their SYN\n",
		field_number(connections, "reset", 0), field_number(connections, "dropped", 0));
}

/* What an operator must see without a request for it: losses, framing errors, full maps. */
static void print_warnings(FILE *out, const json_t *status)
{
	static const struct {
		const char *counter, *means;
	} rows[] = {
		{"passed-lease", "passed although refused: the lease had run out"},
		{"passed-framing-error", "connections passed unjudged: their framing was lost"},
		{"headers-unread",
		 "packets passed unread: more IPv6 extension headers than are walked"},
		{"passed-no-room", "refusals that became a reset: their text was missing"},
		{"conns-full", "connections found no room: the map conns was full"},
		{"tombstones-full", "refusals that became a reset: the map tombstones was full"},
		{"unseen-responses",
		 "connections unjudged: the server's packets leave by an interface that sluice is not attached to"},
		{"unseen-requests",
		 "connections unjudged: clients come by an interface that sluice is not attached to"},
		{"passed-unproven",
		 "segments passed unjudged: their connections are not proven yet"},
		{"passed-answered-early",
		 "passed although refused: the server answered before the request's end"},
		{"budgets-lost", "charges lost: the map client_state had no room"},
		{"feedback-absent", "answers whose Date could not carry what is left"},
		{"counts-full", "requests not counted: the map request_counts was full"},
		{"samples-lost", "latency samples lost: their ring was full"},
		{"verdicts-lost", "refusals not shown by `watch` (all are counted)"},
		{"replies-lost", "refusals that became a reset: bytes in flight were lost"},
	};
	const json_t *counters = json_object_get(status, "counters"), *map, *model, *one;
	const char *name;
	size_t n;

	json_array_foreach(json_object_get(status, "interfaces"), n, one)
	{
		if (json_is_string(json_object_get(one, "xdp_note")))
			fprintf(out, "note: %s\n", field_text(one, "xdp_note"));
		if (field_whole(one, "restored"))
			fprintf(out,
				"note: %" JSON_INTEGER_FORMAT
				" times sluice set right what somebody had changed at %s\n",
				field_whole(one, "restored"), field_text(one, "name"));
	}

	json_array_foreach(json_object_get(status, "trouble_details"), n,
			   one) if (!json_is_true(json_object_get(one, "blind")))
		fprintf(out, "note: %s\n", field_text(one, "text"));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (field_whole(counters, rows[i].counter))
			fprintf(out, "note: %" JSON_INTEGER_FORMAT " %s\n",
				field_whole(counters, rows[i].counter), rows[i].means);
	if (field_whole(status, "names_refused"))
		fprintf(out,
			"note: %" JSON_INTEGER_FORMAT
			" samples of names not learned (table full, or reserved)\n",
			field_whole(status, "names_refused"));
	json_array_foreach(json_object_get(status, "models"), n,
			   model) if (field_whole(model, "guessed"))
		fprintf(out,
			"note: the format of %s's streams is not known: their first tokens are a guess\n",
			field_text(model, "name"));
	json_object_foreach((json_t *)json_object_get(status, "maps"), name,
			    map) if (field_whole(map, "entries") * 10 >=
					     field_whole(map, "max") * 9 &&
				     field_whole(map, "max") > 1)
		fprintf(out,
			"note: map %s is at %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
			" entries\n",
			name, field_whole(map, "entries"), field_whole(map, "max"));
}

void format_headline(FILE *out, const json_t *status)
{
	const json_t *one;
	size_t i;

	headline(out, status);
	json_array_foreach(json_object_get(status, "troubles"), i, one) if (json_is_string(one))
		fprintf(out, "TROUBLE: %s\n", json_string_value(one));
}

void format_status(FILE *out, const json_t *status)
{
	const json_t *one;
	size_t i;

	format_headline(out, status);
	fputc('\n', out);
	format_models(out, status);
	fputc('\n', out);
	print_counts(out, status);
	fputc('\n', out);
	service_print_list(out, json_object_get(status, "services"), false);
	fputs("\ninterfaces   ", out);
	if (!json_array_size(json_object_get(status, "interfaces")))
		fputs(DASH, out);
	json_array_foreach(json_object_get(status, "interfaces"), i, one)
	{
		fprintf(out, "%s%s ", i ? ", " : "", field_text(one, "name"));
		if (json_is_false(json_object_get(one, "tc")))
			fputs("(not attached)", out);
		else
			fprintf(out, "(xdp %s, %s%s)", field_text(one, "xdp"),
				field_text(one, "tc_kind"),
				json_is_true(json_object_get(one, "leads_to_server"))
					? ", leads to a server"
					: "");
	}
	fprintf(out, "\ndaemon       %s, pid %s, up %s, lease %s ms\n",
		field_text(status, "version"), field_number(status, "pid", 0),
		format_span((double)field_whole(status, "uptime_ms")),
		field_number(status, "lease_ms", 0));
	if (json_is_object(json_object_get(status, "fleet"))) {
		format_fleet_line(out, json_object_get(status, "fleet"));
	}
	if (json_is_false(json_object_get(status, "pinned")))
		fputs("note: nothing is pinned (`pin-dir: none`): when the daemon ends, also by a crash, sluice is gone, and all requests pass\n",
		      out);
	print_warnings(out, status);
}
