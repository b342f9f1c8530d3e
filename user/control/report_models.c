/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Models as JSON: averages, targets, counts, and the admission state of the entries that carry one.
 */
#include "control/report_internal.h"

#include <string.h>

/* A pool's name without its prefix. */
static const char *pool_name(const struct daemon_state *s, uint32_t group)
{
	return s->controller->model[group].name + strlen(CONTROLLER_POOL);
}

static json_t *members(const struct daemon_state *s, uint32_t group)
{
	json_t *list = json_array();

	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++)
		if (s->controller->model[id].in_pool == group)
			json_array_append_new(list, value_model(s, id));
	return list;
}

double admission_rate(const struct sluice_admission *a)
{
	return a->rate ? (double)a->rate / (1 << ADMISSION_RATE_SHIFT) /
				 ((1 << ADMISSION_TICK_SHIFT) / 1e9)
		       : -1;
}

/* The admission state of an entry under policy adaptive; null if the entry carries none. */
static json_t *admission(const struct daemon_state *s, uint32_t id)
{
	const struct state_load *k = &s->kernel[id];
	json_t *levels, *queue_budgets, *refused;
	struct sluice_admission a;

	if (!controller_admission(s->controller, id, &a))
		return json_null();
	levels = json_array();
	queue_budgets = json_array();
	refused = json_array();
	for (int r = 0; r < SLUICE_RANKS; r++) {
		json_array_append_new(levels, json_real((double)a.level[r] / ADMISSION_ALL));
		json_array_append_new(queue_budgets,
				      json_real((double)a.queue_budget_level[r] / ADMISSION_ALL));
		json_array_append_new(refused, value_count(k->refused[r]));
	}
	return json_pack("{s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
			 "ceiling", value_count(a.ceiling), "server_slots",
			 a.slots ? value_count(a.slots) : json_null(), "floor",
			 value_count(a.floor), "stopped", a.stopped != 0, "rate_bytes_per_second",
			 value_number(admission_rate(&a)), "queue_budget_bytes",
			 a.rate ? value_count(a.queue_budget) : json_null(), "waiting_bytes",
			 value_gauge(k->waiting_bytes), "oldest_waiting_ms",
			 k->oldest_ns ? value_count(k->oldest_ns / MS) : json_null(),
			 "client_share", value_number(a.fair ? (double)a.fair / ADMISSION_ALL : -1),
			 "client_interval",
			 value_number(a.interval ? (double)a.interval / ADMISSION_ALL : -1),
			 "levels_by_rank", levels, "queue_budget_levels_by_rank", queue_budgets,
			 "refused_by_rank", refused);
}

static json_t *plain_model(const struct daemon_state *s, uint32_t id)
{
	const struct controller_model *m = &s->controller->model[id];
	struct controller_targets targets = controller_targets(s->controller, id);
	struct controller_reading now = controller_read(s->controller, id, s->now_ns);
	uint32_t limit = controller_limit(s->controller, id);
	bool shut = !now.open;

	return json_pack(
		"{s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
		"s:o, s:s, s:s, s:b, s:b}",
		"name", value_model(s, id), "open", now.open, "reason",
		shut ? json_string(text_reason(now.reason)) : json_null(), "ttft_ema_ms",
		value_number(now.ttft_ms), "itl_ema_ms", value_number(now.itl_ms),
		"ttft_threshold_ms", value_threshold(targets.ttft_ms), "itl_threshold_ms",
		value_threshold(targets.itl_ms), "in_flight", value_gauge(s->kernel[id].in_flight),
		"waiting", value_gauge(s->kernel[id].waiting), "limit",
		limit ? value_count(limit) : json_null(), "ttft_samples",
		value_count(m->ttft_samples), "itl_samples", value_count(m->itl_samples),
		"time_constant_secs", value_number(targets.tau_s), "retry_after_ms",
		value_number(shut ? now.retry_after_s * 1000 : -1), "changed_unix_ms",
		s->changed_ns[id] ? value_count(unix_ms(s, s->changed_ns[id])) : json_null(),
		"last_seen_ms_ago",
		m->last_seen_ns && m->last_seen_ns <= s->now_ns
			? value_count((s->now_ns - m->last_seen_ns) / MS)
			: json_null(),
		"mode", text_mode(targets.mode), "action", text_action(targets.action), "unary",
		m->unary, "pinned", m->pinned);
}

/* Of replies that are not streamed. */
static void add_durations(json_t *one, const struct daemon_state *s, uint32_t id)
{
	const struct controller_model *m = &s->controller->model[id];
	struct controller_targets targets = controller_targets(s->controller, id);
	struct controller_reading now = controller_read(s->controller, id, s->now_ns);

	json_object_set_new(one, "duration_ema_ms", value_number(now.duration_ms));
	json_object_set_new(one, "duration_threshold_ms", value_threshold(targets.duration_ms));
	json_object_set_new(one, "duration_samples", value_count(m->duration_samples));
	json_object_set_new(one, "normalized_latency_ema_ms", value_number(now.normalized_ms));
	json_object_set_new(one, "normalized_latency_threshold_ms",
			    value_threshold(targets.normalized_ms));
	json_object_set_new(one, "normalized_latency_samples", value_count(m->normalized_samples));
}

json_t *report_model(const struct daemon_state *s, uint32_t id)
{
	const struct controller_model *m = &s->controller->model[id];
	int64_t own = controller_targets(s->controller, id).max_in_flight;
	json_t *one = plain_model(s, id);

	json_object_set_new(one, "ttft_threshold_ms_per_kib",
			    value_threshold(controller_targets(s->controller, id).ttft_ms_per_kib));
	add_durations(one, s, id);
	json_object_set_new(one, "max_in_flight", own > 0 ? json_integer(own) : json_null());
	json_object_set_new(one, "floor",
			    s->controller->all.policy == CONTROLLER_ADAPTIVE
				    ? json_integer(controller_targets(s->controller, id).floor)
				    : json_null());
	json_object_set_new(one, "changes", value_count(s->changes[id]));
	json_object_set_new(one, "shadow_in_flight", value_gauge(s->kernel[id].shadow_in_flight));
	json_object_set_new(one, "stalled", value_gauge(s->kernel[id].stalled));
	json_object_set_new(one, "departed", value_gauge(s->kernel[id].departed));
	json_object_set_new(one, "failed", value_count(s->kernel[id].failed));
	json_object_set_new(one, "guessed", value_count(s->kernel[id].guessed));
	json_object_set_new(one, "pool",
			    m->in_pool ? json_string(pool_name(s, m->in_pool)) : json_null());
	if (m->is_pool)
		json_object_set_new(one, "members", members(s, id));
	json_object_set_new(one, "admission", admission(s, id));
	return one;
}

/* A model of a list, with its requests. */
static json_t *listed(const struct daemon_state *s, uint32_t id, const struct state_sums *sums)
{
	json_t *one = report_model(s, id);

	json_object_set_new(one, "requests",
			    json_pack("{s:o, s:o, s:o}", "admitted",
				      value_count(sums->admitted[id]), "rejected",
				      value_count(sums->rejected[id]), "shadow_rejected",
				      value_count(sums->shadow[id])));
	return one;
}

json_t *report_model_list(const struct daemon_state *s)
{
	json_t *list = json_array();
	struct state_sums sums;

	state_sum(&sums, s);
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
		if (!state_model_in_use(s, id))
			continue;
		json_array_append_new(list, listed(s, id, &sums));
		state_step_counts(s);
	}
	if (state_other_seen(s))
		json_array_append_new(list, listed(s, SLUICE_MODEL_OTHER, &sums));
	return list;
}

json_t *report_models(const struct daemon_state *s)
{
	return json_pack("{s:o, s:o, s:I, s:b}", "models", report_model_list(s), "global",
			 report_model(s, SLUICE_MODEL_ALL), "names_refused",
			 (json_int_t)s->controller->names_refused, "per_model_limits",
			 s->controller->per_model);
}
