/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Both runs of a mix have the same requests at the same times, so their goodput differs only by
 * what the policy can see.
 */
#include "mix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZES    4000 /* of the trace that sizes are drawn from */
#define REQUESTS 2000
#define CLIENTS  20
#define SEEDS    5

const struct mix mixes[] = {
	{"all streamed", 0, 0, 0, 0},
	{"half not streamed", 0.5, 0, 0, 0},
	{"none streamed", 1, 0, 0, 0},
	{"one long one in twenty not streamed", 0.05, 0, 0, 1000},
	{"images in one of six", 0, 1.0 / 6, 0, 0},
	{"embeddings beside chat", 0, 0, 0.5, 0},
	{.name = NULL},
};

const struct mix_engine mix_engines[] = {
	{"32 slots", {32, 10000, 12, 0.4, 512, false, 65536}, {1000, 0, 50, 0, 0, 2}},
	{"4 slots", {4, 4000, 20, 2, 128, false, 16384}, {1500, 0, 70, 0, 0, 2}},
	{.name = NULL},
};

const double mix_loads[] = {0.3, 0.8, 2, 0};

static int make_trace(const struct mix *m, struct trace *t)
{
	int ret = trace_make(SIZES, t);

	if (ret)
		return ret;
	trace_images(t, m->images);
	trace_unary(t, m->unary);
	for (uint32_t i = 0; i < t->count; i++)
		if (m->long_tokens && t->requests[i].unary)
			t->requests[i].generate = m->long_tokens;
	trace_embeddings(t, m->embeddings);
	return 0;
}

static void all_streamed(struct sim_request *requests, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		requests[i].unary = requests[i].embedding = false;
}

static void add(struct mix_result *out, const struct run_result *r)
{
	const struct policy_shown *s = &r->shown;

	out->goodput += r->goodput;
	out->arrived += r->arrived;
	out->admitted += r->admitted;
	out->met += r->met;
	out->shown.changes += s->changes;
	out->shown.shut_while_replies += s->shut_while_replies;
	out->shown.above_ceiling += s->above_ceiling;
	if (s->in_flight > out->shown.in_flight)
		out->shown.in_flight = s->in_flight;
	if (s->ceiling > out->shown.ceiling)
		out->shown.ceiling = s->ceiling;
}

static int play_seed(const struct trace *t, const struct mix_engine *e, double rate, uint64_t seed,
		     struct mix_result *out)
{
	struct policy_rule rule = {.kind = POLICY_ADAPTIVE, .targets = e->targets};
	struct arrivals how = {.synthetic = SYNTHETIC_POISSON,
			       .count = REQUESTS,
			       .clients = CLIENTS,
			       .rate = rate,
			       .seed = seed};
	struct run_result r = {0};
	struct workload w;
	int ret = workload_make(t, &how, &w);

	if (ret)
		return ret;
	ret = run(&w, &e->shape, &rule, &r, NULL);
	if (!ret) {
		add(out, &r);
		all_streamed(w.requests, w.count);
		ret = run(&w, &e->shape, &rule, &r, NULL);
		out->streamed += r.goodput;
	}
	workload_free(&w);
	return ret;
}

double mix_capacity(const struct mix *m, const struct mix_engine *e)
{
	struct trace t;
	double capacity;
	uint32_t n;

	if (make_trace(m, &t))
		return -1;
	all_streamed(t.requests, t.count);
	capacity = run_capacity(&t, &e->shape, &e->targets, &n);
	trace_free(&t);
	return capacity;
}

int mix_play(const struct mix *m, const struct mix_engine *e, double rate, uint32_t seeds,
	     struct mix_result *out)
{
	struct trace t;
	int ret = make_trace(m, &t);

	*out = (struct mix_result){0};
	if (ret)
		return ret;
	for (uint64_t seed = 1; !ret && seed <= seeds; seed++)
		ret = play_seed(&t, e, rate, seed, out);
	out->goodput /= seeds;
	out->streamed /= seeds;
	trace_free(&t);
	return ret;
}

static void write_row(const char *engine, const struct mix *m, double load,
		      const struct mix_result *r)
{
	const struct policy_shown *s = &r->shown;

	printf("| %s, %g×, %s | %.2f | %.0f %% | %.2f %% | %.1f %% | %u | %u | %u | %u | %u |\n",
	       engine, load, m->name, r->goodput, 100 * r->goodput / r->streamed,
	       100.0 * (r->arrived - r->admitted) / r->arrived, 100.0 * r->met / r->admitted,
	       s->changes, s->shut_while_replies, s->in_flight, s->ceiling, s->above_ceiling);
}

/* 0 or -ENOMEM. */
static int write_mix(const struct mix_engine *e, const struct mix *m)
{
	double capacity = mix_capacity(m, e);

	for (const double *load = mix_loads; *load > 0; load++) {
		struct mix_result r;

		if (capacity < 0 || mix_play(m, e, *load * capacity, SEEDS, &r))
			return -ENOMEM;
		write_row(e->name, m, *load, &r);
	}
	return 0;
}

int mix_write(void)
{
	printf("| engine, load, mix | goodput/s | of all streamed | refused | met, of admitted | changes of state | shut while replies ended | most in flight | highest ceiling | admitted above the ceiling |\n"
	       "|---|---|---|---|---|---|---|---|---|---|\n");
	for (const struct mix_engine *e = mix_engines; e->name; e++) {
		for (const struct mix *m = mixes; m->name; m++) {
			if (write_mix(e, m)) {
				fputs("sluice-sim: out of memory\n", stderr);
				return 1;
			}
		}
	}
	return 0;
}
