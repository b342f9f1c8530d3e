/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "core/recent_load.h"

#define STEP_NS 100000000ULL

static double spent_by(const struct recent_load *l, uint64_t now_ns)
{
	return l->spent_s +
	       (now_ns > l->last_ns ? l->in_flight * (double)(now_ns - l->last_ns) / 1e9 : 0);
}

void recent_load_note(struct recent_load *l, double in_flight, uint64_t now_ns)
{
	l->spent_s = spent_by(l, now_ns);
	l->in_flight = in_flight;
	if (now_ns > l->last_ns)
		l->last_ns = now_ns;
	if (l->last_ns < l->steps[l->newest].at_ns + STEP_NS)
		return;
	l->newest = (l->newest + 1) % RECENT_LOAD_STEPS;
	l->steps[l->newest] = (struct recent_load_step){l->last_ns, l->spent_s};
}

double recent_load_mean(const struct recent_load *l, uint64_t since_ns, uint64_t now_ns)
{
	const struct recent_load_step *step = &l->steps[l->newest], *before;

	for (unsigned i = 1; i < RECENT_LOAD_STEPS && step->at_ns > since_ns; i++) {
		before = &l->steps[(l->newest + RECENT_LOAD_STEPS - i) % RECENT_LOAD_STEPS];
		if (!before->at_ns)
			break;
		step = before;
	}
	if (!step->at_ns || now_ns <= step->at_ns)
		return l->in_flight;
	return (spent_by(l, now_ns) - step->spent_s) / ((double)(now_ns - step->at_ns) / 1e9);
}
