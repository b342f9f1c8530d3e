/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Questions to `predict` while packets are judged on the same CPU. The programs are attached to a
 * veth. A thread on another CPU plays the clients, and RPS hands their packets to this CPU by an
 * interrupt. Where BPF_PROG_TEST_RUN leaves softirqs on (Linux 6.1), some are judged in the middle
 * of a question; elsewhere they wait until it ends. The answers are known and stay the same, and
 * every packet is judged as without questions.
 */
#include "packets.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mount.h>

#include "core/service.h"
#define names_changed names_changed_in_datapath /* world.h has its own */
#include "datapath/internal.h"

#define ROUNDS     1500 /* of one request admitted, one refused, one SYN refused */
#define FIRST_PORT 20000
#define SHARED     9 /* a model whose pool has one slot, which is taken */
#define QUOTA      5

static const struct shape v4, v6 = {.ipv6 = true};

/* ---- the clients ---- */

static struct {
	int cpu, wire; /* a packet socket at the far end of the veth */
	bool stop, done;
	const char *failed;
} clients;

/* `model` has 7 bytes. */
#define REQUEST(model)                                                                             \
	"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\n"              \
	"{\"model\":" model ",\"stream\":true}"

static bool put_on_wire(const struct shape *shape, struct segment segment)
{
	static struct frame f;

	segment.window = 512;
	segment.len = strlen(segment.text);
	make_frame(&f, shape, &segment);
	return send(clients.wire, f.data, f.len, 0) == (ssize_t)f.len;
}

static bool send_request(uint16_t port, const char *text)
{
	return put_on_wire(&v4, (struct segment){.flags = PSH | ACK,
						 .seq = CLIENT_ISN + 1,
						 .ack = SERVER_ISN + 1,
						 .text = text,
						 .client_port = port});
}

/* Waits for the answer to a refusal. */
static bool answered(void)
{
	uint8_t data[FRAME_MAX];

	return recv(clients.wire, data, sizeof(data), 0) > 0;
}

/* One round. It ends when both refusals are answered, so no queue overflows. */
static const char *play_round(unsigned i)
{
	uint16_t port = FIRST_PORT + 2 * i;
	struct segment syn = {.flags = SYN, .seq = CLIENT_ISN, .text = "", .client_port = port};

	if (!send_request(port, REQUEST("\"llama\"")) ||
	    !send_request(port + 1, REQUEST("\"qwen\" ")) || !put_on_wire(&v6, syn))
		return "a packet is not sent";
	return answered() && answered() ? NULL : "a refusal is not answered";
}

static void *play_clients(void *arg)
{
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(clients.cpu, &cpu);
	pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu);
	for (unsigned i = 0; i < ROUNDS && !clients.failed; i++) {
		if (__atomic_load_n(&clients.stop, __ATOMIC_RELAXED))
			break;
		clients.failed = play_round(i);
	}
	__atomic_store_n(&clients.done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* ---- the interface ---- */

static void attach(enum bpf_tc_attach_point point, struct bpf_program *program)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = w.ifindex, .attach_point = point);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1,
			    .prog_fd = bpf_program__fd(program));

	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
}

/* Every packet that t0 receives interrupts this CPU. */
static void steer_here(int cpu)
{
	int fd = open("/sys/class/net/t0/queues/rx-0/rps_cpus", O_WRONLY | O_CLOEXEC);
	char mask[512];
	int n = snprintf(mask, sizeof(mask), "%x", 1U << cpu % 32);

	for (int word = cpu / 32; word > 0; word--)
		n += snprintf(mask + n, sizeof(mask) - (size_t)n, ",00000000");
	assert_true(fd >= 0);
	assert_int_equal(write(fd, mask, (size_t)n), n);
	close(fd);
}

static int world_and_wire(void **state)
{
	struct sockaddr_ll far = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct timeval patience = {.tv_sec = 60};

	/* /sys shows the network namespace of the process that mounts it. */
	if (world_open(state) || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL))
		return -1;
	far.sll_ifindex = (int)if_nametoindex("t1");
	clients.wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	return clients.wire < 0 ||
	       setsockopt(clients.wire, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	       bind(clients.wire, (struct sockaddr *)&far, sizeof(far));
}

/* ---- the questions ---- */

static struct row_question {
	const char *what;
	uint32_t model, flags;
	uint8_t client[4]; /* its IPv4 address */
	enum sluice_reason reason;
	enum sluice_override override;
	uint32_t retry_after_ms;
	struct sluice_answer first;
} questions[] = {
	{"that is admitted", SLUICE_MODEL_OTHER, 0, {203, 0, 113, 1}},
	{"of a shut model", QWEN, 0, {203, 0, 113, 1}, SLUICE_REASON_ITL, 0, 7000},
	{"beyond a quota",
	 SLUICE_MODEL_OTHER,
	 0,
	 {203, 0, 113, 2},
	 SLUICE_REASON_REQUEST_QUOTA,
	 0,
	 3000},
	{"beyond the pool's slots", SHARED, 0, {203, 0, 113, 1}, SLUICE_REASON_IN_FLIGHT, 0, 4000},
	{"in an allowed client's SYN",
	 0,
	 SLUICE_QUESTION_SYN,
	 {203, 0, 113, 3},
	 0,
	 SLUICE_OVERRIDE_ALLOWED,
	 5000}, /* the rule's end */
};

#define QUESTIONS (sizeof(questions) / sizeof(questions[0]))

static struct sluice_client client_of(const struct row_question *row)
{
	struct sluice_client client = {.plen = 128, .addr = {[10] = 0xff, 0xff}};

	memcpy(client.addr + 12, row->client, 4);
	return client;
}

static struct sluice_answer ask(const struct row_question *row)
{
	static struct datapath target;
	struct service service = {.id = HTTP_ID, .port = HTTP_PORT};
	struct sluice_question q = {
		.client = client_of(row),
		.model = row->model,
		.bytes = 100,
		.flags = SLUICE_QUESTION_ADDRESS | row->flags,
	};
	struct sluice_answer a;

	memcpy(q.addr, q.client.addr, 16);
	memcpy(service.addr, server_v4, 16);
	target.skel = w.skel;
	target.services = &service;
	target.service_count = 1;
	if (datapath_predict(&target, HTTP_ID, &q, &a))
		memset(&a, 0xff, sizeof(a)); /* no answer: it differs from the first */
	return a;
}

/* ---- the state ---- */

static void put_admission(void)
{
	struct sluice_model_flag shared = {
		.allow = 1,
		.pool = SHARED,
		.limit_retry_ms = 4000,
		.admission = {.ceiling = 1, .floor = 1},
	};

	for (int r = 0; r < SLUICE_RANKS; r++)
		shared.admission.level[r] = shared.admission.queue_budget_level[r] = ADMISSION_ALL;
	set_flag(SHARED, shared);
	add_in_flight(SHARED, 1);
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .pool = LLAMA});
	set_flag(SLUICE_MODEL_OTHER,
		 (struct sluice_model_flag){.allow = 1, .pool = SLUICE_MODEL_OTHER});
	set_flag(QWEN, (struct sluice_model_flag){
			       .pool = QWEN, .reason = SLUICE_REASON_ITL, .retry_after_ms = 7000});
}

static void put(int fd, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(fd, key, value, BPF_ANY), 0);
}

static void put_rules_of_clients(void)
{
	struct sluice_client_flag_key spent = {.client = client_of(&questions[2])},
				      exempt = {.client = client_of(&questions[4])};
	struct sluice_budget_key key = {.client = spent.client, .quota = QUOTA};
	struct sluice_quota quota = {.request_ns = 1000 * MS, .request_span_ns = 1000 * MS};
	struct sluice_budget budget = {.request_tat_ns = CLOCK_START + 3000 * MS,
				       .last_seen_ns = CLOCK_START};
	struct sluice_client_flag allowed = {.allow = 1, .expires_ns = CLOCK_START + 5000 * MS};
	uint32_t id = QUOTA;

	put(fd_of(quotas), &id, &quota);
	put(fd_of(client_quotas), &spent, &id);
	put(fd_of(client_state), &key, &budget);
	put(fd_of(client_flags), &exempt, &allowed);
	set_client_flag(true, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						    .action = SLUICE_ACTION_RESET});
}

static void connect_clients(void)
{
	static struct frame in, out;

	for (unsigned i = 0; i < 2 * ROUNDS; i++) {
		struct segment s = {.from_server = true,
				    .flags = SYN | ACK,
				    .seq = SERVER_ISN,
				    .ack = CLIENT_ISN + 1,
				    .window = 512,
				    .text = "",
				    .client_port = (uint16_t)(FIRST_PORT + i)};

		make_frame(&in, &v4, &s);
		assert_int_equal(run_tc(w.skel->progs.responses, &in, &out), THEN_UNSPEC);
		s.from_server = false;
		s.flags = ACK;
		s.seq = CLIENT_ISN + 1;
		s.ack = SERVER_ISN + 1;
		make_frame(&in, &v4, &s);
		assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
	}
}

/* Every packet was judged, once and as it would be without questions. */
static void assert_judged(void)
{
	struct sluice_model_state all = get_state(SLUICE_MODEL_ALL), llama = get_state(LLAMA);
	int64_t bytes = (int64_t)strlen(REQUEST("\"llama\""));

	assert_int_equal(requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE),
			 ROUNDS);
	assert_int_equal(requests_of(HTTP_ID, QWEN, SLUICE_VERDICT_REJECTED, SLUICE_REASON_ITL),
			 ROUNDS);
	assert_int_equal(
		requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_SYN_RESET, SLUICE_REASON_CLIENT_BLOCKED),
		ROUNDS);
	assert_int_equal(requests_in_all(), 3 * ROUNDS);
	assert_int_equal(all.in_flight, ROUNDS);
	assert_int_equal(all.waiting, ROUNDS);
	assert_int_equal(llama.in_flight, ROUNDS);
	assert_int_equal(llama.waiting, ROUNDS);
	assert_int_equal(llama.waiting_bytes, ROUNDS * bytes);
	assert_int_equal(llama.admitted, ROUNDS);
	assert_int_equal(get_state(SHARED).in_flight, 1);
	for (uint32_t i = SLUICE_MODEL_OTHER; i < MODELS_USED; i++)
		if (i != LLAMA && i != SHARED)
			assert_int_equal(get_state(i).in_flight, 0);
	assert_int_equal(client_holds(SLUICE_MODEL_ALL), ROUNDS);
	assert_int_equal(entries(fd_of(conns)), ROUNDS);
	assert_int_equal(entries(fd_of(client_in_flight)), 1);
}

static void questions_and_packets_on_one_cpu_do_not_disturb_each_other(void **state)
{
	const struct row_question *wrong = NULL;
	struct sluice_answer a;
	pthread_t thread;
	unsigned asked = 0;
	int cpu = sched_getcpu();
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = w.ifindex,
			    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	w.unread = true; /* the rings have no room for all records */
	put_admission();
	put_rules_of_clients();
	connect_clients();
	for (struct row_question *row = questions; row < questions + QUESTIONS; row++) {
		row->first = ask(row);
		assert_int_equal(row->first.answered, 1);
		assert_int_equal(row->first.reason, row->reason);
		assert_int_equal(row->first.override, row->override);
		assert_int_equal(row->first.retry_after_ms, row->retry_after_ms);
	}
	assert_int_equal(bpf_tc_hook_create(&hook), 0);
	attach(BPF_TC_INGRESS, w.skel->progs.requests);
	attach(BPF_TC_EGRESS, w.skel->progs.responses);
	steer_here(cpu);
	clients.cpu = (cpu + 1) % w.cpus;
	assert_int_equal(pthread_create(&thread, NULL, play_clients, NULL), 0);
	while (!wrong && !__atomic_load_n(&clients.done, __ATOMIC_ACQUIRE)) {
		const struct row_question *row = &questions[asked++ % QUESTIONS];

		a = ask(row);
		if (memcmp(&a, &row->first, sizeof(a)))
			wrong = row;
	}
	__atomic_store_n(&clients.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	read_filled(fd_of(verdicts));
	print_message("%u questions during %u packets\n", asked, 3 * ROUNDS);
	if (wrong)
		fail_msg("question %u, on a request %s: reason %u, override %u, retry after %u ms, "
			 "and not %u, %u, %u",
			 asked, wrong->what, a.reason, a.override, a.retry_after_ms,
			 wrong->first.reason, wrong->first.override, wrong->first.retry_after_ms);
	if (clients.failed)
		fail_msg("%s", clients.failed);
	assert_judged();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(questions_and_packets_on_one_cpu_do_not_disturb_each_other),
	};

	return (geteuid() ? (fprintf(stderr, "interrupt: needs root\n"), 77)
			  : cmocka_run_group_tests_name("interrupt", tests, world_and_wire,
							world_close));
}
