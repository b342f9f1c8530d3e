/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From the keys in the operator's file to verdicts on packets: which requests sluice judges, which
 * source names their model, and which names it learns. The daemon's own code makes the rules, so
 * that a row has the words that an operator writes.
 */
#include "packets.h"

#include "config/services.h"

#define OTHER     SLUICE_MODEL_OTHER
#define CHAT      "POST /v1/chat/completions HTTP/1.1\r\n"
#define QWEN_BODY "Content-Length: 16\r\n\r\n{\"model\":\"qwen\"}"
#define OK        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define NO_NAME   "Content-Length: 2\r\n\r\n{}"
#define A_80      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

#define ADMITTED(model)                                                                            \
	.in_flight = 1, .waiting = 1, .conns = 1,                                                  \
	.requests = {{model, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}
#define UNJUDGED .conns = 1

static void rules_of(const char *const *keys)
{
	struct service_entry e = {0};
	struct sluice_rules r;
	char err[512] = "";

	for (; *keys; keys += 2) {
		const struct field *field = field_find(service_fields, keys[0]);

		assert_non_null(field);
		if (field_take(field, &e, keys[1], err, sizeof(err)))
			fail_msg("%s", err);
	}
	if (rules_finish(&e.rules, &r, err, sizeof(err)))
		fail_msg("%s", err);
	put_rules(r);
}

#define RULES(name, ...)                                                                           \
	static void name(bool ipv6)                                                                \
	{                                                                                          \
		static const char *const keys[] = {__VA_ARGS__ __VA_OPT__(, ) NULL};               \
		rules_of(keys);                                                                    \
	}

RULES(defaults)
RULES(with_header, "model-header", "X-Model")
RULES(body_first, "model-from", "body", "model-from", "header", "model-from", "path",
      "model-header", "X-Model")
RULES(path_only, "model-from", "path")
RULES(chat_only, "judge-paths", "/v1/chat/", "pass-paths", "/v1/chat/tokenize")
RULES(put_too, "judge-methods", "POST", "judge-methods", "PUT")
RULES(long_header, "model-header", "X-The-Longest-Name-Of-A-Header-")

static void shut(uint32_t model)
{
	set_flag(model,
		 (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT, .retry_after_ms = 2500});
}

static void shut_all(bool ipv6)
{
	shut(SLUICE_MODEL_ALL);
}

static void shut_qwen(bool ipv6)
{
	shut(QWEN);
}

static void the_path_names_the_model_in_the_forms_of_known_servers(void **state)
{
	static const struct row rows[] = {
		{"Azure",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(
			  0, 0,
			  "POST /openai/deployments/qwen/chat/completions?api-version=1 HTTP/1.1\r\n"
			  "Content-Length: 17\r\n\r\n{\"model\":\"llama\"}")}},
		 ADMITTED(QWEN)},
		{"KServe and Triton",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0,
			       "POST /v2/models/qwen/versions/1/infer HTTP/1.1\r\n" NO_NAME)}},
		 ADMITTED(QWEN)},
		{"TensorFlow Serving",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0, "POST /v1/models/qwen:predict HTTP/1.1\r\n" NO_NAME)}},
		 ADMITTED(QWEN)},
		{"TorchServe, and a request without a body",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0, "POST /predictions/qwen HTTP/1.1\r\n\r\n")}},
		 ADMITTED(QWEN)},
		{"escaped",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0, "POST /models/%71w%65n HTTP/1.1\r\n" NO_NAME)}},
		 ADMITTED(QWEN)},
		{"chunked",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0,
			       "POST /models/qwen HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
			       "11\r\n{\"model\":\"llama\"}\r\n0\r\n\r\n")}},
		 ADMITTED(QWEN)},
		{"compressed",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(
			  0, 0,
			  "POST /models/qwen HTTP/1.1\r\nContent-Encoding: gzip\r\n" NO_NAME)}},
		 ADMITTED(QWEN)},
		{"no name after the prefix: the body's",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0, "POST /models/ HTTP/1.1\r\n" QWEN_BODY)}},
		 ADMITTED(QWEN)},
		{"an unknown name",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0, "POST /models/x HTTP/1.1\r\n" QWEN_BODY)}},
		 ADMITTED(OTHER)},
		{"a name too long to be seen",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0, "POST /models/" A_80 A_80 " HTTP/1.1\r\n" QWEN_BODY)}},
		 ADMITTED(OTHER)},
		{"a list of models is none, and is not judged",
		 {HANDSHAKE,
		  {.act = defaults},
		  {.act = shut_all},
		  {FROM_CLIENT(0, 0, "GET /v1/models HTTP/1.1\r\n\r\n")}},
		 UNJUDGED},
		{"where no rule fits, the body",
		 {HANDSHAKE, {.act = defaults}, {FROM_CLIENT(0, 0, CHAT QWEN_BODY)}},
		 ADMITTED(QWEN)},
		{"where nothing names one, the default",
		 {HANDSHAKE, {.act = defaults}, {FROM_CLIENT(0, 0, CHAT NO_NAME)}},
		 ADMITTED(LLAMA)},
		{"without rules, the path says nothing",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, "POST /v2/models/x HTTP/1.1\r\n" QWEN_BODY)}},
		 ADMITTED(QWEN)},
		{"each request by its own path",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0, "POST /models/qwen HTTP/1.1\r\n" NO_NAME)},
		  {FROM_SERVER(0, 51, OK)},
		  {FROM_CLIENT(51, 40, CHAT NO_NAME)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1},
			      {LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .samples = {{SLUICE_SAMPLE_DURATION, QWEN}}},
	};

	play_rows(rows);
}

static void sources_are_read_in_the_configured_order(void **state)
{
	static const char split[] = CHAT "X-Model:  qwen \r\n" NO_NAME;
	static const struct row rows[] = {
		{"the path before the header",
		 {HANDSHAKE,
		  {.act = with_header},
		  {FROM_CLIENT(0, 0, "POST /models/qwen HTTP/1.1\r\nX-Model: llama\r\n" NO_NAME)}},
		 ADMITTED(QWEN)},
		{"the header, cut anywhere",
		 {HANDSHAKE,
		  {.act = with_header},
		  {FROM_CLIENT(0, 0, split), .len = 40},
		  {FROM_CLIENT(40, 0, split + 40), .len = 8},
		  {FROM_CLIENT(48, 0, split + 48), .len = 2},
		  {FROM_CLIENT(50, 0, split + 50)}},
		 ADMITTED(QWEN)},
		{"a header with a long name",
		 {HANDSHAKE,
		  {.act = long_header},
		  {FROM_CLIENT(0, 0,
			       CHAT "x-the-longest-name-of-a-header-: qwen\r\n"
				    "x-the-longest-name-of-a-header-b: llama\r\n" NO_NAME)}},
		 ADMITTED(QWEN)},
		{"an empty header names nothing",
		 {HANDSHAKE,
		  {.act = with_header},
		  {FROM_CLIENT(0, 0, CHAT "X-Model: \r\n" QWEN_BODY)}},
		 ADMITTED(QWEN)},
		{"a header given twice names no known model",
		 {HANDSHAKE,
		  {.act = with_header},
		  {FROM_CLIENT(0, 0, CHAT "X-Model: qwen\r\nX-Model: llama\r\n" QWEN_BODY)}},
		 ADMITTED(OTHER)},
		{"a header that is not configured",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0, CHAT "X-Model: qwen\r\n" NO_NAME)}},
		 ADMITTED(LLAMA)},
		{"the body before the others",
		 {HANDSHAKE,
		  {.act = body_first},
		  {FROM_CLIENT(0, 0, "POST /models/x HTTP/1.1\r\nX-Model: y\r\n" QWEN_BODY)}},
		 ADMITTED(QWEN)},
		{"after a body without a name, the header",
		 {HANDSHAKE,
		  {.act = body_first},
		  {FROM_CLIENT(0, 0, "POST /models/x HTTP/1.1\r\nX-Model: qwen\r\n" NO_NAME)}},
		 ADMITTED(QWEN)},
		{"after the header, the path",
		 {HANDSHAKE,
		  {.act = body_first},
		  {FROM_CLIENT(0, 0, "POST /models/qwen HTTP/1.1\r\n" NO_NAME)}},
		 ADMITTED(QWEN)},
		{"after all of them, the default",
		 {HANDSHAKE, {.act = body_first}, {FROM_CLIENT(0, 0, CHAT NO_NAME)}},
		 ADMITTED(LLAMA)},
		{"a body that is no source is not read",
		 {HANDSHAKE, {.act = path_only}, {FROM_CLIENT(0, 0, CHAT QWEN_BODY)}},
		 ADMITTED(LLAMA)},
		{"half a name before a gap is none",
		 {HANDSHAKE,
		  {.act = body_first},
		  {FROM_CLIENT(0, 0,
			       CHAT "X-Model: llama\r\nContent-Length: 16\r\n\r\n{\"model\":\"qw")},
		  {FROM_CLIENT(87, 0, "n\"}")},
		  {FROM_CLIENT(86, 0, "e")}},
		 ADMITTED(LLAMA)},
	};

	play_rows(rows);
}

#define REFUSED_QWEN                                                                               \
	.tombstones = 1, .requests = {{QWEN, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}

static void a_model_named_in_the_head_is_refused_before_its_body(void **state)
{
	static const char by_path[] = "POST /models/qwen HTTP/1.1\r\nContent-Length: 9999\r\n\r\n";
	static const char by_header[] = CHAT "X-Model: qwen\r\nContent-Length: 9999\r\n\r\n";
	static const struct row rows[] = {
		{"by its path",
		 {HANDSHAKE,
		  {.act = defaults},
		  {.act = shut_qwen},
		  {FROM_CLIENT(0, 0, by_path), .then = REFUSE, .out_ack = sizeof(by_path) - 1}},
		 .tombstones = 1,
		 .requests = {{QWEN, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}},
		{"by a header",
		 {HANDSHAKE,
		  {.act = with_header},
		  {.act = shut_qwen},
		  {FROM_CLIENT(0, 0, by_header), .then = REFUSE, .out_ack = sizeof(by_header) - 1}},
		 .tombstones = 1,
		 .requests = {{QWEN, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}},
	};

	play_rows(rows);
}

#define FORM(TYPE, LENGTH, BODY)                                                                   \
	"POST /v1/audio/transcriptions HTTP/1.1\r\nContent-Type: " TYPE                            \
	"\r\nContent-Length: " LENGTH "\r\n\r\n" BODY
#define MULTIPART  "multipart/form-data; boundary=x"
#define URLENCODED "application/x-www-form-urlencoded"
#define FIELD      "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nqwen\r\n"
#define FILE_DATA                                                                                  \
	"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n"             \
	"RI\r\n--\r\n"
_Static_assert(sizeof(FIELD FILE_DATA "--x--\r\n") == 141, "Content-Length");

static void a_form_names_the_model(void **state)
{
	static const char file_first[] = FORM(MULTIPART, "140", FILE_DATA FIELD "--x--\r\n");
	static const char field_first[] = FORM(MULTIPART, "9999", FIELD "--x\r\n");
	static const char urlencoded[] = FORM(URLENCODED, "14", "a=b&model=qwen");
	static const char qwen_first[] = FORM(URLENCODED, "22", "model=qwen&model=llama");
	static const char qwen_last[] = FORM(URLENCODED, "22", "model=llama&model=qwen");
	static const char chunked[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
				      "Content-Type: " URLENCODED "\r\n\r\n"
				      "8\r\nmodel=qw\r\n2\r\nen\r\n0\r\n\r\n";
	static const struct row rows[] = {
		{"multipart, after a file",
		 {HANDSHAKE, {.act = defaults}, {FROM_CLIENT(0, 0, file_first)}},
		 ADMITTED(QWEN)},
		{"multipart, in two segments",
		 {HANDSHAKE,
		  {.act = defaults},
		  {FROM_CLIENT(0, 0, FORM(MULTIPART, "140", FILE_DATA FIELD "-"))},
		  {FROM_CLIENT(sizeof(file_first) - 7, 0, "-x--\r\n")}},
		 ADMITTED(QWEN)},
		{"urlencoded",
		 {HANDSHAKE, {.act = defaults}, {FROM_CLIENT(0, 0, urlencoded)}},
		 ADMITTED(QWEN)},
		{"urlencoded, and the name ends in the last chunk",
		 {HANDSHAKE, {.act = defaults}, {FROM_CLIENT(0, 0, chunked)}},
		 ADMITTED(QWEN)},
		{"refused by multipart, the file first",
		 {HANDSHAKE,
		  {.act = defaults},
		  {.act = shut_qwen},
		  {FROM_CLIENT(0, 0, file_first), .then = REFUSE,
		   .out_ack = sizeof(file_first) - 1}},
		 REFUSED_QWEN},
		{"refused by multipart, before the file",
		 {HANDSHAKE,
		  {.act = defaults},
		  {.act = shut_qwen},
		  {FROM_CLIENT(0, 0, field_first), .then = REFUSE,
		   .out_ack = sizeof(field_first) - 1}},
		 REFUSED_QWEN},
		{"refused by urlencoded",
		 {HANDSHAKE,
		  {.act = defaults},
		  {.act = shut_qwen},
		  {FROM_CLIENT(0, 0, urlencoded), .then = REFUSE,
		   .out_ack = sizeof(urlencoded) - 1}},
		 REFUSED_QWEN},
		{"refused for the first of two names, of which the second ends the body",
		 {HANDSHAKE,
		  {.act = defaults},
		  {.act = shut_qwen},
		  {FROM_CLIENT(0, 0, qwen_first), .then = REFUSE,
		   .out_ack = sizeof(qwen_first) - 1}},
		 REFUSED_QWEN},
		{"refused for the second",
		 {HANDSHAKE,
		  {.act = defaults},
		  {.act = shut_qwen},
		  {FROM_CLIENT(0, 0, qwen_last), .then = REFUSE, .out_ack = sizeof(qwen_last) - 1}},
		 REFUSED_QWEN},
	};

	play_rows(rows);
}

static void exactly_the_paths_and_methods_of_the_operator_pass(void **state)
{
#define SHUT(LINE)                                                                                 \
	{                                                                                          \
		HANDSHAKE, {.act = chat_only}, {.act = shut_all},                                  \
		{                                                                                  \
			FROM_CLIENT(0, 0, LINE " HTTP/1.1\r\n\r\n"),                               \
				.then = REFUSE, .out_ack = sizeof(LINE " HTTP/1.1\r\n\r\n") - 1    \
		}                                                                                  \
	}
#define PASSES(LINE)                                                                               \
	{                                                                                          \
		HANDSHAKE, {.act = chat_only}, {.act = shut_all},                                  \
		{                                                                                  \
			FROM_CLIENT(0, 0, LINE " HTTP/1.1\r\n\r\n")                                \
		}                                                                                  \
	}
#define REFUSED                                                                                    \
	.tombstones = 1, .requests = {{LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}
	static const struct row rows[] = {
		{"judged", SHUT("POST /v1/chat/completions"), REFUSED},
		{"a longer path that passes", PASSES("POST /v1/chat/tokenize"), UNJUDGED},
		{"all other paths", PASSES("POST /v1/embeddings?q=%20"), UNJUDGED},
		{"… also where models would be named", PASSES("POST /v2/models/qwen/infer"),
		 UNJUDGED},
		{"another method", PASSES("PUT /v1/chat/completions"), UNJUDGED},
		{"an escape", SHUT("POST /v1/%63hat/completions"), REFUSED},
		{"dots", SHUT("POST /v1/chat/tokenize/../completions"), REFUSED},
		{"an empty segment", SHUT("POST //v1/chat/completions"), REFUSED},
		{"a dot", SHUT("POST /./v1/chat/completions"), REFUSED},
		{"with a host", SHUT("POST http://a/v1/chat/completions"), REFUSED},
		{"longer than the part that is kept", SHUT("POST /" A_80 A_80), REFUSED},
		{"a judged method besides POST",
		 {HANDSHAKE,
		  {.act = put_too},
		  {.act = shut_all},
		  {FROM_CLIENT(0, 0, "PUT / HTTP/1.1\r\n\r\n"), .then = REFUSE, .out_ack = 18}},
		 REFUSED},
		{"a request that passes, and one after it that is judged",
		 {HANDSHAKE,
		  {.act = chat_only},
		  {FROM_CLIENT(0, 0, "POST /x HTTP/1.1\r\n" QWEN_BODY)},
		  {FROM_SERVER(0, 56, OK)},
		  {FROM_CLIENT(56, 40, CHAT QWEN_BODY)}},
		 ADMITTED(QWEN)},
	};

	play_rows(rows);
}

static void a_name_from_the_head_is_learned_as_one_from_the_body(void **state)
{
	static const char line[] = "POST /models/new%2fone HTTP/1.1\r\n" NO_NAME;
	static const struct row row = {
		"",
		{HANDSHAKE,
		 {.act = defaults},
		 {FROM_CLIENT(0, 0, line)},
		 {FROM_SERVER(0, sizeof(line) - 1,
			      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")}},
		.conns = 1,
		.requests = {{OTHER, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		.samples = {{SLUICE_SAMPLE_SEEN, OTHER, 0, 0}},
	};
	char name[SLUICE_NAME_MAX] = "new/one";

	play(&shapes[0], &row);
	assert_memory_equal(w.samples[0].name, name, sizeof(name));
}

static void reset_framing_error(bool ipv6)
{
	struct sluice_service service = http_service();

	service.on_framing_error = SLUICE_ON_FRAMING_ERROR_RESET;
	set_both(HTTP_PORT, service);
}

static void exempt_client(bool ipv6)
{
	set_prefix(ipv6, 128, (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT});
}

static void a_framing_error_resets_neither_exempt_nor_upgraded_connections(void **state)
{
	static const struct row rows[] = {
		{"two lengths",
		 {{.act = reset_framing_error},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, CHAT "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
		   .then = RESET}},
		 .counters = {{SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
		{"an exempt client's",
		 {{.act = reset_framing_error},
		  {.act = exempt_client},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, CHAT "Content-Length: 1\r\nContent-Length: 2\r\n\r\n")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"an upgraded connection",
		 {{.act = reset_framing_error},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")},
		  {FROM_SERVER(0, 38,
			       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")},
		  {FROM_CLIENT(38, 56, "\x81\x05hello")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_UPGRADED, 1}}},
	};

	play_rows(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(the_path_names_the_model_in_the_forms_of_known_servers),
		packets_test(sources_are_read_in_the_configured_order),
		packets_test(a_model_named_in_the_head_is_refused_before_its_body),
		packets_test(a_form_names_the_model),
		packets_test(exactly_the_paths_and_methods_of_the_operator_pass),
		packets_test(a_name_from_the_head_is_learned_as_one_from_the_body),
		packets_test(a_framing_error_resets_neither_exempt_nor_upgraded_connections),
	};

	return packets_main("routes", tests);
}
