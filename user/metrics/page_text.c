/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The words of the page; page_internal.h says what each is. */
#include "metrics/page_internal.h"

#include <string.h>
#include <time.h>

#include "core/printable.h"

void page_text(FILE *out, const char *text, size_t len)
{
	for (; len; len--, text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			fputc(*text, out);
		}
	}
}

void page_escaped(FILE *out, const char *text)
{
	char one[PRINTABLE_CHAR_MAX];

	while (*text) {
		printable_next(&text, one);
		page_text(out, one, strlen(one));
	}
}

void page_clock(FILE *out, uint64_t unix_ns)
{
	time_t secs = (time_t)(unix_ns / 1000000000);
	char text[32];
	struct tm tm;

	gmtime_r(&secs, &tm);
	strftime(text, sizeof(text), "%H:%M:%S UTC", &tm);
	fputs(text, out);
}

void page_span(FILE *out, double secs)
{
	if (secs < 120)
		fprintf(out, "%.0f s", secs);
	else if (secs < 7200)
		fprintf(out, "%.0f min", secs / 60);
	else if (secs < 172800)
		fprintf(out, "%.1f h", secs / 3600);
	else
		fprintf(out, "%.1f d", secs / 86400);
}

bool page_is_full(const struct daemon_state *s, uint32_t id)
{
	uint32_t limit = controller_limit(s->controller, id);

	return limit && s->kernel[id].in_flight >= (int64_t)limit;
}
