/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Adaptive admission, the kernel's half: whether one more request may join those in flight. It
 * rests on what is known before any latency is: the bytes of requests that still wait for their
 * first token, and how fast such bytes have been taken up. The daemon writes the numbers (struct
 * sluice_admission); here they are only added, multiplied and compared. The same arithmetic runs in
 * the programs, in the simulator and in the tests.
 */
#ifndef SLUICE_ADMISSION_H
#define SLUICE_ADMISSION_H

#include <linux/types.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define SLUICE_CLASSES      4 /* priority classes, 0 the highest */
#define SLUICE_CLASS_NORMAL 1
#define SLUICE_RANKS                                                                               \
	(2 *                                                                                       \
	 SLUICE_CLASSES) /* of a class, first the clients within their share, then those above */

#define ADMISSION_ALL                                                                              \
	256 /* a level that takes nothing away; a weight of 1; one place of a share                \
	     */
#define ADMISSION_TICK_SHIFT 20 /* rates are in bytes a tick of 2^20 ns, about a millisecond … */
#define ADMISSION_RATE_SHIFT 12 /* … and have so many binary places */
#define ADMISSION_OWN        3  /* eighths of a request's own bytes that count for its wait */
#define ADMISSION_BYTES_MAX  (1U << 30) /* a request counts for no more */
#define ADMISSION_TOLERANCE  4          /* requests that a client may be ahead of its share */

/*
 * What the daemon says of one model, or of a group, or of all together. All zero: nothing is
 * refused.
 *
 * A request is expected to wait for its first token as long as the server needs for the bytes that
 * wait already and a part of its own, less what the server has done since the last first token;
 * `room` is what may wait then, in bytes. The whole of its own bytes would keep long requests out:
 * goodput counts requests, and short ones are cheaper. None of them would let one long request
 * spoil the wait of many. Who may not use the whole room counts with all its bytes. Nobody is
 * refused while nothing is in flight.
 *
 * A client is above its share who holds more than so many places, or was let in more often than is
 * due to it: the second by a clock of its own, as GCRA keeps one, that each of its requests puts
 * ahead by a turn. What runs is not time but the count of requests let in, so that a burst of all
 * clients puts none of them ahead. Places alone do not tell: on a server of few slots a heavy
 * client holds no more than others do, but always does.
 */
struct sluice_admission {
	__u64 queue_budget; /* bytes that fit into the target */
	__u64 credit_most;  /* bytes that the server may be thought to have taken up since the last
			       first token */
	__u32 queue_budget_per_kib; /* … and the more of them, the longer the request: for targets
			       that grow with it */
	__u32 rate;                 /* bytes taken up a tick; 0: not known, nothing is predicted */
	__u32 ceiling;              /* requests in flight at once; 0: no limit */
	__u32 floor; /* fewer in flight than this: admitted; of it too a rank has its level */
	__u32 fair;  /* places, ×256, that are the share of a client of weight 1; 0: no shares */
	__u32 interval; /* requests, ×256, of which one is due to such a client; 0: none is ahead */
	__u32 stopped;  /* 1: nothing waiting moves; only the floor is open */
	__u16 level[SLUICE_RANKS]; /* how much of the ceiling a rank may use, of 256 … */
	__u16 queue_budget_level[SLUICE_RANKS]; /* … and of the room */
	__u32 pad;
};
_Static_assert(sizeof(struct sluice_admission) == 80, "admission");

/* What a client has of a law. */
struct sluice_holding {
	__s64 in_flight;
	__u64 tat; /* its theoretical arrival time, on a clock of requests let in by the law, ×256
		    */
};
_Static_assert(sizeof(struct sluice_holding) == 16, "holding");

/* What there is before the request. */
struct admission_load {
	__s64 in_flight;
	__s64 waiting;       /* of them, those without a first token */
	__s64 waiting_bytes; /* … and their requests' bytes */
	__u64 since_ns; /* the later of the last first token and of when something began to wait */
};

enum admission_verdict {
	ADMISSION_ADMIT = 0,
	ADMISSION_STOPPED = 1, /* nothing waiting moves */
	ADMISSION_CEILING = 2, /* as many in flight as there may be */
	ADMISSION_WAIT = 3,    /* it would wait too long */
};

static __always_inline __u32 admission_bytes(__u64 bytes)
{
	return bytes > ADMISSION_BYTES_MAX ? ADMISSION_BYTES_MAX : bytes;
}

/* How far a request puts a client of this weight (×256) ahead. */
static __always_inline __u64 admission_interval(const struct sluice_admission *a, __u32 weight)
{
	return weight == ADMISSION_ALL || !weight ? a->interval
						  : (__u64)a->interval * ADMISSION_ALL / weight;
}

/* A client of weight `weight` (×256) that has `held`, when `admitted` have been let in: above its
 * share or not. */
static __always_inline int admission_above_share(const struct sluice_admission *a,
						 const struct sluice_holding *held, __u32 weight,
						 __u64 admitted)
{
	__u64 share = ((__u64)a->fair * weight) / ADMISSION_ALL;

	if (a->fair && held->in_flight > 0 && (__u64)held->in_flight * ADMISSION_ALL >= share)
		return 1;
	return a->interval &&
	       held->tat > admitted * ADMISSION_ALL +
				   ADMISSION_TOLERANCE * admission_interval(a, weight);
}

/*
 * When the next request of a client is due that is let in. It runs ahead by twice what puts a
 * client above its share at most, so that whoever comes less is soon within it.
 */
static __always_inline __u64 admission_next_tat(const struct sluice_admission *a, __u64 tat,
						__u32 weight, __u64 admitted)
{
	__u64 interval = admission_interval(a, weight), now = admitted * ADMISSION_ALL;
	__u64 most = now + 2 * ADMISSION_TOLERANCE * interval;

	tat = (tat > now ? tat : now) + interval;
	return tat < most ? tat : most;
}

static __always_inline __u32 admission_rank(__u32 class, int above_share)
{
	return 2 * (class & (SLUICE_CLASSES - 1)) + !!above_share;
}

/* Bytes of those waiting that the server has taken up without a first token to show for it yet. */
static __always_inline __u64 admission_credit(const struct sluice_admission *a,
					      const struct admission_load *load, __u64 now)
{
	__u64 waiting = load->waiting_bytes > 0 ? load->waiting_bytes : 0;
	__u64 ticks = now > load->since_ns ? (now - load->since_ns) >> ADMISSION_TICK_SHIFT : 0;
	__u64 credit = ((ticks & 0xffffffff) * a->rate) >> ADMISSION_RATE_SHIFT;

	if (ticks > 0xffffffff || credit > a->credit_most)
		credit = a->credit_most;
	waiting -= waiting >> 3;
	return credit < waiting ? credit : waiting;
}

/* The verdict on a request of `bytes` (admission_bytes()) and `rank`. */
static __always_inline enum admission_verdict admission_judge(const struct sluice_admission *a,
							      const struct admission_load *load,
							      __u32 bytes, __u32 rank, __u64 now)
{
	__u64 level = a->level[rank & (SLUICE_RANKS - 1)], waiting, queue_budget;
	__u64 queue_budget_level = a->queue_budget_level[rank & (SLUICE_RANKS - 1)];
	__u64 floor = a->stopped ? a->floor : a->floor * level / ADMISSION_ALL;

	if (load->in_flight <= 0 || (__u64)load->in_flight < floor)
		return ADMISSION_ADMIT;
	if (a->stopped)
		return ADMISSION_STOPPED;
	if (a->ceiling && (__u64)load->in_flight >= a->ceiling * level / ADMISSION_ALL)
		return ADMISSION_CEILING;
	if (!a->rate || (load->waiting <= 0 && queue_budget_level >= ADMISSION_ALL))
		return ADMISSION_ADMIT;
	waiting = load->waiting_bytes > 0 ? load->waiting_bytes : 0;
	waiting += queue_budget_level < ADMISSION_ALL ? bytes : (__u64)bytes * ADMISSION_OWN / 8;
	queue_budget = a->queue_budget + (((__u64)a->queue_budget_per_kib * bytes) >> 10);
	queue_budget = queue_budget * queue_budget_level / ADMISSION_ALL;
	return waiting <= queue_budget + admission_credit(a, load, now) ? ADMISSION_ADMIT
									: ADMISSION_WAIT;
}

/* What a request admitted on top of `load` has before it, in bytes, its own included: what its wait
 * is to be held against. */
static __always_inline __u32 admission_queued_bytes(const struct sluice_admission *a,
						    const struct admission_load *load, __u32 bytes,
						    __u64 now)
{
	__u64 waiting = load->waiting_bytes > 0 ? load->waiting_bytes : 0;
	__u64 ahead = waiting - (waiting ? admission_credit(a, load, now) : 0) + bytes;

	return ahead > 0xffffffff ? 0xffffffff : ahead;
}

#endif
