/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A mock model server for tests, the demo and benchmarks. On the wire it behaves as uvicorn with
 * vLLM, Anthropic's API or Ollama. It serves several models on one port, each with a number of
 * slots, a FIFO queue, a prefill time and a time per token. /stats counts only what an application
 * sees: a request refused before the server does not appear.
 *
 * This file has the options and the listening sockets.
 */
#include "server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct listener listeners[32];
size_t listener_count;

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
