/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clients as JSON, sorted, each with its counts and what is left of its quota; and the rules about
 * clients. The daemon knows up to 64 Ki clients and lists REPORT_CLIENTS_MAX of them.
 */
#include "control/report_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/highest.h"
#include "desired/desired.h"
#include "loop/work.h"

#define RULE_ENTRIES 8 /* entries of maps that take the time of a rule in a list */

static bool expired(const struct daemon_state *s, uint64_t expires_ns)
{
	return expires_ns && expires_ns <= s->now_ns;
}

static json_t *rule(const struct daemon_state *s, const char *client, const char *kind,
		    const char *verdict, json_t *model, const char *reason, uint64_t expires_ns)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:s, s:o}", "client", client, "kind", kind,
			 "verdict", verdict, "model", model, "reason", reason, "expires_in_ms",
			 expires_ns ? value_count((expires_ns - s->now_ns) / MS) : json_null());
}

static json_t *rules(const struct daemon_state *s)
{
	json_t *list = json_array();
	char text[TEXT_CLIENT_MAX];

	for (size_t i = 0; i < s->client_rule_count; i++, state_step(s, RULE_ENTRIES, 0)) {
		const struct state_client_rule *r = &s->client_rules[i];
		json_t *model = r->key.model == SLUICE_MODEL_ALL ? json_null()
								 : value_model(s, r->key.model);

		text_client(text, &r->key.client);
		if (expired(s, r->flag.expires_ns))
			json_decref(model);
		else
			json_array_append_new(
				list, rule(s, text, "client", r->flag.allow ? "allow" : "block",
					   model, text_reason(r->flag.reason), r->flag.expires_ns));
	}
	for (size_t i = 0; i < s->prefix_rule_count; i++, state_step(s, RULE_ENTRIES, 0)) {
		const struct state_prefix_rule *r = &s->prefix_rules[i];

		if (r->prefix.class == SLUICE_PREFIX_PLAIN ||
		    !(r->prefix.own & SLUICE_PREFIX_OWN_CLASS) || expired(s, r->prefix.expires_ns))
			continue;
		text_prefix(text, &r->key);
		bool exempt = r->prefix.class == SLUICE_PREFIX_EXEMPT;

		json_array_append_new(list, rule(s, text, "prefix", exempt ? "allow" : "block",
						 json_null(),
						 text_reason(exempt ? SLUICE_REASON_NONE
								    : SLUICE_REASON_CLIENT_BLOCKED),
						 r->prefix.expires_ns));
	}
	return list;
}

static int by_key(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sluice_client_flag_key)); /* a rule begins with its key */
}

/* The rule in force for this client and all models: its own flag, else that of the longest prefix
 * around it. Both lists are sorted. */
static const char *rule_in_force(const struct daemon_state *s, const struct sluice_client *client)
{
	const struct sluice_client_flag_key key = {.client = *client, .model = SLUICE_MODEL_ALL};
	const struct state_client_rule *own =
		s->client_rule_count
			? bsearch(&key, s->client_rules, s->client_rule_count, sizeof(*own), by_key)
			: NULL;
	struct sluice_prefix_key around = {.plen = client->plen};

	if (own && !expired(s, own->flag.expires_ns))
		return own->flag.allow ? "allow" : "block";
	if (client->kind != SLUICE_CLIENT_ADDRESS || !s->prefix_rule_count)
		return NULL;
	memcpy(around.addr, client->addr, sizeof(around.addr));
	for (int plen = client->plen; plen >= 0; plen--) {
		const struct state_prefix_rule *r;

		around.plen = (uint32_t)plen;
		text_mask(around.addr, around.plen);
		r = bsearch(&around, s->prefix_rules, s->prefix_rule_count, sizeof(*r),
			    desired_by_prefix);
		if (!r || expired(s, r->prefix.expires_ns))
			continue;
		if (r->prefix.class == SLUICE_PREFIX_PLAIN)
			return NULL;
		return r->prefix.class == SLUICE_PREFIX_EXEMPT ? "allow" : "block";
	}
	return NULL;
}

static json_t *client_by_reason(const __u32 n[SLUICE_REASONS_MAX])
{
	uint64_t all[SLUICE_REASON_COUNT];

	for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++)
		all[r] = n[r];
	return value_by_reason(all);
}

/* The quota of a client's next request for the model that it requested last. */
static void client_quota(const struct daemon_state *s, const struct state_client *c, int service,
			 struct explain_quota *out)
{
	const uint8_t *addr = c->client.kind == SLUICE_CLIENT_ADDRESS ? c->client.addr : NULL;

	memset(out, 0, sizeof(*out));
	if (s->lookup && s->quotas)
		(void)explain_quota(s, &c->client, addr, c->count.last_model,
				    service < 0 ? c->count.last_service : (uint32_t)service, out);
}

static uint64_t rank(const struct daemon_state *s, const struct state_client *c,
		     enum report_order order, int service)
{
	struct explain_quota quota;

	switch (order) {
	case REPORT_BY_REQUESTS:
		return c->count.admitted + c->count.rejected;
	case REPORT_BY_REJECTED:
		return c->count.rejected;
	case REPORT_BY_IN_FLIGHT:
		return c->in_flight > 0 ? (uint64_t)c->in_flight : 0;
	case REPORT_BY_TOKENS: /* spent, with the debt */
		client_quota(s, c, service, &quota);
		return quota.tokens.limit - quota.tokens.left + quota.tokens.debt;
	case REPORT_LAST_SEEN:
		break;
	}
	return c->count.last_seen_ns;
}

static json_t *client_row(const struct daemon_state *s, const struct state_client *c, int service)
{
	const char *verdict = rule_in_force(s, &c->client);
	bool refused = c->count.rejected && c->count.last_reason != SLUICE_REASON_NONE;
	uint64_t seen = c->count.last_seen_ns, shadow = 0;
	char text[TEXT_CLIENT_MAX];
	struct explain_quota quota;

	text_client(text, &c->client);
	client_quota(s, c, service, &quota);
	for (unsigned r = 0; r < SLUICE_REASONS_MAX; r++)
		shadow += c->count.shadow_by_reason[r];
	return json_pack(
		"{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"client", text, "shadow_rejected", value_count(shadow), "rejected_by_reason",
		client_by_reason(c->count.by_reason), "shadow_rejected_by_reason",
		client_by_reason(c->count.shadow_by_reason), "last_service",
		seen ? value_service(s, c->count.last_service) : json_null(), "weight",
		value_weight(quota.weight), "admitted", value_count(c->count.admitted), "rejected",
		value_count(c->count.rejected), "in_flight", value_gauge(c->in_flight),
		"last_seen_ms_ago",
		seen ? value_count(seen < s->now_ns ? (s->now_ns - seen) / MS : 0) : json_null(),
		"last_reason",
		refused ? json_string(text_reason(c->count.last_reason)) : json_null(),
		"last_model", seen ? value_model(s, c->count.last_model) : json_null(), "rule",
		verdict ? json_string(verdict) : json_null(), "requests_left",
		quota.requests.limit ? value_count(quota.requests.left) : json_null(),
		"tokens_left",
		quota.tokens.limit ? json_integer((json_int_t)quota.tokens.left -
						  (json_int_t)quota.tokens.debt)
				   : json_null(),
		"next_ms", quota.id ? value_count(ms_up(quota.wait_ns)) : json_null(), "quota",
		report_quota_left(s, &quota));
}

json_t *report_clients(const struct daemon_state *s, enum report_order order, int service)
{
	struct highest first = {
		.items = calloc(REPORT_CLIENTS_MAX, sizeof(*first.items)),
		.max = REPORT_CLIENTS_MAX,
	};
	json_t *list = json_array();

	if (!first.items || !list) {
		free(first.items);
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < s->client_count; i++) {
		if (i % WORK_ENTRIES_MAX == 0)
			state_step(s, WORK_ENTRIES_MAX, 0);
		highest_add(&first, (struct highest_item){
					    .rank = rank(s, &s->clients[i], order, service),
					    .then = s->clients[i].count.last_seen_ns,
					    .index = i,
				    });
	}
	highest_sort(&first);
	for (size_t i = 0; i < first.count; i++)
		json_array_append_new(list,
				      client_row(s, &s->clients[first.items[i].index], service));
	free(first.items);
	return json_pack("{s:o, s:o, s:o}", "clients", list, "clients_known",
			 value_count(s->client_count), "rules", rules(s));
}
