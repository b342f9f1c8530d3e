/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The tokens of a plain reply, from the number that the reply states near its end: OpenAI's
 * "completion_tokens", Anthropic's and the responses API's "output_tokens", Ollama's "eval_count",
 * llama.cpp's "predicted_n", TGI's "generated_tokens", LM Studio's "total_output_tokens". Only the
 * last kilobyte of the reply's last segments is searched, from its end: what a model or its user
 * has written comes before, or in strings, where no quote is without a backslash. A segment may end
 * within the name or the number: the last bytes of one are searched with the next. A reply without
 * the number there costs no tokens.
 */
#ifndef SLUICE_BPF_USAGE_H
#define SLUICE_BPF_USAGE_H

#include "maps.h"

#define USAGE_WINDOW 1024 /* bytes */

struct usage_scratch {
	__u32 at, tokens;
	__u8 buf[STREAM_LAST + USAGE_WINDOW + 64]; /* of the segment before, and of this one */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct usage_scratch);
	__uint(max_entries, 1);
} usage_scratch SEC(".maps");

/* The length, with both quotes, of the name that begins at p; 0 if none does. */
static __always_inline __u32 usage_name(const __u8 *p)
{
	__u64 w0 = scan_load(p), w1 = scan_load(p + 8);

	if (w0 == scan_literal("\"complet") && w1 == scan_literal("ion_toke") && p[16] == 'n' &&
	    p[17] == 's' && p[18] == '"')
		return 19;
	if (w0 == scan_literal("\"output_") && (w1 << 8) == (scan_literal("tokens\"\0") << 8))
		return 15;
	if (w0 == scan_literal("\"eval_co") && (w1 << 32) == (scan_literal("unt\"\0\0\0\0") << 32))
		return 12;
	if (w0 == scan_literal("\"predict") && (w1 << 24) == (scan_literal("ed_n\"\0\0\0") << 24))
		return 13;
	if (w0 == scan_literal("\"generat") && w1 == scan_literal("ed_token") && p[16] == 's' &&
	    p[17] == '"')
		return 18;
	if (w0 == scan_literal("\"total_o") && w1 == scan_literal("utput_to") && p[16] == 'k' &&
	    p[17] == 'e' && p[18] == 'n' && p[19] == 's' && p[20] == '"')
		return 21;
	return 0;
}

static long usage_step(__u32 i, struct usage_scratch **ctx)
{
	struct usage_scratch *s = *ctx;
	__u64 at;
	__u32 n, skip;

	if (!s->at)
		return 1;
	at = scan_clamp(--s->at);
	if (at >= STREAM_LAST + USAGE_WINDOW)
		return 1;
	if (s->buf[at] != '"')
		return 0;
	skip = usage_name(s->buf + at);
	if (!skip)
		return 0;
	at += skip;
	n = 0;
#pragma unroll
	for (int k = 0; k < 16; k++) {
		__u8 c = s->buf[at + k];

		if (c >= '0' && c <= '9')
			n = n * 10 + c - '0';
		else if (n || (c != ':' && c != ' '))
			break;
	}
	s->tokens = n > STREAM_USAGE_MAX ? STREAM_USAGE_MAX : n;
	return n > 0;
}

/*
 * The tokens that a plain reply states in the packet's bytes [begin, end), or in those and the ones
 * before them; 0: none that can be read.
 */
SUBPROG __u32 plain_tokens(struct __sk_buff *skb, struct sluice_conn *conn, __u32 begin, __u32 end)
{
	__u32 zero = 0, len = end - begin;
	struct usage_scratch *s = bpf_map_lookup_elem(&usage_scratch, &zero);

	if (!s || !conn || end <= begin || conn->response.frame.flags & HTTP1_ENCODED)
		return 0;
	__builtin_memcpy(s->buf, conn->response.stream.last, STREAM_LAST);
	if (len > USAGE_WINDOW) {
		begin = end - USAGE_WINDOW;
		len = USAGE_WINDOW;
		__builtin_memset(s->buf, 0, STREAM_LAST);
	}
	len = ((len - 1) & (USAGE_WINDOW - 1)) + 1;
	if (bpf_skb_load_bytes(skb, begin, s->buf + STREAM_LAST, len))
		return 0;
	scan_store(s->buf + STREAM_LAST + len, 0);
	__builtin_memcpy(conn->response.stream.last, s->buf + len, STREAM_LAST);
	s->at = STREAM_LAST + len;
	s->tokens = 0;
	bpf_loop(STREAM_LAST + USAGE_WINDOW, usage_step, &s, 0);
	return s->tokens;
}

/*
 * Whether the response under way is plain, and its last packets may state no tokens: they have the
 * little that its length leaves, the end of its chunks, or the server's FIN alone.
 */
static __always_inline bool plain_nears_end(const struct sluice_conn *conn)
{
	const struct http1_response *r = &conn->response;

	return conn->flags & SLUICE_CONN_RESPONSE && r->stream.kind == STREAM_NONE &&
	       r->frame.flags & HTTP1_BEGUN &&
	       (r->frame.left < USAGE_WINDOW || r->frame.left == HTTP1_UNBOUNDED);
}

#endif
