/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The comparison in user/docs/simulation.md: every engine under every load, with every policy, and
 * the criteria that adaptive admission has to meet.
 */
#ifndef SLUICE_SIM_TABLE_H
#define SLUICE_SIM_TABLE_H

#include <stdint.h>

#define TABLE_SEEDS 5

/* What one policy made of one load on one engine: by seed, and a mean. */
struct table_policy {
	double goodput[TABLE_SEEDS], mean;
	double refused[TABLE_SEEDS]; /* of what arrived, 0 … 1 */
	double met;                  /* in time, of the admitted, mean of the seeds */
	double quartile[4];          /* goodput by length of prompt, mean of the seeds */
};

struct table_cell {
	int engine, load; /* rows of the tables in table.c */
	double capacity;
	uint32_t capacity_n, best_limit;
	struct table_policy none, fixed, ema, adaptive;
	double recovery_s[TABLE_SEEDS]; /* step: from the step down to a clean window */
	double alone[TABLE_SEEDS], others_goodput[TABLE_SEEDS]; /* abuser: goodput of the others */
	double falsely; /* refused, of what arrived, one seed */
	int failed;
};

/* Writes the table, in Markdown, to standard output; the two traces are in `directory`. 0 or an
 * exit status. */
int table_write(const char *directory);

#endif
