/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Adaptive admission in the kernel. Slots are exact on all CPUs and free at once. For any load, the
 * programs decide as the arithmetic that they share with the daemon and the simulator. A pool's
 * state counts the requests of all its models. Each request comes on a connection of its own.
 */
#include <pthread.h>

#include "packets.h"

#define POOL 9
#define REQUEST_TEXT                                                                               \
	"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\n{\"model\":\"llama\",\"stream\":true}"
#define REQUEST_BYTES (sizeof(REQUEST_TEXT) - 1)
#define SSE_HEAD                                                                                   \
	"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
#define EVENT "17\r\ndata: {\"content\":\"a\"}\n\n\r\n"
#define END   "0\r\n\r\n"

struct link_end {
	uint16_t port;
	uint32_t client_at, server_at;
};

static struct shape shape;
static uint16_t last_port = 20000;

static int send_on(struct link_end *l, bool from_server, uint8_t flags, const char *text)
{
	struct segment s = {.from_server = from_server,
			    .flags = flags,
			    .window = 512,
			    .text = text,
			    .len = strlen(text),
			    .client_port = l->port};
	static struct frame in, out;

	s.seq = from_server ? l->server_at : l->client_at;
	s.ack = from_server ? l->client_at : l->server_at;
	make_frame(&in, &shape, &s);
	if (from_server)
		l->server_at += s.len + (flags & (SYN | FIN) ? 1 : 0);
	else
		l->client_at += s.len + (flags & FIN ? 1 : 0);
	return run_tc(program_for(&shape, from_server), &in, &out);
}

static struct link_end connect_anew(void)
{
	struct link_end l = {++last_port, CLIENT_ISN, SERVER_ISN};

	send_on(&l, true, SYN | ACK, "");
	send_on(&l, false, ACK, "");
	return l;
}

/* SLUICE_REASON_NONE if the request is admitted. */
static enum sluice_reason request_on(struct link_end *l)
{
	unsigned before = w.refusal_count;

	if (send_on(l, false, PSH | ACK, REQUEST_TEXT) == THEN_UNSPEC)
		return SLUICE_REASON_NONE;
	assert_int_equal(w.refusal_count, before + 1);
	w.refusal_count = 0;
	return w.refusals[before].reason;
}

static enum sluice_reason send_request(void)
{
	struct link_end l = connect_anew();

	return request_on(&l);
}

static void set_pool(uint32_t model, uint16_t pool, struct sluice_admission a)
{
	struct sluice_model_flag flag = {.allow = 1, .pool = pool, .limit_retry_ms = 1000};

	if (pool == model)
		flag.admission = a;
	set_flag(model, flag);
	if (pool != model) {
		struct sluice_model_flag shared = {
			.allow = 1, .pool = pool, .limit_retry_ms = 1000, .admission = a};

		set_flag(pool, shared);
	}
}

static struct sluice_admission ceiling_of(uint32_t ceiling)
{
	struct sluice_admission a = {.ceiling = ceiling, .floor = 1};

	for (int r = 0; r < SLUICE_RANKS; r++)
		a.level[r] = a.queue_budget_level[r] = ADMISSION_ALL;
	return a;
}

static uint32_t ages_total(uint32_t model)
{
	struct sluice_model_state state = get_state(model);
	uint32_t n = state.ages.older;

	for (int i = 0; i < AGES_SLOTS; i++)
		n += (uint32_t)state.ages.slot[i];
	return n;
}

static void empty_states(void)
{
	static const uint32_t used[] = {SLUICE_MODEL_ALL, LLAMA, QWEN, POOL};

	for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++)
		put_state(used[i], (struct sluice_model_state){0});
}

static void a_slot_is_free_as_soon_as_its_response_ends_or_its_connection_dies(void **state)
{
	struct link_end a = connect_anew(), b = connect_anew(), c = connect_anew(),
			d = connect_anew();

	empty_states();
	set_pool(LLAMA, LLAMA, ceiling_of(2));
	assert_int_equal(request_on(&a), SLUICE_REASON_NONE);
	assert_int_equal(request_on(&b), SLUICE_REASON_NONE);
	assert_int_equal(request_on(&c), SLUICE_REASON_IN_FLIGHT);
	send_on(&a, true, PSH | ACK, SSE_HEAD EVENT);
	assert_int_equal(send_request(), SLUICE_REASON_IN_FLIGHT);
	send_on(&a, true, PSH | ACK, EVENT END);
	assert_int_equal(request_on(&d), SLUICE_REASON_NONE);
	assert_int_equal(send_request(), SLUICE_REASON_IN_FLIGHT);
	send_on(&b, false, RST, "");
	assert_int_equal(send_request(), SLUICE_REASON_NONE);
	assert_int_equal(send_request(), SLUICE_REASON_IN_FLIGHT);
}

static void requests_are_counted_in_the_pool_of_their_model(void **state)
{
	static const uint16_t pools[] = {LLAMA, POOL, SLUICE_MODEL_ALL};

	for (size_t i = 0; i < 3; i++) {
		struct link_end a = connect_anew(), b = connect_anew();
		struct sluice_model_state pool;
		uint64_t began;

		empty_states();
		set_pool(LLAMA, pools[i], ceiling_of(50));
		pass_ms(100);
		began = w.settings.clock_ns;
		assert_int_equal(request_on(&a), SLUICE_REASON_NONE);
		pass_ms(100);
		assert_int_equal(request_on(&b), SLUICE_REASON_NONE);
		pool = get_state(pools[i]);
		assert_int_equal(pool.in_flight, 2);
		assert_int_equal(pool.waiting, 2);
		assert_int_equal(pool.waiting_bytes, 2 * REQUEST_BYTES);
		assert_int_equal(pool.waiting_ns, began);
		assert_int_equal(pool.admitted, 2);
		assert_int_equal(pool.began_ns, began + w.settings.clock_ns);
		assert_int_equal(ages_total(pools[i]), 2);
		assert_in_range(ages_oldest(&pool.ages, w.settings.clock_ns), 33 * MS, 168 * MS);
		assert_int_equal(get_state(LLAMA).in_flight, 2);
		assert_int_equal(get_state(SLUICE_MODEL_ALL).in_flight, 2);
		pass_ms(1);
		w.sample_count = 0;
		send_on(&a, true, PSH | ACK, SSE_HEAD EVENT);
		pool = get_state(pools[i]);
		assert_int_equal(pool.waiting, 1);
		assert_int_equal(pool.waiting_bytes, REQUEST_BYTES);
		assert_int_equal(pool.token_ns, w.settings.clock_ns);
		assert_int_equal(ages_total(pools[i]), 1);
		assert_int_equal(w.sample_count, 1);
		assert_int_equal(w.samples[0].queued_bytes, REQUEST_BYTES);
		assert_int_equal(w.samples[0].in_flight_at_admission, 1);
		assert_int_equal(w.samples[0].served, 1); /* b came later */
		assert_int_equal(w.samples[0].bytes, REQUEST_BYTES);
		pass_ms(40);
		send_on(&a, true, PSH | ACK, EVENT);
		pass_ms(20);
		send_on(&a, true, PSH | ACK, EVENT END);
		assert_int_equal(w.samples[w.sample_count - 1].kind, SLUICE_SAMPLE_ITL);
		assert_int_equal(w.samples[w.sample_count - 1].queued_bytes, 30000);
		assert_int_equal(w.samples[w.sample_count - 1].in_flight_at_admission, 2);
		send_on(&b, true, RST, "");
		pool = get_state(pools[i]);
		assert_int_equal(pool.in_flight, 0);
		assert_int_equal(pool.waiting, 0);
		assert_int_equal(pool.waiting_bytes, 0);
		assert_int_equal(pool.ended, 2);
		assert_int_equal(pool.began_ns, 0);
		assert_int_equal(ages_total(pools[i]), 0);
		assert_int_equal(get_state(LLAMA).in_flight, 0);
		assert_int_equal(get_state(SLUICE_MODEL_ALL).in_flight, 0);
		assert_int_equal(client_holds(SLUICE_MODEL_ALL), 0);
	}
}

static uint64_t random64(uint64_t most)
{
	return ((uint64_t)rand() << 31 ^ rand()) % (most + 1);
}

/* The programs against admission_judge() as this compiler builds it, with loads near its bounds. */
static void the_programs_decide_as_the_shared_arithmetic(void **state)
{
	unsigned admitted = 0, refused[SLUICE_REASON_COUNT] = {0};

	srand(20261122);
	for (int trial = 0; trial < 4000; trial++) {
		struct sluice_admission a = {
			.queue_budget = random64(2500),
			.credit_most = random64(2000),
			.queue_budget_per_kib = random64(100),
			.rate = rand() & 3 ? random64(1 << 14) : 0,
			.ceiling = random64(40),
			.floor = 1 + random64(3),
			.fair = rand() & 3 ? random64(3 * ADMISSION_ALL) : 0,
			.interval = rand() & 3 ? random64(8 * ADMISSION_ALL) : 0,
			.stopped = random64(20) == 0,
			.slots = rand() & 1 ? 1 + random64(20) : 0,
			.service = random64(3000),
			.slot_wait_most = random64(3000),
			.slot_wait_most_per_kib = random64(2000),
			.spare = random64(20),
		};
		struct sluice_model_state pool = {
			.in_flight = random64(22),
			.waiting = random64(4),
			.waiting_bytes = random64(4000),
			.admitted = random64(50),
			.token_ns = CLOCK_START - random64(400 * MS),
			.waiting_ns = CLOCK_START - random64(400 * MS),
		};
		uint64_t ages_ns = pool.in_flight * random64(2000 * MS);
		struct admission_load load = {
			pool.in_flight, pool.waiting, pool.waiting_bytes,
			pool.token_ns > pool.waiting_ns ? pool.token_ns : pool.waiting_ns, 0};
		struct sluice_client_flag_key key = {.client = this_client(false), .model = LLAMA};
		struct sluice_holding held = {random64(5), random64(80 * ADMISSION_ALL)},
				      holds = held;
		enum admission_verdict verdict;
		enum sluice_reason wanted = SLUICE_REASON_NONE, got;
		uint32_t rank;

		load.slot_wait = admission_slot_wait(&a, &load, REQUEST_BYTES, ages_ns);
		reset_world();
		pool.began_ns = pool.in_flight * CLOCK_START - ages_ns;
		for (int r = 0; r < SLUICE_RANKS; r++)
			a.level[r] = ADMISSION_ALL - random64(50 * r) % ADMISSION_ALL,
			a.queue_budget_level[r] = ADMISSION_ALL - random64(50 * r) % ADMISSION_ALL;
		empty_states();
		put_state(LLAMA, pool);
		set_pool(LLAMA, LLAMA, a);
		assert_int_equal(bpf_map_update_elem(fd_of(client_in_flight), &key, &held, BPF_ANY),
				 0);
		rank = admission_rank(
			SLUICE_CLASS_NORMAL,
			admission_above_share(&a, &held, ADMISSION_ALL, pool.admitted));
		verdict = admission_judge(&a, &load, REQUEST_BYTES, rank, CLOCK_START);
		if (verdict)
			wanted = rank & 1 && !admission_judge(&a, &load, REQUEST_BYTES, rank - 1,
							      CLOCK_START)
					 ? SLUICE_REASON_CLIENT_SHARE
				 : verdict == ADMISSION_CEILING ? SLUICE_REASON_IN_FLIGHT
								: SLUICE_REASON_TTFT;
		got = send_request();
		if (got != wanted)
			fail_msg("trial %d: reason %d, not %d", trial, got, wanted);
		admitted += !wanted;
		refused[wanted]++;
		assert_int_equal(get_state(LLAMA).in_flight, pool.in_flight + !wanted);
		assert_int_equal(get_state(LLAMA).waiting_bytes,
				 pool.waiting_bytes + (wanted ? 0 : REQUEST_BYTES));
		assert_int_equal(get_state(LLAMA).began_ns,
				 pool.began_ns + (wanted ? 0 : CLOCK_START));
		assert_int_equal(get_state(LLAMA).refused[rank], !!wanted);
		assert_int_equal(ages_total(LLAMA), !wanted);
		/* The client's share continues from the last round. */
		if (!wanted) {
			holds.in_flight++;
			if (a.interval)
				holds.tat = admission_next_tat(&a, held.tat, ADMISSION_ALL,
							       pool.admitted + 1);
		}
		assert_int_equal(bpf_map_lookup_elem(fd_of(client_in_flight), &key, &held), 0);
		assert_memory_equal(&held, &holds, sizeof(held));
	}
	print_message("%u admitted, %u %u %u refused\n", admitted, refused[SLUICE_REASON_TTFT],
		      refused[SLUICE_REASON_IN_FLIGHT], refused[SLUICE_REASON_CLIENT_SHARE]);
	assert_true(admitted > 400 && refused[SLUICE_REASON_TTFT] > 400 &&
		    refused[SLUICE_REASON_IN_FLIGHT] > 400 &&
		    refused[SLUICE_REASON_CLIENT_SHARE] > 100);
}

#define RACERS       4
#define EACH         16
#define RACE_CEILING 13
#define RACES        400

struct racer {
	pthread_t thread;
	int cpu;
	pthread_barrier_t *start;
	struct frame *frames;
	int admitted;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	struct __sk_buff ctx = {.ifindex = w.ifindex};
	struct frame out;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(r->cpu, &cpu);
	pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu);
	pthread_barrier_wait(r->start);
	for (int i = 0; i < EACH; i++) {
		DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = r->frames[i].data,
				    .data_size_in = r->frames[i].len, .data_out = out.data,
				    .data_size_out = sizeof(out.data), .ctx_in = &ctx,
				    .ctx_size_in = sizeof(ctx), .repeat = 1);

		if (!bpf_prog_test_run_opts(bpf_program__fd(program_for(&shape, false)), &opts))
			r->admitted += opts.retval == (unsigned)THEN_UNSPEC;
	}
	return NULL;
}

/* A budget of so many requests. It does not refill during the race. */
static void set_quota(uint32_t id, uint32_t requests)
{
	struct sluice_quota quota = {.request_ns = HOUR, .request_span_ns = requests * HOUR};
	struct sluice_model_flag flag = {
		.allow = 1, .pool = LLAMA, .quota = id, .admission = ceiling_of(RACERS * EACH + 1)};

	assert_int_equal(bpf_map_update_elem(fd_of(quotas), &id, &quota, BPF_ANY), 0);
	clear_map(fd_of(client_state));
	set_flag(LLAMA, flag);
}

/*
 * All CPUs at once send more requests of one client than there are slots, or than its budget has.
 */
static void race_once(bool budget)
{
	static struct frame frames[RACERS][EACH];
	struct racer racers[RACERS] = {0};
	pthread_barrier_t start;
	int admitted = 0;

	reset_world();
	empty_states();
	if (budget)
		set_quota(7, RACE_CEILING);
	else
		set_pool(LLAMA, LLAMA, ceiling_of(RACE_CEILING));
	for (int r = 0; r < RACERS; r++) {
		for (int i = 0; i < EACH; i++) {
			struct link_end l = connect_anew();
			struct segment s = {.flags = PSH | ACK,
					    .window = 512,
					    .text = REQUEST_TEXT,
					    .len = REQUEST_BYTES,
					    .client_port = l.port,
					    .seq = l.client_at,
					    .ack = l.server_at};

			make_frame(&frames[r][i], &shape, &s);
		}
	}
	pthread_barrier_init(&start, NULL, RACERS);
	for (int r = 0; r < RACERS; r++) {
		racers[r].cpu = r % w.cpus;
		racers[r].start = &start;
		racers[r].frames = frames[r];
		pthread_create(&racers[r].thread, NULL, race, &racers[r]);
	}
	for (int r = 0; r < RACERS; r++) {
		pthread_join(racers[r].thread, NULL);
		admitted += racers[r].admitted;
	}
	assert_int_equal(admitted, RACE_CEILING);
	assert_int_equal(get_state(LLAMA).in_flight, RACE_CEILING);
	assert_int_equal(get_state(LLAMA).waiting, RACE_CEILING);
	assert_int_equal(get_state(LLAMA).waiting_bytes, RACE_CEILING * REQUEST_BYTES);
	assert_int_equal(get_state(SLUICE_MODEL_ALL).in_flight, RACE_CEILING);
	assert_int_equal(ages_total(LLAMA), RACE_CEILING);
	assert_int_equal(client_holds(SLUICE_MODEL_ALL), RACE_CEILING);
}

static void two_cpus_cannot_both_take_the_last_slot(void **state)
{
	for (int i = 0; i < RACES; i++)
		race_once(false);
}

static void two_cpus_cannot_both_take_the_last_request_of_a_budget(void **state)
{
	for (int i = 0; i < RACES; i++)
		race_once(true);
}

static uint32_t served_at_first_token(struct link_end *on)
{
	w.sample_count = 0;
	send_on(on, true, PSH | ACK, SSE_HEAD EVENT);
	assert_int_equal(w.sample_count, 1);
	return w.samples[0].served;
}

static void a_first_token_says_how_many_were_admitted_no_later(void **state)
{
	for (uint64_t admitted = 0xfffffffd; admitted <= 0x100000000; admitted++) {
		struct link_end l[4];

		empty_states();
		put_state(LLAMA, (struct sluice_model_state){.admitted = admitted});
		set_pool(LLAMA, LLAMA, ceiling_of(50));
		for (int i = 0; i < 4; i++) {
			l[i] = connect_anew();
			assert_int_equal(request_on(&l[i]), SLUICE_REASON_NONE);
		}
		assert_int_equal(served_at_first_token(&l[2]), 3);
		assert_int_equal(served_at_first_token(&l[0]), 1);
		send_on(&l[0], true, PSH | ACK, END);
		assert_int_equal(served_at_first_token(&l[3]), 3);
		/* The last ones have ended, out of their order. */
		send_on(&l[3], true, PSH | ACK, END);
		send_on(&l[2], true, PSH | ACK, END);
		assert_int_equal(served_at_first_token(&l[1]), 0);
	}
}

static void in_shadow_mode_only_a_request_that_would_be_admitted_takes_a_slot(void **state)
{
	struct sluice_model_flag flag = {
		.allow = 1, .pool = LLAMA, .mode = SLUICE_MODE_SHADOW, .admission = ceiling_of(2)};
	struct link_end l[5];

	empty_states();
	set_flag(LLAMA, flag);
	for (int i = 0; i < 5; i++) {
		l[i] = connect_anew();
		assert_int_equal(request_on(&l[i]), SLUICE_REASON_NONE);
	}
	assert_int_equal(get_state(LLAMA).in_flight, 2);
	assert_int_equal(get_state(LLAMA).waiting, 2);
	assert_int_equal(get_state(LLAMA).shadow_in_flight, 3);
	assert_int_equal(requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_SHADOW_REJECTED,
				     SLUICE_REASON_IN_FLIGHT),
			 3);
	w.sample_count = 0;
	send_on(&l[4], true, PSH | ACK, SSE_HEAD EVENT);
	assert_int_equal(w.samples[0].in_flight_at_admission, 0);
	send_on(&l[4], true, PSH | ACK, END);
	assert_int_equal(get_state(LLAMA).in_flight, 2);
	assert_int_equal(get_state(LLAMA).shadow_in_flight, 2);
	/* an admitted request's slot is free for the next one */
	send_on(&l[0], true, PSH | ACK, SSE_HEAD EVENT END);
	assert_int_equal(get_state(LLAMA).in_flight, 1);
	assert_int_equal(send_request(), SLUICE_REASON_NONE);
	assert_int_equal(get_state(LLAMA).in_flight, 2);
	assert_int_equal(get_state(LLAMA).shadow_in_flight, 2);
}

static void a_model_was_last_seen_at_its_last_request(void **state)
{
	struct sluice_model_flag flag = {.allow = 1, .pool = LLAMA, .admission = ceiling_of(1)};
	uint64_t began = w.settings.clock_ns;

	empty_states();
	set_flag(LLAMA, flag);
	assert_int_equal(send_request(), SLUICE_REASON_NONE);
	assert_in_range(get_state(LLAMA).seen_ns, began, w.settings.clock_ns);
	flag.mode = SLUICE_MODE_SHADOW;
	flag.allow = 0; /* now a request comes to no slot */
	flag.reason = SLUICE_REASON_TTFT;
	set_flag(LLAMA, flag);
	pass_ms(100);
	began = w.settings.clock_ns;
	assert_int_equal(send_request(), SLUICE_REASON_NONE);
	assert_int_equal(get_state(LLAMA).shadow_in_flight, 1);
	assert_in_range(get_state(LLAMA).seen_ns, began, w.settings.clock_ns);
}

/* Sends a request for a plain reply. */
static void ask_plainly(struct link_end *l)
{
	static const char text[] =
		"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n"
		"{\"model\":\"llama\"}";

	assert_int_equal(send_on(l, false, PSH | ACK, text), THEN_UNSPEC);
}

/*
 * Nothing shows when a request without a stream leaves the queue. So it does not wait, but its
 * bytes do for as long as the pool's rate predicts, or until a first token of a later request,
 * or its end.
 */
static void bytes_of_an_unstreamed_request_wait_as_long_as_predicted(void **state)
{
	struct sluice_admission a = ceiling_of(50);
	struct sluice_model_state pool;
	int64_t bytes;

	a.rate = 400; /* about a second for one of these requests */
	a.queue_budget = 1 << 20;
	for (int end = 0; end < 3; end++) {
		struct link_end plain = connect_anew(), behind = connect_anew();

		empty_states();
		set_pool(LLAMA, POOL, a);
		pass_ms(1000);
		ask_plainly(&plain);
		pool = get_state(POOL);
		bytes = pool.waits.bytes;
		assert_int_equal(pool.in_flight, 1);
		assert_int_equal(pool.waiting, 0);
		assert_int_equal(pool.waiting_bytes, 0);
		assert_int_equal(ages_total(POOL), 0);
		assert_in_range(bytes, 64, 160);
		pass_ms(500);
		assert_int_equal(request_on(&behind), SLUICE_REASON_NONE);
		pool = get_state(POOL);
		assert_int_equal(pool.waits.bytes, bytes);
		assert_int_equal(pool.waiting, 1);
		w.sample_count = 0;
		if (end == 0) {
			send_on(&behind, true, PSH | ACK, SSE_HEAD EVENT);
			assert_in_range(w.samples[0].queued_bytes, bytes,
					bytes + 2 * REQUEST_BYTES);
		} else if (end == 1) {
			send_on(&plain, true, PSH | ACK,
				"HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n"
				"{\"usage\":{\"completion_tokens\": 25}}}");
			assert_int_equal(w.sample_count, 1);
			assert_int_equal(w.samples[0].kind, SLUICE_SAMPLE_DURATION);
			assert_int_equal(w.samples[0].n, 25);
			assert_int_equal(w.samples[0].sum_ns, 500 * MS);
			assert_int_equal(get_state(POOL).in_flight, 1);
		} else {
			struct link_end later = connect_anew();

			pass_ms(800);
			assert_int_equal(request_on(&later), SLUICE_REASON_NONE);
			assert_int_equal(get_state(POOL).in_flight, 3);
		}
		assert_int_equal(get_state(POOL).waits.bytes, 0);
	}
}

/* Sends a request for an embedding, of another model at the same port. */
static enum sluice_reason embed(struct link_end *l)
{
	static const char text[] =
		"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 27\r\n\r\n"
		"{\"model\":\"qwen\",\"input\":\"\"}";
	int verdict = send_on(l, false, PSH | ACK, text);

	if (verdict == THEN_UNSPEC)
		return SLUICE_REASON_NONE;
	assert_int_equal(w.refusal_count, 1);
	w.refusal_count = 0;
	return w.refusals[0].reason;
}

/* Half of the embeddings are answered, half are not. */
static void embeddings_count_for_a_chats_pool_only_if_they_share_it(void **state)
{
	for (int shared = 0; shared < 2; shared++) {
		uint16_t pool = shared ? POOL : LLAMA;
		struct link_end chat = connect_anew(), more = connect_anew(),
				too_many = connect_anew();
		struct sluice_model_state before, after;

		empty_states();
		set_pool(LLAMA, pool, ceiling_of(22));
		set_pool(QWEN, shared ? POOL : QWEN, ceiling_of(shared ? 22 : 21));
		assert_int_equal(request_on(&chat), SLUICE_REASON_NONE);
		before = get_state(pool);
		for (int i = 0; i < 40; i++) {
			struct link_end l = connect_anew();

			pass_ms(10);
			assert_int_equal(embed(&l), SLUICE_REASON_NONE);
			if (i & 1)
				send_on(&l, true, PSH | ACK,
					"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
		}
		assert_int_equal(embed(&more), SLUICE_REASON_NONE);
		assert_int_equal(embed(&too_many), SLUICE_REASON_IN_FLIGHT);
		after = get_state(pool);
		if (shared) {
			assert_int_equal(after.in_flight, 22);
			assert_int_equal(after.ended, 20);
			assert_int_equal(send_request(), SLUICE_REASON_IN_FLIGHT);
		} else {
			assert_memory_equal(&after, &before, sizeof(after));
		}
		assert_int_equal(after.waiting, 1);
		assert_int_equal(get_state(LLAMA).in_flight, 1);
		w.sample_count = 0;
		send_on(&chat, true, PSH | ACK, SSE_HEAD EVENT);
		assert_int_equal(w.sample_count, 1);
		assert_int_equal(w.samples[0].model, LLAMA);
		assert_int_equal(w.samples[0].sum_ns, 400 * MS);
		assert_int_equal(w.samples[0].queued_bytes, REQUEST_BYTES);
		assert_int_equal(w.samples[0].in_flight_at_admission, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_slot_is_free_as_soon_as_its_response_ends_or_its_connection_dies),
		packets_test(requests_are_counted_in_the_pool_of_their_model),
		packets_test(embeddings_count_for_a_chats_pool_only_if_they_share_it),
		packets_test(bytes_of_an_unstreamed_request_wait_as_long_as_predicted),
		packets_test(the_programs_decide_as_the_shared_arithmetic),
		packets_test(two_cpus_cannot_both_take_the_last_slot),
		packets_test(two_cpus_cannot_both_take_the_last_request_of_a_budget),
		packets_test(a_first_token_says_how_many_were_admitted_no_later),
		packets_test(in_shadow_mode_only_a_request_that_would_be_admitted_takes_a_slot),
		packets_test(a_model_was_last_seen_at_its_last_request),
	};

	return packets_main("admission", tests);
}
