/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The bytes of a request. A prompt of n tokens is a text of 4n bytes.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append_text(struct buf *b, size_t len)
{
	static char filler[6 * 1024];
	char start[] = "Say something.";
	size_t n = len < sizeof(start) - 1 ? len : sizeof(start) - 1;

	if (!filler[0])
		for (size_t i = 0; i < sizeof(filler); i++)
			filler[i] = i % 6 == 0 ? ' ' : 'x';
	if (distinct)
		snprintf(start, sizeof(start), "%014.0f", random_unit() * 1e14);
	buf_append(b, start, n);
	for (len -= n; len; len -= n) {
		n = len < sizeof(filler) ? len : sizeof(filler);
		buf_append(b, filler, n);
	}
}

/* Appends the prompt as an input, or as the content of a chat: text, or text and an image of
 * --image-bytes in base64. */
static void append_prompt(struct buf *b, size_t text)
{
	bool chat = strncmp(path, "/v1/completions", 15) != 0;

	if (strstr(path, "/embeddings"))
		buf_printf(b, "\"input\":\"");
	else if (!chat)
		buf_printf(b, "\"prompt\":\"");
	else
		buf_printf(b, "\"messages\":[{\"role\":\"user\",\"content\":%s",
			   image_bytes > 0 ? "[{\"type\":\"text\",\"text\":\"" : "\"");
	append_text(b, text);
	if (image_bytes > 0) {
		buf_printf(
			b,
			"\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,");
		for (size_t i = 0; i < (size_t)image_bytes / 4; i++)
			buf_append(b, "iVBO", 4);
		buf_printf(b, "\"}}]}]");
	} else {
		buf_printf(b, chat && !strstr(path, "/embeddings") ? "\"}]" : "\"");
	}
}

/* Builds the JSON body with a prompt of the given bytes. */
void build_json(struct buf *b, const struct model *m, size_t text, double tokens)
{
	struct buf name = {0};

	buf_printf(&name, "\"model\":");
	buf_json_string(&name, m->name);
	buf_clear(b);
	buf_printf(b, "{");
	if (!model_last)
		buf_printf(b, "%s,", buf_at(&name));
	append_prompt(b, text);
	buf_printf(b, ",\"stream\":%s", streamed ? "true" : "false");
	if (prompt_progress)
		buf_printf(b, ",\"return_progress\":true");
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
void build_request(struct buf *head, struct buf *body)
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
void build_model(struct model *m)
{
	m->text = strlen("Say something.");
	build_json(&m->body, m, m->text, max_tokens);
	if (body_bytes > (double)m->body.len) {
		m->text += (size_t)body_bytes - m->body.len;
		build_json(&m->body, m, m->text, max_tokens);
	}
	build_request(&m->head, &m->body);
}
