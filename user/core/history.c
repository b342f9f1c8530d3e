/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The last hour; history.h says how. */
#include "history.h"

#include <string.h>

static const struct history_point none = {-1, -1, -1, -1, -1, -1, -1, -1};

int history_now(const struct history *h)
{
	return h && h->count > 1 ? (int)((h->count - 1) % HISTORY_POINTS) : -1;
}

uint64_t history_first(const struct history *h)
{
	return h->count > HISTORY_POINTS ? h->count - HISTORY_POINTS : 0;
}

/* The rise of a total a second. Totals fall if a name is forgotten and its id is used again. */
static float rate(uint64_t now, uint64_t then, double secs)
{
	return secs > 0 && now >= then ? (float)((double)(now - then) / secs) : -1;
}

static float target(double value)
{
	return value > 0 ? (float)value : -1;
}

static struct history_point read_point(const struct daemon_state *s, uint32_t id)
{
	struct controller_reading r = controller_read(s->controller, id, s->now_ns);
	struct controller_targets t = controller_targets(s->controller, id);
	uint32_t limit = controller_limit(s->controller, id);
	int64_t in_flight = s->kernel[id].in_flight;

	return (struct history_point){
		.ttft_ms = (float)r.ttft_ms,
		.ttft_target_ms = target(t.ttft_ms),
		.itl_ms = (float)r.itl_ms,
		.itl_target_ms = target(t.itl_ms),
		.in_flight = in_flight > 0 ? (float)in_flight : 0,
		.limit = target(limit),
		.admitted = -1,
		.rejected = -1,
	};
}

static struct history_series *find(struct history *h, const char *name)
{
	for (unsigned i = 0; i < HISTORY_MODELS; i++)
		if (!strcmp(h->model[i].name, name))
			return &h->model[i];
	return NULL;
}

/* A free series, or the one that has been without a request for longest; NULL: all have some. */
static struct history_series *make(struct history *h, const char *name)
{
	struct history_series *oldest = NULL;

	for (unsigned i = 0; i < HISTORY_MODELS; i++) {
		struct history_series *one = &h->model[i];

		if (one->active < h->count && (!oldest || one->active < oldest->active))
			oldest = one;
	}
	if (!oldest)
		return NULL;
	strcpy(oldest->name, name);
	for (unsigned i = 0; i < HISTORY_POINTS; i++)
		oldest->point[i] = none;
	return oldest;
}

static void add_model(struct history *h, const struct daemon_state *s, uint32_t id,
		      const struct state_sums *sums, double secs)
{
	const char *name = s->controller->model[id].name;
	struct history_series *one = find(h, name);
	bool active = s->kernel[id].in_flight > 0 || sums->admitted[id] != h->sums.admitted[id] ||
		      sums->rejected[id] != h->sums.rejected[id];
	struct history_point *p;

	if (!one && active)
		one = make(h, name);
	if (!one)
		return;
	if (active)
		one->active = h->count;
	p = &one->point[(h->count - 1) % HISTORY_POINTS];
	*p = read_point(s, id);
	p->admitted = rate(sums->admitted[id], h->sums.admitted[id], secs);
	p->rejected = rate(sums->rejected[id], h->sums.rejected[id], secs);
}

/* Those with a request come first, so that none of them gives way to another. */
static void add_models(struct history *h, const struct daemon_state *s,
		       const struct state_sums *sums, double secs)
{
	for (unsigned i = 0; i < HISTORY_MODELS; i++) {
		struct history_series *one = &h->model[i];

		one->point[(h->count - 1) % HISTORY_POINTS] = none;
		if (h->count > one->active + HISTORY_POINTS)
			one->name[0] = 0;
	}
	for (uint32_t id = SLUICE_MODEL_OTHER; id < SLUICE_MODELS_MAX; id++)
		if (state_model_in_use(s, id) && find(h, s->controller->model[id].name))
			add_model(h, s, id, sums, secs);
	for (uint32_t id = SLUICE_MODEL_OTHER; id < SLUICE_MODELS_MAX; id++)
		if (state_model_in_use(s, id) && !find(h, s->controller->model[id].name))
			add_model(h, s, id, sums, secs);
}

void history_add(struct history *h, const struct daemon_state *s)
{
	double secs = h->count ? (double)(s->now_ns - h->now_ns) / 1e9 : 0;
	unsigned at = h->count % HISTORY_POINTS;
	struct state_sums sums;
	struct history_point *p = &h->all.point[at];

	state_sum(&sums, s);
	h->count++;
	h->now_ns = s->now_ns;
	h->unix_ms[at] = s->unix_ns / 1000000;
	*p = read_point(s, SLUICE_MODEL_ALL);
	p->admitted = rate(sums.all_admitted, h->sums.all_admitted, secs);
	p->rejected = rate(sums.all_rejected, h->sums.all_rejected, secs);
	for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++)
		h->by_reason[at][r] = rate(sums.by_reason[r], h->sums.by_reason[r], secs);
	for (unsigned c = 0; c < SLUICE_CLASSES; c++) {
		h->admitted_by_class[at][c] =
			rate(sums.admitted_by_class[c], h->sums.admitted_by_class[c], secs);
		h->rejected_by_class[at][c] =
			rate(sums.rejected_by_class[c], h->sums.rejected_by_class[c], secs);
	}
	add_models(h, s, &sums, secs);
	h->sums = sums;
}
