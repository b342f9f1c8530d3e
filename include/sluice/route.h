/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which requests are judged, and how a request target names a model: the rules of one service
 * (struct sluice_rules) held against the target as it was sent. Prefixes and target are both padded
 * with zeros, so a prefix is compared a word at a time, and its own zeros say where to stop. The
 * same code runs in BPF and in tests; what needs a loop is a step that the caller repeats.
 */
#ifndef SLUICE_ROUTE_H
#define SLUICE_ROUTE_H

#include "abi.h"
#include "scan.h"

#define ROUTE_NONE 0xff /* no rule fits */

_Static_assert(SLUICE_RULE_PREFIX_MAX <= HTTP1_PATH_MAX - 8, "a prefix ends within the target");
_Static_assert(SLUICE_NAME_MAX == HTTP1_PATH_MAX, "a name after a prefix fits");
_Static_assert(SLUICE_NAME_MAX == HTTP1_VALUE_MAX, "a header's value is a name");

/* Whether the target begins with the rule's prefix. */
static __always_inline int route_fits(const struct sluice_rule *rule, const char *path)
{
	__u64 differ = 0;

	SCAN_UNROLL
	for (int i = 0; i < SLUICE_RULE_PREFIX_MAX; i += 8) {
		__u64 want = scan_load(rule->prefix + i);

		differ |=
			(want ^ scan_load(path + i)) & scan_mask(scan_below(want, 1) & SCAN_HIGHS);
		/* Most rules part from most targets in their first word. */
		if (!i && differ)
			return 0;
	}
	return !differ;
}

/* The index of the first rule that fits the target, or ROUTE_NONE. */
static __always_inline __u32 route_find(const struct sluice_rules *rules, const char *path)
{
	__u64 found = ROUTE_NONE;

	SCAN_UNROLL
	for (__u32 i = 0; i < SLUICE_RULES_MAX; i++) {
		if (i >= rules->count)
			break;
		if (rules->rule[i].len && route_fits(&rules->rule[i], path)) {
			found = i;
			break;
		}
	}
	return scan_forget(found, rules->count);
}

/*
 * Whether the target's path can be trusted to be the path that the server will see. One with
 * escapes, parameters, a fragment, backslashes, dot or empty segments cannot: servers and proxies
 * in front of them resolve these (route_resolve.h), and a client must not pass by spelling a judged
 * path in another way. Nor can one that is cut, or that begins with anything but a slash. The query
 * does not matter.
 */
static __always_inline int route_plain(const struct http1_request *r)
{
	if (r->path[0] != '/')
		return 0;
	SCAN_UNROLL
	for (int i = 0; i < HTTP1_PATH_MAX - 8 + 7; i += 7) {
		__u64 w = scan_load(r->path + (i < HTTP1_PATH_MAX - 8 ? i : HTTP1_PATH_MAX - 8));
		__u64 end = (scan_equal(w, '?') | scan_below(w, 1)) & SCAN_HIGHS;
		/* two neighbours out of '.' and '/', which differ in their lowest bit only */
		__u64 dots, odd;

		w &= scan_mask(end);
		dots = (w & ~SCAN_ONES) ^ SCAN_ONES * '.';
		dots = dots | dots >> 8 | 0xffULL << 56;
		odd = (scan_equal(w, '%') | scan_equal(w, ';') | scan_equal(w, '\\') |
		       scan_equal(w, '#') | scan_equal(dots, 0)) &
		      SCAN_HIGHS;
		if (odd)
			return 0;
		if (end)
			return 1;
	}
	return !(r->frame.flags & HTTP1_PATH_CUT);
}

/* A model's name in a target, as far as it has been read. */
struct route_name {
	__u32 at;  /* of the target's next byte */
	__u32 len; /* of the name */
	__u32 done;
	__u32 invalid; /* too long, cut, or no text: len is 0 then */
};

static __always_inline void route_name_begin(struct route_name *n, __u32 prefix_len)
{
	__builtin_memset(n, 0, sizeof(*n));
	n->at = prefix_len;
}

static __always_inline void route_name_end(struct route_name *n, char *name, int invalid)
{
	n->done = 1;
	n->invalid = invalid;
	if (!invalid)
		return;
	n->len = 0;
	__builtin_memset(name, 0, SLUICE_NAME_MAX);
}

/*
 * One step of taking the name, up to one of / : ? # or the target's end: eight plain bytes at most,
 * or one %XX (RFC 3986 2.1). `name` is all zero before the first step and stays padded with
 * zeros; HTTP1_PATH_MAX steps are enough. To be called until done.
 */
static __always_inline void route_name_step(struct route_name *n, const struct http1_request *r,
					    char *name)
{
	__u64 at = scan_opaque(n->at), len = scan_opaque(n->len), w, marks, taken;
	__u8 c, high, low;

	if (at >= HTTP1_PATH_MAX || at >= r->frame.path_len) {
		route_name_end(n, name, !!(r->frame.flags & HTTP1_PATH_CUT));
		return;
	}
	if (len >= SLUICE_NAME_MAX - 1) {
		route_name_end(n, name, 1);
		return;
	}
	c = r->path[at];
	if (c == '/' || c == ':' || c == '?' || c == '#') {
		route_name_end(n, name, 0);
		return;
	}
	if (c == '%') {
		if (at >= HTTP1_PATH_MAX - 2) {
			route_name_end(n, name, 1);
			return;
		}
		high = scan_hex(r->path[at + 1]);
		low = scan_hex(r->path[at + 2]);
		c = high << 4 | (low & 15);
		if (high > 15 || low > 15 || c < 0x20) {
			route_name_end(n, name, 1);
			return;
		}
		name[len] = c;
		n->at = at + 3;
		n->len = len + 1;
		return;
	}
	if (at > HTTP1_PATH_MAX - 8 || len > SLUICE_NAME_MAX - 9) {
		name[len] = c;
		n->at = at + 1;
		n->len = len + 1;
		return;
	}
	w = scan_load(r->path + at);
	marks = (scan_equal(w & ~(SCAN_ONES * 0x10), '/') | scan_equal(w, ':') |
		 scan_equal(w, '#') | scan_equal(w, '%') | scan_below(w, 1)) &
		SCAN_HIGHS;
	taken = marks ? scan_index(marks) : 8;
	scan_store(name + len, w & scan_mask(marks));
	n->at = at + taken;
	n->len = len + taken;
}

/* Whether requests of this method are judged at all. */
static __always_inline int route_method(const struct sluice_rules *rules, __u8 method)
{
	__u32 methods = rules->methods ? rules->methods : 1 << HTTP1_METHOD_POST;

	return methods >> (method & 7) & 1;
}

#endif
