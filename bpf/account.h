/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Accounting: the verdict on a request or a SYN is counted by service, model and reason, that on a
 * request by its class too, and for its client. The daemon gets a report of each refusal, and of
 * each one that shadow mode let pass.
 */
#ifndef SLUICE_BPF_ACCOUNT_H
#define SLUICE_BPF_ACCOUNT_H

#include "identity.h"
#include "packet.h"
#include "pool.h"
#include "record.h"

/* Accounts for the judging under way. `verdict`: enum sluice_verdict, any but ADMITTED, which
 * account_admitted() counts. */
SUBPROG int account(const struct sluice_service *service, __u32 verdict)
{
	struct judging *a = get_judging();
	const struct judgement *j;
	const struct question *q;
	struct sluice_refusal *r;
	__u32 class = 0; /* a SYN has none: a header or a key may yet state one */

	if (!service || !a)
		return 0;
	q = &a->question;
	j = &a->judgement;
	r = &a->refusal;
	if (verdict < SLUICE_VERDICT_SYN_RESET)
		class = class_counted(q->class);
	count_request(service->id, q->model, verdict, j->reason, class);
	if (verdict != SLUICE_VERDICT_SYN_SHADOW)
		count_client(&q->client, verdict, j->reason, q->model, service->id, q->now,
			     verdict < SLUICE_VERDICT_SYN_RESET || j->named);
	r->client = q->client;
	r->time_ns = q->now;
	r->service = service->id;
	r->retry_after_ms = j->retry_after_ms;
	r->model = q->model;
	r->pool = q->pool;
	r->reason = j->reason;
	r->action = j->action;
	r->verdict = verdict >= SLUICE_VERDICT_SYN_SHADOW  ? SLUICE_VERDICT_SHADOW_REJECTED
		     : verdict >= SLUICE_VERDICT_SYN_RESET ? SLUICE_VERDICT_REJECTED
							   : verdict;
	r->at_syn = verdict >= SLUICE_VERDICT_SYN_RESET;
	if (r->at_syn && r->action == SLUICE_ACTION_REPLY)
		r->action = SLUICE_ACTION_RESET; /* a SYN cannot get a 429 */
	report_refusal(r);
	if (recording && verdict == SLUICE_VERDICT_REJECTED)
		record_refused();
	return 0;
}

/* Accounts for a SYN that is refused, or that enforcing mode would have refused. */
SUBPROG int account_syn(const struct sluice_service *service, const struct packet *p, __u64 now)
{
	struct judging *a = get_judging();
	struct question *q;

	if (!service || !p || !a)
		return 0;
	q = &a->question;
	client_of_address(p->key.client_addr, service, &q->client);
	q->model = service->default_model;
	q->now = now;
	account(service, a->judgement.shadow                         ? SLUICE_VERDICT_SYN_SHADOW
			 : a->judgement.action == SLUICE_ACTION_DROP ? SLUICE_VERDICT_SYN_DROPPED
								     : SLUICE_VERDICT_SYN_RESET);
	return 0;
}

/* The usual end of judging: the request counts by service, model and class, and for its client. */
static __always_inline void account_admitted(const struct question *q, __u32 service)
{
	count_admitted(service, q->model, class_counted(q->class));
	count_client(&q->client, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, q->model, service,
		     q->now, true);
}

/* Counts a request that enforcing mode would have refused: it is in flight without a slot. */
SUBPROG int count_shadow_in_flight(__u32 model, __u32 pool)
{
	struct sluice_model_state *all = model_counts(SLUICE_MODEL_ALL), *own = model_counts(model);
	struct sluice_model_state *carrier = model_counts(pool);
	struct judging *a = get_judging();

	if (!all || !own || !carrier || !a)
		return 0;
	__sync_fetch_and_add(&all->shadow_in_flight, 1);
	__sync_fetch_and_add(&own->shadow_in_flight, 1);
	own->seen_ns = a->question.now;
	if (pool_apart(pool, model))
		__sync_fetch_and_add(&carrier->shadow_in_flight, 1);
	return 0;
}

#endif
