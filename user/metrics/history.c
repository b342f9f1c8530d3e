/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * /v1/history: the last hour as columns of numbers, one column a value, so that a reader plots them
 * as they are. null is no value.
 */
#include "metrics/metrics.h"

#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/history.h"
#include "core/parse.h"
#include "core/printable.h"
#include "core/text.h"

static void name(FILE *out, const char *text)
{
	json_t *value = json_string(text);
	char *json = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

	json_decref(value);
	if (json)
		printable_json(out, json);
	else
		fputs("\"\"", out); /* out of memory */
	free(json);
}

static void number(FILE *out, float value)
{
	if (value >= 0)
		fprintf(out, "%.5g", (double)value);
	else
		fputs("null", out);
}

static const struct {
	const char *name;
	size_t at;
} columns[] = {
	{"ttft_ms", offsetof(struct history_point, ttft_ms)},
	{"ttft_target_ms", offsetof(struct history_point, ttft_target_ms)},
	{"itl_ms", offsetof(struct history_point, itl_ms)},
	{"itl_target_ms", offsetof(struct history_point, itl_target_ms)},
	{"in_flight", offsetof(struct history_point, in_flight)},
	{"limit", offsetof(struct history_point, limit)},
	{"admitted_per_second", offsetof(struct history_point, admitted)},
	{"rejected_per_second", offsetof(struct history_point, rejected)},
};

static void write_columns(FILE *out, const struct history *h, const struct history_series *one,
			  uint64_t from)
{
	for (size_t c = 0; c < sizeof(columns) / sizeof(columns[0]); c++) {
		fprintf(out, ",\"%s\":[", columns[c].name);
		for (uint64_t i = from; i < h->count; i++) {
			const char *point = (const char *)&one->point[i % HISTORY_POINTS];

			float value;

			memcpy(&value, point + columns[c].at, sizeof(value));
			fputs(i > from ? "," : "", out);
			number(out, value);
		}
		fputc(']', out);
	}
}

static const char *class_text(unsigned class)
{
	return parse_word_of(&parse_as_class, class);
}

/* The parts of a rate, of those that are not 0 all the time. `parts`: `count` for each point. */
static void write_parts(FILE *out, const struct history *h, uint64_t from, const char *column,
			const float *parts, unsigned count, const char *(*text)(unsigned part))
{
	const char *between = "";

	fprintf(out, ",\"%s\":{", column);
	for (unsigned p = 0; p < count; p++) {
		bool any = false;

		for (uint64_t i = from; i < h->count; i++)
			any |= parts[i % HISTORY_POINTS * count + p] > 0;
		if (!any)
			continue;
		fprintf(out, "%s\"%s\":[", between, text(p));
		for (uint64_t i = from; i < h->count; i++) {
			fputs(i > from ? "," : "", out);
			number(out, parts[i % HISTORY_POINTS * count + p]);
		}
		fputc(']', out);
		between = ",";
	}
	fputc('}', out);
}

/* By the name, or as an answer spells it. */
static const struct history_series *find(const struct history *h, const char *model)
{
	char spelt[PRINTABLE_MAX(SLUICE_NAME_MAX)];

	for (unsigned i = 0; *model && i < HISTORY_MODELS; i++) {
		printable_text(spelt, sizeof(spelt), h->model[i].name);
		if (!strcmp(model, spelt) || !strcmp(model, h->model[i].name))
			return &h->model[i];
	}
	return NULL;
}

unsigned metrics_write_history(FILE *out, const struct daemon_state *s, const char *model,
			       uint64_t after_ms)
{
	const struct history *h = s->history;
	const struct history_series *one;
	const char *between = "";
	uint64_t from;

	if (!h) {
		fputs("{\"error\":\"no history is kept\"}\n", out);
		return 503;
	}
	one = model ? find(h, model) : &h->all;
	if (!one) {
		fputs("{\"error\":\"no history of this model\"}\n", out);
		return 404;
	}
	from = history_first(h);
	while (from < h->count && h->unix_ms[from % HISTORY_POINTS] <= after_ms)
		from++;
	fprintf(out,
		"{\"interval_secs\":%d,\"points_max\":%d,\"now_unix_ms\":%" PRIu64 ",\"model\":",
		HISTORY_SECS, HISTORY_POINTS, s->unix_ns / 1000000);
	if (model)
		name(out, one->name);
	else
		fputs("null", out);
	fputs(",\"models\":[", out);
	for (unsigned i = 0; i < HISTORY_MODELS; i++) {
		if (!h->model[i].name[0])
			continue;
		fputs(between, out);
		name(out, h->model[i].name);
		between = ",";
	}
	fputs("],\"unix_ms\":[", out);
	for (uint64_t i = from; i < h->count; i++)
		fprintf(out, "%s%" PRIu64, i > from ? "," : "", h->unix_ms[i % HISTORY_POINTS]);
	fputc(']', out);
	write_columns(out, h, one, from);
	if (!model) {
		write_parts(out, h, from, "rejected_by_reason_per_second", h->by_reason[0],
			    SLUICE_REASON_COUNT, text_reason);
		write_parts(out, h, from, "admitted_by_class_per_second", h->admitted_by_class[0],
			    SLUICE_CLASSES, class_text);
		write_parts(out, h, from, "rejected_by_class_per_second", h->rejected_by_class[0],
			    SLUICE_CLASSES, class_text);
	}
	fputs("}\n", out);
	return 200;
}
