/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What responses measure: the histograms of the latencies, and the records for the daemon. The gaps
 * between the chunks of a response are folded, so that a record has those of many chunks.
 */
#ifndef SLUICE_BPF_SAMPLES_H
#define SLUICE_BPF_SAMPLES_H

#include <sluice/histogram.h>

#include "usage.h"

#define WAKE_NS                                                                                    \
	(10 * NSEC_PER_MSEC) /* a CPU wakes the daemon for samples no more often: the interrupt    \
				costs more than all else */
#define FOLD_NS                                                                                    \
	(125 * NSEC_PER_MSEC) /* a connection's gaps are reported together, 8 times a second */

struct response_scratch {
	__u64 now;
	__u32 at;     /* offset in the packet of the next byte to be framed */
	__u32 end;    /* … after the last one */
	__u32 buf_at; /* offset in the packet of buf[0] */
	__u32 buf_len;
	__u32 ev;        /* events in the bytes of a head that were read last */
	__u32 gaps;      /* generated events in this packet after the response's first */
	__u32 plain_end; /* offset after a plain reply; 0: none ends here */
	__u32 stated;    /* tokens that it has stated in earlier packets: they are charged */
	__u32 tcp_at;    /* offset in the packet of its TCP header */
	__u32 seq;       /* sequence number that offset 0 would have */
	__u32 ended;     /* the ITL record to send is its response's last */
	struct sluice_exchange plain; /* the exchange that the reply has ended */
	__u64 woken_ns;               /* when this CPU last woke the daemon for a sample */
	__u32 waited; /* the packet, full or let out by an acknowledgement, may have waited for the
			 client, and so may the next ones */
	__u8 buf[SCAN_CAPACITY + SCAN_PAD];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct response_scratch);
	__uint(max_entries, 1);
} response_scratch SEC(".maps");

struct response_context {
	struct __sk_buff *skb;
	struct sluice_conn *conn;
	struct response_scratch *s;
};

static __always_inline struct sluice_exchange *current_exchange(struct sluice_conn *conn)
{
	struct sluice_exchange *e = NULL;

	if (conn->exchange_head != conn->exchange_tail)
		e = &conn->exchange;
	KEEP(e);
	return e;
}

/* Counts n latencies that add up to sum_ns, each as their mean, of a request of so many bytes. */
SUBPROG int add_to_histogram(__u32 model, __u32 latency, __u64 sum_ns, __u32 n, __u32 bytes)
{
	struct sluice_histogram *h = bpf_map_lookup_elem(&histograms, &model);
	struct sluice_model_flag *flag = model_flag(model);
	/* In 64 bits: Linux 6.1 does not carry a test over to a copy of 32 (clang 19 makes one). */
	__u64 v = n > 1 ? sum_ns / n : sum_ns, target, bucket, which = scan_opaque(latency);

	if (!h || !n || which >= SLUICE_LATENCIES)
		return 0;
	bucket = scan_opaque(histogram_bucket(which, v));
	if (bucket >= SLUICE_HISTOGRAM_BUCKETS)
		return 0;
	h->count[which][bucket] += n;
	h->sum_ns[which] += sum_ns;
	if (!flag || !flag->target_us[which])
		return 0;
	target = flag->target_us[which] * NSEC_PER_USEC;
	if (which == SLUICE_LATENCY_TTFT)
		target += flag->ttft_us_per_kib * NSEC_PER_USEC * bytes / 1024;
	if (v <= target)
		h->met[which] += n;
	else
		h->missed[which] += n;
	return 0;
}

/* Of the requests in flight in its pool, how many were admitted no later than this one. */
static __always_inline __u16 served_by_now(const struct sluice_exchange *e)
{
	struct sluice_model_state *pool = model_counts(e->pool);
	__s64 n;

	if (!pool)
		return 0;
	n = pool->in_flight - (__u32)((__u32)pool->admitted - e->turn);
	return n < 0 ? 0 : n > 0xffff ? 0xffff : n;
}

/*
 * Sends one record to the daemon. The daemon is woken at most once in WAKE_NS by each CPU, and
 * reads the other records when it wakes next. A model that has no id yet goes by its name.
 */
static __noinline void send_sample(struct response_context *c, struct sluice_exchange *e, __u8 kind,
				   __u64 sum_ns, __u32 n)
{
	struct sluice_sample *sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);
	struct sluice_conn *conn = c->conn;
	bool named = e->flags & SLUICE_EXCHANGE_NAMED;
	__u64 gaps_us, wake = BPF_RB_NO_WAKEUP;

	if (kind == SLUICE_SAMPLE_DURATION) {
		add_to_histogram(e->model, SLUICE_LATENCY_DURATION, sum_ns, 1, 0);
		add_to_histogram(e->model, SLUICE_LATENCY_NORMALIZED, n ? sum_ns / n : 0, !!n, 0);
	} else if (kind == SLUICE_SAMPLE_TTFT) {
		add_to_histogram(e->model, SLUICE_LATENCY_TTFT, sum_ns, 1, e->bytes);
	}
	if (!sample) {
		count(SLUICE_COUNTER_SAMPLES_LOST);
		return;
	}
	sample->time_ns = c->s->now;
	sample->sum_ns = sum_ns;
	sample->n = n;
	sample->model = e->model;
	sample->kind = kind;
	sample->twice = !!(conn->flags & SLUICE_CONN_TWICE);
	sample->service = conn->service;
	sample->bytes = e->bytes;
	sample->queued_bytes = e->queued_bytes;
	sample->in_flight_at_admission = e->in_flight_at_admission;
	if (kind == SLUICE_SAMPLE_ITL) {
		gaps_us = conn->gaps_ns / 1000;
		sample->in_flight_at_admission = c->s->ended ? conn->gaps_n : 0;
		sample->queued_bytes = sample->in_flight_at_admission
					       ? gaps_us / sample->in_flight_at_admission
					       : 0;
	}
	sample->pool = e->pool;
	sample->served = kind == SLUICE_SAMPLE_TTFT ? served_by_now(e) : 0;
	sample->client = e->client;
	if (named)
		__builtin_memcpy(sample->name, conn->name, SLUICE_NAME_MAX);
	else
		__builtin_memset(sample->name, 0, SLUICE_NAME_MAX);
	if (c->s->now - c->s->woken_ns >= WAKE_NS) {
		c->s->woken_ns = c->s->now;
		wake = BPF_RB_FORCE_WAKEUP;
	}
	bpf_ringbuf_submit(sample, wake);
}

/*
 * After a stall the held-up bytes leave at the speed of the wire and not of the model. So gaps are
 * samples again only after the first packet that did not wait. A server that has not received all
 * of its request may wait for that.
 */
static __always_inline void gaps_count_again(struct response_context *c)
{
	if (!(c->conn->flags & (SLUICE_CONN_STALLED | SLUICE_CONN_REQUEST)) && !c->s->waited)
		conn_clear(c->conn, SLUICE_CONN_CLIENT_LIMITED);
}

/* Folds the gaps that this packet ended. Reports their sum each FOLD_NS and at the response's end.
 */
static __always_inline void fold_gaps(struct response_context *c, struct sluice_exchange *e,
				      bool ended)
{
	struct sluice_conn *conn = c->conn;
	struct response_scratch *s = c->s;

	if (s->gaps) {
		if (conn->flags & SLUICE_CONN_CLIENT_LIMITED) {
			count_n(SLUICE_COUNTER_GAPS_CLIENT_LIMITED, s->gaps);
		} else {
			if (!conn->fold_n)
				conn->fold_since_ns = conn->chunk_ns;
			conn->fold_sum_ns += s->now - conn->chunk_ns;
			conn->fold_n += s->gaps;
			conn->gaps_ns += s->now - conn->chunk_ns;
			conn->gaps_n += s->gaps;
			add_to_histogram(e->model, SLUICE_LATENCY_ITL, s->now - conn->chunk_ns,
					 s->gaps, 0);
		}
		conn->chunk_ns = s->now;
		gaps_count_again(c);
		s->gaps = 0;
	}
	if (ended ? conn->gaps_n : conn->fold_n && s->now - conn->fold_since_ns >= FOLD_NS) {
		s->ended = ended;
		send_sample(c, e, SLUICE_SAMPLE_ITL, conn->fold_sum_ns, conn->fold_n);
		conn->fold_n = 0;
		conn->fold_sum_ns = 0;
		if (ended) /* the next response may have no gap */
			conn->gaps_ns = conn->gaps_n = 0;
	}
}

#endif
