/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A setting that is a list of texts. */
#ifndef SLUICE_CONFIG_LIST_H
#define SLUICE_CONFIG_LIST_H

#include "loader.h"

/* Adds a text to a list of at most `max`; the first one of a stronger source replaces those of
 * weaker ones. `what`: plural of what it lists. */
int list_add(struct loader *l, enum source *from, char ***list, unsigned *count, unsigned max,
	     const char *what, const char *text, char *err, size_t len);
/* Frees a list of texts, as that of the interfaces. */
void list_clear(char ***list, unsigned *count);

#endif
