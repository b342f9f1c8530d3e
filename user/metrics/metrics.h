/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * /metrics for Prometheus and / for a browser. libmicrohttpd serves them without a thread: its
 * epoll fd is in the daemon's loop. All pages are pure functions of the state.
 */
#ifndef SLUICE_METRICS_H
#define SLUICE_METRICS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/state.h"
#include "loop/work.h"
#include "metrics/access.h"

#define METRICS_CONNECTIONS_MAX 32
#define METRICS_PAGES_MAX       24             /* being written: the rest gives way to others */
#define METRICS_ACCEPTS_MAX     8              /* of one metrics_poll() */
#define METRICS_DEADLINE_NS     10000000000ULL /* of a connection, from accept to end */

struct metrics;

/* `refresh` as in struct control_ops: called before a page is written, which is a work of the
 * queue. On failure -errno and the reason in err. */
int metrics_open(struct metrics **out, const char *addr, uint16_t port,
		 struct metrics_access *access, const struct daemon_state *state,
		 struct work_queue *queue, void (*refresh)(void *arg, unsigned parts), void *arg,
		 char *err, size_t err_len);
void metrics_close(struct metrics *m);
/* For requests and connections that follow. False, and nothing happens: it requires other things,
 * so it may not suit the address. */
bool metrics_set_access(struct metrics *m, struct metrics_access *access);
/* Readable when metrics_poll() has work. */
int metrics_fd(const struct metrics *m);
void metrics_poll(struct metrics *m, uint64_t now_ns);
/* metrics_poll(), after it ended the connections that are late, and accepts again after a want of
 * descriptors. Call it at each tick. */
void metrics_expire(struct metrics *m, uint64_t now_ns);
/* Accepts that failed for want of descriptors or memory. */
uint64_t metrics_accept_failures(const struct metrics *m);

/* The pages. */
void metrics_write_exposition(FILE *out, const struct daemon_state *s);
#define METRICS_LIMITS_MAX 1000 /* clients listed, the last seen first */
/*
 * /v1/limits, as JSON: the rest of one client's quota for one model (NULL: the service's default)
 * at one service (NULL: the one it last used). With client NULL: of the clients last seen. Returns
 * the HTTP status.
 */
unsigned metrics_write_limits(FILE *out, const struct daemon_state *s, const char *client,
			      const char *model, const char *service);
/* Whether there is a quota; if there is, the exposition needs STATE_CLIENTS. */
bool metrics_any_quota(const struct daemon_state *s);
/* How much of a budget is used, of the METRICS_LIMITS_MAX clients seen last. */
struct metrics_quota_use {
	unsigned clients, spent; /* that have such a budget; of those, with nothing left of it */
	double most;             /* the largest used part; above 1: in debt */
};
void metrics_read_quota_use(const struct daemon_state *s, struct metrics_quota_use *requests,
			    struct metrics_quota_use *tokens);
/* The page at /. Its models and clients have the text `filter` in their names; NULL or "": all. */
void metrics_write_page(FILE *out, const struct daemon_state *s, const char *filter);
/*
 * /v1/history, as JSON: the last hour of one model, or (NULL) of all together, after this time in
 * unix ms. Returns the HTTP status.
 */
unsigned metrics_write_history(FILE *out, const struct daemon_state *s, const char *model,
			       uint64_t after_ms);

/* A file that is part of the program: the page's script, its style, the library that plots. */
struct metrics_asset {
	const char *url, *type;
	const char *text;
	size_t len;
	char etag[20]; /* with its quotes */
};
/* NULL: there is none. */
const struct metrics_asset *metrics_asset(const char *url);
/* /readyz: one sentence. Returns the HTTP status. */
unsigned metrics_write_ready(FILE *out, const struct daemon_state *s);

#endif
