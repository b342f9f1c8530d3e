/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a request with images or files counts for in policy adaptive: each blob for the service's
 * blob_bytes and not for its length, wherever the request is cut. The same bytes as text count in
 * full.
 */
#include "blobs.h"

#define BLOB 2000000

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(an_image_counts_for_blob_bytes_and_the_same_text_for_its_length),
		packets_test(a_file_in_a_form_counts_for_blob_bytes_wherever_it_is_cut),
		packets_test(an_early_refusal_is_one_that_the_whole_request_would_meet),
		packets_test(a_short_image_to_come_counts_in_the_most_that_a_request_may_be),
	};

	return packets_main("blobs", tests);
}
