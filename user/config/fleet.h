/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The settings of a fleet, and of the store that its hosts share. */
#ifndef SLUICE_CONFIG_FLEET_H
#define SLUICE_CONFIG_FLEET_H

#include "loader.h"

extern const struct parse_value fleet_as_period, fleet_as_hosts, fleet_as_fallback, fleet_as_rules;

/* As `take` of struct field; `to` is the text, or for stores the loader. */
int fleet_take_name(void *to, const struct field *field, const char *text, char *err, size_t len);
int fleet_take_store(void *to, const struct field *field, const char *text, char *err, size_t len);
/* Call it after all sources and sections: checks the settings against each other. */
int fleet_finish(struct loader *l);

#endif
