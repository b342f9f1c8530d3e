/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The policy rests on two numbers. The rate says how fast the server takes up waiting bytes: what
 * was queued before each request, over the time that the request then waited. The ceiling limits
 * requests in flight for what bytes cannot show: slots, KV memory, decoding that slows with the
 * batch. The rate sets the queue budget at once. The ceiling moves in small steps, and stays below
 * a level that failed for a while. Where first tokens show how many slots the server has, the wait
 * for one of them is predicted, too.
 */
#include "adaptive.h"

#include <math.h>
#include <string.h>

/* The rate: bytes taken up per ms. */
#define RATE_MEMORY_S    10
#define RATE_SAMPLES_MIN 3 /* with fewer samples nothing is predicted */
/* A model that was idle for so long may have to be loaded again, which may take as long. */
#define COLD_S 60

/*
 * The queue budget, as a share of the target: it shrinks while requests are refused. While none
 * are, a request that would miss its target is served late: to refuse it would help nobody.
 */
#define BUDGET_BUSY      0.7 /* from REFUSED_MUCH on */
#define BUDGET_CALM      1.2 /* few are refused */
#define BUDGET_FREE      6   /* none are */
#define REFUSED_MUCH     0.2
#define REFUSED_LITTLE   0.02
#define REFUSED_NONE     0.001
#define REFUSED_MEMORY_S 10
/* Targets for which the server is trusted to work without a first token to show for it. */
#define CREDIT_MOST 1

/*
 * The first token that a request that waits for a slot may be expected to have, as a share of the
 * target. It is such that LATE_SHARE of them miss the target: a late first token lowers it, one on
 * time raises it. While none are refused, SPARE times the slots are open.
 */
#define LATE_SHARE 0.05
#define AIM_STEP   0.05
#define AIM_LEAST  0.5
#define SPARE      2

/* The ceiling. */
#define CEILING_START     16
#define CEILING_FREE      12
#define CUT               0.95
#define GROW              0.04 /* of itself in a step, less as the targets come near */
#define GROW_MOST         0.5  /* requests in a step */
#define WELL_BELOW_TARGET 0.5  /* of the targets: there the ceiling grows by a quarter */
#define HOLD_S            60   /* the ceiling stays below a failed level for so long */
/* Lateness, of the target, that queued bytes do not explain: slots or memory are full. */
#define UNEXPLAINED     0.7
#define BOUND           0.5 /* of the ceiling in flight: the ceiling may have caused a refusal */
#define ITL_FULL        0.95
#define MISSED_MOST     0.2  /* share of responses over the ITL target */
#define LATE_MOST       0.17 /* share of replies that are not streamed over theirs, … */
#define LATE_MANY       30.0 /* … with so many in flight; with fewer, one is evidence enough */
#define GAP_MEMORY_S    2
#define MISSED_MEMORY_S 3
#define REPLIES         10.0 /* means are over about so many */
#define DRIFT           0.1  /* a step back to CEILING_START while few are refused */
#define DRIFT_REFUSED   0.05

/* A lower class yields a step in each look in which a higher one was refused, and regains less. */
#define CLASS_STEP  0.05
#define CLASS_BACK  0.0125
#define CLASS_LEAST 0.1

/*
 * Shares. A client is above its share if it has more than FAIR_SHARES times its part of the
 * admissions or of the slots. Such a client leaves SPARED slots and most of the queue to others.
 */
#define FAIR_SHARES  2.0
#define PART_MOST    0.67  /* no client has more than this while others are active */
#define SLOTS_LEAST  4.004 /* every client may hold four slots; the rest guards against rounding */
#define SPARED       1.8   /* slots below the level that fails, which is one above the server's */
#define ABOVE_LEVEL  0.75  /* of the ceiling, while no level has failed */
#define ABOVE_BUDGET 0.45  /* of the target, for all bytes that would wait then */
/* Times the ceiling, for clients within their share while YIELDS holds: the rest ends soon. */
#define WITHIN_SHARE 1.6
#define YIELDS       0.5 /* share of the refused that are above their share, over YIELDS_S */
#define YIELDS_S     60
/* The failed level steps towards the next level that fails: one alone is weak evidence. */
#define FAILED_DOWN 0.94
#define FAILED_UP   1.03
#define FORGET      800   /* first tokens on time in a row, after which the failed level rises */
#define FAILED_BACK 1.002 /* by this factor with each */

#define DUE_TIMES 2 /* a pool stops when its next progress is due for twice the predicted time */
#define RECENT_S  3

static double seconds(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / 1e9 : 0;
}

/* Decays the old part, then adds `sum` of weight `weight`. */
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

static uint64_t whole(double value, double most)
{
	return value > most ? (uint64_t)most : value > 0 ? (uint64_t)value : 0;
}

/* 1 while nothing is refused, 0 from REFUSED_LITTLE on. */
static double freedom(const struct adaptive *a)
{
	return 1 - fmin(1, a->refused_share / REFUSED_LITTLE);
}

static double own_ceiling(const struct adaptive *a, const struct adaptive_targets *t)
{
	return floor(fmax(a->ceiling, t->floor));
}

/*
 * The ceiling that the kernel obeys. While nothing is refused, it is not small: a level that one
 * burst found is no reason to refuse the few that come after it. It is higher for
 * the clients within their share while most of the refused are above theirs.
 */
static uint32_t ceiling_now(const struct adaptive *a, const struct adaptive_targets *t)
{
	double ceiling = own_ceiling(a, t);

	if (mean(&a->above) > YIELDS)
		ceiling *= WITHIN_SHARE;
	ceiling += freedom(a) * fmax(0, CEILING_FREE - ceiling);
	return (uint32_t)whole(ceiling, ADAPTIVE_CEILING_MAX);
}

void adaptive_init(struct adaptive *a, uint64_t now_ns)
{
	memset(a, 0, sizeof(*a));
	a->ceiling = CEILING_START;
	a->aim = 1;
	a->look_ns = a->seen_ns = now_ns;
	a->cold_until_ns = now_ns;
	for (int c = 0; c < SLUICE_CLASSES; c++)
		a->class_level[c] = 1;
}

/* The share of refusals that explains a queue budget of `f` targets. */
static void adopt_refused(struct adaptive *a, double f)
{
	double much = (BUDGET_CALM - f) / (BUDGET_CALM - BUDGET_BUSY);
	double little = (BUDGET_FREE - f) / (BUDGET_FREE - BUDGET_CALM);

	a->refused_share = much > 0 ? REFUSED_LITTLE + much * (REFUSED_MUCH - REFUSED_LITTLE)
				    : fmax(0, little) * REFUSED_LITTLE;
}

/* The slots, and the time for which a request keeps one. */
static void adopt_slots(struct adaptive *a, const struct sluice_admission *was,
			const struct adaptive_targets *t)
{
	a->server.slots = was->slots;
	a->server.service_ms = was->service * ADMISSION_TICK_MS;
	if (t->ttft_ms > 0)
		a->aim = fmin(
			1, fmax(AIM_LEAST, was->slot_wait_most * ADMISSION_TICK_MS / t->ttft_ms));
}

static void adopt_rate(struct adaptive *a, const struct sluice_admission *was,
		       const struct adaptive_targets *t)
{
	a->rate = (double)was->rate / (1 << ADMISSION_RATE_SHIFT) /
		  ((double)(1 << ADMISSION_TICK_SHIFT) / 1e6);
	a->queued_bytes = (struct fading){a->rate * t->ttft_ms, t->ttft_ms, a->seen_ns};
	a->rate_samples = RATE_SAMPLES_MIN;
	a->last_token_ns = a->seen_ns;
	if (t->ttft_ms > 0)
		adopt_refused(a, (double)was->queue_budget / (a->rate * t->ttft_ms));
}

void adaptive_adopt(struct adaptive *a, const struct sluice_admission *was,
		    const struct adaptive_targets *t)
{
	if (was->ceiling)
		a->ceiling = fmin(fmax(was->ceiling, t->floor), ADAPTIVE_CEILING_MAX);
	if (a->ceiling < CEILING_FREE)
		a->refused_share = REFUSED_LITTLE;
	for (int c = 0; c < SLUICE_CLASSES; c++)
		if (was->queue_budget_level[2 * c])
			a->class_level[c] =
				fmin(1, fmax(CLASS_LEAST, sqrt(was->queue_budget_level[2 * c] /
							       (double)ADMISSION_ALL)));
	/* level[1], the highest class above its share, encodes the level that failed. */
	if (was->level[1] &&
	    was->level[1] != (uint16_t)(a->class_level[0] * ABOVE_LEVEL * ADMISSION_ALL) &&
	    was->level[1] < a->class_level[0] * ADMISSION_ALL)
		a->failed_level =
			was->level[1] / (a->class_level[0] * ADMISSION_ALL) * was->ceiling + SPARED;
	/* A stopped pool stays stopped until something moves, with the probe that it had. */
	if (was->stopped && t->ttft_ms > 0) {
		a->stopped = true;
		a->floor = was->floor < ADAPTIVE_CEILING_MAX ? was->floor : ADAPTIVE_CEILING_MAX;
		a->probing = was->floor > t->floor;
		a->probe_ns = a->seen_ns;
	}
	if (was->slots)
		adopt_slots(a, was, t);
	if (was->rate)
		adopt_rate(a, was, t);
	/* The flag does not hold the time of the last token. One target ago neither opens the pool
	 * nor makes it look cold. */
	if (a->stopped)
		a->last_token_ns = (uint64_t)fmax(1, (double)a->seen_ns - t->ttft_ms * 1e6);
}

/*
 * The server has shown progress at now_ns, on a request that it got `ms` before. Returns whether
 * that request may have waited for the model to load, or for a server that stood still.
 */
static bool progress(struct adaptive *a, double ms, uint64_t now_ns)
{
	bool cold = !a->last_token_ns || seconds(a->last_token_ns, now_ns) > COLD_S + ms / 1e3;

	a->last_token_ns = now_ns;
	a->due_bytes = 0;
	a->fresh++;
	if (cold || a->stopped)
		a->cold_until_ns = now_ns;
	return (double)now_ns - ms * 1e6 < (double)a->cold_until_ns;
}

/* A request was late that met so many in flight. */
static void level_failed(struct adaptive *a, const struct adaptive_targets *t, double in_flight,
			 uint64_t now_ns)
{
	bool held = a->failed_ns && seconds(a->failed_ns, now_ns) < HOLD_S;

	a->ceiling = fmin(a->ceiling, fmax(t->floor, CUT * in_flight));
	a->failed_at = held ? fmin(a->failed_at, in_flight) : in_flight;
	a->failed_level = !(a->failed_level > 0) ? in_flight
			  : in_flight < a->failed_level
				  ? fmax(in_flight, a->failed_level * FAILED_DOWN)
				  : fmin(in_flight, a->failed_level * FAILED_UP);
	a->failed_ns = now_ns;
	a->on_time = 0;
}

static void move_aim(struct adaptive *a, bool late)
{
	if (late)
		a->aim = fmax(AIM_LEAST, a->aim - AIM_STEP);
	else
		a->aim = fmin(1, a->aim + AIM_STEP * LATE_SHARE / (1 - LATE_SHARE));
}

void adaptive_ttft(struct adaptive *a, const struct adaptive_targets *t, double ms, uint32_t bytes,
		   uint32_t queued_bytes, uint32_t in_flight_at_admission, uint32_t served,
		   uint64_t now_ns)
{
	double target = target_ms(t, bytes);

	if (progress(a, ms, now_ns) || !(ms > 0))
		return;
	if (a->seen.shadow_in_flight <= 0)
		server_slots_first_token(
			&a->server, ms,
			a->rate_samples >= RATE_SAMPLES_MIN ? queued_bytes / a->rate : -1, served);
	if (a->server.slots > 0 && in_flight_at_admission > a->server.slots) {
		if (target > 0 && queued_bytes / a->rate < target)
			move_aim(a, ms > target);
		return; /* its wait was for a slot, and says nothing of the rate */
	}
	fade(&a->queued_bytes, queued_bytes, ms, now_ns, RATE_MEMORY_S);
	a->rate_samples += a->rate_samples < RATE_SAMPLES_MIN;
	a->rate = mean(&a->queued_bytes);
	if (!(target > 0))
		return;
	a->ttft.sum += ms / fmax(target, bytes / a->rate);
	a->ttft.weight += 1;
	/*
	 * The request is late, and queued bytes do not explain it. The cut is below what it met
	 * while it waited, so one burst is one piece of evidence. Of several failed levels the
	 * lowest holds. Load that only shadow mode admits makes a level meaningless.
	 */
	if (ms > target && in_flight_at_admission > 1 && a->seen.shadow_in_flight <= 0 &&
	    a->rate_samples >= RATE_SAMPLES_MIN &&
	    ms - queued_bytes / a->rate >= UNEXPLAINED * target) {
		level_failed(a, t,
			     recent_load_mean(&a->load, now_ns - (uint64_t)(ms * 1e6), now_ns),
			     now_ns);
	} else if (++a->on_time > FORGET && a->failed_level < a->ceiling) {
		a->failed_level *= FAILED_BACK;
	}
}

void adaptive_gaps(struct adaptive *a, double sum_ms, uint32_t n, uint64_t now_ns)
{
	if (!n)
		return;
	fade(&a->gap, sum_ms, n, now_ns, GAP_MEMORY_S);
	a->fresh++;
}

void adaptive_ended(struct adaptive *a, const struct adaptive_targets *t, double mean_ms,
		    uint64_t now_ns)
{
	fade(&a->missed, t->itl_ms > 0 && mean_ms > t->itl_ms, 1, now_ns, MISSED_MEMORY_S);
	a->fresh++;
}

/*
 * The time of a reply that is not streamed, over what its targets allow. It shows neither its first
 * token nor its gaps, so it may use what both targets allow together.
 */
static double whole_ratio(const struct adaptive_targets *t, double ms, uint32_t bytes,
			  uint32_t tokens)
{
	double ratio = t->duration_ms > 0 ? ms / t->duration_ms : 0;

	if (tokens && t->ttft_ms > 0 && t->itl_ms > 0)
		ratio = fmax(ratio, ms / (target_ms(t, bytes) + tokens * t->itl_ms));
	if (tokens && t->normalized_ms > 0)
		ratio = fmax(ratio, ms / (tokens * t->normalized_ms));
	return ratio;
}

void adaptive_duration(struct adaptive *a, const struct adaptive_targets *t, double ms,
		       uint32_t bytes, uint32_t tokens, uint32_t in_flight_at_admission,
		       uint64_t now_ns)
{
	double ratio = whole_ratio(t, ms, bytes, tokens), most;

	a->reply_ms += (ms - a->reply_ms) / REPLIES;
	if (progress(a, ms, now_ns) || !(ratio > 0))
		return;
	a->whole.sum += ratio;
	a->whole.weight += 1;
	a->missed_whole += ((ratio > 1) - a->missed_whole) / REPLIES;
	/* A duration is old when it comes: its late replies were admitted before the last cut. */
	most = LATE_MOST * fmin(1, in_flight_at_admission / LATE_MANY);
	if (ratio > 1 && a->missed_whole > most && in_flight_at_admission > 1 &&
	    a->seen.shadow_in_flight <= 0)
		level_failed(a, t, in_flight_at_admission, now_ns);
}

static uint64_t refused_of(const struct adaptive_view *v)
{
	uint64_t sum = 0;

	for (int r = 0; r < SLUICE_RANKS; r++)
		sum += v->refused[r];
	return sum;
}

/* The share of replies that missed their target, as a ratio of the share that may. */
static double missed_ratio(const struct fading *missed)
{
	double share = mean(missed);

	return share > MISSED_MOST ? share / MISSED_MOST : 0;
}

/* Moves the ceiling one step, by the worst ratio of a latency to its target. */
static void move_ceiling(struct adaptive *a, const struct adaptive_targets *t,
			 const struct adaptive_view *v, uint64_t now_ns)
{
	double over = fmin(1, mean(&a->whole)), step;
	bool held = a->failed_ns && seconds(a->failed_ns, now_ns) < HOLD_S &&
		    a->ceiling >= CUT * a->failed_at;

	if (t->ttft_ms > 0)
		over = fmax(over, fmax((double)v->oldest_ns / 1e6 / t->ttft_ms, mean(&a->ttft)));
	/* Where few responses are streamed, the last gaps may be old. */
	if (t->itl_ms > 0 && seconds(a->gap.last_ns, now_ns) <= GAP_MEMORY_S)
		over = fmax(over, mean(&a->gap) / t->itl_ms / ITL_FULL);
	if (seconds(a->missed.last_ns, now_ns) <= MISSED_MEMORY_S)
		over = fmax(over, missed_ratio(&a->missed));
	a->ttft = a->whole = (struct fading){0};
	if (v->shadow_in_flight > 0 || a->moved.shadow_in_flight > 0)
		return; /* this policy did not admit all of that load */
	if (over > 1) {
		a->ceiling = fmax(t->floor, CUT * a->ceiling);
	} else if (a->bound) {
		step = fmin(GROW_MOST, GROW * a->ceiling) * fmin(1, 2 * (1 - over));
		if (over < WELL_BELOW_TARGET)
			step = fmax(step, a->ceiling / 4);
		if (!held)
			a->ceiling = fmin(ADAPTIVE_CEILING_MAX, a->ceiling + step);
	} else if (over < WELL_BELOW_TARGET && a->ceiling < CEILING_START &&
		   a->refused_share < DRIFT_REFUSED) {
		a->ceiling = fmin(CEILING_START, a->ceiling + DRIFT);
	}
}

/*
 * A class yields when a higher class was refused. It regains its level slowly, so that the next
 * request of the higher class finds a slot.
 */
static void move_levels(struct adaptive *a, const struct adaptive_view *v)
{
	bool above = false;

	for (int c = 0; c < SLUICE_CLASSES; c++) {
		bool refused[2] = {v->refused[2 * c] != a->moved.refused[2 * c],
				   v->refused[2 * c + 1] != a->moved.refused[2 * c + 1]};

		a->class_level[c] += above ? -CLASS_STEP : CLASS_BACK;
		a->class_level[c] = fmin(1, fmax(CLASS_LEAST, a->class_level[c]));
		above |= refused[0] || refused[1];
	}
}

/*
 * Bytes that the server takes up before it can show progress: those that waited at the last
 * progress, or when a request began to wait with nothing before it that shows a first token.
 */
static void note_due(struct adaptive *a, const struct adaptive_view *v, uint64_t now_ns)
{
	bool begins = !a->due_bytes || v->oldest_ns <= now_ns - a->seen_ns;

	if (v->in_flight <= 0)
		a->due_bytes = 0;
	else if (begins && v->waiting_bytes > a->due_bytes)
		a->due_bytes = v->waiting_bytes;
}

/* Whether the server is stuck. Replies that are not streamed show nothing until they end. */
static bool stuck(const struct adaptive *a, const struct adaptive_targets *t,
		  const struct adaptive_view *v, uint64_t now_ns)
{
	double target_s = t->ttft_ms / 1e3, patience_s = target_s, silence_s = target_s,
	       oldest_s = (double)v->oldest_ns / 1e9;

	if (a->rate > 0)
		patience_s = fmax(target_s,
				  fmin(COLD_S, DUE_TIMES * (double)a->due_bytes / a->rate / 1e3));
	if (!a->last_token_ns || seconds(a->last_token_ns, now_ns) > COLD_S + oldest_s)
		patience_s += COLD_S; /* it may be loading */
	if (v->in_flight > v->waiting)
		silence_s = fmax(target_s, fmin(COLD_S, a->reply_ms / 1e3));
	return target_s > 0 && oldest_s >= patience_s &&
	       seconds(a->last_token_ns, now_ns) >= silence_s &&
	       seconds(a->gap.last_ns, now_ns) >= silence_s &&
	       seconds(a->opened_ns, now_ns) >= target_s;
}

/*
 * One request may pass below the ceiling, to see whether the server moves. It is unanswered until
 * something ends: a client that hangs up makes room for the next probe, at most one a target.
 */
static void move_probe(struct adaptive *a, const struct adaptive_targets *t,
		       const struct adaptive_view *v, uint64_t now_ns)
{
	if (a->probing && v->admitted != a->probe_admitted)
		a->probing = false;
	if (!a->probe_ns || (!a->probing && v->ended != a->probe_ended &&
			     seconds(a->probe_ns, now_ns) >= t->ttft_ms / 1e3)) {
		a->probing = true;
		a->probe_ns = now_ns;
		a->probe_admitted = v->admitted;
		a->probe_ended = v->ended;
	}
	a->floor = t->floor;
	if (a->probing && v->in_flight >= t->floor && v->in_flight < ceiling_now(a, t))
		a->floor = (uint32_t)v->in_flight + 1;
}

/*
 * A server is stuck if the oldest request waits longer than its target, and longer than the queue
 * explains, and nothing came for as long: no token and no end of a response. Then only the floor
 * and one probe are open, so that a server that recovers is noticed. A server with its slots full
 * of long answers is not stuck: there the ceiling falls. A pool that opened stays open for one
 * target. So it stops once a target at most, whatever clients do, and a client that hangs up at
 * each stop cannot make it flap.
 */
static void move_stop(struct adaptive *a, const struct adaptive_targets *t,
		      const struct adaptive_view *v, uint64_t now_ns)
{
	bool stop;

	note_due(a, v, now_ns);
	stop = stuck(a, t, v, now_ns);
	if (a->stopped && !stop)
		a->opened_ns = now_ns;
	if (!stop || !a->stopped)
		a->probe_ns = 0;
	a->stopped = stop;
	if (stop)
		move_probe(a, t, v, now_ns);
	else
		a->floor = t->floor;
}

void adaptive_look(struct adaptive *a, const struct adaptive_targets *t,
		   const struct adaptive_view *v, uint64_t now_ns)
{
	double dt = seconds(a->seen_ns, now_ns), d = exp(-dt / RECENT_S), refused, arrived,
	       above = 0;

	if (!a->looked) { /* earlier totals are no news */
		a->looked = true;
		a->seen = a->moved = *v;
		a->probe_admitted = v->admitted;
		a->probe_ended = v->ended;
	}
	recent_load_note(&a->load, (double)v->in_flight, now_ns);
	refused = (double)(refused_of(v) - refused_of(&a->seen));
	arrived = refused + (double)(v->admitted - a->seen.admitted);
	a->arrivals = a->arrivals * d + arrived;
	a->arrivals_refused = a->arrivals_refused * d + refused;
	a->ended = a->ended * d + (double)(v->ended - a->seen.ended);
	if (arrived > 0) {
		double w = 1 - exp(-dt / REFUSED_MEMORY_S);

		a->refused_share += w * (refused / arrived - a->refused_share);
	}
	for (int r = 1; r < SLUICE_RANKS; r += 2)
		above += (double)(v->refused[r] - a->seen.refused[r]);
	fade(&a->above, above, refused, now_ns, YIELDS_S);
	a->active_weight = v->active_weight;
	if (!a->stopped)
		server_slots_pass(&a->server, 1000 * dt, (double)a->seen.in_flight,
				  (double)(v->ended - a->seen.ended));
	move_stop(a, t, v, now_ns);
	a->bound |= (double)v->in_flight >= a->ceiling - 1 ||
		    (refused > 0 && (double)v->in_flight >= BOUND * a->ceiling);
	if (seconds(a->look_ns, now_ns) * 1000 >= ADAPTIVE_LOOK_MS) {
		move_levels(a, v);
		if (a->fresh)
			move_ceiling(a, t, v, now_ns);
		a->fresh = 0;
		a->bound = false;
		a->look_ns = now_ns;
		a->moved = *v;
	}
	a->seen = *v;
	a->seen_ns = now_ns;
}

/*
 * Clients above their share may use most of the slots and a small part of the queue. So a client
 * within its share finds a slot, or finds one soon, behind a short queue. `own` is the pool's own
 * ceiling, `f` the queue budget as a share of the target. While nothing is refused there is room
 * for all, and shares take nothing away.
 */
static void write_levels(const struct adaptive *a, struct sluice_admission *out, double own,
			 double f)
{
	double slots = ABOVE_LEVEL * own, above_budget = fmin(1, ABOVE_BUDGET / f), above,
	       fails = 0;

	if (a->server.slots > 0)
		fails = a->server.slots + 1;
	if (a->failed_level > 0)
		fails = fails > 0 ? fmin(fails, a->failed_level) : a->failed_level;
	if (fails > 0)
		slots = fmax(1, fails - SPARED);
	above = fmin(own, slots) / out->ceiling;
	if (a->refused_share < REFUSED_NONE)
		above = above_budget = 1;
	for (int r = 0; r < SLUICE_RANKS; r++) {
		double class = a->class_level[r / 2], level = r % 2 ? above : 1;

		/* The square, for the queue budget: a queue shuts others out more than slots do. */
		out->level[r] = (uint16_t)ceil(class * level * ADMISSION_ALL);
		out->queue_budget_level[r] = (uint16_t)fmax(
			1, class * class * (r % 2 ? above_budget : 1) * ADMISSION_ALL);
	}
}

void adaptive_write(const struct adaptive *a, const struct adaptive_targets *t,
		    struct sluice_admission *out)
{
	double free = freedom(a), own = own_ceiling(a, t);
	double calm = 1 - fmin(1, a->refused_share / REFUSED_MUCH);
	double f = BUDGET_BUSY + (BUDGET_CALM - BUDGET_BUSY) * calm +
		   (BUDGET_FREE - BUDGET_CALM) * free;
	bool predicts = t->ttft_ms > 0 && a->rate_samples >= RATE_SAMPLES_MIN;

	memset(out, 0, sizeof(*out));
	out->floor = a->floor > t->floor ? a->floor : t->floor;
	out->ceiling = ceiling_now(a, t);
	out->stopped = a->stopped;
	if (predicts && a->rate > 0) {
		out->queue_budget = whole(a->rate * f * t->ttft_ms, 1e15);
		out->queue_budget_per_kib = (uint32_t)whole(a->rate * f * t->ttft_ms_per_kib, 4e9);
		out->credit_most = whole(a->rate * CREDIT_MOST * t->ttft_ms, 1e15);
		out->rate =
			(uint32_t)whole(ceil(a->rate * ((double)(1 << ADMISSION_TICK_SHIFT) / 1e6) *
					     (1 << ADMISSION_RATE_SHIFT)),
					4e9);
	}
	/* Clients within their share wait for those above theirs, who end soon: not asked. */
	if (predicts && a->server.slots > 0 && mean(&a->above) <= YIELDS) {
		out->slots = (uint32_t)fmax(1, whole(a->server.slots + 0.5, ADAPTIVE_CEILING_MAX));
		out->service = (uint32_t)whole(a->server.service_ms / ADMISSION_TICK_MS, 4e9);
		out->slot_wait_most = (uint32_t)whole(a->aim * t->ttft_ms / ADMISSION_TICK_MS, 4e9);
		out->slot_wait_most_per_kib =
			(uint32_t)whole(a->aim * t->ttft_ms_per_kib / ADMISSION_TICK_MS, 4e9);
		out->spare =
			(uint32_t)whole(free * SPARE * a->server.slots + 0.5, ADAPTIVE_CEILING_MAX);
	}
	if (a->active_weight > 1) {
		double part = fmin(FAIR_SHARES / a->active_weight, PART_MOST);

		out->interval = (uint32_t)whole(ADMISSION_ALL / part, 4e9);
		out->fair = (uint32_t)whole(fmax(SLOTS_LEAST, part * own) * ADMISSION_ALL, 4e9);
	}
	write_levels(a, out, own, f);
}

uint32_t adaptive_retry_ms(const struct adaptive *a)
{
	double per_s = a->ended / RECENT_S, excess = a->arrivals_refused / RECENT_S;
	double ms = per_s > 0 ? 1000 * (1 + excess / per_s) : 2000;

	return (uint32_t)whole(fmax(ms, 1000), 60000);
}
