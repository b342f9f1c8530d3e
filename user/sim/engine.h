/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A model of an engine with continuous batching, such as vLLM. Requests queue in FIFO order for a
 * slot and for KV memory. A step takes some prompt tokens and gives every decoding request one
 * token. When the memory is full, the engine preempts the youngest request and computes it again.
 * Equal steps are taken at once, so that simulated hours take milliseconds. Time is a parameter;
 * nothing is random.
 */
#ifndef SLUICE_SIM_ENGINE_H
#define SLUICE_SIM_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

struct engine_shape {
	uint32_t slots;
	double prefill_tokens_per_s;
	double step_ms;         /* of a step with nothing to decode */
	double step_ms_per_seq; /* more for each request that decodes */
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
	uint32_t emitted;          /* tokens, when it last joined or left the batch */
	uint32_t left;             /* prompt tokens not taken yet */
	uint32_t next;             /* id of the next in the queue */
	uint32_t order;            /* of arrival: the highest is the youngest */
	uint64_t ends_at;          /* number of the decode step of its last token */
	uint64_t last_ns;          /* its last token outside of decode steps */
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
	uint64_t decode_steps; /* total */
	uint64_t decoded_ns;   /* the end of the last one */
	uint64_t next_end;     /* the least ends_at */
	uint64_t sum_last_ns;  /* over the decoding requests: sum of the times of their last tokens,
				  modulo 2^64 */

	uint64_t step_ns, step_count,
		steps_reported; /* of the steps under way; step_count 0: none */
	bool decodes, cuttable; /* an arrival may end them early */

	uint64_t gap_ns, gaps; /* between tokens, since engine_gaps() */
	uint64_t preempted;    /* in total */
};

/* 0 or -ENOMEM. Ids are below request_count. */
int engine_init(struct engine *e, const struct engine_shape *shape,
		const struct engine_events *events, uint32_t request_count);
/* A copy with other event handlers. 0 or -ENOMEM. */
int engine_clone(struct engine *to, const struct engine *from, const struct engine_events *events);
void engine_free(struct engine *e);

/* Takes every step that ends at or before until_ns. */
void engine_run(struct engine *e, uint64_t until_ns);
/* now_ns is where engine_run() stopped. False: the request can never fit into the memory, and ends
 * with an error. */
bool engine_submit(struct engine *e, uint32_t id, uint32_t prompt, uint32_t generate,
		   uint64_t now_ns);

bool engine_idle(const struct engine *e);

/*
 * For an engine that a clock drives. token() is called for each token after the first; steps are
 * then taken one by one. engine_due(): the time of the next step; UINT64_MAX while idle.
 */
void engine_report_tokens(struct engine *e,
			  void (*token)(void *context, uint32_t id, uint64_t now_ns));
uint64_t engine_due(const struct engine *e);
/*
 * The client hung up: ends its request. now_ns is where engine_run() stopped; do not call it from
 * an event. After the first token it works only with engine_report_tokens().
 */
void engine_cancel(struct engine *e, uint32_t id, uint64_t now_ns);

/* Sum (ns) and number of the gaps between tokens since the last call. */
uint64_t engine_gaps(struct engine *e, uint64_t *count);

/* The wait for a first token on an idle engine, ns. */
uint64_t engine_prefill_ns(const struct engine_shape *shape, uint32_t prompt);

#endif
