/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Mixes of work: streams beside whole replies, images, embeddings. Policy adaptive plays each at
 * three loads, and again with all of the same work streamed, which is what the policy sees best.
 */
#ifndef SLUICE_SIM_MIX_H
#define SLUICE_SIM_MIX_H

#include "run.h"

struct mix {
	const char *name;
	double unary, images, embeddings; /* shares of the requests */
	uint32_t long_tokens;             /* of each reply that is not streamed; 0: as drawn */
};

struct mix_engine {
	const char *name;
	struct engine_shape shape;
	struct adaptive_targets targets;
};

/* The last of each has no name. */
extern const struct mix mixes[];
extern const struct mix_engine mix_engines[];
extern const double mix_loads[]; /* multiples of the capacity; the last is 0 */

/* Sums over the seeds; `shown` has the highest in flight, and the highest ceiling, of all. */
struct mix_result {
	double goodput, streamed; /* requests/s, means; streamed: of all the same work streamed */
	uint32_t arrived, admitted, met;
	struct policy_shown shown;
};

/* Requests/s that meet the targets at best if all of the mix is streamed. Negative: out of
 * memory. */
double mix_capacity(const struct mix *m, const struct mix_engine *e);

/* Plays a mix on an engine at `rate` requests/s, with the seeds from 1 on. 0 or -ENOMEM. */
int mix_play(const struct mix *m, const struct mix_engine *e, double rate, uint32_t seeds,
	     struct mix_result *out);

/* Writes the table of all mixes, in Markdown, to standard output. 0 or an exit status. */
int mix_write(void);

#endif
