/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Kept connections: when a refusal keeps one, what the 429 says, and that the connection is as any
 * other after that: requests are judged, slots are taken and samples sent, whatever happens to
 * sluice.
 */
#include "keep_rows.h"

#define CLOSES                                                                                     \
	"POST /v1/chat/completions HTTP/1.1\r\nConnection: close\r\nContent-Length: 17\r\n\r\n"    \
	"{\"model\":\"llama\"}"
#define OLD_HTTP                                                                                   \
	"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 17\r\n\r\n{\"model\":\"llama\"}"

/* A connection with one exchange, before a request that cannot be kept. */
#define SHUT                                                                                       \
	EXCHANGED,                                                                                 \
	{                                                                                          \
		.act = keep_and_shut                                                               \
	}

/* … and the refusal of its next request. */
#define PLAIN .options = 1 + OPTIONS_TS
#define DECLINED(text)                                                                             \
	{                                                                                          \
		FROM_CLIENT(W, N, text), PLAIN, .then = REFUSE, .out_seq = N,                      \
						.out_ack = W + (int)sizeof(text) - 1, .rst_seq = W \
	}
#define DECLINED_FOR(why)                                                                          \
	.tombstones = 1, .requests = {ADMITTED(1), REJECTED(1)},                                   \
	.counters = {{SLUICE_COUNTER_KEEP_##why, 1}}

static void a_refusal_that_cannot_keep_its_connection_says_why(void **state)
{
	const struct row rows[] = {
		{"the request came in two segments",
		 {SHUT,
		  {FROM_CLIENT(W, N, REQUEST), .len = 40},
		  {FROM_CLIENT(W + 40, N, REQUEST + 40), .then = REFUSE, .out_seq = N,
		   .out_ack = 2 * W, .rst_seq = W + 40}},
		 DECLINED_FOR(SPLIT)},
		{"line ends before it are refused with it",
		 {SHUT,
		  {FROM_CLIENT(W, N, "\r\n" REQUEST), .then = KEPT, .out_seq = N,
		   .out_ack = 2 * W + 2, .ack_up = true}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a part of the next one comes with it",
		 {SHUT, DECLINED(REQUEST "POST")},
		 DECLINED_FOR(SPLIT)},
		{"its head has ended, its body has not",
		 {EXCHANGED,
		  {.act = keep_and_shut},
		  {.act = shut_itl_for_all},
		  DECLINED(LONG_HEAD)},
		 .tombstones = 1,
		 .requests = {ADMITTED(1),
			      {SLUICE_MODEL_ALL, SLUICE_VERDICT_REJECTED, SLUICE_REASON_ITL, 1}},
		 .counters = {{SLUICE_COUNTER_KEEP_SPLIT, 1}}},
		{"HTTP/1.0", {SHUT, DECLINED(OLD_HTTP)}, DECLINED_FOR(CLOSES)},
		{"Connection: close", {SHUT, DECLINED(CLOSES)}, DECLINED_FOR(CLOSES)},
		{"a FIN",
		 {SHUT,
		  {FROM_CLIENT(W, N, REQUEST), .flags = FIN | PSH | ACK, .then = REFUSE,
		   .out_seq = N, .out_ack = 2 * W + 1, .rst_seq = W}},
		 DECLINED_FOR(CLOSES)},
		{"the client lacks bytes of the server",
		 {SHUT,
		  {FROM_CLIENT(W, N - 1, REQUEST), .then = REFUSE, .out_seq = N, .out_ack = W,
		   .rst_seq = W}},
		 DECLINED_FOR(IN_FLIGHT)},
		{"the server has not acknowledged what came before",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, W - 1, OK_SHORT)},
		  {.act = keep_and_shut},
		  DECLINED(REQUEST)},
		 DECLINED_FOR(IN_FLIGHT)},
		{"the connection was adopted",
		 {{FROM_SERVER(0, W, OK_SHORT)}, {.act = keep_and_shut}, DECLINED(REQUEST)},
		 .tombstones = 1,
		 REFUSED(TTFT),
		 .counters = {{SLUICE_COUNTER_KEEP_IN_FLIGHT, 1}}},
		{"no answer has shown that the server has accepted the connection",
		 {HANDSHAKE,
		  {.server = true, .flags = ACK},
		  {.act = keep_and_shut},
		  {FROM_CLIENT(0, 0, REQUEST), PLAIN, .then = REFUSE, .out_ack = W}},
		 .tombstones = 1,
		 REFUSED(TTFT),
		 .counters = {{SLUICE_COUNTER_KEEP_UNHEARD, 1}}},
		{"the server was not heard for more than two seconds",
		 {SHUT,
		  {FROM_CLIENT(W, N, REQUEST), .ms = 2001, .then = REFUSE, .out_seq = N,
		   .out_ack = 2 * W, .rst_seq = W}},
		 DECLINED_FOR(UNHEARD)},
		{"two seconds are not too long",
		 {SHUT,
		  {FROM_CLIENT(W, N, REQUEST), .ms = 2000, .then = KEPT, .out_seq = N,
		   .out_ack = 2 * W, .ack_up = true}},
		 KEEPS_ITS_CONNECTION(1)},
		{"the segment has other options",
		 {SHUT,
		  {FROM_CLIENT(W, N, REQUEST), .options = 1 + OPTIONS_SACK, .then = REFUSE,
		   .out_seq = N, .out_ack = 2 * W, .rst_seq = W}},
		 DECLINED_FOR(OPTIONS)},
		{"… or those of a usual length, but others",
		 {SHUT,
		  {FROM_CLIENT(W, N, REQUEST), .options = 1 + OPTIONS_SACK_ODD, .then = REFUSE,
		   .out_seq = N, .out_ack = 2 * W, .rst_seq = W}},
		 DECLINED_FOR(OPTIONS)},
		{"the server's segments leave by another interface",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, W, OK_SHORT), .elsewhere = true},
		  {.act = keep_and_shut},
		  DECLINED(REQUEST)},
		 DECLINED_FOR(PATH)},
		{"the service is not set to that",
		 {EXCHANGED, {.act = shut_ttft}, DECLINED(REQUEST)},
		 .tombstones = 1,
		 .requests = {ADMITTED(1), REJECTED(1)}},
		{"a refusal by reset",
		 {SHUT,
		  {.act = shut_by_reset},
		  {FROM_CLIENT(W, N, REQUEST), .then = RESET, .out_seq = N, .rst_seq = W}},
		 .requests = {ADMITTED(1), REJECTED(1)}},
	};

	play_rows(rows);
}

#define STREAM_HEAD                                                                                \
	"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define TOKEN   "2f\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n\r\n"
#define CLOSING "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
#define HEADS   ((int)sizeof(STREAM_HEAD) - 1)
#define TOKENS  ((int)sizeof(TOKEN) - 1)

static void a_kept_connection_is_as_any_other(void **state)
{
	const int end = N + HEADS + 2 * TOKENS + (int)sizeof(CLOSING) - 1;
	const struct row rows[] = {
		{"a request is admitted, holds its slot, and its answer is timed",
		 {KEPT_AND_READ,
		  {.act = open_all},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), ONCE},
		  {FROM_SERVER(N, 2 * W, STREAM_HEAD TOKEN), .ms = 70, ONCE},
		  {.flags = ACK, .seq = 3 * W, .ack = N + R + HEADS + TOKENS, ONCE},
		  {FROM_SERVER(N + HEADS + TOKENS, 2 * W, TOKEN CLOSING), .ms = 30, ONCE},
		  {.flags = ACK, .seq = 3 * W, .ack = end + R, ONCE}},
		 .conns = 1,
		 .kept = 1,
		 .requests = {ADMITTED(2), REJECTED(1)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}},
		 .samples = {{SLUICE_SAMPLE_TTFT, LLAMA, 1, 70},
			     {SLUICE_SAMPLE_ITL, LLAMA, 1, 30}}},
		{"a limit counts it",
		 {KEPT_AND_READ,
		  {.act = open_all},
		  {.act = limit_to_one},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), ONCE},
		  {FROM_SERVER(N, 2 * W, OK_SHORT), ONCE},
		  {FROM_CLIENT(3 * W, 2 * N + R, REQUEST), ONCE}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .kept = 1,
		 .requests = {ADMITTED(3), REJECTED(1)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}}},
		{"the second refusal carries the acknowledgement of the first",
		 {KEPT_ONCE,
		  {FROM_CLIENT(2 * W, N + R, REQUEST), .then = KEPT, .out_seq = N + R,
		   .out_ack = 3 * W, ONCE},
		  {.flags = ACK, .seq = 2 * W, .ack = N + R, ONCE, .sack = 2 * R},
		  {.server = true,
		   .flags = ACK,
		   .seq = N,
		   .ack = W,
		   .dc = W,
		   .ds = 2 * R,
		   .sack = 2 * W},
		  {.server = true, .flags = ACK, .seq = N - 1, .ack = W, ONCE, .sack = 2 * W},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), .then = KEPT, .out_seq = N + R,
		   .out_ack = 3 * W},
		  {.flags = ACK, .seq = 3 * W, .ack = N + 2 * R, TWICE},
		  {.server = true, .flags = ACK, .seq = N, .ack = W, TWICE}},
		 KEEPS_ITS_CONNECTION(2)},
		{"a second one before the first is read comes again after it",
		 {KEPT_ONCE,
		  {FROM_CLIENT(2 * W, N, REQUEST), AGAIN},
		  {.flags = ACK, .seq = 3 * W, .ack = N + R, ONCE},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), .then = KEPT, .out_seq = N + R,
		   .out_ack = 3 * W, ONCE}},
		 KEEPS_ITS_CONNECTION(2)},
		{"an admitted answer lies between two refusals",
		 {KEPT_AND_READ,
		  {.act = open_all},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), ONCE},
		  {FROM_SERVER(N, 2 * W, OK_SHORT), ONCE},
		  {.act = shut_ttft},
		  {FROM_CLIENT(3 * W, 2 * N + R, REQUEST), .then = KEPT, .out_seq = 2 * N + R,
		   .out_ack = 4 * W, .ack_up = true, ONCE},
		  {.flags = ACK, .seq = 4 * W, .ack = 2 * N + 2 * R, TWICE}},
		 .conns = 1,
		 .kept = 1,
		 .requests = {ADMITTED(2), REJECTED(2)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 2}}},
		{"the refused request comes late: it is old to the server, and the answer to the client",
		 {KEPT_AND_READ,
		  {FROM_CLIENT(W, N, REQUEST), ONCE},
		  {.server = true, .flags = ACK, .seq = N, .ack = W, ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"old bytes from either side",
		 {KEPT_AND_READ,
		  {FROM_CLIENT(W - 9, N, REQUEST), .len = 9, ONCE},
		  {FROM_SERVER(N - 9, W, OK_SHORT + N - 9), ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"window updates",
		 {KEPT_AND_READ,
		  {.flags = ACK, .seq = 2 * W, .ack = N + R, .window = 77, ONCE},
		  {.server = true, .flags = ACK, .seq = N, .ack = W, .window = 99, ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"keep-alive probes, with a byte and without",
		 {KEPT_AND_READ,
		  {.flags = ACK, .seq = 2 * W - 1, .ack = N + R, ONCE},
		  {FROM_CLIENT(2 * W - 1, N + R, "x"), ONCE},
		  {.server = true, .flags = ACK, .seq = N - 1, .ack = W, ONCE},
		  {FROM_SERVER(N - 1, W, "x"), ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"the client probes the server's shut window",
		 {KEPT_AND_READ,
		  {.server = true, .flags = ACK, .seq = N, .ack = W, .zero_window = true, ONCE},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), .len = 1, ONCE},
		  {.flags = ACK, .seq = 2 * W - 1, .ack = N + R, ONCE},
		  {.server = true, .flags = ACK, .seq = N, .ack = W, ONCE},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), .then = KEPT, .out_seq = N + R,
		   .out_ack = 3 * W, ONCE}},
		 KEEPS_ITS_CONNECTION(2)},
		{"the server probes the client's shut window",
		 {KEPT_AND_READ,
		  {.flags = ACK, .seq = 2 * W, .ack = N + R, .zero_window = true, ONCE},
		  {.server = true, .flags = ACK, .seq = N - 1, .ack = W, .ms = 200, ONCE},
		  {.server = true, .flags = ACK, .seq = N - 1, .ack = W, .ms = 400, ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"the 429 has the server's last window",
		 {EXCHANGED,
		  {.act = keep_and_shut},
		  {.server = true, .flags = ACK, .seq = N, .ack = W, .window = 1234},
		  {FROM_CLIENT(W, N, REQUEST), .then = KEPT, .out_seq = N, .out_ack = 2 * W,
		   .ack_up = true},
		  {.act = window_was_1234},
		  {FROM_CLIENT(W, N, REQUEST), AGAIN},
		  {.act = window_was_1234}},
		 KEEPS_ITS_CONNECTION(1)},
	};

	play_rows(rows);
}

static void nothing_that_happens_to_sluice_stops_the_translation(void **state)
{
	const struct row rows[] = {
		{"the lease has ended",
		 {KEPT_AND_READ,
		  {.act = end_lease},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), ONCE},
		  {FROM_SERVER(N, 2 * W, OK_SHORT), ONCE}},
		 .conns = 1,
		 .kept = 1,
		 .requests = {ADMITTED(2), REJECTED(1)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}, {SLUICE_COUNTER_PASSED_LEASE, 1}}},
		{"the daemon is stopping",
		 {KEPT_AND_READ,
		  {.act = stop},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), ONCE},
		  {FROM_SERVER(N, 2 * W, OK_SHORT), ONCE}},
		 .conns = 1,
		 .kept = 1,
		 .requests = {ADMITTED(2), REJECTED(1)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}, {SLUICE_COUNTER_PASSED_LEASE, 1}}},
		{"the model is in shadow mode",
		 {KEPT_AND_READ,
		  {.act = shut_in_shadow},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), ONCE},
		  {FROM_SERVER(N, 2 * W, OK_SHORT), ONCE}},
		 .conns = 1,
		 .kept = 1,
		 .requests = {ADMITTED(1),
			      REJECTED(1),
			      {LLAMA, SLUICE_VERDICT_SHADOW_REJECTED, SLUICE_REASON_TTFT, 1}},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}}},
		{"the service is gone, while the 429 is pending and after that",
		 {KEPT_ONCE,
		  {.act = remove_service},
		  {FROM_CLIENT(W, N, REQUEST), AGAIN},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), ONCE},
		  {.server = true, .flags = ACK, .seq = N, .ack = W, ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"the connection has no entry in conns any more, and gets a new one",
		 {KEPT_AND_READ,
		  {.act = forget_conn},
		  {.flags = ACK, .seq = 2 * W, .ack = N + R, ONCE},
		  {.server = true, .flags = ACK, .seq = N, .ack = W, ONCE},
		  {FROM_SERVER(N, W, OK_SHORT), ONCE},
		  {FROM_CLIENT(2 * W, 2 * N + R, REQUEST), .then = REFUSE, .out_seq = 2 * N + R,
		   .out_ack = 3 * W, .rst_seq = W, ONCE}},
		 .tombstones = 1,
		 .kept = 1,
		 .requests = {ADMITTED(1), REJECTED(2)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1},
			      {SLUICE_COUNTER_KEEP_IN_FLIGHT, 1}}},
	};

	play_rows(rows);
}

static rows_fn *const rows_of[] = {
	a_refusal_that_cannot_keep_its_connection_says_why,
	a_kept_connection_is_as_any_other,
	nothing_that_happens_to_sluice_stops_the_translation,
};

/* A bridge and its port, a VLAN and its parent: only the lowest hook translates. */
static void a_second_hook_on_the_way_changes_nothing(void **state)
{
	play_with_a_second_hook(rows_of, sizeof(rows_of) / sizeof(rows_of[0]));
}

static void numbers_wrap_anywhere(void **state)
{
	play_with_wraps(rows_of, sizeof(rows_of) / sizeof(rows_of[0]));
}

/* Every byte of the 429, and of what is translated, for every kind of packet. */
static void every_kind_of_packet_is_translated(void **state)
{
	const struct row row = {
		"every kind of packet",
		{KEPT_ONCE,
		 {.flags = ACK, .seq = 2 * W, .ack = N, .dc = W, .sack = R},
		 {.server = true, .flags = ACK, .seq = N, .ack = W, .ds = R, .sack = W},
		 {.flags = ACK, .seq = 2 * W, .ack = N + R, ONCE},
		 {.act = open_all},
		 {FROM_CLIENT(2 * W, N + R, REQUEST), ONCE},
		 {FROM_SERVER(N, 2 * W, OK_SHORT), ONCE},
		 {.flags = FIN | ACK, .seq = 3 * W, .ack = 2 * N + R, ONCE}},
		.conns = 1,
		.kept = 1,
		.requests = {ADMITTED(2), REJECTED(1)},
		.counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}}};

	for (int ipv6 = 0; ipv6 < 2; ipv6++)
		for (int link = LINK_ETHERNET; link <= LINK_NONE; link++)
			for (int options = OPTIONS_NONE; options <= OPTIONS_SACK_ODD; options++)
				for (int partial = 0; partial < 2; partial++) {
					const struct shape shape = {ipv6, link, options, partial};

					play(&shape, &row);
				}
}

static void the_429_of_a_kept_connection_is_right_to_the_byte(void **state)
{
	static const struct step steps[] = {EXCHANGED, {.act = keep_and_shut}};
	struct step refused = {FROM_CLIENT(W, N, REQUEST), .then = KEPT, .out_seq = N,
			       .out_ack = 2 * W, .ack_up = true};
	uint8_t expected[SLUICE_REPLY_BUFFER];
	char text[SLUICE_REPLY_MAX + 1];
	struct sluice_reply sentence;
	struct sluice_reply_head head;
	struct sluice_reply_form form;

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		play_step(&shapes[0], &steps[i], HTTP_PORT);
	play_step(&shapes[0], &refused, HTTP_PORT);
	assert_int_equal(reply_text_head(&head, &(struct service_reply){0}, -1, false, NULL), 0);
	assert_int_equal(reply_text_build(&sentence, "llama", SLUICE_REASON_TTFT), 0);
	reply_text_form(&form, SLUICE_API_OPENAI, false, false, true);
	assert_int_equal(last.len, reply_make(expected, &head, &sentence, &form, 2500));
	assert_memory_equal(last.text, expected, last.len);
	snprintf(text, sizeof(text), "%.*s", (int)last.len, (const char *)last.text);
	assert_null(strcasestr(text, "\r\nConnection:"));
	assert_int_equal(last.window, 64240);
	assert_int_equal(w.refusal_count, 1);
}

/* A drain sends its clients elsewhere: its 503 closes, and states the rest of the drain. */
static void a_drain_refuses_by_a_503_that_closes(void **state)
{
	static const struct step refused = {FROM_CLIENT(W, N, REQUEST), .then = REFUSE,
					    .out_seq = N, .out_ack = 2 * W, .rst_seq = W};
	static const struct step exchanged[] = {EXCHANGED};
	struct sluice_model_flag flag = {.reason = SLUICE_REASON_OPERATOR, .unavailable = 1};
	uint8_t expected[SLUICE_REPLY_BUFFER];
	struct sluice_reply sentence;
	struct sluice_reply_head head;
	struct sluice_reply_form form;

	set_keep(true);
	for (unsigned i = 0; i < sizeof(exchanged) / sizeof(exchanged[0]); i++)
		play_step(&shapes[0], &exchanged[i], HTTP_PORT);
	flag.expires_ns = w.settings.clock_ns + 90 * 1000000000ULL;
	set_flag(SLUICE_MODEL_ALL, flag);
	play_step(&shapes[0], &refused, HTTP_PORT);
	assert_int_equal(reply_text_head(&head, &(struct service_reply){0}, -1, true, NULL), 0);
	assert_int_equal(reply_text_build(&sentence, NULL, SLUICE_REASON_OPERATOR), 0);
	reply_text_form(&form, SLUICE_API_OPENAI, true, false, false);
	assert_int_equal(last.len, reply_make(expected, &head, &sentence, &form, 90000));
	assert_memory_equal(last.text, expected, last.len);
	assert_memory_equal(last.text, "HTTP/1.1 503 Service Unavailable\r\n", 34);
	assert_int_equal(
		requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_OPERATOR), 1);
}

static void with_kept_full_a_refusal_closes_and_is_counted(void **state)
{
	static const struct step steps[] = {SHUT,
					    {FROM_CLIENT(W, N, REQUEST), .then = REFUSE,
					     .out_seq = N, .out_ack = 2 * W, .rst_seq = W}};
	struct sluice_conn_key key = {0};
	struct sluice_kept none = {0};

	for (uint32_t i = 0; i < SLUICE_KEPT_MAX; i++) {
		memcpy(key.client_addr, &i, sizeof(i));
		assert_int_equal(bpf_map_update_elem(fd_of(kept), &key, &none, BPF_ANY), 0);
	}
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		play_step(&shapes[0], &steps[i], HTTP_PORT);
	assert_int_equal(counter(SLUICE_COUNTER_KEEP_FULL), 1);
	assert_int_equal(counter(SLUICE_COUNTER_REFUSALS_KEPT), 0);
}

/* The time of a request begins with its first byte, also after a refusal at the same number of the
 * server's. */
static void a_request_after_a_refusal_has_its_own_time(void **state)
{
	const struct step steps[] = {
		KEPT_AND_READ, {FROM_CLIENT(2 * W, N + R, REQUEST), .len = 40, .ms = 60000, ONCE}};
	struct sluice_conn conn;

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		play_step(&shapes[0], &steps[i], HTTP_PORT);
	assert_true(get_conn(false, HTTP_PORT, &conn));
	assert_int_equal(conn.since_ns, w.settings.clock_ns);
}

/* A server in another network namespace, whose socket cannot be asked, and one in this. */
static void an_entry_goes_when_nothing_can_need_it(void **state)
{
	static const struct step once[] = {KEPT_ONCE};

	for (int local = 0; local < 2; local++) {
		struct sluice_kept k;

		reset_world();
		for (unsigned i = 0; i < sizeof(once) / sizeof(once[0]); i++)
			play_step(&shapes[0], &once[i], HTTP_PORT);
		if (local) {
			k = get_kept(false);
			k.flags |= SLUICE_KEPT_LOCAL;
			put_kept(false, k);
		}
		pass_ms(999);
		sweep_now(false);
		assert_int_equal(entries(fd_of(kept)), 1);
		pass_ms(1);
		sweep_now(false);
		assert_int_equal(entries(fd_of(kept)), !local);
		pass_ms(120000);
		sweep_now(false);
		assert_int_equal(entries(fd_of(kept)), !local);
		forget_conn(false);
		sweep_now(false);
		assert_int_equal(entries(fd_of(kept)), 0);
	}
}

/* Its server is in another network namespace, and conns had no room for it. */
static void an_evicted_connection_stays_kept_for_an_hour(void **state)
{
	const struct step kept[] = {KEPT_AND_READ};

	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		play_step(&shapes[0], &kept[i], HTTP_PORT);
	pass_ms(1);
	sweep_evicting(0, 1);
	assert_int_equal(entries(fd_of(conns)), 0);
	pass_ms(3599998);
	sweep_now(false);
	assert_int_equal(entries(fd_of(kept)), 1);
	pass_ms(1);
	sweep_now(false);
	assert_int_equal(entries(fd_of(kept)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kept_test(a_refusal_that_cannot_keep_its_connection_says_why),
		kept_test(a_kept_connection_is_as_any_other),
		kept_test(nothing_that_happens_to_sluice_stops_the_translation),
		kept_test(a_drain_refuses_by_a_503_that_closes),
		kept_test(a_second_hook_on_the_way_changes_nothing),
		kept_test(numbers_wrap_anywhere),
		kept_test(every_kind_of_packet_is_translated),
		kept_test(the_429_of_a_kept_connection_is_right_to_the_byte),
		kept_test(with_kept_full_a_refusal_closes_and_is_counted),
		kept_test(a_request_after_a_refusal_has_its_own_time),
		kept_test(an_entry_goes_when_nothing_can_need_it),
		kept_test(an_evicted_connection_stays_kept_for_an_hour),
	};

	return packets_main("keep", tests);
}
