/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See log.h. */
#include "log/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a write to a pipe with room does not block");

/* poll() may fail where no descriptor may be opened (RLIMIT_NOFILE): then the line is written. */
static bool has_room(const struct log *log)
{
	struct pollfd fd = {.fd = log->fd, .events = POLLOUT};
	int n = log->never_wait ? poll(&fd, 1, 0) : -1;

	return n < 0 || (n == 1 && fd.revents & POLLOUT);
}

/* False: it is lost. */
static bool write_line(struct log *log, const struct log_now *now, enum log_event event,
		       const struct log_field *fields, const char *message)
{
	static char line[1 + LOG_LINE_MAX + 1] = "\n";
	char *begin = log->cut ? line : line + 1;
	size_t len;
	ssize_t n;

	if (!has_room(log))
		return false;
	len = log_line(line + 1, log->format, event, now->unix_ns, fields, message);
	if (!len)
		return false;
	len += line + 1 - begin;
	do
		n = write(log->fd, begin, len);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		log->cut = n < (ssize_t)len;
	return n == (ssize_t)len;
}

static void say_lost(struct log *log, const struct log_now *now)
{
	char message[128];

	if (!log->lost)
		return;
	snprintf(message, sizeof(message),
		 "%llu lines of the log were lost: they could not be written",
		 (unsigned long long)log->lost);
	if (write_line(log, now, EVENT_LINES_LOST,
		       LOG_FIELDS(log_count("lines", (int64_t)log->lost)), message))
		log->lost = 0;
}

static void put(struct log *log, const struct log_now *now, enum log_event event,
		const struct log_field *fields, const char *message)
{
	say_lost(log, now);
	if (log->lost || !write_line(log, now, event, fields, message))
		log->lost++;
}

static void end_minute(struct log *log, const struct log_now *now, enum log_event event)
{
	const char *name = log_kind_of(event)->name;
	struct log_minute *m = &log->minute[event];
	unsigned n = m->left_out;
	char message[128];

	*m = (struct log_minute){0};
	if (!n)
		return;
	snprintf(message, sizeof(message), "%u lines of %s were left out within a minute", n, name);
	put(log, now, EVENT_LEFT_OUT, LOG_FIELDS(log_text("of", name), log_count("lines", n)),
	    message);
}

static bool is_over(const struct log_minute *m, const struct log_now *now)
{
	return m->begun_ns && now->now_ns - m->begun_ns >= LOG_MINUTE_NS;
}

void log_say(struct log *log, const struct log_now *now, enum log_event event,
	     const struct log_field *fields, const char *format, va_list args)
{
	struct log_minute *m = &log->minute[event];
	static char message[LOG_LINE_MAX];

	if (is_over(m, now))
		end_minute(log, now, event);
	if (!m->begun_ns)
		m->begun_ns = now->now_ns;
	if (m->written >= log_kind_of(event)->most) {
		m->left_out++;
		return;
	}
	m->written++;
	vsnprintf(message, sizeof(message), format, args);
	put(log, now, event, fields, message);
}

void log_turn(struct log *log, const struct log_now *now)
{
	for (unsigned event = 0; event < LOG_EVENTS; event++)
		if (is_over(&log->minute[event], now))
			end_minute(log, now, event);
	say_lost(log, now);
}

void log_end(struct log *log, const struct log_now *now)
{
	for (unsigned event = 0; event < LOG_EVENTS; event++)
		end_minute(log, now, event);
	say_lost(log, now);
}
