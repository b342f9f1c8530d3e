/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sizes of the maps that the operator chooses, and the memory that they take (sizes.c). */
#ifndef SLUICE_DATAPATH_SIZES_H
#define SLUICE_DATAPATH_SIZES_H

#include "internal.h"

/* Sets the sizes, before the load; NULL: those that the object has. */
int sizes_set(struct datapath *d, const struct datapath_sizes *sizes);
/* After a load that failed for want of memory: says for which map, and which limit it met. `said`:
 * what libbpf has said. */
int sizes_no_memory(const struct datapath *d, int err, const char *said);

#endif
