/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The end of a judged request: its output tokens are counted for its model. While somebody records,
 * its times, sizes and verdict go to the daemon, and so do those of each refused request. Nothing
 * that the request or its response contains is in a record.
 */
#ifndef SLUICE_BPF_RECORD_H
#define SLUICE_BPF_RECORD_H

#include "question.h"

/* Begins a record; NULL: the ring is full, which is counted. */
static __always_inline struct sluice_record *record_begin(void)
{
	struct sluice_record *r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);

	if (!r)
		count_atomically(SLUICE_COUNTER_RECORDS_LOST);
	else
		__builtin_memset(r, 0, sizeof(*r));
	return r;
}

static __always_inline bool response_ok(const struct http1_response *r)
{
	return r->frame.status >= 200 && r->frame.status < 300;
}

/* The tokens that the response under way has had, or has stated. */
static __always_inline __u32 tokens_sent(const struct sluice_conn *conn)
{
	const struct http1_response *r = &conn->response;

	if (!(conn->flags & SLUICE_CONN_RESPONSE) || !response_ok(r))
		return 0;
	return r->stream.tokens;
}

/* The exchange has ended so (enum sluice_end), after so many output tokens. The caller has taken
 * SLUICE_EXCHANGE_JUDGED from it, so that this happens once. */
SUBPROG int exchange_ended(struct sluice_conn *conn, const struct sluice_exchange *e, __u32 end,
			   __u32 tokens)
{
	struct sluice_settings *set = get_settings();
	struct sluice_histogram *h;
	struct sluice_record *r;
	__u32 model, ttft_us;

	if (!conn || !e || !set || conn->flags & SLUICE_CONN_OPAQUE)
		return 0;
	ttft_us = conn->ttft_us;
	conn->ttft_us = 0;
	model = e->model;
	h = bpf_map_lookup_elem(&histograms, &model);
	if (h && tokens)
		__sync_fetch_and_add(&h->output_tokens, tokens);
	if (!recording)
		return 0;
	r = record_begin();
	if (!r)
		return 0;
	r->time_ns = e->admitted_ns;
	r->duration_ns = now_ns(set) - e->admitted_ns;
	r->ttft_us = ttft_us;
	r->bytes = e->bytes;
	r->tokens = tokens;
	r->service = conn->service;
	r->model = e->model;
	r->reason = e->flags >> SLUICE_EXCHANGE_REASON_SHIFT;
	r->verdict = r->reason ? SLUICE_VERDICT_SHADOW_REJECTED : SLUICE_VERDICT_ADMITTED;
	r->end = end;
	r->client = e->client;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return 0;
}

/* The request under way is refused. */
SUBPROG int record_refused(void)
{
	struct judging *a = get_judging();
	struct sluice_record *r;

	if (!a)
		return 0;
	r = record_begin();
	if (!r)
		return 0;
	r->time_ns = a->question.now;
	r->bytes = a->question.bytes;
	r->service = a->refusal.service;
	r->retry_after_ms = a->refusal.retry_after_ms;
	r->model = a->refusal.model;
	r->verdict = SLUICE_VERDICT_REJECTED;
	r->reason = a->refusal.reason;
	r->client = a->refusal.client;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
