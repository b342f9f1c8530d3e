/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who changed what, for the log. The one idea: a command is about a value, such as the rules of a
 * client. The value is read as a text before the command and after it, by the same function, so
 * that the log states what has changed and not what was asked for. A change of the fleet's rules
 * comes into force later: there the second text is what was asked for.
 */
#include "control/audit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/format_text.h"
#include "core/quota.h"
#include "desired/desired.h"

#define MS 1000000ULL

struct text {
	char *out;
	size_t len;
};

/* Adds one of several values. What does not fit is cut. */
__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
	va_list args;

	if (t->len && t->len < AUDIT_TEXT_MAX)
		t->len += (size_t)snprintf(t->out + t->len, AUDIT_TEXT_MAX - t->len, ", ");
	if (t->len >= AUDIT_TEXT_MAX)
		return;
	va_start(args, format);
	t->len += (size_t)vsnprintf(t->out + t->len, AUDIT_TEXT_MAX - t->len, format, args);
	va_end(args);
}

/* ---- rules and quotas of a client ---- */

/* What a command's client and model are. */
struct about {
	struct subject s;
	const char *model; /* NULL: all */
	int model_id;
	struct control_rules rules;
};

/* False: the command itself is refused for it. */
static bool find_about(const struct command *c, struct about *a)
{
	struct command probe = *c; /* keeps the reason why the command is refused */

	if (!request_subject(&probe, &a->s) || !request_string(&probe, "model", &a->model))
		return false;
	a->model_id = a->model ? controller_find(c->state->controller, a->model) : SLUICE_MODEL_ALL;
	memset(&a->rules, 0, sizeof(a->rules));
	if (c->ops->rules)
		c->ops->rules(c->ops->arg, &a->rules);
	return true;
}

/* The clients that the subject is: services may know it by several, whose rules are the same. The
 * last one is of rules older than the services' prefix lengths. */
static const struct sluice_client *client_at(const struct about *a, size_t k)
{
	if (!a->s.one || k > a->s.count)
		return NULL;
	return k < a->s.count ? &a->s.clients[k] : &a->s.as_typed.client;
}

/* The first item of a client in a list that is sorted by struct sluice_client_flag_key, with which
 * an item begins. */
static size_t first_of(const void *items, size_t count, size_t size,
		       const struct sluice_client *client)
{
	size_t from = 0, to = count;

	while (from < to) {
		size_t mid = (from + to) / 2;

		if (memcmp((const char *)items + mid * size, client, sizeof(*client)) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

/* Without a model, a command is about those of all models. */
static bool is_meant(const struct about *a, const struct sluice_client_flag_key *key)
{
	return !a->model || a->model_id == (int)key->model;
}

/* "llama: " */
static void model_text(char out[SLUICE_NAME_MAX + 2], const struct command *c, uint32_t id)
{
	snprintf(out, SLUICE_NAME_MAX + 2, "%s%s",
		 id == SLUICE_MODEL_ALL ? "" : c->state->controller->model[id].name,
		 id == SLUICE_MODEL_ALL ? "" : ": ");
}

static void add_rule(struct text *t, const struct command *c, uint32_t model, bool allow,
		     uint64_t expires_ns)
{
	const char *verdict = allow ? "allowed" : "blocked";
	char of[SLUICE_NAME_MAX + 2];

	model_text(of, c, model);
	if (expires_ns > c->state->now_ns)
		add(t, "%s%s for %s", of, verdict,
		    format_span((double)(expires_ns - c->state->now_ns) / 1e6));
	else if (!expires_ns)
		add(t, "%s%s", of, verdict);
}

static const struct state_prefix_rule *prefix_rule(const struct about *a)
{
	const struct control_rules *r = &a->rules;

	return r->prefix_count && a->s.client.kind == SLUICE_CLIENT_ADDRESS
		       ? bsearch(&a->s.prefix, r->prefixes, r->prefix_count, sizeof(*r->prefixes),
				 desired_by_prefix)
		       : NULL;
}

static void add_quota(struct text *t, const struct command *c, uint32_t model, uint32_t id)
{
	char of[SLUICE_NAME_MAX + 2], words[QUOTA_TEXT_MAX];
	struct quota_def def;

	if (!c->state->quotas)
		return;
	model_text(of, c, model);
	quota_of_text(&def, &c->state->quotas->text[id % SLUICE_QUOTAS_MAX]);
	quota_words(words, &def);
	add(t, "%s%s", of, words);
}

static void add_client_rule(struct text *t, const struct command *c, const void *item)
{
	const struct state_client_rule *r = item;

	add_rule(t, c, r->key.model, r->flag.allow, r->flag.expires_ns);
}

static void add_client_quota(struct text *t, const struct command *c, const void *item)
{
	const struct state_client_quota *q = item;

	add_quota(t, c, q->key.model, q->quota);
}

/* Adds the items of a sorted list that the command is about: of the first of the subject's clients
 * that has some. An item begins with its struct sluice_client_flag_key. */
static void add_items(struct text *t, const struct command *c, const struct about *a,
		      const void *items, size_t count, size_t size,
		      void (*add_item)(struct text *t, const struct command *c, const void *item))
{
	const struct sluice_client *client;

	for (size_t k = 0; !t->len && (client = client_at(a, k)); k++) {
		for (size_t i = first_of(items, count, size, client); i < count; i++) {
			const void *item = (const char *)items + i * size;

			if (memcmp(item, client, sizeof(*client)) != 0)
				break;
			if (is_meant(a, item))
				add_item(t, c, item);
		}
	}
}

static void rules_text(const struct command *c, struct text *t)
{
	const struct state_prefix_rule *p;
	struct about a;

	if (!find_about(c, &a))
		return;
	add_items(t, c, &a, a.rules.clients, a.rules.client_count, sizeof(*a.rules.clients),
		  add_client_rule);
	p = a.model ? NULL : prefix_rule(&a);
	if (p && p->prefix.own & SLUICE_PREFIX_OWN_CLASS && p->prefix.class != SLUICE_PREFIX_PLAIN)
		add_rule(t, c, SLUICE_MODEL_ALL, p->prefix.class == SLUICE_PREFIX_EXEMPT,
			 p->prefix.expires_ns);
}

static void quotas_text(const struct command *c, struct text *t)
{
	const struct state_prefix_rule *p;
	char weight[TEXT_WEIGHT_MAX];
	struct about a;

	if (!find_about(c, &a))
		return;
	add_items(t, c, &a, a.rules.quotas, a.rules.quota_count, sizeof(*a.rules.quotas),
		  add_client_quota);
	p = a.model ? NULL : prefix_rule(&a);
	if (p && p->prefix.own & SLUICE_PREFIX_OWN_QUOTA)
		add_quota(t, c, SLUICE_MODEL_ALL, p->prefix.quota);
	if (p && p->prefix.own & SLUICE_PREFIX_OWN_WEIGHT) {
		text_weight(weight, p->prefix.weight);
		add(t, "weight=%s", weight);
	}
}

/* What is asked for of the fleet. */
static void fleet_text(const struct command *c, const char *name, struct text *t)
{
	const char *quota = json_string_value(json_object_get(c->request, "quota"));
	double ms = json_number_value(json_object_get(c->request, "for_ms"));
	bool allow = !strcmp(name, "allow");

	if (!allow && strcmp(name, "block") != 0)
		add(t, "%s", quota ? quota : "none");
	else if (ms > 0)
		add(t, "%s for %s", allow ? "allowed" : "blocked", format_span(ms));
	else
		add(t, "%s", allow ? "allowed" : "blocked");
}

/* ---- the other values ---- */

static void targets_text(const struct command *c, struct text *t)
{
	const char *model = json_string_value(json_object_get(c->request, "model"));
	int id = model ? controller_find(c->state->controller, model) : SLUICE_MODEL_ALL;
	const json_t *pair;
	size_t i;

	json_array_foreach(json_object_get(c->request, "values"), i, pair)
	{
		const char *text = json_string_value(pair);
		char key[32], value[CONTROLLER_VALUE_MAX];

		if (!text || id < 0 || strcspn(text, "=") >= sizeof(key))
			continue;
		snprintf(key, sizeof(key), "%.*s", (int)strcspn(text, "="), text);
		if (!controller_value(c->state->controller, (uint32_t)id, key, value))
			add(t, "%s=%s", key, value);
	}
}

static void drain_text(const struct command *c, struct text *t)
{
	const struct controller_drain *drain = &c->state->controller->drain;
	unsigned status = drain->unavailable ? 503 : 429;

	if (!controller_drains(c->state->controller, c->state->now_ns))
		add(t, "in service");
	else if (drain->until_ns)
		add(t, "drained by %u for %s", status,
		    format_span((double)(drain->until_ns - c->state->now_ns) / 1e6));
	else
		add(t, "drained by %u", status);
}

static void detach_text(const struct command *c, struct text *t)
{
	add(t, c->state->detaching ? "detaching" : "attached");
}

/* ---- the report ---- */

void audit_read(char out[AUDIT_TEXT_MAX], enum audit_value value, const struct command *c)
{
	struct text t = {.out = out};

	out[0] = 0;
	switch (value) {
	case AUDIT_TARGETS:
		targets_text(c, &t);
		break;
	case AUDIT_RULES:
		rules_text(c, &t);
		break;
	case AUDIT_QUOTAS:
		quotas_text(c, &t);
		break;
	case AUDIT_DRAIN:
		drain_text(c, &t);
		break;
	case AUDIT_DETACH:
		detach_text(c, &t);
		break;
	case AUDIT_NOTHING:
	case AUDIT_CONFIG:
		return;
	}
	if (!out[0] && (value == AUDIT_RULES || value == AUDIT_QUOTAS))
		strcpy(out, "none");
}

/* The error without what was given, which may be an API key in a wrong place. */
static void leave_out_given(char out[AUDIT_TEXT_MAX], const char *error)
{
	const char *first = strchr(error, '"'), *last = strrchr(error, '"');

	if (first && last != first)
		snprintf(out, AUDIT_TEXT_MAX, "%.*s\"…%s", (int)(first - error), error, last);
	else
		snprintf(out, AUDIT_TEXT_MAX, "%s", error);
}

void audit_report(const struct command *c, const char *name, enum audit_value value,
		  const char *from, bool done)
{
	struct control_audit audit = {.peer = c->peer, .command = name, .from = from};
	char to[AUDIT_TEXT_MAX], error[AUDIT_TEXT_MAX], client[TEXT_CLIENT_MAX] = "";
	struct about a;

	if (!c->ops->audit)
		return;
	audit_read(to, value, c);
	audit.fleet = json_is_true(json_object_get(c->request, "fleet"));
	if (audit.fleet && done) {
		to[0] = 0;
		fleet_text(c, name, &(struct text){.out = to});
	}
	if ((value == AUDIT_RULES || value == AUDIT_QUOTAS) && find_about(c, &a))
		strcpy(client, a.s.text);
	audit.client = client[0] ? client : NULL;
	audit.model = json_string_value(json_object_get(c->request, "model"));
	audit.to = to;
	if (!done) {
		leave_out_given(error, c->err);
		audit.error = c->secret   ? "its client is no address, no prefix and no key"
			      : c->err[0] ? error
					  : "out of memory";
		if (audit.model && controller_find(c->state->controller, audit.model) < 0)
			audit.model = NULL;
	}
	c->ops->audit(c->ops->arg, &audit);
}
