/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The N highest of many, without sorting them all: a heap of N whose lowest gives way. So a list of
 * the first thousand of 65,536 clients costs little, and any number of them a bounded memory.
 */
#ifndef SLUICE_HIGHEST_H
#define SLUICE_HIGHEST_H

#include <stddef.h>
#include <stdint.h>

struct highest_item {
	uint64_t rank, then; /* equal ranks: the higher `then` first, then the lower index */
	size_t index;
};

struct highest {
	struct highest_item *items; /* of the caller: `max` of them, at least one */
	size_t count, max;
};

void highest_add(struct highest *h, struct highest_item item);
/* Sorts what is kept, the highest first. Nothing is added after that. */
void highest_sort(struct highest *h);

#endif
