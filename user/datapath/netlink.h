/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Requests to the kernel by netlink (netlink.c). */
#ifndef SLUICE_DATAPATH_NETLINK_H
#define SLUICE_DATAPATH_NETLINK_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "internal.h"

/*
 * Sends a dump request of a family (NETLINK_ROUTE, …) and calls each() with the messages of the
 * answer; an error of each(), or a number above 0, ends the dump. 0 or -errno, without a sentence.
 * Each buffer of messages is a step; d NULL: no steps.
 */
int netlink_dump(const struct datapath *d, int family, const struct nlmsghdr *request,
		 int (*each)(void *arg, const struct nlmsghdr *message), void *arg);
/* The attribute of a type among the `len` bytes of them from `first` on; NULL. */
const struct rtattr *netlink_attribute(const void *first, size_t len, unsigned short type);
/* Sends a request that one message answers, and reads that. 0, -errno, or the kernel's -errno. */
int netlink_ask(int fd, const struct nlmsghdr *request, void *answer, size_t size);

#endif
