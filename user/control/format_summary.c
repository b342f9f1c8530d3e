/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One interval of `watch --summary` as text: a line of rates, and below it only what has something
 * to say. Rows have 80 columns, so that they stay whole in a log and in a mail.
 */
#include "control/format_internal.h"

#include <stdlib.h>

#define ROW    80
#define INDENT 10 /* of "03:12:10  " */
#define LABEL  9  /* of "clients  " */
#define SHOWN  3
#define NAME   32

/* "3.2/s". Callers may use four results at once. */
static const char *rate(const json_t *summary, json_int_t n)
{
	double secs = (double)field_whole(summary, "interval_ms") / 1000;
	double value = secs > 0 ? (double)n / secs : 0;
	static char ring[4][32];
	static unsigned next;
	char *out = ring[next++ % 4];

	if (value < 0.05)
		snprintf(out, sizeof(ring[0]), n ? "<0.1/s" : "0/s");
	else
		snprintf(out, sizeof(ring[0]), "%.*f/s", value < 100, value);
	return out;
}

struct reason {
	const char *name;
	json_int_t n;
};

static int more_first(const void *a, const void *b)
{
	const struct reason *left = a, *right = b;

	return (left->n < right->n) - (left->n > right->n);
}

/* ": ttft 2.1/s, request-quota 1.1/s" */
static void print_reasons(FILE *out, const json_t *summary, const char *key)
{
	struct reason reasons[64] = {0};
	size_t count = 0;
	const char *name;
	json_t *n;

	json_object_foreach(json_object_get(summary, key), name, n)
	{
		if (json_integer_value(n) > 0 && count < 64)
			reasons[count++] = (struct reason){name, json_integer_value(n)};
	}
	qsort(reasons, count, sizeof(reasons[0]), more_first);
	for (size_t i = 0; i < count; i++)
		fprintf(out, "%s %s %s", i ? "," : ":", reasons[i].name,
			rate(summary, reasons[i].n));
}

static void print_rates(FILE *out, const json_t *summary)
{
	const json_t *requests = json_object_get(summary, "requests");
	const json_t *connections = json_object_get(summary, "connections");
	json_int_t admitted = field_whole(requests, "admitted"),
		   rejected = field_whole(requests, "rejected"),
		   shadow = field_whole(requests, "shadow_rejected"),
		   reset = field_whole(connections, "reset"),
		   dropped = field_whole(connections, "dropped");

	if (!rejected && !shadow && !reset && !dropped) {
		if (admitted)
			fprintf(out, "quiet: %s admitted, nothing refused",
				rate(summary, admitted));
		else
			fputs("quiet: no requests", out);
		return;
	}
	fprintf(out, "%s admitted, %s refused", rate(summary, admitted), rate(summary, rejected));
	print_reasons(out, summary, "rejected_by_reason");
	if (shadow) {
		fprintf(out, "; %s shadow", rate(summary, shadow));
		print_reasons(out, summary, "shadow_rejected_by_reason");
	}
	if (reset)
		fprintf(out, "; connections: %s reset", rate(summary, reset));
	if (dropped)
		fprintf(out, "%s %s dropped",
			reset ? "," : "; connections:", rate(summary, dropped));
}

/* "models   llama 2.0/s of 12/s, other 0.1/s of 3.0/s" */
static void print_list(FILE *out, const json_t *summary, const char *key, const char *name)
{
	const json_t *list = json_object_get(summary, key), *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		json_int_t n = field_whole(one, "rejected") + field_whole(one, "shadow_rejected");
		const json_t *admitted = json_object_get(one, "admitted");

		if (i == SHOWN)
			break;
		if (i)
			fputs(", ", out);
		else
			fprintf(out, "%*s%-*s", INDENT, "", LABEL, key);
		format_cut(out, field_text(one, name), NAME);
		fprintf(out, " %s", rate(summary, n));
		if (json_is_integer(admitted))
			fprintf(out, " of %s",
				rate(summary, field_whole(one, "rejected") +
						      field_whole(one, "shadow_rejected") +
						      json_integer_value(admitted)));
	}
}

/* Prints a row, broken at spaces, and frees it. */
static void print_row(FILE *out, FILE *row, char **text)
{
	if (fclose(row))
		abort();
	format_wrap(out, *text, ROW, INDENT + LABEL);
	free(*text);
}

void format_summary(FILE *out, const json_t *summary)
{
	static const char *const lists[][2] = {{"models", "name"}, {"clients", "client"}};
	const json_t *one;
	char *text = NULL;
	size_t len, i;
	FILE *row = open_memstream(&text, &len);

	if (!row)
		abort();
	fprintf(row, "%s  ", format_clock(field_whole(summary, "unix_ms")));
	print_rates(row, summary);
	if (fclose(row))
		abort();
	format_wrap(out, text, ROW, INDENT);
	free(text);
	for (i = 0; i < 2; i++) {
		if (!json_array_size(json_object_get(summary, lists[i][0])))
			continue;
		if (!(row = open_memstream(&text, &len)))
			abort();
		print_list(row, summary, lists[i][0], lists[i][1]);
		print_row(out, row, &text);
	}
	json_array_foreach(json_object_get(summary, "changes"), i, one)
	{
		if (!(row = open_memstream(&text, &len)))
			abort();
		fprintf(row, "%*s%-*s%s", INDENT, "", LABEL, "change", json_string_value(one));
		print_row(out, row, &text);
	}
}
