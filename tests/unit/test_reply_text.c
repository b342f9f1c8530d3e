/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The 429 as a client reads it. All parts, with numbers of every length, make one HTTP response:
 * its Content-Length is right, and its body is the error of the API that the client speaks.
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

#include "reply_case.h"

static const uint32_t waits[] = {0, 1, 999, 1000, 1001, 9999, 60000, 61000, 3600000, UINT32_MAX};
static const struct service_reply plain;
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

/* The body is the API's error. Returns its message. */
static const char *checked_error(const json_t *root, enum sluice_api api)
{
	const char *m = NULL, *type, *code, *kind;
	json_t *param;

	switch (api) {
	case SLUICE_API_OPENAI:
	case SLUICE_API_OPENAI_TOKENS:
		assert_int_equal(json_unpack((json_t *)root, "{s:{s:s,s:s,s:o,s:s!}!}", "error",
					     "message", &m, "type", &type, "param", &param, "code",
					     &code),
				 0);
		assert_string_equal(type, api == SLUICE_API_OPENAI ? "requests" : "tokens");
		assert_true(json_is_null(param));
		assert_string_equal(code, "rate_limit_exceeded");
		break;
	case SLUICE_API_ANTHROPIC:
		assert_int_equal(json_unpack((json_t *)root, "{s:s,s:{s:s,s:s!}!}", "type", &kind,
					     "error", "type", &type, "message", &m),
				 0);
		assert_string_equal(kind, "error");
		assert_string_equal(type, "rate_limit_error");
		break;
	case SLUICE_API_OLLAMA:
		assert_int_equal(json_unpack((json_t *)root, "{s:s!}", "error", &m), 0);
		break;
	case SLUICE_API_TGI:
		assert_int_equal(
			json_unpack((json_t *)root, "{s:s,s:s!}", "error", &m, "error_type", &type),
			0);
		assert_string_equal(type, "overloaded");
		break;
	case SLUICE_API_COUNT:
		break;
	}
	assert_non_null(m);
	return m;
}

/* Makes the reply and checks everything that holds for any 429. Returns its message; the caller
 * frees it. */
static char *checked_reply(const struct service_reply *service, const struct sluice_reply *reply,
			   enum sluice_api api, uint32_t ms, bool no_retry, bool kept)
{
	uint8_t bytes[SLUICE_REPLY_BUFFER];
	char *text = (char *)bytes, value[64], expected[64], *message;
	uint64_t seconds = ms ? ((uint64_t)ms + 999) / 1000 : 1;
	uint32_t len = whole_reply(bytes, service, -1, reply, api, no_retry, kept, ms);
	const char *body, *m;
	json_t *root;

	assert_in_range(len, 1, SLUICE_REPLY_MAX - 1);
	for (uint32_t i = len; i < SLUICE_REPLY_MAX; i++)
		assert_int_equal(bytes[i], 0); /* the checksum covers them */
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
	assert_string_equal(value, kept ? "" : "close");
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
	m = checked_error(root, api);
	snprintf(expected, sizeof(expected), " Please try again after %lu seconds.",
		 (unsigned long)seconds);
	assert_true(strlen(m) > strlen(expected));
	assert_string_equal(m + strlen(m) - strlen(expected), expected);
	message = strdup(m);
	json_decref(root);
	return message;
}

/* … after which its connection goes on, and after which it does not. */
static char *checked_message(const struct service_reply *service, const struct sluice_reply *reply,
			     enum sluice_api api, uint32_t ms, bool no_retry)
{
	free(checked_reply(service, reply, api, ms, no_retry, true));
	return checked_reply(service, reply, api, ms, no_retry, false);
}

static void every_reason_and_wait_gives_one_whole_response(void **state)
{
	static const char *const models[] = {NULL, "", "llama-70b"};

	for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++)
		for (unsigned m = 0; m < 3; m++)
			for (unsigned w = 0; w < 2 * WAITS * SLUICE_API_COUNT; w++) {
				struct sluice_reply reply;

				assert_int_equal(reply_text_build(&reply, models[m], r), 0);
				free(checked_message(&plain, &reply, w / 2 / WAITS,
						     waits[w / 2 % WAITS], w & 1));
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

		assert_int_equal(reply_text_build(&reply, rows[i].model, rows[i].reason), 0);
		message = checked_message(&plain, &reply, SLUICE_API_OPENAI, 1500, false);
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

		assert_int_equal(reply_text_build(&reply, rows[i].name, SLUICE_REASON_TTFT), 0);
		message = checked_message(&plain, &reply, i % SLUICE_API_COUNT, 1, false);
		assert_memory_equal(message, rows[i].read, strlen(rows[i].read));
		free(message);
	}
}

static void the_longest_name_of_the_worst_bytes_still_fits(void **state)
{
	static const char *const worst[] = {"\x01",         "\"", "\xff", "\xf0\x9f\x98\x80",
					    "\xe2\x82\xac", "x"};
	struct service_reply most = {0};

	memset(most.lines, 'x', REPLY_LINES_MAX);
	memcpy(most.lines + REPLY_LINES_MAX - 2, "\r\n", 2);
	for (unsigned i = 0; i < sizeof(worst) / sizeof(worst[0]); i++)
		for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++)
			for (unsigned n = 0; n < 400; n += 1 + n / 8) {
				char name[4 * 400 + 1] = "";
				struct sluice_reply reply;

				for (unsigned k = 0; k < n; k++)
					strcat(name, worst[i]);
				assert_int_equal(reply_text_build(&reply, name, r), 0);
				for (unsigned api = 0; api < SLUICE_API_COUNT; api++)
					free(checked_message(&most, &reply, api, UINT32_MAX, true));
			}
}

static void a_usual_name_is_never_cut(void **state)
{
	char name[SLUICE_NAME_MAX] = "", *message;
	struct sluice_reply reply;

	memset(name, 'n', SLUICE_NAME_MAX - 1);
	assert_int_equal(reply_text_build(&reply, name, SLUICE_REASON_TTFT), 0);
	message = checked_message(&plain, &reply, SLUICE_API_OPENAI, 1, false);
	assert_non_null(strstr(message, name));
	free(message);
}

static void a_service_adds_its_lines_and_its_origins(void **state)
{
#define EXPOSED "Access-Control-Expose-Headers: " REPLY_EXPOSED "\r\n"
	static const struct {
		const char *what;
		struct service_reply service;
		int origin;
		const char *lines;
	} rows[] = {
		{"nothing", {.origin_count = 0}, -1, ""},
		{"lines", {.lines = "A: b\r\nC: d\r\n"}, -1, "A: b\r\nC: d\r\n"},
		{"all origins",
		 {.origin = {"*"}, .origin_count = 1},
		 -1,
		 "Access-Control-Allow-Origin: *\r\n" EXPOSED},
		{"one origin and a line",
		 {.lines = "A: b\r\n", .origin = {"https://a"}, .origin_count = 1},
		 -1,
		 "Access-Control-Allow-Origin: https://a\r\n" EXPOSED "A: b\r\n"},
		{"the second of a list",
		 {.origin = {"https://a", "https://b"}, .origin_count = 2},
		 1,
		 "Vary: Origin\r\nAccess-Control-Allow-Origin: https://b\r\n" EXPOSED},
		{"none of a list",
		 {.origin = {"https://a", "https://b"}, .origin_count = 2},
		 -1,
		 "Vary: Origin\r\n"},
	};
	struct sluice_reply reply;

	assert_int_equal(reply_text_build(&reply, NULL, SLUICE_REASON_TTFT), 0);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t text[SLUICE_REPLY_BUFFER];
		const char *at, *end;

		assert_true(whole_reply(text, &rows[i].service, rows[i].origin, &reply,
					SLUICE_API_OPENAI, false, false, 1) > 0);
		at = strstr((char *)text, "retry-after-ms: ");
		at = strstr(at, "\r\n") + 2;
		end = strstr(at, "Connection: close\r\n\r\n{");
		assert_non_null(end);
		if ((size_t)(end - at) != strlen(rows[i].lines) ||
		    memcmp(at, rows[i].lines, end - at) != 0)
			fail_msg("%s: %.*s", rows[i].what, (int)(end - at), at);
	}
}

static void a_wrong_part_gives_no_reply(void **state)
{
	struct sluice_reply_head head;
	struct sluice_reply_form form;
	struct sluice_reply reply, broken;
	struct service_reply most = {0};
	uint8_t text[SLUICE_REPLY_BUFFER];
	size_t bytes;

	assert_int_equal(reply_text_build(&reply, "m", SLUICE_REASON_COUNT), -EINVAL);
	memset(most.lines, 'x', REPLY_LINES_MAX);
	assert_int_equal(reply_text_head(&head, &most, -1, false, &bytes), 0);
	most.origin_count = 1;
	strcpy(most.origin[0], "*");
	assert_int_equal(reply_text_head(&head, &most, -1, false, &bytes), -EMSGSIZE);
	assert_true(bytes > REPLY_LINES_MAX);
	assert_int_equal(reply_text_build(&reply, "m", SLUICE_REASON_TTFT), 0);
	reply_text_form(&form, SLUICE_API_TGI, false, false, false);
	assert_true(reply_make(text, &head, &reply, &form, 1) > 0);
	broken = reply;
	broken.len = SLUICE_REPLY_MAX - head.len;
	assert_int_equal(reply_make(text, &head, &broken, &form, 1), 0);
	broken = reply;
	broken.fields_len = UINT16_MAX;
	assert_int_equal(reply_make(text, &head, &broken, &form, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reason_and_wait_gives_one_whole_response),
		cmocka_unit_test(the_message_names_the_model_and_the_reason),
		cmocka_unit_test(a_hostile_name_is_escaped_and_read_back),
		cmocka_unit_test(the_longest_name_of_the_worst_bytes_still_fits),
		cmocka_unit_test(a_usual_name_is_never_cut),
		cmocka_unit_test(a_service_adds_its_lines_and_its_origins),
		cmocka_unit_test(a_wrong_part_gives_no_reply),
	};

	return cmocka_run_group_tests_name("reply_text", tests, NULL, NULL);
}
