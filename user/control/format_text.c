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

#include "core/columns.h"
#include "core/printable.h"

#define LABEL  13 /* columns of "requests     " */
#define INDENT 2

static unsigned screen_columns;

void format_set_columns(unsigned columns)
{
	screen_columns = columns && columns < 40 ? 40 : columns;
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
		if (columns_of(cells[i]) > t->width[i])
			t->width[i] = columns_of(cells[i]);
	}
	va_end(args);
}

unsigned format_cut(FILE *out, const char *text, unsigned columns)
{
	unsigned wide = columns_of(text), used = 0;
	int one;

	if (wide <= columns) {
		fputs(text, out);
		return wide;
	}
	for (size_t len; (len = columns_next(text, &one)); text += len) {
		unsigned more = one < 0 ? 1 : (unsigned)one;

		if (used + more >= columns)
			break;
		fprintf(out, "%.*s", (int)len, text);
		used += more;
	}
	fputs("…", out);
	return used + 1;
}

/* A cell in its column, cut where the column is narrower. The last cell of a row is not padded. */
static void print_cell(FILE *out, const char *cell, unsigned columns, bool right, bool last)
{
	unsigned wide = columns_of(cell), pad = wide < columns ? columns - wide : 0;

	if (right)
		fprintf(out, "%*s", (int)pad, "");
	wide = format_cut(out, cell, columns);
	if (!right && !last)
		fprintf(out, "%*s", (int)(columns - wide), "");
}

/* Columns from..to - 1 of the table, after its first one. */
static void print_part(FILE *out, const struct table *t, unsigned from, unsigned to)
{
	for (unsigned r = 0; r < t->rows; r++) {
		char **row = &t->cells[r * t->columns];

		print_cell(out, row[0], t->width[0], t->align[0] == 'r', from == to);
		for (unsigned i = from; i < to; i++) {
			fputs("  ", out);
			print_cell(out, row[i], t->width[i], t->align[i] == 'r', i + 1 == to);
		}
		fputc('\n', out);
	}
}

/* A table that is wider than the screen comes in parts, each with the first column: what row it
 * is. */
void table_print(FILE *out, struct table *t)
{
	unsigned from = 1, to;

	if (screen_columns && t->width[0] > screen_columns * 3 / 7)
		t->width[0] = screen_columns * 3 / 7;
	do {
		unsigned used = t->width[0];

		for (to = from; to < t->columns; to++) {
			unsigned room = screen_columns - t->width[0] - 2;

			if (screen_columns && t->width[to] > room)
				t->width[to] = room;
			used += t->width[to] + 2;
			if (screen_columns && used > screen_columns)
				break;
		}
		if (from > 1)
			fputc('\n', out);
		print_part(out, t, from, to);
		from = to;
	} while (to < t->columns);
	for (unsigned i = 0; i < t->rows * t->columns; i++)
		free(t->cells[i]);
	free(t->cells);
}

void format_wrap(FILE *out, const char *line, unsigned columns, unsigned indent)
{
	unsigned used = 0;
	bool first = true;

	do {
		const char *end = line + strcspn(line, " ");
		char *word = strndup(line, (size_t)(end - line));

		if (!word)
			abort();
		if (!first && used + 1 + columns_of(word) > columns) {
			fprintf(out, "\n%*s", (int)indent, "");
			used = indent;
		} else if (!first) {
			fputc(' ', out);
			used++;
		}
		fputs(word, out);
		used += columns_of(word);
		free(word);
		first = false;
		line = end;
	} while (*line++);
	fputc('\n', out);
}

void format_wrap_all(FILE *out, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		char *line = strndup(text, len);

		if (!line)
			abort();
		/* Where a label of 13 columns comes first, its text stays together. */
		if (screen_columns && columns_of(line) > screen_columns)
			format_wrap(out, line, screen_columns,
				    line[12] == ' ' && line[13] != ' ' ? LABEL : INDENT);
		else
			fprintf(out, "%s\n", line);
		free(line);
		text += len + (text[len] == '\n');
	}
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
