/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A calibration: sends probes to an idle server until their times determine the simulator's
 * engine.
 */
#ifndef SLUICE_CALIBRATE_PLAN_H
#define SLUICE_CALIBRATE_PLAN_H

#include "calibrate/fit.h"

struct calibration {
	struct fit fit;
	struct engine_shape shape;
	bool slots_at_least; /* more were not tried, or not in time */
	uint32_t asked;      /* streams that were asked for at once, at most */
	bool stated;         /* the server states the tokens of a prompt */
	uint32_t requests;
	double seconds;
};

/* 0; -ENOMEM; or what the player returned. *out is set only on success. */
int calibrate(const struct player *player, struct calibration *out);

#endif
