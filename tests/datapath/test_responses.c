/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc egress, how a response ends: any end of it, at any byte and in pieces of any size, releases
 * its slot. What belongs to no request passes and holds nothing.
 */
#include "responses.h"

/* invariants 6, 7 and 8 */
static void any_end_of_a_response_releases_its_slot(void **state)
{
	static const struct row rows[] = {
		{"Content-Length, and not a byte sooner",
		 {REQUESTED,
		  {SENT(0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), .len = 39}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED},
		{"Content-Length",
		 {REQUESTED,
		  {SENT(0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), .len = 39},
		  {SENT(39, "}")}},
		 .conns = 1,
		 ADMITTED},
		{"a body of no bytes",
		 {REQUESTED, {SENT(0, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")}},
		 .conns = 1,
		 ADMITTED},
		{"204",
		 {REQUESTED, {SENT(0, "HTTP/1.1 204 No Content\r\n\r\n")}},
		 .conns = 1,
		 ADMITTED},
		{"304",
		 {REQUESTED, {SENT(0, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n")}},
		 .conns = 1,
		 ADMITTED},
		{"the last chunk, with trailers, and not a byte sooner",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD TOKEN "0;last\r\nA: b\r\n\r\n"),
		   .len = AT_SECOND + N("0;last\r\nA: b\r\n\r")}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"the last chunk, with trailers",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD TOKEN "0;last\r\nA: b\r\n\r")},
		  {SENT(AT_SECOND + N("0;last\r\nA: b\r\n\r"), "\n")}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"FIN, if nothing else states the length",
		 {REQUESTED,
		  {SENT(0, "HTTP/1.1 200 OK\r\n\r\nhello")},
		  {.server = true, .flags = FIN | ACK, .seq = 24, .ack = WHOLE}},
		 .conns = 1,
		 ADMITTED},
		{"FIN with the last bytes, then the client's",
		 {REQUESTED,
		  {SENT(0, "HTTP/1.1 200 OK\r\n\r\nhello"), .flags = FIN | PSH | ACK},
		  {.flags = FIN | ACK, .seq = WHOLE, .ack = 25}},
		 ADMITTED},
		{"the last line of JSON needs no line feed before the FIN",
		 {REQUESTED,
		  {.ms = 5,
		   SENT(0, "HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\n\r\n"
			   "{\"response\":\"a\"}\n")},
		  {.ms = 8, SENT(69, "{\"response\":\"b\"}"), .flags = FIN | PSH | ACK}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(5), ITL(1, 8)}},
		{"FIN in the middle, a framing error",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD TOKEN), .len = AT_SECOND - 5},
		  {.server = true, .flags = FIN | ACK, .seq = AT_SECOND - 5, .ack = WHOLE}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_RESPONSE_FRAMING_ERROR, 1}},
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"the server's RST",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD TOKEN)},
		  {.server = true, .flags = RST | ACK, .seq = AT_SECOND, .ack = WHOLE}},
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"the client's RST",
		 {REQUESTED, {SENT(0, STREAM_HEAD TOKEN)}, {.flags = RST, .seq = WHOLE}},
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"a response before the end of its request",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .len = 60},
		  {.server = true,
		   .ack = 60,
		   .text = "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"},
		  {FROM_CLIENT(60, 38, REQUEST + 60)}},
		 .conns = 1,
		 ADMITTED},
		{"an interim response does not",
		 {REQUESTED,
		  {SENT(0, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n")}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"the response after an interim one",
		 {REQUESTED,
		  {SENT(0, "HTTP/1.1 100 Continue\r\n\r\n")},
		  {SENT(25, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")}},
		 .conns = 1,
		 ADMITTED},
		{"each of two pipelined requests has its own",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST REQUEST), .then = HELD, .keep = WHOLE},
		  {SENT(0, SHORT)},
		  {FROM_CLIENT(WHOLE, N(SHORT), REQUEST)},
		  {.server = true, .seq = N(SHORT), .ack = 2 * WHOLE, .text = SHORT}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PIPELINED_HELD, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"bytes that are not HTTP hold nothing",
		 {REQUESTED, {SENT(0, "SSH-2.0-OpenSSH\r\n")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_RESPONSE_FRAMING_ERROR, 1}},
		 ADMITTED},
		{"nor does a response with an unseen part that does not come in time",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD)},
		  {SENT(AT_SECOND, TOKEN), .then = DROP},
		  {.ms = 299, SENT(AT_SECOND, TOKEN), .then = DROP},
		  {.ms = 1, SENT(AT_SECOND, TOKEN)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 2},
			      {SLUICE_COUNTER_RESPONSE_FRAMING_ERROR, 1}},
		 ADMITTED},
		{"segments and a FIN that overtook one come again after it",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD)},
		  {.ms = 5, SENT(AT_SECOND, CLOSING), .then = DROP},
		  {.server = true,
		   .flags = FIN | ACK,
		   .seq = AT_SECOND + N(CLOSING),
		   .ack = WHOLE,
		   .then = DROP},
		  {.ms = 1, SENT(AT_FIRST, TOKEN)},
		  {.ms = 2, SENT(AT_SECOND, CLOSING), .flags = FIN | PSH | ACK},
		  {.flags = FIN | ACK, .seq = WHOLE, .ack = AT_SECOND + N(CLOSING) + 1}},
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 2}},
		 ADMITTED,
		 .samples = {TTFT(6)}},
		{"each gap has its own time",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD)},
		  {.ms = 5, SENT(AT_SECOND, CLOSING), .then = DROP},
		  {.ms = 200, SENT(AT_FIRST, TOKEN)},
		  {.ms = 400, SENT(AT_SECOND + 3, CLOSING + 3), .then = DROP},
		  {.ms = 200, SENT(AT_SECOND, CLOSING)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 2}},
		 ADMITTED,
		 .samples = {TTFT(205)}},
		{"nor one that is a tunnel",
		 {REQUESTED,
		  {SENT(0, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
			   "Connection: Upgrade\r\n\r\nwhatever")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_UPGRADED, 1}},
		 ADMITTED},
		{"nor one with unseen bytes at its server",
		 {REQUESTED, {.server = true, .flags = ACK, .ack = WHOLE + 10}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_UNSEEN_REQUESTS, 1}},
		 ADMITTED},
		{"nor a client that has read nothing for ten seconds, once the server knocks",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD TOKEN)},
		  {.flags = ACK, .seq = WHOLE, .ack = AT_SECOND, .zero_window = true},
		  {.ms = 10001, .server = true, .flags = ACK, .seq = AT_SECOND - 1, .ack = WHOLE}},
		 .stalled = 1,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_STALLS_RELEASED, 1}},
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"nor one that has acknowledged nothing for ten seconds, once the server sends again",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 10001, SENT(0, STREAM_HEAD TOKEN)}},
		 .stalled = 1,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_STALLS_RELEASED, 1}},
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"a client that has acknowledged a part meanwhile still holds it",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 5000, .flags = ACK, .seq = WHOLE, .ack = AT_FIRST},
		  {.ms = 5001, SENT(AT_FIRST, TOKEN)}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"exactly ten seconds are not over the limit",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD TOKEN)},
		  {.flags = ACK, .seq = WHOLE, .ack = AT_SECOND, .zero_window = true},
		  {.ms = 10000, .server = true, .flags = ACK, .seq = AT_SECOND - 1, .ack = WHOLE}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(0)}},
	};

	play_rows(rows);
}

/* Plays a response in pieces of `size` bytes: one first token, then gaps, and no slot held. */
static void play_pieces(const char *what, const char *text, size_t size, unsigned gaps)
{
	static const struct step requested[] = {REQUESTED};
	const struct shape *shape = &shapes[size % 3];
	size_t len = strlen(text);
	unsigned first = 0, n = 0;
	struct row ends = {.what = what, .conns = 1, ADMITTED};

	reset_world();
	row_now = what;
	shape_now = *shape;
	step_now = size;
	for (int k = 0; k < 4; k++)
		play_step(shape, &requested[k], HTTP_PORT);
	for (size_t at = 0; at < len; at += size) {
		struct step piece = {.server = true,
				     .seq = at,
				     .ack = WHOLE,
				     .text = text + at,
				     .len = len - at < size ? len - at : size};

		assert_int_equal(get_state(LLAMA).in_flight, 1);
		play_step(shape, &piece, HTTP_PORT);
	}
	for (unsigned k = 0; k < w.sample_count; k++) {
		if (w.samples[k].kind == SLUICE_SAMPLE_TTFT)
			first++;
		else
			n += w.samples[k].n;
		assert_int_equal(w.samples[k].sum_ns, 0);
	}
	assert_int_equal(first, 1);
	assert_int_equal(n, gaps);
	w.sample_count = 0;
	assert_ends(&ends);
	row_now = NULL;
}

/* invariants 6 and 7 */
static void a_response_in_pieces_of_every_size_gives_the_same(void **state)
{
	const char *chunked = STREAM_HEAD ROLE COMMENT TOKEN TOKEN TOKEN DONE "0\r\nT: 1\r\n\r\n";
	const char *sized = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: application/x-ndjson\r\n"
			    "Content-Length: 51\r\n\r\n"
			    "{\"response\":\"a\"}\n{\"response\":\"b\"}\n{\"response\":\"c\"}\n";
	const char *interim =
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
		"Content-Type: text/event-stream\r\ncontent-length: 62\r\n\r\n"
		"event: message_start\ndata: {}\n\ndata: {\"text\":\"b\"}\n\ndata: \"c\"\n\n";

	for (size_t size = 1; size <= strlen(chunked); size++)
		play_pieces("chunked", chunked, size, 2);
	for (size_t size = 1; size <= strlen(sized); size++)
		play_pieces("of known length", sized, size, 2);
	for (size_t size = 1; size <= strlen(interim); size++)
		play_pieces("after an interim one", interim, size, 1);
}

/*
 * invariants 7 and 8: either side ends the connection by FIN or RST, at any byte of a request or
 * its response, and nothing stays in flight; a client that has only closed its side still waits.
 */
static void an_end_at_any_byte_leaves_nothing_in_flight(void **state)
{
	static const struct step handshake[] = {HANDSHAKE};
	static const char response[] = STREAM_HEAD ROLE TOKEN TOKEN CLOSING;
	const int all = WHOLE + (int)sizeof(response) - 1;

	for (int at = 1; at <= all; at++) {
		const struct shape *shape = &shapes[at % 3];
		int requested = at < WHOLE ? at : WHOLE, said = at - requested;

		for (int how = 0; how < 4; how++) { /* the side, and FIN or RST */
			bool server = how & 1, reset = how & 2;
			struct step part[] = {{FROM_CLIENT(0, 0, REQUEST), .len = requested},
					      {FROM_SERVER(0, requested, response), .len = said}};
			struct step end = {.server = server,
					   .flags = reset ? RST | ACK : FIN | ACK,
					   .seq = server ? said : requested,
					   .ack = server ? requested : said};
			bool over = reset || server || at == all;

			reset_world();
			row_now = "gone in the middle";
			shape_now = *shape;
			step_now = 4 * at + how;
			for (int i = 0; i < 3; i++)
				play_step(shape, &handshake[i], HTTP_PORT);
			play_step(shape, &part[0], HTTP_PORT);
			if (said)
				play_step(shape, &part[1], HTTP_PORT);
			play_step(shape, &end, HTTP_PORT);
			assert_int_equal(get_state(SLUICE_MODEL_ALL).in_flight,
					 !over && requested == WHOLE);
			assert_int_equal(entries(fd_of(conns)), !reset);
			if (reset)
				continue;
			end = (struct step){.server = !server,
					    .flags = FIN | ACK,
					    .seq = server ? requested : said,
					    .ack = (server ? said : requested) + 1};
			play_step(shape, &end, HTTP_PORT);
			assert_int_equal(get_state(SLUICE_MODEL_ALL).in_flight, 0);
			assert_int_equal(get_state(SLUICE_MODEL_ALL).waiting, 0);
			assert_int_equal(client_holds(SLUICE_MODEL_ALL), 0);
			assert_int_equal(entries(fd_of(conns)), 0);
		}
	}
	row_now = NULL;
}

/* invariants 8 and 11: an unknown connection leaves no state, and its packets pass. */
static void responses_of_unknown_connections_pass(void **state)
{
	static const struct row rows[] = {
		{"no handshake was seen",
		 {{SENT(0, STREAM_HEAD TOKEN)},
		  {.server = true, .flags = FIN | ACK, .seq = AT_SECOND},
		  {.server = true, .flags = RST, .seq = AT_SECOND}}},
		{"no request was seen: the server speaks first",
		 {HANDSHAKE, {FROM_SERVER(0, 0, STREAM_HEAD TOKEN CLOSING)}},
		 .conns = 1},
	};

	play_rows(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(any_end_of_a_response_releases_its_slot),
		packets_test(a_response_in_pieces_of_every_size_gives_the_same),
		packets_test(an_end_at_any_byte_leaves_nothing_in_flight),
		packets_test(responses_of_unknown_connections_pass),
	};

	return packets_main("responses", tests);
}
