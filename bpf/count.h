/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The clock, the counters, and the reports of refusals. The programs pass what they cannot frame or
 * prove. A named counter here counts each such case, so that nothing fails open in silence.
 */
#ifndef SLUICE_BPF_COUNT_H
#define SLUICE_BPF_COUNT_H

#include "maps.h"

#define VERDICTS_PER_SECOND 1000 /* and CPU: reports to the verdicts ring at most */
#define NSEC_PER_SEC        1000000000ULL
#define NSEC_PER_MSEC       1000000ULL
#define NSEC_PER_USEC       1000ULL

static __always_inline struct sluice_settings *get_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline __u64 now_ns(const struct sluice_settings *s)
{
	return s->clock_ns ? s->clock_ns : bpf_ktime_get_ns();
}

static __always_inline void count_n(enum sluice_counter which, __u64 n)
{
	__u32 key = which;
	__u64 *c = bpf_map_lookup_elem(&counters, &key);

	if (c)
		*c += n;
}

/* Adds to a counter where the programs for packets may interrupt. */
static __always_inline void count_atomically(enum sluice_counter which)
{
	__u32 key = which;
	__u64 *c = bpf_map_lookup_elem(&counters, &key);

	if (c)
		__sync_fetch_and_add(c, 1);
}

static __always_inline void count(enum sluice_counter which)
{
	count_n(which, 1);
}

/* A request's class as in the key of request_counts. */
static __always_inline __u32 class_counted(__u32 class)
{
	return class == SLUICE_CLASS_NORMAL ? 0 : class + 1;
}

/* requests_total of one service, model, verdict, reason and class (as in the key). */
SUBPROG int count_request(__u32 service, __u32 model, __u32 verdict, __u32 reason, __u32 class)
{
	struct sluice_count_key key = {.service = service,
				       .model = model,
				       .verdict = verdict,
				       .reason = reason,
				       .class = class};
	__u64 one = 1, *n = bpf_map_lookup_elem(&request_counts, &key);

	if (!n && bpf_map_update_elem(&request_counts, &key, &one, BPF_NOEXIST)) {
		n = bpf_map_lookup_elem(&request_counts, &key); /* another CPU was first */
		if (!n)
			count(SLUICE_COUNTER_COUNTS_FULL);
	}
	if (n)
		*n += 1;
	return 0;
}

/* … for an admitted request, the usual case. A model mostly belongs to one service, and its
 * requests of class normal then need no look-up in a hash. */
static __always_inline void count_admitted(__u32 service, __u32 model, __u32 class)
{
	struct sluice_admitted_count *c =
		class ? NULL : bpf_map_lookup_elem(&admitted_counts, &model);

	if (c && !c->n)
		c->service = service;
	if (c && c->service == service)
		c->n++;
	else
		count_request(service, model, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, class);
}

/* What a client is before its first request: never written, and too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct sluice_client_count);
	__uint(max_entries, 1);
} no_counts __weak SEC(".maps");

/*
 * Counts the verdict for its client. `make`: make an entry if there is none. Callers make none for
 * a SYN, unless a rule names its client: no handshake has proven the address, and a SYN flood would
 * evict the clients that were seen.
 */
static __always_inline void count_client(const struct sluice_client *client, __u32 verdict,
					 __u32 reason, __u32 model, __u32 service, __u64 now,
					 bool make)
{
	struct sluice_client_count *c = bpf_map_lookup_elem(&client_counts, client), *first;
	__u32 zero = 0;

	if (!c) {
		first = make ? bpf_map_lookup_elem(&no_counts, &zero) : NULL;
		if (!first)
			return;
		bpf_map_update_elem(&client_counts, client, first, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&client_counts, client);
		if (!c)
			return;
	}
	if (reason >= SLUICE_REASONS_MAX)
		reason = 0;
	if (verdict == SLUICE_VERDICT_ADMITTED || verdict == SLUICE_VERDICT_SHADOW_REJECTED) {
		__sync_fetch_and_add(&c->admitted, 1);
		if (verdict == SLUICE_VERDICT_SHADOW_REJECTED)
			__sync_fetch_and_add(&c->shadow_by_reason[reason], 1);
	} else {
		__sync_fetch_and_add(&c->rejected, 1);
		__sync_fetch_and_add(&c->by_reason[reason], 1);
		c->last_reason = reason;
	}
	c->last_model = model;
	c->last_service = service;
	c->last_seen_ns = now;
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(
		value, struct {
			__u64 second;
			__u64 sent;
		});
	__uint(max_entries, 1);
} verdict_rate __weak SEC(".maps");

/* Reports a refusal to the daemon, unless this CPU has sent VERDICTS_PER_SECOND this second. */
static __always_inline void report_refusal(const struct sluice_refusal *refusal)
{
	__u32 zero = 0;
	struct {
		__u64 second;
		__u64 sent;
	} *rate = bpf_map_lookup_elem(&verdict_rate, &zero);

	if (!rate)
		return;
	if (refusal->time_ns - rate->second >= NSEC_PER_SEC) {
		rate->second = refusal->time_ns;
		rate->sent = 0;
	}
	if (rate->sent >= VERDICTS_PER_SECOND ||
	    bpf_ringbuf_output(&verdicts, (void *)refusal, sizeof(*refusal), 0)) {
		count(SLUICE_COUNTER_VERDICTS_LOST);
		return;
	}
	rate->sent++;
}

#endif
