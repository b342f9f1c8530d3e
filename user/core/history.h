/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The last hour: one point every five seconds, of all models together and of those with requests.
 * Everything has a fixed size. If more models have requests than there is space for, the one
 * without a request for longest gives way. Time comes with the state.
 */
#ifndef SLUICE_HISTORY_H
#define SLUICE_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "state.h"

#define HISTORY_SECS   5 /* between two points */
#define HISTORY_POINTS 720
#define HISTORY_MODELS 64

/* Negative: there is no such value. Rates are a second, since the point before. */
struct history_point {
	float ttft_ms, ttft_target_ms, itl_ms, itl_target_ms, in_flight, limit, admitted, rejected;
};

struct history_series {
	char name[SLUICE_NAME_MAX]; /* "": free */
	uint64_t active;            /* the number of points at its last request */
	struct history_point point[HISTORY_POINTS];
};

struct history {
	uint64_t count;  /* of points, ever; point n is at n % HISTORY_POINTS */
	uint64_t now_ns; /* of the last point */
	uint64_t unix_ms[HISTORY_POINTS];
	float by_reason[HISTORY_POINTS][SLUICE_REASON_COUNT]; /* rejected a second */
	float admitted_by_class[HISTORY_POINTS][SLUICE_CLASSES],
		rejected_by_class[HISTORY_POINTS][SLUICE_CLASSES];
	struct history_series all, model[HISTORY_MODELS];
	struct state_sums sums; /* at the last point */
};

/* Adds a point. Needs STATE_MODELS and STATE_COUNTS. */
void history_add(struct history *h, const struct daemon_state *s);
/* Where the last point with rates is; -1: none is there yet, or h is NULL. */
int history_now(const struct history *h);
/* The first point that is kept. */
uint64_t history_first(const struct history *h);

#endif
