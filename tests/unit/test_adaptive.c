/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Adaptive admission by its properties: numbers stay within bounds under any load, stale data moves
 * nothing, the same input gives the same output. Further tests take a cold, a stuck and a waking
 * server. The kernel's integer arithmetic is compared with the same sums in 128-bit numbers.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/adaptive.h"
#include "sim/random.h"

#define S    1000000000ULL
#define MS   1000000ULL
#define TICK (100 * MS)

static const struct adaptive_targets targets = {.ttft_ms = 1000, .itl_ms = 50, .floor = 2};

/* A random number of random bit length: every length from 1 to 64 is equally likely. */
static uint64_t any_number(struct chance *c)
{
	return chance_next(c) >> chance_below(c, 64);
}

static enum admission_verdict expected_verdict(const struct sluice_admission *a,
					       const struct admission_load *load, uint32_t bytes,
					       uint32_t rank, uint64_t now)
{
	typedef __int128 wide;
	wide level = a->level[rank], queue_budget_level = a->queue_budget_level[rank],
	     in_flight = load->in_flight, waiting, ticks, credit, queue_budget;
	wide floor = a->stopped ? a->floor : a->floor * level / 256;

	if (in_flight <= 0 || in_flight < floor)
		return ADMISSION_ADMIT;
	if (a->stopped)
		return ADMISSION_STOPPED;
	if (a->ceiling && in_flight >= a->ceiling * level / 256)
		return ADMISSION_CEILING;
	if (!a->rate || (load->waiting_bytes <= 0 && queue_budget_level == 256))
		return ADMISSION_ADMIT;
	waiting = load->waiting_bytes > 0 ? load->waiting_bytes : 0;
	ticks = now > load->since_ns ? (now - load->since_ns) / (1 << 20) : 0;
	credit = ticks * a->rate / 4096;
	if (credit > a->credit_most || ticks > UINT32_MAX) /* 52 days */
		credit = a->credit_most;
	if (credit > waiting - waiting / 8)
		credit = waiting - waiting / 8;
	queue_budget = a->queue_budget + (wide)a->queue_budget_per_kib * bytes / 1024;
	waiting += queue_budget_level < 256 ? bytes : (wide)bytes * 3 / 8;
	queue_budget = queue_budget * queue_budget_level / 256;
	return waiting <= queue_budget + credit ? ADMISSION_ADMIT : ADMISSION_WAIT;
}

/*
 * Two criteria: slots that the client holds, and admissions before their theoretical arrival time.
 */
static bool expected_above(const struct sluice_admission *a, const struct sluice_holding *held,
			   uint32_t weight, uint64_t admitted)
{
	typedef __int128 wide;
	wide interval = (wide)a->interval * 256 / weight;

	return (a->fair && held->in_flight > 0 &&
		(wide)held->in_flight * 256 >= (wide)a->fair * weight / 256) ||
	       (a->interval && held->tat > (wide)admitted * 256 + 4 * interval);
}

static void the_kernels_integers_equal_wide_arithmetic(void **state)
{
	struct chance c = {1};
	unsigned seen[4] = {0}, kinder[2] = {0};

	for (int i = 0; i < 400000; i++) {
		struct sluice_admission a = {
			.queue_budget = any_number(&c) % 1000000000000001ULL,
			.credit_most = any_number(&c) % 1000000000000001ULL,
			.queue_budget_per_kib = (uint32_t)(any_number(&c) % 4000000001ULL),
			.rate = (uint32_t)(any_number(&c) % 4000000001ULL),
			.ceiling = chance_below(&c, 3) ? (uint32_t)any_number(&c) : 0,
			.floor = (uint32_t)any_number(&c) >> chance_below(&c, 32),
			.fair = (uint32_t)any_number(&c),
			.interval = (uint32_t)any_number(&c),
			.stopped = !chance_below(&c, 8),
		};
		struct admission_load load = {
			.in_flight = (int64_t)any_number(&c) >> chance_below(&c, 64),
			.waiting = (int64_t)any_number(&c),
			.waiting_bytes = (int64_t)any_number(&c) >> chance_below(&c, 40),
			.since_ns = any_number(&c),
		};
		uint32_t bytes = admission_bytes(any_number(&c)),
			 rank = chance_below(&c, SLUICE_RANKS), weight;
		uint64_t now = any_number(&c), admitted = any_number(&c) >> 12, tat;
		struct sluice_holding held = {.in_flight = (int64_t)any_number(&c) & 0xffffffffff};
		enum admission_verdict verdict;
		__int128 interval, most;

		assert_true(bytes <= ADMISSION_BYTES_MAX);
		for (int r = 0; r < SLUICE_RANKS; r++)
			a.level[r] = (uint16_t)chance_below(&c, 420),
			a.queue_budget_level[r] = (uint16_t)chance_below(&c, 257);
		verdict = admission_judge(&a, &load, bytes, rank, now);
		assert_int_equal(verdict, expected_verdict(&a, &load, bytes, rank, now));
		seen[verdict]++;
		if (!a.stopped && verdict == ADMISSION_WAIT) {
			uint32_t shortest =
					 bytes - chance_below(&c, bytes < 1000 ? bytes + 1 : 1000),
				 longest = admission_bytes((uint64_t)bytes + any_number(&c)),
				 kindest = admission_kindest(&a, shortest, longest, rank);

			if (!admission_judge(&a, &load, shortest, rank, now) ||
			    !admission_judge(&a, &load, longest, rank, now)) {
				kinder[kindest == longest]++;
				assert_int_equal(admission_judge(&a, &load, kindest, rank, now),
						 ADMISSION_ADMIT);
			}
		}
		weight = 1 + chance_below(&c, 65535);
		interval = (__int128)a.interval * 256 / weight;
		held.tat = admitted * 256 +
			   (chance_below(&c, 2) ? any_number(&c) >> 8
						: (uint64_t)(4 * interval) + chance_below(&c, 2));
		assert_int_equal(admission_above_share(&a, &held, weight, admitted),
				 expected_above(&a, &held, weight, admitted));
		tat = admission_next_tat(&a, held.tat, weight, admitted);
		most = (__int128)admitted * 256 + 8 * interval;
		assert_true(tat <= most && (tat == most || tat == held.tat + interval));
	}
	for (int v = 0; v < 4; v++)
		assert_true(seen[v] > 1000);
	assert_true(kinder[0] > 10 && kinder[1] > 10);
}

static void queued_bytes_stay_within_their_bounds(void **state)
{
	struct chance c = {2};

	for (int i = 0; i < 100000; i++) {
		struct sluice_admission a = {.rate = (uint32_t)any_number(&c),
					     .credit_most = any_number(&c) >> 14};
		struct admission_load load = {.waiting_bytes = (int64_t)(any_number(&c) >> 1),
					      .since_ns = any_number(&c)};
		uint32_t bytes = admission_bytes(any_number(&c));
		uint32_t queued_bytes = admission_queued_bytes(&a, &load, bytes, any_number(&c));
		uint64_t least = (uint64_t)load.waiting_bytes / 8 + bytes;
		uint64_t most = (uint64_t)load.waiting_bytes + bytes;

		assert_true(queued_bytes == UINT32_MAX || queued_bytes >= least);
		assert_true(queued_bytes <= most);
	}
}

static void an_empty_admission_refuses_nothing(void **state)
{
	struct sluice_admission none = {0};
	struct chance c = {3};

	for (int i = 0; i < 10000; i++) {
		struct admission_load load = {(int64_t)any_number(&c), (int64_t)any_number(&c),
					      (int64_t)any_number(&c), any_number(&c),
					      chance_below(&c, UINT32_MAX)};

		assert_int_equal(admission_judge(&none, &load, (uint32_t)any_number(&c),
						 chance_below(&c, 8), any_number(&c)),
				 ADMISSION_ADMIT);
		assert_false(admission_above_share(
			&none, &(struct sluice_holding){load.in_flight, any_number(&c)}, 256, 0));
	}
}

/* A server and clients that do anything at all. */
struct storm {
	struct chance c;
	struct adaptive a;
	struct adaptive_view v;
	uint64_t now;
};

static void storm_step(struct storm *s)
{
	unsigned samples = chance_below(&s->c, 6);

	s->now += chance_below(&s->c, 20) ? TICK : chance_below(&s->c, 200) * S;
	for (unsigned i = 0; i < samples; i++) {
		double ms = chance_exponential(&s->c, chance_below(&s->c, 2) ? 100 : 20000);

		adaptive_ttft(&s->a, &targets, ms, (uint32_t)any_number(&s->c),
			      (uint32_t)any_number(&s->c), chance_below(&s->c, 300),
			      chance_below(&s->c, 70000), s->now);
		adaptive_gaps(&s->a, chance_exponential(&s->c, 500), chance_below(&s->c, 40),
			      s->now);
		adaptive_ended(&s->a, &targets, chance_exponential(&s->c, 40), s->now);
	}
	s->v.in_flight = (int64_t)chance_below(&s->c, 6000) - 5;
	s->v.waiting = chance_below(&s->c, 100);
	s->v.waiting_bytes = (int64_t)(any_number(&s->c) >> 8) - 10;
	s->v.oldest_ns = chance_below(&s->c, 2) ? 0 : any_number(&s->c) >> 20;
	s->v.active_weight = chance_below(&s->c, 50);
	s->v.admitted += chance_below(&s->c, 10);
	s->v.ended += chance_below(&s->c, 10);
	for (int r = 0; r < SLUICE_RANKS; r++)
		s->v.refused[r] += chance_below(&s->c, 3) ? 0 : chance_below(&s->c, 10);
	adaptive_look(&s->a, &targets, &s->v, s->now);
}

static void check_bounds(const struct storm *s)
{
	struct sluice_admission out;

	adaptive_write(&s->a, &targets, &out);
	assert_true(s->a.ceiling >= targets.floor && s->a.ceiling <= ADAPTIVE_CEILING_MAX);
	assert_true(out.ceiling >= targets.floor && out.ceiling <= ADAPTIVE_CEILING_MAX);
	assert_true(out.floor >= targets.floor);
	assert_true(isfinite(s->a.rate) && s->a.rate >= 0);
	assert_true(s->a.refused_share >= 0 && s->a.refused_share <= 1);
	for (int r = 0; r < SLUICE_RANKS; r++)
		assert_true(out.level[r] > 0 && out.level[r] <= ADMISSION_ALL &&
			    out.queue_budget_level[r] > 0 &&
			    out.queue_budget_level[r] <= ADMISSION_ALL);
	assert_true(out.level[0] >= ADMISSION_ALL);
	assert_in_range(adaptive_retry_ms(&s->a), 1000, 60000);
}

static void every_number_stays_within_its_bounds(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct storm s = {.c = {seed}, .now = seed * S};

		adaptive_init(&s.a, s.now);
		for (int i = 0; i < 3000; i++) {
			storm_step(&s);
			check_bounds(&s);
		}
	}
}

static void the_same_input_gives_the_same_output(void **state)
{
	struct storm one = {.c = {7}, .now = S}, two = one;
	struct sluice_admission a, b;

	adaptive_init(&one.a, one.now);
	adaptive_init(&two.a, two.now);
	for (int i = 0; i < 5000; i++) {
		storm_step(&one);
		storm_step(&two);
		adaptive_write(&one.a, &targets, &a);
		adaptive_write(&two.a, &targets, &b);
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

/*
 * After it has opened, a pool stays open for one target at least. So a minute has at most 60 s /
 * target + 1 stops, and as many openings.
 */
#define CHANGES_A_MINUTE (2 * (60000 / 1000 + 1)) /* the targets above have 1000 ms */

struct flaps {
	bool stopped;
	unsigned count;
	uint64_t at[CHANGES_A_MINUTE]; /* the last ones, a ring */
};

static void count_flap(struct flaps *f, const struct adaptive *a, uint64_t now)
{
	uint64_t *at = &f->at[f->count % CHANGES_A_MINUTE];

	if (a->stopped == f->stopped)
		return;
	f->stopped = a->stopped;
	assert_true(f->count < CHANGES_A_MINUTE || now - *at > 60 * S);
	f->count++;
	*at = now;
}

/*
 * What may precede a look: a token or none, bytes that wait or none, and a request that has waited
 * for long or none.
 */
#define EVENTS      16
#define EVENT_TOKEN 1

static void play(struct adaptive *a, unsigned event, uint64_t now)
{
	struct adaptive_view v = {
		.in_flight = 9,
		.waiting = 9,
		.waiting_bytes = event & 2 ? 1 << 12 : 0,
		.oldest_ns = (event & 12) * S / 3, /* 0, 4/3, 8/3 or 4 targets */
	};

	if (event & EVENT_TOKEN)
		adaptive_ttft(a, &targets, 100, 2000, 2000, 9, 0, now);
	adaptive_look(a, &targets, &v, now);
}

static void random_load_stops_a_pool_no_more_often_than_its_bound(void **state)
{
	unsigned changes = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct chance c = {seed};
		uint64_t now = 1000 * S;
		struct flaps f = {0};
		struct adaptive a;

		adaptive_init(&a, now);
		for (int i = 0; i < 10000; i++) {
			unsigned event = chance_below(&c, EVENTS);

			if (chance_below(&c, 8))
				event &= ~EVENT_TOKEN;
			play(&a, event, now += TICK + chance_below(&c, TICK));
			count_flap(&f, &a, now);
		}
		changes += f.count;
	}
	assert_true(changes > 20 * 100);
}

static void the_worst_load_stops_a_pool_no_more_often_than_its_bound(void **state)
{
	for (unsigned without = 0; without <= EVENT_TOKEN; without++) {
		uint64_t now = 1000 * S;
		struct flaps f = {0};
		struct adaptive a, next;

		adaptive_init(&a, now);
		play(&a, EVENT_TOKEN, now);
		for (int i = 0; i < 6000; i++) { /* ten minutes */
			now += TICK;
			for (unsigned event = EVENTS; event--;) {
				next = a;
				play(&next, event & ~without, now);
				if (next.stopped != a.stopped)
					break;
			}
			a = next;
			count_flap(&f, &a, now);
		}
		/* Without tokens the policy takes the model to be loading after a minute. */
		assert_true(f.count > (without ? 1 : 10) * CHANGES_A_MINUTE / 2);
	}
}

static void stale_data_moves_neither_ceiling_nor_rate(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct storm s = {.c = {seed}, .now = S};
		double ceiling, rate;

		adaptive_init(&s.a, s.now);
		for (int i = 0; i < 500; i++)
			storm_step(&s);
		/* Looks that still act on the last samples. */
		for (int i = 0; i < 10; i++)
			adaptive_look(&s.a, &targets, &s.v, s.now += TICK);
		ceiling = s.a.ceiling;
		rate = s.a.rate;
		for (int i = 0; i < 36000; i++) {
			s.v.refused[2] += seed % 2; /* with refusals in every other run */
			s.v.in_flight = seed % 3 ? 10 : 5000;
			adaptive_look(&s.a, &targets, &s.v, s.now += TICK);
			assert_true(s.a.ceiling == ceiling && s.a.rate == rate);
		}
	}
}

/* n samples of `ms` after `queued_bytes` bytes: one a tick, with a look after each. */
static void feed(struct adaptive *a, struct adaptive_view *v, unsigned n, double ms,
		 uint32_t queued_bytes, uint64_t *now)
{
	for (unsigned i = 0; i < n; i++) {
		*now += TICK;
		adaptive_ttft(a, &targets, ms, queued_bytes, queued_bytes, 2, 0, *now);
		v->admitted++;
		v->ended++;
		adaptive_look(a, &targets, v, *now);
	}
}

/* A server with a known rate: 200 answers within the target. Returns the time of the last one. */
static uint64_t known(struct adaptive *a, struct adaptive_view *v)
{
	uint64_t now = S;

	adaptive_init(a, now);
	feed(a, v, 200, 100, 2000, &now);
	return now;
}

static void the_first_samples_refuse_nothing(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 10, .waiting = 5, .waiting_bytes = 1000000};
	struct admission_load load = {10, 5, 1000000, 0, 0};
	struct sluice_admission out;
	uint64_t now = 1000 * S;

	adaptive_init(&a, now);
	/* The first sample may include the loading of the model; two slow ones follow it. */
	for (int i = 0; i < 4; i++) {
		feed(&a, &v, 1, 50, 10, &now);
		adaptive_write(&a, &targets, &out);
		load.since_ns = now;
		assert_int_equal(admission_judge(&out, &load, 1000, 0, now),
				 i < 3 ? ADMISSION_ADMIT : ADMISSION_WAIT);
	}
}

static void a_model_that_loads_first_refuses_nothing(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {
		.in_flight = 4, .waiting = 4, .waiting_bytes = 4000, .admitted = 4};
	struct sluice_admission out;
	uint64_t now = 1000 * S;

	adaptive_init(&a, now);
	for (int i = 0; i < 450; i++) { /* 45 s without a sample */
		now += TICK;
		v.oldest_ns += TICK;
		adaptive_look(&a, &targets, &v, now);
		adaptive_write(&a, &targets, &out);
		assert_false(out.stopped);
		assert_true(out.ceiling >= 15);
	}
	for (int i = 0; i < 4; i++)
		adaptive_ttft(&a, &targets, 45000 - i, 1000, 1000 * (uint32_t)(i + 1),
			      (uint32_t)i + 1, 0, now);
	adaptive_look(&a, &targets, &v, now);
	assert_true(a.rate == 0 && a.ceiling >= 15);
	v.oldest_ns = 0;
	feed(&a, &v, 20, 100, 2000, &now);
	assert_true(fabs(a.rate - 20) < 1e-9); /* bytes a ms */
}

static void the_queue_budget_is_the_rate_times_the_target(void **state)
{
	struct adaptive_targets growing = {.ttft_ms = 800, .ttft_ms_per_kib = 0.2, .floor = 2};
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 2};
	struct sluice_admission out;
	uint64_t now = S;

	adaptive_init(&a, now);
	feed(&a, &v, 100, 100, 2000, &now);
	adaptive_write(&a, &targets, &out);
	assert_in_range(out.queue_budget, 6 * 20 * 1000 - 1, 6 * 20 * 1000);
	assert_int_equal(out.queue_budget_per_kib, 0);
	assert_int_equal(out.rate, ceil(a.rate * 1.048576 * 4096));
	adaptive_write(&a, &growing, &out);
	assert_in_range(out.queue_budget, 6 * 20 * 800 - 1, 6 * 20 * 800);
	assert_int_equal(out.queue_budget_per_kib,
			 (uint32_t)((double)out.queue_budget / 800 * 0.2));
	a.refused_share = 1; /* the more is refused, the less may wait */
	adaptive_write(&a, &targets, &out);
	assert_in_range(out.queue_budget, 0.7 * 20 * 1000 - 1, 0.7 * 20 * 1000);
}

/* The core's own sum, in ms: does a request meet its target? */
static void kernel_and_core_predict_the_same_wait(void **state)
{
	struct chance c = {11};
	unsigned admitted = 0, refused = 0;

	for (int i = 0; i < 20000; i++) {
		struct adaptive a;
		struct adaptive_view v = {.in_flight = 2};
		struct sluice_admission out;
		uint64_t now = S;
		uint32_t bytes = 1 + chance_below(&c, 100000);
		struct admission_load load = {4, 1 + chance_below(&c, 8), chance_below(&c, 100000),
					      0, 0};
		double elapsed_ms = chance_below(&c, 900), wait_ms, credit, queue_budget_ms;
		bool admit;

		adaptive_init(&a, now);
		feed(&a, &v, 10, 10 + chance_below(&c, 500), 500 + chance_below(&c, 20000), &now);
		adaptive_write(&a, &targets, &out);
		now += S;
		load.since_ns = now - (uint64_t)(elapsed_ms * 1e6);
		credit = fmin(fmin(a.rate * elapsed_ms, a.rate * targets.ttft_ms),
			      0.875 * (double)load.waiting_bytes);
		queue_budget_ms = (double)out.queue_budget / a.rate;
		wait_ms = ((double)load.waiting_bytes + 0.375 * bytes - credit) / a.rate;
		admit = admission_judge(&out, &load, bytes, 0, now) == ADMISSION_ADMIT;
		/* Up to one tick, and the bytes that rounding takes. */
		if (fabs(wait_ms - queue_budget_ms) > 2 + 4 / a.rate)
			assert_int_equal(admit, wait_ms < queue_budget_ms);
		admitted += admit;
		refused += !admit;
	}
	assert_true(admitted > 2000 && refused > 2000);
}

static void below_the_floor_every_request_is_admitted(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {
		.in_flight = 1, .waiting = 1, .waiting_bytes = 8000, .oldest_ns = 5 * S};
	struct admission_load load = {1, 1, 1 << 30, 0, 0};
	struct sluice_admission out;
	uint64_t now = S;

	adaptive_init(&a, now);
	feed(&a, &v, 10, 100, 2000, &now);
	for (int i = 0; i < 100; i++)
		adaptive_look(&a, &targets, &v, now += TICK);
	adaptive_write(&a, &targets, &out);
	assert_true(out.stopped);
	for (uint32_t rank = 0; rank < SLUICE_RANKS; rank++) {
		assert_int_equal(admission_judge(&out, &load, ADMISSION_BYTES_MAX, rank, now),
				 ADMISSION_ADMIT);
		out.level[rank] = 1;
		assert_int_equal(admission_judge(&out, &(struct admission_load){0},
						 ADMISSION_BYTES_MAX, rank, now),
				 ADMISSION_ADMIT);
	}
}

/* Ticks until the pool stops; `oldest_ns` counts on. */
static unsigned until_stopped(struct adaptive *a, struct adaptive_view *v, uint64_t *now)
{
	unsigned ticks = 0;

	while (!a->stopped && ticks++ < 1000) {
		v->oldest_ns += TICK;
		adaptive_look(a, &targets, v, *now += TICK);
	}
	assert_true(a->stopped);
	return ticks;
}

/* A request comes in each of the ticks; none ends. Returns how many the pool admits. */
static unsigned admitted_while_stopped(struct adaptive *a, struct adaptive_view *v, int ticks,
				       uint64_t *now)
{
	struct sluice_admission out;
	unsigned admitted = 0;

	for (int i = 0; i < ticks; i++) {
		struct admission_load load = {v->in_flight, v->in_flight, v->waiting_bytes, *now,
					      0};

		adaptive_write(a, &targets, &out);
		assert_true(out.stopped);
		if (admission_judge(&out, &load, 1000, 2, *now) == ADMISSION_ADMIT) {
			admitted++;
			v->in_flight++;
			v->waiting++;
			v->admitted++;
		}
		v->oldest_ns += TICK;
		adaptive_look(a, &targets, v, *now += TICK);
	}
	return admitted;
}

static void a_stuck_server_gets_one_probe_at_a_time_until_it_wakes(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 8, .waiting = 8, .waiting_bytes = 16000};
	struct sluice_admission out;
	uint64_t now = S;

	adaptive_init(&a, now);
	feed(&a, &v, 50, 100, 2000, &now);
	assert_true(until_stopped(&a, &v, &now) <= 20); /* a target and a second */
	assert_int_equal(admitted_while_stopped(&a, &v, 100, &now), 1);
	/* One request ends without an answer, the probe or another: a target later the next one. */
	v.in_flight--;
	v.ended++;
	assert_int_equal(admitted_while_stopped(&a, &v, 100, &now), 1);
	/* A client hangs up in each tick, and another comes. */
	for (unsigned i = 0, probes = 0; i < 50; i++) { /* five targets */
		v.in_flight--;
		v.ended++;
		probes += admitted_while_stopped(&a, &v, 1, &now);
		v.in_flight += v.in_flight < 4;
		assert_true(probes <= 1 + i / 10);
	}
	/* The server wakes. */
	adaptive_ttft(&a, &targets, 12000, 2000, 2000, 3, 0, now);
	v.in_flight = 3;
	v.oldest_ns = 0;
	adaptive_look(&a, &targets, &v, now + TICK);
	adaptive_write(&a, &targets, &out);
	assert_false(out.stopped);
	assert_int_equal(out.floor, targets.floor);
}

static void probes_stay_below_the_ceiling(void **state)
{
	for (int64_t in_flight = 15; in_flight <= 17; in_flight++) {
		struct adaptive a;
		struct adaptive_view v = {
			.in_flight = in_flight, .waiting = in_flight, .waiting_bytes = 16000};
		uint64_t now = S;

		adaptive_init(&a, now);
		feed(&a, &v, 50, 100, 2000, &now);
		a.ceiling = 16;
		until_stopped(&a, &v, &now);
		assert_int_equal(admitted_while_stopped(&a, &v, 100, &now), in_flight < 16);
	}
}

/* A long prompt that the server reads shows nothing until it is read. */
static void a_server_is_stuck_only_after_twice_the_time_that_its_queue_explains(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {0};
	uint64_t now = S;

	adaptive_init(&a, now);
	feed(&a, &v, 50, 100, 2000, &now); /* 20 bytes a ms */
	v = (struct adaptive_view){.in_flight = 1, .waiting = 1, .waiting_bytes = 100000};
	assert_in_range(until_stopped(&a, &v, &now), 100, 102);
	/* What comes later explains nothing. */
	adaptive_init(&a, now);
	v = (struct adaptive_view){0};
	feed(&a, &v, 50, 100, 2000, &now);
	v = (struct adaptive_view){.in_flight = 1, .waiting = 1, .waiting_bytes = 1000};
	for (int i = 0; i < 3; i++) {
		v.oldest_ns += TICK;
		adaptive_look(&a, &targets, &v, now += TICK);
	}
	v.waiting_bytes = 100000;
	assert_in_range(until_stopped(&a, &v, &now), 7, 9);
}

/* They show nothing until they end. */
static void replies_that_are_not_streamed_may_be_silent_for_as_long_as_they_take(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {0};
	uint64_t now = S;

	adaptive_init(&a, now);
	feed(&a, &v, 50, 100, 2000, &now);
	for (int i = 0; i < 100; i++)
		adaptive_duration(&a, &targets, 5000, 1000, 0, 2, now);
	v = (struct adaptive_view){.in_flight = 4, .waiting = 1, .waiting_bytes = 1000};
	assert_in_range(until_stopped(&a, &v, &now), 50, 52);
	/* With none of them in flight the silence is no longer explained. */
	adaptive_duration(&a, &targets, 5000, 1000, 0, 2, now);
	adaptive_look(&a, &targets, &v, now);
	assert_false(a.stopped);
	v.in_flight = 1;
	assert_in_range(until_stopped(&a, &v, &now), 10, 12);
}

/* The last streams may have ended long ago, while replies that are not streamed go on. */
static void old_gaps_do_not_move_the_ceiling(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 4};
	double ceiling;
	uint64_t now = S;

	adaptive_init(&a, now);
	for (int i = 0; i < 20; i++) {
		adaptive_gaps(&a, 500, 1, now += TICK);
		adaptive_ended(&a, &targets, 500, now);
		adaptive_look(&a, &targets, &v, now);
	}
	assert_true(a.ceiling < 16);
	for (int i = 0; i < 30; i++) /* the memory of gaps */
		adaptive_look(&a, &targets, &v, now += TICK);
	a.refused_share = 0.1;
	ceiling = a.ceiling;
	for (int i = 0; i < 100; i++) {
		adaptive_duration(&a, &targets, 900, 1000, 1, 2, now += TICK);
		adaptive_look(&a, &targets, &v, now);
	}
	assert_true(a.ceiling == ceiling);
}

static void one_late_burst_refuses_nothing_that_comes_after_it(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 2};
	struct sluice_admission out;
	uint64_t now = S;

	adaptive_init(&a, now);
	feed(&a, &v, 50, 100, 2000, &now);
	for (uint32_t i = 2; i < 6; i++)
		adaptive_ttft(&a, &targets, 3000, 1000, 1000, i, 0, now);
	adaptive_look(&a, &targets, &v, now += TICK);
	assert_true(a.ceiling == targets.floor);
	adaptive_write(&a, &targets, &out);
	assert_int_equal(out.ceiling, 12);
	/* As soon as the server cannot keep up, the level that failed holds. */
	a.refused_share = 0.02;
	adaptive_write(&a, &targets, &out);
	assert_int_equal(out.ceiling, targets.floor);
}

static void a_server_full_of_long_answers_is_not_stuck(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 8, .waiting = 4, .waiting_bytes = 8000};
	struct sluice_admission out;
	uint64_t now = S;

	adaptive_init(&a, now);
	feed(&a, &v, 50, 100, 2000, &now);
	a.refused_share = 0.05;
	for (int i = 0; i < 300; i++) {
		now += TICK;
		v.oldest_ns += TICK;
		adaptive_gaps(&a, 150, 5, now);
		adaptive_look(&a, &targets, &v, now);
		adaptive_write(&a, &targets, &out);
		assert_int_equal(out.floor, targets.floor);
		assert_false(out.stopped);
	}
	assert_int_equal(out.ceiling, targets.floor); /* but no further request is admitted */
	/* When the gaps stop too, the server is stuck. */
	for (int i = 0; i < 11; i++) {
		now += TICK;
		v.oldest_ns += TICK;
		adaptive_look(&a, &targets, &v, now);
	}
	adaptive_write(&a, &targets, &out);
	assert_true(out.stopped);
}

static void a_lower_class_yields_its_slots_to_a_higher_one(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 20, .active_weight = 4};
	struct sluice_admission out;
	uint64_t now = known(&a, &v);

	adaptive_write(&a, &targets, &out);
	for (int r = 0; r < SLUICE_RANKS; r += 2) {
		assert_int_equal(out.level[r], ADMISSION_ALL);
		assert_int_equal(out.queue_budget_level[r], ADMISSION_ALL);
	}
	/* The pool refuses requests of the normal class, so the lower classes lose slots. */
	for (int i = 0; i < 50; i++) {
		v.refused[admission_rank(SLUICE_CLASS_NORMAL, 0)]++;
		adaptive_look(&a, &targets, &v, now += TICK);
	}
	adaptive_write(&a, &targets, &out);
	assert_int_equal(out.level[admission_rank(0, 0)], ADMISSION_ALL);
	assert_int_equal(out.level[admission_rank(SLUICE_CLASS_NORMAL, 0)], ADMISSION_ALL);
	assert_true(out.level[admission_rank(2, 0)] < 0.6 * ADMISSION_ALL);
	assert_true(out.queue_budget_level[admission_rank(2, 0)] < 0.36 * ADMISSION_ALL);
	assert_true(out.level[admission_rank(3, 1)] < 0.6 * 0.75 * ADMISSION_ALL);
	/* After a time without refusals, idle slots are lent again. */
	for (int i = 0; i < 3000; i++)
		adaptive_look(&a, &targets, &v, now += TICK);
	adaptive_write(&a, &targets, &out);
	for (int r = 0; r < SLUICE_RANKS; r += 2)
		assert_int_equal(out.level[r], ADMISSION_ALL);
}

/* A first token is late that met so many in flight while it waited. */
static void late_among(struct adaptive *a, struct adaptive_view *v, int64_t in_flight,
		       uint64_t *now)
{
	v->in_flight = in_flight;
	for (int i = 0; i < 40; i++)
		adaptive_look(a, &targets, v, *now += TICK);
	adaptive_ttft(a, &targets, 3000, 1000, 1000, 2, 0, *now);
}

static void a_client_above_its_share_leaves_a_slot_and_most_of_the_queue_budget(void **state)
{
	const uint32_t within = admission_rank(SLUICE_CLASS_NORMAL, 0), above = within + 1;
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 20, .active_weight = 4};
	struct sluice_admission out;
	uint64_t now = known(&a, &v);

	/* While nothing is refused, the server has room for all. */
	adaptive_write(&a, &targets, &out);
	assert_int_equal(out.level[above], ADMISSION_ALL);
	assert_int_equal(out.queue_budget_level[above], ADMISSION_ALL);
	a.refused_share = 0.2;
	adaptive_write(&a, &targets, &out);
	assert_int_equal(out.level[above], (int)(0.75 * ADMISSION_ALL));
	assert_int_equal(out.queue_budget_level[above], (int)(0.45 / 0.7 * ADMISSION_ALL));
	/*
	 * A request with eight others in flight failed. So eight slots are safe, and the last one
	 * of them is not for clients above their share, whatever the ceiling is.
	 */
	a.refused_share = 0.2;
	late_among(&a, &v, 9, &now);
	for (a.ceiling = 9; a.ceiling < 40; a.ceiling += 7) {
		adaptive_write(&a, &targets, &out);
		assert_int_equal(out.ceiling * out.level[above] / ADMISSION_ALL, 7);
	}
	/* One failure at another level moves the failed level a little, up or down. */
	now += 50 * S;
	feed(&a, &v, 200, 100, 2000, &now);
	late_among(&a, &v, 14, &now);
	assert_true(a.failed_level > 9.2 && a.failed_level < 9.3);
	late_among(&a, &v, 3, &now);
	assert_true(a.failed_level > 8.6 && a.failed_level < 8.8);
	/* After enough successes the failed level is forgotten. */
	a.ceiling = 40;
	feed(&a, &v, 800, 100, 2000, &now);
	assert_true(a.failed_level < 8.8);
	feed(&a, &v, 1200, 100, 2000, &now);
	assert_true(a.failed_level > 30);
}

/* The first of a burst found nobody in flight, but it waited among all of them. */
static void one_burst_does_not_bring_the_ceiling_below_itself(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 2};
	uint64_t now = S;

	adaptive_init(&a, now);
	feed(&a, &v, 50, 100, 2000, &now);
	v.in_flight = 12;
	for (int i = 0; i < 30; i++)
		adaptive_look(&a, &targets, &v, now += TICK);
	for (uint32_t i = 2; i <= 12; i++)
		adaptive_ttft(&a, &targets, 3000, 1000, 1000, i, i, now);
	assert_true(a.ceiling > 10);
	assert_true(a.failed_level > 10);
}

static void clients_within_their_share_queue_while_others_are_refused(void **state)
{
	const uint32_t within = admission_rank(SLUICE_CLASS_NORMAL, 0);
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 20, .active_weight = 4};
	struct sluice_admission out;
	uint64_t now = known(&a, &v);

	v.refused[within + 1] += 10;
	v.refused[within]++;
	adaptive_look(&a, &targets, &v, now += TICK);
	adaptive_write(&a, &targets, &out);
	assert_int_equal(out.ceiling, 40); /* 1.6 times the pool's own */
	assert_int_equal(out.level[within], ADMISSION_ALL);
	assert_int_equal(out.ceiling * out.level[within + 1] / ADMISSION_ALL, 0.75 * 25);
	a.failed_level = 100; /* never more than the pool's own ceiling */
	adaptive_write(&a, &targets, &out);
	assert_int_equal(out.ceiling * out.level[within + 1] / ADMISSION_ALL, 25);
	assert_int_equal(out.queue_budget_level[within],
			 ADMISSION_ALL); /* they wait no longer than others */
	/*
	 * If most refused clients are within their shares, there is too much load: no longer queue.
	 */
	v.refused[within] += 12;
	adaptive_look(&a, &targets, &v, now += TICK);
	adaptive_write(&a, &targets, &out);
	assert_int_equal(out.ceiling, 25);
}

static void a_share_is_by_weight_among_the_active_clients(void **state)
{
	const struct sluice_admission a = {.fair = 4 * ADMISSION_ALL,
					   .interval = 10 * ADMISSION_ALL};
	static const struct {
		int64_t in_flight, early; /* early: requests before the theoretical arrival time */
		uint32_t weight;
		bool above;
	} rows[] = {
		{0, 0, 1, false},
		{3, 0, ADMISSION_ALL, false},
		{4, 0, ADMISSION_ALL, true},
		{7, 0, 2 * ADMISSION_ALL, false},
		{8, 0, 2 * ADMISSION_ALL, true},
		{2, 0, ADMISSION_ALL / 2, true},
		{0, 40, ADMISSION_ALL, false},
		{0, 41, ADMISSION_ALL, true},
		{0, 20, 2 * ADMISSION_ALL, false},
		{0, 21, 2 * ADMISSION_ALL, true},
		{0, 80, ADMISSION_ALL / 2, false},
		{0, -1000, ADMISSION_ALL, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sluice_holding held = {rows[i].in_flight,
					      (uint64_t)(5000 + rows[i].early) * ADMISSION_ALL};

		assert_int_equal(admission_above_share(&a, &held, rows[i].weight, 5000),
				 rows[i].above);
	}
	assert_int_equal(admission_rank(1, 0), 2);
	assert_int_equal(admission_rank(1, 7), 3);
	assert_int_equal(admission_rank(SLUICE_CLASSES, 0),
			 0); /* an unknown class has the first rank */
}

/*
 * Admits requests of CLIENTS clients; the last client sends `times` as many as each other one.
 * Counts the requests that came above their client's share.
 */
#define CLIENTS 21
static void share_out(unsigned times, unsigned burst, unsigned above[CLIENTS],
		      unsigned came[CLIENTS])
{
	const struct sluice_admission a = {.interval = CLIENTS * ADMISSION_ALL / 2};
	struct sluice_holding held[CLIENTS] = {0};
	struct chance c = {11};
	uint64_t admitted = 0;

	memset(above, 0, CLIENTS * sizeof(*above));
	memset(came, 0, CLIENTS * sizeof(*came));
	for (int i = 0; i < 20000; i++) {
		uint32_t of = chance_below(&c, CLIENTS - 1 + times),
			 who = of < CLIENTS - 1 ? of : CLIENTS - 1;

		for (unsigned n = 0; n < burst; n++) {
			came[who]++;
			above[who] +=
				admission_above_share(&a, &held[who], ADMISSION_ALL, admitted);
			held[who].tat =
				admission_next_tat(&a, held[who].tat, ADMISSION_ALL, ++admitted);
		}
	}
}

static void only_a_client_with_over_twice_its_share_is_above_it(void **state)
{
	unsigned above[CLIENTS], came[CLIENTS];

	share_out(50, 1, above, came);
	assert_true(above[CLIENTS - 1] > 0.99 * came[CLIENTS - 1]);
	for (int i = 0; i < CLIENTS - 1; i++)
		assert_true(above[i] < 0.01 * came[i]);
	/* Equal clients are rarely above their share, and seldom when each sends three at once. */
	share_out(1, 1, above, came);
	for (int i = 0; i < CLIENTS; i++)
		assert_true(above[i] < 0.02 * came[i]);
	share_out(1, 3, above, came);
	for (int i = 0; i < CLIENTS; i++)
		assert_true(above[i] < 0.25 * came[i]);
}

static void a_client_above_its_share_is_within_it_after_four_intervals(void **state)
{
	const struct sluice_admission a = {.interval = 4 * ADMISSION_ALL};
	struct sluice_holding held = {0};
	uint64_t admitted = 0;

	for (int i = 0; i < 1000; i++)
		held.tat = admission_next_tat(&a, held.tat, ADMISSION_ALL, ++admitted);
	assert_true(admission_above_share(&a, &held, ADMISSION_ALL, admitted));
	assert_true(admission_above_share(&a, &held, ADMISSION_ALL, admitted + 15));
	assert_false(admission_above_share(&a, &held, ADMISSION_ALL, admitted + 16));
}

static void a_client_that_is_alone_has_no_share(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 20, .active_weight = 1};
	struct sluice_admission out;

	known(&a, &v);
	adaptive_write(&a, &targets, &out);
	assert_int_equal(out.fair, 0);
}

static void a_new_daemon_goes_on_from_the_written_numbers(void **state)
{
	struct adaptive a, next;
	struct adaptive_view v = {.in_flight = 15, .admitted = 1000, .refused = {0, 0, 500}};
	struct sluice_admission was, now_is;
	uint64_t now = known(&a, &v);

	adaptive_write(&a, &targets, &was);
	adaptive_init(&next, now);
	adaptive_adopt(&next, &was, &targets);
	v.refused[2] = 600;
	adaptive_look(&next, &targets, &v, now + TICK); /* earlier refusals are not news to it */
	assert_true(next.refused_share < 1e-4);
	adaptive_write(&next, &targets, &now_is);
	assert_int_equal(now_is.ceiling, was.ceiling);
	assert_true(now_is.rate - was.rate + 2U <= 4);
	/* Amid an overload, a restart is no calm. */
	for (double share = 0.01; share < 0.3; share *= 2) {
		a.refused_share = share;
		a.ceiling = 5;
		adaptive_write(&a, &targets, &was);
		adaptive_init(&next, now);
		adaptive_adopt(&next, &was, &targets);
		adaptive_write(&next, &targets, &now_is);
		assert_in_range(now_is.queue_budget, 0.85 * (double)was.queue_budget,
				1.02 * (double)was.queue_budget);
		assert_true(now_is.ceiling <= was.ceiling + 1);
	}
	was.rate = 0; /* without streams */
	adaptive_init(&next, now);
	adaptive_adopt(&next, &was, &targets);
	adaptive_write(&next, &targets, &now_is);
	assert_int_equal(now_is.ceiling, was.ceiling);
	/* An earlier daemon may have written any number. */
	was.ceiling = UINT32_MAX;
	adaptive_init(&next, now);
	adaptive_adopt(&next, &was, &targets);
	assert_true(next.ceiling <= ADAPTIVE_CEILING_MAX);
}

static void a_stopped_pool_stays_stopped_under_a_new_daemon(void **state)
{
	static const struct adaptive_targets none = {.floor = 2};
	struct adaptive a, next;
	struct adaptive_view v = {.in_flight = 8, .waiting = 8, .waiting_bytes = 16000};
	struct sluice_admission was, out;
	uint64_t now = 1000 * S;

	for (unsigned samples = 1; samples <= 50; samples += 49) { /* with a rate and without one */
		adaptive_init(&a, now);
		feed(&a, &v, samples, 100, 2000, &now);
		v.oldest_ns = 0;
		for (int i = 0; i < 55; i++) {
			v.oldest_ns += TICK;
			adaptive_look(&a, &targets, &v, now += TICK);
		}
		adaptive_write(&a, &targets, &was);
		assert_true(was.stopped);
		assert_int_equal(was.floor, 9); /* eight in flight and one probe */
		adaptive_init(&next, now);
		adaptive_adopt(&next, &was, &targets);
		adaptive_write(&next, &targets, &out);
		assert_true(out.stopped);
		assert_int_equal(out.floor, was.floor);
		for (int i = 0; i < 9; i++) { /* no probe before the next one's time */
			v.oldest_ns += TICK;
			adaptive_look(&next, &targets, &v, now += TICK);
			adaptive_write(&next, &targets, &out);
			assert_true(out.stopped);
			assert_int_equal(out.floor, was.floor);
		}
		/* The server moves again. */
		adaptive_ttft(&next, &targets, 9000, 2000, 2000, 8, 0, now += TICK);
		v.oldest_ns = 0;
		adaptive_look(&next, &targets, &v, now);
		adaptive_write(&next, &targets, &out);
		assert_false(out.stopped);
		assert_int_equal(out.floor, targets.floor);
	}
	/* Without a target nothing is late. */
	adaptive_init(&next, now);
	adaptive_adopt(&next, &was, &none);
	adaptive_write(&next, &none, &out);
	assert_false(out.stopped);
	assert_int_equal(out.floor, none.floor);
}

static void a_new_daemon_keeps_the_level_of_each_rank(void **state)
{
	struct adaptive a, next;
	struct adaptive_view v = {.in_flight = 20, .active_weight = 4};
	struct sluice_admission was, now_is;
	uint64_t now = known(&a, &v);

	for (int i = 0; i < 50; i++) {
		v.refused[admission_rank(SLUICE_CLASS_NORMAL, 0)]++;
		adaptive_look(&a, &targets, &v, now += TICK);
	}
	adaptive_write(&a, &targets, &was);
	assert_true(was.level[SLUICE_RANKS - 1] <
		    was.level[admission_rank(SLUICE_CLASS_NORMAL, 1)]);
	adaptive_init(&next, now);
	adaptive_adopt(&next, &was, &targets);
	adaptive_look(&next, &targets, &v, now + TICK);
	adaptive_write(&next, &targets, &now_is);
	for (int r = 0; r < SLUICE_RANKS; r++)
		assert_in_range(now_is.level[r] + 1, was.level[r], was.level[r] + 2);
	assert_true(now_is.fair + 4U >= was.fair && now_is.fair <= was.fair + 4U);
	/* An earlier daemon may have written any number. */
	for (int wild = 0; wild < 2; wild++) {
		memset(was.level, wild ? 0xff : 0, sizeof(was.level));
		memset(was.queue_budget_level, wild ? 0xff : 0, sizeof(was.queue_budget_level));
		was.level[0] = was.queue_budget_level[0] = 1;
		was.stopped = was.floor = UINT32_MAX;
		adaptive_init(&next, now);
		adaptive_adopt(&next, &was, &targets);
		adaptive_write(&next, &targets, &now_is);
		for (int r = 0; r < SLUICE_RANKS; r++)
			assert_in_range(now_is.level[r], r % 2 ? 1 : 18, ADMISSION_ALL);
		assert_int_equal(now_is.floor, ADAPTIVE_CEILING_MAX);
	}
}

static void late_requests_of_one_level_lower_the_ceiling_once(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {.in_flight = 10};
	uint64_t now = S;

	adaptive_init(&a, now);
	feed(&a, &v, 50, 100, 20000, &now);
	a.ceiling = 40;
	/*
	 * Ten late requests, each admitted with nine others in flight: all of them report one
	 * level.
	 */
	for (int i = 0; i < 10; i++)
		adaptive_ttft(&a, &targets, 3000, 1000, 1000, 10, 0, now += TICK);
	assert_true(fabs(a.ceiling - 9.5) < 1e-9);
}

static void requests_admitted_by_shadow_mode_do_not_move_the_ceiling(void **state)
{
	struct adaptive a;
	struct adaptive_view v = {
		.in_flight = 8, .waiting = 6, .waiting_bytes = 6000, .shadow_in_flight = 90};
	uint64_t now = S;

	adaptive_init(&a, now);
	feed(&a, &v, 10, 100, 20000, &now);
	for (int i = 0; i < 100; i++) { /* everything is late and slow, and more is refused */
		v.oldest_ns = 20 * S;
		v.refused[2]++;
		adaptive_ttft(&a, &targets, 20000, 1000, 1000, 8, 0, now += TICK);
		adaptive_gaps(&a, 500, 5, now);
		adaptive_look(&a, &targets, &v, now);
	}
	assert_true(a.ceiling >= 16 && !a.failed_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_kernels_integers_equal_wide_arithmetic),
		cmocka_unit_test(queued_bytes_stay_within_their_bounds),
		cmocka_unit_test(an_empty_admission_refuses_nothing),
		cmocka_unit_test(every_number_stays_within_its_bounds),
		cmocka_unit_test(the_same_input_gives_the_same_output),
		cmocka_unit_test(random_load_stops_a_pool_no_more_often_than_its_bound),
		cmocka_unit_test(the_worst_load_stops_a_pool_no_more_often_than_its_bound),
		cmocka_unit_test(stale_data_moves_neither_ceiling_nor_rate),
		cmocka_unit_test(the_first_samples_refuse_nothing),
		cmocka_unit_test(a_model_that_loads_first_refuses_nothing),
		cmocka_unit_test(the_queue_budget_is_the_rate_times_the_target),
		cmocka_unit_test(kernel_and_core_predict_the_same_wait),
		cmocka_unit_test(below_the_floor_every_request_is_admitted),
		cmocka_unit_test(a_stuck_server_gets_one_probe_at_a_time_until_it_wakes),
		cmocka_unit_test(probes_stay_below_the_ceiling),
		cmocka_unit_test(
			a_server_is_stuck_only_after_twice_the_time_that_its_queue_explains),
		cmocka_unit_test(
			replies_that_are_not_streamed_may_be_silent_for_as_long_as_they_take),
		cmocka_unit_test(old_gaps_do_not_move_the_ceiling),
		cmocka_unit_test(one_late_burst_refuses_nothing_that_comes_after_it),
		cmocka_unit_test(a_server_full_of_long_answers_is_not_stuck),
		cmocka_unit_test(a_lower_class_yields_its_slots_to_a_higher_one),
		cmocka_unit_test(
			a_client_above_its_share_leaves_a_slot_and_most_of_the_queue_budget),
		cmocka_unit_test(one_burst_does_not_bring_the_ceiling_below_itself),
		cmocka_unit_test(clients_within_their_share_queue_while_others_are_refused),
		cmocka_unit_test(only_a_client_with_over_twice_its_share_is_above_it),
		cmocka_unit_test(a_client_above_its_share_is_within_it_after_four_intervals),
		cmocka_unit_test(a_share_is_by_weight_among_the_active_clients),
		cmocka_unit_test(a_client_that_is_alone_has_no_share),
		cmocka_unit_test(a_new_daemon_goes_on_from_the_written_numbers),
		cmocka_unit_test(a_stopped_pool_stays_stopped_under_a_new_daemon),
		cmocka_unit_test(a_new_daemon_keeps_the_level_of_each_rank),
		cmocka_unit_test(late_requests_of_one_level_lower_the_ceiling_once),
		cmocka_unit_test(requests_admitted_by_shadow_mode_do_not_move_the_ceiling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
