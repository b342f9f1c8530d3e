/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * See openmetrics.h. The formats differ in the comments only: a counter's family lacks the _total
 * of its lines, a family named after a unit states it, and the end is marked.
 */
#include "openmetrics.h"

#include <stdlib.h>
#include <string.h>

#define COMMENT_MAX 1024 /* bytes of a comment; ours are shorter */

struct converter {
	FILE *out;
	char comment[COMMENT_MAX];
	size_t len;
	bool in_line, in_comment;
};

bool openmetrics_is_asked_for(const char *accept)
{
	return accept && strstr(accept, "application/openmetrics-text");
}

/* The unit that a name ends with; NULL: none. */
static const char *unit_of(const char *name, size_t len)
{
	static const char *const units[] = {"seconds", "bytes"};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t n = strlen(units[i]);

		if (len > n && name[len - n - 1] == '_' && !memcmp(name + len - n, units[i], n))
			return units[i];
	}
	return NULL;
}

/* "# HELP NAME …" and "# TYPE NAME …", without the line end. */
static void write_comment(struct converter *c)
{
	static const char total[] = "_total";
	const char *name = c->comment + 7, *rest, *unit;
	size_t len;

	c->comment[c->len] = 0;
	if (c->len < 7)
		return;
	len = strcspn(name, " ");
	rest = name + len;
	if (len > sizeof(total) - 1 &&
	    !memcmp(name + len - (sizeof(total) - 1), total, sizeof(total) - 1))
		len -= sizeof(total) - 1;
	fprintf(c->out, "%.7s%.*s%s\n", c->comment, (int)len, name, rest);
	unit = unit_of(name, len);
	if (unit && !strncmp(c->comment, "# TYPE ", 7))
		fprintf(c->out, "# UNIT %.*s %s\n", (int)len, name, unit);
}

static ssize_t convert(void *arg, const char *text, size_t len)
{
	struct converter *c = arg;

	for (size_t i = 0; i < len; i++) {
		if (!c->in_line) {
			c->in_line = true;
			c->in_comment = text[i] == '#';
			c->len = 0;
		}
		if (!c->in_comment)
			fputc(text[i], c->out);
		else if (text[i] == '\n')
			write_comment(c);
		else if (c->len < COMMENT_MAX - 1)
			c->comment[c->len++] = text[i];
		if (text[i] == '\n')
			c->in_line = false;
	}
	return ferror(c->out) ? 0 : (ssize_t)len;
}

static int end(void *arg)
{
	struct converter *c = arg;

	fputs("# EOF\n", c->out);
	free(c);
	return 0;
}

FILE *openmetrics_open(FILE *out)
{
	struct converter *c = calloc(1, sizeof(*c));
	FILE *stream = NULL;

	if (c) {
		c->out = out;
		stream = fopencookie(c, "w",
				     (cookie_io_functions_t){.write = convert, .close = end});
	}
	if (!stream)
		free(c);
	return stream;
}
