/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See loader.h. Entries of any size are stored one after the other, so all sections share this
 * code. */
#include "loader.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int complain(struct loader *l, const char *label, const char *fmt, ...)
{
	char what[LOAD_WHY_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	parse_say(l->err, l->err_len, "%s: %s", label, what);
	return -EINVAL;
}

static struct entries *entries_of(struct loader *l, const struct section *section)
{
	return (struct entries *)((char *)l + section->at);
}

static void *entry_at(const struct entries *e, const struct section *section, unsigned i)
{
	return (char *)e->items + i * section->size;
}

void section_clear(struct loader *l, const struct section *section)
{
	struct entries *e = entries_of(l, section);

	for (unsigned i = 0; i < e->count; i++)
		free(*(char **)entry_at(e, section, i));
	free(e->items);
	*e = (struct entries){0};
}

void *section_add(struct loader *l, const struct section *section, char *err, size_t len)
{
	struct entries *e = entries_of(l, section);
	char *label, *more;

	if (e->from != l->source)
		section_clear(l, section);
	e->from = l->source;
	if (section->max && e->count == section->max) {
		parse_say(err, len, "more than %u %s", section->max, section->name);
		return NULL;
	}
	label = strdup(l->label);
	more = realloc(e->items, (e->count + 1) * section->size);
	if (more)
		e->items = more;
	if (!label || !more) {
		free(label);
		parse_say(err, len, "out of memory");
		return NULL;
	}
	more += e->count++ * section->size;
	if (section->blank)
		memcpy(more, section->blank, section->size);
	else
		memset(more, 0, section->size);
	*(char **)more = label;
	return more;
}

void *section_last(struct loader *l, const struct section *section)
{
	const struct entries *e = entries_of(l, section);

	return entry_at(e, section, e->count - 1);
}
