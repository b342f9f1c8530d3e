/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One thread, poll(), a connection for each probe. The first thing that is not as expected ends all
 * of it with one sentence.
 */
#include "calibrate/client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "config/endpoint.h"
#include "core/printable.h"
#include "sluice/http1_response.h"

#define NS_PER_MS   1000000
#define LINE_MAX    4096 /* bytes of a line of the response that are kept */
#define EXCERPT_MAX 160  /* bytes of an error that are shown */
#define BYTES_MAX   (1 << 20)
#define BYTES_EVENT 4096 /* more for each token that is asked for */

struct exchange {
	struct client *client;
	struct probe *probe;
	int fd; /* -1: not open yet, or closed again */
	bool begun, connected, done;
	char *request;
	size_t len, sent;
	struct http1_response response;
	uint64_t bytes;
	char line[LINE_MAX]; /* of the body: the one under way, or the beginning of an error */
	size_t line_len;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Keeps the reason, escaped, and returns -EPROTO. */
__attribute__((format(printf, 2, 3))) static int fail(struct client *c, const char *fmt, ...)
{
	char text[sizeof(c->error)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (char *at = text; *at; at++)
		if (*at == '\n')
			*at = ' ';
	printable_text(c->error, sizeof(c->error), text);
	return -EPROTO;
}

int client_open(struct client *c, const char *server, const char *model)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *info;
	char host[256];
	uint16_t port;
	int ret;

	if (endpoint_split(server, host, sizeof(host), &port) || !*host)
		return fail(c, "is not ADDR:PORT or [V6]:PORT"), -EINVAL;
	ret = getaddrinfo(host, strrchr(server, ':') + 1, &hints, &info);
	if (ret)
		return fail(c, "%s", gai_strerror(ret)), -EINVAL;
	memcpy(&c->address, info->ai_addr, info->ai_addrlen);
	c->address_len = info->ai_addrlen;
	freeaddrinfo(info);
	c->server = server;
	c->model = model;
	return 0;
}

/*
 * A prompt of so many bytes. Its first word is of no other prompt, so that no cache has a part of
 * it.
 */
static void write_prompt(struct chance *words, char *out, size_t bytes)
{
	static const char *const some[] = {
		"time",  "river", "stone", "light", "house", "green", "seven", "music",
		"north", "paper", "horse", "water", "sound", "small", "large", "early",
		"write", "learn", "plant", "cover", "night", "world", "point", "study",
		"still", "watch", "field", "white", "story", "cross", "begin", "heart",
	};
	size_t at =
		(size_t)snprintf(out, bytes + 1, "%016llx", (unsigned long long)chance_next(words));

	while (at < bytes)
		at += (size_t)snprintf(out + at, bytes + 1 - at, " %s",
				       some[chance_below(words, sizeof(some) / sizeof(some[0]))]);
	out[bytes] = 0;
}

/* The bytes of the request, or NULL. */
static char *write_request(struct client *c, const struct probe *probe, size_t *len)
{
	size_t bytes = (size_t)probe->prompt * PROBE_TOKEN_BYTES;
	char *prompt = malloc(bytes + 1), *body = NULL, *request = NULL;
	json_t *json;
	int written;

	if (!prompt)
		return NULL;
	write_prompt(&c->words, prompt, bytes);
	json = json_pack("{s:s, s:[{s:s, s:s}], s:b, s:{s:b}, s:i, s:b}", "model", c->model,
			 "messages", "role", "user", "content", prompt, "stream", 1,
			 "stream_options", "include_usage", 1, "max_tokens", (int)probe->generate,
			 "ignore_eos", 1);
	body = json ? json_dumps(json, JSON_COMPACT) : NULL;
	written = body ? asprintf(&request,
				  "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\n"
				  "Content-Type: application/json\r\nAccept: text/event-stream\r\n"
				  "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
				  c->server, strlen(body), body)
		       : -1;
	*len = written < 0 ? 0 : (size_t)written;
	free(body);
	json_decref(json);
	free(prompt);
	return written < 0 ? NULL : request;
}

static void finish(struct exchange *x)
{
	if (x->fd >= 0)
		close(x->fd);
	x->fd = -1;
	x->done = true;
	free(x->request);
	x->request = NULL;
}

static int begin(struct exchange *x)
{
	struct client *c = x->client;
	int one = 1;

	x->begun = true;
	http1_response_begin(&x->response, HTTP1_METHOD_POST);
	x->response.frame.flags |= HTTP1_DATE_UNCHECKED;
	x->response.stream.flags |= STREAM_WHOLE;
	x->request = write_request(c, x->probe, &x->len);
	if (!x->request)
		return fail(c, "out of memory"), -ENOMEM;
	x->fd = socket(c->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (x->fd < 0)
		return fail(c, "cannot open a socket: %s", strerror(errno));
	setsockopt(x->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(x->fd, (const struct sockaddr *)&c->address, c->address_len) &&
	    errno != EINPROGRESS)
		return fail(c, "cannot connect: %s", strerror(errno));
	return 0;
}

/* Connects, or sends as much as the socket takes. */
static int write_on(struct exchange *x)
{
	struct client *c = x->client;
	socklen_t len = sizeof(int);
	int error = 0;

	if (!x->connected) {
		getsockopt(x->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		if (error)
			return fail(c, "cannot connect: %s", strerror(error));
		x->connected = true;
	}
	while (x->sent < x->len) {
		ssize_t n = send(x->fd, x->request + x->sent, x->len - x->sent, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n < 0) { /* what the server has said before is still to be read */
			x->sent = x->len;
			return 0;
		}
		x->sent += (size_t)n;
	}
	x->probe->sent_ns = now_ns();
	return 0;
}

/* The number of prompt tokens, if the line states it. In text its quotes would be escaped. */
static void read_line(struct exchange *x)
{
	static const char key[] = "\"prompt_tokens\":";
	const char *at = memmem(x->line, x->line_len, key, sizeof(key) - 1);
	size_t left;
	uint64_t tokens = 0;

	if (!at)
		return;
	at += sizeof(key) - 1;
	left = x->line_len - (size_t)(at - x->line);
	for (; left && *at == ' '; at++, left--)
		;
	for (; left && *at >= '0' && *at <= '9' && tokens < 100000000; at++, left--)
		tokens = tokens * 10 + (uint64_t)(*at - '0');
	x->probe->prompt_tokens = (uint32_t)tokens;
}

static void keep(struct exchange *x, const char *bytes, size_t n)
{
	bool lines = x->response.frame.status / 100 == 2;

	while (n) {
		const char *end = lines ? memchr(bytes, '\n', n) : NULL;
		size_t part = end ? (size_t)(end - bytes) : n, room = LINE_MAX - x->line_len;

		memcpy(x->line + x->line_len, bytes, part < room ? part : room);
		x->line_len += part < room ? part : room;
		if (end) {
			read_line(x);
			x->line_len = 0;
			part++;
		}
		bytes += part;
		n -= part;
	}
}

/* A response that is no stream: the server refuses. */
static int refused(struct exchange *x)
{
	unsigned int status = x->response.frame.status;
	size_t shown = x->line_len < EXCERPT_MAX ? x->line_len : EXCERPT_MAX;

	if (x->probe->refusable && (status == 400 || status == 413 || status == 422)) {
		x->probe->refused = true;
		finish(x);
		return 0;
	}
	return fail(x->client, "answers with status %u: %.*s", status, (int)shown, x->line);
}

/* What a step of the scanner found. */
static int heard(struct exchange *x, uint32_t ev, uint64_t now)
{
	struct http1_response *r = &x->response;
	struct client *c = x->client;
	struct probe *p = x->probe;
	bool success = r->frame.status / 100 == 2;

	if (ev & HTTP1_FRAMING_ERROR)
		return fail(c, r->frame.status ? "breaks its response off, or its framing"
					       : "does not answer in HTTP/1.1");
	if (ev & HTTP1_HEAD_END && success && r->stream.kind != STREAM_SSE)
		return fail(c, "answers with status %u, but not with a stream of events",
			    r->frame.status);
	if (ev & STREAM_ERROR && p->refusable) {
		p->refused = true;
		finish(x);
		return 0;
	}
	if (ev & STREAM_ERROR)
		return fail(c, "has an error in its stream: %.*s",
			    (int)(x->line_len < EXCERPT_MAX ? x->line_len : EXCERPT_MAX), x->line);
	if (ev & STREAM_GENERATED) {
		if (p->events == PROBE_EVENTS(p->generate))
			return fail(c, "sends more than the %u tokens that it was asked for",
				    p->generate);
		if (!p->sent_ns)
			return fail(c, "answers before it has the whole request");
		p->event_ns[p->events++] = now;
	}
	if (!(ev & HTTP1_END))
		return 0;
	if (!success)
		return refused(x);
	if (!p->events)
		return fail(c, "sends a stream without a token");
	p->tokens = r->stream.tokens;
	if (p->tokens > PROBE_EVENTS(p->generate))
		return fail(c, "states %u tokens, and was asked for %u", p->tokens, p->generate);
	finish(x);
	return 0;
}

static int take(struct exchange *x, const uint8_t *window, uint32_t n, uint64_t now)
{
	uint32_t pos = 0;
	int ret = 0;

	x->bytes += n;
	if (x->bytes > BYTES_MAX + (uint64_t)x->probe->generate * BYTES_EVENT)
		return fail(x->client, "sends more than a response of that length can have");
	while (pos < n && !x->done && !ret) {
		bool body = x->response.frame.state == HTTP1_AT_BODY;
		uint32_t ev = 0, taken;

		taken = http1_response_step(&x->response, window, pos, n, &ev);
		if (body)
			keep(x, (const char *)window + pos, taken);
		pos += taken;
		ret = heard(x, ev, now);
	}
	return ret;
}

/* Reads what has come. */
static int read_on(struct exchange *x)
{
	uint8_t window[SCAN_BUF + SCAN_PAD];

	while (!x->done) {
		ssize_t n = recv(x->fd, window, SCAN_BUF, 0);
		uint32_t ev = 0;
		int ret;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n < 0)
			return fail(x->client, "ends the connection: %s", strerror(errno));
		if (!n) {
			if (x->response.frame.state == HTTP1_AT_START)
				return fail(x->client, "closes the connection without an answer");
			if (x->response.frame.status / 100 > 2)
				return refused(x);
			http1_response_closed(&x->response, &ev);
			return heard(x, ev, now_ns());
		}
		memset(window + n, 0, SCAN_PAD);
		ret = take(x, window, (uint32_t)n, now_ns());
		if (ret)
			return ret;
	}
	return 0;
}

/* Milliseconds until the server has been silent for too long, or all of the time is used up. */
static int wait_ms(struct client *c, uint64_t heard_ns)
{
	uint64_t now = now_ns(), until = heard_ns + c->idle_ns;

	if (until > c->until_ns)
		until = c->until_ns;
	return now >= until ? 0 : (int)((until - now) / NS_PER_MS) + 1;
}

/* Waits once for all exchanges. */
static int poll_all(struct client *c, struct exchange *all, uint32_t count, uint64_t *heard_ns)
{
	struct pollfd fds[PROBES_MAX];
	int ready, ret = 0;

	for (uint32_t i = 0; i < count; i++) {
		fds[i] = (struct pollfd){.fd = all[i].fd, .events = POLLIN};
		if (!all[i].connected || all[i].sent < all[i].len)
			fds[i].events |= POLLOUT;
	}
	ready = poll(fds, count, wait_ms(c, *heard_ns));
	if (ready < 0 && errno != EINTR)
		return fail(c, "poll: %s", strerror(errno));
	if (now_ns() >= c->until_ns)
		return fail(c, "is too slow: the measurement has used up its time"), -ETIME;
	if (!ready && !wait_ms(c, *heard_ns))
		return fail(c, "has sent nothing for %.3g s", (double)c->idle_ns / 1e9);
	if (ready > 0)
		*heard_ns = now_ns();
	for (uint32_t i = 0; i < count && ready > 0 && !ret; i++) {
		if (fds[i].revents & (POLLOUT | POLLERR | POLLHUP) && fds[i].events & POLLOUT)
			ret = write_on(&all[i]);
		if (!ret && fds[i].revents & (POLLIN | POLLERR | POLLHUP) && all[i].connected)
			ret = read_on(&all[i]);
	}
	return ret;
}

int client_play(void *client, struct probe *probes, uint32_t count)
{
	struct client *c = client;
	struct exchange *all = calloc(count, sizeof(*all));
	uint64_t heard_ns = now_ns();
	uint32_t done = 0;
	int ret = 0;

	if (!all)
		return fail(c, "out of memory"), -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		all[i] = (struct exchange){.client = c, .probe = &probes[i], .fd = -1};
	while (!ret && done < count) {
		for (uint32_t i = 0; i < count && !ret; i++)
			if (!all[i].begun && (probes[0].events >= probes[i].after || all[0].done))
				ret = begin(&all[i]);
		if (!ret)
			ret = poll_all(c, all, count, &heard_ns);
		done = 0;
		for (uint32_t i = 0; i < count; i++)
			done += all[i].done;
	}
	for (uint32_t i = 0; i < count; i++)
		finish(&all[i]);
	free(all);
	return ret;
}
