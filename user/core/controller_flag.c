/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The reading of an entry now, and the flag that the kernel obeys. The one idea: the flag is
 * written only if it differs enough from the last one. Numbers move a little with every sample, and
 * the kernel need not see that.
 */
#include "controller_internal.h"

#include <math.h>
#include <string.h>

#define RETRY_MS_MIN   1000
#define RETRY_MS_MAX   60000
#define RETRY_MS_STEP  100 /* a smaller change of retry-after is not written */
#define LIMIT_RETRY_MS 1000
#define DRAIN_RETRY_MS 10000 /* of a drain without end */

bool controller_drains(const struct controller *c, uint64_t now_ns)
{
	return c->drain.on && (!c->drain.until_ns || now_ns < c->drain.until_ns);
}

/* The entry with the admission state shown for `id`. NULL: none is in force, or it is that of
 * ALL. */
static const struct controller_model *shown_admission(const struct controller *c, uint32_t id)
{
	uint32_t pool = c->per_model ? controller_pool(c, id) : id;

	if (c->all.policy != CONTROLLER_ADAPTIVE || pool >= SLUICE_MODELS_MAX)
		return NULL;
	return c->model[pool].adapting ? &c->model[pool] : NULL;
}

/*
 * Compares one signal with its threshold (0: none). TTFT comes first, so it is the reason if others
 * are over, too.
 */
static void judge(struct controller_reading *r, enum sluice_reason reason, const struct ema *ema,
		  double threshold_ms, uint64_t now_ns, double tau_s)
{
	double wait_s;

	if (!(threshold_ms > 0) || !(ema_read(ema, now_ns, tau_s) > threshold_ms))
		return;
	wait_s = ema_seconds_until(ema, threshold_ms, now_ns, tau_s);
	if (r->open)
		r->reason = reason;
	r->open = false;
	if (wait_s > r->retry_after_s)
		r->retry_after_s = wait_s;
}

static double read_average(const struct ema *ema, uint64_t now_ns, double tau_s)
{
	return ema->weight > 0 ? ema_read(ema, now_ns, tau_s) : -1;
}

struct controller_reading controller_read(const struct controller *c, uint32_t id, uint64_t now_ns)
{
	struct controller_targets t = controller_targets(c, id);
	struct controller_reading r = {.open = true, .reason = SLUICE_REASON_NONE};
	const struct controller_model *m;

	if (id >= SLUICE_MODELS_MAX)
		id = SLUICE_MODEL_OTHER;
	m = &c->model[id];
	r.ttft_ms = read_average(&m->ttft, now_ns, t.tau_s);
	r.itl_ms = read_average(&m->itl, now_ns, t.tau_s);
	r.duration_ms = read_average(&m->duration, now_ns, t.tau_s);
	r.normalized_ms = read_average(&m->normalized, now_ns, t.tau_s);
	if (c->all.policy == CONTROLLER_ADAPTIVE) {
		const struct controller_model *pool = shown_admission(c, id);

		if (pool && pool->adaptive.stopped) {
			r.open = false;
			r.reason = SLUICE_REASON_TTFT;
			r.retry_after_s = adaptive_retry_ms(&pool->adaptive) / 1e3;
		}
	} else if (controller_is_stranger(c, id)) {
		struct controller_reading other = controller_read(c, SLUICE_MODEL_OTHER, now_ns);

		r.open = other.open;
		r.reason = other.reason;
		r.retry_after_s = other.retry_after_s;
	} else if (controller_carries(c, id)) {
		judge(&r, SLUICE_REASON_TTFT, &m->ttft, t.ttft_ms, now_ns, t.tau_s);
		judge(&r, SLUICE_REASON_ITL, &m->itl, t.itl_ms, now_ns, t.tau_s);
		judge(&r, SLUICE_REASON_DURATION, &m->duration, t.duration_ms, now_ns, t.tau_s);
		judge(&r, SLUICE_REASON_NORMALIZED_LATENCY, &m->normalized, t.normalized_ms, now_ns,
		      t.tau_s);
	}
	return r;
}

/* The average that a model is shut for, and its threshold. NULL: it is shut for no average. */
static struct ema *average_of(struct controller_model *m, enum sluice_reason reason,
			      const struct controller_targets *t, double *threshold_ms)
{
	switch (reason) {
	case SLUICE_REASON_TTFT:
		*threshold_ms = t->ttft_ms;
		return &m->ttft;
	case SLUICE_REASON_ITL:
		*threshold_ms = t->itl_ms;
		return &m->itl;
	case SLUICE_REASON_DURATION:
		*threshold_ms = t->duration_ms;
		return &m->duration;
	case SLUICE_REASON_NORMALIZED_LATENCY:
		*threshold_ms = t->normalized_ms;
		return &m->normalized;
	default:
		return NULL;
	}
}

void controller_adopt_drain(struct controller *c, const struct sluice_model_flag *all,
			    uint64_t now_ns)
{
	c->drain = (struct controller_drain){!all->allow && all->reason == SLUICE_REASON_OPERATOR,
					     all->unavailable, all->expires_ns};
	c->drain.on = controller_drains(c, now_ns);
}

void controller_adopt_flag(struct controller *c, uint32_t id, const struct sluice_model_flag *flag,
			   uint64_t now_ns)
{
	struct controller_targets t = controller_targets(c, id);
	double threshold_ms = 0, wait_ms = fmin(flag->retry_after_ms, CONTROLLER_ADOPT_MS);
	struct ema *ema;

	if (controller_adapts(c, id)) {
		struct adaptive_targets targets = controller_adaptive_targets(&t);

		if (flag->pool == id && flag->admission.ceiling)
			adaptive_adopt(controller_adaptive(c, id, now_ns), &flag->admission,
				       &targets);
		return;
	}
	if (c->all.policy == CONTROLLER_ADAPTIVE)
		return;
	if (flag->allow || id >= SLUICE_MODELS_MAX || !controller_carries(c, id))
		return;
	ema = average_of(&c->model[id], flag->reason, &t, &threshold_ms);
	if (!ema || !(threshold_ms > 0) || ema->weight > 0)
		return;
	ema->average = threshold_ms * exp(wait_ms / 1000 / t.tau_s);
	ema->weight = 1;
	ema->last_ns = now_ns;
}

static uint32_t retry_after_ms(double seconds)
{
	double ms = ceil(seconds * 1000);

	if (!(ms > RETRY_MS_MIN))
		return RETRY_MS_MIN;
	return ms < RETRY_MS_MAX ? (uint32_t)ms : RETRY_MS_MAX;
}

/* Whether two values differ by more than `percent` of the larger. */
static bool moved(uint64_t a, uint64_t b, unsigned percent)
{
	uint64_t more = a > b ? a : b, less = a > b ? b : a;

	return (double)(more - less) * 100 > (double)more * percent;
}

/* Whether the difference is worth a write; small changes with every sample are not. */
static bool admission_differs(const struct sluice_admission *a, const struct sluice_admission *b)
{
	for (int r = 0; r < SLUICE_RANKS; r++)
		if (moved(a->queue_budget_level[r], b->queue_budget_level[r], 2))
			return true;
	return a->ceiling != b->ceiling || a->floor != b->floor || a->stopped != b->stopped ||
	       memcmp(a->level, b->level, sizeof(a->level)) != 0 || moved(a->rate, b->rate, 2) ||
	       moved(a->queue_budget, b->queue_budget, 2) ||
	       moved(a->queue_budget_per_kib, b->queue_budget_per_kib, 2) ||
	       moved(a->credit_most, b->credit_most, 2) || moved(a->fair, b->fair, 5) ||
	       moved(a->interval, b->interval, 5) || a->slots != b->slots || a->spare != b->spare ||
	       moved(a->service, b->service, 2) || moved(a->slot_wait_most, b->slot_wait_most, 2);
}

static bool differs(const struct sluice_model_flag *a, const struct sluice_model_flag *b)
{
	uint32_t waits = a->retry_after_ms > b->retry_after_ms
				 ? a->retry_after_ms - b->retry_after_ms
				 : b->retry_after_ms - a->retry_after_ms;

	return a->allow != b->allow || a->reason != b->reason || a->limit != b->limit ||
	       a->expires_ns != b->expires_ns || a->unavailable != b->unavailable ||
	       a->action != b->action || a->mode != b->mode || a->unary != b->unary ||
	       a->quota != b->quota || a->pool != b->pool || waits > RETRY_MS_STEP ||
	       moved(a->limit_retry_ms, b->limit_retry_ms, 10) ||
	       memcmp(a->target_us, b->target_us, sizeof(a->target_us)) != 0 ||
	       a->ttft_us_per_kib != b->ttft_us_per_kib ||
	       admission_differs(&a->admission, &b->admission);
}

/* Policy adaptive: the flag stays open, and the admission state in it decides. */
static void admit_adaptively(struct controller *c, uint32_t id, const struct controller_targets *t,
			     uint64_t now_ns, struct sluice_model_flag *flag)
{
	struct adaptive_targets targets = controller_adaptive_targets(t);
	uint32_t pool = controller_pool(c, id);

	flag->allow = 1;
	flag->reason = SLUICE_REASON_NONE;
	flag->retry_after_ms = 0;
	flag->pool = (__u16)pool;
	if (controller_adapts(c, id))
		adaptive_write(controller_adaptive(c, id, now_ns), &targets, &flag->admission);
	if ((pool != SLUICE_MODEL_ALL || id == SLUICE_MODEL_ALL) && c->model[pool].adapting)
		flag->limit_retry_ms = adaptive_retry_ms(&c->model[pool].adaptive);
}

/* At most 71 minutes fit. */
static uint32_t whole_us(double ms)
{
	return ms * 1000 < UINT32_MAX ? (uint32_t)(ms * 1000 + 0.5) : UINT32_MAX;
}

bool controller_flag(struct controller *c, uint32_t id, uint64_t now_ns,
		     struct sluice_model_flag *out)
{
	struct controller_targets t = controller_targets(c, id);
	struct controller_reading r = controller_read(c, id, now_ns);
	struct controller_model *m;
	struct sluice_model_flag flag;

	if (id >= SLUICE_MODELS_MAX)
		id = SLUICE_MODEL_OTHER;
	m = &c->model[id];
	memset(&flag, 0, sizeof(flag));
	flag.allow = r.open;
	flag.reason = (__u8)r.reason;
	flag.retry_after_ms = r.open ? 0 : retry_after_ms(r.retry_after_s);
	/* With per_model the global limit holds for each model; without, for all together. */
	if (id != SLUICE_MODEL_ALL || !c->per_model)
		flag.limit = (__u32)t.max_in_flight;
	flag.limit_retry_ms = LIMIT_RETRY_MS;
	flag.pool = (__u16)id;
	flag.action = t.action;
	flag.mode = t.mode;
	flag.unary = m->unary;
	flag.quota = m->quota;
	flag.target_us[SLUICE_LATENCY_TTFT] = whole_us(t.ttft_ms);
	flag.target_us[SLUICE_LATENCY_ITL] = whole_us(t.itl_ms);
	flag.target_us[SLUICE_LATENCY_DURATION] = whole_us(t.duration_ms);
	flag.target_us[SLUICE_LATENCY_NORMALIZED] = whole_us(t.normalized_ms);
	flag.ttft_us_per_kib = whole_us(t.ttft_ms_per_kib);
	if (c->all.policy == CONTROLLER_ADAPTIVE)
		admit_adaptively(c, id, &t, now_ns, &flag);
	if (id == SLUICE_MODEL_ALL && controller_drains(c, now_ns)) {
		flag.allow = 0;
		flag.reason = SLUICE_REASON_OPERATOR;
		flag.retry_after_ms = DRAIN_RETRY_MS;
		flag.expires_ns = c->drain.until_ns;
		flag.unavailable = c->drain.unavailable;
	}
	*out = flag;
	if (m->ever_written && !differs(&flag, &m->written))
		return false;
	m->written = flag;
	m->ever_written = true;
	return true;
}
