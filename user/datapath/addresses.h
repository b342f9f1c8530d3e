/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The addresses of the host, and notifications of changes (addresses.c). */
#ifndef SLUICE_DATAPATH_ADDRESSES_H
#define SLUICE_DATAPATH_ADDRESSES_H

#include <linux/netlink.h>

#include "internal.h"

/* An address of a socket or an interface as 16 bytes, IPv4 mapped. */
void address_whole(uint8_t out[16], int family, const void *address);
/* Whether a list has the address. */
bool address_in(uint8_t (*list)[16], size_t count, const uint8_t addr[16]);
/* The address of an RTM_NEWADDR: of a point-to-point link the local end. False: there is none. */
bool address_of_message(const struct nlmsghdr *message, uint8_t out[16]);
/* A netlink fd that is readable when addresses, links or default routes changed; -errno. */
int addresses_open(void);
/* Reads and discards messages on that fd, 64 KiB at most. */
void addresses_drain(int fd);
/* Whether it is a loopback or a link-local address, which other namespaces may have, too. */
bool address_is_local(const uint8_t addr[16]);
/* The addresses in the calling thread's network namespace; the caller frees *out. 0 or -errno,
 * without a sentence. d NULL: without steps. */
int addresses_here(const struct datapath *d, uint8_t (**out)[16], size_t *count);
/* The addresses of the host and of the other namespaces in use, read in steps, IPv4 ones as
 * ::ffff:a.b.c.d; the caller frees *out. */
int addresses_list(const struct datapath *d, uint8_t (**out)[16], size_t *count);

#endif
