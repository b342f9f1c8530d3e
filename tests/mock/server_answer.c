/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The answers of the mock server, streamed and whole, in the words of each API.
 */
#include "server.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

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
void respond(struct conn *c, int status, const char *type, const struct buf *body)
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

void respond_error(struct conn *c, int status, const char *fmt, ...)
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
void respond_malformed(struct conn *c, int status, const char *why)
{
	stats.malformed++;
	c->closing = true;
	buf_clear(&c->in);
	c->head.method[0] = '\0';
	respond_error(c, status, "%s", why);
}

void send_stream_head(struct conn *c)
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

/* Sends what llama.cpp sends of its prompt processing: at the begin, nothing is processed yet. */
void send_progress(struct conn *c)
{
	send_chunk(c,
		   "data: {\"id\":\"chatcmpl-%llu\",\"object\":\"chat.completion.chunk\","
		   "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null},"
		   "\"finish_reason\":null}],\"prompt_progress\":{\"total\":%llu,\"cache\":0,"
		   "\"processed\":0,\"time_ms\":0}}\n\n",
		   (unsigned long long)c->id, (unsigned long long)c->prompt_tokens);
}

/* Sends the events of a stream before its first token, when its slot begins. */
void send_opening(struct conn *c)
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
	case API_EMBEDDINGS:
		break;
	}
}

void send_token(struct conn *c)
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
	case API_EMBEDDINGS:
		break;
	}
}

void send_ending(struct conn *c)
{
	switch (c->api) {
	case API_CHAT:
		send_chat(c, "{}", "\"length\"");
		if (c->usage)
			send_chunk(c,
				   "data: {\"id\":\"chatcmpl-%llu\",\"object\":"
				   "\"chat.completion.chunk\",\"choices\":[],\"usage\":{"
				   "\"prompt_tokens\":%llu,\"total_tokens\":%llu,"
				   "\"completion_tokens\":%llu}}\n\n",
				   (unsigned long long)c->id, (unsigned long long)c->prompt_tokens,
				   (unsigned long long)c->prompt_tokens + c->tokens,
				   (unsigned long long)c->tokens);
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
	case API_EMBEDDINGS:
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

void plain_body(const struct conn *c, struct buf *b)
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
	case API_EMBEDDINGS:
		buf_printf(
			b,
			"{\"object\":\"list\",\"model\":\"%s\",\"data\":[{\"object\":\"embedding\","
			"\"index\":0,\"embedding\":[0.25,-0.5]}],\"usage\":{\"prompt_tokens\":%llu,"
			"\"total_tokens\":%llu}}",
			name, in, in);
		return;
	}
	buf_printf(b,
		   "\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,"
		   "\"total_tokens\":%llu,\"input_tokens\":%llu,\"output_tokens\":%llu}}",
		   in, out, in + out, in, out);
}
