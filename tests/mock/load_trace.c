/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads a trace: the times and sizes of its requests.
 */
#include "load.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Parses "2023-11-16 18:15:46.6805900" into seconds since 1970. */
static bool parse_time(const char *text, double *s)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);
	double part = 0;
	char *end;

	if (!rest)
		return false;
	if (*rest == '.') {
		part = strtod(rest, &end);
		rest = end;
	}
	*s = (double)timegm(&tm) + part;
	return !*rest || *rest == '+' || *rest == 'Z';
}

/* Appends the request of a line, with the file's time. */
static void read_row(char *line, unsigned int number)
{
	char *prompt = strchr(line, ','), *generate = prompt ? strchr(prompt + 1, ',') : NULL;
	struct arrival a = {0};
	double prompt_tokens, tokens;

	if (generate) {
		*prompt++ = '\0';
		*generate++ = '\0';
	}
	if (!generate || !parse_time(line, &a.at_s) ||
	    !parse_number(prompt, 0, TRACE_TOKENS, &prompt_tokens) ||
	    !parse_number(generate, 0, TRACE_TOKENS, &tokens))
		die_usage("%s:%u: want TIMESTAMP,ContextTokens,GeneratedTokens", trace_path,
			  number);
	a.prompt = prompt_tokens < 1 ? 1 : (uint32_t)prompt_tokens;
	a.generate = tokens < 1 ? 1 : (uint32_t)tokens;
	if (arrival_count && a.at_s < arrivals[arrival_count - 1].at_s)
		die_usage("%s:%u: earlier than the line before it", trace_path, number);
	if ((arrival_count & (arrival_count - 1)) == 0)
		arrivals = xrealloc(arrivals,
				    (arrival_count ? arrival_count * 2 : 1) * sizeof(*arrivals));
	arrivals[arrival_count++] = a;
}

static int by_prompt(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Prompts of equal length are in the same quartile, the lower one. */
static void find_quartiles(void)
{
	uint32_t *prompts = xcalloc(arrival_count, sizeof(*prompts));

	for (size_t i = 0; i < arrival_count; i++)
		prompts[i] = arrivals[i].prompt;
	qsort(prompts, arrival_count, sizeof(*prompts), by_prompt);
	for (size_t q = 0; q < 3; q++)
		quartile_ends[q] = prompts[(q + 1) * (arrival_count - 1) / 4];
	free(prompts);
	for (size_t i = 0; i < arrival_count; i++)
		for (size_t q = 0; q < 3; q++)
			arrivals[i].quartile += arrivals[i].prompt > quartile_ends[q];
}

/*
 * Reads the rows of this run and their times. With --speed, --duration or --requests bounds the
 * number of rows. With --load-rate, their number makes that rate over --duration, from the first to
 * the last.
 */
void read_trace(void)
{
	FILE *f = fopen(trace_path, "re");
	char line[256];
	unsigned int number = 0;
	double first, scale;
	size_t want;

	if (!f)
		die("cannot open %s: %s", trace_path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = '\0';
		number++;
		/* Skips the header and the rows before --trace-from. */
		if (line[0] && number > 1 + (unsigned int)trace_from)
			read_row(line, number);
	}
	fclose(f);
	want = requests_max > 0 ? (size_t)requests_max
	       : load_rate > 0  ? (size_t)(load_rate * duration_s + 0.5)
				: arrival_count;
	if (arrival_count < 2 || arrival_count < want || want < 2)
		die_usage("%s: %zu requests from --trace-from on; %zu are needed (2 at least)",
			  trace_path, arrival_count, want);
	arrival_count = want;
	first = arrivals[0].at_s;
	scale = 1 / speed;
	if (load_rate > 0)
		scale = (double)want / load_rate / fmax(arrivals[want - 1].at_s - first, 1e-9);
	for (size_t i = 0; i < want; i++) {
		arrivals[i].at_s = (arrivals[i].at_s - first) * scale;
		if (load_rate == 0 && duration_s > 0 && arrivals[i].at_s >= duration_s) {
			arrival_count = i;
			break;
		}
	}
	find_quartiles();
}
