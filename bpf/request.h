/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The current packet at tc ingress: the scratch that holds its bytes while they are framed, and the
 * pointers that every step of framing needs. Each CPU has its own, and softirqs are off while it is
 * in use.
 */
#ifndef SLUICE_BPF_REQUEST_H
#define SLUICE_BPF_REQUEST_H

#include "packet.h"
#include "question.h"

#define BUSY_SPINS (1 << 15) /* looks at conn->busy, at a few ns each */
#define WIPE_STEP  64        /* bytes; SCAN_BUF is a multiple */

/* Why a packet is refused: its request was judged so, or it has a framing error. It is dropped, and
 * refused when it comes again, if a response is under way (LATER). */
enum refusal { REFUSE_NOTHING, REFUSE_REQUEST, REFUSE_FRAMING_ERROR, REFUSE_LATER };

struct request_scratch {
	struct packet packet;
	__u32 at;     /* offset in the packet of the next byte to be framed */
	__u32 end;    /* … after the last one */
	__u32 buf_at; /* offset in the packet of buf[0] */
	__u32 buf_len;
	__u32 hold;     /* offset in the packet of bytes that wait for a response; 0: none */
	__u32 buf_used; /* bytes of buf that hold what a client sent */
	__u32 refuse;   /* enum refusal */
	__u32 ev;       /* events of bytes that were read, or lost in a hole, before this step */
	__u32 closes;   /* 1: the packet closes a hole in a blob … */
	__u32 cut;      /* … and offset in the packet of bytes that passed before it; 0: none */
	__u32 named; /* id + 1 of the model that the request named last in this packet; 0: none */
	/* A request that has ended, while its readings are judged (readings.h). */
	__u32 reading; /* the next one + 1; 0: none has begun */
	__u32 all;     /* 1: named_models are among them */
	__u32 acked;   /* the server's bytes that the client had acknowledged before this packet */
	__u32 held;    /* 1: the packet is a head that waits for its body (hold.h) */
	__u32 another; /* it begins another protocol (opaque.h): enum sluice_unread */
	__u16 least;   /* the model with the least room so far, */
	__u16 refused; /* … the one that is refused; 0: none, */
	__u16 shadow;  /* … the one that would be if its mode were enforce; 0: none */
	__u16 quotas;  /* how many of conn.reading_quota are set */
	__s64 room;    /* requests that may join those in flight of `least` */
	struct sluice_conn fresh;
	struct sluice_tombstone tombstone;
	struct sluice_kept kept;
	__u8 buf[SCAN_CAPACITY + SCAN_PAD];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct request_scratch);
	__uint(max_entries, 1);
} request_scratch SEC(".maps");

struct request_context {
	struct __sk_buff *skb;
	struct sluice_conn *conn;
	struct sluice_service *service;
	struct request_scratch *s;
	struct judging *a;
	const struct sluice_rules *rules;
	const struct siphash_secret *secret;
};

/* Wipes the scratch, so that keys and prompts do not stay there. */
static __always_inline void wipe(struct request_scratch *s)
{
#pragma clang loop unroll(disable)
	for (__u32 at = 0; at < SCAN_BUF; at += WIPE_STEP) {
		if (at >= s->buf_used)
			break;
#pragma unroll
		for (int k = 0; k < WIPE_STEP; k += 8)
			*(__u64 *)(s->buf + at + k) = 0;
	}
}

struct busy {
	struct sluice_conn *conn;
	bool taken;
};

static long busy_step(__u32 i, struct busy *b)
{
	if (*(volatile __u32 *)&b->conn->busy)
		return 0;
	b->taken = __sync_bool_compare_and_swap(&b->conn->busy, 0, 1);
	return b->taken;
}

/*
 * Takes the client's side of the connection for this CPU, until conn->busy is 0. If another CPU
 * reads a segment of it, this one waits, for some 100 us at most. Returns whether it was taken.
 */
SUBPROG int take_busy(struct sluice_conn *conn)
{
	struct busy b = {.conn = conn};

	if (!conn)
		return 0;
	bpf_loop(BUSY_SPINS, busy_step, &b, 0);
	return b.taken;
}

/* What the request under way counts for, as far as its bytes have come. */
static __always_inline __u64 request_size(const struct sluice_conn *conn,
					  const struct sluice_service *service)
{
	return http1_request_size(&conn->request, conn->request_bytes, service->blob_bytes);
}

/* Whether a response is under way. The request under way may not be refused then, and the next one
 * waits. */
static __always_inline bool response_under_way(const struct sluice_conn *conn)
{
	return conn->exchange_head != conn->exchange_tail ||
	       conn->flags & (SLUICE_CONN_RESPONSE | SLUICE_CONN_ANSWERED_EARLY);
}

/* Whether the server serves the request under way before its end, and the request has no verdict
 * yet. An error or a redirect serves nothing. */
static __always_inline bool served_early(const struct sluice_conn *conn)
{
	const __u32 early = SLUICE_CONN_REQUEST | SLUICE_CONN_JUDGE | SLUICE_CONN_ANSWERED_EARLY;

	return (conn->flags & (early | SLUICE_CONN_UNJUDGED)) == early &&
	       conn->response.frame.status / 100 == 2;
}

#endif
