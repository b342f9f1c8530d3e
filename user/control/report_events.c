/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Lines of a `watch` stream as JSON.
 */
#include "control/report_internal.h"

json_t *report_refusal(const struct daemon_state *s, const struct sluice_refusal *r)
{
	char client[TEXT_CLIENT_MAX], where[TEXT_SERVICE_MAX];

	text_client(client, &r->client);
	report_service_name(s, r->service, where, sizeof(where));
	return json_pack("{s:s, s:o, s:s, s:s, s:o, s:s, s:s, s:s, s:o, s:b}", "event", "refusal",
			 "unix_ms", value_count(unix_ms(s, r->time_ns)), "client", client,
			 "service", where, "model",
			 r->model == SLUICE_MODEL_ALL ? json_null() : value_model(s, r->model),
			 "reason", text_reason(r->reason), "action", text_action(r->action),
			 "verdict", text_verdict(r->verdict), "retry_after_ms",
			 value_count(r->retry_after_ms), "connection", r->at_syn != 0);
}

json_t *report_change(const struct daemon_state *s, uint32_t model)
{
	json_t *m = report_model(s, model);

	if (!m)
		return NULL;
	json_object_set_new(m, "event", json_string("model"));
	json_object_set_new(m, "unix_ms", value_count(s->unix_ns / MS));
	return m;
}
