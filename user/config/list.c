/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See list.h. */
#include "list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void list_clear(char ***list, unsigned *count)
{
	for (unsigned i = 0; i < *count; i++)
		free((*list)[i]);
	free(*list);
	*list = NULL;
	*count = 0;
}

int list_add(struct loader *l, enum source *from, char ***list, unsigned *count, unsigned max,
	     const char *what, const char *text, char *err, size_t len)
{
	char **more;

	if (*from != l->source)
		list_clear(list, count);
	*from = l->source;
	for (unsigned i = 0; i < *count; i++)
		if (!strcmp((*list)[i], text)) {
			parse_say(err, len, "\"%s\" is given twice", text);
			return -EINVAL;
		}
	if (*count == max) {
		parse_say(err, len, "more than %u %s", max, what);
		return -EINVAL;
	}
	more = realloc(*list, (*count + 1) * sizeof(*more));
	if (!more) {
		parse_say(err, len, "out of memory");
		return -EINVAL;
	}
	*list = more;
	more[*count] = NULL;
	if (field_copy(&more[*count], text, err, len) < 0)
		return -EINVAL;
	++*count;
	return 0;
}
