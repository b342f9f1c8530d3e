/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Invariant 6, generated events, by rows: the body bytes of a stream and the expected marks.
 * "event" marks the first byte of an event, "generated" the byte from which it is known to be
 * generated. Every row is also cut in two at each byte and fed through windows from one byte on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feed.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct row {
	const char *bytes;
	size_t len;
	const char *said;
};

#define ROW(BYTES, SAID)                                                                           \
	{                                                                                          \
		.bytes = BYTES, .len = sizeof(BYTES) - 1, .said = SAID                             \
	}

static void check(__u8 kind, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *said = feed_every_way(FEED_STREAM, kind, rows[i].bytes, rows[i].len);

		if (strcmp(said, rows[i].said))
			print_error("%s\n", rows[i].bytes);
		assert_string_equal(said, rows[i].said);
		free(said);
	}
}

#define DELTA(json)                                                                                \
	"data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{" json                 \
	"}}],\"created\":17953,"                                                                   \
	"\"id\":\"chatcmpl-HSlhZPbh\",\"model\":\"gpt-x\",\"object\":\"chat.completion.chunk\"}\n\n"
#define ROLE      DELTA("\"role\":\"assistant\",\"content\":null")
#define GENERATED "event generated"
#define GUESSED   "event generated guess"

/* Invariant 6. */
static void the_first_text_is_a_token_and_an_opening_delta_is_none(void **state)
{
	static const struct row rows[] = {
		ROW(ROLE DELTA("\"content\":\" put\""), "event " GENERATED),
		ROW(DELTA("\"role\": \"assistant\", \"content\": \"\""), "event"),
		ROW(DELTA("\"role\":\"assistant\""), "event"),
		ROW(DELTA("\"content\":\"\",\"role\":\"assistant\",\"tool_calls\":[],\"refusal\":null"),
		    "event"),
		ROW(DELTA("\"role\":\"assistant\",\"content\":\"Hi\""), GENERATED),
		ROW(DELTA("\"content\":\"\\n\""), GENERATED),
		ROW(DELTA("\"content\" : \"x\""), GENERATED),
		ROW(DELTA("\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"Hm\""),
		    GENERATED),
		ROW(DELTA("\"role\":\"assistant\",\"content\":\"\",\"reasoning\":\"Hm\""),
		    GENERATED),
		ROW(DELTA("\"role\":\"assistant\",\"refusal\":\"No\""), GENERATED),
		ROW(DELTA("\"role\":\"assistant\",\"content\":null,\"tool_calls\":[ {\"index\":0}]"),
		    "event"),
		ROW(DELTA("\"role\":\"assistant\",\"function_call\":{\"name\":\"f\",\"arguments\":\"\"}"),
		    GENERATED),
		ROW(DELTA("\"role\":\"assistant\",\"function_call\":{ }"), "event"),
		ROW(DELTA("\"role\":\"assistant\",\"contents\":\"x\",\"a\":\"content\",\"b\":\"x\""),
		    "event"),
		ROW(DELTA("\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]"),
		    GENERATED),
		ROW(DELTA("\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]"),
		    "event"),
		ROW(DELTA("\"role\":null,\"content\":\"\""), "event"),
		ROW(DELTA(""), "event"),
		ROW("data: {\"error\":{\"message\":\"x\"}}\n\n", "event failed"),
		ROW("data: {\"choices\":[{\"text\":\"Hi\",\"index\":0}]}\n\n", GENERATED),
		ROW("data: {\"token\":{\"id\":5,\"text\":\"Hi\"}}\n\n", GENERATED), /* TGI */
		ROW("data: plain text\n\n", GUESSED),
		ROW("data: [1,2]\n\n", GUESSED),
		ROW("data: {\"a\":\n"
		    "data: \"role\", \"role\":\"x\",\n"
		    "data: \"content\":\"y\"}\n\n",
		    GENERATED),
		ROW("data: {\"role\":\"a\\\"content\\\":\\\"x\\\"\"}\n\n", "event"),
		ROW("data: {\"role\":\"assistant\",\"x\":\"\\\\\",\"content\":\"a\"}\n\n",
		    GENERATED),
		/* a key is one also if its colon is on the next line; a string ends with its line
		 */
		ROW("data: {\"role\"\ndata::\"a\"}\n\n", "event"),
		ROW("data:{\"\ndata:{\"role\":\"X\"\ndata:role\":\"X\"\ndata: {}\n\n", GUESSED),
		/* known only at its blank line; SSE discards an event without one */
		ROW("data: {\"x\":1}\n", "event"),
	};

	check(STREAM_SSE, rows, COUNT(rows));
}

/* Invariant 6. */
static void comments_done_and_named_openings_are_no_tokens(void **state)
{
	static const struct row rows[] = {
		ROW(": ping - 2026\n\n:\n\n", ""),
		ROW("data: [DONE]\n\n", "event"),
		ROW("data:[DONE]\n\ndata: [DONE]  \n\n", "event event"),
		ROW("data: [DONE\n\n", GUESSED),
		ROW("data: \ndata:\ndata\n\n", "event"),
		ROW("\n\n\r\n\r\n", ""),
		ROW("id: 7\nretry: 10\n\n", "event"),
		ROW("event: message_start\ndata: {\"content\":\"x\"}\n\n", "event"),
		ROW("event: message_start\ndata: {\"content\":[{\"text\":\"x\"}]}\n\n", "event"),
		ROW("event: message_start\ndata: {\"content\":[\"x\"]}\n\n", "event"),
		ROW("event: call.done\ndata: {\"arguments\":{\"x\":1}}\n\n", "event"),
		ROW("event:content_block_start\ndata: {\"text\":\"x\"}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n",
		    "event event"),
		ROW("event: response.created\ndata: {}\n\nevent: response.in_progress\ndata: {}\n\n",
		    "event event"),
		ROW("event: response.output_text.delta\ndata: {\"delta\":\"Hi\"}\n\n", GENERATED),
		ROW("event: pings\ndata: x\n\n", GUESSED),
		ROW("event: a_ping\ndata: x\n\n", "event"),
		ROW("event: ping\n\ndata: x\n\n", "event " GUESSED),
		ROW("events: ping\ndata: x\n\n", GUESSED),
		/* Anthropic's whole opening, then its first text */
		ROW("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"role\":\"assistant\",\"content\":[]}}\n\n"
		    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
		    "event: ping\ndata: {\"type\": \"ping\"}\n\n"
		    "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
		    "event event event " GENERATED),
		ROW("event: content_block_delta\ndata: {\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\"}}\n\n",
		    GENERATED),
		/* the same after the first token */
		ROW("data: x\n\n: c\n\ndata: [DONE]\n\nevent: ping\ndata: {}\n\ndata: [DON\n\ndata:\n\ndata: y\n\n",
		    GUESSED " event event " GENERATED " event " GENERATED),
	};

	check(STREAM_SSE, rows, COUNT(rows));
}

/* Invariant 6. */
static void an_event_counts_once_at_every_cut_and_line_ending(void **state)
{
	static const struct row rows[] = {
		ROW(DELTA("\"content\":\"a\"") DELTA("\"content\":\"b\"") DELTA("")
			    DELTA("\"role\":\"a\",\"content\":\"\""),
		    GENERATED " " GENERATED " event event"),
		ROW("data: a\ndata: b\n\ndata: c\ndata: d\ndata: e\n\n", GUESSED " " GENERATED),
		ROW("data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", GUESSED " " GENERATED),
		ROW("data: a\r\rdata: b\r\r", GUESSED " " GENERATED),
		ROW("data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", GUESSED " " GENERATED " " GENERATED),
		ROW("id: 1\ndata: a\n: c\ndata: b\n\nid: 2\ndata: c\n\n", GUESSED " " GENERATED),
		ROW("data: [DONE]\ndata: a\n\n", GUESSED),
		ROW("data: a\tb\x01\n\n\n\n\ndata:b\n\n", GUESSED " " GENERATED),
		ROW("data:{\"content\":\"a\"}\n\ndata:{}\n\ndata: {}\n\n",
		    GENERATED " event event"),
		ROW("data: a\n\n data: b\n\nxdata: c\n\nDATA: d\n\n", GUESSED " event event event"),
	};

	check(STREAM_SSE, rows, COUNT(rows));
}

/* Invariant 6. */
static void each_line_of_ndjson_is_an_event(void **state)
{
	static const struct row rows[] = {
		ROW("{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":false}\n"
		    "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"done\":false}\n"
		    "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true}\n",
		    "event " GENERATED " event"),
		ROW("{\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"Hm\"}}\n",
		    GENERATED),
		ROW("{\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true}\n",
		    "event"),
		ROW("{\"response\":\"Hi\"}\n{\"response\":\"\"}\n", GENERATED " event"),
		ROW("{\"done\":false}\n", "event"),
		ROW("\n \r\n\t\n{\"a\":{}}\r\n\r\n{\"a\":\"b\"}\r\n", GUESSED " " GENERATED),
		ROW(":\n[DONE]\n", "event " GUESSED),
	};

	check(STREAM_NDJSON, rows, COUNT(rows));
}

/* Invariant 6: the first token has the time of its text, not of its event's end. */
static void text_is_known_to_be_generated_before_its_event_ends(void **state)
{
	static const struct {
		__u8 kind;
		const char *until; /* generated with the last of these bytes */
	} rows[] = {
		{STREAM_SSE, "data: {\"choices\":[{\"delta\":{\"content\":\"a"},
		{STREAM_SSE, "data: {\"message\":{\"tool_calls\":[{\"name\":\"f"},
		{STREAM_SSE, "event: response.output_text.delta\ndata: {\"delta\":\"a"},
		{STREAM_NDJSON, "{\"response\":\"a"},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t len = strlen(rows[i].until);
		struct feed f;

		feed_begin(&f, FEED_STREAM, rows[i].kind, SCAN_BUF);
		feed(&f, rows[i].until, len - 1);
		assert_string_equal(f.text, "event");
		assert_int_equal(f.stream.tokens, 0);
		feed(&f, rows[i].until + len - 1, 1);
		assert_string_equal(f.text, "event generated");
		assert_int_equal(f.stream.tokens, 1);
		feed_end(&f);
	}
}

/* Invariant 6: the driver knows the segment of an event's first byte. */
static void an_event_begins_in_the_segment_of_its_first_byte(void **state)
{
	static const char first[] = "data: a\n\ndata: b\n\n", second[] = "data: c\n\n";

	for (size_t cut = 1; cut < sizeof(second) - 1; cut++) {
		struct feed f;

		feed_begin(&f, FEED_STREAM, STREAM_SSE, SCAN_BUF);
		feed(&f, first, sizeof(first) - 1);
		assert_int_equal(f.stream.tokens, 2);
		f.stream.tokens = 0;
		f.text[f.text_len = 0] = 0;
		feed(&f, second, cut);
		assert_non_null(strstr(f.text, "event"));
		f.text[f.text_len = 0] = 0;
		feed(&f, second + cut, sizeof(second) - 1 - cut);
		assert_null(strstr(f.text, "event"));
		assert_int_equal(f.stream.tokens, 1);
		feed_end(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_text_is_a_token_and_an_opening_delta_is_none),
		cmocka_unit_test(comments_done_and_named_openings_are_no_tokens),
		cmocka_unit_test(an_event_counts_once_at_every_cut_and_line_ending),
		cmocka_unit_test(each_line_of_ndjson_is_an_event),
		cmocka_unit_test(text_is_known_to_be_generated_before_its_event_ends),
		cmocka_unit_test(an_event_begins_in_the_segment_of_its_first_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
