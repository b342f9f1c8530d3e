/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The models of the mock server: each has a queue, slots, and times for prefill and tokens. A
 * request's one timer is the model's next action.
 */
#include "server.h"

#include <stdio.h>
#include <string.h>

struct model models[64];
size_t model_count;
bool late_head;

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

void leave_queue(struct conn *c)
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
void release_model(struct conn *c)
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

void start_waiting(struct model *m)
{
	while (!batch.on && m->first && m->stuck == 0 && (double)m->in_service < m->slots)
		begin_service(m->first, now_ns());
}

void finish_service(struct conn *c)
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

void on_timer(struct timer *t)
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

struct model *find_model(const char *name, size_t len)
{
	for (size_t i = 0; i < model_count; i++)
		if (strlen(models[i].name) == len && memcmp(models[i].name, name, len) == 0)
			return &models[i];
	return NULL;
}

/* /v2/models/NAME/infer, /v1/models/NAME:predict, /predictions/NAME and similar paths. */
struct model *model_in_path(const char *path)
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

/* Gives the request to its model: into a free slot, or into the queue. */
void enqueue(struct conn *c, struct model *m)
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
	if (c->head_sent && c->progress && c->state != STATE_CLOSED)
		send_progress(c);
	if (batch.on)
		batch_run();
	else if (c->state != STATE_CLOSED && m->first == c && m->stuck == 0 &&
		 (double)m->in_service < m->slots)
		begin_service(c, c->read_ns);
}

/* Sets one key of a model. Returns false if the key or its value is not allowed. */
bool set_model_key(struct model *m, const char *key, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(model_keys); i++)
		if (strcmp(model_keys[i].key, key) == 0)
			return parse_number(value, model_keys[i].min, model_keys[i].max,
					    (double *)(void *)((char *)m + model_keys[i].offset));
	return false;
}

void print_model(struct buf *b, const struct model *m)
{
	buf_printf(b, "{\"model\":\"%s\"", m->name);
	for (size_t i = 0; i < ARRAY_SIZE(model_keys); i++)
		buf_printf(b, ",\"%s\":%g", model_keys[i].key,
			   *(const double *)(const void *)((const char *)m + model_keys[i].offset));
	buf_printf(b, "}");
}
