/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a streamed response costs, by rows: its body and the tokens that it comes to. A response
 * that states its usage costs what it states, else one token for each event with output. Every row
 * is also cut in two at each byte and fed through windows from one byte on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feed.h"

struct row {
	const char *bytes;
	unsigned tokens;
};

#define DATA(json)     "data: " json "\n\n"
#define TEXT(text)     DATA("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}")
#define THREE          TEXT("a") TEXT("b") TEXT("c")
#define STATED         DATA("{\"usage\":{\"output_tokens\":5},\"choices\":[{\"text\":\"a\"}]}")
#define USAGE(members) DATA("{\"choices\":[],\"usage\":{" members "}}")

static void check(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		__u8 kind = rows[i].bytes[0] == '{' ? STREAM_NDJSON : STREAM_SSE;
		char want[32], *plain, *said;

		plain = feed_every_way(FEED_STREAM, kind, rows[i].bytes, strlen(rows[i].bytes));
		said = feed_every_way(FEED_STREAM, kind | FEED_USAGE, rows[i].bytes,
				      strlen(rows[i].bytes));
		snprintf(want, sizeof(want), "tokens=%u", rows[i].tokens);
		if (strcmp(strstr(said, "tokens="), want))
			fail_msg("%s: %s", said, rows[i].bytes);
		/* the same events count, whether usage is wanted or not */
		assert_memory_equal(said, plain, strlen(plain));
		assert_string_equal(said + strlen(plain) + 1, want);
		free(plain);
		free(said);
	}
}

#define CHECK(rows) check(rows, sizeof(rows) / sizeof((rows)[0]))

static void a_stream_costs_what_it_states_or_its_events_with_output(void **state)
{
	static const struct row rows[] = {
		{THREE, 3},
		{THREE USAGE("\"prompt_tokens\":9,\"completion_tokens\":7,\"total_tokens\":16"), 7},
		{THREE USAGE("\"completion_tokens\": 2") "data: [DONE]\n\n", 2},
		{THREE USAGE("\"output_tokens\" :12"), 12},
		{THREE USAGE("\"completion_tokens\":1234567"), 1234567},
		{THREE USAGE("\"completion_tokens\":99999999999999"), 10000000},
		{THREE USAGE("\"completion_tokens\":10000001"), 10000000},
		/* beside the last text, before it and after it */
		{TEXT("a") DATA("{\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":"
				"\"stop\"}],\"usage\":{\"completion_tokens\":5}}"),
		 5},
		{TEXT("a") DATA("{\"usage\":{\"completion_tokens\":5},\"choices\":[{\"delta\":"
				"{\"content\":\"b\"}}]}"),
		 5},
		{TEXT("a") DATA("{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\","
				"\"text\":\"b\\\\\"}]}}],\"usage\":{\"completion_tokens\":5}}"),
		 5},
		{DATA("{\"choices\":[{\"delta\":{\"content\":\"\\\"\\\\\"}}],"
		      "\"usage\":{\"completion_tokens\":5}}"),
		 5},
		{DATA("{\"type\":\"x.delta\",\"arguments\":{\"a\":[\"b\"],\"usage\":"
		      "{\"output_tokens\":9}},\"usage\":{\"output_tokens\":5}}"),
		 5},
		{DATA("{\"choices\":[{\"delta\":{\"content\":\"a\"}},{\"delta\":{\"content\":\"b\"}}],"
		      "\n"
		      "data: \"usage\":{\"completion_tokens\":5}}"),
		 5},
		/* of the whole response so far: the last one holds, and the greatest until then */
		{DATA("{\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":"
		      "{\"completion_tokens\":4}}")
			 DATA("{\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":"
			      "{\"completion_tokens\":8}}"),
		 8},
		{DATA("{\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":"
		      "{\"completion_tokens\":4}}") THREE,
		 7},
		{USAGE("\"completion_tokens\":1") THREE, 4},
		/* the same number before the text of each event */
		{STATED STATED STATED STATED, 5},
		/* an error ends it: what was stated before is no total */
		{USAGE("\"completion_tokens\":2") DATA("{\"error\":{\"message\":\"x\"}}"), 2},
		{THREE USAGE("\"completion_tokens\":2") DATA("{\"error\":{\"message\":\"x\"}}"), 3},
		{THREE DATA("{\"error\":{},\"usage\":{\"completion_tokens\":9}}"), 3},
	};

	CHECK(rows);
}

static void only_the_number_in_its_place_is_usage(void **state)
{
	static const struct row rows[] = {
		{THREE USAGE("\"completion_tokens\":0"), 3},
		{THREE USAGE("\"completion_tokens\":null"), 3},
		{THREE USAGE("\"completion_tokens\":-1"), 3},
		{THREE USAGE("\"completion_tokens\":\"1\""), 3},
		{THREE USAGE("\"completion_tokens\":[1]"), 3},
		{THREE USAGE("\"completion_tokens\":{\"output_tokens\":1}"), 3},
		{THREE USAGE("\"prompt_tokens\":1,\"total_tokens\":2"), 3},
		{THREE USAGE("\"completion_tokens\":7,\"output_tokens\":0"), 7},
		{THREE USAGE("\"completion_tokens\":7,\"completion_tokens_details\":"
			     "{\"reasoning_tokens\":1,\"output_tokens\":1}"),
		 7},
		{THREE DATA("{\"usage\":null}"), 3},
		{THREE DATA("{\"response\":{\"usage\":{\"output_tokens\":5},\"eval_count\":99}}"),
		 5},
		/* after output, an event has no more of it, and no error */
		{DATA("{\"choices\":[{\"delta\":{\"content\":\"a\",\"reasoning\":\"b\"}}],\"error\":{}}"),
		 1},
		{DATA("{\"choices\":[{\"delta\":{\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]}}]}"),
		 1},
		{DATA("\"a\"\ndata: \"b\""), 1},
		{THREE DATA("{\"usage\":[{\"completion_tokens\":1}]}"), 3},
		{THREE DATA("{\"completion_tokens\":1,\"output_tokens\":1}"), 3},
		{THREE DATA("{\"x\":{\"usage\":{\"completion_tokens\":1}}}"), 3},
		/* what a client can have a server say */
		{TEXT("\\\"usage\\\":{\\\"completion_tokens\\\":1}") TEXT("b"), 2},
		{TEXT("usage\\\":{\\\"completion_tokens\\\":1}") TEXT("completion_tokens"), 2},
		{TEXT("a") TEXT("b\\\\\\\"},\\\"usage\\\":{\\\"completion_tokens\\\":1"), 2},
		{DATA("{\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":"
		      "{\"usage\":{\"completion_tokens\":99}}}}]}}]}"),
		 0},
		{DATA("{\"response\":{\"metadata\":{\"output_tokens\":99,\"usage\":"
		      "{\"output_tokens\":99}}},\"type\":\"response.completed\"}"),
		 0},
		{"{\"message\":{\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\","
		 "\"arguments\":{\"eval_count\":99}}}],\"eval_count\":99},\"done\":false}\n",
		 1},
	};

	CHECK(rows);
}

/* An event that begins as those of TEXT, with more after its text. */
#define AFTER(more) DATA("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"d\"" more)

/* Its begin is known by then, and its end is only searched for names of numbers. */
static void usage_after_a_known_begin_is_read_under_each_name(void **state)
{
	static const char name[][40] = {
		"usage\":{\"completion_tokens",    "usage\":{\"output_tokens",
		"timings\":{\"predicted_n",        "details\":{\"generated_tokens",
		"usage\":{\"total_output_tokens",  "usage_metadata\":{\"output_tokens",
		"meta_info\":{\"completion_tokens"};
	static const char top[][20] = {"eval_count", "tokens_predicted"};
	char text[600];
	struct row row = {text, 50};

	for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++)
		for (int space = 0; space < 3; space++) {
			snprintf(text, sizeof(text), THREE AFTER("}}],\"%s\"%.*s:50}}"), name[i],
				 !!space, space == 1 ? " " : "\t");
			check(&row, 1);
		}
	for (size_t i = 0; i < sizeof(top) / sizeof(top[0]); i++) {
		snprintf(text, sizeof(text), THREE AFTER("}}],\"%s\":50}"), top[i]);
		check(&row, 1);
	}
	for (size_t i = 0; i < sizeof(top) / sizeof(top[0]); i++) {
		snprintf(text, sizeof(text),
			 "{\"response\":\"a\"}\n{\"response\":\"b\"}\n{\"response\":\"c\"}\n"
			 "{\"response\":\"d\",\"%s\":50}\n",
			 top[i]);
		check(&row, 1);
	}
}

static void the_end_of_an_event_with_a_known_begin_is_read_wherever_it_is(void **state)
{
#define LONG         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CRLF(json)   "data: " json "\r\n\r\n"
#define SPACED(more) CRLF("{\"choices\": [{\"delta\": {\"content\": \"a\"}}]" more "}")
	static const struct row rows[] = {
		/* nothing that costs more than the event */
		{THREE AFTER("},\"logprobs\":null,\"finish_reason\":null}]}"), 4},
		{THREE AFTER("}}],\"created\":1795318566,\"usage\":null}"), 4},
		{THREE AFTER("}}],\"x\":{\"completion_tokens\":50}}"), 4},
		{THREE AFTER("}}],\"x\":1}") THREE, 7},
		{THREE AFTER(",\"text\":\"completion_tokens\\\":50 :\"}}]}"), 4},
		{THREE AFTER(",\"a\":\"" LONG LONG LONG LONG LONG LONG LONG LONG "\"}}]}"), 4},
		/* usage at the end of a long event, in its next line, and in one that is cut */
		{THREE AFTER(",\"a\":\"" LONG LONG LONG LONG LONG LONG LONG LONG
			     "\"}}],\"usage\":{\"completion_tokens\":50}}"),
		 50},
		{THREE AFTER("}}],\ndata: \"usage\":{\"completion_tokens\":50}}"), 50},
		{THREE AFTER("}}],\"usage\":\ndata: {\"completion_tokens\":50}}"), 50},
		{THREE AFTER("}}],\"usage\":{\ndata: \"completion_tokens\"\ndata: :50}}"), 50},
		{THREE AFTER("}}]}\n: no data\ndata: {\"usage\":{\"completion_tokens\":50}}"), 50},
		/* with other ends of lines, and with spaces */
		{SPACED("") SPACED("") SPACED(""), 3},
		{SPACED("") SPACED("") SPACED(", \"usage\": {\"completion_tokens\": 50}"), 50},
		{SPACED("") SPACED("") SPACED("\r\ndata: , \"usage\": {\"completion_tokens\": 50}"),
		 50},
		/* in each event, as of the whole response so far */
		{AFTER("}}],\"usage\":{\"completion_tokens\":1}}")
			 AFTER("}}],\"usage\":{\"completion_tokens\":2}}")
				 AFTER("}}],\"usage\":{\"completion_tokens\":13}}"),
		 13},
		/* it was no total */
		{THREE AFTER("}}],\"usage\":{\"completion_tokens\":4}}") THREE, 7},
	};

	CHECK(rows);
}

/* The CR LF of a chunk of HTTP follows the one in it. */
static void an_event_that_goes_on_in_the_next_chunk_is_read_on(void **state)
{
#define CHUNK(size, data) size "\r\n" data "\r\n"
#define EVENT             CHUNK("24", "data: {\"choices\":[{\"text\":\"a\"}]}\r\n\r\n")
	static const char bytes[] =
		"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked"
		"\r\n\r\n" EVENT EVENT EVENT CHUNK("21",
						   "data: {\"choices\":[{\"text\":\"a\"}]\r\n")
			CHUNK("28", "data: ,\"usage\":{\"output_tokens\":50}}\r\n\r\n");
	struct feed f;

	feed_begin(&f, FEED_RESPONSE, HTTP1_METHOD_POST, SCAN_BUF);
	f.response.stream.flags = STREAM_WHOLE;
	feed(&f, bytes, strlen(bytes));
	assert_string_equal(strstr(f.text, "body"),
			    "body event generated event generated event generated event generated");
	assert_int_equal(f.response.stream.tokens, 50);
	feed_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_costs_what_it_states_or_its_events_with_output),
		cmocka_unit_test(only_the_number_in_its_place_is_usage),
		cmocka_unit_test(usage_after_a_known_begin_is_read_under_each_name),
		cmocka_unit_test(the_end_of_an_event_with_a_known_begin_is_read_wherever_it_is),
		cmocka_unit_test(an_event_that_goes_on_in_the_next_chunk_is_read_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
