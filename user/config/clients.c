/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See clients.h. There may be thousands of quotas and prefixes, so duplicates are found by
 * sorting. */
#include "clients.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"
#include "models.h"

#define PRIORITIES_MAX 4096 /* the map's size */

struct quota_entry {
	char *label;
	struct config_quota quota;
	bool has_client, has_numbers;
};

struct class_entry {
	char *label;
	struct config_priority priority;
	bool has_client, has_class;
};

struct prefix_entry {
	char *label;
	struct config_prefix prefix;
	bool has_prefix, has_weight;
};

_Static_assert(offsetof(struct quota_entry, label) == 0 &&
		       offsetof(struct class_entry, label) == 0 &&
		       offsetof(struct prefix_entry, label) == 0,
	       "struct entries");

int clients_read_quota(const char *text, bool *has, struct quota_def *out, char *err, size_t len)
{
	*has = strcmp(text, "none") != 0;
	return *has ? quota_parse(out, text, err, len) : 0;
}

/* A client as the file names it: as `sluicectl` accepts it, but without a secret. */
static int take_client(const char *text, struct text_subject *out, char *err, size_t len)
{
	if (!strncmp(text, "key=", 4)) { /* the message does not repeat the secret */
		parse_say(
			err, len,
			"a secret does not belong into this file: name the key as key:ID, as `sluicectl clients` prints it");
		return -EINVAL;
	}
	if (text_parse_subject(text, out))
		return field_wrong(
			err, len, text,
			"a client: an address, a prefix or key:ID (192.0.2.1, 10.0.0.0/8, 2001:db8::/48)");
	return 0;
}

/* ---- quotas ---- */

static int take_quota_client(void *to, const struct field *field, const char *text, char *err,
			     size_t len)
{
	return take_client(text, to, err, len);
}

static int take_quota_number(void *to, const struct field *field, const char *text, char *err,
			     size_t len)
{
	return quota_take(to, field->name, text, err, len);
}

#define AT(type, member)  .at = offsetof(type, member)
#define GIVEN(type, flag) .given = offsetof(type, flag)
#define QUOTA_NUMBER                                                                               \
	.take = take_quota_number, AT(struct quota_entry, quota.quota),                            \
	GIVEN(struct quota_entry, has_numbers)

static const struct field quota_fields[] = {
	{"client", .take = take_quota_client, AT(struct quota_entry, quota.subject),
	 GIVEN(struct quota_entry, has_client)},
	{"model", .take = models_take_name, AT(struct quota_entry, quota.model)},
	{"requests", QUOTA_NUMBER},
	{"tokens", QUOTA_NUMBER},
	{"burst", QUOTA_NUMBER},
	{"token-burst", QUOTA_NUMBER},
	{"fleet", QUOTA_NUMBER},
	{NULL},
};

static bool same_quota(const struct config_quota *a, const struct config_quota *b)
{
	return a->subject.one == b->subject.one && !strcmp(a->model, b->model) &&
	       (a->subject.one
			? !memcmp(&a->subject.client, &b->subject.client, sizeof(a->subject.client))
			: !memcmp(&a->subject.prefix, &b->subject.prefix,
				  sizeof(a->subject.prefix)));
}

static int by_quota(const void *a, const void *b)
{
	const struct quota_entry *const *x = a, *const *y = b;
	int order = memcmp(&(*x)->quota.subject.client, &(*y)->quota.subject.client,
			   sizeof((*x)->quota.subject.client));

	return order ? order : strcmp((*x)->quota.model, (*y)->quota.model);
}

static int find_twin_quotas(struct loader *l)
{
	const struct quota_entry *e = l->quotas.items;
	const struct quota_entry **order = calloc(l->quotas.count, sizeof(*order));
	char text[TEXT_CLIENT_MAX];
	int rc = 0;

	if (!order)
		return complain(l, l->path, "out of memory");
	for (unsigned i = 0; i < l->quotas.count; i++)
		order[i] = &e[i];
	qsort(order, l->quotas.count, sizeof(*order), by_quota);
	for (unsigned i = 1; i < l->quotas.count && !rc; i++) {
		if (!same_quota(&order[i - 1]->quota, &order[i]->quota))
			continue;
		text_client(text, &order[i]->quota.subject.client);
		rc = complain(l, order[i]->label, "%s has a quota%s in %s already", text,
			      order[i]->quota.model[0] ? " for this model" : "",
			      strstr(order[i - 1]->label, "quotas entry"));
	}
	free(order);
	return rc;
}

static int finish_quotas(struct loader *l)
{
	struct quota_entry *e = l->quotas.items;
	struct config *c = &l->config;
	char why[LOAD_WHY_MAX];

	if (!l->quotas.count)
		return 0;
	c->quotas = calloc(l->quotas.count, sizeof(*c->quotas));
	if (!c->quotas)
		return complain(l, l->path, "out of memory");
	for (unsigned i = 0; i < l->quotas.count; i++, e++) {
		if (!e->has_client)
			return complain(l, e->label, "client is missing");
		if (!e->has_numbers)
			return complain(l, e->label, "requests or tokens is missing");
		if (!e->quota.subject.one && e->quota.model[0])
			return complain(
				l, e->label,
				"the quota of a prefix is for all models; name an address to have one for a model");
		if (quota_finish(&e->quota.quota, why, sizeof(why)) < 0)
			return complain(l, e->label, "%s", why);
		c->quotas[c->quota_count++] = e->quota;
	}
	return find_twin_quotas(l);
}

const struct section quotas_section = {
	.name = "quotas",
	.fields = quota_fields,
	.at = offsetof(struct loader, quotas),
	.size = sizeof(struct quota_entry),
	.finish = finish_quotas,
};

/* ---- priorities ---- */

static int take_class_client(void *to, const struct field *field, const char *text, char *err,
			     size_t len)
{
	struct config_priority *p = to;
	struct text_subject subject;

	if (take_client(text, &subject, err, len) < 0)
		return -EINVAL;
	p->key = subject.one && subject.client.kind == SLUICE_CLIENT_KEY;
	p->client = subject.client;
	p->prefix = subject.prefix;
	return 0;
}

static const struct field class_fields[] = {
	{"client", .take = take_class_client, AT(struct class_entry, priority),
	 GIVEN(struct class_entry, has_client)},
	{"class", .as = &parse_as_class, FIELD_INTO(struct class_entry, priority.class),
	 GIVEN(struct class_entry, has_class)},
	{NULL},
};

static bool same_client(const struct config_priority *a, const struct config_priority *b)
{
	return a->key == b->key && !memcmp(&a->client, &b->client, sizeof(a->client)) &&
	       !memcmp(&a->prefix, &b->prefix, sizeof(a->prefix));
}

static int finish_priorities(struct loader *l)
{
	const struct class_entry *e = l->priorities.items;
	struct config *c = &l->config;
	unsigned capacity = PRIORITIES_MAX;

	for (unsigned i = 0; i < c->service_count; i++)
		capacity -= c->services[i].priority.count; /* 256 services of 16 values fit */
	if (!l->priorities.count)
		return 0;
	if (l->priorities.count > PRIORITIES_MAX)
		return complain(l, l->path, "more than %u priorities", PRIORITIES_MAX);
	c->priorities = calloc(l->priorities.count, sizeof(*c->priorities));
	if (!c->priorities)
		return complain(l, l->path, "out of memory");
	for (unsigned i = 0; i < l->priorities.count; i++) {
		if (!e[i].has_client || !e[i].has_class)
			return complain(l, e[i].label, "%s is missing",
					e[i].has_client ? "class" : "client");
		if (e[i].priority.key && !capacity--)
			return complain(l, e[i].label, "more than %u keys and header values",
					PRIORITIES_MAX);
		for (unsigned j = 0; j < i; j++)
			if (same_client(&c->priorities[j], &e[i].priority))
				return complain(l, e[i].label,
						"this client has a class already, in %s",
						strstr(e[j].label, "priorities entry"));
		c->priorities[c->priority_count++] = e[i].priority;
	}
	return 0;
}

const struct section priorities_section = {
	.name = "priorities",
	.fields = class_fields,
	.at = offsetof(struct loader, priorities),
	.size = sizeof(struct class_entry),
	.finish = finish_priorities,
};

/* ---- client-prefixes ---- */

static int take_prefix(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct text_subject subject;

	if (!strncmp(text, "key", 3) || text_parse_subject(text, &subject))
		return field_wrong(err, len, text,
				   "an address or a prefix, like 10.0.0.0/8 or 2001:db8::/48");
	*(struct sluice_prefix_key *)to = subject.prefix;
	return 0;
}

static int take_weight(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	return parse_weight(text, to, err, len);
}

static const struct field prefix_fields[] = {
	{"prefix", .take = take_prefix, AT(struct prefix_entry, prefix.prefix),
	 GIVEN(struct prefix_entry, has_prefix)},
	{"weight", .take = take_weight, AT(struct prefix_entry, prefix.weight),
	 GIVEN(struct prefix_entry, has_weight)},
	{NULL},
};

/* Checks that the weight times the quota of each client is a valid quota. */
static int check_weight(struct loader *l, const struct prefix_entry *e, const char *of,
			const struct quota_def *quota)
{
	char why[512], words[QUOTA_TEXT_MAX], weight[TEXT_WEIGHT_MAX];
	struct quota_def scaled;

	if (!quota_scale(&scaled, quota, e->prefix.weight, why, sizeof(why)))
		return 0;
	quota_words(words, quota);
	text_weight(weight, e->prefix.weight);
	return complain(l, e->label, "weight %s of the quota %s of %s: %s", weight, words, of, why);
}

static int check_weights(struct loader *l, const struct prefix_entry *e)
{
	const struct config *c = &l->config;

	for (unsigned i = 0; i < c->service_count; i++)
		if (c->services[i].has_quota &&
		    check_weight(l, e, "a service", &c->services[i].quota) < 0)
			return -EINVAL;
	for (unsigned i = 0; i < c->model_count; i++)
		if (c->models[i].has_quota &&
		    check_weight(l, e, c->models[i].name, &c->models[i].quota) < 0)
			return -EINVAL;
	return 0;
}

static int by_prefix(const void *a, const void *b)
{
	const struct prefix_entry *const *x = a, *const *y = b;

	return memcmp(&(*x)->prefix.prefix, &(*y)->prefix.prefix, sizeof((*x)->prefix.prefix));
}

static int find_twin_prefixes(struct loader *l)
{
	const struct prefix_entry *e = l->prefixes.items;
	const struct prefix_entry **order = calloc(l->prefixes.count, sizeof(*order));
	char text[TEXT_CLIENT_MAX];
	int rc = 0;

	if (!order)
		return complain(l, l->path, "out of memory");
	for (unsigned i = 0; i < l->prefixes.count; i++)
		order[i] = &e[i];
	qsort(order, l->prefixes.count, sizeof(*order), by_prefix);
	for (unsigned i = 1; i < l->prefixes.count && !rc; i++) {
		if (by_prefix(&order[i - 1], &order[i]))
			continue;
		text_prefix(text, &order[i]->prefix.prefix);
		rc = complain(l, order[i]->label, "%s is in %s already", text,
			      strstr(order[i - 1]->label, "client-prefixes"));
	}
	free(order);
	return rc;
}

static int finish_prefixes(struct loader *l)
{
	static bool checked[UINT16_MAX + 1]; /* weights */
	const struct prefix_entry *e = l->prefixes.items;
	struct config *c = &l->config;

	if (!l->prefixes.count)
		return 0;
	c->prefixes = calloc(l->prefixes.count, sizeof(*c->prefixes));
	if (!c->prefixes)
		return complain(l, l->path, "out of memory");
	memset(checked, 0, sizeof(checked));
	for (unsigned i = 0; i < l->prefixes.count; i++, e++) {
		if (!e->has_prefix)
			return complain(l, e->label, "prefix is missing");
		if (!e->has_weight)
			return complain(l, e->label, "weight is missing");
		if (!checked[e->prefix.weight] && check_weights(l, e) < 0)
			return -EINVAL;
		checked[e->prefix.weight] = true;
		c->prefixes[c->prefix_count++] = e->prefix;
	}
	return find_twin_prefixes(l);
}

const struct section prefixes_section = {
	.name = "client-prefixes",
	.fields = prefix_fields,
	.at = offsetof(struct loader, prefixes),
	.size = sizeof(struct prefix_entry),
	.finish = finish_prefixes,
};
