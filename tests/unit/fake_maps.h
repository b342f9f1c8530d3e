/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's maps of policy as a test holds them: they take operations, count them by kind, are
 * as large as the test says, and fail when it says so. What is looked up in them is what the
 * programs would find.
 */
#ifndef SLUICE_FAKE_MAPS_H
#define SLUICE_FAKE_MAPS_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"
#include "desired/internal.h"

#define FAKE_SERVICES_MAX 8
#define KINDS             (DESIRED_SERVICES + 1)

struct fake_maps {
	struct sluice_quota_text text[SLUICE_QUOTAS_MAX];
	struct table weighted, model_quotas, client_quotas, rules, prefixes, priorities;
	struct service services[FAKE_SERVICES_MAX];
	size_t service_count;
	size_t priorities_max, priorities_most; /* entries that fit, and that there have been */
	unsigned writes[KINDS], all;
	unsigned fail_at; /* the writes from this one on fail, counted from 1; 0: none */
	unsigned failures;
	bool only_once; /* … but no later one */
	/* Called after every write. */
	void (*look)(struct fake_maps *maps);
};

static inline void fake_init(struct fake_maps *m)
{
	memset(m, 0, sizeof(*m));
	m->weighted.kind = &desired_weighted_ids;
	m->model_quotas.kind = &desired_model_ids;
	m->client_quotas.kind = &desired_client_ids;
	m->rules.kind = &desired_rules;
	m->prefixes.kind = &desired_prefix_rules;
	m->priorities.kind = &desired_priorities;
	m->priorities_max = SLUICE_PRIORITIES_MAX;
}

static inline void fake_free(struct fake_maps *m)
{
	table_free(&m->weighted);
	table_free(&m->model_quotas);
	table_free(&m->client_quotas);
	table_free(&m->rules);
	table_free(&m->prefixes);
	table_free(&m->priorities);
}

static inline void fake_forget_counts(struct fake_maps *m)
{
	memset(m->writes, 0, sizeof(m->writes));
	m->all = 0;
}

/* True: this write is one that fails. */
static inline bool fake_write(struct fake_maps *m, enum desired_kind kind)
{
	m->writes[kind]++;
	m->all++;
	if (!m->fail_at || m->all < m->fail_at || (m->only_once && m->all > m->fail_at))
		return false;
	m->failures++;
	return true;
}

static inline int fake_done(struct fake_maps *m, int ret)
{
	if (!ret && m->look)
		m->look(m);
	return ret;
}

static inline int fake_item(struct fake_maps *m, enum desired_kind kind, struct table *t,
			    const void *item, bool drop)
{
	if (fake_write(m, kind))
		return -ENOMEM;
	return fake_done(m, drop ? (table_drop(t, item) ? 0 : -ENOENT) : table_put(t, item));
}

static inline int fake_forget(void *arg, uint32_t id)
{
	return fake_write(arg, DESIRED_FORGET) ? -ENOMEM : 0;
}

static inline int fake_quota(void *arg, uint32_t id, const struct sluice_quota_text *text)
{
	struct fake_maps *m = arg;

	if (fake_write(m, DESIRED_QUOTA))
		return -ENOMEM;
	m->text[id] = *text;
	return fake_done(m, 0);
}

static inline int fake_weighted(void *arg, const struct sluice_weighted_key *key,
				const uint32_t *id)
{
	struct desired_weighted item = {*key, id ? *id : 0};
	struct fake_maps *m = arg;

	return fake_item(m, DESIRED_WEIGHTED, &m->weighted, &item, !id);
}

static inline int fake_model_quota(void *arg, uint32_t model, uint32_t id)
{
	struct desired_model_id item = {model, id};
	struct fake_maps *m = arg;

	return fake_item(m, DESIRED_MODEL_QUOTA, &m->model_quotas, &item, !id);
}

static inline int fake_client_quota(void *arg, const struct sluice_client_flag_key *key,
				    const uint32_t *id)
{
	struct state_client_quota item = {*key, id ? *id : 0};
	struct fake_maps *m = arg;

	return fake_item(m, DESIRED_CLIENT_QUOTA, &m->client_quotas, &item, !id);
}

static inline int fake_rule(void *arg, const struct sluice_client_flag_key *key,
			    const struct sluice_client_flag *flag)
{
	struct state_client_rule item = {.key = *key};
	struct fake_maps *m = arg;

	if (flag)
		item.flag = *flag;
	return fake_item(m, DESIRED_RULE, &m->rules, &item, !flag);
}

static inline int fake_prefix(void *arg, const struct sluice_prefix_key *key,
			      const struct sluice_prefix *prefix)
{
	struct state_prefix_rule item = {.key = *key};
	struct fake_maps *m = arg;

	if (prefix)
		item.prefix = *prefix;
	return fake_item(m, DESIRED_PREFIX, &m->prefixes, &item, !prefix);
}

static inline int fake_priority(void *arg, const struct sluice_client *key, const uint32_t *class)
{
	struct desired_priority item = {*key, class ? *class : 0};
	struct fake_maps *m = arg;
	int ret;

	if (class && m->priorities.count == m->priorities_max && !table_find(&m->priorities, &item))
		return -ENOSPC;
	ret = fake_item(m, DESIRED_PRIORITY, &m->priorities, &item, !class);
	if (m->priorities.count > m->priorities_most)
		m->priorities_most = m->priorities.count;
	return ret;
}

static inline int fake_services(void *arg, const struct service *services, size_t count)
{
	struct fake_maps *m = arg;

	if (fake_write(m, DESIRED_SERVICES))
		return -ENOMEM;
	if (count)
		memcpy(m->services, services, count * sizeof(*services));
	m->service_count = count;
	return fake_done(m, 0);
}

static inline const char *fake_error(void *arg)
{
	return "the map is full";
}

static inline struct desired_target fake_target(struct fake_maps *m)
{
	return (struct desired_target){
		.arg = m,
		.forget = fake_forget,
		.quota = fake_quota,
		.weighted = fake_weighted,
		.model_quota = fake_model_quota,
		.client_quota = fake_client_quota,
		.rule = fake_rule,
		.prefix = fake_prefix,
		.priority = fake_priority,
		.services = fake_services,
		.error = fake_error,
	};
}

/* What the programs find of an address: the longest prefix; NULL: none. */
static inline const struct sluice_prefix *fake_longest(const struct table *prefixes,
						       const uint8_t addr[16])
{
	const struct state_prefix_rule *best = NULL;

	for (size_t i = 0; i < prefixes->count; i++) {
		const struct state_prefix_rule *r = table_at(prefixes, i);
		uint8_t cut[16];

		memcpy(cut, addr, sizeof(cut));
		text_mask(cut, r->key.plen);
		if (!memcmp(cut, r->key.addr, sizeof(cut)) &&
		    (!best || r->key.plen > best->key.plen))
			best = r;
	}
	return best ? &best->prefix : NULL;
}

#endif
