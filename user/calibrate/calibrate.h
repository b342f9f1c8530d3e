/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sluice-sim --calibrate: measures a server, and prints the options that describe it.
 */
#ifndef SLUICE_CALIBRATE_H
#define SLUICE_CALIBRATE_H

#include <stdbool.h>
#include <stdio.h>

#include "calibrate/plan.h"

#define CALIBRATE_MAX_S  180 /* at most, for all of it */
#define CALIBRATE_IDLE_S 30  /* an error if the server sends nothing for as long */

/*
 * Measures the server at "HOST:PORT" and prints what it found to stdout. 0; -EINVAL: the server or
 * the model is not named rightly; another -errno: the server did not do what it should. One line in
 * err then, and nothing is printed.
 */
int calibrate_run(const char *server, const char *model, bool json, char *err, size_t len);
/* The options of sluice-sim, on one line without its end. */
void calibrate_options(const struct engine_shape *shape, char *out, size_t len);

#endif
