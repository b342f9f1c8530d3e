/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The map `ports`: which packets the programs look at (ports.c). */
#ifndef SLUICE_DATAPATH_PORTS_H
#define SLUICE_DATAPATH_PORTS_H

#include "internal.h"

/* Sets the bits of `bits`, and clears none. */
int ports_add(struct datapath *d, const uint64_t bits[PORT_WORDS]);
/* Sets exactly the ports of d->service_ports and of kept connections. */
int ports_settle(struct datapath *d);

#endif
