/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What datapath.c opens for budgets that a fleet shares, and closes. */
#ifndef SLUICE_DATAPATH_FLEET_H
#define SLUICE_DATAPATH_FLEET_H

#include "internal.h"

int fleet_open(struct datapath *d);
void fleet_close(struct datapath *d);

#endif
