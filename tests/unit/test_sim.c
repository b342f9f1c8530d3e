/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The simulator's engine, workload and policies. Every request that goes in ends once, in order,
 * within slots and memory, at the times that the engine's shape gives. The engine skips over steps
 * that are alike; another one that takes every step must give the same.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sim/random.h"
#include "sim/run.h"

#define MS       1000000ULL
#define REQUESTS 400

struct seen {
	uint64_t first_ns[REQUESTS], ended_ns[REQUESTS];
	uint32_t first_order[REQUESTS], firsts, ends;
};

static void saw_first(void *context, uint32_t id, uint64_t now_ns)
{
	struct seen *s = context;

	assert_int_equal(s->first_ns[id], 0);
	s->first_ns[id] = now_ns;
	s->first_order[s->firsts++] = id;
}

static void saw_end(void *context, uint32_t id, uint64_t now_ns)
{
	struct seen *s = context;

	assert_int_equal(s->ended_ns[id], 0);
	assert_true(s->first_ns[id]);
	s->ended_ns[id] = now_ns;
	s->ends++;
}

struct job {
	uint64_t at_ns;
	uint32_t prompt, generate;
};

static void make_jobs(struct job *jobs, uint32_t count, double gap_ms, uint64_t seed)
{
	struct chance c = {seed};
	uint64_t at = 0;

	for (uint32_t i = 0; i < count; i++) {
		at += (uint64_t)(chance_exponential(&c, gap_ms) * 1e6);
		jobs[i] = (struct job){at, 1 + chance_below(&c, 900), 1 + chance_below(&c, 60)};
	}
}

static void check_within(const struct engine *e)
{
	assert_true(e->kv_used <= e->shape.kv_tokens);
	assert_true(e->decoding_count + e->finishing_count + (e->partial != ENGINE_NONE) <=
		    e->shape.slots);
}

/* Runs the jobs. stride_ns > 0: in steps of at most that, with the bounds checked after each. */
static void run_jobs(const struct engine_shape *shape, const struct job *jobs, uint32_t count,
		     uint64_t stride_ns, struct seen *seen, struct engine *e)
{
	struct engine_events events = {saw_first, saw_end, seen};
	uint64_t at = 0;

	memset(seen, 0, sizeof(*seen));
	assert_int_equal(engine_init(e, shape, &events, count), 0);
	for (uint32_t i = 0; i < count; i++) {
		for (; stride_ns && at < jobs[i].at_ns; at += stride_ns) {
			engine_run(e, at);
			check_within(e);
		}
		engine_run(e, jobs[i].at_ns);
		assert_true(engine_submit(e, i, jobs[i].prompt, jobs[i].generate, jobs[i].at_ns));
	}
	while (stride_ns && !engine_idle(e)) {
		at += stride_ns;
		engine_run(e, at);
		check_within(e);
	}
	engine_run(e, UINT64_MAX);
}

static const struct engine_shape shapes[] = {
	{32, 10000, 12, 0.5, 256, false, 1 << 20},
	{4, 3000, 25, 2, 64, false, 1 << 20},
	{16, 40000, 14, 0.5, 2048, true, 1 << 20},
	{64, 30000, 8, 0, 512, false, 1 << 20},
	{1, 5000, 10, 1, 100, false, 1 << 20},
	{24, 10000, 12, 0.5, 256, false, 4000}, /* the memory is soon full */
	{24, 10000, 12, 0.5, 256, true, 3000},
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void a_lone_request_waits_for_its_prompt_and_decodes_alone(void **state)
{
	static const struct {
		struct engine_shape shape;
		uint32_t prompt;
		uint64_t first_us;
	} rows[] = {
		{{32, 10000, 12, 0.5, 256, false, 65536}, 256, 12000 + 25600},
		{{32, 10000, 12, 0.5, 256, false, 65536}, 1000, 4 * 12000 + 100000},
		{{32, 10000, 12, 0.5, 256, false, 65536}, 257, 2 * 12000 + 25700},
		{{32, 10000, 12, 0.5, 256, true, 65536}, 1000, 12000 + 100000},
		{{4, 3000, 25, 2, 64, false, 65536}, 3072, 48 * 25000 + 1024000},
		{{4, 3000, 25, 2, 64, false, 65536}, 1, 25000 + 333},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct job job = {5 * MS, rows[i].prompt, 11};
		struct seen seen;
		struct engine e;

		run_jobs(&rows[i].shape, &job, 1, 0, &seen, &e);
		assert_in_range((seen.first_ns[0] - job.at_ns + 100) / 1000, rows[i].first_us,
				rows[i].first_us);
		assert_int_equal(seen.first_ns[0] - job.at_ns,
				 engine_prefill_ns(&rows[i].shape, rows[i].prompt));
		assert_int_equal(
			seen.ended_ns[0] - seen.first_ns[0],
			(uint64_t)(10 * (rows[i].shape.step_ms + rows[i].shape.step_ms_per_seq) *
				   1e6));
		engine_free(&e);
	}
}

static void every_request_ends_once_within_slots_and_memory(void **state)
{
	static struct job jobs[REQUESTS];
	static struct seen seen;
	struct engine e;

	for (size_t i = 0; i < SHAPES; i++) {
		for (uint64_t seed = 1; seed <= 3; seed++) {
			uint64_t decoding = 0, tokens = 0, gaps, sum;

			make_jobs(jobs, REQUESTS, 60, seed);
			run_jobs(&shapes[i], jobs, REQUESTS, 7 * MS, &seen, &e);
			assert_int_equal(seen.ends, REQUESTS);
			assert_true(engine_idle(&e));
			assert_int_equal(e.kv_used, 0);
			assert_int_equal(e.sum_last_ns, 0);
			for (uint32_t k = 0; k < REQUESTS; k++) {
				assert_true(seen.first_ns[k] - jobs[k].at_ns >=
					    engine_prefill_ns(&shapes[i], jobs[k].prompt));
				decoding += seen.ended_ns[k] - seen.first_ns[k];
				tokens += jobs[k].generate - 1;
			}
			sum = engine_gaps(&e, &gaps);
			assert_int_equal(gaps, tokens);
			assert_int_equal(sum, decoding);
			if (shapes[i].kv_tokens < 5000)
				assert_true(e.preempted > 0);
			else
				assert_int_equal(e.preempted, 0);
			engine_free(&e);
		}
	}
}

static void first_tokens_come_in_the_order_of_arrival(void **state)
{
	static struct job jobs[REQUESTS];
	static struct seen seen;
	struct engine e;

	for (size_t i = 0; i < SHAPES; i++) {
		make_jobs(jobs, REQUESTS, 40, i);
		run_jobs(&shapes[i], jobs, REQUESTS, 0, &seen, &e);
		for (uint32_t k = 0; k < REQUESTS; k++)
			assert_int_equal(seen.first_order[k], k);
		engine_free(&e);
	}
}

static void the_times_of_looks_change_nothing(void **state)
{
	static struct job jobs[REQUESTS];
	static struct seen at_once, in_strides;
	struct engine e;

	for (size_t i = 0; i < SHAPES; i++) {
		make_jobs(jobs, REQUESTS, 80, i);
		run_jobs(&shapes[i], jobs, REQUESTS, 0, &at_once, &e);
		engine_free(&e);
		run_jobs(&shapes[i], jobs, REQUESTS, 3 * MS + 1, &in_strides, &e);
		engine_free(&e);
		assert_memory_equal(&at_once, &in_strides, sizeof(at_once));
	}
}

/* Every step, every request, every token; of an engine with memory that is never full. */
static void run_plainly(const struct engine_shape *s, const struct job *jobs, uint32_t count,
			struct seen *seen)
{
	uint32_t left[REQUESTS], tokens[REQUESTS] = {0}, running = 0, arrived = 0;
	uint32_t begun = 0, ended = 0; /* begun: has had prompt tokens taken */
	uint64_t now = 0;

	memset(seen, 0, sizeof(*seen));
	while (ended < count) {
		double taken = 0, decoding = 0;
		bool decodes[REQUESTS] = {false}, done[REQUESTS] = {false};

		while (arrived < count && jobs[arrived].at_ns <= now) {
			left[arrived] = jobs[arrived].prompt;
			arrived++;
		}
		if (!running && begun == arrived) {
			now = jobs[arrived].at_ns;
			continue;
		}
		for (uint32_t i = 0; i < begun; i++)
			decodes[i] = !left[i] && tokens[i] < jobs[i].generate;
		for (uint32_t i = 0; i < arrived; i++) {
			double take = left[i];

			if (!left[i])
				continue;
			if (i >= begun && running >= s->slots)
				break;
			if (s->prefill_first && taken > 0 && taken + take > s->chunk)
				break;
			if (!s->prefill_first && take > s->chunk - taken)
				take = s->chunk - taken;
			if (!(take > 0))
				break;
			if (i >= begun) {
				begun = i + 1;
				running++;
			}
			left[i] -= (uint32_t)take;
			taken += take;
			done[i] = !left[i];
		}
		for (uint32_t i = 0; i < begun; i++)
			decoding += decodes[i];
		if (s->prefill_first && taken > 0)
			decoding = 0;
		now += (uint64_t)llround((s->step_ms + s->step_ms_per_seq * decoding) * 1e6 +
					 taken * 1e9 / s->prefill_tokens_per_s);
		for (uint32_t i = 0; i < begun; i++) {
			if (done[i])
				seen->first_ns[i] = now;
			else if (!(decodes[i] && decoding > 0))
				continue;
			if (++tokens[i] < jobs[i].generate)
				continue;
			seen->ended_ns[i] = now;
			ended++;
			running--;
		}
	}
}

static void skipping_steps_changes_nothing(void **state)
{
	static struct job jobs[REQUESTS];
	static struct seen fast, plain;
	struct engine e;

	for (size_t i = 0; i < SHAPES; i++) {
		if (shapes[i].kv_tokens < 5000)
			continue;
		for (uint64_t seed = 1; seed <= 4; seed++) {
			make_jobs(jobs, REQUESTS, 30 * (double)(seed * seed), seed);
			run_jobs(&shapes[i], jobs, REQUESTS, 0, &fast, &e);
			engine_free(&e);
			run_plainly(&shapes[i], jobs, REQUESTS, &plain);
			assert_memory_equal(fast.first_ns, plain.first_ns, sizeof(plain.first_ns));
			assert_memory_equal(fast.ended_ns, plain.ended_ns, sizeof(plain.ended_ns));
		}
	}
}

static void saw_token(void *context, uint32_t id, uint64_t now_ns)
{
}

/* Each client hangs up if it has no first token within patience_ns. */
static void run_impatiently(const struct engine_shape *shape, const struct job *jobs,
			    uint64_t patience_ns, bool each_step, struct seen *seen)
{
	struct engine_events events = {saw_first, saw_end, seen};
	uint32_t comes = 0, goes = 0;
	struct engine e;

	memset(seen, 0, sizeof(*seen));
	assert_int_equal(engine_init(&e, shape, &events, REQUESTS), 0);
	if (each_step)
		engine_report_tokens(&e, saw_token);
	while (goes < REQUESTS) {
		uint64_t gone_ns = jobs[goes].at_ns + patience_ns;

		if (comes < REQUESTS && jobs[comes].at_ns <= gone_ns) {
			engine_run(&e, jobs[comes].at_ns);
			assert_true(engine_submit(&e, comes, jobs[comes].prompt,
						  jobs[comes].generate, jobs[comes].at_ns));
			comes++;
			continue;
		}
		engine_run(&e, gone_ns);
		if (!seen->first_ns[goes])
			engine_cancel(&e, goes, gone_ns);
		goes++;
		check_within(&e);
	}
	engine_run(&e, UINT64_MAX);
	assert_true(engine_idle(&e));
	assert_int_equal(e.kv_used, 0);
	assert_int_equal(seen->firsts, seen->ends);
	engine_free(&e);
}

static void skipping_steps_changes_nothing_when_clients_hang_up(void **state)
{
	static struct job jobs[REQUESTS];
	static struct seen skipping, each_step;

	for (size_t i = 0; i < SHAPES; i++) {
		uint32_t gone = 0;

		for (uint64_t seed = 1; seed <= 4; seed++) {
			make_jobs(jobs, REQUESTS, 25, seed);
			run_impatiently(&shapes[i], jobs, 300 * seed * MS, false, &skipping);
			run_impatiently(&shapes[i], jobs, 300 * seed * MS, true, &each_step);
			assert_memory_equal(&skipping, &each_step, sizeof(skipping));
			gone += REQUESTS - skipping.ends;
		}
		assert_true(gone > 20 || i == 3); /* which is never late */
	}
}

static void the_engine_refuses_a_request_that_can_never_fit(void **state)
{
	struct engine_shape shape = {4, 1000, 10, 1, 256, false, 100};
	struct seen seen = {0};
	struct engine_events events = {saw_first, saw_end, &seen};
	struct engine e;

	assert_int_equal(engine_init(&e, &shape, &events, 3), 0);
	assert_false(engine_submit(&e, 0, 100, 2, 0));
	assert_true(engine_submit(&e, 1, 100, 1, 0));
	assert_true(engine_submit(&e, 2, 50, 51, 0));
	engine_run(&e, UINT64_MAX);
	assert_int_equal(seen.ends, 2);
	engine_free(&e);
}

/* The trace in a text; 0 or the error of trace_read(). */
static int read_text(const char *text, struct trace *t, char *err, size_t len)
{
	char path[] = "/tmp/sluice-trace-XXXXXX";
	int fd = mkstemp(path), ret;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	ret = trace_read(path, NULL, t, err, len);
	unlink(path);
	return ret;
}

static void a_wrong_trace_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"", "line 1: the file ends"},
		{"TIMESTAMP,ContextTokens,GeneratedTokens\n", "line 2: the file ends"},
		{"2023-11-16 18:15:46.68,1,2\n", "line 2: the file ends"},
		{"2023-11-16 18:15:46,1,2\nnonsense\n", "line 2 is not TIMESTAMP"},
		{"2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47,1\n", "line 2 is not TIMESTAMP"},
		{"2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47,1,2,3\n", "line 2 is not TIMESTAMP"},
		{"2023-11-16 18:15:46,1,2\n2023-11-16 18:15:45,1,2\n", "line 2 is earlier"},
		{"2023-11-16 18:15:46,1,2\n2023-13-16 18:15:47,1,2\n", "line 2 has no time"},
		{"2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47.,1,2\n", "line 2 has no time"},
		{"2023-11-16 18:15:46,1,2\n18:15:47,1,2\n", "line 2 has no time"},
		{"2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47,-1,2\n", "line 2 has a number"},
		{"2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47,1,99999999999999999999\n",
		 "line 2 has a number"},
		{"2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47,1e3,2\n", "line 2 has a number"},
		{"2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47,,\n", "line 2 has a number"},
	};
	char err[512], longest[2048];
	struct trace t;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(read_text(rows[i].text, &t, err, sizeof(err)), -EINVAL);
		assert_non_null(strstr(err, rows[i].says));
		assert_null(strchr(err, '\n'));
	}
	memset(longest, '7', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(read_text(longest, &t, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "line 1 is too long"));
	assert_int_equal(trace_read("/nonexistent/trace.csv", NULL, &t, err, sizeof(err)), -ENOENT);
}

static void a_trace_is_read_as_it_is_written(void **state)
{
	char err[512] = "";
	struct trace t;

	assert_int_equal(
		read_text(
			"TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-30 23:59:59.5,10,20\r\n"
			"2023-12-01T00:00:01.25+00:00,30,0",
			&t, err, sizeof(err)),
		0);
	assert_int_equal(t.count, 2);
	assert_int_equal(t.requests[0].prompt, 10);
	assert_int_equal(t.requests[0].generate, 20);
	assert_int_equal(t.requests[1].at_ns, 1750 * MS);
	assert_int_equal(t.requests[1].prompt, 30);
	trace_free(&t);
}

static void a_load_has_the_requested_rate(void **state)
{
	struct arrivals how = {.count = 3000, .clients = 21, .rate = 5, .seed = 7};
	struct workload w;
	struct trace t;
	uint32_t heavy = 0, middle = 0;

	assert_int_equal(trace_make(4000, &t), 0);
	assert_int_equal(workload_make(&t, &how, &w), 0);
	assert_int_equal(w.count, 3000);
	assert_true(w.span_s > 599.9 && w.span_s < 600.1);
	workload_free(&w);
	how.synthetic = SYNTHETIC_ABUSER;
	assert_int_equal(workload_make(&t, &how, &w), 0);
	assert_true(w.count / w.span_s > 4.7 && w.count / w.span_s < 5.3);
	for (uint32_t i = 0; i < w.count; i++)
		heavy += w.requests[i].client == 20;
	assert_true(heavy > w.count * 0.68 && heavy < w.count * 0.75);
	workload_free(&w);
	how.synthetic = SYNTHETIC_STEP;
	assert_int_equal(workload_make(&t, &how, &w), 0);
	assert_true(w.span_s > 899.9 && w.span_s < 900.1);
	for (uint32_t i = 0; i < w.count; i++)
		middle += w.requests[i].at_ns >= 300000 * MS && w.requests[i].at_ns < 600000 * MS;
	assert_true(middle > 1380 && middle < 1620 && w.count - middle > 420 &&
		    w.count - middle < 580);
	workload_free(&w);
	trace_free(&t);
}

static const struct policy_rule adaptive_rule = {
	.kind = POLICY_ADAPTIVE,
	.targets = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2},
};

static void a_run_is_the_same_for_the_same_seed(void **state)
{
	struct arrivals how = {
		.synthetic = SYNTHETIC_POISSON, .count = 1500, .clients = 20, .rate = 6, .seed = 3};
	struct outcome outcomes[2][1500];
	struct workload w[3];
	struct trace t;

	assert_int_equal(trace_make(4000, &t), 0);
	for (int i = 0; i < 3; i++) {
		how.seed += i == 2;
		assert_int_equal(workload_make(&t, &how, &w[i]), 0);
	}
	assert_memory_equal(w[0].requests, w[1].requests, w[0].count * sizeof(*w[0].requests));
	assert_memory_not_equal(w[0].requests, w[2].requests, w[0].count * sizeof(*w[0].requests));
	for (int i = 0; i < 2; i++) {
		struct run_result r = {.outcomes = outcomes[i]};

		assert_int_equal(run(&w[i], &shapes[0], &adaptive_rule, &r, NULL), 0);
		assert_int_equal(r.arrived, r.admitted + r.refused);
		assert_true(r.refused > 0 && r.met > 0 && r.met <= r.admitted);
	}
	assert_memory_equal(outcomes[0], outcomes[1], w[0].count * sizeof(outcomes[0][0]));
	for (int i = 0; i < 3; i++)
		workload_free(&w[i]);
	trace_free(&t);
}

static void a_fixed_limit_is_never_exceeded(void **state)
{
	struct arrivals how = {
		.synthetic = SYNTHETIC_POISSON, .count = 1500, .clients = 1, .rate = 20, .seed = 3};
	struct policy_rule rule = {
		.kind = POLICY_FIXED, .limit = 7, .targets = adaptive_rule.targets};
	struct outcome outcomes[1500];
	struct run_result r = {.outcomes = outcomes};
	struct workload w;
	struct trace t;

	assert_int_equal(trace_make(4000, &t), 0);
	assert_int_equal(workload_make(&t, &how, &w), 0);
	assert_int_equal(run(&w, &shapes[0], &rule, &r, NULL), 0);
	for (uint32_t i = 0; i < w.count; i++) {
		uint32_t in_flight_at_admission = 0;

		for (uint32_t k = 0; k < i; k++)
			in_flight_at_admission +=
				outcomes[k].admitted && outcomes[k].ended_ns > w.requests[i].at_ns;
		assert_int_equal(outcomes[i].admitted, in_flight_at_admission < 7);
	}
	workload_free(&w);
	trace_free(&t);
}

/* A load of the mix on shapes[0], with its outcomes. */
struct crowd {
	struct workload work;
	struct outcome outcomes[1500];
	struct run_result result;
};

static void crowd_comes(struct crowd *c, double rate, uint32_t models)
{
	struct arrivals how = {.synthetic = SYNTHETIC_POISSON,
			       .count = 1500,
			       .clients = 20,
			       .models = models,
			       .rate = rate,
			       .seed = 3};
	struct trace t;

	assert_int_equal(trace_make(4000, &t), 0);
	assert_int_equal(workload_make(&t, &how, &c->work), 0);
	trace_free(&t);
	memset(&c->result, 0, sizeof(c->result));
	c->result.outcomes = c->outcomes;
}

static void crowd_runs(struct crowd *c, const struct policy_rule *rule)
{
	assert_int_equal(run(&c->work, &shapes[0], rule, &c->result, NULL), 0);
}

static void a_refused_request_is_retried_after_its_retry_after(void **state)
{
	static const struct policy_rule rules[] = {
		{.kind = POLICY_FIXED,
		 .limit = 7,
		 .targets = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2}},
		{.kind = POLICY_EMA_FLAG,
		 .tau_s = 15,
		 .targets = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2}},
		{.kind = POLICY_ADAPTIVE, .targets = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2}},
	};
	static struct crowd c;

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		uint32_t retries = 0, refused = 0, later = 0;

		crowd_comes(&c, 8, 1);
		c.work.retries = 3;
		crowd_runs(&c, &rules[i]);
		for (uint32_t k = 0; k < c.work.count; k++) {
			const struct outcome *o = &c.outcomes[k];
			uint64_t after_ms =
				o->admitted ? (o->came_ns - c.work.requests[k].at_ns) / MS : 0;

			retries += o->retries;
			refused += !o->admitted;
			later += o->admitted && o->retries;
			assert_true(o->admitted ? o->retries <= 3 && o->ended_ns : o->retries == 3);
			assert_int_equal(after_ms % 1000, 0); /* Retry-After has whole seconds */
			assert_in_range(after_ms, o->admitted ? o->retries * 1000 : 0,
					o->retries * 90000);
			if (rules[i].kind == POLICY_FIXED && o->admitted)
				assert_int_equal(after_ms, o->retries * 1000);
		}
		assert_true(later > 50 && refused > 50);
		assert_int_equal(c.result.retries, retries);
		assert_int_equal(c.result.refused, refused);
		assert_int_equal(c.result.admitted + c.result.refused, c.result.arrived);
		workload_free(&c.work);
	}
}

static void a_fixed_limit_is_never_exceeded_by_retries(void **state)
{
	static const struct policy_rule rule = {
		.kind = POLICY_FIXED,
		.limit = 7,
		.targets = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2}};
	static struct crowd c;

	crowd_comes(&c, 20, 1);
	c.work.retries = 5;
	c.work.patience_s = 0.2;
	crowd_runs(&c, &rule);
	assert_true(c.result.gave_up > 20 && c.result.retries > 1000);
	for (uint32_t i = 0; i < c.work.count; i++) {
		uint64_t came = c.outcomes[i].came_ns;
		uint32_t in_flight_at_admission = 0;

		for (uint32_t k = 0; c.outcomes[i].admitted && k < c.work.count; k++) {
			const struct outcome *o = &c.outcomes[k];

			in_flight_at_admission +=
				o->admitted && o->came_ns <= came &&
				(o->gave_up ? o->came_ns + 200 * MS : o->ended_ns) > came;
		}
		assert_true(in_flight_at_admission <= 7);
	}
	workload_free(&c.work);
}

static void only_a_client_without_a_first_token_in_time_hangs_up(void **state)
{
	static const struct policy_rule rules[] = {
		{.kind = POLICY_NONE, .targets = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2}},
		{.kind = POLICY_ADAPTIVE, .targets = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2}},
	};
	static struct crowd c;

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		uint32_t gave_up = 0;

		crowd_comes(&c, 12, 1);
		c.work.patience_s = i ? 0.5 : 5; /* under adaptive nothing waits for long */
		crowd_runs(&c, &rules[i]);
		for (uint32_t k = 0; k < c.work.count; k++) {
			const struct outcome *o = &c.outcomes[k];
			double waited_s = ((double)o->first_ns - (double)o->came_ns) / 1e9;

			gave_up += o->gave_up;
			assert_false(o->gave_up &&
				     (o->first_ns || o->ended_ns || o->met || !o->admitted));
			if (o->admitted && !o->gave_up)
				assert_true(o->ended_ns && waited_s <= c.work.patience_s);
		}
		assert_true(gave_up > 50);
		assert_int_equal(c.result.gave_up, gave_up);
		workload_free(&c.work);
	}
}

static void the_oldest_is_the_first_admitted_and_not_the_first_to_arrive(void **state)
{
	static struct crowd c;
	struct policy p;

	crowd_comes(&c, 8, 1);
	assert_int_equal(policy_init(&p, &adaptive_rule, &c.work), 0);
	assert_true(policy_judge(&p, 5, 1000 * MS));
	assert_true(policy_judge(&p, 2, 3000 * MS)); /* was refused before */
	policy_tick(&p, 4000 * MS);
	assert_int_equal(p.view.oldest_ns, 3000 * MS);
	policy_first_token(&p, 5, 4000 * MS);
	policy_tick(&p, 4000 * MS);
	assert_int_equal(p.view.oldest_ns, 1000 * MS);
	policy_ended(&p, 2, 4000 * MS); /* hung up */
	policy_tick(&p, 4000 * MS);
	assert_int_equal(p.view.oldest_ns, 0);
	policy_free(&p);
	workload_free(&c.work);
}

static void models_of_one_engine_are_judged_as_one(void **state)
{
	static struct crowd one, three;
	uint32_t sent[3] = {0};
	double sum = 0;

	crowd_comes(&one, 8, 1);
	crowd_comes(&three, 8, 3);
	crowd_runs(&one, &adaptive_rule);
	crowd_runs(&three, &adaptive_rule);
	assert_memory_equal(one.outcomes, three.outcomes, one.work.count * sizeof(one.outcomes[0]));
	assert_true(one.result.model_goodput[0] == one.result.goodput);
	for (uint32_t i = 0; i < three.work.count; i++)
		sent[three.work.requests[i].model]++;
	/* By weight: 3, 2 and 1 of six. */
	assert_true(sent[0] > 690 && sent[0] < 810 && sent[1] > 440 && sent[1] < 560);
	for (uint32_t m = 0; m < 3; m++) {
		double share = three.result.model_goodput[m] / three.result.goodput;

		sum += share;
		assert_true(share > 0.8 * sent[m] / 1500 && share < 1.2 * sent[m] / 1500);
	}
	assert_true(sum > 0.999999 && sum < 1.000001);
	workload_free(&one.work);
	workload_free(&three.work);
}

static void a_refusal_is_false_if_the_engine_would_have_met_the_target(void **state)
{
	struct arrivals how = {
		.synthetic = SYNTHETIC_POISSON, .count = 300, .clients = 1, .rate = 2, .seed = 3};
	struct policy_rule rule = {
		.kind = POLICY_FIXED, .limit = 1, .targets = {.ttft_ms = 60000, .floor = 2}};
	struct outcome outcomes[300];
	struct run_result r = {.outcomes = outcomes};
	struct workload w;
	struct trace t;

	assert_int_equal(trace_make(4000, &t), 0);
	assert_int_equal(workload_make(&t, &how, &w), 0);
	assert_int_equal(run(&w, &shapes[0], &rule, &r, NULL), 0);
	assert_true(r.refused > 100);
	assert_int_equal(run_falsely_refused(&w, &shapes[0], &rule, &r, 1000, 1), 0);
	assert_int_equal(r.judged, r.refused);
	assert_int_equal(r.falsely_refused, r.refused);
	rule.targets.ttft_ms = 1; /* a target that no request can meet */
	assert_int_equal(run(&w, &shapes[0], &rule, &r, NULL), 0);
	assert_int_equal(run_falsely_refused(&w, &shapes[0], &rule, &r, 50, 1), 0);
	assert_int_equal(r.judged, 50);
	assert_int_equal(r.falsely_refused, 0);
	workload_free(&w);
	trace_free(&t);
}

static void capacity_is_the_best_of_the_closed_loops(void **state)
{
	struct adaptive_targets targets = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2};
	struct engine_shape one = {1, 10000, 10, 0, 1000, false, 65536};
	struct sim_request same[50];
	struct trace t = {.requests = same, .count = 50};
	uint32_t n;

	for (int i = 0; i < 50; i++)
		same[i] = (struct sim_request){.prompt = 900, .generate = 11};
	/*
	 * 10 + 90 ms for the prompt, 10 steps of 10 ms: five a second. A second in the queue is too
	 * long.
	 */
	assert_true(run_closed(&t, &one, &targets, 1) > 4.99 &&
		    run_closed(&t, &one, &targets, 1) < 5.01);
	assert_true(run_closed(&t, &one, &targets, 20) < 1.1);
	assert_true(run_capacity(&t, &one, &targets, &n) > 4.99);
	assert_true(n <= 5);
	targets.itl_ms = 9;
	assert_true(run_capacity(&t, &one, &targets, &n) < 1e-9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lone_request_waits_for_its_prompt_and_decodes_alone),
		cmocka_unit_test(every_request_ends_once_within_slots_and_memory),
		cmocka_unit_test(first_tokens_come_in_the_order_of_arrival),
		cmocka_unit_test(the_times_of_looks_change_nothing),
		cmocka_unit_test(skipping_steps_changes_nothing),
		cmocka_unit_test(skipping_steps_changes_nothing_when_clients_hang_up),
		cmocka_unit_test(the_engine_refuses_a_request_that_can_never_fit),
		cmocka_unit_test(a_wrong_trace_is_refused_with_its_line),
		cmocka_unit_test(a_trace_is_read_as_it_is_written),
		cmocka_unit_test(a_load_has_the_requested_rate),
		cmocka_unit_test(a_run_is_the_same_for_the_same_seed),
		cmocka_unit_test(a_fixed_limit_is_never_exceeded),
		cmocka_unit_test(a_refused_request_is_retried_after_its_retry_after),
		cmocka_unit_test(a_fixed_limit_is_never_exceeded_by_retries),
		cmocka_unit_test(only_a_client_without_a_first_token_in_time_hangs_up),
		cmocka_unit_test(the_oldest_is_the_first_admitted_and_not_the_first_to_arrive),
		cmocka_unit_test(models_of_one_engine_are_judged_as_one),
		cmocka_unit_test(a_refusal_is_false_if_the_engine_would_have_met_the_target),
		cmocka_unit_test(capacity_is_the_best_of_the_closed_loops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
