/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Invariant 6, with bodies that llama.cpp's own server has sent (tests/unit/streams, of an August
 * 2026 build; the path of its model is cut to "m"), and uvicorn 0.17.6 with starlette 0.26.1. Every
 * body is also cut in two at each byte and fed through windows from one byte on. Run it at the
 * repository's root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feed.h"

static const struct {
	const char *name;
	const char *said;
} rows[] = {
	/* include_usage, max_tokens 3 */
	{"llama-chat.sse",
	 "event event generated event generated event generated event event event "
	 "tokens=3"},
	/* return_progress, timings_per_token, max_tokens 2 */
	{"llama-progress.sse",
	 "event event event event generated event generated event event tokens=2"},
	/* /completion, n_predict 3 */
	{"llama-completion.sse", "event generated event generated event generated event tokens=3"},
	/* /v1/completions, max_tokens 3 */
	{"llama-completions.sse",
	 "event generated event generated event generated event event tokens=3"},
	/* two chats with -c 256 --kv-unified: their eighth token found the context full */
	{"llama-failed.sse",
	 "event event generated event generated event generated event generated event generated "
	 "event generated event generated event failed tokens=7"},
	/* the application of tests/e2e/app.py, max_tokens 3 */
	{"uvicorn-chat.sse",
	 "event event generated event generated event generated event tokens=3"},
};

static void what_a_server_has_sent_is_read_as_it_meant_it(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static char bytes[8192];
		char path[128], *said;
		size_t len;
		FILE *file;

		snprintf(path, sizeof(path), "tests/unit/streams/%s", rows[i].name);
		file = fopen(path, "rb");
		if (!file)
			fail_msg("%s is not there: run this at the repository's root", path);
		len = fread(bytes, 1, sizeof(bytes), file);
		fclose(file);
		said = feed_every_way(FEED_STREAM, STREAM_SSE | FEED_USAGE, bytes, len);
		assert_string_equal(said, rows[i].said);
		free(said);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_server_has_sent_is_read_as_it_meant_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
