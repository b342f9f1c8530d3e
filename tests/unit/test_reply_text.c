/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The 429 as a client reads it. Every template, filled with numbers of every length, is one HTTP
 * response: its Content-Length is right, and a JSON parser accepts its body.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/reply_text.h"

static const uint32_t waits[] = {0, 1, 999, 1000, 1001, 9999, 60000, 61000, 3600000, UINT32_MAX};
#define WAITS (sizeof(waits) / sizeof(waits[0]))

/* The value of a header in text, without trailing spaces; "" if it is missing. */
static void header(const char *text, const char *name, char *out, size_t size)
{
	char line[64];
	const char *at, *end;

	out[0] = 0;
	snprintf(line, sizeof(line), "\r\n%s: ", name);
	at = strstr(text, line);
	if (!at)
		return;
	at += strlen(line);
	end = strstr(at, "\r\n");
	assert_non_null(end);
	while (end > at && end[-1] == ' ')
		end--;
	assert_true((size_t)(end - at) < size);
	memcpy(out, at, end - at);
	out[end - at] = 0;
}

/*
 * Fills the template and checks everything that holds for any 429. Returns its message; the caller
 * frees it.
 */
static char *checked_message(const struct sluice_reply *reply, uint32_t ms, bool no_retry)
{
	char text[SLUICE_REPLY_MAX + 1], value[64], expected[64], *message;
	uint64_t seconds = ms ? ((uint64_t)ms + 999) / 1000 : 1;
	const char *body;
	json_t *root;
	int len = reply_text_fill(reply, ms, text, SLUICE_REPLY_MAX);

	assert_int_equal(len, reply->len);
	text[len] = 0;
	assert_int_equal(strlen(text), len);
	assert_memory_equal(text, "HTTP/1.1 429 Too Many Requests\r\n", 32);
	body = strstr(text, "\r\n\r\n");
	assert_non_null(body);
	body += 4;
	header(text, "Content-Length", value, sizeof(value));
	assert_int_equal(strtoul(value, NULL, 10), text + len - body);
	header(text, "Content-Type", value, sizeof(value));
	assert_string_equal(value, "application/json");
	header(text, "Connection", value, sizeof(value));
	assert_string_equal(value, "close");
	header(text, "Retry-After", value, sizeof(value));
	snprintf(expected, sizeof(expected), "%lu", (unsigned long)seconds);
	assert_string_equal(value, expected);
	header(text, "retry-after-ms", value, sizeof(value));
	snprintf(expected, sizeof(expected), "%u", ms);
	assert_string_equal(value, expected);
	header(text, "x-should-retry", value, sizeof(value));
	assert_string_equal(value, no_retry ? "false" : "");

	root = json_loads(body, 0, NULL);
	assert_non_null(root);
	{
		const char *m, *type, *code;
		json_t *param;

		assert_int_equal(json_unpack(root, "{s:{s:s,s:s,s:o,s:s}}", "error", "message", &m,
					     "type", &type, "param", &param, "code", &code),
				 0);
		assert_string_equal(type, "requests");
		assert_true(json_is_null(param));
		assert_string_equal(code, "rate_limit_exceeded");
		snprintf(expected, sizeof(expected), " Please try again after %lu seconds.",
			 (unsigned long)seconds);
		assert_true(strlen(m) > strlen(expected));
		assert_string_equal(m + strlen(m) - strlen(expected), expected);
		message = strdup(m);
	}
	json_decref(root);
	return message;
}

static void every_reason_and_wait_gives_one_whole_response(void **state)
{
	static const char *const models[] = {NULL, "", "llama-70b"};

	for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++)
		for (unsigned m = 0; m < 3; m++)
			for (unsigned w = 0; w < 2 * WAITS; w++) {
				struct sluice_reply reply;

				assert_int_equal(reply_text_build(&reply, models[m], r, w & 1), 0);
				free(checked_message(&reply, waits[w / 2], w & 1));
			}
}

static void the_message_names_the_model_and_the_reason(void **state)
{
	static const struct {
		const char *model;
		enum sluice_reason reason;
		const char *message;
	} rows[] = {
		{"llama-70b", SLUICE_REASON_TTFT,
		 "Model 'llama-70b' is over its time-to-first-token target. Please try again after 2 seconds."},
		{"llama-70b", SLUICE_REASON_ITL,
		 "Model 'llama-70b' is over its inter-token latency target. Please try again after 2 seconds."},
		{"m", SLUICE_REASON_IN_FLIGHT,
		 "Model 'm' has as many requests in flight as it may. Please try again after 2 seconds."},
		{"m", SLUICE_REASON_CLIENT_SHARE,
		 "This client is above its share of model 'm'. Please try again after 2 seconds."},
		{NULL, SLUICE_REASON_CLIENT_BLOCKED,
		 "This client is blocked. Please try again after 2 seconds."},
		{NULL, SLUICE_REASON_OPERATOR,
		 "The operator has closed this service. Please try again after 2 seconds."},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sluice_reply reply;
		char *message;

		assert_int_equal(reply_text_build(&reply, rows[i].model, rows[i].reason, false), 0);
		message = checked_message(&reply, 1500, false);
		assert_string_equal(message, rows[i].message);
		free(message);
	}
}

static void a_hostile_name_is_escaped_and_read_back(void **state)
{
	static const struct {
		const char *name, *read;
	} rows[] = {
		{"a\"b\\c", "Model 'a\"b\\c' is"},
		{"a\r\nb\x01\x7f", "Model 'a\r\nb\x01\x7f' is"},
		{"%s%n%1000d", "Model '%s%n%1000d' is"},
		{"mod\xc3\xa8le \xe2\x82\xac \xf0\x9f\x98\x80",
		 "Model 'mod\xc3\xa8le \xe2\x82\xac \xf0\x9f\x98\x80' is"},
		{"bad\xff\xc3", "Model 'bad\xef\xbf\xbd\xef\xbf\xbd' is"},
		{"\xed\xa0\x80", "Model '\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd' is"},
		{"\xc0\xaf\xf4\x90\x80\x80", "Model '\xef\xbf\xbd\xef\xbf\xbd"},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sluice_reply reply;
		char *message;

		assert_int_equal(reply_text_build(&reply, rows[i].name, SLUICE_REASON_TTFT, false),
				 0);
		message = checked_message(&reply, 1, false);
		assert_memory_equal(message, rows[i].read, strlen(rows[i].read));
		free(message);
	}
}

static void the_longest_name_of_the_worst_bytes_still_fits(void **state)
{
	static const char *const worst[] = {"\x01",         "\"", "\xff", "\xf0\x9f\x98\x80",
					    "\xe2\x82\xac", "x"};

	for (unsigned i = 0; i < sizeof(worst) / sizeof(worst[0]); i++)
		for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++)
			for (unsigned n = 0; n < 400; n += 1 + n / 8) {
				char name[4 * 400 + 1] = "";
				struct sluice_reply reply;

				for (unsigned k = 0; k < n; k++)
					strcat(name, worst[i]);
				assert_int_equal(reply_text_build(&reply, name, r, true), 0);
				free(checked_message(&reply, UINT32_MAX, true));
			}
}

static void a_wrong_template_or_buffer_is_refused(void **state)
{
	struct sluice_reply reply, broken;
	char text[SLUICE_REPLY_MAX];

	assert_int_equal(reply_text_build(&reply, "m", SLUICE_REASON_COUNT, false), -EINVAL);
	assert_int_equal(reply_text_build(&reply, "m", SLUICE_REASON_TTFT, false), 0);
	assert_int_equal(reply_text_fill(&reply, 1, text, reply.len - 1), -ENOSPC);
	broken = reply;
	broken.message_at += 1;
	assert_int_equal(reply_text_fill(&broken, 1, text, sizeof(text)), -EINVAL);
	broken = reply;
	broken.len = SLUICE_REPLY_MAX + 1;
	assert_int_equal(reply_text_fill(&broken, 1, text, sizeof(text)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reason_and_wait_gives_one_whole_response),
		cmocka_unit_test(the_message_names_the_model_and_the_reason),
		cmocka_unit_test(a_hostile_name_is_escaped_and_read_back),
		cmocka_unit_test(the_longest_name_of_the_worst_bytes_still_fits),
		cmocka_unit_test(a_wrong_template_or_buffer_is_refused),
	};

	return cmocka_run_group_tests_name("reply_text", tests, NULL, NULL);
}
