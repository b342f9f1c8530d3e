/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Budgets, packet by packet, under a clock that the test moves. Exactly the requests that the quota
 * allows are admitted, and the wait in a refusal is exact. Tokens are charged as they leave.
 * Feedback replaces the Date header and changes nothing else. Each request comes on a connection of
 * its own.
 */
#include "one_client.h"

#define QUOTA 7
#define DATE  "date: Sun, 22 Nov 2026 02:42:00 GMT\r\n"
#define SSE_HEAD                                                                                   \
	"HTTP/1.1 200 OK\r\n" DATE                                                                 \
	"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
#define EVENT "17\r\ndata: {\"content\":\"a\"}\n\n\r\n"

static void set_quota(struct sluice_quota quota)
{
	struct sluice_service service = http_service();
	uint32_t id = QUOTA;

	assert_int_equal(bpf_map_update_elem(fd_of(quotas), &id, &quota, BPF_ANY), 0);
	clear_map(fd_of(client_state));
	service.quota = QUOTA;
	service.feedback = 1;
	set_both(HTTP_PORT, service);
}

static void put_weighted(uint16_t weight, uint16_t quota, uint32_t id)
{
	const struct sluice_weighted_key key = {weight, quota};

	assert_int_equal(bpf_map_update_elem(fd_of(weighted_quotas), &key, &id, BPF_ANY), 0);
}

static void the_quota_admits_its_exact_number_and_the_wait_is_exact(void **state)
{
	set_quota(per_period(4, 10000, 4));
	for (int i = 0; i < 4; i++)
		assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 2500);
	pass_ms(1000);
	assert_int_equal(send_request(), 1500);
	pass_ms(1499);
	assert_int_equal(send_request(), 1);
	pass_ms(1);
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 2500);
	assert_int_equal(
		requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_REQUEST_QUOTA),
		4);
	pass_ms(600000);
	for (int i = 0; i < 4; i++)
		assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 2500);
}

static void a_client_that_waits_its_retry_after_is_admitted_every_time(void **state)
{
	srand(20261122);
	for (int trial = 0; trial < 1000; trial++) {
		uint64_t requests = 1 + rand() % 500, period = 1000 + rand() % 100000;
		int64_t wait = -1;

		set_quota(per_period(requests, period, 1 + rand() % 5));
		for (int i = 0; i < 8 && wait < 0; i++)
			wait = send_request();
		if (wait < 0)
			continue;
		pass_ms(wait - 1);
		if (wait > 1)
			assert_int_equal(send_request(), 1);
		pass_ms(1);
		assert_int_equal(send_request(), -1);
		pass_ms(rand() % 1000);
	}
}

/* A refusal for another reason is not charged. */
static void only_admitted_requests_are_charged(void **state)
{
	struct sluice_model_flag shut = {.reason = SLUICE_REASON_TTFT, .retry_after_ms = 1000};

	set_quota(per_period(2, 10000, 2));
	set_flag(LLAMA, shut);
	for (int i = 0; i < 5; i++)
		assert_int_equal(send_request(), 1000);
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1});
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 5000);
}

static void the_quota_is_the_clients_then_its_prefixs_models_and_services(void **state)
{
	struct sluice_client_flag_key key = {.client = this_client(false)};
	struct sluice_quota quota = per_period(1, 1000, 1);
	uint32_t id;

	set_quota(quota); /* the service's: 1 s */
	for (id = QUOTA + 1; id <= QUOTA + 4; id++) {
		quota.request_ns = quota.request_span_ns = (id - QUOTA + 1) * 1000 * MS;
		assert_int_equal(bpf_map_update_elem(fd_of(quotas), &id, &quota, BPF_ANY), 0);
	}
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 1000);
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .quota = QUOTA + 1});
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 2000);
	set_prefix(false, 120, (struct sluice_prefix){.quota = QUOTA + 2});
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 3000);
	id = QUOTA + 3;
	bpf_map_update_elem(fd_of(client_quotas), &key, &id, BPF_ANY);
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 4000);
	key.model = LLAMA;
	id = QUOTA + 4;
	bpf_map_update_elem(fd_of(client_quotas), &key, &id, BPF_ANY);
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 5000);
	clear_map(fd_of(client_quotas));
	set_prefix(false, 128, (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT});
	for (int i = 0; i < 5; i++)
		assert_int_equal(send_request(), -1);
}

#define POST "POST / HTTP/1.1\r\nContent-Length: "

/* … however the body spells it: all of these draw on the budget of one model. */
static void a_models_quota_is_charged_however_the_body_spells_it(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} requests[] = {
#define SPELT(text) {text, sizeof(text) - 1}
		SPELT(REQUEST_TEXT),
		SPELT(POST "17\r\n\r\n{\"MODEL\":\"llama\"}"),
		SPELT(POST "22\r\n\r\n{\"\\u004dodel\":\"llama\"}"),
		SPELT(POST "34\r\n\r\n{\0\"\0m\0o\0d\0e\0l\0\"\0:\0\"\0l\0l\0a\0m\0a\0\"\0}\0"),
		SPELT(POST "25\r\n\r\n{/**/\"model\"://\n\"llama\",}"),
		SPELT(POST "32\r\n\r\n{\"model\":\"qwen\",\"Model\":\"llama\"}"),
#undef SPELT
	};

	set_quota((struct sluice_quota){});
	put_quota(QUOTA + 1, per_period(6, 6000, 6));
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .quota = QUOTA + 1});
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		connect_anew();
		assert_int_equal(send_bytes(false, PSH | ACK, requests[i].text, requests[i].len),
				 THEN_UNSPEC);
	}
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		connect_anew();
		assert_int_not_equal(
			send_bytes(false, PSH | ACK, requests[i].text, requests[i].len),
			THEN_UNSPEC);
	}
	w.refusal_count = 0;
	assert_int_equal(send_request(), 1000);
}

#define OK_TEXT "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

/* Go's decoder reads to the end of the object. Its server answers while the client withholds the
 * bytes after it. */
static void a_request_is_charged_when_its_object_has_ended(void **state)
{
	static const struct {
		const char *text, *rest;
	} rows[] = {
		{POST "19\r\n\r\n{\"model\":\"llama\"} ", " "},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"model\":\"llama\"}\r\n",
		 "0\r\n\r\n"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set_quota(per_period(3, 3000, 3));
		for (int n = 0; n < 3; n++) {
			connect_anew();
			assert_int_equal(send_segment(false, PSH | ACK, rows[i].text), THEN_UNSPEC);
		}
		connect_anew();
		assert_int_not_equal(send_segment(false, PSH | ACK, rows[i].text), THEN_UNSPEC);
		assert_int_equal(get_state(LLAMA).in_flight, 3);
		w.refusal_count = 0;
		/* answered early, and whole later; the next request has a verdict of its own */
		pass_ms(3000);
		connect_anew();
		assert_int_equal(send_segment(false, PSH | ACK, rows[i].text), THEN_UNSPEC);
		assert_int_equal(get_state(LLAMA).in_flight, 4);
		send_segment(true, PSH | ACK, OK_TEXT);
		assert_int_equal(get_state(LLAMA).in_flight, 3);
		assert_int_equal(send_segment(false, PSH | ACK, rows[i].rest), THEN_UNSPEC);
		assert_int_equal(get_state(LLAMA).in_flight, 3);
		assert_int_equal(send_segment(false, PSH | ACK, REQUEST_TEXT), THEN_UNSPEC);
		assert_int_equal(get_state(LLAMA).in_flight, 4);
		send_segment(true, PSH | ACK, OK_TEXT);
		assert_int_equal(get_state(LLAMA).in_flight, 3);
		/* whole before it is answered: one request */
		assert_int_equal(send_segment(false, PSH | ACK, rows[i].text), THEN_UNSPEC);
		assert_int_equal(send_segment(false, PSH | ACK, rows[i].rest), THEN_UNSPEC);
		assert_int_equal(get_state(LLAMA).in_flight, 4);
		send_segment(true, PSH | ACK, OK_TEXT);
		assert_int_equal(get_state(LLAMA).in_flight, 3);
		assert_int_not_equal(send_segment(false, PSH | ACK, rows[i].text), THEN_UNSPEC);
		w.refusal_count = 0;
		assert_int_equal(
			requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE),
			6);
		reset_world();
	}
}

/*
 * A weight of two has its own quota: the one written for it instead of the model's or the
 * service's.
 */
static void a_prefixs_weight_selects_another_quota_for_model_and_service(void **state)
{
	enum { MODELS = QUOTA + 1, TWICE = QUOTA + 2, MODELS_TWICE = QUOTA + 3, OWN = QUOTA + 4 };
	const struct sluice_prefix twice = {.weight = 2 * SLUICE_WEIGHT_ONE};
	struct sluice_client_flag_key key = {.client = this_client(false)};
	struct sluice_quota quota = per_period(1, 10000, 1);
	uint32_t id;

	set_quota(quota);
	put_quota(TWICE, per_period(2, 10000, 2));
	put_quota(MODELS, per_period(3, 30000, 1));
	put_quota(MODELS_TWICE, per_period(5, 30000, 3));
	put_quota(OWN, per_period(1, 7000, 1));
	set_prefix(false, 120, twice);
	assert_int_equal(send_request(),
			 -1); /* no quota is written for twice its rate: the quota itself holds */
	assert_int_equal(send_request(), 10000);
	put_weighted(twice.weight, QUOTA, TWICE);
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 5000);
	pass_ms(5000);
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 5000);
	/* a weight of one changes nothing, and the longer prefix decides */
	put_weighted(SLUICE_WEIGHT_ONE, QUOTA, TWICE);
	set_prefix(false, 128, (struct sluice_prefix){.weight = SLUICE_WEIGHT_ONE});
	pass_ms(10000);
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 10000);
	set_prefix(false, 128, twice);
	/* the model's */
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .quota = MODELS});
	put_weighted(twice.weight, MODELS, MODELS_TWICE);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 6000);
	/* the quotas of a prefix and of a client stay as they are */
	put_weighted(twice.weight, OWN, MODELS_TWICE);
	set_prefix(false, 128, (struct sluice_prefix){.weight = twice.weight, .quota = OWN});
	assert_int_equal(send_request(), -1);
	assert_int_equal(send_request(), 7000);
	set_prefix(false, 128, twice);
	id = OWN;
	bpf_map_update_elem(fd_of(client_quotas), &key, &id, BPF_ANY);
	assert_int_equal(send_request(), 7000);
}

static void tokens_are_charged_as_they_leave_and_a_client_waits_for_its_debt(void **state)
{
	set_quota((struct sluice_quota){
		.token_ns = 1000 * MS, .token_span_ns = 3000 * MS, .token_most_ns = 6000 * MS});
	assert_int_equal(send_request(), -1);
	send_segment(true, ACK, SSE_HEAD);
	for (int i = 0; i < 2; i++)
		send_segment(true, ACK, EVENT);
	assert_int_equal(send_request(), -1); /* one token is left */
	send_segment(true, ACK, SSE_HEAD);
	send_segment(true, ACK, EVENT EVENT);
	send_segment(true, ACK, EVENT EVENT EVENT EVENT EVENT EVENT EVENT EVENT);
	/*
	 * twelve tokens spent of three: the debt is bounded at three more, and one token must be
	 * there again
	 */
	assert_int_equal(send_request(), 4000);
	assert_int_equal(w.refusals[0].reason, SLUICE_REASON_TOKEN_QUOTA);
	pass_ms(3999);
	assert_int_equal(send_request(), 1);
	pass_ms(1);
	assert_int_equal(send_request(), -1);
}

#define LOGPROB "{\"1\":{\"logprob\":-1.5,\"rank\":12,\"decoded_token\":\"a\"}},"
#define FAR     LOGPROB LOGPROB LOGPROB LOGPROB LOGPROB LOGPROB LOGPROB LOGPROB

static void a_unary_response_costs_the_tokens_that_it_states(void **state)
{
	static const struct {
		const char *body;
		int64_t wait;
	} rows[] = {
		{"{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5,\"total_tokens\":14}}",
		 6000},
		{"{\"usage\":{\"completion_tokens\": 3}}", 4000},
		{"{\"usage\":{\"input_tokens\":9,\"output_tokens\":2}}", 3000},
		{"{\"prompt_eval_count\":70,\"eval_count\":4,\"done\":true}", 5000},
		{"{\"generated_tokens\":4}", 5000},
		{"{\"stats\":{\"total_output_tokens\":4}}", 5000},
		{"{\"usage\":{\"completion_tokens\" :4}}", 5000},
		/* a client asks for more after the number: vLLM, TGI */
		{"{\"usage\":{\"completion_tokens\":4},\"prompt_logprobs\":[" FAR FAR FAR "null]}",
		 5000},
		{"{\"details\":{\"generated_tokens\":4,\"tokens\":[" FAR FAR FAR "null]}}", 5000},
		{"{\"tokens_predicted\":1,\"timings\":{\"predicted_n\":4,\"predicted_ms\":9.5}}",
		 5000},
		/* what its model or its user has written is no number of the server's */
		{"{\"message\":{\"tool_calls\":[{\"function\":{\"arguments\":{\"eval_count\":1}}}]},"
		 "\"eval_count\":4}",
		 5000},
		{"{\"usage\":{\"output_tokens\":4},\"metadata\":{\"output_tokens\":\"1\"}}", 5000},
		{"{\"completion_tokens\":null}", -1},
		{"{\"text\":\"five\"}", -1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char reply[2048];

		set_quota((struct sluice_quota){.token_ns = 1000 * MS,
						.token_span_ns = 1000 * MS,
						.token_most_ns = 100000 * MS});
		assert_int_equal(send_request(), -1);
		snprintf(
			reply, sizeof(reply),
			"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
			strlen(rows[i].body), rows[i].body);
		send_segment(true, ACK, reply);
		/* n tokens of a budget of one: after n seconds one is there again */
		if (send_request() != (rows[i].wait < 0 ? -1 : rows[i].wait - 1000))
			fail_msg("row %zu", i);
	}
}

static void what_a_unary_response_states_in_any_segment_is_charged_once(void **state)
{
#define STATES(n) "{\"usage\":{\"output_tokens\":" #n "}}"
	static const struct {
		const char *piece[3];
		bool closes;
		int64_t tokens;
	} rows[] = {
		{{"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n" STATES(5), "\n"}, .tokens = 5},
		{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n" STATES(5), "\r\n",
		  "0\r\n\r\n"},
		 .tokens = 5},
		{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n" STATES(9) "\r\n",
		  "1d\r\n" STATES(5) "\r\n0\r\n\r\n"},
		 .tokens = 5},
		{{"HTTP/1.0 200 OK\r\n\r\n" STATES(5)}, true, 5},
		{{"HTTP/1.0 200 OK\r\n\r\n" STATES(9), "{}", STATES(5)}, true, 5},
		{{"HTTP/1.0 200 OK\r\n\r\n", STATES(5), STATES(9)}, true, 9},
		{{"HTTP/1.0 503 Busy\r\n\r\n" STATES(5)}, true, -1},
		{{"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n" STATES(5)}, true, -1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set_quota((struct sluice_quota){.token_ns = 1000 * MS,
						.token_span_ns = 1000 * MS,
						.token_most_ns = 100000 * MS});
		assert_int_equal(send_request(), -1);
		for (int k = 0; k < 3 && rows[i].piece[k]; k++)
			send_segment(true, ACK, rows[i].piece[k]);
		if (rows[i].closes)
			send_segment(true, FIN | ACK, "");
		if (send_request() != (rows[i].tokens < 0 ? -1 : rows[i].tokens * 1000))
			fail_msg("row %zu", i);
	}
}

static void a_number_that_segments_cut_is_charged_whole(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n";
	static const char body[] = "{\"usage\":{\"output_tokens\": 57}}";

	for (int width = 1; width < 31; width++) {
		set_quota((struct sluice_quota){.token_ns = 1000 * MS,
						.token_span_ns = 1000 * MS,
						.token_most_ns = 100000 * MS});
		assert_int_equal(send_request(), -1);
		send_segment(true, ACK, head);
		for (int at = 0; at < 31; at += width) {
			char piece[40];

			snprintf(piece, sizeof(piece), "%.*s", width, body + at);
			send_segment(true, ACK, piece);
		}
		if (send_request() != 57000)
			fail_msg("segments of %d bytes", width);
	}
}

#define TEXT  "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
#define USAGE "data: {\"choices\":[],\"usage\":{\"completion_tokens\":%d}}\n\n"

/* Sends a stream of three texts, and of its usage, if that is not zero. */
static void answer_in_events(int usage)
{
	char stated[128] = "", head[256];

	if (usage)
		snprintf(stated, sizeof(stated), USAGE, usage);
	snprintf(
		head, sizeof(head),
		"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %zu\r\n\r\n",
		3 * strlen(TEXT) + strlen(stated) + 14);
	send_segment(true, ACK, head);
	for (int i = 0; i < 3; i++)
		send_segment(true, ACK, TEXT);
	if (usage)
		send_segment(true, ACK, stated);
	send_segment(true, ACK, "data: [DONE]\n\n");
}

static void a_stream_costs_what_it_states_once(void **state)
{
	static const struct {
		int usage, tokens;
	} rows[] = {{0, 3}, {3, 3}, {7, 7}, {1, 1}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set_quota((struct sluice_quota){.token_ns = 1000 * MS,
						.token_span_ns = 10000 * MS,
						.token_most_ns = 100000 * MS});
		assert_int_equal(send_request(), -1);
		answer_in_events(rows[i].usage);
		assert_int_equal(send_request(), -1);
		answer_in_events(10);
		/* of ten tokens so many and ten more are spent, and one must be there again */
		if (send_request() != (rows[i].tokens + 1) * 1000)
			fail_msg("row %zu", i);
	}
}

#define CLOSING(choice, rest) "data: {\"choices\":[" choice "]" rest "}\n\n"

/* Each comes after three texts of a budget of one token. */
static void a_streams_closing_events_cost_nothing(void **state)
{
	static const char *const rows[] = {
		"data: [DONE]\n\n",
		CLOSING("{\"delta\":{},\"finish_reason\":\"stop\"}", ""),
		CLOSING("{\"delta\":{\"content\":\"\"},\"finish_reason\":\"length\"}", ""),
		CLOSING("{\"delta\":{\"role\":\"assistant\",\"content\":null},"
			"\"finish_reason\":\"tool_calls\"}",
			""),
		CLOSING("{\"delta\":{},\"finish_reason\":\"stop\"}", ",\"usage\":null"),
		CLOSING("", ",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":12}"),
		CLOSING("", ",\"usage\":{\"completion_tokens\":3}"),
		CLOSING("", ""),
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int ended = 0; ended < 2; ended++) {
			set_quota((struct sluice_quota){.token_ns = 1000 * MS,
							.token_span_ns = 1000 * MS,
							.token_most_ns = 100000 * MS});
			assert_int_equal(send_request(), -1);
			send_segment(
				true, ACK,
				"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" TEXT
					TEXT TEXT);
			send_segment(true, ACK, rows[i]);
			if (ended)
				send_segment(true, ACK | FIN, "");
			if (send_request() != 3000)
				fail_msg("%s", rows[i]);
		}
	}
}

static void what_a_stream_states_is_charged_before_its_end_if_it_is_more(void **state)
{
	set_quota((struct sluice_quota){
		.token_ns = 1000 * MS, .token_span_ns = 1000 * MS, .token_most_ns = 100000 * MS});
	assert_int_equal(send_request(), -1);
	send_segment(true, ACK, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" TEXT);
	send_segment(true, ACK,
		     "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],"
		     "\"usage\":{\"completion_tokens\":6}}\n\n");
	assert_int_equal(send_request(), 6000);
}

static void what_the_bound_of_a_debt_forgave_is_not_given_back(void **state)
{
	set_quota((struct sluice_quota){
		.token_ns = 1000 * MS, .token_span_ns = 1000 * MS, .token_most_ns = 3000 * MS});
	assert_int_equal(send_request(), -1);
	answer_in_events(1); /* the third text is at the bound */
	assert_int_equal(send_request(), 3000);
	pass_ms(2999);
	assert_int_equal(send_request(), 1);
}

/* The sent packet has `text` instead of its Date, and its checksum is right. */
static void assert_feedback(const char *text)
{
	struct segment s = {.from_server = true,
			    .flags = PSH | ACK,
			    .window = 512,
			    .ack = client_at,
			    .client_port = port};
	char want[512] = SSE_HEAD, *date = strstr(want, "date");
	struct frame expected;

	memset(date, ' ', 35);
	memcpy(date, text, strlen(text));
	s.text = want;
	s.len = strlen(want);
	s.seq = server_at - s.len;
	make_frame(&expected, &shape, &s);
	assert_same_frame(&out, &expected);
}

static void feedback_replaces_the_date_and_changes_nothing_else(void **state)
{
	/* the kernel maintains a sum left to the device: tests/e2e/test_quota.sh */
	static const struct shape ways[] = {
		{.options = OPTIONS_TS}, {.options = OPTIONS_NONE}, {.link = LINK_VLAN}};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		shape = ways[i];
		set_quota(per_period(5, 10000, 5));
		for (int left = 4; left >= 0; left--) {
			char want[64];

			snprintf(want, sizeof(want), "RateLimit: \"requests\";r=%d;t=%d", left,
				 2 * (5 - left));
			assert_int_equal(send_request(), -1);
			send_segment(true, PSH | ACK, SSE_HEAD);
			assert_feedback(want);
			/* retransmitted later: the same bytes */
			pass_ms(3);
			server_at -= strlen(SSE_HEAD);
			send_segment(true, PSH | ACK, SSE_HEAD);
			assert_feedback(want);
			pass_ms(0);
		}
		pass_ms(100000);
	}
	memset(&shape, 0, sizeof(shape));
	assert_int_equal(counter(SLUICE_COUNTER_FEEDBACK_ABSENT), 0);
	/* cut by a segment's end: unchanged, and counted */
	assert_int_equal(send_request(), -1);
	send_segment(true, ACK, "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov");
	assert_int_equal(counter(SLUICE_COUNTER_FEEDBACK_ABSENT), 1);
	/* an error response carries no feedback */
	assert_int_equal(send_request(), -1);
	send_segment(true, ACK, "HTTP/1.1 500 Oh\r\n" DATE "Content-Length: 0\r\n\r\n");
	assert_non_null(memmem(out.data, out.len, DATE, strlen(DATE)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(the_quota_admits_its_exact_number_and_the_wait_is_exact),
		packets_test(a_client_that_waits_its_retry_after_is_admitted_every_time),
		packets_test(only_admitted_requests_are_charged),
		packets_test(the_quota_is_the_clients_then_its_prefixs_models_and_services),
		packets_test(a_models_quota_is_charged_however_the_body_spells_it),
		packets_test(a_request_is_charged_when_its_object_has_ended),
		packets_test(a_prefixs_weight_selects_another_quota_for_model_and_service),
		packets_test(tokens_are_charged_as_they_leave_and_a_client_waits_for_its_debt),
		packets_test(a_unary_response_costs_the_tokens_that_it_states),
		packets_test(what_a_unary_response_states_in_any_segment_is_charged_once),
		packets_test(a_number_that_segments_cut_is_charged_whole),
		packets_test(a_stream_costs_what_it_states_once),
		packets_test(a_streams_closing_events_cost_nothing),
		packets_test(what_a_stream_states_is_charged_before_its_end_if_it_is_more),
		packets_test(what_the_bound_of_a_debt_forgave_is_not_given_back),
		packets_test(feedback_replaces_the_date_and_changes_nothing_else),
	};

	return packets_main("quota", tests);
}
