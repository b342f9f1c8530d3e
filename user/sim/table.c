/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A cell is an engine under a load; cells are independent, so that as many processes as there are processors take one after
 * the other. The best fixed limit of a cell is the one with the best mean over its seeds: an operator who knew that very
 * load.
 */
#include "table.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/controller.h"
#include "run.h"

static const struct table_engine {
	const char *name;
	struct engine_shape shape;
	double ttft_ms, itl_ms;
	bool held_out; /* no parameter was chosen on it */
} engines[] = {
	{"S1", {6, 6000, 15, 1.5, 128, false, 24576}, 1000, 50, false},
	{"M1", {24, 16000, 12, 0.4, 256, false, 65536}, 1000, 50, false},
	{"M2", {32, 8000, 12, 0.5, 256, false, 65536}, 1000, 50, false},
	{"M3", {32, 10000, 12, 0.5, 8192, true, 65536}, 1000, 50, false},
	{"L1", {64, 30000, 8, 0.25, 512, false, 131072}, 1000, 50, false},
	{"X1", {8, 30000, 20, 0.6, 512, false, 32768}, 1000, 50, false},
	{"X2", {16, 40000, 14, 0.5, 2048, true, 49152}, 1000, 50, false},
	{"S2", {4, 3000, 25, 2, 64, false, 16384}, 2000, 80, true},
	{"M4", {32, 8000, 12, 0.5, 256, false, 65536}, 2000, 80, true},
	{"K1", {48, 20000, 12, 0.3, 512, false, 24576}, 1000, 50, true},
	{"L2", {128, 15000, 10, 0.2, 512, false, 200000}, 1000, 50, true},
};

enum sizes { SIZES_CODE, SIZES_CONV, SIZES_MIX, SIZES };

static const struct table_load {
	const char *name;
	enum sizes sizes;
	enum synthetic synthetic;
	double load;
	uint32_t clients;
} loads[] = {
	{"code 0.8×", SIZES_CODE, SYNTHETIC_NONE, 0.8, 20},
	{"code 1×", SIZES_CODE, SYNTHETIC_NONE, 1, 20},
	{"code 1.5×", SIZES_CODE, SYNTHETIC_NONE, 1.5, 20},
	{"code 2×", SIZES_CODE, SYNTHETIC_NONE, 2, 20},
	{"code 3×", SIZES_CODE, SYNTHETIC_NONE, 3, 20},
	{"conv 0.8×", SIZES_CONV, SYNTHETIC_NONE, 0.8, 20},
	{"conv 1×", SIZES_CONV, SYNTHETIC_NONE, 1, 20},
	{"conv 1.5×", SIZES_CONV, SYNTHETIC_NONE, 1.5, 20},
	{"conv 2×", SIZES_CONV, SYNTHETIC_NONE, 2, 20},
	{"conv 3×", SIZES_CONV, SYNTHETIC_NONE, 3, 20},
	{"Poisson 0.5×", SIZES_MIX, SYNTHETIC_POISSON, 0.5, 20},
	{"Poisson 0.8×", SIZES_MIX, SYNTHETIC_POISSON, 0.8, 20},
	{"step 0.5→3→0.5×", SIZES_MIX, SYNTHETIC_STEP, 3, 20},
	{"flood 1.5×", SIZES_MIX, SYNTHETIC_FLOOD, 1.5, 20},
	{"abuser 1×", SIZES_MIX, SYNTHETIC_ABUSER, 1, 21},
	{"abuser 2×", SIZES_MIX, SYNTHETIC_ABUSER, 2, 21},
	{"abuser 1.4×", SIZES_MIX, SYNTHETIC_ABUSER, 1.4, 21},
};

#define ENGINES    (sizeof(engines) / sizeof(engines[0]))
#define LOADS      (sizeof(loads) / sizeof(loads[0]))
#define CELLS      (ENGINES * LOADS)
#define SEED_FIRST 11 /* parameters were chosen on 1 to 3 */
#define REQUESTS   4000
#define MIX_COUNT  4000
#define FALSELY    100
#define CLEAN_S    3
#define PROCESSES  8

struct job {
	const struct trace *traces; /* by sizes */
	struct table_cell *cells;
	uint64_t seed_first;
	bool adaptive_only;
};

static struct policy_rule rule_of(const struct table_engine *e, enum policy_kind kind,
				  uint32_t limit)
{
	return (struct policy_rule){
		.kind = kind,
		.limit = limit,
		.tau_s = CONTROLLER_TAU_S,
		.targets = {.ttft_ms = e->ttft_ms, .itl_ms = e->itl_ms, .floor = 2},
	};
}

static void note(struct table_policy *p, int seed, const struct run_result *r)
{
	p->goodput[seed] = r->goodput;
	p->mean += r->goodput / TABLE_SEEDS;
	p->refused[seed] = r->arrived ? (double)r->refused / r->arrived : 0;
	for (int q = 0; q < RUN_QUARTILES; q++)
		p->quartile[q] += r->quartile_goodput[q] / TABLE_SEEDS;
}

static int run_seeds(const struct table_engine *e, const struct workload *w,
		     const struct policy_rule *rule, struct table_policy *out)
{
	*out = (struct table_policy){0};
	for (int seed = 0; seed < TABLE_SEEDS; seed++) {
		struct run_result r = {0};
		int ret = run(&w[seed], &e->shape, rule, &r, NULL);

		if (ret)
			return ret;
		note(out, seed, &r);
	}
	return 0;
}

static int run_fixed(const struct table_engine *e, const struct workload *w, struct table_cell *c)
{
	for (const uint32_t *n = run_limits; *n; n++) {
		struct policy_rule rule = rule_of(e, POLICY_FIXED, *n);
		struct table_policy p;
		int ret = run_seeds(e, w, &rule, &p);

		if (ret)
			return ret;
		if (p.mean > c->fixed.mean || n == run_limits) {
			c->fixed = p;
			c->best_limit = *n;
		}
	}
	return 0;
}

/* Seconds from the step down until three seconds begin in which nobody was refused or missed a target. */
static double recovery(const struct workload *w, const struct outcome *outcomes)
{
	double clean_from = 2 * SYNTHETIC_PHASE_S;

	for (uint32_t i = 0; i < w->count; i++) {
		double at = (double)w->requests[i].at_ns / 1e9;

		if (at < 2 * SYNTHETIC_PHASE_S)
			continue;
		if (at >= clean_from + CLEAN_S)
			break;
		if (!outcomes[i].met)
			clean_from = at;
	}
	return clean_from - 2 * SYNTHETIC_PHASE_S;
}

/* Goodput of all clients but the last, in w as it is and without the last. */
static int run_without_last(const struct table_engine *e, const struct workload *w,
			    const struct policy_rule *rule, const struct outcome *outcomes,
			    double *beside, double *alone)
{
	struct workload rest = *w;
	struct run_result r = {0};
	uint32_t met = 0;
	int ret;

	rest.requests = calloc(w->count + 1, sizeof(*rest.requests));
	if (!rest.requests)
		return -ENOMEM;
	rest.count = 0;
	for (uint32_t i = 0; i < w->count; i++) {
		if (w->requests[i].client == w->clients - 1)
			continue;
		met += outcomes[i].met;
		rest.requests[rest.count++] = w->requests[i];
	}
	ret = run(&rest, &e->shape, rule, &r, NULL);
	*beside = met / w->span_s;
	*alone = r.goodput;
	free(rest.requests);
	return ret;
}

static int run_adaptive(const struct table_engine *e, const struct table_load *l,
			const struct workload *w, struct table_cell *c)
{
	struct policy_rule rule = rule_of(e, POLICY_ADAPTIVE, 0);
	struct outcome *outcomes = calloc(REQUESTS * 4, sizeof(*outcomes));
	int ret = outcomes ? 0 : -ENOMEM;

	c->adaptive = (struct table_policy){0};
	for (int seed = 0; seed < TABLE_SEEDS && !ret; seed++) {
		struct run_result r = {.outcomes = outcomes};

		ret = run(&w[seed], &e->shape, &rule, &r, NULL);
		if (ret)
			break;
		note(&c->adaptive, seed, &r);
		if (l->synthetic == SYNTHETIC_STEP)
			c->recovery_s[seed] = recovery(&w[seed], outcomes);
		if (l->synthetic == SYNTHETIC_ABUSER)
			ret = run_without_last(e, &w[seed], &rule, outcomes, &c->beside[seed],
					       &c->alone[seed]);
		if (!seed && !ret) {
			ret = run_falsely_refused(&w[seed], &e->shape, &rule, &r, FALSELY, 1);
			if (r.judged)
				c->falsely = (double)r.falsely_refused / r.judged * r.refused /
					     r.arrived;
		}
	}
	free(outcomes);
	return ret;
}

static int run_cell(const struct job *job, size_t index)
{
	struct table_cell *c = &job->cells[index];
	const struct table_engine *e = &engines[index / LOADS];
	const struct table_load *l = &loads[index % LOADS];
	const struct trace *t = &job->traces[l->sizes];
	struct policy_rule none = rule_of(e, POLICY_NONE, 0), ema = rule_of(e, POLICY_EMA_FLAG, 0);
	struct arrivals how = {
		.synthetic = l->synthetic,
		.count = REQUESTS * (l->synthetic == SYNTHETIC_STEP ? 4 : 1),
		.clients = l->clients,
	};
	struct workload w[TABLE_SEEDS] = {0};
	int ret = 0;

	c->engine = (int)(index / LOADS);
	c->load = (int)(index % LOADS);
	if (!job->adaptive_only) {
		c->capacity = run_capacity(t, &e->shape, &none.targets, &c->capacity_n);
		if (!(c->capacity > 0))
			return -ERANGE;
	}
	how.rate = l->load * c->capacity;
	for (int seed = 0; seed < TABLE_SEEDS && !ret; seed++) {
		how.seed = job->seed_first + (uint64_t)seed;
		ret = workload_make(t, &how, &w[seed]);
	}
	if (!ret && !job->adaptive_only)
		ret = run_fixed(e, w, c);
	if (!ret && !job->adaptive_only)
		ret = run_seeds(e, w, &none, &c->none);
	if (!ret && !job->adaptive_only)
		ret = run_seeds(e, w, &ema, &c->ema);
	if (!ret)
		ret = run_adaptive(e, l, w, c);
	for (int seed = 0; seed < TABLE_SEEDS; seed++)
		workload_free(&w[seed]);
	return ret;
}

/* Takes cells until there are none; *next is shared between the processes. */
static void work(const struct job *job, uint32_t *next)
{
	for (;;) {
		size_t index = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);

		if (index >= CELLS)
			return;
		job->cells[index].failed = run_cell(job, index);
	}
}

/* 0 or -errno. */
__attribute__((unused)) static int run_cells(const struct job *job, uint32_t *next)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	int status;

	for (long i = 0; i < processors && i < PROCESSES; i++) {
		pid_t pid = fork();

		if (pid < 0)
			break;
		if (!pid) {
			work(job, next);
			_exit(0);
		}
	}
	while (wait(&status) >= 0 || errno == EINTR)
		;
	work(job, next); /* what nobody could be started for */
	for (size_t i = 0; i < CELLS; i++)
		if (job->cells[i].failed)
			return job->cells[i].failed;
	return 0;
}
