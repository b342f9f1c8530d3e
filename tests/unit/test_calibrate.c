/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The calibration of sluice-sim. Its probes play on the simulator's own engine, in simulated time:
 * it must find that engine's shape. And its client must say in one line what a server does wrong,
 * within its bounds.
 */
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "calibrate/calibrate.h"
#include "calibrate/client.h"

#define MS 1000000ULL

/* ---- an engine as the server ---- */

struct lab {
	struct engine_shape shape;
	uint32_t takes;    /* tokens of a prompt, at most */
	bool cuts;         /* a longer one is cut to that, else refused */
	bool states;       /* the tokens of a prompt */
	bool whole;        /* a response is one event */
	uint32_t plays_ms; /* then the time is used up; 0: never */
	double fixed_ms;   /* before each request */
	/* in a play */
	struct engine engine;
	struct probe *probes;
	uint64_t clock_ns, used_ns;
};

static void lab_token(void *context, uint32_t id, uint64_t now_ns)
{
	struct lab *l = context;
	struct probe *p = &l->probes[id];

	if (l->whole && p->events)
		return;
	assert_true(p->events < PROBE_EVENTS(p->generate));
	p->event_ns[p->events++] = l->clock_ns + now_ns;
	p->tokens = p->events;
}

static void lab_end(void *context, uint32_t id, uint64_t now_ns)
{
}

static int lab_play(void *context, struct probe *probes, uint32_t count)
{
	struct lab *l = context;
	struct engine_events events = {lab_token, lab_end, l};
	bool sent[PROBES_MAX] = {false};
	uint64_t now = 0;

	l->probes = probes;
	assert_true(count && count <= PROBES_MAX);
	assert_int_equal(engine_init(&l->engine, &l->shape, &events, count), 0);
	engine_report_tokens(&l->engine, lab_token);
	do {
		for (uint32_t i = 0; i < count; i++) {
			struct probe *p = &probes[i];
			uint32_t prompt = p->prompt;

			if (sent[i] || probes[0].events < p->after)
				continue;
			sent[i] = true;
			p->sent_ns = l->clock_ns + now - (uint64_t)(l->fixed_ms * 1e6);
			p->refused = prompt > l->takes && !l->cuts;
			assert_true(!p->refused || p->refusable);
			if (prompt > l->takes)
				prompt = l->takes;
			p->prompt_tokens = l->states ? prompt : 0;
			if (!p->refused)
				assert_true(engine_submit(&l->engine, i, prompt, p->generate, now));
		}
		if (engine_due(&l->engine) == UINT64_MAX)
			break;
		/* Before its first step is planned, a step is due at once. */
		now = engine_due(&l->engine) > now ? engine_due(&l->engine) : now + 1;
		engine_run(&l->engine, now);
	} while (true);
	engine_free(&l->engine);
	l->clock_ns += now + MS;
	return l->plays_ms && l->clock_ns > l->plays_ms * MS ? -ETIME : 0;
}

static struct calibration measure(struct lab *l)
{
	const struct player player = {lab_play, l};
	struct calibration c;

	l->shape.kv_tokens = 1 << 24;
	l->clock_ns = 1000 * MS;
	if (!l->takes)
		l->takes = 1 << 20;
	assert_int_equal(calibrate(&player, &c), 0);
	return c;
}

static void near(double got, double want, double relative)
{
	if (fabs(got - want) > relative * want)
		fail_msg("%g is not %g", got, want);
}

static void the_simulators_engine_is_found_again(void **state)
{
	static const struct engine_shape shapes[] = {
		{32, 10000, 12, 0.5, 256, false, 0}, {4, 3000, 25, 2, 64, false, 0},
		{16, 40000, 14, 0.5, 2048, true, 0}, {64, 30000, 8, 0, 512, false, 0},
		{3, 2000, 40, 10, 512, false, 0},    {24, 16000, 12, 0.4, 256, false, 0},
		{6, 6000, 15, 1.5, 128, false, 0},   {5, 400, 1.3, 8.7, 2048, false, 0},
		{2, 500, 10, 3, 128, true, 0},       {48, 60000, 8, 0.1, 8192, false, 0},
	};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct lab l = {.shape = shapes[i], .states = i % 2};
		struct calibration c = measure(&l);
		double longest = c.fit.prompts[c.fit.prompt_count - 1].x;

		assert_int_equal(c.shape.slots, shapes[i].slots);
		assert_false(c.slots_at_least);
		near(c.shape.step_ms, shapes[i].step_ms, 1e-6);
		near(c.shape.step_ms_per_seq, shapes[i].step_ms_per_seq, 1e-5);
		near(c.shape.prefill_tokens_per_s, shapes[i].prefill_tokens_per_s, 1e-3);
		assert_int_equal(c.shape.prefill_first, shapes[i].prefill_first);
		/* A chunk as long as the longest prompt shows in no gap. */
		near(c.shape.chunk,
		     longest > shapes[i].chunk && !shapes[i].prefill_first ? shapes[i].chunk
									   : longest,
		     2e-3);
	}
}

static void what_no_stream_shows_is_said(void **state)
{
	struct lab many = {.shape = {300, 1e6, 5, 0.1, 4096, false, 0}};
	struct lab one = {.shape = {1, 5000, 10, 1, 512, false, 0}};
	struct lab slow = {.shape = {16, 5000, 10, 1, 512, false, 0}, .fixed_ms = 40};
	struct calibration c = measure(&many);

	assert_true(c.slots_at_least);
	assert_int_equal(c.shape.slots, PROBES_MAX);
	c = measure(&one);
	assert_false(c.slots_at_least);
	assert_int_equal(c.shape.slots, 1);
	assert_int_equal(c.fit.beside.kind, FIT_UNSEEN);
	c = measure(&slow);
	near(c.fit.fixed_ms, 10 + 40, 1e-6);
	near(c.shape.prefill_tokens_per_s, 5000, 1e-6);
	assert_int_equal(c.shape.chunk, 512);
}

static void a_prompt_that_is_refused_or_cut_is_the_last(void **state)
{
	for (int cuts = 0; cuts < 2; cuts++) {
		struct lab l = {.shape = {4, 1000, 10, 1, 256, false, 0},
				.takes = 1000,
				.cuts = cuts,
				.states = true};
		struct calibration c = measure(&l);

		assert_int_equal(c.fit.prompt_count, 3);
		assert_true(c.fit.prompts[2].x == 512);
		near(c.shape.prefill_tokens_per_s, 1000, 1e-6);
		assert_int_equal(c.shape.chunk, 256);
		assert_true(c.stated);
	}
}

static void when_the_time_is_used_up_what_is_known_counts(void **state)
{
	struct lab l = {.shape = {16, 1000, 10, 1, 256, false, 0}};
	struct calibration c = measure(&l);
	const struct player player = {lab_play, &l};

	assert_int_equal(c.shape.slots, 16);
	/* All but the last of its measurements, that of more streams than slots. */
	l.plays_ms = (uint32_t)(c.seconds * 1000);
	c = measure(&l);
	assert_true(c.slots_at_least);
	assert_int_equal(c.shape.slots, 16);
	near(c.shape.step_ms_per_seq, 1, 1e-6);
	l.plays_ms = 2000;
	l.clock_ns = 1000 * MS;
	memset(&c, 0x5a, sizeof(c));
	assert_int_equal(calibrate(&player, &c), -ETIME);
	assert_int_equal(c.requests, 0x5a5a5a5a);
}

static void responses_of_one_event_have_no_itl(void **state)
{
	struct lab l = {
		.shape = {4, 1000, 10, 1, 256, false, 1 << 20}, .takes = 4096, .whole = true};
	const struct player player = {lab_play, &l};
	struct calibration c;

	assert_int_equal(calibrate(&player, &c), -EPROTO);
}

/* A probe with events at these times, ms; -1 ends them. */
static struct probe probe_of(uint64_t *room, double sent_ms, const double *at_ms)
{
	struct probe p = {.sent_ns = (uint64_t)(sent_ms * 1e6), .event_ns = room};

	for (; *at_ms >= 0; at_ms++)
		room[p.events++] = (uint64_t)(*at_ms * 1e6);
	p.tokens = p.events;
	return p;
}

static void streams_are_compared_while_all_of_them_run(void **state)
{
	uint64_t room[3][16];
	bool settled;
	struct probe p[] = {
		probe_of(room[0], 0, (double[]){10, 20, 40, 60, 80, -1}),
		probe_of(room[1], 0, (double[]){30, 50, 70, 90, 100, -1}),
		probe_of(room[2], 0, (double[]){95, 100, -1}),
	};

	/* The second one begins at 30, the first one ends at 80. */
	assert_int_equal(fit_running(p, 3, 5, &settled), 2);
	assert_true(settled);
	assert_true(fabs(fit_itl(p, 3) - 20) < 1e-9);
	/* The third one might have come if the first one had lasted. */
	assert_int_equal(fit_running(p, 3, 26, &settled), 2);
	assert_false(settled);
	/* Two tokens in each event. */
	for (int i = 0; i < 3; i++)
		p[i].tokens *= 2;
	assert_true(fabs(fit_itl(p, 3) - 10) < 1e-9);
}

static void a_prompt_beside_a_stream_shows_how_it_is_read(void **state)
{
	static const struct {
		double first_ms;
		double at_ms[12];
		enum fit_beside_kind kind;
		double gap_ms;
	} rows[] = {
		/* sent at 45, amid a step */
		{100, {10, 20, 30, 40, 50, 75, 100, 110, -1}, FIT_CHUNKS, 25},
		{100, {10, 20, 30, 40, 50, 100, 110, -1}, FIT_STEP, 50},
		{90, {10, 20, 30, 40, 50, 100, 110, -1}, FIT_FIRST, 50},
		{90, {10, 20, 30, 40, 92, 102, -1}, FIT_STEP, 52}, /* the step came just after */
		{90, {10, 20, 30, 40, 50, 61, 70, 81, 90, -1}, FIT_CHUNKS, 10},
		{60, {10, 20, 30, 40, 50, 60, 70, -1}, FIT_UNSEEN, 0},
		{90, {10, 20, 30, 40, 50, 60, -1}, FIT_UNSEEN, 0}, /* it waited for the end */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t room[2][16];
		struct probe stream = probe_of(room[0], 0, rows[i].at_ms);
		struct probe prompt = probe_of(room[1], 45, (double[]){rows[i].first_ms, -1});
		struct fit_beside b = fit_beside(&stream, &prompt);

		assert_int_equal(b.kind, rows[i].kind);
		assert_true(fabs(b.gap_ms - rows[i].gap_ms) < 1e-9);
	}
}

static void the_options_have_no_exponent(void **state)
{
	struct engine_shape shape = {4, 1e9, 10000, 0.0000001, 1000000000, true, 0};
	char options[256];

	calibrate_options(&shape, options, sizeof(options));
	assert_string_equal(options, "--slots 4 --prefill-tokens-per-s 1000000000 --step-ms 10000 "
				     "--step-ms-per-seq 0 --chunk 1000000000 --prefill-first");
}

/* ---- a server that sends what a test says ---- */

struct server {
	int fd;
	char address[64];
	const char *response;
	size_t repeats; /* of the last part of the response, from `again` on */
	const char *again;
	char request[4096];
	pthread_t thread;
};

static bool whole_request(const char *request)
{
	const char *length = strstr(request, "Content-Length: "),
		   *end = strstr(request, "\r\n\r\n");

	return length && end && strlen(end + 4) >= strtoul(length + 16, NULL, 10);
}

static void *serve(void *arg)
{
	struct server *s = arg;
	int fd = accept(s->fd, NULL, NULL);
	size_t len = 0;

	while (!whole_request(s->request)) {
		ssize_t n = recv(fd, s->request + len, sizeof(s->request) - 1 - len, 0);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	for (const char *at = s->response; *at; at++)
		if (send(fd, at, 1, MSG_NOSIGNAL) < 0)
			break;
	for (size_t i = 0; i < s->repeats; i++)
		if (send(fd, s->again, strlen(s->again), MSG_NOSIGNAL) < 0)
			break;
	close(fd);
	return NULL;
}

static void listen_here(struct server *s)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(here);

	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(s->fd >= 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&here, len), 0);
	assert_int_equal(listen(s->fd, 8), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&here, &len), 0);
	snprintf(s->address, sizeof(s->address), "127.0.0.1:%u", ntohs(here.sin_port));
}

static void ready(struct client *c, const struct server *s, uint64_t time_ms)
{
	struct timespec now;

	assert_int_equal(client_open(c, s->address, "m\"1"), 0);
	clock_gettime(CLOCK_MONOTONIC, &now);
	c->until_ns = (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec + time_ms * MS;
	c->idle_ns = 20000 * MS;
}

/* One probe; returns what client_play() did. */
static int ask(struct server *s, struct client *c, struct probe *p, uint64_t time_ms)
{
	int ret;

	memset(s->request, 0, sizeof(s->request));
	listen_here(s);
	ready(c, s, time_ms);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	ret = client_play(c, p, 1);
	pthread_join(s->thread, NULL);
	close(s->fd);
	return ret;
}

#define SSE  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
#define TEXT "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"

static void what_a_server_does_wrong_is_one_line(void **state)
{
	static const struct {
		const char *response, *again, *error;
		size_t repeats;
	} rows[] = {
		{"SSH-2.0-OpenSSH_9.2\r\n", NULL, "does not answer in HTTP/1.1", 0},
		{"", NULL, "closes the connection without an answer", 0},
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno\n\033[2J m", NULL,
		 "answers with status 404: no \\u001b[2J m", 0},
		{"HTTP/1.1 503 No\r\nContent-Length: 900\r\n\r\nlater", NULL,
		 "answers with status 503: later", 0},
		{"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", NULL,
		 "answers with status 429: ", 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", NULL,
		 "answers with status 200, but not with a stream of events", 0},
		{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: "
		 "900\r\n\r\n" TEXT,
		 NULL, "breaks its response off, or its framing", 0},
		{SSE "data: {\"error\":{\"message\":\"out of memory\"}}\n\n", NULL,
		 "has an error in its stream: ", 0},
		{SSE "data: [DONE]\n\n", NULL, "sends a stream without a token", 0},
		{SSE, TEXT, "sends more than the 8 tokens that it was asked for", 100},
		{SSE TEXT "data: {\"choices\":[],\"usage\":{\"completion_tokens\":999}}\n\n", NULL,
		 "states 999 tokens, and was asked for 8", 0},
		{SSE, ": still here, and still here, and still here, and still here\n",
		 "sends more than a response of that length can have", 100000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct server s = {.response = rows[i].response,
				   .again = rows[i].again,
				   .repeats = rows[i].repeats};
		uint64_t times[PROBE_EVENTS(8)];
		struct probe p = {.prompt = 32, .generate = 8, .event_ns = times};
		struct client c = {0};

		assert_int_equal(ask(&s, &c, &p, 60000), -EPROTO);
		assert_string_equal(
			strncmp(c.error, rows[i].error, strlen(rows[i].error)) ? c.error : "", "");
	}
}

static void a_good_response_is_read_to_its_end(void **state)
{
	struct server s = {
		.response = "HTTP/1.1 100 Continue\r\n\r\n" SSE
			    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":"
			    "\"\"}}]}\n\n" TEXT ": ping\n\n" TEXT
			    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n"
			    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\": 41,"
			    "\"completion_tokens\":3}}\n\ndata: [DONE]\n\n"};
	uint64_t times[PROBE_EVENTS(8)];
	char content[2][32 * PROBE_TOKEN_BYTES + 1];
	struct client c = {0};

	for (int i = 0; i < 2; i++) {
		struct probe p = {.prompt = 32, .generate = 8, .event_ns = times};
		json_t *body, *message;

		assert_int_equal(ask(&s, &c, &p, 60000), 0);
		assert_int_equal(p.events, 2);
		assert_int_equal(p.tokens, 3);
		assert_int_equal(p.prompt_tokens, 41);
		assert_true(p.sent_ns && p.sent_ns <= times[0] && times[0] <= times[1]);
		body = json_loads(strstr(s.request, "\r\n\r\n"), 0, NULL);
		assert_non_null(body);
		assert_string_equal(json_string_value(json_object_get(body, "model")), "m\"1");
		assert_int_equal(json_integer_value(json_object_get(body, "max_tokens")), 8);
		assert_true(json_is_true(json_object_get(body, "stream")));
		message = json_array_get(json_object_get(body, "messages"), 0);
		snprintf(content[i], sizeof(content[i]), "%s",
			 json_string_value(json_object_get(message, "content")));
		assert_int_equal(strlen(content[i]), 32 * PROBE_TOKEN_BYTES);
		json_decref(body);
	}
	/* No cache may know the first word of a prompt. */
	assert_true(strcspn(content[0], " ") >= 8);
	assert_int_not_equal(strncmp(content[0], content[1], strcspn(content[0], " ")), 0);
}

static void only_a_prompt_that_may_be_refused_is(void **state)
{
	static const struct {
		const char *response;
		bool refusable;
		int ret;
	} rows[] = {
		{"HTTP/1.1 400 No\r\nContent-Length: 8\r\n\r\ntoo long", true, 0},
		{"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", true, 0},
		{SSE "data: {\"error\":{\"message\":\"too long\"}}\n\n", true, 0},
		{"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", false, -EPROTO},
		{"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", true, -EPROTO},
		{"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", true, -EPROTO},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct server s = {.response = rows[i].response};
		uint64_t times[PROBE_EVENTS(8)];
		struct probe p = {.prompt = 32,
				  .generate = 8,
				  .refusable = rows[i].refusable,
				  .event_ns = times};
		struct client c = {0};

		assert_int_equal(ask(&s, &c, &p, 60000), rows[i].ret);
		assert_int_equal(p.refused, !rows[i].ret);
	}
}

static void a_server_cannot_hold_the_client(void **state)
{
	struct server s = {.response = SSE, .again = ": wait\n\n", .repeats = SIZE_MAX};
	uint64_t times[PROBE_EVENTS(8)];
	struct probe p = {.prompt = 32, .generate = 8, .event_ns = times};
	struct client c = {0};

	/* It sends comments for ever. */
	assert_true(ask(&s, &c, &p, 20) < 0);
	/* It sends nothing. */
	p = (struct probe){.prompt = 32, .generate = 8, .event_ns = times};
	listen_here(&s);
	ready(&c, &s, 60000);
	c.idle_ns = 20 * MS;
	assert_int_equal(client_play(&c, &p, 1), -EPROTO);
	assert_string_equal(c.error, "has sent nothing for 0.02 s");
	/* The time of the whole ends before. */
	ready(&c, &s, 20);
	assert_int_equal(client_play(&c, &p, 1), -ETIME);
	/* It is not there. */
	ready(&c, &s, 60000);
	close(s.fd);
	assert_int_equal(client_play(&c, &p, 1), -EPROTO);
	assert_string_equal(c.error, "cannot connect: Connection refused");
}

static void an_address_is_a_host_and_a_port(void **state)
{
	static const char *const wrong[] = {"",
					    "8000",
					    ":8000",
					    "127.0.0.1",
					    "127.0.0.1:",
					    "127.0.0.1:0",
					    "::1:80",
					    "[::1]",
					    "127.0.0.1:http",
					    "1.1.1.1:65536",
					    "127.0.0.1:+80",
					    "[]:80",
					    "[::1]80"};
	struct client c = {0};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(client_open(&c, wrong[i], "m"), -EINVAL);
		assert_true(c.error[0]);
	}
	assert_int_equal(client_open(&c, "127.0.0.1:8000", "m"), 0);
	assert_int_equal(c.address.ss_family, AF_INET);
	assert_int_equal(ntohs(((struct sockaddr_in *)&c.address)->sin_port), 8000);
	assert_int_equal(client_open(&c, "[::1]:65535", "m"), 0);
	assert_int_equal(c.address.ss_family, AF_INET6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_simulators_engine_is_found_again),
		cmocka_unit_test(what_no_stream_shows_is_said),
		cmocka_unit_test(a_prompt_that_is_refused_or_cut_is_the_last),
		cmocka_unit_test(when_the_time_is_used_up_what_is_known_counts),
		cmocka_unit_test(responses_of_one_event_have_no_itl),
		cmocka_unit_test(streams_are_compared_while_all_of_them_run),
		cmocka_unit_test(a_prompt_beside_a_stream_shows_how_it_is_read),
		cmocka_unit_test(the_options_have_no_exponent),
		cmocka_unit_test(what_a_server_does_wrong_is_one_line),
		cmocka_unit_test(a_good_response_is_read_to_its_end),
		cmocka_unit_test(only_a_prompt_that_may_be_refused_is),
		cmocka_unit_test(a_server_cannot_hold_the_client),
		cmocka_unit_test(an_address_is_a_host_and_a_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
