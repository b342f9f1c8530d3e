/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The log: both formats to the byte, hostile texts, the lines that a minute has room for, and a
 * reader that does not read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log/log.h"

#define S 1000000000ULL
/* 2026-11-30T05:06:07.089Z */
#define UNIX_NS (1796015167ULL * S + 89 * 1000000 + 999999)

static struct log_now at(double s)
{
	return (struct log_now){(uint64_t)(s * 1e9), UNIX_NS};
}

static void a_line_is_right_to_the_byte_in_both_formats(void **state)
{
	static const struct {
		enum log_event event;
		const struct log_field fields[5];
		const char *message, *text, *json;
	} rows[] = {
		{EVENT_MODEL_SHUT,
		 {{.name = "model", .type = LOG_FIELD_TEXT, .text = "llama"},
		  {.name = "ttft_ms", .type = LOG_FIELD_NUMBER, .number = 1840.2504},
		  {.name = "itl_ms", .type = LOG_FIELD_NUMBER, .number = -1},
		  {.name = "in_flight", .type = LOG_FIELD_COUNT, .count = -3}},
		 "model llama shut: ttft 1840 ms over 1000 ms",
		 "sluiced: model llama shut: ttft 1840 ms over 1000 ms\n",
		 "{\"time\":\"2026-11-30T05:06:07.089Z\",\"level\":\"warning\",\"event\":\"model-shut\","
		 "\"message\":\"model llama shut: ttft 1840 ms over 1000 ms\",\"model\":\"llama\","
		 "\"ttft_ms\":1840.25,\"itl_ms\":null,\"in_flight\":-3}\n"},
		{EVENT_LOOP_FAILED,
		 {{.name = "why", .type = LOG_FIELD_TEXT},
		  {.name = "x", .type = LOG_FIELD_NUMBER, .number = NAN}},
		 "",
		 "sluiced: \n",
		 "{\"time\":\"2026-11-30T05:06:07.089Z\",\"level\":\"error\",\"event\":\"loop-failed\","
		 "\"message\":\"\",\"why\":null,\"x\":null}\n"},
		/* What steers a terminal, reorders a line or ends it. */
		{EVENT_READY,
		 {{.name = "model",
		   .type = LOG_FIELD_TEXT,
		   .text = "a\"\\\n\x1b[2J\xc2\x9b\xe2\x80\xae\xe2\x80\xa8\x7f"}},
		 "m \"\n\x1b[2J\xc2\x9b\xe2\x80\xae\xe2\x80\xa8",
		 "sluiced: m \"\\u000a\\u001b[2J\\u009b\\u202e\\u2028\n",
		 "{\"time\":\"2026-11-30T05:06:07.089Z\",\"level\":\"info\",\"event\":\"ready\","
		 "\"message\":\"m \\\"\\n\\u001B[2J\\u009b\\u202e\\u2028\","
		 "\"model\":\"a\\\"\\\\\\n\\u001B[2J\\u009b\\u202e\\u2028\\u007f\"}\n"},
		/* What is no UTF-8. */
		{EVENT_READY,
		 {{.name = "model", .type = LOG_FIELD_TEXT, .text = "\xff"}},
		 "\x9b"
		 "1m",
		 "sluiced: \\x9b1m\n",
		 "{\"time\":\"2026-11-30T05:06:07.089Z\",\"level\":\"info\",\"event\":\"ready\","
		 "\"message\":\"\\\\x9b1m\",\"model\":\"\\\\xff\"}\n"},
	};
	char line[LOG_LINE_MAX + 1];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = log_line(line, LOG_FORMAT_TEXT, rows[i].event, UNIX_NS, rows[i].fields,
				    rows[i].message);

		assert_string_equal(line, rows[i].text);
		assert_int_equal(n, strlen(line));
		n = log_line(line, LOG_FORMAT_JSON, rows[i].event, UNIX_NS, rows[i].fields,
			     rows[i].message);
		assert_string_equal(line, rows[i].json);
		assert_int_equal(n, strlen(line));
	}
}

static void json_gives_the_text_back(void **state)
{
	static const char hostile[] = "a\"\\\n\x1b\xc2\x9b\xe2\x80\xae\xe2\x80\xa8";
	char line[LOG_LINE_MAX + 1];
	json_t *read;

	log_line(line, LOG_FORMAT_JSON, EVENT_READY, UNIX_NS,
		 LOG_FIELDS(log_text("model", hostile)), hostile);
	read = json_loads(line, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(read, "model")), hostile);
	assert_string_equal(json_string_value(json_object_get(read, "message")), hostile);
	json_decref(read);
}

/* A pipe that is writable has room for LOG_LINE_MAX bytes, and no more. */
static void a_line_never_exceeds_a_pipes_room_and_stays_whole(void **state)
{
	static const char *const texts[] = {"a", "é", "\x1b", "\"", "\xe2\x80\xae", "\x9b"};
	char message[3 * LOG_LINE_MAX], field[2 * LOG_LINE_MAX], line[LOG_LINE_MAX + 1];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		for (size_t many = 600; many <= LOG_LINE_MAX; many += 499) {
			size_t n;
			json_t *read;

			message[0] = field[0] = 0;
			for (size_t k = 0; k < many; k++)
				strcat(message, texts[i]);
			for (size_t k = 0; k < many / 4; k++)
				strcat(field, texts[i]);
			n = log_line(line, LOG_FORMAT_TEXT, EVENT_READY, UNIX_NS, NULL, message);
			assert_in_range(n, 1, LOG_LINE_MAX);
			assert_int_equal(line[n - 1], '\n');
			assert_ptr_equal(strchr(line, '\n'), line + n - 1);
			n = log_line(line, LOG_FORMAT_JSON, EVENT_READY, UNIX_NS,
				     LOG_FIELDS(log_text("first", "1"), log_text("model", field),
						log_text("other", field)),
				     message);
			assert_in_range(n, 1, LOG_LINE_MAX);
			assert_ptr_equal(strchr(line, '\n'), line + n - 1);
			read = json_loads(line, 0, NULL);
			assert_non_null(read);
			assert_string_equal(json_string_value(json_object_get(read, "first")), "1");
			json_decref(read);
		}
}

/* ---- a log into a pipe ---- */

static int ends[2];
static struct log pipe_log;

static int open_pipe(void **state)
{
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	pipe_log = (struct log){.fd = ends[1], .never_wait = true};
	return 0;
}

static int close_pipe(void **state)
{
	close(ends[0]);
	close(ends[1]);
	return 0;
}

__attribute__((format(printf, 3, 4))) static void say(double s, enum log_event event,
						      const char *format, ...)
{
	const struct log_now now = at(s);
	va_list args;

	va_start(args, format);
	log_say(&pipe_log, &now, event, NULL, format, args);
	va_end(args);
}

static void turn(double s)
{
	const struct log_now now = at(s);

	log_turn(&pipe_log, &now);
}

/* What has come so far; "" for nothing. */
static const char *heard(void)
{
	static char text[8192];
	ssize_t n = read(ends[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = 0;
	return text;
}

static size_t lines_in(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void a_minute_has_room_for_so_many_lines_of_an_event(void **state)
{
	unsigned most = log_kind_of(EVENT_MODEL_SHUT)->most;

	assert_int_equal(most, 60);
	assert_int_equal(log_kind_of(EVENT_AUDIT)->most, 600);
	for (unsigned i = 0; i < most + 5; i++)
		say(100 + i * 0.5, EVENT_MODEL_SHUT, "%u", i);
	assert_int_equal(lines_in(heard()), most);
	say(140, EVENT_MODEL_OPENED, "another event"); /* has room of its own */
	assert_string_equal(heard(), "sluiced: another event\n");
	turn(159.9); /* the minute began at 100 */
	assert_string_equal(heard(), "");
	turn(160);
	assert_string_equal(heard(),
			    "sluiced: 5 lines of model-shut were left out within a minute\n");
	turn(161);
	assert_string_equal(heard(), "");
	/* The next minute begins with the next line. */
	for (unsigned i = 0; i < most + 1; i++)
		say(200, EVENT_MODEL_SHUT, "%u", i);
	assert_int_equal(lines_in(heard()), most);
	say(260, EVENT_MODEL_SHUT, "a new minute");
	assert_string_equal(heard(),
			    "sluiced: 1 lines of model-shut were left out within a minute\n"
			    "sluiced: a new minute\n");
}

static void what_is_left_out_is_said_at_the_end_too(void **state)
{
	const struct log_now end = at(11);

	for (unsigned i = 0; i < 63; i++)
		say(10, EVENT_MODEL_SHUT, "%u", i);
	heard();
	log_end(&pipe_log, &end);
	assert_string_equal(heard(),
			    "sluiced: 3 lines of model-shut were left out within a minute\n");
}

/* The loop would wait for ever if a write did: both ends of the pipe are in this process. */
static void lines_that_nobody_reads_are_counted_and_said(void **state)
{
	static char long_one[1000];
	size_t had;

	assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, 8192), 8192);
	fcntl(ends[1], F_SETFL, 0); /* a write that finds no room blocks */
	memset(long_one, 'x', sizeof(long_one) - 1);
	for (unsigned i = 0; i < 12; i++)
		say(1, EVENT_AUDIT, "%s", long_one);
	turn(2);
	assert_true(pipe_log.lost > 0);
	had = 12 - pipe_log.lost;
	assert_int_equal(lines_in(heard()), had);
	turn(3);
	{
		char wanted[100];

		snprintf(wanted, sizeof(wanted),
			 "sluiced: %zu lines of the log were lost: they could not be written\n",
			 12 - had);
		assert_string_equal(heard(), wanted);
	}
	assert_int_equal(pipe_log.lost, 0);
	/* … before the next line, if that comes first. */
	for (unsigned i = 0; i < 12; i++)
		say(4, EVENT_AUDIT, "%s", long_one);
	heard();
	pipe_log.format = LOG_FORMAT_JSON;
	say(4, EVENT_AUDIT, "next");
	assert_non_null(strstr(heard(), "\"event\":\"lines-lost\""));
	pipe_log.format = LOG_FORMAT_TEXT;
	say(5, EVENT_AUDIT, "last");
	assert_string_equal(heard(), "sluiced: last\n");
}

/* A disk that fills up takes a part of a line. */
static void a_line_that_was_cut_ends_before_the_next(void **state)
{
	pipe_log.cut = true;
	say(1, EVENT_AUDIT, "whole");
	assert_string_equal(heard(), "\nsluiced: whole\n");
	assert_false(pipe_log.cut);
	say(1, EVENT_AUDIT, "next");
	assert_string_equal(heard(), "sluiced: next\n");
}

static void each_event_has_a_name_of_its_own(void **state)
{
	for (unsigned i = 0; i < LOG_EVENTS; i++) {
		const struct log_kind *kind = log_kind_of(i);

		assert_non_null(kind->name);
		assert_int_equal(strspn(kind->name, "abcdefghijklmnopqrstuvwxyz-"),
				 strlen(kind->name));
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(kind->name, log_kind_of(k)->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_right_to_the_byte_in_both_formats),
		cmocka_unit_test(json_gives_the_text_back),
		cmocka_unit_test(a_line_never_exceeds_a_pipes_room_and_stays_whole),
		cmocka_unit_test_setup_teardown(a_minute_has_room_for_so_many_lines_of_an_event,
						open_pipe, close_pipe),
		cmocka_unit_test_setup_teardown(what_is_left_out_is_said_at_the_end_too, open_pipe,
						close_pipe),
		cmocka_unit_test_setup_teardown(lines_that_nobody_reads_are_counted_and_said,
						open_pipe, close_pipe),
		cmocka_unit_test_setup_teardown(a_line_that_was_cut_ends_before_the_next, open_pipe,
						close_pipe),
		cmocka_unit_test(each_event_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
