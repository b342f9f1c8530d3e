/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The path of a request target as servers resolve it: without scheme and authority (RFC 9112
 * 3.2.2), escapes decoded, empty and dot segments removed (RFC 3986 5.2.4), path parameters
 * dropped, backslashes taken for slashes. No server does all of that, so the target as it was sent
 * stays a reading, too. Where servers that resolve only a part would see still another path, the
 * result says that it is unclear.
 */
#ifndef SLUICE_ROUTE_RESOLVE_H
#define SLUICE_ROUTE_RESOLVE_H

#include "abi.h"
#include "scan.h"

enum route_resolving {
	ROUTE_SCHEME,
	ROUTE_AUTHORITY,
	ROUTE_PATH,
	ROUTE_PARAMETER, /* from a semicolon to the end of its segment */
	ROUTE_PARENT,    /* the last segment is being removed */
	ROUTE_RESOLVED,
};

struct route_resolve {
	__u32 state; /* enum route_resolving */
	__u32 at;    /* of the target's next byte */
	__u32 len;   /* of the path */
	__u32 unclear;
};

#define ROUTE_RESOLVE_STEPS (3 * HTTP1_PATH_MAX) /* are enough for every target */

static __always_inline void route_append(struct route_resolve *v, char *path, __u8 c)
{
	__u64 len = scan_opaque(v->len);

	if (c < 0x20 || len >= HTTP1_PATH_MAX) {
		v->unclear = 1;
		return;
	}
	path[len] = c;
	v->len = len + 1;
}

static __always_inline void route_drop_last(struct route_resolve *v, char *path)
{
	__u64 len = scan_opaque(v->len) - 1;

	if (len >= HTTP1_PATH_MAX)
		return;
	path[len] = 0;
	v->len = len;
}

/* The byte of the path `back` bytes before its end; 0: none. */
static __always_inline __u8 route_last(const struct route_resolve *v, const char *path, __u32 back)
{
	__u64 at = scan_opaque(v->len) - back;

	return at < HTTP1_PATH_MAX ? path[at] : 0;
}

/* A segment has ended. Removes it if it is "." or "..". */
static __always_inline void route_segment_end(struct route_resolve *v, char *path)
{
	if (route_last(v, path, 1) != '.')
		return;
	if (route_last(v, path, 2) == '/') {
		route_drop_last(v, path);
	} else if (route_last(v, path, 2) == '.' && route_last(v, path, 3) == '/') {
		route_drop_last(v, path);
		route_drop_last(v, path);
		if (v->len > 1)
			route_drop_last(v, path);
		v->state = ROUTE_PARENT;
		v->unclear = 1;
	}
}

static __always_inline void route_slash(struct route_resolve *v, char *path)
{
	route_segment_end(v, path);
	if (v->state == ROUTE_PATH && route_last(v, path, 1) != '/')
		route_append(v, path, '/');
}

/* The target is no absolute form, and does not begin with a slash: what a server makes of it is
 * open. */
static __always_inline void route_relative(struct route_resolve *v, char *path)
{
	v->state = ROUTE_PATH;
	v->unclear = 1;
	v->at = 0;
	route_append(v, path, '/');
}

static __always_inline void route_resolve_begin(struct route_resolve *v,
						const struct http1_request *r)
{
	__builtin_memset(v, 0, sizeof(*v));
	if (r->path[0] == '/' || r->path[0] == '\\')
		v->state = ROUTE_PATH;
}

/* One byte of the path, or one %XX. */
static __always_inline void route_path_byte(struct route_resolve *v, const struct http1_request *r,
					    char *path, __u64 at, __u8 c)
{
	v->at = at + 1;
	if (c == '%') {
		__u8 high = 16, low = 16;

		if (at < HTTP1_PATH_MAX - 2) {
			high = scan_hex(r->path[at + 1]);
			low = scan_hex(r->path[at + 2]);
		}
		if (high < 16 && low < 16) {
			c = high << 4 | low;
			v->at = at + 3;
			if (c != '/' && c != '\\') {
				v->unclear |= c == '%'; /* some servers decode twice */
				route_append(v, path, c);
				return;
			}
		} else {
			v->unclear = 1;
		}
	}
	if (c == ';')
		v->state = ROUTE_PARAMETER;
	else if (c == '/' || c == '\\')
		route_slash(v, path);
	else
		route_append(v, path, c);
}

/*
 * One step. `path` (HTTP1_PATH_MAX bytes) is all zero before the first one and stays padded with
 * zeros. To be called until the state is ROUTE_RESOLVED.
 */
static __always_inline void route_resolve_step(struct route_resolve *v,
					       const struct http1_request *r, char *path)
{
	__u64 at = scan_opaque(v->at);
	__u8 c = 0;
	int end;

	if (v->state == ROUTE_PARENT) {
		if (route_last(v, path, 1) == '/' || !v->len)
			v->state = ROUTE_PATH;
		else
			route_drop_last(v, path);
		return;
	}
	if (at < HTTP1_PATH_MAX && at < r->frame.path_len)
		c = r->path[at];
	end = !c || c == '?' || c == '#';
	switch (v->state) {
	case ROUTE_SCHEME:
		if (end || c == '/' || c == '\\') {
			route_relative(v, path);
		} else if (c != ':') {
			v->at = at + 1;
		} else if (at < HTTP1_PATH_MAX - 2 && r->path[at + 1] == '/' &&
			   r->path[at + 2] == '/') {
			v->state = ROUTE_AUTHORITY;
			v->at = at + 3;
		} else {
			route_relative(v, path);
		}
		return;
	case ROUTE_AUTHORITY:
	case ROUTE_PARAMETER:
		if (end || c == '/' || c == '\\')
			v->state = ROUTE_PATH;
		else
			v->at = at + 1;
		return;
	default:
		break;
	}
	if (!end) {
		route_path_byte(v, r, path, at, c);
		return;
	}
	/* Go takes a fragment for a part of the path. */
	if (c == '#' || (!c && r->frame.flags & HTTP1_PATH_CUT))
		v->unclear = 1;
	route_segment_end(v, path);
	if (v->state == ROUTE_PATH)
		v->state = ROUTE_RESOLVED;
}

#endif
