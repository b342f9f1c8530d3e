/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How long the requests that wait have been waiting: a ring of slots, one for each 2^26 ns (67 ms),
 * each with the number of those that began in it. A slot's word is its time (high half) and its
 * number (low half), changed by compare-and-swap only, so that it is exact on all CPUs. The ring
 * covers 17 s. Requests that wait longer move to `older` when their slot is used again. `older` has
 * the time of the first of them, which is right or too early until none of them is left.
 */
#ifndef SLUICE_AGES_H
#define SLUICE_AGES_H

#include <linux/types.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define AGES_SLOTS 256
#define AGES_SHIFT 26

struct sluice_ages {
	__s64 older;
	__u64 older_time;
	__u64 slot[AGES_SLOTS];
};

static __always_inline __u64 ages_time(__u64 ns)
{
	return (ns >> AGES_SHIFT) & 0xffffffff;
}

/* One try each: 1 if it settled the matter, 0 if another CPU was first. */
static __always_inline int ages_try_add(struct sluice_ages *a, __u64 *slot, __u64 time)
{
	__u64 was = *slot;

	if (was >> 32 == time)
		return __sync_val_compare_and_swap(slot, was, was + 1) == was;
	if (__sync_val_compare_and_swap(slot, was, time << 32 | 1) != was)
		return 0;
	if (was & 0xffffffff && __sync_fetch_and_add(&a->older, was & 0xffffffff) <= 0)
		a->older_time = was >> 32;
	return 1;
}

static __always_inline int ages_try_remove(struct sluice_ages *a, __u64 *slot, __u64 time)
{
	__u64 was = *slot;

	if (was >> 32 != time) {
		__sync_fetch_and_add(&a->older, -1);
		return 1;
	}
	return !(was & 0xffffffff) || __sync_val_compare_and_swap(slot, was, was - 1) == was;
}

/*
 * A request begins to wait now. Each lost try is another CPU's success. After the last one the
 * number is off by one, and the daemon corrects it. The tries are written out: Linux 6.1 rejects a
 * loop here.
 */
static __always_inline void ages_add(struct sluice_ages *a, __u64 now)
{
	__u64 time = ages_time(now), *slot = &a->slot[time & (AGES_SLOTS - 1)];

	/* NOLINTNEXTLINE(misc-redundant-expression): each call is another try */
	(void)(ages_try_add(a, slot, time) || ages_try_add(a, slot, time) ||
	       ages_try_add(a, slot, time) || ages_try_add(a, slot, time));
}

/* One that began at `since` waits no more. */
static __always_inline void ages_remove(struct sluice_ages *a, __u64 since)
{
	__u64 time = ages_time(since), *slot = &a->slot[time & (AGES_SLOTS - 1)];

	/* NOLINTNEXTLINE(misc-redundant-expression): each call is another try */
	(void)(ages_try_remove(a, slot, time) || ages_try_remove(a, slot, time) ||
	       ages_try_remove(a, slot, time) || ages_try_remove(a, slot, time));
}

/* A time after `now`, by another CPU's clock, is an age of 0. */
static inline __u64 ages_since(__u64 time, __u64 now)
{
	__u64 age = (ages_time(now) - time) & 0xffffffff;

	return age < 1U << 31 ? age : 0;
}

/* Nanoseconds that the oldest has waited, to a slot; 0: none waits, or not for a whole slot. */
static inline __u64 ages_oldest(const struct sluice_ages *a, __u64 now)
{
	__u64 oldest = a->older > 0 ? ages_since(a->older_time, now) : 0;

	for (int i = 0; i < AGES_SLOTS; i++) {
		__u64 word = a->slot[i];

		if (word & 0xffffffff && ages_since(word >> 32, now) > oldest)
			oldest = ages_since(word >> 32, now);
	}
	return oldest << AGES_SHIFT;
}

#endif
