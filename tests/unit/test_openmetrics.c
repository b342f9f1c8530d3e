/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* OpenMetrics from the Prometheus text format, however the text is cut into writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics/openmetrics.h"
#include "metrics/process.h"

static const char from[] =
	"# HELP a_total Of a.\n# TYPE a_total counter\n"
	"a_total{b=\"# TYPE x\"} 1\n"
	"# HELP c_seconds Of c.\n# TYPE c_seconds histogram\n"
	"c_seconds_bucket{le=\"+Inf\"} 0\n"
	"# HELP d_bytes_total Of d.\n# TYPE d_bytes_total counter\n"
	"d_bytes_total 2\n# HELP e_total_e E.\n# TYPE e_total_e gauge\ne_total_e 3\n";
static const char wanted[] = "# HELP a Of a.\n# TYPE a counter\n"
			     "a_total{b=\"# TYPE x\"} 1\n"
			     "# HELP c_seconds Of c.\n# TYPE c_seconds histogram\n"
			     "# UNIT c_seconds seconds\n"
			     "c_seconds_bucket{le=\"+Inf\"} 0\n"
			     "# HELP d_bytes Of d.\n# TYPE d_bytes counter\n# UNIT d_bytes bytes\n"
			     "d_bytes_total 2\n# HELP e_total_e E.\n# TYPE e_total_e gauge\n"
			     "e_total_e 3\n# EOF\n";

static void counters_lose_their_suffix_and_units_are_stated(void **state)
{
	for (size_t cut = 0; cut < sizeof(from); cut++) {
		char *text = NULL;
		size_t len;
		FILE *out = open_memstream(&text, &len), *in = openmetrics_open(out);

		fwrite(from, 1, cut, in);
		fflush(in);
		fwrite(from + cut, 1, sizeof(from) - 1 - (cut < sizeof(from) ? cut : 0), in);
		fclose(in);
		fclose(out);
		assert_string_equal(text, wanted);
		free(text);
	}
}

static void it_is_written_for_those_who_ask(void **state)
{
	assert_true(openmetrics_is_asked_for(
		"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1"));
	assert_false(openmetrics_is_asked_for("text/plain"));
	assert_false(openmetrics_is_asked_for(NULL));
}

static void a_process_knows_its_memory_and_its_start(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	process_write(out, 1700000000500000000ULL);
	fclose(out);
	assert_non_null(strstr(text, "\nprocess_start_time_seconds 1700000000.5\n"));
	assert_non_null(strstr(text, "\nprocess_cpu_seconds_total "));
	assert_non_null(strstr(text, "\nprocess_resident_memory_bytes "));
	assert_true(strtod(strstr(text, "\nprocess_open_fds ") + 18, NULL) >= 3);
	assert_true(strtod(strstr(text, "\nprocess_max_fds ") + 17, NULL) >= 3);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_lose_their_suffix_and_units_are_stated),
		cmocka_unit_test(it_is_written_for_those_who_ask),
		cmocka_unit_test(a_process_knows_its_memory_and_its_start),
	};

	return cmocka_run_group_tests_name("openmetrics", tests, NULL, NULL);
}
