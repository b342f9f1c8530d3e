/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc ingress, the verdict: a request is judged once however it comes, by the rules, names and flags
 * of its moment; what must pass does, and slots return. Rows are played over IPv4 and IPv6, with
 * and without VLAN tags and link headers, timestamps and checksum offload.
 */
#include "requests.h"

#define PRI   "PRI * HTTP/2.0\r\nA: b\r\n\r\n"
#define PRI_N (sizeof(PRI) - 1)
#define BAD   "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
#define BAD_N (sizeof(BAD) - 1)

/* invariants 7 and 8 */
static void a_request_is_judged_once_however_it_comes(void **state)
{
	static const struct row rows[] = {
		{"whole", {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}}, ADMITTED_ONCE},
		{"sent again whole",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"sent again after the gate has shut",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_CLIENT(40, 0, REQUEST + 40)}},
		 ADMITTED_ONCE},
		{"its parts sent again one after the other, as over two paths",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .len = 40},
		  {FROM_CLIENT(40, 0, REQUEST + 40)},
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST), .len = 40},
		  {FROM_CLIENT(40, 0, REQUEST + 40)}},
		 ADMITTED_ONCE},
		{"sent again in part, with new bytes after it",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .len = 40},
		  {FROM_CLIENT(20, 0, REQUEST + 20)}},
		 ADMITTED_ONCE},
		{"a keep-alive probe adds no byte",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_CLIENT(WHOLE - 1, 0, "\0"), .len = 1},
		  {.flags = ACK, .seq = WHOLE - 1}},
		 ADMITTED_ONCE},
		{"its head out of order: the later segment is dropped until it comes in order",
		 {HANDSHAKE,
		  {FROM_CLIENT(20, 0, REQUEST + 20), .then = DROP},
		  {FROM_CLIENT(0, 0, REQUEST), .len = 20},
		  {FROM_CLIENT(20, 0, REQUEST + 20)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 1}}},
		{"the next request out of order is dropped too",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .len = HEAD_N + 10},
		  {FROM_CLIENT(WHOLE, 0, REQUEST), .then = DROP},
		  {FROM_CLIENT(HEAD_N + 10, 0, BODY + 10)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 1}}},
		{"a method in lower case, as some servers take it",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, "post / HTTP/1.1\r\nContent-Length: 31\r\n\r\n" BODY)}},
		 ADMITTED_ONCE},
		{"a GET holds no slot and is not counted",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n")}},
		 .conns = 1},
		{"two requests on one connection are two",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"a name that is not learned is the other model",
		 {HANDSHAKE,
		  {FROM_CLIENT(
			  0, 0,
			  "POST / HTTP/1.1\r\nContent-Length: 15\r\n\r\n{\"model\":\"phi\"}")}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{SLUICE_MODEL_OTHER, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE,
			       1}}},
		{"a body without a name is the default model's",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")}},
		 ADMITTED_ONCE},
		{"a chunked body",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, CHUNKED)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a compressed body names no model: the default's",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, COMPRESSED), .len = 60},
		  {FROM_CLIENT(60, 0, COMPRESSED + 60)}},
		 ADMITTED_ONCE},
		/* invariant 1: bytes that cannot be framed pass, and are counted. */
		{"bytes that are not HTTP pass, counted once",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, "SSH-2.0-x\r\n")},
		  {FROM_CLIENT(11, 0, REQUEST)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"TLS is found to be opaque, and passes",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, "\x16\x03\x01\0\x13\x01\0\0\x0f\x03\x03 random random"),
		   .len = 24},
		  {FROM_CLIENT(24, 0, REQUEST)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_FOUND_OPAQUE, 1}}},
		{"so is HTTP/2 by its preface",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_FOUND_OPAQUE, 1}}},
		{"less than the preface is a request, as HTTP/1 servers read it",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, PRI)},
		  {FROM_SERVER(0, PRI_N, OK_SHORT)},
		  {FROM_CLIENT(PRI_N, OK_N, REQUEST), .then = REFUSE, .out_seq = OK_N,
		   .out_ack = PRI_N + WHOLE, .rst_seq = PRI_N}},
		 .tombstones = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}},
		{"a server that answers line ends has answered no request",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, " \r\n")},
		  {FROM_SERVER(0, 3, BAD)},
		  {FROM_CLIENT(3, BAD_N, REQUEST), .then = REFUSE, .out_seq = BAD_N,
		   .out_ack = 3 + WHOLE, .rst_seq = 3}},
		 .tombstones = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}},
		{"a request begun in a SYN is a framing error",
		 {{.act = shut_ttft},
		  {.flags = SYN, .seq = -1, .text = REQUEST, .len = 30},
		  {.server = true, .flags = SYN | ACK, .seq = -1, .ack = 30},
		  {FROM_CLIENT(30, 0, REQUEST + 30)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
	};

	play_rows(rows);
}

/* invariant 8 */
static void counts_return_when_either_side_resets(void **state)
{
	static const struct row rows[] = {
		{"the client's RST at its next byte ends the connection",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}, {.flags = RST, .seq = WHOLE}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a RST anywhere else does not",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.flags = RST, .seq = WHOLE + 1},
		  {.flags = RST | ACK, .seq = 0}},
		 ADMITTED_ONCE},
		{"the server's RST ends the connection",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.server = true, .flags = RST | ACK, .ack = WHOLE}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a client that has closed its side still waits",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}, {.flags = FIN | ACK, .seq = WHOLE}},
		 ADMITTED_ONCE},
		{"FIN from both ends the connection",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .flags = FIN | PSH | ACK},
		  {.server = true, .flags = FIN | ACK, .ack = WHOLE + 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a new handshake on the same ports releases the old one's slot",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.flags = SYN, .seq = 70000},
		  {.server = true, .flags = SYN | ACK, .seq = 90000, .ack = 70001},
		  {.flags = ACK, .seq = 70001, .ack = 90001}},
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
	};

	play_rows(rows);
}

/* ---- bodies as lenient readers take them ---- */

#define OF_CASE                                                                                    \
	"POST / HTTP/1.1\r\nContent-Length: 17\r\n\r\n"                                            \
	"{\"Model\":\"llama\"}"
#define OF_ESCAPE                                                                                  \
	"POST / HTTP/1.1\r\nContent-Length: 22\r\n\r\n"                                            \
	"{\"\\u004dODEL\":\"llama\"}"
#define OF_COMMENTS                                                                                \
	"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\n"                                            \
	"/*\"*/{\"a\":[1//]}\n],\"model\"/**/:\"llama\",}"
#define OF_UTF16                                                                                   \
	"POST / HTTP/1.1\r\nContent-Length: 34\r\n\r\n"                                            \
	"{\0\"\0m\0o\0d\0e\0l\0\"\0:\0\"\0l\0l\0a\0m\0a\0\"\0}\0"
#define OF_UTF32                                                                                   \
	"POST / HTTP/1.1\r\nContent-Length: 72\r\n\r\n"                                            \
	"\0\0\xfe\xff\0\0\0{\0\0\0\"\0\0\0M\0\0\0O\0\0\0D\0\0\0E\0\0\0L\0\0\0\"\0\0\0:\0\0\0\"\0\0\0l\0\0\0l\0\0\0a\0\0\0m\0\0\0a\0\0\0\"\0\0\0}"
#define OF_TWO                                                                                     \
	"POST / HTTP/1.1\r\nContent-Length: 32\r\n\r\n"                                            \
	"{\"MODEL\":\"llama\",\"model\":\"qwen\"}"
#define OF_QWEN                                                                                    \
	"POST / HTTP/1.1\r\nContent-Length: 32\r\n\r\n"                                            \
	"\0{\0\"\0m\0o\0d\0e\0l\0\"\0:\0\"\0q\0w\0e\0n\0\"\0}"

/* A request whose only packet is refused, or admitted. */
#define BODY_REFUSED(title, text)                                                                  \
	{                                                                                          \
		title,                                                                             \
			{HANDSHAKE,                                                                \
			 {.act = block_client_for_llama},                                          \
			 {FROM_CLIENT(0, 0, text), .len = sizeof(text) - 1, .then = REFUSE,        \
			  .out_ack = sizeof(text) - 1}},                                           \
			REFUSED(CLIENT_BLOCKED), .tombstones = 1                                   \
	}

static void block_client_for_llama(bool ipv6)
{
	set_client_flag(ipv6, LLAMA,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED});
}

/* invariant 7: a client cannot hide the model from sluice that its server reads. */
static void a_rule_holds_however_the_body_spells_the_model(void **state)
{
	static const struct row rows[] = {
		BODY_REFUSED("a key in another case", OF_CASE),
		BODY_REFUSED("… with an escape", OF_ESCAPE),
		BODY_REFUSED("comments, and a comma too many", OF_COMMENTS),
		BODY_REFUSED("UTF-16", OF_UTF16),
		BODY_REFUSED("UTF-32 with a byte order mark", OF_UTF32),
		BODY_REFUSED("of two keys the strictest verdict holds", OF_TWO),
		{"another model in UTF-16 is admitted",
		 {HANDSHAKE,
		  {.act = block_client_for_llama},
		  {FROM_CLIENT(0, 0, OF_QWEN), .len = sizeof(OF_QWEN) - 1}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a code unit in two packets",
		 {HANDSHAKE,
		  {.act = block_client_for_llama},
		  {FROM_CLIENT(0, 0, OF_UTF16), .len = sizeof(OF_UTF16) - 10},
		  {FROM_CLIENT(sizeof(OF_UTF16) - 10, 0, OF_UTF16 + sizeof(OF_UTF16) - 10),
		   .len = 9, .then = REFUSE, .out_ack = sizeof(OF_UTF16) - 1,
		   .rst_seq = sizeof(OF_UTF16) - 10}},
		 REFUSED(CLIENT_BLOCKED),
		 .tombstones = 1},
	};

	play_rows(rows);
}

/* ---- rules ---- */

static void set_rules(bool ipv6)
{
	put_rules((struct sluice_rules){
		.count = 2,
		.methods = 1 << HTTP1_METHOD_POST | 1 << HTTP1_METHOD_GET,
		.source = {SLUICE_SOURCE_PATH, SLUICE_SOURCE_HEADER, SLUICE_SOURCE_BODY},
		.header = "x-model",
		.rule = {{.kind = SLUICE_RULE_PASS, .len = 7, .prefix = "/health"},
			 {.kind = SLUICE_RULE_MODEL, .len = 11, .prefix = "/v2/models/"}},
	});
}

#define QWEN_ADMITTED                                                                              \
	.in_flight = 1, .waiting = 1, .conns = 1,                                                  \
	.requests = {{QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}

static void rules_select_the_judged_requests_and_the_source_of_the_model(void **state)
{
	static const char by_path[] = "POST /v2/models/qwen/infer HTTP/1.1\r\n"
				      "Content-Length: 31\r\n\r\n";
	static const struct row rows[] = {
		{"a request that a rule lets pass is neither judged nor counted",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {.act = shut_itl_for_all},
		  {FROM_CLIENT(0, 0, "POST /health HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")}},
		 .conns = 1},
		{"a name in the path precedes one in the body",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {FROM_CLIENT(0, 0, by_path)},
		  {FROM_CLIENT(sizeof(by_path) - 1, 0, BODY)}},
		 QWEN_ADMITTED},
		{"it is refused by its head",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {.act = shut_qwen},
		  {FROM_CLIENT(0, 0, by_path), .len = 40},
		  {FROM_CLIENT(40, 0, by_path + 40), .then = REFUSE, .out_ack = sizeof(by_path) - 1,
		   .rst_seq = 40}},
		 .tombstones = 1,
		 .requests = {{QWEN, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}},
		{"a name in the header precedes one in the body",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {FROM_CLIENT(0, 0,
			       "POST / HTTP/1.1\r\nX-Model: qwen\r\n"
			       "Content-Length: 31\r\n\r\n" BODY)}},
		 QWEN_ADMITTED},
		{"if neither names a model, the body does",
		 {HANDSHAKE, {.act = set_rules}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"a method that is judged besides POST",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {FROM_CLIENT(0, 0, "GET /v2/models/qwen HTTP/1.1\r\n\r\n")}},
		 QWEN_ADMITTED},
		{"one that is not",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {.act = shut_itl_for_all},
		  {FROM_CLIENT(0, 0, "HEAD /v2/models/qwen HTTP/1.1\r\n\r\n")}},
		 .conns = 1},
	};

	play_rows(rows);
}

/* ---- what is not refused ---- */

/* invariant 2 */
static void an_admitted_request_passes_to_its_end_after_any_change(void **state)
{
	static const struct row rows[] = {
		{"its response, its acknowledgements and its FIN pass after the flag has shut",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = shut_ttft},
		  {.act = block_client},
		  {FROM_SERVER(0, WHOLE, OK_SHORT), .len = 10},
		  {.flags = ACK, .seq = WHOLE, .ack = 10},
		  {FROM_SERVER(10, WHOLE, OK_SHORT + 10)},
		  {.flags = FIN | ACK, .seq = WHOLE, .ack = OK_N},
		  {.server = true, .flags = FIN | ACK, .seq = OK_N, .ack = WHOLE + 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"once the response has ended the next request is refused, after it",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = shut_ttft},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N, REQUEST), .then = REFUSE, .out_seq = OK_N,
		   .out_ack = 2 * WHOLE, .rst_seq = WHOLE}},
		 .tombstones = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1},
			      {LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}},
	};

	play_rows(rows);
}

/* ---- one request at a time ---- */

#define HELD_ONCE .counters = {{SLUICE_COUNTER_PIPELINED_HELD, 1}}

/*
 * invariants 1 and 2: a request that comes while the response before it is unfinished waits in its
 * client's TCP. It is judged when it is sent again.
 */
static void a_pipelined_request_waits_for_the_response_before_it(void **state)
{
	static const struct row rows[] = {
		{"a segment of its own passes as an acknowledgement only",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = shut_ttft},
		  {FROM_CLIENT(WHOLE, 0, REQUEST), .then = HELD}},
		 HELD_ONCE,
		 ADMITTED_ONCE},
		{"it is judged when it comes again after the response",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = shut_ttft},
		  {FROM_CLIENT(WHOLE, 0, REQUEST), .then = HELD},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N, REQUEST), .then = REFUSE, .out_seq = OK_N,
		   .out_ack = 2 * WHOLE, .rst_seq = WHOLE, .ms = 60000}},
		 .tombstones = 1,
		 .counters = {{SLUICE_COUNTER_PIPELINED_HELD, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1},
			      {LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}},
		{"a segment with both is cut between them",
		 {HANDSHAKE,
		  {.act = limit_to_one},
		  {FROM_CLIENT(0, 0, REQUEST REQUEST), .then = HELD, .keep = WHOLE},
		  {FROM_SERVER(0, WHOLE, OK_SHORT), .len = OK_N - 1},
		  {FROM_CLIENT(WHOLE, OK_N - 1, REQUEST), .then = HELD},
		  {FROM_SERVER(OK_N - 1, WHOLE, "}")},
		  {FROM_CLIENT(WHOLE, OK_N, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PIPELINED_HELD, 2}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"however many there are, and sent again with bytes that have passed",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST REQUEST REQUEST REQUEST REQUEST REQUEST), .then = HELD,
		   .keep = WHOLE},
		  {FROM_CLIENT(0, 0, REQUEST REQUEST REQUEST), .then = HELD, .keep = WHOLE,
		   .ms = 200},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(0, OK_N, REQUEST REQUEST REQUEST), .then = HELD, .keep = 2 * WHOLE,
		   .ms = 400}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PIPELINED_HELD, 3}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"a FIN waits with it",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST REQUEST), .flags = FIN | PSH | ACK, .then = HELD,
		   .keep = WHOLE},
		  {.flags = FIN | ACK, .seq = 2 * WHOLE, .then = HELD},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N, REQUEST), .flags = FIN | PSH | ACK},
		  {FROM_SERVER(OK_N, 2 * WHOLE + 1, OK_SHORT)},
		  {.server = true, .flags = FIN | ACK, .seq = 2 * OK_N, .ack = 2 * WHOLE + 1}},
		 HELD_ONCE,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"line ends between two requests pass; the cut may be at any byte",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST "\n" REQUEST), .then = HELD, .keep = WHOLE + 1},
		  {FROM_SERVER(0, WHOLE + 1, OK_SHORT)},
		  {FROM_CLIENT(WHOLE + 1, OK_N, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 HELD_ONCE,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"requests that are not judged wait, too",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, "GET / HTTP/1.1\r\n\r\n" REQUEST), .then = HELD, .keep = 18}},
		 .conns = 1,
		 HELD_ONCE},
	};

	play_rows(rows);
}

/*
 * invariants 1 and 7: a server that reads the stream without an urgent byte would read another
 * request. No byte is urgent for it.
 */
static void no_byte_is_urgent_for_the_server(void **state)
{
	static const struct row rows[] = {
		{"in a request",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST), .flags = URG | PSH | ACK, .urgent = 40}},
		 .counters = {{SLUICE_COUNTER_URGENT_CLEARED, 1}},
		 ADMITTED_ONCE},
		{"before it, by an acknowledgement",
		 {HANDSHAKE, {.flags = URG | ACK, .urgent = 40}, {FROM_CLIENT(0, 0, REQUEST)}},
		 .counters = {{SLUICE_COUNTER_URGENT_CLEARED, 1}},
		 ADMITTED_ONCE},
		{"in the handshake",
		 {{.flags = SYN | URG, .seq = -1, .urgent = 9},
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {.flags = ACK | URG, .urgent = 9},
		  {FROM_CLIENT(0, 0, REQUEST)}},
		 .counters = {{SLUICE_COUNTER_URGENT_CLEARED, 2}},
		 ADMITTED_ONCE},
		{"in what is held",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST REQUEST), .flags = URG | PSH | ACK, .urgent = 400,
		   .then = HELD, .keep = WHOLE}},
		 .counters = {{SLUICE_COUNTER_URGENT_CLEARED, 1},
			      {SLUICE_COUNTER_PIPELINED_HELD, 1}},
		 ADMITTED_ONCE},
		{"of a client that is not proven",
		 {{FROM_CLIENT(0, 0, REQUEST), .flags = URG | PSH | ACK, .urgent = 40}},
		 .counters = {{SLUICE_COUNTER_URGENT_CLEARED, 1},
			      {SLUICE_COUNTER_PASSED_UNPROVEN, 1}}},
	};

	play_rows(rows);
}

static void know_gemma(bool ipv6)
{
	set_model("gemma", LLAMA);
}

static void gemma_is_qwen(bool ipv6)
{
	set_model("gemma", QWEN);
}

static void qwen_by_default(bool ipv6)
{
	struct sluice_service service = http_service();

	service.default_model = QWEN;
	set_both(HTTP_PORT, service);
}

static void known_as_another(bool ipv6)
{
	struct sluice_service service = http_service();

	service.id = OTHER_ID;
	set_both(HTTP_PORT, service);
}

static void known_as_before(bool ipv6)
{
	set_both(HTTP_PORT, http_service());
}

static void remove_services(bool ipv6)
{
	clear_map(fd_of(services));
	names_changed();
}

/*
 * What the programs remember of services and models is the last that was written, on existing
 * connections too.
 */
static void a_name_means_the_model_that_was_last_written(void **state)
{
	static const char gemma[] =
		"POST / HTTP/1.1\r\nContent-Length: 17\r\n\r\n{\"model\":\"gemma\"}";
	static const char unnamed[] = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
	enum { GEMMA_N = sizeof(gemma) - 1, UNNAMED_N = sizeof(unnamed) - 1 };
	static const struct row rows[] = {
		{"a model that has another id now",
		 {{.act = know_gemma},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, gemma)},
		  {FROM_SERVER(0, GEMMA_N, OK_SHORT)},
		  {FROM_CLIENT(GEMMA_N, OK_N, gemma)},
		  {FROM_SERVER(OK_N, 2 * GEMMA_N, OK_SHORT)},
		  {.act = gemma_is_qwen},
		  {FROM_CLIENT(2 * GEMMA_N, 2 * OK_N, gemma)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2},
			      {QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .samples = {DURATION(LLAMA), DURATION(LLAMA)}},
		{"a service that has another default",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, unnamed)},
		  {FROM_SERVER(0, UNNAMED_N, OK_SHORT)},
		  {.act = qwen_by_default},
		  {FROM_CLIENT(UNNAMED_N, OK_N, unnamed)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1},
			      {QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .samples = {DURATION(LLAMA)}},
		{"a removed service",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, unnamed)},
		  {FROM_SERVER(0, UNNAMED_N, OK_SHORT)},
		  {.act = remove_services},
		  {FROM_CLIENT(UNNAMED_N, OK_N, unnamed)}},
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .samples = {DURATION(LLAMA)}},
	};

	play_rows(rows);
}

static void requests_of_two_services_for_one_model_are_counted_apart(void **state)
{
	static const char send_request[] = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
	enum { N = sizeof(send_request) - 1 };
	static const struct row rows[] = {
		{"whichever was first",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, send_request)},
		  {FROM_SERVER(0, N, OK_SHORT)},
		  {.act = known_as_another},
		  {FROM_CLIENT(N, OK_N, send_request)},
		  {FROM_SERVER(OK_N, 2 * N, OK_SHORT)},
		  {FROM_CLIENT(2 * N, 2 * OK_N, send_request)},
		  {FROM_SERVER(2 * OK_N, 3 * N, OK_SHORT)},
		  {.act = known_as_before},
		  {FROM_CLIENT(3 * N, 3 * OK_N, send_request)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2},
			      {LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2, OTHER_ID}},
		 .samples = {DURATION(LLAMA), DURATION(LLAMA), DURATION(LLAMA)}},
	};

	play_rows(rows);
}

/* Another client's request holds a slot. */
static void take_a_slot(bool ipv6)
{
	add_in_flight(SLUICE_MODEL_ALL, 1);
	add_in_flight(LLAMA, 1);
}

static void release_that_slot(bool ipv6)
{
	add_in_flight(SLUICE_MODEL_ALL, -1);
	add_in_flight(LLAMA, -1);
}

/* invariant 1 */
static void without_a_lease_everything_passes_and_is_counted(void **state)
{
	static const struct row rows[] = {
		{"a lease that has run out",
		 {HANDSHAKE, {.act = shut_ttft}, {.act = end_lease}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}}},
		{"a daemon that stops",
		 {HANDSHAKE, {.act = shut_ttft}, {.act = stop}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}}},
		{"a full limit too, and slots are still counted",
		 {HANDSHAKE,
		  {.act = limit_to_one},
		  {.act = end_lease},
		  {.act = take_a_slot},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = release_that_slot}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"the lease's last instant still enforces",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {.ms = 3599999, FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"and the next does not",
		 {HANDSHAKE, {.act = shut_ttft}, {.ms = 3600000, FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}}},
		{"a tombstone runs to its end without a lease",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE},
		  {.act = end_lease},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"in shadow mode a request that would be refused passes without a slot, and is counted",
		 {HANDSHAKE, {.act = shut_in_shadow}, {FROM_CLIENT(0, 0, REQUEST)}},
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_SHADOW_REJECTED, SLUICE_REASON_TTFT, 1}}},
		{"another model's flag is not this one's",
		 {HANDSHAKE, {.act = shut_qwen}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
	};

	play_rows(rows);
}

static void expire_flag(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
						   .expires_ns = CLOCK_START + 100 * MS});
}

static void shut_and_allow_client(bool ipv6)
{
	shut_itl_for_all(ipv6);
	limit_to_one(ipv6);
	set_client_flag(ipv6, SLUICE_MODEL_ALL, (struct sluice_client_flag){.allow = 1});
}

static void shut_and_exempt(bool ipv6)
{
	shut_itl_for_all(ipv6);
	block_client(ipv6);
	set_prefix(ipv6, ipv6 ? 56 : 120, (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT});
}

static void operator_and_allow_client(bool ipv6)
{
	set_flag(SLUICE_MODEL_ALL, (struct sluice_model_flag){.reason = SLUICE_REASON_OPERATOR});
	set_client_flag(ipv6, SLUICE_MODEL_ALL, (struct sluice_client_flag){.allow = 1});
}

static void narrow_exempts_in_blocked(bool ipv6)
{
	set_prefix(ipv6, ipv6 ? 56 : 120, (struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED});
	set_prefix(ipv6, ipv6 ? 60 : 125, (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT});
}

static void blocked_until_later(bool ipv6)
{
	set_client_flag(ipv6, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						    .expires_ns = CLOCK_START + 50 * MS});
	set_prefix(ipv6, 128,
		   (struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED,
					  .expires_ns = CLOCK_START + 50 * MS});
}

static void allowed_and_exempt_clients_pass_limits_and_flags(void **state)
{
	static const struct row rows[] = {
		{"an allowed client passes flags and limits, and is counted",
		 {HANDSHAKE,
		  {.act = shut_and_allow_client},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"an exempt prefix passes even a block of its client",
		 {HANDSHAKE, {.act = shut_and_exempt}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"the operator's rule precedes an allowed client",
		 {HANDSHAKE,
		  {.act = operator_and_allow_client},
		  {FROM_CLIENT(0, 0, REQUEST), .len = HEAD_N, .then = REFUSE, .out_ack = HEAD_N}},
		 .requests = {{SLUICE_MODEL_ALL, SLUICE_VERDICT_REJECTED, SLUICE_REASON_OPERATOR,
			       1}},
		 .tombstones = 1},
		{"the longer prefix decides",
		 {HANDSHAKE, {.act = narrow_exempts_in_blocked}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"a flag that has expired shuts nothing",
		 {HANDSHAKE, {.act = expire_flag}, {.ms = 100, FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"a flag that has not expired shuts",
		 {HANDSHAKE,
		  {.act = expire_flag},
		  {.ms = 99, FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"blocks end at their time",
		 {HANDSHAKE, {.act = blocked_until_later}, {.ms = 50, FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"a limit gives the free slot, and refuses the next request",
		 {HANDSHAKE,
		  {.act = limit_to_one},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
	};

	play_rows(rows);
}

/* The client's class is `high`, 0, by its prefix. */
static void make_high(bool ipv6)
{
	set_prefix(ipv6, ipv6 ? 56 : 120, (struct sluice_prefix){.priority = 0 + 1});
}

static void make_normal(bool ipv6)
{
	set_prefix(ipv6, ipv6 ? 56 : 120,
		   (struct sluice_prefix){.priority = SLUICE_CLASS_NORMAL + 1});
}

static void make_low_and_exempt(bool ipv6)
{
	set_prefix(ipv6, ipv6 ? 56 : 120,
		   (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT, .priority = 2 + 1});
}

#define COUNTED(verdict_, reason_, class_)                                                         \
	.requests = {                                                                              \
		{LLAMA, SLUICE_VERDICT_##verdict_, SLUICE_REASON_##reason_, 1, .class = class_}}

static void requests_are_counted_by_class_whatever_the_verdict(void **state)
{
	static const struct row rows[] = {
		{"an admitted request of another class than normal",
		 {HANDSHAKE, {.act = make_high}, {FROM_CLIENT(0, 0, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 COUNTED(ADMITTED, NONE, 0 + 1)},
		{"an admitted request that its prefix makes normal",
		 {HANDSHAKE, {.act = make_normal}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"an admitted request of an exempt prefix",
		 {HANDSHAKE, {.act = make_low_and_exempt}, {FROM_CLIENT(0, 0, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 COUNTED(ADMITTED, NONE, 2 + 1)},
		{"one that passes since the lease has ended",
		 {HANDSHAKE,
		  {.act = make_high},
		  {.act = shut_itl_for_all},
		  {.act = end_lease},
		  {FROM_CLIENT(0, 0, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}},
		 COUNTED(ADMITTED, NONE, 0 + 1)},
		{"a refused one",
		 {HANDSHAKE,
		  {.act = make_high},
		  {.act = block_client},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}},
		 .tombstones = 1,
		 COUNTED(REJECTED, CLIENT_BLOCKED, 0 + 1)},
		{"one that only shadow mode lets pass",
		 {HANDSHAKE,
		  {.act = make_high},
		  {.act = shut_in_shadow},
		  {FROM_CLIENT(0, 0, REQUEST)}},
		 .conns = 1,
		 COUNTED(SHADOW_REJECTED, TTFT, 0 + 1)},
	};

	play_rows(rows);
}

/* While a daemon takes over the maps, neither version sees a part of a request. */
static void what_is_paused_comes_again_and_is_judged_once(void **state)
{
	static const struct row rows[] = {
		{"a request and its response",
		 {{.act = pause_two_seconds},
		  {.flags = SYN, .seq = -1},
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {.flags = ACK, .then = DROP},
		  {FROM_CLIENT(0, 0, REQUEST), .then = DROP},
		  {FROM_CLIENT(0, 0, REQUEST), .ms = 1999, .then = DROP},
		  {FROM_CLIENT(0, 0, REQUEST), .ms = 1},
		  {.act = pause_two_seconds},
		  {FROM_SERVER(0, WHOLE, OK_SHORT), .then = DROP},
		  {.flags = FIN | ACK, .seq = WHOLE, .then = DROP},
		  {FROM_SERVER(0, WHOLE, OK_SHORT), .ms = 2000}},
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a RST, which nobody sends again, passes",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = pause_two_seconds},
		  {.flags = RST, .seq = WHOLE}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
	};

	play_rows(rows);
}

static void make_some_room(bool ipv6)
{
	struct sluice_conn_key key = {0};

	assert_int_equal(bpf_map_delete_elem(fd_of(conns), &key), 0);
}

/* invariants 1 and 4: bytes of a connection that finds the map full wait until there is room. */
static void with_the_connections_full_requests_wait_for_room(void **state)
{
	static const struct step steps[] = {
		HANDSHAKE,
		{.act = shut_ttft},
		{FROM_CLIENT(0, 0, REQUEST), .then = DROP},
		{.act = make_some_room},
		{FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE, .rst_seq = 0}};
	static struct sluice_conn none;
	struct sluice_conn_key key = {0};

	for (uint32_t i = 0; i < SLUICE_CONNS_MAX; i++) {
		memcpy(key.client_addr, &i, sizeof(i));
		assert_int_equal(bpf_map_update_elem(fd_of(conns), &key, &none, BPF_ANY), 0);
	}
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		play_step(&shapes[0], &steps[i], HTTP_PORT);
	assert_int_equal(counter(SLUICE_COUNTER_CONNS_FULL), 2);
	assert_int_equal(counter(SLUICE_COUNTER_CONNS_DROPPED), 1);
	assert_int_equal(entries(fd_of(tombstones)), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_request_is_judged_once_however_it_comes),
		packets_test(counts_return_when_either_side_resets),
		packets_test(a_rule_holds_however_the_body_spells_the_model),
		packets_test(rules_select_the_judged_requests_and_the_source_of_the_model),
		packets_test(a_name_means_the_model_that_was_last_written),
		packets_test(requests_of_two_services_for_one_model_are_counted_apart),
		packets_test(an_admitted_request_passes_to_its_end_after_any_change),
		packets_test(a_pipelined_request_waits_for_the_response_before_it),
		packets_test(no_byte_is_urgent_for_the_server),
		packets_test(what_is_paused_comes_again_and_is_judged_once),
		packets_test(without_a_lease_everything_passes_and_is_counted),
		packets_test(allowed_and_exempt_clients_pass_limits_and_flags),
		packets_test(requests_are_counted_by_class_whatever_the_verdict),
		packets_test(with_the_connections_full_requests_wait_for_room),
	};

	return packets_main("requests", tests);
}
