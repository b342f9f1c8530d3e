/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * `sluicectl top`: one screen with the gate's state, models against their targets, and the heaviest
 * clients. data.c keeps what was polled, view.c makes rows of text of it, screen.c shows them on a
 * terminal. Only screen.c knows curses, so the rest can be tested without a terminal.
 */
#ifndef SLUICE_TOP_H
#define SLUICE_TOP_H

struct top_options {
	const char *control; /* path of the socket */
	const char *by;      /* order of clients */
	const char *service; /* its quotas count; NULL: the one that each client used last */
};

enum top_end {
	TOP_QUIT,
	TOP_NO_TERMINAL, /* curses does not know $TERM */
	TOP_NO_ANSWER,   /* without a terminal: the daemon went away */
};

/*
 * Shows the screen until the operator quits. If standard input or output is no terminal, prints one
 * frame as plain text instead. fd: connected to the daemon, and closed at the end.
 */
enum top_end top_run(const struct top_options *options, int fd);

#endif
