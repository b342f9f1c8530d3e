/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The connections of the mock server: what is read, what is written, how one ends. A connection
 * carries one request at a time, so struct conn is the request, too.
 */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct conn *conns;

/* Bounds the unread bytes of a pipelining client: TCP's window keeps the rest. */
static bool in_full(const struct conn *c)
{
	return buf_left(&c->in) > (size_t)HTTP_HEAD_MAX * 4;
}

void update_events(struct conn *c)
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

void drop(struct conn *c)
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
bool send_bytes(struct conn *c, const void *data, size_t len)
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
void answered(struct conn *c)
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

void on_ready(struct source *s, uint32_t events)
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
