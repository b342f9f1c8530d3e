/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * In this order, so that what needs time most comes last: a warm-up; one prompt at a time, each
 * four times as long as the one before; one stream; a long prompt beside a stream; streams at once,
 * twice as many each time, until some have to wait.
 */
#include "calibrate/plan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_PROMPT   32   /* tokens */
#define PROMPT_GROWTH  4    /* FIT_PROMPTS lengths: up to 32,768 tokens */
#define PROMPT_MAX_MS  5000 /* no longer prompt once TTFT would be above this */
#define PROMPT_SPENT   3000 /* ms: a length that took as long is not measured again */
#define REPEATS        3
#define GENERATE_FEW   8 /* for TTFT: the first token may be no whole character */
#define GENERATE_LEAST 32
#define GENERATE_USUAL 512
#define BEFORE_PROMPT  8 /* events of a stream before a prompt comes beside it */

struct plan {
	const struct player *player;
	struct probe probes[PROBES_MAX];
	uint64_t *times;
	uint64_t began_ns, ended_ns;
	double short_ms; /* TTFT of a short prompt */
	struct calibration found;
};

/* Plays the first `count` probes, with room for their events. Each has one, or was refused. */
static int play(struct plan *p, uint32_t count)
{
	uint64_t *room;
	size_t events = 0;
	int ret;

	for (uint32_t i = 0; i < count; i++)
		events += PROBE_EVENTS(p->probes[i].generate);
	room = reallocarray(p->times, events, sizeof(*room));
	if (!room)
		return -ENOMEM;
	p->times = room;
	for (uint32_t i = 0; i < count; i++) {
		p->probes[i].event_ns = room;
		room += PROBE_EVENTS(p->probes[i].generate);
	}
	ret = p->player->play(p->player->context, p->probes, count);
	if (ret)
		return ret;
	p->found.requests += count;
	for (uint32_t i = 0; i < count; i++) {
		const struct probe *probe = &p->probes[i];

		if (probe->refused)
			continue;
		if (!p->began_ns)
			p->began_ns = probe->sent_ns;
		if (probe->event_ns[probe->events - 1] > p->ended_ns)
			p->ended_ns = probe->event_ns[probe->events - 1];
	}
	return 0;
}

static double ttft_ms(const struct probe *probe)
{
	return (double)(probe->event_ns[0] - probe->sent_ns) / 1e6;
}

/* One length: its median TTFT. *refused: the server does not take it. */
static int measure_prompt(struct plan *p, uint32_t prompt, struct fit_point *point, bool *refused)
{
	double all[REPEATS], spent = 0;
	uint32_t count = 0;

	while (count < REPEATS && spent < PROMPT_SPENT) {
		int ret;

		p->probes[0] = (struct probe){.prompt = prompt,
					      .generate = GENERATE_FEW,
					      .refusable = prompt > SHORT_PROMPT};
		ret = play(p, 1);
		if (ret)
			return ret;
		*refused = p->probes[0].refused;
		if (*refused)
			return 0;
		all[count] = ttft_ms(&p->probes[0]);
		spent += all[count++];
	}
	fit_sort(all, count);
	p->found.stated = p->probes[0].prompt_tokens;
	point->x = p->found.stated ? p->probes[0].prompt_tokens : prompt;
	point->ms = all[count / 2];
	return 0;
}

static int measure_prompts(struct plan *p)
{
	struct fit *f = &p->found.fit;
	uint32_t prompt = SHORT_PROMPT;

	for (; f->prompt_count < FIT_PROMPTS; prompt *= PROMPT_GROWTH) {
		struct fit_point *point = &f->prompts[f->prompt_count];
		bool refused;
		int ret;

		if (f->prompt_count && point[-1].ms * PROMPT_GROWTH > PROMPT_MAX_MS)
			break;
		ret = measure_prompt(p, prompt, point, &refused);
		if (ret)
			return ret;
		/* A server that cuts a prompt states few tokens more than for the one before. */
		if (refused || (f->prompt_count && point->x < 2 * point[-1].x))
			break;
		f->prompt_count++;
	}
	p->short_ms = f->prompts[0].ms;
	return 0;
}

/* A long prompt beside a stream that outlasts it. */
static int measure_beside(struct plan *p)
{
	struct fit *f = &p->found.fit;
	const struct fit_point *longest = &f->prompts[f->prompt_count - 1];
	double lasts = 1.25 * longest->ms / f->batches[0].ms;
	uint32_t prompt = SHORT_PROMPT, count = 0;
	struct fit_beside all[REPEATS];
	double spent = 0;

	for (uint32_t i = 1; i < f->prompt_count; i++)
		prompt *= PROMPT_GROWTH;
	while (count < REPEATS && spent < 2 * PROMPT_SPENT) {
		int ret;

		p->probes[0] = (struct probe){
			.prompt = SHORT_PROMPT,
			.generate = (uint32_t)fmin(3 * BEFORE_PROMPT + lasts, PROBE_GENERATE_MAX)};
		p->probes[1] = (struct probe){
			.prompt = prompt, .generate = GENERATE_FEW, .after = BEFORE_PROMPT};
		ret = play(p, 2);
		if (ret)
			return ret;
		all[count] = fit_beside(&p->probes[0], &p->probes[1]);
		spent += ttft_ms(&p->probes[1]);
		if (all[count++].kind == FIT_UNSEEN)
			break;
	}
	f->beside = fit_median_beside(all, count);
	return 0;
}

/* So many streams at once: their ITL, and whether all of them ran. */
static int measure_streams(struct plan *p, uint32_t streams)
{
	struct fit *f = &p->found.fit;
	double itl_ms = f->batch_count ? f->batches[0].ms : p->short_ms;
	uint32_t generate = (uint32_t)fmin(
		GENERATE_LEAST + 2 * (streams + 2) * p->short_ms / itl_ms, GENERATE_USUAL);
	uint32_t running;
	bool settled;

	/* If the responses were too short to tell, they are longer the second time. */
	for (int try = 1;; try++, generate *= 2) {
		int ret;

		for (uint32_t i = 0; i < streams; i++)
			p->probes[i] = (struct probe){.prompt = SHORT_PROMPT, .generate = generate};
		ret = play(p, streams);
		if (ret)
			return ret;
		running = fit_running(p->probes, streams, p->short_ms, &settled);
		if (running == streams || settled || try == 2)
			break;
	}
	itl_ms = fit_itl(p->probes, streams);
	p->found.asked = streams;
	if (running > f->slots && itl_ms > 0)
		f->batches[f->batch_count++] = (struct fit_point){running, itl_ms};
	if (running > f->slots)
		f->slots = running;
	p->found.slots_at_least = running == streams || !settled;
	return 0;
}

static int measure_slots(struct plan *p)
{
	const struct fit *f = &p->found.fit;

	for (uint32_t streams = 2; streams <= PROBES_MAX && f->slots == streams / 2; streams *= 2) {
		int ret = measure_streams(p, streams);

		if (ret == -ETIME)
			return 0; /* slots_at_least is of the streams before */
		if (ret)
			return ret;
	}
	return 0;
}

static int measure(struct plan *p)
{
	int ret;

	p->probes[0] = (struct probe){.prompt = SHORT_PROMPT, .generate = GENERATE_FEW};
	ret = play(p, 1);
	if (!ret)
		ret = measure_prompts(p);
	if (!ret)
		ret = measure_streams(p, 1);
	if (!ret && !p->found.fit.batch_count)
		return -EPROTO; /* a stream of one event: it has no ITL */
	if (!ret)
		ret = measure_beside(p);
	return ret ? ret : measure_slots(p);
}

int calibrate(const struct player *player, struct calibration *out)
{
	struct plan *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return -ENOMEM;
	p->player = player;
	ret = measure(p);
	if (!ret) {
		p->found.shape = fit_engine(&p->found.fit);
		p->found.seconds = (double)(p->ended_ns - p->began_ns) / 1e9;
		*out = p->found;
	}
	free(p->times);
	free(p);
	return ret;
}
