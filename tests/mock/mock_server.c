/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A mock model server for tests, the demo and benchmarks. On the wire it behaves as uvicorn with
 * vLLM, Anthropic's API or Ollama. It serves several models on one port, each with a number of
 * slots, a FIFO queue, a prefill time and a time per token.
 *
 * A connection carries one request at a time, so struct conn is the request, too: it waits in its
 * model's queue and holds a slot. Its one timer is the model's next action. /stats counts only what
 * an application sees: a request refused before the server does not appear.
 *
 * With --engine, all models share one engine with continuous batching: the simulator's code
 * (user/sim/engine.h), driven by the clock. Each wake-up executes the steps up to now. The time of
 * the next step does not depend on the delay of this one. A prompt has one token per 4 bytes of
 * text.
 */
#include "mock.h"

#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "sim/engine.h"

#define BODY_MAX      ((size_t)8 << 20)
#define TOKENS_MAX    1000000
#define LINGER_NS     (2 * NSEC_PER_SEC)
#define STUCK_POLL_NS (5 * NSEC_PER_MSEC)
#define ENGINE_SLOTS  16384 /* concurrent requests of the engine */
#define BYTES_A_TOKEN 4

struct conn;

struct model {
	const char *name;
	double slots, queue_max, prefill_ms, prefill_us_per_byte, token_ms, tokens, finish_ms;
	double stuck;              /* 1: accepts requests and answers none */
	struct conn *first, *last; /* the queue */
	uint64_t queued, in_service, requests_complete, answers_complete;
};

/* The keys of --model and /control. finish-ms: from the last token to the end; -1: token-ms. */
static const struct {
	const char *key;
	size_t offset;
	double min, max;
} model_keys[] = {
	{"slots", offsetof(struct model, slots), 0, 1e6},
	{"queue", offsetof(struct model, queue_max), 0, 1e6},
	{"prefill-ms", offsetof(struct model, prefill_ms), 0, 1e7},
	{"prefill-us-per-byte", offsetof(struct model, prefill_us_per_byte), 0, 1e6},
	{"token-ms", offsetof(struct model, token_ms), 0, 1e6},
	{"tokens", offsetof(struct model, tokens), 1, TOKENS_MAX},
	{"finish-ms", offsetof(struct model, finish_ms), -1, 1e6},
	{"stuck", offsetof(struct model, stuck), 0, 1},
};

enum api {
	API_CHAT,
	API_COMPLETIONS,
	API_ANTHROPIC,
	API_OLLAMA,
};

enum state {
	STATE_HEAD,   /* reading a request's head, or idle */
	STATE_BODY,   /* reading its body */
	STATE_ANSWER, /* a model processes it */
	STATE_LINGER, /* the last answer is sent; waits for the client's FIN */
	STATE_CLOSED,
};

enum phase {
	PHASE_NONE,
	PHASE_QUEUED,
	PHASE_PREFILL,
	PHASE_TOKENS,
};

struct conn {
	struct source source;
	struct timer timer;
	int fd;
	bool admin; /* a connection to --admin: not counted */
	bool closing;
	bool wants_write;
	bool eof;
	uint32_t events; /* the present epoll events */
	enum state state;
	struct conn *next, *prev; /* all connections */
	struct buf in, out, body;
	struct http_head head;
	struct chunked chunked;
	uint64_t body_left;

	/* the request at its model */
	struct model *model;
	enum phase phase;
	enum api api;
	bool stream, head_sent;
	uint64_t id, tokens, produced, prompt_bytes, prompt_tokens;
	uint32_t index;   /* in the engine */
	uint64_t read_ns; /* when its last bytes were read */
	struct conn *queue_next, *queue_prev;
};

struct listener {
	struct source source;
	const char *at;
	bool admin;
	int fd;
};

static struct model models[64];
static size_t model_count;
static struct listener listeners[32];
static size_t listener_count;
static struct conn *conns;
static bool late_head;
static struct {
	uint64_t connections_accepted, connections_open, heads_seen, requests_complete;
	uint64_t answers_complete, cancelled, queue_full, resets_seen, fins_seen, malformed;
} stats;

/* An event of the engine that has not been sent yet. */
struct engine_event {
	uint32_t index;
	uint64_t id; /* of the request: another one may have its slot by now */
	bool ended;  /* else a token */
};

static struct {
	bool on;
	struct engine e;
	struct timer timer;
	struct {
		struct conn *conn; /* NULL: free */
		bool ended;
	} slots[ENGINE_SLOTS];
	uint32_t free[ENGINE_SLOTS], free_count;
	struct engine_event *events;
	size_t event_count, event_cap;
	bool delivering;
	uint64_t stopped_ns, lost_ns; /* start of the present stop; sum of all earlier ones */
} batch;

static void process(struct conn *c);
static void start_waiting(struct model *m);
static void batch_release(struct conn *c);

/* ---- connections ---- */

/* Bounds the unread bytes of a pipelining client: TCP's window keeps the rest. */
static bool in_full(const struct conn *c)
{
	return buf_left(&c->in) > (size_t)HTTP_HEAD_MAX * 4;
}

static void update_events(struct conn *c)
{
	uint32_t events = EPOLLRDHUP | (in_full(c) ? 0 : EPOLLIN) | (c->wants_write ? EPOLLOUT : 0);

	if (c->state == STATE_CLOSED || events == c->events)
		return;
	c->events = events;
	loop_rewatch(c->fd, &c->source, events);
}

static void want_write(struct conn *c, bool wants)
{
	c->wants_write = wants;
	update_events(c);
}

static void leave_queue(struct conn *c)
{
	struct model *m = c->model;

	if (c->queue_prev)
		c->queue_prev->queue_next = c->queue_next;
	else
		m->first = c->queue_next;
	if (c->queue_next)
		c->queue_next->queue_prev = c->queue_prev;
	else
		m->last = c->queue_prev;
	c->queue_next = NULL;
	c->queue_prev = NULL;
	m->queued--;
}

/* Removes the request from its model, answered or not. The next one of the queue gets its slot. */
static void release_model(struct conn *c)
{
	struct model *m = c->model;
	enum phase phase = c->phase;

	if (!m)
		return;
	timer_cancel(&c->timer);
	if (phase == PHASE_QUEUED)
		leave_queue(c);
	if (batch.on)
		batch_release(c);
	c->model = NULL;
	c->phase = PHASE_NONE;
	if (phase != PHASE_QUEUED) {
		m->in_service--;
		start_waiting(m);
	}
}

static void drop(struct conn *c)
{
	if (c->state == STATE_CLOSED)
		return;
	c->state = STATE_CLOSED;
	if (c->model)
		stats.cancelled++;
	close(c->fd);
	timer_cancel(&c->timer);
	buf_free(&c->in);
	buf_free(&c->out);
	buf_free(&c->body);
	if (!c->admin)
		stats.connections_open--;
	if (c->prev)
		c->prev->next = c->next;
	else
		conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	loop_free_later(c);
	release_model(c);
}

static void saw_reset(struct conn *c)
{
	if (!c->admin)
		stats.resets_seen++;
	drop(c);
}

/* Everything is written: half-closes, and waits so that the client can read before close(). */
static void linger(struct conn *c)
{
	c->state = STATE_LINGER;
	shutdown(c->fd, SHUT_WR);
	timer_set(&c->timer, now_ns() + LINGER_NS);
}

/* Sends in one send() if the socket accepts it. Returns false if the connection is closed. */
static bool send_bytes(struct conn *c, const void *data, size_t len)
{
	ssize_t n = 0;

	if (c->state == STATE_CLOSED)
		return false;
	if (!buf_left(&c->out)) {
		n = send(c->fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			saw_reset(c);
			return false;
		}
		if (n < 0)
			n = 0;
	}
	if ((size_t)n < len) {
		buf_append(&c->out, (const char *)data + n, len - (size_t)n);
		want_write(c, true);
	}
	return true;
}

static void flush_out(struct conn *c)
{
	ssize_t n;

	if (!buf_left(&c->out))
		return;
	n = send(c->fd, buf_at(&c->out), buf_left(&c->out), MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			saw_reset(c);
		return;
	}
	buf_consume(&c->out, (size_t)n);
	if (buf_left(&c->out))
		return;
	want_write(c, false);
	if (c->closing && c->state == STATE_LINGER)
		linger(c);
}

/* The answer is written: continues with the connection's next request, or ends it. */
static void answered(struct conn *c)
{
	if (c->state == STATE_CLOSED)
		return;
	buf_clear(&c->body);
	if (!c->closing) {
		c->state = STATE_HEAD;
		return;
	}
	c->state = STATE_LINGER;
	if (!buf_left(&c->out))
		linger(c);
}

/* ---- answers ---- */

static const char *reason_phrase(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 413:
		return "Request Entity Too Large";
	case 503:
		return "Service Unavailable";
	default:
		return "Internal Server Error";
	}
}

static void head_begin(struct buf *b, int status)
{
	char date[64];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	buf_printf(b, "HTTP/1.1 %d %s\r\ndate: %s\r\nserver: uvicorn\r\n", status,
		   reason_phrase(status), date);
}

/* Sends a whole answer, head and body in one send() each, as uvicorn does. */
static void respond(struct conn *c, int status, const char *type, const struct buf *body)
{
	bool head_only = strcmp(c->head.method, "HEAD") == 0;
	struct buf head = {0};

	head_begin(&head, status);
	buf_printf(&head, "content-length: %zu\r\ncontent-type: %s\r\n%s\r\n", buf_left(body), type,
		   c->closing ? "connection: close\r\n" : "");
	send_bytes(c, buf_at(&head), buf_left(&head));
	if (!head_only && buf_left(body))
		send_bytes(c, buf_at(body), buf_left(body));
	buf_free(&head);
	answered(c);
}

static void respond_error(struct conn *c, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void respond_error(struct conn *c, int status, const char *fmt, ...)
{
	struct buf body = {0};
	char message[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	buf_printf(&body, "{\"error\":{\"message\":");
	buf_json_string(&body, message);
	buf_printf(&body, ",\"type\":\"%s\",\"param\":null,\"code\":%d}}",
		   status == 404 ? "NotFoundError" : "BadRequestError", status);
	respond(c, status, "application/json", &body);
	buf_free(&body);
}

/* The framing is lost: sends 400 (or 413) and ends the connection. */
static void respond_malformed(struct conn *c, int status, const char *why)
{
	stats.malformed++;
	c->closing = true;
	buf_clear(&c->in);
	c->head.method[0] = '\0';
	respond_error(c, status, "%s", why);
}

static void send_stream_head(struct conn *c)
{
	struct buf head = {0};

	if (c->head_sent)
		return;
	c->head_sent = true;
	head_begin(&head, 200);
	buf_printf(&head, "content-type: %s\r\n%s%s\r\n",
		   c->api == API_OLLAMA ? "application/x-ndjson"
					: "text/event-stream; charset=utf-8",
		   c->closing ? "connection: close\r\n" : "",
		   c->head.minor ? "transfer-encoding: chunked\r\n" : "");
	send_bytes(c, buf_at(&head), buf_left(&head));
	buf_free(&head);
}

/* Sends one event as one chunk in one send(). An HTTP/1.0 client gets no chunk framing. */
static void send_chunk(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void send_chunk(struct conn *c, const char *fmt, ...)
{
	static struct buf chunk;
	char event[1024];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(event, sizeof(event), fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= sizeof(event))
		die("an event does not fit");
	buf_clear(&chunk);
	if (c->head.minor)
		buf_printf(&chunk, "%x\r\n%s\r\n", (unsigned int)len, event);
	else
		buf_append(&chunk, event, (size_t)len);
	send_bytes(c, buf_at(&chunk), buf_left(&chunk));
}

/* Sends a chat completion chunk with this delta and finish reason (both JSON). */
static void send_chat(struct conn *c, const char *delta, const char *finish)
{
	send_chunk(c,
		   "data: {\"id\":\"chatcmpl-%llu\",\"object\":\"chat.completion.chunk\","
		   "\"created\":%lld,\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":%s,"
		   "\"logprobs\":null,\"finish_reason\":%s}]}\n\n",
		   (unsigned long long)c->id, (long long)time(NULL), c->model->name, delta, finish);
}

static void send_completion(struct conn *c, const char *text, const char *finish)
{
	send_chunk(c,
		   "data: {\"id\":\"cmpl-%llu\",\"object\":\"text_completion\",\"created\":%lld,"
		   "\"model\":\"%s\",\"choices\":[{\"index\":0,\"text\":\"%s\",\"logprobs\":null,"
		   "\"finish_reason\":%s}]}\n\n",
		   (unsigned long long)c->id, (long long)time(NULL), c->model->name, text, finish);
}

/* Sends the events of a stream before its first token, when its slot begins. */
static void send_opening(struct conn *c)
{
	switch (c->api) {
	case API_CHAT:
		send_chat(c, "{\"role\":\"assistant\",\"content\":\"\"}", "null");
		break;
	case API_ANTHROPIC:
		send_chunk(c,
			   "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{"
			   "\"id\":\"msg_%llu\",\"type\":\"message\",\"role\":\"assistant\","
			   "\"model\":\"%s\",\"content\":[],\"stop_reason\":null,"
			   "\"stop_sequence\":null,\"usage\":{\"input_tokens\":%llu,"
			   "\"output_tokens\":1}}}\n\n",
			   (unsigned long long)c->id, c->model->name,
			   (unsigned long long)c->prompt_tokens);
		send_chunk(c, "event: content_block_start\n"
			      "data: {\"type\":\"content_block_start\",\"index\":0,"
			      "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
		send_chunk(c, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
		break;
	case API_COMPLETIONS:
	case API_OLLAMA:
		break;
	}
}

static void send_token(struct conn *c)
{
	char text[128];

	snprintf(text, sizeof(text), " w%llu", (unsigned long long)c->produced);
	switch (c->api) {
	case API_CHAT:
		snprintf(text, sizeof(text), "{\"content\":\" w%llu\"}",
			 (unsigned long long)c->produced);
		send_chat(c, text, "null");
		break;
	case API_COMPLETIONS:
		send_completion(c, text, "null");
		break;
	case API_ANTHROPIC:
		send_chunk(c,
			   "event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
			   "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"%s\"}}\n\n",
			   text);
		break;
	case API_OLLAMA:
		send_chunk(c,
			   "{\"model\":\"%s\",\"created_at\":\"2025-01-01T00:00:00Z\","
			   "\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},"
			   "\"done\":false}\n",
			   c->model->name, text);
		break;
	}
}

static void send_ending(struct conn *c)
{
	switch (c->api) {
	case API_CHAT:
		send_chat(c, "{}", "\"length\"");
		send_chunk(c, "data: [DONE]\n\n");
		break;
	case API_COMPLETIONS:
		send_completion(c, "", "\"length\"");
		send_chunk(c, "data: [DONE]\n\n");
		break;
	case API_ANTHROPIC:
		send_chunk(c, "event: content_block_stop\n"
			      "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
		send_chunk(c,
			   "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"
			   "\"stop_reason\":\"max_tokens\",\"stop_sequence\":null},\"usage\":{"
			   "\"output_tokens\":%llu}}\n\n",
			   (unsigned long long)c->tokens);
		send_chunk(c, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
		break;
	case API_OLLAMA:
		send_chunk(c,
			   "{\"model\":\"%s\",\"created_at\":\"2025-01-01T00:00:00Z\","
			   "\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,"
			   "\"done_reason\":\"length\",\"prompt_eval_count\":%llu,"
			   "\"eval_count\":%llu}\n",
			   c->model->name, (unsigned long long)c->prompt_tokens,
			   (unsigned long long)c->tokens);
		break;
	}
	if (c->head.minor)
		send_bytes(c, "0\r\n\r\n", 5);
}

static void words(struct buf *b, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		buf_printf(b, " w%llu", (unsigned long long)i);
}

static void plain_body(const struct conn *c, struct buf *b)
{
	unsigned long long id = c->id, in = c->prompt_tokens, out = c->tokens;
	const char *name = c->model->name;

	switch (c->api) {
	case API_CHAT:
		buf_printf(b,
			   "{\"id\":\"chatcmpl-%llu\",\"object\":\"chat.completion\",\"model\":"
			   "\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
			   "\"content\":\"",
			   id, name);
		words(b, c->tokens);
		buf_printf(b, "\"},\"finish_reason\":\"length\"}],");
		break;
	case API_COMPLETIONS:
		buf_printf(b,
			   "{\"id\":\"cmpl-%llu\",\"object\":\"text_completion\",\"model\":\"%s\","
			   "\"choices\":[{\"index\":0,\"text\":\"",
			   id, name);
		words(b, c->tokens);
		buf_printf(b, "\",\"finish_reason\":\"length\"}],");
		break;
	case API_ANTHROPIC:
		buf_printf(b,
			   "{\"id\":\"msg_%llu\",\"type\":\"message\",\"role\":\"assistant\","
			   "\"model\":\"%s\",\"content\":[{\"type\":\"text\",\"text\":\"",
			   id, name);
		words(b, c->tokens);
		buf_printf(b, "\"}],\"stop_reason\":\"max_tokens\",");
		break;
	case API_OLLAMA:
		buf_printf(b,
			   "{\"model\":\"%s\",\"message\":{\"role\":\"assistant\","
			   "\"content\":\"",
			   name);
		words(b, c->tokens);
		buf_printf(b, "\"},\"done\":true,\"done_reason\":\"length\",\"eval_count\":%llu,",
			   out);
		break;
	}
	buf_printf(b,
		   "\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,"
		   "\"total_tokens\":%llu,\"input_tokens\":%llu,\"output_tokens\":%llu}}",
		   in, out, in + out, in, out);
}

/* ---- a request in its slot ---- */

static uint64_t ms_to_ns(double ms)
{
	return (uint64_t)(ms * (double)NSEC_PER_MSEC);
}

/* Prefill begins at since_ns: parsing a large body must not add to it. */
static void begin_service(struct conn *c, uint64_t since_ns)
{
	struct model *m = c->model;
	double prefill_ms =
		m->prefill_ms + m->prefill_us_per_byte * (double)c->prompt_bytes / 1000.0;

	leave_queue(c);
	m->in_service++;
	c->phase = PHASE_PREFILL;
	timer_set(&c->timer, since_ns + ms_to_ns(prefill_ms));
	if (c->stream) {
		send_stream_head(c);
		if (c->state != STATE_CLOSED)
			send_opening(c);
	}
}

static void start_waiting(struct model *m)
{
	while (!batch.on && m->first && m->stuck == 0 && (double)m->in_service < m->slots)
		begin_service(m->first, now_ns());
}

static void finish_service(struct conn *c)
{
	struct model *m = c->model;
	struct buf body = {0};

	if (c->stream)
		send_ending(c);
	else
		plain_body(c, &body);
	if (c->state == STATE_CLOSED) {
		buf_free(&body);
		return;
	}
	m->answers_complete++;
	stats.answers_complete++;
	release_model(c);
	if (c->stream)
		answered(c);
	else
		respond(c, 200, "application/json", &body);
	buf_free(&body);
	process(c);
	update_events(c);
}

/* The time of the next step: `last` + `step`, or now + `step` if that has passed. */
static uint64_t next_step(uint64_t last, uint64_t step)
{
	uint64_t now = now_ns();

	return last + step > now ? last + step : now + step;
}

static void on_timer(struct timer *t)
{
	struct conn *c = container_of(t, struct conn, timer);
	struct model *m = c->model;
	uint64_t at = t->due_ns;

	if (c->state == STATE_LINGER) {
		drop(c);
		return;
	}
	if (m->stuck != 0) {
		timer_set(t, now_ns() + STUCK_POLL_NS);
		return;
	}
	if (c->phase == PHASE_PREFILL) {
		c->phase = PHASE_TOKENS;
		if (!c->stream) {
			c->produced = c->tokens;
			timer_set(t, next_step(at, ms_to_ns(m->token_ms * (double)c->tokens)));
			return;
		}
	}
	if (c->produced == c->tokens) {
		finish_service(c);
		return;
	}
	send_token(c);
	if (c->state == STATE_CLOSED)
		return;
	c->produced++;
	if (c->produced == c->tokens && m->finish_ms == 0)
		finish_service(c);
	else if (c->produced == c->tokens && m->finish_ms > 0)
		timer_set(t, next_step(at, ms_to_ns(m->finish_ms)));
	else
		timer_set(t, next_step(at, ms_to_ns(m->token_ms)));
}

/* ---- requests in the engine ---- */

static void add_event(uint32_t index, bool ended)
{
	if (batch.event_count == batch.event_cap) {
		batch.event_cap = batch.event_cap ? batch.event_cap * 2 : 256;
		batch.events = xrealloc(batch.events, batch.event_cap * sizeof(*batch.events));
	}
	batch.slots[index].ended = ended;
	batch.events[batch.event_count++] =
		(struct engine_event){index, batch.slots[index].conn->id, ended};
}

/* The callbacks only queue events: sending may end a connection, and so call into the engine. */
static void on_engine_token(void *context, uint32_t index, uint64_t at_ns)
{
	(void)context;
	(void)at_ns;
	add_event(index, false);
}

static void on_engine_ended(void *context, uint32_t index, uint64_t at_ns)
{
	(void)context;
	(void)at_ns;
	add_event(index, true);
}

static void batch_release(struct conn *c)
{
	if (!batch.slots[c->index].ended)
		engine_cancel(&batch.e, c->index, batch.e.now_ns);
	batch.slots[c->index].conn = NULL;
	batch.free[batch.free_count++] = c->index;
}

static void take_token(struct conn *c)
{
	if (c->phase == PHASE_QUEUED) {
		leave_queue(c);
		c->model->in_service++;
		c->phase = PHASE_TOKENS;
		if (c->stream) {
			send_stream_head(c);
			if (c->state != STATE_CLOSED)
				send_opening(c);
		}
	}
	if (c->stream && c->state != STATE_CLOSED)
		send_token(c);
	c->produced++;
}

/* The engine's clock. It stops while a model is stuck. */
static uint64_t batch_clock(void)
{
	return (batch.stopped_ns ? batch.stopped_ns : now_ns()) - batch.lost_ns;
}

/* Executes the steps up to now and sends their events. */
static void batch_run(void)
{
	uint64_t next;

	engine_run(&batch.e, batch_clock());
	if (batch.delivering) /* a call from within the loop below */
		return;
	batch.delivering = true;
	for (size_t i = 0; i < batch.event_count; i++) {
		struct engine_event at = batch.events[i];
		struct conn *c = batch.slots[at.index].conn;

		if (!c || c->id != at.id)
			continue;
		if (at.ended)
			finish_service(c);
		else
			take_token(c);
	}
	batch.event_count = 0;
	batch.delivering = false;
	next = engine_due(&batch.e);
	if (next == UINT64_MAX || batch.stopped_ns)
		timer_cancel(&batch.timer);
	else
		timer_set(&batch.timer, next + batch.lost_ns);
}

static void on_batch_timer(struct timer *t)
{
	(void)t;
	batch_run();
}

/* Submits a request. An answer may free its connection for the next request: batch_run() then calls
 * this, and finds the new steps at its end. */
static bool batch_submit(struct conn *c)
{
	if (!batch.free_count)
		return false;
	batch_run();
	c->index = batch.free[batch.free_count - 1];
	if (!engine_submit(&batch.e, c->index, (uint32_t)c->prompt_tokens, (uint32_t)c->tokens,
			   batch_clock()))
		return false;
	batch.free_count--;
	batch.slots[c->index].conn = c;
	batch.slots[c->index].ended = false;
	return true;
}

/* Stops or restarts the engine's clock when `stuck` of a model has changed. */
static void batch_stop_or_go(void)
{
	bool stuck = false;

	for (size_t i = 0; i < model_count; i++)
		stuck |= models[i].stuck != 0;
	if (stuck && !batch.stopped_ns) {
		batch.stopped_ns = now_ns();
	} else if (!stuck && batch.stopped_ns) {
		batch.lost_ns += now_ns() - batch.stopped_ns;
		batch.stopped_ns = 0;
	}
	batch_run();
}

/* KEY=VALUE,… */
static void set_engine(const char *value)
{
	struct {
		const char *key;
		double min, max, value;
	} keys[] = {
		{"slots", 1, 4096, 24},     {"prefill-tokens-per-s", 1, 1e9, 16000},
		{"step-ms", 0.01, 1e5, 12}, {"step-ms-per-seq", 0, 1e5, 0.4},
		{"chunk", 1, 1e6, 256},     {"kv-tokens", 1, 1e9, 100000},
		{"prefill-first", 0, 1, 0},
	};
	const struct engine_events events = {on_engine_token, on_engine_ended, NULL};
	struct engine_shape shape;
	char *text = strdup(value), *save = NULL;

	for (char *pair = text ? strtok_r(text, ",", &save) : NULL; pair;
	     pair = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(pair, '=');
		size_t i;

		if (equals)
			*equals++ = '\0';
		for (i = 0; i < ARRAY_SIZE(keys) && strcmp(keys[i].key, pair) != 0; i++)
			;
		if (!equals || i == ARRAY_SIZE(keys) ||
		    !parse_number(equals, keys[i].min, keys[i].max, &keys[i].value))
			die_usage("--engine: '%s' or its value is not allowed", pair);
	}
	free(text);
	shape = (struct engine_shape){
		.slots = (uint32_t)keys[0].value,
		.prefill_tokens_per_s = keys[1].value,
		.step_ms = keys[2].value,
		.step_ms_per_seq = keys[3].value,
		.chunk = (uint32_t)keys[4].value,
		.kv_tokens = (uint64_t)keys[5].value,
		.prefill_first = keys[6].value != 0,
	};
	if (batch.on || engine_init(&batch.e, &shape, &events, ENGINE_SLOTS))
		die_usage("--engine: is there twice, or too large");
	engine_report_tokens(&batch.e, on_engine_token);
	batch.on = true;
	batch.timer.fire = on_batch_timer;
	for (uint32_t i = 0; i < ENGINE_SLOTS; i++)
		batch.free[batch.free_count++] = ENGINE_SLOTS - 1 - i;
}

/* ---- a complete request ---- */

static struct model *find_model(const char *name, size_t len)
{
	for (size_t i = 0; i < model_count; i++)
		if (strlen(models[i].name) == len && memcmp(models[i].name, name, len) == 0)
			return &models[i];
	return NULL;
}

/* /v2/models/NAME/infer, /v1/models/NAME:predict, /predictions/NAME and similar paths. */
static struct model *model_in_path(const char *path)
{
	static const char *const before[] = {"/models/", "/predictions/"};

	for (size_t i = 0; i < ARRAY_SIZE(before); i++) {
		const char *at = strstr(path, before[i]);

		if (at) {
			struct model *m;

			at += strlen(before[i]);
			m = find_model(at, strcspn(at, "/?"));
			return m ? m : find_model(at, strcspn(at, "/?:"));
		}
	}
	return NULL;
}

static enum api api_of(const char *path)
{
	if (strncmp(path, "/v1/completions", 15) == 0)
		return API_COMPLETIONS;
	if (strncmp(path, "/v1/messages", 12) == 0)
		return API_ANTHROPIC;
	if (strncmp(path, "/api/chat", 9) == 0)
		return API_OLLAMA;
	return API_CHAT;
}

static double json_number_or(const json_t *v, double otherwise)
{
	return json_is_number(v) ? json_number_value(v) : otherwise;
}

/* Gives the request to its model: into a free slot, or into the queue. */
static void enqueue(struct conn *c, struct model *m)
{
	static uint64_t ids;

	bool capacity = m->queued < m->queue_max ||
			(!batch.on && (double)m->in_service < m->slots && m->stuck == 0);

	c->id = ++ids;
	if (batch.on && c->prompt_tokens + c->tokens > batch.e.shape.kv_tokens) {
		respond_error(c, 400, "The context of model '%s' is too short.", m->name);
		return;
	}
	if (!capacity || (batch.on && !batch_submit(c))) {
		stats.queue_full++;
		respond_error(c, 503, "The queue of model '%s' is full.", m->name);
		return;
	}
	c->state = STATE_ANSWER;
	c->model = m;
	c->phase = PHASE_QUEUED;
	c->produced = 0;
	c->head_sent = false;
	c->queue_prev = m->last;
	if (m->last)
		m->last->queue_next = c;
	else
		m->first = c;
	m->last = c;
	m->queued++;
	if (c->stream && !late_head && m->stuck == 0)
		send_stream_head(c);
	if (batch.on)
		batch_run();
	else if (c->state != STATE_CLOSED && m->first == c && m->stuck == 0 &&
		 (double)m->in_service < m->slots)
		begin_service(c, c->read_ns);
}

/* Returns the bytes of the prompt's text, without JSON's syntax: "prompt", or all contents. Without
 * either, returns the body's length. */
static uint64_t text_bytes(const struct conn *c, const json_t *json)
{
	const json_t *prompt = json_object_get(json, "prompt");
	const json_t *messages = json_object_get(json, "messages"), *message, *part;
	uint64_t bytes = json_string_length(prompt);
	size_t i, k;

	json_array_foreach(messages, i, message)
	{
		const json_t *content = json_object_get(message, "content");

		bytes += json_string_length(content);
		json_array_foreach(content, k, part) bytes +=
			json_string_length(json_object_get(part, "text"));
	}
	return bytes ? bytes : buf_left(&c->body);
}

static void request_model(struct conn *c)
{
	const char *path = c->head.target;
	json_t *json = json_loadb(buf_at(&c->body), buf_left(&c->body), 0, NULL);
	const json_t *named = json_object_get(json, "model");
	const json_t *stream = json_object_get(json, "stream");
	const json_t *num_predict =
		json_object_get(json_object_get(json, "options"), "num_predict");
	struct model *m = model_in_path(path);
	double tokens;

	c->api = api_of(path);
	if (!json_is_object(json) && (strncmp(path, "/v1/", 4) == 0 || c->api == API_OLLAMA)) {
		respond_error(c, 400, "The body is no JSON object.");
		json_decref(json);
		return;
	}
	if (!m)
		m = &models[0];
	if (json_is_string(named))
		m = find_model(json_string_value(named), json_string_length(named));
	if (!m) {
		respond_error(c, 404, "The model '%.200s' does not exist.",
			      json_string_value(named));
		json_decref(json);
		return;
	}
	c->stream = stream ? json_is_true(stream) : c->api == API_OLLAMA;
	c->prompt_bytes = buf_left(&c->body);
	c->prompt_tokens = (batch.on ? text_bytes(c, json) : c->prompt_bytes) / BYTES_A_TOKEN;
	tokens = json_number_or(num_predict, m->tokens);
	tokens = json_number_or(json_object_get(json, "max_completion_tokens"), tokens);
	tokens = json_number_or(json_object_get(json, "max_tokens"), tokens);
	c->tokens = tokens < 1 ? 1 : tokens > TOKENS_MAX ? TOKENS_MAX : (uint64_t)tokens;
	json_decref(json);
	if (!c->admin) {
		stats.requests_complete++;
		m->requests_complete++;
	}
	enqueue(c, m);
}

/* Sets one key of a model. Returns false if the key or its value is not allowed. */
static bool set_model_key(struct model *m, const char *key, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(model_keys); i++)
		if (strcmp(model_keys[i].key, key) == 0)
			return parse_number(value, model_keys[i].min, model_keys[i].max,
					    (double *)(void *)((char *)m + model_keys[i].offset));
	return false;
}

static void print_model(struct buf *b, const struct model *m)
{
	buf_printf(b, "{\"model\":\"%s\"", m->name);
	for (size_t i = 0; i < ARRAY_SIZE(model_keys); i++)
		buf_printf(b, ",\"%s\":%g", model_keys[i].key,
			   *(const double *)(const void *)((const char *)m + model_keys[i].offset));
	buf_printf(b, "}");
}

/* Decodes %XX in place. A '+' stays: model names may have one. */
static void url_decode(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned int byte;

		if (*s == '%' && sscanf(s + 1, "%2x", &byte) == 1 && byte && s[1] && s[2]) {
			*to++ = (char)byte;
			s += 2;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* POST /control?model=NAME&KEY=VALUE…; without model: every model. */
static void control(struct conn *c)
{
	struct buf body = {0};
	struct model copy[ARRAY_SIZE(models)];
	struct model *only = NULL;
	char *query = strchr(c->head.target, '?');
	char *save = NULL;

	memcpy(copy, models, sizeof(copy));
	for (char *pair = query ? strtok_r(query + 1, "&", &save) : NULL; pair;
	     pair = strtok_r(NULL, "&", &save)) {
		char *value = strchr(pair, '=');
		bool good = value;

		if (value)
			*value++ = '\0';
		if (value)
			url_decode(value);
		if (good && strcmp(pair, "model") == 0) {
			only = find_model(value, strlen(value));
			good = only;
		} else {
			for (size_t i = 0; good && i < model_count; i++)
				if (!only || only == &models[i])
					good = set_model_key(&copy[i], pair, value);
		}
		if (!good) {
			respond_error(c, 400, "'%.100s' or its value is not allowed.", pair);
			return;
		}
	}
	memcpy(models, copy, sizeof(copy));
	if (batch.on)
		batch_stop_or_go();
	for (size_t i = 0; i < model_count; i++) {
		struct model *m = &models[i];

		for (struct conn *q = m->first, *next; q && m->stuck == 0; q = next) {
			next = q->queue_next;
			if (q->stream && !late_head)
				send_stream_head(q);
		}
		start_waiting(m);
	}
	buf_printf(&body, "[");
	for (size_t i = 0; i < model_count; i++) {
		buf_printf(&body, "%s", i ? "," : "");
		print_model(&body, &models[i]);
	}
	buf_printf(&body, "]");
	respond(c, 200, "application/json", &body);
	buf_free(&body);
}

static void print_by_model(struct buf *b, const char *key, size_t offset)
{
	buf_printf(b, ",\"%s\":{", key);
	for (size_t i = 0; i < model_count; i++)
		buf_printf(b, "%s\"%s\":%llu", i ? "," : "", models[i].name,
			   *(unsigned long long *)(void *)((char *)&models[i] + offset));
	buf_printf(b, "}");
}

static void print_stats(struct buf *b)
{
	const struct {
		const char *key;
		uint64_t value;
	} rows[] = {
		{"requests_complete", stats.requests_complete},
		{"heads_seen", stats.heads_seen},
		{"resets_seen", stats.resets_seen},
		{"fins_seen", stats.fins_seen},
		{"answers_complete", stats.answers_complete},
		{"cancelled", stats.cancelled},
		{"queue_full", stats.queue_full},
		{"malformed", stats.malformed},
		{"connections_open", stats.connections_open},
	};
	unsigned long long in_service = 0, queued = 0;

	for (size_t i = 0; i < model_count; i++) {
		in_service += models[i].in_service;
		queued += models[i].queued;
	}
	buf_printf(b, "{\"connections_accepted\":%llu",
		   (unsigned long long)stats.connections_accepted);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		buf_printf(b, ",\"%s\":%llu", rows[i].key, (unsigned long long)rows[i].value);
	buf_printf(b, ",\"in_service\":%llu,\"queued\":%llu", in_service, queued);
	print_by_model(b, "requests_complete_by_model", offsetof(struct model, requests_complete));
	print_by_model(b, "answers_complete_by_model", offsetof(struct model, answers_complete));
	print_by_model(b, "in_service_by_model", offsetof(struct model, in_service));
	print_by_model(b, "queued_by_model", offsetof(struct model, queued));
	if (batch.on)
		buf_printf(b,
			   ",\"engine\":{\"queued\":%u,\"decoding\":%u,\"kv_used\":%llu,"
			   "\"preempted\":%llu}",
			   batch.e.queued, batch.e.decoding_count,
			   (unsigned long long)batch.e.kv_used,
			   (unsigned long long)batch.e.preempted);
	buf_printf(b, "}");
}

static void print_metrics(struct buf *b)
{
	buf_printf(b, "# TYPE vllm:num_requests_running gauge\n");
	for (size_t i = 0; i < model_count; i++)
		buf_printf(b, "vllm:num_requests_running{model_name=\"%s\"} %llu\n", models[i].name,
			   (unsigned long long)models[i].in_service);
	buf_printf(b, "# TYPE vllm:num_requests_waiting gauge\n");
	for (size_t i = 0; i < model_count; i++)
		buf_printf(b, "vllm:num_requests_waiting{model_name=\"%s\"} %llu\n", models[i].name,
			   (unsigned long long)models[i].queued);
}

static void print_models(struct buf *b)
{
	buf_printf(b, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < model_count; i++)
		buf_printf(b, "%s{\"id\":\"%s\",\"object\":\"model\",\"owned_by\":\"mock\"}",
			   i ? "," : "", models[i].name);
	buf_printf(b, "]}");
}

static bool path_is(const char *target, const char *path)
{
	size_t len = strcspn(target, "?");

	return strlen(path) == len && memcmp(target, path, len) == 0;
}

/* /stats and /control are not counted as requests. */
static bool is_own(const struct conn *c)
{
	return c->admin || path_is(c->head.target, "/stats") || path_is(c->head.target, "/control");
}

static void print_health(struct buf *b)
{
	buf_printf(b, "{}");
}

static void get(struct conn *c)
{
	static const struct {
		const char *path, *type;
		void (*print)(struct buf *b);
	} pages[] = {
		{"/health", "application/json", print_health},
		{"/v1/models", "application/json", print_models},
		{"/metrics", "text/plain; version=0.0.4; charset=utf-8", print_metrics},
		{"/stats", "application/json", print_stats},
	};
	struct buf body = {0};

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (path_is(c->head.target, pages[i].path)) {
			pages[i].print(&body);
			respond(c, 200, pages[i].type, &body);
			buf_free(&body);
			return;
		}
	}
	respond_error(c, 404, "Not Found");
}

static void dispatch(struct conn *c)
{
	bool post = strcmp(c->head.method, "POST") == 0;

	if (c->head.close)
		c->closing = true;
	if (post && path_is(c->head.target, "/control")) {
		control(c);
	} else if (post) {
		uint64_t before = stats.requests_complete;

		request_model(c);
		/* A request without a model (400, 404) was read completely, too. */
		if (!c->admin && stats.requests_complete == before)
			stats.requests_complete++;
	} else {
		if (!is_own(c))
			stats.requests_complete++;
		if (strcmp(c->head.method, "GET") == 0 || strcmp(c->head.method, "HEAD") == 0)
			get(c);
		else
			respond_error(c, 405, "Method Not Allowed");
	}
}

/* ---- reading ---- */

/* Returns false if more bytes are needed. */
static bool read_head(struct conn *c)
{
	ssize_t n;

	while (buf_left(&c->in) && (*buf_at(&c->in) == '\r' || *buf_at(&c->in) == '\n'))
		buf_consume(&c->in, 1);
	if (!buf_left(&c->in))
		return false;
	n = http_parse_head(buf_at(&c->in), buf_left(&c->in), false, &c->head);
	if (n == 0)
		return false;
	if (n < 0) {
		respond_malformed(c, 400, "Invalid HTTP request received.");
		return false;
	}
	buf_consume(&c->in, (size_t)n);
	if (!is_own(c))
		stats.heads_seen++;
	if (c->head.length > BODY_MAX) {
		respond_malformed(c, 413, "The body is too large.");
		return false;
	}
	memset(&c->chunked, 0, sizeof(c->chunked));
	c->body_left = c->head.length;
	c->state = STATE_BODY;
	if (c->head.expect_continue && c->head.minor && !buf_left(&c->in) &&
	    (c->head.chunked || c->body_left))
		return send_bytes(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	return true;
}

/* Returns true when the body is whole. */
static bool read_body(struct conn *c)
{
	size_t n = buf_left(&c->in);

	if (c->head.chunked) {
		ssize_t taken = n ? chunked_decode(&c->chunked, buf_at(&c->in), n, &c->body) : 0;

		if (taken < 0) {
			respond_malformed(c, 400, "Invalid chunk.");
			return false;
		}
		if (buf_left(&c->body) > BODY_MAX) {
			respond_malformed(c, 413, "The body is too large.");
			return false;
		}
		buf_consume(&c->in, (size_t)taken);
		return c->chunked.done;
	}
	if (n > c->body_left)
		n = (size_t)c->body_left;
	if (n) {
		buf_append(&c->body, buf_at(&c->in), n);
		buf_consume(&c->in, n);
	}
	c->body_left -= n;
	return c->body_left == 0;
}

/* Processes the received bytes, request by request. */
static void process(struct conn *c)
{
	for (;;) {
		if (c->state == STATE_HEAD && !read_head(c))
			return;
		if (c->state != STATE_BODY || !read_body(c))
			return;
		dispatch(c);
	}
}

/* Returns false if the connection is closed. */
static bool receive(struct conn *c)
{
	static char bytes[HTTP_HEAD_MAX];

	while (!c->eof && !in_full(c)) {
		ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			saw_reset(c);
			return false;
		}
		if (n == 0) {
			c->eof = true;
			break;
		}
		if (c->state == STATE_LINGER)
			continue;
		c->read_ns = now_ns();
		buf_append(&c->in, bytes, (size_t)n);
		process(c);
		if (c->state == STATE_CLOSED)
			return false;
		if ((size_t)n < sizeof(bytes))
			break;
	}
	return true;
}

static void on_ready(struct source *s, uint32_t events)
{
	struct conn *c = container_of(s, struct conn, source);

	if (c->state == STATE_CLOSED)
		return;
	if (events & EPOLLOUT)
		flush_out(c);
	if (c->state == STATE_CLOSED || !receive(c))
		return;
	/* The slot of a closed connection is released now, before its bytes are read. */
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) && in_full(c))
		c->eof = true;
	if (c->eof) {
		if (!c->admin)
			stats.fins_seen++;
		drop(c);
		return;
	}
	update_events(c);
}

static void on_accept(struct source *s, uint32_t events)
{
	struct listener *l = container_of(s, struct listener, source);
	int one = 1;

	(void)events;
	for (int i = 0; i < 64; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct conn *c;

		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c = xcalloc(1, sizeof(*c));
		c->source.ready = on_ready;
		c->timer.fire = on_timer;
		c->fd = fd;
		c->admin = l->admin;
		if (!c->admin) {
			stats.connections_accepted++;
			stats.connections_open++;
		}
		c->next = conns;
		if (conns)
			conns->prev = c;
		conns = c;
		c->events = EPOLLIN | EPOLLRDHUP;
		loop_watch(fd, &c->source, c->events);
	}
}

/* ---- start ---- */

static int open_socket(const struct address *a, int v6_only)
{
	int one = 1;
	int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (a->sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only));
	if (bind(fd, (const struct sockaddr *)&a->sa, a->len) < 0 || listen(fd, 4096) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void start_listening(struct listener *l)
{
	struct address a = parse_address(l->at, true);
	bool any = !strchr(l->at, ':') || l->at[0] == ':';

	l->fd = open_socket(&a, !any);
	if (l->fd < 0 && any && errno != EADDRINUSE) {
		/* A host without IPv6. */
		struct sockaddr_in v4 = {
			.sin_family = AF_INET,
			.sin_port = ((struct sockaddr_in6 *)(void *)&a.sa)->sin6_port,
		};

		memcpy(&a.sa, &v4, sizeof(v4));
		a.len = sizeof(v4);
		l->fd = open_socket(&a, 0);
	}
	if (l->fd < 0)
		die("cannot listen on %s: %s", l->at, strerror(errno));
	l->source.ready = on_accept;
	loop_watch(l->fd, &l->source, EPOLLIN);
}

static void add_listener(const char *value)
{
	if (listener_count == ARRAY_SIZE(listeners))
		die_usage("--listen: too many");
	listeners[listener_count++].at = value;
}

static void add_admin(const char *value)
{
	add_listener(value);
	listeners[listener_count - 1].admin = true;
}

/* NAME[,KEY=VALUE…]. JSON contains the name unescaped. */
static void add_model(const char *value)
{
	struct model *m = &models[model_count];
	char *text = strdup(value);
	char *save = NULL;

	if (!text || model_count == ARRAY_SIZE(models))
		die_usage("--model: too many");
	*m = (struct model){.slots = 4,
			    .queue_max = 1000,
			    .prefill_ms = 100,
			    .token_ms = 20,
			    .tokens = 32,
			    .finish_ms = -1};
	m->name = strtok_r(text, ",", &save);
	if (!m->name || strlen(m->name) > 200 || strpbrk(m->name, "\"\\"))
		die_usage("--model: '%s' has no name, or one that is not allowed", value);
	for (char *pair; (pair = strtok_r(NULL, ",", &save));) {
		char *equals = strchr(pair, '=');

		if (equals)
			*equals = '\0';
		if (!equals || !set_model_key(m, pair, equals + 1))
			die_usage("--model %s: '%s' or its value is not allowed", m->name, pair);
	}
	model_count++;
}

int main(int argc, char **argv)
{
	const struct option_row rows[] = {
		{"listen", "ADDR:PORT", "[V6]:PORT or PORT too; repeatable", .call = add_listener},
		{"admin", "ADDR:PORT", "the same; its requests are not counted", .call = add_admin},
		{"model", "NAME[,KEY=VALUE…]",
		 "slots=4 queue=1000 prefill-ms=100 prefill-us-per-byte=0 token-ms=20 tokens=32 "
		 "finish-ms=token-ms stuck=0; repeatable, the first is the default",
		 .call = add_model},
		{"engine", "KEY=VALUE,…",
		 "one engine with continuous batching for all models, instead of their slots and times: "
		 "slots=24 prefill-tokens-per-s=16000 step-ms=12 step-ms-per-seq=0.4 chunk=256 "
		 "kv-tokens=100000 prefill-first=0; a prompt's tokens are the bytes of its text / 4",
		 .call = set_engine},
		{"late-head", NULL,
		 "send a stream's head when its slot begins, not when the request is read",
		 .on = &late_head},
	};

	parse_options(argc, argv, "a mock model server", rows, ARRAY_SIZE(rows));
	if (!listener_count)
		die_usage("--listen is missing");
	if (!model_count)
		add_model("mock");
	loop_init();
	for (size_t i = 0; i < listener_count; i++)
		start_listening(&listeners[i]);
	puts("ready");
	fflush(stdout);
	loop_run();
	for (size_t i = 0; i < model_count; i++)
		models[i].stuck = 1;
	while (conns)
		drop(conns);
	if (batch.on)
		engine_free(&batch.e);
	free(batch.events);
	loop_end();
	return 0;
}
