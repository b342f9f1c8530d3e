/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One client's next request as text: the verdict as a sentence, which the daemon makes, and below
 * it the numbers that decide the verdict.
 */
#include "control/format_internal.h"

#include <string.h>

#include <sluice/admission.h>

/* What this host knows of a budget that it shares. */
static void fleet_line(FILE *out, const json_t *fleet)
{
	const json_t *answered = json_object_get(fleet, "answered_ms_ago");
	const char *sep = ": ";

	if (!json_is_object(fleet))
		return;
	if (json_is_integer(answered))
		fprintf(out, "             shared by the fleet, as the store said %s ago",
			format_span((double)json_integer_value(answered)));
	else
		fputs("             shared by the fleet; the store has not been asked of it", out);
	for (unsigned i = 0; i < 2; i++) {
		const char *what = i ? "tokens" : "requests";
		const json_t *units = json_object_get(fleet, what);

		if (!json_is_object(units))
			continue;
		fprintf(out, "%s%s %s granted, %s not reported yet", sep,
			field_number(units, "granted", 0), what,
			field_number(units, "unsynced", 0));
		sep = "; ";
	}
	fputc('\n', out);
}

/* "requests: 3 of 20 left, full again in 12 s" */
static void budget_line(FILE *out, const json_t *quota, const char *what)
{
	const json_t *b = json_object_get(quota, what);

	if (!json_is_object(b))
		return;
	fprintf(out, "             %s: %s of %s left", what, field_number(b, "remaining", 0),
		field_number(b, "limit", 0));
	if (field_whole(b, "debt"))
		fprintf(out, ", %s in debt", field_number(b, "debt", 0));
	if (field_whole(b, "next_ms"))
		fprintf(out, ", the next in %s", format_span((double)field_whole(b, "next_ms")));
	if (field_whole(b, "reset_ms"))
		fprintf(out, ", full again in %s", format_span((double)field_whole(b, "reset_ms")));
	fputc('\n', out);
}

static void explain_model(FILE *out, const char *label, const json_t *m)
{
	fprintf(out, "%-13s%s in flight", label, field_number(m, "in_flight", 0));
	if (json_is_number(json_object_get(m, "limit")))
		fprintf(out, " of %s", field_number(m, "limit", 0));
	fprintf(out, ", %s waiting; %s", field_number(m, "waiting", 0),
		model_is_open(m) ? "open" : "SHUT");
	fprintf(out, ": ttft %s ms (target %s), itl %s ms (target %s)",
		field_number(m, "ttft_ema_ms", 1), model_ttft_target(m),
		field_number(m, "itl_ema_ms", 1), field_number(m, "itl_threshold_ms", 0));
	if (model_has_durations(m))
		fprintf(out, ", duration %s ms (target %s), normalized latency %s ms (target %s)",
			field_number(m, "duration_ema_ms", 0),
			field_number(m, "duration_threshold_ms", 0),
			field_number(m, "normalized_latency_ema_ms", 1),
			field_number(m, "normalized_latency_threshold_ms", 0));
	fputc('\n', out);
}

/* The verdict of policy adaptive on the request, with the numbers that decide. */
static void explain_admission(FILE *out, const json_t *e)
{
	const json_t *pool = json_object_get(e, "admission");
	double level = json_number_value(json_object_get(pool, "level"));
	double queue_budget = json_number_value(json_object_get(pool, "queue_budget_level"));

	fprintf(out, "class        %s (%s), rank %s of 0 to 7", field_text(e, "class"),
		!strcmp(field_text(e, "class_from"), "default")  ? "default"
		: !strcmp(field_text(e, "class_from"), "header") ? "by its header"
		: !strcmp(field_text(e, "class_from"), "key")    ? "of its key"
								 : "of its prefix",
		field_number(e, "rank", 0));
	if (!json_is_object(pool)) {
		fputc('\n', out);
		return;
	}
	if (level < 1 || level > 1 || queue_budget < 1)
		fprintf(out, ": may use %.0f %% of the slots and %.0f %% of the queue budget",
			100 * level, 100 * queue_budget);
	fputc('\n', out);
	if (strcmp(field_text(pool, "pool"), field_text(e, "model")))
		fprintf(out, "pool         %s\n", field_text(pool, "pool"));
	fprintf(out, "slots        %s in flight", field_number(pool, "in_flight", 0));
	if (json_is_number(json_object_get(pool, "ceiling"))) {
		fprintf(out, " of %s", field_number(pool, "ceiling", 0));
		if (level < 1 || level > 1)
			fprintf(out, ", %s for this rank", field_number(pool, "slots", 0));
	}
	fprintf(out, "; fewer than %s: always admitted%s\n", field_number(pool, "floor", 0),
		json_is_true(json_object_get(pool, "stopped")) ? "; more: none, the server is stuck"
							       : "");
	fprintf(out, "wait         %s waiting with %s bytes; a request of %s bytes ",
		field_number(pool, "waiting", 0), field_number(pool, "waiting_bytes", 0),
		field_number(pool, "request_bytes", 0));
	if (json_is_number(json_object_get(pool, "predicted_wait_ms")))
		fprintf(out, "is expected to wait %s ms, and may %s ms (target %s ms)\n",
			field_number(pool, "predicted_wait_ms", 0),
			field_number(pool, "allowed_wait_ms", 0),
			field_number(pool, "target_ms", 0));
	else
		fputs("waits for an unknown time: too few first tokens so far\n", out);
	if (json_is_number(json_object_get(pool, "client_share")))
		fprintf(out,
			"share        %s in flight of the client; its share is %s slots; %s of %d intervals ahead: %s its share\n",
			field_number(pool, "client_in_flight", 0),
			field_number(pool, "client_share", 1),
			field_number(pool, "client_excess", 1), ADMISSION_TOLERANCE,
			json_is_true(json_object_get(pool, "above_share")) ? "above" : "within");
	else
		fputs("share        no other client shares the slots\n", out);
}

static void explain_one(FILE *out, const json_t *e)
{
	const json_t *quota = json_object_get(e, "quota"), *rule = json_object_get(e, "rule");

	fprintf(out, "%s\n\n", field_text(e, "sentence"));
	fprintf(out, "request      of %s for model %s at service %s\n", field_text(e, "client"),
		field_text(e, "model"), field_text(e, "service"));
	if (json_object_get(e, "note"))
		fprintf(out, "             %s\n", field_text(e, "note"));
	fputs("rule         ", out);
	if (json_is_object(rule))
		fprintf(out, "%s, of %s, %s%s\n", field_text(rule, "verdict"),
			!strcmp(field_text(rule, "kind"), "prefix") ? "its prefix" : "the client",
			json_is_integer(json_object_get(rule, "expires_in_ms")) ? "for another "
										: "without end",
			json_is_integer(json_object_get(rule, "expires_in_ms"))
				? format_span((double)field_whole(rule, "expires_in_ms"))
				: "");
	else
		fputs("none\n", out);
	if (json_is_object(quota)) {
		fprintf(out, "quota        %s (of its %s, %s)\n", field_text(quota, "quota"),
			field_text(quota, "from"),
			!strcmp(field_text(quota, "by"), "manual")  ? "set manually"
			: !strcmp(field_text(quota, "by"), "fleet") ? "of the whole fleet"
								    : "from the configuration");
		if (json_is_string(json_object_get(quota, "weight_of")))
			fprintf(out,
				"             which is %s times %s: the weight of its prefix\n",
				field_weight(e), field_text(quota, "weight_of"));
		budget_line(out, quota, "requests");
		budget_line(out, quota, "tokens");
		fleet_line(out, json_object_get(quota, "fleet"));
	} else {
		fputs("quota        none\n", out);
	}
	explain_model(out, "model", json_object_get(e, "model_now"));
	explain_model(out, "all models", json_object_get(e, "global_now"));
	explain_admission(out, e);
	fprintf(out, "client       %s in flight", field_number(e, "client_in_flight", 0));
	if (strcmp(field_weight(e), "1"))
		fprintf(out, ", weight %s", field_weight(e));
	fputc('\n', out);
	if (json_array_size(json_object_get(e, "identity"))) {
		fputs("identity     ", out);
		service_print_identity(out, e);
	}
}

void format_explain(FILE *out, const json_t *e)
{
	const json_t *services = json_object_get(e, "services"), *one;
	size_t i;

	if (!json_array_size(services)) {
		explain_one(out, e);
		return;
	}
	json_array_foreach(services, i, one)
	{
		fputs(i ? "\n" : "", out);
		explain_one(out, one);
	}
}
