/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Many connections: how they are counted by client, who gets no further one, and which ones give
 * way while conns is nearly full.
 */
#include <sluice/http1_request.h>

#include "responses.h"

static void evict_idle(bool ipv6)
{
	sweep_evicting(1000 * MS, 1);
}

static void evict_one(bool ipv6)
{
	sweep_evicting(0, 1);
}

static void play_steps(const struct step *steps, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		play_step(&shapes[0], &steps[i], HTTP_PORT);
}

#define PLAY(...)                                                                                  \
	do {                                                                                       \
		static const struct step steps_[] = {__VA_ARGS__};                                 \
		play_steps(steps_, sizeof(steps_) / sizeof(steps_[0]));                            \
	} while (0)

/* What becomes of the client's SYN. */
static int send_syn(void)
{
	struct segment syn = {
		.flags = SYN, .seq = CLIENT_ISN, .window = 64240, .server_port = HTTP_PORT};
	static struct frame in, out;

	make_frame(&in, &shapes[0], &syn);
	return run_tc(program_for(&shapes[0], false), &in, &out);
}

static uint32_t bucket_now(void)
{
	struct sluice_conn conn;

	assert_true(get_conn(false, HTTP_PORT, &conn));
	return conn.bucket;
}

/* invariant 8 */
static void a_connection_counts_from_its_proof_to_its_end(void **state)
{
	uint32_t bucket;

	PLAY(HANDSHAKE);
	bucket = bucket_now();
	assert_true(bucket);
	assert_int_equal(w.conn_counts[bucket], 1);
	assert_int_equal(w.conn_counts[SLUICE_CONNS_ALL], 1);
	PLAY({.flags = RST, .seq = 0});
	assert_int_equal(w.conn_counts[bucket], 0);
	assert_int_equal(w.conn_counts[SLUICE_CONNS_ALL], 0);
}

static void a_client_with_its_part_gets_no_further_connection(void **state)
{
	uint32_t bucket;

	PLAY(HANDSHAKE);
	bucket = bucket_now();
	PLAY({.flags = RST, .seq = 0});
	w.conn_counts[bucket] = SLUICE_CONNS_CLIENT_MAX(SLUICE_CONNS_MAX);
	w.conn_counts[SLUICE_CONNS_ALL] = SLUICE_CONNS_CROWDED(SLUICE_CONNS_MAX) - 1;
	assert_int_equal(send_syn(), THEN_UNSPEC);
	w.conn_counts[SLUICE_CONNS_ALL] = SLUICE_CONNS_CROWDED(SLUICE_CONNS_MAX);
	assert_int_equal(send_syn(), THEN_REDIRECT);
	assert_int_equal(
		requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_SYN_RESET, SLUICE_REASON_CLIENT_SHARE),
		1);
	w.conn_counts[bucket] = SLUICE_CONNS_CLIENT_MAX(SLUICE_CONNS_MAX) - 1;
	assert_int_equal(send_syn(), THEN_UNSPEC);
}

/* An evicted connection is judged as before: nobody who has spent a budget gains by it. */
static void idle_connections_give_way_and_come_back(void **state)
{
	PLAY(HANDSHAKE, {.ms = 999, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 1);
	PLAY({.ms = 1, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 0);
	assert_int_equal(w.conn_counts[SLUICE_CONNS_ALL], 0);
	assert_int_equal(counter(SLUICE_COUNTER_CONNS_EVICTED), 1);
	PLAY({FROM_CLIENT(0, 0, REQUEST)}, {.ms = 2000, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 1); /* its request is under way */
	assert_int_equal(get_state(LLAMA).in_flight, 1);
	PLAY({SENT(0, SHORT)}, {.ms = 999, .flags = ACK, .seq = WHOLE, .ack = N(SHORT)},
	     {.act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 1); /* its response ended 999 ms ago … */
	PLAY({.ms = 1, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 0); /* … and an acknowledgement is no response */
	PLAY({FROM_CLIENT(WHOLE, N(SHORT), REQUEST)});
	assert_int_equal(get_state(LLAMA).in_flight, 1);
	assert_int_equal(counter(SLUICE_COUNTER_PASSED_UNPROVEN), 0);
	assert_int_equal(w.conn_counts[SLUICE_CONNS_ALL], 1);
}

/* ---- what gives way ---- */

#define SLOW_MS (SLUICE_CONNS_SLOW_NS / MS)
#define BYTE_MS (SLUICE_CONNS_BYTE_NS / MS)

static void changed_conn(void (*change)(struct sluice_conn *conn))
{
	struct sluice_conn_key key = this_key(false, HTTP_PORT);
	struct sluice_conn conn;

	assert_true(get_conn(false, HTTP_PORT, &conn));
	change(&conn);
	assert_int_equal(bpf_map_update_elem(fd_of(conns), &key, &conn, BPF_EXIST), 0);
}

static void set_busy(struct sluice_conn *conn)
{
	conn->busy = 1;
}

static void set_proxied(struct sluice_conn *conn)
{
	conn->addr[15]++;
}

static void set_half_named(struct sluice_conn *conn)
{
	conn->flags |= SLUICE_CONN_PROXY;
	conn->c_next = conn->c_max + 1;
	conn->since_ns = w.settings.clock_ns;
}

static void set_answering(struct sluice_conn *conn)
{
	conn->flags |= SLUICE_CONN_RESPONSE;
}

static void set_unanswered(struct sluice_conn *conn)
{
	conn->exchange_tail++;
}

static void a_connection_that_is_busy_or_alone_knows_its_client_stays(void **state)
{
	void (*const changes[])(struct sluice_conn *) = {set_busy, set_proxied, set_half_named,
							 set_answering, set_unanswered};

	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		PLAY(HANDSHAKE);
		changed_conn(changes[i]);
		PLAY({.ms = 2000, .act = evict_idle});
		assert_int_equal(entries(fd_of(conns)), 1);
		clear_map(fd_of(conns));
	}
}

/* The rest of a request would pass unjudged. */
static void a_request_that_comes_too_slowly_gives_way_and_is_reset(void **state)
{
	PLAY(HANDSHAKE, {.ms = 600000, .flags = ACK}, {FROM_CLIENT(0, 0, "POST ")},
	     {.ms = SLOW_MS + 5 * BYTE_MS, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 1); /* its time begins with it */
	PLAY({FROM_CLIENT(5, 0, "/v1")}, {.ms = 3 * BYTE_MS, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 1); /* each byte lengthens it a little */
	PLAY({.flags = ACK, .seq = 8}, {.ms = 1, .act = evict_idle}); /* an ACK does not */
	assert_int_equal(entries(fd_of(conns)), 0);
	PLAY({FROM_SERVER(0, 8, "HTTP/1.1 408 \r\n\r\n")},
	     {FROM_CLIENT(8, 17, REQUEST), .then = RESET, .out_seq = 17, .rst_seq = 8});
	assert_int_equal(counter(SLUICE_COUNTER_CONNS_DROPPED), 1);
	PLAY(HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}); /* a new connection is judged as any */
	assert_int_equal(get_state(LLAMA).in_flight, 1);
}

/* The server has not taken the request, and its client sends it again: reassembly.h. */
static void set_rolled_back(struct sluice_conn *conn)
{
	conn->c_next = conn->c_begin;
	conn->flags &= ~(uint32_t)SLUICE_CONN_REQUEST;
	http1_request_next(&conn->request);
}

static void a_request_that_is_sent_again_and_again_gives_way(void **state)
{
	PLAY(HANDSHAKE, {FROM_CLIENT(0, 0, "P")}, {.ms = SLOW_MS});
	changed_conn(set_rolled_back);
	PLAY({FROM_CLIENT(0, 0, "P")}, {.ms = BYTE_MS, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 1);
	PLAY({.ms = 1, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 0);
}

#define LONG_HEAD "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 99999\r\n\r\n"

/* A byte a 4 ms, for 100 s: an upload over a bad line. */
static void a_slow_upload_stays(void **state)
{
	static char bytes[251];
	struct step part = {.ms = 1000, .text = bytes};
	int at = N(LONG_HEAD);

	memset(bytes, 'x', sizeof(bytes) - 1);
	PLAY(HANDSHAKE, {FROM_CLIENT(0, 0, LONG_HEAD)});
	for (int i = 0; i < 100; i++) {
		part.seq = at;
		play_steps(&part, 1);
		at += sizeof(bytes) - 1;
	}
	evict_one(false);
	assert_int_equal(entries(fd_of(conns)), 1);
	PLAY({.ms = SLOW_MS + N(LONG_HEAD) * BYTE_MS, .act = evict_one});
	assert_int_equal(entries(fd_of(conns)), 1);
	PLAY({.ms = 1, .act = evict_one});
	assert_int_equal(entries(fd_of(conns)), 0);
}

/* Connections of other clients beside a slow upload and a long stream, by how long they have
 * completed nothing. */
static void the_idlest_goes_first_whatever_it_sends(void **state)
{
	enum { IDLE, LATELY, DRIPS, UPLOADS, STREAMS, KINDS };
	const struct {
		uint64_t idle_ms, bytes;
		uint32_t flags, open;
	} kinds[KINDS] = {
		[IDLE] = {90000},
		[LATELY] = {20000},
		[DRIPS] = {100000, 10, SLUICE_CONN_REQUEST},
		[UPLOADS] = {3600000, 1000000, SLUICE_CONN_REQUEST},
		[STREAMS] = {3600000, 0, SLUICE_CONN_RESPONSE, 1},
	};
	static const struct {
		uint64_t idle_ms;
		unsigned stay;
	} passes[] = {
		{95000, 1 << IDLE | 1 << LATELY | 1 << UPLOADS | 1 << STREAMS},
		{60000, 1 << LATELY | 1 << UPLOADS | 1 << STREAMS},
		{20001, 1 << LATELY | 1 << UPLOADS | 1 << STREAMS},
		{0, 1 << UPLOADS | 1 << STREAMS},
	};
	struct sluice_conn_key key = {0};

	pass_ms(3600000);
	for (unsigned i = 0; i < KINDS; i++) {
		struct sluice_conn conn = {
			.last_seen_ns = w.settings.clock_ns, /* all send acknowledgements */
			.since_ns = w.settings.clock_ns - kinds[i].idle_ms * MS,
			.request_bytes = kinds[i].bytes,
			.flags = kinds[i].flags,
			.exchange_tail = kinds[i].open,
			.c_when = (uint32_t)(w.settings.clock_ns >> 10),
			.bucket = 7,
		};

		key.client_port = (uint16_t)i;
		assert_int_equal(bpf_map_update_elem(fd_of(conns), &key, &conn, BPF_NOEXIST), 0);
	}
	for (unsigned p = 0; p < sizeof(passes) / sizeof(passes[0]); p++) {
		sweep_evicting(passes[p].idle_ms * MS, KINDS);
		for (unsigned i = 0; i < KINDS; i++) {
			struct sluice_conn conn;

			key.client_port = (uint16_t)i;
			assert_int_equal(!bpf_map_lookup_elem(fd_of(conns), &key, &conn),
					 passes[p].stay >> i & 1);
		}
	}
}

#define OPAQUE_PLAY(...)                                                                           \
	do {                                                                                       \
		static const struct step steps_[] = {__VA_ARGS__};                                 \
		for (unsigned i_ = 0; i_ < sizeof(steps_) / sizeof(steps_[0]); i_++)               \
			play_step(&shapes[0], &steps_[i_], OPAQUE_PORT);                           \
	} while (0)

/* Half a hello holds nothing forever; a stream counts as idle from its last byte on. */
static void an_opaque_connection_is_idle_since_its_server_sent(void **state)
{
	OPAQUE_PLAY(HANDSHAKE, {.ms = 600000, .flags = ACK}, {FROM_CLIENT(0, 0, "hel")},
		    {.ms = SLOW_MS / 2}, {FROM_CLIENT(3, 0, "l")},
		    {.ms = SLOW_MS / 2, .act = evict_one});
	assert_int_equal(entries(fd_of(conns)), 1);
	OPAQUE_PLAY({.ms = 1, .act = evict_one});
	assert_int_equal(entries(fd_of(conns)), 0);
	OPAQUE_PLAY({FROM_CLIENT(4, 0, "o")}, {.ms = 3600000, FROM_SERVER(0, 5, "hi")},
		    {.ms = 500, FROM_SERVER(2, 5, "ho")}, {.ms = 999, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 1);
	OPAQUE_PLAY({.ms = 1, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 0);
}

static void reset_framing_errors(bool ipv6)
{
	struct sluice_service service = http_service();

	service.on_framing_error = SLUICE_ON_FRAMING_ERROR_RESET;
	set_both(HTTP_PORT, service);
}

/* Its next bytes are no hello. */
static void an_evicted_connection_of_tls_is_no_framing_error(void **state)
{
	PLAY({.act = reset_framing_errors}, HANDSHAKE,
	     {FROM_CLIENT(0, 0, "\x16\x03\x01zzzzz"), .len = 8},
	     {FROM_SERVER(0, 8, "\x16\x03\x03zz"), .len = 5}, {.ms = 2000, .act = evict_idle});
	assert_int_equal(entries(fd_of(conns)), 0);
	PLAY({FROM_CLIENT(8, 5, "\x17\x03\x03zzzzz"), .len = 8});
	assert_int_equal(entries(fd_of(conns)), 1);
}

/* Else an eviction would make a framing error pass that resets before. */
static void an_evicted_connection_is_not_adopted(void **state)
{
	struct sluice_conn conn;

	PLAY(HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}, {SENT(0, SHORT)}, ACKED(N(SHORT)),
	     {.ms = 2000, .act = evict_idle}, {FROM_CLIENT(WHOLE, N(SHORT), "P")});
	assert_true(get_conn(false, HTTP_PORT, &conn));
	assert_false(conn.flags & SLUICE_CONN_ADOPTED);
}

/* ---- a flood ---- */

#define QUOTA 1

/* Fills conns with idle connections of other clients. */
static void fill_conns(bool ipv6)
{
	static struct sluice_conn conn = {.bucket = 7};
	struct sluice_conn_key key = {0};

	conn.last_seen_ns = w.settings.clock_ns;
	for (uint32_t i = entries(fd_of(conns)); i < SLUICE_CONNS_MAX; i++) {
		memcpy(key.client_addr, &i, sizeof(i));
		memcpy(conn.addr, &i, sizeof(i));
		assert_int_equal(bpf_map_update_elem(fd_of(conns), &key, &conn, BPF_NOEXIST), 0);
	}
}

static void end_the_flood(bool ipv6)
{
	clear_map(fd_of(conns));
}

#define REFUSED                                                                                    \
	{                                                                                          \
		FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE, .rst_seq = 0         \
	}
#define GONE                                                                                       \
	{                                                                                          \
		.flags = RST, .seq = WHOLE                                                         \
	}

static void a_client_over_quota_stays_refused_through_a_flood(void **state)
{
	const struct sluice_quota one = {.request_ns = HOUR, .request_span_ns = HOUR};
	uint32_t id = QUOTA;

	clear_map(fd_of(client_state));
	assert_int_equal(bpf_map_update_elem(fd_of(quotas), &id, &one, BPF_ANY), 0);
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .quota = QUOTA});
	PLAY(HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}, GONE, HANDSHAKE, REFUSED);
	PLAY({.act = fill_conns}, HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST), .then = DROP},
	     {.act = evict_one}, REFUSED);
	PLAY({.act = end_the_flood}, HANDSHAKE, REFUSED);
	assert_int_equal(requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE),
			 1);
	assert_int_equal(counter(SLUICE_COUNTER_CONNS_DROPPED), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_connection_counts_from_its_proof_to_its_end),
		packets_test(a_client_with_its_part_gets_no_further_connection),
		packets_test(idle_connections_give_way_and_come_back),
		packets_test(a_connection_that_is_busy_or_alone_knows_its_client_stays),
		packets_test(a_request_that_comes_too_slowly_gives_way_and_is_reset),
		packets_test(a_request_that_is_sent_again_and_again_gives_way),
		packets_test(a_slow_upload_stays),
		packets_test(the_idlest_goes_first_whatever_it_sends),
		packets_test(an_opaque_connection_is_idle_since_its_server_sent),
		packets_test(an_evicted_connection_of_tls_is_no_framing_error),
		packets_test(an_evicted_connection_is_not_adopted),
		packets_test(a_client_over_quota_stays_refused_through_a_flood),
	};

	return packets_main("test_crowd", tests);
}
