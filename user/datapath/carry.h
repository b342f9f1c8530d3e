/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What this daemon takes over of the maps that another has pinned (carry.c). */
#ifndef SLUICE_DATAPATH_CARRY_H
#define SLUICE_DATAPATH_CARRY_H

#include "internal.h"

enum carry_found {
	CARRY_NOTHING,    /* nothing is pinned */
	CARRY_UNFINISHED, /* an earlier start was killed before its maps were complete */
	CARRY_PINNED,     /* maps of this version or another one; d->carry */
};

/*
 * Looks at the pins, and decides for each map of the object whether the pinned one is used as it
 * is, or a new one is made. Call it before the load; d->carry is to be freed by carry_free().
 * -errno.
 */
int carry_find(struct datapath *d, enum carry_found *found);
/* After the load: copies the entries into the new maps, which are not pinned yet. */
int carry_load(struct datapath *d);
/* Before the first program is attached: copies what has changed since, and pins the new maps. Does
 * nothing the second time. */
int carry_commit(struct datapath *d);
/* Once all programs are replaced: copies what the earlier ones have written meanwhile. */
int carry_finish(struct datapath *d);
void carry_free(struct datapath *d);

#endif
