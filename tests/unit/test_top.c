/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The screen of `sluicectl top` without a terminal, and the width of all other text: rates,
 * histories, plots, and rows that fit whatever the names and numbers are.
 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

#include "control/format_text.h"
#include "core/columns.h"
#include "top/data.h"
#include "top/text.h"
#include "top/view.h"
#include "written.h"

#define LONG_NAME                                                                                  \
	"meta/a-model-with-a-name-of-ninety-five-bytes-that-no-screen-of-eighty-columns-has-room-for-xy"
#define MODEL(name)                                                                                \
	"{\"name\":\"" name "\",\"open\":false,\"reason\":\"ttft\",\"ttft_ema_ms\":98765432.1,"    \
	"\"itl_ema_ms\":1234567.8,\"ttft_threshold_ms\":12345678,\"itl_threshold_ms\":123456.5,"   \
	"\"ttft_threshold_ms_per_kib\":0.2345,\"in_flight\":1000000,\"waiting\":1000000,"          \
	"\"limit\":1000000,\"ttft_samples\":18446744073709,\"itl_samples\":18446744073709,"        \
	"\"failed\":18446744073709,\"duration_ema_ms\":98765432.1,\"duration_samples\":99999999,"  \
	"\"duration_threshold_ms\":98765432,\"normalized_latency_ema_ms\":98765432.1,"             \
	"\"retry_after_ms\":98765432,\"changed_unix_ms\":1700000000000}"

static const char status[] =
	"{\"mode\":\"enforce\",\"policy\":\"ema-flag\",\"now_unix_ms\":1700000000000,"
	"\"models\":[" MODEL(LONG_NAME) "," MODEL(
		"模型模型模型模型模型模型模型模型模型") "],"
							"\"global\":{\"name\":\"global\",\"in_flight\":1000000},"
							"\"troubles\":[\"a sentence of many words that says what sluice should see, and where\"],"
							"\"requests\":{\"admitted\":18446744073709,\"rejected\":18446744073709,"
							"\"shadow_rejected\":18446744073709},\"connections\":{\"reset\":18446744073709,"
							"\"dropped\":18446744073709},\"rejected_by_reason\":{\"ttft\":18446744073709,"
							"\"normalized-latency\":18446744073709,\"stalled-responses\":18446744073709},"
							"\"services\":[{\"address\":\"2001:db8:1234:5678:9abc:def0:1234:5678\",\"port\":65535,"
							"\"protocol\":\"opaque\",\"default_model\":\"" LONG_NAME
							"\",\"admitted\":18446744073709,"
							"\"rejected\":18446744073709,\"shadow_rejected\":18446744073709}]}";

static const char clients[] =
	"{\"clients\":[{\"client\":\"2001:db8:1234:5678::/64\",\"admitted\":18446744073709,"
	"\"rejected\":18446744073709,\"in_flight\":1000000,\"requests_left\":4294967295,"
	"\"tokens_left\":-4294967295,\"next_ms\":98765432,\"last_seen_ms_ago\":98765432,"
	"\"rejected_by_reason\":{\"ttft\":18446744073709,\"normalized-latency\":18446744073709,"
	"\"stalled-responses\":18446744073709},\"last_model\":\"" LONG_NAME "\","
	"\"last_reason\":\"normalized-latency\"}],\"clients_known\":100000,"
	"\"rules\":[{\"client\":\"2001:db8:1234:5678::/64\",\"kind\":\"prefix\","
	"\"verdict\":\"allow\",\"model\":\"" LONG_NAME "\",\"expires_in_ms\":98765432}]}";

static json_t *parsed(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);

	assert_non_null(json);
	return json;
}

/* A poll of these totals and one model with this average. */
static void poll_at(struct top_data *d, uint64_t ms, const char *model, double ttft, int admitted)
{
	top_data_take(
		d,
		json_pack("{s:[{s:s, s:f}], s:{s:i}, s:{s:i}, s:o, s:o}", "models", "name", model,
			  "ttft_ema_ms", ttft, "requests", "admitted", admitted,
			  "rejected_by_reason", "ttft", 2 * admitted, "admitted_by_class",
			  ms < 18000 ? json_null()
				     : json_pack("{s:i, s:i}", "high", 15, "normal", admitted - 15),
			  "rejected_by_class",
			  ms < 18000 ? json_null()
				     : json_pack("{s:{s:i}, s:{s:i, s:i}}", "normal", "ttft",
						 2 * admitted - 20, "low", "ttft", 15, "in-flight",
						 5)),
		json_pack("{s:[{s:s, s:i, s:i}]}", "clients", "client", "10.0.0.1", "admitted",
			  admitted, "rejected", 3 * admitted),
		ms);
}

static void close_to(double wanted, double got)
{
	assert_true(got > wanted - 1e-6 && got < wanted + 1e-6);
}

static void a_rate_is_the_rise_of_a_total_over_the_last_polls(void **state)
{
	struct top_data d = {0};

	poll_at(&d, 1000, "m", 1, 0);
	close_to(-1, top_rate(&d, TOP_REQUESTS, "admitted")); /* not known yet */
	for (int i = 1; i <= 20; i++)
		poll_at(&d, 1000 + 1000 * (uint64_t)i, "m", 1, 10 * i);
	close_to(10, top_rate(&d, TOP_REQUESTS, "admitted"));
	close_to(20, top_rate(&d, TOP_REJECTED, "ttft"));
	/* Of the first polls all were normal. */
	close_to(3, top_class_rate(&d, "high", 0));
	close_to(7, top_class_rate(&d, "normal", 0));
	close_to(0, top_class_rate(&d, "low", 0));
	close_to(0, top_class_rate(&d, "high", 1));
	close_to(16, top_class_rate(&d, "normal", 1));
	close_to(4, top_class_rate(&d, "low", 1));
	close_to(10, top_client_rate(&d, "10.0.0.1", 0));
	close_to(30, top_client_rate(&d, "10.0.0.1", 1));
	close_to(-1, top_client_rate(&d, "10.0.0.2", 1));
	poll_at(&d, 22000, "m", 1, 5); /* another daemon: its totals begin anew */
	close_to(-1, top_rate(&d, TOP_REQUESTS, "admitted"));
	top_data_free(&d);
}

static void a_history_has_five_minutes_and_forgets_models_that_have_gone(void **state)
{
	struct top_data d = {0};

	for (unsigned s = 1; s <= 400; s++)
		poll_at(&d, s * 1000, "m", s, 0);
	assert_int_equal(HISTORY_SECS, top_history_secs(&d));
	close_to(400, d.histories[0].ttft_ms[400 % HISTORY_SECS]);
	close_to(101, d.histories[0].ttft_ms[101 % HISTORY_SECS]);
	poll_at(&d, 403000, "m", 7, 0); /* two seconds were missed */
	assert_true(d.histories[0].ttft_ms[401 % HISTORY_SECS] !=
		    d.histories[0].ttft_ms[401 % HISTORY_SECS]);
	poll_at(&d, 404000, "other", 8, 0);
	poll_at(&d, 405000, "m", 9, 0);
	assert_int_equal(2, d.history_count); /* with all models together */
	for (unsigned s = 106; s < 405; s++)
		assert_true(d.histories[0].ttft_ms[s % HISTORY_SECS] !=
			    d.histories[0].ttft_ms[s % HISTORY_SECS]);
	top_data_free(&d);
}

static void a_plot_is_as_high_as_the_target_or_the_highest_average(void **state)
{
	struct top_data d = {0};
	char plot[256];

	for (unsigned s = 1; s <= 8; s++)
		poll_at(&d, s * 1000, "m", 100 * s, 0);
	text_plot(plot, sizeof(plot), &d, d.histories[0].ttft_ms, 800, 8);
	assert_string_equal("▂▃▄▅▆▇██", plot);
	text_plot(plot, sizeof(plot), &d, d.histories[0].ttft_ms, 1600, 8);
	assert_string_equal("▁▂▂▃▃▄▄▅", plot);
	text_plot(plot, sizeof(plot), &d, d.histories[0].ttft_ms, 80, 10);
	assert_string_equal("  ▂▃▄▅▆▇██", plot);
	text_plot(plot, sizeof(plot), &d, d.histories[0].ttft_ms, 800, 5); /* the higher of two */
	assert_string_equal("▂▄▆██", plot);
	top_data_free(&d);
}

static void a_cell_is_as_wide_as_it_says(void **state)
{
	static const struct {
		const char *text, *left, *right;
	} rows[] = {
		{"abc", "abc  ", "  abc"},       {"abcde", "abcde", "abcde"},
		{"abcdef", "abcd…", "abcd…"},    {"模型", "模型 ", " 模型"},
		{"模型模", "模型…", "模型…"},    {"a模型模", "a模… ", "a模…"},
		{"a\xff\x1b", "a??  ", "  a??"}, {"", "     ", "     "},
	};
	char cell[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		text_cell(cell, sizeof(cell), rows[i].text, 5, false);
		assert_string_equal(rows[i].left, cell);
		text_cell(cell, sizeof(cell), rows[i].text, 5, true);
		assert_string_equal(rows[i].right, cell);
	}
}

static void every_row_of_the_screen_is_as_wide_as_the_screen(void **state)
{
	static void (*const views[])(const struct view *, struct rows *) = {
		view_state, view_models, view_clients, view_help};
	struct top_data d = {0};
	struct rows rows = {0};

	for (uint64_t ms = 1000; ms < 5000; ms += 1000)
		top_data_take(&d, parsed(status), parsed(clients), ms);
	for (unsigned columns = 1; columns <= VIEW_COLUMNS_MAX; columns++) {
		struct view v = {.data = &d, .columns = columns, .filter = "", .by = "requests"};

		for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
			views[i](&v, &rows);
			for (unsigned r = 0; r < rows.count; r++)
				assert_int_equal(columns, columns_of(rows.row[r].text));
			view_free(&rows);
		}
	}
	top_data_free(&d);
}

static void nothing_of_the_help_is_cut_at_80_columns(void **state)
{
	struct view v = {.columns = 80};
	struct rows rows = {0};

	view_help(&v, &rows);
	assert_true(rows.count <= 20); /* and four of the state, at 24 rows */
	for (unsigned r = 0; r < rows.count; r++)
		assert_null(strstr(rows.row[r].text, "…"));
	view_free(&rows);
}

static void no_line_of_a_text_is_wider_than_the_screen(void **state)
{
	static const struct {
		void (*show)(FILE *, const json_t *);
		const char *answer;
	} rows[] = {
		{format_status, status},
		{format_models, status},
		{format_services, status},
		{format_clients, clients},
	};

	for (unsigned columns = 40; columns <= 200; columns += 8) {
		format_set_columns(columns);
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			char *text = written(rows[i].show, parsed(rows[i].answer));
			char *wrapped = NULL, *save = NULL;
			size_t size;
			FILE *out = open_memstream(&wrapped, &size);

			format_wrap_all(out, text);
			fclose(out);
			for (char *line = strtok_r(wrapped, "\n", &save); line;
			     line = strtok_r(NULL, "\n", &save))
				/* A word that has no room in a line is whole. */
				assert_true(columns_of(line) <= columns ||
					    !strchr(line + strspn(line, " "), ' '));
			free(text);
			free(wrapped);
		}
	}
	format_set_columns(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rate_is_the_rise_of_a_total_over_the_last_polls),
		cmocka_unit_test(a_history_has_five_minutes_and_forgets_models_that_have_gone),
		cmocka_unit_test(a_plot_is_as_high_as_the_target_or_the_highest_average),
		cmocka_unit_test(a_cell_is_as_wide_as_it_says),
		cmocka_unit_test(every_row_of_the_screen_is_as_wide_as_the_screen),
		cmocka_unit_test(nothing_of_the_help_is_cut_at_80_columns),
		cmocka_unit_test(no_line_of_a_text_is_wider_than_the_screen),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
