/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The generic cell rate algorithm (ITU-T I.371, the virtual scheduling form): a budget is one
 * number, the theoretical arrival time at which it would be full again. Every unit moves it
 * `interval` ns on; it may be `span` ns (burst × interval) after the clock. There is no window
 * to double at its edge and no counter that must expire: a number in the past is a full budget. The
 * same arithmetic runs in the kernel and in the daemon.
 */
#ifndef SLUICE_GCRA_H
#define SLUICE_GCRA_H

#include <linux/types.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* How far the budget is spent, in ns: 0 is full, span is empty, more is debt. */
static __always_inline __u64 gcra_spent(__u64 tat, __u64 now)
{
	return tat > now ? tat - now : 0;
}

/* Nanoseconds until one more unit passes; 0: it passes now. interval <= span. */
static __always_inline __u64 gcra_wait(__u64 tat, __u64 now, __u64 interval, __u64 span)
{
	__u64 spent = gcra_spent(tat, now);

	return spent + interval > span ? spent + interval - span : 0;
}

/* The TAT after `units` more. Debt is bounded: the TAT is at most `most` ns after the clock. */
static __always_inline __u64 gcra_charge(__u64 tat, __u64 now, __u64 interval, __u64 units,
					 __u64 most)
{
	__u64 spent = gcra_spent(tat, now) + interval * units;

	return now + (spent > most ? most : spent);
}

/* The TAT after `units` are given back: at best a full budget. */
static __always_inline __u64 gcra_give_back(__u64 tat, __u64 now, __u64 interval, __u64 units)
{
	__u64 spent = gcra_spent(tat, now), back = interval * units;

	return back < spent ? now + spent - back : now;
}

/* Whole units left; interval != 0. */
static __always_inline __u64 gcra_left(__u64 tat, __u64 now, __u64 interval, __u64 span)
{
	__u64 spent = gcra_spent(tat, now);

	return spent < span ? (span - spent) / interval : 0;
}

#endif
