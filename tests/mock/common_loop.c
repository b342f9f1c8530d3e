/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The epoll loop of the mock model server and the load generator: see mock.h.
 *
 * Timers are in a binary heap. epoll_pwait2() sleeps until the first one, with a resolution of ns:
 * a token is late by microseconds, not by the millisecond of epoll_wait().
 */
#include "mock.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static int epoll_fd = -1;
static bool stopping;
static struct timer **heap; /* heap[0] is unused */
static size_t heap_len, heap_cap;
static void **dead;
static size_t dead_len, dead_cap;

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void control_epoll(int op, int fd, struct source *s, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = s};

	if (epoll_ctl(epoll_fd, op, fd, &event) < 0)
		die("epoll_ctl: %s", strerror(errno));
}

void loop_watch(int fd, struct source *s, uint32_t events)
{
	control_epoll(EPOLL_CTL_ADD, fd, s, events);
}

void loop_rewatch(int fd, struct source *s, uint32_t events)
{
	control_epoll(EPOLL_CTL_MOD, fd, s, events);
}

static void on_signal(struct source *s, uint32_t events)
{
	(void)s;
	(void)events;
	stopping = true;
}

void loop_init(void)
{
	static struct source signals = {.ready = on_signal};
	struct rlimit files;
	sigset_t mask;
	int fd;

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die("epoll_create1: %s", strerror(errno));
	/* A descriptor: with a mask, epoll_pwait2() would see signals only while it sleeps. */
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		die("signalfd: %s", strerror(errno));
	loop_watch(fd, &signals, EPOLLIN);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

void loop_free_later(void *p)
{
	if (dead_len == dead_cap) {
		dead_cap = dead_cap ? dead_cap * 2 : 64;
		dead = xrealloc(dead, dead_cap * sizeof(*dead));
	}
	dead[dead_len++] = p;
}

void loop_stop(void)
{
	stopping = true;
}

static void heap_put(size_t index, struct timer *t)
{
	heap[index] = t;
	t->index = index;
}

/* Moves t towards the root or the leaves until the heap is ordered. */
static void heap_settle(size_t index, struct timer *t)
{
	while (index > 1 && heap[index / 2]->due_ns > t->due_ns) {
		heap_put(index, heap[index / 2]);
		index /= 2;
	}
	for (;;) {
		size_t child = index * 2;

		if (child < heap_len && heap[child + 1]->due_ns < heap[child]->due_ns)
			child++;
		if (child > heap_len || heap[child]->due_ns >= t->due_ns)
			break;
		heap_put(index, heap[child]);
		index = child;
	}
	heap_put(index, t);
}

void timer_cancel(struct timer *t)
{
	size_t index = t->index;
	struct timer *last;

	if (!index)
		return;
	t->index = 0;
	last = heap[heap_len--];
	if (last != t)
		heap_settle(index, last);
}

void timer_set(struct timer *t, uint64_t due_ns)
{
	timer_cancel(t);
	t->due_ns = due_ns;
	if (heap_len + 2 > heap_cap) {
		heap_cap = heap_cap ? heap_cap * 2 : 64;
		heap = xrealloc(heap, heap_cap * sizeof(*heap));
	}
	heap_settle(++heap_len, t);
}

static void fire_timers(void)
{
	uint64_t now = now_ns();

	while (heap_len && heap[1]->due_ns <= now && !stopping) {
		struct timer *t = heap[1];

		timer_cancel(t);
		t->fire(t);
	}
}

static void free_dead(void)
{
	while (dead_len)
		free(dead[--dead_len]);
}

void loop_run(void)
{
	struct epoll_event events[256];

	while (!stopping) {
		struct timespec wait = {0};
		int n;

		if (heap_len) {
			uint64_t now = now_ns();
			uint64_t left = heap[1]->due_ns > now ? heap[1]->due_ns - now : 0;

			wait.tv_sec = (time_t)(left / NSEC_PER_SEC);
			wait.tv_nsec = (long)(left % NSEC_PER_SEC);
		}
		n = epoll_pwait2(epoll_fd, events, ARRAY_SIZE(events), heap_len ? &wait : NULL,
				 NULL);
		if (n < 0 && errno != EINTR)
			die("epoll_pwait2: %s", strerror(errno));
		for (int i = 0; i < n && !stopping; i++) {
			struct source *s = events[i].data.ptr;

			s->ready(s, events[i].events);
		}
		fire_timers();
		free_dead();
	}
}

void loop_end(void)
{
	free_dead();
	close(epoll_fd);
	free(heap);
	free(dead);
	heap = NULL;
	dead = NULL;
	heap_len = heap_cap = dead_cap = 0;
}
