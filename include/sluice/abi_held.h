/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The part of abi.h about heads that wait for their bodies. Both maps are the programs' own: a head
 * that is lost with them is sent again.
 */
#ifndef SLUICE_ABI_HELD_H
#define SLUICE_ABI_HELD_H

#include <linux/types.h>

#define SLUICE_HELD_MAX   1024 /* heads at once */
#define SLUICE_UNHELD_MAX 8192 /* addresses (LRU) */
#define SLUICE_HELD_BYTES 4095 /* of a head, at most: no packet can be grown by more */

/* held: the head of a request whose body is still to come, which its server has not seen. */
struct sluice_held {
	__u64 since_ns;
	__u32 seq;   /* of its first byte, as the server counts */
	__u32 len;   /* bytes */
	__u32 acked; /* the server's bytes that the client had acknowledged before it */
	__u32 sum;   /* of its bytes: csum_fold() */
	__u8 head[SLUICE_HELD_BYTES + 1];
};
_Static_assert(sizeof(struct sluice_held) == 24 + 4096, "held");

/* unheld: a client that has sent a body only after its head was acknowledged. Its heads are not
 * held for a while. */
struct sluice_address {
	__u8 addr[16];
};

struct sluice_unheld {
	__u64 at_ns; /* when it did so last */
	__u64 for_ns;
};

#endif
