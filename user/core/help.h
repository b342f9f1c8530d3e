/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What --help prints, the same way in every program: an entry and its explanation beside or below
 * it, wrapped at 80 columns. scripts/check-docs reads this form and holds the manual pages to it.
 */
#ifndef SLUICE_HELP_H
#define SLUICE_HELP_H

#include <stdio.h>

#define HELP_COLUMNS 80
#define HELP_BESIDE  35 /* column of an option's explanation */

/*
 * Writes the words of text and ends the line. `column` is where output stands now, `indent` where
 * each further line begins. What stands in brackets stays together.
 */
void help_wrap(FILE *out, unsigned column, unsigned indent, const char *text);
/* An option with its explanation beside it, and its default in brackets where it has one. */
void help_option(FILE *out, const char *name, const char *argument, const char *help,
		 const char *fallback);

#endif
