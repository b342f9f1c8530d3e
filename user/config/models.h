/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The entries of `models`: values for one model that override the global settings. */
#ifndef SLUICE_CONFIG_MODELS_H
#define SLUICE_CONFIG_MODELS_H

#include "loader.h"

extern const struct section models_section;

/* A model's name; `to` is a char[SLUICE_NAME_MAX]. */
int models_take_name(void *to, const struct field *field, const char *text, char *err, size_t len);

#endif
