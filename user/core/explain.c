/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests a verdict from the programs, through struct state_lookup, and adds what only user space
 * knows: the clients that an address is, names, and display units. The rules of a verdict are not
 * repeated here. gcra.h, which the programs use too, computes what is left of a budget.
 */
#include "core/explain.h"

#include <string.h>

#include <sluice/gcra.h>

#define MS 1000000ULL

const char *explain_quota_text(enum sluice_quota_from from)
{
	static const char *const words[] = {
		[SLUICE_QUOTA_FROM_NONE] = NULL,
		[SLUICE_QUOTA_FROM_CLIENT_MODEL] = "client-model",
		[SLUICE_QUOTA_FROM_CLIENT] = "client",
		[SLUICE_QUOTA_FROM_PREFIX] = "prefix",
		[SLUICE_QUOTA_FROM_MODEL] = "model",
		[SLUICE_QUOTA_FROM_SERVICE] = "service",
	};

	return words[from];
}

const char *explain_class_text(enum sluice_class_from from)
{
	static const char *const words[] = {
		[SLUICE_CLASS_FROM_DEFAULT] = "default",
		[SLUICE_CLASS_FROM_KEY] = "key",
		[SLUICE_CLASS_FROM_PREFIX] = "prefix",
		[SLUICE_CLASS_FROM_HEADER] = "header",
	};

	return words[from];
}

uint32_t explain_service(const struct daemon_state *s)
{
	for (size_t i = 0; i < s->service_count; i++)
		if (s->services[i].quota_id)
			return (uint32_t)i;
	for (size_t i = 0; i < s->service_count; i++)
		if (s->services[i].protocol == SLUICE_PROTOCOL_HTTP)
			return (uint32_t)i;
	return 0;
}

void explain_client(const struct daemon_state *s, uint32_t service,
		    const struct text_subject *subject, struct sluice_client *client)
{
	*client = subject->client;
	if (service < s->service_count)
		service_client(&s->services[service], subject, client);
}

size_t explain_clients(const struct daemon_state *s, const struct text_subject *subject,
		       struct sluice_client out[SLUICE_SERVICES_MAX])
{
	return service_clients(s->services, s->service_count, subject, out);
}

bool explain_is_prefix(const struct daemon_state *state, const struct text_subject *subject)
{
	if (subject->client.kind != SLUICE_CLIENT_ADDRESS || subject->note ||
	    subject->client.plen != 64)
		return false;
	for (size_t i = 0; i < state->service_count; i++)
		if (state->services[i].identity.plen6 && state->services[i].identity.plen6 != 64)
			return true;
	return false;
}

bool explain_last(const struct daemon_state *s, const struct text_subject *subject,
		  uint32_t *service, uint32_t *model)
{
	struct sluice_client clients[SLUICE_SERVICES_MAX];
	size_t n = explain_clients(s, subject, clients);
	uint64_t seen_ns = 0;

	for (size_t k = 0; k < n; k++) {
		struct sluice_client_count count;

		if (!s->lookup->counts(s->lookup->arg, &clients[k], &count) ||
		    count.last_seen_ns <= seen_ns || count.last_service >= s->service_count)
			continue;
		seen_ns = count.last_seen_ns;
		*service = count.last_service;
		*model = state_model_in_use(s, count.last_model) ? count.last_model
								 : SLUICE_MODEL_ALL;
	}
	return seen_ns != 0;
}

/* Requests a verdict. On an opaque service it is the verdict on a connection. */
static bool predict(const struct daemon_state *s, const struct sluice_client *client,
		    const uint8_t *addr, uint32_t model, uint32_t service,
		    const struct explain_request_of *about, struct sluice_answer *out)
{
	struct sluice_question question = {
		.client = *client,
		.model = model,
		.bytes = about->bytes,
		.flags = addr ? SLUICE_QUESTION_ADDRESS : 0,
	};
	struct sluice_client header;

	if (service >= s->service_count)
		return false;
	if (addr) {
		memcpy(question.addr, addr, sizeof(question.addr));
		if (s->services[service].protocol == SLUICE_PROTOCOL_OPAQUE)
			question.flags |= SLUICE_QUESTION_SYN;
	}
	if (about->priority &&
	    s->lookup->key(s->lookup->arg, about->priority, strlen(about->priority), &header))
		memcpy(&question.priority, header.addr, sizeof(question.priority));
	return s->lookup->verdict(s->lookup->arg, service, &question, out);
}

static void budget(struct explain_budget *out, uint64_t tat, uint64_t now, uint64_t interval,
		   uint64_t span)
{
	if (!interval)
		return;
	out->limit = span / interval;
	out->left = gcra_left(tat, now, interval, span);
	out->reset_ns = gcra_spent(tat, now);
	out->next_ns = gcra_wait(tat, now, interval, span);
	if (out->reset_ns > span)
		out->debt = (out->reset_ns - span + interval - 1) / interval;
}

static void fleet_units(struct explain_budget *out, const struct sluice_fleet_units *u,
			uint32_t hosts)
{
	int32_t granted = (int32_t)(u->limit - u->used), unsynced = (int32_t)(u->used - u->settled);

	out->granted = granted > 0 ? (uint32_t)granted : 0;
	out->unsynced = unsynced > 0 ? (uint32_t)unsynced : 0;
	out->part = u->part ? (double)u->part / SLUICE_FLEET_PART_ONE : 1.0 / hosts;
}

static void show_quota(const struct daemon_state *s, const struct sluice_answer *a,
		       struct explain_quota *out)
{
	struct explain_quota q = {.id = a->quota,
				  .whole = a->whole_quota,
				  .from = a->quota_from,
				  .weight = a->weight};
	struct sluice_quota value;
	struct quota_def def;

	if (q.id && q.id < SLUICE_QUOTAS_MAX) {
		quota_of_text(&def, &s->quotas->text[q.id]);
		quota_value(&value, &def);
		budget(&q.requests, a->budget.request_tat_ns, a->now_ns, value.request_ns,
		       value.request_span_ns);
		budget(&q.tokens, a->budget.token_tat_ns, a->now_ns, value.token_ns,
		       value.token_span_ns);
		q.fleet = def.fleet && s->fleet;
		if (q.fleet) {
			fleet_units(&q.requests, &a->budget.requests, s->fleet->hosts);
			fleet_units(&q.tokens, &a->budget.tokens, s->fleet->hosts);
			q.answered_ns = a->budget.answered_ns;
			q.now_ns = a->now_ns;
		}
		q.wait_ns = q.tokens.next_ns > q.requests.next_ns ? q.tokens.next_ns
								  : q.requests.next_ns;
	}
	*out = q;
}

bool explain_quota(const struct daemon_state *s, const struct sluice_client *client,
		   const uint8_t *addr, uint32_t model, uint32_t service, struct explain_quota *out)
{
	struct sluice_answer answer;

	if (model >= SLUICE_MODELS_MAX)
		model = SLUICE_MODEL_OTHER;
	if (!predict(s, client, addr, model, service, &(struct explain_request_of){0}, &answer))
		return false;
	show_quota(s, &answer, out);
	return true;
}

static void show_pool(const struct daemon_state *s, const struct sluice_answer *a,
		      struct explanation *e)
{
	uint64_t admitted = a->admitted * ADMISSION_ALL;
	double rate = (double)a->admission.rate / (1 << ADMISSION_RATE_SHIFT) /
		      ADMISSION_TICK_MS; /* bytes a ms */
	double slot_ms, slot_most_ms;
	struct controller_targets t = controller_targets(
		s->controller, s->controller->per_model ? e->model : SLUICE_MODEL_ALL);

	e->share = (double)a->share / ADMISSION_ALL;
	if (a->interval && a->held.tat > admitted)
		e->client_excess = (double)(a->held.tat - admitted) / (double)a->interval;
	e->target_ms = t.ttft_ms > 0 ? t.ttft_ms + t.ttft_ms_per_kib * a->bytes / 1024 : 0;
	e->predicted_ms = rate > 0 ? (double)a->expected_bytes / rate : -1;
	e->allowed_ms = rate > 0 ? (double)a->allowed_bytes / rate : -1;
	/* Of the waits for bytes and for a slot: the one that refuses, or else the longer one. */
	slot_ms = (double)a->load.slot_wait * ADMISSION_TICK_MS;
	slot_most_ms = (double)admission_slot_wait_most(&a->admission, a->bytes, a->rank) *
		       ADMISSION_TICK_MS;
	if (admission_asks_for_slot(&a->admission, &a->load, a->rank) &&
	    (slot_ms > slot_most_ms ||
	     (slot_ms > e->predicted_ms && e->predicted_ms <= e->allowed_ms))) {
		e->predicted_ms = slot_ms;
		e->allowed_ms = slot_most_ms;
	}
}

static bool look(const struct daemon_state *s, const struct sluice_client *client,
		 const uint8_t *addr, uint32_t model, uint32_t service,
		 const struct explain_request_of *about, struct explanation *out)
{
	struct explanation e = {.model = model < SLUICE_MODELS_MAX ? model : SLUICE_MODEL_OTHER,
				.service = service};
	struct sluice_answer *a = &e.answer;

	if (!predict(s, client, addr, e.model, service, about, a))
		return false;
	e.shadow = a->reason && a->shadow;
	e.admitted = !a->reason || (!a->shadow && !a->enforced);
	show_quota(s, a, &e.quota);
	show_pool(s, a, &e);
	*out = e;
	return true;
}

bool explain(const struct daemon_state *s, const struct sluice_client *client, const uint8_t *addr,
	     uint32_t model, uint32_t service, struct explanation *out)
{
	return look(s, client, addr, model, service, &(struct explain_request_of){0}, out);
}

/* The models of s->named that a request to this service may be for. */
static uint32_t named_count(const struct daemon_state *s, uint32_t service)
{
	const struct service *at = &s->services[service];

	return !s->named || at->unnamed_default || at->protocol == SLUICE_PROTOCOL_OPAQUE
		       ? 0
		       : s->named->count;
}

uint32_t explain_unnamed(const struct daemon_state *s, const struct sluice_client *client,
			 const uint8_t *addr, uint32_t service,
			 const struct explain_request_of *about)
{
	uint32_t model, shadow = 0;

	if (service >= s->service_count)
		return SLUICE_MODEL_OTHER;
	model = s->services[service].model_id;
	for (uint32_t i = 0; i <= named_count(s, service); i++) {
		uint32_t reading = i ? s->named->id[i - 1] : model;
		struct explanation e;

		if (!look(s, client, addr, reading, service, about, &e) || !e.answer.reason)
			continue;
		if (!e.answer.shadow)
			return reading;
		if (!shadow)
			shadow = reading;
	}
	return shadow ? shadow : model;
}

bool explain_request(const struct daemon_state *s, const struct sluice_client *client,
		     const uint8_t *addr, uint32_t model, uint32_t service,
		     const struct explain_request_of *about, struct explanation *out)
{
	if (!look(s, client, addr, model, service, about, out))
		return false;
	out->client_in_flight = s->lookup->in_flight(s->lookup->arg, client);
	return true;
}
