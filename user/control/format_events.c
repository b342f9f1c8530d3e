/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sentences: one line of a `watch` stream, and what a command that changes something has done.
 */
#include "control/format_internal.h"

#include <string.h>

/* The time, what happens, and to which client or model. */
static void print_head(FILE *out, const json_t *event, const char *what, const char *of)
{
	fprintf(out, "%s  %-7s  %s: ", format_clock(field_whole(event, "unix_ms")), what,
		field_text(event, of));
}

static void print_refusal(FILE *out, const json_t *event)
{
	const char *verdict = field_text(event, "verdict");

	print_head(out, event, !strcmp(verdict, "rejected") ? "refused" : "shadow", "client");
	fputs(field_text(event, "reason"), out);
	if (json_is_string(json_object_get(event, "model")))
		fprintf(out, ", model %s", field_text(event, "model"));
	fprintf(out, ", %s to %s, %s",
		json_is_true(json_object_get(event, "connection")) ? "connection" : "request",
		field_text(event, "service"), field_text(event, "action"));
	if (field_whole(event, "retry_after_ms"))
		fprintf(out, ", retry after %s",
			format_span((double)field_whole(event, "retry_after_ms")));
	fputc('\n', out);
}

static void print_change(FILE *out, const json_t *event)
{
	print_head(out, event, model_is_open(event) ? "open" : "SHUT", "name");
	if (model_is_open(event)) {
		fputs("within its targets\n", out);
		return;
	}
	model_print_reason(out, event);
	if (model_shut_by_average(event))
		fprintf(out, ", opens in about %s if nothing more arrives\n",
			format_span(json_number_value(json_object_get(event, "retry_after_ms"))));
	else
		fputs(", opens with the next first token or end of a response\n", out);
}

void format_event(FILE *out, const json_t *event)
{
	const char *kind = field_text(event, "event");

	if (!strcmp(kind, "refusal"))
		print_refusal(out, event);
	else if (!strcmp(kind, "model"))
		print_change(out, event);
}

void format_done(FILE *out, const json_t *answer)
{
	const json_t *model = json_object_get(answer, "model");
	const json_t *for_ms = json_object_get(answer, "for_ms");

	if (json_object_get(answer, "client")) {
		fprintf(out, "%s %s", field_text(answer, "did"), field_text(answer, "client"));
		if (json_object_get(answer, "quota"))
			fprintf(out, " to %s", field_text(answer, "quota"));
		if (json_object_get(answer, "weight"))
			fprintf(out, "%sweight=%s", json_object_get(answer, "quota") ? " " : " to ",
				field_weight(answer));
		if (json_is_string(model))
			fprintf(out, " for model %s", json_string_value(model));
		if (json_is_number(for_ms))
			fprintf(out, ", for %s", format_span(json_number_value(for_ms)));
		if (json_is_object(json_object_get(answer, "fleet")))
			format_fleet_change(out, json_object_get(answer, "fleet"));
		if (json_object_get(answer, "note"))
			fprintf(out, " (%s)", field_text(answer, "note"));
	} else {
		fputs(field_text(answer, "did"), out);
	}
	fputc('\n', out);
}
