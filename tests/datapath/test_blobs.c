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
#define MESSAGES                                                                                   \
	"{\"stream\":true,\"model\":\"llama\",\"messages\":[{\"role\":\"user\",\"content\":[{"

static struct shape shape;
static uint16_t last_port = 20000;

struct client {
	uint16_t port;
	uint32_t at;
};

static int send_at(const struct client *c, uint32_t seq, uint8_t flags, const char *bytes, size_t n)
{
	struct segment s = {.flags = flags,
			    .window = 512,
			    .text = bytes,
			    .len = n,
			    .client_port = c->port,
			    .seq = flags & SYN ? SERVER_ISN : seq,
			    .ack = flags & SYN ? CLIENT_ISN : SERVER_ISN + 1};
	static struct frame in, out;

	s.from_server = flags & SYN;
	make_frame(&in, &shape, &s);
	return run_tc(program_for(&shape, s.from_server), &in, &out);
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

/* A request whose body has `len` bytes of base64 between two texts. The caller frees it. */
static char *make_request(const char *begin, size_t len, const char *end, size_t *total)
{
	size_t body = strlen(begin) + len + strlen(end), head;
	char *request = malloc(body + 200);

	assert_non_null(request);
	head = sprintf(request, HEAD "Content-Length: %zu\r\n\r\n%s", body, begin);
	memset(request + head, 'A', len);
	strcpy(request + head + len, end);
	*total = head + len + strlen(end);
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

struct body {
	const char *begin, *end;
	bool admitted;
};

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
		char *request = make_request(rows[i].begin, BLOB, rows[i].end, &total);

		begin(0);
		c = connect_anew();
		send_request(&c, request, total, &reason);
		free(request);
		if ((reason == SLUICE_REASON_NONE) != rows[i].admitted)
			fail_msg("%s: reason %d", rows[i].begin, reason);
		if (rows[i].admitted)
			assert_int_equal(get_state(LLAMA).waiting_bytes,
					 WAITING + total - blob + 4096);
		else
			assert_int_equal(reason, SLUICE_REASON_TTFT);
	}
}

/* A budget that grows with a request by more than the request's own wait. */
static void an_early_refusal_is_one_that_the_whole_request_would_meet(void **state)
{
	static const uint32_t growth[] = {0, 4096};
	enum sluice_reason reason;

	(void)state;
	for (int i = 0; i < 2; i++) {
		size_t total;
		char *request = make_request(MESSAGES "\"text\":\"", 20000, "\"}]}]}", &total);
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

/* Bytes of a blob do not pass unseen: with a hole in it, it would count for its length. */
static void a_segment_out_of_order_in_a_blob_is_sent_again(void **state)
{
	static const struct body rows[] = {
		{MESSAGES "\"image_url\":{\"url\":\"", "\"}}]}]}", true},
		{MESSAGES "\"text\":\"", "\"}]}]}", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t total;
		char *request = make_request(rows[i].begin, 4 * SEGMENT, rows[i].end, &total);
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
		packets_test(an_early_refusal_is_one_that_the_whole_request_would_meet),
		packets_test(a_segment_out_of_order_in_a_blob_is_sent_again),
	};

	return packets_main("blobs", tests);
}
