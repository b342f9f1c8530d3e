/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `watch --summary`: one summary of the daemon's counters for each interval. */
#ifndef SLUICE_CTL_SUMMARY_H
#define SLUICE_CTL_SUMMARY_H

#include <stdbool.h>

/* Prints one each interval_ms until the daemon or standard output goes away. An exit status. */
int summary_watch(const char *control, double interval_ms, bool json);

#endif
