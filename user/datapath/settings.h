/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one entry of the map `settings`, the lease in it, and the secret of hashes. Functions return
 * 0 or -errno and set datapath_error().
 */
#ifndef SLUICE_DATAPATH_SETTINGS_H
#define SLUICE_DATAPATH_SETTINGS_H

#include "internal.h"

/* settings.c */
/* The settings that are pinned, of this version or another: their head, up to `stopping`, is the
 * same in all. Returns a descriptor; -ENOENT. */
int settings_pinned(const char *pin_dir, struct sluice_settings *out);
/* Change the lease in them, and whether a daemon stops. */
int settings_write_lease(int fd, uint64_t until_ns);
int settings_write_stopping(int fd, uint32_t stopping);
/* Drops the packets of services until then (CLOCK_MONOTONIC; 0: no more), and changes nothing else
 * of what is in the map. */
int settings_pause(struct datapath *d, uint64_t until_ns);
/* Writes d->settings. */
int settings_write(struct datapath *d);
/* Call this after every change of services and model_ids: the programs then look names up again. */
int names_changed(struct datapath *d);
/* The policy maps without entries: bits of enum sluice_empty. */
uint32_t policies_empty(struct datapath *d);
/* Call this before an entry is written: from then on the programs look that map up. */
int policy_begins(struct datapath *d, enum sluice_empty which);
/* Call this after an entry is deleted: if none is left, the programs skip the look-up. */
void policy_ends(struct datapath *d, enum sluice_empty which);

/* Writes an entry of model_flags, and whether any of them may refuse. */
int flag_write(struct datapath *d, uint32_t id, const struct sluice_model_flag *flag);
/* Finds the entries of model_flags that an earlier daemon has written. */
int flags_adopt(struct datapath *d);

/* The hash of a text under this host's secret, as the programs hash a header's value. */
int hash_text(struct datapath *d, const char *text, size_t len, uint64_t *hash);

/* lease.c */
/* Extends a lease in force for the kernel's check of the programs; once for each start. */
void lease_put_off(struct datapath *d);
/* Restores the lease after a failed start; call it while the lock is held. */
void lease_restore(const struct datapath *d);

#endif
