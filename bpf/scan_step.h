/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One step of each scanner over the client's bytes in the scratch. Each is a SUBPROG: the verifier
 * walks the scanner once, from one state, and not from each state of the step that calls it.
 */
#ifndef SLUICE_BPF_SCAN_STEP_H
#define SLUICE_BPF_SCAN_STEP_H

#include <sluice/http1_request.h>

#include "request.h"

/* Makes s->buf hold the packet's bytes from s->at on, of which there are some. Returns 0, or an
 * error. */
static __always_inline long load_window(struct __sk_buff *skb, struct request_scratch *s)
{
	__u32 n;

	if (s->at - s->buf_at < s->buf_len)
		return 0;
	n = scan_fit(s->end - s->at);
	if (bpf_skb_load_bytes(skb, s->at, s->buf, n))
		return -1;
	s->buf_at = s->at;
	s->buf_len = n;
	if (n > s->buf_used)
		s->buf_used = n;
	return 0;
}

/* Reads at most `left` bytes of a PROXY header from s->buf[pos] on. Returns how many. */
SUBPROG int proxy_bytes(struct sluice_conn *conn, const struct request_scratch *s, __u32 pos,
			__u32 left)
{
	if (!conn || !s)
		return 0;
	return proxy_step(&conn->proxy, s->buf + scan_clamp(pos), left);
}

/*
 * Reads some of a body from s->buf[pos] on, as JSON, and nothing from s->buf[end] on. Returns how
 * many bytes. s->ev: the events in them.
 */
SUBPROG int body_bytes(struct sluice_conn *conn, struct request_scratch *s, __u32 pos, __u32 end)
{
	__u32 ev = 0, n;

	if (!conn || !s)
		return 0;
	n = http1_request_json_step(&conn->request, s->buf, pos, end, &ev);
	s->ev = ev;
	return n;
}

struct separators {
	struct http1_request *r;
	const __u8 *buf;
	__u32 at, stop;
};

static long separator_step(__u32 i, struct separators *c)
{
	return http1_body_separator(c->r, c->buf, &c->at, c->stop);
}

/* The n bytes from s->buf[pos] on, just read, may hold separators that some servers know. */
SUBPROG int body_separators(struct sluice_conn *conn, const struct request_scratch *s, __u32 pos,
			    __u32 n)
{
	struct separators c = {};

	if (!conn || !s)
		return 0;
	c.r = &conn->request;
	c.buf = s->buf;
	c.at = pos;
	c.stop = pos + n;
	bpf_loop(SCAN_BUF / SCAN_PAD, separator_step, &c, 0);
	http1_body_separators_end(c.r, s->ev);
	return 0;
}

/* How many of the next bytes of a form body_bytes() has to read before form_bytes(). */
SUBPROG int beside_bytes(const struct sluice_conn *conn, const struct request_scratch *s, __u32 pos)
{
	if (!conn || !s)
		return 0;
	return http1_request_beside(&conn->request, s->buf, pos, s->buf_len);
}

/* Reads some of a body as body_bytes() does, but as a form; n: how many bytes body_bytes() has read
 * before, if any. */
SUBPROG int form_bytes(struct sluice_conn *conn, struct request_scratch *s, __u32 pos, __u32 n)
{
	__u32 ev;

	if (!conn || !s)
		return 0;
	ev = s->ev;
	n = http1_request_form_step(&conn->request, s->buf, pos, s->buf_len, n, &ev);
	s->ev = ev;
	return n;
}

/* Reads some of a head, or of the framing of a body's chunks. */
SUBPROG int head_bytes(struct sluice_conn *conn, struct request_scratch *s, __u32 pos,
		       const struct sluice_rules *rules, const struct siphash_secret *secret)
{
	__u32 ev = 0, n;

	if (!conn || !s || !rules || !secret)
		return 0;
	n = http1_request_head_step(&conn->request, s->buf, pos, s->buf_len, rules->header,
				    rules->names, secret, &ev);
	s->ev = ev;
	return n;
}

/* One step within a form. */
static __always_inline __u32 form_step(struct sluice_conn *conn, struct request_scratch *s,
				       __u32 pos)
{
	__u32 n = beside_bytes(conn, s, pos);

	if (n)
		n = body_bytes(conn, s, pos, pos + n);
	return form_bytes(conn, s, pos, n);
}

#endif
