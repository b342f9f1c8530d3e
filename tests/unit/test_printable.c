/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Text that clients choose, as people see it: nothing steers a terminal or reorders a line. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/printable.h"

static const struct {
	const char *text, *printable;
} rows[] = {
	{"", ""},
	{"meta-llama/Llama-3.1-8B:q4", "meta-llama/Llama-3.1-8B:q4"},
	{"é 語 \xf0\x9f\xa6\x99\xef\xbb\xbf", "é 語 \xf0\x9f\xa6\x99\\ufeff"},
	{"a\nb", "a\nb"},
	{"a\t\r\x1b[2J\x07\x7f", "a\\u0009\\u000d\\u001b[2J\\u0007\\u007f"},
	{"\xc2\x80\xc2\x9b"
	 "31m\xc2\x9f\xc2\xa0",
	 "\\u0080\\u009b31m\\u009f\\u00a0"},
	{"\xe2\x80\x8d\xe2\x80\x8e\xe2\x80\x8f\xe2\x80\x90", "\\u200d\\u200e\\u200f\xe2\x80\x90"},
	{"\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaf", "\xe2\x80\xa7\\u2028\\u2029\\u202f"},
	{"\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad\xe2\x80\xae",
	 "\\u202a\\u202b\\u202c\\u202d\\u202e"},
	{"\xe2\x81\xa5\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9\xe2\x81\xaa",
	 "\\u2065\\u2066\\u2067\\u2068\\u2069\\u206a"},
	{"\xd8\x9c", "\\u061c"},
	/* What has no ink: two names look alike but for it. */
	{"lla\xe2\x80\x8bma\xc2\xad", "lla\\u200bma\\u00ad"},
	{"\xf3\xa0\x81\x81m\xf3\xa0\xbf\xbf\xf3\xa1\x80\x80",
	 "\\udb40\\udc41m\\udb43\\udfff\xf3\xa1\x80\x80"},
	/* No UTF-8: a bare C1 byte, a long form, a surrogate, past the last, a cut character. */
	{"a\x9b"
	 "1m",
	 "a\\x9b1m"},
	{"\xc0\x9b\xe0\x80\x9b", "\\xc0\\x9b\\xe0\\x80\\x9b"},
	{"\xed\xa0\x80", "\\xed\\xa0\\x80"},
	{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
	{"\xe2\x80", "\\xe2\\x80"},
	/* Text that has the form of an escape differs from one. */
	{"C:\\models\\user\\x", "C:\\models\\user\\x"},
	{"\\u202e", "\\u005cu202e"},
	{"\\x9b", "\\u005cx9b"},
	{"\\\xe2\x80\xae", "\\\\u202e"},
	{"\\\\u202e", "\\\\u005cu202e"},
};

static void what_steers_a_terminal_is_escaped_and_the_rest_is_as_it_was(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char out[200], tight[200];
		size_t len = strlen(rows[i].printable);

		assert_true(len < PRINTABLE_MAX(strlen(rows[i].text)));
		printable_text(out, sizeof(out), rows[i].text);
		assert_string_equal(out, rows[i].printable);
		printable_text(tight, len + 1, rows[i].text);
		assert_string_equal(tight, rows[i].printable);
	}
}

static void text_that_does_not_fit_ends_before_a_character(void **state)
{
	char out[9];

	printable_text(out, sizeof(out), "abc\xe2\x80\xae");
	assert_string_equal(out, "abc");
	printable_text(out, sizeof(out), "1234567é");
	assert_string_equal(out, "1234567");
	printable_text(out, 1, "a");
	assert_string_equal(out, "");
}

static void json_keeps_its_meaning(void **state)
{
	json_t *list = json_array(), *read;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *text = json_string(rows[i].text);

		if (text) /* not if it is no UTF-8 */
			json_array_append_new(list, text);
	}
	for (unsigned k = 0; k < 2; k++) {
		char *json = json_dumps(list, k ? JSON_INDENT(2) : JSON_COMPACT), *text;
		size_t len;
		FILE *out = open_memstream(&text, &len);

		printable_json(out, json);
		fclose(out);
		assert_null(strstr(text, "\xc2\x9b"));
		assert_null(strstr(text, "\xe2\x80\xae"));
		read = json_loads(text, 0, NULL);
		assert_true(json_equal(list, read));
		json_decref(read);
		free(json);
		free(text);
	}
	json_decref(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_steers_a_terminal_is_escaped_and_the_rest_is_as_it_was),
		cmocka_unit_test(text_that_does_not_fit_ends_before_a_character),
		cmocka_unit_test(json_keeps_its_meaning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
