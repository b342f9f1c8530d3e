/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bytes of a blob that come before missing ones. A blob counts for blob-bytes and not for its
 * length, so none of its bytes may pass unread. An early segment is read by itself, from a state
 * inside the blob, and passes if it does not leave the blob. When the missing bytes have come, they
 * have to end inside a blob, too (http1_request_blob_read()).
 *
 * The bytes that passed early are contiguous, and pass once: no two copies of them can differ. What
 * comes with the missing bytes is cut off where the early ones begin.
 */
#ifndef SLUICE_BPF_EARLY_H
#define SLUICE_BPF_EARLY_H

#include "scan_step.h"

struct early {
	struct __sk_buff *skb;
	struct request_scratch *s;
	__u32 from; /* offset in the packet of its first byte */
};

static long early_step(__u32 i, struct early *e)
{
	struct request_scratch *s = e->s;
	struct sluice_conn *copy = &s->fresh;
	__u32 pos;

	if (load_window(e->skb, s))
		return 1;
	pos = s->at - s->buf_at;
	s->at += copy->request.form.kind ? form_bytes(copy, s, pos, 0)
					 : body_bytes(copy, s, pos, s->buf_len);
	return s->at >= s->end || copy->request.json.blob != s->at - e->from;
}

/* The state inside a blob of the same body, in a file after the break `last`. */
static __always_inline void early_begin(struct http1_request *r, const struct http1_request *from,
					__u8 last)
{
	SCAN_UNROLL
	for (int k = 0; k < (int)sizeof(r->form); k += 8)
		scan_store((char *)&r->form + k, scan_load((const char *)&from->form + k));
	r->frame.state = HTTP1_AT_BODY;
	r->frame.left = HTTP1_UNBOUNDED;
	r->form.state = FORM_DATA;
	r->form.last = last;
	r->form.matched = 0;
	r->form.stream = FORM_STREAM_NONE;
	r->form.file = FORM_FILE_DATA;
	r->json.state = r->form.kind ? JSON_MODEL_FORM : JSON_MODEL_BLOB;
	r->json.encoding = JSON_MODEL_UTF8;
}

/*
 * Reads the segment s->packet, which begins the early bytes of the connection's blob, or extends
 * them. Returns whether all of it is of a blob; then conn has its end, and else is unchanged. The
 * missing bytes may end in a break, so a delimiter may begin at the first byte.
 */
SUBPROG int early_blob(struct __sk_buff *skb, struct request_scratch *s, struct sluice_conn *conn)
{
	struct early e = {.skb = skb, .s = s};
	struct http1_request *r;
	bool first, whole;
	__u64 begin;

	if (!s || !conn || s->packet.payload_len < 8)
		return 0;
	r = &s->fresh.request;
	first = !(conn->flags & SLUICE_CONN_HOLE);
	early_begin(r, &conn->request, first ? FORM_LF : conn->c_blob - 1);
	e.from = s->at = s->packet.payload_at;
	s->end = s->at + s->packet.payload_len;
	s->buf_at = s->buf_len = s->ev = 0;
	load_window(skb, s);
	begin = scan_load(s->buf);
	bpf_loop(1 << 23, early_step, &e, 0);
	s->ev = 0;
	whole = r->json.blob == s->packet.payload_len &&
		(r->form.kind ? r->form.state == FORM_DATA : r->json.state == JSON_MODEL_BLOB);
	if (whole) {
		conn->c_blob = 1 + (r->form.kind ? r->form.last : 0);
		if (first)
			conn->c_first = begin;
	}
	http1_request_next(r); /* s->fresh is scratch for new connections, too */
	return whole;
}

/* The missing bytes have come and were read: what passed early continues them. */
SUBPROG int close_blob_hole(struct sluice_conn *conn)
{
	__u32 n;

	if (!conn)
		return 0;
	n = conn->c_max - conn->c_hole_end;
	http1_request_blob_read(&conn->request, n, conn->c_first, conn->c_blob - 1);
	conn->request_bytes += n;
	conn->c_first = 0; /* it held what a client sent */
	conn_clear(conn, SLUICE_CONN_HOLE);
	return 0;
}

#endif
