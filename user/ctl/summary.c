/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * See summary.h. Each interval asks for the status. The list of clients costs the daemon a walk
 * over all of them, so it is asked for only after an interval with refusals. If no daemon
 * answers at the end of an interval, that is said, and the next summary covers it, too: counters
 * outlive the daemon.
 */
#include "ctl/summary.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/format_internal.h"
#include "control/summary.h"
#include "ctl/exchange.h"
#include "ctl/show.h"

#define ANSWER_SECS 10

static void sleep_until(int64_t ms)
{
	const struct timespec until = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL))
		;
}

/* Takes the reference of `request`. 0 and *answer, or an exit status. */
static int ask(const char *control, json_t *request, bool json, json_t **answer)
{
	int fd = say(control, request), ret;

	if (fd < 0)
		return -fd;
	ret = hear(control, fd, ANSWER_SECS, !json, answer);
	close(fd);
	return ret;
}

static int ask_clients(const char *control, bool json, json_t **answer)
{
	return ask(control, json_pack("{s:s, s:s}", "cmd", "clients", "by", "rejected"), json,
		   answer);
}

/* Whether a daemon answers; else says that none does, in the place of the summary. */
static bool daemon_is_there(const char *control, bool json)
{
	int missing = look_for_daemon(control);

	if (missing && json)
		no_daemon(control, missing);
	else if (missing)
		printf("%s  no daemon answers at %s: %s\n",
		       format_clock((json_int_t)time(NULL) * 1000), control, strerror(-missing));
	fflush(stdout);
	return !missing;
}

int summary_watch(const char *control, double interval_ms, bool json)
{
	const struct show show = {.mode = SHOW_LINE, .json = json, .format = format_summary};
	json_t *before = NULL, *clients_before = NULL;
	int64_t from = now_ms(), until = from;
	int ret = ask(control, json_pack("{s:s}", "cmd", "status"), json, &before);

	if (!ret)
		ret = ask_clients(control, json, &clients_before);
	while (!ret && !ferror(stdout)) {
		json_t *now = NULL, *clients = NULL, *summary;
		int64_t to;

		until += (int64_t)interval_ms;
		if (until < now_ms()) /* the machine stood still */
			until = now_ms();
		sleep_until(until);
		if (!daemon_is_there(control, json))
			continue;
		ret = ask(control, json_pack("{s:s}", "cmd", "status"), json, &now);
		to = now_ms();
		if (!ret && summary_refused(before, now))
			ret = ask_clients(control, json, &clients);
		if (ret == EXIT_NO_DAEMON) { /* it has just gone away, which ask() has said */
			json_decref(now);
			ret = 0;
			continue;
		}
		if (!ret) {
			summary = summary_between(before, now, clients_before, clients, to - from);
			show_answer(&show, summary);
			json_decref(summary);
		}
		json_decref(before);
		before = now;
		from = to;
		if (clients) {
			json_decref(clients_before);
			clients_before = clients;
		}
	}
	json_decref(before);
	json_decref(clients_before);
	return ret;
}
