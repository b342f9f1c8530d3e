/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One run: a workload against an engine with a policy in front, and its result.
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
	uint32_t retries;            /* attempts after a refusal */
	uint64_t came_ns;            /* its admission: the wait counts from here */
	uint64_t first_ns, ended_ns; /* 0: none */
};

struct run_result {
	uint32_t arrived, admitted, met, refused; /* refused: after all retries */
	uint32_t retries, gave_up;
	double model_goodput[RUN_MODELS_MAX];
	double goodput;                         /* requests a second that met both targets */
	double quartile_goodput[RUN_QUARTILES]; /* by length of prompt, the shortest first */
	double quartile_met[RUN_QUARTILES];     /* of the admitted, 0 … 1; negative: none was */
	uint32_t falsely_refused, judged; /* judged: the refused in the sample; 0: no sample */
	double jain;                      /* of goodput over clients, 1/n … 1 */
	double ttft_p50_ms, ttft_p95_ms;  /* of the admitted */
	uint64_t preempted;
	struct policy_shown shown;
	struct outcome *outcomes; /* by request; NULL: not wanted */
};

/*
 * out is zero, or its `outcomes` can hold every request. curve takes the limit over time, one line
 * a second; NULL for none. 0 or -ENOMEM.
 */
int run(const struct workload *w, const struct engine_shape *shape, const struct policy_rule *rule,
	struct run_result *out, FILE *curve);

/*
 * Counts falsely refused requests: admitted alone on top of the others, the request would have met
 * both targets, and no other would have missed one. Samples at most `most` refused requests by the
 * seed. For loads without retries and patience. 0 or -ENOMEM.
 */
int run_falsely_refused(const struct workload *w, const struct engine_shape *shape,
			const struct policy_rule *rule, struct run_result *result, uint32_t most,
			uint64_t seed);

/* Responses a second that meet both targets with n requests always in flight, in the trace's
 * order. */
double run_closed(const struct trace *t, const struct engine_shape *shape,
		  const struct adaptive_targets *targets, uint32_t n);
/* The maximum over n, and that n. Negative: out of memory. */
double run_capacity(const struct trace *t, const struct engine_shape *shape,
		    const struct adaptive_targets *targets, uint32_t *best_n);

/* Candidates for the best fixed limit; 0 ends the list. */
extern const uint32_t run_limits[];

#endif
