/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One client's next request as JSON: its verdict, as a sentence too, and the numbers that decide
 * it.
 */
#include "control/report_internal.h"

#include "core/parse.h"

/* The request in its pool; null if no policy is in force there. */
static json_t *admission_of(const struct daemon_state *s, const struct explanation *e)
{
	const struct sluice_answer *now = &e->answer;
	const struct sluice_admission *a = &now->admission;

	if (!a->floor)
		return json_null();
	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o}",
		"pool", value_model(s, now->pool), "in_flight", value_gauge(now->load.in_flight),
		"ceiling", a->ceiling ? value_count(a->ceiling) : json_null(), "slots",
		a->ceiling ? value_count(now->slots) : json_null(), "floor", value_count(a->floor),
		"stopped", a->stopped != 0, "waiting", value_gauge(now->load.waiting),
		"waiting_bytes", value_gauge(now->load.waiting_bytes), "request_bytes",
		value_count(now->bytes), "predicted_wait_ms", value_number(e->predicted_ms),
		"allowed_wait_ms", value_number(e->allowed_ms), "target_ms",
		value_threshold(e->target_ms), "rate_bytes_per_second",
		value_number(admission_rate(a)), "client_in_flight",
		value_gauge(now->held.in_flight), "client_excess",
		a->interval ? json_real(e->client_excess) : json_null(), "above_share",
		(int)now->rank & 1, "client_share", value_number(e->share > 0 ? e->share : -1),
		"level", json_real((double)admission_level(a, now->rank) / ADMISSION_ALL),
		"queue_budget_level",
		json_real((double)admission_queue_budget_level(a, now->rank) / ADMISSION_ALL));
}

/* The rule about the client or its prefix that decides; null if none does. */
static json_t *rule_of(const struct sluice_answer *a)
{
	bool of_prefix = a->override == SLUICE_OVERRIDE_PREFIX_BLOCKED ||
			 a->override == SLUICE_OVERRIDE_PREFIX_EXEMPT;
	uint64_t expires = a->override_expires_ns;

	if (a->override == SLUICE_OVERRIDE_NONE)
		return json_null();
	return json_pack("{s:s, s:s, s:o}", "verdict",
			 a->override >= SLUICE_OVERRIDE_ALLOWED ? "allow" : "block", "kind",
			 of_prefix ? "prefix" : "client", "expires_in_ms",
			 expires ? value_count(expires > a->now_ns ? (expires - a->now_ns) / MS : 0)
				 : json_null());
}

json_t *report_explain(const struct daemon_state *s, const struct sluice_client *client,
		       const uint8_t *addr, uint32_t model, uint32_t service,
		       const struct explain_request_of *about)
{
	char text[TEXT_CLIENT_MAX], where[TEXT_SERVICE_MAX];
	struct explanation e;
	json_t *answer;

	if (!explain_request(s, client, addr, model, service, about, &e))
		return NULL;
	text_client(text, client);
	report_service_name(s, service, where, sizeof(where));
	answer = json_pack(
		"{s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:i, s:o}",
		"client", text, "weight", value_weight(e.quota.weight), "model",
		value_model(s, model), "service", where, "verdict",
		e.admitted ? "admitted"
		: e.shadow ? text_verdict(SLUICE_VERDICT_SHADOW_REJECTED)
			   : text_verdict(SLUICE_VERDICT_REJECTED),
		"reason", e.admitted ? json_null() : json_string(text_reason(e.answer.reason)),
		"action", e.admitted ? json_null() : json_string(text_action(e.answer.action)),
		"retry_after_ms", e.admitted ? json_null() : value_count(e.answer.retry_after_ms),
		"exempt", e.answer.override == SLUICE_OVERRIDE_PREFIX_EXEMPT, "rule",
		rule_of(&e.answer), "quota", report_quota_left(s, &e.quota), "client_in_flight",
		value_gauge(e.client_in_flight), "model_now", report_model(s, model), "global_now",
		report_model(s, SLUICE_MODEL_ALL), "class",
		parse_word_of(&parse_as_class, e.answer.class), "class_from",
		explain_class_text(e.answer.class_from), "rank", (int)e.answer.rank, "admission",
		admission_of(s, &e));
	json_object_set_new(
		answer, "sentence",
		report_sentence(s, client,
				addr && s->services[service].protocol == SLUICE_PROTOCOL_OPAQUE,
				&e));
	report_identity(answer, &s->services[service]);
	return answer;
}
