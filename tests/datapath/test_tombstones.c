/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * After a refusal: a tombstone answers the client until it has the 429 and resets the server, and
 * the client's bytes are acknowledged only once it has the server's. With no room for a tombstone a
 * refusal is a reset.
 */
#include "requests.h"

/* The length of the 429 that names the default model; every wait gives the same. */
static int32_t reply_len(enum sluice_reason reason)
{
	struct sluice_reply_key key = {.model = LLAMA, .reason = reason};
	struct sluice_reply_head_key head_key = {.service = HTTP_ID};
	uint8_t text[SLUICE_REPLY_BUFFER];
	struct sluice_reply_head head;
	struct sluice_reply_form form;
	struct sluice_reply reply;
	uint32_t zero = 0;

	assert_int_equal(bpf_map_lookup_elem(fd_of(replies), &key, &reply), 0);
	assert_int_equal(bpf_map_lookup_elem(fd_of(reply_heads), &head_key, &head), 0);
	assert_int_equal(bpf_map_lookup_elem(fd_of(reply_forms), &zero, &form), 0);
	return (int32_t)reply_make(text, &head, &reply, &form, 0);
}

#define SHUT_AND_REFUSED                                                                           \
	HANDSHAKE, {.act = shut_ttft},                                                             \
	{                                                                                          \
		FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE                       \
	}

/* invariant 4 */
static void a_tombstone_answers_the_client_and_resets_the_server(void **state)
{
	/* After the 429's FIN. */
	const int end = reply_len(SLUICE_REASON_TTFT) + 1;
	const struct row rows[] = {
		{"the 429 answers the request again",
		 {SHUT_AND_REFUSED,
		  {FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE},
		  {FROM_CLIENT(40, 0, REQUEST + 40), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"also after the gate has opened",
		 {SHUT_AND_REFUSED,
		  {.act = open_all},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"the 429 acknowledges the bytes that the client still sends",
		 {SHUT_AND_REFUSED,
		  {FROM_CLIENT(WHOLE, 0, "more"), .then = REPEATED, .out_ack = WHOLE + 4},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE + 4}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a pure acknowledgement gets no answer",
		 {SHUT_AND_REFUSED,
		  {.flags = ACK, .seq = WHOLE, .ack = 0, .then = DROP},
		  {.flags = ACK, .seq = WHOLE, .ack = end, .then = DROP},
		  {.flags = ACK, .seq = WHOLE, .ack = end, .then = DROP}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"an acknowledgement of a part gets the 429 again",
		 {SHUT_AND_REFUSED,
		  {.flags = ACK, .seq = WHOLE, .ack = end - 1, .then = DROP},
		  {FROM_CLIENT(0, end - 1, REQUEST), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"an acknowledgement of bytes never sent is ignored",
		 {SHUT_AND_REFUSED,
		  {.flags = ACK, .seq = WHOLE, .ack = end + 1, .then = DROP},
		  {FROM_CLIENT(0, end + 1, REQUEST), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"once the 429 is acknowledged, data and FIN get a pure ACK",
		 {SHUT_AND_REFUSED,
		  {.flags = ACK, .seq = WHOLE, .ack = end, .then = DROP},
		  {FROM_CLIENT(WHOLE, end, "more"), .then = ANSWER, .out_seq = end,
		   .out_ack = WHOLE + 4},
		  {.flags = FIN | ACK,
		   .seq = WHOLE + 4,
		   .ack = end,
		   .then = ANSWER,
		   .out_seq = end,
		   .out_ack = WHOLE + 5},
		  {.flags = FIN | ACK,
		   .seq = WHOLE + 4,
		   .ack = end,
		   .then = ANSWER,
		   .out_seq = end,
		   .out_ack = WHOLE + 5}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"the client's FIN may carry the acknowledgement itself",
		 {SHUT_AND_REFUSED,
		  {.flags = FIN | ACK,
		   .seq = WHOLE,
		   .ack = end,
		   .then = ANSWER,
		   .out_seq = end,
		   .out_ack = WHOLE + 1}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a FIN before the 429 was read gets the 429 again, its FIN acknowledged",
		 {SHUT_AND_REFUSED,
		  {.flags = FIN | ACK,
		   .seq = WHOLE,
		   .ack = 0,
		   .then = REPEATED,
		   .out_ack = WHOLE + 1},
		  {.flags = ACK, .seq = WHOLE + 1, .ack = end, .then = DROP}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a segment that the server still sends becomes a RST at its own acknowledgement",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST), .len = 25},
		  {FROM_CLIENT(25, 0, REQUEST + 25), .then = REFUSE, .out_ack = WHOLE,
		   .rst_seq = 25},
		  {FROM_SERVER(0, 20, "HTTP/1.1 408 Request Timeout\r\n\r\n"), .then = UP_RST,
		   .out_seq = 20},
		  {.server = true,
		   .flags = FIN | ACK,
		   .seq = 32,
		   .ack = 25,
		   .then = UP_RST,
		   .out_seq = 25},
		  {.server = true,
		   .flags = ACK,
		   .seq = 33,
		   .ack = 25,
		   .then = UP_RST,
		   .out_seq = 25},
		  {.server = true, .flags = RST, .seq = 33, .then = DROP},
		  {.server = true, .flags = RST | ACK, .seq = 33, .then = DROP}},
		 REFUSED(TTFT),
		 .tombstones = 1,
		 .counters = {{SLUICE_COUNTER_SWALLOWED, 5}}},
		{"if it begins with bytes that the server has, the RST is after those",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST), .len = 40},
		  {FROM_CLIENT(20, 0, REQUEST + 20), .then = REFUSE, .out_ack = WHOLE,
		   .rst_seq = 40}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"the client's RST ends it, and goes up",
		 {SHUT_AND_REFUSED, {.flags = RST, .seq = WHOLE}, {FROM_CLIENT(0, 0, REQUEST)}},
		 REFUSED(TTFT),
		 .counters = {{SLUICE_COUNTER_PASSED_UNPROVEN, 1}}},
		{"a RST with ACK at the end of the 429 ends it too",
		 {SHUT_AND_REFUSED, {.flags = RST | ACK, .seq = WHOLE, .ack = end}},
		 REFUSED(TTFT)},
		{"our own RST does not",
		 {SHUT_AND_REFUSED,
		  {.flags = RST, .seq = 0},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a SYN that reuses the port passes, and the SYN-ACK ends it",
		 {SHUT_AND_REFUSED,
		  {.act = open_all},
		  {.flags = SYN, .seq = 5000},
		  {.server = true, .flags = SYN | ACK, .seq = 9000, .ack = 5001},
		  {.flags = ACK, .seq = 5001, .ack = 9001},
		  {FROM_CLIENT(5001, 9001, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1},
			      {LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"so does a SYN-ACK alone, where the SYN came another way",
		 {SHUT_AND_REFUSED, {.server = true, .flags = SYN | ACK, .seq = 9000, .ack = 5001}},
		 REFUSED(TTFT)},
		{"a body that is still being sent is refused by its head, and read to its end",
		 {HANDSHAKE,
		  {.act = shut_itl_for_all},
		  {FROM_CLIENT(0, 0, LONG_HEAD), .then = REFUSE, .out_ack = LONG_HEAD_N},
		  {FROM_CLIENT(LONG_HEAD_N, 0, REQUEST), .then = REPEATED,
		   .out_ack = LONG_HEAD_N + WHOLE},
		  {FROM_CLIENT(LONG_HEAD_N + WHOLE, 0, REQUEST), .then = REPEATED,
		   .out_ack = LONG_HEAD_N + 2 * WHOLE}},
		 .tombstones = 1,
		 .requests = {{SLUICE_MODEL_ALL, SLUICE_VERDICT_REJECTED, SLUICE_REASON_ITL, 1}}},
		{"a request with FIN is refused with its FIN acknowledged",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST), .flags = FIN | PSH | ACK, .then = REFUSE,
		   .out_ack = WHOLE + 1},
		  {FROM_CLIENT(0, 0, REQUEST), .flags = FIN | PSH | ACK, .then = REPEATED,
		   .out_ack = WHOLE + 1}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a reset leaves no tombstone: late segments pass to the server's own RST",
		 {HANDSHAKE,
		  {.act = shut_by_reset},
		  {FROM_CLIENT(0, 0, REQUEST), .then = RESET},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.server = true, .flags = RST, .seq = 0}},
		 REFUSED(TTFT),
		 .counters = {{SLUICE_COUNTER_PASSED_UNPROVEN, 1}}},
	};

	play_rows(rows);
}

#define CONTINUE   "HTTP/1.1 100 Continue\r\n\r\n"
#define CONTINUE_N ((int)sizeof(CONTINUE) - 1)

/* invariant 4: the 429 comes after the server's bytes, and waits until the client has those. */
static void server_bytes_in_flight_defer_the_acknowledgement(void **state)
{
	const int end = CONTINUE_N + reply_len(SLUICE_REASON_TTFT) + 1;
	const int end_reset = CONTINUE_N;
	const struct row rows[] = {
		{"the client's bytes are acknowledged once it shows that it has the server's",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, HEAD)},
		  {FROM_SERVER(0, HEAD_N, CONTINUE)},
		  {FROM_CLIENT(HEAD_N, 0, BODY), .then = REFUSE, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N, .rst_seq = HEAD_N},
		  {FROM_CLIENT(HEAD_N, 0, BODY), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N},
		  {FROM_CLIENT(HEAD_N, CONTINUE_N, BODY), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a client that acknowledges all at once gets the acknowledgement of its own bytes",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, HEAD)},
		  {FROM_SERVER(0, HEAD_N, CONTINUE)},
		  {FROM_CLIENT(HEAD_N, 0, BODY), .then = REFUSE, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N, .rst_seq = HEAD_N},
		  {.flags = ACK,
		   .seq = WHOLE,
		   .ack = end,
		   .then = ANSWER,
		   .out_seq = end,
		   .out_ack = WHOLE},
		  {.flags = ACK, .seq = WHOLE, .ack = end, .then = DROP}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"with nothing in flight nothing is deferred",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, HEAD)},
		  {FROM_SERVER(0, HEAD_N, CONTINUE)},
		  {FROM_CLIENT(HEAD_N, CONTINUE_N, BODY), .then = REFUSE, .out_seq = CONTINUE_N,
		   .out_ack = WHOLE, .rst_seq = HEAD_N}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"the client's third repeat still gets the 429, the fourth a reset at its number",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, HEAD)},
		  {FROM_SERVER(0, HEAD_N, CONTINUE)},
		  {FROM_CLIENT(HEAD_N, 5, BODY), .then = REFUSE, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N, .rst_seq = HEAD_N},
		  {FROM_CLIENT(HEAD_N, 5, BODY), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N},
		  {FROM_CLIENT(HEAD_N, 5, BODY), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N},
		  {FROM_CLIENT(HEAD_N, 5, BODY), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N},
		  {FROM_CLIENT(HEAD_N, 5, BODY), .then = CUT, .out_seq = 5}},
		 REFUSED(TTFT),
		 .counters = {{SLUICE_COUNTER_REPLIES_LOST, 1}}},
		{"a client that goes on sending does not repeat itself",
		 {HANDSHAKE,
		  {.act = shut_itl_for_all},
		  {FROM_CLIENT(0, 0, LONG_HEAD), .len = LONG_HEAD_N - 2},
		  {FROM_SERVER(0, LONG_HEAD_N - 2, CONTINUE)},
		  {FROM_CLIENT(LONG_HEAD_N - 2, 0, "\r\n"), .then = REFUSE, .out_seq = CONTINUE_N,
		   .out_ack = LONG_HEAD_N - 2, .rst_seq = LONG_HEAD_N - 2},
		  {FROM_CLIENT(LONG_HEAD_N, 0, "aaaa"), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = LONG_HEAD_N - 2},
		  {FROM_CLIENT(LONG_HEAD_N + 4, 0, "aaaa"), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = LONG_HEAD_N - 2},
		  {FROM_CLIENT(LONG_HEAD_N + 8, 0, "aaaa"), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = LONG_HEAD_N - 2},
		  {FROM_CLIENT(LONG_HEAD_N + 12, 0, "aaaa"), .then = REPEATED,
		   .out_seq = CONTINUE_N, .out_ack = LONG_HEAD_N - 2},
		  {FROM_CLIENT(LONG_HEAD_N + 16, CONTINUE_N, "aaaa"), .then = REPEATED,
		   .out_seq = CONTINUE_N, .out_ack = LONG_HEAD_N + 20}},
		 .tombstones = 1,
		 .requests = {{SLUICE_MODEL_ALL, SLUICE_VERDICT_REJECTED, SLUICE_REASON_ITL, 1}}},
		{"a reset of a client that lacks server bytes has the client's number",
		 {HANDSHAKE,
		  {.act = shut_by_reset},
		  {FROM_CLIENT(0, 0, HEAD)},
		  {FROM_SERVER(0, HEAD_N, CONTINUE)},
		  {FROM_CLIENT(HEAD_N, end_reset - 5, BODY), .then = RESET,
		   .out_seq = end_reset - 5, .rst_seq = HEAD_N}},
		 REFUSED(TTFT)},
	};

	play_rows(rows);
}

/* invariant 4: an answer without a tombstone must not let a server's packet pass. */
static void a_reset_without_a_tombstone_lets_no_server_packet_pass(void **state)
{
	static const struct shape shape = {0};
	static const struct step refused[] = {SHUT_AND_REFUSED};
	static struct frame in, out;
	const struct step late = {FROM_SERVER(0, 0, OK_SHORT), .then = UP_RST, .out_seq = 0};
	struct segment syn = {.flags = SYN, .client_port = CLIENT_PORT + 1};

	for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		play_step(&shape, &refused[i], HTTP_PORT);
	block_client(false);
	make_frame(&in, &shape, &syn);
	assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_REDIRECT);
	in = out;
	assert_int_equal(run_tc(w.skel->progs.responses, &in, &out), THEN_UNSPEC);
	play_step(&shape, &late, HTTP_PORT);
}

static void with_the_tombstones_full_a_refusal_is_a_reset_and_counted(void **state)
{
	static const struct step steps[] = {
		HANDSHAKE, {.act = shut_ttft}, {FROM_CLIENT(0, 0, REQUEST), .then = RESET}};
	struct sluice_conn_key key = {0};
	struct sluice_tombstone none = {0};

	for (uint32_t i = 0; i < SLUICE_TOMBSTONES_MAX; i++) {
		memcpy(key.client_addr, &i, sizeof(i));
		assert_int_equal(bpf_map_update_elem(fd_of(tombstones), &key, &none, BPF_ANY), 0);
	}
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		play_step(&shapes[0], &steps[i], HTTP_PORT);
	assert_int_equal(counter(SLUICE_COUNTER_TOMBSTONES_FULL), 1);
	assert_int_equal(entries(fd_of(conns)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_tombstone_answers_the_client_and_resets_the_server),
		packets_test(server_bytes_in_flight_defer_the_acknowledgement),
		packets_test(a_reset_without_a_tombstone_lets_no_server_packet_pass),
		packets_test(with_the_tombstones_full_a_refusal_is_a_reset_and_counted),
	};

	return packets_main("tombstones", tests);
}
