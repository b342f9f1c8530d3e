/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Lists of the kernel that netlink dumps (netlink.c). */
#ifndef SLUICE_DATAPATH_NETLINK_H
#define SLUICE_DATAPATH_NETLINK_H

#include <linux/netlink.h>

#include "internal.h"

/*
 * Sends a dump request and calls each() with the messages of the answer; an error of each() ends
 * the dump. 0 or -errno, without a sentence. Each buffer of messages is a step; d NULL: no steps.
 */
int netlink_dump(const struct datapath *d, const struct nlmsghdr *request,
		 int (*each)(void *arg, const struct nlmsghdr *message), void *arg);

#endif
