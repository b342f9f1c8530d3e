/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How sluicectl talks to the daemon: a request as a line, its answer as a JSON object. Whatever
 * goes wrong is one line on standard error and an exit status. An API key goes to no stranger, and
 * stays nowhere in memory.
 */
#ifndef SLUICE_EXCHANGE_H
#define SLUICE_EXCHANGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define EXIT_REFUSED   1
#define EXIT_USAGE     2
#define EXIT_NO_DAEMON 3

/* Prints "sluicectl: MESSAGE". EXIT_USAGE. */
__attribute__((format(printf, 1, 2))) int complain(const char *format, ...);
/* Says why control_connect() or control_say() failed; error: -errno. EXIT_NO_DAEMON. */
int no_daemon(const char *control, int error);
/* Sends a request (its reference is taken). The connection's fd, or a negative exit status. */
int say(const char *control, json_t *request);
/* Hears one line and takes it apart. 0 and *answer without its "ok", or an exit status. printable:
 * its texts are escaped for people. */
int hear(const char *control, int fd, unsigned timeout_s, bool printable, json_t **answer);

/* Whether a daemon answers: 0, or why control_connect() failed, -errno. */
int look_for_daemon(const char *control);
/* Waits until one does. */
void await_daemon(const char *control);

/* CLOCK_MONOTONIC. */
int64_t now_ms(void);

#endif
