/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The pool of a request's model, and the verdict of adaptive admission there. It rests on the
 * request's class, its client's share and the rank that follows from both. It compares them with
 * the pool's load in include/sluice/admission.h, the same code as in the daemon and the simulator.
 * Nothing is taken here; slots.h does that.
 */
#ifndef SLUICE_BPF_POOL_H
#define SLUICE_BPF_POOL_H

#include "question.h"

static __always_inline struct sluice_model_flag *model_flag(__u32 model)
{
	return bpf_map_lookup_elem(&model_flags, &model);
}

static __always_inline struct sluice_model_state *model_counts(__u32 model)
{
	return bpf_map_lookup_elem(&model_state, &model);
}

/* Whether the pool's entry is a third one, apart from the model's and SLUICE_MODEL_ALL's. */
static __always_inline bool pool_apart(__u32 pool, __u32 model)
{
	return pool != model && pool != SLUICE_MODEL_ALL;
}

/* Since when (ns) the server has worked on the waiting requests without a first token, or a reply
 * that was expected to have left the queue. */
static __always_inline __u64 load_since(const struct sluice_model_state *state)
{
	__u64 since = state->token_ns > state->waiting_ns ? state->token_ns : state->waiting_ns;

	return since > state->waits.left_ns ? since : state->waits.left_ns;
}

/* The waits that are predicted to end by `until` are over. */
SUBPROG int waits_pass(struct sluice_model_state *state, __u32 until, __u64 now)
{
	if (!state)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WAITS_SLOTS; i++)
		if (waits_pass_slot(&state->waits, i, until))
			state->waits.left_ns = now;
	return 0;
}

/* Predicts the wait of a's request for one of the server's slots, on top of a->load. */
SUBPROG int predict_slot_wait(struct judging *a, const struct sluice_model_flag *pool,
			      const struct sluice_model_state *state)
{
	if (!a || !pool || !state)
		return 0;
	a->load.slot_wait =
		admission_slot_wait(&pool->admission, &a->load, a->question.bytes,
				    a->load.in_flight * a->question.now - state->began_ns);
	return 0;
}

/* Brings state->waits.bytes up to `now`: bytes of requests that are expected to wait although
 * nothing will show the end of it. */
static __always_inline void expect_until(struct sluice_model_state *state, __u64 now)
{
	__u64 time = ages_time(now);

	if (state->waits.bytes <= 0 || state->waits.seen == time)
		return;
	state->waits.seen = time;
	waits_pass(state, time, now);
}

/* Sets a request's class: by its priority header, else by its key, else by its prefix.
 * `of_prefix`: the prefix's class + 1; 0: it states none. */
static __always_inline void set_class(struct judging *a, __u8 of_prefix)
{
	struct question *q = &a->question;
	struct sluice_client *key = &a->key.client;
	__u8 source = SLUICE_CLASS_FROM_HEADER;
	__u32 *class = NULL;

	if (q->priority) {
		__builtin_memset(key, 0, sizeof(*key));
		*(__u64 *)key->addr = q->priority;
		*(__u32 *)(key->addr + 8) = q->service;
		key->kind = SLUICE_CLIENT_HEADER;
		class = bpf_map_lookup_elem(&priorities, key);
	}
	if (!class && q->client.kind == SLUICE_CLIENT_KEY) {
		*key = q->client;
		class = bpf_map_lookup_elem(&priorities, key);
		source = SLUICE_CLASS_FROM_KEY;
	}
	if (!class)
		source = of_prefix ? SLUICE_CLASS_FROM_PREFIX : SLUICE_CLASS_FROM_DEFAULT;
	q->class_from = source;
	q->class = class ? *class : of_prefix ? of_prefix - 1 : SLUICE_CLASS_NORMAL;
}

/* The weight of a client among those that share a pool. A prefix states it, and a client that is
 * known by its key is in no prefix. */
static __always_inline __u32 share_weight(const struct question *q)
{
	return q->weight && q->client.kind == SLUICE_CLIENT_ADDRESS ? q->weight : SLUICE_WEIGHT_ONE;
}

/* What the question's client holds in `pool`, or in SLUICE_POOL_STALLED or _DEPARTED; NULL:
 * nothing. */
static __always_inline struct sluice_holding *client_holding(struct judging *a, __u32 pool)
{
	a->key.client = a->question.client;
	a->key.model = pool;
	return bpf_map_lookup_elem(&client_in_flight, &a->key);
}

/* Adds a random part to a wait in ms, up to half of it: requests that are refused together must not
 * come back together. */
static __always_inline __u32 spread(__u32 ms)
{
	return ms + (((__u64)ms * (bpf_get_prandom_u32() & 127)) >> 8);
}

/*
 * Whether the policy refuses one more request on top of `load`. If it would admit the same request
 * of a client within its share, the reason is the share.
 */
static __always_inline bool judge_by_policy(struct judgement *j, const struct question *q,
					    const struct sluice_model_flag *pool,
					    const struct admission_load *load)
{
	const struct sluice_admission *a = &pool->admission;
	enum admission_verdict verdict;

	if (j->reason || !a->floor)
		return false;
	verdict = admission_judge(a, load, q->judged, q->rank, q->now);
	if (!verdict)
		return false;
	barrier(); /* else the compiler keeps the first call's reads on the stack for the second */
	if (q->rank & 1 && !admission_judge(a, load, q->judged, q->rank - 1, q->now))
		j->reason = SLUICE_REASON_CLIENT_SHARE;
	else
		j->reason =
			verdict == ADMISSION_CEILING ? SLUICE_REASON_IN_FLIGHT : SLUICE_REASON_TTFT;
	j->retry_after_ms = pool->limit_retry_ms;
	j->about = q->pool == SLUICE_MODEL_ALL ? SLUICE_MODEL_ALL : q->model;
	return true;
}

/* The policy has refused a packet's request: spreads its wait, and counts it by rank. */
static __always_inline void refused_by_policy(struct judgement *j, const struct question *q,
					      struct sluice_model_state *state)
{
	j->retry_after_ms = spread(j->retry_after_ms);
	if (q->take || !j->shadow)
		__sync_fetch_and_add(&state->refused[q->rank & (SLUICE_RANKS - 1)], 1);
}

/* Reads the pool's load and the client's holding as they are now, and sets the request's rank, and
 * the size that it is judged by. */
static __always_inline void measure_pool(struct judging *a, const struct sluice_model_flag *pool,
					 struct sluice_model_state *state)
{
	struct question *q = &a->question;
	struct sluice_holding *held = NULL;

	q->rank = admission_rank(q->class, 0);
	a->admitted = state->admitted;
	if (pool->admission.fair || pool->admission.interval)
		held = client_holding(a, q->pool);
	a->held.in_flight = held ? held->in_flight : 0;
	a->held.tat = held ? held->tat : 0;
	if (held && admission_above_share(&pool->admission, &a->held, share_weight(q), a->admitted))
		q->rank |= 1;
	a->load.in_flight = state->in_flight;
	a->load.waiting = state->waiting;
	expect_until(state, q->now);
	a->load.waiting_bytes = state->waiting_bytes + state->waits.bytes;
	a->load.since_ns = load_since(state);
	predict_slot_wait(a, pool, state);
	q->judged = admission_kindest(&pool->admission, q->bytes, q->bytes_most, q->rank);
}

#endif
