/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state as JSON. DESIGN §7 fixes the names of `status`; everything else adds to them and
 * renames none. A value that is not known is null, never 0: an operator must see the difference
 * between "fast" and "no sample yet".
 */
#include "control/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/parse.h"
#include "core/text.h"

#define MS 1000000ULL

/* Negative: not known. (JSON has no NaN either.) */
static json_t *number_or_null(double value)
{
	return value >= 0 && isfinite(value) ? json_real(value) : json_null();
}

static json_t *threshold(double ms)
{
	return ms > 0 ? number_or_null(ms) : json_null();
}

static json_t *count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

/* Counts are added up by several CPUs and corrected by the daemon: a glance may catch one below
 * zero. */
static json_t *gauge(int64_t n)
{
	return json_integer(n > 0 ? n : 0);
}

static uint64_t unix_ms(const struct daemon_state *s, uint64_t monotonic_ns)
{
	return (s->unix_ns - (s->now_ns - monotonic_ns)) / MS;
}

void report_model_name(const struct daemon_state *s, uint32_t id, char *out, size_t len)
{
	if (state_model_in_use(s, id))
		snprintf(out, len, "%s", s->controller->model[id].name);
	else
		snprintf(out, len, "unknown-%u", id);
}

void report_service_name(const struct daemon_state *s, uint32_t id, char *out, size_t len)
{
	char text[TEXT_SERVICE_MAX];

	if (id >= s->service_count) {
		snprintf(out, len, "unknown-%u", id);
		return;
	}
	text_endpoint(text, s->services[id].addr, s->services[id].wildcard, s->services[id].port);
	snprintf(out, len, "%s", text);
}

static json_t *model_name(const struct daemon_state *s, uint32_t id)
{
	char text[SLUICE_NAME_MAX];

	report_model_name(s, id, text, sizeof(text));
	return json_string(text);
}

/* A group's name without what marks it as one. */
static const char *pool_name(const struct daemon_state *s, uint32_t group)
{
	return s->controller->model[group].name + strlen(CONTROLLER_POOL);
}

static json_t *members(const struct daemon_state *s, uint32_t group)
{
	json_t *list = json_array();

	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++)
		if (s->controller->model[id].in_pool == group)
			json_array_append_new(list, model_name(s, id));
	return list;
}

/* Bytes a second that a law counts on; negative: not known. */
static double rate_of(const struct sluice_admission *a)
{
	return a->rate ? (double)a->rate / (1 << ADMISSION_RATE_SHIFT) /
				 ((1 << ADMISSION_TICK_SHIFT) / 1e9)
		       : -1;
}

/* What policy adaptive says of an entry; null where it carries no law. */
static json_t *admission(const struct daemon_state *s, uint32_t id)
{
	const struct state_load *k = &s->kernel[id];
	json_t *levels, *queue_budgets, *refused;
	struct sluice_admission a;

	if (!controller_admission(s->controller, id, &a))
		return json_null();
	levels = json_array();
	queue_budgets = json_array();
	refused = json_array();
	for (int r = 0; r < SLUICE_RANKS; r++) {
		json_array_append_new(levels, json_real((double)a.level[r] / ADMISSION_ALL));
		json_array_append_new(queue_budgets,
				      json_real((double)a.queue_budget_level[r] / ADMISSION_ALL));
		json_array_append_new(refused, count(k->refused[r]));
	}
	return json_pack("{s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "ceiling",
			 count(a.ceiling), "floor", count(a.floor), "stopped", a.stopped != 0,
			 "rate_bytes_per_second", number_or_null(rate_of(&a)), "queue_budget_bytes",
			 a.rate ? count(a.queue_budget) : json_null(), "waiting_bytes",
			 gauge(k->waiting_bytes), "oldest_waiting_ms",
			 k->oldest_ns ? count(k->oldest_ns / MS) : json_null(), "client_share",
			 number_or_null(a.fair ? (double)a.fair / ADMISSION_ALL : -1),
			 "client_interval",
			 number_or_null(a.interval ? (double)a.interval / ADMISSION_ALL : -1),
			 "levels_by_rank", levels, "queue_budget_levels_by_rank", queue_budgets,
			 "refused_by_rank", refused);
}

static json_t *plain_model(const struct daemon_state *s, uint32_t id)
{
	const struct controller_model *m = &s->controller->model[id];
	struct controller_targets targets = controller_targets(s->controller, id);
	struct controller_reading now = controller_read(s->controller, id, s->now_ns);
	uint32_t limit = controller_limit(s->controller, id);
	bool shut = !now.open;

	return json_pack(
		"{s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
		"s:o, s:s, s:s, s:b, s:b}",
		"name", model_name(s, id), "open", now.open, "reason",
		shut ? json_string(text_reason(now.reason)) : json_null(), "ttft_ema_ms",
		number_or_null(now.ttft_ms), "itl_ema_ms", number_or_null(now.itl_ms),
		"ttft_threshold_ms", threshold(targets.ttft_ms), "itl_threshold_ms",
		threshold(targets.itl_ms), "in_flight", gauge(s->kernel[id].in_flight), "waiting",
		gauge(s->kernel[id].waiting), "limit", limit ? count(limit) : json_null(),
		"ttft_samples", count(m->ttft_samples), "itl_samples", count(m->itl_samples),
		"time_constant_secs", number_or_null(targets.tau_s), "retry_after_ms",
		number_or_null(shut ? now.retry_after_s * 1000 : -1), "changed_unix_ms",
		s->changed_ns[id] ? count(unix_ms(s, s->changed_ns[id])) : json_null(),
		"last_seen_ms_ago",
		m->last_seen_ns && m->last_seen_ns <= s->now_ns
			? count((s->now_ns - m->last_seen_ns) / MS)
			: json_null(),
		"mode", text_mode(targets.mode), "action", text_action(targets.action), "unary",
		m->unary, "pinned", m->pinned);
}

json_t *report_model(const struct daemon_state *s, uint32_t id)
{
	const struct controller_model *m = &s->controller->model[id];
	int64_t hand = controller_targets(s->controller, id).max_in_flight;
	json_t *one = plain_model(s, id);

	json_object_set_new(one, "ttft_threshold_ms_per_kib",
			    threshold(controller_targets(s->controller, id).ttft_ms_per_kib));
	json_object_set_new(one, "max_in_flight", hand > 0 ? json_integer(hand) : json_null());
	json_object_set_new(one, "floor",
			    s->controller->all.policy == CONTROLLER_ADAPTIVE
				    ? json_integer(controller_targets(s->controller, id).floor)
				    : json_null());
	json_object_set_new(one, "changes", count(s->changes[id]));
	json_object_set_new(one, "shadow_in_flight", gauge(s->kernel[id].shadow_in_flight));
	json_object_set_new(one, "pool",
			    m->in_pool ? json_string(pool_name(s, m->in_pool)) : json_null());
	if (m->is_pool)
		json_object_set_new(one, "members", members(s, id));
	json_object_set_new(one, "admission", admission(s, id));
	return one;
}

static json_t *models(const struct daemon_state *s)
{
	json_t *list = json_array();

	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++)
		if (state_model_in_use(s, id))
			json_array_append_new(list, report_model(s, id));
	if (state_other_seen(s))
		json_array_append_new(list, report_model(s, SLUICE_MODEL_OTHER));
	return list;
}

json_t *report_models(const struct daemon_state *s)
{
	return json_pack("{s:o, s:o, s:I, s:b}", "models", models(s), "global",
			 report_model(s, SLUICE_MODEL_ALL), "names_refused",
			 (json_int_t)s->controller->names_refused, "per_model_limits",
			 s->controller->per_model);
}

/* Which requests of an http service are judged and where their model is looked for, in the order in
 * which it is asked. */
static void report_rules(json_t *to, const struct service *v)
{
	static const char *const methods[] = {
		[HTTP1_METHOD_OTHER] = NULL,    [HTTP1_METHOD_POST] = "POST",
		[HTTP1_METHOD_GET] = "GET",     [HTTP1_METHOD_HEAD] = "HEAD",
		[HTTP1_METHOD_CONNECT] = NULL,  [HTTP1_METHOD_PUT] = "PUT",
		[HTTP1_METHOD_PATCH] = "PATCH", [HTTP1_METHOD_DELETE] = "DELETE",
	};
	static const char *const kinds[] = {"judge", "pass", "model"};
	static const char *const sources[] = {"", "path", "header", "body"};
	json_t *judged = json_array(), *from = json_array(), *paths = json_array();
	const struct sluice_rules *r = &v->rules;

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (methods[i] && r->methods & 1 << i)
			json_array_append_new(judged, json_string(methods[i]));
	for (size_t i = 0; i < sizeof(r->source) && r->source[i]; i++)
		json_array_append_new(from, json_string(sources[r->source[i]]));
	for (size_t i = 0; i < r->count; i++)
		json_array_append_new(paths, json_pack("{s:s, s:s%}", "kind",
						       kinds[r->rule[i].kind], "prefix",
						       r->rule[i].prefix, (size_t)r->rule[i].len));
	json_object_set_new(to, "on_framing_error",
			    json_string(v->framing_error_reset ? "reset" : "pass"));
	json_object_set_new(to, "judge_methods", judged);
	json_object_set_new(to, "paths", paths);
	json_object_set_new(to, "model_from", from);
	json_object_set_new(to, "model_header",
			    r->header[0] ? json_string(r->header) : json_null());
}

/* Who a service's clients are, in the order in which it is asked. */
static json_t *identity(const struct service *v)
{
	json_t *list = json_array();

	for (unsigned i = 0; i <= HTTP1_KEYS_MAX; i++) {
		const char *key = i < HTTP1_KEYS_MAX ? v->rules.key[i] : "";

		if (v->identity.forwarded_at == i + 1)
			json_array_append_new(list, json_string(v->rules.forwarded));
		if (!strcmp(key, "authorization") || !strcmp(key, "x-api-key"))
			json_array_append_new(list, json_string(key));
		else if (key[0])
			json_array_append_new(list, json_sprintf("header:%s", key));
	}
	json_array_append_new(list, json_string("address"));
	return list;
}

static void report_identity(json_t *to, const struct service *v)
{
	json_t *trusted = json_array();
	char text[TEXT_CLIENT_MAX];

	for (unsigned i = 0; i < v->identity.trusted_count; i++) {
		text_prefix(text, &v->identity.trusted[i]);
		json_array_append_new(trusted, json_string(text));
	}
	json_object_set_new(to, "identity", identity(v));
	json_object_set_new(to, "trusted_proxies", trusted);
	json_object_set_new(to, "proxy_protocol", json_boolean(v->identity.proxy));
	json_object_set_new(to, "client_prefix_v4", json_integer(v->identity.plen4));
	json_object_set_new(to, "client_prefix_v6", json_integer(v->identity.plen6));
}

static json_t *service(const struct daemon_state *s, uint32_t id)
{
	const struct service *v = &s->services[id];
	char endpoint[TEXT_SERVICE_MAX], address[TEXT_SERVICE_MAX], words[QUOTA_TEXT_MAX];
	struct quota_def quota;
	json_t *out;

	text_endpoint(endpoint, v->addr, v->wildcard, v->port);
	if (endpoint[0] == '*')
		strcpy(address, "*");
	else
		text_address(address, sizeof(address), v->addr);
	out = json_pack("{s:s, s:i, s:s, s:s, s:s, s:o, s:b}", "address", address, "port",
			(int)v->port, "protocol", text_protocol(v->protocol), "action",
			text_action(v->action), "mode", text_mode(v->mode), "default_model",
			model_name(s, v->model_id), "unary", v->unary);
	if (v->protocol == SLUICE_PROTOCOL_HTTP)
		report_rules(out, v);
	words[0] = 0;
	if (v->quota_id && s->quotas) {
		quota_of_text(&quota, &s->quotas->text[v->quota_id]);
		quota_words(words, &quota);
	}
	json_object_set_new(out, "quota", words[0] ? json_string(words) : json_null());
	json_object_set_new(out, "feedback", json_string(v->feedback ? "date" : "off"));
	report_identity(out, v);
	return out;
}

static json_t *services(const struct daemon_state *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->service_count; i++)
		json_array_append_new(list, service(s, (uint32_t)i));
	return list;
}

json_t *report_services(const struct daemon_state *s)
{
	json_t *list = services(s);

	for (size_t i = 0; i < s->service_count; i++) {
		json_t *one = json_array_get(list, i);
		uint64_t sum[3] = {0};

		for (size_t k = 0; k < s->count_count; k++)
			if (s->counts[k].key.service == i && s->counts[k].key.verdict < 3)
				sum[s->counts[k].key.verdict] += s->counts[k].n;
		for (unsigned v = 0; v < 3; v++)
			json_object_set_new(one, text_verdict(v), count(sum[v]));
	}
	return json_pack("{s:o}", "services", list);
}

static json_t *interfaces(const struct daemon_state *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->interface_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s}", "name",
						      s->interfaces[i].name, "xdp",
						      s->interfaces[i].xdp, "tc", 1, "tc_kind",
						      s->interfaces[i].tcx ? "tcx" : "clsact"));
	return list;
}

/* A count for every reason, zeros included. */
static json_t *by_reason(const uint64_t n[SLUICE_REASON_COUNT])
{
	json_t *all = json_object();

	for (unsigned r = SLUICE_REASON_NONE + 1; r < SLUICE_REASON_COUNT; r++)
		json_object_set_new(all, text_reason(r), count(n[r]));
	return all;
}

/* What had this verdict (enum sluice_verdict). */
static json_t *requests_by_reason(const struct daemon_state *s, unsigned verdict)
{
	uint64_t sum[SLUICE_REASON_COUNT] = {0};

	for (size_t i = 0; i < s->count_count; i++)
		if (s->counts[i].key.verdict == verdict &&
		    s->counts[i].key.reason < SLUICE_REASON_COUNT)
			sum[s->counts[i].key.reason] += s->counts[i].n;
	return by_reason(sum);
}

static json_t *client_by_reason(const __u32 n[SLUICE_REASONS_MAX])
{
	uint64_t all[SLUICE_REASON_COUNT];

	for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++)
		all[r] = n[r];
	return by_reason(all);
}

static json_t *counters(const struct daemon_state *s)
{
	json_t *all = json_object();

	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++)
		json_object_set_new(all, text_counter(i), count(s->counters[i]));
	return all;
}

static json_t *maps(const struct daemon_state *s)
{
	json_t *all = json_object();

	for (size_t i = 0; i < s->map_count; i++)
		json_object_set_new(all, s->maps[i].name,
				    json_pack("{s:I, s:I, s:I}", "entries",
					      (json_int_t)s->maps[i].entries, "max",
					      (json_int_t)s->maps[i].max, "full",
					      (json_int_t)s->maps[i].full));
	return all;
}

json_t *report_status(const struct daemon_state *s)
{
	const uint64_t *n = s->counters;
	json_t *status = json_pack(
		"{s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o, "
		"s:{s:o, s:o, s:o}, s:o}",
		"mode", text_mode(s->mode), "policy", s->policy, "lease_ms", (int)s->lease_ms,
		"interfaces", interfaces(s), "services", services(s), "models", models(s), "global",
		report_model(s, SLUICE_MODEL_ALL), "requests", "admitted",
		count(state_requests(s, SLUICE_VERDICT_ADMITTED, -1)), "rejected",
		count(state_requests(s, SLUICE_VERDICT_REJECTED, -1)), "shadow_rejected",
		count(state_requests(s, SLUICE_VERDICT_SHADOW_REJECTED, -1)), "rejected_by_reason",
		requests_by_reason(s, SLUICE_VERDICT_REJECTED), "connections", "reset",
		count(state_connections(s, SLUICE_VERDICT_SYN_RESET, -1)), "dropped",
		count(state_connections(s, SLUICE_VERDICT_SYN_DROPPED, -1)), "shadow",
		count(state_connections(s, SLUICE_VERDICT_SYN_SHADOW, -1)), "lost_samples",
		count(n[SLUICE_COUNTER_SAMPLES_LOST]));

	json_object_set_new(status, "shadow_rejected_by_reason",
			    requests_by_reason(s, SLUICE_VERDICT_SHADOW_REJECTED));
	json_object_set_new(status, "counters", counters(s));
	json_object_set_new(status, "maps", maps(s));
	json_object_set_new(status, "per_model_limits", json_boolean(s->controller->per_model));
	json_object_set_new(status, "names_refused", count(s->controller->names_refused));
	json_object_set_new(status, "version", json_string(SLUICE_VERSION));
	json_object_set_new(status, "pid", json_integer(s->pid));
	json_object_set_new(status, "uptime_ms", count((s->now_ns - s->started_ns) / MS));
	json_object_set_new(status, "now_unix_ms", count(s->unix_ns / MS));
	json_object_set_new(status, "detaching", json_boolean(s->detaching));
	return status;
}

static bool expired(const struct daemon_state *s, uint64_t expires_ns)
{
	return expires_ns && expires_ns <= s->now_ns;
}

static json_t *rule(const struct daemon_state *s, const char *client, const char *kind,
		    const char *verdict, json_t *model, const char *reason, uint64_t expires_ns)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:s, s:o}", "client", client, "kind", kind,
			 "verdict", verdict, "model", model, "reason", reason, "expires_in_ms",
			 expires_ns ? count((expires_ns - s->now_ns) / MS) : json_null());
}

static json_t *rules(const struct daemon_state *s)
{
	json_t *list = json_array();
	char text[TEXT_CLIENT_MAX];

	for (size_t i = 0; i < s->client_rule_count; i++) {
		const struct state_client_rule *r = &s->client_rules[i];
		json_t *model = r->key.model == SLUICE_MODEL_ALL ? json_null()
								 : model_name(s, r->key.model);

		text_client(text, &r->key.client);
		if (expired(s, r->flag.expires_ns))
			json_decref(model);
		else
			json_array_append_new(
				list, rule(s, text, "client", r->flag.allow ? "allow" : "block",
					   model, text_reason(r->flag.reason), r->flag.expires_ns));
	}
	for (size_t i = 0; i < s->prefix_rule_count; i++) {
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

static bool in_prefix(const uint8_t addr[16], const struct sluice_prefix_key *prefix)
{
	uint8_t a[16];

	memcpy(a, addr, sizeof(a));
	text_mask(a, prefix->plen);
	return !memcmp(a, prefix->addr, sizeof(a));
}

/* What holds for this client over all models: the longest prefix that has it, and over that its own
 * flag. */
static const char *standing(const struct daemon_state *s, const struct sluice_client *client)
{
	const struct state_prefix_rule *best = NULL;

	for (size_t i = 0; i < s->client_rule_count; i++) {
		const struct state_client_rule *r = &s->client_rules[i];

		if (r->key.model == SLUICE_MODEL_ALL && !expired(s, r->flag.expires_ns) &&
		    !memcmp(&r->key.client, client, sizeof(*client)))
			return r->flag.allow ? "allow" : "block";
	}
	for (size_t i = 0; client->kind == SLUICE_CLIENT_ADDRESS && i < s->prefix_rule_count; i++) {
		const struct state_prefix_rule *r = &s->prefix_rules[i];

		if (!expired(s, r->prefix.expires_ns) && r->key.plen <= client->plen &&
		    in_prefix(client->addr, &r->key) && (!best || r->key.plen > best->key.plen))
			best = r;
	}
	if (!best || best->prefix.class == SLUICE_PREFIX_PLAIN)
		return NULL;
	return best->prefix.class == SLUICE_PREFIX_EXEMPT ? "allow" : "block";
}

/* A client with what it is sorted by. */
struct ranked {
	const struct state_client *client;
	uint64_t rank;
};

static int highest_first(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? 1 : -1;
	return x->client->count.last_seen_ns < y->client->count.last_seen_ns   ? 1
	       : x->client->count.last_seen_ns > y->client->count.last_seen_ns ? -1
									       : 0;
}

/* What binds a client's next request for the model that it last asked for. */
static void client_quota(const struct daemon_state *s, const struct state_client *c, int service,
			 struct explain_quota *out)
{
	const uint8_t *addr = c->client.kind == SLUICE_CLIENT_ADDRESS ? c->client.addr : NULL;

	memset(out, 0, sizeof(*out));
	if (s->lookup && s->quotas)
		explain_quota(s, &c->client, addr, c->count.last_model,
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
	case REPORT_BY_TOKENS: /* spent, debt and all */
		client_quota(s, c, service, &quota);
		return quota.tokens.limit - quota.tokens.left + quota.tokens.debt;
	case REPORT_LAST_SEEN:
		break;
	}
	return c->count.last_seen_ns;
}

static uint64_t ms_up(uint64_t ns)
{
	return (ns + MS - 1) / MS;
}

static json_t *budget(const struct explain_budget *b, const struct quota_rate *rate)
{
	return b->limit ? json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "limit", count(b->limit),
				    "remaining", count(b->left), "debt", count(b->debt), "next_ms",
				    count(ms_up(b->next_ns)), "reset_ms", count(ms_up(b->reset_ns)),
				    "per_period", count(rate->most), "period_ms",
				    json_real((double)rate->period_ns / 1e6))
			: json_null();
}

/* A quota with what is left of it; null where there is none. */
static json_t *quota_left(const struct daemon_state *s, const struct explain_quota *q)
{
	char words[QUOTA_TEXT_MAX];
	struct quota_def def;
	json_t *left;

	if (!q->id)
		return json_null();
	quota_of_text(&def, &s->quotas->text[q->id]);
	quota_words(words, &def);
	left = json_pack("{s:i, s:s, s:s, s:s, s:o, s:o, s:o}", "id", (int)q->id, "quota", words,
			 "from", explain_from_text(q->from), "by",
			 s->quotas->text[q->id].manual ? "hand" : "file", "wait_ms",
			 count(ms_up(q->wait_ns)), "requests", budget(&q->requests, &def.requests),
			 "tokens", budget(&q->tokens, &def.tokens));
	if (q->whole) {
		quota_of_text(&def, &s->quotas->text[q->whole]);
		quota_words(words, &def);
	}
	json_object_set_new(left, "weight_of", q->whole ? json_string(words) : json_null());
	return left;
}

static json_t *weight(uint16_t weight)
{
	return json_real(text_weight_hundredths(weight) / 100.0);
}

static json_t *service_name(const struct daemon_state *s, uint32_t id)
{
	char text[TEXT_SERVICE_MAX];

	report_service_name(s, id, text, sizeof(text));
	return json_string(text);
}

static json_t *client_row(const struct daemon_state *s, const struct state_client *c, int service)
{
	const uint8_t *addr = c->client.kind == SLUICE_CLIENT_ADDRESS ? c->client.addr : NULL;
	const char *verdict = standing(s, &c->client);
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
		"client", text, "shadow_rejected", count(shadow), "rejected_by_reason",
		client_by_reason(c->count.by_reason), "shadow_rejected_by_reason",
		client_by_reason(c->count.shadow_by_reason), "last_service",
		seen ? service_name(s, c->count.last_service) : json_null(), "weight",
		weight(s->lookup ? explain_weight(s, &c->client, addr) : 0), "admitted",
		count(c->count.admitted), "rejected", count(c->count.rejected), "in_flight",
		gauge(c->in_flight), "last_seen_ms_ago",
		seen ? count(seen < s->now_ns ? (s->now_ns - seen) / MS : 0) : json_null(),
		"last_reason",
		refused ? json_string(text_reason(c->count.last_reason)) : json_null(),
		"last_model", seen ? model_name(s, c->count.last_model) : json_null(), "rule",
		verdict ? json_string(verdict) : json_null(), "requests_left",
		quota.requests.limit ? count(quota.requests.left) : json_null(), "tokens_left",
		quota.tokens.limit ? json_integer((json_int_t)quota.tokens.left -
						  (json_int_t)quota.tokens.debt)
				   : json_null(),
		"next_ms", quota.id ? count(ms_up(quota.wait_ns)) : json_null(), "quota",
		quota_left(s, &quota));
}

json_t *report_clients(const struct daemon_state *s, enum report_order order, int service)
{
	struct ranked *ranks = calloc(s->client_count + 1, sizeof(*ranks));
	json_t *list = json_array();

	if (!ranks || !list) {
		free(ranks);
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < s->client_count; i++)
		ranks[i] = (struct ranked){&s->clients[i], rank(s, &s->clients[i], order, service)};
	qsort(ranks, s->client_count, sizeof(*ranks), highest_first);
	for (size_t i = 0; i < s->client_count && i < REPORT_CLIENTS_MAX; i++)
		json_array_append_new(list, client_row(s, ranks[i].client, service));
	free(ranks);
	return json_pack("{s:o, s:o, s:o}", "clients", list, "clients_known",
			 count(s->client_count), "rules", rules(s));
}

/* The request before the law; null where there is none. */
static json_t *pool(const struct daemon_state *s, const struct explain_admission *l)
{
	const struct sluice_admission *a = &l->admission;

	if (!l->in_force)
		return json_null();
	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o}",
		"pool", model_name(s, l->id), "in_flight", gauge(l->load.in_flight), "ceiling",
		a->ceiling ? count(a->ceiling) : json_null(), "slots",
		a->ceiling ? count(l->slots) : json_null(), "floor", count(a->floor), "stopped",
		a->stopped != 0, "waiting", gauge(l->load.waiting), "waiting_bytes",
		gauge(l->load.waiting_bytes), "request_bytes", count(l->bytes), "predicted_wait_ms",
		number_or_null(l->predicted_ms), "allowed_wait_ms", number_or_null(l->allowed_ms),
		"target_ms", threshold(l->target_ms), "rate_bytes_per_second",
		number_or_null(rate_of(a)), "client_in_flight", gauge(l->client_in_flight),
		"client_excess", l->admission.interval ? json_real(l->queued_bytes) : json_null(),
		"above_share", l->above_share, "client_share",
		number_or_null(l->share > 0 ? l->share : -1), "level",
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
		rule = json_pack("{s:s, s:s, s:o}", "verdict",
				 e.rule == EXPLAIN_ALLOWED ? "allow" : "block", "kind",
				 e.rule_of_prefix ? "prefix" : "client", "expires_in_ms",
				 e.rule_expires_ns ? count((e.rule_expires_ns - s->now_ns) / MS)
						   : json_null());
	answer = json_pack(
		"{s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:i, s:o}",
		"client", text, "weight", weight(e.weight), "model", model_name(s, model),
		"service", where, "verdict",
		e.admitted ? "admitted"
		: e.shadow ? text_verdict(SLUICE_VERDICT_SHADOW_REJECTED)
			   : text_verdict(SLUICE_VERDICT_REJECTED),
		"reason", e.admitted ? json_null() : json_string(text_reason(e.reason)), "action",
		e.admitted ? json_null() : json_string(text_action(e.action)), "retry_after_ms",
		e.admitted ? json_null() : count(ms_up(e.wait_ns)), "exempt", e.exempt, "rule",
		rule ? rule : json_null(), "quota", quota_left(s, &e.quota), "client_in_flight",
		gauge(e.client_in_flight), "model_now", report_model(s, model), "global_now",
		report_model(s, SLUICE_MODEL_ALL), "class",
		parse_word_of(&parse_as_class, (int)e.pool.class), "class_from",
		explain_class_text(e.pool.class_from), "rank", (int)e.pool.rank, "admission",
		pool(s, &e.pool));
	if (service < s->service_count)
		report_identity(answer, &s->services[service]);
	return answer;
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
		text->manual ? "hand" : "file", "quota", words, "requests",
		def.requests.most ? count(def.requests.most) : json_null(), "requests_period_ms",
		def.requests.most ? json_real((double)def.requests.period_ns / 1e6) : json_null(),
		"burst", def.requests.most ? count(def.requests.burst) : json_null(), "tokens",
		def.tokens.most ? count(def.tokens.most) : json_null(), "tokens_period_ms",
		def.tokens.most ? json_real((double)def.tokens.period_ns / 1e6) : json_null(),
		"token_burst", def.tokens.most ? count(def.tokens.burst) : json_null());
}

json_t *report_quotas(const struct daemon_state *s, const struct text_subject *subject)
{
	struct sluice_client clients[SLUICE_SERVICES_MAX];
	json_t *list = json_array(), *weights = json_array();
	size_t known = 0, n = subject ? explain_clients(s, subject, clients) : 0;
	char text[TEXT_CLIENT_MAX];

	for (size_t i = 0; !subject && i < s->service_count; i++)
		if (s->services[i].quota_id) {
			report_service_name(s, (uint32_t)i, text, sizeof(text));
			json_array_append_new(list, quota_row(s, s->services[i].quota_id, "service",
							      json_null(), json_null(),
							      json_string(text)));
		}
	for (uint32_t id = SLUICE_MODEL_FIRST; !subject && id < SLUICE_MODELS_MAX; id++)
		if (s->controller->model[id].quota)
			json_array_append_new(list, quota_row(s, s->controller->model[id].quota,
							      "model", json_null(),
							      model_name(s, id), json_null()));
	for (size_t i = 0; i < s->prefix_rule_count; i++) {
		const struct state_prefix_rule *r = &s->prefix_rules[i];

		if (subject && memcmp(&r->key, &subject->prefix, sizeof(r->key)))
			continue;
		text_prefix(text, &r->key);
		if (r->prefix.own & SLUICE_PREFIX_OWN_WEIGHT &&
		    json_array_size(weights) < REPORT_CLIENTS_MAX)
			json_array_append_new(weights,
					      json_pack("{s:s, s:o, s:s}", "client", text, "weight",
							weight(r->prefix.weight), "by",
							r->prefix.own & SLUICE_PREFIX_WEIGHT_MANUAL
								? "hand"
								: "file"));
		if (r->prefix.own & SLUICE_PREFIX_OWN_QUOTA && known++ < REPORT_CLIENTS_MAX)
			json_array_append_new(list, quota_row(s, r->prefix.quota, "prefix",
							      json_string(text), json_null(),
							      json_null()));
	}
	for (size_t i = 0; i < s->client_quota_count; i++) {
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
					  q->key.model ? model_name(s, q->key.model) : json_null(),
					  json_null()));
	}
	return json_pack("{s:o, s:o, s:o}", "quotas", list, "weights", weights,
			 "clients_with_quota", count(known));
}

json_t *report_refusal(const struct daemon_state *s, const struct sluice_refusal *r)
{
	char client[TEXT_CLIENT_MAX], where[TEXT_SERVICE_MAX];

	text_client(client, &r->client);
	report_service_name(s, r->service, where, sizeof(where));
	return json_pack("{s:s, s:o, s:s, s:s, s:o, s:s, s:s, s:s, s:o, s:b}", "event", "refusal",
			 "unix_ms", count(unix_ms(s, r->time_ns)), "client", client, "service",
			 where, "model",
			 r->model == SLUICE_MODEL_ALL ? json_null() : model_name(s, r->model),
			 "reason", text_reason(r->reason), "action", text_action(r->action),
			 "verdict", text_verdict(r->verdict), "retry_after_ms",
			 count(r->retry_after_ms), "connection", r->at_syn != 0);
}

json_t *report_change(const struct daemon_state *s, uint32_t model)
{
	json_t *m = report_model(s, model);

	if (!m)
		return NULL;
	json_object_set_new(m, "event", json_string("model"));
	json_object_set_new(m, "unix_ms", count(s->unix_ns / MS));
	return m;
}
