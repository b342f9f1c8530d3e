/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The log: one event a line, as text or as JSON, with a stable name and the numbers that made it.
 * Two things bound it. An event writes so many lines a minute, and what is left out is counted and
 * said. A reader that stops reading never blocks the loop: lines that find no room are lost,
 * counted, and their number is the first line once there is room again. Time is a parameter.
 */
#ifndef SLUICE_LOG_H
#define SLUICE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_MINUTE_NS 60000000000ULL
/* Bytes of a line with its end. A pipe that is writable has room for so many (PIPE_BUF). */
#define LOG_LINE_MAX 4096

enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

enum log_level { LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

enum log_event {
	EVENT_READY,
	EVENT_STOPPED,
	EVENT_UNPINNED,
	EVENT_START_FAILED,
	EVENT_LOOP_FAILED,
	EVENT_DETACH_BEGAN,
	EVENT_DETACHED,
	EVENT_DETACH_FAILED,
	EVENT_CONFIG_READ,
	EVENT_CONFIG_REFUSED,
	EVENT_CONFIG_NOTE,
	EVENT_POLICY_FAILED,
	EVENT_MODEL_SHUT,
	EVENT_MODEL_OPENED,
	EVENT_CEILING_FELL,
	EVENT_CEILING_ROSE,
	EVENT_FLAG_FAILED,
	EVENT_NAMES_FORGOTTEN,
	EVENT_NAMES_FAILED,
	EVENT_DRAIN_BEGAN,
	EVENT_DRAIN_ENDED,
	EVENT_LEASE_FAILED,
	EVENT_LEASE_ENDED,
	EVENT_LEASE_RENEWED,
	EVENT_INTERFACE_ATTACHED,
	EVENT_INTERFACE_FAILED,
	EVENT_INTERFACE_GONE,
	EVENT_INTERFACE_DETACHED,
	EVENT_INTERFACE_TURNED,
	EVENT_ATTACHMENT_DISTURBED,
	EVENT_ATTACHMENT_RESTORED,
	EVENT_NETNS_FAILED,
	EVENT_PINS_MISSING,
	EVENT_PINS_RESTORED,
	EVENT_MAPS_ADOPTED,
	EVENT_MAPS_CARRIED,
	EVENT_MAPS_REPLACED,
	EVENT_TROUBLE_BEGAN,
	EVENT_TROUBLE_ENDED,
	EVENT_SOCKETS_FAILED,
	EVENT_ADDRESSES_FAILED,
	EVENT_DESCRIPTORS_EXHAUSTED,
	EVENT_HASH_SECRET,
	EVENT_KEYS_DROPPED,
	EVENT_FLEET_STORE_BACK,
	EVENT_FLEET_STORE_AWAY,
	EVENT_FLEET_STORE_EVICTS,
	EVENT_FLEET_NAME_TAKEN,
	EVENT_FLEET_FAILED,
	EVENT_FLEET_RULES,
	EVENT_FLEET_RULES_FAILED,
	EVENT_AUDIT,
	EVENT_LEFT_OUT,
	EVENT_LINES_LOST,
	LOG_EVENTS
};

/* What is fixed about an event. */
struct log_kind {
	const char *name;
	enum log_level level;
	unsigned most; /* lines a minute */
};
const struct log_kind *log_kind_of(enum log_event event);

/* A member of an event's JSON. */
struct log_field {
	const char *name; /* NULL: the end of the list */
	enum { LOG_FIELD_TEXT, LOG_FIELD_COUNT, LOG_FIELD_NUMBER } type;
	const char *text; /* NULL: null */
	int64_t count;
	double number; /* not finite, or negative: null, since there is no sample */
};

#define LOG_FIELDS(...)                                                                            \
	(const struct log_field[])                                                                 \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			.name = NULL                                                               \
		}                                                                                  \
	}

static inline struct log_field log_text(const char *name, const char *text)
{
	return (struct log_field){.name = name, .type = LOG_FIELD_TEXT, .text = text};
}

static inline struct log_field log_count(const char *name, int64_t count)
{
	return (struct log_field){.name = name, .type = LOG_FIELD_COUNT, .count = count};
}

static inline struct log_field log_number(const char *name, double number)
{
	return (struct log_field){.name = name, .type = LOG_FIELD_NUMBER, .number = number};
}

/*
 * Writes the line of an event with its line end, and returns its length. A line that would be
 * longer than LOG_LINE_MAX has a shorter message, which then ends in "…", and if need be fewer
 * fields.
 */
size_t log_line(char out[LOG_LINE_MAX + 1], enum log_format format, enum log_event event,
		uint64_t unix_ns, const struct log_field *fields, const char *message);

struct log_now {
	uint64_t now_ns;  /* CLOCK_MONOTONIC */
	uint64_t unix_ns; /* CLOCK_REALTIME */
};

struct log {
	int fd;
	enum log_format format;
	bool never_wait; /* a line without a reader is lost, else the log waits */
	bool cut;        /* the last line was written in part */
	uint64_t lost;   /* lines, since the last one that was written */
	struct log_minute {
		uint64_t begun_ns; /* 0: not begun */
		unsigned written, left_out;
	} minute[LOG_EVENTS];
};

/* fields: NULL for none. */
void log_say(struct log *log, const struct log_now *now, enum log_event event,
	     const struct log_field *fields, const char *format, va_list args);
/* Says what was left out of the minutes that are over, and what was lost. Call it once a second. */
void log_turn(struct log *log, const struct log_now *now);
/* The same for minutes that are not over: the log ends. */
void log_end(struct log *log, const struct log_now *now);

#endif
