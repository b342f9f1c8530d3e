/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Applies the rules of a service (include/sluice/route.h) at the end of a request's head. They say
 * whether the request is judged, and whether its path or a header names the model before the body
 * does. Such a name is stored where the scanner stores a body's, so that every reader of the model
 * finds it. The names in the body do not count then.
 */
#ifndef SLUICE_BPF_ROUTE_H
#define SLUICE_BPF_ROUTE_H

#include <sluice/request_kind.h>
#include <sluice/route.h>
#include <sluice/route_resolve.h>

#include "lookup.h"
#include "readings.h"

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

/* Takes the name after the prefix of the rule that was found, if the rule's kind is MODEL. */
SUBPROG int name_by_path(struct http1_request *r, const struct sluice_rules *set, __u32 found)
{
	const struct sluice_rule *rule;
	struct naming n = {.r = r};

	if (!r || !set)
		return 0;
	rule = rule_at(set, found);
	if (!rule || rule->kind != SLUICE_RULE_MODEL)
		return 0;
	route_name_begin(&n.name, rule->len);
	bpf_loop(HTTP1_PATH_MAX + 1, naming_step, &n, 0);
	if (n.name.invalid || !n.name.done)
		r->json.flags |= JSON_MODEL_INVALID;
	else
		r->json.name_len = n.name.len;
	return 0;
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
					 __u32 found, bool after_body)
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
			name_by_path(r, set, found);
		else
			name_by_header(r);
		if (request_named(r))
			break;
	}
	r->json.flags |= JSON_MODEL_UNREAD; /* named, or the body is no source */
}

/* Working memory: the request with its path as servers resolve it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct http1_request);
	__uint(max_entries, 1);
} resolved_request SEC(".maps");

struct resolving {
	const struct http1_request *from;
	struct http1_request *to;
	struct route_resolve resolve;
};

static long resolving_step(__u32 i, struct resolving *v)
{
	route_resolve_step(&v->resolve, v->from, v->to->path);
	return v->resolve.state == ROUTE_RESOLVED;
}

static __always_inline bool has_model_rules(const struct sluice_rules *set)
{
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SLUICE_RULES_MAX; i++)
		if (set->rule[i].kind == SLUICE_RULE_MODEL)
			return true;
	return false;
}

/*
 * The request's path is not plain: some servers resolve it before they look for a route. The model
 * that the resolved path names is one more reading. It is the request's name as long as nothing
 * else names one.
 */
SUBPROG int route_resolved(struct sluice_conn *conn, const struct sluice_service *service)
{
	struct sluice_rules *set;
	struct http1_request *r;
	struct resolving v = {};
	__u32 zero = 0;

	if (!conn || !service)
		return 0;
	set = service_rules(service->id);
	r = bpf_map_lookup_elem(&resolved_request, &zero);
	if (!set || !r || !has_model_rules(set))
		return 0;
	__builtin_memset(r, 0, sizeof(*r));
	v.from = &conn->request;
	v.to = r;
	route_resolve_begin(&v.resolve, v.from);
	bpf_loop(ROUTE_RESOLVE_STEPS, resolving_step, &v, 0);
	r->frame.path_len = v.resolve.len;
	name_by_path(r, set, route_find(set, r->path));
	if (v.resolve.unclear || r->json.flags & JSON_MODEL_INVALID)
		conn_set(conn, SLUICE_CONN_UNCLEAR);
	if (!r->json.name_len)
		return 0;
	reading_add(conn, id_of_name(r));
	if (!request_named(&conn->request)) {
		__builtin_memcpy(conn->request.json.name, r->json.name, SLUICE_NAME_MAX);
		conn->request.json.name_len = r->json.name_len;
	}
	return 0;
}

static __always_inline bool path_names(const struct sluice_rules *set)
{
	return set->source[0] == SLUICE_SOURCE_PATH || set->source[1] == SLUICE_SOURCE_PATH ||
	       set->source[2] == SLUICE_SOURCE_PATH;
}

SUBPROG int path_passes(const struct sluice_conn *conn)
{
	return conn ? request_passes(&conn->request) : 0;
}

/* At the end of the request's head: sets SLUICE_CONN_JUDGE if the request is judged, and its
 * model's name if the head states it. */
static __always_inline void route_head(struct sluice_conn *conn,
				       const struct sluice_service *service)
{
	struct sluice_rules *set = service_rules(service->id);
	struct http1_request *r = &conn->request;
	const struct sluice_rule *rule;
	__u32 found;
	bool plain;

	if (!set || !route_method(set, r->frame.method))
		return;
	if (!set->methods) { /* no rules: POST requests are judged, by the name in the body */
		conn_set(conn, SLUICE_CONN_JUDGE);
		return;
	}
	found = route_find(set, r->path);
	rule = rule_at(set, found);
	plain = route_plain(r);
	if (plain && (rule ? rule->kind == SLUICE_RULE_PASS : path_passes(conn)))
		return;
	conn_set(conn, SLUICE_CONN_JUDGE);
	name_request(r, set, found, false);
	if (!plain && path_names(set))
		route_resolved(conn, service);
}

/* At the end of a request without a name yet: tries the sources listed after the body. */
SUBPROG int route_after_body(struct sluice_conn *conn, __u32 service)
{
	struct sluice_rules *set = service_rules(service);

	if (conn && set && set->methods)
		name_request(&conn->request, set, route_find(set, conn->request.path), true);
	return 0;
}

#endif
