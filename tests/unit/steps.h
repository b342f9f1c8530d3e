/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counts the entries that long work announces before each of its steps. */
#ifndef SLUICE_STEPS_H
#define SLUICE_STEPS_H

#include <stddef.h>

static struct {
	size_t most, all; /* of one step, of all together */
} steps;

static inline void note_step(void *arg, size_t entries)
{
	steps.most = entries > steps.most ? entries : steps.most;
	steps.all += entries;
}

#endif
