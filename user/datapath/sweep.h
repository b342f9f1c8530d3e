/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The pass of the programs over all connections (sweep.c). */
#ifndef SLUICE_DATAPATH_SWEEP_H
#define SLUICE_DATAPATH_SWEEP_H

#include "internal.h"

/* Releases the slots of responses that have stalled, and takes them for those that no longer are. 0
 * or -errno with datapath_error(). */
int sweep_conns(struct datapath *d);

#endif
