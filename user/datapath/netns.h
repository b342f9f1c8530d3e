/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The other network namespaces that sluice attaches to (netns.c). */
#ifndef SLUICE_DATAPATH_NETNS_H
#define SLUICE_DATAPATH_NETNS_H

#include "internal.h"

/*
 * The calling thread enters d->netns[which - 1], or stays where it is if `which` is 0, until
 * netns_leave(). Between the two nothing may wait, take a turn of the loop, or open what is meant
 * for the daemon's own namespace. 0; -ENOENT: it has ended; or -errno.
 */
int netns_enter(const struct datapath *d, unsigned which);
void netns_leave(const struct datapath *d, unsigned which);
/* The inode of the calling thread's network namespace. */
uint64_t netns_here(void);
/* Writes into ->note that the namespace cannot be opened, entered, …, and why. */
void netns_cannot(struct netns *ns, const char *be, const char *why);
/* Adds a namespace to the list, and reads it. */
int netns_add(struct datapath *d, const char *path);
/*
 * Looks whether the namespace is there, and reads its addresses. ->ino is 0 if not, or if it is not
 * attached to; then ->note says why. If it cannot be looked at, all stays as it was, but for ->note
 * and ->unfollowed. 1: namespace or addresses are others than before; 0.
 */
int netns_read(struct datapath *d, unsigned which);
void netns_close(struct datapath *d);

#endif
