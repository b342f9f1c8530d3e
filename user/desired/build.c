/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Merges the file's part and what overrides it (overrides.c) into the next state: every quota gets
 * its id, prefixes inherit. A state that the maps cannot hold is refused here, before anything is
 * written.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"
#include "desired/internal.h"

#define NO_QUOTA_LEFT "there is no room for another quota (%d are held)"

struct build {
	struct desired *next;
	const struct desired_input *in;
	struct desired_part overrides, overridden;
	bool taken[SLUICE_QUOTAS_MAX]; /* ids in use before or in this state */
	bool weighed[UINT16_MAX + 1];  /* weights that are done, or change no quota */
	char *err;
	size_t err_len;
};

struct desired *desired_new(void)
{
	struct desired *state = calloc(1, sizeof(*state));

	if (!state)
		return NULL;
	state->holders = 1;
	state->model_quotas.kind = &desired_model_ids;
	state->weighted.kind = &desired_weighted_ids;
	state->client_quotas.kind = &desired_client_ids;
	state->rules.kind = &desired_rules;
	state->prefixes.kind = &desired_prefix_rules;
	state->priorities.kind = &desired_priorities;
	state->overridden_rules.kind = &desired_rules;
	state->overridden_quotas.kind = &desired_client_ids;
	return state;
}

struct desired *desired_hold(struct desired *state)
{
	state->holders++;
	return state;
}

void desired_free(struct desired *state)
{
	if (!state || --state->holders)
		return;
	table_free(&state->model_quotas);
	table_free(&state->weighted);
	table_free(&state->client_quotas);
	table_free(&state->rules);
	table_free(&state->prefixes);
	table_free(&state->priorities);
	table_free(&state->overridden_rules);
	table_free(&state->overridden_quotas);
	free(state->services);
	free(state);
}

static int quota_id(struct build *b, const struct quota_def *def, unsigned scope, const char *name,
		    unsigned origin, uint32_t *out)
{
	bool fresh, taken;
	uint32_t id =
		quota_book_id(&b->next->quotas, def, scope, name, origin, b->taken, &fresh, &taken);

	if (!id) {
		snprintf(b->err, b->err_len, NO_QUOTA_LEFT, SLUICE_QUOTAS_MAX - 1);
		return -ENOSPC;
	}
	if (fresh)
		b->next->written[id] = false;
	b->taken[id] = true;
	*out = id;
	return 0;
}

static const char *model_name(const struct build *b, uint32_t id)
{
	return id < SLUICE_MODELS_MAX ? b->in->models->model[id].name : "";
}

/* ---- quotas of models and services ---- */

static int add_model_quota(void *arg, const void *file, const void *manual)
{
	const struct desired_model_quota *q = manual ? manual : file;
	struct build *b = arg;
	struct desired_model_id item = {.model = q->model};
	int ret = quota_id(b, &q->quota, SLUICE_SCOPE_MODEL, model_name(b, q->model),
			   SLUICE_ORIGIN_FILE, &item.quota);

	return ret ? ret : table_add(&b->next->model_quotas, &item);
}

static int add_services(struct build *b)
{
	const struct desired_part *file = b->in->file, *manual = &b->overrides;
	struct desired *next = b->next;
	int ret = desired_copy_services(&next->services, file->services, file->service_count);

	next->service_count = ret ? 0 : file->service_count;
	for (size_t i = 0; i < next->service_count && !ret; i++) {
		struct service *s = &next->services[i];
		int model = controller_find(b->in->models, s->model);
		char endpoint[TEXT_SERVICE_MAX];
		uint32_t id = 0;

		text_endpoint(endpoint, s->addr, s->wildcard, s->port);
		if (s->has_quota)
			ret = quota_id(b, &s->quota, SLUICE_SCOPE_SERVICE, endpoint,
				       SLUICE_ORIGIN_FILE, &id);
		s->id = (uint32_t)i;
		s->model_id = model < 0 ? SLUICE_MODEL_OTHER : (uint32_t)model;
		s->pool_id = s->port_pool ? b->in->models->model[s->model_id].in_pool : 0;
		s->quota_id = (uint16_t)id;
		if (manual->action)
			s->action = manual->action;
		if (manual->mode)
			s->mode = manual->mode;
	}
	return ret;
}

/* ---- weights: each weight scales each quota of a model or service ---- */

/* *out: the quota scaled by the weight. -EINVAL with the reason. */
static int weigh(const struct desired *state, uint32_t id, uint16_t weight, struct quota_def *out,
		 char *err, size_t len)
{
	char why[256], words[QUOTA_TEXT_MAX], number[TEXT_WEIGHT_MAX];
	struct quota_def def;

	quota_of_text(&def, &state->quotas.text[id]);
	if (!quota_scale(out, &def, weight, why, sizeof(why)))
		return 0;
	quota_words(words, &def);
	text_weight(number, weight);
	snprintf(err, len, "weight %s of the quota %s: %s", number, words, why);
	return -EINVAL;
}

/* If the quota cannot be scaled, it holds as it is. */
static int add_weighted(struct build *b, uint32_t id, uint16_t weight)
{
	const struct sluice_quota_text text = b->next->quotas.text[id];
	struct desired_weighted item = {.key = {weight, (__u16)id}};
	struct quota_def scaled;
	char why[512], notice[600];
	int ret;

	if (weigh(b->next, id, weight, &scaled, why, sizeof(why))) {
		snprintf(notice, sizeof(notice), "%s; it counts as 1", why);
		if (b->in->notice)
			b->in->notice(b->in->arg, notice);
		return 0;
	}
	ret = quota_id(b, &scaled, text.scope, text.name, SLUICE_ORIGIN_FILE, &item.id);
	return ret ? ret : table_add(&b->next->weighted, &item);
}

/* Calls each() with the quota of every service and model that has one. Ends at its first error. */
static int each_everybodys(const struct desired *state, int (*each)(void *arg, uint32_t id),
			   void *arg)
{
	int ret = 0;

	for (size_t i = 0; i < state->service_count && !ret; i++)
		if (state->services[i].quota_id)
			ret = each(arg, state->services[i].quota_id);
	for (size_t i = 0; i < state->model_quotas.count && !ret; i++) {
		const struct desired_model_id *m = table_at(&state->model_quotas, i);

		ret = each(arg, m->quota);
	}
	return ret;
}

struct weight_of_all {
	struct build *build;
	uint16_t weight;
};

static int add_one_weighted(void *arg, uint32_t id)
{
	const struct weight_of_all *w = arg;

	table_step(1);
	return add_weighted(w->build, id, w->weight);
}

static int add_weights(struct build *b)
{
	int ret = 0;

	b->weighed[0] = b->weighed[SLUICE_WEIGHT_ONE] = true;
	for (size_t i = 0; i < b->next->prefixes.count && !ret; i++) {
		const struct state_prefix_rule *rule = table_visit(&b->next->prefixes, i);
		struct weight_of_all w = {b, rule->prefix.weight};

		b->next->any_weight |= w.weight != 0;
		if (b->weighed[w.weight])
			continue;
		b->weighed[w.weight] = true;
		ret = each_everybodys(b->next, add_one_weighted, &w);
	}
	return ret;
}

struct check {
	const struct desired *state;
	uint16_t weight;
	char *err;
	size_t len;
};

static int check_one(void *arg, uint32_t id)
{
	const struct check *c = arg;
	struct quota_def unused;

	return weigh(c->state, id, c->weight, &unused, c->err, c->len);
}

int desired_check_weight(const struct desired *state, uint16_t weight, char *err, size_t len)
{
	struct check c = {state, weight, err, len};

	return each_everybodys(state, check_one, &c);
}

/* ---- clients and prefixes ---- */

static unsigned origin(bool overrides, bool fleet)
{
	return !overrides ? SLUICE_ORIGIN_FILE : fleet ? SLUICE_ORIGIN_FLEET : SLUICE_ORIGIN_MANUAL;
}

static int client_quota_id(struct build *b, const struct desired_client_quota *q, unsigned from,
			   uint32_t *out)
{
	if (q->key.model == SLUICE_MODEL_ALL)
		return quota_id(b, &q->quota, SLUICE_SCOPE_CLIENT, NULL, from, out);
	return quota_id(b, &q->quota, SLUICE_SCOPE_CLIENT_MODEL, model_name(b, q->key.model), from,
			out);
}

static int add_client_quota(void *arg, const void *file, const void *manual)
{
	const struct desired_client_quota *q = manual ? manual : file;
	struct build *b = arg;
	struct state_client_quota item = {.key = q->key};
	int ret = client_quota_id(b, q, origin(manual, q->fleet), &item.quota);

	return ret ? ret : table_add(&b->next->client_quotas, &item);
}

/* Fields that no part owns are left to desired_inherit(). */
static int add_prefix(void *arg, const void *file, const void *manual)
{
	const struct desired_prefix *overriding = manual;
	uint8_t manual_own = overriding ? overriding->own : 0;
	struct desired_prefix p = {
		.key = *(const struct sluice_prefix_key *)(manual ? manual : file)};
	struct state_prefix_rule item;
	struct build *b = arg;
	uint32_t id = 0;
	int ret = 0;

	if (file)
		desired_merge_prefix(&p, file);
	if (manual)
		desired_merge_prefix(&p, manual);
	memset(&item, 0, sizeof(item));
	item.key = p.key;
	item.prefix.own = p.own;
	if (manual_own & SLUICE_PREFIX_OWN_WEIGHT)
		item.prefix.own |= p.fleet & SLUICE_PREFIX_OWN_WEIGHT ? SLUICE_PREFIX_WEIGHT_FLEET
								      : SLUICE_PREFIX_WEIGHT_MANUAL;
	if (p.fleet & SLUICE_PREFIX_OWN_CLASS)
		item.prefix.own |= SLUICE_PREFIX_CLASS_FLEET;
	item.prefix.class = p.class;
	item.prefix.action = p.action;
	item.prefix.expires_ns = p.expires_ns;
	item.prefix.priority = p.priority;
	item.prefix.weight = p.weight;
	if (p.own & SLUICE_PREFIX_OWN_QUOTA)
		ret = quota_id(b, &p.quota, SLUICE_SCOPE_CLIENT, NULL,
			       origin(manual_own & SLUICE_PREFIX_OWN_QUOTA,
				      p.fleet & SLUICE_PREFIX_OWN_QUOTA),
			       &id);
	item.prefix.quota = (__u16)id;
	return ret ? ret : table_add(&b->next->prefixes, &item);
}

static int add_rule(void *arg, const void *file, const void *manual)
{
	return table_add(&((struct build *)arg)->next->rules, manual ? manual : file);
}

static int add_priority(void *arg, const void *file, const void *manual)
{
	return table_add(&((struct build *)arg)->next->priorities, manual ? manual : file);
}

/* ---- what the fleet's rules override ---- */

static int keep_quota(struct build *b, struct desired_client_quota quota, uint8_t mark)
{
	struct state_client_quota item = {.key = quota.key};
	int ret = client_quota_id(b, &quota, SLUICE_ORIGIN_MANUAL, &item.quota);

	item.key.client.kind |= mark;
	return ret ? ret : table_add(&b->next->overridden_quotas, &item);
}

static int keep_prefix(struct build *b, const struct desired_prefix *p)
{
	struct state_client_rule item = {
		.key = {.client = {.plen = (uint8_t)p->key.plen,
				   .kind = SLUICE_CLIENT_OVERRIDDEN_PREFIX},
			.model = SLUICE_MODEL_ALL},
		.flag = {.expires_ns = p->expires_ns,
			 .allow = p->class == SLUICE_PREFIX_EXEMPT,
			 .action = p->action,
			 .own = p->own & (SLUICE_PREFIX_OWN_CLASS | SLUICE_PREFIX_OWN_WEIGHT),
			 .weight = p->weight},
	};
	int ret = 0;

	memcpy(item.key.client.addr, p->key.addr, sizeof(p->key.addr));
	if (item.flag.own)
		ret = table_add(&b->next->overridden_rules, &item);
	if (!ret && p->own & SLUICE_PREFIX_OWN_QUOTA)
		ret = keep_quota(b, (struct desired_client_quota){item.key, p->quota, false},
				 SLUICE_CLIENT_OVERRIDDEN_PREFIX);
	return ret;
}

static int keep_overridden(struct build *b)
{
	const struct desired_part *part = &b->overridden;
	int ret = 0;

	for (size_t i = 0; i < part->rules.count && !ret; i++) {
		struct state_client_rule rule =
			*(const struct state_client_rule *)table_visit(&part->rules, i);

		rule.key.client.kind |= SLUICE_CLIENT_OVERRIDDEN;
		ret = table_add(&b->next->overridden_rules, &rule);
	}
	for (size_t i = 0; i < part->client_quotas.count && !ret; i++)
		ret = keep_quota(
			b,
			*(const struct desired_client_quota *)table_visit(&part->client_quotas, i),
			SLUICE_CLIENT_OVERRIDDEN);
	for (size_t i = 0; i < part->prefixes.count && !ret; i++)
		ret = keep_prefix(b, table_visit(&part->prefixes, i));
	if (!ret)
		ret = table_sort(&b->next->overridden_rules);
	return ret ? ret : table_sort(&b->next->overridden_quotas);
}

/* ---- the state ---- */

/* A pinned map may hold any id. */
static void mark(struct desired *state, uint32_t id)
{
	if (id && id < SLUICE_QUOTAS_MAX)
		state->used[id] = true;
}

static void mark_used(struct desired *state)
{
	for (size_t i = 0; i < state->service_count; i++)
		mark(state, state->services[i].quota_id);
	for (size_t i = 0; i < state->model_quotas.count; i++)
		mark(state,
		     ((struct desired_model_id *)table_visit(&state->model_quotas, i))->quota);
	for (size_t i = 0; i < state->weighted.count; i++)
		mark(state, ((struct desired_weighted *)table_visit(&state->weighted, i))->id);
	for (size_t i = 0; i < state->client_quotas.count; i++)
		mark(state,
		     ((struct state_client_quota *)table_visit(&state->client_quotas, i))->quota);
	for (size_t i = 0; i < state->overridden_quotas.count; i++)
		mark(state, ((struct state_client_quota *)table_visit(&state->overridden_quotas, i))
				    ->quota);
	for (size_t i = 0; i < state->prefixes.count; i++)
		mark(state,
		     ((struct state_prefix_rule *)table_visit(&state->prefixes, i))->prefix.quota);
}

static int check_fits(const struct desired *state, char *err, size_t len)
{
	const struct {
		const char *map;
		size_t count, max;
	} maps[] = {
		{"client_flags", state->rules.count + state->overridden_rules.count,
		 SLUICE_CLIENT_FLAGS_MAX},
		{"client_prefixes", state->prefixes.count, SLUICE_PREFIXES_MAX},
		{"client_quotas", state->client_quotas.count + state->overridden_quotas.count,
		 SLUICE_CLIENT_QUOTAS_MAX},
		{"weighted_quotas", state->weighted.count, SLUICE_QUOTAS_MAX},
		{"priorities", state->priorities.count, SLUICE_PRIORITIES_MAX},
	};

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		if (maps[i].count > maps[i].max) {
			snprintf(err, len, "%s would need %zu entries and has room for %zu",
				 maps[i].map, maps[i].count, maps[i].max);
			return -ENOSPC;
		}
	return 0;
}

static int build(struct build *b)
{
	const struct desired_part *file = b->in->file, *manual = &b->overrides;
	struct desired *next = b->next;
	int ret = desired_overrides(&b->overrides, &b->overridden, b->in);

	if (!ret)
		ret = add_services(b);
	if (!ret)
		ret = table_walk(&file->model_quotas, &manual->model_quotas, add_model_quota, b);
	if (!ret)
		ret = table_walk(&file->client_quotas, &manual->client_quotas, add_client_quota, b);
	if (!ret)
		ret = table_walk(&file->rules, &manual->rules, add_rule, b);
	if (!ret)
		ret = table_walk(&file->priorities, &manual->priorities, add_priority, b);
	if (!ret)
		ret = table_walk(&file->prefixes, &manual->prefixes, add_prefix, b);
	if (!ret)
		ret = keep_overridden(b);
	if (ret)
		return ret;
	desired_inherit(next->prefixes.items, next->prefixes.count);
	ret = add_weights(b);
	if (!ret)
		ret = table_sort(&next->weighted);
	if (ret)
		return ret;
	mark_used(next);
	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++)
		next->written[id] |= next->used[id];
	return check_fits(next, b->err, b->err_len);
}

int desired_build(struct desired **out, const struct desired_input *in,
		  const struct desired *before, char *err, size_t len)
{
	struct build *b = calloc(1, sizeof(*b));
	int ret = -ENOMEM;

	if (b) {
		b->in = in;
		b->err = err;
		b->err_len = len;
		b->next = desired_new();
		desired_part_init(&b->overrides);
		desired_part_init(&b->overridden);
	}
	if (b && b->next) {
		b->next->quotas = before->quotas;
		memcpy(b->next->written, before->written, sizeof(before->written));
		memcpy(b->taken, before->used, sizeof(before->used));
		ret = build(b);
	}
	if (ret == -ENOMEM)
		snprintf(err, len, "out of memory");
	if (!ret)
		*out = b->next;
	else if (b)
		desired_free(b->next);
	if (b) {
		desired_part_free(&b->overrides);
		desired_part_free(&b->overridden);
	}
	free(b);
	return ret;
}

/* ---- the pinned maps of an earlier daemon ---- */

int desired_adopt(struct desired *state)
{
	if (table_sort(&state->model_quotas) || table_sort(&state->weighted) ||
	    table_sort(&state->client_quotas) || table_sort(&state->rules) ||
	    table_sort(&state->prefixes) || table_sort(&state->priorities) ||
	    table_sort(&state->overridden_rules) || table_sort(&state->overridden_quotas))
		return -ENOMEM;
	quota_book_index(&state->quotas);
	mark_used(state);
	return 0;
}

static bool is_of(const struct desired *state, uint32_t id, unsigned origin)
{
	return id && id < SLUICE_QUOTAS_MAX && state->quotas.text[id].origin == origin;
}

static int adopt_rules(const struct desired *state, unsigned origin, struct desired_part *part)
{
	int ret = 0;

	for (size_t i = 0; i < state->rules.count && !ret; i++) {
		const struct state_client_rule *rule = table_visit(&state->rules, i);

		if ((rule->flag.fleet != 0) == (origin == SLUICE_ORIGIN_FLEET))
			ret = table_add(&part->rules, rule);
	}
	return ret;
}

static int adopt_prefix(const struct desired *state, const struct state_prefix_rule *rule,
			unsigned origin, struct desired_part *part)
{
	bool fleet = origin == SLUICE_ORIGIN_FLEET;
	const struct sluice_prefix *from = &rule->prefix;
	struct desired_prefix p = {.key = rule->key};

	if (from->own & SLUICE_PREFIX_OWN_CLASS &&
	    !(from->own & SLUICE_PREFIX_CLASS_FLEET) == !fleet) {
		p.own |= SLUICE_PREFIX_OWN_CLASS;
		p.class = from->class;
		p.action = from->action;
		p.expires_ns = from->expires_ns;
	}
	if (from->own & (fleet ? SLUICE_PREFIX_WEIGHT_FLEET : SLUICE_PREFIX_WEIGHT_MANUAL)) {
		p.own |= SLUICE_PREFIX_OWN_WEIGHT;
		p.weight = from->weight;
	}
	if (from->own & SLUICE_PREFIX_OWN_QUOTA && is_of(state, from->quota, origin)) {
		p.own |= SLUICE_PREFIX_OWN_QUOTA;
		quota_of_text(&p.quota, &state->quotas.text[from->quota]);
	}
	return p.own ? table_add(&part->prefixes, &p) : 0;
}

static bool is_prefix(const struct sluice_client *client)
{
	return client->kind == SLUICE_CLIENT_OVERRIDDEN_PREFIX;
}

static struct desired_prefix prefix_of(const struct sluice_client *client, uint8_t own)
{
	struct desired_prefix p = {.key.plen = client->plen, .own = own};

	memcpy(p.key.addr, client->addr, sizeof(p.key.addr));
	return p;
}

static int adopt_overridden_rule(struct state_client_rule rule, struct desired_part *part)
{
	struct desired_prefix p = prefix_of(&rule.key.client, rule.flag.own);

	if (!is_prefix(&rule.key.client)) {
		rule.key.client.kind &= (uint8_t)~SLUICE_CLIENT_OVERRIDDEN;
		return table_add(&part->rules, &rule);
	}
	p.class = rule.flag.allow ? SLUICE_PREFIX_EXEMPT : SLUICE_PREFIX_BLOCKED;
	p.action = rule.flag.action;
	p.expires_ns = rule.flag.expires_ns;
	p.weight = rule.flag.weight;
	return table_add(&part->prefixes, &p);
}

static int adopt_overridden_quota(const struct desired *state, const struct state_client_quota *q,
				  struct desired_part *part)
{
	struct desired_prefix p = prefix_of(&q->key.client, SLUICE_PREFIX_OWN_QUOTA);
	struct desired_client_quota item = {.key = q->key};

	if (!is_of(state, q->quota, SLUICE_ORIGIN_MANUAL))
		return 0;
	quota_of_text(&item.quota, &state->quotas.text[q->quota]);
	p.quota = item.quota;
	item.key.client.kind &= (uint8_t)~SLUICE_CLIENT_OVERRIDDEN;
	return is_prefix(&q->key.client) ? table_add(&part->prefixes, &p)
					 : table_add(&part->client_quotas, &item);
}

static int adopt_overridden(const struct desired *state, struct desired_part *part)
{
	int ret = 0;

	for (size_t i = 0; i < state->overridden_rules.count && !ret; i++)
		ret = adopt_overridden_rule(
			*(const struct state_client_rule *)table_visit(&state->overridden_rules, i),
			part);
	for (size_t i = 0; i < state->overridden_quotas.count && !ret; i++)
		ret = adopt_overridden_quota(state, table_visit(&state->overridden_quotas, i),
					     part);
	return ret ? ret : desired_part_sort(part);
}

int desired_adopted_part(const struct desired *state, unsigned origin, struct desired_part *part)
{
	int ret;

	desired_part_init(part);
	ret = adopt_rules(state, origin, part);
	for (size_t i = 0; i < state->prefixes.count && !ret; i++)
		ret = adopt_prefix(state, table_visit(&state->prefixes, i), origin, part);
	for (size_t i = 0; i < state->client_quotas.count && !ret; i++) {
		const struct state_client_quota *q = table_visit(&state->client_quotas, i);
		struct desired_client_quota item = {.key = q->key};

		if (!is_of(state, q->quota, origin))
			continue;
		quota_of_text(&item.quota, &state->quotas.text[q->quota]);
		ret = table_add(&part->client_quotas, &item);
	}
	return ret || origin != SLUICE_ORIGIN_MANUAL ? ret : adopt_overridden(state, part);
}
