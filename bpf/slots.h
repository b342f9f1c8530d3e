/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Slots: a request holds one from its last byte to its response's last. Up to three entries count
 * it: SLUICE_MODEL_ALL, its model, and its model's pool if that is a third one. One atomic addition
 * takes a slot, and its result decides, so that two CPUs cannot both take the last one. A slot that
 * is released is free at once.
 */
#ifndef SLUICE_BPF_SLOTS_H
#define SLUICE_BPF_SLOTS_H

#include "pool.h"
#include "quota.h"
#include "record.h"

#define HELD                                                                                       \
	(SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_WAITING | SLUICE_EXCHANGE_SHADOW |            \
	 SLUICE_EXCHANGE_STALLED | SLUICE_EXCHANGE_EXPECTED | SLUICE_EXCHANGE_DEPARTED)

#define USUAL_MEMORY 16 /* usual requests over which the usual time is a mean */
#define USUAL_MOST   4  /* times the usual: a request counts as no longer */

static __always_inline void release_counts(struct sluice_model_state *state, __u32 had)
{
	if (had & SLUICE_EXCHANGE_WAITING)
		__sync_fetch_and_add(&state->waiting, -1);
	if (had & SLUICE_EXCHANGE_IN_FLIGHT)
		__sync_fetch_and_add(&state->in_flight, -1);
	if (had & SLUICE_EXCHANGE_SHADOW)
		__sync_fetch_and_add(&state->shadow_in_flight, -1);
	if (had & SLUICE_EXCHANGE_STALLED)
		__sync_fetch_and_add(&state->stalled, -1);
	if (had & SLUICE_EXCHANGE_DEPARTED)
		__sync_fetch_and_add(&state->departed, -1);
}

/* Releases what a request of `bytes` has held since `since` (ns), in every entry that counts it.
 * `wait_end`: as in its exchange. `had`: SLUICE_EXCHANGE_… flags. */
static __always_inline void release_load(__u32 model, __u32 pool, __u32 bytes, __u64 since,
					 __u32 wait_end, __u32 had)
{
	struct sluice_model_state *all = model_counts(SLUICE_MODEL_ALL), *own = model_counts(model);
	struct sluice_model_state *carrier = model_counts(pool);

	if (!all || !own || !carrier)
		return;
	release_counts(all, had);
	release_counts(own, had);
	if (pool_apart(pool, model))
		release_counts(carrier, had);
	if (had & SLUICE_EXCHANGE_WAITING) {
		__sync_fetch_and_add(&carrier->waiting_bytes, -(__s64)bytes);
		ages_remove(&carrier->ages, since);
	}
	if (had & SLUICE_EXCHANGE_EXPECTED)
		waits_take(&carrier->waits, wait_end, waits_units(bytes));
	if (had & SLUICE_EXCHANGE_IN_FLIGHT) {
		__sync_fetch_and_add(&carrier->began_ns, -since);
		__sync_fetch_and_add(&carrier->ended, 1);
	}
}

/* A client has one request less in flight in a pool. The daemon deletes the entry of a client that
 * has none. */
static __always_inline void release_client(const struct sluice_client_flag_key *key)
{
	struct sluice_holding *held = bpf_map_lookup_elem(&client_in_flight, key);

	if (held)
		__sync_fetch_and_add(&held->in_flight, -1);
}

/* Releases what the flags in `had` say that an exchange has held until now. */
static __always_inline void release_held(const struct sluice_exchange *e, __u32 had)
{
	struct sluice_client_flag_key key = {};

	if (!had)
		return;
	release_load(e->model, e->pool, e->bytes, e->admitted_ns, e->wait_end, had);
	key.client = e->client;
	if (had & (SLUICE_EXCHANGE_IN_FLIGHT | SLUICE_EXCHANGE_STALLED)) {
		key.model = had & SLUICE_EXCHANGE_STALLED ? SLUICE_POOL_STALLED : e->pool;
		release_client(&key);
	}
	if (had & SLUICE_EXCHANGE_DEPARTED) {
		key.model = SLUICE_POOL_DEPARTED;
		release_client(&key);
	}
}

/* Releases the flags in `drop` that an exchange holds, once however many CPUs try. Returns those
 * that it held. It is inlined into its callers, which saves each a call. */
static __always_inline __u32 release_exchange(struct sluice_exchange *e, __u32 drop)
{
	__u32 had = __sync_fetch_and_and(&e->flags, ~drop) & drop;

	release_held(e, had & HELD);
	return had;
}

SUBPROG int release(struct sluice_exchange *e, __u32 drop)
{
	if (e)
		release_exchange(e, drop);
	return 0;
}

/*
 * A request of the pool took `ns` to its response's end. The mean is over time: a request counts by
 * how long it took, as that of a client that hangs up does. So short requests, which a client may
 * send for that, hardly lower it. CPUs may lose each other's part of the mean.
 */
static __always_inline void usual_took(__u32 pool, __u64 ns)
{
	struct sluice_model_state *state = model_counts(pool);
	__u64 usual = state ? state->usual_ns : 0, part;

	if (!state)
		return;
	if (usual && ns > USUAL_MOST * usual)
		ns = USUAL_MOST * usual;
	part = (ns << 16) / (USUAL_MEMORY * usual + ns + 1); /* of 2^16 */
	state->usual_ns = !usual       ? ns
			  : ns > usual ? usual + ((ns - usual) * part >> 16)
				       : usual - ((usual - ns) * part >> 16);
}

/*
 * As release_exchange(), at an exchange's first token or end. If it was waiting, the pool notes the
 * time as that of the server's last progress, and what was queued before it waits no more either.
 */
SUBPROG int release_worked_off(struct sluice_exchange *e, __u64 now, __u32 drop)
{
	struct sluice_model_state *pool;

	if (!e)
		return 0;
	pool = model_counts(e->pool);
	if (pool && e->flags & (SLUICE_EXCHANGE_WAITING | SLUICE_EXCHANGE_EXPECTED)) {
		pool->token_ns = now;
		if (pool->waits.bytes > 0)
			waits_pass(pool, e->wait_end, now);
	}
	return release_exchange(e, drop);
}

/* Ends the exchange of a connection, if it has one under way. */
SUBPROG int release_all(struct sluice_conn *conn, __u32 end)
{
	struct sluice_exchange *e;

	if (!conn)
		return 0;
	e = &conn->exchange;
	/* inlined: refuse_request() has a large frame */
	if (release_exchange(e, HELD | SLUICE_EXCHANGE_JUDGED) & SLUICE_EXCHANGE_JUDGED) {
		if (end == SLUICE_END_FAILED && conn->flags & SLUICE_CONN_CLIENT_FIN)
			end = SLUICE_END_DEPARTED;
		exchange_ended(conn, e, end, tokens_sent(conn));
	}
	conn->exchange_head = conn->exchange_tail;
	return 0;
}

/* Takes a slot of one entry and counts the request as waiting there. With `bound`, returns false
 * and sets the reason if the entry's limit leaves no slot. */
static __always_inline bool take_slot(struct judging *a, __u32 id, bool bound)
{
	struct sluice_model_state *state = model_counts(id);
	struct sluice_model_flag *flag = model_flag(id);
	__s64 before;

	if (!state || !flag)
		return false;
	state->seen_ns = a->question.now;
	before = __sync_fetch_and_add(&state->in_flight, 1);
	if (bound && flag->limit && before >= (__s64)flag->limit) {
		__sync_fetch_and_add(&state->in_flight, -1);
		a->judgement.reason = SLUICE_REASON_IN_FLIGHT;
		a->judgement.retry_after_ms = flag->limit_retry_ms;
		a->judgement.about = id == SLUICE_MODEL_ALL ? SLUICE_MODEL_ALL : a->question.model;
		return false;
	}
	a->load.in_flight = before < 0 ? 0 : before;
	a->load.waiting = __sync_fetch_and_add(&state->waiting, !a->question.unstreamed);
	return true;
}

/* What take_slot() has counted. */
static __always_inline __u32 slot_counts(const struct question *q)
{
	return SLUICE_EXCHANGE_IN_FLIGHT | (q->unstreamed ? 0 : SLUICE_EXCHANGE_WAITING);
}

static __always_inline void release_slot(const struct question *q, __u32 id)
{
	struct sluice_model_state *state = model_counts(id);

	if (state)
		release_counts(state, slot_counts(q));
}

/* Adds the request's bytes to those that wait in the pool, or with `sign` -1 takes them away again.
 * Returns how many waited before. */
static __always_inline __s64 queue_bytes(struct sluice_model_state *state, const struct question *q,
					 __s64 sign)
{
	__s64 bytes;

	if (!q->unstreamed)
		return __sync_fetch_and_add(&state->waiting_bytes, sign * q->bytes) +
		       state->waits.bytes;
	bytes = waits_units(q->bytes) * WAITS_UNIT;
	return __sync_fetch_and_add(&state->waits.bytes, sign * bytes) + state->waiting_bytes;
}

/* The request has its slot in the pool: adds its bytes, and lets the policy judge it on top of the
 * load before it. True if the request stays. */
static __always_inline bool join_pool(struct judging *a, const struct sluice_model_flag *pool,
				      struct sluice_model_state *state, bool bound)
{
	struct question *q = &a->question;

	expect_until(state, q->now);
	a->load.waiting_bytes = queue_bytes(state, q, 1);
	a->load.since_ns = load_since(state);
	predict_slot_wait(a, pool, state);
	if (bound && judge_by_policy(&a->judgement, q, pool, &a->load))
		refused_by_policy(&a->judgement, q, state);
	if (a->judgement.reason) {
		queue_bytes(state, q, -1);
		return false;
	}
	return true;
}

/* The request stays: its age counts from now, and its exchange will keep the load that it found. */
static __always_inline void begin_waiting(struct judging *a, const struct sluice_model_flag *pool,
					  struct sluice_model_state *state)
{
	struct question *q = &a->question;

	if (a->load.waiting_bytes <= 0)
		state->waiting_ns = q->now;
	__sync_fetch_and_add(&state->began_ns, q->now);
	q->turn = __sync_fetch_and_add(&state->admitted, 1) + 1;
	q->queued_bytes = admission_queued_bytes(&pool->admission, &a->load, q->bytes, q->now);
	q->in_flight_at_admission = a->load.in_flight + 1;
	q->wait_end = waits_end(q->now, admission_wait_ns(&pool->admission, q->queued_bytes));
	q->holds = SLUICE_EXCHANGE_IN_FLIGHT;
	if (!q->unstreamed) {
		ages_add(&state->ages, q->now);
		q->holds |= SLUICE_EXCHANGE_WAITING;
	} else if (waits_put(&state->waits, q->wait_end, waits_units(q->bytes))) {
		q->holds |= SLUICE_EXCHANGE_EXPECTED;
	}
}

/*
 * Takes the request's slots in every entry that counts it: all of them or, with the reason in the
 * judgement, none. With `bound`, limits and policy may refuse it. The client's own count comes
 * first: its value before the addition decides whether the client is above its share. The pool
 * comes last: its values before the addition are the load. A client that holds nothing yet gets its
 * entry at the end, so that a refused request makes none.
 */
static __always_inline void take_slots(struct judging *a, bool bound)
{
	struct sluice_holding *held, had = {};
	struct sluice_model_state *state;
	struct sluice_model_flag *pool;
	struct question *q = &a->question;

	pool = model_flag(q->pool);
	state = model_counts(q->pool);
	if (!pool || !state)
		return;
	if (bound && pool->admission.floor)
		q->rank = admission_rank(q->class, 0);
	held = client_holding(a, q->pool);
	if (held) {
		had.tat = held->tat;
		had.in_flight = __sync_fetch_and_add(&held->in_flight, 1);
		if (admission_above_share(&pool->admission, &had, share_weight(q), state->admitted))
			q->rank |= 1;
	}
	if (q->pool != SLUICE_MODEL_ALL && !take_slot(a, SLUICE_MODEL_ALL, bound))
		goto none;
	if (q->pool != q->model && !take_slot(a, q->model, bound))
		goto all_back;
	if (!take_slot(a, q->pool, bound))
		goto model_back;
	if (!join_pool(a, pool, state, bound))
		goto pool_back;
	KEEP(state); /* else the addresses of its members go on the stack, which then needs 512
			bytes and not 480 */
	begin_waiting(a, pool, state);
	if (!held) {
		bpf_map_update_elem(&client_in_flight, &a->key, &had, BPF_NOEXIST);
		held = bpf_map_lookup_elem(&client_in_flight, &a->key);
		if (!held) {
			count(SLUICE_COUNTER_COUNTS_FULL);
			return;
		}
		__sync_fetch_and_add(&held->in_flight, 1);
	}
	/* If two CPUs admit the client at once, its TAT may be off by one interval: no slot depends
	 * on it. */
	if (pool->admission.interval)
		held->tat = admission_next_tat(&pool->admission, held->tat, share_weight(q),
					       state->admitted);
	return;

pool_back:
	release_counts(state, slot_counts(q));
model_back:
	if (q->pool != q->model)
		release_slot(q, q->model);
all_back:
	if (q->pool != SLUICE_MODEL_ALL)
		release_slot(q, SLUICE_MODEL_ALL);
none:
	if (held)
		__sync_fetch_and_add(&held->in_flight, -1);
}

/* Takes the slots of a request that passes although it was not admitted, and charges it. */
SUBPROG int take_slots_passing(void)
{
	struct judging *a = get_judging();

	if (!a)
		return 0;
	take_slots(a, false);
	charge_passing(&a->question, a->judgement.quota);
	return 0;
}

/* Releases what take_slots() has just taken. The client's TAT stays advanced, and the pool's total
 * of admissions stays, too. */
SUBPROG int release_slots(void)
{
	struct judging *a = get_judging();
	struct question *q;

	if (!a)
		return 0;
	q = &a->question;
	release_load(q->model, q->pool, q->bytes, q->now, q->wait_end, q->holds);
	a->key.client = q->client;
	a->key.model = q->pool;
	release_client(&a->key);
	return 0;
}

#endif
