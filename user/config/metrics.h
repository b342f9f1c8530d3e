/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The settings of the HTTP server: its address, and what its clients must show. An address that
 * other hosts reach needs a token or client certificates.
 */
#ifndef SLUICE_CONFIG_METRICS_H
#define SLUICE_CONFIG_METRICS_H

#include "loader.h"

/* As `take` of struct field; `to` is the configuration, or for hosts the loader. */
int metrics_take_address(void *to, const struct field *field, const char *text, char *err,
			 size_t len);
int metrics_take_host(void *to, const struct field *field, const char *text, char *err, size_t len);
/* Call it after all sources: checks the settings against each other. */
int metrics_finish(struct loader *l);
void metrics_clear_hosts(struct config *config);

#endif
