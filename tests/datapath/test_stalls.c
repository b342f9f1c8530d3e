/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clients that do not read. A response whose client takes next to nothing for ten seconds holds no
 * slot; it is released once, whoever notices, and takes its slot again when the client reads. A
 * client with eight of them gets no further request admitted.
 */
#include "responses.h"

#define FILLED(upto)                                                                               \
	{                                                                                          \
		.flags = ACK, .seq = WHOLE, .ack = (upto), .zero_window = true                     \
	}
#define READ_AFTER(time, upto)                                                                     \
	{                                                                                          \
		.ms = (time), .flags = ACK, .seq = WHOLE, .ack = (upto)                            \
	}
#define STREAMING                                                                                  \
	REQUESTED,                                                                                 \
	{                                                                                          \
		SENT(0, STREAM_HEAD TOKEN)                                                         \
	}
#define SWEEP    .act = sweep_now
#define RELEASED .counters = {{SLUICE_COUNTER_STALLS_RELEASED, 1}}

static char bulk[2001];

/* invariants 6 and 8 */
static void a_response_that_nobody_reads_holds_no_slot(void **state)
{
	static const struct row rows[] = {
		{"ten seconds of a full window are not over the limit",
		 {STREAMING, FILLED(AT_SECOND), {.ms = 10000, SWEEP}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"more are, without any packet",
		 {STREAMING, FILLED(AT_SECOND), {.ms = 10001, SWEEP}},
		 .stalled = 1,
		 .conns = 1,
		 RELEASED,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"it is released once, whoever notices, and by its end",
		 {STREAMING,
		  FILLED(AT_SECOND),
		  {.ms = 10001, SWEEP},
		  {SWEEP},
		  {.server = true, .flags = ACK, .seq = AT_SECOND - 1, .ack = WHOLE},
		  {SENT(AT_SECOND, CLOSING)},
		  {SWEEP}},
		 .conns = 1,
		 RELEASED,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"a reset of the client releases the rest",
		 {STREAMING, FILLED(AT_SECOND), {.ms = 10001, SWEEP}, {.flags = RST, .seq = WHOLE}},
		 RELEASED,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"a client that opens its window now and then takes nothing",
		 {STREAMING,
		  FILLED(AT_SECOND),
		  READ_AFTER(5000, AT_SECOND),
		  {SENT(AT_SECOND, bulk), .len = 2000},
		  FILLED(AT_SECOND + 2000),
		  {.ms = 5001, SWEEP}},
		 .stalled = 1,
		 .conns = 1,
		 RELEASED,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"nor does one that opens it too little for the server",
		 {STREAMING,
		  FILLED(AT_SECOND),
		  {.ms = 5000, .flags = ACK, .seq = WHOLE, .ack = AT_SECOND, .window = 2000},
		  {.ms = 4000, .flags = ACK, .seq = WHOLE, .ack = AT_SECOND, .window = 2000},
		  {.ms = 1001, SWEEP}},
		 .stalled = 1,
		 .conns = 1,
		 RELEASED,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"nor one that opens it, and acknowledges late what comes",
		 {STREAMING,
		  FILLED(AT_SECOND),
		  READ_AFTER(3000, AT_SECOND),
		  {SENT(AT_SECOND, TOKEN)},
		  READ_AFTER(3500, AT_THIRD),
		  {SENT(AT_THIRD, TOKEN)},
		  READ_AFTER(3501, AT_FOURTH),
		  {SENT(AT_FOURTH, TOKEN)},
		  {SWEEP},
		  {.ms = 1500, .server = true, .seq = AT_FOURTH, .ack = WHOLE, .text = TOKEN}},
		 .stalled = 1,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_STALLS_RELEASED, 1},
			      {SLUICE_COUNTER_GAPS_CLIENT_LIMITED, 3}},
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"one that has read everything for a second is not behind",
		 {STREAMING,
		  FILLED(AT_SECOND),
		  READ_AFTER(9000, AT_SECOND),
		  READ_AFTER(1000, AT_SECOND),
		  {.ms = 20000, SWEEP}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"nor has one stalled that reads just in time",
		 {STREAMING,
		  FILLED(AT_SECOND),
		  READ_AFTER(10000, AT_SECOND),
		  {.ms = 500, SWEEP},
		  {.ms = 501, SWEEP}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"a small window before the response begins is no stall",
		 {REQUESTED, FILLED(0), {.ms = 30000, SWEEP}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"but it is one once the server knocks",
		 {REQUESTED,
		  FILLED(0),
		  {.ms = 9000, .server = true, .flags = ACK, .seq = -1, .ack = WHOLE},
		  FILLED(0),
		  {.ms = 10001, SWEEP}},
		 .stalled = 1,
		 .conns = 1,
		 RELEASED,
		 ADMITTED},
		{"a retransmission that is acknowledged is none",
		 {STREAMING,
		  {.ms = 300, SENT(0, STREAM_HEAD TOKEN)},
		  ACKED(AT_SECOND),
		  {.ms = 20000, SWEEP}},
		 .in_flight = 1,
		 .conns = 1,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"the next request on the connection begins anew",
		 {STREAMING,
		  FILLED(AT_SECOND),
		  {SENT(AT_SECOND, CLOSING)},
		  {.ms = 20000, FROM_CLIENT(WHOLE, AT_SECOND + N(CLOSING), REQUEST)},
		  {SWEEP}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}},
		 .samples = {TTFT(0)}},
	};

	memset(bulk, 'x', sizeof(bulk) - 1);
	memcpy(bulk, "7fff\r\n:", 7); /* a chunk that goes on */
	play_rows(rows);
}

static void a_client_that_reads_again_holds_its_slot_again(void **state)
{
	static const struct row rows[] = {
		{"when it has had everything for a second",
		 {STREAMING,
		  FILLED(AT_SECOND),
		  {.ms = 10001, SWEEP},
		  ACKED(AT_SECOND),
		  {.ms = 1000, SWEEP}},
		 .in_flight = 1,
		 .conns = 1,
		 RELEASED,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"and not before",
		 {STREAMING,
		  FILLED(AT_SECOND),
		  {.ms = 10001, SWEEP},
		  ACKED(AT_SECOND),
		  {.ms = 999, SWEEP}},
		 .stalled = 1,
		 .conns = 1,
		 RELEASED,
		 ADMITTED,
		 .samples = {TTFT(0)}},
		{"and the end releases it",
		 {STREAMING,
		  FILLED(AT_SECOND),
		  {.ms = 10001, SWEEP},
		  ACKED(AT_SECOND),
		  READ_AFTER(1000, AT_SECOND),
		  {SENT(AT_SECOND, CLOSING)}},
		 .conns = 1,
		 RELEASED,
		 ADMITTED,
		 .samples = {TTFT(0)}},
	};

	play_rows(rows);
}

/* A client has `n` stalled responses, of other connections. */
static void client_has_stalled(const struct sluice_client *client, int64_t n, int64_t in_all)
{
	struct sluice_model_state all = get_state(SLUICE_MODEL_ALL);

	all.stalled = in_all;
	put_state(SLUICE_MODEL_ALL, all);
	put_holding(client, SLUICE_POOL_STALLED, n);
}

/* This client does. */
static void have_stalled(bool ipv6, int64_t n, int64_t in_all)
{
	const struct sluice_client client = this_client(ipv6);

	client_has_stalled(&client, n, in_all);
}

static void eight_stalled(bool ipv6)
{
	have_stalled(ipv6, 8, 8);
}

static void seven_stalled(bool ipv6)
{
	have_stalled(ipv6, 7, 9);
}

static void none_stalled(bool ipv6)
{
	have_stalled(ipv6, 0, 0);
}

static void eight_stalled_and_exempt(bool ipv6)
{
	eight_stalled(ipv6);
	set_prefix(ipv6, 128, (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT});
}

static void in_shadow(bool ipv6)
{
	struct sluice_service service = http_service();

	service.mode = SLUICE_MODE_SHADOW;
	set_both(HTTP_PORT, service);
}

static void eight_stalled_in_shadow(bool ipv6)
{
	eight_stalled(ipv6);
	in_shadow(ipv6);
}

static void eight_stalled_without_lease(bool ipv6)
{
	eight_stalled(ipv6);
	w.settings.lease_until_ns = w.settings.clock_ns;
	write_settings();
}

static void eight_stalled_and_allowed(bool ipv6)
{
	eight_stalled(ipv6);
	set_client_flag(ipv6, SLUICE_MODEL_ALL, (struct sluice_client_flag){.allow = 1});
}

static void eight_stalled_and_allowed_this_model(bool ipv6)
{
	eight_stalled(ipv6);
	set_client_flag(ipv6, LLAMA, (struct sluice_client_flag){.allow = 1});
}

static void eight_stalled_and_allowed_another_model(bool ipv6)
{
	eight_stalled(ipv6);
	set_client_flag(ipv6, QWEN, (struct sluice_client_flag){.allow = 1});
}

/* The peer is a trusted proxy, whose header names the client of a request. */
static void behind_a_proxy(bool ipv6)
{
	struct sluice_service service = http_service();
	struct sluice_rules r = {.forwarded = "x-forwarded-for"};

	service.forwarded = 1;
	set_both(HTTP_PORT, service);
	put_rules(r);
	clear_map(fd_of(trusted_proxies));
	trust_peer(ipv6, HTTP_ID);
}

static void eight_stalled_of_the_proxy(bool ipv6)
{
	behind_a_proxy(ipv6);
	eight_stalled(ipv6);
}

static void forwarded_has_stalled(int64_t n)
{
	static const struct sluice_client client = {.plen = 128,
						    .addr = {[10] = 0xff, 0xff, 203, 0, 113, 9}};

	client_has_stalled(&client, n, n);
}

static void eight_stalled_of_the_forwarded(bool ipv6)
{
	behind_a_proxy(ipv6);
	forwarded_has_stalled(8);
}

static void none_stalled_of_the_forwarded(bool ipv6)
{
	forwarded_has_stalled(0);
}

#define FORWARDED                                                                                  \
	"POST / HTTP/1.1\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Length: 31\r\n\r\n" BODY
#define REFUSED_ONCE(rejected) .requests = {{LLAMA, (rejected), SLUICE_REASON_STALLED_RESPONSES, 1}}

static void a_client_with_eight_stalled_responses_is_refused(void **state)
{
	static const struct row rows[] = {
		{"with seven it is not",
		 {HANDSHAKE,
		  {.act = seven_stalled},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = none_stalled}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"with eight it is",
		 {HANDSHAKE,
		  {.act = eight_stalled},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE},
		  {.act = none_stalled}},
		 .tombstones = 1,
		 REFUSED_ONCE(SLUICE_VERDICT_REJECTED)},
		{"until one has ended",
		 {HANDSHAKE,
		  {.act = eight_stalled},
		  {.act = seven_stalled},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = none_stalled}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"an exempt client is not",
		 {HANDSHAKE,
		  {.act = eight_stalled_and_exempt},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = none_stalled}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"in shadow mode it is counted, and passes without a slot",
		 {HANDSHAKE,
		  {.act = eight_stalled_in_shadow},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = none_stalled}},
		 .conns = 1,
		 REFUSED_ONCE(SLUICE_VERDICT_SHADOW_REJECTED)},
		{"without a lease it passes",
		 {HANDSHAKE,
		  {.act = eight_stalled_without_lease},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = none_stalled}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}}},
		{"an allowed client is not",
		 {HANDSHAKE,
		  {.act = eight_stalled_and_allowed},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = none_stalled}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"nor one that is allowed for this model",
		 {HANDSHAKE,
		  {.act = eight_stalled_and_allowed_this_model},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = none_stalled}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"one that is allowed for another model is",
		 {HANDSHAKE,
		  {.act = eight_stalled_and_allowed_another_model},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE},
		  {.act = none_stalled}},
		 .tombstones = 1,
		 REFUSED_ONCE(SLUICE_VERDICT_REJECTED)},
		{"a trusted proxy is no client",
		 {{.act = eight_stalled_of_the_proxy},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, FORWARDED)},
		  {.act = none_stalled}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"but for what it requests itself",
		 {{.act = eight_stalled_of_the_proxy},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE},
		  {.act = none_stalled}},
		 .tombstones = 1,
		 REFUSED_ONCE(SLUICE_VERDICT_REJECTED)},
		{"a client that a trusted proxy names is one",
		 {{.act = eight_stalled_of_the_forwarded},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, FORWARDED), .then = REFUSE, .out_ack = N(FORWARDED)},
		  {.act = none_stalled_of_the_forwarded}},
		 .tombstones = 1,
		 REFUSED_ONCE(SLUICE_VERDICT_REJECTED)},
	};

	play_rows(rows);
}

/* It took no slot. It ends as one in flight that shadow mode counts. */
static void in_shadow_mode_a_refused_response_that_stalls_is_no_longer_in_flight(void **state)
{
	static const struct step until[] = {STREAMING, FILLED(AT_SECOND), {.ms = 10000, SWEEP}};
	static const struct step after = {.ms = 1, SWEEP};

	for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		reset_world();
		in_shadow(shapes[i].ipv6);
		set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT});
		for (unsigned k = 0; k < sizeof(until) / sizeof(until[0]); k++)
			play_step(&shapes[i], &until[k], HTTP_PORT);
		assert_int_equal(get_state(LLAMA).shadow_in_flight, 1);
		play_step(&shapes[i], &after, HTTP_PORT);
		assert_int_equal(get_state(LLAMA).shadow_in_flight, 0);
		assert_int_equal(get_state(LLAMA).stalled, 0);
		assert_int_equal(counter(SLUICE_COUNTER_STALLS_RELEASED), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_response_that_nobody_reads_holds_no_slot),
		packets_test(a_client_that_reads_again_holds_its_slot_again),
		packets_test(a_client_with_eight_stalled_responses_is_refused),
		packets_test(in_shadow_mode_a_refused_response_that_stalls_is_no_longer_in_flight),
	};

	return packets_main("test_stalls", tests);
}
