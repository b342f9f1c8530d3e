/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Servers that answer before the end of a request. Whoever withholds the last byte gains nothing:
 * the request is judged at the client's next packet, which it must send to get more of the
 * response.
 */
#include "responses.h"

/* A form has no end but its last byte, so the verdict waits for it. */
#define FORM                                                                                       \
	"POST /v1/completions HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"     \
	"Content-Length: 12\r\n\r\nmodel=llama&"
#define FORM_N   N(FORM)
#define PART_N   (FORM_N - 1)
#define CUT_JSON "POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n{\"model\":\"llama\","
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define DENIED   "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"
#define FOUND    "HTTP/1.1 307 Temporary Redirect\r\nLocation: /x\r\nContent-Length: 2\r\n\r\n{}"

#define PART                                                                                       \
	HANDSHAKE,                                                                                 \
	{                                                                                          \
		FROM_CLIENT(0, 0, FORM), .len = PART_N                                             \
	}
#define ANSWERED(bytes)                                                                            \
	PART,                                                                                      \
	{                                                                                          \
		FROM_SERVER(0, PART_N, bytes)                                                      \
	}
#define STREAMED ANSWERED(STREAM_HEAD TOKEN)
#define ACKS(at, acked)                                                                            \
	{                                                                                          \
		.flags = ACK, .seq = (at), .ack = (acked)                                          \
	}
#define LAST_BYTE(acked) FROM_CLIENT(PART_N, acked, FORM + PART_N)
#define TAKEN            .in_flight = 1, .conns = 1, ADMITTED
#define REFUSED(model)   .requests = {{(model), SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}

static void shut(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT});
}

static void shut_in_shadow(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
						   .mode = SLUICE_MODE_SHADOW});
}

static void shut_without_lease(bool ipv6)
{
	shut(ipv6);
	w.settings.lease_until_ns = w.settings.clock_ns;
	write_settings();
}

static void shut_qwen_that_a_rule_names(bool ipv6)
{
	set_named((struct sluice_named_models){.count = 1, .id = {QWEN}});
	set_flag(QWEN, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT});
}

static void takes_two_seconds(bool ipv6)
{
	struct sluice_model_state all = get_state(SLUICE_MODEL_ALL);

	all.usual_ns = 2000000000;
	put_state(SLUICE_MODEL_ALL, all);
}

/* invariant 1 */
static void a_request_that_is_served_early_is_judged_at_the_next_packet(void **state)
{
	static const struct row rows[] = {
		{"not before", {STREAMED}, .conns = 1},
		{"an acknowledgement", {STREAMED, ACKS(PART_N, AT_FIRST)}, TAKEN},
		{"more of it, without the last byte",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, FORM), .len = PART_N - 1},
		  {FROM_SERVER(0, PART_N - 1, STREAM_HEAD)},
		  {FROM_CLIENT(PART_N - 1, AT_FIRST, FORM + PART_N - 1), .len = 1}},
		 TAKEN},
		{"bytes that come again",
		 {STREAMED, {FROM_CLIENT(0, AT_FIRST, FORM), .len = PART_N}},
		 TAKEN},
		{"a FIN", {STREAMED, {.flags = FIN | ACK, .seq = PART_N}}, TAKEN},
		{"a RST, and its server goes on",
		 {{.act = takes_two_seconds}, STREAMED, {.flags = RST, .seq = PART_N}},
		 TAKEN,
		 .counters = {{SLUICE_COUNTER_DEPARTED, 1}}},
		{"a RST that no server believes",
		 {STREAMED, {.flags = RST, .seq = PART_N + 1}},
		 TAKEN},
		{"also after all of the response",
		 {ANSWERED(SHORT), ACKS(PART_N, N(SHORT))},
		 .conns = 1,
		 ADMITTED},
		{"also after the server's FIN",
		 {PART,
		  {FROM_SERVER(0, PART_N, SHORT), .flags = FIN | ACK},
		  ACKS(PART_N, N(SHORT) + 1)},
		 .conns = 1,
		 ADMITTED},
		{"an interim response serves nothing",
		 {ANSWERED(CONTINUE), ACKS(PART_N, N(CONTINUE))},
		 .conns = 1},
		{"nor does an error", {ANSWERED(DENIED), ACKS(PART_N, N(DENIED))}, .conns = 1},
		{"nor a redirect", {ANSWERED(FOUND), ACKS(PART_N, N(FOUND))}, .conns = 1},
	};

	play_rows(rows);
}

static void a_request_that_is_served_early_is_judged_once(void **state)
{
	static const struct row rows[] = {
		{"its rest is no further request, and holds no slot after the response",
		 {STREAMED,
		  ACKS(PART_N, AT_FIRST),
		  ACKS(PART_N, AT_SECOND),
		  {LAST_BYTE(AT_SECOND)},
		  {FROM_SERVER(AT_SECOND, FORM_N, CLOSING)}},
		 .conns = 1,
		 ADMITTED},
		{"nor if it comes after the response",
		 {STREAMED,
		  ACKS(PART_N, AT_FIRST),
		  {FROM_SERVER(AT_SECOND, PART_N, CLOSING)},
		  {LAST_BYTE(AT_SECOND + N(CLOSING))}},
		 .conns = 1,
		 ADMITTED},
		{"nor if the response was over at the verdict",
		 {ANSWERED(SHORT), ACKS(PART_N, N(SHORT)), {LAST_BYTE(N(SHORT))}},
		 .conns = 1,
		 ADMITTED},
		{"bytes that come with a RST which no server believes are none of it",
		 {STREAMED,
		  {.flags = RST, FROM_CLIENT(PART_N - 1, AT_SECOND, "a&POST")},
		  {LAST_BYTE(AT_SECOND)},
		  {FROM_SERVER(AT_SECOND, FORM_N, CLOSING)},
		  {FROM_CLIENT(FORM_N, AT_SECOND + N(CLOSING), REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"the next one has its own verdict, and its own samples",
		 {ANSWERED(SHORT),
		  ACKS(PART_N, N(SHORT)),
		  {LAST_BYTE(N(SHORT))},
		  {FROM_CLIENT(FORM_N, N(SHORT), REQUEST)},
		  {.ms = 30, FROM_SERVER(N(SHORT), FORM_N + WHOLE, STREAM_HEAD TOKEN)},
		  {.ms = 20, FROM_SERVER(N(SHORT) + AT_SECOND, FORM_N + WHOLE, TOKEN CLOSING)}},
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}},
		 .samples = {TTFT(30), ITL(1, 20)}},
	};

	play_rows(rows);
}

static void a_refusal_of_what_is_served_early_is_a_reset(void **state)
{
	static const struct row rows[] = {
		{"at an acknowledgement",
		 {STREAMED,
		  {.act = shut},
		  {.flags = ACK,
		   .seq = PART_N,
		   .ack = AT_SECOND,
		   .then = RESET,
		   .out_seq = AT_SECOND,
		   .rst_seq = PART_N}},
		 REFUSED(LLAMA)},
		{"at the last byte, which the server does not get",
		 {STREAMED,
		  {.act = shut},
		  {LAST_BYTE(AT_SECOND), .then = RESET, .out_seq = AT_SECOND, .rst_seq = PART_N}},
		 REFUSED(LLAMA)},
		{"for a model whose name may still come",
		 {{.act = shut_qwen_that_a_rule_names},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, CUT_JSON)},
		  {FROM_SERVER(0, N(CUT_JSON), STREAM_HEAD)},
		  {.flags = ACK,
		   .seq = N(CUT_JSON),
		   .ack = AT_FIRST,
		   .then = RESET,
		   .out_seq = AT_FIRST,
		   .rst_seq = N(CUT_JSON)}},
		 REFUSED(QWEN)},
		{"not in shadow mode",
		 {STREAMED, {.act = shut_in_shadow}, ACKS(PART_N, AT_SECOND)},
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_SHADOW_REJECTED, SLUICE_REASON_TTFT, 1}}},
		{"not without a lease",
		 {STREAMED, {.act = shut_without_lease}, ACKS(PART_N, AT_SECOND)},
		 TAKEN,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}}},
		{"an error answer stays whole, and its request counts if its last byte comes",
		 {ANSWERED(DENIED), {.act = shut}, ACKS(PART_N, N(DENIED)), {LAST_BYTE(N(DENIED))}},
		 .conns = 1,
		 ADMITTED,
		 .counters = {{SLUICE_COUNTER_PASSED_ANSWERED_EARLY, 1}}},
	};

	play_rows(rows);
}

/* invariant 6: the server may have waited for its request */
static void a_client_that_withholds_its_last_byte_gives_no_sample(void **state)
{
	static const struct row rows[] = {
		{"no first token, and no gap until its end has come",
		 {ANSWERED(STREAM_HEAD),
		  ACKS(PART_N, AT_FIRST),
		  {.ms = 9000, FROM_SERVER(AT_FIRST, PART_N, TOKEN)},
		  {.ms = 9000, FROM_SERVER(AT_SECOND, PART_N, TOKEN)}},
		 TAKEN,
		 .counters = {{SLUICE_COUNTER_GAPS_CLIENT_LIMITED, 2}}},
		{"but then",
		 {ANSWERED(STREAM_HEAD),
		  ACKS(PART_N, AT_FIRST),
		  {LAST_BYTE(AT_FIRST)},
		  {.ms = 9000, FROM_SERVER(AT_FIRST, FORM_N, TOKEN)},
		  {.ms = 20, FROM_SERVER(AT_SECOND, FORM_N, TOKEN CLOSING)}},
		 .conns = 1,
		 ADMITTED,
		 .counters = {{SLUICE_COUNTER_GAPS_CLIENT_LIMITED, 1}},
		 .samples = {ITL(1, 20)}},
		{"no duration",
		 {PART,
		  {FROM_SERVER(0, PART_N, SHORT), .len = N(SHORT) - 1},
		  ACKS(PART_N, N(SHORT) - 1),
		  {.ms = 9000, FROM_SERVER(N(SHORT) - 1, PART_N, "}")}},
		 .conns = 1,
		 ADMITTED},
	};

	play_rows(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_request_that_is_served_early_is_judged_at_the_next_packet),
		packets_test(a_request_that_is_served_early_is_judged_once),
		packets_test(a_refusal_of_what_is_served_early_is_a_reset),
		packets_test(a_client_that_withholds_its_last_byte_gives_no_sample),
	};

	return packets_main("early", tests);
}
