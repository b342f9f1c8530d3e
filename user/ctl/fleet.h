/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How many hosts of a fleet have put a change in force. */
#ifndef SLUICE_CTL_FLEET_H
#define SLUICE_CTL_FLEET_H

#include <jansson.h>

/* Waits, two seconds at most, until all hosts have the version in the answer's "fleet". Adds to it
 * how many there are, how many have it, and the names of the others. */
void fleet_follow(const char *control, json_t *answer);

#endif
