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
/* Each class has two ranks: its clients within their share, then those above it. */
#define SLUICE_RANKS (2 * SLUICE_CLASSES)

#define ADMISSION_ALL        256 /* the whole of a level; a weight of 1; one slot of a share */
#define ADMISSION_TICK_SHIFT 20  /* a tick is 2^20 ns, about 1 ms; rates are bytes a tick, … */
#define ADMISSION_TICK_MS    ((1 << ADMISSION_TICK_SHIFT) / 1e6)
#define ADMISSION_RATE_SHIFT 12 /* … with so many binary digits after the point */
#define ADMISSION_OWN        3  /* eighths of a request's own bytes that count for its wait */
#define ADMISSION_BYTES_MAX  (1U << 30) /* a request counts for no more */
#define ADMISSION_WAIT_MAX   (1 << 30)  /* ticks; a wait for a slot counts for no more */
#define ADMISSION_TOLERANCE  4          /* intervals that a client may be early, as in GCRA */

/*
 * What the daemon says of one pool. All zero: nothing is refused.
 *
 * A request's predicted wait is the time that the server needs for the bytes that already wait and
 * for a part of the request's own, less the credit: what the server has taken up since the last
 * first token. The queue budget is the number of bytes that may wait. With the whole of its own
 * bytes a long request would rarely be admitted, and goodput counts requests. With none of them one
 * long request would delay many others. A rank that may not use the whole budget counts all its
 * bytes. With nothing in flight a request is always admitted.
 *
 * Bytes do not show that all of the server's slots may be taken: a request then also waits until
 * one is free. It waits for its turn, since one slot in `slots` becomes free in each part of
 * `service`, and for the first end, which is far where all have begun at once.
 *
 * A client is above its share in two cases: it holds more slots than its share, or its admissions
 * exceed its fair share. The second is a GCRA that counts the pool's admissions as time, so a burst
 * of all clients leaves every client within its share. Each admission puts the client's theoretical
 * arrival time (TAT) one interval later. Slots alone do not show it: on a server with few slots a
 * heavy client holds no more than others do, but holds them always.
 */
struct sluice_admission {
	__u64 queue_budget;         /* bytes that may wait within the target */
	__u64 credit_most;          /* bytes, the most that the credit may be */
	__u32 queue_budget_per_kib; /* bytes more per KiB of the request: targets may grow with it
				     */
	__u32 rate;                 /* bytes taken up a tick; 0: not known, nothing is predicted */
	__u32 ceiling;              /* requests in flight at once; 0: no limit */
	__u32 floor;    /* with fewer in flight a request is admitted; a rank has its level of it */
	__u32 fair;     /* slots × 256, the share of a client of weight 1; 0: no shares */
	__u32 interval; /* admissions × 256 of which one is such a client's; 0: no client is early
			 */
	__u32 stopped;  /* 1: nothing that waits moves; only the floor is open */
	__u16 level[SLUICE_RANKS];              /* of 256: how much of the ceiling a rank may use */
	__u16 queue_budget_level[SLUICE_RANKS]; /* of 256: how much of the queue budget */
	__u32 slots;          /* requests that the server works on at once; 0: not known */
	__u32 service;        /* ticks for which one of them has its slot */
	__u32 slot_wait_most; /* ticks until the first token of a request that waits for a slot, …
			       */
	__u32 slot_wait_most_per_kib; /* … and more per KiB of it */
	__u32 spare;                  /* asked from so many in flight on */
};
_Static_assert(sizeof(struct sluice_admission) == 96, "admission");

/* What a client holds in a pool. */
struct sluice_holding {
	__s64 in_flight;
	__u64 tat; /* theoretical arrival time, in admissions of the pool × 256 */
};
_Static_assert(sizeof(struct sluice_holding) == 16, "holding");

/* The pool before the request. */
struct admission_load {
	__s64 in_flight;
	__s64 waiting;       /* of those in flight, without a first token */
	__s64 waiting_bytes; /* bytes of the requests that wait */
	__u64 since_ns;      /* the later of the last first token and the start of waiting */
	__u64 slot_wait;     /* admission_slot_wait() */
};

enum admission_verdict {
	ADMISSION_ADMIT = 0,
	ADMISSION_STOPPED = 1, /* nothing waiting moves */
	ADMISSION_CEILING = 2, /* the ceiling is reached */
	ADMISSION_WAIT = 3,    /* it would wait too long */
};

static __always_inline __u32 admission_bytes(__u64 bytes)
{
	return bytes > ADMISSION_BYTES_MAX ? ADMISSION_BYTES_MAX : bytes;
}

/* The interval of a client of this weight (× 256), in admissions × 256. */
static __always_inline __u64 admission_interval(const struct sluice_admission *a, __u32 weight)
{
	return weight == ADMISSION_ALL || !weight ? a->interval
						  : (__u64)a->interval * ADMISSION_ALL / weight;
}

/* The share of a client of this weight (× 256), in slots × 256; 0: there are no shares. */
static __always_inline __u64 admission_share(const struct sluice_admission *a, __u32 weight)
{
	return (__u64)a->fair * weight / ADMISSION_ALL;
}

/* Whether a client of this weight (× 256), which holds `held`, is above its share. `admitted`: the
 * pool's total of admissions. */
static __always_inline int admission_above_share(const struct sluice_admission *a,
						 const struct sluice_holding *held, __u32 weight,
						 __u64 admitted)
{
	if (a->fair && held->in_flight > 0 &&
	    (__u64)held->in_flight * ADMISSION_ALL >= admission_share(a, weight))
		return 1;
	return a->interval &&
	       held->tat > admitted * ADMISSION_ALL +
				   ADMISSION_TOLERANCE * admission_interval(a, weight);
}

/*
 * The client's TAT after one more admission. It is early by at most twice the tolerance, so a
 * client that sends less is soon within its share again.
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

/* Bytes that the server has taken up since the last first token, by its rate: at most 7/8 of those
 * that wait. */
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

/* How much of the ceiling a rank may use, and of the queue budget: ADMISSION_ALL is the whole. */
static __always_inline __u64 admission_level(const struct sluice_admission *a, __u32 rank)
{
	return a->level[rank & (SLUICE_RANKS - 1)];
}

static __always_inline __u64 admission_queue_budget_level(const struct sluice_admission *a,
							  __u32 rank)
{
	return a->queue_budget_level[rank & (SLUICE_RANKS - 1)];
}

/* Slots of the ceiling that a rank may use. */
static __always_inline __u64 admission_slots(const struct sluice_admission *a, __u32 rank)
{
	return a->ceiling * admission_level(a, rank) / ADMISSION_ALL;
}

/* Bytes that may wait when a request of `bytes` and `rank` joins them. */
static __always_inline __u64 admission_allowed(const struct sluice_admission *a, __u32 bytes,
					       __u32 rank)
{
	__u64 budget = a->queue_budget + (((__u64)a->queue_budget_per_kib * bytes) >> 10);

	return budget * admission_queue_budget_level(a, rank) / ADMISSION_ALL;
}

/* Ticks in which the server takes up so many bytes; its rate is known. */
static __always_inline __u64 admission_ticks(const struct sluice_admission *a, __u64 bytes)
{
	return (bytes << ADMISSION_RATE_SHIFT) / a->rate;
}

/*
 * Ticks until the first token of one more request of so many bytes, which has to wait for a slot of
 * the server; 0: it has not, or that is not known. `ages_ns`: sum of the times since those in
 * flight were admitted. If they began one after the other, the first has been there for twice the
 * mean of it. Counts that another CPU changes now make the age too large at most, and the wait too
 * short.
 */
static __always_inline __u32 admission_slot_wait(const struct sluice_admission *a,
						 const struct admission_load *load, __u32 bytes,
						 __u64 ages_ns)
{
	__u64 n = load->in_flight, age, end, turn;

	if (!a->slots || !a->rate || load->in_flight < (__s64)a->slots)
		return 0;
	age = 2 * (ages_ns >> ADMISSION_TICK_SHIFT) / n;
	end = a->service > age ? a->service - age : 0;
	turn = (n - a->slots + 1) * a->service / a->slots;
	turn = (turn > end ? turn : end) + admission_ticks(a, bytes);
	return turn < ADMISSION_WAIT_MAX ? turn : ADMISSION_WAIT_MAX;
}

/* Whether the wait for a slot decides on a request of this rank. */
static __always_inline int admission_asks_for_slot(const struct sluice_admission *a,
						   const struct admission_load *load, __u32 rank)
{
	return a->slots &&
	       (__u64)load->in_flight >= a->spare * admission_level(a, rank) / ADMISSION_ALL;
}

/* The most that admission_slot_wait() may be for a request of this rank to be admitted. */
static __always_inline __u64 admission_slot_wait_most(const struct sluice_admission *a, __u32 bytes,
						      __u32 rank)
{
	__u64 most = a->slot_wait_most + (((__u64)a->slot_wait_most_per_kib * bytes) >> 10);

	return most * admission_queue_budget_level(a, rank) / ADMISSION_ALL;
}

/*
 * Bytes that the server is expected to take up before the request's first token: those that wait
 * and a part of its own, or all of its own at a rank that may not use the whole queue budget, less
 * the credit. It is 0 where nothing waits and the rank may use the whole.
 */
static __always_inline __u64 admission_expected(const struct sluice_admission *a,
						const struct admission_load *load, __u32 bytes,
						__u32 rank, __u64 now)
{
	int whole = admission_queue_budget_level(a, rank) >= ADMISSION_ALL;
	__u64 waiting = load->waiting_bytes > 0 ? load->waiting_bytes : 0;
	__u64 credit = admission_credit(a, load, now);

	if (!waiting && whole)
		return 0;
	waiting += whole ? (__u64)bytes * ADMISSION_OWN / 8 : bytes;
	return waiting > credit ? waiting - credit : 0;
}

/* The verdict on a request of `bytes` (admission_bytes()) and `rank`. */
static __always_inline enum admission_verdict admission_judge(const struct sluice_admission *a,
							      const struct admission_load *load,
							      __u32 bytes, __u32 rank, __u64 now)
{
	__u64 floor = a->stopped ? a->floor : a->floor * admission_level(a, rank) / ADMISSION_ALL;

	if (load->in_flight <= 0 || (__u64)load->in_flight < floor)
		return ADMISSION_ADMIT;
	if (a->stopped)
		return ADMISSION_STOPPED;
	if (a->ceiling && (__u64)load->in_flight >= admission_slots(a, rank))
		return ADMISSION_CEILING;
	if (admission_asks_for_slot(a, load, rank) &&
	    load->slot_wait > admission_slot_wait_most(a, bytes, rank))
		return ADMISSION_WAIT;
	if (a->rate &&
	    admission_expected(a, load, bytes, rank, now) > admission_allowed(a, bytes, rank))
		return ADMISSION_WAIT;
	return ADMISSION_ADMIT;
}

/*
 * Of the sizes from `least` to `most` that a request of this rank may turn out to have, the one
 * with the kindest verdict: its own bytes make it wait, and its budget may grow with them, both in
 * proportion.
 */
static __always_inline __u32 admission_kindest(const struct sluice_admission *a, __u32 least,
					       __u32 most, __u32 rank)
{
	__u64 level = admission_queue_budget_level(a, rank);
	__u64 own = level >= ADMISSION_ALL ? ADMISSION_OWN * 1024 / 8 : 1024;

	return (__u64)a->queue_budget_per_kib * level > own * ADMISSION_ALL ? most : least;
}

/* Bytes queued at the admission of a request on top of `load`, its own included: they explain its
 * wait. */
static __always_inline __u32 admission_queued_bytes(const struct sluice_admission *a,
						    const struct admission_load *load, __u32 bytes,
						    __u64 now)
{
	__u64 waiting = load->waiting_bytes > 0 ? load->waiting_bytes : 0;
	__u64 queued = waiting - (waiting ? admission_credit(a, load, now) : 0) + bytes;

	return queued > 0xffffffff ? 0xffffffff : queued;
}

/* Nanoseconds that the server needs for so many queued bytes; 0: its rate is not known. */
static __always_inline __u64 admission_wait_ns(const struct sluice_admission *a, __u32 queued_bytes)
{
	if (!a->rate)
		return 0;
	return (((__u64)queued_bytes << ADMISSION_RATE_SHIFT) / a->rate) << ADMISSION_TICK_SHIFT;
}

#endif
