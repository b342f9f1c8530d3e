/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * An array of items, sorted by key. The desired state consists of such arrays: one walk over two of
 * them merges or compares them. The caller adds items in any order and sorts once, or puts single
 * items into a sorted array.
 */
#ifndef SLUICE_TABLE_H
#define SLUICE_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct table_kind {
	size_t size;
	/* Compares the keys of two items. */
	int (*compare)(const void *a, const void *b);
	/* Merges a later item with the same key into the first; NULL: it replaces the first. */
	void (*merge)(void *into, const void *later);
};

/* All zero but for `kind`: empty. */
struct table {
	const struct table_kind *kind;
	void *items;
	size_t count, capacity;
	bool no_memory; /* an item is missing; table_sort() reports it */
};

static inline void *table_at(const struct table *t, size_t i)
{
	return (char *)t->items + i * t->kind->size;
}

#define TABLE_STEP 256 /* items of one step */

/*
 * step() is called before each step of what goes through many items, with their number; NULL: not
 * called. Other code may run in it, so until the walk ends nothing changes its tables.
 */
void table_on_step(void (*step)(void *arg, size_t items), void *arg);
void table_step(size_t items);

/* The i-th item, in a loop over all of them: every TABLE_STEP items are a step. */
static inline void *table_visit(const struct table *t, size_t i)
{
	if (i % TABLE_STEP == 0)
		table_step(TABLE_STEP);
	return table_at(t, i);
}

/* Adds a copy at the end; table_sort() must follow. 0 or -ENOMEM. */
int table_add(struct table *t, const void *item);
/* Sorts, and merges items with the same key. 0 or -ENOMEM. */
int table_sort(struct table *t);

/* These three need a sorted table. Of `item` they may read only the key. */
void *table_find(const struct table *t, const void *item);
/* Inserts a copy, or replaces the item with its key. 0 or -ENOMEM. */
int table_put(struct table *t, const void *item);
/* Removes the item with that key; false: there is none. */
bool table_drop(struct table *t, const void *item);

/* Removes the items for which keep() is false. */
void table_filter(struct table *t, bool (*keep)(const void *item, const void *arg),
		  const void *arg);

/* *to, which is empty, becomes a copy. 0 or -ENOMEM. */
int table_copy(struct table *to, const struct table *from);
void table_free(struct table *t);

/*
 * Walks two sorted tables of one kind side by side: calls each(arg, a, b) once for every key in
 * either, NULL for the table that lacks it. Ends at the first error, and returns it.
 */
int table_walk(const struct table *a, const struct table *b,
	       int (*each)(void *arg, const void *a, const void *b), void *arg);

#endif
