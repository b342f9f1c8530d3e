/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Quotas as JSON: their clients, their origin, and what is left of each.
 */
#include "control/report_internal.h"

#include <string.h>

#define QUOTA_ENTRIES 4 /* entries of maps that take the time of a quota in a list */

static json_t *budget(const struct explain_budget *b, const struct quota_rate *rate)
{
	return b->limit
		       ? json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "limit",
				   value_count(b->limit), "remaining", value_count(b->left), "debt",
				   value_count(b->debt), "next_ms", value_count(ms_up(b->next_ns)),
				   "reset_ms", value_count(ms_up(b->reset_ns)), "per_period",
				   value_count(rate->most), "period_ms",
				   json_real((double)rate->period_ns / 1e6))
		       : json_null();
}

static const char *origin(unsigned of)
{
	return of == SLUICE_ORIGIN_FLEET ? "fleet" : of == SLUICE_ORIGIN_MANUAL ? "manual" : "file";
}

static json_t *fleet_units(const struct explain_budget *b)
{
	return b->limit ? json_pack("{s:i, s:i, s:f}", "granted", (int)b->granted, "unsynced",
				    (int)b->unsynced, "share", b->part)
			: json_null();
}

/* How this host stands in the fleet's budget. */
static json_t *fleet_left(const struct explain_quota *q)
{
	if (!q->fleet)
		return json_null();
	return json_pack("{s:o, s:o, s:o}", "answered_ms_ago",
			 q->answered_ns && q->answered_ns <= q->now_ns
				 ? value_count((q->now_ns - q->answered_ns) / MS)
				 : json_null(),
			 "requests", fleet_units(&q->requests), "tokens", fleet_units(&q->tokens));
}

json_t *report_quota_left(const struct daemon_state *s, const struct explain_quota *q)
{
	char words[QUOTA_TEXT_MAX];
	struct quota_def def;
	json_t *left;

	if (!q->id)
		return json_null();
	quota_of_text(&def, &s->quotas->text[q->id]);
	quota_words(words, &def);
	left = json_pack(
		"{s:i, s:s, s:s, s:s, s:o, s:o, s:o}", "id", (int)q->id, "quota", words, "from",
		explain_quota_text(q->from), "by", origin(s->quotas->text[q->id].origin), "wait_ms",
		value_count(ms_up(q->wait_ns)), "requests", budget(&q->requests, &def.requests),
		"tokens", budget(&q->tokens, &def.tokens));
	if (q->whole) {
		quota_of_text(&def, &s->quotas->text[q->whole]);
		quota_words(words, &def);
	}
	json_object_set_new(left, "fleet", fleet_left(q));
	json_object_set_new(left, "weight_of", q->whole ? json_string(words) : json_null());
	return left;
}

static json_t *quota_row(const struct daemon_state *s, uint32_t id, const char *kind,
			 json_t *client, json_t *model, json_t *service)
{
	const struct sluice_quota_text *text = &s->quotas->text[id % SLUICE_QUOTAS_MAX];
	char words[QUOTA_TEXT_MAX];
	struct quota_def def;

	quota_of_text(&def, text);
	quota_words(words, &def);
	return json_pack(
		"{s:i, s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "id", (int)id,
		"kind", kind, "client", client, "model", model, "service", service, "by",
		origin(text->origin), "quota", words, "requests",
		def.requests.most ? value_count(def.requests.most) : json_null(),
		"requests_period_ms",
		def.requests.most ? json_real((double)def.requests.period_ns / 1e6) : json_null(),
		"burst", def.requests.most ? value_count(def.requests.burst) : json_null(),
		"tokens", def.tokens.most ? value_count(def.tokens.most) : json_null(),
		"tokens_period_ms",
		def.tokens.most ? json_real((double)def.tokens.period_ns / 1e6) : json_null(),
		"token_burst", def.tokens.most ? value_count(def.tokens.burst) : json_null());
}

json_t *report_quotas(const struct daemon_state *s, const struct text_subject *subject)
{
	struct sluice_client clients[SLUICE_SERVICES_MAX];
	json_t *list = json_array(), *weights = json_array();
	size_t known = 0, n = subject ? explain_clients(s, subject, clients) : 0;
	char text[TEXT_CLIENT_MAX];

	for (size_t i = 0; !subject && i < s->service_count; i++, state_step(s, QUOTA_ENTRIES, 0))
		if (s->services[i].quota_id) {
			report_service_name(s, (uint32_t)i, text, sizeof(text));
			json_array_append_new(list, quota_row(s, s->services[i].quota_id, "service",
							      json_null(), json_null(),
							      json_string(text)));
		}
	for (uint32_t id = SLUICE_MODEL_FIRST; !subject && id < SLUICE_MODELS_MAX;
	     id++, state_step(s, QUOTA_ENTRIES, 0))
		if (s->controller->model[id].quota)
			json_array_append_new(list, quota_row(s, s->controller->model[id].quota,
							      "model", json_null(),
							      value_model(s, id), json_null()));
	for (size_t i = 0; i < s->prefix_rule_count; i++, state_step(s, QUOTA_ENTRIES, 0)) {
		const struct state_prefix_rule *r = &s->prefix_rules[i];

		if (subject && memcmp(&r->key, &subject->prefix, sizeof(r->key)))
			continue;
		text_prefix(text, &r->key);
		if (r->prefix.own & SLUICE_PREFIX_OWN_WEIGHT &&
		    json_array_size(weights) < REPORT_CLIENTS_MAX)
			json_array_append_new(
				weights, json_pack("{s:s, s:o, s:s}", "client", text, "weight",
						   value_weight(r->prefix.weight), "by",
						   r->prefix.own & SLUICE_PREFIX_WEIGHT_FLEET
							   ? origin(SLUICE_ORIGIN_FLEET)
						   : r->prefix.own & SLUICE_PREFIX_WEIGHT_MANUAL
							   ? origin(SLUICE_ORIGIN_MANUAL)
							   : origin(SLUICE_ORIGIN_FILE)));
		if (r->prefix.own & SLUICE_PREFIX_OWN_QUOTA && known++ < REPORT_CLIENTS_MAX)
			json_array_append_new(list, quota_row(s, r->prefix.quota, "prefix",
							      json_string(text), json_null(),
							      json_null()));
	}
	for (size_t i = 0; i < s->client_quota_count; i++, state_step(s, QUOTA_ENTRIES, 0)) {
		const struct state_client_quota *q = &s->client_quotas[i];
		bool meant = !subject;

		for (size_t k = 0; k < n && !meant; k++)
			meant = !memcmp(&q->key.client, &clients[k], sizeof(clients[k]));
		if (!meant)
			continue;
		text_client(text, &q->key.client);
		if (known++ < REPORT_CLIENTS_MAX)
			json_array_append_new(
				list,
				quota_row(s, q->quota, "client", json_string(text),
					  q->key.model ? value_model(s, q->key.model) : json_null(),
					  json_null()));
	}
	return json_pack("{s:o, s:o, s:o}", "quotas", list, "weights", weights,
			 "clients_with_quota", value_count(known));
}
