/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Invariant 7, with the fuzzers' findings: every input in tests/fuzz/corpus gives the same marks in
 * one piece, cut in two at each byte, and through windows from one byte on. Where a fuzzer
 * compares with more than pieces, the input runs through that, too (but for http_parser). Run it at
 * the repository's root.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "feed.h"
#include "form_reference.h"

#define LLVMFuzzerTestOneInput try_proxy
#define scan                   scan_proxy
#include "../fuzz/fuzz_proxy.c"
#undef LLVMFuzzerTestOneInput
#undef scan
#define LLVMFuzzerTestOneInput try_forwarded
#define scan                   scan_forwarded
#include "../fuzz/fuzz_forwarded.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput try_stream
#include "../fuzz/fuzz_stream.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput try_json
int try_json(const uint8_t *data, size_t size);
#include "../fuzz/fuzz_json_model.c"

#define CORPUS "tests/fuzz/corpus/"

/* Runs `play` with each input of one fuzzer. */
static void play_all(const char *name, void (*play)(__u8 *data, size_t len, int kind, size_t how),
		     int kind, size_t how)
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
		play(data, len, kind, how);
		inputs++;
	}
	closedir(dir);
	assert_true(inputs > 0);
}

static void cut(__u8 *data, size_t len, int kind, size_t how)
{
	__u8 detail = 0;

	if (kind == FEED_RESPONSE)
		detail = data[0] % (HTTP1_METHOD_CONNECT + 1);
	free(feed_every_way(kind, detail, data + how, len - how));
}

/* The inputs of one fuzzer: `how` bytes of parameters come before the bytes themselves. */
static void cut_all(const char *name, enum feed_kind kind, size_t how)
{
	play_all(name, cut, kind, how);
}

/* The first byte says where to cut. */
static void cut_proxy(__u8 *data, size_t len, int kind, size_t how)
{
	for (int at = 0; at < 256; at++) {
		data[0] = at;
		try_proxy(data, len);
	}
}

/* The first byte says which header it is. */
static void as_either_header(__u8 *data, size_t len, int kind, size_t how)
{
	for (int odd = 0; odd < 2; odd++) {
		data[0] = odd;
		try_forwarded(data, len);
	}
}

static void found_requests_split_at_every_byte_give_the_same_marks(void **state)
{
	cut_all("http1_request", FEED_REQUEST, 3);
}

static void found_responses_split_at_every_byte_give_the_same_marks(void **state)
{
	cut_all("http1_response", FEED_RESPONSE, 4);
}

static void cut_body(__u8 *data, size_t len, int kind, size_t how)
{
	cut(data, len, kind, how);
	try_json(data, len);
}

static void found_bodies_split_at_every_byte_give_the_same_marks(void **state)
{
	play_all("json_model", cut_body, FEED_JSON, 3);
}

/* The fourth byte says which form it is. */
static void cut_form(__u8 *data, size_t len, int kind, size_t how)
{
	char *request;
	size_t n;

	request = form_reference_request(data[3] % FORM_REFERENCE_TYPES, data + how, len - how, &n);
	free(feed_every_way(kind, 0, request, n));
	free(request);
	assert_true(form_reference_agrees(data[3] % FORM_REFERENCE_TYPES, (char *)data + how,
					  len - how));
}

static void found_forms_split_at_every_byte_give_the_same_marks(void **state)
{
	play_all("form_model", cut_form, FEED_REQUEST, 4);
}

/* The first byte says which stream it is. */
static void cut_stream(__u8 *data, size_t len, int kind, size_t how)
{
	__u8 detail = data[0] & 1 ? STREAM_NDJSON : STREAM_SSE;

	free(feed_every_way(kind, detail, data + how, len - how));
	free(feed_every_way(kind, detail | FEED_USAGE, data + how, len - how));
	try_stream(data, len);
}

static void found_streams_split_at_every_byte_give_the_same_marks(void **state)
{
	play_all("stream", cut_stream, FEED_STREAM, 4);
}

static void found_proxy_headers_give_the_same_result_at_every_cut(void **state)
{
	play_all("proxy", cut_proxy, 0, 1);
}

static void found_forwarded_addresses_equal_inet_ptons(void **state)
{
	play_all("forwarded", as_either_header, 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_requests_split_at_every_byte_give_the_same_marks),
		cmocka_unit_test(found_responses_split_at_every_byte_give_the_same_marks),
		cmocka_unit_test(found_bodies_split_at_every_byte_give_the_same_marks),
		cmocka_unit_test(found_forms_split_at_every_byte_give_the_same_marks),
		cmocka_unit_test(found_streams_split_at_every_byte_give_the_same_marks),
		cmocka_unit_test(found_proxy_headers_give_the_same_result_at_every_cut),
		cmocka_unit_test(found_forwarded_addresses_equal_inet_ptons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
