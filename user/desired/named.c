/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which models a request counts for whose own model cannot be read. */
#include <string.h>

#include "desired/internal.h"

static void mark(bool *named, uint32_t model, bool yes)
{
	if (model < SLUICE_MODELS_MAX)
		named[model] = yes;
}

void desired_named(const struct desired *state, const struct controller *models,
		   struct sluice_named_models *out)
{
	bool named[SLUICE_MODELS_MAX] = {false};

	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
		const struct controller_model *m = &models->model[id];

		named[id] = !m->is_pool && (m->in_pool || controller_has_targets(m));
	}
	for (size_t i = 0; i < state->model_quotas.count; i++)
		mark(named,
		     ((struct desired_model_id *)table_visit(&state->model_quotas, i))->model,
		     true);
	for (size_t i = 0; i < state->client_quotas.count; i++) {
		const struct state_client_quota *q = table_visit(&state->client_quotas, i);

		mark(named, q->key.model, true);
	}
	for (size_t i = 0; i < state->rules.count; i++) {
		const struct state_client_rule *rule = table_visit(&state->rules, i);

		mark(named, rule->key.model, true);
	}
	for (size_t i = 0; i < state->service_count; i++)
		mark(named, state->services[i].model_id, false);
	memset(out, 0, sizeof(*out));
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++)
		if (named[id])
			out->id[out->count++] = (__u16)id;
}
