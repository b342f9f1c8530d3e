/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A record's lines: what sluicectl writes, sluice-sim reads back, whatever a model's name holds.
 * And how the simulator plays them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/record.h"
#include "sim/record.h"

#define MS 1000000ULL

static const struct siphash_secret secret = {1, 2, 3}, other_secret = {1, 3, 3};

static const struct record_row completed = {
	.unix_ms = 1700000000042,
	.bytes = 4300,
	.tokens = 77,
	.ttft_ms = 250.5,
	.duration_ms = 1234.567,
	.model = "llama",
	.client = "192.0.2.1",
	.verdict = "admitted",
	.reason = "",
	.end = "completed",
};

static char *line_of(const struct record_row *row, const struct siphash_secret *with)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	record_write(out, row, with);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void a_row_has_the_columns_of_its_header(void **state)
{
	struct record_row refused = completed;
	char *line = line_of(&completed, &secret), *column[RECORD_COLUMNS + 1];
	char header[] = RECORD_HEADER;

	assert_int_equal(record_split(header, column, RECORD_COLUMNS + 1), RECORD_COLUMNS);
	assert_string_equal(column[RECORD_TTFT], "TtftMs");
	assert_string_equal(column[RECORD_END], "End");
	assert_memory_equal(line, "2023-11-14 22:13:20.042,1000,77,llama,c", 39);
	assert_non_null(strstr(line, ",4300,250.500,1234.567,admitted,,completed\n"));
	free(line);
	refused.verdict = "rejected";
	refused.reason = "ttft";
	refused.end = NULL;
	refused.ttft_ms = -1;
	line = line_of(&refused, &secret);
	assert_memory_equal(line, "2023-11-14 22:13:20.042,1000,,llama,c", 37);
	assert_non_null(strstr(line, ",4300,,,rejected,ttft,\n"));
	free(line);
}

static void a_prompt_is_estimated_from_its_bytes(void **state)
{
	assert_int_equal(record_context_tokens(0), 1);
	assert_int_equal(record_context_tokens(303), 1);
	assert_int_equal(record_context_tokens(304), 1);
	assert_int_equal(record_context_tokens(308), 2);
	assert_int_equal(record_context_tokens(UINT32_MAX), (UINT32_MAX - 300) / 4);
}

/* The column of a client, in a row that was written with this secret. */
static void client_of(const char *client, const struct siphash_secret *with, char out[32])
{
	struct record_row row = completed;
	char *column[RECORD_COLUMNS], *line;

	row.client = client;
	line = line_of(&row, with);
	assert_int_equal(record_split(line, column, RECORD_COLUMNS), RECORD_COLUMNS);
	snprintf(out, 32, "%s", column[RECORD_CLIENT]);
	free(line);
}

static void a_client_is_a_pseudonym_of_its_record(void **state)
{
	char first[32], again[32], second[32], elsewhere[32];

	client_of("192.0.2.1", &secret, first);
	client_of("192.0.2.1", &secret, again);
	client_of("192.0.2.2", &secret, second);
	client_of("192.0.2.1", &other_secret, elsewhere);
	assert_string_equal(first, again);
	assert_string_not_equal(first, second);
	assert_string_not_equal(first, elsewhere);
	assert_int_equal(strlen(first), 17);
	assert_int_equal(first[0], 'c');
	assert_int_equal(strspn(first + 1, "0123456789abcdef"), 16);
}

/* A name is one field of one line, is no formula, steers no terminal, and is read back. */
static void a_hostile_name_stays_a_text(void **state)
{
	static const struct {
		const char *name, *written, *read;
	} rows[] = {
		{"org/model-7b:q4", "org/model-7b:q4", "org/model-7b:q4"},
		{"a,b", "\"a,b\"", "a,b"},
		{"a\"b", "\"a\"\"b\"", "a\"b"},
		{"\"", "\"\"\"\"", "\""},
		{"=1+1", "\"'=1+1\"", "=1+1"},
		{" =1+1", "\"' =1+1\"", " =1+1"},
		{"+1", "\"'+1\"", "+1"},
		{"-1", "\"'-1\"", "-1"},
		{"@SUM(A1)", "\"'@SUM(A1)\"", "@SUM(A1)"},
		{"'x", "\"''x\"", "'x"},
		{"a;=1", "a\\u003b=1", "a\\u003b=1"},
		{"\t=1", "\\u0009=1", "\\u0009=1"},
		{"a\nb,\"c\r", "\"a\\u000ab,\"\"c\\u000d\"", "a\\u000ab,\"c\\u000d"},
		{"\x1b[2J", "\\u001b[2J", "\\u001b[2J"},
		{"\xff\xfe", "\\xff\\xfe", "\\xff\\xfe"},
		{"\xe2\x80\xae", "\\u202e", "\\u202e"},
		{"", "", ""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct record_row row = completed;
		char field[128], *column[RECORD_COLUMNS + 1], *line;

		row.model = rows[i].name;
		line = line_of(&row, &secret);
		snprintf(field, sizeof(field), ",77,%s,c", rows[i].written);
		if (!strstr(line, field))
			fail_msg("%s is not in %s", field, line);
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
		line[strlen(line) - 1] = 0;
		assert_int_equal(record_split(line, column, RECORD_COLUMNS + 1), RECORD_COLUMNS);
		assert_string_equal(column[RECORD_MODEL], rows[i].read);
		free(line);
	}
}

static void a_longest_row_fits_a_line(void **state)
{
	struct record_row row = completed;
	char name[96], *line;

	memset(name, '\xff', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	row.unix_ms = 253402300799999;
	row.bytes = row.tokens = UINT32_MAX;
	row.ttft_ms = row.duration_ms = 1e15;
	row.model = name;
	row.verdict = "shadow_rejected";
	line = line_of(&row, &secret);
	assert_true(strlen(line) < RECORD_LINE_MAX);
	free(line);
}

static void quotes_that_do_not_match_are_no_row(void **state)
{
	static const char *const lines[] = {"a,\"b", "a,\"b\"c,d", "\"\"\"", "a,\"b\"\""};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char line[32], *column[4];

		snprintf(line, sizeof(line), "%s", lines[i]);
		assert_int_equal(record_split(line, column, 4), 0);
	}
}

/* ---- played ---- */

#define HEADER RECORD_HEADER "\n"
#define DONE_ROW(second, tokens, model, client, ttft)                                              \
	"2026-11-30 02:00:" second ".000,100," tokens "," model "," client ",700," ttft            \
	",900.000,admitted,,completed\n"
#define REFUSED_ROW(second, model, client)                                                         \
	"2026-11-30 02:00:" second ".500,200,," model "," client ",1100,,,rejected,ttft,\n"

static int read_record(const char *text, const char *model, struct trace *t, char *err, size_t len)
{
	char path[] = "/tmp/sluice-record-XXXXXX";
	int fd = mkstemp(path), ret;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	*t = (struct trace){0};
	ret = trace_read(path, model, t, err, len);
	unlink(path);
	return ret;
}

static void rows_are_played_in_the_order_of_arrival(void **state)
{
	struct trace t;
	char err[256];

	assert_int_equal(read_record(HEADER DONE_ROW("05", "10", "a", "c1", "20.000")
					     DONE_ROW("01", "11", "a", "c2", "30.000")
						     DONE_ROW("03", "12", "a", "c1", ""),
				     NULL, &t, err, sizeof(err)),
			 0);
	assert_int_equal(t.count, 3);
	assert_int_equal(t.clients, 2);
	assert_int_equal(t.left_out, 0);
	assert_int_equal(t.requests[0].generate, 11);
	assert_int_equal(t.requests[1].at_ns, 2000 * MS);
	assert_int_equal(t.requests[2].at_ns, 4000 * MS);
	assert_int_equal(t.requests[0].prompt, 100);
	assert_int_equal(t.requests[0].bytes, 700);
	assert_true(t.requests[0].client != t.requests[1].client);
	assert_int_equal(t.requests[1].client, t.requests[2].client);
	assert_false(t.requests[0].unary);
	assert_true(t.requests[1].unary); /* no first token was measured */
	trace_free(&t);
}

/* Of its model if it has any that completed, else of any. */
static void a_refused_row_gets_the_output_of_a_completed_one(void **state)
{
	struct trace t;
	char err[256];

	assert_int_equal(read_record(HEADER DONE_ROW("00", "10", "a", "c1", "20.000")
					     DONE_ROW("01", "11", "b", "c1", "20.000") REFUSED_ROW(
						     "02", "a", "c2") REFUSED_ROW("03", "b", "c2")
						     REFUSED_ROW("04", "new", "c2"),
				     NULL, &t, err, sizeof(err)),
			 0);
	assert_int_equal(t.count, 5);
	assert_true(t.requests[2].refused);
	assert_int_equal(t.requests[2].generate, 10);
	assert_int_equal(t.requests[2].prompt, 200);
	assert_int_equal(t.requests[3].generate, 11);
	assert_true(t.requests[4].generate == 10 || t.requests[4].generate == 11);
	assert_false(t.requests[1].refused);
	trace_free(&t);
}

static void what_cannot_be_played_is_left_out_and_counted(void **state)
{
	struct trace t;
	char err[256];

	assert_int_equal(
		read_record(
			HEADER DONE_ROW("00", "10", "a", "c1", "20.000") DONE_ROW(
				"01", "0", "vectors", "c1",
				"") "2026-11-30 02:00:02.000,1,0,a,c1,200,,5.000,admitted,,failed\n"
				    "2026-11-30 02:00:03.000,1,4,a,c1,200,9.000,50.000,admitted,,failed\n"
				    "2026-11-30 02:00:04.000,1,0,a,c1,200,,50.000,admitted,,departed\n"
				    "2026-11-30 02:00:05.000,1,7,a,c1,200,9.0",
			NULL, &t, err, sizeof(err)),
		0);
	assert_int_equal(t.count, 4);
	assert_int_equal(t.left_out, 2); /* failed without output; cut off */
	assert_true(t.requests[1].embedding && t.requests[1].unary);
	assert_int_equal(t.requests[2].generate, 4);
	assert_true(t.requests[3].generate == 10 || t.requests[3].embedding);
	trace_free(&t);
}

static void one_model_of_a_record_is_played(void **state)
{
	static const char text[] = HEADER DONE_ROW("00", "10", "a", "c1", "20.000")
		DONE_ROW("01", "11", "\"'=b,c\"", "c1", "20.000")
			DONE_ROW("02", "12", "\"'=b,c\"", "c1", "20.000");
	struct trace t;
	char err[256];

	assert_int_equal(read_record(text, "=b,c", &t, err, sizeof(err)), 0);
	assert_int_equal(t.count, 2);
	assert_int_equal(t.requests[0].generate, 11);
	assert_int_equal(t.requests[1].at_ns, 1000 * MS);
	trace_free(&t);
	/* Its name, or as it is written in the record. */
	for (const char *const *name = (const char *const[]){"d;\t\\e", "d\\u003b\\u0009\\e", NULL};
	     *name; name++) {
		assert_int_equal(
			read_record(
				HEADER DONE_ROW("00", "10", "a", "c1", "20.000") DONE_ROW(
					"01", "11", "d\\u003b\\u0009\\e", "c1", "20.000")
					DONE_ROW("02", "12", "d\\u003b\\u0009\\e", "c1", "20.000"),
				*name, &t, err, sizeof(err)),
			0);
		assert_int_equal(t.count, 2);
		trace_free(&t);
	}
	assert_int_equal(read_record(text, "z", &t, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "has not two requests of z"));
	assert_int_equal(read_record("2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47,1,2\n", "a", &t,
				     err, sizeof(err)),
			 -EINVAL);
	assert_non_null(strstr(err, "names no models"));
}

static void a_wrong_row_is_refused_with_its_line(void **state)
{
#define GOOD DONE_ROW("00", "10", "a", "c1", "20.000")
	static const struct {
		const char *text, *says;
	} rows[] = {
		{HEADER, "has not two requests"},
		{HEADER GOOD, "has not two requests"},
		{HEADER GOOD "nonsense\n", "line 3 is no row"},
		{HEADER GOOD "a,b,c,d,e,f,g,h,i,j,k,l\n", "line 3 is no row"},
		{HEADER GOOD DONE_ROW("00", "10", "\"a", "c1", "1"), "line 3 is no row"},
		{HEADER DONE_ROW("99", "10", "a", "c1", "1"), "line 2 has no time"},
		{HEADER DONE_ROW("00", "-1", "a", "c1", "1"), "line 2 has a number of tokens"},
		{HEADER DONE_ROW("00", "1", "a", "c1", "nan"), "line 2 has a number of bytes"},
		{HEADER DONE_ROW("00", "1", "a", "c1", "2h"), "line 2 has a number of bytes"},
		{HEADER DONE_ROW("00", "1", "a", "c1", "1e3"), "line 2 has a number of bytes"},
		{HEADER "2026-11-30 02:00:00.000,1,1,a,c1,700,,2h,admitted,,completed\n",
		 "line 2 has a number of bytes"},
		{HEADER "2026-11-30 02:00:00.000,1,1,a,c1,7s,,2,admitted,,completed\n",
		 "line 2 has a number of bytes"},
		{HEADER "2026-11-30 02:00:00.000,1,1,a,c1,,,2,admitted,,completed\n",
		 "line 2 has a number of bytes"},
		{HEADER "2026-11-30 02:00:00.000,1,1,a,c1,4294967296,,2,admitted,,completed\n",
		 "line 2 has a number of bytes"},
		{HEADER REFUSED_ROW("00", "a", "c1") REFUSED_ROW("01", "a", "c1"),
		 "no request of the record has completed"},
	};
	struct trace t;
	char err[256];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(read_record(rows[i].text, NULL, &t, err, sizeof(err)) < 0);
		if (!strstr(err, rows[i].says))
			fail_msg("\"%s\" does not say \"%s\"", err, rows[i].says);
		assert_null(strchr(err, '\n'));
	}
}

static void what_was_measured_is_that_of_the_record(void **state)
{
	const struct arrivals how = {.count = 100, .clients = 1, .speed = 1, .seed = 1};
	const struct adaptive_targets targets = {.ttft_ms = 100, .ttft_ms_per_kib = 100};
	struct measured m;
	struct workload w;
	struct trace t;
	char err[256];

	assert_int_equal(
		read_record(
			HEADER DONE_ROW("00", "10", "a", "c1", "20.000") DONE_ROW(
				"01", "10", "a", "c2", "168.000") DONE_ROW("02", "10", "a", "c2",
									   "169.000")
				DONE_ROW("03", "10", "a", "c3", "") REFUSED_ROW(
					"04", "a",
					"c1") "2026-11-30 02:00:06.000,1,4,a,c1,200,9.000,50.000,shadow_rejected,"
					      "ttft,completed\n",
			NULL, &t, err, sizeof(err)),
		0);
	assert_int_equal(workload_make(&t, &how, &w), 0);
	assert_int_equal(w.count, 6);
	assert_int_equal(w.clients, 3);
	assert_int_equal(w.requests[5].at_ns, 6000 * MS);
	assert_int_equal(w.requests[0].bytes, 700);
	assert_int_equal(record_measured(&t, &w, &targets, &m), 0);
	assert_int_equal(m.admitted, 5);
	assert_int_equal(m.refused, 1);
	assert_int_equal(m.shadow, 1);
	assert_int_equal(m.timed, 4);
	assert_int_equal(m.met, 3); /* the target of 700 bytes is 168.4 ms */
	assert_true(m.ttft_p50_ms > 167 && m.ttft_p50_ms < 169);
	assert_true(m.ttft_p95_ms > 168.9);
	workload_free(&w);
	trace_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_row_has_the_columns_of_its_header),
		cmocka_unit_test(a_prompt_is_estimated_from_its_bytes),
		cmocka_unit_test(a_client_is_a_pseudonym_of_its_record),
		cmocka_unit_test(a_hostile_name_stays_a_text),
		cmocka_unit_test(a_longest_row_fits_a_line),
		cmocka_unit_test(quotes_that_do_not_match_are_no_row),
		cmocka_unit_test(rows_are_played_in_the_order_of_arrival),
		cmocka_unit_test(a_refused_row_gets_the_output_of_a_completed_one),
		cmocka_unit_test(what_cannot_be_played_is_left_out_and_counted),
		cmocka_unit_test(one_model_of_a_record_is_played),
		cmocka_unit_test(a_wrong_row_is_refused_with_its_line),
		cmocka_unit_test(what_was_measured_is_that_of_the_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
