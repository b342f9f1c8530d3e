/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The two parts of the desired state. A command changes one entry of the manual part; a reload
 * replaces the file's part. An entry's origin, file or manual, is the part that holds it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "desired/internal.h"

static int by_client_key(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sluice_client_flag_key));
}

static int by_client(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sluice_client));
}

static int by_number(const void *a, const void *b)
{
	uint32_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

int desired_by_prefix(const void *a, const void *b)
{
	const struct sluice_prefix_key *x = a, *y = b;
	int order = memcmp(x->addr, y->addr, sizeof(x->addr));

	return order ? order : (int)x->plen - (int)y->plen;
}

void desired_merge_prefix(void *into, const void *later)
{
	const struct desired_prefix *from = later;
	struct desired_prefix *p = into;

	p->own |= from->own;
	p->fleet = (uint8_t)((p->fleet & ~from->own) | from->fleet);
	if (from->own & SLUICE_PREFIX_OWN_CLASS) {
		p->class = from->class;
		p->action = from->action;
		p->expires_ns = from->expires_ns;
	}
	if (from->own & SLUICE_PREFIX_OWN_QUOTA)
		p->quota = from->quota;
	if (from->own & SLUICE_PREFIX_OWN_WEIGHT)
		p->weight = from->weight;
	if (from->own & SLUICE_PREFIX_OWN_PRIORITY)
		p->priority = from->priority;
}

#define KIND(type, order)                                                                          \
	{                                                                                          \
		.size = sizeof(struct type), .compare = (order)                                    \
	}

const struct table_kind desired_rules = KIND(state_client_rule, by_client_key);
const struct table_kind desired_client_ids = KIND(state_client_quota, by_client_key);
const struct table_kind desired_model_ids = KIND(desired_model_id, by_number);
const struct table_kind desired_weighted_ids = KIND(desired_weighted, by_number);
const struct table_kind desired_prefix_rules = KIND(state_prefix_rule, desired_by_prefix);
const struct table_kind desired_priorities = KIND(desired_priority, by_client);

static const struct table_kind client_quotas = KIND(desired_client_quota, by_client_key);
static const struct table_kind model_quotas = KIND(desired_model_quota, by_number);
static const struct table_kind prefixes = {
	.size = sizeof(struct desired_prefix),
	.compare = desired_by_prefix,
	.merge = desired_merge_prefix,
};

void desired_part_init(struct desired_part *part)
{
	*part = (struct desired_part){
		.rules.kind = &desired_rules,
		.prefixes.kind = &prefixes,
		.client_quotas.kind = &client_quotas,
		.model_quotas.kind = &model_quotas,
		.priorities.kind = &desired_priorities,
	};
}

int desired_copy_services(struct service **out, const struct service *services, size_t count)
{
	*out = NULL;
	if (!count)
		return 0;
	*out = malloc(count * sizeof(**out));
	if (!*out)
		return -ENOMEM;
	memcpy(*out, services, count * sizeof(**out));
	return 0;
}

int desired_part_copy(struct desired_part *to, const struct desired_part *from)
{
	desired_part_init(to);
	to->action = from->action;
	to->mode = from->mode;
	if (desired_copy_services(&to->services, from->services, from->service_count))
		return -ENOMEM;
	to->service_count = from->service_count;
	if (table_copy(&to->rules, &from->rules) || table_copy(&to->prefixes, &from->prefixes) ||
	    table_copy(&to->client_quotas, &from->client_quotas) ||
	    table_copy(&to->model_quotas, &from->model_quotas) ||
	    table_copy(&to->priorities, &from->priorities))
		return -ENOMEM;
	return 0;
}

void desired_part_free(struct desired_part *part)
{
	table_free(&part->rules);
	table_free(&part->prefixes);
	table_free(&part->client_quotas);
	table_free(&part->model_quotas);
	table_free(&part->priorities);
	free(part->services);
	part->services = NULL;
	part->service_count = 0;
}

int desired_part_sort(struct desired_part *part)
{
	if (table_sort(&part->rules) || table_sort(&part->prefixes) ||
	    table_sort(&part->client_quotas) || table_sort(&part->model_quotas) ||
	    table_sort(&part->priorities))
		return -ENOMEM;
	return 0;
}

const struct desired_prefix *desired_find_prefix(const struct desired_part *part,
						 const struct sluice_prefix_key *key)
{
	return table_find(&part->prefixes, key);
}

int desired_set_prefix(struct desired_part *part, const struct desired_prefix *prefix)
{
	const struct desired_prefix *found = desired_find_prefix(part, &prefix->key);
	struct desired_prefix p = {.key = prefix->key};

	if (found)
		p = *found;
	desired_merge_prefix(&p, prefix);
	return table_put(&part->prefixes, &p);
}

int desired_clear_prefix(struct desired_part *part, const struct sluice_prefix_key *key,
			 uint8_t own)
{
	struct desired_prefix *found = table_find(&part->prefixes, key);

	if (!found || !(found->own & own))
		return -ENOENT;
	found->own &= (uint8_t)~own;
	if (!found->own)
		table_drop(&part->prefixes, key);
	return 0;
}

static bool has_ended(uint64_t expires_ns, uint64_t now_ns)
{
	return expires_ns && expires_ns <= now_ns;
}

static bool rule_goes_on(const void *item, const void *now_ns)
{
	const struct state_client_rule *rule = item;

	return !has_ended(rule->flag.expires_ns, *(const uint64_t *)now_ns);
}

static bool has_a_field(const void *item, const void *unused)
{
	return ((const struct desired_prefix *)item)->own;
}

bool desired_expire(struct desired_part *part, uint64_t now_ns)
{
	size_t rules_before = part->rules.count;
	bool ended;

	table_filter(&part->rules, rule_goes_on, &now_ns);
	ended = part->rules.count != rules_before;
	for (size_t i = 0; i < part->prefixes.count; i++) {
		struct desired_prefix *p = table_visit(&part->prefixes, i);

		if (!(p->own & SLUICE_PREFIX_OWN_CLASS) || !has_ended(p->expires_ns, now_ns))
			continue;
		p->own &= (uint8_t)~SLUICE_PREFIX_OWN_CLASS;
		ended = true;
	}
	table_filter(&part->prefixes, has_a_field, NULL);
	return ended;
}

static bool is_of_no_key(const void *item, const void *unused)
{
	const struct sluice_client_flag_key *key = item;

	return key->client.kind != SLUICE_CLIENT_KEY;
}

size_t desired_drop_keys(struct desired_part *part)
{
	size_t before = part->rules.count + part->client_quotas.count;

	_Static_assert(offsetof(struct state_client_rule, key) == 0 &&
			       offsetof(struct desired_client_quota, key) == 0,
		       "the key comes first");
	table_filter(&part->rules, is_of_no_key, NULL);
	table_filter(&part->client_quotas, is_of_no_key, NULL);
	return before - part->rules.count - part->client_quotas.count;
}

uint64_t desired_next_expiry(const struct desired_part *part)
{
	uint64_t next = 0;

	for (size_t i = 0; i < part->rules.count; i++) {
		const struct state_client_rule *r = table_visit(&part->rules, i);

		if (r->flag.expires_ns && (!next || r->flag.expires_ns < next))
			next = r->flag.expires_ns;
	}
	for (size_t i = 0; i < part->prefixes.count; i++) {
		const struct desired_prefix *p = table_visit(&part->prefixes, i);

		if (p->own & SLUICE_PREFIX_OWN_CLASS && p->expires_ns &&
		    (!next || p->expires_ns < next))
			next = p->expires_ns;
	}
	return next;
}
