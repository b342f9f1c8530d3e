/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See work.h. The stack is a coroutine's: ucontext(3). */
#include "loop/work.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_BYTES (512 * 1024)

struct work_queue {
	struct work *first, *last; /* not begun */
	struct work *current;      /* begun; NULL: none */
	bool inside, ended;
	size_t entries, bytes; /* of this turn */
	ucontext_t loop, work;
	char *stack; /* below it is a page that cannot be written */
	size_t guard;
};

struct work_queue *work_open(void)
{
	struct work_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->guard = (size_t)sysconf(_SC_PAGESIZE);
	q->stack = mmap(NULL, q->guard + STACK_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (q->stack == MAP_FAILED || mprotect(q->stack, q->guard, PROT_NONE)) {
		free(q);
		return NULL;
	}
	return q;
}

void work_close(struct work_queue *q)
{
	if (!q)
		return;
	munmap(q->stack, q->guard + STACK_BYTES);
	free(q);
}

void work_start(struct work_queue *q, struct work *w)
{
	w->next = NULL;
	if (q->first)
		q->last->next = w;
	else
		q->first = w;
	q->last = w;
}

bool work_cancel(struct work_queue *q, const struct work *w)
{
	struct work *before = NULL;

	for (struct work *at = q->first; at; before = at, at = at->next) {
		if (at != w)
			continue;
		if (before)
			before->next = at->next;
		else
			q->first = at->next;
		if (q->last == at)
			q->last = before;
		return true;
	}
	return false;
}

bool work_pending(const struct work_queue *q)
{
	return q->current || q->first;
}

/* makecontext() passes int only. */
union argument {
	struct work_queue *queue;
	unsigned part[2];
};

static void enter(unsigned first, unsigned second)
{
	union argument self = {.part = {first, second}};
	struct work_queue *q = self.queue;

	q->current->run(q->current);
	q->ended = true; /* uc_link leads back to the loop */
}

static void begin(struct work_queue *q)
{
	union argument self = {.part = {0}};

	self.queue = q;
	q->current = q->first;
	q->first = q->first->next;
	getcontext(&q->work);
	q->work.uc_stack.ss_sp = q->stack + q->guard;
	q->work.uc_stack.ss_size = STACK_BYTES;
	q->work.uc_link = &q->loop;
	makecontext(&q->work, (void (*)(void))enter, 2, self.part[0], self.part[1]);
}

void work_turn(struct work_queue *q)
{
	struct work *w;

	if (!q->current && !q->first)
		return;
	if (!q->current)
		begin(q);
	q->entries = q->bytes = 0;
	q->inside = true;
	swapcontext(&q->loop, &q->work);
	q->inside = false;
	if (!q->ended)
		return;
	q->ended = false;
	/* An API key may have been on the stack. */
	explicit_bzero(q->stack + q->guard, STACK_BYTES);
	explicit_bzero(&q->work, sizeof(q->work));
	w = q->current;
	q->current = NULL;
	w->done(w);
}

void work_step(struct work_queue *q, size_t entries, size_t bytes)
{
	if (!q->inside)
		return;
	if ((q->entries || q->bytes) &&
	    (q->entries + entries > WORK_ENTRIES_MAX || q->bytes + bytes > WORK_BYTES_MAX)) {
		swapcontext(&q->work, &q->loop);
		/* work_turn() has begun to count anew */
	}
	q->entries += entries;
	q->bytes += bytes;
}
