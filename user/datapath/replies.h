/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The templates of the 429 that the programs send (replies.c). */
#ifndef SLUICE_DATAPATH_REPLIES_H
#define SLUICE_DATAPATH_REPLIES_H

#include "internal.h"

/* Writes the templates of a model for a set of reasons (one bit each) that this daemon has not
 * written yet. */
int replies_write(struct datapath *d, uint32_t model, const char *name, uint16_t reasons);
/* Writes the templates of a quota's refusals. */
int replies_write_quota(struct datapath *d, uint32_t id, const struct sluice_quota_text *text);

#endif
