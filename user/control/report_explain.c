/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One client's next request as JSON: its verdict and the numbers that the verdict rests on.
 */
#include "control/report_internal.h"

#include "core/parse.h"

/* The request before the law; null where there is none. */
static json_t *pool(const struct daemon_state *s, const struct explain_admission *l)
{
	const struct sluice_admission *a = &l->admission;

	if (!l->in_force)
		return json_null();
	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o}",
		"pool", value_model(s, l->id), "in_flight", value_gauge(l->load.in_flight),
		"ceiling", a->ceiling ? value_count(a->ceiling) : json_null(), "slots",
		a->ceiling ? value_count(l->slots) : json_null(), "floor", value_count(a->floor),
		"stopped", a->stopped != 0, "waiting", value_gauge(l->load.waiting),
		"waiting_bytes", value_gauge(l->load.waiting_bytes), "request_bytes",
		value_count(l->bytes), "predicted_wait_ms", value_number(l->predicted_ms),
		"allowed_wait_ms", value_number(l->allowed_ms), "target_ms",
		value_threshold(l->target_ms), "rate_bytes_per_second",
		value_number(admission_rate(a)), "client_in_flight",
		value_gauge(l->client_in_flight), "client_excess",
		l->admission.interval ? json_real(l->queued_bytes) : json_null(), "above_share",
		l->above_share, "client_share", value_number(l->share > 0 ? l->share : -1), "level",
		json_real((double)a->level[l->rank] / ADMISSION_ALL), "queue_budget_level",
		json_real((double)a->queue_budget_level[l->rank] / ADMISSION_ALL));
}

json_t *report_explain(const struct daemon_state *s, const struct sluice_client *client,
		       const uint8_t *addr, uint32_t model, uint32_t service,
		       const struct explain_request_of *ask)
{
	char text[TEXT_CLIENT_MAX], where[TEXT_SERVICE_MAX];
	struct explanation e;
	json_t *rule = NULL, *answer;

	explain_request(s, client, addr, model, service, ask, &e);
	text_client(text, client);
	report_service_name(s, service, where, sizeof(where));
	if (e.rule != EXPLAIN_NO_RULE)
		rule = json_pack(
			"{s:s, s:s, s:o}", "verdict", e.rule == EXPLAIN_ALLOWED ? "allow" : "block",
			"kind", e.rule_of_prefix ? "prefix" : "client", "expires_in_ms",
			e.rule_expires_ns ? value_count((e.rule_expires_ns - s->now_ns) / MS)
					  : json_null());
	answer = json_pack(
		"{s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:i, s:o}",
		"client", text, "weight", value_weight(e.weight), "model", value_model(s, model),
		"service", where, "verdict",
		e.admitted ? "admitted"
		: e.shadow ? text_verdict(SLUICE_VERDICT_SHADOW_REJECTED)
			   : text_verdict(SLUICE_VERDICT_REJECTED),
		"reason", e.admitted ? json_null() : json_string(text_reason(e.reason)), "action",
		e.admitted ? json_null() : json_string(text_action(e.action)), "retry_after_ms",
		e.admitted ? json_null() : value_count(ms_up(e.wait_ns)), "exempt", e.exempt,
		"rule", rule ? rule : json_null(), "quota", report_quota_left(s, &e.quota),
		"client_in_flight", value_gauge(e.client_in_flight), "model_now",
		report_model(s, model), "global_now", report_model(s, SLUICE_MODEL_ALL), "class",
		parse_word_of(&parse_as_class, (int)e.pool.class), "class_from",
		explain_class_text(e.pool.class_from), "rank", (int)e.pool.rank, "admission",
		pool(s, &e.pool));
	if (service < s->service_count)
		report_identity(answer, &s->services[service]);
	return answer;
}
