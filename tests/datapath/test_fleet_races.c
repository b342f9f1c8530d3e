/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Budgets that a fleet of hosts shares, on two CPUs at once: charges beside answers of the store,
 * and two requests for the last unit.
 */
#include <pthread.h>

#include "fleet_budget.h"

/* ---- charges and answers at once ---- */

#define CHARGES    20000
#define FIRST_PORT 20000

static bool charged; /* all of them */
static unsigned admitted;

static void a_packet(struct frame *in, bool from_server, uint8_t flags, uint16_t from,
		     const char *text)
{
	static const struct shape plain;
	struct segment s = {.from_server = from_server,
			    .flags = flags,
			    .seq = from_server ? SERVER_ISN : CLIENT_ISN + 1,
			    .ack = from_server ? CLIENT_ISN + 1 : SERVER_ISN + 1,
			    .window = 512,
			    .text = text,
			    .len = strlen(text),
			    .client_port = from};

	make_frame(in, &plain, &s);
}

static int run_on(struct bpf_program *program, const struct frame *in)
{
	static __thread struct frame got;
	struct __sk_buff ctx = {.ifindex = w.ifindex};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->data, .data_size_in = in->len,
			    .data_out = got.data, .data_size_out = sizeof(got.data), .ctx_in = &ctx,
			    .ctx_size_in = sizeof(ctx), .repeat = 1);

	return bpf_prog_test_run_opts(bpf_program__fd(program), &opts) ? -EIO : (int)opts.retval;
}

/* Goes to a CPU that the main thread, which stays on its own, does not have. If there is none, both
 * take turns. */
static void leave_cpu(int here)
{
	for (int cpu = 0; cpu < w.cpus; cpu++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (cpu != here && !pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
			break;
	}
}

static void connect_from(uint16_t from)
{
	static __thread struct frame in;

	a_packet(&in, true, SYN | ACK, from, "");
	run_on(w.skel->progs.responses, &in);
	a_packet(&in, false, ACK, from, "");
	run_on(w.skel->progs.requests, &in);
}

static bool request_passes(uint16_t from)
{
	static __thread struct frame in;

	a_packet(&in, false, PSH | ACK, from, REQUEST_TEXT);
	return run_on(w.skel->progs.requests, &in) == THEN_UNSPEC;
}

static void *charge_all(void *here)
{
	leave_cpu(*(int *)here);
	for (unsigned i = 0; i < CHARGES; i++) {
		connect_from((uint16_t)(FIRST_PORT + i));
		admitted += request_passes((uint16_t)(FIRST_PORT + i));
	}
	__atomic_store_n(&charged, true, __ATOMIC_RELEASE);
	return NULL;
}

static void answers_lose_no_charge(void **state)
{
	const uint64_t interval = MS;
	struct sluice_fleet_item_units answer = {.granted = CHARGES, .share = 1};
	uint32_t known = 0, rounds = 0;
	int here = sched_getcpu();
	pthread_t thread;
	bool done;

	begin(per_period(1000, 1000, 10 * CHARGES));
	put_fleet(HOUR / MS, 1, 0);
	assert_int_equal(send_request(), -1);
	admitted = 1;
	charged = false;
	assert_int_equal(pthread_create(&thread, NULL, charge_all, &here), 0);
	do {
		struct sluice_fleet_item_units got;

		done = __atomic_load_n(&charged, __ATOMIC_ACQUIRE);
		got = collect().units[0];
		assert_int_equal(got.settled, known);
		known = got.used; /* the store counts the difference */
		if (done)         /* none was lost, though some may count twice until now */
			assert_true(got.level_ns >= known * interval);
		answer.settled = known;
		answer.level_ns = known * interval;
		/* many at once, so that charges come in between */
		for (unsigned i = 0; i < SLUICE_FLEET_BATCH; i++)
			batch[i] = (struct sluice_fleet_item){
				.key = the_key(), .op = SLUICE_FLEET_APPLY, .units = {answer, {0}}};
		run_batch(SLUICE_FLEET_BATCH);
		read_changes();
		rounds++;
	} while (!done);
	pthread_join(thread, NULL);
	print_message("%u rounds\n", rounds);
	assert_int_equal(admitted, CHARGES + 1);
	assert_int_equal(known, admitted);
	assert_int_equal(budget().requests.used, admitted);
	assert_int_equal(gcra_spent(budget().request_tat_ns, NOW), admitted * interval);
}

#define ROUNDS 1000

static struct player {
	unsigned begun, ended; /* rounds */
	bool passed;
} players[2];

/* Both begin at once. Player 0 sends a request, or runs a batch of so many items. */
static void play_round(unsigned who, unsigned round, unsigned items)
{
	struct player *p = &players[who], *other = &players[!who];

	__atomic_store_n(&p->begun, round, __ATOMIC_RELEASE);
	while (__atomic_load_n(&other->begun, __ATOMIC_ACQUIRE) < round)
		sched_yield();
	if (items)
		run_batch(items);
	else
		p->passed = request_passes((uint16_t)(FIRST_PORT + 2 * round + who));
	__atomic_store_n(&p->ended, round, __ATOMIC_RELEASE);
}

static void *play_second(void *here)
{
	leave_cpu(*(int *)here);
	for (unsigned round = 1; round <= ROUNDS; round++)
		play_round(1, round, 0);
	return NULL;
}

static void play_both(unsigned round, unsigned items)
{
	play_round(0, round, items);
	while (__atomic_load_n(&players[1].ended, __ATOMIC_ACQUIRE) < round)
		sched_yield();
}

static pthread_t begin_play(struct sluice_budget b)
{
	static int here;
	pthread_t thread;

	put_fleet(60000, 1, 0);
	memset(players, 0, sizeof(players));
	for (unsigned i = 2; i < 2 * ROUNDS + 2; i++)
		connect_from((uint16_t)(FIRST_PORT + i));
	put_budget(b);
	here = sched_getcpu();
	assert_int_equal(pthread_create(&thread, NULL, play_second, &here), 0);
	return thread;
}

/* One unit is granted, or the budget has one: the other request is refused, and not used. */
static void of_two_requests_at_once_one_gets_the_last_unit(void **state)
{
	const struct sluice_budget last_granted = {.answered_ns = NOW, .requests.limit = 1},
				   last_left = {.answered_ns = NOW,
						.requests.limit = 100,
						.request_tat_ns = NOW + 9000 * MS};
	pthread_t thread;

	begin(per_period(10, 10000, 10));
	thread = begin_play(last_left);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		put_budget(round % 2 ? last_granted : last_left);
		play_both(round, 0);
		if (players[0].passed + players[1].passed != 1 || budget().requests.used != 1) {
			fail_msg("round %u: %u and %u passed, %u used", round, players[0].passed,
				 players[1].passed, budget().requests.used);
		}
	}
	pthread_join(thread, NULL);
	read_filled(fd_of(verdicts));
}

/* A charge may count twice until the next answer, but not less than once. The batches differ in
 * length, so that the last answer comes at any point of a charge. */
static void an_answer_at_the_moment_of_a_charge_does_not_lose_it(void **state)
{
	pthread_t thread;

	begin(per_period(1000, 1000, 10 * ROUNDS));
	thread = begin_play(
		(struct sluice_budget){.answered_ns = NOW, .collected = 1, .requests.limit = 1});
	for (unsigned round = 1; round <= ROUNDS; round++) {
		struct sluice_fleet_item_units answer = {
			.level_ns = (round - 1) * MS, .settled = round - 1, .granted = ROUNDS};
		unsigned items = 1 + round % 64;
		uint64_t spent;

		for (unsigned i = 0; i < items; i++)
			batch[i] = (struct sluice_fleet_item){
				.key = the_key(), .op = SLUICE_FLEET_APPLY, .units = {answer, {0}}};
		play_both(round, items);
		spent = gcra_spent(budget().request_tat_ns, NOW) / MS;
		if (!players[1].passed || budget().requests.used != round ||
		    (spent != round && spent != round + 1))
			fail_msg("round %u: passed %u, %u used, %llu charged", round,
				 players[1].passed, budget().requests.used,
				 (unsigned long long)spent);
	}
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(answers_lose_no_charge),
		packets_test(an_answer_at_the_moment_of_a_charge_does_not_lose_it),
		packets_test(of_two_requests_at_once_one_gets_the_last_unit),
	};

	return fleet_main("fleet_races", tests);
}
