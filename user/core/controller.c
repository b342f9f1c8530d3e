/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The controller's signals. Each sample goes into the average of all models and into its own
 * model's average. Under policy adaptive it also goes into the admission state of its pool.
 * controller_flag.c decides from them.
 */
#include "controller_internal.h"

#include <string.h>

/* The model of a sample: by its name if it has one, else by its id if a model has that id. */
static uint32_t sample_model(struct controller *c, const struct sluice_sample *sample)
{
	char name[SLUICE_NAME_MAX + 1] = "";

	if (sample->name[0]) {
		memcpy(name, sample->name, sizeof(sample->name));
		return controller_learn(c, name, sample->time_ns);
	}
	if (sample->model >= SLUICE_MODELS_MAX || !c->model[sample->model].name[0])
		return SLUICE_MODEL_OTHER;
	return sample->model;
}

/* A duration is one observation of itself and, if its reply stated n tokens, one of normalized
 * latency. */
static void record(struct controller *c, uint32_t id, const struct sluice_sample *sample,
		   uint32_t n)
{
	struct controller_model *m = &c->model[id];
	double tau_s = controller_targets(c, id).tau_s;
	double sum_ms = (double)sample->sum_ns / 1e6;
	uint64_t now_ns = sample->time_ns;

	if (now_ns > m->last_seen_ns)
		m->last_seen_ns = now_ns;
	if (sample->kind == SLUICE_SAMPLE_TTFT) {
		ema_record(&m->ttft, sum_ms / n, n, now_ns, tau_s);
		m->ttft_samples += n;
	} else if (sample->kind == SLUICE_SAMPLE_ITL) {
		ema_record(&m->itl, sum_ms / n, n, now_ns, tau_s);
		m->itl_samples += n;
	} else {
		ema_record(&m->duration, sum_ms, 1, now_ns, tau_s);
		m->duration_samples++;
		if (n) {
			ema_record(&m->normalized, sum_ms / n, 1, now_ns, tau_s);
			m->normalized_samples++;
		}
	}
}

struct adaptive *controller_adaptive(struct controller *c, uint32_t id, uint64_t now_ns)
{
	struct controller_model *m = &c->model[id];

	if (!m->adapting) {
		adaptive_init(&m->adaptive, now_ns);
		m->adapting = true;
	}
	return &m->adaptive;
}

uint32_t controller_admitted_to(const struct controller *c, uint32_t pool, uint32_t id)
{
	if (pool < SLUICE_MODELS_MAX && (c->model[pool].adapting || controller_adapts(c, pool)))
		return pool;
	return controller_pool(c, id);
}

/* Adds a sample to the admission state of its pool, judged by the targets of its own model. */
static void adapt(struct controller *c, uint32_t id, const struct sluice_sample *s, uint32_t n)
{
	uint32_t pool = controller_admitted_to(c, s->pool, id);
	struct controller_targets t;
	struct adaptive_targets targets;
	struct adaptive *a;

	if (c->all.policy != CONTROLLER_ADAPTIVE ||
	    (!c->model[pool].adapting && !controller_adapts(c, pool)))
		return;
	a = controller_adaptive(c, pool, s->time_ns);
	t = controller_targets(c, c->per_model ? id : SLUICE_MODEL_ALL);
	targets = controller_adaptive_targets(&t);
	if (s->kind == SLUICE_SAMPLE_TTFT &&
	    s->in_flight_at_admission) /* 0: shadow mode let it pass without a slot */
		adaptive_ttft(a, &targets, (double)s->sum_ns / 1e6 / n, s->bytes, s->queued_bytes,
			      s->in_flight_at_admission, s->served, s->time_ns);
	if (s->kind == SLUICE_SAMPLE_DURATION && s->in_flight_at_admission)
		adaptive_duration(a, &targets, (double)s->sum_ns / 1e6, s->bytes, n,
				  s->in_flight_at_admission, s->time_ns);
	if (s->kind != SLUICE_SAMPLE_ITL)
		return;
	if (n)
		adaptive_gaps(a, (double)s->sum_ns / 1e6, n, s->time_ns);
	if (s->in_flight_at_admission)
		adaptive_ended(a, &targets, s->queued_bytes / 1e3, s->time_ns);
}

uint32_t controller_sample(struct controller *c, const struct sluice_sample *sample)
{
	uint32_t id = sample_model(c, sample);
	uint32_t n = sample->n;
	bool timed;

	if (sample->kind == SLUICE_SAMPLE_TTFT && !n)
		n = 1;
	timed = sample->kind == SLUICE_SAMPLE_DURATION || (sample->kind <= SLUICE_SAMPLE_ITL && n);
	adapt(c, id, sample, n);
	if (!timed) {
		if (sample->time_ns > c->model[id].last_seen_ns)
			c->model[id].last_seen_ns = sample->time_ns;
		return id;
	}
	record(c, SLUICE_MODEL_ALL, sample, n);
	if (id != SLUICE_MODEL_ALL)
		record(c, id, sample, n);
	if (controller_is_stranger(c, id))
		record(c, SLUICE_MODEL_OTHER, sample, n);
	return id;
}

void controller_look(struct controller *c, uint32_t id, const struct adaptive_view *view,
		     uint64_t now_ns)
{
	struct adaptive_targets targets;
	struct controller_targets t;
	struct adaptive *a;

	if (!controller_adapts(c, id)) {
		c->model[id].adapting = false;
		return;
	}
	a = controller_adaptive(c, id, now_ns);
	t = controller_targets(c, id);
	targets = controller_adaptive_targets(&t);
	adaptive_look(a, &targets, view, now_ns);
}

bool controller_admission(const struct controller *c, uint32_t id, struct sluice_admission *out)
{
	struct adaptive_targets targets;
	struct controller_targets t;

	if (c->all.policy != CONTROLLER_ADAPTIVE || id >= SLUICE_MODELS_MAX ||
	    !c->model[id].adapting)
		return false;
	t = controller_targets(c, id);
	targets = controller_adaptive_targets(&t);
	adaptive_write(&c->model[id].adaptive, &targets, out);
	return true;
}

uint32_t controller_limit(const struct controller *c, uint32_t id)
{
	struct controller_targets t = controller_targets(c, id);
	uint32_t limit = t.max_in_flight > 0 ? (uint32_t)t.max_in_flight : 0;
	struct sluice_admission admission;

	if (controller_admission(c, c->per_model ? controller_pool(c, id) : id, &admission) &&
	    admission.ceiling && (!limit || admission.ceiling < limit))
		limit = admission.ceiling;
	return limit;
}
