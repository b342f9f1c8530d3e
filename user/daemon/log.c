/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon's log, lines on standard error, and its line `ready`. A reader that stops reading the
 * log must not block the loop: the lease would end.
 */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "core/printable.h"
#include "core/text.h"
#include "daemon/daemon.h"

static bool never_wait;

void log_never_wait(void)
{
	never_wait = true;
}

void say(const char *format, ...)
{
	struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};
	va_list args;

	if (never_wait && poll(&log, 1, 0) == 0)
		return;
	va_start(args, format);
	printable_message(stderr, "sluiced", format, args);
	va_end(args);
}

void on_notice(void *arg, const char *text)
{
	say("%s", text);
}

void print_ready(const struct daemon *d)
{
	const struct daemon_state *s = &d->state;

	fputs("ready: ", stdout);
	for (size_t n = 0; n < s->interface_count; n++) {
		const struct state_interface *i = &s->interfaces[n];

		printf("%s%s ", n ? ", " : "", i->name);
		if (i->attached[STATE_TC_IN] && i->attached[STATE_TC_OUT])
			printf("(xdp %s, %s)", i->xdp, i->tcx ? "tcx" : "clsact");
		else
			fputs("(not attached)", stdout);
	}
	if (!s->interface_count)
		fputs("no interface", stdout);
	fputs(", services", stdout);
	for (size_t i = 0; i < s->service_count; i++) {
		const struct service *v = &s->services[i];
		char text[TEXT_SERVICE_MAX];

		text_endpoint(text, v->addr, v->wildcard, v->port);
		printf("%s %s (%s, %s, %s)", i ? "," : "", text, text_protocol(v->protocol),
		       text_action(v->action), text_mode(v->mode));
	}
	putchar('\n');
	fflush(stdout);
}
