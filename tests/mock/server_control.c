/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the mock server reports and accepts besides requests: /stats, /metrics, /v1/models, /health,
 * and /control, which changes a model while it runs.
 */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct server_stats stats;

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
void control(struct conn *c)
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

bool path_is(const char *target, const char *path)
{
	size_t len = strcspn(target, "?");

	return strlen(path) == len && memcmp(target, path, len) == 0;
}

/* /stats and /control are not counted as requests. */
bool is_own(const struct conn *c)
{
	return c->admin || path_is(c->head.target, "/stats") || path_is(c->head.target, "/control");
}

static void print_health(struct buf *b)
{
	buf_printf(b, "{}");
}

void get(struct conn *c)
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
