/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon's log, lines on standard error, and its notifications to systemd. A reader that stops
 * reading the log must not block the loop: the lease would end.
 */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
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

void notify_systemd(const char *what)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len || len >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, what, strlen(what), MSG_NOSIGNAL, (struct sockaddr *)&address,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

void print_ready(const struct daemon *d)
{
	const struct daemon_state *s = &d->state;

	fputs("ready: ", stdout);
	for (size_t i = 0; i < s->interface_count; i++)
		printf("%s%s (xdp %s, %s)", i ? ", " : "", s->interfaces[i].name,
		       s->interfaces[i].xdp, s->interfaces[i].tcx ? "tcx" : "clsact");
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
	notify_systemd("READY=1");
}
