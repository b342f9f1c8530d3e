/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A load generator that measures an inference API as its clients see it: time to first token, time
 * between tokens, and the exact end of each request. It distinguishes a clean close of a refused
 * connection from a reset.
 *
 * A request includes its retries; a connection carries one attempt at a time. A request ends with
 * its whole answer. Its connection may stay open until EOF. A time is the moment at which a read
 * returned.
 *
 * With --trace, a file has the times and sizes of the requests: an open loop with the trace's own
 * bursts. A prompt of n tokens is a text of 4n bytes.
 */
#include "mock.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define UPLOAD_CHUNK    16384
#define DRAIN_MAX_S     10.0
#define UNBOUNDED_RUN_S 600.0
#define LINE_MAX_BYTES  ((size_t)4 << 20)
#define BYTES_A_TOKEN   4
#define TRACE_TOKENS    1000000

/* ---- the measurements ---- */

/* Samples in ms, and their time-decayed average, as policy ema-flag computes it. */
struct series {
	double *values;
	size_t len, cap;
	double average, weight;
	uint64_t last_ns;
};

enum outcome {
	OUTCOME_OK,
	OUTCOME_HTTP_ERROR,
	OUTCOME_CONNECT_REFUSED,
	OUTCOME_CONNECT_FAILED,
	OUTCOME_RESET,
	OUTCOME_TIMEOUT,
	OUTCOME_EOF_EARLY,
	OUTCOME_MALFORMED,
	OUTCOME_LOCAL_ERROR,
	OUTCOME_COUNT,
};

/* Every attempt has exactly one outcome. */
static const char *const outcome_names[OUTCOME_COUNT] = {
	[OUTCOME_OK] = "ok",
	[OUTCOME_HTTP_ERROR] = "http_error",
	[OUTCOME_CONNECT_REFUSED] = "connect_refused",
	[OUTCOME_CONNECT_FAILED] = "connect_failed",
	[OUTCOME_RESET] = "reset",
	[OUTCOME_TIMEOUT] = "timeout",
	[OUTCOME_EOF_EARLY] = "eof_early",
	[OUTCOME_MALFORMED] = "malformed",
	[OUTCOME_LOCAL_ERROR] = "local_error",
};

/* The end of a connection after a response with "Connection: close"; independent of the outcome. */
enum ending {
	ENDING_CLEAN,
	ENDING_RESET,
	ENDING_NONE,
	ENDING_BYTES_AFTER,
	ENDING_CONNECT_TIMEOUT,
	ENDING_COUNT,
};

static const char *const ending_names[ENDING_COUNT] = {
	[ENDING_CLEAN] = "clean_eof_after_close",     [ENDING_RESET] = "reset_after_close",
	[ENDING_NONE] = "no_eof_after_close",         [ENDING_BYTES_AFTER] = "bytes_after_response",
	[ENDING_CONNECT_TIMEOUT] = "connect_timeout", /* also counted as a timeout */
};

struct results {
	uint64_t sent, completed, good;
	uint64_t status[600]; /* of every response with a head, whole or not */
	uint64_t outcomes[OUTCOME_COUNT];
	struct series ttft, itl, total, rejected;
	struct series request_itl; /* the mean of each answered request */
};

/* The final outcomes of requests, after their retries. */
struct fates {
	uint64_t arrived;
	uint64_t met;     /* answered within both targets */
	uint64_t refused; /* by a 429 or 503 */
	uint64_t missed;  /* every other end */
};

/* A request of a trace. */
struct arrival {
	double at_s; /* from the start */
	uint32_t prompt, generate;
	unsigned int quartile; /* of the run's prompts, by length */
};

struct model {
	const char *name;
	double weight;
	struct buf head, body; /* the bytes on the wire */
	struct results results;
};

/* A request with its retries. */
struct request {
	struct timer timer; /* until its retry */
	struct model *model;
	const struct arrival *arrival; /* NULL: not from a trace */
	uint64_t begun_ns;
	size_t bind_at;
	unsigned int attempts;
};

enum state {
	STATE_CONNECTING,
	STATE_ACTIVE, /* has a request */
	STATE_IDLE,   /* kept alive */
	STATE_DRAIN,  /* answered with "Connection: close": reads until EOF */
	STATE_CLOSED,
};

struct conn {
	struct source source;
	struct timer timer;
	int fd;
	enum state state;
	bool wants_write, send_failed;
	uint32_t events;
	size_t bind_at;
	struct conn *next, *prev;         /* the idle ones of a client address */
	struct conn *all_next, *all_prev; /* all that are open */

	/* the attempt */
	struct request *request;
	struct model *model;
	struct buf own_head, own_body; /* of a request of a trace */
	size_t sent;                   /* bytes of head and body written */
	uint64_t start_ns, written_ns;

	/* its response */
	struct buf in;
	bool have_head, is_429;
	struct http_head head;
	struct chunked chunked;
	uint64_t body_left, body_bytes;
	bool events_sse, events_lines;
	struct buf line;
	bool after_cr;
	char event_name[64];
	struct buf event_data;
	unsigned int generated; /* in the present read */
	uint64_t first_ns, last_ns;
	double gap_sum_ms;
	uint64_t gaps;
};

/* ---- options ---- */

static struct address server;
static bool have_server;
static const char *connect_to;
static const char *path = "/v1/chat/completions";
static struct model models[64];
static size_t model_count;
static struct address binds[256];
static size_t bind_count;
static struct buf extra_headers;
static double concurrency = 1, rate, requests_max, duration_s, max_tokens, body_bytes, retries_max;
static double timeout_s = 60, tau_s = 15, seed = 1, ttft_target_ms, itl_target_ms, max_time_s;
static bool streamed = true, uniform, model_last, new_connections, split, chunked_upload;
static bool json_output, progress;
static const char *trace_path, *series_path;
static double trace_from, load_rate, speed;

/* ---- the run ---- */

static struct results all;
static struct conn *idle[ARRAY_SIZE(binds)];
static struct conn *conns;
static bool open_loop, ending_run;
static struct arrival *arrivals;
static size_t arrival_count, arrived;
static struct fates fates, quartile_fates[4], *second_fates;
static uint32_t quartile_ends[3]; /* tokens, inclusive */
static size_t seconds_len, seconds_cap;
static uint64_t endings[ENDING_COUNT];
static struct series retry_after; /* in seconds */
static uint64_t retry_after_values[3602], retry_after_missing;
static uint64_t length_equal, length_differs, length_missing;
static struct series refused_ms;
static uint64_t requests_begun, retries, gave_up, connections_opened;
static uint64_t in_flight, waiting, draining;
static uint64_t start_ns, stop_ns, hard_stop_ns, last_end_ns;
static uint64_t next_arrival_ns;
static double arrivals_s; /* the schedule of the open loop, seconds from the start */
static struct timer arrival_timer, stop_timer, hard_timer, progress_timer;
static struct {
	uint64_t completed, status_429;
	size_t ttft_at;
} last_second;
static uint64_t rng_state;

static void begin_request(size_t bind_at, const struct arrival *a);
static void attempt(struct request *r);

/* ---- numbers ---- */

/* splitmix64 */
static uint64_t random_u64(void)
{
	uint64_t z = (rng_state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* In [0, 1). */
static double random_unit(void)
{
	return (double)(random_u64() >> 11) * 0x1.0p-53;
}

/* Adds n equal samples of v at now. */
static void series_add(struct series *s, double v, unsigned int n, uint64_t now)
{
	double decay;

	if (!n)
		return;
	while (s->len + n > s->cap) {
		s->cap = s->cap ? s->cap * 2 : 1024;
		s->values = xrealloc(s->values, s->cap * sizeof(*s->values));
	}
	for (unsigned int i = 0; i < n; i++)
		s->values[s->len++] = v;
	decay = s->weight > 0 ? exp(-(double)(now - s->last_ns) / 1e9 / tau_s) : 0;
	s->weight = n + s->weight * decay;
	s->average = s->weight > n ? s->average + n * (v - s->average) / s->weight : v;
	s->last_ns = now;
}

static double series_mean(const struct series *s, size_t from)
{
	double sum = 0;

	for (size_t i = from; i < s->len; i++)
		sum += s->values[i];
	return s->len > from ? sum / (double)(s->len - from) : 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Nearest rank; the series is sorted. */
static double series_quantile(const struct series *s, double q)
{
	size_t rank = (size_t)ceil(q * (double)s->len);

	return s->values[rank ? rank - 1 : 0];
}

static double ms_between(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / (double)NSEC_PER_MSEC : 0;
}

static uint64_t s_to_ns(double s)
{
	return (uint64_t)(s * (double)NSEC_PER_SEC);
}

/* ---- the request on the wire ---- */

static void append_text(struct buf *b, size_t len)
{
	static const char start[] = "Say something.";
	static char filler[6 * 1024];
	size_t n = len < sizeof(start) - 1 ? len : sizeof(start) - 1;

	if (!filler[0])
		for (size_t i = 0; i < sizeof(filler); i++)
			filler[i] = i % 6 == 0 ? ' ' : 'x';
	buf_append(b, start, n);
	for (len -= n; len; len -= n) {
		n = len < sizeof(filler) ? len : sizeof(filler);
		buf_append(b, filler, n);
	}
}

/* Builds the JSON body with a prompt of the given bytes. */
static void build_json(struct buf *b, const struct model *m, size_t text, double tokens)
{
	bool chat = strncmp(path, "/v1/completions", 15) != 0;
	struct buf name = {0};

	buf_printf(&name, "\"model\":");
	buf_json_string(&name, m->name);
	buf_clear(b);
	buf_printf(b, "{");
	if (!model_last)
		buf_printf(b, "%s,", buf_at(&name));
	buf_printf(b, chat ? "\"messages\":[{\"role\":\"user\",\"content\":\"" : "\"prompt\":\"");
	append_text(b, text);
	buf_printf(b, chat ? "\"}],\"stream\":%s" : "\",\"stream\":%s",
		   streamed ? "true" : "false");
	if (tokens > 0)
		buf_printf(b, ",\"max_tokens\":%.0f", tokens);
	if (model_last)
		buf_printf(b, ",%s", buf_at(&name));
	buf_printf(b, "}");
	buf_free(&name);
}

static void chunk_body(struct buf *b)
{
	struct buf out = {0};

	while (buf_left(b)) {
		size_t n = buf_left(b) < UPLOAD_CHUNK ? buf_left(b) : UPLOAD_CHUNK;

		buf_printf(&out, "%zx\r\n", n);
		buf_append(&out, buf_at(b), n);
		buf_append(&out, "\r\n", 2);
		buf_consume(b, n);
	}
	buf_printf(&out, "0\r\n\r\n");
	buf_free(b);
	*b = out;
}

/* Builds head and body: in one buffer, so in one send(), except with --split. */
static void build_request(struct buf *head, struct buf *body)
{
	buf_clear(head);
	buf_printf(head,
		   "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sluice-loadgen\r\n"
		   "Accept: */*\r\nContent-Type: application/json\r\n",
		   path, connect_to);
	if (buf_left(&extra_headers))
		buf_append(head, buf_at(&extra_headers), buf_left(&extra_headers));
	if (chunked_upload)
		buf_printf(head, "Transfer-Encoding: chunked\r\n\r\n");
	else
		buf_printf(head, "Content-Length: %zu\r\n\r\n", body->len);
	if (chunked_upload)
		chunk_body(body);
	if (!split) {
		buf_append(head, body->data, body->len);
		buf_free(body);
	}
}

/* Builds the one request of a model, with the prompt padded until the JSON has --body-bytes. */
static void build_model(struct model *m)
{
	size_t text = strlen("Say something.");

	build_json(&m->body, m, text, max_tokens);
	if (body_bytes > (double)m->body.len)
		build_json(&m->body, m, text + (size_t)body_bytes - m->body.len, max_tokens);
	build_request(&m->head, &m->body);
}

/* ---- connections ---- */

static void close_conn(struct conn *c)
{
	if (c->state == STATE_CLOSED)
		return;
	if (c->state == STATE_IDLE) {
		if (c->prev)
			c->prev->next = c->next;
		else
			idle[c->bind_at] = c->next;
		if (c->next)
			c->next->prev = c->prev;
	}
	if (c->state == STATE_DRAIN)
		draining--;
	if (c->all_prev)
		c->all_prev->all_next = c->all_next;
	else
		conns = c->all_next;
	if (c->all_next)
		c->all_next->all_prev = c->all_prev;
	c->state = STATE_CLOSED;
	timer_cancel(&c->timer);
	if (c->fd >= 0)
		close(c->fd);
	buf_free(&c->own_head);
	buf_free(&c->own_body);
	buf_free(&c->in);
	buf_free(&c->line);
	buf_free(&c->event_data);
	loop_free_later(c);
}

static void make_idle(struct conn *c)
{
	timer_cancel(&c->timer);
	c->state = STATE_IDLE;
	c->prev = NULL;
	c->next = idle[c->bind_at];
	if (c->next)
		c->next->prev = c;
	idle[c->bind_at] = c;
}

static struct conn *take_idle(size_t bind_at)
{
	struct conn *c = idle[bind_at];

	if (!c)
		return NULL;
	idle[bind_at] = c->next;
	if (c->next)
		c->next->prev = NULL;
	c->next = NULL;
	c->state = STATE_ACTIVE;
	return c;
}

static void update_events(struct conn *c)
{
	uint32_t events = EPOLLIN | (c->wants_write ? EPOLLOUT : 0);

	if (c->state == STATE_CLOSED || events == c->events)
		return;
	c->events = events;
	loop_rewatch(c->fd, &c->source, events);
}

/* ---- the end of a request ---- */

/* Ends the run if nothing is left to send or to wait for. */
static void check_end(void)
{
	bool more = open_loop ? arrival_timer.index != 0
			      : requests_max == 0 || requests_begun < (uint64_t)requests_max;

	if (stop_ns && now_ns() >= stop_ns)
		more = false;
	if (!more && !in_flight && !waiting && !draining)
		loop_stop();
}

static bool may_begin(void)
{
	if (ending_run || (requests_max > 0 && requests_begun >= (uint64_t)requests_max))
		return false;
	return !stop_ns || now_ns() < stop_ns;
}

static void on_next(struct timer *t)
{
	struct request *r = container_of(t, struct request, timer);

	loop_free_later(r);
	if (may_begin())
		begin_request(r->bind_at, NULL);
	check_end();
}

/*
 * Ends a request. In the closed loop its caller sends the next one, by a timer: connect() may fail
 * at once, and direct calls would nest one level for each request.
 */
static void end_request(struct request *r)
{
	if (!open_loop && may_begin()) {
		r->timer.fire = on_next;
		timer_set(&r->timer, now_ns());
		return;
	}
	loop_free_later(r);
	check_end();
}

static void on_retry(struct timer *t)
{
	waiting--;
	retries++;
	attempt(container_of(t, struct request, timer));
}

static bool met_targets(const struct conn *c, enum outcome o)
{
	return o == OUTCOME_OK &&
	       (ttft_target_ms == 0 ||
		(c->first_ns && ms_between(c->written_ns, c->first_ns) <= ttft_target_ms)) &&
	       (itl_target_ms == 0 || c->gap_sum_ms <= itl_target_ms * (double)c->gaps);
}

/* The outcomes of the requests that arrived in the same second. */
static struct fates *fates_at(uint64_t begun_ns)
{
	size_t second = (size_t)((begun_ns - start_ns) / NSEC_PER_SEC);

	if (second >= seconds_cap) {
		size_t cap = second * 2 + 256;

		second_fates = xrealloc(second_fates, cap * sizeof(*second_fates));
		memset(second_fates + seconds_cap, 0, (cap - seconds_cap) * sizeof(*second_fates));
		seconds_cap = cap;
	}
	if (second >= seconds_len)
		seconds_len = second + 1;
	return &second_fates[second];
}

static void add_fate(struct fates *f, bool met, bool refused)
{
	f->met += met;
	f->refused += refused;
	f->missed += !met && !refused;
}

/* Counts the outcome of a request, by its last attempt. */
static void book_fate(const struct request *r, const struct conn *c, enum outcome o)
{
	bool met = met_targets(c, o);
	bool refused = o == OUTCOME_HTTP_ERROR && (c->is_429 || c->head.status == 503);

	add_fate(&fates, met, refused);
	add_fate(fates_at(r->begun_ns), met, refused);
	if (r->arrival)
		add_fate(&quartile_fates[r->arrival->quartile], met, refused);
}

static void book(struct results *r, const struct conn *c, enum outcome o, uint64_t now)
{
	double total = ms_between(c->start_ns, now);

	r->outcomes[o]++;
	if (c->have_head && c->head.status < (int)ARRAY_SIZE(r->status))
		r->status[c->head.status]++;
	if (o == OUTCOME_HTTP_ERROR && c->is_429)
		series_add(&r->rejected, total, 1, now);
	if (o != OUTCOME_OK)
		return;
	r->completed++;
	series_add(&r->total, total, 1, now);
	if (c->gaps)
		series_add(&r->request_itl, c->gap_sum_ms / (double)c->gaps, 1, now);
	r->good += met_targets(c, o);
}

/* Ends the attempt. The caller closes, keeps or drains the connection. */
static void end_attempt(struct conn *c, enum outcome o)
{
	struct request *r = c->request;
	uint64_t now = now_ns();

	if (!r)
		return;
	c->request = NULL;
	in_flight--;
	last_end_ns = now;
	book(&c->model->results, c, o, now);
	book(&all, c, o, now);
	if (c->is_429 && o != OUTCOME_HTTP_ERROR)
		length_differs++;
	if (o == OUTCOME_HTTP_ERROR && c->is_429) {
		uint64_t retry_ns = now + s_to_ns(c->head.retry_after_s);

		if (!c->head.has_length)
			length_missing++;
		else
			length_equal++;
		if (!c->head.has_retry_after) {
			retry_after_missing++;
		} else {
			double s = c->head.retry_after_s;

			series_add(&retry_after, s, 1, now);
			retry_after_values[s < 3600 ? (size_t)s : 3600]++;
		}
		if (retries_max > 0 && c->head.has_retry_after &&
		    r->attempts <= (unsigned int)retries_max && retry_ns < hard_stop_ns) {
			waiting++;
			timer_set(&r->timer, retry_ns);
			return;
		}
		if (retries_max > 0)
			gave_up++;
	}
	book_fate(r, c, o);
	end_request(r);
}

static void fail(struct conn *c, enum outcome o)
{
	if (c->state == STATE_DRAIN)
		endings[o == OUTCOME_TIMEOUT ? ENDING_NONE : ENDING_RESET]++;
	if (c->state == STATE_CONNECTING && o == OUTCOME_TIMEOUT)
		endings[ENDING_CONNECT_TIMEOUT]++;
	close_conn(c);
	end_attempt(c, o);
	check_end();
}

static void on_timeout(struct timer *t)
{
	fail(container_of(t, struct conn, timer), OUTCOME_TIMEOUT);
}

/* ---- reading a response ---- */

static bool has_text(const json_t *object, const char *key)
{
	const json_t *v = json_object_get(object, key);

	if (json_is_string(v))
		return json_string_length(v) > 0;
	return json_is_array(v) ? json_array_size(v) > 0 : json_is_object(v);
}

/* A delta with a role, empty or null content, and no tool or reasoning text. */
static bool only_a_role(const json_t *delta)
{
	static const char *const texts[] = {"content",   "tool_calls", "function_call",
					    "reasoning", "thinking",   "reasoning_content"};

	if (!json_object_get(delta, "role"))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (has_text(delta, texts[i]))
			return false;
	return true;
}

/* Returns true if the event has generated output: text, reasoning or tool calls. */
static bool is_generated(const char *name, const char *data, size_t len)
{
	static const char *const opening[] = {"message_start", "content_block_start", "ping",
					      "response.created", "response.in_progress"};
	json_t *json;
	const json_t *choices, *choice, *type;
	size_t i, roles = 0;
	bool generated = true;

	if (len == 6 && memcmp(data, "[DONE]", 6) == 0)
		return false;
	json = json_loadb(data, len, 0, NULL);
	type = json_object_get(json, "type");
	if (!name[0] && json_is_string(type))
		name = json_string_value(type);
	for (i = 0; i < ARRAY_SIZE(opening); i++)
		if (strcmp(name, opening[i]) == 0)
			generated = false;
	choices = json_object_get(json, "choices");
	json_array_foreach(choices, i, choice) roles +=
		only_a_role(json_object_get(choice, "delta"));
	if (roles && roles == json_array_size(choices))
		generated = false;
	if (only_a_role(json_object_get(json, "message")))
		generated = false;
	json_decref(json);
	return generated;
}

/* Processes a line of an event stream, without its line end. An empty line ends the event. */
static void take_sse_line(struct conn *c, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	size_t name = colon ? (size_t)(colon - line) : len;
	const char *value = colon ? colon + 1 : line + len;
	size_t value_len = len - (size_t)(value - line);

	if (!len) {
		if (buf_left(&c->event_data))
			c->generated += is_generated(c->event_name, buf_at(&c->event_data),
						     buf_left(&c->event_data) - 1);
		buf_clear(&c->event_data);
		c->event_name[0] = '\0';
		return;
	}
	if (value_len && *value == ' ') {
		value++;
		value_len--;
	}
	if (name == 4 && memcmp(line, "data", 4) == 0) {
		buf_append(&c->event_data, value, value_len);
		buf_append(&c->event_data, "\n", 1);
	} else if (name == 5 && memcmp(line, "event", 5) == 0) {
		snprintf(c->event_name, sizeof(c->event_name), "%.*s", (int)value_len, value);
	}
}

/* Processes decoded body bytes. Returns false if a line is too long. */
static bool take_stream(struct conn *c, const char *data, size_t len)
{
	while (len) {
		size_t n = 0;

		if (c->after_cr && *data == '\n') {
			c->after_cr = false;
			data++;
			len--;
			continue;
		}
		c->after_cr = false;
		while (n < len && data[n] != '\n' && (data[n] != '\r' || c->events_lines))
			n++;
		if (n == len) {
			buf_append(&c->line, data, n);
			return buf_left(&c->line) < LINE_MAX_BYTES;
		}
		buf_append(&c->line, data, n);
		if (c->events_sse)
			take_sse_line(c, c->line.data, buf_left(&c->line));
		else if (buf_left(&c->line))
			c->generated += is_generated("", buf_at(&c->line), buf_left(&c->line));
		buf_clear(&c->line);
		c->after_cr = data[n] == '\r';
		data += n + 1;
		len -= n + 1;
	}
	return true;
}

/* Adds the samples of one read: the TTFT of the first event, or k gaps of g/k. */
static void take_samples(struct conn *c, uint64_t now)
{
	unsigned int k = c->generated;
	double gap;

	c->generated = 0;
	if (!k || !c->written_ns)
		return;
	if (!c->first_ns) {
		/* Events in the same read as the first one have no measurable gap. */
		c->first_ns = now;
		series_add(&c->model->results.ttft, ms_between(c->written_ns, now), 1, now);
		series_add(&all.ttft, ms_between(c->written_ns, now), 1, now);
	} else {
		gap = ms_between(c->last_ns, now);
		series_add(&c->model->results.itl, gap / k, k, now);
		series_add(&all.itl, gap / k, k, now);
		c->gap_sum_ms += gap;
		c->gaps += k;
	}
	c->last_ns = now;
}

static bool take_body(struct conn *c, const char *data, size_t len)
{
	bool success = c->head.status / 100 == 2;

	c->body_bytes += len;
	if (!success || !len)
		return true;
	if (c->events_sse || c->events_lines)
		return take_stream(c, data, len);
	if (!c->first_ns)
		c->generated = 1;
	return true;
}

/* The response is whole. The rest of c->in does not belong to it. */
static void end_response(struct conn *c)
{
	bool sent_all = c->written_ns != 0;
	bool extra = buf_left(&c->in) > 0;
	enum outcome o = c->head.status / 100 == 2 ? OUTCOME_OK : OUTCOME_HTTP_ERROR;

	if (extra)
		o = OUTCOME_MALFORMED;
	buf_clear(&c->in);
	if (c->head.close && !extra) {
		c->state = STATE_DRAIN;
		draining++;
		timer_set(&c->timer, now_ns() + s_to_ns(fmin(timeout_s, DRAIN_MAX_S)));
	} else if (new_connections || extra || !sent_all || c->send_failed) {
		close_conn(c);
	} else {
		make_idle(c);
	}
	end_attempt(c, o);
}

/* Returns 1 for a whole head, 0 if bytes are missing, -1 if it is malformed. */
static int take_head(struct conn *c)
{
	ssize_t n;

	do {
		n = http_parse_head(buf_at(&c->in), buf_left(&c->in), true, &c->head);
		if (n <= 0)
			return (int)n;
		buf_consume(&c->in, (size_t)n);
	} while (c->head.status / 100 == 1 && buf_left(&c->in));
	if (c->head.status / 100 == 1)
		return 0;
	c->have_head = true;
	c->is_429 = c->head.status == 429;
	c->events_sse = strcmp(c->head.content_type, "text/event-stream") == 0;
	c->events_lines = strcmp(c->head.content_type, "application/x-ndjson") == 0 ||
			  strcmp(c->head.content_type, "application/jsonl") == 0;
	if (c->head.status == 204 || c->head.status == 304) {
		c->head.has_length = true;
		c->head.chunked = false;
		c->head.length = 0;
	}
	c->body_left = c->head.length;
	if (!c->head.has_length && !c->head.chunked)
		c->head.close = true;
	return 1;
}

/* Parses c->in. Returns false if the response is malformed. */
static bool take_response(struct conn *c, uint64_t now)
{
	static struct buf decoded;
	bool whole = false;
	size_t n;

	if (!c->have_head) {
		int got = buf_left(&c->in) ? take_head(c) : 0;

		if (got <= 0)
			return got == 0;
	}
	n = buf_left(&c->in);
	if (c->head.chunked) {
		ssize_t taken;

		buf_clear(&decoded);
		taken = n ? chunked_decode(&c->chunked, buf_at(&c->in), n, &decoded) : 0;
		if (taken < 0 || !take_body(c, buf_at(&decoded), buf_left(&decoded)))
			return false;
		n = (size_t)taken;
		whole = c->chunked.done;
	} else {
		if (c->head.has_length && n > c->body_left)
			n = (size_t)c->body_left;
		if (n && !take_body(c, buf_at(&c->in), n))
			return false;
		c->body_left -= c->head.has_length ? n : 0;
		whole = c->head.has_length && !c->body_left;
	}
	if (n)
		buf_consume(&c->in, n);
	take_samples(c, now);
	if (whole)
		end_response(c);
	return true;
}

/* Handles EOF, after all received bytes. */
static void take_eof(struct conn *c)
{
	if (c->state == STATE_DRAIN) {
		if (c->send_failed) {
			endings[ENDING_RESET]++;
		} else if (!c->written_ns) {
			/* The server has sent everything: unsent bytes decide the end. */
			c->wants_write = true;
			c->events = EPOLLOUT;
			loop_rewatch(c->fd, &c->source, EPOLLOUT);
			return;
		} else {
			endings[ENDING_CLEAN]++;
		}
		close_conn(c);
		check_end();
		return;
	}
	if (c->send_failed) {
		fail(c, OUTCOME_RESET);
		return;
	}
	if (c->have_head && !c->head.chunked && !c->head.has_length) {
		enum outcome o = c->head.status / 100 == 2 ? OUTCOME_OK : OUTCOME_HTTP_ERROR;

		endings[ENDING_CLEAN]++;
		close_conn(c);
		end_attempt(c, o);
		return;
	}
	fail(c, OUTCOME_EOF_EARLY);
}

static void take_drained(struct conn *c, size_t len)
{
	endings[ENDING_BYTES_AFTER]++;
	c->body_bytes += len;
	if (c->is_429 && c->head.has_length) {
		length_equal--;
		length_differs++;
		c->is_429 = false; /* counted once */
	}
}

/* Does one read. Returns false if the socket has no more bytes now, or is closed. */
static bool receive(struct conn *c)
{
	static char bytes[262144];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
	uint64_t now = now_ns();

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (c->state == STATE_IDLE) {
		/* The server closed or reset an idle connection. */
		if (n > 0)
			endings[ENDING_BYTES_AFTER]++;
		close_conn(c);
	} else if (n < 0) {
		fail(c, OUTCOME_RESET);
	} else if (n == 0) {
		take_eof(c);
	} else if (c->state == STATE_DRAIN) {
		take_drained(c, (size_t)n);
		return true;
	} else {
		buf_append(&c->in, bytes, (size_t)n);
		if (!take_response(c, now))
			fail(c, OUTCOME_MALFORMED);
		return c->state != STATE_CLOSED && (size_t)n == sizeof(bytes);
	}
	return false;
}

/* ---- sending ---- */

/* Sends as much as the socket accepts: the head, then (with --split) the body. */
static void send_request(struct conn *c)
{
	const struct buf *head = c->own_head.len ? &c->own_head : &c->model->head;
	const struct buf *body = c->own_head.len ? &c->own_body : &c->model->body;
	size_t whole = head->len + body->len;

	while (c->sent < whole && !c->send_failed) {
		bool in_head = c->sent < head->len;
		const struct buf *b = in_head ? head : body;
		size_t at = in_head ? c->sent : c->sent - head->len;
		uint64_t now = now_ns();
		ssize_t n = send(c->fd, b->data + at, b->len - at, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			/* The bytes before the server's reset are still readable. */
			c->send_failed = true;
			break;
		}
		c->sent += (size_t)n;
		if (c->sent == whole)
			c->written_ns = now;
	}
	c->wants_write = c->sent < whole && !c->send_failed;
}

static void on_connected(struct conn *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error == ECONNREFUSED) {
		series_add(&refused_ms, ms_between(c->start_ns, now_ns()), 1, now_ns());
		fail(c, OUTCOME_CONNECT_REFUSED);
	} else if (error == ECONNRESET) {
		fail(c, OUTCOME_RESET);
	} else if (error == ETIMEDOUT) {
		fail(c, OUTCOME_TIMEOUT);
	} else if (error) {
		fail(c, OUTCOME_CONNECT_FAILED);
	} else {
		c->state = STATE_ACTIVE;
	}
}

static void on_ready(struct source *s, uint32_t events)
{
	struct conn *c = container_of(s, struct conn, source);
	bool at_eof = c->events == EPOLLOUT;

	if (c->state == STATE_CONNECTING && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
		on_connected(c);
		if (c->state == STATE_ACTIVE)
			send_request(c);
		update_events(c);
		return;
	}
	if (c->state == STATE_CLOSED)
		return;
	if (!at_eof && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		while (receive(c))
			;
	at_eof = c->events == EPOLLOUT;
	if (c->state == STATE_CLOSED || c->state == STATE_IDLE)
		return;
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && c->wants_write) {
		send_request(c);
		if (c->send_failed && !at_eof)
			while (receive(c))
				;
	}
	if (at_eof && c->state == STATE_DRAIN && !c->wants_write) {
		take_eof(c);
		return;
	}
	if (!at_eof)
		update_events(c);
}

static struct conn *open_conn(struct request *r)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	int one = 1;

	c->source.ready = on_ready;
	c->timer.fire = on_timeout;
	c->state = STATE_CONNECTING;
	c->bind_at = r->bind_at;
	c->all_next = conns;
	if (conns)
		conns->all_prev = c;
	conns = c;
	c->fd = socket(server.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return c;
	connections_opened++;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (bind_count) {
		const struct address *a = &binds[r->bind_at];

		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(c->fd, (const struct sockaddr *)&a->sa, a->len) < 0)
			die("cannot bind to a client address: %s", strerror(errno));
	}
	return c;
}

/* Starts one attempt of a request, on a kept connection or a new one. */
static void attempt(struct request *r)
{
	struct conn *c = take_idle(r->bind_at);
	bool fresh = !c;

	if (fresh)
		c = open_conn(r);
	r->attempts++;
	c->request = r;
	c->model = r->model;
	c->sent = 0;
	c->start_ns = now_ns();
	c->written_ns = 0;
	c->have_head = false;
	c->is_429 = false;
	memset(&c->head, 0, sizeof(c->head));
	memset(&c->chunked, 0, sizeof(c->chunked));
	c->body_left = 0;
	c->body_bytes = 0;
	buf_clear(&c->line);
	buf_clear(&c->event_data);
	c->event_name[0] = '\0';
	c->after_cr = false;
	c->generated = 0;
	c->first_ns = 0;
	c->last_ns = 0;
	c->gap_sum_ms = 0;
	c->gaps = 0;
	if (r->arrival) {
		build_json(&c->own_body, r->model, (size_t)r->arrival->prompt * BYTES_A_TOKEN,
			   r->arrival->generate);
		build_request(&c->own_head, &c->own_body);
	}
	in_flight++;
	all.sent++;
	r->model->results.sent++;
	timer_set(&c->timer, c->start_ns + s_to_ns(timeout_s));
	if (!fresh) {
		send_request(c);
		update_events(c);
		return;
	}
	if (c->fd < 0) {
		fail(c, OUTCOME_LOCAL_ERROR);
		return;
	}
	if (connect(c->fd, (const struct sockaddr *)&server.sa, server.len) < 0 &&
	    errno != EINPROGRESS) {
		bool refused = errno == ECONNREFUSED;

		if (refused)
			series_add(&refused_ms, ms_between(c->start_ns, now_ns()), 1, now_ns());
		fail(c, refused                  ? OUTCOME_CONNECT_REFUSED
			: errno == EADDRNOTAVAIL ? OUTCOME_LOCAL_ERROR
						 : OUTCOME_CONNECT_FAILED);
		return;
	}
	c->events = EPOLLOUT | EPOLLIN;
	c->wants_write = true;
	loop_watch(c->fd, &c->source, c->events);
}

static struct model *pick_model(void)
{
	double sum = 0, at;

	for (size_t i = 0; i < model_count; i++)
		sum += models[i].weight;
	at = random_unit() * sum;
	for (size_t i = 0; i < model_count; i++) {
		at -= models[i].weight;
		if (at < 0)
			return &models[i];
	}
	return &models[model_count - 1];
}

static void begin_request(size_t bind_at, const struct arrival *a)
{
	struct request *r = xcalloc(1, sizeof(*r));

	r->arrival = a;
	r->begun_ns = now_ns();
	fates.arrived++;
	fates_at(r->begun_ns)->arrived++;
	if (a)
		quartile_fates[a->quartile].arrived++;
	r->timer.fire = on_retry;
	r->model = pick_model();
	r->bind_at = bind_at;
	requests_begun++;
	attempt(r);
}

/* ---- a trace: TIMESTAMP,ContextTokens,GeneratedTokens ---- */

/* Parses "2023-11-16 18:15:46.6805900" into seconds since 1970. */
static bool parse_time(const char *text, double *s)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);
	double part = 0;
	char *end;

	if (!rest)
		return false;
	if (*rest == '.') {
		part = strtod(rest, &end);
		rest = end;
	}
	*s = (double)timegm(&tm) + part;
	return !*rest || *rest == '+' || *rest == 'Z';
}

/* Appends the request of a line, with the file's time. */
static void read_row(char *line, unsigned int number)
{
	char *prompt = strchr(line, ','), *generate = prompt ? strchr(prompt + 1, ',') : NULL;
	struct arrival a = {0};
	double prompt_tokens, tokens;

	if (generate) {
		*prompt++ = '\0';
		*generate++ = '\0';
	}
	if (!generate || !parse_time(line, &a.at_s) ||
	    !parse_number(prompt, 0, TRACE_TOKENS, &prompt_tokens) ||
	    !parse_number(generate, 0, TRACE_TOKENS, &tokens))
		die_usage("%s:%u: want TIMESTAMP,ContextTokens,GeneratedTokens", trace_path,
			  number);
	a.prompt = prompt_tokens < 1 ? 1 : (uint32_t)prompt_tokens;
	a.generate = tokens < 1 ? 1 : (uint32_t)tokens;
	if (arrival_count && a.at_s < arrivals[arrival_count - 1].at_s)
		die_usage("%s:%u: earlier than the line before it", trace_path, number);
	if ((arrival_count & (arrival_count - 1)) == 0)
		arrivals = xrealloc(arrivals,
				    (arrival_count ? arrival_count * 2 : 1) * sizeof(*arrivals));
	arrivals[arrival_count++] = a;
}

static int by_prompt(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Prompts of equal length are in the same quartile, the lower one. */
static void find_quartiles(void)
{
	uint32_t *prompts = xcalloc(arrival_count, sizeof(*prompts));

	for (size_t i = 0; i < arrival_count; i++)
		prompts[i] = arrivals[i].prompt;
	qsort(prompts, arrival_count, sizeof(*prompts), by_prompt);
	for (size_t q = 0; q < 3; q++)
		quartile_ends[q] = prompts[(q + 1) * (arrival_count - 1) / 4];
	free(prompts);
	for (size_t i = 0; i < arrival_count; i++)
		for (size_t q = 0; q < 3; q++)
			arrivals[i].quartile += arrivals[i].prompt > quartile_ends[q];
}

/*
 * Reads the rows of this run and their times. With --speed, --duration or --requests bounds the
 * number of rows. With --load-rate, their number makes that rate over --duration, from the first to
 * the last.
 */
static void read_trace(void)
{
	FILE *f = fopen(trace_path, "re");
	char line[256];
	unsigned int number = 0;
	double first, scale;
	size_t want;

	if (!f)
		die("cannot open %s: %s", trace_path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = '\0';
		number++;
		/* Skips the header and the rows before --trace-from. */
		if (line[0] && number > 1 + (unsigned int)trace_from)
			read_row(line, number);
	}
	fclose(f);
	want = requests_max > 0 ? (size_t)requests_max
	       : load_rate > 0  ? (size_t)(load_rate * duration_s + 0.5)
				: arrival_count;
	if (arrival_count < 2 || arrival_count < want || want < 2)
		die_usage("%s: %zu requests from --trace-from on; %zu are needed (2 at least)",
			  trace_path, arrival_count, want);
	arrival_count = want;
	first = arrivals[0].at_s;
	scale = 1 / speed;
	if (load_rate > 0)
		scale = (double)want / load_rate / fmax(arrivals[want - 1].at_s - first, 1e-9);
	for (size_t i = 0; i < want; i++) {
		arrivals[i].at_s = (arrivals[i].at_s - first) * scale;
		if (load_rate == 0 && duration_s > 0 && arrivals[i].at_s >= duration_s) {
			arrival_count = i;
			break;
		}
	}
	find_quartiles();
}

/* ---- the clocks of a run ---- */

static void schedule_arrival(void)
{
	if (trace_path) {
		if (arrived == arrival_count)
			return;
		timer_set(&arrival_timer, start_ns + s_to_ns(arrivals[arrived].at_s));
		return;
	}
	arrivals_s += uniform ? 1 / rate : -log(1 - random_unit()) / rate;
	next_arrival_ns = start_ns + s_to_ns(arrivals_s);
	if (may_begin() && (!stop_ns || next_arrival_ns < stop_ns))
		timer_set(&arrival_timer, next_arrival_ns);
}

static void on_arrival(struct timer *t)
{
	size_t bind_at = bind_count ? requests_begun % bind_count : 0;

	(void)t;
	if (!may_begin()) {
		check_end();
		return;
	}
	/* The clock alone schedules: a late loop catches up, and a slow server has no influence. */
	begin_request(bind_at, trace_path ? &arrivals[arrived++] : NULL);
	schedule_arrival();
	check_end();
}

static void on_stop(struct timer *t)
{
	(void)t;
	check_end();
}

static void on_hard_stop(struct timer *t)
{
	(void)t;
	loop_stop();
}

static void on_progress(struct timer *t)
{
	uint64_t completed = all.completed - last_second.completed;
	uint64_t status_429 = all.status[429] - last_second.status_429;
	bool any = all.ttft.len > last_second.ttft_at;
	FILE *to = json_output ? stderr : stdout;

	fprintf(to, "%6.0f s  in flight %5llu  completed %5llu  429 %5llu  ttft ",
		(double)(now_ns() - start_ns) / 1e9, (unsigned long long)in_flight,
		(unsigned long long)completed, (unsigned long long)status_429);
	if (any)
		fprintf(to, "%8.1f ms\n", series_mean(&all.ttft, last_second.ttft_at));
	else
		fprintf(to, "%8s\n", "-");
	fflush(to);
	last_second.completed = all.completed;
	last_second.status_429 = all.status[429];
	last_second.ttft_at = all.ttft.len;
	timer_set(t, t->due_ns + NSEC_PER_SEC);
}

/* ---- output ---- */

static void print_series(const char *name, struct series *s, const char *after)
{
	if (!s->len) {
		printf("\"%s\":{\"n\":0,\"mean\":null,\"p50\":null,\"p90\":null,\"p99\":null,"
		       "\"min\":null,\"max\":null,\"ema\":null}%s",
		       name, after);
		return;
	}
	qsort(s->values, s->len, sizeof(*s->values), by_value);
	printf("\"%s\":{\"n\":%zu,\"mean\":%.4f,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,"
	       "\"min\":%.4f,\"max\":%.4f,\"ema\":%.6f}%s",
	       name, s->len, series_mean(s, 0), series_quantile(s, 0.5), series_quantile(s, 0.9),
	       series_quantile(s, 0.99), s->values[0], s->values[s->len - 1], s->average, after);
}

static void print_results(struct results *r, double seconds)
{
	const char *comma = "";

	printf("\"sent\":%llu,\"completed\":%llu,\"status\":{", (unsigned long long)r->sent,
	       (unsigned long long)r->completed);
	for (size_t i = 0; i < ARRAY_SIZE(r->status); i++) {
		if (r->status[i]) {
			printf("%s\"%zu\":%llu", comma, i, (unsigned long long)r->status[i]);
			comma = ",";
		}
	}
	printf("},\"outcomes\":{");
	for (size_t i = 0; i < OUTCOME_COUNT; i++)
		printf("%s\"%s\":%llu", i ? "," : "", outcome_names[i],
		       (unsigned long long)r->outcomes[i]);
	if (r == &all)
		for (size_t i = 0; i < ENDING_COUNT; i++)
			printf(",\"%s\":%llu", ending_names[i], (unsigned long long)endings[i]);
	printf("},");
	print_series("ttft_ms", &r->ttft, ",");
	print_series("itl_ms", &r->itl, ",");
	print_series("total_ms", &r->total, ",");
	print_series("rejected_ms", &r->rejected, ",");
	print_series("request_itl_ms", &r->request_itl, ",");
	if (ttft_target_ms > 0 || itl_target_ms > 0)
		printf("\"good\":%llu,\"goodput_rps\":%.4f,", (unsigned long long)r->good,
		       seconds > 0 ? (double)r->good / seconds : 0);
	else
		printf("\"good\":null,\"goodput_rps\":null,");
}

static void print_fates(const struct fates *f)
{
	printf("\"arrived\":%llu,\"met\":%llu,\"missed\":%llu,\"refused\":%llu",
	       (unsigned long long)f->arrived, (unsigned long long)f->met,
	       (unsigned long long)f->missed, (unsigned long long)f->refused);
}

/* The length of the load: its schedule in the open loop, else the time until the last answer. */
static double load_seconds(double seconds)
{
	if (trace_path && load_rate > 0)
		return (double)arrival_count / load_rate;
	if (open_loop && duration_s > 0)
		return duration_s;
	return trace_path ? arrivals[arrival_count - 1].at_s : seconds;
}

/* Prints the load by requests. Goodput is the number of met targets over the length of the load. */
static void print_load(double seconds)
{
	printf("\"load\":{\"seconds\":%.4f,", seconds);
	print_fates(&fates);
	printf(",\"goodput_rps\":%.4f,\"by_prompt\":[",
	       seconds > 0 ? (double)fates.met / seconds : 0);
	for (size_t q = 0; trace_path && q < 4; q++) {
		printf("%s{\"tokens_up_to\":", q ? "," : "");
		if (q < 3)
			printf("%u,", quartile_ends[q]);
		else
			printf("null,");
		print_fates(&quartile_fates[q]);
		printf("}");
	}
	printf("]},");
}

/* Prints a line for each second: the outcomes of the requests that arrived in it. */
static void write_series(void)
{
	FILE *f = fopen(series_path, "we");

	if (!f)
		die("cannot write %s: %s", series_path, strerror(errno));
	fprintf(f, "second,arrived,met,missed,refused\n");
	for (size_t i = 0; i < seconds_len; i++)
		fprintf(f, "%zu,%llu,%llu,%llu,%llu\n", i,
			(unsigned long long)second_fates[i].arrived,
			(unsigned long long)second_fates[i].met,
			(unsigned long long)second_fates[i].missed,
			(unsigned long long)second_fates[i].refused);
	if (fclose(f))
		die("cannot write %s: %s", series_path, strerror(errno));
}

static void print_json(double seconds)
{
	const char *comma = "";

	printf("{");
	print_results(&all, seconds);
	printf("\"requests\":%llu,\"retries\":%llu,\"gave_up\":%llu,\"connections\":%llu,",
	       (unsigned long long)requests_begun, (unsigned long long)retries,
	       (unsigned long long)gave_up, (unsigned long long)connections_opened);
	print_series("refused_ms", &refused_ms, ",");
	if (retry_after.len)
		qsort(retry_after.values, retry_after.len, sizeof(double), by_value);
	printf("\"retry_after_s\":{\"n\":%zu,\"missing\":%llu,", retry_after.len,
	       (unsigned long long)retry_after_missing);
	if (retry_after.len)
		printf("\"min\":%g,\"mean\":%.4f,\"max\":%g,\"values\":{", retry_after.values[0],
		       series_mean(&retry_after, 0), retry_after.values[retry_after.len - 1]);
	else
		printf("\"min\":null,\"mean\":null,\"max\":null,\"values\":{");
	for (size_t i = 0; i <= 3600; i++) {
		if (retry_after_values[i]) {
			printf("%s\"%zu\":%llu", comma, i,
			       (unsigned long long)retry_after_values[i]);
			comma = ",";
		}
	}
	printf("}},\"body_length_429\":{\"equal\":%llu,\"differs\":%llu,\"missing\":%llu},",
	       (unsigned long long)length_equal, (unsigned long long)length_differs,
	       (unsigned long long)length_missing);
	print_load(load_seconds(seconds));
	printf("\"by_model\":{");
	for (size_t i = 0; i < model_count; i++) {
		struct buf name = {0};

		buf_json_string(&name, models[i].name);
		printf("%s%s:{", i ? "," : "", buf_at(&name));
		buf_free(&name);
		print_results(&models[i].results, seconds);
		printf("\"weight\":%g}", models[i].weight);
	}
	printf("},\"duration_s\":%.4f}\n", seconds);
}

static void say_series(const char *name, struct series *s)
{
	if (!s->len)
		return;
	qsort(s->values, s->len, sizeof(*s->values), by_value);
	printf("  %-9s n %-7zu mean %9.2f  p50 %9.2f  p90 %9.2f  p99 %9.2f  max %9.2f  "
	       "ema %9.2f ms\n",
	       name, s->len, series_mean(s, 0), series_quantile(s, 0.5), series_quantile(s, 0.9),
	       series_quantile(s, 0.99), s->values[s->len - 1], s->average);
}

static void say_results(const char *name, struct results *r, double seconds)
{
	printf("%s: %llu sent, %llu completed in %.2f s", name, (unsigned long long)r->sent,
	       (unsigned long long)r->completed, seconds);
	if (ttft_target_ms > 0 || itl_target_ms > 0)
		printf(", %.2f/s within the targets", seconds > 0 ? (double)r->good / seconds : 0);
	printf("\n ");
	for (size_t i = 0; i < ARRAY_SIZE(r->status); i++)
		if (r->status[i])
			printf(" %zu: %llu", i, (unsigned long long)r->status[i]);
	for (size_t i = OUTCOME_CONNECT_REFUSED; i < OUTCOME_COUNT; i++)
		if (r->outcomes[i])
			printf(" %s: %llu", outcome_names[i], (unsigned long long)r->outcomes[i]);
	printf("\n");
	say_series("ttft", &r->ttft);
	say_series("itl", &r->itl);
	say_series("total", &r->total);
	say_series("rejected", &r->rejected);
}

static void say_fates(double seconds)
{
	printf("  requests: %llu in %.2f s, %llu met the targets (%.3f/s), %llu missed, %llu refused\n",
	       (unsigned long long)fates.arrived, seconds, (unsigned long long)fates.met,
	       seconds > 0 ? (double)fates.met / seconds : 0, (unsigned long long)fates.missed,
	       (unsigned long long)fates.refused);
	for (size_t q = 0; trace_path && q < 4; q++) {
		const struct fates *f = &quartile_fates[q];

		if (q < 3)
			printf("  prompts up to %7u tokens:", quartile_ends[q]);
		else
			printf("  longer prompts             :");
		printf(" %llu, %llu met, %llu missed, %llu refused\n",
		       (unsigned long long)f->arrived, (unsigned long long)f->met,
		       (unsigned long long)f->missed, (unsigned long long)f->refused);
	}
}

static void say_all(double seconds)
{
	if (model_count > 1)
		for (size_t i = 0; i < model_count; i++)
			say_results(models[i].name, &models[i].results, seconds);
	say_results("all", &all, seconds);
	if (trace_path)
		say_fates(load_seconds(seconds));
	for (size_t i = 0; i < ENDING_COUNT; i++)
		if (endings[i])
			printf("  %s: %llu\n", ending_names[i], (unsigned long long)endings[i]);
	if (retry_after.len) {
		qsort(retry_after.values, retry_after.len, sizeof(double), by_value);
		printf("  Retry-After: min %g mean %.2f max %g s, %llu retries, %llu gave up\n",
		       retry_after.values[0], series_mean(&retry_after, 0),
		       retry_after.values[retry_after.len - 1], (unsigned long long)retries,
		       (unsigned long long)gave_up);
	}
}

/* ---- start ---- */

static void set_server(const char *value)
{
	connect_to = value;
	server = parse_address(value, true);
	have_server = true;
}

/* NAME or NAME:WEIGHT. A name that ends in a colon and a number needs an explicit weight. */
static void add_model(const char *value)
{
	struct model *m = &models[model_count];
	char *name = strdup(value);
	char *colon = name ? strrchr(name, ':') : NULL;

	if (!name || model_count == ARRAY_SIZE(models))
		die_usage("--model: too many");
	m->weight = 1;
	if (colon && parse_number(colon + 1, 0, 1e9, &m->weight))
		*colon = '\0';
	m->name = name;
	model_count++;
}

static void add_header(const char *value)
{
	if (!strchr(value, ':') || strpbrk(value, "\r\n"))
		die_usage("--header: '%s' is not allowed: want 'NAME: VALUE'", value);
	buf_printf(&extra_headers, "%s\r\n", value);
}

static void add_bind(const char *value)
{
	if (bind_count == ARRAY_SIZE(binds))
		die_usage("--bind: too many");
	binds[bind_count++] = parse_address(value, false);
}

static void read_options(int argc, char **argv)
{
	const struct option_row rows[] = {
		{"connect", "ADDR:PORT", "the server", .call = set_server},
		{"model", "NAME[:WEIGHT]", "repeatable; requests are spread by weight",
		 .call = add_model},
		{"path", "PATH", "default /v1/chat/completions", .text = &path},
		{"concurrency", "N", "closed loop of N callers (default 1)", .number = &concurrency,
		 .min = 1, .max = 100000},
		{"rate", "R", "open loop: R requests a second, whatever the server does",
		 .number = &rate, .min = 0.001, .max = 1e6},
		{"uniform", NULL, "with --rate: evenly spaced, not Poisson", .on = &uniform},
		{"trace", "FILE",
		 "open loop: times and tokens from a CSV, TIMESTAMP,ContextTokens,GeneratedTokens",
		 .text = &trace_path},
		{"trace-from", "N", "leave out the first N requests of the trace",
		 .number = &trace_from, .min = 0, .max = 1e9},
		{"load-rate", "R", "stretch the trace to a mean of R requests a second",
		 .number = &load_rate, .min = 0.001, .max = 1e6},
		{"speed", "X", "replay the trace X times as fast", .number = &speed, .min = 0.001,
		 .max = 1e6},
		{"series", "FILE",
		 "write a CSV: second, and of the requests that arrived in it the arrived, met, missed, "
		 "refused",
		 .text = &series_path},
		{"requests", "N", "end after N requests (without --duration: --concurrency)",
		 .number = &requests_max, .min = 1, .max = 1e9},
		{"duration", "S", "begin no request after S seconds", .number = &duration_s,
		 .min = 0.01, .max = 86400},
		{"max-time", "S", "end after S seconds at the latest (duration+timeout, or 600)",
		 .number = &max_time_s, .min = 0.01, .max = 172800},
		{"stream", NULL, "request a stream (default)", .on = &streamed},
		{"plain", NULL, "request no stream; TTFT is then the first body byte",
		 .off = &streamed},
		{"max-tokens", "N", "max_tokens of the request (default: none)",
		 .number = &max_tokens, .min = 1, .max = 1e6},
		{"body-bytes", "N", "pad the prompt until the JSON has N bytes",
		 .number = &body_bytes, .min = 1, .max = 1 << 26},
		{"model-last", NULL, "put \"model\" after the messages", .on = &model_last},
		{"new-connections", NULL, "one connection a request", .on = &new_connections},
		{"split", NULL, "head and body in two sends", .on = &split},
		{"chunked-upload", NULL, "send the body chunked", .on = &chunked_upload},
		{"header", "'NAME: VALUE'", "repeatable", .call = add_header},
		{"bind", "ADDR", "source address; repeatable: requests use them alternately",
		 .call = add_bind},
		{"retry", "N", "after a 429, wait for Retry-After and retry, N times at most",
		 .number = &retries_max, .min = 0, .max = 1000},
		{"timeout", "S", "for one attempt, from connect to the last byte (default 60)",
		 .number = &timeout_s, .min = 0.01, .max = 86400},
		{"tau", "S", "time constant of \"ema\" (default 15)", .number = &tau_s, .min = 1e-6,
		 .max = 1e6},
		{"ttft-target-ms", "MS", "for goodput", .number = &ttft_target_ms, .min = 0.001,
		 .max = 1e9},
		{"itl-target-ms", "MS", "for goodput: the mean of a request", .min = 0.001,
		 .number = &itl_target_ms, .max = 1e9},
		{"seed", "N", "of arrivals and models (default 1)", .number = &seed, .min = 0,
		 .max = 9e15},
		{"progress", NULL, "a line a second (on stderr with --json)", .on = &progress},
		{"json", NULL, "one JSON object instead of the summary", .on = &json_output},
	};

	parse_options(argc, argv, "load on an inference API, measured as its clients see it", rows,
		      ARRAY_SIZE(rows));
	if (!have_server)
		die_usage("--connect is missing");
	if (!model_count)
		die_usage("--model is missing");
	for (size_t i = 0; i < bind_count; i++)
		if (binds[i].sa.ss_family != server.sa.ss_family)
			die_usage("--bind: not of the family of --connect");
	if (!trace_path && (trace_from > 0 || load_rate > 0 || speed > 0))
		die_usage("--trace-from, --load-rate and --speed need --trace");
	if (trace_path && (rate > 0 || (load_rate > 0) == (speed > 0)))
		die_usage("--trace needs --load-rate or --speed, and no --rate");
	if (load_rate > 0 && (requests_max > 0) == (duration_s > 0))
		die_usage("--load-rate needs --duration or --requests, one of them");
	open_loop = rate > 0 || trace_path;
	if (!open_loop && requests_max == 0 && duration_s == 0)
		requests_max = concurrency;
	if (rate > 0 && requests_max == 0 && duration_s == 0)
		die_usage("--rate needs --requests or --duration");
	if (trace_path)
		read_trace();
	if (max_time_s == 0)
		max_time_s = trace_path       ? arrivals[arrival_count - 1].at_s + timeout_s
			     : duration_s > 0 ? duration_s + timeout_s
					      : UNBOUNDED_RUN_S;
}

static void start(void)
{
	start_ns = now_ns();
	last_end_ns = start_ns;
	hard_stop_ns = start_ns + s_to_ns(max_time_s);
	hard_timer.fire = on_hard_stop;
	timer_set(&hard_timer, hard_stop_ns);
	if (duration_s > 0 && !trace_path) {
		stop_ns = start_ns + s_to_ns(duration_s);
		stop_timer.fire = on_stop;
		timer_set(&stop_timer, stop_ns);
	}
	if (progress) {
		progress_timer.fire = on_progress;
		timer_set(&progress_timer, start_ns + NSEC_PER_SEC);
	}
	if (open_loop) {
		arrival_timer.fire = on_arrival;
		schedule_arrival();
		check_end();
		return;
	}
	for (uint64_t i = 0; i < (uint64_t)concurrency && may_begin(); i++)
		begin_request(bind_count ? i % bind_count : 0, NULL);
}

int main(int argc, char **argv)
{
	double seconds;

	read_options(argc, argv);
	rng_state = (uint64_t)seed;
	for (size_t i = 0; i < model_count; i++)
		build_model(&models[i]);
	loop_init();
	start();
	loop_run();
	/* The attempts that the hard stop ends are timeouts. */
	ending_run = true;
	while (conns) {
		if (conns->state == STATE_IDLE)
			close_conn(conns);
		else
			fail(conns, OUTCOME_TIMEOUT);
	}
	seconds = (double)(last_end_ns - start_ns) / 1e9;
	if (series_path)
		write_series();
	if (json_output)
		print_json(seconds);
	else
		say_all(seconds);
	return 0;
}
