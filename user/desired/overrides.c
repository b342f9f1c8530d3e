/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rules for a whole fleet beside the host's own. Where both are about the same client or prefix,
 * the stricter holds: a block over an allowance; the lower weight; of a quota's requests, and of
 * its tokens, the lower rate. Of two verdicts that say the same, the one that lasts longer holds.
 */
#include <errno.h>
#include <string.h>

#include "desired/internal.h"

static bool lasts_longer(uint64_t a, uint64_t b)
{
	return b && (!a || a > b);
}

/* Whether verdict a, blocking or not, comes before b. */
static bool is_stricter(bool a_blocks, uint64_t a_ends, bool b_blocks, uint64_t b_ends)
{
	return a_blocks == b_blocks ? lasts_longer(a_ends, b_ends) : a_blocks;
}

static bool is_slower(const struct quota_rate *a, const struct quota_rate *b)
{
	__extension__ typedef unsigned __int128 wide;

	if (!a->most || !b->most)
		return a->most;
	return (wide)a->most * b->period_ns < (wide)b->most * a->period_ns;
}

/* True: the fleet's makes it stricter. */
static bool add_limits(struct quota_def *own, const struct quota_def *fleet)
{
	bool requests = is_slower(&fleet->requests, &own->requests);
	bool tokens = is_slower(&fleet->tokens, &own->tokens);

	if (requests)
		own->requests = fleet->requests;
	if (tokens)
		own->tokens = fleet->tokens;
	if ((requests || tokens) && fleet->fleet)
		own->fleet = true;
	return requests || tokens;
}

/* Looks among the host's own entries, which come first in the table and are sorted. */
static const void *find_among(const struct table *t, size_t count, const void *key)
{
	struct table own = *t;

	own.count = count;
	return table_find(&own, key);
}

static int add_rules(struct desired_part *out, struct desired_part *overridden,
		     const struct desired_part *fleet)
{
	size_t own_count = out->rules.count;
	int ret = 0;

	for (size_t i = 0; i < fleet->rules.count && !ret; i++) {
		struct state_client_rule rule =
			*(const struct state_client_rule *)table_visit(&fleet->rules, i);
		const struct state_client_rule *own = find_among(&out->rules, own_count, &rule);

		rule.flag.fleet = 1;
		if (own && !is_stricter(!rule.flag.allow, rule.flag.expires_ns, !own->flag.allow,
					own->flag.expires_ns))
			continue;
		if (own)
			ret = table_add(&overridden->rules, own);
		if (!ret)
			ret = table_add(&out->rules, &rule);
	}
	return ret ? ret : table_sort(&out->rules);
}

static int add_client_quotas(struct desired_part *out, struct desired_part *overridden,
			     const struct desired_part *fleet, const struct desired_part *file)
{
	size_t own_count = out->client_quotas.count;
	int ret = 0;

	for (size_t i = 0; i < fleet->client_quotas.count && !ret; i++) {
		struct desired_client_quota quota =
			*(const struct desired_client_quota *)table_visit(&fleet->client_quotas, i);
		const struct desired_client_quota *manual =
			find_among(&out->client_quotas, own_count, &quota);
		const struct desired_client_quota *own =
			manual ? manual : table_find(&file->client_quotas, &quota);

		quota.fleet = true;
		if (own) {
			struct quota_def both = own->quota;

			if (!add_limits(&both, &quota.quota))
				continue;
			quota.quota = both;
		}
		if (manual)
			ret = table_add(&overridden->client_quotas, manual);
		if (!ret)
			ret = table_add(&out->client_quotas, &quota);
	}
	return ret ? ret : table_sort(&out->client_quotas);
}

/* Leaves of the fleet's fields those that are stricter than what the host has. */
static void leave_stricter(struct desired_prefix *fleet, const struct desired_prefix *own)
{
	uint8_t both = fleet->own & own->own;

	if (both & SLUICE_PREFIX_OWN_CLASS &&
	    !is_stricter(fleet->class == SLUICE_PREFIX_BLOCKED, fleet->expires_ns,
			 own->class == SLUICE_PREFIX_BLOCKED, own->expires_ns))
		fleet->own &= (uint8_t)~SLUICE_PREFIX_OWN_CLASS;
	if (both & SLUICE_PREFIX_OWN_WEIGHT && fleet->weight >= own->weight)
		fleet->own &= (uint8_t)~SLUICE_PREFIX_OWN_WEIGHT;
	if (both & SLUICE_PREFIX_OWN_QUOTA) {
		struct quota_def quota = own->quota;

		if (!add_limits(&quota, &fleet->quota))
			fleet->own &= (uint8_t)~SLUICE_PREFIX_OWN_QUOTA;
		fleet->quota = quota;
	}
}

static int add_prefixes(struct desired_part *out, struct desired_part *overridden,
			const struct desired_part *fleet, const struct desired_part *file)
{
	size_t own_count = out->prefixes.count;
	int ret = 0;

	for (size_t i = 0; i < fleet->prefixes.count && !ret; i++) {
		struct desired_prefix p =
			*(const struct desired_prefix *)table_visit(&fleet->prefixes, i);
		const struct desired_prefix *own, *of_file = desired_find_prefix(file, &p.key);
		struct desired_prefix has = {.key = p.key};

		own = find_among(&out->prefixes, own_count, &p.key);
		if (of_file)
			desired_merge_prefix(&has, of_file);
		if (own)
			desired_merge_prefix(&has, own);
		leave_stricter(&p, &has);
		p.fleet = p.own;
		if (own && own->own & p.own) {
			has = *own;
			has.own &= p.own;
			ret = table_add(&overridden->prefixes, &has);
		}
		if (p.own && !ret)
			ret = table_add(&out->prefixes, &p);
	}
	return ret ? ret : table_sort(&out->prefixes);
}

int desired_overrides(struct desired_part *out, struct desired_part *overridden,
		      const struct desired_input *in)
{
	int ret = desired_part_copy(out, in->manual);

	desired_part_init(overridden);
	if (!ret && in->fleet && in->fleet->rules.count)
		ret = add_rules(out, overridden, in->fleet);
	if (!ret && in->fleet && in->fleet->client_quotas.count)
		ret = add_client_quotas(out, overridden, in->fleet, in->file);
	if (!ret && in->fleet && in->fleet->prefixes.count)
		ret = add_prefixes(out, overridden, in->fleet, in->file);
	return ret;
}
