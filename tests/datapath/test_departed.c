/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clients that hang up. A request whose client resets its connection holds its slot for the time
 * that requests usually take, since its server may go on; where the server stops at once, the slot
 * is free at once. A client that hangs up again and again holds half of a limit at most.
 */
#include "responses.h"

#define HANG_UP                                                                                    \
	{                                                                                          \
		.flags = RST, .seq = WHOLE                                                         \
	}
#define SWEEP_AT(time)                                                                             \
	{                                                                                          \
		.ms = (time), .act = sweep_now                                                     \
	}
#define PLAIN   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define HELD_ON .counters = {{SLUICE_COUNTER_DEPARTED, 1}}

static void set_usual(uint64_t ns)
{
	struct sluice_model_state all = get_state(SLUICE_MODEL_ALL);

	all.usual_ns = ns;
	put_state(SLUICE_MODEL_ALL, all);
}

static void takes_two_seconds(bool ipv6)
{
	set_usual(2000000000);
}

static void is_not_known(bool ipv6)
{
	set_usual(0);
}

static void is_not_known_and_slots_are_limited(bool ipv6)
{
	set_usual(0);
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .limit = 8});
}

static void stops_at_once(bool ipv6)
{
	struct sluice_service service = http_service();

	takes_two_seconds(ipv6);
	service.frees = 1;
	set_both(HTTP_PORT, service);
}

static void nothing_waits(bool ipv6)
{
	struct sluice_model_state all = get_state(SLUICE_MODEL_ALL);

	assert_int_equal(all.waiting, 0);
	assert_int_equal(all.waiting_bytes, 0);
	assert_int_equal(all.departed, 1);
	assert_int_equal(client_holds(SLUICE_POOL_DEPARTED), 1);
}

/* invariant 8 */
static void a_request_holds_its_slot_after_its_client(void **state)
{
	static const struct row rows[] = {
		{"for the usual time",
		 {{.act = takes_two_seconds},
		  REQUESTED,
		  HANG_UP,
		  SWEEP_AT(1999),
		  {.act = nothing_waits}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 HELD_ON,
		 ADMITTED},
		{"and no longer",
		 {{.act = takes_two_seconds}, REQUESTED, HANG_UP, SWEEP_AT(2000)},
		 HELD_ON,
		 ADMITTED},
		{"which began with the request",
		 {{.act = takes_two_seconds},
		  REQUESTED,
		  {.ms = 1000, SENT(0, STREAM_HEAD TOKEN)},
		  HANG_UP,
		  SWEEP_AT(1000)},
		 HELD_ON,
		 ADMITTED,
		 .samples = {TTFT(1000)}},
		{"one that has taken long goes on for a while",
		 {{.act = takes_two_seconds},
		  REQUESTED,
		  {.ms = 9000, SENT(0, STREAM_HEAD TOKEN)},
		  HANG_UP,
		  SWEEP_AT(499)},
		 .in_flight = 1,
		 .conns = 1,
		 HELD_ON,
		 ADMITTED,
		 .samples = {TTFT(9000)}},
		{"nothing is held where the time is not known",
		 {{.act = is_not_known}, REQUESTED, HANG_UP},
		 ADMITTED},
		{"… but for ten seconds where slots are limited",
		 {{.act = is_not_known_and_slots_are_limited}, REQUESTED, HANG_UP, SWEEP_AT(9999)},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 HELD_ON,
		 ADMITTED},
		{"… and no longer",
		 {{.act = is_not_known_and_slots_are_limited}, REQUESTED, HANG_UP, SWEEP_AT(10000)},
		 HELD_ON,
		 ADMITTED},
		{"nor after the response's end",
		 {{.act = takes_two_seconds}, REQUESTED, {SENT(0, PLAIN)}, HANG_UP},
		 ADMITTED},
		{"the time is what responses took",
		 {{.act = is_not_known},
		  REQUESTED,
		  {.ms = 3000, SENT(0, PLAIN)},
		  {FROM_CLIENT(WHOLE, N(PLAIN), REQUEST)},
		  {.flags = RST, .seq = 2 * WHOLE},
		  SWEEP_AT(2999)},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 HELD_ON,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"nothing is held where the server stops at once",
		 {{.act = stops_at_once}, REQUESTED, HANG_UP},
		 ADMITTED},
	};

	play_rows(rows);
}

/* The client has hung up on `n` requests. */
static void have_departed(bool ipv6, int64_t n)
{
	const struct sluice_client client = this_client(ipv6);
	struct sluice_model_state all = get_state(SLUICE_MODEL_ALL);

	all.departed = n ? 9 : 0;
	all.usual_ns = 2000000000;
	put_state(SLUICE_MODEL_ALL, all);
	put_holding(&client, SLUICE_POOL_DEPARTED, n);
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .limit = 8, .limit_retry_ms = 700});
}

static void half_departed(bool ipv6)
{
	have_departed(ipv6, 4);
}

static void fewer_departed(bool ipv6)
{
	have_departed(ipv6, 3);
}

static void none_departed(bool ipv6)
{
	have_departed(ipv6, 0);
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1});
}

static void half_departed_without_a_limit(bool ipv6)
{
	half_departed(ipv6);
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1});
}

static void a_client_that_hangs_up_again_and_again_is_refused(void **state)
{
	static const struct row rows[] = {
		{"with half of the limit held",
		 {HANDSHAKE,
		  {.act = half_departed},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE},
		  {.act = none_departed}},
		 .tombstones = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_CLIENT_SHARE, 1}}},
		{"with less it is not",
		 {HANDSHAKE,
		  {.act = fewer_departed},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = none_departed}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
		{"nor where nothing is limited",
		 {HANDSHAKE,
		  {.act = half_departed_without_a_limit},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = none_departed}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 ADMITTED},
	};

	play_rows(rows);
}

/* … and so does not free the slots of what it hangs up on. */
static void short_requests_hardly_lower_the_usual_time(void **state)
{
	static const struct {
		uint64_t usual, took, low, high; /* ms */
	} rows[] = {
		{2000, 10, 1900, 2000}, /* a hundred take a second of two slots */
		{2000, 2000, 2000, 2000}, {2000, 4000, 3990, 4000}, {0, 50, 50, 50},
		{10, 4000, 3500, 4000}, /* honest requests raise a mean that was lowered */
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct step shake[] = {HANDSHAKE};

		reset_world();
		set_usual(rows[i].usual * MS);
		for (int k = 0; k < 3; k++)
			play_step(&shapes[0], &shake[k], HTTP_PORT);
		for (int k = 0; k < 100; k++) {
			const struct step ask = {FROM_CLIENT(k * WHOLE, k * N(PLAIN), REQUEST)};
			const struct step answer = {
				.ms = (int64_t)rows[i].took,
				FROM_SERVER(k * N(PLAIN), (k + 1) * WHOLE, PLAIN)};

			play_step(&shapes[0], &ask, HTTP_PORT);
			play_step(&shapes[0], &answer, HTTP_PORT);
		}
		assert_in_range(get_state(SLUICE_MODEL_ALL).usual_ns, rows[i].low * MS - 1,
				rows[i].high * MS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_request_holds_its_slot_after_its_client),
		packets_test(short_requests_hardly_lower_the_usual_time),
		packets_test(a_client_that_hangs_up_again_and_again_is_refused),
	};

	return packets_main("test_departed", tests);
}
