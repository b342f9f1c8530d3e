/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The line of an event. Both formats escape what clients chose: as text by core/printable.h, and
 * the line end besides, so that an event is one line; in JSON the same characters as \u202e, so
 * that a reader gets the text as it was.
 */
#include "log/log.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/printable.h"

#define MESSAGE_MAX (LOG_LINE_MAX - 1)
#define CUT         "…"

static const char *const levels[] = {"info", "warning", "error"};

/* Writes as many characters as fit in `room` bytes. Returns how many bytes they are. */
static size_t put_text(char *out, size_t room, const char *text)
{
	size_t at = 0, cut_at = 0; /* where the mark of a cut has room */
	char one[PRINTABLE_CHAR_MAX];

	while (*text) {
		bool line_end = *text == '\n';

		printable_next(&text, one);
		if (line_end)
			snprintf(one, sizeof(one), "\\u000a");
		if (at + strlen(one) > room) {
			memcpy(out + cut_at, CUT, strlen(CUT));
			return cut_at + strlen(CUT);
		}
		memcpy(out + at, one, strlen(one));
		at += strlen(one);
		if (at + strlen(CUT) <= room)
			cut_at = at;
	}
	return at;
}

static size_t text_line(char *out, const char *message)
{
	static const char program[] = "sluiced: ";
	size_t at = sizeof(program) - 1;

	memcpy(out, program, at);
	at += put_text(out + at, LOG_LINE_MAX - at - 1, message);
	out[at++] = '\n';
	out[at] = 0;
	return at;
}

/* What is no UTF-8 is escaped as in text. */
static json_t *string(const char *text)
{
	json_t *value = text ? json_string(text) : json_null();
	char clean[1024];

	if (value)
		return value;
	printable_text(clean, sizeof(clean), text);
	return json_string(clean);
}

static json_t *value_of(const struct log_field *f)
{
	switch (f->type) {
	case LOG_FIELD_TEXT:
		return string(f->text);
	case LOG_FIELD_COUNT:
		return json_integer(f->count);
	case LOG_FIELD_NUMBER:
		break;
	}
	if (!isfinite(f->number) || f->number < 0)
		return json_null();
	return json_real(round(f->number * 1000) / 1000); /* a clock's noise is no news */
}

static void write_time(char out[32], uint64_t unix_ns)
{
	time_t t = (time_t)(unix_ns / 1000000000);
	struct tm tm;
	size_t n;

	gmtime_r(&t, &tm);
	n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 32 - n, ".%03uZ", (unsigned)(unix_ns / 1000000 % 1000));
}

/* The object with the first `count` fields, on one line; the caller frees it. NULL: no memory. */
static char *object(enum log_event event, const char *time, const struct log_field *fields,
		    size_t count, const char *message, size_t *len)
{
	const struct log_kind *kind = log_kind_of(event);
	json_t *o = json_pack("{s:s, s:s, s:s, s:o}", "time", time, "level", levels[kind->level],
			      "event", kind->name, "message", string(message));
	char *json, *text = NULL;
	FILE *out;

	for (size_t i = 0; o && i < count; i++)
		json_object_set_new(o, fields[i].name, value_of(&fields[i]));
	json = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
	json_decref(o);
	out = json ? open_memstream(&text, len) : NULL;
	if (out) {
		printable_json(out, json);
		fclose(out);
	}
	free(json);
	return text;
}

/* Shortens a message by at least `by` bytes, or to nothing. */
static void shorten(char *message, size_t by)
{
	size_t len = strlen(message);

	len = len > by + strlen(CUT) ? len - by - strlen(CUT) : 0;
	while (len && (message[len] & 0xc0) == 0x80)
		len--;
	strcpy(message + len, CUT);
}

static size_t json_line(char *out, enum log_event event, uint64_t unix_ns,
			const struct log_field *fields, const char *message)
{
	static char shorter[MESSAGE_MAX + sizeof(CUT)];
	size_t count = 0, len = 0;
	char time[32], *text;

	while (fields && fields[count].name)
		count++;
	write_time(time, unix_ns);
	snprintf(shorter, sizeof(shorter), "%s", message);
	while ((text = object(event, time, fields, count, shorter, &len)) && len >= LOG_LINE_MAX) {
		free(text);
		if (strcmp(shorter, CUT) != 0)
			shorten(shorter, len - LOG_LINE_MAX + 1);
		else
			count--;
	}
	if (!text)
		return 0;
	memcpy(out, text, len);
	free(text);
	strcpy(out + len, "\n");
	return len + 1;
}

size_t log_line(char out[LOG_LINE_MAX + 1], enum log_format format, enum log_event event,
		uint64_t unix_ns, const struct log_field *fields, const char *message)
{
	return format == LOG_FORMAT_JSON ? json_line(out, event, unix_ns, fields, message)
					 : text_line(out, message);
}
