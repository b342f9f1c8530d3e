/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The segments of a kept connection: while its 429 is pending, and to its last one. The client gets
 * the same 429 until it has it, and the numbers of each packet are its receiver's, to the byte.
 */
#include "keep_rows.h"

/* Until the client has acknowledged the 429. */
static void a_pending_429_comes_again_until_the_client_has_it(void **state)
{
	const struct row rows[] = {
		{"the request is repeated once",
		 {KEPT_ONCE, {FROM_CLIENT(W, N, REQUEST), AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"the 429 is lost five times",
		 {KEPT_ONCE,
		  {FROM_CLIENT(W, N, REQUEST), .ms = 200, AGAIN},
		  {FROM_CLIENT(W, N, REQUEST), .ms = 400, AGAIN},
		  {FROM_CLIENT(W, N, REQUEST), .ms = 800, AGAIN},
		  {FROM_CLIENT(W, N, REQUEST), .ms = 1600, AGAIN},
		  {FROM_CLIENT(W, N, REQUEST), .ms = 3200, AGAIN},
		  {.flags = ACK, .seq = 2 * W, .ack = N + R, ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"also when the model is open again, and without a lease",
		 {KEPT_ONCE,
		  {.act = open_all},
		  {.act = end_lease},
		  {FROM_CLIENT(W, N, REQUEST), AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a part of the request is repeated",
		 {KEPT_ONCE, {FROM_CLIENT(W + 40, N, REQUEST + 40), AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"bytes before it come again with it",
		 {KEPT_ONCE, {FROM_CLIENT(W - 3, N, "xyz" REQUEST), AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"old bytes come again: the client gets the 429, and knows that it needs no more",
		 {KEPT_ONCE, {FROM_CLIENT(0, N, REQUEST), AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"the client sends more before it has read the 429",
		 {KEPT_ONCE, {FROM_CLIENT(2 * W, N, REQUEST), AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"it acknowledges a part, and has space for more",
		 {KEPT_ONCE, {.flags = ACK, .seq = 2 * W, .ack = N + 10, AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"all but one byte",
		 {KEPT_ONCE, {.flags = ACK, .seq = 2 * W, .ack = N + R - 1, AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"it acknowledges a part, and has no space: an answer would be answered for ever",
		 {KEPT_ONCE,
		  {.flags = ACK, .seq = 2 * W, .ack = N + 10, .zero_window = true, .then = DROP},
		  {FROM_CLIENT(2 * W, N + 10, "more"), .zero_window = true, AGAIN},
		  {.flags = ACK, .seq = 2 * W, .ack = N + 10, .window = 600, AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a FIN without the acknowledgement gets the 429, with it it passes",
		 {KEPT_ONCE,
		  {.flags = FIN | ACK, .seq = 2 * W, .ack = N, AGAIN},
		  {.flags = FIN | ACK, .seq = 2 * W, .ack = N + R, ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"the next request brings the acknowledgement",
		 {KEPT_ONCE, {.act = open_all}, {FROM_CLIENT(2 * W, N + R, REQUEST), ONCE}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .kept = 1,
		 .requests = {ADMITTED(2), REJECTED(1)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}}},
		{"the parts of the 429 have changed: nothing else is sent in its place",
		 {KEPT_ONCE,
		  {.act = rename_model},
		  {FROM_CLIENT(W, N, REQUEST), .then = DROP},
		  {.act = name_model_again},
		  {FROM_CLIENT(W, N, REQUEST), AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
	};

	play_rows(rows);
}

/* What lies before the refusal has the numbers from before, what comes after it the new ones. */
static void while_the_429_is_pending_all_else_is_translated(void **state)
{
	const struct row rows[] = {
		{"an acknowledgement of the client that does not have it leaves out the request",
		 {KEPT_ONCE, {.flags = ACK, .seq = 2 * W, .ack = N, .dc = W, .sack = R}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a window update",
		 {KEPT_ONCE,
		  {.flags = ACK, .seq = 2 * W, .ack = N, .window = 9, .dc = W, .sack = R},
		  {.flags = ACK, .seq = 2 * W, .ack = N, .zero_window = true, .dc = W, .sack = R}},
		 KEEPS_ITS_CONNECTION(1)},
		{"segments without data that were sent before the request",
		 {KEPT_ONCE,
		  {.flags = ACK, .seq = W, .ack = N, .sack = R},
		  {.flags = ACK, .seq = W, .ack = 0, .sack = R},
		  {.flags = ACK, .seq = W - 1, .ack = N, .sack = R}},
		 KEEPS_ITS_CONNECTION(1)},
		{"the server's acknowledgements do not take the request",
		 {KEPT_ONCE,
		  {.server = true, .flags = ACK, .seq = N, .ack = W, .ds = R, .sack = W},
		  {FROM_CLIENT(W, N, REQUEST), AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"the server's old bytes come again",
		 {KEPT_ONCE,
		  {FROM_SERVER(0, W, OK_SHORT), .sack = W},
		  {FROM_SERVER(4, W, OK_SHORT + 4), .sack = W},
		  {.server = true, .flags = ACK, .seq = 0, .ack = W, .sack = W}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a keep-alive probe of the server, and its answer",
		 {KEPT_ONCE,
		  {.server = true, .flags = ACK, .seq = N - 1, .ack = W, .sack = W},
		  {.flags = ACK, .seq = 2 * W, .ack = N, .dc = W, .sack = R},
		  {FROM_SERVER(N - 1, W, "x"), .sack = W}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a window update and a shut window of the server",
		 {KEPT_ONCE,
		  {.server = true,
		   .flags = ACK,
		   .seq = N,
		   .ack = W,
		   .zero_window = true,
		   .ds = R,
		   .sack = W},
		  {.server = true,
		   .flags = ACK,
		   .seq = N,
		   .ack = W,
		   .window = 5,
		   .ds = R,
		   .sack = W}},
		 KEEPS_ITS_CONNECTION(1)},
		{"the server's FIN comes after the 429",
		 {KEPT_ONCE,
		  {.server = true, .flags = FIN | ACK, .seq = N, .ack = W, .ds = R, .sack = W},
		  {FROM_CLIENT(W, N, REQUEST), AGAIN},
		  {.flags = ACK, .seq = 2 * W, .ack = N + R + 1, ONCE},
		  {.flags = FIN | ACK, .seq = 2 * W, .ack = N + R + 1, ONCE},
		  {.server = true, .flags = ACK, .seq = N + 1, .ack = W + 1, ONCE}},
		 ENDED_AFTER(1)},
		{"bytes that the server sends unasked come after the 429",
		 {KEPT_ONCE,
		  {FROM_SERVER(N, W, OK_SHORT), .ds = R, .sack = W},
		  {.flags = ACK, .seq = 2 * W, .ack = N + R, ONCE},
		  {FROM_SERVER(N, W, OK_SHORT), ONCE},
		  {.flags = ACK, .seq = 2 * W, .ack = 2 * N + R, ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"bytes from before and after it do not leave in one piece",
		 {KEPT_ONCE,
		  {FROM_SERVER(1, W, OK_SHORT), .then = DROP},
		  {.flags = ACK, .seq = 2 * W, .ack = N + R, ONCE},
		  {FROM_SERVER(1, W, OK_SHORT), ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a RST that answers a segment from before",
		 {KEPT_ONCE, {.flags = RST, .seq = W, .sack = R}},
		 ENDED_AFTER(1)},
		{"a RST that answers the 429",
		 {KEPT_ONCE, {.flags = RST, .seq = 2 * W, .dc = W, .sack = R}},
		 ENDED_AFTER(1)},
		{"a RST that is not believed",
		 {KEPT_ONCE,
		  {.flags = RST, .seq = 2 * W + 1, .dc = W, .sack = R},
		  {.flags = RST, .seq = W - 1, .sack = R},
		  {FROM_CLIENT(W, N, REQUEST), AGAIN}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a RST of the server comes after the 429",
		 {KEPT_ONCE,
		  {.server = true, .flags = RST | ACK, .seq = N, .ack = W, .ds = R, .sack = W},
		  {FROM_CLIENT(W, N, REQUEST), AGAIN},
		  {.flags = ACK, .seq = 2 * W, .ack = N + R, ONCE},
		  {.server = true, .flags = RST, .seq = N, .ds = R, .sack = W}},
		 ENDED_AFTER(1)},
	};

	play_rows(rows);
}

static void a_kept_connection_is_translated_to_its_last_packet(void **state)
{
	const struct row rows[] = {
		{"the client closes first, and both ends repeat their FINs",
		 {KEPT_AND_READ,
		  {.flags = FIN | ACK, .seq = 2 * W, .ack = N + R, ONCE},
		  {.server = true, .flags = ACK, .seq = N, .ack = W + 1, ONCE},
		  {.server = true, .flags = FIN | ACK, .seq = N, .ack = W + 1, ONCE},
		  {.flags = FIN | ACK, .seq = 2 * W, .ack = N + R, ONCE},
		  {.server = true, .flags = FIN | ACK, .seq = N, .ack = W + 1, ONCE},
		  {.flags = ACK, .seq = 2 * W + 1, .ack = N + R + 1, ONCE},
		  {.server = true, .flags = ACK, .seq = N + 1, .ack = W + 1, ONCE}},
		 ENDED_AFTER(1)},
		{"the server closes first",
		 {KEPT_AND_READ,
		  {.server = true, .flags = FIN | ACK, .seq = N, .ack = W, ONCE},
		  {.flags = ACK, .seq = 2 * W, .ack = N + R + 1, ONCE},
		  {.flags = FIN | ACK, .seq = 2 * W, .ack = N + R + 1, ONCE},
		  {.server = true, .flags = ACK, .seq = N + 1, .ack = W + 1, ONCE}},
		 ENDED_AFTER(1)},
		{"a RST of the client is believed",
		 {KEPT_AND_READ, {.flags = RST, .seq = 2 * W, .dc = W, .sack = R}},
		 ENDED_AFTER(1)},
		{"a RST of the client is not",
		 {KEPT_AND_READ,
		  {.flags = RST | ACK, .seq = 2 * W + 1, .ack = N + R, ONCE},
		  {.flags = RST, .seq = W, .dc = W, .sack = R}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a RST of the server",
		 {KEPT_AND_READ,
		  {.server = true, .flags = RST, .seq = N, .ds = R, .sack = W},
		  {.flags = ACK, .seq = 2 * W, .ack = N + R, ONCE},
		  {.server = true, .flags = RST | ACK, .seq = N, .ack = W, ONCE}},
		 ENDED_AFTER(1)},
		{"a new connection of the same ports has its own numbers",
		 {KEPT_AND_READ,
		  {.act = open_all},
		  {.flags = SYN, .seq = 5000},
		  {.server = true, .flags = SYN | ACK, .seq = 9000, .ack = 5001},
		  {.flags = ACK, .seq = 5001, .ack = 9001},
		  {FROM_CLIENT(5001, 9001, REQUEST)},
		  {FROM_SERVER(9001, 5001 + W, OK_SHORT)}},
		 .conns = 1,
		 .requests = {ADMITTED(2), REJECTED(1)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}}},
		{"a SYN that the server does not accept ends nothing",
		 {KEPT_AND_READ,
		  {.flags = SYN, .seq = 5000},
		  {.server = true, .flags = ACK, .seq = N, .ack = W, ONCE},
		  {.flags = ACK, .seq = 2 * W, .ack = N + R, ONCE}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a SYN-ACK that comes again ends nothing",
		 {HANDSHAKE,
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {.flags = ACK},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, W, OK_SHORT)},
		  {.act = keep_and_shut},
		  {FROM_CLIENT(W, N, REQUEST), .then = KEPT, .out_seq = N, .out_ack = 2 * W,
		   .ack_up = true}},
		 KEEPS_ITS_CONNECTION(1)},
		{"a refusal that closes it has the right numbers at both ends",
		 {KEPT_AND_READ,
		  {.act = keep_no_more},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), .then = REFUSE, .out_seq = N + R,
		   .out_ack = 3 * W, .rst_seq = W, ONCE},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), .then = REPEATED, .out_seq = N + R,
		   .out_ack = 3 * W, ONCE},
		  {FROM_SERVER(N, W, OK_SHORT), .then = UP_RST, .out_seq = W, ONCE},
		  {.flags = ACK, .seq = 3 * W, .ack = N + R + CLOSING_LEN + 1, .then = DROP},
		  {.flags = FIN | ACK,
		   .seq = 3 * W,
		   .ack = N + R + CLOSING_LEN + 1,
		   .then = ANSWER,
		   .out_seq = N + R + CLOSING_LEN + 1,
		   .out_ack = 3 * W + 1,
		   ONCE},
		  {.flags = RST, .seq = 3 * W + 1, .dc = W, .sack = R}},
		 .kept = 1,
		 .requests = {ADMITTED(1), REJECTED(2)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}, {SLUICE_COUNTER_SWALLOWED, 1}}},
		{"so has one that is split over two segments",
		 {KEPT_AND_READ,
		  {FROM_CLIENT(2 * W, N + R, REQUEST), .len = 40, ONCE},
		  {.server = true, .flags = ACK, .seq = N, .ack = W + 40, ONCE},
		  {FROM_CLIENT(2 * W + 40, N + R, REQUEST + 40), .then = REFUSE, .out_seq = N + R,
		   .out_ack = 3 * W, .rst_seq = W + 40, ONCE}},
		 .tombstones = 1,
		 .kept = 1,
		 .requests = {ADMITTED(1), REJECTED(2)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}, {SLUICE_COUNTER_KEEP_SPLIT, 1}}},
		{"and a reset",
		 {KEPT_AND_READ,
		  {.act = shut_by_reset},
		  {FROM_CLIENT(2 * W, N + R, REQUEST), .then = RESET, .out_seq = N + R,
		   .rst_seq = W, ONCE}},
		 .kept = 1,
		 .requests = {ADMITTED(1), REJECTED(2)},
		 .counters = {{SLUICE_COUNTER_REFUSALS_KEPT, 1}}},
	};

	play_rows(rows);
}

static rows_fn *const rows_of[] = {
	a_pending_429_comes_again_until_the_client_has_it,
	while_the_429_is_pending_all_else_is_translated,
	a_kept_connection_is_translated_to_its_last_packet,
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

/* As after millions of refusals: both differences are just below 2^32. */
static void count_far(bool ipv6)
{
	struct sluice_kept k = get_kept(ipv6);

	k.more = kept_more(0u - 100, 0u - 200);
	put_kept(ipv6, k);
}

#define FAR   .dc = -100, .ds = -200
#define FAR_2 .dc = W - 100, .ds = R - 200

static void the_differences_wrap(void **state)
{
	const struct row rows[] = {
		{"a refusal takes them over 2^32",
		 {KEPT_AND_READ,
		  {.act = count_far},
		  {.flags = ACK, .seq = W - 100, .ack = N - 200, FAR},
		  {.server = true, .flags = ACK, .seq = N, .ack = W, FAR},
		  {FROM_CLIENT(W - 100, N - 200, REQUEST), .then = KEPT, .out_seq = N - 200,
		   .out_ack = 2 * W - 100, FAR},
		  {FROM_CLIENT(W - 100, N - 200, REQUEST), .then = KEPT, .out_seq = N - 200,
		   .out_ack = 2 * W - 100},
		  {.server = true,
		   .flags = ACK,
		   .seq = N,
		   .ack = W,
		   .dc = -100,
		   .ds = R - 200,
		   .sack = W - 100},
		  {.flags = ACK, .seq = 2 * W - 100, .ack = N + R - 200, FAR_2},
		  {.server = true, .flags = ACK, .seq = N, .ack = W, FAR_2}},
		 KEEPS_ITS_CONNECTION(2)},
	};

	play_rows(rows);
}

/* A forged RST for one end: where it is, and after the hook that it passes. */
static void assert_rst(const struct shape *shape, struct frame *f, bool to_client, uint32_t at,
		       uint32_t after_hook)
{
	static struct frame after;
	struct seen seen;

	read_forged(f, shape, to_client, HTTP_PORT, &seen);
	assert_int_equal(seen.from_server, to_client);
	assert_int_equal(seen.flags, RST);
	assert_int_equal(seen.len, 0);
	assert_int_equal(seen.seq, at);
	assert_int_equal(run_hooks(shape, to_client, false, f, &after), THEN_UNSPEC);
	read_forged(&after, shape, to_client, HTTP_PORT, &seen);
	assert_int_equal(seen.seq, after_hook);
}

/* `detach` has waited for the connection long enough. The client has 429s of R bytes more than the
 * server, and has sent W bytes more than it. */
static void a_kept_connection_ends_at_its_next_packet(void **state)
{
	for (unsigned i = 0; i < 2 * sizeof(shapes) / sizeof(shapes[0]); i++) {
		const struct step steps[] = {KEPT_AND_READ};
		const struct step next[] = {{FROM_CLIENT(2 * W, N + R, REQUEST)},
					    {FROM_SERVER(N, W, OK_SHORT)}};
		bool server = i & 1;
		struct shape shape = shapes[i / 2];
		struct segment segment = segment_of(&next[server], HTTP_PORT);
		uint32_t client_at = server_isn + 1 + N + R, server_at = client_isn + 1 + W;
		static struct frame in, out, copy;

		reset_world();
		for (unsigned k = 0; k < sizeof(steps) / sizeof(steps[0]); k++)
			play_step(&shape, &steps[k], HTTP_PORT);
		w.settings.stopping = SLUICE_STOPPING_KEPT;
		write_settings();
		make_frame(&in, &shape, &segment);
		assert_int_equal(run_hooks(&shape, server, false, &in, &out),
				 server ? THEN_UNSPEC : THEN_REDIRECT);
		assert_true(get_kept(shape.ipv6).flags & SLUICE_KEPT_ENDED);
		assert_true(catch_clone(&copy, 20000));
		shape.partial = false;
		assert_rst(&shape, &copy, false, server_at + W, server_at);
		if (server) { /* it has passed its hook */
			struct seen seen;

			read_forged(&out, &shape, true, HTTP_PORT, &seen);
			assert_int_equal(seen.flags, RST);
			assert_int_equal(seen.seq, client_at);
		} else {
			assert_rst(&shape, &out, true, client_at, client_at);
		}
		assert_false(catch_clone(&copy, 0));
	}
}

/* … and the connection is silent: the server has to answer a probe that is right to the number. */
static void a_silent_kept_connection_is_probed(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		const struct shape shape = {.ipv6 = ipv6, LINK_ETHERNET, OPTIONS_TS, false};
		const struct step steps[] = {KEPT_AND_READ};
		struct segment segment = segment_of(&steps[0], HTTP_PORT);
		struct sluice_conn_key key = this_key(ipv6, HTTP_PORT);
		static struct frame in, out, probe;
		struct seen seen;

		reset_world();
		for (unsigned k = 0; k < sizeof(steps) / sizeof(steps[0]); k++)
			play_step(&shape, &steps[k], HTTP_PORT);
		make_frame(&in, &shape, &segment);
		in.len = ETH_HLEN + (ipv6 ? 40 : 20) + 20;
		memcpy(in.data + ETH_HLEN, &key, sizeof(key));
		assert_int_equal(run_tc(w.skel->progs.probe, &in, &out), TC_ACT_OK);
		assert_true(catch_clone(&probe, 20000));
		segment = segment_of(&steps[sizeof(steps) / sizeof(steps[0]) - 1], HTTP_PORT);
		make_frame(&in, &shape, &segment);
		assert_memory_equal(probe.data, in.data, ETH_HLEN);
		read_forged(&probe, &shape, false, HTTP_PORT, &seen);
		assert_false(seen.from_server);
		assert_int_equal(seen.flags, ACK);
		assert_int_equal(seen.len, 0);
		assert_int_equal(client_offset(seen.seq), 2 * W - 1);
		assert_int_equal(server_offset(seen.ack), N + R);
		key.client_port ^= 1; /* another connection is none that was kept */
		memcpy(in.data + ETH_HLEN, &key, sizeof(key));
		assert_int_equal(run_tc(w.skel->progs.probe, &in, &out), TC_ACT_SHOT);
		assert_false(catch_clone(&probe, 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kept_test(a_pending_429_comes_again_until_the_client_has_it),
		kept_test(while_the_429_is_pending_all_else_is_translated),
		kept_test(a_kept_connection_is_translated_to_its_last_packet),
		kept_test(a_second_hook_on_the_way_changes_nothing),
		kept_test(numbers_wrap_anywhere),
		kept_test(the_differences_wrap),
		kept_test(a_kept_connection_ends_at_its_next_packet),
		kept_test(a_silent_kept_connection_is_probed),
	};

	return packets_main("keep_segments", tests);
}
