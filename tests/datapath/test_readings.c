/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests that servers read in several ways, or whose model cannot be read. The strictest verdict
 * of all readings holds, and every reading is charged. So a client gains nothing when it hides the
 * name of a model or gives several.
 */
#include "one_client.h"

#define DEAR          6
#define CHEAP         QWEN
#define DEAR_QUOTA    8
#define CHEAP_QUOTA   9
#define CHAT          "POST /v1/chat/completions HTTP/1.1\r\n"
#define INFER(path)   "POST " path " HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
#define LENGTH(n)     "Content-Length: " #n "\r\n\r\n"
#define JSON(n, body) CHAT LENGTH(n) body
#define NAMED_DEAR    JSON(16, "{\"model\":\"dear\"}")
#define NAMED_CHEAP   JSON(16, "{\"model\":\"qwen\"}")
#define UNNAMED       JSON(2, "{}")
#define A_80          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct text {
	const char *text;
	size_t len;
};
#define TEXT(text)                                                                                 \
	{                                                                                          \
		text, sizeof(text) - 1                                                             \
	}
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* No server can be sure of these requests' model, or sluice cannot read it. */
static const struct text hidden[] = {
	TEXT(UNNAMED),
	TEXT(JSON(0, "")),
	TEXT(CHAT "Content-Encoding: gzip\r\n" LENGTH(16) "{\"model\":\"qwen\"}"),
	TEXT(JSON(14, "{\"model\":null}")),
	TEXT(JSON(11, "{\"model\":3}")),
	TEXT(JSON(30, "{\"model\":\"qwen\",\"model\":false}")),
	TEXT(JSON(16, "[\"model\",\"dear\"]")),
	TEXT(JSON(7, "\x80\x02}q\x00(X")),
	TEXT(JSON(23, "{\"model\":\"a\\u0000dear\"}")),
	TEXT(JSON(22, "{\"model\":\"\\ud800dear\"}")),
	TEXT(CHAT "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
	TEXT(CHAT "Content-Type: multipart/form-data; boundary=x\r\n" LENGTH(7) "--x--\r\n"),
	TEXT(CHAT "Content-Type: multipart/form-data\r\n" LENGTH(7) "--x--\r\n"),
	TEXT(CHAT "Content-Type: application/x-www-form-urlencoded\r\n" LENGTH(3) "a=b"),
	TEXT(CHAT "Content-Type: application/msgpack\r\n" LENGTH(12) "\x81\xa5model\xa4"
								     "dear"),
	TEXT(CHAT "Content-Type: application/x-www-form-urlencoded\r\n" LENGTH(
		27) "{\"model\":\"qwen\"}&model=dear"),
	TEXT(CHAT "Content-Type: application/x-www-form-urlencoded\r\n" LENGTH(
		31) "/**/{\"model\":\"qwen\"}&model=dear"),
	TEXT(CHAT "Content-Type: application/x-www-form-urlencoded\r\n" LENGTH(
		35) "{\"model\":\"qwen\",\"a\":\"&model=dear&\"}"),
	TEXT(CHAT "Content-Type: application/x-www-form-urlencoded; charset=utf-7\r\n" LENGTH(
		25) "+AG0-odel=dear&model=qwen"),
	TEXT(CHAT "Content-Type: application/x-url-encoded\r\n" LENGTH(
		27) "{\"model\":\"qwen\"}&model=dear"),
	TEXT(CHAT "Content-Type: multipart/form-data; boundary=x; boundary=y\r\n" LENGTH(
		16) "{\"model\":\"qwen\"}"),
	TEXT(CHAT "Content-Type: multipart/form-data; boundary*=x\r\n" LENGTH(
		16) "{\"model\":\"qwen\"}"),
	TEXT(CHAT "Content-Type: application/json; charset=utf-7\r\n" LENGTH(
		35) "{\"model\":\"qwen\",\"+AG0-odel\":\"dear\"}"),
	TEXT(CHAT "Content-Type: application/json; Charset=\"UTF-7\"\r\n" LENGTH(
		35) "{\"model\":\"qwen\",\"+AG0-odel\":\"dear\"}"),
	TEXT(CHAT "Content-Type: application/json; charset*=utf-7''x\r\n" LENGTH(
		16) "{\"model\":\"qwen\"}"),
	TEXT(CHAT "Content-Type: multipart/form-data; boundary=x; charset=utf-7\r\n" LENGTH(
		66) "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nqwen\r\n--x--\r\n"),
	TEXT(CHAT "Content-Type: multipart/form-data; boundary=x\r\n" LENGTH(
		107) "--x\r\nContent-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=utf-7\r\n\r\nqwen\r\n--x--\r\n"),
	TEXT(CHAT "Content-Type: multipart/form-data; boundary=x\r\n" LENGTH(
		105) "--x\r\nContent-Disposition: form-data; name=\"model\"\r\ncontent-transfer-encoding: base64\r\n\r\nZGVhcg==\r\n--x--\r\n"),
	TEXT(CHAT "Content-Type: multipart/form-data; boundary=x\r\n" LENGTH(
		113) "--x\r\nContent-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=64ear\r\n--x--\r\n"),
	TEXT(CHAT "Content-Type: application/x-www-form-urlencoded\r\n" LENGTH(
		25) "model=qwen&x=1;model=dear"),
	TEXT(CHAT "Content-Type: application/x-www-form-urlencoded\r\n" LENGTH(
		25) "x=1;model=dear&model=qwen"),
	TEXT(CHAT "Content-Type: application/x-www-form-urlencoded\r\n" LENGTH(
		21) "model=qwen;model=dear"),
};

/* One reading of these requests names the model "dear". */
static const struct text ambiguous[] = {
	TEXT(JSON(31, "{\"model\":\"dear\",\"model\":\"qwen\"}")),
	TEXT(JSON(31, "{\"model\":\"qwen\",\"model\":\"dear\"}")),
	TEXT(JSON(31, "{\"MODEL\":\"dear\",\"model\":\"qwen\"}")),
	TEXT(CHAT "Content-Type: application/x-www-form-urlencoded\r\n" LENGTH(
		21) "model=dear&model=qwen"),
	TEXT(INFER("//v2/models/dear/infer")),
	TEXT(INFER("/v2//models/dear/infer")),
	TEXT(INFER("/v2/models//dear/infer")),
	TEXT(INFER("/v2/./models/dear/infer")),
	TEXT(INFER("/x/../v2/models/dear/infer")),
	TEXT(INFER("/v2/models/qwen/../dear/infer")),
	TEXT(INFER("/v2/models/dear/../qwen/infer")),
	TEXT(INFER("/v2/models/qwen/%2e%2E/dear/infer")),
	TEXT(INFER("/%76%32/models/dear/infer")),
	TEXT(INFER("/v2%2fmodels%2Fdear%2Finfer")),
	TEXT(INFER("/v2;a=b/models/dear;v=1/infer")),
	TEXT(INFER("/v2/models/dear;v=1/infer")),
	TEXT(INFER("\\v2\\models\\dear\\infer")),
	TEXT(INFER("http://host/v2/models/dear/infer")),
	TEXT(INFER("HTTPS://host:1//v2/models/dear?x=http://a/v2/models/qwen")),
	TEXT(INFER("v2/models/dear")),
	TEXT("POST //v2/models/dear/infer HTTP/1.1\r\n" LENGTH(16) "{\"model\":\"qwen\"}"),
};

/* Written in an unusual way, but no server takes them for requests for "dear". */
static const struct text odd[] = {
	TEXT("POST //v1/chat/completions HTTP/1.1\r\n" LENGTH(16) "{\"model\":\"qwen\"}"),
	TEXT("POST http://host/v1/chat/completions HTTP/1.1\r\n" LENGTH(16) "{\"model\":\"qwen\"}"),
	TEXT("POST /v1/chat/%63ompletions HTTP/1.1\r\n" LENGTH(16) "{\"model\":\"qwen\"}"),
	TEXT("POST /v1/./chat/completions HTTP/1.1\r\n" LENGTH(16) "{\"model\":\"qwen\"}"),
	TEXT(INFER("//v2/models/qwen/infer")),
	TEXT("POST\t/v2/models/qwen/infer \tHTTP/2.0\r\nContent-Length: +2, 2\r\n\r\n{}"),
	TEXT(CHAT "A: b\r\n \"model\":\"dear\"\r\n: c\r\n" LENGTH(16) "{\"model\":\"qwen\"}"),
	TEXT(INFER("/v2/models/q%77en/infer?x=/../v2/models/dear")),
	TEXT(INFER("http://host/v2/models/qwen/infer")),
	TEXT("POST /v1/chat/completions HTTP/1.1\r\nContent-Type: text/json\r\n" LENGTH(
		34) "{\"model\":\"qwen\",\"x\":[{\"model\":1}]}"),
	TEXT(CHAT
	     "Content-Type: application/json; charset=utf-8\r\n" LENGTH(16) "{\"model\":\"qwen\"}"),
	TEXT(CHAT "Content-Type: application/json;charset=\"UTF8\"; x=y\r\n" LENGTH(
		16) "{\"model\":\"qwen\"}"),
	TEXT(CHAT
	     "Content-Type: text/plain; charset=ISO-8859-1\r\n" LENGTH(16) "{\"model\":\"qwen\"}"),
	TEXT(CHAT "Content-Type: application/json; charset=us-ascii\r\n" LENGTH(
		16) "{\"model\":\"qwen\"}"),
	TEXT(CHAT "Content-Type: application/x-www-form-urlencoded\r\n" LENGTH(
		29) "{\"model\":\"qwen\",\"a\":\"b;c=d\"}\n"),
	TEXT(CHAT "Content-Type: multipart/form-data; boundary=x; charset=utf-8\r\n" LENGTH(
		140) "--x\r\nContent-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nqwen\r\n--x--\r\n"),
	TEXT(CHAT "Content-Type: multipart/form-data; boundary=x\r\n" LENGTH(
		127) "--x\r\nContent-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: Binary\r\nContent-Type: text/plain\r\n\r\nqwen\r\n--x--\r\n"),
};

static void prepare(bool unnamed_default)
{
	struct sluice_rules rules = {
		.count = 1,
		.methods = 1 << HTTP1_METHOD_POST,
		.source = {SLUICE_SOURCE_PATH, SLUICE_SOURCE_BODY},
		.rule = {{.kind = SLUICE_RULE_MODEL, .len = 11, .prefix = "/v2/models/"}},
	};
	struct sluice_service service = http_service();

	reset_world();
	clear_map(fd_of(client_state));
	service.unnamed_default = unnamed_default;
	set_both(HTTP_PORT, service);
	put_rules(rules);
	set_model("dear", DEAR);
	set_model("m7", 7);
	set_model("m8", 8);
	set_named((struct sluice_named_models){.count = 2, .id = {DEAR, CHEAP}});
}

static void close_dear(void)
{
	set_flag(DEAR,
		 (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT, .retry_after_ms = 2500});
}

/* Whether the request passes, if at most `most` bytes come in a segment. */
static bool passes(const struct text *t, size_t most)
{
	connect_anew();
	for (size_t at = 0; at < t->len; at += most) {
		size_t n = t->len - at < most ? t->len - at : most;

		if (send_bytes(false, PSH | ACK, t->text + at, n) != THEN_UNSPEC)
			return false;
	}
	return true;
}

static void answer(void)
{
	send_segment(true, PSH | ACK, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
}

/* Every row, whole and in pieces. */
static void each(const struct text *rows, size_t count, bool unnamed_default, bool pass)
{
	static const size_t sizes[] = {2000, 7, 1};

	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < COUNT(sizes); k++) {
			prepare(unnamed_default);
			close_dear();
			if (passes(&rows[i], sizes[k]) != pass) {
				print_error("row %zu, %zu bytes at a time: %.*s\n", i, sizes[k],
					    (int)rows[i].len, rows[i].text);
				fail();
			}
			if (!pass)
				assert_int_equal(requests_of(HTTP_ID, DEAR, SLUICE_VERDICT_REJECTED,
							     SLUICE_REASON_TTFT),
						 1);
		}
}

static void a_hidden_model_is_judged_as_the_strictest(void **state)
{
	each(hidden, COUNT(hidden), false, false);
	each(hidden, COUNT(hidden), true, true);
}

static void every_reading_is_judged_whatever_the_service_says(void **state)
{
	each(ambiguous, COUNT(ambiguous), false, false);
	each(ambiguous, COUNT(ambiguous), true, false);
}

static void an_odd_spelling_alone_refuses_nothing(void **state)
{
	each(odd, COUNT(odd), false, true);
	each(odd, COUNT(odd), true, true);
}

static void without_named_models_a_hidden_one_is_the_services(void **state)
{
	prepare(false);
	set_named((struct sluice_named_models){0});
	close_dear();
	for (size_t i = 0; i < COUNT(hidden); i++)
		assert_true(passes(&hidden[i], 2000));
}

/* More names than one request may have, and paths whose end nobody sees or agrees on. */
static void what_cannot_be_listed_is_judged_as_the_strictest(void **state)
{
	static const struct text rows[] = {
		TEXT(JSON(
			86,
			"{\"model\":\"m7\",\"model\":\"llama\",\"model\":\"qwen\",\"model\":\"m8\","
			"\"model\":\"dear\",\"model\":\"m7\"}")),
		TEXT(INFER("/v2/models/qwen/../../x")),
		TEXT(INFER("/v2/models/qwen#/../dear")),
		TEXT(INFER("/v2/%2564ear/")),
		TEXT(INFER("/v2/models/qw%0aen")),
		TEXT(INFER("/v2/models/" A_80 A_80)),
		TEXT(INFER("/x/" A_80 A_80)),
		/* servers differ in where these end */
		TEXT(CHAT "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n10\r\n"
			  "{\"model\":\"qwen\"}\r\n0\r\n\r\n"),
		TEXT(CHAT "A: b\n" LENGTH(16) "{\"model\":\"qwen\"}"),
	};

	each(rows, COUNT(rows), true, false);
}

static const struct text named_dear = TEXT(NAMED_DEAR), named_cheap = TEXT(NAMED_CHEAP);

static void a_hidden_request_is_charged_to_every_named_models_quota(void **state)
{
	for (size_t i = 0; i < COUNT(hidden) + COUNT(ambiguous); i++) {
		const struct text *t =
			i < COUNT(hidden) ? &hidden[i] : &ambiguous[i - COUNT(hidden)];

		prepare(false);
		put_quota(DEAR_QUOTA, per_period(3, 3000, 3));
		set_flag(DEAR, (struct sluice_model_flag){.allow = 1, .quota = DEAR_QUOTA});
		assert_true(passes(&named_dear, 2000));
		assert_true(passes(t, 2000));
		assert_true(passes(t, 2000));
		if (passes(t, 2000))
			fail_msg("row %zu: a fourth of three", i);
		assert_false(passes(&named_dear, 2000));
		assert_true(passes(&named_cheap, 2000));
		assert_int_equal(requests_of(HTTP_ID, DEAR, SLUICE_VERDICT_REJECTED,
					     SLUICE_REASON_REQUEST_QUOTA),
				 2);
	}
}

/* Else a client would spend one model's quota for requests to another. */
static void two_quotas_are_both_charged(void **state)
{
	prepare(false);
	put_quota(DEAR_QUOTA, per_period(3, 3000, 3));
	put_quota(CHEAP_QUOTA, per_period(4, 4000, 4));
	set_flag(DEAR, (struct sluice_model_flag){.allow = 1, .quota = DEAR_QUOTA});
	set_flag(CHEAP, (struct sluice_model_flag){.allow = 1, .quota = CHEAP_QUOTA});
	assert_true(passes(&named_cheap, 2000));
	assert_true(passes(&named_cheap, 2000));
	assert_true(passes(&hidden[0], 2000));
	assert_true(passes(&hidden[0], 2000));
	assert_false(passes(&hidden[0], 2000));
	assert_false(passes(&named_cheap, 2000));
	assert_true(passes(&named_dear, 2000));
	assert_false(passes(&named_dear, 2000));
}

/* The service's own model is none of named_models, but it is a reading, too. */
static void a_hidden_request_is_judged_for_its_services_model(void **state)
{
	for (size_t i = 0; i < COUNT(hidden); i++) {
		prepare(false);
		put_quota(DEAR_QUOTA, per_period(2, 2000, 2));
		set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .quota = DEAR_QUOTA});
		set_flag(CHEAP,
			 (struct sluice_model_flag){.allow = 1, .limit = 9, .limit_retry_ms = 1});
		assert_true(passes(&hidden[i], 2000));
		assert_true(passes(&hidden[i], 2000));
		if (passes(&hidden[i], 2000))
			fail_msg("row %zu: a third of two", i);
		assert_int_equal(requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_REJECTED,
					     SLUICE_REASON_REQUEST_QUOTA),
				 1);
	}
}

static void tokens_of_a_hidden_request_are_charged_to_every_quota(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 66\r\n\r\n"
		"data: {\"content\":\"a\"}\n\ndata: {\"content\":\"b\"}\n\ndata: {\"content\":\"c\"}\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{\"usage\":{\"completion_tokens\":9}}",
	};

	for (size_t i = 0; i < COUNT(answers); i++) {
		prepare(false);
		put_quota(DEAR_QUOTA, (struct sluice_quota){.token_ns = 1000 * MS,
							    .token_span_ns = 2000 * MS,
							    .token_most_ns = 4000 * MS});
		set_flag(DEAR, (struct sluice_model_flag){.allow = 1, .quota = DEAR_QUOTA});
		assert_true(passes(&hidden[0], 2000));
		send_segment(true, PSH | ACK, answers[i]);
		assert_false(passes(&named_dear, 2000));
		assert_true(passes(&named_cheap, 2000));
		assert_int_equal(requests_of(HTTP_ID, DEAR, SLUICE_VERDICT_REJECTED,
					     SLUICE_REASON_TOKEN_QUOTA),
				 1);
	}
}

static void a_hidden_request_takes_the_scarcest_slot(void **state)
{
	prepare(false);
	set_flag(DEAR, (struct sluice_model_flag){.allow = 1, .limit = 2, .limit_retry_ms = 1000});
	set_flag(CHEAP, (struct sluice_model_flag){.allow = 1, .limit = 9, .limit_retry_ms = 1000});
	assert_true(passes(&hidden[0], 2000));
	assert_true(passes(&ambiguous[0], 2000));
	assert_int_equal(get_state(DEAR).in_flight, 2);
	answer();
	assert_int_equal(get_state(DEAR).in_flight, 1);
	assert_true(passes(&hidden[0], 2000));
	assert_false(passes(&hidden[0], 2000));
	assert_false(passes(&named_dear, 2000));
	assert_true(passes(&named_cheap, 2000));
	assert_int_equal(get_state(DEAR).in_flight, 2);
}

static void shadow_mode_counts_a_hidden_request_and_lets_it_pass(void **state)
{
	prepare(false);
	set_flag(DEAR, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
						  .mode = SLUICE_MODE_SHADOW});
	assert_true(passes(&hidden[0], 2000));
	assert_int_equal(
		requests_of(HTTP_ID, DEAR, SLUICE_VERDICT_SHADOW_REJECTED, SLUICE_REASON_TTFT), 1);
}

/* Readings of one request are none of the next one's, on the same connection. */
static void the_next_request_has_its_own_readings(void **state)
{
	prepare(true);
	put_quota(DEAR_QUOTA, per_period(1, 1000, 1));
	set_flag(DEAR, (struct sluice_model_flag){.allow = 1, .quota = DEAR_QUOTA});
	assert_true(passes(&ambiguous[4], 2000));
	answer();
	assert_int_equal(send_segment(false, PSH | ACK, NAMED_CHEAP), THEN_UNSPEC);
	answer();
	assert_int_equal(send_segment(false, PSH | ACK, UNNAMED), THEN_UNSPEC);
	answer();
	assert_int_not_equal(send_segment(false, PSH | ACK, NAMED_DEAR), THEN_UNSPEC);
}

/* A hole would hide the name. */
static void bytes_that_may_hold_a_name_pass_in_order_only(void **state)
{
	prepare(false);
	connect_anew();
	assert_int_equal(send_segment(false, PSH | ACK, CHAT LENGTH(16)), THEN_UNSPEC);
	client_at += 8;
	assert_int_equal(send_segment(false, PSH | ACK, "\"qwen\"}"), 2 /* TC_ACT_SHOT */);
	set_named((struct sluice_named_models){0});
	assert_int_equal(send_segment(false, PSH | ACK, "}"), THEN_UNSPEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_hidden_model_is_judged_as_the_strictest),
		packets_test(every_reading_is_judged_whatever_the_service_says),
		packets_test(an_odd_spelling_alone_refuses_nothing),
		packets_test(without_named_models_a_hidden_one_is_the_services),
		packets_test(what_cannot_be_listed_is_judged_as_the_strictest),
		packets_test(a_hidden_request_is_charged_to_every_named_models_quota),
		packets_test(two_quotas_are_both_charged),
		packets_test(a_hidden_request_is_judged_for_its_services_model),
		packets_test(tokens_of_a_hidden_request_are_charged_to_every_quota),
		packets_test(a_hidden_request_takes_the_scarcest_slot),
		packets_test(shadow_mode_counts_a_hidden_request_and_lets_it_pass),
		packets_test(the_next_request_has_its_own_readings),
		packets_test(bytes_that_may_hold_a_name_pass_in_order_only),
	};

	return packets_main("readings", tests);
}
