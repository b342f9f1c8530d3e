/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The part of abi.h about interfaces that lead to a server: the host's end of a pod's veth.
 * Requests to the server leave by it, and its responses come in. The map is not pinned: a daemon
 * writes it before it attaches.
 */
#ifndef SLUICE_ABI_LINKS_H
#define SLUICE_ABI_LINKS_H

#include <linux/types.h>

#define SLUICE_SERVER_LINKS_MAX 1024

/*
 * server_links: the interface and the server's address. ifindex 0: the server is in a network
 * namespace that sluice is attached to, and that is not the daemon's. The address is in the key
 * since interfaces of two network namespaces may have the same index.
 */
struct sluice_server_link {
	__u8 addr[16];
	__u32 ifindex;
};
_Static_assert(sizeof(struct sluice_server_link) == 20, "server link");

/*
 * A packet's tc_index, where a sluice has judged it: the kind says that it is one's mark, and the
 * bits between name the sluice's network namespace.
 */
#define SLUICE_MARK_BITS      0xffe0U
#define SLUICE_MARK_KIND_BITS 0xe000U
#define SLUICE_MARK_KIND      0xa000U

static inline __u32 sluice_mark(__u64 netns)
{
	return SLUICE_MARK_KIND | (__u32)(netns % 256) << 5;
}

#endif
