/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See budgets.h. Budgets are found by a hash with chains. Lists and chains link by index, so the
 * array may move. */
#include "budgets.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <sluice/siphash.h>

struct list {
	uint32_t first, last;
	size_t count;
};

struct budgets {
	struct budget *at; /* [0] is nobody's */
	uint32_t used, capacity;
	uint32_t free; /* the first free one, linked by `next` */
	uint32_t *buckets;
	uint32_t mask;
	struct siphash_secret secret;
	struct list lists[BUDGETS_LISTS];
};

#define FIRST_CAPACITY 256

struct budgets *budgets_new(void)
{
	struct budgets *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->capacity = FIRST_CAPACITY;
	b->used = 1;
	b->mask = FIRST_CAPACITY - 1;
	b->at = calloc(b->capacity, sizeof(*b->at));
	b->buckets = calloc(FIRST_CAPACITY, sizeof(*b->buckets));
	if (b->at && b->buckets && getrandom(&b->secret, sizeof(b->secret), 0) == sizeof(b->secret))
		return b;
	budgets_free(b);
	return NULL;
}

void budgets_free(struct budgets *b)
{
	if (!b)
		return;
	free(b->at);
	free(b->buckets);
	free(b);
}

/* Keyed: clients choose their addresses. */
static uint32_t bucket_of(const struct budgets *b, const struct sluice_budget_key *key)
{
	const uint8_t *bytes = (const uint8_t *)key;
	struct siphash hash;

	siphash_begin(&hash, &b->secret);
	for (size_t i = 0; i < sizeof(*key); i++)
		siphash_byte(&hash, &b->secret, bytes[i]);
	return (uint32_t)siphash_end(&hash, &b->secret) & b->mask;
}

static void chain(struct budgets *b, uint32_t i)
{
	uint32_t bucket = bucket_of(b, &b->at[i].key);

	b->at[i].chain = b->buckets[bucket];
	b->buckets[bucket] = i;
}

static bool grow(struct budgets *b)
{
	uint32_t capacity = b->capacity * 2;
	struct budget *at = realloc(b->at, capacity * sizeof(*at));
	uint32_t *buckets;

	if (!at)
		return false;
	b->at = at;
	buckets = calloc(capacity, sizeof(*buckets));
	if (!buckets)
		return false;
	free(b->buckets);
	b->buckets = buckets;
	b->capacity = capacity;
	b->mask = capacity - 1;
	for (uint32_t i = 1; i < b->used; i++)
		if (b->at[i].list < BUDGETS_LISTS)
			chain(b, i);
	return true;
}

static void take_out(struct budgets *b, struct budget *budget)
{
	struct list *list = &b->lists[budget->list];

	*(budget->prev ? &b->at[budget->prev].next : &list->first) = budget->next;
	*(budget->next ? &b->at[budget->next].prev : &list->last) = budget->prev;
	list->count--;
}

static void put_in(struct budgets *b, struct budget *budget, enum budget_list to)
{
	struct list *list = &b->lists[to];
	uint32_t i = (uint32_t)(budget - b->at);

	budget->list = to;
	budget->prev = list->last;
	budget->next = 0;
	*(list->last ? &b->at[list->last].next : &list->first) = i;
	list->last = i;
	list->count++;
}

void budgets_move(struct budgets *b, struct budget *budget, enum budget_list list, uint64_t due_ns)
{
	take_out(b, budget);
	put_in(b, budget, list);
	budget->due_ns = due_ns;
}

struct budget *budgets_put(struct budgets *b, const struct sluice_budget_key *key,
			   enum budget_list list, uint64_t due_ns)
{
	struct budget *budget;
	uint32_t i;

	for (i = b->buckets[bucket_of(b, key)]; i; i = b->at[i].chain)
		if (!memcmp(&b->at[i].key, key, sizeof(*key))) {
			budget = &b->at[i];
			if (budget->list != BUDGETS_SENT && list < budget->list)
				budgets_move(b, budget, list, due_ns);
			return budget;
		}
	if (!b->free && b->used == b->capacity && !grow(b))
		return NULL;
	i = b->free ? b->free : b->used++;
	budget = &b->at[i];
	if (b->free)
		b->free = budget->next;
	*budget = (struct budget){.key = *key, .due_ns = due_ns};
	put_in(b, budget, list);
	chain(b, i);
	return budget;
}

struct budget *budgets_first(struct budgets *b, enum budget_list list)
{
	return b->lists[list].first ? &b->at[b->lists[list].first] : NULL;
}

void budgets_drop(struct budgets *b, struct budget *budget)
{
	uint32_t i = (uint32_t)(budget - b->at);
	uint32_t *link = &b->buckets[bucket_of(b, &budget->key)];

	while (*link != i)
		link = &b->at[*link].chain;
	*link = budget->chain;
	take_out(b, budget);
	budget->list = BUDGETS_LISTS; /* free */
	budget->next = b->free;
	b->free = i;
}

size_t budgets_count(const struct budgets *b, enum budget_list list)
{
	return b->lists[list].count;
}
