/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The API that a request speaks, by its target as it was sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/api_path.h>

#define LONG "/0123456789012345678901234567890123456789012345678901234567890123456789"

static const struct {
	const char *target;
	enum sluice_api api;
} rows[] = {
	{"/v1/chat/completions", SLUICE_API_OPENAI},
	{"/v1/completions?x=/api/", SLUICE_API_OPENAI},
	{"/v1/embeddings", SLUICE_API_OPENAI},
	{"/openai/deployments/m/chat/completions", SLUICE_API_OPENAI},
	{"/v1beta/models/m:generateContent", SLUICE_API_OPENAI},
	{"/v1/messagesx", SLUICE_API_OPENAI},
	{"/v1/message", SLUICE_API_OPENAI},
	{"/openai/v1/chat/completions", SLUICE_API_OPENAI},
	{"/api/v1/chat/completions", SLUICE_API_OPENAI},
	{"/api/v0/embeddings", SLUICE_API_OPENAI},
	{"/api/v1/responses", SLUICE_API_OPENAI},
	{"/api/chat/completions", SLUICE_API_OPENAI},
	{"/v1/threads/t/messages", SLUICE_API_OPENAI},
	{"/v2/rerank", SLUICE_API_OPENAI},
	{"/apix/chat", SLUICE_API_OPENAI},
	{"/v20/x", SLUICE_API_OPENAI},
	{"/embeddings", SLUICE_API_OPENAI},
	{"/generator", SLUICE_API_OPENAI},
	{"/generate_stream_x", SLUICE_API_OPENAI},
	{LONG, SLUICE_API_OPENAI},
	{"", SLUICE_API_OPENAI},
	{"*", SLUICE_API_OPENAI},
	{"/v1/messages", SLUICE_API_ANTHROPIC},
	{"/v1/messages?beta=true", SLUICE_API_ANTHROPIC},
	{"/v1/messages/count_tokens", SLUICE_API_ANTHROPIC},
	{"/anthropic/v1/messages", SLUICE_API_ANTHROPIC},
	{"/api/v1/messages?beta=true", SLUICE_API_ANTHROPIC},
	{"/api/chat", SLUICE_API_OLLAMA},
	{"/api/generate", SLUICE_API_OLLAMA},
	{"/api/embed", SLUICE_API_OLLAMA},
	{"/api/embeddings?x", SLUICE_API_OLLAMA},
	{"/api/pull", SLUICE_API_OLLAMA},
	{"/ollama/api/chat", SLUICE_API_OLLAMA},
	{"/v1/models/m:predict", SLUICE_API_OLLAMA},
	{"/serving/ns/v2/models/m/infer", SLUICE_API_OLLAMA},
	{"/v2/repository/index", SLUICE_API_OLLAMA},
	{"/v2/models/m/versions/1/infer", SLUICE_API_OLLAMA},
	{"/v2/models/m/generate_stream", SLUICE_API_TGI},
	{"/generate", SLUICE_API_TGI},
	{"/generate?x", SLUICE_API_TGI},
	{"/generate_stream", SLUICE_API_TGI},
	{"/embed", SLUICE_API_TGI},
	{"/embed_all", SLUICE_API_TGI},
	{"/embed_sparse", SLUICE_API_TGI},
	{"/predict", SLUICE_API_TGI},
	{"/predictions/m", SLUICE_API_OPENAI},
	{"/", SLUICE_API_TGI},
	{"/?x", SLUICE_API_TGI},
	/* in absolute form */
	{"http://h/v1/messages", SLUICE_API_ANTHROPIC},
	{"https://h/v1/messages", SLUICE_API_ANTHROPIC},
	{"http://192.0.2.1:8000/api/chat", SLUICE_API_OLLAMA},
	{"https://a.long.name.of.a.host.example.com:8000/v2/models/m/infer", SLUICE_API_OLLAMA},
	{"http://h/v1/chat/completions", SLUICE_API_OPENAI},
	{"http://h", SLUICE_API_OPENAI},
	{"http://an.authority.that.is.so.long.that.it.has.most.of.a.target.example.com/api/chat",
	 SLUICE_API_OLLAMA},
};

/* Nothing after the request is read: it is on the heap, where ASan sees it. */
static void the_path_says_which_api_the_client_speaks(void **state)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http1_request *r = test_calloc(1, sizeof(*r));

		assert_true(strlen(rows[i].target) < HTTP1_PATH_MAX);
		memcpy(r->path, rows[i].target, strlen(rows[i].target));
		if (api_of_path(r->path) != rows[i].api)
			fail_msg("%s: %u", rows[i].target, api_of_path(r->path));
		test_free(r);
	}
}

static void a_target_of_any_bytes_is_read_within_its_request(void **state)
{
	for (unsigned c = 0; c < 256; c++)
		for (unsigned at = 0; at < HTTP1_PATH_MAX; at++) {
			struct http1_request *r = test_calloc(1, sizeof(*r));

			memset(r->path, (int)c, HTTP1_PATH_MAX);
			r->path[at] = '/';
			assert_in_range(api_of_path(r->path), 0, SLUICE_API_COUNT - 1);
			test_free(r);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_path_says_which_api_the_client_speaks),
		cmocka_unit_test(a_target_of_any_bytes_is_read_within_its_request),
	};

	return cmocka_run_group_tests_name("api_path", tests, NULL, NULL);
}
