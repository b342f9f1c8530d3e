/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The part of abi.h about the client that a request is charged to. */
#ifndef SLUICE_ABI_CLIENT_H
#define SLUICE_ABI_CLIENT_H

#include "abi_reply.h"

#define SLUICE_NAME_MAX 96 /* bytes of a model's name, its terminating zero included */

enum sluice_client_kind {
	SLUICE_CLIENT_ADDRESS = 0,
	SLUICE_CLIENT_KEY = 1,
	SLUICE_CLIENT_HEADER =
		2, /* no client: a value of a service's priority header, as a key of `priorities` */
	/*
	 * No client, but a bit of its kind: what an operator has set on this host while a rule of
	 * the fleet overrides it. The daemon keeps it for its next start; no packet has such a key.
	 * OVERRIDDEN_PREFIX: of the prefix addr/plen.
	 */
	SLUICE_CLIENT_OVERRIDDEN = 0x40,
	SLUICE_CLIENT_OVERRIDDEN_PREFIX = 0xc0,
};

/* The client that a request is charged to: addr cut to plen bits (IPv4 /32 is ::ffff:a.b.c.d/128),
 * or a hash. */
struct sluice_client {
	/* KEY: the 64-bit hash in the first eight bytes, then zeros. HEADER: the value's hash, then
	 * the service's id as u32. */
	__u8 addr[16];
	__u8 plen;
	__u8 kind; /* enum sluice_client_kind */
	__u8 pad[6];
} SLUICE_ALIGNED(8);
_Static_assert(sizeof(struct sluice_client) == 24, "client");

#endif
