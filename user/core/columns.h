/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Columns of a text on a terminal, by the locale of the process (LC_CTYPE): wide characters take
 * two. What the locale cannot print, and all but ASCII where it is not UTF-8, counts as one.
 */
#ifndef SLUICE_COLUMNS_H
#define SLUICE_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the locale is UTF-8. */
bool columns_are_utf8(void);
/* The bytes of the character at text, which is not at its end, and its columns; *columns is -1 if
 * it cannot be printed. */
size_t columns_next(const char *text, int *columns);
/* Columns of the whole text. */
unsigned columns_of(const char *text);

#endif
