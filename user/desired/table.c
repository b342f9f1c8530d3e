/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sorted arrays. An index is sorted instead of the items, so that items with equal keys keep their
 * order. */
#include "desired/table.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COMPARED 4096 /* comparisons that take the time of a step */

static void (*on_step)(void *arg, size_t items);
static void *step_arg;

void table_on_step(void (*step)(void *arg, size_t items), void *arg)
{
	on_step = step;
	step_arg = arg;
}

void table_step(size_t items)
{
	if (on_step)
		on_step(step_arg, items);
}

static int reserve(struct table *t, size_t count)
{
	size_t capacity = t->capacity ? t->capacity : 16;
	void *items;

	if (count <= t->capacity)
		return 0;
	while (capacity < count)
		capacity *= 2;
	items = realloc(t->items, capacity * t->kind->size);
	if (!items) {
		t->no_memory = true;
		return -ENOMEM;
	}
	t->items = items;
	t->capacity = capacity;
	return 0;
}

int table_add(struct table *t, const void *item)
{
	if (reserve(t, t->count + 1))
		return -ENOMEM;
	memcpy(table_at(t, t->count++), item, t->kind->size);
	return 0;
}

struct sorting {
	const struct table *table;
	unsigned compared;
};

static int by_key_and_age(const void *a, const void *b, void *sorting)
{
	struct sorting *s = sorting;
	const struct table *t = s->table;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	int order = t->kind->compare(table_at(t, x), table_at(t, y));

	if (++s->compared % COMPARED == 0)
		table_step(TABLE_STEP);
	return order ? order : x < y ? -1 : 1;
}

int table_sort(struct table *t)
{
	uint32_t *order = malloc((t->count + 1) * sizeof(*order));
	char *sorted = malloc((t->count + 1) * t->kind->size), *last = NULL;
	struct sorting sorting = {.table = t};
	size_t n = 0;

	if (!order || !sorted || t->no_memory) {
		free(order);
		free(sorted);
		return -ENOMEM;
	}
	for (size_t i = 0; i < t->count; i++)
		order[i] = (uint32_t)i;
	if (t->count)
		qsort_r(order, t->count, sizeof(*order), by_key_and_age, &sorting);
	for (size_t i = 0; i < t->count; i++) {
		const void *item = table_at(t, order[i]);

		if (i % TABLE_STEP == 0)
			table_step(TABLE_STEP);
		if (last && !t->kind->compare(last, item) && t->kind->merge) {
			t->kind->merge(last, item);
			continue;
		}
		if (!last || t->kind->compare(last, item))
			last = sorted + n++ * t->kind->size;
		memcpy(last, item, t->kind->size);
	}
	free(order);
	free(t->items);
	t->items = sorted;
	t->capacity = t->count + 1;
	t->count = n;
	return 0;
}

/* The index of the first item that is not less than `item`. */
static size_t lower_bound(const struct table *t, const void *item)
{
	size_t low = 0, high = t->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (t->kind->compare(table_at(t, middle), item) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_at(const struct table *t, size_t at, const void *item)
{
	return at < t->count && !t->kind->compare(table_at(t, at), item);
}

void *table_find(const struct table *t, const void *item)
{
	size_t at = lower_bound(t, item);

	return is_at(t, at, item) ? table_at(t, at) : NULL;
}

int table_put(struct table *t, const void *item)
{
	size_t at = lower_bound(t, item);

	if (!is_at(t, at, item)) {
		if (reserve(t, t->count + 1))
			return -ENOMEM;
		memmove(table_at(t, at + 1), table_at(t, at), (t->count - at) * t->kind->size);
		t->count++;
	}
	memcpy(table_at(t, at), item, t->kind->size);
	return 0;
}

bool table_drop(struct table *t, const void *item)
{
	size_t at = lower_bound(t, item);

	if (!is_at(t, at, item))
		return false;
	t->count--;
	memmove(table_at(t, at), table_at(t, at + 1), (t->count - at) * t->kind->size);
	return true;
}

void table_filter(struct table *t, bool (*keep)(const void *item, const void *arg), const void *arg)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->count; i++)
		if (keep(table_visit(t, i), arg))
			memmove(table_at(t, kept++), table_at(t, i), t->kind->size);
	t->count = kept;
}

int table_copy(struct table *to, const struct table *from)
{
	to->kind = from->kind;
	if (from->no_memory || reserve(to, from->count))
		return -ENOMEM;
	for (size_t i = 0; i < from->count; i += TABLE_STEP) {
		size_t n = from->count - i < TABLE_STEP ? from->count - i : TABLE_STEP;

		memcpy(table_at(to, i), table_visit(from, i), n * from->kind->size);
	}
	to->count = from->count;
	return 0;
}

void table_free(struct table *t)
{
	free(t->items);
	t->items = NULL;
	t->count = t->capacity = 0;
}

int table_walk(const struct table *a, const struct table *b,
	       int (*each)(void *arg, const void *a, const void *b), void *arg)
{
	size_t i = 0, k = 0, keys = 0;
	int ret = 0;

	while (!ret && (i < a->count || k < b->count)) {
		const void *x = i < a->count ? table_at(a, i) : NULL;
		const void *y = k < b->count ? table_at(b, k) : NULL;
		int order = !x ? 1 : !y ? -1 : a->kind->compare(x, y);

		if (keys++ % TABLE_STEP == 0)
			table_step(TABLE_STEP);
		i += order <= 0;
		k += order >= 0;
		ret = each(arg, order <= 0 ? x : NULL, order >= 0 ? y : NULL);
	}
	return ret;
}
