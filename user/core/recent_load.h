/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How many requests were in flight, on average, since a time in the last seconds: what a request
 * met while it waited. The number at its admission says less: the first of a burst meets nobody.
 * Pure: time is a parameter.
 */
#ifndef SLUICE_RECENT_LOAD_H
#define SLUICE_RECENT_LOAD_H

#include <stdint.h>

#define RECENT_LOAD_STEPS 64

/* All zero: nothing is known. */
struct recent_load {
	double in_flight; /* at last_ns, and since */
	double spent_s;   /* until last_ns: the integral of it over time, in seconds */
	uint64_t last_ns;
	struct recent_load_step {
		uint64_t at_ns; /* 0: none */
		double spent_s; /* … by then */
	} steps[RECENT_LOAD_STEPS];
	unsigned newest;
};

/* So many are in flight from now_ns on. */
void recent_load_note(struct recent_load *l, double in_flight, uint64_t now_ns);

/* The mean from since_ns, or as far back as is known, until now_ns. */
double recent_load_mean(const struct recent_load *l, uint64_t since_ns, uint64_t now_ns);

#endif
