/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the daemon reads and writes of a model besides its name: its flag with the flag's templates,
 * its load and its histograms. The one idea: model_state is mapped, so the load of a model costs no
 * system call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/state.h"
#include "map_io.h"
#include "replies.h"
#include "settings.h"

int datapath_set_flag(struct datapath *d, uint32_t id, const char *name,
		      const struct sluice_model_flag *flag)
{
	uint16_t reasons = 0;
	int err;

	if (id >= SLUICE_MODELS_MAX || flag->reason >= SLUICE_REASON_COUNT)
		return datapath_fail(-EINVAL, "no model has id %u, or no reason number %u", id,
				     flag->reason);
	if (!flag->allow)
		reasons |= 1U << flag->reason;
	if (flag->limit)
		reasons |= 1U << SLUICE_REASON_IN_FLIGHT;
	if (flag->admission.floor || (flag->pool != id && flag->pool != SLUICE_MODEL_ALL))
		reasons |= 1U << SLUICE_REASON_TTFT | 1U << SLUICE_REASON_IN_FLIGHT |
			   1U << SLUICE_REASON_CLIENT_SHARE;
	if (id != SLUICE_MODEL_ALL) { /* even without reasons: it remembers the name */
		err = replies_write(d, id, name, reasons);
		if (err)
			return err;
	}
	return flag_write(d, id, flag);
}

int datapath_set_named(struct datapath *d, const struct sluice_named_models *named)
{
	uint32_t zero = 0;

	return map_write(d->skel->maps.named_models, &zero, named);
}

int datapath_get_flag(struct datapath *d, uint32_t id, struct sluice_model_flag *out)
{
	return map_read(d->skel->maps.model_flags, &id, out);
}

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

int datapath_get_load(struct datapath *d, uint32_t id, uint64_t now_ns, struct state_load *out)
{
	struct sluice_model_state *s;

	if (id >= SLUICE_MODELS_MAX)
		return datapath_fail(-EINVAL, "no model has id %u", id);
	s = &d->state[id];
	*out = (struct state_load){
		.in_flight = LOAD(s->in_flight),
		.waiting = LOAD(s->waiting),
		.shadow_in_flight = LOAD(s->shadow_in_flight),
		.waiting_bytes = LOAD(s->waiting_bytes) + waits_bytes(&s->waits, now_ns),
		.stalled = LOAD(s->stalled),
		.departed = LOAD(s->departed),
		.failed = LOAD(s->failed),
		.guessed = LOAD(s->guessed),
		.token_ns = LOAD(s->token_ns),
		.waiting_ns = LOAD(s->waiting_ns),
		.admitted = LOAD(s->admitted),
		.ended = LOAD(s->ended),
	};
	for (int r = 0; r < SLUICE_RANKS; r++)
		out->refused[r] = LOAD(s->refused[r]);
	/* If nothing waits, ages that count a request have drifted; age.c corrects them. */
	if (out->waiting > 0)
		out->oldest_ns = ages_oldest(&s->ages, now_ns);
	return 0;
}

uint32_t datapath_ids_max(const struct datapath *d)
{
	return bpf_map__max_entries(d->skel->maps.histograms);
}

int datapath_get_histogram(struct datapath *d, uint32_t id, struct sluice_histogram *out)
{
	_cleanup_free_ struct sluice_histogram *each = calloc(d->cpus, sizeof(*each));
	struct sluice_histogram sum = {0};
	int err;

	if (!each)
		return datapath_fail(-ENOMEM, "out of memory");
	if (id >= datapath_ids_max(d)) {
		*out = sum;
		return 0;
	}
	err = map_read(d->skel->maps.histograms, &id, each);
	if (err)
		return err;
	for (int cpu = 0; cpu < d->cpus; cpu++)
		for (int k = 0; k < SLUICE_LATENCIES; k++) {
			for (int b = 0; b < SLUICE_HISTOGRAM_BUCKETS; b++)
				sum.count[k][b] += each[cpu].count[k][b];
			sum.sum_ns[k] += each[cpu].sum_ns[k];
			sum.met[k] += each[cpu].met[k];
			sum.missed[k] += each[cpu].missed[k];
		}
	for (int cpu = 0; cpu < d->cpus; cpu++)
		sum.output_tokens += each[cpu].output_tokens;
	*out = sum;
	return 0;
}
