/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The responses: which events of a stream are generated, and when they came.
 */
#include "load.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	static const char *const silent[] = {
		"message_start",        "content_block_start", "ping",          "response.created",
		"response.in_progress", "content_block_stop",  "message_delta", "message_stop"};
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
	for (i = 0; i < ARRAY_SIZE(silent); i++)
		if (strcmp(name, silent[i]) == 0)
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
bool take_response(struct conn *c, uint64_t now)
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
