/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one entry of the map `settings`, and the lease in it. Functions return 0 or -errno and set
 * datapath_error().
 */
#ifndef SLUICE_DATAPATH_SETTINGS_H
#define SLUICE_DATAPATH_SETTINGS_H

#include "internal.h"

/* settings.c */
/* Writes d->settings. */
int settings_write(struct datapath *d);
/* Call this after every change of services and model_ids: the programs look names up anew. */
int names_changed(struct datapath *d);
/* The maps of policy that have no entry: bits of enum sluice_empty. */
uint32_t policies_empty(struct datapath *d);
/* Call this before an entry is written: the programs look that map up from now on. */
int policy_begins(struct datapath *d, enum sluice_empty which);
/* Call this after one is deleted: without entries the programs skip the look-up. */
void policy_ends(struct datapath *d, enum sluice_empty which);

/* lease.c */
/* Extends a lease in force over the kernel's check of the programs; once for each start. */
void lease_put_off(struct datapath *d);
/* A start that fails leaves the lease as if it had not been; call it while the lock is held. */
void lease_restore(const struct datapath *d);

#endif
