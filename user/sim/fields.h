/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fields of a trace's line. False: the text is no such field. */
#ifndef SLUICE_SIM_FIELDS_H
#define SLUICE_SIM_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

/* Nanoseconds since 1970. */
bool trace_time(const char *text, int64_t *ns);
/* At most a million. */
bool trace_tokens(const char *text, uint32_t *out);

#endif
