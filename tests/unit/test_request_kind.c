/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Invariant 6: whether a request asks for a stream, by its path and by its body. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sluice/http1.h"
#include "sluice/request_kind.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LONG     "/0123456789012345678901234567890123456789012345678901234567890123456789"

#define NO      SLUICE_STREAM_NO
#define YES     SLUICE_STREAM_YES
#define UNKNOWN SLUICE_STREAM_UNKNOWN

static enum sluice_stream asks(const char *target, __u8 said, __u8 flags)
{
	struct http1_request r = {.json = {.stream = said, .flags = flags}};

	memset(&r.frame, '/', sizeof(r.frame)); /* what is before the path does not count */
	memcpy(r.path, target, strnlen(target, sizeof(r.path)));
	return request_stream(&r);
}

static void a_path_decides_where_the_body_does_not(void **state)
{
	static const struct {
		const char *target;
		enum sluice_stream unsaid, no, yes, unread;
	} rows[] = {
		{"/v1/chat/completions", NO, NO, YES, UNKNOWN},
		{"/v1/completions?stream=true", NO, NO, YES, UNKNOWN},
		{"/v1/responses", NO, NO, YES, UNKNOWN},
		{"/v1/messages", NO, NO, YES, UNKNOWN},
		{"/completion", NO, NO, YES, UNKNOWN},
		{"/", NO, NO, YES, UNKNOWN},
		{"", NO, NO, YES, UNKNOWN},
		{"/generate", NO, NO, YES, UNKNOWN},
		{"/v2/models/m/generate", NO, NO, YES, UNKNOWN},
		{"/v1/audio/transcriptions", NO, NO, YES, UNKNOWN},
		{LONG LONG, NO, NO, YES, UNKNOWN},
		{"/api/chat", YES, NO, YES, UNKNOWN},
		{"/api/generate", YES, NO, YES, UNKNOWN},
		{"/api/generate?x=/embed", YES, NO, YES, UNKNOWN},
		{"/ollama/api/chat", YES, NO, YES, UNKNOWN},
		{"/api/chat/", NO, NO, YES, UNKNOWN},
		{"/api/chats", NO, NO, YES, UNKNOWN},
		{"/xapi/chat", NO, NO, YES, UNKNOWN},
		{"/generate_stream", YES, YES, YES, YES},
		{"/v2/models/m/generate_stream", YES, YES, YES, YES},
		{"/v2/models/m/versions/1/generate_stream?x", YES, YES, YES, YES},
		{"/v1beta/models/m:streamGenerateContent?alt=sse", YES, YES, YES, YES},
		{"/v1beta/models/m:generateContent", NO, NO, NO, NO},
		{"/v2/models/m/infer", NO, NO, NO, NO},
		{"/v1/embeddings", NO, NO, NO, NO},
		{"/openai/deployments/m/embeddings?api-version=1", NO, NO, NO, NO},
		{"/api/embed", NO, NO, NO, NO},
		{"/embed", NO, NO, NO, NO},
		{"/rerank", NO, NO, NO, NO},
		{"/v2/rerank", NO, NO, NO, NO},
		{"/v1/moderations", NO, NO, NO, NO},
		{"/v1/score", NO, NO, NO, NO},
		{"/embeddingsx", NO, NO, YES, UNKNOWN},
		{"embed", NO, NO, YES, UNKNOWN},
		{"mbed", NO, NO, YES, UNKNOWN},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *target = rows[i].target;

		if (asks(target, JSON_STREAM_UNSAID, 0) != rows[i].unsaid ||
		    asks(target, JSON_STREAM_NO, 0) != rows[i].no ||
		    asks(target, JSON_STREAM_YES, 0) != rows[i].yes ||
		    asks(target, JSON_STREAM_YES, JSON_MODEL_GAP) != rows[i].unread ||
		    asks(target, JSON_STREAM_UNSAID, JSON_MODEL_GARBAGE) != rows[i].unread)
			fail_msg("%s", target);
	}
}

static void every_row_of_the_table_is_found(void **state)
{
#define X(row, kind)                                                                               \
	{                                                                                          \
		struct http1_request r = {.path = "/a" row};                                       \
                                                                                                   \
		assert_int_equal(request_kind(&r), REQUEST_##kind);                                \
		_Static_assert(sizeof(row) - 1 <= REQUEST_END_MAX, row);                           \
	}
	SLUICE_REQUEST_KINDS(X)
#undef X
}

static int passes(const char *target)
{
	struct http1_request r = {0};

	memset(&r.frame, '/', sizeof(r.frame));
	memcpy(r.path, target, strnlen(target, sizeof(r.path)));
	return request_passes(&r);
}

static void exactly_the_paths_of_the_table_pass(void **state)
{
	static const char *const others[] = {
		"/v1/chat/completions",
		"/tokenizer",
		"/xtokenize",
		"/v1/x/tokenize",
		"/a/tokenize",
		"/tokenize/x",
		"/tokenize/",
		"tokenize",
		"/Tokenize",
		"/api/blob",
		"/api/blobs",
		"/api/blobs/",
		"/api/blobsx/y",
		"/x/api/blobs/y",
		"/slotsx",
		"/slots/",
		"/",
		"",
		"/api/chat",
		"/v1/messages",
		"/xv1/messages/count_tokens",
		"/messages/count_tokens",
	};

#define X(row)                                                                                     \
	assert_true(passes(row));                                                                  \
	assert_true(passes(row "?a=b"));                                                           \
	assert_false(passes(row "x"));                                                             \
	assert_false(passes("/x" row));                                                            \
	_Static_assert(sizeof(row) - 1 <= REQUEST_END_MAX, row);
	SLUICE_REQUEST_PASSES(X)
#undef X
#define X(row)                                                                                     \
	assert_true(passes(row "x"));                                                              \
	assert_true(passes(row "sha256:0/y?a=b"));                                                 \
	assert_false(passes("/x" row "x"));
	SLUICE_REQUEST_PASSES_BELOW(X)
#undef X
	for (size_t i = 0; i < COUNT(others); i++)
		if (passes(others[i]))
			fail_msg("%s", others[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_decides_where_the_body_does_not),
		cmocka_unit_test(exactly_the_paths_of_the_table_pass),
		cmocka_unit_test(every_row_of_the_table_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
