/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* OpenMetrics 1.0.0, from the lines of the Prometheus text format. */
#ifndef SLUICE_METRICS_OPENMETRICS_H
#define SLUICE_METRICS_OPENMETRICS_H

#include <stdbool.h>
#include <stdio.h>

/* Whether an Accept header, or NULL, names this format. */
bool openmetrics_is_asked_for(const char *accept);
/* Lines that are written to the stream go to `out` as OpenMetrics. fclose() writes the end. NULL:
 * out of memory. */
FILE *openmetrics_open(FILE *out);

#endif
