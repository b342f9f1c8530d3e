/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Models as text: the table, why a model is shut, the values in force after a `set`. The one idea:
 * a shut model shows which average is over which target, or that nothing in its queue moves.
 */
#include "control/format_internal.h"

#include <string.h>

bool model_is_open(const json_t *model)
{
	return !json_is_false(json_object_get(model, "open"));
}

bool model_shut_by_average(const json_t *model)
{
	const json_t *ema = json_object_get(model, "ttft_ema_ms");
	const json_t *threshold = json_object_get(model, "ttft_threshold_ms");

	if (json_is_object(json_object_get(model, "admission")))
		return false;
	return strcmp(field_text(model, "reason"), "ttft") || !json_is_number(ema) ||
	       json_number_value(ema) > json_number_value(threshold);
}

void model_print_reason(FILE *out, const json_t *model)
{
	const char *reason = field_text(model, "reason");
	char ema[32], threshold[32];
	size_t len;

	snprintf(ema, sizeof(ema), "%s_ema_ms", reason);
	snprintf(threshold, sizeof(threshold), "%s_threshold_ms", reason);
	len = strcspn(reason, "-"); /* fields have an underscore there */
	if (reason[len])
		ema[len] = threshold[len] = '_';
	if (!model_shut_by_average(model))
		fprintf(out, "%s: what waits for a first token moves no more", reason);
	else if (json_is_number(json_object_get(model, ema)))
		fprintf(out, "%s %s ms over %s ms", reason, field_number(model, ema, 0),
			field_number(model, threshold, 0));
	else
		fputs(reason, out);
}

const char *model_ttft_target(const json_t *model)
{
	static char ring[2][64];
	static unsigned next;
	const json_t *growth = json_object_get(model, "ttft_threshold_ms_per_kib");
	char *out = ring[next++ % 2];

	if (!json_is_number(growth))
		return field_number(model, "ttft_threshold_ms", 0);
	snprintf(out, sizeof(ring[0]), "%s + %.4g/KiB", field_number(model, "ttft_threshold_ms", 0),
		 json_number_value(growth));
	return out;
}

static void model_row(struct table *t, const json_t *model, const char *name)
{
	table_row(t, name, model_is_open(model) ? "open" : "SHUT",
		  field_number(model, "ttft_ema_ms", 1), model_ttft_target(model),
		  field_number(model, "itl_ema_ms", 1), field_number(model, "itl_threshold_ms", 0),
		  field_number(model, "in_flight", 0), field_number(model, "waiting", 0),
		  field_number(model, "limit", 0), field_number(model, "ttft_samples", 0),
		  field_number(model, "itl_samples", 0), field_number(model, "failed", 0));
}

bool model_has_durations(const json_t *model)
{
	return field_whole(model, "duration_samples") ||
	       json_is_number(json_object_get(model, "duration_threshold_ms")) ||
	       json_is_number(json_object_get(model, "normalized_latency_threshold_ms"));
}

static void duration_row(struct table *t, const json_t *model, const char *name)
{
	if (!model_has_durations(model))
		return;
	if (!t->rows)
		table_row(t, "NOT STREAMED", "DURATION ms", "TARGET ms", "NORMALIZED ms",
			  "TARGET ms", "SAMPLES", "WITH TOKENS");
	table_row(t, name, field_number(model, "duration_ema_ms", 0),
		  field_number(model, "duration_threshold_ms", 0),
		  field_number(model, "normalized_latency_ema_ms", 1),
		  field_number(model, "normalized_latency_threshold_ms", 0),
		  field_number(model, "duration_samples", 0),
		  field_number(model, "normalized_latency_samples", 0));
}

/* Replies that are not streamed, if there were any or any have a target. */
static void durations(FILE *out, const json_t *answer)
{
	struct table t = {.columns = 7, .align = "lrrrrrr"};
	const json_t *list = json_object_get(answer, "models"), *model;
	size_t i;

	json_array_foreach(list, i, model) duration_row(&t, model, field_text(model, "name"));
	if (json_object_get(answer, "global"))
		duration_row(&t, json_object_get(answer, "global"), "(all together)");
	if (!t.rows)
		return;
	fputc('\n', out);
	table_print(out, &t);
}

void format_models(FILE *out, const json_t *answer)
{
	struct table t = {.columns = 12, .align = "llrrrrrrrrrr"};
	const json_t *list = json_object_get(answer, "models"), *model;
	size_t i;

	table_row(&t, "MODEL", "GATE", "TTFT ms", "TARGET ms", "ITL ms", "TARGET ms", "IN FLIGHT",
		  "WAITING", "LIMIT", "TTFT SAMPLES", "ITL SAMPLES", "FAILED");
	json_array_foreach(list, i, model) model_row(&t, model, field_text(model, "name"));
	if (json_object_get(answer, "global"))
		model_row(&t, json_object_get(answer, "global"), "(all together)");
	table_print(out, &t);
	if (!json_array_size(list))
		fputs("No model has answered a request yet.\n", out);
	durations(out, answer);
}

static void target(FILE *out, const json_t *model, const char *name, const char *key,
		   const char *unit)
{
	const char *value = field_number(model, key, 3);
	size_t len = strlen(value);

	if (!strcmp(value, DASH)) {
		fprintf(out, ", %s none", name);
		return;
	}
	while (len && value[len - 1] == '0')
		len--;
	len -= len && value[len - 1] == '.';
	fprintf(out, ", %s %.*s%s", name, (int)len, value, unit);
}

/* "llama: open, ttft 800 ms, itl none, …": the values in force now. */
void format_set(FILE *out, const json_t *answer)
{
	const json_t *model = json_object_get(answer, "model");
	bool all = !json_is_object(model);

	if (all)
		model = json_object_get(answer, "global");
	fprintf(out, "%s: %s", all ? "all models" : field_text(model, "name"),
		model_is_open(model) ? "open" : "SHUT");
	target(out, model, "ttft", "ttft_threshold_ms", " ms");
	if (json_is_number(json_object_get(model, "ttft_threshold_ms_per_kib")))
		fprintf(out, " + %.4g ms/KiB",
			json_number_value(json_object_get(model, "ttft_threshold_ms_per_kib")));
	target(out, model, "itl", "itl_threshold_ms", " ms");
	if (json_is_number(json_object_get(model, "duration_threshold_ms")))
		target(out, model, "duration", "duration_threshold_ms", " ms");
	if (json_is_number(json_object_get(model, "normalized_latency_threshold_ms")))
		target(out, model, "normalized-latency", "normalized_latency_threshold_ms", " ms");
	target(out, model, "tau", "time_constant_secs", " s");
	target(out, model, "max-in-flight", "max_in_flight", "");
	if (json_is_number(json_object_get(model, "floor")))
		target(out, model, "floor", "floor", "");
	if (strcmp(field_text(model, "action"), "default"))
		fprintf(out, ", action %s", field_text(model, "action"));
	if (strcmp(field_text(model, "mode"), "default"))
		fprintf(out, ", mode %s", field_text(model, "mode"));
	if (all)
		fprintf(out, ", policy %s", field_text(answer, "policy"));
	if (json_object_get(answer, "note"))
		fprintf(out, " (%s)", field_text(answer, "note"));
	fputc('\n', out);
}
