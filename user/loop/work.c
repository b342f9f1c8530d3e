/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See work.h. The stack of a lane is a coroutine's: ucontext(3). */
#include "loop/work.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_BYTES (512 * 1024)

/* What a work does in a thread. */
struct away {
	pthread_t thread;
	int (*f)(void *arg);
	void *arg;
	int result;
	int fd;    /* of the queue */
	bool over; /* written by the thread */
};

struct lane {
	struct work *first, *last; /* not begun */
	struct work *current;      /* begun; NULL: none */
	struct away *away;         /* of the current work, on its stack; NULL: none */
	bool ended;
	ucontext_t work;
	char *stack; /* below it is a page that cannot be written */
};

struct work_queue {
	struct lane lane[WORK_LANES];
	struct lane *inside;   /* whose work runs now; NULL: none */
	unsigned next;         /* the lane whose turn it is */
	size_t entries, bytes; /* of this turn */
	ucontext_t loop;
	size_t guard;
	int fd; /* eventfd(2) of the threads */
};

struct work_queue *work_open(void)
{
	struct work_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->guard = (size_t)sysconf(_SC_PAGESIZE);
	q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->fd < 0) {
		free(q);
		return NULL;
	}
	for (unsigned i = 0; i < WORK_LANES; i++) {
		char *stack = mmap(NULL, q->guard + STACK_BYTES, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);

		if (stack != MAP_FAILED)
			q->lane[i].stack = stack;
		if (stack == MAP_FAILED || mprotect(stack, q->guard, PROT_NONE)) {
			work_close(q);
			return NULL;
		}
	}
	return q;
}

void work_close(struct work_queue *q)
{
	if (!q)
		return;
	for (unsigned i = 0; i < WORK_LANES; i++) {
		if (q->lane[i].away)
			pthread_join(q->lane[i].away->thread, NULL);
		if (q->lane[i].stack)
			munmap(q->lane[i].stack, q->guard + STACK_BYTES);
	}
	close(q->fd);
	free(q);
}

void work_start(struct work_queue *q, struct work *w)
{
	struct lane *lane = &q->lane[w->lane];

	w->next = NULL;
	if (lane->first)
		lane->last->next = w;
	else
		lane->first = w;
	lane->last = w;
}

bool work_cancel(struct work_queue *q, const struct work *w)
{
	struct lane *lane = &q->lane[w->lane];
	struct work *before = NULL;

	for (struct work *at = lane->first; at; before = at, at = at->next) {
		if (at != w)
			continue;
		if (before)
			before->next = at->next;
		else
			lane->first = at->next;
		if (lane->last == at)
			lane->last = before;
		return true;
	}
	return false;
}

static bool has_work(const struct lane *lane)
{
	if (lane->away)
		return __atomic_load_n(&lane->away->over, __ATOMIC_ACQUIRE);
	return lane->current || lane->first;
}

bool work_pending(const struct work_queue *q)
{
	for (unsigned i = 0; i < WORK_LANES; i++)
		if (has_work(&q->lane[i]))
			return true;
	return false;
}

bool work_is_away(const struct work_queue *q)
{
	for (unsigned i = 0; i < WORK_LANES; i++)
		if (q->lane[i].away)
			return true;
	return false;
}

int work_fd(const struct work_queue *q)
{
	return q->fd;
}

/* makecontext() passes int only. */
union argument {
	struct work_queue *queue;
	unsigned part[2];
};

static void enter(unsigned first, unsigned second)
{
	union argument self = {.part = {first, second}};
	struct lane *lane = self.queue->inside;

	lane->current->run(lane->current);
	lane->ended = true; /* uc_link leads back to the loop */
}

static void begin(struct work_queue *q, struct lane *lane)
{
	union argument self = {.part = {0}};

	self.queue = q;
	lane->current = lane->first;
	lane->first = lane->first->next;
	getcontext(&lane->work);
	lane->work.uc_stack.ss_sp = lane->stack + q->guard;
	lane->work.uc_stack.ss_size = STACK_BYTES;
	lane->work.uc_link = &q->loop;
	makecontext(&lane->work, (void (*)(void))enter, 2, self.part[0], self.part[1]);
}

void work_turn(struct work_queue *q)
{
	struct lane *lane = NULL;
	struct work *w;

	for (unsigned i = 0; i < WORK_LANES && !lane; i++) {
		unsigned at = (q->next + i) % WORK_LANES;

		if (has_work(&q->lane[at])) {
			lane = &q->lane[at];
			q->next = at + 1;
		}
	}
	if (!lane)
		return;
	if (!lane->current)
		begin(q, lane);
	q->entries = q->bytes = 0;
	q->inside = lane;
	swapcontext(&q->loop, &lane->work);
	q->inside = NULL;
	if (!lane->ended)
		return;
	lane->ended = false;
	/* An API key may have been on the stack. */
	explicit_bzero(lane->stack + q->guard, STACK_BYTES);
	explicit_bzero(&lane->work, sizeof(lane->work));
	w = lane->current;
	lane->current = NULL;
	w->done(w);
}

void work_step(struct work_queue *q, size_t entries, size_t bytes)
{
	if (!q || !q->inside)
		return;
	if ((q->entries || q->bytes) &&
	    (q->entries + entries > WORK_ENTRIES_MAX || q->bytes + bytes > WORK_BYTES_MAX)) {
		swapcontext(&q->inside->work, &q->loop);
		/* work_turn() has begun to count anew */
	}
	q->entries += entries;
	q->bytes += bytes;
}

static void *run_away(void *arg)
{
	struct away *away = arg;
	int fd = away->fd;

	away->result = away->f(away->arg);
	__atomic_store_n(&away->over, true, __ATOMIC_RELEASE);
	eventfd_write(fd, 1);
	return NULL;
}

int work_away(struct work_queue *q, int (*f)(void *arg), void *arg)
{
	struct lane *lane = q ? q->inside : NULL;
	struct away away = {.f = f, .arg = arg};
	eventfd_t ended;

	if (!lane)
		return f(arg);
	away.fd = q->fd;
	if (pthread_create(&away.thread, NULL, run_away, &away))
		return f(arg);
	lane->away = &away;
	swapcontext(&lane->work, &q->loop);
	pthread_join(away.thread, NULL);
	eventfd_read(q->fd, &ended);
	lane->away = NULL;
	return away.result;
}
