/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A request and its answer; exchange.h says what for. */
#include "ctl/exchange.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/control.h"
#include "control/format_text.h"
#include "control/secret.h"
#include "core/printable.h"

int complain(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	va_start(args, format);
	printable_message(stderr, "sluicectl", format, args);
	va_end(args);
	return EXIT_USAGE;
}

int no_daemon(const char *control, int error)
{
	if (error == -EACCES || error == -EPERM)
		complain("%s: %s (try as root)", control, strerror(-error));
	else
		complain("no daemon answers at %s: %s", control, strerror(-error));
	return EXIT_NO_DAEMON;
}

static bool has_key(const json_t *request)
{
	const char *client = json_string_value(json_object_get(request, "client"));

	return client && !strncmp(client, "key=", 4);
}

int say(const char *control, json_t *request)
{
	char *line = json_dumps(request, JSON_COMPACT);
	int fd = control_connect(control), ret;
	bool secret = has_key(request);

	json_decref(request);
	if (fd >= 0 && secret && !control_is_trusted(fd)) {
		explicit_bzero(line, line ? strlen(line) : 0);
		free(line);
		close(fd);
		complain("the program at %s runs neither as root nor as you: it gets no API key",
			 control);
		return -EXIT_NO_DAEMON;
	}
	if (!line) {
		if (fd >= 0)
			close(fd);
		return -complain("the arguments are no UTF-8 text");
	}
	ret = fd < 0 ? fd : control_say(fd, line);
	explicit_bzero(line, strlen(line));
	free(line);
	secret_wipe_stack();
	if (ret < 0) {
		if (fd >= 0)
			close(fd);
		return -no_daemon(control, ret);
	}
	return fd;
}

int hear(const char *control, int fd, unsigned timeout_s, bool printable, json_t **answer)
{
	char *line;
	int ret = control_hear(fd, timeout_s, &line);
	json_error_t error;
	json_t *whole;

	if (ret == -EAGAIN) {
		complain("the daemon at %s does not answer", control);
		return EXIT_NO_DAEMON;
	}
	if (ret) {
		complain("the daemon at %s went away", control);
		return EXIT_NO_DAEMON;
	}
	whole = json_loads(line, 0, &error);
	free(line);
	if (!json_is_object(whole)) {
		json_decref(whole);
		complain("the daemon's answer is no JSON object: another program at %s?", control);
		return EXIT_NO_DAEMON;
	}
	if (json_is_false(json_object_get(whole, "ok"))) {
		const char *reason = json_string_value(json_object_get(whole, "error"));

		complain("%s", reason && *reason ? reason : "refused, without a reason");
		json_decref(whole);
		return EXIT_REFUSED;
	}
	json_object_del(whole, "ok");
	if (printable)
		format_printable(whole);
	*answer = whole;
	return 0;
}

int look_for_daemon(const char *control)
{
	int fd = control_connect(control);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

void await_daemon(const char *control)
{
	const struct timespec pause = {.tv_nsec = 500000000};

	do
		nanosleep(&pause, NULL);
	while (look_for_daemon(control));
}

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}
