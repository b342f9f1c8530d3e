/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See services.h. */
#include "services.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients.h"
#include "endpoint.h"
#include "file.h"
#include "models.h"
#include "reply.h"

_Static_assert(offsetof(struct service_entry, label) == 0, "struct entries");

const struct parse_value services_as_feedback = PARSE_EITHER("off", "date");

static const struct parse_word framing_error_words[] = {
	{"auto", SLUICE_ON_FRAMING_ERROR_AUTO, NULL},
	{"pass", SLUICE_ON_FRAMING_ERROR_PASS, NULL},
	{"reset", SLUICE_ON_FRAMING_ERROR_RESET, NULL},
	{NULL, 0, NULL},
};
static const struct parse_value as_framing_error = {.kind = PARSE_WORD,
						    .words = framing_error_words};
static const struct parse_value as_disconnect = PARSE_EITHER("usual", "free");
static const struct parse_value as_keep = PARSE_EITHER("off", "on");
static const struct parse_value as_pool = PARSE_EITHER("model", "port");
static const struct parse_value as_unnamed = PARSE_EITHER("strictest", "default");

/* Parses [ADDR:]PORT[=MODEL] into an entry. */
static int take_listen(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct service_entry *e = to;
	struct service *s = &e->service;
	const char *equals = strchr(text, '=');
	char where[64], addr[INET6_ADDRSTRLEN + 1];
	size_t n = equals ? (size_t)(equals - text) : strlen(text);

	if (n < sizeof(where)) {
		memcpy(where, text, n);
		where[n] = '\0';
	}
	if (n >= sizeof(where) || endpoint_split(where, addr, sizeof(addr), &s->port) < 0 ||
	    (*addr && strcmp(addr, "*") && endpoint_address(addr, s->addr) < 0))
		return field_wrong(
			err, len, text,
			"[ADDR:]PORT[=MODEL], like 8000, 10.0.0.1:8000=llama or [::1]:8000");
	if (!*addr || !strcmp(addr, "*") || endpoint_is_any(s->addr)) {
		s->wildcard = true;
		memset(s->addr, 0, sizeof(s->addr));
	}
	e->has_listen = true;
	s->keep = true;
	snprintf(e->listen, sizeof(e->listen), "%s", text);
	if (!equals)
		return 0;
	e->has_model = true;
	return models_take_name(s->model, field, equals + 1, err, len);
}

int services_take_listen(void *to, const struct field *field, const char *text, char *err,
			 size_t len)
{
	struct service_entry *e = section_add(to, &services_section, err, len);

	return e ? take_listen(e, field, text, err, len) : -EINVAL;
}

static int take_model(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct service_entry *e = to;

	if (e->has_model) {
		parse_say(err, len, "listen names a model already");
		return -EINVAL;
	}
	e->has_model = true;
	return models_take_name(e->service.model, field, text, err, len);
}

static int take_quota(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct service *s = to;

	return clients_read_quota(text, &s->has_quota, &s->quota, err, len);
}

#define INTO(member) FIELD_INTO(struct service_entry, member)
#define AT(member)   .at = offsetof(struct service_entry, member)
#define GIVEN(flag)  .given = offsetof(struct service_entry, flag)
#define REQUESTS     GIVEN(has_http)

/* `listen` comes first: if it names a model, `model` must not. */
const struct field service_fields[] = {
	{"listen", .take = take_listen},
	{"model", .take = take_model},
	{"protocol", .as = &parse_as_protocol, INTO(service.protocol), GIVEN(has_protocol)},
	{"action", .as = &parse_as_action, INTO(service.action), GIVEN(has_action)},
	{"mode", .as = &parse_as_mode, INTO(service.mode), GIVEN(has_mode)},
	{"unary", .as = &field_as_bool, INTO(service.unary)},
	{"judge-methods", .list = true, .take = rules_take_method, AT(rules), REQUESTS},
	{"judge-paths", .list = true, .take = rules_take_path, AT(rules), REQUESTS,
	 .argument = SLUICE_RULE_JUDGE},
	{"pass-paths", .list = true, .take = rules_take_path, AT(rules), REQUESTS,
	 .argument = SLUICE_RULE_PASS},
	{"model-paths", .list = true, .take = rules_take_path, AT(rules), REQUESTS,
	 .argument = SLUICE_RULE_MODEL},
	{"model-from", .list = true, .take = rules_take_source, AT(rules), REQUESTS},
	{"model-header", .take = rules_take_header, AT(rules), REQUESTS},
	{"unnamed", .as = &as_unnamed, INTO(service.unnamed_default), REQUESTS},
	{"on-framing-error", .as = &as_framing_error, INTO(service.on_framing_error), REQUESTS},
	{"on-disconnect", .as = &as_disconnect, INTO(service.frees), REQUESTS},
	{"keep", .as = &as_keep, INTO(service.keep), REQUESTS},
	{"pool", .as = &as_pool, INTO(service.port_pool), REQUESTS},
	{"blob-bytes", .as = &parse_as_blob_bytes, INTO(service.blob_bytes), GIVEN(has_blob_bytes)},
	{"quota", .take = take_quota, AT(service), GIVEN(has_quota)},
	{"feedback", .as = &services_as_feedback, INTO(service.feedback), GIVEN(has_feedback)},
	{"identity", .list = true, .take = identity_take_source, AT(identity)},
	{"trusted-proxies", .list = true, .take = identity_take_trusted, AT(identity)},
	{"proxy-protocol", .as = &identity_as_proxy, INTO(identity.said.proxy)},
	{"client-prefix-v4", .take = identity_take_bits, AT(identity.said.plen4),
	 GIVEN(identity.has_plen4), .argument = 32},
	{"client-prefix-v6", .take = identity_take_bits, AT(identity.said.plen6),
	 GIVEN(identity.has_plen6), .argument = 128},
	{"priority-header", .take = priority_take_header, AT(priority), REQUESTS},
	{"priority-values", .map = true, .take = priority_take_value, AT(priority), REQUESTS},
	{"reply-headers", .map = true, .take = reply_take_header, AT(service.reply), REQUESTS},
	{"cors", .take = reply_take_cors, AT(service.reply), REQUESTS},
	{NULL},
};

_Static_assert(sizeof(service_fields) / sizeof(service_fields[0]) <= CONFIG_FILE_FIELDS_MAX + 1,
	       "the file's schema");

static bool same_service(const struct service *a, const struct service *b)
{
	return a->port == b->port && a->wildcard == b->wildcard &&
	       !memcmp(a->addr, b->addr, sizeof(a->addr));
}

/* Fills in the global settings for absent keys. */
static void fill_in(struct service_entry *e, const struct config *c)
{
	struct service *s = &e->service;

	if (!e->has_model)
		strcpy(s->model, "default");
	if (!e->has_protocol)
		s->protocol = c->protocol;
	if (!e->has_mode)
		s->mode = c->mode;
	if (!e->has_action)
		s->action = c->action;
	/* A client of an opaque service would not understand a 429. */
	if (!e->has_action && s->protocol == SLUICE_PROTOCOL_OPAQUE &&
	    s->action == SLUICE_ACTION_REPLY)
		s->action = SLUICE_ACTION_RESET;
	if (!e->has_quota && s->protocol == SLUICE_PROTOCOL_HTTP) {
		s->has_quota = c->has_quota;
		s->quota = c->quota;
	}
	if (!e->has_feedback && s->protocol == SLUICE_PROTOCOL_HTTP)
		s->feedback = c->feedback;
	if (!e->has_blob_bytes && s->protocol == SLUICE_PROTOCOL_HTTP)
		s->blob_bytes = SERVICE_BLOB_BYTES;
}

static int check_opaque(struct loader *l, const struct service_entry *e)
{
	const struct service *s = &e->service;

	if (s->action == SLUICE_ACTION_REPLY)
		return complain(l, e->label,
				"action: \"reply\" needs protocol http; use reset or drop");
	if (s->has_quota || s->feedback)
		return complain(
			l, e->label,
			"quota and feedback are of requests, which only protocol http sees");
	if (e->has_blob_bytes)
		return complain(l, e->label,
				"blob-bytes is of requests, which only protocol http sees");
	if (e->has_http)
		return complain(
			l, e->label,
			"methods, paths, model-from, model-header, unnamed, priorities, on-framing-error, on-disconnect, keep, pool, reply-headers and cors are of requests, which only protocol http sees");
	if (identity_is_of_requests(&e->identity))
		return complain(
			l, e->label,
			"keys, forwarded addresses and proxy-protocol are read of requests, which only protocol http sees");
	return 0;
}

static int finish_service(struct loader *l, struct service_entry *e)
{
	struct config *c = &l->config;
	struct service *s = &e->service;
	char why[LOAD_WHY_MAX];

	if (!e->has_listen)
		return complain(l, e->label, "listen is missing");
	for (unsigned i = 0; i < c->service_count; i++)
		if (same_service(s, &c->services[i]))
			return complain(l, e->label, "\"" PARSE_QUOTE "\" is given twice",
					PARSE_QUOTED(e->listen));
	fill_in(e, c);
	if (s->protocol == SLUICE_PROTOCOL_OPAQUE && check_opaque(l, e) < 0)
		return -EINVAL;
	if ((s->protocol == SLUICE_PROTOCOL_HTTP &&
	     rules_finish(&e->rules, &s->rules, why, sizeof(why)) < 0) ||
	    identity_finish(&e->identity, &s->identity, &s->rules, why, sizeof(why)) < 0 ||
	    priority_finish(&e->priority, &s->priority, &s->rules, why, sizeof(why)) < 0 ||
	    reply_finish(&s->reply, &s->rules, why, sizeof(why)) < 0)
		return complain(l, e->label, "%s", why);
	c->services[c->service_count++] = *s;
	return 0;
}

static int finish(struct loader *l)
{
	struct service_entry *e = l->services.items;

	if (!l->services.count)
		return complain(l, "--listen",
				"no service is given; name one, for example --listen 8000");
	l->config.services = calloc(l->services.count, sizeof(*l->config.services));
	if (!l->config.services)
		return complain(l, "--listen", "out of memory");
	for (unsigned i = 0; i < l->services.count; i++)
		if (finish_service(l, &e[i]) < 0)
			return -EINVAL;
	return 0;
}

const struct section services_section = {
	.name = "services",
	.fields = service_fields,
	.at = offsetof(struct loader, services),
	.size = sizeof(struct service_entry),
	.max = SLUICE_SERVICES_MAX,
	.finish = finish,
};
