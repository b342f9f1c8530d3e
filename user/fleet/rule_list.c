/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See rule_list.h. */
#include "fleet/rule_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX (2 * FLEET_RULES_MAX) /* as in rules.lua */

/* FIELD LF VERSION SPACE MS SPACE TEXT, which has been read: cuts it in two. */
static int copy_texts(struct rule_entry *e, const char *entry, size_t len)
{
	char *at;

	e->field = malloc(len + 1);
	if (!e->field)
		return -ENOMEM;
	memcpy(e->field, entry, len);
	e->field[len] = 0;
	at = strchr(e->field, '\n');
	*at++ = 0;
	e->text = strchr(strchr(at, ' ') + 1, ' ') + 1;
	return 0;
}

int rule_list_add(struct rule_list *list, const char *entry, size_t len, uint64_t now_ns)
{
	struct rule_entry e = {0};
	int ret = fleet_rule_read(&e.rule, entry, len);

	if (ret)
		return ret;
	if (list->count == ENTRIES_MAX || (!e.rule.cleared && list->rules == FLEET_RULES_MAX))
		return -ENOSPC;
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 64;
		struct rule_entry *at = realloc(list->at, capacity * sizeof(*at));

		if (!at)
			return -ENOMEM;
		list->at = at;
		list->capacity = capacity;
	}
	e.expires_ns = e.rule.ms ? now_ns + e.rule.ms * 1000000 : 0;
	ret = copy_texts(&e, entry, len);
	if (ret)
		return ret;
	list->at[list->count++] = e;
	list->rules += !e.rule.cleared;
	return 0;
}

static int by_field(const void *a, const void *b)
{
	const struct rule_entry *x = a, *y = b;

	return strcmp(x->field, y->field);
}

void rule_list_sort(struct rule_list *list)
{
	if (list->count)
		qsort(list->at, list->count, sizeof(list->at[0]), by_field);
}

bool rule_list_lacks(const struct rule_list *list, const struct rule_entry *entry, uint64_t now_ns)
{
	const struct rule_entry *found =
		list->count ? bsearch(entry, list->at, list->count, sizeof(list->at[0]), by_field)
			    : NULL;

	if (entry->expires_ns && entry->expires_ns <= now_ns)
		return false;
	return !found || found->rule.version < entry->rule.version;
}

void rule_list_free(struct rule_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->at[i].field);
	free(list->at);
	*list = (struct rule_list){0};
}
