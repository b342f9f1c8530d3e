/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Two CPUs at one connection, as with a client's segments from two CPUs of this host. A CPU that
 * frames a segment holds conn->busy. Another one waits for it, and drops its segment if that takes
 * too long; the client sends it again. So a request is judged once, whichever CPU has which bytes.
 */
#include <pthread.h>

#include "requests.h"

#define ROUNDS     500 /* one request each, on a connection of its own */
#define FIRST_PORT 20000

/* ---- a CPU that never comes to its end ---- */

static void set_busy(bool ipv6, uint32_t busy)
{
	struct sluice_conn_key key = this_key(ipv6, HTTP_PORT);
	struct sluice_conn conn;

	assert_true(get_conn(ipv6, HTTP_PORT, &conn));
	assert_int_equal(conn.busy, !busy);
	conn.busy = busy;
	assert_int_equal(bpf_map_update_elem(fd_of(conns), &key, &conn, BPF_EXIST), 0);
}

static void occupy(bool ipv6)
{
	set_busy(ipv6, 1);
}

static void vacate(bool ipv6)
{
	set_busy(ipv6, 0);
}

static void nothing_is_judged(bool ipv6)
{
	assert_int_equal(requests_in_all(), 0);
	assert_int_equal(get_state(SLUICE_MODEL_ALL).in_flight, 0);
	assert_int_equal(w.refusal_count, 0);
}

#define DROPPED(n) .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, (n)}}

static void a_segment_of_a_busy_connection_is_dropped_and_judged_when_it_comes_again(void **state)
{
	static const struct row rows[] = {
		{"a whole request",
		 {HANDSHAKE,
		  {.act = occupy},
		  {FROM_CLIENT(0, 0, REQUEST), .then = DROP},
		  {FROM_CLIENT(0, 0, REQUEST), .ms = 300, .then = DROP},
		  {.act = nothing_is_judged},
		  {.act = vacate},
		  {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE,
		 DROPPED(2)},
		{"the body after its head",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, HEAD)},
		  {.act = occupy},
		  {FROM_CLIENT(HEAD_N, 0, BODY), .then = DROP},
		  {.act = nothing_is_judged},
		  {.act = vacate},
		  {FROM_CLIENT(HEAD_N, 0, BODY)}},
		 ADMITTED_ONCE,
		 DROPPED(1)},
		{"bytes that were framed before",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, HEAD)},
		  {.act = occupy},
		  {FROM_CLIENT(0, 0, HEAD), .ms = 300, .then = DROP},
		  {.act = vacate},
		  {FROM_CLIENT(0, 0, REQUEST), .ms = 300}},
		 ADMITTED_ONCE,
		 DROPPED(1)},
		{"a request that is refused",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {.act = occupy},
		  {FROM_CLIENT(0, 0, REQUEST), .then = DROP},
		  {.act = nothing_is_judged},
		  {.act = vacate},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}},
		 .tombstones = 1,
		 DROPPED(1),
		 REFUSED(TTFT)},
		{"an acknowledgement passes, as it has nothing to frame",
		 {HANDSHAKE,
		  {.act = occupy},
		  {.flags = ACK},
		  {.act = vacate},
		  {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
	};

	play_rows(rows);
}

/* ---- two CPUs at once ---- */

static const struct shape plain;

static struct player {
	unsigned passed; /* rounds in which its segment has passed */
	unsigned dropped;
	const char *failed;
	struct frame in, out;
} players[2];

static unsigned rounds_of(const struct player *p)
{
	return __atomic_load_n(&p->passed, __ATOMIC_ACQUIRE);
}

static bool has_failed(const struct player *p)
{
	return __atomic_load_n(&p->failed, __ATOMIC_ACQUIRE);
}

/* What a player sends in a round. In every other one both send the whole request. Else one sends
 * the bytes before a cut, the other those after it. */
static struct segment part_of(unsigned round, unsigned who)
{
	size_t begin = 0, end = WHOLE, cut = 1 + round / 2 % (WHOLE - 1);

	if (round % 2 && (round / 2 + who) % 2)
		begin = cut;
	else if (round % 2)
		end = cut;
	return (struct segment){.flags = ACK | PSH,
				.seq = CLIENT_ISN + 1 + begin,
				.ack = SERVER_ISN + 1,
				.window = 512,
				.text = REQUEST + begin,
				.len = end - begin,
				.client_port = FIRST_PORT + round};
}

/* Both begin a round at once. A dropped segment is sent again. It has to pass at the latest when
 * that of the other player has passed. */
static const char *play_round(unsigned round, unsigned who)
{
	struct player *p = &players[who], *other = &players[!who];
	struct segment part = part_of(round, who);
	struct __sk_buff ctx = {.ifindex = w.ifindex};
	bool last_try;

	make_frame(&p->in, &plain, &part);
	while (rounds_of(other) < round) {
		if (has_failed(other))
			return "the other player has failed";
		sched_yield();
	}
	do {
		DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = p->in.data,
				    .data_size_in = p->in.len, .data_out = p->out.data,
				    .data_size_out = sizeof(p->out.data), .ctx_in = &ctx,
				    .ctx_size_in = sizeof(ctx), .repeat = 1);

		last_try = rounds_of(other) > round || has_failed(other);
		if (bpf_prog_test_run_opts(bpf_program__fd(w.skel->progs.requests), &opts))
			return "BPF_PROG_TEST_RUN fails";
		if ((int)opts.retval == THEN_UNSPEC) {
			if (opts.data_size_out != p->in.len ||
			    memcmp(p->out.data, p->in.data, p->in.len))
				return "a segment passes with other bytes";
			__atomic_store_n(&p->passed, round + 1, __ATOMIC_RELEASE);
			return NULL;
		}
		if (opts.retval != TC_ACT_SHOT)
			return "a segment neither passes nor is dropped";
		p->dropped++;
		sched_yield(); /* the other CPU may run somebody else meanwhile */
	} while (!last_try);
	return "a segment is dropped though no other CPU is at work";
}

static void play_rounds(unsigned who)
{
	const char *failed = NULL;

	for (unsigned round = 0; round < ROUNDS && !failed; round++)
		failed = play_round(round, who);
	__atomic_store_n(&players[who].failed, failed, __ATOMIC_RELEASE);
}

/* Plays on a CPU that the main thread, which stays on its own, does not have. If there is none,
 * both take turns. */
static void *play_elsewhere(void *here)
{
	for (int cpu = 0; cpu < w.cpus; cpu++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (cpu != *(int *)here &&
		    !pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
			break;
	}
	play_rounds(1);
	return NULL;
}

static void connect_all(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		static struct frame in, out;
		struct segment s = {.from_server = true,
				    .flags = SYN | ACK,
				    .seq = SERVER_ISN,
				    .ack = CLIENT_ISN + 1,
				    .window = 512,
				    .client_port = FIRST_PORT + i};

		make_frame(&in, &plain, &s);
		assert_int_equal(run_tc(w.skel->progs.responses, &in, &out), THEN_UNSPEC);
		s.from_server = false;
		s.flags = ACK;
		s.seq = CLIENT_ISN + 1;
		s.ack = SERVER_ISN + 1;
		make_frame(&in, &plain, &s);
		assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
	}
}

/* invariant 8 */
static void a_request_in_segments_on_two_cpus_at_once_is_judged_once(void **state)
{
	struct row end = {
		.in_flight = ROUNDS,
		.waiting = ROUNDS,
		.conns = ROUNDS,
		.requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, ROUNDS}},
	};
	int here = sched_getcpu();
	pthread_t thread;

	connect_all();
	assert_int_equal(pthread_create(&thread, NULL, play_elsewhere, &here), 0);
	play_rounds(0);
	pthread_join(thread, NULL);
	if (players[0].failed || players[1].failed)
		fail_msg("round %u: %s; round %u: %s", players[0].passed,
			 players[0].failed ?: "no failure", players[1].passed,
			 players[1].failed ?: "no failure");
	end.counters[0].counter = SLUICE_COUNTER_REORDERED_DROPPED;
	end.counters[0].n = players[0].dropped + players[1].dropped;
	print_message("%u rounds, %llu segments dropped\n", ROUNDS,
		      (unsigned long long)end.counters[0].n);
	assert_ends(&end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(
			a_segment_of_a_busy_connection_is_dropped_and_judged_when_it_comes_again),
		packets_test(a_request_in_segments_on_two_cpus_at_once_is_judged_once),
	};

	return packets_main("busy", tests);
}
