/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Invariant 7, by what the fuzzers found: every input of tests/fuzz/corpus says the same in one
 * piece, cut in two at each byte, and through windows from one byte on. Run at the repository's
 * root.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "feed.h"

#define CORPUS "tests/fuzz/corpus/"

/* The inputs of one fuzzer: how many bytes of `how` are before the bytes themselves. */
static void cut_all(const char *name, enum feed_kind kind, size_t how)
{
	char path[512];
	struct dirent *entry;
	int inputs = 0;
	DIR *dir;

	snprintf(path, sizeof(path), CORPUS "%s", name);
	dir = opendir(path);
	if (!dir)
		fail_msg("%s is not there: run this at the repository's root", path);
	while ((entry = readdir(dir))) {
		static __u8 data[65536];
		__u8 detail = 0;
		size_t len;
		FILE *file;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), CORPUS "%s/%s", name, entry->d_name);
		file = fopen(path, "rb");
		assert_non_null(file);
		len = fread(data, 1, sizeof(data), file);
		fclose(file);
		if (len <= how)
			continue;
		if (kind == FEED_RESPONSE)
			detail = data[0] % (HTTP1_METHOD_CONNECT + 1);
		else if (kind == FEED_STREAM)
			detail = data[0] & 1 ? STREAM_NDJSON : STREAM_SSE;
		free(feed_every_way(kind, detail, data + how, len - how));
		inputs++;
	}
	closedir(dir);
	assert_true(inputs > 0);
}

static void requests_that_were_found_split_at_every_byte_say_the_same(void **state)
{
	cut_all("http1_request", FEED_REQUEST, 3);
}

static void responses_that_were_found_split_at_every_byte_say_the_same(void **state)
{
	cut_all("http1_response", FEED_RESPONSE, 4);
}

static void bodies_that_were_found_split_at_every_byte_say_the_same(void **state)
{
	cut_all("json_model", FEED_JSON, 3);
}

static void streams_that_were_found_split_at_every_byte_say_the_same(void **state)
{
	cut_all("stream", FEED_STREAM, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_that_were_found_split_at_every_byte_say_the_same),
		cmocka_unit_test(responses_that_were_found_split_at_every_byte_say_the_same),
		cmocka_unit_test(bodies_that_were_found_split_at_every_byte_say_the_same),
		cmocka_unit_test(streams_that_were_found_split_at_every_byte_say_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
