/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the controller*.c files share; no other file includes it. */
#ifndef SLUICE_CONTROLLER_INTERNAL_H
#define SLUICE_CONTROLLER_INTERNAL_H

#include "controller.h"

/* controller_targets.c */
/* Whether a model's own averages decide; under policy adaptive, whether its own targets do. */
bool controller_carries(const struct controller *c, uint32_t id);
struct adaptive_targets controller_adaptive_targets(const struct controller_targets *t);

/* controller.c */
/* The admission state of entry `id`; begins one if there is none. */
struct adaptive *controller_adaptive(struct controller *c, uint32_t id, uint64_t now_ns);

#endif
