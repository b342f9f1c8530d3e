/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Records: while somebody records, each judged request gives one, at its end or at its refusal,
 * with its times, sizes and verdict. While nobody does, none is sent; output tokens are counted
 * anyway.
 */
#include "responses.h"

#define RECORDS_MAX 3

struct wanted {
	uint8_t verdict, reason, end;
	uint32_t tokens;
	uint64_t ttft_ms, duration_ms;
	uint16_t model; /* 0: LLAMA */
};

struct record_row {
	struct row row;
	struct wanted records[RECORDS_MAX];
	unsigned count;
	uint64_t output_tokens; /* of LLAMA */
};

#define COMPLETED(n, ttft, ms)                                                                     \
	{                                                                                          \
		.end = SLUICE_END_COMPLETED, .tokens = (n), .ttft_ms = (ttft), .duration_ms = (ms) \
	}
#define FAILED(n, ttft, ms)                                                                        \
	{                                                                                          \
		.end = SLUICE_END_FAILED, .tokens = (n), .ttft_ms = (ttft), .duration_ms = (ms)    \
	}
#define DEPARTED(n, ttft, ms)                                                                      \
	{                                                                                          \
		.end = SLUICE_END_DEPARTED, .tokens = (n), .ttft_ms = (ttft), .duration_ms = (ms)  \
	}
#define RECORD                                                                                     \
	{                                                                                          \
		.act = record_now                                                                  \
	}
#define USED          "{\"x\":1,\"usage\":{\"completion_tokens\":7}}"
#define STATED        "HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n" USED
#define CLOSED_HEAD   "HTTP/1.0 200 OK\r\n\r\n"
#define CHUNK         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n27\r\n" USED "\r\n"
#define PLAIN_BODY    "{\"model\":\"llama\",\"stream\":false}"
#define PLAIN_REQUEST "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 32\r\n\r\n" PLAIN_BODY

static void record_now(bool ipv6)
{
	w.skel->bss->recording = 1;
}

static void shut_for_good(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){
				.allow = 0, .reason = SLUICE_REASON_TTFT, .retry_after_ms = 2000});
}

static void in_shadow(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 0,
						   .reason = SLUICE_REASON_TTFT,
						   .mode = SLUICE_MODE_SHADOW});
}

static uint64_t output_tokens_of(uint32_t model)
{
	struct sluice_histogram cpus[w.cpus];
	uint64_t sum = 0;

	assert_int_equal(bpf_map_lookup_elem(fd_of(histograms), &model, cpus), 0);
	for (int i = 0; i < w.cpus; i++)
		sum += cpus[i].output_tokens;
	return sum;
}

static void assert_record(const struct sluice_record *r, const struct wanted *wanted, bool ipv6)
{
	const struct sluice_client client = this_client(ipv6);
	static const uint8_t none[sizeof(r->pad)];

	assert_int_equal(r->verdict, wanted->verdict);
	assert_int_equal(r->reason, wanted->reason);
	assert_int_equal(r->end, wanted->end);
	assert_int_equal(r->tokens, wanted->tokens);
	assert_int_equal(r->ttft_us, wanted->ttft_ms * 1000);
	assert_int_equal(r->duration_ns, wanted->duration_ms * MS);
	assert_int_equal(r->model, wanted->model ? wanted->model : LLAMA);
	assert_int_equal(r->service, HTTP_ID);
	assert_true(r->bytes > 80 && r->bytes < 4096);
	assert_int_equal(r->retry_after_ms, wanted->end ? 0 : 2000);
	assert_true(r->time_ns >= CLOCK_START && r->time_ns <= w.settings.clock_ns);
	assert_memory_equal(&r->client, &client, sizeof(client));
	assert_memory_equal(r->pad, none, sizeof(none));
}

static void play_records(const struct record_row *rows, size_t count)
{
	for (unsigned s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
		for (size_t i = 0; i < count; i++) {
			play(&shapes[s], &rows[i].row);
			row_now = rows[i].row.what;
			assert_int_equal(w.record_count, rows[i].count);
			for (unsigned k = 0; k < rows[i].count; k++)
				assert_record(&w.records[k], &rows[i].records[k], shapes[s].ipv6);
			assert_int_equal(output_tokens_of(LLAMA), rows[i].output_tokens);
			row_now = NULL;
		}
}

static void each_judged_request_gives_one_record(void **state)
{
	static const struct record_row rows[] = {
		{{"a stream, at its end",
		  {RECORD,
		   REQUESTED,
		   {.ms = 300, SENT(0, STREAM_HEAD)},
		   {.ms = 100, SENT(AT_FIRST, TOKEN)},
		   {.ms = 50, SENT(AT_SECOND, TOKEN)},
		   {.ms = 20, SENT(AT_THIRD, FINISH DONE CLOSING)}},
		  .conns = 1,
		  ADMITTED,
		  .samples = {TTFT(400), ITL(1, 50)}},
		 {COMPLETED(2, 400, 470)},
		 1,
		 2},
		{{"with the tokens that it states",
		  {RECORD,
		   REQUESTED,
		   {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		   {.ms = 10, SENT(AT_SECOND, USAGE DONE CLOSING)}},
		  .conns = 1,
		  ADMITTED,
		  .samples = {TTFT(10)}},
		 {COMPLETED(2, 10, 20)},
		 1,
		 2},
		{{"a plain reply, which states its tokens",
		  {RECORD,
		   HANDSHAKE,
		   {FROM_CLIENT(0, 0, PLAIN_REQUEST)},
		   {.ms = 80, FROM_SERVER(0, N(PLAIN_REQUEST), STATED)}},
		  .conns = 1,
		  ADMITTED,
		  .samples = {{SLUICE_SAMPLE_DURATION, LLAMA, 7, 80}}},
		 {COMPLETED(7, 0, 80)},
		 1,
		 7},
		{{"a plain reply to a request for a stream",
		  {RECORD, REQUESTED, {.ms = 80, SENT(0, SHORT)}},
		  .conns = 1,
		  ADMITTED},
		 {COMPLETED(0, 0, 80)},
		 1},
		{{"… which states its tokens",
		  {RECORD, REQUESTED, {.ms = 80, SENT(0, STATED)}},
		  .conns = 1,
		  ADMITTED},
		 {COMPLETED(7, 0, 80)},
		 1,
		 7},
		{{"a plain reply that ends when the server closes",
		  {RECORD,
		   HANDSHAKE,
		   {FROM_CLIENT(0, 0, PLAIN_REQUEST)},
		   {.ms = 80, FROM_SERVER(0, N(PLAIN_REQUEST), CLOSED_HEAD USED)},
		   {.server = true,
		    .flags = FIN | ACK,
		    .seq = N(CLOSED_HEAD USED),
		    .ack = N(PLAIN_REQUEST)}},
		  .conns = 1,
		  ADMITTED,
		  .samples = {{SLUICE_SAMPLE_DURATION, LLAMA, 7, 80}}},
		 {COMPLETED(7, 0, 80)},
		 1,
		 7},
		{{"… with its last bytes",
		  {RECORD,
		   HANDSHAKE,
		   {FROM_CLIENT(0, 0, PLAIN_REQUEST)},
		   {.ms = 40, FROM_SERVER(0, N(PLAIN_REQUEST), CLOSED_HEAD)},
		   {.ms = 40,
		    FROM_SERVER(N(CLOSED_HEAD), N(PLAIN_REQUEST), USED),
		    .flags = FIN | PSH | ACK}},
		  .conns = 1,
		  ADMITTED,
		  .samples = {{SLUICE_SAMPLE_DURATION, LLAMA, 7, 80}}},
		 {COMPLETED(7, 0, 80)},
		 1,
		 7},
		{{"… and breaks it off with a reset, after what it has stated",
		  {RECORD,
		   HANDSHAKE,
		   {FROM_CLIENT(0, 0, PLAIN_REQUEST)},
		   {.ms = 80, FROM_SERVER(0, N(PLAIN_REQUEST), CLOSED_HEAD USED)},
		   {.server = true,
		    .flags = RST,
		    .seq = N(CLOSED_HEAD USED),
		    .ack = N(PLAIN_REQUEST)}},
		  ADMITTED},
		 {FAILED(7, 0, 80)},
		 1,
		 7},
		{{"a plain reply: its last chunk comes by itself",
		  {RECORD,
		   HANDSHAKE,
		   {FROM_CLIENT(0, 0, PLAIN_REQUEST)},
		   {.ms = 40, FROM_SERVER(0, N(PLAIN_REQUEST), CHUNK)},
		   {.ms = 40, FROM_SERVER(N(CHUNK), N(PLAIN_REQUEST), CLOSING)}},
		  .conns = 1,
		  ADMITTED,
		  .samples = {{SLUICE_SAMPLE_DURATION, LLAMA, 7, 80}}},
		 {COMPLETED(7, 0, 80)},
		 1,
		 7},
		{{"an error",
		  {RECORD,
		   REQUESTED,
		   {.ms = 5, SENT(0, "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}")}},
		  .conns = 1,
		  ADMITTED},
		 {FAILED(0, 0, 5)},
		 1},
		{{"an error in a stream, with what came before it",
		  {RECORD,
		   REQUESTED,
		   {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		   {.ms = 10, SENT(AT_SECOND, FAILURE CLOSING)}},
		  .conns = 1,
		  .failed = 1,
		  ADMITTED,
		  .samples = {TTFT(10)}},
		 {FAILED(1, 10, 20)},
		 1,
		 1},
		{{"a stream that the server cuts",
		  {RECORD,
		   REQUESTED,
		   {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		   {.ms = 10, .server = true, .flags = RST, .seq = AT_SECOND, .ack = WHOLE}},
		  ADMITTED,
		  .samples = {TTFT(10)}},
		 {FAILED(1, 10, 20)},
		 1,
		 1},
		{{"a client that resets, while it waits",
		  {RECORD, REQUESTED, {.ms = 30, .flags = RST, .seq = WHOLE}},
		  ADMITTED},
		 {DEPARTED(0, 0, 30)},
		 1},
		{{"… and in mid-stream",
		  {RECORD,
		   REQUESTED,
		   {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		   {.ms = 10, .flags = RST, .seq = WHOLE, .ack = AT_SECOND}},
		  ADMITTED,
		  .samples = {TTFT(10)}},
		 {DEPARTED(1, 10, 20)},
		 1,
		 1},
		{{"a client that closes, whereupon the server does",
		  {RECORD,
		   REQUESTED,
		   {.ms = 10, SENT(0, STREAM_HEAD TOKEN)},
		   {.flags = FIN | ACK, .seq = WHOLE, .ack = AT_SECOND},
		   {.ms = 10,
		    .server = true,
		    .flags = FIN | ACK,
		    .seq = AT_SECOND,
		    .ack = WHOLE + 1}},
		  ADMITTED,
		  .samples = {TTFT(10)}},
		 {DEPARTED(1, 10, 20)},
		 1,
		 1},
		{{"each of two on one connection",
		  {RECORD,
		   REQUESTED,
		   {.ms = 10, SENT(0, STREAM_HEAD TOKEN CLOSING)},
		   {.ms = 10, FROM_CLIENT(WHOLE, AT_SECOND + N(CLOSING), REQUEST)},
		   {.ms = 7, FROM_SERVER(AT_SECOND + N(CLOSING), 2 * WHOLE, SHORT)}},
		  .conns = 1,
		  .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}},
		  .samples = {TTFT(10)}},
		 {COMPLETED(1, 10, 10), COMPLETED(0, 0, 7)},
		 2,
		 1},
		{{"a refusal, at once",
		  {RECORD,
		   HANDSHAKE,
		   {.act = shut_for_good},
		   {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}},
		  .tombstones = 1,
		  .requests = {{LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}},
		 {{.verdict = SLUICE_VERDICT_REJECTED, .reason = SLUICE_REASON_TTFT}},
		 1},
		{{"what shadow mode would refuse, once, with its end",
		  {RECORD,
		   HANDSHAKE,
		   {.act = in_shadow},
		   {FROM_CLIENT(0, 0, REQUEST)},
		   {.ms = 10, SENT(0, STREAM_HEAD TOKEN CLOSING)}},
		  .conns = 1,
		  .requests = {{LLAMA, SLUICE_VERDICT_SHADOW_REJECTED, SLUICE_REASON_TTFT, 1}},
		  .samples = {TTFT(10)}},
		 {{.verdict = SLUICE_VERDICT_SHADOW_REJECTED,
		   .reason = SLUICE_REASON_TTFT,
		   .end = SLUICE_END_COMPLETED,
		   .tokens = 1,
		   .ttft_ms = 10,
		   .duration_ms = 10}},
		 1,
		 1},
		{{"a request that is not judged gives none",
		  {RECORD,
		   HANDSHAKE,
		   {FROM_CLIENT(0, 0, GET)},
		   {.ms = 10, FROM_SERVER(0, GET_N, SHORT)}},
		  .conns = 1},
		 .count = 0},
	};

	play_records(rows, sizeof(rows) / sizeof(rows[0]));
}

static void go_to_another_cpu(bool ipv6)
{
	int here = sched_getcpu();
	cpu_set_t set;

	for (int cpu = 0; cpu < w.cpus; cpu++) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (cpu != here && !sched_setaffinity(0, sizeof(set), &set))
			break;
	}
}

/* The first row's close is the first that its CPU sees of any server. */
static void a_close_may_leave_by_another_cpu(void **state)
{
	static const struct record_row rows[] = {
		{{"a plain reply that ends when the server closes",
		  {RECORD,
		   HANDSHAKE,
		   {FROM_CLIENT(0, 0, PLAIN_REQUEST)},
		   {.ms = 80, FROM_SERVER(0, N(PLAIN_REQUEST), CLOSED_HEAD USED)},
		   {.act = go_to_another_cpu},
		   {.server = true,
		    .flags = FIN | ACK,
		    .seq = N(CLOSED_HEAD USED),
		    .ack = N(PLAIN_REQUEST)}},
		  .conns = 1,
		  ADMITTED,
		  .samples = {{SLUICE_SAMPLE_DURATION, LLAMA, 7, 80}}},
		 {COMPLETED(7, 0, 80)},
		 1,
		 7},
	};

	play_records(rows, sizeof(rows) / sizeof(rows[0]));
}

static void nothing_is_sent_while_nobody_records(void **state)
{
	static const struct record_row rows[] = {
		{{"a stream: its tokens are counted",
		  {REQUESTED, {.ms = 10, SENT(0, STREAM_HEAD TOKEN TOKEN CLOSING)}},
		  .conns = 1,
		  ADMITTED,
		  .samples = {TTFT(10), ITL(1, 0)}},
		 .output_tokens = 2},
		{{"a plain reply: likewise",
		  {HANDSHAKE,
		   {FROM_CLIENT(0, 0, PLAIN_REQUEST)},
		   {.ms = 80, FROM_SERVER(0, N(PLAIN_REQUEST), STATED)}},
		  .conns = 1,
		  ADMITTED,
		  .samples = {{SLUICE_SAMPLE_DURATION, LLAMA, 7, 80}}},
		 .output_tokens = 7},
		{{"a refusal",
		  {HANDSHAKE,
		   {.act = shut_for_good},
		   {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}},
		  .tombstones = 1,
		  .requests = {{LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}}},
	};

	play_records(rows, sizeof(rows) / sizeof(rows[0]));
}

static void records_that_find_the_ring_full_are_counted(void **state)
{
	enum { REQUESTS = 8000 };
	static const struct shape shape = {.options = OPTIONS_TS};
	struct segment segment = {.flags = ACK | PSH, .text = REQUEST, .len = WHOLE};
	static struct frame in, out;
	unsigned read;

	w.unread = true;
	record_now(false);
	shut_for_good(false);
	for (unsigned i = 0; i < REQUESTS; i++) {
		static const struct step handshake[] = {HANDSHAKE};

		client_isn = CLIENT_ISN + i * 1000;
		for (unsigned k = 0; k < 3; k++) {
			struct segment s = segment_of(&handshake[k], HTTP_PORT);

			make_frame(&in, &shape, &s);
			run_tc(program_for(&shape, s.from_server), &in, &out);
		}
		segment.server_port = HTTP_PORT;
		segment.seq = client_isn + 1;
		segment.ack = server_isn + 1;
		make_frame(&in, &shape, &segment);
		assert_int_equal(run_tc(program_for(&shape, false), &in, &out), THEN_REDIRECT);
		while (catch_clone(&out, 0))
			;
	}
	client_isn = CLIENT_ISN;
	read = read_filled(fd_of(records));
	assert_true(read > 0 && read < REQUESTS);
	assert_int_equal(read + counter(SLUICE_COUNTER_RECORDS_LOST), REQUESTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_close_may_leave_by_another_cpu),
		packets_test(each_judged_request_gives_one_record),
		packets_test(nothing_is_sent_while_nobody_records),
		packets_test(records_that_find_the_ring_full_are_counted),
	};

	return packets_main("test_records", tests);
}
