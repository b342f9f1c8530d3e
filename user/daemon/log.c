/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon's log, lines on standard error (log/log.h), and its line `ready`. The loop runs while
 * nobody reads the log: else the lease would end.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/daemon.h"

static struct log log_ = {.fd = STDERR_FILENO};

static struct log_now now(void)
{
	return (struct log_now){clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_REALTIME)};
}

void log_follow(const struct config *config)
{
	log_.format = config->log_format == CONFIG_LOG_JSON ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
}

void log_never_wait(void)
{
	log_.never_wait = true;
}

void log_each_second(void)
{
	const struct log_now at = now();

	log_turn(&log_, &at);
}

void log_last(void)
{
	const struct log_now at = now();

	log_end(&log_, &at);
}

void say(enum log_event event, const struct log_field *fields, const char *format, ...)
{
	const struct log_now at = now();
	va_list args;

	va_start(args, format);
	log_say(&log_, &at, event, fields, format, args);
	va_end(args);
}

void on_notice(void *arg, enum datapath_notice notice, const char *about, const char *text)
{
	static const struct {
		enum log_event event;
		const char *of;
	} events[] = {
		[NOTICE_ATTACHED] = {EVENT_INTERFACE_ATTACHED, "interface"},
		[NOTICE_NOT_ATTACHED] = {EVENT_INTERFACE_FAILED, "interface"},
		[NOTICE_GONE] = {EVENT_INTERFACE_GONE, "interface"},
		[NOTICE_DETACHED] = {EVENT_INTERFACE_DETACHED, "interface"},
		[NOTICE_TURNED] = {EVENT_INTERFACE_TURNED, "interface"},
		[NOTICE_DISTURBED] = {EVENT_ATTACHMENT_DISTURBED, "interface"},
		[NOTICE_RESTORED] = {EVENT_ATTACHMENT_RESTORED, "interface"},
		[NOTICE_NETNS] = {EVENT_NETNS_FAILED, "netns"},
		[NOTICE_PINS_MISSING] = {EVENT_PINS_MISSING, "pin_dir"},
		[NOTICE_PINS_RESTORED] = {EVENT_PINS_RESTORED, "pin_dir"},
		[NOTICE_ADOPTED] = {EVENT_MAPS_ADOPTED, "pin_dir"},
		[NOTICE_CARRIED] = {EVENT_MAPS_CARRIED, "pin_dir"},
		[NOTICE_REPLACED] = {EVENT_MAPS_REPLACED, "pin_dir"},
	};

	say(events[notice].event, LOG_FIELDS(log_text(events[notice].of, about)), "%s", text);
}

void on_config_notice(void *arg, const char *text)
{
	say(EVENT_CONFIG_NOTE, NULL, "%s", text);
}

static void write_ready(FILE *out, const struct daemon_state *s)
{
	fputs("ready: ", out);
	for (size_t n = 0; n < s->interface_count; n++) {
		const struct state_interface *i = &s->interfaces[n];

		fprintf(out, "%s%s ", n ? ", " : "", i->name);
		if (i->attached[STATE_TC_IN] && i->attached[STATE_TC_OUT])
			fprintf(out, "(xdp %s, %s)", i->xdp, i->tcx ? "tcx" : "clsact");
		else
			fputs("(not attached)", out);
	}
	if (!s->interface_count)
		fputs("no interface", out);
	fputs(", services", out);
	for (size_t i = 0; i < s->service_count; i++) {
		const struct service *v = &s->services[i];
		char text[TEXT_SERVICE_MAX];

		text_endpoint(text, v->addr, v->wildcard, v->port);
		fprintf(out, "%s %s (%s, %s, %s)", i ? "," : "", text, text_protocol(v->protocol),
			text_action(v->action), text_mode(v->mode));
	}
}

void print_ready(const struct daemon *d)
{
	const struct daemon_state *s = &d->state;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	write_ready(out, s);
	fclose(out);
	puts(text);
	fflush(stdout);
	/* As text, the line on standard output is beside the log already. */
	if (log_.format == LOG_FORMAT_JSON)
		say(EVENT_READY,
		    LOG_FIELDS(log_text("version", SLUICE_VERSION),
			       log_count("interfaces", (int64_t)s->interface_count),
			       log_count("services", (int64_t)s->service_count)),
		    "%s", text);
	free(text);
}
