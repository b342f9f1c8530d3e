/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc egress, what is measured: which moment of a response is its first token, which gaps between
 * chunks are samples, and what is reported of them. The clock moves only where a row moves it, so
 * every time is exact.
 */
#include "responses.h"

static void declare_unary(bool ipv6)
{
	struct sluice_service service = http_service();

	service.unary = 1;
	set_both(HTTP_PORT, service);
}

static void find_unary(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .unary = 1});
}

/* invariant 6 */
static void the_first_token_is_the_first_generated_byte(void **state)
{
	static const struct row rows[] = {
		{"head, role and comment are no token",
		 {REQUESTED,
		  {.ms = 300, SENT(0, STREAM_HEAD)},
		  {.ms = 100, SENT(AT_FIRST, ROLE)},
		  {.ms = 50, SENT(AT_FIRST + N(ROLE), COMMENT)},
		  {.ms = 50, SENT(AT_FIRST + N(ROLE) + N(COMMENT), TOKEN)}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(500)}},
		{"with only the role the request still waits",
		 {REQUESTED, {.ms = 300, SENT(0, STREAM_HEAD ROLE COMMENT)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"all of it in one segment",
		 {REQUESTED, {.ms = 7, SENT(0, STREAM_HEAD ROLE TOKEN)}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(7)}},
		{"it is as old as its event's first byte",
		 {REQUESTED,
		  {SENT(0, STREAM_HEAD)},
		  {.ms = 100, SENT(AT_FIRST, TOKEN), .len = 10},
		  {.ms = 50, SENT(AT_FIRST + 10, TOKEN + 10)}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(100)}},
		{"its time begins with the request's last byte",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .len = 70},
		  {.ms = 200, FROM_CLIENT(70, 0, REQUEST + 70)},
		  {.ms = 40, FROM_CLIENT(70, 0, REQUEST + 70)},
		  {.ms = 60, SENT(0, STREAM_HEAD TOKEN)}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(100)}},
		{"a stream without a token has none",
		 {REQUESTED, {.ms = 10, SENT(0, STREAM_HEAD ROLE DONE CLOSING)}},
		 .conns = 1,
		 ADMITTED},
		{"progress is no token",
		 {REQUESTED, {.ms = 300, SENT(0, STREAM_HEAD ROLE PROGRESS PROGRESS)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"an error in a stream is no token, and ends the wait",
		 {REQUESTED, {.ms = 10, SENT(0, STREAM_HEAD ROLE FAILURE)}},
		 .in_flight = 1,
		 .conns = 1,
		 .failed = 1,
		 ADMITTED},
		{"what follows it neither, and it is counted once",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD FAILURE)},
		  {SENT(AT_FIRST + N(FAILURE), TOKEN FAILURE CLOSING)}},
		 .conns = 1,
		 .failed = 1,
		 ADMITTED},
		{"a token before it stays one",
		 {REQUESTED, {.ms = 10, SENT(0, STREAM_HEAD TOKEN FAILURE CLOSING)}},
		 .conns = 1,
		 .failed = 1,
		 ADMITTED,
		 .samples = {TTFT(10)}},
		{"the first event of an unknown format is a guess, and counted as one",
		 {REQUESTED, {.ms = 10, SENT(0, STREAM_HEAD STRANGE STRANGE)}},
		 .in_flight = 1,
		 .conns = 1,
		 .guessed = 1,
		 ADMITTED,
		 .samples = {TTFT(10)}},
		{"an error is no sample, although it is a stream",
		 {REQUESTED,
		  {.ms = 10,
		   SENT(0, "HTTP/1.1 503 Busy\r\nContent-Type: text/event-stream\r\n"
			   "Transfer-Encoding: chunked\r\n\r\n" TOKEN TOKEN CLOSING)}},
		 .conns = 1,
		 ADMITTED},
		{"an error is no sample where replies are unary",
		 {HANDSHAKE,
		  {.act = find_unary},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.ms = 10, SENT(0, "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}")}},
		 .conns = 1,
		 ADMITTED},
		{"a plain reply is no sample",
		 {REQUESTED, {.ms = 10, SENT(0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")}},
		 .conns = 1,
		 ADMITTED},
		{"its first body byte is one where the model is known to be unary",
		 {HANDSHAKE,
		  {.act = find_unary},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.ms = 10, SENT(0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")},
		  {.ms = 20, SENT(38, "{")},
		  {.ms = 30, SENT(39, "}")}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(30)}},
		{"which in a chunked reply is after the first chunk's size",
		 {HANDSHAKE,
		  {.act = find_unary},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.ms = 10, SENT(0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n")},
		  {.ms = 20, SENT(50, "{}\r\n0\r\n\r\n")}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(30)}},
		{"or the service is declared so",
		 {{.act = declare_unary},
		  REQUESTED,
		  {.ms = 15, SENT(0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(15)}},
		{"lines of JSON are a stream",
		 {REQUESTED,
		  {.ms = 9,
		   SENT(0, "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n")},
		  {.ms = 1, SENT(55, "{\"response\":\"a\"}\n")}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10)}},
		{"a GET has no samples, and shifts none",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, GET)},
		  {.ms = 5, .server = true, .ack = GET_N, .text = SHORT},
		  {FROM_CLIENT(GET_N, N(SHORT), REQUEST)},
		  {.ms = 5,
		   .server = true,
		   .seq = N(SHORT),
		   .ack = WHOLE + GET_N,
		   .text = STREAM_HEAD},
		  {.ms = 6,
		   .server = true,
		   .seq = N(SHORT) + AT_FIRST,
		   .ack = WHOLE + GET_N,
		   .text = TOKEN}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(11)}},
		{"a response of HEAD has no body",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, "HEAD / HTTP/1.1\r\n\r\n")},
		  {.server = true,
		   .ack = 19,
		   .text = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"},
		  {FROM_CLIENT(19, 39, REQUEST)},
		  {.ms = 5,
		   .server = true,
		   .seq = 39,
		   .ack = 19 + WHOLE,
		   .text = STREAM_HEAD TOKEN}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(5)}},
	};

	play_rows(rows);
}

/* invariant 6 */
static void gaps_between_chunks_are_samples_if_the_client_does_not_limit_them(void **state)
{
	static const struct row rows[] = {
		{"the end reports the folded gaps; [DONE] is no chunk",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 20, SENT(AT_SECOND, TOKEN)},
		  {.ms = 5, SENT(AT_THIRD, DONE CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 20)}},
		{"the finish reason is no chunk",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 20, SENT(AT_SECOND, TOKEN)},
		  {.ms = 5, SENT(AT_THIRD, FINISH DONE CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 20)}},
		{"nor are the usage and a finish reason with empty content, in segments of their own",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 20, SENT(AT_SECOND, TOKEN)},
		  {.ms = 5, SENT(AT_THIRD, EMPTY)},
		  {.ms = 6, SENT(AT_THIRD + N(EMPTY), FINISH)},
		  {.ms = 7, SENT(AT_THIRD + N(EMPTY FINISH), USAGE)},
		  {.ms = 8, SENT(AT_THIRD + N(EMPTY FINISH USAGE), DONE)},
		  {.ms = 9, SENT(AT_THIRD + N(EMPTY FINISH USAGE DONE), CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 20)}},
		{"after one token they make no gap",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 20, SENT(AT_SECOND, FINISH)},
		  {.ms = 20, SENT(AT_SECOND + N(FINISH), USAGE DONE CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10)}},
		{"nor is [DONE] where every other event is one, of an unknown format",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD STRANGE)},
		  {.ms = 20, SENT(AT_FIRST + N(STRANGE), STRANGE)},
		  {.ms = 5, SENT(AT_FIRST + 2 * N(STRANGE), DONE CLOSING)}},
		 .conns = 1,
		 .guessed = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 20)}},
		{"a failed response does not report the gaps of the one before it",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 20, SENT(AT_SECOND, TOKEN CLOSING)},
		  {FROM_CLIENT(WHOLE, AT_THIRD + N(CLOSING), REQUEST)},
		  {.ms = 5,
		   FROM_SERVER(AT_THIRD + N(CLOSING), 2 * WHOLE, STREAM_HEAD FAILURE CLOSING)}},
		 .conns = 1,
		 .failed = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}},
		 .samples = {TTFT(10), ITL(1, 20)}},
		{"events in one segment share its gap",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 40, SENT(AT_SECOND, TOKEN TOKEN)},
		  {SENT(AT_FOURTH, CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(2, 40)}},
		{"a comment between chunks does not split the gap",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 40, SENT(AT_SECOND, COMMENT)},
		  {.ms = 30, SENT(AT_SECOND + N(COMMENT), TOKEN CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 70)}},
		{"a retransmission is no sample and limits the gap around it, no other",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 30, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 20, SENT(AT_SECOND, TOKEN)},
		  {.ms = 15, SENT(AT_THIRD, TOKEN CLOSING)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_GAPS_CLIENT_LIMITED, 1}},
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 15)}},
		{"the same packet at a second hook is neither a chunk nor a repetition",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 20, SENT(AT_SECOND, TOKEN)},
		  {SENT(AT_SECOND, TOKEN)},
		  {.ms = 15, SENT(AT_THIRD, TOKEN CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(2, 35)}},
		{"in a segment that repeats a part the rest is new",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 20, SENT(AT_FIRST, TOKEN TOKEN CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 20)}},
		{"a head sent again before the first token makes that no sample",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD)},
		  {.ms = 10, SENT(0, STREAM_HEAD)},
		  {.ms = 10, SENT(AT_FIRST, TOKEN CLOSING)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_GAPS_CLIENT_LIMITED, 1}},
		 ADMITTED},
		{"a zero window makes its gap client-limited",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.flags = ACK, .seq = WHOLE, .ack = AT_SECOND, .zero_window = true},
		  {.ms = 90, .flags = ACK, .seq = WHOLE, .ack = AT_SECOND},
		  {.ms = 1, SENT(AT_SECOND, TOKEN)},
		  {.ms = 12, SENT(AT_THIRD, TOKEN CLOSING)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_GAPS_CLIENT_LIMITED, 1}},
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 12)}},
		{"a window that stays shut makes every gap client-limited",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.flags = ACK, .seq = WHOLE, .ack = AT_SECOND, .zero_window = true},
		  {.ms = 10, SENT(AT_SECOND, TOKEN)},
		  {.ms = 10, SENT(AT_THIRD, TOKEN CLOSING)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_GAPS_CLIENT_LIMITED, 2}},
		 ADMITTED,
		 .samples = {TTFT(10)}},
		{"a window smaller than a chunk counts as zero",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.flags = ACK, .seq = WHOLE, .ack = AT_SECOND, .window = 1000},
		  ACKED(AT_SECOND),
		  {.ms = 10, SENT(AT_SECOND, TOKEN CLOSING)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_GAPS_CLIENT_LIMITED, 1}},
		 ADMITTED,
		 .samples = {TTFT(10)}},
		{"a zero window before the first token makes that client-limited",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD)},
		  {.flags = ACK, .seq = WHOLE, .ack = AT_FIRST, .zero_window = true},
		  {.flags = ACK, .seq = WHOLE, .ack = AT_FIRST},
		  {.ms = 10, SENT(AT_FIRST, TOKEN)},
		  {.ms = 10, SENT(AT_SECOND, TOKEN CLOSING)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_GAPS_CLIENT_LIMITED, 1}},
		 ADMITTED,
		 .samples = {ITL(1, 10)}},
		{"bytes acknowledged late have delayed the server",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 251, .flags = ACK, .seq = WHOLE, .ack = AT_SECOND},
		  {.ms = 10, SENT(AT_SECOND, TOKEN CLOSING)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_GAPS_CLIENT_LIMITED, 1}},
		 ADMITTED,
		 .samples = {TTFT(10)}},
		{"an acknowledgement far above the client's number is not the client's",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  ACKED(AT_SECOND),
		  {.flags = ACK, .seq = WHOLE + FAR, .ack = AT_SECOND, .zero_window = true},
		  {.ms = 10, SENT(AT_SECOND, TOKEN CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 10)}},
		{"nor is one far below it",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  ACKED(AT_SECOND),
		  {.flags = ACK, .seq = WHOLE - FAR, .ack = AT_SECOND, .zero_window = true},
		  {.ms = 10, SENT(AT_SECOND, TOKEN CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 10)}},
		{"a delayed acknowledgement has not",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 200, .flags = ACK, .seq = WHOLE, .ack = AT_SECOND},
		  {.ms = 10, SENT(AT_SECOND, TOKEN CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(10), ITL(1, 210)}},
		{"the next response on the connection begins afresh",
		 {REQUESTED,
		  {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		  {.ms = 10, SENT(AT_SECOND, TOKEN CLOSING)},
		  {.ms = 100, FROM_CLIENT(WHOLE, AT_THIRD + 5, REQUEST)},
		  {.ms = 30,
		   .server = true,
		   .seq = AT_THIRD + 5,
		   .ack = 2 * WHOLE,
		   .text = STREAM_HEAD TOKEN},
		  {.ms = 10,
		   .server = true,
		   .seq = AT_THIRD + 5 + AT_SECOND,
		   .ack = 2 * WHOLE,
		   .text = TOKEN CLOSING}},
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}},
		 .samples = {TTFT(10), ITL(1, 10), TTFT(30), ITL(1, 10)}},
	};

	play_rows(rows);
}

/* invariant 6: folding loses nothing, and makes at most ten records a second of a connection. */
static void chunks_are_folded_into_few_records_that_add_up(void **state)
{
	static const uint32_t periods[] = {0, 1, 3, 10, 36, 99, 124, 125, 126, 240};
	static const struct step requested[] = {REQUESTED};
	const struct shape *shape = &shapes[0];

	for (unsigned i = 0; i < sizeof(periods) / sizeof(periods[0]); i++) {
		struct step s = {.server = true, .ack = WHOLE, .text = STREAM_HEAD TOKEN};
		uint64_t n = 0, sum = 0;
		const unsigned chunks = 150;

		reset_world();
		for (int k = 0; k < 4; k++)
			play_step(shape, &requested[k], HTTP_PORT);
		play_step(shape, &s, HTTP_PORT);
		s.seq = AT_SECOND;
		s.text = TOKEN;
		s.ms = periods[i];
		for (unsigned k = 0; k < chunks; k++) {
			play_step(shape, &s, HTTP_PORT);
			s.seq += N(TOKEN);
			play_step(shape, &(struct step){.flags = ACK, .seq = WHOLE, .ack = s.seq},
				  HTTP_PORT);
		}
		s.text = CLOSING;
		s.ms = 0;
		play_step(shape, &s, HTTP_PORT);
		assert_true(w.sample_count > 1);
		assert_int_equal(w.samples[0].kind, SLUICE_SAMPLE_TTFT);
		assert_int_equal(w.samples[0].bytes, WHOLE);
		for (unsigned k = 1; k < w.sample_count; k++) {
			assert_int_equal(w.samples[k].kind, SLUICE_SAMPLE_ITL);
			assert_int_equal(w.samples[k].in_flight_at_admission,
					 k + 1 < w.sample_count ? 0 : chunks);
			assert_true(w.samples[k].n > 0 || w.samples[k].in_flight_at_admission);
			n += w.samples[k].n;
			sum += w.samples[k].sum_ns;
			if (k > 1 && k + 1 < w.sample_count)
				assert_true(w.samples[k].time_ns - w.samples[k - 1].time_ns >=
					    100 * MS);
		}
		/* the last one has the totals of the whole response */
		assert_int_equal(w.samples[w.sample_count - 1].queued_bytes, periods[i] * 1000);
		assert_int_equal(n, chunks);
		assert_int_equal(sum, (uint64_t)chunks * periods[i] * MS);
		assert_int_equal(get_state(LLAMA).in_flight, 0);
	}
}

/* invariant 6: a sample that finds the ring full is counted as lost. */
static void samples_that_find_the_ring_full_are_counted(void **state)
{
	static const struct step requested[] = {REQUESTED};
	const unsigned records = 1 + (1 << 20) / sizeof(struct sluice_sample);
	struct step s = {SENT(0, STREAM_HEAD TOKEN)};
	unsigned reported;

	for (unsigned i = 0; i < sizeof(requested) / sizeof(requested[0]); i++)
		play_step(&shapes[0], &requested[i], HTTP_PORT);
	w.unread = true;
	for (unsigned i = 0; i < records; i++) { /* a first token, and a record of each gap */
		play_step(&shapes[0], &s, HTTP_PORT);
		s.seq = i ? s.seq + N(TOKEN) : AT_SECOND;
		s.text = TOKEN;
		s.ms = 200;
	}
	reported = read_filled(fd_of(samples));
	assert_true(reported < records);
	assert_int_equal(reported + counter(SLUICE_COUNTER_SAMPLES_LOST), records);
}

/* An unknown model reports its name with its first success, and with its samples. */
static void an_unknown_model_is_reported_by_name(void **state)
{
	static const char request[] =
		"POST / HTTP/1.1\r\nContent-Length: 15\r\n\r\n{\"model\":\"phi\"}";
	static const struct step steps[] = {
		HANDSHAKE,
		{FROM_CLIENT(0, 0, request)},
		{.server = true, .ack = sizeof(request) - 1, .text = STREAM_HEAD TOKEN}};

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		play_step(&shapes[0], &steps[i], HTTP_PORT);
	assert_int_equal(w.sample_count, 2);
	assert_int_equal(w.samples[0].kind, SLUICE_SAMPLE_SEEN);
	assert_int_equal(w.samples[1].kind, SLUICE_SAMPLE_TTFT);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(w.samples[i].model, SLUICE_MODEL_OTHER);
		assert_string_equal(w.samples[i].name, "phi");
	}
}

#define OPAQUE_TTFT(ms)                                                                            \
	{                                                                                          \
		SLUICE_SAMPLE_TTFT, OPAQUE_MODEL, 1, (ms)                                          \
	}
#define OPAQUE_ITL(gaps, ms)                                                                       \
	{                                                                                          \
		SLUICE_SAMPLE_ITL, OPAQUE_MODEL, (gaps), (ms)                                      \
	}
#define TLS_DATA  "\x17\x03\x03\x01"
#define TLS_HELLO "\x16\x03\x03\x01"

/*
 * invariant 6, on opaque services: a burst is a request, and the first bytes of its answer a token.
 */
static void on_opaque_services_bursts_are_measured(void **state)
{
	static const struct row rows[] = {
		{"the first burst, a hello, is no request",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, TLS_HELLO)},
		  {.ms = 10, FROM_SERVER(0, 4, "hello")},
		  {.ms = 10, FROM_SERVER(5, 4, "again")}},
		 .conns = 1,
		 .port = OPAQUE_PORT},
		{"nor is one that is no TLS, as HTTP/2's preface",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
		  {.ms = 10, FROM_SERVER(0, 24, "settings")},
		  {.ms = 10, FROM_CLIENT(24, 8, "headers")},
		  {.ms = 10, FROM_SERVER(8, 31, "token")}},
		 .conns = 1,
		 .requests = {{OPAQUE_MODEL, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .samples = {OPAQUE_TTFT(10)},
		 .port = OPAQUE_PORT},
		{"the second is, from its last byte; each later segment is a chunk",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, TLS_HELLO)},
		  {FROM_SERVER(0, 4, "hello")},
		  {.ms = 5, FROM_CLIENT(4, 5, TLS_DATA)},
		  {.ms = 5, FROM_CLIENT(8, 5, TLS_DATA)},
		  {.ms = 30, FROM_SERVER(5, 12, "token")},
		  {.ms = 200, FROM_SERVER(10, 12, "token")},
		  {.ms = 150, FROM_SERVER(15, 12, "token")}},
		 .conns = 1,
		 .requests = {{OPAQUE_MODEL, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .samples = {OPAQUE_TTFT(30), OPAQUE_ITL(1, 200), OPAQUE_ITL(1, 150)},
		 .port = OPAQUE_PORT},
		{"records of TLS itself are none",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, TLS_HELLO)},
		  {FROM_SERVER(0, 4, "hello")},
		  {FROM_CLIENT(4, 5, TLS_HELLO)},
		  {.ms = 30, FROM_SERVER(5, 8, "token")}},
		 .conns = 1,
		 .port = OPAQUE_PORT},
		{"nor is an alert, or what ends a handshake",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, TLS_HELLO)},
		  {FROM_SERVER(0, 4, "hello")},
		  {FROM_CLIENT(4, 5, "\x14\x03\x03\x01")},
		  {.ms = 30, FROM_SERVER(5, 8, "token")},
		  {FROM_CLIENT(8, 10, "\x15\x03\x03\x01")},
		  {.ms = 30, FROM_SERVER(10, 12, "token")}},
		 .conns = 1,
		 .port = OPAQUE_PORT},
		{"bytes that only begin like TLS are one",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, TLS_HELLO)},
		  {FROM_SERVER(0, 4, "hello")},
		  {FROM_CLIENT(4, 5, "\x16\x04\x03\x01")},
		  {.ms = 30, FROM_SERVER(5, 8, "token")}},
		 .conns = 1,
		 .requests = {{OPAQUE_MODEL, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .samples = {OPAQUE_TTFT(30)},
		 .port = OPAQUE_PORT},
		{"a burst sent again is no new one",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, TLS_HELLO)},
		  {FROM_SERVER(0, 4, "hello")},
		  {FROM_CLIENT(4, 5, TLS_DATA)},
		  {.ms = 10, FROM_CLIENT(4, 5, TLS_DATA)},
		  {.ms = 30, FROM_SERVER(5, 8, "token")},
		  {.ms = 10, FROM_CLIENT(4, 10, TLS_DATA)}},
		 .conns = 1,
		 .requests = {{OPAQUE_MODEL, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .samples = {OPAQUE_TTFT(40)},
		 .port = OPAQUE_PORT},
		{"FIN and FIN end the connection",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, TLS_HELLO)},
		  {FROM_SERVER(0, 4, "hello"), .flags = FIN | PSH | ACK},
		  {.flags = FIN | ACK, .seq = 4, .ack = 6}},
		 .port = OPAQUE_PORT},
	};

	play_rows(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(the_first_token_is_the_first_generated_byte),
		packets_test(gaps_between_chunks_are_samples_if_the_client_does_not_limit_them),
		packets_test(chunks_are_folded_into_few_records_that_add_up),
		packets_test(samples_that_find_the_ring_full_are_counted),
		packets_test(an_unknown_model_is_reported_by_name),
		packets_test(on_opaque_services_bursts_are_measured),
	};

	return packets_main("samples", tests);
}
