/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Wraps the texts of --help. A line break never divides a piece of text. A piece is a word, or
 * everything in one pair of brackets: "[--service ADDR:PORT]" on two lines reads as two arguments.
 */
#include "help.h"

#include <string.h>

/* Bytes of the first piece of text, and how many columns it takes on a terminal (UTF-8). */
static size_t piece(const char *text, unsigned *columns)
{
	unsigned depth = 0;
	size_t n = 0;

	for (*columns = 0; text[n] && (text[n] != ' ' || depth); n++) {
		depth += text[n] == '[';
		depth -= depth && text[n] == ']';
		*columns += (text[n] & 0xc0) != 0x80;
	}
	return n;
}

void help_wrap(FILE *out, unsigned column, unsigned indent, const char *text)
{
	unsigned columns, gap = 0;
	size_t n;

	for (; *text; text += n, gap = 1) {
		text += strspn(text, " ");
		n = piece(text, &columns);
		if (gap && column + gap + columns > HELP_COLUMNS) {
			fprintf(out, "\n%*s", (int)indent, "");
			column = indent;
			gap = 0;
		}
		fprintf(out, "%*s%.*s", (int)gap, "", (int)n, text);
		column += gap + columns;
	}
	fputc('\n', out);
}

void help_option(FILE *out, const char *name, const char *argument, const char *help,
		 const char *fallback)
{
	char usage[96], text[320];
	int n = snprintf(usage, sizeof(usage), "  %s%s%s", name, argument ? " " : "",
			 argument ? argument : "");

	if (n >= HELP_BESIDE) /* a line of its own */
		fprintf(out, "%s\n%*s", usage, HELP_BESIDE, "");
	else
		fprintf(out, "%-*s", HELP_BESIDE, usage);
	snprintf(text, sizeof(text), fallback ? "%s [%s]" : "%s", help, fallback);
	help_wrap(out, HELP_BESIDE, HELP_BESIDE, text);
}
