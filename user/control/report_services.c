/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services as JSON: what sluice protects, which requests it judges, how it identifies clients and
 * models.
 */
#include "control/report_internal.h"

#include <string.h>

/* Which requests of an http service are judged, and where the kernel looks for their model, in its
 * order. */
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
	static const char *const framing_errors[] = {
		[SLUICE_ON_FRAMING_ERROR_AUTO] = "auto",
		[SLUICE_ON_FRAMING_ERROR_PASS] = "pass",
		[SLUICE_ON_FRAMING_ERROR_RESET] = "reset",
	};
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
	json_object_set_new(to, "unnamed",
			    json_string(v->unnamed_default ? "default" : "strictest"));
	json_object_set_new(to, "on_framing_error",
			    json_string(framing_errors[v->on_framing_error]));
	json_object_set_new(to, "pool", json_string(v->port_pool ? "port" : "model"));
	json_object_set_new(to, "on_disconnect", json_string(v->frees ? "free" : "usual"));
	json_object_set_new(to, "keep", json_string(v->keep ? "on" : "off"));
	json_object_set_new(to, "blob_bytes", json_integer(v->blob_bytes));
	json_object_set_new(to, "judge_methods", judged);
	json_object_set_new(to, "paths", paths);
	json_object_set_new(to, "model_from", from);
	json_object_set_new(to, "model_header",
			    r->header[0] ? json_string(r->header) : json_null());
}

/* How a service identifies its clients, in the kernel's order of look-up. */
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

void report_identity(json_t *to, const struct service *v)
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
			value_model(s, v->model_id), "unary", v->unary);
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

json_t *report_service_list(const struct daemon_state *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->service_count; i++, state_step_counts(s))
		json_array_append_new(list, service(s, (uint32_t)i));
	return list;
}

json_t *report_services(const struct daemon_state *s)
{
	json_t *list = report_service_list(s);

	for (size_t i = 0; i < s->service_count; i++, state_step_counts(s)) {
		json_t *one = json_array_get(list, i);
		uint64_t sum[3] = {0};

		for (size_t k = 0; k < s->count_count; k++)
			if (s->counts[k].key.service == i && s->counts[k].key.verdict < 3)
				sum[s->counts[k].key.verdict] += s->counts[k].n;
		for (unsigned v = 0; v < 3; v++)
			json_object_set_new(one, text_verdict(v), value_count(sum[v]));
	}
	return json_pack("{s:o}", "services", list);
}
