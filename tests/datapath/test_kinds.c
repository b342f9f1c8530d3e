/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a request says of itself besides its model: whether it asks for a stream, and whether it is
 * for something else than inference.
 */
#include "packets.h"

#include "config/services.h"

#define ADMITTED(model)                                                                            \
	.in_flight = 1, .waiting = 1, .conns = 1,                                                  \
	.requests = {{model, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}

/* The rules of a service; `path`: what its operator gives as judge-paths, or NULL. */
static void rules_with(const char *path)
{
	struct service_entry e = {0};
	struct sluice_rules r;
	char err[512] = "";

	if (path &&
	    field_take(field_find(service_fields, "judge-paths"), &e, path, err, sizeof(err)))
		fail_msg("%s", err);
	if (rules_finish(&e.rules, &r, err, sizeof(err)))
		fail_msg("%s", err);
	put_rules(r);
}

static void default_rules(bool ipv6)
{
	rules_with(NULL);
}

static void all_judged(bool ipv6)
{
	rules_with("/");
}

static void tokenize_judged(bool ipv6)
{
	rules_with("/tokenize");
}

static void asks(bool ipv6, enum sluice_stream stream)
{
	struct sluice_conn conn;

	assert_true(get_conn(ipv6, HTTP_PORT, &conn));
	assert_int_equal(conn.exchange.stream, stream);
}

static void asks_for_a_stream(bool ipv6)
{
	asks(ipv6, SLUICE_STREAM_YES);
}

static void asks_for_none(bool ipv6)
{
	asks(ipv6, SLUICE_STREAM_NO);
}

static void asks_unread(bool ipv6)
{
	asks(ipv6, SLUICE_STREAM_UNKNOWN);
}

/* Invariant 6. */
static void an_exchange_knows_whether_a_stream_was_asked_for(void **state)
{
#define ROW(WHAT, TEXT, ASKS, MODEL)                                                               \
	{                                                                                          \
		WHAT,                                                                              \
			{HANDSHAKE,                                                                \
			 {.act = default_rules},                                                   \
			 {FROM_CLIENT(0, 0, TEXT)},                                                \
			 {.act = ASKS}},                                                           \
			ADMITTED(MODEL)                                                            \
	}
	static const struct row rows[] = {
		ROW("the body says yes",
		    "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 30\r\n\r\n"
		    "{\"model\":\"qwen\",\"stream\":true}",
		    asks_for_a_stream, QWEN),
		ROW("it says no",
		    "POST /api/chat HTTP/1.1\r\nContent-Length: 31\r\n\r\n"
		    "{\"stream\":false,\"model\":\"qwen\"}",
		    asks_for_none, QWEN),
		ROW("it says nothing, OpenAI",
		    "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 16\r\n\r\n"
		    "{\"model\":\"qwen\"}",
		    asks_for_none, QWEN),
		ROW("it says nothing, Ollama",
		    "POST /api/chat HTTP/1.1\r\nContent-Length: 16\r\n\r\n"
		    "{\"model\":\"qwen\"}",
		    asks_for_a_stream, QWEN),
		ROW("the path names the model, the body asks",
		    "POST /openai/deployments/qwen/chat/completions HTTP/1.1\r\n"
		    "Content-Length: 31\r\n\r\n{\"stream\":true,\"model\":\"llama\"}",
		    asks_for_a_stream, QWEN),
		ROW("… in a form",
		    "POST /openai/deployments/qwen/audio/transcriptions HTTP/1.1\r\n"
		    "Content-Type: application/x-www-form-urlencoded\r\n"
		    "Content-Length: 23\r\n\r\nmodel=llama&stream=true",
		    asks_for_a_stream, QWEN),
		ROW("the path decides",
		    "POST /v2/models/qwen/generate_stream HTTP/1.1\r\n"
		    "Content-Length: 16\r\n\r\n{\"stream\":false}",
		    asks_for_a_stream, QWEN),
		ROW("a body that is not read",
		    "POST /v1/chat/completions HTTP/1.1\r\nContent-Encoding: gzip\r\n"
		    "Content-Length: 2\r\n\r\n{}",
		    asks_unread, LLAMA),
		ROW("… where the path decides",
		    "POST /v1/embeddings HTTP/1.1\r\nContent-Encoding: gzip\r\n"
		    "Content-Length: 2\r\n\r\n{}",
		    asks_for_none, LLAMA),
		{"in two segments, of which the server gets the first",
		 {HANDSHAKE,
		  {.act = default_rules},
		  {FROM_CLIENT(0, 0,
			       "POST /openai/deployments/qwen/chat/completions HTTP/1.1\r\n"
			       "Content-Length: 31\r\n\r\n{\"stream\":tr")},
		  {FROM_CLIENT(91, 0, "ue,\"model\":\"llama\"}")},
		  {.act = asks_for_a_stream}},
		 ADMITTED(QWEN)},
		{"bytes between two segments pass unseen",
		 {HANDSHAKE,
		  {.act = default_rules},
		  {FROM_CLIENT(0, 0,
			       "POST /openai/deployments/qwen/chat/completions HTTP/1.1\r\n"
			       "Content-Length: 31\r\n\r\n{\"stream\":tr")},
		  {FROM_CLIENT(94, 0, "\"model\":\"llama\"}")},
		  {FROM_CLIENT(91, 0, "ue,")},
		  {.act = asks_unread}},
		 ADMITTED(QWEN)},
		{"a second request on the connection",
		 {HANDSHAKE,
		  {.act = default_rules},
		  {FROM_CLIENT(0, 0,
			       "POST /generate_stream HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")},
		  {.act = asks_for_a_stream},
		  {FROM_SERVER(0, 55, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")},
		  {FROM_CLIENT(55, 40, "POST /infer HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")},
		  {.act = asks_for_none}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
	};

	play_rows(rows);
}

static void known_requests_without_inference_pass(void **state)
{
#undef ROW
#define ROW(TARGET, RULES, ...)                                                                    \
	{                                                                                          \
		TARGET,                                                                            \
			{HANDSHAKE,                                                                \
			 {.act = RULES},                                                           \
			 {FROM_CLIENT(                                                             \
				 0, 0,                                                             \
				 "POST " TARGET                                                    \
				 " HTTP/1.1\r\nContent-Length: 16\r\n\r\n{\"model\":\"qwen\"}")}}, \
			__VA_ARGS__                                                                \
	}
#define PASSES .conns = 1
	static const struct row rows[] = {
		ROW("/tokenize", default_rules, PASSES),
		ROW("/tokenize?x=/v1/chat/completions", default_rules, PASSES),
		ROW("/v1/messages/count_tokens?beta=true", default_rules, PASSES),
		ROW("/api/blobs/sha256:0", default_rules, PASSES),
		ROW("/slots/0?action=erase", default_rules, PASSES),
		ROW("/tokenize", tokenize_judged, ADMITTED(QWEN)),
		ROW("/tokenize", all_judged, ADMITTED(QWEN)),
		ROW("/tokenizer", default_rules, ADMITTED(QWEN)),
		ROW("/api/chat", default_rules, ADMITTED(QWEN)),
		ROW("/v1/messages", default_rules, ADMITTED(QWEN)),
		/* a path that servers read in different ways */
		ROW("/tokenize/../v1/chat/completions", default_rules, ADMITTED(QWEN)),
		ROW("/api/blobs/../chat", default_rules, ADMITTED(QWEN)),
		ROW("/api/blobs/%2e%2e/chat", default_rules, ADMITTED(QWEN)),
		ROW("/slots/0;x", default_rules, ADMITTED(QWEN)),
		ROW("//tokenize", default_rules, ADMITTED(QWEN)),
		ROW("/v1/chat#/tokenize", default_rules, ADMITTED(QWEN)),
		ROW("http://host/tokenize", default_rules, ADMITTED(QWEN)),
	};

	play_rows(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(known_requests_without_inference_pass),
		packets_test(an_exchange_knows_whether_a_stream_was_asked_for),
	};

	return packets_main("kinds", tests);
}
