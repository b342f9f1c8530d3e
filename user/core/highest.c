/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See highest.h. items[0] is the lowest that is kept; items[i] is below items[2i+1], items[2i+2].
 */
#include "core/highest.h"

#include <stdbool.h>
#include <stdlib.h>

static bool below(const struct highest_item *a, const struct highest_item *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank;
	if (a->then != b->then)
		return a->then < b->then;
	return a->index > b->index;
}

/* Puts `item` into the hole at `i` or below it. */
static void sink(struct highest *h, size_t i, struct highest_item item)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < h->count && below(&h->items[child + 1], &h->items[child]))
			child++;
		if (child >= h->count || !below(&h->items[child], &item))
			break;
		h->items[i] = h->items[child];
		i = child;
	}
	h->items[i] = item;
}

void highest_add(struct highest *h, struct highest_item item)
{
	size_t i;

	if (h->count == h->max) {
		if (below(&h->items[0], &item))
			sink(h, 0, item);
		return;
	}
	for (i = h->count++; i && below(&item, &h->items[(i - 1) / 2]); i = (i - 1) / 2)
		h->items[i] = h->items[(i - 1) / 2];
	h->items[i] = item;
}

static int highest_first(const void *a, const void *b)
{
	return below(a, b) ? 1 : -1;
}

void highest_sort(struct highest *h)
{
	if (h->count)
		qsort(h->items, h->count, sizeof(*h->items), highest_first);
}
