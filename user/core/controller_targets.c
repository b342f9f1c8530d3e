/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which targets hold for an entry, and which entry decides for a model. The one idea: with
 * per_model each model decides, by its own or the global targets, and ALL is only shown. Without it
 * ALL decides, and models are only shown. OTHER decides for the models without an entry of their
 * own: those not learned yet, and all learned ones but the first few. So an invented name gains
 * nothing.
 *
 * Under policy adaptive the models of a pool share one admission state, that of the pool's entry.
 * Each model adds its samples, judged by its own targets.
 */
#include "controller_internal.h"

bool controller_is_stranger(const struct controller *c, uint32_t id)
{
	const struct controller_model *m = &c->model[id];

	return id >= SLUICE_MODEL_FIRST && c->per_model && !m->pinned && !m->is_pool &&
	       !m->in_pool && !m->early && !controller_has_targets(m);
}

uint32_t controller_pool(const struct controller *c, uint32_t id)
{
	if (id >= SLUICE_MODELS_MAX)
		id = SLUICE_MODEL_OTHER;
	if (c->all.policy != CONTROLLER_ADAPTIVE)
		return id;
	if (!c->per_model)
		return SLUICE_MODEL_ALL;
	if (controller_is_stranger(c, id))
		return SLUICE_MODEL_OTHER;
	return c->model[id].in_pool ? c->model[id].in_pool : id;
}

static double smaller(double target, double than)
{
	return target > 0 && (!(than > 0) || target < than) ? target : than;
}

/* The targets of a pool: those of its most demanding member. */
static struct controller_targets pool_targets(const struct controller *c, uint32_t pool)
{
	struct controller_targets t = c->all;

	t.ttft_ms = t.itl_ms = t.duration_ms = t.normalized_ms = t.ttft_ms_per_kib = 0;
	t.max_in_flight = 0;
	t.floor = 0;
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
		struct controller_targets m;

		if (c->model[id].in_pool != pool)
			continue;
		m = controller_targets(c, id);
		if (m.ttft_ms > 0) {
			bool first = !(t.ttft_ms > 0);

			t.ttft_ms = smaller(m.ttft_ms, t.ttft_ms);
			if (first || m.ttft_ms_per_kib < t.ttft_ms_per_kib)
				t.ttft_ms_per_kib = m.ttft_ms_per_kib;
		}
		t.itl_ms = smaller(m.itl_ms, t.itl_ms);
		t.duration_ms = smaller(m.duration_ms, t.duration_ms);
		t.normalized_ms = smaller(m.normalized_ms, t.normalized_ms);
		if (!t.floor || m.floor < t.floor)
			t.floor = m.floor;
	}
	if (!t.floor)
		t.floor = CONTROLLER_FLOOR;
	if (!(t.tau_s > 0))
		t.tau_s = CONTROLLER_TAU_S;
	return t;
}

struct controller_targets controller_targets(const struct controller *c, uint32_t id)
{
	struct controller_targets t = c->all;
	const struct controller_targets *own;

	if (id >= SLUICE_MODELS_MAX)
		id = SLUICE_MODEL_OTHER;
	if (c->model[id].is_pool)
		return pool_targets(c, id);
	own = &c->model[id].own;
	if (id != SLUICE_MODEL_ALL) {
		if (!c->per_model)
			t.max_in_flight = 0;
		if (!c->per_model) {
			t.ttft_ms = t.itl_ms = t.duration_ms = t.normalized_ms = 0;
		} else {
			if (own->ttft_ms >= 0) {
				t.ttft_ms = own->ttft_ms;
				t.ttft_ms_per_kib = own->ttft_ms_per_kib;
			}
			if (own->itl_ms >= 0)
				t.itl_ms = own->itl_ms;
			if (own->duration_ms >= 0)
				t.duration_ms = own->duration_ms;
			if (own->normalized_ms >= 0)
				t.normalized_ms = own->normalized_ms;
		}
		if (own->tau_s > 0)
			t.tau_s = own->tau_s;
		if (own->max_in_flight >= 0)
			t.max_in_flight = own->max_in_flight;
		if (own->floor > 0)
			t.floor = own->floor;
		if (own->action != SLUICE_ACTION_DEFAULT)
			t.action = own->action;
		if (own->mode != SLUICE_MODE_DEFAULT)
			t.mode = own->mode;
	}
	if (!(t.ttft_ms > 0))
		t.ttft_ms = t.ttft_ms_per_kib = 0;
	if (!(t.ttft_ms_per_kib > 0))
		t.ttft_ms_per_kib = 0;
	if (t.floor <= 0)
		t.floor = CONTROLLER_FLOOR;
	if (!(t.itl_ms > 0))
		t.itl_ms = 0;
	if (!(t.duration_ms > 0))
		t.duration_ms = 0;
	if (!(t.normalized_ms > 0))
		t.normalized_ms = 0;
	if (!(t.tau_s > 0))
		t.tau_s = CONTROLLER_TAU_S;
	if (t.max_in_flight < 0)
		t.max_in_flight = 0;
	return t;
}

bool controller_any_threshold(const struct controller_targets *t)
{
	return t->ttft_ms > 0 || t->itl_ms > 0 || t->duration_ms > 0 || t->normalized_ms > 0;
}

bool controller_carries(const struct controller *c, uint32_t id)
{
	if (c->model[id].is_pool || controller_is_stranger(c, id))
		return false;
	return c->per_model == (id != SLUICE_MODEL_ALL);
}

bool controller_adapts(const struct controller *c, uint32_t id)
{
	struct controller_targets t;

	if (c->all.policy != CONTROLLER_ADAPTIVE || id >= SLUICE_MODELS_MAX)
		return false;
	if (c->model[id].is_pool ? !c->per_model || !c->model[id].members
				 : !controller_carries(c, id) || c->model[id].in_pool)
		return false;
	t = controller_targets(c, id);
	return controller_any_threshold(&t);
}

struct adaptive_targets controller_adaptive_targets(const struct controller_targets *t)
{
	return (struct adaptive_targets){
		.ttft_ms = t->ttft_ms,
		.ttft_ms_per_kib = t->ttft_ms_per_kib,
		.itl_ms = t->itl_ms,
		.duration_ms = t->duration_ms,
		.normalized_ms = t->normalized_ms,
		.floor = (uint32_t)t->floor,
	};
}
