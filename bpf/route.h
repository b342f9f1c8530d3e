/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The rules of a service (include/sluice/route.h), applied at the end of a request's head: is it
 * judged, and does its path or a header name the model before the body is asked? A name goes where
 * the body's would, so that whatever asks for the request's model finds it there; a body that need
 * not be asked is not scanned.
 */
#ifndef SLUICE_BPF_ROUTE_H
#define SLUICE_BPF_ROUTE_H

#include <sluice/route.h>

#include "conn.h"

static __always_inline struct sluice_rules *service_rules(__u32 service)
{
	return bpf_map_lookup_elem(&rules, &service);
}

/* Whether path, header or body have named a model, if only by a name that cannot be told. */
static __always_inline bool request_named(const struct http1_request *r)
{
	return r->json.name_len || r->json.flags & JSON_MODEL_INVALID;
}

/* The rule that was found, or NULL. */
static __always_inline const struct sluice_rule *rule_at(const struct sluice_rules *set,
							 __u64 found)
{
	found = scan_opaque(found); /* tested as 64 bits, which 6.1 wants */
	if (found >= SLUICE_RULES_MAX)
		return NULL;
	found = scan_opaque(found); /* or its multiple is worked out before the test */
	return &set->rule[found];
}

struct naming {
	struct http1_request *r;
	struct route_name name;
};

static long naming_step(__u32 i, struct naming *n)
{
	route_name_step(&n->name, n->r, n->r->json.name);
	return n->name.done != 0;
}

/* The name behind the prefix of the rule that was found, if that is one of kind MODEL. */
static __always_inline void name_by_path(struct http1_request *r, const struct sluice_rule *rule)
{
	struct naming n = {.r = r};

	if (!rule || rule->kind != SLUICE_RULE_MODEL)
		return;
	route_name_begin(&n.name, rule->len);
	bpf_loop(HTTP1_PATH_MAX + 1, naming_step, &n, 0);
	if (n.name.invalid || !n.name.done)
		r->json.flags |= JSON_MODEL_INVALID;
	else
		r->json.name_len = n.name.len;
}

static __always_inline void name_by_header(struct http1_request *r)
{
	if (r->frame.flags & HTTP1_VALUE_BAD) {
		r->json.flags |= JSON_MODEL_INVALID;
	} else if (r->frame.value_len) {
		__builtin_memcpy(r->json.name, r->value, SLUICE_NAME_MAX);
		r->json.name_len = r->frame.value_len;
	}
}

/* Asks the sources in front of the body, or (behind) those behind it, until one has named the
 * model. */
static __always_inline void name_request(struct http1_request *r, const struct sluice_rules *set,
					 const struct sluice_rule *rule, bool behind)
{
	bool body = false;

	for (__u32 i = 0; i < sizeof(set->source); i++) {
		__u8 source = set->source[i];

		if (!source)
			break;
		if (source == SLUICE_SOURCE_BODY) {
			if (!behind)
				return;
			body = true;
			continue;
		}
		if (body != behind)
			continue;
		if (source == SLUICE_SOURCE_PATH)
			name_by_path(r, rule);
		else
			name_by_header(r);
		if (request_named(r))
			break;
	}
	r->json.state = JSON_MODEL_DONE; /* named, or the body is no source */
	if (!behind)
		r->json.flags |= JSON_MODEL_UNREAD;
}

/* At the end of the request's head: SLUICE_CONN_JUDGE if it is judged, and its name if the head has
 * one. */
static __always_inline void route_head(struct sluice_conn *conn, __u32 service)
{
	struct sluice_rules *set = service_rules(service);
	struct http1_request *r = &conn->request;
	const struct sluice_rule *rule;

	if (!set || !route_method(set, r->frame.method))
		return;
	if (!set->methods) { /* no rules: what is sent by POST, by the name in its body */
		conn_set(conn, SLUICE_CONN_JUDGE);
		return;
	}
	rule = rule_at(set, route_find(set, r->path));
	if (rule && rule->kind == SLUICE_RULE_PASS && route_plain(r))
		return;
	conn_set(conn, SLUICE_CONN_JUDGE);
	name_request(r, set, rule, false);
}

/* At the end of a request that nothing has named yet. */
SUBPROG int route_after_body(struct sluice_conn *conn, __u32 service)
{
	struct sluice_rules *set = service_rules(service);

	if (conn && set && set->methods)
		name_request(&conn->request, set, rule_at(set, route_find(set, conn->request.path)),
			     true);
	return 0;
}

#endif
