/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Work that is too long for one turn of the loop: an answer that lists clients, a reload, the walk
 * that corrects counts. It runs on a stack of its own and calls work_step() before each step. When
 * the steps of this turn are a slice, work_step() returns to the loop, and the work goes on at a
 * later turn. So the code of a long answer reads like that of a short one.
 *
 * A work is in one of two lanes. The works of a lane run one at a time, in the order of their
 * start; the lanes take turns, slice by slice. So changes need no lock against each other, and none
 * waits for a long list.
 *
 * Between two steps the loop and the other lanes may run: after work_step() a work reads again what
 * they may change. What one system call or a library does as a whole has no steps: work_away()
 * gives it a thread.
 */
#ifndef SLUICE_WORK_H
#define SLUICE_WORK_H

#include <stdbool.h>
#include <stddef.h>

/* A slice: what one turn of the loop does of the work. */
#define WORK_ENTRIES_MAX 1024  /* of maps */
#define WORK_BYTES_MAX   65536 /* of output */

enum work_lane { WORK_ANSWERS, WORK_CHANGES, WORK_SWEEPS, WORK_LANES };

struct work {
	void (*run)(struct work *w);  /* on the work's stack */
	void (*done)(struct work *w); /* on the loop's stack, after run(); w may be freed there */
	enum work_lane lane;
	struct work *next;
};

struct work_queue;

/* NULL: out of memory. */
struct work_queue *work_open(void);
/* Forgets what has not ended: neither run() nor done() of it go on. Waits for threads. */
void work_close(struct work_queue *q);

void work_start(struct work_queue *q, struct work *w);
/* Forgets a work that has not begun. False: it has begun, and done() follows. */
bool work_cancel(struct work_queue *q, const struct work *w);
/* Whether there is something to do: then the loop does not wait. */
bool work_pending(const struct work_queue *q);
/* Whether a work waits for its thread, which may still use what it was given. */
bool work_is_away(const struct work_queue *q);
/* Becomes readable when a thread has ended, until a work goes on after its thread. */
int work_fd(const struct work_queue *q);
/* Does the next slice of one lane. Call it once a turn. */
void work_turn(struct work_queue *q);

/*
 * Announces a step that reads or writes so many entries, or adds so many bytes to an output. A step
 * of more than a slice is a turn of its own. Outside of run() it does nothing; q may be NULL there.
 */
void work_step(struct work_queue *q, size_t entries, size_t bytes);
/*
 * Calls f(arg) in a thread of its own and returns its result; meanwhile the loop and the other
 * lanes go on. f uses only what nobody else uses, and calls no function of this header. Outside of
 * run(), and if there can be no thread, it is called here; q may be NULL there.
 */
int work_away(struct work_queue *q, int (*f)(void *arg), void *arg);

#endif
