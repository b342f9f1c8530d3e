/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sluice-sim: simulates a policy under a load, in simulated time and without root. The engine is a
 * model (sim/engine.h); the policy is the code that sluiced and the kernel run. Use it to choose
 * targets before enforcing them. --calibrate finds the model of a real server.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "calibrate/calibrate.h"
#include "core/controller.h"
#include "core/help.h"
#include "core/parse.h"
#include "sim/fleet_show.h"
#include "sim/mix.h"
#include "sim/record.h"
#include "sim/run.h"
#include "sim/table.h"
#include "sim/values.h"
#include "sim/workload.h"

enum {
	EXIT_FAILED = 1,
	EXIT_WRONG = 2,
};

#define FALSELY_TRIED 400 /* most refused requests that are tried again */
#define POLICIES_MAX  4
#define FIXED_BEST    0 /* a limit that the simulation finds */

struct named_policy {
	char name[32];
	struct policy_rule rule;
	bool find_limit;
	struct run_result result;
};

struct sim {
	const char *trace, *trace_model, *table, *calibrate, *model;
	const char *quota, *pattern;
	double hosts, period_ms, round_trip_ms, away_secs, whole;
	double synthetic, speed, load, requests, clients, models, seed;
	double retries, patience_s;
	double ttft_ms, ttft_ms_per_kib, itl_ms, tau_s, floor;
	double prefix_hits, blobs, unary, slots, prefill, step_ms, step_ms_per_seq, chunk,
		kv_tokens;
	bool prefill_first, json, csv, mixes, fleet_table;
	struct named_policy policies[POLICIES_MAX];
	unsigned policy_count;
};

/* One option: a number by parse_value(), a text, or a switch. */
struct option {
	const char *name, *argument, *help;
	const struct parse_value *as;
	double *number;
	const char **text;
	bool *on;
	bool plain; /* no unit */
};

static struct sim sim = {
	.speed = 0,
	.clients = 20,
	.models = 1,
	.seed = 1,
	.ttft_ms = CONTROLLER_TTFT_MS,
	.itl_ms = 50,
	.tau_s = CONTROLLER_TAU_S,
	.floor = 2,
	.slots = 32,
	.prefill = 10000,
	.step_ms = 12,
	.step_ms_per_seq = 0.4,
	.chunk = 512,
	.kv_tokens = 65536,
	.quota = FLEET_QUOTA_TEXT,
	.period_ms = 100,
	.round_trip_ms = 1,
	.away_secs = 5,
};

/* A default is the number that `sim` begins with. */
static const struct option options[] = {
	{"--trace", "FILE",
	 "requests, one a line: TIMESTAMP,ContextTokens,GeneratedTokens (the Azure LLM traces), or what sluicectl record wrote",
	 .text = &sim.trace},
	{"--trace-model", "NAME", "of a record, only the requests for this model",
	 .text = &sim.trace_model},
	{"--synthetic", "NAME",
	 "made-up arrivals: poisson; step (a sixth of the load, the load, a sixth, 300 s each); flood (long prompts in the middle third); abuser (the last client sends 50 times the requests of each other one)",
	 .as = &as_synthetic, .number = &sim.synthetic},
	{"--load", "X",
	 "load in multiples of the engine's capacity; 1 unless --speed is given or FILE is a record",
	 .as = &as_factor, .number = &sim.load, .plain = true},
	{"--speed", "X", "play the trace X times as fast as it was recorded; 1 for a record",
	 .as = &as_factor, .number = &sim.speed, .plain = true},
	{"--requests", "N", "number of requests, at most; 4000, or the whole record",
	 .as = &as_count, .number = &sim.requests},
	{"--clients", "N", "number of clients that send them", .as = &as_count,
	 .number = &sim.clients},
	{"--models", "N",
	 "models on the one engine, in one pool; the first gets N times the requests of the last",
	 .as = &as_models, .number = &sim.models},
	{"--retries", "N", "a refused request is sent again after its Retry-After, up to N times",
	 .as = &as_retries, .number = &sim.retries},
	{"--patience", "S", "a client hangs up after S seconds without a first token",
	 .as = &as_patience, .number = &sim.patience_s},
	{"--seed", "N", "seed of the random numbers, and of the part of the trace that is played",
	 .as = &as_seed, .number = &sim.seed},
	{"--policy", "NAME",
	 "none, fixed=N, fixed=best, ema-flag or adaptive (repeatable); without it: compare none, fixed=best, ema-flag and adaptive",
	 .as = NULL},
	{"--ttft-threshold-ms", "N", "target for time to first token, or none",
	 .as = &parse_as_threshold, .number = &sim.ttft_ms},
	{"--ttft-ms-per-kib", "X", "added to that target for each KiB of the request",
	 .as = &as_some, .number = &sim.ttft_ms_per_kib},
	{"--itl-threshold-ms", "N", "target for a response's mean gap between tokens, or none",
	 .as = &parse_as_threshold, .number = &sim.itl_ms},
	{"--time-constant-secs", "N", "ema-flag: how fast averages forget",
	 .as = &parse_as_time_constant, .number = &sim.tau_s},
	{"--floor", "N", "adaptive: fewer in flight than N are always admitted", .as = &as_count,
	 .number = &sim.floor},
	{"--slots", "N", "requests that the engine runs at once", .as = &as_slots,
	 .number = &sim.slots},
	{"--prefill-tokens-per-s", "N", "prompt tokens that the engine reads a second",
	 .as = &as_rate, .number = &sim.prefill, .plain = true},
	{"--step-ms", "X", "time of a step with an empty batch", .as = &as_step,
	 .number = &sim.step_ms},
	{"--step-ms-per-seq", "X", "added to a step for each request that decodes", .as = &as_some,
	 .number = &sim.step_ms_per_seq},
	{"--chunk", "N", "prompt tokens of one step, at most", .as = &as_tokens,
	 .number = &sim.chunk},
	{"--prefill-first", NULL, "read prompts whole, while decoding stands still",
	 .on = &sim.prefill_first},
	{"--kv-tokens", "N", "tokens that the KV cache holds", .as = &as_tokens,
	 .number = &sim.kv_tokens},
	{"--prefix-hits", "X",
	 "share of requests with four fifths of their prompt in the prefix cache", .as = &as_share,
	 .number = &sim.prefix_hits, .plain = true},
	{"--blobs", "X", "share of requests with an image of 1,500 prompt tokens", .as = &as_share,
	 .number = &sim.blobs, .plain = true},
	{"--unary", "X", "share of responses that are not streamed", .as = &as_share,
	 .number = &sim.unary, .plain = true},
	{"--calibrate", "ADDR:PORT",
	 "only measure a server that is otherwise idle, for three minutes at most, and print the options that describe it; with --model",
	 .text = &sim.calibrate},
	{"--model", "NAME", "model that --calibrate requests", .text = &sim.model},
	{"--fleet", "N", "only simulate N hosts that share a quota by a store, and no engine",
	 .as = &as_hosts, .number = &sim.hosts},
	{"--fleet-pattern", "NAME",
	 "clients and faults: spread, heavy, one-host, hopping, light, burst, away, away-sticky, away-empty, failover, flush or deaths; without it: all of them",
	 .text = &sim.pattern},
	{"--quota", "WORDS",
	 "quota of requests of each client; without it: requests=100/60s burst=20",
	 .text = &sim.quota},
	{"--fleet-period-ms", "N", "time between the calls of a host", .as = &as_period,
	 .number = &sim.period_ms},
	{"--fleet-away-secs", "N", "how long the store is away", .as = &as_away,
	 .number = &sim.away_secs},
	{"--fleet-fallback", "NAME",
	 "what a host gives out while the store is away: share or whole", .as = &as_fallback,
	 .number = &sim.whole},
	{"--round-trip-ms", "X", "time from a host to the store and back", .as = &as_some,
	 .number = &sim.round_trip_ms},
	{"--json", NULL, "print JSON", .on = &sim.json},
	{"--csv", NULL, "print the limit over time of the one --policy, a line a second",
	 .on = &sim.csv},
	{"--table", "DIR",
	 "only write the tables of the documentation, from the two Azure traces of 2023 in DIR",
	 .text = &sim.table},
	{"--mixes", NULL, "only write the table of mixes of work", .on = &sim.mixes},
	{"--fleet-table", NULL, "only write the table of fleets of 2 to 500 hosts",
	 .on = &sim.fleet_table},
};

#define OPTIONS (sizeof(options) / sizeof(options[0]))

__attribute__((format(printf, 1, 2))) static int complain(const char *fmt, ...)
{
	va_list args;

	fputs("sluice-sim: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return EXIT_WRONG;
}

static void help(void)
{
	fputs("Usage: sluice-sim [--trace FILE | --synthetic NAME] [OPTION]...\n"
	      "       sluice-sim --calibrate ADDR:PORT --model NAME [--json]\n"
	      "       sluice-sim --fleet N [OPTION]...\n"
	      "Simulates an inference engine under load with each admission policy.\n\n",
	      stdout);
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option *o = &options[i];
		char fallback[32];

		snprintf(fallback, sizeof(fallback), "%.10g", o->number ? *o->number : 0);
		help_option(stdout, o->name, o->argument, o->help,
			    o->number && *o->number > 0 ? fallback : NULL);
	}
	help_option(stdout, "--help", NULL, "print this and exit", NULL);
	help_option(stdout, "--version", NULL, "print the version and exit", NULL);
	fputs("\nsluice-sim(1) says what the columns mean.\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage or a file that cannot be read.\n",
	      stdout);
}

static int read_policy(const char *text)
{
	struct named_policy p = {0};
	char why[256];
	double limit;

	if (sim.policy_count == POLICIES_MAX)
		return complain("--policy: at most %d", POLICIES_MAX);
	snprintf(p.name, sizeof(p.name), "%s", text);
	if (!strcmp(text, "none")) {
		p.rule.kind = POLICY_NONE;
	} else if (!strcmp(text, "ema-flag")) {
		p.rule.kind = POLICY_EMA_FLAG;
	} else if (!strcmp(text, "adaptive")) {
		p.rule.kind = POLICY_ADAPTIVE;
	} else if (!strcmp(text, "fixed=best")) {
		p.rule.kind = POLICY_FIXED;
		p.find_limit = true;
	} else if (!strncmp(text, "fixed=", 6)) {
		if (parse_value(&as_count, text + 6, &limit, why, sizeof(why)))
			return complain("--policy fixed: %s", why);
		p.rule.kind = POLICY_FIXED;
		p.rule.limit = (uint32_t)limit;
	} else {
		return complain("--policy: \"" PARSE_QUOTE
				"\" is not none, fixed=N, fixed=best, ema-flag or adaptive",
				PARSE_QUOTED(text));
	}
	sim.policies[sim.policy_count++] = p;
	return 0;
}

/* 0 or EXIT_WRONG. */
static int read_option(const struct option *o, const char *value)
{
	char why[256];
	size_t len;

	if (o->on) {
		*o->on = true;
		return 0;
	}
	if (o->text) {
		*o->text = value;
		return 0;
	}
	if (!o->as)
		return read_policy(value);
	len = strlen(value);
	if (o->plain && len && (value[len - 1] < '0' || value[len - 1] > '9'))
		return complain("%s: \"" PARSE_QUOTE "\" is not %s", o->name, PARSE_QUOTED(value),
				o->as->allowed);
	if (parse_value(o->as, value, o->number, why, sizeof(why)))
		return complain("%s: %s", o->name, why);
	return 0;
}

static int read_arguments(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const struct option *o = NULL;
		const char *value = NULL;
		size_t len = strcspn(argv[i], "=");
		int ret;

		for (size_t k = 0; k < OPTIONS; k++)
			if (!strncmp(argv[i], options[k].name, len) && !options[k].name[len])
				o = &options[k];
		if (!o)
			return complain("no option \"" PARSE_QUOTE "\"; --help lists them",
					PARSE_QUOTED(argv[i]));
		if (o->argument) {
			value = argv[i][len] ? argv[i] + len + 1 : i + 1 < argc ? argv[++i] : NULL;
			if (!value)
				return complain("%s needs a value", o->name);
		} else if (argv[i][len]) {
			return complain("%s takes no value", o->name);
		}
		ret = read_option(o, value);
		if (ret)
			return ret;
	}
	if (!sim.calibrate != !sim.model)
		return complain("--calibrate and --model go together: give both");
	if (sim.calibrate && (sim.trace || sim.synthetic > 0))
		return complain("--calibrate measures and plays no load: give it without one");
	if (sim.hosts > 0 && (sim.trace || sim.synthetic > 0))
		return complain("--fleet has loads of its own: give it without one");
	if (sim.table || sim.mixes || sim.fleet_table || sim.calibrate || sim.hosts > 0)
		return 0;
	if (sim.trace_model && !sim.trace)
		return complain("--trace-model is of a record: give --trace FILE");
	if (!sim.trace && !(sim.synthetic > 0))
		return complain("there is no load: give --trace FILE or --synthetic NAME");
	if (sim.load > 0 && sim.speed > 0)
		return complain("--load and --speed say the same thing: give one of them");
	if (sim.speed > 0 && sim.synthetic > 0)
		return complain(
			"--speed is of a trace's times, which --synthetic does not take: give --load");
	if (!(sim.ttft_ms > 0) && !(sim.itl_ms > 0))
		return complain(
			"without any target everything meets it: give --ttft-threshold-ms or --itl-threshold-ms");
	if (sim.csv && sim.json)
		return complain("--csv and --json: give one of them");
	if (sim.csv && sim.policy_count != 1)
		return complain("--csv is of one run: give one --policy");
	if (!sim.policy_count) {
		read_policy("none");
		read_policy("fixed=best");
		read_policy("ema-flag");
		read_policy("adaptive");
	}
	return 0;
}

static struct engine_shape shape_of(void)
{
	return (struct engine_shape){
		.slots = (uint32_t)sim.slots,
		.prefill_tokens_per_s = sim.prefill,
		.step_ms = sim.step_ms,
		.step_ms_per_seq = sim.step_ms_per_seq,
		.chunk = (uint32_t)sim.chunk,
		.prefill_first = sim.prefill_first,
		.kv_tokens = (uint64_t)sim.kv_tokens,
	};
}

static int find_limit(const struct workload *w, const struct engine_shape *shape,
		      struct named_policy *p)
{
	double best = -1;
	uint32_t limit = 1;

	for (const uint32_t *n = run_limits; *n; n++) {
		struct run_result r = {0};
		int ret;

		p->rule.limit = *n;
		ret = run(w, shape, &p->rule, &r, NULL);
		if (ret)
			return ret;
		if (r.goodput > best) {
			best = r.goodput;
			limit = *n;
		}
	}
	p->rule.limit = limit;
	snprintf(p->name, sizeof(p->name), "fixed=%u", limit);
	return 0;
}

/* Whether a refused request can be tried again alone: not if clients retry or give up. */
static bool falsely_sampled(const struct workload *w)
{
	return !w->retries && !(w->patience_s > 0);
}

static int simulate(const struct workload *w, const struct engine_shape *shape,
		    struct named_policy *p, FILE *curve)
{
	int ret = p->find_limit ? find_limit(w, shape, p) : 0;

	if (ret)
		return ret;
	p->result.outcomes = calloc(w->count + 1, sizeof(*p->result.outcomes));
	if (!p->result.outcomes)
		return -1;
	ret = run(w, shape, &p->rule, &p->result, curve);
	if (!ret && falsely_sampled(w))
		ret = run_falsely_refused(w, shape, &p->rule, &p->result, FALSELY_TRIED,
					  (uint64_t)sim.seed);
	free(p->result.outcomes);
	p->result.outcomes = NULL;
	return ret;
}

static double falsely_refused(const struct run_result *r)
{
	return r->judged ? (double)r->falsely_refused / r->judged * r->refused : 0;
}

static double part(double of, double whole)
{
	return whole > 0 ? of / whole : 0;
}

static void percent(double value)
{
	if (value < 0)
		printf("     -");
	else
		printf("  %3.0f%%", 100 * value);
}

/* Prints retries and abandoned requests, and the goodput of each model. */
static void show_clients(const struct workload *w)
{
	printf("\nPOLICY        TRIES A REQUEST  GAVE UP   GOODPUT/S BY MODEL\n");
	for (unsigned i = 0; i < sim.policy_count; i++) {
		const struct run_result *r = &sim.policies[i].result;

		printf("%-13s %15.2f  %6.1f%%  ", sim.policies[i].name,
		       1 + part(r->retries, r->arrived), 100 * part(r->gave_up, r->arrived));
		for (uint32_t m = 0; m < w->models; m++)
			printf(" %.2f", r->model_goodput[m]);
		putchar('\n');
	}
}

static void show(const struct workload *w, double capacity, uint32_t best_n,
		 const struct measured *measured)
{
	double rate = w->span_s > 0 ? w->count / w->span_s : 0;

	printf("engine    %.0f slots, %.0f prompt tokens/s %s %.0f, steps of %g + %g ms a request, KV of %.0f tokens\n",
	       sim.slots, sim.prefill, sim.prefill_first ? "first, up to" : "in chunks of",
	       sim.chunk, sim.step_ms, sim.step_ms_per_seq, sim.kv_tokens);
	printf("targets   %g ms to the first token", sim.ttft_ms);
	if (sim.ttft_ms_per_kib > 0)
		printf(" + %g ms/KiB", sim.ttft_ms_per_kib);
	printf(", %g ms between tokens (0: none)\n", sim.itl_ms);
	printf("capacity  %.2f requests/s meet them, at best (with %u always in flight)\n",
	       capacity, best_n);
	printf("load      %u requests in %.0f s: %.2f/s, %.2f times the capacity\n", w->count,
	       w->span_s, rate, part(rate, capacity));
	if (measured)
		record_show(stdout, measured);
	putchar('\n');
	printf("POLICY        GOODPUT/S  OF CAP.  REFUSED  FALSELY   MET, OF ADMITTED   …BY PROMPT, SHORT TO LONG   TTFT p50     p95 ms   JAIN\n");
	for (unsigned i = 0; i < sim.policy_count; i++) {
		const struct named_policy *p = &sim.policies[i];
		const struct run_result *r = &p->result;

		printf("%-13s %9.2f  %6.0f%%  %6.1f%%  ", p->name, r->goodput,
		       100 * part(r->goodput, capacity), 100 * part(r->refused, r->arrived));
		if (falsely_sampled(w))
			printf("%6.1f%%", 100 * part(falsely_refused(r), r->arrived));
		else
			printf("      -");
		printf("  %17.1f%%   ", 100 * part(r->met, r->admitted));
		for (int q = 0; q < RUN_QUARTILES; q++)
			percent(r->quartile_met[q]);
		printf("   %8.0f %10.0f   %.3f\n", r->ttft_p50_ms, r->ttft_p95_ms, r->jain);
	}
	if (w->models > 1 || !falsely_sampled(w))
		show_clients(w);
}

static json_t *quartiles(const double *value)
{
	json_t *list = json_array();

	for (int q = 0; q < RUN_QUARTILES; q++)
		json_array_append_new(list, value[q] < 0 ? json_null() : json_real(value[q]));
	return list;
}

static json_t *by_model(const struct workload *w, const struct run_result *r)
{
	json_t *list = json_array();

	for (uint32_t m = 0; m < w->models; m++)
		json_array_append_new(list, json_real(r->model_goodput[m]));
	return list;
}

static json_t *result_json(const struct workload *w, const struct named_policy *p, double capacity)
{
	const struct run_result *r = &p->result;

	return json_pack(
		"{s:s, s:o, s:f, s:f, s:i, s:i, s:i, s:o, s:i, s:f, s:i, s:o, s:o, s:f, s:f, s:f, s:I, s:i, s:i, s:o}",
		"policy", p->name, "limit",
		p->rule.kind == POLICY_FIXED ? json_integer(p->rule.limit) : json_null(), "goodput",
		r->goodput, "of_capacity", part(r->goodput, capacity), "arrived", (int)r->arrived,
		"admitted", (int)r->admitted, "refused", (int)r->refused, "falsely_refused",
		falsely_sampled(w) ? json_real(falsely_refused(r)) : json_null(),
		"refused_tried_again", (int)r->judged, "attainment", part(r->met, r->admitted),
		"met", (int)r->met, "attainment_by_prompt_quartile", quartiles(r->quartile_met),
		"goodput_by_prompt_quartile", quartiles(r->quartile_goodput), "ttft_p50_ms",
		r->ttft_p50_ms, "ttft_p95_ms", r->ttft_p95_ms, "jain", r->jain, "preempted",
		(json_int_t)r->preempted, "retries", (int)r->retries, "gave_up", (int)r->gave_up,
		"goodput_by_model", by_model(w, r));
}

static json_t *record_json(const struct measured *m)
{
	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "admitted", (int)m->admitted,
			 "refused", (int)m->refused, "shadow_refused", (int)m->shadow, "left_out",
			 (int)m->left_out, "ttft_samples", (int)m->timed, "met", (int)m->met,
			 "ttft_p50_ms", m->timed ? json_real(m->ttft_p50_ms) : json_null(),
			 "ttft_p95_ms", m->timed ? json_real(m->ttft_p95_ms) : json_null());
}

static int show_json(const struct workload *w, double capacity, uint32_t best_n,
		     const struct measured *measured)
{
	json_t *policies = json_array(), *whole;

	for (unsigned i = 0; i < sim.policy_count; i++)
		json_array_append_new(policies, result_json(w, &sim.policies[i], capacity));
	whole = json_pack("{s:f, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:I, s:o, s:i, s:i, s:o}",
			  "capacity", capacity, "capacity_in_flight", (int)best_n, "requests",
			  (int)w->count, "trace_from", (int)w->first, "seconds", w->span_s, "load",
			  part(part(w->count, w->span_s), capacity), "ttft_threshold_ms",
			  sim.ttft_ms, "ttft_ms_per_kib", sim.ttft_ms_per_kib, "itl_threshold_ms",
			  sim.itl_ms, "seed", (json_int_t)sim.seed, "policies", policies, "models",
			  (int)w->models, "retries", (int)w->retries, "patience_s",
			  w->patience_s > 0 ? json_real(w->patience_s) : json_null());
	if (!whole)
		return -1;
	json_object_set_new(whole, "recorded", measured ? record_json(measured) : json_null());
	json_dumpf(whole, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
	putchar('\n');
	json_decref(whole);
	return 0;
}

/* Exit status. */
static int calibrate_server(void)
{
	char why[1024];
	int ret = calibrate_run(sim.calibrate, sim.model, sim.json, why, sizeof(why));

	if (!ret && !fflush(stdout))
		return 0;
	complain("%s", ret ? why : "writing failed");
	return ret == -EINVAL ? EXIT_WRONG : EXIT_FAILED;
}

/* Exit status. */
static int simulate_fleet(void)
{
	struct fleet_options fleet = {
		.hosts = (uint32_t)sim.hosts,
		.period_ns = (uint64_t)(sim.period_ms * 1e6),
		.round_trip_ns = (uint64_t)(sim.round_trip_ms * 1e6),
		.seed = (uint64_t)sim.seed,
		.away_ns = (uint64_t)(sim.away_secs * 1e9),
		.whole = sim.whole > 0,
	};
	char why[512];
	int ret = fleet_options_read(&fleet, sim.quota, sim.pattern, why, sizeof(why));

	if (!ret)
		ret = fleet_show(&fleet, sim.json, why, sizeof(why));
	if (fflush(stdout))
		return complain("writing: %m"), EXIT_FAILED;
	if (ret)
		complain("%s", why);
	return ret == -EINVAL ? EXIT_WRONG : ret ? EXIT_FAILED : 0;
}

/* Exit status. */
static int run_all(const struct trace *t, FILE *curve)
{
	struct adaptive_targets targets = {.ttft_ms = sim.ttft_ms,
					   .ttft_ms_per_kib = sim.ttft_ms_per_kib,
					   .itl_ms = sim.itl_ms,
					   .floor = (uint32_t)sim.floor};
	struct engine_shape shape = shape_of();
	struct arrivals how = {
		.synthetic = (enum synthetic)sim.synthetic,
		.count = (uint32_t)sim.requests,
		.clients = (uint32_t)sim.clients,
		.models = (uint32_t)sim.models,
		.speed = sim.speed,
		.seed = (uint64_t)sim.seed,
	};
	uint32_t best_n;
	double capacity = run_capacity(t, &shape, &targets, &best_n);
	struct measured measured;
	const struct measured *recorded = NULL;
	struct workload w;
	int ret = 0;

	if (capacity < 0)
		goto no_memory;
	if (!(capacity > 0) && !(sim.speed > 0))
		return complain(
			       "no request meets these targets on this engine, even alone: its capacity is 0"),
		       EXIT_FAILED;
	if (!(sim.speed > 0))
		how.rate = sim.load * capacity;
	if (workload_make(t, &how, &w))
		goto no_memory;
	if (t->clients && !how.synthetic) {
		if (record_measured(t, &w, &targets, &measured))
			goto no_memory;
		recorded = &measured;
	}
	w.retries = (uint32_t)sim.retries;
	w.patience_s = sim.patience_s;
	for (unsigned i = 0; i < sim.policy_count && !ret; i++) {
		sim.policies[i].rule.targets = targets;
		sim.policies[i].rule.tau_s = sim.tau_s;
		ret = simulate(&w, &shape, &sim.policies[i], curve);
	}
	if (!ret && !curve) {
		if (sim.json)
			ret = show_json(&w, capacity, best_n, recorded);
		else
			show(&w, capacity, best_n, recorded);
	}
	workload_free(&w);
	if (!ret)
		return 0;
no_memory:
	complain("out of memory");
	return EXIT_FAILED;
}

int main(int argc, char **argv)
{
	struct trace t;
	char why[512];
	int ret;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			help();
			return 0;
		}
		if (!strcmp(argv[i], "--version")) {
			puts("sluice-sim " SLUICE_VERSION);
			return 0;
		}
	}
	ret = read_arguments(argc, argv);
	if (ret)
		return ret;
	if (sim.table)
		return table_write(sim.table);
	if (sim.mixes)
		return mix_write();
	if (sim.fleet_table)
		return fleet_table_write();
	if (sim.calibrate)
		return calibrate_server();
	if (sim.hosts > 0)
		return simulate_fleet();
	if (sim.trace) {
		if (trace_read(sim.trace, sim.trace_model, &t, why, sizeof(why)))
			return complain("%s", why);
	} else if (trace_make(4000, &t)) {
		complain("out of memory");
		return EXIT_FAILED;
	}
	if (!sim.load && !(sim.speed > 0)) {
		if (t.clients && !(sim.synthetic > 0))
			sim.speed = 1;
		else
			sim.load = 1;
	}
	if (!sim.requests)
		sim.requests = t.clients && !(sim.synthetic > 0) ? t.count : 4000;
	trace_cache(&t, sim.prefix_hits);
	trace_images(&t, sim.blobs);
	trace_unary(&t, sim.unary);
	ret = run_all(&t, sim.csv ? stdout : NULL);
	trace_free(&t);
	if (fflush(stdout)) {
		complain("writing: %m");
		ret = EXIT_FAILED;
	}
	return ret;
}
