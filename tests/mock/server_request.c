/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The requests of the mock server: reads head and body, finds the model, and hands the request to
 * it. A prompt has one token per 4 bytes of text.
 */
#include "server.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_TOKENS 1500 /* as of the simulator */

static enum api api_of(const char *path)
{
	if (strncmp(path, "/v1/completions", 15) == 0)
		return API_COMPLETIONS;
	if (strncmp(path, "/v1/messages", 12) == 0)
		return API_ANTHROPIC;
	if (strncmp(path, "/api/chat", 9) == 0)
		return API_OLLAMA;
	if (strncmp(path, "/v1/embeddings", 14) == 0)
		return API_EMBEDDINGS;
	return API_CHAT;
}

static double json_number_or(const json_t *v, double otherwise)
{
	return json_is_number(v) ? json_number_value(v) : otherwise;
}

/* Returns the bytes of the prompt's text, without JSON's syntax: "prompt", "input", or all
 * contents. An image counts for IMAGE_TOKENS. Without any, returns the body's length. */
static uint64_t text_bytes(const struct conn *c, const json_t *json)
{
	const json_t *prompt = json_object_get(json, "prompt");
	const json_t *messages = json_object_get(json, "messages"), *message, *part;
	uint64_t bytes =
		json_string_length(prompt) + json_string_length(json_object_get(json, "input"));
	size_t i, k;

	json_array_foreach(messages, i, message)
	{
		const json_t *content = json_object_get(message, "content");

		bytes += json_string_length(content);
		json_array_foreach(content, k, part) bytes +=
			json_string_length(json_object_get(part, "text")) +
			(json_object_get(part, "image_url") ? IMAGE_TOKENS * BYTES_A_TOKEN : 0);
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
	c->progress = json_is_true(json_object_get(json, "return_progress"));
	c->usage = json_is_true(
		json_object_get(json_object_get(json, "stream_options"), "include_usage"));
	if (c->api == API_EMBEDDINGS)
		tokens = 1;
	c->tokens = tokens < 1 ? 1 : tokens > TOKENS_MAX ? TOKENS_MAX : (uint64_t)tokens;
	json_decref(json);
	if (!c->admin) {
		stats.requests_complete++;
		m->requests_complete++;
	}
	enqueue(c, m);
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
void process(struct conn *c)
{
	for (;;) {
		if (c->state == STATE_HEAD && !read_head(c))
			return;
		if (c->state != STATE_BODY || !read_body(c))
			return;
		dispatch(c);
	}
}
