/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fill() decides which prompts a step takes, begin() how long it lasts, finish() what it produced.
 * While no request enters or leaves, steps are equal: begin() counts them, and only an arrival that
 * could join cuts them short. The engine does not touch each token: every decoding request gets one
 * in every step, so a request's last token is the number of a decode step.
 */
#include "engine.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int engine_init(struct engine *e, const struct engine_shape *shape,
		const struct engine_events *events, uint32_t request_count)
{
	memset(e, 0, sizeof(*e));
	e->shape = *shape;
	e->events = *events;
	e->request_count = request_count;
	e->head = e->tail = e->partial = ENGINE_NONE;
	e->next_end = UINT64_MAX;
	e->requests = calloc(request_count ? request_count : 1, sizeof(*e->requests));
	e->decoding = calloc(shape->slots, sizeof(*e->decoding));
	e->finishing = calloc(shape->slots, sizeof(*e->finishing));
	if (e->requests && e->decoding && e->finishing)
		return 0;
	engine_free(e);
	return -ENOMEM;
}

int engine_clone(struct engine *to, const struct engine *from, const struct engine_events *events)
{
	int ret = engine_init(to, &from->shape, events, from->request_count);
	struct engine fresh = *to;

	if (ret)
		return ret;
	*to = *from;
	to->events = *events;
	to->requests = fresh.requests;
	to->decoding = fresh.decoding;
	to->finishing = fresh.finishing;
	memcpy(to->requests, from->requests, from->request_count * sizeof(*to->requests));
	memcpy(to->decoding, from->decoding, from->shape.slots * sizeof(*to->decoding));
	memcpy(to->finishing, from->finishing, from->shape.slots * sizeof(*to->finishing));
	return 0;
}

void engine_free(struct engine *e)
{
	free(e->requests);
	free(e->decoding);
	free(e->finishing);
	e->requests = NULL;
	e->decoding = e->finishing = NULL;
}

static uint64_t step_ns(const struct engine_shape *s, uint32_t decoding, uint64_t prompt_tokens)
{
	return (uint64_t)llround((s->step_ms + s->step_ms_per_seq * decoding) * 1e6 +
				 (double)prompt_tokens * 1e9 / s->prefill_tokens_per_s);
}

uint64_t engine_prefill_ns(const struct engine_shape *shape, uint32_t prompt)
{
	uint64_t whole = prompt / shape->chunk, rest = prompt % shape->chunk;

	if (shape->prefill_first)
		return step_ns(shape, 0, prompt);
	return whole * step_ns(shape, 0, shape->chunk) + (rest ? step_ns(shape, 0, rest) : 0);
}

bool engine_idle(const struct engine *e)
{
	return !e->step_count && !e->decoding_count && e->partial == ENGINE_NONE && !e->queued;
}

static void push_front(struct engine *e, uint32_t id)
{
	e->requests[id].next = e->head;
	e->head = id;
	if (e->tail == ENGINE_NONE)
		e->tail = id;
	e->queued++;
}

static void push_back(struct engine *e, uint32_t id)
{
	e->requests[id].next = ENGINE_NONE;
	if (e->tail == ENGINE_NONE)
		e->head = id;
	else
		e->requests[e->tail].next = id;
	e->tail = id;
	e->queued++;
}

static uint32_t pop_front(struct engine *e)
{
	uint32_t id = e->head;

	e->head = e->requests[id].next;
	if (e->head == ENGINE_NONE)
		e->tail = ENGINE_NONE;
	e->queued--;
	return id;
}

/* The plan has changed since these steps began: the present one is the last of them. */
static void cut_steps(struct engine *e, uint64_t now_ns)
{
	uint64_t steps;

	if (!e->step_count || now_ns <= e->now_ns)
		return;
	steps = (now_ns - e->now_ns + e->step_ns - 1) / e->step_ns;
	if (steps < e->step_count)
		e->step_count = steps;
}

bool engine_submit(struct engine *e, uint32_t id, uint32_t prompt, uint32_t generate,
		   uint64_t now_ns)
{
	struct engine_request *r = &e->requests[id];

	*r = (struct engine_request){
		.prompt = prompt ? prompt : 1,
		.generate = generate ? generate : 1,
		.order = e->arrivals++,
	};
	if ((uint64_t)r->prompt + r->generate - 1 > e->shape.kv_tokens)
		return false;
	push_back(e, id);
	if (e->step_count && e->cuttable && now_ns > e->now_ns) {
		cut_steps(e, now_ns);
		e->cuttable = false;
	}
	return true;
}

static void find_next_end(struct engine *e)
{
	e->next_end = UINT64_MAX;
	for (uint32_t i = 0; i < e->decoding_count; i++)
		if (e->requests[e->decoding[i]].ends_at < e->next_end)
			e->next_end = e->requests[e->decoding[i]].ends_at;
}

/* A decoding request leaves its slot and its memory. */
static void stop_decoding(struct engine *e, uint32_t at)
{
	struct engine_request *r = &e->requests[e->decoding[at]];

	e->decoding[at] = e->decoding[--e->decoding_count];
	r->emitted = r->generate - (uint32_t)(r->ends_at - e->decode_steps);
	e->kv_used -= r->prompt + r->emitted - 1;
	if (r->last_ns < e->decoded_ns)
		r->last_ns = e->decoded_ns;
	e->sum_last_ns -= r->last_ns;
	find_next_end(e);
}

/* Preempts the youngest request: it goes to the head of the queue. */
static void preempt(struct engine *e)
{
	uint32_t at = 0, id = e->partial;

	e->preempted++;
	if (id != ENGINE_NONE) { /* it arrived after every decoding request */
		e->kv_used -= e->requests[id].prompt + e->requests[id].emitted;
		e->partial = ENGINE_NONE;
		push_front(e, id);
		return;
	}
	for (uint32_t i = 1; i < e->decoding_count; i++)
		if (e->requests[e->decoding[i]].order > e->requests[e->decoding[at]].order)
			at = i;
	id = e->decoding[at];
	stop_decoding(e, at);
	push_front(e, id);
}

/* The head of the queue takes a slot if one is free and its prompt fits into the memory. */
static bool enter(struct engine *e)
{
	struct engine_request *r;
	uint32_t taken = e->decoding_count + e->finishing_count + (e->partial != ENGINE_NONE);
	uint64_t need;

	if (!e->queued || taken >= e->shape.slots)
		return false;
	r = &e->requests[e->head];
	need = (uint64_t)r->prompt + r->emitted;
	if (e->kv_used + need + e->decoding_count > e->shape.kv_tokens)
		return false;
	e->kv_used += need;
	r->left = (uint32_t)need;
	e->partial = pop_front(e);
	return true;
}

/* Prompt tokens of the next step; *alike: how many steps may take as many. */
static uint64_t fill(struct engine *e, bool may_enter, uint64_t *alike)
{
	uint64_t budget = e->shape.chunk, taken = 0;
	struct engine_request *r;

	*alike = 1;
	while (budget > taken) {
		uint64_t take;

		if (e->shape.prefill_first && taken && e->queued &&
		    taken + e->requests[e->head].prompt + e->requests[e->head].emitted > budget)
			break;
		if (e->partial == ENGINE_NONE && !(may_enter && enter(e)))
			break;
		r = &e->requests[e->partial];
		take = r->left;
		if (!e->shape.prefill_first && take > budget - taken)
			take = budget - taken;
		if (!taken && take < r->left)
			*alike = (r->left - 1) / take;
		r->left -= (uint32_t)take;
		taken += take;
		if (!r->left) {
			e->finishing[e->finishing_count++] = e->partial;
			e->partial = ENGINE_NONE;
		}
	}
	return taken;
}

/* Plans the next steps. False: nothing to do. */
static bool begin(struct engine *e)
{
	uint64_t tokens, alike, preempted = e->preempted;

	while (e->decoding_count && e->kv_used + e->decoding_count > e->shape.kv_tokens)
		preempt(e);
	tokens = fill(e, e->preempted == preempted, &alike);
	e->decodes = e->decoding_count && !(e->shape.prefill_first && tokens);
	if (!tokens && !e->decodes)
		return false;
	e->cuttable = !tokens && !e->queued;
	if (!tokens)
		alike = UINT64_MAX;
	if (e->decodes) {
		uint64_t fit = (e->shape.kv_tokens - e->kv_used) / e->decoding_count;

		if (alike > e->next_end - e->decode_steps)
			alike = e->next_end - e->decode_steps;
		if (alike > fit)
			alike = fit;
	}
	if (e->token)
		alike = 1;
	if (alike > 1 && tokens) /* fill() took those of the first step */
		e->requests[e->partial].left -= (uint32_t)((alike - 1) * tokens);
	e->step_ns = step_ns(&e->shape, e->decodes ? e->decoding_count : 0, tokens);
	e->step_count = alike;
	e->steps_reported = 0;
	return true;
}

/* Counts the gaps of the first `steps` of the steps under way. */
static void report_gaps(struct engine *e, uint64_t steps)
{
	if (!e->decodes || steps <= e->steps_reported)
		return;
	if (!e->steps_reported) {
		uint64_t at = e->now_ns + e->step_ns;

		e->gap_ns += e->decoding_count * at - e->sum_last_ns;
		e->gaps += e->decoding_count;
		e->steps_reported = 1;
	}
	e->gap_ns += (steps - e->steps_reported) * e->step_ns * e->decoding_count;
	e->gaps += (steps - e->steps_reported) * e->decoding_count;
	e->steps_reported = steps;
}

static void leave(struct engine *e, uint32_t id)
{
	const struct engine_request *r = &e->requests[id];

	e->kv_used -= (uint64_t)r->prompt + r->generate - 1;
	e->events.ended(e->events.context, id, e->now_ns);
}

/* The prompt is complete: this step gives a token, the first one unless it was preempted. */
static void start_decoding(struct engine *e, uint32_t id)
{
	struct engine_request *r = &e->requests[id];

	if (!r->emitted) {
		e->events.first_token(e->events.context, id, e->now_ns);
	} else {
		e->gap_ns += e->now_ns - r->last_ns;
		e->gaps++;
		if (e->token)
			e->token(e->events.context, id, e->now_ns);
	}
	r->emitted++;
	if (r->emitted >= r->generate) {
		leave(e, id);
		return;
	}
	r->ends_at = e->decode_steps + r->generate - r->emitted;
	r->last_ns = e->now_ns;
	e->sum_last_ns += e->now_ns;
	if (r->ends_at < e->next_end)
		e->next_end = r->ends_at;
	e->decoding[e->decoding_count++] = id;
}

static void finish(struct engine *e)
{
	uint32_t finishing = e->finishing_count;

	report_gaps(e, e->step_count);
	e->now_ns += e->step_ns * e->step_count;
	if (e->decodes) {
		e->decode_steps += e->step_count;
		e->kv_used += e->step_count * e->decoding_count;
		e->sum_last_ns = e->decoding_count * e->now_ns;
		e->decoded_ns = e->now_ns;
	}
	e->step_count = 0;
	e->finishing_count = 0;
	for (uint32_t i = 0; e->token && e->decodes && i < e->decoding_count; i++)
		e->token(e->events.context, e->decoding[i], e->now_ns);
	if (e->decode_steps == e->next_end) {
		for (uint32_t i = 0; i < e->decoding_count;) {
			uint32_t id = e->decoding[i];

			if (e->requests[id].ends_at != e->decode_steps) {
				i++;
				continue;
			}
			e->decoding[i] = e->decoding[--e->decoding_count];
			e->sum_last_ns -= e->now_ns;
			leave(e, id);
		}
		find_next_end(e);
	}
	for (uint32_t i = 0; i < finishing; i++)
		start_decoding(e, e->finishing[i]);
}

void engine_run(struct engine *e, uint64_t until_ns)
{
	for (;;) {
		if (!e->step_count && (e->now_ns >= until_ns || !begin(e)))
			break;
		if (until_ns - e->now_ns < e->step_ns ||
		    (until_ns - e->now_ns) / e->step_ns < e->step_count) {
			report_gaps(e, (until_ns - e->now_ns) / e->step_ns);
			return;
		}
		finish(e);
	}
	if (e->now_ns < until_ns && until_ns != UINT64_MAX)
		e->now_ns = until_ns;
}

void engine_report_tokens(struct engine *e,
			  void (*token)(void *context, uint32_t id, uint64_t now_ns))
{
	e->token = token;
}

uint64_t engine_due(const struct engine *e)
{
	if (e->step_count)
		return e->now_ns + e->step_ns * e->step_count;
	return engine_idle(e) ? UINT64_MAX : e->now_ns;
}

static bool leave_queue(struct engine *e, uint32_t id)
{
	uint32_t before = ENGINE_NONE;

	for (uint32_t at = e->head; at != ENGINE_NONE; before = at, at = e->requests[at].next) {
		if (at != id)
			continue;
		if (before == ENGINE_NONE)
			e->head = e->requests[id].next;
		else
			e->requests[before].next = e->requests[id].next;
		if (e->tail == id)
			e->tail = before;
		e->queued--;
		return true;
	}
	return false;
}

void engine_cancel(struct engine *e, uint32_t id, uint64_t now_ns)
{
	const struct engine_request *r = &e->requests[id];

	if (leave_queue(e, id)) {
		/* The next in the queue may fit. While a prompt is under way no request
		 * enters, and begin() has counted its steps. */
		if (e->partial == ENGINE_NONE)
			cut_steps(e, now_ns);
		return;
	}
	if (e->partial == id) {
		e->kv_used -= (uint64_t)r->prompt + r->emitted;
		e->partial = ENGINE_NONE;
		cut_steps(e, now_ns);
		return;
	}
	for (uint32_t i = 0; i < e->finishing_count; i++) {
		if (e->finishing[i] != id)
			continue;
		e->kv_used -= (uint64_t)r->prompt + r->emitted;
		e->finishing[i] = e->finishing[--e->finishing_count];
		return;
	}
	for (uint32_t i = 0; i < e->decoding_count; i++) {
		if (e->decoding[i] == id) {
			stop_decoding(e, i);
			return;
		}
	}
}

uint64_t engine_gaps(struct engine *e, uint64_t *count)
{
	uint64_t sum = e->gap_ns;

	*count = e->gaps;
	e->gap_ns = e->gaps = 0;
	return sum;
}
