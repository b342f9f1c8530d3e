/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A model of an engine that batches continuously, as vLLM and its like do: requests queue first in,
 * first out for a slot and for KV memory; a step takes some prompt tokens and gives every decoding
 * request one token; when the memory is full the youngest gives up its place and is computed again.
 * Steps that are all the same are taken at once, so that simulated hours take milliseconds. Time is
 * a parameter; nothing is random.
 */
#ifndef SLUICE_SIM_ENGINE_H
#define SLUICE_SIM_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

struct engine_shape {
	uint32_t slots;
	double prefill_tokens_per_s;
	double step_ms;         /* of a step with nothing to decode … */
	double step_ms_per_seq; /* … and for each request that decodes */
	uint32_t chunk;     /* prompt tokens of one step; with prefill_first, of whole prompts */
	bool prefill_first; /* a step takes whole prompts, or decodes; else it does both, prompts by
			       chunks */
	uint64_t kv_tokens;
};

/* Called at the end of a step; may submit. */
struct engine_events {
	void (*first_token)(void *context, uint32_t id, uint64_t now_ns);
	void (*ended)(void *context, uint32_t id, uint64_t now_ns);
	void *context;
};

#define ENGINE_NONE UINT32_MAX

struct engine_request {
	uint32_t prompt, generate; /* tokens */
	uint32_t emitted;          /* tokens, when it last left the batch or joined it */
	uint32_t left;             /* prompt tokens still to be taken */
	uint32_t next;             /* in the queue */
	uint32_t order;            /* of arrival: the highest is the youngest */
	uint64_t ends_at;          /* the decode step that gives its last token */
	uint64_t last_ns;          /* its last token, but for those of decode steps */
};

struct engine {
	struct engine_shape shape;
	struct engine_events events;
	void (*token)(void *context, uint32_t id, uint64_t now_ns); /* or NULL */
	struct engine_request *requests;                            /* by id */
	uint32_t request_count;

	uint64_t now_ns; /* the end of the last step */
	uint32_t head, tail, queued, arrivals;
	uint32_t *decoding, decoding_count;
	uint32_t *finishing, finishing_count; /* their prompts end with this step */
	uint32_t partial;                     /* its prompt goes on after this step */
	uint64_t kv_used;
	uint64_t decode_steps; /* so far … */
	uint64_t decoded_ns;   /* … and the end of the last */
	uint64_t next_end;     /* the least ends_at */
	uint64_t sum_last_ns;  /* of all that decode, when their last tokens came (modulo 2^64) */

	uint64_t step_ns, step_count,
		steps_reported; /* of the steps under way; step_count 0: none */
	bool decodes, cuttable; /* an arrival may end them early */

	uint64_t gap_ns, gaps; /* between tokens, since engine_gaps() */
	uint64_t preempted;    /* in total */
};

/* 0 or -ENOMEM. Ids are below request_count. */
int engine_init(struct engine *e, const struct engine_shape *shape,
		const struct engine_events *events, uint32_t request_count);
/* An equal engine with other ears. 0 or -ENOMEM. */
int engine_clone(struct engine *to, const struct engine *from, const struct engine_events *events);
void engine_free(struct engine *e);

/* Takes every step that ends at or before until_ns. */
void engine_run(struct engine *e, uint64_t until_ns);
/* At a time that engine_run() has come to. False: it could never fit into the memory, and is
 * answered with an error. */
bool engine_submit(struct engine *e, uint32_t id, uint32_t prompt, uint32_t generate,
		   uint64_t now_ns);

bool engine_idle(const struct engine *e);

/*
 * For an engine that a clock drives: to be told each token after the first as well, for which steps
 * are taken one by one; when engine_run() has something to do next, UINT64_MAX while it is idle.
 */
void engine_report_tokens(struct engine *e,
			  void (*token)(void *context, uint32_t id, uint64_t now_ns));
uint64_t engine_due(const struct engine *e);
/*
 * The client has gone: the end of its request, at a time that engine_run() has come to, not from
 * within an event. One that has had its first token only where each token is told.
 */
void engine_cancel(struct engine *e, uint32_t id, uint64_t now_ns);

/* The time between tokens (ns, and how many) since it was last asked. */
uint64_t engine_gaps(struct engine *e, uint64_t *count);

/* What a request alone waits for its first token, in ns. */
uint64_t engine_prefill_ns(const struct engine_shape *shape, uint32_t prompt);

#endif
