/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Numbers of a kept connection. A refused request of L bytes never reaches the server's TCP, and
 * the R bytes of its 429 do not come from it. So from then on the client counts L bytes more of its
 * own, and R more of the server's, than the server does. All of a connection's segments are
 * translated between the two, until its last one.
 *
 * While the client has not acknowledged the 429, the refusal is pending: what lies before it has
 * the differences from before. The server's acknowledgements then leave out the refused request,
 * so that the client repeats it and gets the same 429 again. After that one pair of differences is
 * enough: what is older lies before the next byte that each end expects, and is ignored there.
 *
 * Numbers are TCP's, in host order, modulo 2^32. The code runs in BPF and in tests.
 */
#ifndef SLUICE_KEPT_H
#define SLUICE_KEPT_H

#include "abi_reply.h"

enum sluice_kept_flag {
	SLUICE_KEPT_PENDING = 1,       /* the client has not acknowledged the last 429 */
	SLUICE_KEPT_LOCAL = 2,         /* the server's socket is in this network namespace */
	SLUICE_KEPT_REFUSAL = 4,       /* the bits from here on count the refusals */
	SLUICE_KEPT_EVICTED = 1 << 29, /* conns had no room for it; it may not have ended */
	SLUICE_KEPT_ENDED = 1 << 30,   /* `detach` has reset both ends */
};

/*
 * kept: a connection of which at least one request was refused. The map outlives the programs of
 * one version, and both write it during an upgrade, so this layout does not change with
 * SLUICE_ABI_VERSION. Only ingress writes.
 */
struct sluice_kept {
	__u64 last_seen_ns;
	/* Bytes of the client (low half) and of the server (high) that only the client counts; the
	 * two change at once. */
	__u64 more;
	__u64 more_before; /* … before the last refusal */
	__u32 request_at;  /* the first byte of the request refused last, as the client counts, */
	__u32 reply_at;    /* … and of its 429 */
	__u32 hook;        /* ifindex of the interface that translates */
	__u32 flags;       /* enum sluice_kept_flag */
	__u32 retry_after_ms;
	__u16 window; /* of the 429, as in its header */
	__u16 pad;
	struct sluice_reply_parts parts; /* of the last 429, to repeat it */
};
_Static_assert(sizeof(struct sluice_kept) == 80, "kept");

struct kept_numbers {
	__u32 seq, ack;
};

static __always_inline __u32 kept_client(__u64 more)
{
	return (__u32)more;
}

static __always_inline __u32 kept_server(__u64 more)
{
	return (__u32)(more >> 32);
}

static __always_inline __u64 kept_more(__u32 client, __u32 server)
{
	return (__u64)server << 32 | client;
}

static __always_inline int kept_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

/* The number after the refused request, and after its 429, as the client counts. */
static __always_inline __u32 kept_request_end(const struct sluice_kept *k)
{
	return k->request_at + kept_client(k->more) - kept_client(k->more_before);
}

static __always_inline __u32 kept_reply_end(const struct sluice_kept *k)
{
	return k->reply_at + kept_server(k->more) - kept_server(k->more_before);
}

/*
 * The numbers of a client's segment as the server counts them. While a refusal is pending it is one
 * that kept_repeats() is false of; the refused request is left out of its number.
 */
static __always_inline struct kept_numbers kept_to_server(const struct sluice_kept *k, __u32 seq,
							  __u32 ack)
{
	struct kept_numbers n = {seq - kept_client(k->more), ack - kept_server(k->more)};

	if (!(k->flags & SLUICE_KEPT_PENDING))
		return n;
	if (kept_before(seq, kept_request_end(k)))
		n.seq = seq - kept_client(k->more_before);
	if (kept_before(ack, kept_reply_end(k)))
		n.ack = ack - kept_server(k->more_before);
	return n;
}

/* The numbers of a server's segment as the client counts them. */
static __always_inline struct kept_numbers kept_to_client(const struct sluice_kept *k, __u32 seq,
							  __u32 ack)
{
	__u64 more = k->more, before = k->more_before;
	struct kept_numbers n = {seq + kept_server(more), ack + kept_client(more)};

	if (!(k->flags & SLUICE_KEPT_PENDING))
		return n;
	if (kept_before(seq + kept_server(before), k->reply_at))
		n.seq = seq + kept_server(before);
	if (!kept_before(k->request_at, ack + kept_client(before)))
		n.ack = ack + kept_client(before);
	return n;
}

/*
 * Whether an acknowledgement of the client ends the pending refusal. `flags` are those of *k before
 * it was read: another CPU may have ended this refusal meanwhile, and begun the next one.
 */
static __always_inline int kept_acknowledge(struct sluice_kept *k, __u32 flags, __u32 ack)
{
	if (kept_before(ack, kept_reply_end(k)))
		return 0;
	__sync_bool_compare_and_swap(&k->flags, flags, flags & ~SLUICE_KEPT_PENDING);
	return 1;
}

/*
 * Whether a client's segment that does not, with `len` bytes and FINs, gets the pending 429 again:
 * it repeats the request or comes after it, or its client had room for a part of the 429 only.
 */
static __always_inline int kept_repeats(const struct sluice_kept *k, __u32 ack, __u32 len)
{
	return len || kept_before(k->reply_at, ack);
}

/*
 * A request of `request` bytes at `request_at` is refused by a 429 of `reply` bytes at `reply_at`,
 * as the client counts. No refusal is pending. *k is ready for kept_to_client() on another CPU at
 * each step.
 */
static __always_inline void kept_refuse(struct sluice_kept *k, __u32 request_at, __u32 request,
					__u32 reply_at, __u32 reply)
{
	__u64 more = k->more;

	k->more_before = more;
	k->request_at = request_at;
	k->reply_at = reply_at;
	asm volatile("" ::: "memory");
	k->flags = (k->flags + SLUICE_KEPT_REFUSAL) | SLUICE_KEPT_PENDING;
	asm volatile("" ::: "memory");
	k->more = kept_more(kept_client(more) + request, kept_server(more) + reply);
}

#endif
