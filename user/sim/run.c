/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Time runs from event to event: arrivals, retries, hang-ups. Between two events the engine takes
 * its steps and the daemon its ticks. Goodput is over the time in which requests arrive. That time
 * is the same for every policy, except for retries after the last arrival.
 */
#include "run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

const uint32_t run_limits[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,  12,
			       13, 14, 15, 16, 18, 20, 22, 24, 26,  28,  32,  36,
			       40, 44, 48, 56, 64, 72, 80, 96, 112, 128, 144, 0};

/* What a client does at a time, unless it has its first token by then. */
struct event {
	uint64_t at_ns;
	uint32_t id;
	bool hang_up; /* else it tries again */
};

struct flow {
	const struct workload *work;
	struct policy policy;
	struct engine engine;
	struct outcome *outcomes;
	struct event *events; /* a heap, the earliest first; at most one for each request */
	uint32_t event_count;
	uint32_t retries, gave_up;
	uint64_t retried_ns; /* the last retry; 0: none */
};

static bool before(const struct event *a, const struct event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->id < b->id;
}

static void event_add(struct flow *f, struct event new)
{
	uint32_t at = f->event_count++;

	for (; at && before(&new, &f->events[(at - 1) / 2]); at = (at - 1) / 2)
		f->events[at] = f->events[(at - 1) / 2];
	f->events[at] = new;
}

static struct event event_take(struct flow *f)
{
	struct event first = f->events[0], last = f->events[--f->event_count];
	uint32_t at = 0, next;

	for (; (next = 2 * at + 1) < f->event_count; at = next) {
		if (next + 1 < f->event_count && before(&f->events[next + 1], &f->events[next]))
			next++;
		if (!before(&f->events[next], &last))
			break;
		f->events[at] = f->events[next];
	}
	f->events[at] = last;
	return first;
}

static void on_first_token(void *context, uint32_t id, uint64_t now_ns)
{
	struct flow *f = context;

	f->outcomes[id].first_ns = now_ns;
	policy_first_token(&f->policy, id, now_ns);
}

static void on_end(void *context, uint32_t id, uint64_t now_ns)
{
	struct flow *f = context;

	f->outcomes[id].ended_ns = now_ns;
	policy_ended(&f->policy, id, now_ns);
}

static bool submit(struct engine *e, uint32_t id, const struct sim_request *r, uint64_t now_ns)
{
	return engine_submit(e, id, r->prompt - r->cached, r->generate, now_ns);
}

/* A response that is not streamed may use the time of both targets as it likes. */
static bool meets(const struct adaptive_targets *t, const struct sim_request *r, uint64_t since_ns,
		  uint64_t first_ns, uint64_t ended_ns)
{
	if (!first_ns || !ended_ns)
		return false;
	if (r->unary)
		return !(t->ttft_ms > 0) || !(t->itl_ms > 0) ||
		       (double)(ended_ns - since_ns) / 1e6 <=
			       policy_ttft_ms(t, r->bytes) +
				       (r->embedding ? 0 : r->generate) * t->itl_ms;
	if (t->ttft_ms > 0 && (double)(first_ns - since_ns) / 1e6 > policy_ttft_ms(t, r->bytes))
		return false;
	return !(t->itl_ms > 0) || r->generate < 2 ||
	       (double)(ended_ns - first_ns) / 1e6 / (r->generate - 1) <= t->itl_ms;
}

static void curve_line(FILE *curve, const struct flow *f, uint64_t now_ns, uint32_t arrived)
{
	const struct policy *p = &f->policy;
	uint64_t refused = arrived - p->view.admitted;
	bool adaptive = p->rule.kind == POLICY_ADAPTIVE;

	fprintf(curve, "%.1f,", (double)now_ns / 1e9);
	if (adaptive)
		fprintf(curve, "%u", p->written.ceiling);
	else if (p->rule.kind == POLICY_FIXED)
		fprintf(curve, "%u", p->rule.limit);
	fprintf(curve, ",%d,%lld,%lld,%.1f,%u,%llu,%llu,%u,%u\n",
		!p->shut && !(adaptive && p->written.stopped), (long long)p->load.in_flight,
		(long long)p->load.waiting, adaptive ? (double)p->written.queue_budget / 1024 : 0,
		arrived, (unsigned long long)p->view.admitted, (unsigned long long)refused,
		f->retries, f->gave_up);
}

static void come(struct flow *f, uint32_t id, uint64_t now_ns)
{
	const struct workload *w = f->work;
	struct outcome *o = &f->outcomes[id];

	if (!policy_judge(&f->policy, id, now_ns)) {
		if (o->retries < w->retries)
			event_add(f, (struct event){now_ns + policy_retry_s(&f->policy, now_ns) *
								     1000000000ULL,
						    id, false});
		return;
	}
	o->admitted = true;
	o->came_ns = now_ns;
	if (!submit(&f->engine, id, &w->requests[id], now_ns))
		policy_ended(&f->policy, id, now_ns);
	else if (w->patience_s > 0)
		event_add(f, (struct event){now_ns + (uint64_t)(w->patience_s * 1e9), id, true});
}

static void come_again(struct flow *f, uint32_t id, uint64_t now_ns)
{
	f->retried_ns = now_ns;
	f->outcomes[id].retries++;
	f->retries++;
	come(f, id, now_ns);
}

static void hang_up(struct flow *f, uint32_t id, uint64_t now_ns)
{
	if (f->outcomes[id].first_ns)
		return;
	engine_cancel(&f->engine, id, now_ns);
	policy_ended(&f->policy, id, now_ns);
	f->outcomes[id].gave_up = true;
	f->gave_up++;
}

static void flow(struct flow *f, FILE *curve)
{
	const struct workload *w = f->work;
	bool ticks = policy_ticks(&f->policy) || curve;
	uint64_t tick = 0, ticked = 0;

	if (curve)
		fputs("seconds,limit,open,in_flight,waiting,queue_budget_kib,arrived,admitted,refused,retries,gave_up\n",
		      curve);
	for (uint32_t i = 0; i < w->count || f->event_count;) {
		bool event_first = f->event_count &&
				   (i == w->count || f->events[0].at_ns < w->requests[i].at_ns);
		uint64_t now_ns = event_first ? f->events[0].at_ns : w->requests[i].at_ns;

		for (; ticks && tick <= now_ns; tick += POLICY_TICK_NS, ticked++) {
			uint64_t gaps, sum;

			engine_run(&f->engine, tick);
			sum = engine_gaps(&f->engine, &gaps);
			policy_gaps(&f->policy, sum, gaps, tick);
			policy_tick(&f->policy, tick);
			if (curve && ticked % 10 == 0)
				curve_line(curve, f, tick, i);
		}
		engine_run(&f->engine, now_ns);
		if (event_first) {
			struct event d = event_take(f);

			(d.hang_up ? hang_up : come_again)(f, d.id, now_ns);
		} else {
			come(f, i++, now_ns);
		}
	}
	engine_run(&f->engine, UINT64_MAX);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The quartiles of the prompts' lengths. */
static int quartiles(const struct workload *w, double bound[RUN_QUARTILES - 1])
{
	double *prompts = calloc(w->count + 1, sizeof(*prompts));

	if (!prompts)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->count; i++)
		prompts[i] = w->requests[i].prompt;
	qsort(prompts, w->count, sizeof(*prompts), by_value);
	for (int q = 0; q < RUN_QUARTILES - 1; q++)
		bound[q] = prompts[(uint64_t)w->count * (q + 1) / RUN_QUARTILES];
	free(prompts);
	return 0;
}

/* Jain's index of goodput over the clients that sent anything. */
static int fairness(const struct workload *w, struct run_result *out,
		    const struct outcome *outcomes)
{
	double *met = calloc(2 * (w->clients + 1), sizeof(*met)), *sent;
	double sum = 0, squares = 0;
	uint32_t n = 0;

	if (!met)
		return -ENOMEM;
	sent = met + w->clients + 1;
	for (uint32_t i = 0; i < w->count; i++) {
		met[w->requests[i].client] += outcomes[i].met;
		sent[w->requests[i].client]++;
	}
	for (uint32_t c = 0; c < w->clients; c++) {
		if (!(sent[c] > 0))
			continue;
		n++;
		sum += met[c];
		squares += met[c] * met[c];
	}
	out->jain = squares > 0 ? sum * sum / (n * squares) : 1;
	free(met);
	return 0;
}

static int waits(const struct workload *w, struct run_result *out, const struct outcome *outcomes)
{
	double *ms = calloc(w->count + 1, sizeof(*ms));
	uint32_t n = 0;

	if (!ms)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->count; i++)
		if (outcomes[i].first_ns)
			ms[n++] = (double)(outcomes[i].first_ns - outcomes[i].came_ns) / 1e6;
	qsort(ms, n, sizeof(*ms), by_value);
	if (n) {
		out->ttft_p50_ms = ms[n / 2];
		out->ttft_p95_ms = ms[n * 95ULL / 100];
	}
	free(ms);
	return 0;
}

/* time_s: the time in which requests arrived. */
static int sum_up(const struct workload *w, const struct adaptive_targets *t, double time_s,
		  struct outcome *outcomes, struct run_result *out)
{
	uint32_t admitted[RUN_QUARTILES] = {0}, met[RUN_QUARTILES] = {0};
	double bound[RUN_QUARTILES - 1];
	int ret = quartiles(w, bound);

	if (ret)
		return ret;
	out->arrived = w->count;
	for (uint32_t i = 0; i < w->count; i++) {
		const struct sim_request *r = &w->requests[i];
		struct outcome *o = &outcomes[i];
		int q = 0;

		while (q < RUN_QUARTILES - 1 && r->prompt > bound[q])
			q++;
		o->met = o->admitted && meets(t, r, o->came_ns, o->first_ns, o->ended_ns);
		out->retries += o->retries;
		out->gave_up += o->gave_up;
		out->model_goodput[r->model] += time_s > 0 && o->met;
		admitted[q] += o->admitted;
		met[q] += o->met;
	}
	for (int m = 0; m < RUN_MODELS_MAX; m++)
		out->model_goodput[m] /= time_s > 0 ? time_s : 1;
	for (int q = 0; q < RUN_QUARTILES; q++) {
		out->admitted += admitted[q];
		out->met += met[q];
		out->quartile_goodput[q] = time_s > 0 ? met[q] / time_s : 0;
		out->quartile_met[q] = admitted[q] ? (double)met[q] / admitted[q] : -1;
	}
	out->refused = out->arrived - out->admitted;
	out->goodput = time_s > 0 ? out->met / time_s : 0;
	ret = fairness(w, out, outcomes);
	return ret ? ret : waits(w, out, outcomes);
}

int run(const struct workload *w, const struct engine_shape *shape, const struct policy_rule *rule,
	struct run_result *out, FILE *curve)
{
	struct flow f = {.work = w, .outcomes = out->outcomes};
	struct engine_events events = {on_first_token, on_end, &f};
	int ret;

	if (!f.outcomes)
		f.outcomes = calloc(w->count + 1, sizeof(*f.outcomes));
	else
		memset(f.outcomes, 0, w->count * sizeof(*f.outcomes));
	f.events = calloc(w->count + 1, sizeof(*f.events));
	ret = f.outcomes && f.events ? policy_init(&f.policy, rule, w) : -ENOMEM;
	if (ret)
		goto out_outcomes;
	ret = engine_init(&f.engine, shape, &events, w->count);
	if (ret)
		goto out_policy;
	flow(&f, curve);
	*out = (struct run_result){.outcomes = out->outcomes,
				   .preempted = f.engine.preempted,
				   .shown = f.policy.shown};
	ret = sum_up(w, &rule->targets, fmax(w->span_s, (double)f.retried_ns / 1e9), f.outcomes,
		     out);
	engine_free(&f.engine);
out_policy:
	policy_free(&f.policy);
out_outcomes:
	free(f.events);
	if (f.outcomes != out->outcomes)
		free(f.outcomes);
	return ret;
}

/* An event that nothing depends on. */
static void on_nothing(void *context, uint32_t id, uint64_t now_ns)
{
}

/* One refused request, admitted on top of the others. */
struct trial {
	const struct workload *w;
	const struct adaptive_targets *targets;
	const struct outcome *outcomes;
	uint64_t *first_ns;
	uint32_t id;
	bool done, missed, harmed;
};

static void trial_first_token(void *context, uint32_t id, uint64_t now_ns)
{
	struct trial *t = context;
	const struct sim_request *r = &t->w->requests[id];
	bool late = t->targets->ttft_ms > 0 && !r->unary &&
		    (double)(now_ns - r->at_ns) / 1e6 > policy_ttft_ms(t->targets, r->bytes);

	t->first_ns[id] = now_ns;
	if (id == t->id)
		t->missed |= late;
	else
		t->harmed |= late && t->outcomes[id].met;
}

static void trial_end(void *context, uint32_t id, uint64_t now_ns)
{
	struct trial *t = context;
	const struct sim_request *r = &t->w->requests[id];
	bool met = meets(t->targets, r, r->at_ns, t->first_ns[id], now_ns);

	if (id == t->id) {
		t->done = true;
		t->missed |= !met;
	} else {
		t->harmed |= !met && t->outcomes[id].met;
	}
}

/* Whether it would have met its targets and made no other miss. `engine` is at its arrival.
 * Negative: -ENOMEM. */
static int try_again(const struct workload *w, const struct adaptive_targets *targets,
		     const struct outcome *outcomes, const struct engine *engine,
		     uint64_t *first_ns, uint32_t id)
{
	struct trial t = {w, targets, outcomes, first_ns, id, false, false, false};
	struct engine_events events = {trial_first_token, trial_end, &t};
	const struct sim_request *r = &w->requests[id];
	struct engine e;

	if (engine_clone(&e, engine, &events))
		return -ENOMEM;
	/* Earlier first tokens are as they were. */
	for (uint32_t i = 0; i < id; i++)
		first_ns[i] = outcomes[i].first_ns && outcomes[i].first_ns <= r->at_ns
				      ? outcomes[i].first_ns
				      : 0;
	if (!submit(&e, id, r, r->at_ns))
		t.missed = true;
	for (uint32_t i = id + 1; i <= w->count && !t.missed && !t.harmed; i++) {
		if (i == w->count) {
			engine_run(&e, UINT64_MAX);
			break;
		}
		if (!outcomes[i].admitted)
			continue;
		engine_run(&e, w->requests[i].at_ns);
		if (t.done && engine_idle(&e)) /* from here on nothing changes */
			break;
		submit(&e, i, &w->requests[i], w->requests[i].at_ns);
	}
	engine_free(&e);
	return !t.missed && !t.harmed;
}

int run_falsely_refused(const struct workload *w, const struct engine_shape *shape,
			const struct policy_rule *rule, struct run_result *result, uint32_t most,
			uint64_t seed)
{
	struct engine_events events = {on_nothing, on_nothing, NULL};
	uint64_t *first_ns = calloc(w->count + 1, sizeof(*first_ns));
	uint32_t left = result->refused, wanted = most < left ? most : left;
	struct chance c = {seed};
	struct engine e;
	int ret = -ENOMEM;

	if (!first_ns)
		return ret;
	if (engine_init(&e, shape, &events, w->count))
		goto out;
	ret = 0;
	result->judged = result->falsely_refused = 0;
	for (uint32_t i = 0; i < w->count; i++) {
		const struct sim_request *r = &w->requests[i];

		engine_run(&e, r->at_ns);
		if (result->outcomes[i].admitted) {
			submit(&e, i, r, r->at_ns);
			continue;
		}
		if (chance_below(&c, left--) >= wanted)
			continue;
		wanted--;
		ret = try_again(w, &rule->targets, result->outcomes, &e, first_ns, i);
		if (ret < 0)
			break;
		result->judged++;
		result->falsely_refused += (uint32_t)ret;
		ret = 0;
	}
	engine_free(&e);
out:
	free(first_ns);
	return ret;
}

/* A closed loop: each request that ends admits the next. */
struct closed {
	const struct trace *t;
	const struct adaptive_targets *targets;
	struct engine engine;
	uint64_t *came_ns, *first_ns;
	uint32_t next, met;
	uint64_t full_ns; /* until then n were in flight */
};

static void closed_next(struct closed *c, uint64_t now_ns)
{
	while (c->next < c->t->count) {
		uint32_t id = c->next++;

		c->came_ns[id] = now_ns;
		if (submit(&c->engine, id, &c->t->requests[id], now_ns))
			return;
	}
	if (!c->full_ns)
		c->full_ns = now_ns;
}

static void closed_first_token(void *context, uint32_t id, uint64_t now_ns)
{
	struct closed *c = context;

	c->first_ns[id] = now_ns;
}

static void closed_end(void *context, uint32_t id, uint64_t now_ns)
{
	struct closed *c = context;
	struct sim_request r = c->t->requests[id];

	r.bytes = r.prompt * 4 + 300;
	if (!c->full_ns || now_ns == c->full_ns)
		c->met += meets(c->targets, &r, c->came_ns[id], c->first_ns[id], now_ns);
	closed_next(c, now_ns);
}

double run_closed(const struct trace *t, const struct engine_shape *shape,
		  const struct adaptive_targets *targets, uint32_t n)
{
	struct closed c = {.t = t, .targets = targets};
	struct engine_events events = {closed_first_token, closed_end, &c};
	double rate = -1;

	if (n > t->count)
		n = t->count;
	c.came_ns = calloc(2 * ((uint64_t)t->count + 1), sizeof(*c.came_ns));
	if (!c.came_ns)
		return -1;
	c.first_ns = c.came_ns + t->count;
	if (!engine_init(&c.engine, shape, &events, t->count)) {
		for (uint32_t i = 0; i < n; i++)
			closed_next(&c, 0);
		engine_run(&c.engine, UINT64_MAX);
		rate = c.full_ns ? c.met / ((double)c.full_ns / 1e9) : 0;
		engine_free(&c.engine);
	}
	free(c.came_ns);
	return rate;
}

double run_capacity(const struct trace *t, const struct engine_shape *shape,
		    const struct adaptive_targets *targets, uint32_t *best_n)
{
	double best = 0;

	*best_n = 1;
	for (const uint32_t *n = run_limits; *n; n++) {
		double rate = run_closed(t, shape, targets, *n);

		if (rate < 0)
			return rate;
		if (rate > best) {
			best = rate;
			*best_n = *n;
		}
	}
	return best;
}
