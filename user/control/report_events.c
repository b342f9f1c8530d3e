/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Lines of a `watch` or `record` stream as JSON.
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

static const char *text_end(uint8_t end)
{
	static const char *const text[] = {
		[SLUICE_END_COMPLETED] = "completed",
		[SLUICE_END_FAILED] = "failed",
		[SLUICE_END_DEPARTED] = "departed",
	};

	return end < sizeof(text) / sizeof(text[0]) ? text[end] : NULL;
}

json_t *report_record(const struct daemon_state *s, const struct sluice_record *r)
{
	char client[TEXT_CLIENT_MAX], where[TEXT_SERVICE_MAX];

	text_client(client, &r->client);
	report_service_name(s, r->service, where, sizeof(where));
	return json_pack("{s:s, s:o, s:s, s:s, s:o, s:I, s:I, s:o, s:o, s:s, s:s, s:o, s:s?}",
			 "event", "request", "unix_ms", value_count(unix_ms(s, r->time_ns)),
			 "client", client, "service", where, "model",
			 r->model == SLUICE_MODEL_ALL ? json_null() : value_model(s, r->model),
			 "bytes", (json_int_t)r->bytes, "tokens", (json_int_t)r->tokens, "ttft_ms",
			 r->ttft_us ? json_real(r->ttft_us / 1e3) : json_null(), "duration_ms",
			 r->end ? json_real((double)r->duration_ns / 1e6) : json_null(), "verdict",
			 text_verdict(r->verdict), "reason", text_reason(r->reason),
			 "retry_after_ms", value_count(r->retry_after_ms), "end", text_end(r->end));
}
