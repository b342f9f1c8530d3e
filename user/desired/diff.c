/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The operations between two states, in an order without a gap: a definition is written before the
 * entries that use it, and additions and changes come before removals. So at every moment a client
 * is under the old policy or under the new one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "desired/internal.h"

static bool same_weighted(const void *a, const void *b)
{
	return ((const struct desired_weighted *)a)->id == ((const struct desired_weighted *)b)->id;
}

static bool same_model_id(const void *a, const void *b)
{
	return ((const struct desired_model_id *)a)->quota ==
	       ((const struct desired_model_id *)b)->quota;
}

static bool same_client_id(const void *a, const void *b)
{
	return ((const struct state_client_quota *)a)->quota ==
	       ((const struct state_client_quota *)b)->quota;
}

static bool same_rule(const void *a, const void *b)
{
	const struct state_client_rule *x = a, *y = b;

	return !memcmp(&x->flag, &y->flag, sizeof(x->flag));
}

static bool same_prefix(const void *a, const void *b)
{
	const struct state_prefix_rule *x = a, *y = b;

	return !memcmp(&x->prefix, &y->prefix, sizeof(x->prefix));
}

static bool same_priority(const void *a, const void *b)
{
	return ((const struct desired_priority *)a)->class ==
	       ((const struct desired_priority *)b)->class;
}

/* In the order of additions; removals go the other way. */
static const struct diff_table {
	enum desired_kind kind;
	size_t at; /* of the table in struct desired */
	size_t max;
	bool (*same)(const void *a, const void *b);
} tables[] = {
	{DESIRED_WEIGHTED, offsetof(struct desired, weighted), SLUICE_QUOTAS_MAX, same_weighted},
	{DESIRED_MODEL_QUOTA, offsetof(struct desired, model_quotas), SLUICE_MODELS_MAX,
	 same_model_id},
	/* What is overridden is kept before it goes from where it was, and after it is there again.
	 */
	{DESIRED_CLIENT_QUOTA, offsetof(struct desired, overridden_quotas),
	 SLUICE_CLIENT_QUOTAS_MAX, same_client_id},
	{DESIRED_RULE, offsetof(struct desired, overridden_rules), SLUICE_CLIENT_FLAGS_MAX,
	 same_rule},
	{DESIRED_CLIENT_QUOTA, offsetof(struct desired, client_quotas), SLUICE_CLIENT_QUOTAS_MAX,
	 same_client_id},
	{DESIRED_RULE, offsetof(struct desired, rules), SLUICE_CLIENT_FLAGS_MAX, same_rule},
	{DESIRED_PREFIX, offsetof(struct desired, prefixes), SLUICE_PREFIXES_MAX, same_prefix},
	{DESIRED_PRIORITY, offsetof(struct desired, priorities), SLUICE_PRIORITIES_MAX,
	 same_priority},
};

#define TABLES (sizeof(tables) / sizeof(tables[0]))

static const struct table *table_of(const struct desired *state, const struct diff_table *t)
{
	return (const struct table *)((const char *)state + t->at);
}

struct diff {
	struct desired_ops *ops;
	const struct diff_table *table;
	bool removals;
};

static int add_op(struct desired_ops *ops, struct desired_op op)
{
	if (ops->count == ops->capacity) {
		size_t capacity = ops->capacity ? ops->capacity * 2 : 64;
		void *list = realloc(ops->list, capacity * sizeof(op));

		if (!list)
			return -ENOMEM;
		ops->list = list;
		ops->capacity = capacity;
	}
	ops->list[ops->count++] = op;
	return 0;
}

static int compare_item(void *arg, const void *before, const void *after)
{
	const struct diff *d = arg;

	if (!after != d->removals)
		return 0;
	if (before && after && d->table->same(before, after))
		return 0;
	return add_op(d->ops, (struct desired_op){
				      .kind = d->table->kind, .before = before, .after = after});
}

static int count_key(void *arg, const void *before, const void *after)
{
	++*(size_t *)arg;
	return 0;
}

/* The changes of one table, or its removals. */
static int diff_table(const struct desired *old, const struct desired *new,
		      const struct diff_table *t, bool removals, struct desired_ops *out)
{
	struct diff d = {out, t, removals};
	size_t first = out->count, n;
	int ret = table_walk(table_of(old, t), table_of(new, t), compare_item, &d);

	if (removals)
		return ret;
	/* A narrow prefix is added before the wide one around it and removed after it. Else its
	 * clients would be under the wide one for a moment. */
	n = out->count - first;
	for (size_t i = 0; i < n / 2; i++) {
		struct desired_op *a = &out->list[first + i], *b = &out->list[first + n - 1 - i];
		struct desired_op op = *a;

		if (i % TABLE_STEP == 0)
			table_step(TABLE_STEP);
		*a = *b;
		*b = op;
	}
	return ret;
}

static bool fits_both(const struct desired *old, const struct desired *new,
		      const struct diff_table *t)
{
	size_t keys = 0;

	table_walk(table_of(old, t), table_of(new, t), count_key, &keys);
	return keys <= t->max;
}

/* A definition is never removed: it keeps its id, so that its budgets survive a reload back. */
static int diff_quotas(const struct desired *old, const struct desired *new,
		       struct desired_ops *out)
{
	int ret = 0;

	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX && !ret; id++) {
		const struct sluice_quota_text *was = &old->quotas.text[id];
		const struct sluice_quota_text *is = &new->quotas.text[id];
		bool differs = memcmp(was, is, sizeof(*is)) != 0;

		if (!new->used[id] || (old->written[id] && !differs))
			continue;
		if (was->scope && differs)
			ret = add_op(out, (struct desired_op){.kind = DESIRED_FORGET, .id = id});
		if (!ret)
			ret = add_op(out, (struct desired_op){.kind = DESIRED_QUOTA,
							      .id = id,
							      .before = was->scope ? was : NULL,
							      .after = is});
	}
	return ret;
}

static bool same_services(const struct desired *a, const struct desired *b)
{
	size_t n = a->service_count;

	return n == b->service_count &&
	       (!n || !memcmp(a->services, b->services, n * sizeof(*a->services)));
}

int desired_diff(const struct desired *old, const struct desired *new, struct desired_ops *out)
{
	int ret = diff_quotas(old, new, out);
	bool removed[TABLES] = {false};

	for (size_t i = 0; i < TABLES && !ret; i++) {
		removed[i] = !fits_both(old, new, &tables[i]);
		if (removed[i])
			ret = diff_table(old, new, &tables[i], true, out);
		if (!ret)
			ret = diff_table(old, new, &tables[i], false, out);
	}
	/* One operation: the datapath spreads the services over the host's addresses and writes the
	 * difference. */
	if (!ret && !same_services(old, new))
		ret = add_op(out, (struct desired_op){
					  .kind = DESIRED_SERVICES, .before = old, .after = new});
	for (size_t i = TABLES; i-- > 0 && !ret;)
		if (!removed[i])
			ret = diff_table(old, new, &tables[i], true, out);
	return ret;
}

void desired_ops_free(struct desired_ops *ops)
{
	free(ops->list);
	*ops = (struct desired_ops){0};
}
