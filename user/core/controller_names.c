/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The table of models and pools by name. The one idea: a full table refuses names, and counts them,
 * until the caller has forgotten some. It alone knows that nothing refers to an id any more: the
 * kernel keeps ids in connections and counters, where an old id under a new name would charge one
 * model for another. Names come only from 2xx responses.
 */
#include "controller_internal.h"

#include <errno.h>
#include <string.h>

#include "parse.h"

static const struct controller_targets unset = {
	.ttft_ms = -1,
	.itl_ms = -1,
	.duration_ms = -1,
	.normalized_ms = -1,
	.tau_s = -1,
	.max_in_flight = -1,
	.action = SLUICE_ACTION_DEFAULT,
	.mode = SLUICE_MODE_DEFAULT,
	.floor = -1,
};

void controller_init(struct controller *c, const struct controller_targets *all, bool per_model)
{
	memset(c, 0, sizeof(*c));
	c->all = *all;
	c->per_model = per_model;
	c->model_count = SLUICE_MODEL_FIRST;
	c->ids_max = SLUICE_MODELS_MAX;
	for (size_t id = 0; id < SLUICE_MODELS_MAX; id++)
		c->model[id].own = unset;
	strcpy(c->model[SLUICE_MODEL_ALL].name, "global");
	strcpy(c->model[SLUICE_MODEL_OTHER].name, "other");
}

int controller_find(const struct controller *c, const char *name)
{
	unsigned seen = 0;

	if (!*name)
		return -ENOENT;
	for (int id = 0; id < SLUICE_MODELS_MAX && seen < c->model_count; id++) {
		if (!c->model[id].name[0])
			continue;
		seen++;
		if (!strcmp(c->model[id].name, name))
			return id;
	}
	return -ENOENT;
}

unsigned controller_room(const struct controller *c)
{
	unsigned room = 0;

	for (uint32_t id = SLUICE_MODEL_FIRST; id < c->ids_max; id++)
		room += !c->model[id].name[0];
	return room;
}

static void take_slot(struct controller *c, uint32_t id, const char *name, uint64_t now_ns)
{
	strcpy(c->model[id].name, name);
	c->model[id].last_seen_ns = now_ns;
	c->model_count++;
}

/* A learned name has its own averages if it is one of the first that nobody configured. */
static void come_early(struct controller *c, uint32_t id)
{
	unsigned others = 0;

	for (uint32_t i = SLUICE_MODEL_FIRST; i < SLUICE_MODELS_MAX && others < CONTROLLER_EARLY;
	     i++)
		others += c->model[i].early && !c->model[i].pinned;
	c->model[id].early = others < CONTROLLER_EARLY;
}

bool controller_is_name(const char *name)
{
	return parse_is_model_name(name, strnlen(name, SLUICE_NAME_MAX)) &&
	       strncmp(name, CONTROLLER_POOL, strlen(CONTROLLER_POOL)) != 0;
}

uint32_t controller_learn(struct controller *c, const char *name, uint64_t now_ns)
{
	int id;

	if (!*name)
		return SLUICE_MODEL_OTHER;
	id = controller_find(c, name);
	if (id >= SLUICE_MODEL_FIRST && !c->model[id].is_pool) {
		if (now_ns > c->model[id].last_seen_ns)
			c->model[id].last_seen_ns = now_ns;
		return (uint32_t)id;
	}
	/* "global", "other" and pools are reserved: a request that names one counts for OTHER. */
	if (id >= 0 || !controller_is_name(name)) {
		c->names_refused++;
		return SLUICE_MODEL_OTHER;
	}
	for (uint32_t slot = SLUICE_MODEL_FIRST; slot < c->ids_max; slot++) {
		if (!c->model[slot].name[0]) {
			take_slot(c, slot, name, now_ns);
			come_early(c, slot);
			return slot;
		}
	}
	c->names_refused++;
	c->names_wanted = true;
	return SLUICE_MODEL_OTHER;
}

int controller_adopt(struct controller *c, const char *name, uint32_t id, uint64_t now_ns)
{
	int known = controller_find(c, name);

	if (id < SLUICE_MODEL_FIRST || id >= c->ids_max || !controller_is_name(name))
		return -EINVAL;
	if (known == (int)id)
		return 0;
	if (known >= 0 || c->model[id].name[0])
		return -EEXIST;
	take_slot(c, id, name, now_ns);
	come_early(c, id);
	return 0;
}

bool controller_has_targets(const struct controller_model *m)
{
	const struct controller_targets *own = &m->own;

	return own->ttft_ms >= 0 || own->itl_ms >= 0 || own->duration_ms >= 0 ||
	       own->normalized_ms >= 0 || own->max_in_flight >= 0 || own->floor > 0 ||
	       own->action != SLUICE_ACTION_DEFAULT || own->mode != SLUICE_MODE_DEFAULT;
}

bool controller_may_forget(const struct controller *c, uint32_t id)
{
	const struct controller_model *m = &c->model[id];

	return id >= SLUICE_MODEL_FIRST && id < SLUICE_MODELS_MAX && m->name[0] && !m->pinned &&
	       !m->members && !controller_has_targets(m) && m->own.tau_s < 0;
}

bool controller_may_miss(const struct controller *c)
{
	return c->names_forgotten || !controller_room(c);
}

void controller_forget(struct controller *c, uint32_t id)
{
	controller_join(c, id, 0);
	c->model[id] = (struct controller_model){.own = unset};
	c->model_count--;
	c->names_forgotten = true;
}

int controller_declare_pool(struct controller *c, const char *name)
{
	char whole[SLUICE_NAME_MAX + 1] = CONTROLLER_POOL;
	int id;

	strncat(whole, name, sizeof(whole) - 1 - strlen(whole));
	if (!*name || !parse_is_model_name(whole, strlen(whole)))
		return -EINVAL;
	id = controller_find(c, whole);
	if (id >= 0)
		return id;
	for (id = SLUICE_MODELS_MAX - 1; id >= SLUICE_MODEL_FIRST && c->model[id].name[0];)
		id--;
	if (id < SLUICE_MODEL_FIRST)
		return -ENOSPC;
	take_slot(c, (uint32_t)id, whole, 0);
	c->model[id].is_pool = true;
	return id;
}

void controller_join(struct controller *c, uint32_t id, uint32_t pool)
{
	struct controller_model *m = &c->model[id];

	if (m->in_pool)
		c->model[m->in_pool].members--;
	m->in_pool = (uint16_t)pool;
	if (pool)
		c->model[pool].members++;
}

void controller_restore(struct controller *c, const struct controller *before)
{
	c->all = before->all;
	c->per_model = before->per_model;
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
		struct controller_model *m = &c->model[id];
		const struct controller_model *was = &before->model[id];

		m->own = was->own; /* unset, if the name is new */
		m->pinned = was->pinned;
		m->unary = was->unary;
		controller_join(c, id, was->in_pool);
	}
}

bool controller_in_use(const struct controller *c, uint32_t id)
{
	return id < SLUICE_MODELS_MAX && c->model[id].name[0] &&
	       (!c->model[id].is_pool || c->model[id].members);
}
