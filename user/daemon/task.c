/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the daemon does by itself, in slices. */
#include "daemon/daemon.h"

static void run_task(struct work *w)
{
	struct task *task = (struct task *)w;

	task->waits = false;
	task->run(task->d);
}

static void task_ended(struct work *w)
{
}

void start_task(struct task *task)
{
	if (!task->waits)
		work_start(task->d->queue, &task->work);
	task->waits = true;
}

struct task task_of(struct daemon *d, void (*run)(struct daemon *d), enum work_lane lane)
{
	return (struct task){
		.work = {.run = run_task, .done = task_ended, .lane = lane},
		.run = run,
		.d = d,
	};
}
