/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What Prometheus reads (/metrics) and what a person reads in a browser (/), served by
 * libmicrohttpd without a thread of its own: its epoll fd sits in the daemon's loop. Both pages are
 * pure functions of the state.
 */
#ifndef SLUICE_METRICS_H
#define SLUICE_METRICS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/state.h"

#define METRICS_CONNECTIONS_MAX 32
#define METRICS_TIMEOUT_SECS    10 /* of a connection that does nothing */

struct metrics;

/* `refresh` as in struct control_ops: called before a page is written. On failure -errno and the
 * reason in err. */
int metrics_open(struct metrics **out, const char *addr, uint16_t port,
		 const struct daemon_state *state, void (*refresh)(void *arg, unsigned parts),
		 void *arg, char *err, size_t err_len);
void metrics_close(struct metrics *m);
/* Readable when metrics_poll() has something to do; that is also to be called now and then, for
 * time-outs. */
int metrics_fd(const struct metrics *m);
void metrics_poll(struct metrics *m);

/* The pages. */
void metrics_write_exposition(FILE *out, const struct daemon_state *s);
#define METRICS_LIMITS_MAX 1000 /* clients listed, the last seen first */
/*
 * /v1/limits: what is left to one client for one model (NULL: the service's own) at one service
 * (NULL: where it was last seen), or (client NULL) to those last seen, as JSON. Returns the HTTP
 * status.
 */
unsigned metrics_write_limits(FILE *out, const struct daemon_state *s, const char *client,
			      const char *model, const char *service);
void metrics_write_page(FILE *out, const struct daemon_state *s);

#endif
