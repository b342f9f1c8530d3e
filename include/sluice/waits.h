/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The bytes of requests for plain replies, while they are expected to wait. Such a reply does not
 * show when its request left the queue. So its end is predicted, from the bytes that were queued
 * before it and the rate at which the server takes bytes up. The bytes stay until then, or until a
 * streamed request that was queued after them has its first token, or the reply ends.
 *
 * A ring of slots, one for each 2^26 ns (67 ms), keeps the bytes by the end of their wait. A slot's
 * word is its time (high half) and its number of units (low half), changed by compare-and-swap
 * only. The total follows each change, so it is exact on all CPUs.
 */
#ifndef SLUICE_WAITS_H
#define SLUICE_WAITS_H

#include "ages.h"

#define WAITS_SLOTS     256 /* 17 s: no wait is predicted to be longer */
#define WAITS_UNIT      16  /* bytes */
#define WAITS_UNITS_MAX (1U << 22)

struct sluice_waits {
	__s64 bytes;   /* of all slots */
	__u64 left_ns; /* when bytes left last at the end of their wait */
	__u64 seen;    /* the time up to which slots were emptied last */
	__u64 slot[WAITS_SLOTS];
};

/* What a request of `bytes` adds: units, at least one. */
static __always_inline __u64 waits_units(__u32 bytes)
{
	__u64 units = bytes / WAITS_UNIT + 1;

	return units < WAITS_UNITS_MAX ? units : WAITS_UNITS_MAX;
}

/* The slot's time at which a wait of `wait_ns` from now on ends. */
static __always_inline __u32 waits_end(__u64 now, __u64 wait_ns)
{
	__u64 most = (__u64)(WAITS_SLOTS - 2) << AGES_SHIFT;

	return ages_time(now + (wait_ns < most ? wait_ns : most) + (1ULL << AGES_SHIFT));
}

static __always_inline int waits_try_put(struct sluice_waits *w, __u64 *slot, __u32 end,
					 __u64 units)
{
	__u64 was = *slot;

	if (was >> 32 == end)
		return __sync_val_compare_and_swap(slot, was, was + units) == was;
	if (__sync_val_compare_and_swap(slot, was, (__u64)end << 32 | units) != was)
		return 0;
	__sync_fetch_and_add(&w->bytes, -(__s64)((was & 0xffffffff) * WAITS_UNIT));
	return 1;
}

/*
 * Keeps units that are already in w->bytes until `end`. Each lost try is another CPU's success;
 * after the last one the units leave at once. Returns whether they stay.
 */
static __always_inline int waits_put(struct sluice_waits *w, __u32 end, __u64 units)
{
	__u64 *slot = &w->slot[end & (WAITS_SLOTS - 1)];

	/* NOLINTNEXTLINE(misc-redundant-expression): each call is another try */
	if (waits_try_put(w, slot, end, units) || waits_try_put(w, slot, end, units) ||
	    waits_try_put(w, slot, end, units) || waits_try_put(w, slot, end, units))
		return 1;
	__sync_fetch_and_add(&w->bytes, -(__s64)(units * WAITS_UNIT));
	return 0;
}

static __always_inline int waits_try_take(struct sluice_waits *w, __u64 *slot, __u32 end,
					  __u64 units)
{
	__u64 was = *slot;

	if (was >> 32 != end || (was & 0xffffffff) < units)
		return 1; /* they have left */
	if (__sync_val_compare_and_swap(slot, was, was - units) != was)
		return 0;
	__sync_fetch_and_add(&w->bytes, -(__s64)(units * WAITS_UNIT));
	return 1;
}

/* Takes units away before their end, if they are still there. After the last lost try they stay
 * until their end. */
static __always_inline void waits_take(struct sluice_waits *w, __u32 end, __u64 units)
{
	__u64 *slot = &w->slot[end & (WAITS_SLOTS - 1)];

	/* NOLINTNEXTLINE(misc-redundant-expression): each call is another try */
	(void)(waits_try_take(w, slot, end, units) || waits_try_take(w, slot, end, units) ||
	       waits_try_take(w, slot, end, units) || waits_try_take(w, slot, end, units));
}

/* Empties slot i if its time has come: it is not after `until`. Returns whether bytes left. */
static __always_inline int waits_pass_slot(struct sluice_waits *w, __u32 i, __u32 until)
{
	__u64 *slot = &w->slot[i & (WAITS_SLOTS - 1)];
	__u64 was = *slot, units = was & 0xffffffff;

	if (!units || (__s32)((__u32)(was >> 32) - until) > 0 ||
	    __sync_val_compare_and_swap(slot, was, was - units) != was)
		return 0;
	__sync_fetch_and_add(&w->bytes, -(__s64)(units * WAITS_UNIT));
	return 1;
}

/* The bytes whose wait is predicted to end after `now`, whatever has been emptied. */
static inline __s64 waits_bytes(const struct sluice_waits *w, __u64 now)
{
	__s64 units = 0;

	for (int i = 0; i < WAITS_SLOTS; i++) {
		__u64 word = w->slot[i];

		if ((__s32)((__u32)(word >> 32) - (__u32)ages_time(now)) > 0)
			units += word & 0xffffffff;
	}
	return units * WAITS_UNIT;
}

#endif
