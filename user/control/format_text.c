/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cells of all answers: tables, fields of a JSON object, spans of time. The one idea: a field
 * that an older or newer daemon does not send, or sends empty, becomes a dash, never a crash. A
 * table collects its cells and is printed once every column's width is known.
 */
#include "control/format_internal.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/printable.h"

/* Columns of a UTF-8 text on a terminal (a wide character counts as one). */
static unsigned width(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

void table_row(struct table *t, ...)
{
	char **cells = realloc(t->cells, (t->rows + 1) * t->columns * sizeof(*cells));
	va_list args;

	if (!cells)
		abort();
	t->cells = cells;
	cells += t->rows++ * t->columns;
	va_start(args, t);
	for (unsigned i = 0; i < t->columns; i++) {
		cells[i] = strdup(va_arg(args, const char *));
		if (!cells[i])
			abort();
		if (width(cells[i]) > t->width[i])
			t->width[i] = width(cells[i]);
	}
	va_end(args);
}

void table_print(FILE *out, struct table *t)
{
	for (unsigned r = 0; r < t->rows; r++) {
		for (unsigned i = 0; i < t->columns; i++) {
			char *cell = t->cells[r * t->columns + i];
			int pad = (int)(t->width[i] - width(cell));
			bool last = i + 1 == t->columns;

			fputs(i ? "  " : "", out);
			if (t->align[i] == 'r')
				fprintf(out, "%*s%s", pad, "", cell);
			else
				fprintf(out, "%s%*s", cell, last ? 0 : pad, "");
			free(cell);
		}
		fputc('\n', out);
	}
	free(t->cells);
}

const char *field_text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value && *value ? value : DASH;
}

const char *field_number(const json_t *object, const char *key, int decimals)
{
	static char ring[16][32];
	static unsigned next;
	const json_t *value = json_object_get(object, key);
	char *out = ring[next++ % 16];

	if (!json_is_number(value))
		return DASH;
	snprintf(out, sizeof(ring[0]), "%.*f", decimals, json_number_value(value));
	return out;
}

json_int_t field_whole(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

const char *field_weight(const json_t *object)
{
	const json_t *value = json_object_get(object, "weight");
	static char ring[4][32];
	static unsigned next;
	char *out = ring[next++ % 4];

	snprintf(out, sizeof(ring[0]), "%.10g",
		 json_is_number(value) ? json_number_value(value) : 1);
	return out;
}

const char *format_span(double ms)
{
	static const struct {
		long long s;
		const char *name;
	} units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	static char ring[4][48];
	static unsigned next;
	char *out = ring[next++ % 4];
	long long s = (long long)(ms / 1000 + 0.5), rest;
	unsigned u = 0;

	if (ms < 1000) {
		snprintf(out, sizeof(ring[0]), "%.0f ms", ms);
		return out;
	}
	while (s < units[u].s)
		u++;
	rest = units[u].s > 1 ? s % units[u].s / units[u + 1].s : 0;
	if (rest)
		snprintf(out, sizeof(ring[0]), "%lld %s %lld %s", s / units[u].s, units[u].name,
			 rest, units[u + 1].name);
	else
		snprintf(out, sizeof(ring[0]), "%lld %s", s / units[u].s, units[u].name);
	return out;
}

const char *format_clock(json_int_t unix_ms)
{
	static char ring[4][16];
	static unsigned next;
	char *out = ring[next++ % 4];
	time_t t = (time_t)(unix_ms / 1000);
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(out, sizeof(ring[0]), "%H:%M:%S", &tm);
	return out;
}

void format_printable(json_t *answer)
{
	const char *text = json_string_value(answer), *key;
	json_t *one;
	size_t i;

	if (text) {
		size_t size = PRINTABLE_MAX(strlen(text));
		char *printable = malloc(size);

		if (!printable)
			abort();
		printable_text(printable, size, text);
		if (strcmp(printable, text) != 0)
			json_string_set(answer, printable);
		free(printable);
	}
	json_array_foreach(answer, i, one) format_printable(one);
	json_object_foreach(answer, key, one) format_printable(one);
}
