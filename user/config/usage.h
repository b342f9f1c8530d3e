/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What sluiced --help prints, from the parsers' tables. */
#ifndef SLUICE_CONFIG_USAGE_H
#define SLUICE_CONFIG_USAGE_H

#include "loader.h"

void usage_print(const struct section *const *sections, size_t count);

#endif
