/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a request with images or files counts for in policy adaptive: each blob for the service's
 * blob_bytes and not for its length, wherever the request is cut. The same bytes as text count in
 * full.
 */
#include "packets.h"

#define BLOB    2000000
#define SEGMENT 1448
#define WAITING 10000 /* bytes that wait already */
#define BUDGET  20000 /* … and that may wait */
#define HEAD    "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
#define JSON    "application/json"
#define FORM    "multipart/form-data; boundary=-----7d9"
#define BEGIN   "-------7d9\r\nContent-Disposition: form-data; name="
#define MODEL   BEGIN "\"stream\"\r\n\r\ntrue\r\n" BEGIN "\"model\"\r\n\r\nllama\r\n"
#define WAV     BEGIN "\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
#define LAST    "-------7d9--\r\n"
#define MESSAGES                                                                                   \
	"{\"stream\":true,\"model\":\"llama\",\"messages\":[{\"role\":\"user\",\"content\":[{"

static struct shape shape;
static uint16_t last_port = 20000;

struct client {
	uint16_t port;
	uint32_t at;
};

static int play_segment(const struct segment *s)
{
	static struct frame in, out;

	make_frame(&in, &shape, s);
	return run_tc(program_for(&shape, s->from_server), &in, &out);
}

static int send_at(const struct client *c, uint32_t seq, uint8_t flags, const char *bytes, size_t n)
{
	struct segment s = {.flags = flags,
			    .window = 512,
			    .text = bytes,
			    .len = n,
			    .client_port = c->port,
			    .seq = flags & SYN ? SERVER_ISN : seq,
			    .ack = flags & SYN ? CLIENT_ISN : SERVER_ISN + 1};

	s.from_server = flags & SYN;
	return play_segment(&s);
}

/* The server sends a first token. */
static void answer(const struct client *c)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
				   "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
	struct segment s = {.from_server = true,
			    .flags = PSH | ACK,
			    .window = 512,
			    .text = text,
			    .len = sizeof(text) - 1,
			    .client_port = c->port,
			    .seq = SERVER_ISN + 1,
			    .ack = c->at};

	assert_int_equal(play_segment(&s), THEN_UNSPEC);
}

static struct client connect_anew(void)
{
	struct client c = {++last_port, CLIENT_ISN};

	send_at(&c, 0, SYN | ACK, "", 0);
	send_at(&c, c.at, ACK, "", 0);
	return c;
}

/* Sends the request until it is refused. Returns how many bytes passed; *reason: of the refusal. */
static size_t send_request(struct client *c, const char *request, size_t len,
			   enum sluice_reason *reason)
{
	size_t at = 0, n;

	*reason = SLUICE_REASON_NONE;
	for (; at < len; at += n) {
		n = len - at < SEGMENT ? len - at : SEGMENT;
		if (send_at(c, c->at, PSH | ACK, request + at, n) == THEN_UNSPEC) {
			c->at += n;
			continue;
		}
		assert_int_equal(w.refusal_count, 1);
		w.refusal_count = 0;
		*reason = w.refusals[0].reason;
		break;
	}
	return at;
}

struct body {
	const char *begin, *end;
	bool admitted;
	const char *type; /* NULL: JSON */
};

/* A request whose body has `len` bytes of base64 between its two texts. The caller frees it. */
static char *make_request(const struct body *b, size_t len, size_t *total)
{
	size_t body = strlen(b->begin) + len + strlen(b->end), head;
	char *request = malloc(body + 300);

	assert_non_null(request);
	head = sprintf(request, HEAD "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
		       b->type ? b->type : JSON, body, b->begin);
	memset(request + head, 'A', len);
	strcpy(request + head + len, b->end);
	*total = head + len + strlen(b->end);
	return request;
}

/* A pool in which a request waits, and a service with 4096 bytes a blob. */
static void begin(uint32_t per_kib)
{
	struct sluice_model_flag flag = {.allow = 1, .pool = LLAMA, .limit_retry_ms = 1000};
	struct sluice_model_state state = {.in_flight = 4,
					   .waiting = 1,
					   .waiting_bytes = WAITING,
					   .token_ns = CLOCK_START,
					   .waiting_ns = CLOCK_START};
	struct sluice_service service = http_service();

	reset_world();
	service.blob_bytes = 4096;
	set_both(HTTP_PORT, service);
	flag.admission = (struct sluice_admission){.queue_budget = BUDGET,
						   .queue_budget_per_kib = per_kib,
						   .rate = 1 << ADMISSION_RATE_SHIFT,
						   .ceiling = 100,
						   .floor = 1};
	for (int r = 0; r < SLUICE_RANKS; r++)
		flag.admission.level[r] = flag.admission.queue_budget_level[r] = ADMISSION_ALL;
	set_flag(LLAMA, flag);
	put_state(LLAMA, state);
}

static void an_image_counts_for_blob_bytes_and_the_same_text_for_its_length(void **state)
{
	static const struct body rows[] = {
		{MESSAGES "\"image_url\":{\"url\":\"data:image/png;base64,", "\"}}]}]}", true},
		{MESSAGES "\"source\":{\"data\":\"", "\"}}]}]}", true},
		{"{\"model\":\"llama\",\"images\":[\"", "\"],\"stream\":true}", true},
		{"{\"images\":[\"", "\"],\"stream\":true,\"model\":\"llama\"}", true},
		{MESSAGES "\"text\":\"", "\"}]}]}", false},
		{MESSAGES "\"image_url\":{\"url\":\"", " \"}}]}]}", false},
		{"{\"model\":\"llama\",\"tools\":[{\"x\":[{\"image_url\":\"", "\"}]}]}", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *prefix = strstr(rows[i].begin, "data:");
		size_t total, blob = BLOB + (prefix ? strlen(prefix) : 0);
		enum sluice_reason reason;
		struct client c;
		char *request = make_request(&rows[i], BLOB, &total);

		begin(0);
		c = connect_anew();
		send_request(&c, request, total, &reason);
		free(request);
		if ((reason == SLUICE_REASON_NONE) != rows[i].admitted)
			fail_msg("%s: reason %d", rows[i].begin, reason);
		if (!rows[i].admitted) {
			assert_int_equal(reason, SLUICE_REASON_TTFT);
			continue;
		}
		assert_int_equal(get_state(LLAMA).waiting_bytes, WAITING + total - blob + 4096);
		answer(&c);
		assert_int_equal(get_state(LLAMA).waiting_bytes, WAITING);
	}
}

/* The delimiter after a file, to the end of its line, belongs to it. */
static void a_file_in_a_form_counts_for_blob_bytes_wherever_it_is_cut(void **state)
{
	static const struct body rows[] = {
		{MODEL WAV, "\r\n" LAST, true, FORM},
		{WAV, "\r\n" MODEL LAST, true, FORM},
		{MODEL BEGIN "\"prompt\"\r\n\r\n", "\r\n" LAST, false, FORM},
		{MODEL WAV, "\r\n-------7d8--\r\n", false, FORM},
	};
	const size_t len = 30 * SEGMENT, delimiter = strlen("\r\n-------7d9\r\n");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t total, sent;
		char *request = make_request(&rows[i], len, &total);
		size_t end = total - strlen(rows[i].end); /* of the file */

		for (size_t cut = end - 3; cut <= total; cut++) {
			enum sluice_reason reason;
			struct client c;

			begin(0);
			c = connect_anew();
			sent = send_request(&c, request, cut, &reason);
			if (sent == cut)
				send_request(&c, request + cut, total - cut, &reason);
			if ((reason == SLUICE_REASON_NONE) != rows[i].admitted)
				fail_msg("row %zu, cut %zd after its file: reason %d", i, cut - end,
					 reason);
			if (rows[i].admitted)
				assert_int_equal(get_state(LLAMA).waiting_bytes,
						 WAITING + total - len - delimiter + 4096);
		}
		free(request);
	}
}

/* A budget that grows with a request by more than the request's own wait. */
static void an_early_refusal_is_one_that_the_whole_request_would_meet(void **state)
{
	static const struct body text = {MESSAGES "\"text\":\"", "\"}]}]}", false};
	static const uint32_t growth[] = {0, 4096};
	enum sluice_reason reason;

	(void)state;
	for (int i = 0; i < 2; i++) {
		size_t total;
		char *request = make_request(&text, 20000, &total);
		struct sluice_model_state full;
		struct client c;

		begin(growth[i]);
		full = get_state(LLAMA);
		full.waiting_bytes = 2 * BUDGET;
		put_state(LLAMA, full);
		c = connect_anew();
		/* refused at its model's name, though its length is open; or admitted at its end */
		if (send_request(&c, request, total, &reason))
			assert_int_equal(reason, SLUICE_REASON_NONE);
		else
			assert_int_equal(reason, SLUICE_REASON_TTFT);
		assert_int_equal(reason, i ? SLUICE_REASON_NONE : SLUICE_REASON_TTFT);
		free(request);
	}
}

/* A short image counts for more than its length: the budget that grows with it has room at its end.
 */
static void a_short_image_to_come_counts_in_the_most_that_a_request_may_be(void **state)
{
	static const struct body image = {MESSAGES "\"image_url\":{\"url\":\"", "\"}}]}]}", true};
	enum sluice_reason reason;
	size_t total;
	char *request = make_request(&image, 2000, &total);
	struct sluice_model_state full;
	struct client c;

	(void)state;
	begin(8192);
	full = get_state(LLAMA);
	full.waiting_bytes = 2 * BUDGET;
	put_state(LLAMA, full);
	c = connect_anew();
	send_request(&c, request, total, &reason);
	free(request);
	assert_int_equal(reason, SLUICE_REASON_NONE);
}

/* Bytes of a blob do not pass unseen: with a hole in it, it would count for its length. */
static void a_segment_out_of_order_in_a_blob_is_sent_again(void **state)
{
	static const struct body rows[] = {
		{MESSAGES "\"image_url\":{\"url\":\"", "\"}}]}]}", true},
		{MESSAGES "\"text\":\"", "\"}]}]}", false},
		{MODEL WAV, "\r\n" LAST, true, FORM},
		{MODEL BEGIN "\"prompt\"\r\n\r\n", "\r\n" LAST, false, FORM},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t total;
		char *request = make_request(&rows[i], 4 * SEGMENT, &total);
		struct sluice_service service = http_service();
		struct client c;

		begin(0);
		service.blob_bytes = 4096;
		service.unnamed_default = 1;
		set_both(HTTP_PORT, service);
		c = connect_anew();
		assert_int_equal(send_at(&c, c.at, PSH | ACK, request, SEGMENT), THEN_UNSPEC);
		assert_int_equal(send_at(&c, c.at + 2 * SEGMENT, PSH | ACK, request + 2 * SEGMENT,
					 SEGMENT) == THEN_UNSPEC,
				 !rows[i].admitted);
		free(request);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(an_image_counts_for_blob_bytes_and_the_same_text_for_its_length),
		packets_test(a_file_in_a_form_counts_for_blob_bytes_wherever_it_is_cut),
		packets_test(an_early_refusal_is_one_that_the_whole_request_would_meet),
		packets_test(a_short_image_to_come_counts_in_the_most_that_a_request_may_be),
		packets_test(a_segment_out_of_order_in_a_blob_is_sent_again),
	};

	return packets_main("blobs", tests);
}
