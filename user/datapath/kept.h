/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connections that outlived a refusal (kept.c). */
#ifndef SLUICE_DATAPATH_KEPT_H
#define SLUICE_DATAPATH_KEPT_H

#include "internal.h"

/* Sets in `bits` the bit of each port to which a kept connection goes. *any: some were not set. */
int kept_ports(struct datapath *d, uint64_t bits[], bool *any);
/* Whether a kept connection goes by the interface. */
bool kept_goes_by(struct datapath *d, int ifindex);
/* The interface with index `was` has come back as `now`, and its kept connections with it. */
int kept_moved(struct datapath *d, int was, int now);
/*
 * Resets both ends of each kept connection that is pinned in pin_dir, while the programs still
 * translate the RST, and removes their entries. It needs the server's socket in this network
 * namespace, or in one of d; d may be NULL. The error says how many it did not find a way for.
 */
int kept_reset(const struct datapath *d, const char *pin_dir);
/* Has the server send a packet of a connection, if it still has that, and this host has no socket
 * of it that would say so. */
void kept_probe(const struct datapath *d, const struct sluice_conn_key *key);
/* Pins the program that ends silent ones, for kept_end_pinned(). */
int kept_pin_probe(const struct datapath *d);
/*
 * As kept_reset() without a daemon, by what a killed one of any version has left attached and
 * pinned. Waits until those have ended, too, that have no socket here, KEPT_PACKET_NS at most.
 */
int kept_end_pinned(const char *pin_dir);

#endif
