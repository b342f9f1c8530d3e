/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See models.h. Models, pools and services' default models share the kernel's ids. */
#include "models.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/controller.h"

#define MODELS_MAX (SLUICE_MODELS_MAX - SLUICE_MODEL_FIRST)

struct model_entry {
	char *label;
	struct config_model model;
};

_Static_assert(offsetof(struct model_entry, label) == 0, "struct entries");

static void copy_name(char *to, const char *text)
{
	memset(to, 0, SLUICE_NAME_MAX);
	strcpy(to, text);
}

int models_take_name(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	if (!strcmp(text, "global") || !strcmp(text, "other")) {
		parse_say(err, len, "\"%s\" is a name of sluice's own, not of a model", text);
		return -EINVAL;
	}
	if (!strncmp(text, CONTROLLER_POOL, strlen(CONTROLLER_POOL))) {
		parse_say(err, len, "\"" PARSE_QUOTE "\" is a pool's name, not a model's",
			  PARSE_QUOTED(text));
		return -EINVAL;
	}
	if (!parse_is_model_name(text, strlen(text)))
		return field_wrong(
			err, len, text,
			"a model's name: 1 to 95 bytes of text without control characters");
	copy_name(to, text);
	return 0;
}

static int take_pool(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	if (!parse_is_model_name(text, strlen(text)) ||
	    strlen(text) + strlen(CONTROLLER_POOL) >= SLUICE_NAME_MAX)
		return field_wrong(
			err, len, text,
			"a pool's name: 1 to 90 bytes of text without control characters");
	copy_name(to, text);
	return 0;
}

static int take_ttft(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct config_model *m = to;

	return parse_target(text, &m->ttft_threshold_ms, &m->ttft_ms_per_kib, err, len);
}

/* "none" is a quota here: it overrides the service's. */
static int take_quota(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	return quota_parse(to, text, err, len);
}

#define INTO(member) FIELD_INTO(struct model_entry, model.member)
#define AT(member)   .at = offsetof(struct model_entry, member)

static const struct field fields[] = {
	{"name", .take = models_take_name, AT(model.name)},
	{"ttft-threshold-ms", .take = take_ttft, AT(model)},
	{"itl-threshold-ms", .as = &parse_as_threshold, INTO(itl_threshold_ms)},
	{"duration-threshold-ms", .as = &parse_as_threshold, INTO(duration_threshold_ms)},
	{"normalized-latency-threshold-ms", .as = &parse_as_threshold,
	 INTO(normalized_latency_threshold_ms)},
	{"max-in-flight", .as = &parse_as_max_in_flight, INTO(max_in_flight)},
	{"unary", .as = &field_as_bool, INTO(unary)},
	{"quota", .take = take_quota, AT(model.quota),
	 .given = offsetof(struct model_entry, model.has_quota)},
	{"floor", .as = &parse_as_floor, INTO(floor)},
	{"pool", .take = take_pool, AT(model.pool)},
	{NULL},
};

static const struct model_entry blank = {
	.model = {.ttft_threshold_ms = -1,
		  .itl_threshold_ms = -1,
		  .duration_threshold_ms = -1,
		  .normalized_latency_threshold_ms = -1},
};

/* How many ids the models, their pools and the services' default models take. */
static unsigned count_names(const struct config *c)
{
	unsigned n = c->model_count;

	for (unsigned i = 0; i < c->service_count; i++) {
		bool known = false;

		for (unsigned j = 0; j < c->model_count && !known; j++)
			known = !strcmp(c->models[j].name, c->services[i].model);
		for (unsigned j = 0; j < i && !known; j++)
			known = !strcmp(c->services[j].model, c->services[i].model);
		n += !known;
		n += c->services[i].port_pool;
	}
	for (unsigned i = 0; i < c->model_count; i++) {
		bool known = !c->models[i].pool[0];

		for (unsigned j = 0; j < i && !known; j++)
			known = !strcmp(c->models[j].pool, c->models[i].pool);
		n += !known;
	}
	return n;
}

static int finish_model(struct loader *l, const struct model_entry *e)
{
	const struct config_model *m = &e->model;
	struct config *c = &l->config;

	if (!m->name[0])
		return complain(l, e->label, "name is missing");
	for (unsigned i = 0; i < c->model_count; i++)
		if (!strcmp(m->name, c->models[i].name))
			return complain(l, e->label, "model \"%s\" is given twice", m->name);
	if (!c->per_model_limits &&
	    (m->ttft_threshold_ms > 0 || m->itl_threshold_ms > 0 || m->duration_threshold_ms > 0 ||
	     m->normalized_latency_threshold_ms > 0))
		return complain(
			l, e->label,
			"a model has no threshold of its own while per-model-limits is false");
	for (unsigned i = 0; i < c->service_count && m->pool[0]; i++)
		if (c->services[i].port_pool && !strcmp(m->name, c->services[i].model))
			return complain(
				l, e->label,
				"model \"%s\" is in a pool, but its service with pool: port is one already",
				m->name);
	if (!c->per_model_limits && m->pool[0])
		return complain(l, e->label,
				"all models are one pool while per-model-limits is false");
	c->models[c->model_count++] = *m;
	return 0;
}

static int finish(struct loader *l)
{
	const struct model_entry *e = l->models.items;
	struct config *c = &l->config;

	if (l->models.count) {
		c->models = calloc(l->models.count, sizeof(*c->models));
		if (!c->models)
			return complain(l, l->path, "out of memory");
	}
	for (unsigned i = 0; i < l->models.count; i++)
		if (finish_model(l, &e[i]) < 0)
			return -EINVAL;
	if (count_names(c) > c->max_models)
		return complain(
			l, l->path ? l->path : "--listen",
			"more than %u models (max-models), pools and default models of services included",
			c->max_models);
	return 0;
}

const struct section models_section = {
	.name = "models",
	.fields = fields,
	.at = offsetof(struct loader, models),
	.size = sizeof(struct model_entry),
	.max = MODELS_MAX,
	.blank = &blank,
	.finish = finish,
};
