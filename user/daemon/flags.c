/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Samples and flags. The controller gets what the kernel measures; its decision about a model goes
 * into the model's flag, if it differs from the last one written.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/daemon.h"

static void publish_model(struct daemon *d, uint32_t id)
{
	if (id < SLUICE_MODEL_FIRST || d->in_kernel[id] || d->controller.model[id].is_pool)
		return;
	d->in_kernel[id] =
		!datapath_set_model(d->datapath, d->controller.model[id].name, id, d->state.now_ns);
}

/* Not over 0: there is none. */
static double target(double ms)
{
	return ms > 0 ? ms : -1;
}

/* A latency as the sentence about a shut model has it. */
struct latency {
	const char *name;
	int decimals;
	double average_ms, target_ms;
};

static struct latency latency_of(const struct controller_reading *r,
				 const struct controller_targets *t)
{
	switch (r->reason) {
	case SLUICE_REASON_ITL:
		return (struct latency){"itl", 1, r->itl_ms, t->itl_ms};
	case SLUICE_REASON_DURATION:
		return (struct latency){"duration", 0, r->duration_ms, t->duration_ms};
	case SLUICE_REASON_NORMALIZED_LATENCY:
		return (struct latency){"normalized latency", 1, r->normalized_ms,
					t->normalized_ms};
	default:
		return (struct latency){"ttft", 0, r->ttft_ms, t->ttft_ms};
	}
}

static void say_model(const struct daemon *d, uint32_t id, bool shut, double was_s)
{
	const struct controller *c = &d->controller;
	struct controller_targets t = controller_targets(c, id);
	struct controller_reading r = controller_read(c, id, d->state.now_ns);
	struct latency l = latency_of(&r, &t);
	uint32_t pool = controller_pool(c, id), limit = controller_limit(c, pool);
	const char *name = c->model[id].name;
	struct state_load load = {0};
	char why[128], now[96];

	datapath_get_load(d->datapath, pool, d->state.now_ns, &load);
	if (!shut)
		snprintf(why, sizeof(why), "opened after %.1f s", was_s);
	else if (c->all.policy == CONTROLLER_ADAPTIVE)
		snprintf(why, sizeof(why), "stopped: what waits for a first token moves no more");
	else
		snprintf(why, sizeof(why), "shut: %s %.*f ms over %.*f ms", l.name, l.decimals,
			 l.average_ms, l.decimals, l.target_ms);
	snprintf(now, sizeof(now),
		 limit ? "%lld in flight, %lld waiting, limit %u" : "%lld in flight, %lld waiting",
		 (long long)load.in_flight, (long long)load.waiting, limit);
	say(shut ? EVENT_MODEL_SHUT : EVENT_MODEL_OPENED,
	    LOG_FIELDS(log_text("model", name), log_text("pool", c->model[pool].name),
		       log_text("reason", shut ? text_reason(r.reason) : NULL),
		       log_number("was_s", was_s), log_number("ttft_ms", r.ttft_ms),
		       log_number("ttft_target_ms", target(t.ttft_ms)),
		       log_number("itl_ms", r.itl_ms),
		       log_number("itl_target_ms", target(t.itl_ms)),
		       log_number("duration_ms", r.duration_ms),
		       log_number("duration_target_ms", target(t.duration_ms)),
		       log_number("normalized_latency_ms", r.normalized_ms),
		       log_number("normalized_latency_target_ms", target(t.normalized_ms)),
		       log_number("oldest_wait_ms", (double)load.oldest_ns / 1e6),
		       log_count("in_flight", load.in_flight), log_count("waiting", load.waiting),
		       log_number("limit", limit ? (double)limit : -1)),
	    "model %s %s; %s", name, why, now);
}

static void model_changed(struct daemon *d, uint32_t id, bool shut)
{
	uint64_t since = d->state.changed_ns[id] ? d->state.changed_ns[id] : d->state.started_ns;

	d->shut[id] = shut;
	d->state.changed_ns[id] = d->state.now_ns;
	d->state.changes[id]++;
	control_model_changed(d->control, id);
	say_model(d, id, shut, (double)(d->state.now_ns - since) / 1e9);
}

/* Policy adaptive: says when the ceiling of a pool has halved or doubled since the last such line.
 * It moves a little every half second. */
static void say_ceiling(struct daemon *d, uint32_t id)
{
	const struct controller_model *m = &d->controller.model[id];
	uint32_t now = m->written.admission.ceiling, *said = &d->ceiling_said[id], was = *said;
	bool fell = now * 2 <= was;
	struct state_load load = {0};

	if (!m->adapting || !now || (was && !fell && now < was * 2))
		return;
	*said = now;
	if (!was)
		return;
	datapath_get_load(d->datapath, id, d->state.now_ns, &load);
	say(fell ? EVENT_CEILING_FELL : EVENT_CEILING_ROSE,
	    LOG_FIELDS(log_text("pool", m->name), log_count("from", was), log_count("to", now),
		       log_count("in_flight", load.in_flight), log_count("waiting", load.waiting)),
	    "pool %s: the ceiling %s from %u to %u; %lld in flight, %lld waiting", m->name,
	    fell ? "fell" : "rose", was, now, (long long)load.in_flight, (long long)load.waiting);
}

int write_flag(struct daemon *d, uint32_t id)
{
	struct sluice_model_flag flag;
	bool open;
	int ret = 0;

	d->dirty[id] = false;
	if (controller_flag(&d->controller, id, d->state.now_ns, &flag))
		ret = datapath_set_flag(d->datapath, id, d->controller.model[id].name, &flag);
	if (ret) {
		d->controller.model[id].ever_written = false; /* so it is tried again */
		say(EVENT_FLAG_FAILED, LOG_FIELDS(log_text("model", d->controller.model[id].name)),
		    "cannot write the flag of model %s: %s", d->controller.model[id].name,
		    datapath_error());
		return ret;
	}
	say_ceiling(d, id);
	/* Under policy adaptive the admission state of a model's pool may shut it while its flag is
	 * open. */
	open = controller_read(&d->controller, id, d->state.now_ns).open;
	if (open == d->shut[id])
		model_changed(d, id, !open);
	return 0;
}

int write_flags(struct daemon *d, bool dirty_only)
{
	int ret = 0, first = 0;

	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
		if (!state_model_in_use(&d->state, id) || d->leaving[id] ||
		    (dirty_only && !d->dirty[id]))
			continue;
		ret = write_flag(d, id);
		first = first ? first : ret;
		if (!ret) /* a name never comes under a flag that is not its own */
			publish_model(d, id);
	}
	return first;
}

/* The weight of a client in the shares of a pool. An API key is in no prefix. */
static double weight_of(void *arg, const struct sluice_client *client)
{
	struct daemon *d = arg;
	struct sluice_prefix prefix;

	if (!d->desired->any_weight || client->kind != SLUICE_CLIENT_ADDRESS ||
	    !datapath_get_prefix(d->datapath, client->addr, &prefix) || !prefix.weight)
		return 1;
	return (double)prefix.weight / SLUICE_WEIGHT_ONE;
}

/* Notes that the client came to the pool, whatever the verdict. */
static void note_client(struct daemon *d, const struct sluice_client *client, uint32_t pool,
			uint64_t at_ns)
{
	if (d->controller.model[pool].adapting)
		active_seen(&d->active, client, (uint16_t)pool, weight_of, d, at_ns);
}

void on_sample(void *arg, const struct sluice_sample *sample)
{
	struct daemon *d = arg;
	uint32_t id = controller_sample(&d->controller, sample);
	uint32_t pool = controller_admitted_to(&d->controller, sample->pool, id);

	d->dirty[id] = d->dirty[SLUICE_MODEL_ALL] = d->dirty[SLUICE_MODEL_OTHER] = true;
	d->dirty[pool] = true;
	note_client(d, &sample->client, pool, sample->time_ns);
	trouble_saw(d, sample->service, &sample->client,
		    sample->kind == SLUICE_SAMPLE_TTFT || sample->kind == SLUICE_SAMPLE_DURATION,
		    true);
	if (sample->service < SLUICE_SERVICES_MAX) {
		d->service_of_model[id] = (uint16_t)(sample->service + 1);
		d->watched[sample->service].judged_twice |= sample->twice;
	}
}

void on_refusal(void *arg, const struct sluice_refusal *refusal)
{
	struct daemon *d = arg;

	if (!refusal->at_syn && refusal->model < SLUICE_MODELS_MAX)
		note_client(d, &refusal->client,
			    controller_admitted_to(&d->controller, refusal->pool, refusal->model),
			    refusal->time_ns);
	if (!refusal->at_syn)
		trouble_saw(d, refusal->service, &refusal->client, true, false);
	if (d->control)
		control_refusal(d->control, refusal);
}

void on_record(void *arg, const struct sluice_record *record)
{
	struct daemon *d = arg;

	if (d->control)
		control_record(d->control, record);
}

void look(struct daemon *d)
{
	static double active[SLUICE_MODELS_MAX];

	memset(active, 0, sizeof(active));
	active_weights(&d->active, d->state.now_ns, active);
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
		struct adaptive_view view = {0};
		struct state_load load;

		if (!d->controller.model[id].name[0])
			continue;
		if (controller_adapts(&d->controller, id) &&
		    !datapath_get_load(d->datapath, id, d->state.now_ns, &load)) {
			view = (struct adaptive_view){
				.in_flight = load.in_flight,
				.waiting = load.waiting,
				.waiting_bytes = load.waiting_bytes,
				.shadow_in_flight = load.shadow_in_flight,
				.oldest_ns = load.oldest_ns,
				.active_weight = active[id],
				.admitted = load.admitted,
				.ended = load.ended,
			};
			memcpy(view.refused, load.refused, sizeof(view.refused));
		}
		controller_look(&d->controller, id, &view, d->state.now_ns);
	}
}
