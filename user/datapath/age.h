/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The state that the walk of datapath_age() keeps between two calls (age.c). */
#ifndef SLUICE_DATAPATH_AGE_H
#define SLUICE_DATAPATH_AGE_H

struct age;

void age_free(struct age *age);

#endif
