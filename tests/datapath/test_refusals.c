/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A refusal on the wire: every byte of the 429, or of the reset, to the client, and of the RST to
 * the server, for every reason to refuse and every kind of connection.
 */
#include "requests.h"

#include <jansson.h>

/* The value of a header of the 429, without trailing spaces; NULL if it is missing. */
static const char *header(const struct seen *reply, const char *name)
{
	static char head[SLUICE_REPLY_MAX + 1], value[256];
	char *at, *end, line[64];

	memcpy(head, reply->text, reply->len);
	head[reply->len] = 0;
	end = strstr(head, "\r\n\r\n");
	assert_non_null(end);
	end[2] = 0;
	snprintf(line, sizeof(line), "\r\n%s: ", name);
	at = strstr(head, line);
	if (!at)
		return NULL;
	assert_null(strstr(at + 2, line));
	at += strlen(line);
	end = strstr(at, "\r\n");
	while (end > at && end[-1] == ' ')
		end--;
	snprintf(value, sizeof(value), "%.*s", (int)(end - at), at);
	return value;
}

/* A 429 is complete: the wait of ms in its three forms, and a body that clients can parse. */
static void assert_429(const struct seen *reply, enum sluice_reason reason, const char *model,
		       uint32_t ms)
{
	uint32_t seconds = ms ? (uint32_t)(((uint64_t)ms + 999) / 1000) : 1;
	struct sluice_reply sentence;
	struct sluice_reply_head head;
	struct sluice_reply_form form;
	uint8_t expected[SLUICE_REPLY_BUFFER];
	char number[32], text[SLUICE_REPLY_MAX + 1];
	const char *body;
	json_t *json, *error;
	uint32_t len;

	/* The bytes are those that the parts make here, too … */
	assert_int_equal(reply_text_head(&head, &(struct service_reply){0}, -1, false, NULL), 0);
	assert_int_equal(reply_text_build(&sentence, model, reason), 0);
	reply_text_form(&form, SLUICE_API_OPENAI, false, ms > 60000, false);
	len = reply_make(expected, &head, &sentence, &form, ms);
	assert_int_equal(reply->len, len);
	assert_memory_equal(reply->text, expected, len);
	/* … and their meaning is right. */
	memcpy(text, reply->text, reply->len);
	text[reply->len] = 0;
	assert_memory_equal(text, "HTTP/1.1 429 Too Many Requests\r\n", 32);
	snprintf(number, sizeof(number), "%u", seconds);
	assert_string_equal(header(reply, "Retry-After"), number);
	snprintf(number, sizeof(number), "%u", ms);
	assert_string_equal(header(reply, "retry-after-ms"), number);
	assert_string_equal(header(reply, "Content-Type"), "application/json");
	assert_string_equal(header(reply, "Connection"), "close");
	if (ms > 60000)
		assert_string_equal(header(reply, "x-should-retry"), "false");
	else
		assert_null(header(reply, "x-should-retry"));
	body = strstr(text, "\r\n\r\n") + 4;
	snprintf(number, sizeof(number), "%zu", strlen(body));
	assert_string_equal(header(reply, "Content-Length"), number);
	json = json_loads(body, 0, NULL);
	assert_non_null(json);
	error = json_object_get(json, "error");
	assert_string_equal(json_string_value(json_object_get(error, "code")),
			    "rate_limit_exceeded");
	assert_string_equal(json_string_value(json_object_get(error, "type")), "requests");
	assert_true(json_is_null(json_object_get(error, "param")));
	snprintf(number, sizeof(number), " after %u second", seconds);
	assert_non_null(strstr(json_string_value(json_object_get(error, "message")), number));
	if (model)
		assert_non_null(
			strstr(json_string_value(json_object_get(error, "message")), model));
	json_decref(json);
}

struct cause {
	const char *what;
	void (*act)(bool ipv6, enum sluice_action action);
	enum sluice_reason reason;
	uint32_t ms;
	bool any; /* for all models: the text names none */
};

static void cause_flag(bool ipv6, enum sluice_action action)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
						   .retry_after_ms = 1001,
						   .action = action});
}

static void cause_flag_of_all(bool ipv6, enum sluice_action action)
{
	set_flag(SLUICE_MODEL_ALL, (struct sluice_model_flag){.reason = SLUICE_REASON_ITL,
							      .retry_after_ms = 59999,
							      .action = action});
}

static void cause_limit(bool ipv6, enum sluice_action action)
{
	set_flag(LLAMA, (struct sluice_model_flag){
				.allow = 1, .limit = 2, .limit_retry_ms = 250, .action = action});
	add_in_flight(LLAMA, 2);
}

static void cause_limit_of_all(bool ipv6, enum sluice_action action)
{
	set_flag(SLUICE_MODEL_ALL,
		 (struct sluice_model_flag){
			 .allow = 1, .limit = 2, .limit_retry_ms = 250, .action = action});
	add_in_flight(SLUICE_MODEL_ALL, 2);
}

static void cause_address(bool ipv6, enum sluice_action action)
{
	set_client_flag(ipv6, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						    .expires_ns = CLOCK_START + 90 * 1000 * MS - 1,
						    .action = action});
}

static void cause_client_and_model(bool ipv6, enum sluice_action action)
{
	set_client_flag(ipv6, LLAMA,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						    .expires_ns = CLOCK_START + 1,
						    .action = action});
}

static void cause_prefix(bool ipv6, enum sluice_action action)
{
	set_prefix(ipv6, ipv6 ? 56 : 120,
		   (struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED, .action = action});
}

static void cause_operator(bool ipv6, enum sluice_action action)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_OPERATOR,
						   .retry_after_ms = 7000,
						   .action = action});
}

/* The action of the service itself. */
static void cause_flag_and_service(bool ipv6, enum sluice_action action)
{
	struct sluice_service service = http_service();

	service.action = action;
	set_both(HTTP_PORT, service);
	cause_flag(ipv6, SLUICE_ACTION_DEFAULT);
}

static const struct cause causes[] = {
	{"the model's flag", cause_flag, SLUICE_REASON_TTFT, 1001, false},
	{"the flag of all", cause_flag_of_all, SLUICE_REASON_ITL, 59999, true},
	{"the model's limit", cause_limit, SLUICE_REASON_IN_FLIGHT, 250, false},
	{"the limit of all", cause_limit_of_all, SLUICE_REASON_IN_FLIGHT, 250, true},
	{"the client's address", cause_address, SLUICE_REASON_CLIENT_BLOCKED, 90000, true},
	{"client and model", cause_client_and_model, SLUICE_REASON_CLIENT_BLOCKED, 1, false},
	{"the client's prefix", cause_prefix, SLUICE_REASON_CLIENT_BLOCKED, 3600000, true},
	{"the operator", cause_operator, SLUICE_REASON_OPERATOR, 7000, false},
	{"a flag, by the service's action", cause_flag_and_service, SLUICE_REASON_TTFT, 1001,
	 false},
};

static void play_refusal(const struct shape *shape, const struct cause *cause,
			 enum sluice_action action)
{
	static const struct step handshake[] = {HANDSHAKE};
	bool reply = action == SLUICE_ACTION_REPLY;
	uint16_t model = LLAMA; /* the refused segment completes the request */
	struct sluice_client client = this_client(shape->ipv6);
	struct sluice_client_count counted;
	const struct sluice_refusal *reported = &w.refusals[0];
	struct sluice_model_state before[2];
	/* A first segment that passes, so that the server's next byte is not the first. */
	const struct step first = {FROM_CLIENT(0, 0, REQUEST), .len = 25};
	struct step rest = {FROM_CLIENT(25, 0, REQUEST + 25), .then = reply ? REFUSE : RESET,
			    .out_ack = WHOLE, .rst_seq = 25};
	struct row ends = {.what = cause->what,
			   .tombstones = reply,
			   .requests = {{model, SLUICE_VERDICT_REJECTED, cause->reason, 1}}};

	reset_world();
	row_now = cause->what;
	shape_now = *shape;
	step_now = action;
	for (int i = 0; i < 3; i++)
		play_step(shape, &handshake[i], HTTP_PORT);
	cause->act(shape->ipv6, action);
	before[0] = get_state(SLUICE_MODEL_ALL);
	before[1] = get_state(LLAMA);
	play_step(shape, &first, HTTP_PORT);
	play_step(shape, &rest, HTTP_PORT);
	if (reply)
		assert_429(&last, cause->reason, cause->any ? NULL : "llama", cause->ms);
	/* invariant 8: a refused request is charged nothing. */
	assert_int_equal(get_state(SLUICE_MODEL_ALL).in_flight, before[0].in_flight);
	assert_int_equal(get_state(LLAMA).in_flight, before[1].in_flight);
	add_in_flight(SLUICE_MODEL_ALL, -before[0].in_flight);
	add_in_flight(LLAMA, -before[1].in_flight);
	assert_ends(&ends);
	assert_int_equal(w.refusal_count, 1);
	assert_int_equal(reported->time_ns, w.settings.clock_ns);
	assert_memory_equal(&reported->client, &client, sizeof(client));
	assert_int_equal(reported->service, HTTP_ID);
	assert_int_equal(reported->retry_after_ms, cause->ms);
	assert_int_equal(reported->model, model);
	assert_int_equal(reported->reason, cause->reason);
	assert_int_equal(reported->action, action);
	assert_int_equal(reported->verdict, SLUICE_VERDICT_REJECTED);
	assert_int_equal(reported->at_syn, 0);
	assert_int_equal(bpf_map_lookup_elem(fd_of(client_counts), &client, &counted), 0);
	assert_int_equal(counted.rejected, 1);
	assert_int_equal(counted.admitted, 0);
	assert_int_equal(counted.last_reason, cause->reason);
	row_now = NULL;
}

/* invariant 4: every field of both packets, for every kind of connection. */
static void a_refusal_is_right_to_the_byte(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++)
		for (int link = LINK_ETHERNET; link <= LINK_NONE; link++)
			for (int options = OPTIONS_NONE; options <= OPTIONS_SACK; options++)
				for (int partial = 0; partial < 2; partial++)
					for (unsigned i = 0; i < sizeof(causes) / sizeof(causes[0]);
					     i++) {
						const struct shape shape = {ipv6, link, options,
									    partial};

						if (options == OPTIONS_SYN)
							continue;
						play_refusal(&shape, &causes[i],
							     SLUICE_ACTION_REPLY);
						play_refusal(&shape, &causes[i],
							     SLUICE_ACTION_RESET);
					}
}

/* invariant 4, with IP options or extension headers before TCP. */
static void a_refusal_has_no_headers_between_ip_and_tcp(void **state)
{
	static const struct step handshake[] = {HANDSHAKE};

	for (unsigned i = 0; i < sizeof(betweens) / sizeof(betweens[0]); i++) {
		for (int kind = 0; kind < 4 * 2; kind++) {
			const struct shape shape = {betweens[i].ipv6, kind / 2,
						    kind / 2 & 1 ? OPTIONS_NONE : OPTIONS_TS,
						    kind & 1};
			const struct step steps[] = {
				{FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE},
				{FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE},
				{FROM_CLIENT(WHOLE, 0, "more"), .then = REPEATED,
				 .out_ack = WHOLE + 4},
				{FROM_SERVER(0, WHOLE, OK_SHORT), .then = UP_RST, .out_seq = WHOLE},
			};

			reset_world();
			row_now = betweens[i].what;
			shape_now = shape;
			for (int k = 0; k < 3; k++)
				play_step(&shape, &handshake[k], HTTP_PORT);
			shut_ttft(shape.ipv6);
			for (step_now = 0; step_now < sizeof(steps) / sizeof(steps[0]);
			     step_now++) {
				struct step step = steps[step_now];

				step.between = &betweens[i];
				play_step(&shape, &step, HTTP_PORT);
				if (!step.server)
					assert_429(&last, SLUICE_REASON_TTFT, "llama", 2500);
			}
		}
	}
	row_now = NULL;
}

static void every_wait_is_stated_in_whole_seconds_rounded_up(void **state)
{
	static const uint32_t waits[] = {0,      1,       999,       1000,       1001,       9999,
					 10000,  10001,   59999,     60000,      60001,      99999,
					 100001, 3600000, 999999999, 1000000000, 4294967295u};

	for (unsigned i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		static const struct step steps[] = {
			HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}};

		reset_world();
		set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
							   .retry_after_ms = waits[i]});
		for (int k = 0; k < 4; k++)
			play_step(&shapes[i % 3], &steps[k], HTTP_PORT);
		assert_429(&last, SLUICE_REASON_TTFT, "llama", waits[i]);
	}
}

/*
 * A block with 3 s and 1 ns left gives a wait of four seconds: a client that retries then finds no
 * block.
 */
static void a_blocks_wait_ends_after_the_block(void **state)
{
	static const struct step steps[] = {
		HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}};

	for (int k = 0; k < 3; k++)
		play_step(&shapes[0], &steps[k], HTTP_PORT);
	set_client_flag(false, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						    .expires_ns = CLOCK_START + 3000 * MS + 1});
	play_step(&shapes[0], &steps[3], HTTP_PORT);
	assert_string_equal(header(&last, "Retry-After"), "4");
	assert_string_equal(header(&last, "retry-after-ms"), "3001");
}

/* OpenAI's clients read which of the two quotas is spent, those of other APIs do not. */
static void a_spent_quota_of_tokens_is_an_error_of_type_tokens(void **state)
{
	static const struct {
		const char *path;
		enum sluice_api api;
	} rows[] = {
		{"/v1/chat/completions", SLUICE_API_OPENAI_TOKENS},
		{"/v1/messages", SLUICE_API_ANTHROPIC},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sluice_reply_form form;
		char text[200];
		int len = snprintf(
			text, sizeof(text),
			"POST %s HTTP/1.1\r\nContent-Length: 17\r\n\r\n{\"model\":\"llama\"}",
			rows[i].path);
		const struct step steps[] = {
			HANDSHAKE,
			{.text = text, .len = (uint32_t)len, .then = REFUSE, .out_ack = len}};

		reset_world();
		set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TOKEN_QUOTA,
							   .retry_after_ms = 2500});
		for (int k = 0; k < 4; k++)
			play_step(&shapes[0], &steps[k], HTTP_PORT);
		reply_text_form(&form, rows[i].api, false, false, false);
		assert_non_null(
			memmem(last.text, last.len, form.tail, strlen(" seconds.\",\"type\":\"t")));
	}
}

#define TO(path, headers)                                                                          \
	"POST " path " HTTP/1.1\r\n" headers "Content-Length: 17\r\n\r\n{\"model\":\"llama\"}"

/* The 429 has the form of the path's API, and the head that its page's origin may read. */
static void a_refusal_is_what_the_client_reads(void **state)
{
	static const struct service_reply cors = {
		.origin = {"https://a.example", "https://b.example"}, .origin_count = 2};
	static const struct {
		const char *text, *allowed;
		enum sluice_api api;
		int origin;
	} rows[] = {
		{TO("/v1/chat/completions", ""), NULL, SLUICE_API_OPENAI, -1},
		{TO("/v1/messages?beta=true", ""), NULL, SLUICE_API_ANTHROPIC, -1},
		{TO("/api/chat", ""), NULL, SLUICE_API_OLLAMA, -1},
		{TO("http://h/api/generate", ""), NULL, SLUICE_API_OLLAMA, -1},
		{TO("/v2/models/llama/infer", ""), NULL, SLUICE_API_OLLAMA, -1},
		{TO("/api/v1/chat/completions", ""), NULL, SLUICE_API_OPENAI, -1},
		{TO("/anthropic/v1/messages", ""), NULL, SLUICE_API_ANTHROPIC, -1},
		{TO("/generate_stream", ""), NULL, SLUICE_API_TGI, -1},
		{TO("/v1/messages", "Origin: https://a.example\r\n"), "https://a.example",
		 SLUICE_API_ANTHROPIC, 0},
		{TO("/api/chat", "ORIGIN: https://b.example\r\n"), "https://b.example",
		 SLUICE_API_OLLAMA, 1},
		{TO("/api/chat", "Origin: https://c.example\r\n"), NULL, SLUICE_API_OLLAMA, -1},
	};
	static const struct siphash_secret none; /* as the map has it from its creation */
	struct sluice_rules rules = {.methods = 1 << HTTP1_METHOD_POST,
				     .source = {SLUICE_SOURCE_BODY},
				     .origin = "origin"};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct step steps[] = {HANDSHAKE,
					     {.text = rows[i].text,
					      .len = strlen(rows[i].text),
					      .then = REFUSE,
					      .out_ack = strlen(rows[i].text)}};
		uint8_t expected[SLUICE_REPLY_BUFFER];
		struct sluice_reply sentence;
		struct sluice_reply_head head;
		struct sluice_reply_form form;
		const char *allowed;

		reset_world();
		put_rules(rules);
		for (int origin = -1; origin < (int)cors.origin_count; origin++)
			set_reply_head(HTTP_ID,
				       origin < 0 ? 0 : hash_of(&none, cors.origin[origin]), &cors,
				       origin);
		shut_ttft(false);
		row_now = rows[i].text;
		for (int k = 0; k < 4; k++)
			play_step(&shapes[0], &steps[k], HTTP_PORT);
		row_now = NULL;
		assert_int_equal(reply_text_head(&head, &cors, rows[i].origin, false, NULL), 0);
		assert_int_equal(reply_text_build(&sentence, "llama", SLUICE_REASON_TTFT), 0);
		reply_text_form(&form, rows[i].api, false, false, false);
		assert_int_equal(last.len, reply_make(expected, &head, &sentence, &form, 2500));
		assert_memory_equal(last.text, expected, last.len);
		allowed = header(&last, "Access-Control-Allow-Origin");
		assert_true(rows[i].allowed ? allowed && !strcmp(allowed, rows[i].allowed)
					    : !allowed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_refusal_is_right_to_the_byte),
		packets_test(a_refusal_has_no_headers_between_ip_and_tcp),
		packets_test(every_wait_is_stated_in_whole_seconds_rounded_up),
		packets_test(a_spent_quota_of_tokens_is_an_error_of_type_tokens),
		packets_test(a_refusal_is_what_the_client_reads),
		packets_test(a_blocks_wait_ends_after_the_block),
	};

	return packets_main("refusals", tests);
}
