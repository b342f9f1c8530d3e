/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What sluice-sim prints of fleets (fleet.h). */
#ifndef SLUICE_SIM_FLEET_SHOW_H
#define SLUICE_SIM_FLEET_SHOW_H

#include "sim/fleet.h"

#define FLEET_QUOTA_TEXT "requests=100/60s burst=20"

/* Reads a quota, and the name of a pattern (NULL: all). -EINVAL with a sentence in why. */
int fleet_options_read(struct fleet_options *out, const char *quota, const char *pattern, char *why,
		       size_t len);
/* Simulates and prints. -ENOMEM, or -EDOM: a result breaks what is stated; with a sentence. */
int fleet_show(const struct fleet_options *options, bool json, char *why, size_t len);
/* Writes the table of user/docs/fleet.md. An exit status. */
int fleet_table_write(void);

#endif
