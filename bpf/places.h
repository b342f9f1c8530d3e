/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Places: what a request holds between its last byte and its response's last. It is counted for
 * everything together, for its model, and for the entry that carries its model's law where that is
 * a group's. A place is taken by one atomic addition whose result decides, so that two CPUs cannot
 * both take the last one; what is given back is free at once.
 */
#ifndef SLUICE_BPF_PLACES_H
#define SLUICE_BPF_PLACES_H

#include "count.h"

static __always_inline struct sluice_model_flag *model_flag(__u32 model)
{
	return bpf_map_lookup_elem(&model_flags, &model);
}

static __always_inline struct sluice_model_state *model_counts(__u32 model)
{
	return bpf_map_lookup_elem(&model_state, &model);
}

/* Whether the law's entry is a third one, beside the model's and that of all. */
static __always_inline bool law_apart(__u32 law, __u32 model)
{
	return law != model && law != SLUICE_MODEL_ALL;
}

/* From when on the server has worked on those that wait with nothing to show for it. */
static __always_inline __u64 load_since(const struct sluice_model_state *state)
{
	return state->token_ns > state->waiting_ns ? state->token_ns : state->waiting_ns;
}

static __always_inline void give_back_to(struct sluice_model_state *state, __u32 had)
{
	if (had & SLUICE_EXCHANGE_WAITING)
		__sync_fetch_and_add(&state->waiting, -1);
	if (had & SLUICE_EXCHANGE_IN_FLIGHT)
		__sync_fetch_and_add(&state->in_flight, -1);
	if (had & SLUICE_EXCHANGE_BEYOND)
		__sync_fetch_and_add(&state->beyond, -1);
}

/* Gives back what a request of `bytes` had since `since`: SLUICE_EXCHANGE_… flags, wherever it is
 * counted. */
static __always_inline void give_back_now(__u32 model, __u32 law, __u32 bytes, __u64 since,
					  __u32 had)
{
	struct sluice_model_state *all = model_counts(SLUICE_MODEL_ALL), *own = model_counts(model);
	struct sluice_model_state *ruling = model_counts(law);

	if (!all || !own || !ruling)
		return;
	give_back_to(all, had);
	give_back_to(own, had);
	if (law_apart(law, model))
		give_back_to(ruling, had);
	if (had & SLUICE_EXCHANGE_WAITING) {
		__sync_fetch_and_add(&ruling->waiting_bytes, -(__s64)bytes);
		ages_remove(&ruling->ages, since);
	}
	if (had & SLUICE_EXCHANGE_IN_FLIGHT)
		__sync_fetch_and_add(&ruling->ended, 1);
}

/* A client has one request less in flight under a law; the entry of one that has nothing is the
 * daemon's to delete. */
static __always_inline void client_lets_go(const struct sluice_client_flag_key *key)
{
	struct sluice_holding *held = bpf_map_lookup_elem(&client_in_flight, key);

	if (held)
		__sync_fetch_and_add(&held->in_flight, -1);
}

/* Gives back what an exchange holds of `drop`, once however many ask. Written out in both its
 * callers: a call each saved. */
static __always_inline void release_now(struct sluice_exchange *e, __u32 drop)
{
	struct sluice_client_flag_key key = {};
	__u32 had;

	had = __sync_fetch_and_and(&e->flags, ~drop) & drop;
	if (!had)
		return;
	give_back_now(e->model, e->law, e->bytes, e->admitted_ns, had);
	if (had & SLUICE_EXCHANGE_IN_FLIGHT) {
		key.client = e->client;
		key.model = e->law;
		client_lets_go(&key);
	}
}

SUBPROG int release(struct sluice_exchange *e, __u32 drop)
{
	if (e)
		release_now(e, drop);
	return 0;
}

/* An exchange has its first token, or its end; what it gives back of `drop` the server has worked
 * off. */
SUBPROG int gives_back(struct sluice_exchange *e, __u64 now, __u32 drop)
{
	struct sluice_model_state *law;

	if (!e)
		return 0;
	law = model_counts(e->law);
	if (law && e->flags & SLUICE_EXCHANGE_WAITING)
		law->token_ns = now;
	release_now(e, drop);
	return 0;
}

#endif
