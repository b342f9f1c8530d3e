/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How sluicectl shows an answer: as JSON, or as text that fits the screen. */
#ifndef SLUICE_SHOW_H
#define SLUICE_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum show_mode {
	SHOW_ONCE,
	SHOW_LINE,   /* one of many, a line each */
	SHOW_REPLACE /* on a terminal in the place of the one before; else after a blank line */
};

struct show {
	enum show_mode mode;
	bool json;
	void (*format)(FILE *out, const json_t *answer); /* as text */
};

/* Columns of the screen: the variable COLUMNS, or those of the terminal; 0: there is none. */
unsigned show_columns(void);
/* Prints an answer on standard output. */
void show_answer(const struct show *show, const json_t *answer);

#endif
