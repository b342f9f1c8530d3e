/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Corrects conn_counts from the walks over conns. A daemon that was killed between the deletion of
 * a connection and its count leaves a wrong one. As in age.c, a difference counts if two walks in a
 * row found the same number in conns and in conn_counts, and it is added, never stored.
 */
#ifndef SLUICE_DATAPATH_CROWD_H
#define SLUICE_DATAPATH_CROWD_H

#include "internal.h"

struct crowd {
	bool walked;
	int64_t before[SLUICE_CONN_BUCKETS]; /* conn_counts at the walk's start */
	int64_t found[SLUICE_CONN_BUCKETS];  /* in conns */
	int64_t last_found[SLUICE_CONN_BUCKETS];
	int64_t last_before[SLUICE_CONN_BUCKETS];
};

void crowd_start(struct datapath *d, struct crowd *c);
void crowd_add(struct crowd *c, const struct sluice_conn *conn);
/* The walk is complete: corrects what two of them agree on. */
void crowd_end(struct datapath *d, struct crowd *c);
/* Makes the counts those of conns: not all of its entries may have been carried over. */
int crowd_recount(struct datapath *d);
/* The daemon has deleted a connection of this bucket. */
void crowd_leaves(struct datapath *d, uint32_t bucket);

#endif
