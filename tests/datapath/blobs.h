/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests with images and files, their connections, and a pool in which they wait.
 */
#ifndef SLUICE_BLOBS_H
#define SLUICE_BLOBS_H

#include "packets.h"

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

static inline int play_segment(const struct segment *s)
{
	static struct frame in, out;

	make_frame(&in, &shape, s);
	return run_tc(program_for(&shape, s->from_server), &in, &out);
}

static inline int send_at(const struct client *c, uint32_t seq, uint8_t flags, const char *bytes,
			  size_t n)
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

static inline struct client connect_anew(void)
{
	struct client c = {++last_port, CLIENT_ISN};

	send_at(&c, 0, SYN | ACK, "", 0);
	send_at(&c, c.at, ACK, "", 0);
	return c;
}

struct body {
	const char *begin, *end;
	bool admitted;
	const char *type; /* NULL: JSON */
};

/* A request with `len` bytes of base64 between the two texts of its body. The caller frees it. */
static inline char *make_request(const struct body *b, size_t len, size_t *total)
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
static inline void begin(uint32_t per_kib)
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

#endif
