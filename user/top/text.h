/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Text of an exact width on a terminal. In a locale that is not UTF-8 all is ASCII: a character
 * that the locale cannot print is shown as `?`.
 */
#ifndef SLUICE_TOP_TEXT_H
#define SLUICE_TOP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "top/data.h"

/* Writes the text in exactly `width` columns: cut, with a mark, or padded; right: on the left. */
void text_cell(char *out, size_t size, const char *text, unsigned width, bool right);
/*
 * A plot of values (HISTORY_SECS of them) with this many cells, one byte each in ASCII, the newest
 * on the right. Its top is the target or the highest value, whichever is higher. NAN: no target.
 */
void text_plot(char *out, size_t size, const struct top_data *d, const float *values, double target,
	       unsigned cells);
/* Seconds that a plot of so many cells covers. */
unsigned text_plot_secs(const struct top_data *d, unsigned cells);

#endif
