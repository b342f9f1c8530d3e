/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The interfaces of this network namespace (interfaces.c). */
#ifndef SLUICE_DATAPATH_INTERFACES_H
#define SLUICE_DATAPATH_INTERFACES_H

#include <net/if.h>

#include "internal.h"

struct interface {
	int ifindex;
	char name[IF_NAMESIZE];
	bool automatic; /* lo, or it carries a default route or an address of global scope */
};

/* Reads them in steps, in the kernel's order; the caller frees *out. 0 or -errno. Without
 * `automatic` it does not read addresses and routes, and only lo is. */
int interfaces_list(const struct datapath *d, bool automatic, struct interface **out,
		    size_t *count);

#endif
