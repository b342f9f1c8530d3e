/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc ingress, how a request is put together: cut at any byte, with a compressed body, with a gap,
 * or as bytes that are no request. Its first byte that decides is the one that is refused.
 */
#include "requests.h"

/* Plays `text` in two segments that meet at `at`, or in single bytes if at is 0. */
static void play_pieces(const struct shape *shape, const char *what, const char *text, size_t at,
			uint16_t model)
{
	static const struct step handshake[] = {HANDSHAKE};
	size_t len = strlen(text), n, closed = strrchr(text, '}') - text;
	struct row ends = {.what = what,
			   .in_flight = 1,
			   .waiting = 1,
			   .conns = 1,
			   .requests = {{model, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}};

	reset_world();
	row_now = what;
	shape_now = *shape;
	step_now = at;
	for (int i = 0; i < 3; i++)
		play_step(shape, &handshake[i], HTTP_PORT);
	for (size_t pos = 0; pos < len; pos += n) {
		struct step piece = {.seq = pos, .text = text + pos};

		n = !at ? 1 : pos < at ? at : len - pos;
		piece.len = n;
		/* The end of the JSON object decides. */
		assert_int_equal(get_state(LLAMA).in_flight + get_state(QWEN).in_flight,
				 pos > closed);
		play_step(shape, &piece, HTTP_PORT);
	}
	assert_ends(&ends);
	row_now = NULL;
}

/* invariants 7 and 8 */
static void a_request_split_at_every_byte_is_admitted_once(void **state)
{
	const char *chunked = CHUNKED;

	for (int at = 1; at < WHOLE; at++)
		play_pieces(&shapes[at % 3], "split in two", REQUEST, at, LLAMA);
	for (size_t at = 1; at < strlen(chunked); at++)
		play_pieces(&shapes[at % 3], "chunked, split in two", chunked, at, QWEN);
	for (int i = 0; i < 3; i++) {
		play_pieces(&shapes[i], "byte by byte", REQUEST, 0, LLAMA);
		play_pieces(&shapes[i], "chunked, byte by byte", chunked, 0, QWEN);
	}
}

/* invariant 4: byte by byte, the first byte that decides is the first that is refused. */
static void a_shut_gate_refuses_as_soon_as_the_model_is_known(void **state)
{
	const char *text = REQUEST;
	int32_t name_end = strstr(text, "llama\"") + 6 - text;
	struct step piece = {0};
	static const struct step handshake[] = {HANDSHAKE};

	for (int all = 0; all < 2; all++) {
		int32_t judged = all ? HEAD_N : name_end;

		reset_world();
		(all ? shut_itl_for_all : shut_ttft)(false);
		for (int i = 0; i < 3; i++)
			play_step(&shapes[0], &handshake[i], HTTP_PORT);
		for (int32_t at = 0; at < judged; at++) {
			piece = (struct step){.seq = at, .text = text + at, .len = 1};
			if (at == judged - 1) {
				piece.then = REFUSE;
				piece.out_ack = judged;
				piece.rst_seq = at;
			}
			play_step(&shapes[0], &piece, HTTP_PORT);
		}
		assert_int_equal(entries(fd_of(conns)), 0);
		assert_int_equal(entries(fd_of(tombstones)), 1);
	}
}

/* invariant 4: a compressed body names no model; its head and its end are known. */
static void a_compressed_request_is_refused_by_its_head_or_as_the_default_model(void **state)
{
	const int head = COMPRESSED_N - 16;
	const struct row rows[] = {
		{"by its head, where everything is shut",
		 {HANDSHAKE,
		  {.act = shut_itl_for_all},
		  {FROM_CLIENT(0, 0, COMPRESSED), .len = head, .then = REFUSE, .out_ack = head}},
		 .tombstones = 1,
		 .requests = {{SLUICE_MODEL_ALL, SLUICE_VERDICT_REJECTED, SLUICE_REASON_ITL, 1}}},
		{"by its last byte, where the default model is",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, COMPRESSED), .len = COMPRESSED_N - 1},
		  {FROM_CLIENT(COMPRESSED_N - 1, 0, "}"), .then = REFUSE, .out_ack = COMPRESSED_N,
		   .rst_seq = COMPRESSED_N - 1}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"and not at the name of the model in its bytes",
		 {HANDSHAKE, {.act = shut_qwen}, {FROM_CLIENT(0, 0, COMPRESSED)}},
		 ADMITTED_ONCE},
	};

	play_rows(rows);
}

static char long_request[LONG_HEAD_N + 3001];

/* A body of 3,000 bytes with its model, qwen, at its end. */
static const char *make_long_request(void)
{
	static const char start[] = "{\"prompt\":\"", name[] = "\",\"model\":\"qwen\"}";

	memset(long_request, 'x', sizeof(long_request) - 1);
	memcpy(long_request, LONG_HEAD, LONG_HEAD_N);
	memcpy(long_request + LONG_HEAD_N, start, sizeof(start) - 1);
	memcpy(long_request + LONG_HEAD_N + 3000 - (sizeof(name) - 1), name, sizeof(name) - 1);
	return long_request;
}

/* invariant 1: an unreadable model is not an unreadable request. */
static void a_body_with_a_gap_passes_and_is_judged_as_the_default_model(void **state)
{
	const char *text = make_long_request();
	const int end = LONG_HEAD_N + 3000;
	const struct row rows[] = {
		{"in order it is qwen",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 1000},
		  {FROM_CLIENT(1000, 0, text + 1000)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"with its end first it is the default model",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500)},
		  {FROM_CLIENT(500, 0, text + 500), .len = 1000}},
		 ADMITTED_ONCE},
		{"with a gap in the middle and its end in order it is the default model",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500), .len = 500},
		  {FROM_CLIENT(500, 0, text + 500), .len = 1000},
		  {FROM_CLIENT(2000, 0, text + 2000)}},
		 ADMITTED_ONCE},
		{"bytes in order after the gap extend it",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500), .len = 500},
		  {FROM_CLIENT(2000, 0, text + 2000)},
		  {FROM_CLIENT(2000, 0, text + 2000)},
		  {FROM_CLIENT(500, 0, text + 500), .len = 400},
		  {FROM_CLIENT(900, 0, text + 900), .len = 600}},
		 ADMITTED_ONCE},
		{"a second gap is dropped until the first is closed",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500), .len = 500},
		  {FROM_CLIENT(2500, 0, text + 2500), .then = DROP},
		  {FROM_CLIENT(500, 0, text + 500), .len = 1000},
		  {FROM_CLIENT(2000, 0, text + 2000)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 1}}},
		{"a retransmission of all missing bytes closes it",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500), .len = 500},
		  {FROM_CLIENT(500, 0, text + 500)}},
		 ADMITTED_ONCE},
		{"a shut default model refuses where the gap closes",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500)},
		  {FROM_CLIENT(500, 0, text + 500), .len = 1000, .then = REFUSE, .out_ack = 1500,
		   .rst_seq = 500},
		  {FROM_CLIENT(1500, 0, text + 1500), .then = REPEATED,
		   .out_ack = LONG_HEAD_N + 3000}},
		 REFUSED(TTFT),
		 .tombstones = 1},
	};

	assert_int_equal(strlen(text), end);
	play_rows(rows);
}

static void reset_framing_error(bool ipv6)
{
	struct sluice_service service = http_service();

	service.on_framing_error = SLUICE_ON_FRAMING_ERROR_RESET;
	set_both(HTTP_PORT, service);
}

static void reset_framing_error_in_shadow(bool ipv6)
{
	struct sluice_service service = http_service();

	service.on_framing_error = SLUICE_ON_FRAMING_ERROR_RESET;
	service.mode = SLUICE_MODE_SHADOW;
	set_both(HTTP_PORT, service);
}

/* invariant 1, for an operator who wants framing errors reset */
static void a_framing_error_resets_only_where_the_service_is_set_to(void **state)
{
	static const struct row rows[] = {
		{"reset",
		 {{.act = reset_framing_error},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .len = 20},
		  {FROM_CLIENT(20, 0, "\r\nnonsense\r\n"), .then = RESET, .rst_seq = 20}},
		 .counters = {{SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
		{"not in shadow mode",
		 {{.act = reset_framing_error_in_shadow},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, "nonsense\r\n")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"not without a lease",
		 {{.act = reset_framing_error},
		  HANDSHAKE,
		  {.act = end_lease},
		  {FROM_CLIENT(0, 0, "nonsense\r\n")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"urgent data, which no HTTP client sends",
		 {{.act = reset_framing_error},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .flags = URG | PSH | ACK, .urgent = 9,
		   .then = RESET}},
		 .counters = {{SLUICE_COUNTER_URGENT_CLEARED, 1},
			      {SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
		{"not while an admitted request waits: what follows it waits, too",
		 {{.act = reset_framing_error},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_CLIENT(WHOLE, 0, "nonsense\r\n"), .then = HELD},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N, "nonsense\r\n"), .then = RESET, .out_seq = OK_N,
		   .rst_seq = WHOLE}},
		 .counters = {{SLUICE_COUNTER_PIPELINED_HELD, 1},
			      {SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
	};

	play_rows(rows);
}

static void pass_framing_error(bool ipv6)
{
	struct sluice_service service = http_service();

	service.on_framing_error = SLUICE_ON_FRAMING_ERROR_PASS;
	set_both(HTTP_PORT, service);
}

/* The server has answered, on other connections, what is in `unread`. */
static void set_answered(uint32_t unread)
{
	uint32_t id = http_service().id;

	bpf_map_update_elem(fd_of(unread_answered), &id, &unread, BPF_ANY);
}

static void answered_bytes(bool ipv6)
{
	set_answered(SLUICE_UNREAD_BYTES);
}
static void answered_others(bool ipv6)
{
	set_answered(~SLUICE_UNREAD_BYTES);
}
static void answered_http2(bool ipv6)
{
	set_answered(SLUICE_UNREAD_HTTP2);
}

/*
 * Invariant 1: a client cannot buy a pass by what sluice does not read, where its server answers
 * that in HTTP/1.x and reads on (cpp-httplib and tornado do).
 */
static void what_the_server_answers_is_no_pass(void **state)
{
#define NONSENSE   "nonsense\r\n"
#define NONSENSE_N 10
#define BAD        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
#define BAD_N      47
#define HELLO      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 0123456789abcdef"
#define HELLO_N    28
#define PREFACE    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define PREFACE_N  24
	static const struct row rows[] = {
		{"the server reads on",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, NONSENSE)},
		  {FROM_SERVER(0, NONSENSE_N, BAD)},
		  {FROM_CLIENT(NONSENSE_N, BAD_N, REQUEST), .then = RESET, .out_seq = BAD_N,
		   .rst_seq = NONSENSE_N}},
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1},
			      {SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
		{"its answer comes in pieces",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, NONSENSE)},
		  {FROM_SERVER(0, NONSENSE_N, "HT")},
		  {FROM_SERVER(2, NONSENSE_N, "TP/1.1 400 Bad Request\r\n\r\n")},
		  {FROM_CLIENT(NONSENSE_N, 28, REQUEST), .then = RESET, .out_seq = 28,
		   .rst_seq = NONSENSE_N}},
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1},
			      {SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
		{"on other connections it did",
		 {{.act = answered_bytes}, HANDSHAKE, {FROM_CLIENT(0, 0, NONSENSE), .then = RESET}},
		 .counters = {{SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
		{"it answered other things",
		 {{.act = answered_others}, HANDSHAKE, {FROM_CLIENT(0, 0, NONSENSE)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"it has answered a request of the connection",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N, NONSENSE), .then = RESET, .out_seq = OK_N,
		   .rst_seq = WHOLE}},
		 .counters = {{SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"… and answers the next one: what follows it waits",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N,
			       "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
			       "2\r\n{}")},
		  {FROM_CLIENT(WHOLE + 52, OK_N, "\x01\r\n"), .then = DROP},
		  {FROM_CLIENT(WHOLE + 52, OK_N, "\x01\r\n"), .then = DROP},
		  {FROM_SERVER(OK_N, WHOLE + 52, OK_SHORT)},
		  {FROM_CLIENT(WHOLE + 52, 2 * OK_N, "\x01\r\n"), .then = RESET,
		   .out_seq = 2 * OK_N, .rst_seq = WHOLE + 52}},
		 .counters = {{SLUICE_COUNTER_PIPELINED_HELD, 1},
			      {SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}},
		 .samples = {DURATION(LLAMA)}},
		{"it speaks something else",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, NONSENSE)},
		  {FROM_SERVER(0, NONSENSE_N, "+OK\r\n")},
		  {FROM_CLIENT(NONSENSE_N, 5, NONSENSE)},
		  {FROM_SERVER(5, 2 * NONSENSE_N, BAD)},
		  {FROM_CLIENT(2 * NONSENSE_N, 5 + BAD_N, REQUEST)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"the operator lets it pass",
		 {{.act = pass_framing_error},
		  {.act = answered_bytes},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, NONSENSE)},
		  {FROM_SERVER(0, NONSENSE_N, BAD)},
		  {FROM_CLIENT(NONSENSE_N, BAD_N, REQUEST)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"urgent data is no framing error",
		 {{.act = answered_bytes},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .flags = URG | PSH | ACK, .urgent = 9},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_URGENT_CLEARED, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"it answers what looks like TLS, and reads on",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, HELLO), .len = HELLO_N},
		  {FROM_SERVER(0, HELLO_N, BAD)},
		  {FROM_CLIENT(HELLO_N, BAD_N, REQUEST), .then = RESET, .out_seq = BAD_N,
		   .rst_seq = HELLO_N}},
		 .counters = {{SLUICE_COUNTER_FOUND_OPAQUE, 1},
			      {SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
		{"it speaks TLS",
		 {{.act = answered_http2},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, HELLO), .len = HELLO_N},
		  {FROM_SERVER(0, HELLO_N, "\x16\x03\x03")},
		  {FROM_CLIENT(HELLO_N, 3, "\x14\x03\x03")},
		  {FROM_SERVER(3, HELLO_N + 3, BAD)},
		  {FROM_CLIENT(HELLO_N + 3, 3 + BAD_N, "\x14\x03\x03")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_FOUND_OPAQUE, 1}}},
		{"it answers HTTP/2's preface, and reads on",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, PREFACE)},
		  {FROM_SERVER(0, PREFACE_N, BAD)},
		  {FROM_CLIENT(PREFACE_N, BAD_N, REQUEST), .then = RESET, .out_seq = BAD_N,
		   .rst_seq = PREFACE_N}},
		 .counters = {{SLUICE_COUNTER_FOUND_OPAQUE, 1},
			      {SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
		{"… on other connections, it did",
		 {{.act = answered_http2}, HANDSHAKE, {FROM_CLIENT(0, 0, PREFACE), .then = RESET}},
		 .counters = {{SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
	};

	play_rows(rows);
}

/* Invariant 1: a client cannot buy a pass by what some server reads and others do not. */
static void what_some_server_reads_is_reset_whatever_the_setting(void **state)
{
	static const char *const texts[] = {
		"POST / HTTP/1.1\r\nContent-Length: 1_6\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length : 2\r\n\r\n{}",
		"POST / HTTP/1.1\r\nContent-Length: 1\r\n 6\r\n\r\n",
		"POST / HTTP/1.1\r\nA: b\rContent-Length: 2\r\n\r\n{}",
		"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
		"GOT /\x01 HTTP/1.1\r\n\r\n",
		"POST / RTSP/1.0\r\nContent-Length: 2\r\n\r\n{}",
		"SOURCE / ICE/1.0\r\nContent-Length: 2\r\n\r\n{}",
	};
	static const char closed[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}";
	static const char both[] =
		"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
		"2\r\n{}\r\n0\r\n\r\n";
	static const struct row rows[] = {
		{"not while a response is under way: it waits for its end",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, closed)},
		  {FROM_CLIENT(sizeof(closed) - 1, 0, "zz\r\n"), .then = DROP},
		  {FROM_SERVER(0, sizeof(closed) - 1, OK_SHORT)},
		  {FROM_CLIENT(sizeof(closed) - 1, OK_N, "zz\r\n"), .then = RESET, .out_seq = OK_N,
		   .rst_seq = sizeof(closed) - 1}},
		 .counters = {{SLUICE_COUNTER_PIPELINED_HELD, 1},
			      {SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .samples = {DURATION(LLAMA)}},
		{"not in shadow mode",
		 {{.act = reset_framing_error_in_shadow},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, "POST / HTTP/1.1\r\nContent-Length: 1_6\r\n\r\n")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"a request with several ends is its connection's last one",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, both)},
		  {FROM_SERVER(0, sizeof(both) - 1, OK_SHORT)},
		  {FROM_CLIENT(sizeof(both) - 1, OK_N, REQUEST), .then = RESET, .out_seq = OK_N,
		   .rst_seq = sizeof(both) - 1}},
		 .counters = {{SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .samples = {DURATION(LLAMA)}},
	};

	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const struct row row[] = {
			{texts[i],
			 {HANDSHAKE, {FROM_CLIENT(0, 0, texts[i]), .then = RESET}},
			 .counters = {{SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
		};

		play_rows(row);
	}
	play_rows(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_request_split_at_every_byte_is_admitted_once),
		packets_test(a_shut_gate_refuses_as_soon_as_the_model_is_known),
		packets_test(a_compressed_request_is_refused_by_its_head_or_as_the_default_model),
		packets_test(a_body_with_a_gap_passes_and_is_judged_as_the_default_model),
		packets_test(a_framing_error_resets_only_where_the_service_is_set_to),
		packets_test(what_the_server_answers_is_no_pass),
		packets_test(what_some_server_reads_is_reset_whatever_the_setting),
	};

	return packets_main("framing", tests);
}
