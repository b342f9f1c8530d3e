/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The texts of --help: no line is wider than 80 columns, and words in brackets stay on one line. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/help.h"

static char text[4096];

static FILE *begin(void)
{
	FILE *out = fmemopen(text, sizeof(text), "w");

	assert_non_null(out);
	return out;
}

static void wrapped(const char *what, unsigned indent)
{
	FILE *out = begin();

	help_wrap(out, 0, indent, what);
	fclose(out);
}

static void option(const char *name, const char *argument, const char *help, const char *fallback)
{
	FILE *out = begin();

	help_option(out, name, argument, help, fallback);
	fclose(out);
}

static void a_line_breaks_at_a_space_before_column_80(void **state)
{
	char words[200] = "";

	for (unsigned i = 0; i < 30; i++)
		strcat(words, i ? " word" : "word"); /* 149 columns */
	wrapped(words, 4);
	assert_int_equal(strcspn(text, "\n"), 79);
	assert_int_equal(strncmp(text + 79, "\n    word ", 10), 0);
	assert_int_equal(text[strlen(text) - 1], '\n');
}

static void words_in_brackets_stay_together(void **state)
{
	wrapped("a command with a usage that is long enough for the end of it [--service ADDR:PORT] [--json]",
		10);
	assert_non_null(strstr(text, " of it\n          [--service ADDR:PORT] [--json]\n"));
}

static void columns_are_characters_and_not_bytes(void **state)
{
	char words[200] = "";

	for (unsigned i = 0; i < 20; i++)
		strcat(words, i ? " …é×" : "…é×"); /* 79 columns, 159 bytes */
	wrapped(words, 0);
	assert_int_equal(strcspn(text, "\n"), strlen(words));
}

static void an_explanation_is_on_the_line_of_its_option(void **state)
{
	option("--lease-ms", "N", "how long", "3000");
	assert_string_equal(text, "  --lease-ms N                     how long [3000]\n");
	option("--help", NULL, "print this", NULL);
	assert_string_equal(text, "  --help                           print this\n");
}

static void an_option_that_is_too_long_has_a_line_of_its_own(void **state)
{
	option("--by", "requests|tokens|in-flight|rejected", "order", NULL);
	assert_string_equal(text, "  --by requests|tokens|in-flight|rejected\n"
				  "                                   order\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_breaks_at_a_space_before_column_80),
		cmocka_unit_test(words_in_brackets_stay_together),
		cmocka_unit_test(columns_are_characters_and_not_bytes),
		cmocka_unit_test(an_explanation_is_on_the_line_of_its_option),
		cmocka_unit_test(an_option_that_is_too_long_has_a_line_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
