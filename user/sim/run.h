/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One run: a workload against an engine behind a policy; and what it came to.
 */
#ifndef SLUICE_SIM_RUN_H
#define SLUICE_SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/engine.h"
#include "sim/policy.h"
#include "sim/workload.h"

#define RUN_QUARTILES  4
#define RUN_MODELS_MAX 16

struct outcome {
	bool admitted, met;          /* met: both targets */
	bool gave_up;                /* hung up before its first token */
	uint32_t retries;            /* times that it came again */
	uint64_t came_ns;            /* when it was let in: its wait is counted from there */
	uint64_t first_ns, ended_ns; /* 0: not */
};

struct run_result {
	uint32_t arrived, admitted, met, refused; /* refused: in the end, however often it came */
	uint32_t retries, gave_up;
	double model_goodput[RUN_MODELS_MAX];
	double goodput;                         /* met a second */
	double quartile_goodput[RUN_QUARTILES]; /* by length of prompt, the shortest first */
	double quartile_met[RUN_QUARTILES];     /* of the admitted, 0 … 1; negative: none was */
	uint32_t falsely_refused,
		judged; /* of as many refused that were tried again; judged 0: not asked */
	double jain;    /* of goodput over clients, 1/n … 1 */
	double ttft_p50_ms, ttft_p95_ms; /* of the admitted */
	uint64_t preempted;
	struct outcome *outcomes; /* by request; NULL: not asked for */
};

/*
 * out is to be zero, or to have `outcomes` with room for every request. curve: the limit over time,
 * a line a second; NULL for none. 0 or -ENOMEM.
 */
int run(const struct workload *w, const struct engine_shape *shape, const struct policy_rule *rule,
	struct run_result *out, FILE *curve);

/*
 * How many of the refused would have met both targets, had they come in alone on top of those who
 * did, without one of those missing that met: of at most `most` of them, chosen by the seed. Of a
 * load without retries and patience. 0 or -ENOMEM.
 */
int run_falsely_refused(const struct workload *w, const struct engine_shape *shape,
			const struct policy_rule *rule, struct run_result *result, uint32_t most,
			uint64_t seed);

/* Responses a second that meet both targets with exactly n requests always in flight, in the
 * trace's order. */
double run_closed(const struct trace *t, const struct engine_shape *shape,
		  const struct adaptive_targets *targets, uint32_t n);
/* The most over n, and that n. Negative: out of memory. */
double run_capacity(const struct trace *t, const struct engine_shape *shape,
		    const struct adaptive_targets *targets, uint32_t *best_n);

/* The limits that are tried for the best; 0 ends. */
extern const uint32_t run_limits[];

#endif
