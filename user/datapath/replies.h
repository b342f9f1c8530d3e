/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The parts of the 429 that the programs send (replies.c). */
#ifndef SLUICE_DATAPATH_REPLIES_H
#define SLUICE_DATAPATH_REPLIES_H

#include "internal.h"

/* Writes the sentences of a model for a set of reasons (one bit each) that this daemon has not
 * written yet. */
int replies_write(struct datapath *d, uint32_t model, const char *name, uint16_t reasons);
/* Deletes the sentences of a model. */
int replies_remove(struct datapath *d, uint32_t model);
/* Writes the sentences of a quota's refusals. */
int replies_write_quota(struct datapath *d, uint32_t id, const struct sluice_quota_text *text);
/* Writes the form of each API. */
int replies_write_forms(struct datapath *d);
/* Writes the heads of these services; those that are as they should be stay untouched. */
int replies_write_heads(struct datapath *d, const struct service *services, size_t count);
/* Deletes all other heads. */
int replies_remove_heads(struct datapath *d, const struct service *services, size_t count);

#endif
