/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict of bpf/verdict.h, asked from user space. Change the order there and it has to change
 * here; the end-to-end case on quotas holds one against the other.
 */
#include "core/explain.h"

#include <math.h>
#include <string.h>

#include <sluice/gcra.h>

#define MS        1000000ULL
#define NO_END_NS (3600000 * MS) /* told where a block has no end */
#define BYTES     2048           /* of a request of which nothing is known, while none waits */

const char *explain_from_text(enum explain_from from)
{
	static const char *const words[] = {
		[EXPLAIN_FROM_NOWHERE] = NULL,    [EXPLAIN_FROM_CLIENT_MODEL] = "client-model",
		[EXPLAIN_FROM_CLIENT] = "client", [EXPLAIN_FROM_PREFIX] = "prefix",
		[EXPLAIN_FROM_MODEL] = "model",   [EXPLAIN_FROM_SERVICE] = "service",
	};

	return words[from];
}

const char *explain_class_text(enum explain_class from)
{
	static const char *const words[] = {"default", "key", "prefix", "header"};

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

bool explain_each(const struct daemon_state *s, uint32_t service)
{
	unsigned with_quota = 0;

	for (size_t i = 0; i < s->service_count; i++)
		with_quota += !!s->services[i].quota_id;
	return with_quota > 1 && s->services[service].quota_id;
}

void explain_client(const struct daemon_state *s, uint32_t service,
		    const struct text_subject *subject, struct sluice_client *client)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const struct service *v = &s->services[service];

	uint8_t plen;

	*client = subject->client;
	if (client->kind != SLUICE_CLIENT_ADDRESS || service >= s->service_count ||
	    !v->identity.plen6)
		return;
	plen = memcmp(subject->addr, mapped, sizeof(mapped)) ? v->identity.plen6
							     : (uint8_t)(96 + v->identity.plen4);
	/* What was typed with a length of its own is at most that. */
	if (!subject->note && client->plen < plen)
		return;
	memcpy(client->addr, subject->addr, sizeof(client->addr));
	client->plen = plen;
	text_mask(client->addr, client->plen);
}

size_t explain_clients(const struct daemon_state *s, const struct text_subject *subject,
		       struct sluice_client out[SLUICE_SERVICES_MAX])
{
	size_t n = 0;

	for (uint32_t i = 0; i < s->service_count && i < SLUICE_SERVICES_MAX; i++) {
		bool known = false;

		explain_client(s, i, subject, &out[n]);
		for (size_t k = 0; k < n && !known; k++)
			known = !memcmp(&out[k], &out[n], sizeof(out[n]));
		n += !known;
	}
	if (!n)
		out[n++] = subject->client;
	return n;
}

static bool in_force(uint64_t expires_ns, uint64_t now)
{
	return !expires_ns || now < expires_ns;
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

static uint32_t own_quota(const struct daemon_state *s, const struct sluice_client *client,
			  uint32_t model)
{
	const struct sluice_client_flag_key key = {.client = *client, .model = model};
	uint32_t id;

	return s->lookup->client_quota(s->lookup->arg, &key, &id) ? id : 0;
}

uint16_t explain_weight(const struct daemon_state *s, const struct sluice_client *client,
			const uint8_t *addr)
{
	struct sluice_prefix prefix;

	/* The holder of a key is in no prefix. */
	return addr && client->kind == SLUICE_CLIENT_ADDRESS &&
			       s->lookup->prefix(s->lookup->arg, addr, &prefix)
		       ? prefix.weight
		       : 0;
}

static uint32_t find_quota(const struct daemon_state *s, const struct sluice_client *client,
			   const uint8_t *addr, uint32_t model, uint32_t service,
			   enum explain_from *from)
{
	struct sluice_prefix prefix;
	uint32_t id;

	*from = EXPLAIN_FROM_CLIENT_MODEL;
	id = own_quota(s, client, model);
	if (id)
		return id;
	*from = EXPLAIN_FROM_CLIENT;
	id = own_quota(s, client, SLUICE_MODEL_ALL);
	if (id)
		return id;
	*from = EXPLAIN_FROM_PREFIX;
	if (addr && s->lookup->prefix(s->lookup->arg, addr, &prefix) && prefix.quota)
		return prefix.quota;
	*from = EXPLAIN_FROM_MODEL;
	if (s->controller->model[model].quota)
		return s->controller->model[model].quota;
	*from = EXPLAIN_FROM_SERVICE;
	if (service < s->service_count && s->services[service].quota_id)
		return s->services[service].quota_id;
	*from = EXPLAIN_FROM_NOWHERE;
	return 0;
}

void explain_quota(const struct daemon_state *s, const struct sluice_client *client,
		   const uint8_t *addr, uint32_t model, uint32_t service, struct explain_quota *out)
{
	struct explain_quota q = {0};
	struct sluice_budget spent = {0};
	struct sluice_quota value;
	struct quota_def def;

	if (model >= SLUICE_MODELS_MAX)
		model = SLUICE_MODEL_OTHER;
	q.id = find_quota(s, client, addr, model, service, &q.from);
	if (q.from == EXPLAIN_FROM_MODEL || q.from == EXPLAIN_FROM_SERVICE) {
		const struct sluice_weighted_key key = {explain_weight(s, client, addr),
							(__u16)q.id};
		uint32_t own;

		if (key.weight && key.weight != SLUICE_WEIGHT_ONE &&
		    s->lookup->weighted(s->lookup->arg, &key, &own)) {
			q.whole = q.id;
			q.id = own;
		}
	}
	if (q.id && q.id < SLUICE_QUOTAS_MAX) {
		quota_of_text(&def, &s->quotas->text[q.id]);
		quota_value(&value, &def);
		/* Without an entry: nothing spent. */
		if (!s->lookup->budget(s->lookup->arg, client, q.id, &spent))
			memset(&spent, 0, sizeof(spent));
		budget(&q.requests, spent.request_tat_ns, s->now_ns, value.request_ns,
		       value.request_span_ns);
		budget(&q.tokens, spent.token_tat_ns, s->now_ns, value.token_ns,
		       value.token_span_ns);
		q.by_tokens = q.tokens.next_ns > q.requests.next_ns;
		q.wait_ns = q.by_tokens ? q.tokens.next_ns : q.requests.next_ns;
	}
	*out = q;
}

static void refuse(struct explanation *e, enum sluice_reason reason, uint64_t wait_ns,
		   uint8_t action)
{
	e->admitted = false;
	e->reason = reason;
	e->wait_ns = wait_ns;
	e->action = action;
}

static bool shut(const struct sluice_model_flag *flag, uint64_t now)
{
	return !flag->allow && in_force(flag->expires_ns, now);
}

static uint64_t rest(uint64_t expires_ns, uint64_t now)
{
	return expires_ns ? expires_ns - now : NO_END_NS;
}

/* Operator, rules about the client. True: that decides, or asks no further. */
static bool said(const struct daemon_state *s, const struct sluice_client *client,
		 const uint8_t *addr, const struct sluice_model_flag *all,
		 const struct sluice_model_flag *own, struct explanation *e)
{
	struct sluice_client_flag_key key = {.client = *client, .model = e->model};
	struct sluice_prefix prefix = {0};
	struct sluice_client_flag flag;
	bool found;

	if (!addr || !s->lookup->prefix(s->lookup->arg, addr, &prefix) ||
	    !in_force(prefix.expires_ns, s->now_ns))
		prefix.class = SLUICE_PREFIX_PLAIN;
	e->exempt = prefix.class == SLUICE_PREFIX_EXEMPT;
	if (e->exempt) {
		e->rule = EXPLAIN_ALLOWED;
		e->rule_of_prefix = true;
		e->rule_expires_ns = prefix.expires_ns;
		return true;
	}
	for (unsigned i = 0; i < 2; i++) {
		const struct sluice_model_flag *f = i ? own : all;

		if (f->reason == SLUICE_REASON_OPERATOR && shut(f, s->now_ns)) {
			refuse(e, SLUICE_REASON_OPERATOR, f->retry_after_ms * MS, 0);
			e->whole = !i;
			return true;
		}
	}
	found = s->lookup->client_rule(s->lookup->arg, &key, &flag) &&
		in_force(flag.expires_ns, s->now_ns);
	if (!found) {
		key.model = SLUICE_MODEL_ALL;
		found = s->lookup->client_rule(s->lookup->arg, &key, &flag) &&
			in_force(flag.expires_ns, s->now_ns);
	}
	if (found) {
		e->rule = flag.allow ? EXPLAIN_ALLOWED : EXPLAIN_BLOCKED;
		e->rule_expires_ns = flag.expires_ns;
		if (!flag.allow)
			refuse(e, flag.reason, rest(flag.expires_ns, s->now_ns), flag.action);
		return true;
	}
	if (prefix.class == SLUICE_PREFIX_BLOCKED) {
		e->rule = EXPLAIN_BLOCKED;
		e->rule_of_prefix = true;
		e->rule_expires_ns = prefix.expires_ns;
		refuse(e, SLUICE_REASON_CLIENT_BLOCKED, rest(prefix.expires_ns, s->now_ns),
		       prefix.action);
		return true;
	}
	return false;
}

static bool full(const struct sluice_model_flag *flag, const struct state_load *counts)
{
	return flag->limit && counts->in_flight >= (int64_t)flag->limit;
}

static uint32_t class_of(const struct daemon_state *s, const struct sluice_client *client,
			 const uint8_t *addr, uint32_t service, const char *header,
			 enum explain_class *from)
{
	struct sluice_client value;
	struct sluice_prefix prefix;
	uint32_t class;

	*from = EXPLAIN_CLASS_HEADER;
	if (header && s->lookup->key && s->lookup->priority &&
	    s->lookup->key(s->lookup->arg, header, strlen(header), &value)) {
		value.kind = SLUICE_CLIENT_HEADER;
		memcpy(value.addr + 8, &service, sizeof(service));
		if (s->lookup->priority(s->lookup->arg, &value, &class))
			return class;
	}
	*from = EXPLAIN_CLASS_KEY;
	if (client->kind == SLUICE_CLIENT_KEY && s->lookup->priority &&
	    s->lookup->priority(s->lookup->arg, client, &class))
		return class;
	*from = EXPLAIN_CLASS_PREFIX;
	if (addr && s->lookup->prefix(s->lookup->arg, addr, &prefix) && prefix.priority)
		return prefix.priority - 1U;
	*from = EXPLAIN_CLASS_DEFAULT;
	return SLUICE_CLASS_NORMAL;
}

/* The numbers of the law, as far as there is one. */
static void find_pool(const struct daemon_state *s, const struct sluice_client *client,
		      const uint8_t *addr, const struct sluice_model_flag *own,
		      const struct explain_request_of *ask, struct explanation *e)
{
	uint32_t bytes = ask->bytes;
	struct explain_admission *l = &e->pool;
	const struct state_load *held;
	struct sluice_client_flag_key key = {.client = *client};
	struct sluice_holding holds = {0};
	struct sluice_model_flag flag;
	struct controller_targets t;
	double rate, queue_budget;
	uint32_t weight;

	l->id = own->pool < SLUICE_MODELS_MAX ? own->pool : e->model;
	l->class = class_of(s, client, addr, e->service, ask->priority, &l->class_from);
	l->rank = admission_rank(l->class, 0);
	if (!s->lookup->flag(s->lookup->arg, l->id, &flag) || !flag.admission.floor)
		return;
	l->in_force = true;
	l->admission = flag.admission;
	held = &s->kernel[l->id];
	l->load = (struct admission_load){
		.in_flight = held->in_flight,
		.waiting = held->waiting,
		.waiting_bytes = held->waiting_bytes,
		.since_ns = held->token_ns > held->waiting_ns ? held->token_ns : held->waiting_ns,
	};
	key.model = l->id;
	if (s->lookup->held)
		holds = s->lookup->held(s->lookup->arg, &key);
	l->client_in_flight = holds.in_flight;
	weight = e->weight ? e->weight : SLUICE_WEIGHT_ONE;
	l->share = (double)l->admission.fair / ADMISSION_ALL * weight / SLUICE_WEIGHT_ONE;
	if (l->admission.interval && holds.tat > held->admitted * ADMISSION_ALL)
		l->queued_bytes = (double)(holds.tat - held->admitted * ADMISSION_ALL) /
				  (double)admission_interval(&l->admission, weight);
	l->above_share = admission_above_share(&l->admission, &holds, weight, held->admitted);
	l->rank = admission_rank(l->class, l->above_share);
	l->slots = (uint32_t)((uint64_t)l->admission.ceiling * l->admission.level[l->rank] /
			      ADMISSION_ALL);
	if (!bytes)
		bytes = held->waiting > 0 && held->waiting_bytes > 0
				? (uint32_t)(held->waiting_bytes / held->waiting)
				: BYTES;
	l->bytes = admission_bytes(bytes);
	t = controller_targets(s->controller,
			       s->controller->per_model ? e->model : SLUICE_MODEL_ALL);
	l->target_ms = t.ttft_ms > 0 ? t.ttft_ms + t.ttft_ms_per_kib * l->bytes / 1024 : 0;
	l->predicted_ms = l->allowed_ms = -1;
	if (!l->admission.rate)
		return;
	rate = (double)l->admission.rate / (1 << ADMISSION_RATE_SHIFT) /
	       ((1 << ADMISSION_TICK_SHIFT) / 1e6); /* bytes a ms */
	queue_budget = (double)l->admission.queue_budget +
		       (double)l->admission.queue_budget_per_kib * l->bytes / 1024;
	l->allowed_ms =
		queue_budget * l->admission.queue_budget_level[l->rank] / ADMISSION_ALL / rate;
	l->predicted_ms = 0;
	if (l->load.waiting > 0) {
		double waiting = l->load.waiting_bytes > 0 ? (double)l->load.waiting_bytes : 0;

		l->predicted_ms = fmax(0, waiting + (double)(l->bytes / 2) -
						  (double)admission_credit(&l->admission, &l->load,
									   s->now_ns)) /
				  rate;
	}
}

/* True: the law refuses it. */
static bool refused_by_policy(const struct daemon_state *s, const struct explain_admission *l,
			      enum sluice_reason *reason)
{
	enum admission_verdict v;

	if (!l->in_force)
		return false;
	v = admission_judge(&l->admission, &l->load, l->bytes, l->rank, s->now_ns);
	*reason = v == ADMISSION_CEILING ? SLUICE_REASON_IN_FLIGHT : SLUICE_REASON_TTFT;
	if (l->above_share &&
	    !admission_judge(&l->admission, &l->load, l->bytes, l->rank - 1, s->now_ns))
		*reason = SLUICE_REASON_CLIENT_SHARE;
	return v != ADMISSION_ADMIT;
}

static void judge(const struct daemon_state *s, const struct sluice_client *client,
		  const uint8_t *addr, const struct sluice_model_flag *all,
		  const struct sluice_model_flag *own, struct explanation *e)
{
	if (said(s, client, addr, all, own, e))
		return;
	if (e->quota.wait_ns) {
		refuse(e,
		       e->quota.by_tokens ? SLUICE_REASON_TOKEN_QUOTA : SLUICE_REASON_REQUEST_QUOTA,
		       e->quota.wait_ns, 0);
		return;
	}
	for (unsigned i = 0; i < 4; i++) {
		const struct sluice_model_flag *f = i % 2 ? own : all;
		struct sluice_model_flag pool;
		enum sluice_reason reason;

		if (i == 2 && refused_by_policy(s, &e->pool, &reason)) {
			e->whole = e->pool.id == SLUICE_MODEL_ALL;
			refuse(e, reason,
			       s->lookup->flag(s->lookup->arg, e->pool.id, &pool)
				       ? pool.limit_retry_ms * MS
				       : 0,
			       0);
			return;
		}
		e->whole = !(i % 2);
		if (i < 2 && full(f, &s->kernel[i % 2 ? e->model : SLUICE_MODEL_ALL])) {
			refuse(e, SLUICE_REASON_IN_FLIGHT, f->limit_retry_ms * MS, 0);
			return;
		}
		if (i >= 2 && shut(f, s->now_ns)) {
			refuse(e, f->reason, f->retry_after_ms * MS, 0);
			return;
		}
	}
	e->whole = false;
}

void explain(const struct daemon_state *s, const struct sluice_client *client, const uint8_t *addr,
	     uint32_t model, uint32_t service, struct explanation *out)
{
	explain_request(s, client, addr, model, service, &(struct explain_request_of){0}, out);
}

void explain_request(const struct daemon_state *s, const struct sluice_client *client,
		     const uint8_t *addr, uint32_t model, uint32_t service,
		     const struct explain_request_of *ask, struct explanation *out)
{
	struct explanation e = {.admitted = true, .model = model, .service = service};
	struct sluice_model_flag all, own;
	struct sluice_client_count count;
	uint8_t mode;

	if (model >= SLUICE_MODELS_MAX)
		e.model = model = SLUICE_MODEL_OTHER;
	if (!s->lookup->flag(s->lookup->arg, SLUICE_MODEL_ALL, &all))
		all = (struct sluice_model_flag){.allow = 1};
	if (!s->lookup->flag(s->lookup->arg, model, &own))
		own = (struct sluice_model_flag){.allow = 1};
	s->lookup->counts(s->lookup->arg, client, &count, &e.client_in_flight);
	explain_quota(s, client, addr, model, service, &e.quota);
	e.weight = explain_weight(s, client, addr);
	find_pool(s, client, addr, &own, ask, &e);
	judge(s, client, addr, &all, &own, &e);
	if (!e.action)
		e.action = own.action                   ? own.action
			   : all.action                 ? all.action
			   : service < s->service_count ? s->services[service].action
							: SLUICE_ACTION_REPLY;
	mode = own.mode                     ? own.mode
	       : all.mode                   ? all.mode
	       : service < s->service_count ? s->services[service].mode
					    : s->mode;
	e.shadow = !e.admitted && mode == SLUICE_MODE_SHADOW;
	*out = e;
}
