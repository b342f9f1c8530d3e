/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SLUICE_METRICS_PROCESS_H
#define SLUICE_METRICS_PROCESS_H

#include <stdint.h>
#include <stdio.h>

/* Writes the process_ metrics of this process, in the Prometheus text format. */
void process_write(FILE *out, uint64_t started_unix_ns);

#endif
