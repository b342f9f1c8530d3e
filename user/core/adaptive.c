/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Two numbers rule: how fast the server takes up waiting bytes, measured by what each request had before it when it was
 * admitted and how long it then waited; and a ceiling on requests in flight for what bytes cannot show (slots, KV
 * memory, decoding that slows with the batch). The rate gives the room of the queue at once; the ceiling
 * moves in small steps, and remembers for a while the level that failed.
 */
#include "adaptive.h"

#include <math.h>
#include <string.h>

#define CEILING_START 16
#define RATE_MEMORY_S 10
#define RATE_SAMPLES_MIN 3 /* no verdict rests on fewer */
#define HOLD_S 30 /* the ceiling stays below the level that failed for so long */
#define CUT 0.95
#define FULL 0.3 /* of the target: later than it with less than this much of it queued means slots or memory are full */
#define ITL_FULL 0.95
#define MISSED_MOST 0.2
#define GAP_MEMORY_S 2
#define MISSED_MEMORY_S 3
#define SHARE_MEMORY_S 10
#define RECENT_S 3
#define ACTIVE_MEMORY_S 5
#define ROOM_BUSY 0.7 /* of the target, while much is refused; and … */
#define ROOM_IDLE 1.2 /* … while nothing is */
#define CREDIT_MOST 1
#define LONG_MOST_MS 1000
#define ROOM_FREE 0.4
#define FREE_SHARE 0.02
#define GROW 0.04
#define GROW_MOST 0.5
#define DRIFT 0.5
#define DRIFT_STEP 0.1
#define DRIFT_SHARE 0.05
#define CLASS_STEP 0.05
#define CLASS_BACK 0.0125
#define CLASS_LEAST 0.1
#define ABOVE_STEP 0.25
#define ABOVE_BACK 0.001
#define ABOVE_LEAST 0.6
#define FAIR_LEAST 513
#define BOUND_PART 0.5
#define COLD_NS 60000000000ULL /* a model that was idle for so long may have to be loaded again, which may take as long */

static double seconds(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / 1e9 : 0;
}

/* Lets what is old fade, and adds `sum` of weight `weight`. */
static void fade(struct fading *f, double sum, double weight, uint64_t now, double memory_s)
{
	double d = exp(-seconds(f->last_ns, now) / memory_s);

	f->sum = f->sum * d + sum;
	f->weight = f->weight * d + weight;
	if (now > f->last_ns)
		f->last_ns = now;
}

static double mean(const struct fading *f)
{
	return f->weight > 1e-9 ? f->sum / f->weight : 0;
}

static double target_ms(const struct adaptive_targets *t, uint32_t bytes)
{
	return t->ttft_ms + t->ttft_ms_per_kib * bytes / 1024;
}

void adaptive_init(struct adaptive *a, uint64_t now_ns)
{
	memset(a, 0, sizeof(*a));
	a->ceiling = CEILING_START;
	a->look_ns = a->seen_ns = now_ns;
	a->cold_until_ns = now_ns;
	for (int c = 0; c < SLUICE_CLASSES; c++)
		a->class_level[c] = 1;
	a->above_level = 1;
}

void adaptive_adopt(struct adaptive *a, const struct sluice_admission *was, const struct adaptive_targets *t)
{
	if (was->ceiling)
		a->ceiling = fmin(fmax(was->ceiling, t->floor), ADAPTIVE_CEILING_MAX);
	if (!was->rate)
		return;
	a->rate = a->fast_rate = (double)was->rate / (1 << ADMISSION_RATE_SHIFT) /
				 ((double)(1 << ADMISSION_TICK_SHIFT) / 1e6);
	a->bytes_ahead = (struct fading){a->rate * t->ttft_ms, t->ttft_ms, a->seen_ns};
	a->rate_samples = RATE_SAMPLES_MIN;
	a->last_token_ns = a->seen_ns;
}

void adaptive_ttft(struct adaptive *a, const struct adaptive_targets *t, double ms, uint32_t bytes, uint32_t ahead,
		   uint32_t beside, uint64_t now_ns)
{
	bool cold = !a->last_token_ns || seconds(a->last_token_ns, now_ns) > COLD_NS / 1e9 + ms / 1e3;
	uint64_t admitted_ns = now_ns - (uint64_t)(ms * 1e6);
	double target = target_ms(t, bytes), speed;

	a->last_token_ns = now_ns;
	a->probe_ns = now_ns;
	a->fresh++;
	if (cold)
		a->cold_until_ns = now_ns;
	if (admitted_ns < a->cold_until_ns || !(ms > 0))
		return; /* it waited for the model to be loaded */
	fade(&a->bytes_ahead, ahead, ms, now_ns, RATE_MEMORY_S);
	a->rate_samples += a->rate_samples < RATE_SAMPLES_MIN;
	a->rate = mean(&a->bytes_ahead);
	speed = ahead / ms;
	if (!(a->fast_rate > 0))
		a->fast_rate = speed;
	a->fast_rate += (speed > a->fast_rate ? 0.3 : 0.01) * (speed - a->fast_rate);
	if (!(target > 0))
		return;
	a->ttft.sum += ms / fmax(target, bytes / a->rate);
	a->ttft.weight += 1;
	/* Late, though little stood before it. It is held against what was in flight then: an old sample cuts once. */
	if (ms > target && beside > 1 && a->rate_samples >= RATE_SAMPLES_MIN && ahead <= FULL * target * a->fast_rate) {
		a->ceiling = fmin(a->ceiling, fmax(t->floor, CUT * beside));
		a->failed_at = beside;
		a->failed_ns = now_ns;
	}
}

void adaptive_gaps(struct adaptive *a, double sum_ms, uint32_t n, uint64_t now_ns)
{
	fade(&a->gap, sum_ms, n, now_ns, GAP_MEMORY_S);
	a->probe_ns = now_ns;
	a->fresh++;
}

void adaptive_ended(struct adaptive *a, const struct adaptive_targets *t, double mean_ms, uint64_t now_ns)
{
	fade(&a->missed, t->itl_ms > 0 && mean_ms > t->itl_ms, 1, now_ns, MISSED_MEMORY_S);
	a->fresh++;
}

static uint64_t refused_of(const struct adaptive_view *v)
{
	uint64_t sum = 0;

	for (int r = 0; r < SLUICE_RANKS; r++)
		sum += v->refused[r];
	return sum;
}

/* The ceiling's step, by the worst of what can be over its target. */
static void move_ceiling(struct adaptive *a, const struct adaptive_targets *t, const struct adaptive_view *v,
			 bool bound, uint64_t now_ns)
{
	double over = 0, missed = mean(&a->missed), step;

	if (t->ttft_ms > 0)
		over = fmax(v->oldest_ns / 1e6 / t->ttft_ms, mean(&a->ttft));
	if (t->itl_ms > 0)
		over = fmax(over, fmax(mean(&a->gap) / t->itl_ms / ITL_FULL,
				       missed > MISSED_MOST ? missed / MISSED_MOST : 0));
	a->ttft = (struct fading){0};
	if (over > 1) {
		a->ceiling = fmax(t->floor, CUT * a->ceiling);
		return;
	}
	if (!bound) { /* back to what it began with, where nothing speaks against it */
		if (over < DRIFT && a->ceiling < CEILING_START && a->refused_share < DRIFT_SHARE)
			a->ceiling = fmin(CEILING_START, a->ceiling + DRIFT_STEP);
		return;
	}
	step = fmin(GROW_MOST, GROW * a->ceiling) * fmin(1, 2 * (1 - over));
	if (over < 0.5) /* ample room: slow start, again */
		step = fmax(step, a->ceiling / 4);
	if (a->ceiling >= 0.9 * a->failed_at && a->failed_ns && seconds(a->failed_ns, now_ns) < HOLD_S)
		step = 0;
	a->ceiling = fmin(ADAPTIVE_CEILING_MAX, a->ceiling + step);
}

/*
 * Whoever stands lower makes room for whoever was refused above: a class for those before it, a client above its share for
 * those within theirs. What they give up comes back slowly, so that room is there when the next one comes.
 */
static void move_levels(struct adaptive *a, const struct adaptive_view *v)
{
	bool above = false, within = false;

	for (int c = 0; c < SLUICE_CLASSES; c++) {
		bool refused[2] = {v->refused[2 * c] != a->moved.refused[2 * c],
				   v->refused[2 * c + 1] != a->moved.refused[2 * c + 1]};

		a->class_level[c] += above ? -CLASS_STEP : CLASS_BACK;
		a->class_level[c] = fmin(1, fmax(CLASS_LEAST, a->class_level[c]));
		above |= refused[0] || refused[1];
		within |= refused[0];
	}
	a->above_level = fmin(1, fmax(ABOVE_LEAST, a->above_level + (within ? -ABOVE_STEP : ABOVE_BACK)));
}

/* Nothing waiting moves: stop; and let one more in a target while nothing comes, so that a server that wakes is seen. */
static void move_stop(struct adaptive *a, const struct adaptive_targets *t, const struct adaptive_view *v,
		      uint64_t now_ns)
{
	uint64_t target_ns = (uint64_t)(t->ttft_ms * 1e6), patience = target_ns;
	bool stop;

	/* Nothing is wrong with what takes long because it is long. */
	if (a->rate > 0)
		patience = (uint64_t)(1e6 * fmin(fmax(t->ttft_ms, (double)v->waiting_bytes / a->rate), t->ttft_ms + LONG_MOST_MS));
	if (!a->last_token_ns ||
	    seconds(a->last_token_ns, now_ns) > COLD_NS / 1e9 + v->oldest_ns / 1e9)
		patience += COLD_NS; /* it may be loading */
	stop = target_ns && v->oldest_ns >= patience && now_ns - a->last_token_ns >= target_ns;
	if (stop != a->stopped)
		a->moves++;
	a->stopped = stop;
	if (!stop) {
		a->floor = t->floor;
	} else if (now_ns - a->probe_ns >= target_ns) {
		a->probe_ns = now_ns;
		a->floor = v->in_flight >= t->floor ? (uint32_t)v->in_flight + 1 : t->floor;
	}
}

void adaptive_look(struct adaptive *a, const struct adaptive_targets *t, const struct adaptive_view *v,
		   uint64_t now_ns)
{
	double dt = seconds(a->seen_ns, now_ns), d = exp(-dt / RECENT_S);
	double refused = (double)(refused_of(v) - refused_of(&a->seen));
	double arrived = refused + (double)(v->admitted - a->seen.admitted);

	a->arrivals = a->arrivals * d + arrived;
	a->arrivals_refused = a->arrivals_refused * d + refused;
	a->ended = a->ended * d + (double)(v->ended - a->seen.ended);
	if (arrived > 0) {
		double w = 1 - exp(-dt / SHARE_MEMORY_S);

		a->refused_share += w * (refused / arrived - a->refused_share);
	}
	a->active_weight += (1 - exp(-dt / ACTIVE_MEMORY_S)) * (v->active_weight - a->active_weight);
	move_stop(a, t, v, now_ns);
	a->bound |= (refused > 0 && v->in_flight >= BOUND_PART * a->ceiling) || v->in_flight >= a->ceiling - 1;
	if (seconds(a->look_ns, now_ns) * 1000 >= ADAPTIVE_LOOK_MS) {
		move_levels(a, v);
		if (a->fresh)
			move_ceiling(a, t, v, a->bound, now_ns);
		a->fresh = 0;
		a->bound = false;
		a->look_ns = now_ns;
		a->moved = *v;
	}
	a->seen = *v;
	a->seen_ns = now_ns;
}

static uint64_t whole(double value, double most)
{
	return value > most ? (uint64_t)most : value > 0 ? (uint64_t)value : 0;
}

void adaptive_write(const struct adaptive *a, const struct adaptive_targets *t, struct sluice_admission *out)
{
	double f = ROOM_BUSY + (ROOM_IDLE - ROOM_BUSY) * (1 - fmin(1, a->refused_share / 0.2)) + ROOM_FREE * (1 - fmin(1, a->refused_share / FREE_SHARE));
	bool predicts = t->ttft_ms > 0 && a->rate_samples >= RATE_SAMPLES_MIN;

	memset(out, 0, sizeof(*out));
	out->floor = a->floor > t->floor ? a->floor : t->floor;
	out->ceiling = (uint32_t)whole(fmax(a->ceiling, t->floor), ADAPTIVE_CEILING_MAX);
	out->stopped = a->stopped;
	if (predicts && a->rate > 0) {
		out->room = whole(a->rate * f * t->ttft_ms, 1e15);
		out->room_per_kib = (uint32_t)whole(a->rate * f * t->ttft_ms_per_kib, 4e9);
		out->credit_most = whole(a->rate * CREDIT_MOST * t->ttft_ms, 1e15);
		out->rate = (uint32_t)whole(ceil(a->rate * ((double)(1 << ADMISSION_TICK_SHIFT) / 1e6) *
						 (1 << ADMISSION_RATE_SHIFT)), 4e9);
	}
	if (a->active_weight > 1)
		out->fair = (uint32_t)whole(fmax(FAIR_LEAST, a->ceiling / a->active_weight * ADMISSION_ALL), 4e9);
	for (int r = 0; r < SLUICE_RANKS; r++)
		out->level[r] = (uint16_t)(a->class_level[r / 2] * (r % 2 ? a->above_level : 1) * ADMISSION_ALL);
}

uint32_t adaptive_retry_ms(const struct adaptive *a)
{
	double per_s = a->ended / RECENT_S, excess = a->arrivals_refused / RECENT_S;
	double ms = per_s > 0 ? 1000 * (1 + excess / per_s) : 2000;

	return (uint32_t)whole(fmax(ms, 1000), 60000);
}
