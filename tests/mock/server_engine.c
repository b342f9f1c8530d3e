/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * With --engine, all models share one engine with continuous batching: the simulator's code
 * (user/sim/engine.h), driven by the clock. Each wake-up executes the steps up to now. The time of
 * the next step does not depend on the delay of this one.
 */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engine_batch batch;

static void add_event(uint32_t index, bool ended)
{
	if (batch.event_count == batch.event_cap) {
		batch.event_cap = batch.event_cap ? batch.event_cap * 2 : 256;
		batch.events = xrealloc(batch.events, batch.event_cap * sizeof(*batch.events));
	}
	batch.slots[index].ended = ended;
	batch.events[batch.event_count++] =
		(struct engine_event){index, batch.slots[index].conn->id, ended};
}

/* The callbacks only queue events: sending may end a connection, and so call into the engine. */
static void on_engine_token(void *context, uint32_t index, uint64_t at_ns)
{
	(void)context;
	(void)at_ns;
	add_event(index, false);
}

static void on_engine_ended(void *context, uint32_t index, uint64_t at_ns)
{
	(void)context;
	(void)at_ns;
	add_event(index, true);
}

void batch_release(struct conn *c)
{
	if (!batch.slots[c->index].ended)
		engine_cancel(&batch.e, c->index, batch.e.now_ns);
	batch.slots[c->index].conn = NULL;
	batch.free[batch.free_count++] = c->index;
}

static void take_token(struct conn *c)
{
	if (c->phase == PHASE_QUEUED) {
		leave_queue(c);
		c->model->in_service++;
		c->phase = PHASE_TOKENS;
		if (c->stream) {
			send_stream_head(c);
			if (c->state != STATE_CLOSED)
				send_opening(c);
		}
	}
	if (c->stream && c->state != STATE_CLOSED)
		send_token(c);
	c->produced++;
}

/* The engine's clock. It stops while a model is stuck. */
static uint64_t batch_clock(void)
{
	return (batch.stopped_ns ? batch.stopped_ns : now_ns()) - batch.lost_ns;
}

/* Executes the steps up to now and sends their events. */
void batch_run(void)
{
	uint64_t next;

	engine_run(&batch.e, batch_clock());
	if (batch.delivering) /* a call from within the loop below */
		return;
	batch.delivering = true;
	for (size_t i = 0; i < batch.event_count; i++) {
		struct engine_event at = batch.events[i];
		struct conn *c = batch.slots[at.index].conn;

		if (!c || c->id != at.id)
			continue;
		if (at.ended)
			finish_service(c);
		else
			take_token(c);
	}
	batch.event_count = 0;
	batch.delivering = false;
	next = engine_due(&batch.e);
	if (next == UINT64_MAX || batch.stopped_ns)
		timer_cancel(&batch.timer);
	else
		timer_set(&batch.timer, next + batch.lost_ns);
}

static void on_batch_timer(struct timer *t)
{
	(void)t;
	batch_run();
}

/* Submits a request. An answer may free its connection for the next request: batch_run() then calls
 * this, and finds the new steps at its end. */
bool batch_submit(struct conn *c)
{
	if (!batch.free_count)
		return false;
	batch_run();
	c->index = batch.free[batch.free_count - 1];
	if (!engine_submit(&batch.e, c->index, (uint32_t)c->prompt_tokens, (uint32_t)c->tokens,
			   batch_clock()))
		return false;
	batch.free_count--;
	batch.slots[c->index].conn = c;
	batch.slots[c->index].ended = false;
	return true;
}

/* Stops or restarts the engine's clock when `stuck` of a model has changed. */
void batch_stop_or_go(void)
{
	bool stuck = false;

	for (size_t i = 0; i < model_count; i++)
		stuck |= models[i].stuck != 0;
	if (stuck && !batch.stopped_ns) {
		batch.stopped_ns = now_ns();
	} else if (!stuck && batch.stopped_ns) {
		batch.lost_ns += now_ns() - batch.stopped_ns;
		batch.stopped_ns = 0;
	}
	batch_run();
}

/* KEY=VALUE,… */
void set_engine(const char *value)
{
	struct {
		const char *key;
		double min, max, value;
	} keys[] = {
		{"slots", 1, 4096, 24},     {"prefill-tokens-per-s", 1, 1e9, 16000},
		{"step-ms", 0.01, 1e5, 12}, {"step-ms-per-seq", 0, 1e5, 0.4},
		{"chunk", 1, 1e6, 256},     {"kv-tokens", 1, 1e9, 100000},
		{"prefill-first", 0, 1, 0},
	};
	const struct engine_events events = {on_engine_token, on_engine_ended, NULL};
	struct engine_shape shape;
	char *text = strdup(value), *save = NULL;

	for (char *pair = text ? strtok_r(text, ",", &save) : NULL; pair;
	     pair = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(pair, '=');
		size_t i;

		if (equals)
			*equals++ = '\0';
		for (i = 0; i < ARRAY_SIZE(keys) && strcmp(keys[i].key, pair) != 0; i++)
			;
		if (!equals || i == ARRAY_SIZE(keys) ||
		    !parse_number(equals, keys[i].min, keys[i].max, &keys[i].value))
			die_usage("--engine: '%s' or its value is not allowed", pair);
	}
	free(text);
	shape = (struct engine_shape){
		.slots = (uint32_t)keys[0].value,
		.prefill_tokens_per_s = keys[1].value,
		.step_ms = keys[2].value,
		.step_ms_per_seq = keys[3].value,
		.chunk = (uint32_t)keys[4].value,
		.kv_tokens = (uint64_t)keys[5].value,
		.prefill_first = keys[6].value != 0,
	};
	if (batch.on || engine_init(&batch.e, &shape, &events, ENGINE_SLOTS))
		die_usage("--engine: is there twice, or too large");
	engine_report_tokens(&batch.e, on_engine_token);
	batch.on = true;
	batch.timer.fire = on_batch_timer;
	for (uint32_t i = 0; i < ENGINE_SLOTS; i++)
		batch.free[batch.free_count++] = ENGINE_SLOTS - 1 - i;
}
