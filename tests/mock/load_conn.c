/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The connections of the load generator: one carries one attempt at a time. A time is the moment at
 * which a read returned.
 */
#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

void close_conn(struct conn *c)
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

void make_idle(struct conn *c)
{
	timer_cancel(&c->timer);
	c->state = STATE_IDLE;
	c->prev = NULL;
	c->next = idle[c->bind_at];
	if (c->next)
		c->next->prev = c;
	idle[c->bind_at] = c;
}

struct conn *take_idle(size_t bind_at)
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

void update_events(struct conn *c)
{
	uint32_t events = EPOLLIN | (c->wants_write ? EPOLLOUT : 0);

	if (c->state == STATE_CLOSED || events == c->events)
		return;
	c->events = events;
	loop_rewatch(c->fd, &c->source, events);
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

/* Sends as much as the socket accepts: the head, then (with --split) the body. */
void send_request(struct conn *c)
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

struct conn *open_conn(struct request *r)
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
