/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A step of the engine takes step_ms, step_ms_per_seq for each stream, and the time of the prompt's
 * tokens in it. So ITL is a line over the streams. TTFT on an idle server is nearly a line over the
 * prompt's tokens: each token costs its own time and its part of a chunk's step_ms. The gap of a
 * stream beside a full chunk has the same two unknowns, the rate and the chunk.
 */
#include "calibrate/fit.h"

#include <math.h>
#include <stdlib.h>

/* The bounds of sluice-sim's options. */
#define RATE_MAX  1e9
#define CHUNK_MAX 1e9
#define STEP_MIN  0.001
#define STEP_MAX  1e4
#define SEQ_MAX   1e3

#define SHOWS       1.5 /* a gap that is as many times the usual one shows a prompt */
#define LEAST_SHOWN 1.0 /* ms: the longest prompt adds as much to TTFT, or a clock cannot tell */
#define ROUNDS      16

static double ms(uint64_t from_ns, uint64_t to_ns)
{
	return (double)(int64_t)(to_ns - from_ns) / 1e6;
}

static double clamp(double value, double least, double most)
{
	return value < least ? least : value > most ? most : value;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void fit_sort(double *values, uint32_t count)
{
	qsort(values, count, sizeof(*values), by_value);
}

static double median(double *values, uint32_t count)
{
	fit_sort(values, count);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* The line that fits best; the error of a point weighs as 1 / ms. One point: level. */
static void line(const struct fit_point *points, uint32_t count, double *at_zero, double *slope)
{
	double w = 0, x = 0, y = 0, xx = 0, xy = 0;

	for (uint32_t i = 0; i < count; i++) {
		double weight = 1 / fmax(points[i].ms, 1e-6);

		w += weight;
		x += weight * points[i].x;
		y += weight * points[i].ms;
	}
	x /= w;
	y /= w;
	for (uint32_t i = 0; i < count; i++) {
		double weight = 1 / fmax(points[i].ms, 1e-6), dx = points[i].x - x;

		xx += weight * dx * dx;
		xy += weight * dx * (points[i].ms - y);
	}
	*slope = xx > 0 ? xy / xx : 0;
	*at_zero = y - *slope * x;
}

/* When the first of the probes had its last event. */
static uint64_t first_end(const struct probe *probes, uint32_t count)
{
	uint64_t end = UINT64_MAX;

	for (uint32_t i = 0; i < count; i++)
		if (probes[i].event_ns[probes[i].events - 1] < end)
			end = probes[i].event_ns[probes[i].events - 1];
	return end;
}

uint32_t fit_running(const struct probe *probes, uint32_t count, double ttft_ms, bool *settled)
{
	uint64_t end = first_end(probes, count);
	double first_ms[PROBES_MAX] = {0}, spacing = ttft_ms;
	uint32_t running = 0;

	for (uint32_t i = 0; i < count; i++)
		if (probes[i].event_ns[0] <= end)
			first_ms[running++] = ms(probes[i].event_ns[0], end);
	fit_sort(first_ms, running);
	for (uint32_t i = 1; i < running; i++)
		spacing = fmax(spacing, first_ms[i] - first_ms[i - 1]);
	*settled = first_ms[0] >= 2 * spacing;
	return running;
}

double fit_itl(const struct probe *probes, uint32_t count)
{
	uint64_t from = 0, to = first_end(probes, count);
	double sum_ms = 0, gaps = 0, events = 0, tokens = 0;

	for (uint32_t i = 0; i < count; i++)
		if (probes[i].event_ns[0] <= to && probes[i].event_ns[0] > from)
			from = probes[i].event_ns[0];
	for (uint32_t i = 0; i < count; i++) {
		const struct probe *p = &probes[i];
		uint32_t first = 0, last = p->events - 1;

		if (p->event_ns[0] > to)
			continue;
		while (p->event_ns[first] < from)
			first++;
		while (last > first && p->event_ns[last] > to)
			last--;
		sum_ms += ms(p->event_ns[first], p->event_ns[last]);
		gaps += last - first;
		events += p->events;
		tokens += p->tokens ? p->tokens : p->events;
	}
	return gaps > 0 ? sum_ms / gaps * events / tokens : 0;
}

struct fit_beside fit_beside(const struct probe *stream, const struct probe *prompt)
{
	uint64_t first_ns = prompt->event_ns[0];
	double before[PROBE_EVENTS(PROBE_GENERATE_MAX)], during[PROBE_EVENTS(PROBE_GENERATE_MAX)];
	uint32_t count_before = 0, count = 0, many = 0;
	struct fit_beside b = {FIT_UNSEEN, 0, 0};
	uint64_t ended_ns = first_ns; /* the longest gap */
	double longest = 0;

	if (first_ns > stream->event_ns[stream->events - 1])
		return b;
	while (count_before + 1 < stream->events &&
	       stream->event_ns[count_before + 1] <= prompt->sent_ns) {
		before[count_before] =
			ms(stream->event_ns[count_before], stream->event_ns[count_before + 1]);
		count_before++;
	}
	if (!count_before)
		return b;
	b.usual_ms = median(before, count_before);
	for (uint32_t i = count_before + 1; i < stream->events; i++) {
		uint64_t from_ns = stream->event_ns[i - 1], to_ns = stream->event_ns[i];
		double gap = ms(from_ns, to_ns);

		/* A step that was under way takes nothing of the prompt. */
		if (from_ns >= first_ns || (from_ns < prompt->sent_ns && gap < SHOWS * b.usual_ms))
			continue;
		during[count++] = gap;
		if (gap > longest) {
			longest = gap;
			ended_ns = to_ns;
		}
	}
	if (longest < SHOWS * b.usual_ms) {
		if (count < 3)
			return b;
		b.kind = FIT_CHUNKS;
		b.gap_ms = median(during, count);
		return b;
	}
	for (uint32_t i = 0; i < count; i++)
		if (during[i] >= (longest + b.usual_ms) / 2)
			during[many++] = during[i];
	b.gap_ms = median(during, many);
	if (many > 1)
		b.kind = FIT_CHUNKS;
	else
		b.kind = ms(first_ns, ended_ns) >= b.usual_ms / 2 ? FIT_FIRST : FIT_STEP;
	return b;
}

static int by_gap(const void *a, const void *b)
{
	const struct fit_beside *x = a, *y = b;

	return (x->gap_ms > y->gap_ms) - (x->gap_ms < y->gap_ms);
}

struct fit_beside fit_median_beside(struct fit_beside *all, uint32_t count)
{
	uint32_t seen[FIT_FIRST + 1] = {0}, kept = 0;
	enum fit_beside_kind kind = FIT_UNSEEN;

	for (uint32_t i = 0; i < count; i++)
		seen[all[i].kind]++;
	for (int k = FIT_UNSEEN; k <= FIT_FIRST; k++)
		if (seen[k] > seen[kind])
			kind = (enum fit_beside_kind)k;
	for (uint32_t i = 0; i < count; i++)
		if (all[i].kind == kind)
			all[kept++] = all[i];
	qsort(all, kept, sizeof(*all), by_gap);
	return all[kept / 2];
}

/* ITL: step_ms at no stream, and its growth. Both are positive, and the line still fits. */
static void fit_steps(const struct fit *fit, struct engine_shape *shape)
{
	double at_zero, slope, xx = 0, xy = 0, mean = 0;

	line(fit->batches, fit->batch_count, &at_zero, &slope);
	for (uint32_t i = 0; i < fit->batch_count; i++) {
		xx += fit->batches[i].x * fit->batches[i].x;
		xy += fit->batches[i].x * fit->batches[i].ms;
		mean += fit->batches[i].ms / fit->batch_count;
	}
	if (slope < 0) {
		slope = 0;
		at_zero = mean;
	} else if (at_zero < STEP_MIN) {
		slope = xy / xx;
		at_zero = STEP_MIN;
	}
	shape->step_ms = clamp(at_zero, STEP_MIN, STEP_MAX);
	shape->step_ms_per_seq = clamp(slope, 0, SEQ_MAX);
}

/* TTFT without step_ms for each chunk: its fixed part, and the time of a token, ms. */
static void without_steps(const struct fit *fit, double step_ms, double chunk, double *fixed_ms,
			  double *token_ms)
{
	struct fit_point points[FIT_PROMPTS];

	for (uint32_t i = 0; i < fit->prompt_count; i++) {
		points[i] = fit->prompts[i];
		points[i].ms -= step_ms * ceil(points[i].x / chunk);
	}
	line(points, fit->prompt_count, fixed_ms, token_ms);
}

/*
 * The last chunk of a prompt costs a whole step_ms, too. A better chunk gives a better token_ms,
 * and that a better chunk: Newton's steps.
 */
static void fit_chunk(const struct fit *fit, double step_ms, double beside_ms, double least,
		      double *chunk, double *fixed_ms, double *token_ms)
{
	for (int i = 0; i < ROUNDS; i++) {
		double part;

		*chunk = fmax(round(*chunk), 1);
		without_steps(fit, step_ms, *chunk, fixed_ms, token_ms);
		*token_ms = fmax(*token_ms, least);
		part = 1 / *chunk;
		part += (*token_ms / beside_ms - part) / (1 + step_ms / beside_ms);
		*chunk = clamp(1 / part, 1, CHUNK_MAX);
	}
	*chunk = clamp(beside_ms / *token_ms, 1, CHUNK_MAX);
	*fixed_ms += step_ms;
}

struct engine_shape fit_engine(struct fit *fit)
{
	struct engine_shape shape = {.slots = fit->slots};
	const struct fit_point *last = &fit->prompts[fit->prompt_count - 1];
	double least = LEAST_SHOWN / last->x, chunk = last->x;
	double fixed_ms, token_ms, beside_ms;

	fit_steps(fit, &shape);
	line(fit->prompts, fit->prompt_count, &fixed_ms, &token_ms);
	if (fit->prompt_count == 1) {
		token_ms = (last->ms - shape.step_ms) / last->x;
		fixed_ms = shape.step_ms;
	}
	token_ms = fmax(token_ms, least);
	if (fit->beside.kind == FIT_CHUNKS) {
		/* token_ms is 1 / rate + step_ms / chunk, and beside_ms is chunk / rate. */
		double step_ms = shape.step_ms, whole_ms = token_ms;

		beside_ms = fmax(fit->beside.gap_ms - fit->beside.usual_ms, step_ms / 1000);
		chunk = clamp((beside_ms + step_ms) / whole_ms, 1, CHUNK_MAX);
		token_ms = beside_ms / chunk;
		if (beside_ms > step_ms / 4)
			fit_chunk(fit, step_ms, beside_ms, least, &chunk, &fixed_ms, &token_ms);
	}
	fit->fixed_ms = fmax(fixed_ms, 0);
	shape.prefill_first = fit->beside.kind == FIT_FIRST;
	shape.prefill_tokens_per_s = clamp(1000 / token_ms, 1, RATE_MAX);
	shape.chunk = (uint32_t)clamp(round(chunk), 1, CHUNK_MAX);
	return shape;
}
