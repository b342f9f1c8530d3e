/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The command explain: the verdict that a client's next request would get, for the service and the
 * model that the client used last, or at each service for a model that cannot be read.
 */
#include "control/request.h"

#include "control/report.h"
#include "core/explain.h"

/* The verdict on the subject's next request at this service. */
static json_t *explain_at(struct command *c, const struct subject *s, uint32_t model,
			  uint32_t service, const struct explain_request_of *about)
{
	struct sluice_client client;
	const uint8_t *addr;
	json_t *answer;

	explain_client(c->state, service, &s->as_typed, &client);
	addr = client.kind == SLUICE_CLIENT_ADDRESS ? s->as_typed.addr : NULL;
	if (model == SLUICE_MODEL_ALL)
		model = explain_unnamed(c->state, &client, addr, service, about);
	answer = report_explain(c->state, &client, addr, model, service, about);
	if (!answer)
		return command_refuse(c, "the kernel programs gave no verdict on %s", s->text);
	if (s->as_typed.note && client.plen == 64)
		json_object_set_new(answer, "note", json_string("an IPv6 client is its /64"));
	return answer;
}

/* The verdict at each service. */
static json_t *explain_each(struct command *c, const struct subject *s, uint32_t model,
			    const struct explain_request_of *about)
{
	json_t *each = json_array(), *first = NULL;

	for (uint32_t i = 0; i < c->state->service_count; i++) {
		json_t *answer = explain_at(c, s, model, i, about);

		if (!answer)
			continue;
		if (i == explain_service(c->state) || !first) {
			json_decref(first);
			first = json_deep_copy(answer);
		}
		json_array_append_new(each, answer);
	}
	if (first && json_array_size(each) > 1)
		json_object_set_new(first, "services", each);
	else
		json_decref(each);
	return first ? first
		     : command_refuse(c, "the kernel programs gave no verdict on %s", s->text);
}

json_t *command_explain(struct command *c)
{
	const json_t *bytes = json_object_get(c->request, "bytes");
	struct explain_request_of about = {0};
	struct subject s;
	uint32_t model, last_service, last_model = SLUICE_MODEL_ALL;
	int service;
	bool known;

	if (!request_subject(c, &s) || !request_model(c, &model) || !request_service(c, &service) ||
	    !request_string(c, "priority", &about.priority))
		return NULL;
	if (bytes && !json_is_null(bytes) &&
	    (!json_is_integer(bytes) || json_integer_value(bytes) < 1 ||
	     json_integer_value(bytes) > ADMISSION_BYTES_MAX))
		return command_refuse(c, "\"bytes\" must be a whole number from 1 to %u",
				      ADMISSION_BYTES_MAX);
	about.bytes = (uint32_t)json_integer_value(bytes);
	if (!s.one && s.as_typed.prefix.plen != 128 && s.as_typed.client.plen != 64)
		return command_refuse(c, "%s is many clients: name one", s.text);
	c->ops->refresh(c->ops->arg, STATE_MODELS | STATE_RULES);
	known = explain_last(c->state, &s.as_typed, &last_service, &last_model);
	if (model == SLUICE_MODEL_ALL && known)
		model = last_model;
	if (service >= 0)
		return explain_at(c, &s, model, (uint32_t)service, &about);
	if (known)
		return explain_at(c, &s, model, last_service, &about);
	return explain_each(c, &s, model, &about);
}
