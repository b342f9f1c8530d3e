/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Lines of a record; record.h says what one is. */
#include "core/record.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/printable.h"

/* A spreadsheet reads a field that begins so as a formula (OWASP, "CSV Injection"). The apostrophe
 * that keeps it a text is itself among them, so that record_split() can take it off again. */
#define FORMULA "=+-@'"

static bool is_formula(const char *text)
{
	text += strspn(text, " ");
	return *text && strchr(FORMULA, *text);
}

uint32_t record_context_tokens(uint32_t bytes)
{
	uint32_t body = bytes > RECORD_BYTES_HEAD ? bytes - RECORD_BYTES_HEAD : 0;
	uint32_t tokens = body / RECORD_BYTES_A_TOKEN;

	return tokens ? tokens : 1;
}

/* Writes the character at *text as records have it, and moves *text after it. */
static void next_char(const char **text, char out[PRINTABLE_CHAR_MAX])
{
	printable_next(text, out);
	if (out[0] == '\n' || out[0] == ';') /* some spreadsheets split at semicolons */
		snprintf(out, PRINTABLE_CHAR_MAX, "\\u%04x", out[0] & 0x7fU);
}

char *record_name(const char *name)
{
	char *out = malloc(PRINTABLE_MAX(strlen(name))), *at = out;

	if (!out)
		return NULL;
	for (*at = 0; *name; at += strlen(at))
		next_char(&name, at);
	return out;
}

/* A field of any text, on one line. */
static void write_text(FILE *out, const char *text)
{
	bool formula = is_formula(text), quoted = formula || strpbrk(text, ",\"\n ");
	char one[PRINTABLE_CHAR_MAX];

	if (quoted)
		fputc('"', out);
	if (formula)
		fputc('\'', out);
	while (*text) {
		next_char(&text, one);
		if (one[0] == '"')
			fputs("\"\"", out);
		else
			fputs(one, out);
	}
	if (quoted)
		fputc('"', out);
}

static void write_client(FILE *out, const char *client, const struct siphash_secret *secret)
{
	struct siphash state;

	siphash_begin(&state, secret);
	for (; *client; client++)
		siphash_byte(&state, secret, (__u8)*client);
	/* The letter keeps a spreadsheet from reading a number. */
	fprintf(out, "c%016" PRIx64, (uint64_t)siphash_end(&state, secret));
}

static void write_ms(FILE *out, double ms)
{
	if (ms >= 0)
		fprintf(out, ",%.3f", ms);
	else
		fputc(',', out);
}

void record_write(FILE *out, const struct record_row *row, const struct siphash_secret *secret)
{
	time_t seconds = (time_t)(row->unix_ms / 1000);
	bool refused = !row->end;
	struct tm t = {0};

	gmtime_r(&seconds, &t);
	fprintf(out, "%04d-%02d-%02d %02d:%02d:%02d.%03u,%" PRIu32 ",", t.tm_year + 1900,
		t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec,
		(unsigned)(row->unix_ms % 1000), record_context_tokens(row->bytes));
	if (!refused)
		fprintf(out, "%" PRIu32, row->tokens);
	fputc(',', out);
	write_text(out, row->model);
	fputc(',', out);
	write_client(out, row->client, secret);
	fprintf(out, ",%" PRIu32, row->bytes);
	write_ms(out, row->ttft_ms);
	write_ms(out, refused ? -1 : row->duration_ms);
	fputc(',', out);
	write_text(out, row->verdict);
	fputc(',', out);
	write_text(out, row->reason);
	fputc(',', out);
	write_text(out, refused ? "" : row->end);
	fputc('\n', out);
}

/* Reads one field in place and moves *at after its comma; NULL at the end. False: its quotes do not
 * match. */
static bool next_field(char **at, char **field)
{
	char *from = *at, *to = from;

	*field = from;
	if (*from != '"') {
		*at = strchr(from, ',');
		if (*at)
			*(*at)++ = 0;
		return true;
	}
	for (from++; *from && (*from != '"' || from[1] == '"'); from++) {
		from += *from == '"';
		*to++ = *from;
	}
	if (*from++ != '"' || (*from && *from != ','))
		return false;
	*at = *from ? from + 1 : NULL;
	*to = 0;
	*field += **field == '\'';
	return true;
}

unsigned record_split(char *line, char **column, unsigned max)
{
	unsigned n = 0;

	while (line && n < max)
		if (!next_field(&line, &column[n++]))
			return 0;
	return n;
}
