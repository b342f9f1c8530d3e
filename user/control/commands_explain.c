/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The command explain: what would become of a client's next request, at one service or at each.
 */
#include "control/request.h"

#include "control/report.h"
#include "core/explain.h"

/* What would become of the subject's next request at this service. */
static json_t *explain_at(struct command *c, const struct subject *s, uint32_t model,
			  uint32_t service, const struct explain_request_of *ask)
{
	struct sluice_client client;
	json_t *answer;

	if (model == SLUICE_MODEL_ALL)
		model = service < c->state->service_count ? c->state->services[service].model_id
							  : SLUICE_MODEL_OTHER;
	explain_client(c->state, service, &s->as_typed, &client);
	answer = report_explain(c->state, &client,
				client.kind == SLUICE_CLIENT_ADDRESS ? s->as_typed.addr : NULL,
				model, service, ask);
	if (answer && s->as_typed.note && client.plen == 64)
		json_object_set_new(answer, "note", json_string("an IPv6 client is its /64"));
	return answer;
}

json_t *command_explain(struct command *c)
{
	const json_t *bytes = json_object_get(c->request, "bytes");
	struct explain_request_of ask = {0};
	json_t *answer, *each;
	struct subject s;
	uint32_t model;
	int service;

	if (!request_subject(c, &s) || !request_model(c, &model) || !request_service(c, &service) ||
	    !request_string(c, "priority", &ask.priority))
		return NULL;
	if (bytes && !json_is_null(bytes) &&
	    (!json_is_integer(bytes) || json_integer_value(bytes) < 1 ||
	     json_integer_value(bytes) > ADMISSION_BYTES_MAX))
		return command_refuse(c, "\"bytes\" must be a whole number from 1 to %u",
				      ADMISSION_BYTES_MAX);
	ask.bytes = (uint32_t)json_integer_value(bytes);
	if (!s.one && s.as_typed.prefix.plen != 128 && s.as_typed.client.plen != 64)
		return command_refuse(c, "%s is many clients: name one", s.text);
	c->ops->refresh(c->ops->arg, STATE_MODELS);
	if (service >= 0)
		return explain_at(c, &s, model, (uint32_t)service, &ask);
	answer = explain_at(c, &s, model, explain_service(c->state), &ask);
	if (!c->state->service_count || !explain_each(c->state, explain_service(c->state)))
		return answer;
	each = json_array();
	for (uint32_t i = 0; i < c->state->service_count; i++)
		if (explain_each(c->state, i))
			json_array_append_new(each, explain_at(c, &s, model, i, &ask));
	json_object_set_new(answer, "services", each);
	return answer;
}
