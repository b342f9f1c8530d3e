/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Applies the rules of a service (include/sluice/route.h) at the end of a request's head. They say
 * whether the request is judged, and whether its path or a header names the model before the body
 * does. Such a name is stored where the scanner stores a body's, so that every reader of the model
 * finds it. A body that is not needed for the name is not scanned.
 */
#ifndef SLUICE_BPF_ROUTE_H
#define SLUICE_BPF_ROUTE_H

#include <sluice/route.h>

#include "conn.h"

static __always_inline struct sluice_rules *service_rules(__u32 service)
{
	return bpf_map_lookup_elem(&rules, &service);
}

/* Whether path, header or body have named a model, even by a name that is invalid. */
static __always_inline bool request_named(const struct http1_request *r)
{
	return r->json.name_len || r->json.flags & JSON_MODEL_INVALID;
}

/* The rule that was found, or NULL. */
static __always_inline const struct sluice_rule *rule_at(const struct sluice_rules *set,
							 __u64 found)
{
	found = scan_opaque(found); /* the test is on 64 bits, as Linux 6.1's verifier needs */
	if (found >= SLUICE_RULES_MAX)
		return NULL;
	found = scan_opaque(found); /* else the compiler multiplies before the test */
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

/* Takes the name after the prefix of the rule that matched, if the rule's kind is MODEL. */
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

/* Tries the sources listed before the body, or (`after_body`) those after it, until one names the
 * model. */
static __always_inline void name_request(struct http1_request *r, const struct sluice_rules *set,
					 const struct sluice_rule *rule, bool after_body)
{
	bool body = false;

	for (__u32 i = 0; i < sizeof(set->source); i++) {
		__u8 source = set->source[i];

		if (!source)
			break;
		if (source == SLUICE_SOURCE_BODY) {
			if (!after_body)
				return;
			body = true;
			continue;
		}
		if (body != after_body)
			continue;
		if (source == SLUICE_SOURCE_PATH)
			name_by_path(r, rule);
		else
			name_by_header(r);
		if (request_named(r))
			break;
	}
	r->json.state = JSON_MODEL_DONE; /* named, or the body is no source */
	if (!after_body)
		r->json.flags |= JSON_MODEL_UNREAD;
}

/* At the end of the request's head: sets SLUICE_CONN_JUDGE if the request is judged, and its
 * model's name if the head states it. */
static __always_inline void route_head(struct sluice_conn *conn, __u32 service)
{
	struct sluice_rules *set = service_rules(service);
	struct http1_request *r = &conn->request;
	const struct sluice_rule *rule;

	if (!set || !route_method(set, r->frame.method))
		return;
	if (!set->methods) { /* no rules: POST requests are judged, by the name in the body */
		conn_set(conn, SLUICE_CONN_JUDGE);
		return;
	}
	rule = rule_at(set, route_find(set, r->path));
	if (rule && rule->kind == SLUICE_RULE_PASS && route_plain(r))
		return;
	conn_set(conn, SLUICE_CONN_JUDGE);
	name_request(r, set, rule, false);
}

/* At the end of a request without a name yet: tries the sources listed after the body. */
SUBPROG int route_after_body(struct sluice_conn *conn, __u32 service)
{
	struct sluice_rules *set = service_rules(service);

	if (conn && set && set->methods)
		name_request(&conn->request, set, rule_at(set, route_find(set, conn->request.path)),
			     true);
	return 0;
}

#endif
