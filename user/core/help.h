/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The format of --help, the same in every program: an entry and its explanation, next to it or
 * below it, wrapped at 80 columns. scripts/check-docs reads this format and checks the manual pages
 * against it.
 */
#ifndef SLUICE_HELP_H
#define SLUICE_HELP_H

#include <stdio.h>

#define HELP_COLUMNS 80
#define HELP_BESIDE  35 /* column of an option's explanation */

/*
 * Writes the words of text and ends the line. `column` is the output column now, `indent` that of
 * each further line. Text in brackets stays together.
 */
void help_wrap(FILE *out, unsigned column, unsigned indent, const char *text);
/* Prints an option with its explanation, and its default in brackets if it has one. */
void help_option(FILE *out, const char *name, const char *argument, const char *help,
		 const char *fallback);

#endif
