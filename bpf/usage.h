/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The tokens of a plain reply, from the number that the reply states: OpenAI's "completion_tokens",
 * Anthropic's and the responses API's "output_tokens", Ollama's "eval_count", llama.cpp's
 * "predicted_n", TGI's "generated_tokens", LM Studio's "total_output_tokens". The last one counts:
 * what a model or its user has written comes before, or in strings, where no quote is without a
 * backslash. A client can ask for kilobytes after the number (vLLM's prompt_logprobs, llama.cpp's
 * n_probs, TGI's details). So the whole reply is searched where its tokens are charged or recorded,
 * else only the last kilobyte of its last segments. A segment may end within the name or the
 * number: the last bytes of one are searched with the next. A reply without a number costs no
 * tokens.
 */
#ifndef SLUICE_BPF_USAGE_H
#define SLUICE_BPF_USAGE_H

#include "maps.h"

#define USAGE_WINDOW 1024 /* bytes */
#define USAGE_NAME   24   /* bytes of a name, or a few more */

struct usage_scratch {
	__u32 next, end; /* bytes of the packet that are not in buf yet */
	__u32 len;       /* bytes in buf, without those of the window before */
	__u32 at;        /* buf[USAGE_NAME + 1 + at]: the next byte that may be a colon */
	__u32 tokens;    /* as stated last; 0: not stated */
	__u32 pad;
	__u8 buf[STREAM_LAST + USAGE_WINDOW + 64]; /* the last ones of the window before first */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct usage_scratch);
	__uint(max_entries, 1);
} usage_scratch SEC(".maps");

struct usage_context {
	struct __sk_buff *skb;
	struct usage_scratch *s;
};

/* Whether USAGE_NAME bytes end in a name, with both quotes. */
static __always_inline int usage_name(const __u8 *p)
{
	__u64 w0 = scan_load(p), w1 = scan_load(p + 8), w2 = scan_load(p + 16);

	if (w2 == scan_literal("_tokens\""))
		return (w1 == scan_literal("mpletion") &&
			w0 >> 40 == scan_literal("\"co\0\0\0\0\0")) ||
		       w1 >> 8 == scan_literal("\"output\0") ||
		       (w1 == scan_literal("enerated") &&
			w0 >> 48 == scan_literal("\"g\0\0\0\0\0\0")) ||
		       (w1 == scan_literal("l_output") && w0 >> 24 == scan_literal("\"tota\0\0\0"));
	return (w2 == scan_literal("l_count\"") && w1 >> 32 == scan_literal("\"eva\0\0\0\0")) ||
	       (w2 == scan_literal("icted_n\"") && w1 >> 24 == scan_literal("\"pred\0\0\0"));
}

/* The number after the colon before p; 0: none. */
static __always_inline __u32 usage_number(const __u8 *p)
{
	__u32 n = 0;

#pragma unroll
	for (int k = 0; k < 16; k++) {
		__u8 c = p[k];

		if (c >= '0' && c <= '9')
			n = n < STREAM_USAGE_MAX ? n * 10 + c - '0' : STREAM_USAGE_MAX;
		else if (n || c != ' ')
			break;
	}
	return n > STREAM_USAGE_MAX ? STREAM_USAGE_MAX : n;
}

/* Puts the next bytes of the packet into buf, after the last ones of those before. Returns 1 if
 * there are none. */
static __always_inline long usage_fill(struct usage_context *c)
{
	struct usage_scratch *s = c->s;
	__u64 had = scan_opaque(s->len);
	__u32 len = s->end - s->next;

	if (s->next >= s->end || had > USAGE_WINDOW)
		return 1;
	for (int i = 0; i < STREAM_LAST; i += 8)
		scan_store(s->buf + i, scan_load(s->buf + had + i));
	if (len > USAGE_WINDOW)
		len = USAGE_WINDOW;
	len = (scan_opaque(len - 1) & (USAGE_WINDOW - 1)) + 1;
	if (bpf_skb_load_bytes(c->skb, s->next, s->buf + STREAM_LAST, len))
		return 1;
	scan_store(s->buf + STREAM_LAST + len, 0);
	s->next += len;
	s->len = len;
	s->at = 0;
	return 0;
}

/* Looks at the next colon of eight bytes, or goes on. */
static long usage_step(__u32 i, struct usage_context *c)
{
	struct usage_scratch *s = c->s;
	__u64 at = scan_opaque(s->at), marks;
	const __u8 *p;
	__u32 n;

	if (at > STREAM_LAST - USAGE_NAME + USAGE_WINDOW ||
	    USAGE_NAME + 1 + at >= STREAM_LAST + s->len)
		return usage_fill(c);
	marks = scan_equal(scan_load(s->buf + USAGE_NAME + 1 + at), ':') & SCAN_HIGHS;
	if (!marks) {
		s->at = at + 8;
		return 0;
	}
	at = scan_opaque(at + scan_index(marks));
	if (at > STREAM_LAST - USAGE_NAME + USAGE_WINDOW)
		return 1;
	s->at = at + 1;
	p = s->buf + at;
	if (usage_name(p + 1) || (p[USAGE_NAME] == ' ' && usage_name(p))) {
		n = usage_number(p + USAGE_NAME + 2);
		if (n)
			s->tokens = n;
	}
	return 0;
}

/*
 * The tokens that a plain reply states in the packet's bytes [begin, end), or in those and the ones
 * before them; 0: none that can be read.
 */
SUBPROG __u32 plain_tokens(struct __sk_buff *skb, struct sluice_conn *conn, __u32 begin, __u32 end)
{
	__u32 zero = 0;
	struct usage_scratch *s = bpf_map_lookup_elem(&usage_scratch, &zero);
	struct usage_context c = {.skb = skb, .s = s};
	struct stream *last;
	__u64 had;

	if (!s || !conn || end <= begin || conn->response.frame.flags & HTTP1_ENCODED)
		return 0;
	last = &conn->response.stream;
	__builtin_memcpy(s->buf, last->last, STREAM_LAST);
	if (!(last->flags & STREAM_WHOLE) && end - begin > USAGE_WINDOW) {
		begin = end - USAGE_WINDOW;
		__builtin_memset(s->buf, 0, STREAM_LAST);
	}
	s->next = begin;
	s->end = end;
	s->len = s->at = s->tokens = 0;
	bpf_loop(1 << 17, usage_step, &c, 0);
	had = scan_opaque(s->len);
	if (had <= USAGE_WINDOW)
		for (int i = 0; i < STREAM_LAST; i += 8)
			scan_store(last->last + i, scan_load(s->buf + had + i));
	return s->tokens;
}

/*
 * Whether the response under way is plain, and tokens in this packet may count: the whole of it is
 * searched, or its last packets may state none. These have the little that its length leaves, the
 * end of its chunks, or the server's FIN alone.
 */
static __always_inline bool plain_may_state(const struct sluice_conn *conn)
{
	const struct http1_response *r = &conn->response;

	return conn->flags & SLUICE_CONN_RESPONSE && r->stream.kind == STREAM_NONE &&
	       r->frame.flags & HTTP1_BEGUN &&
	       (r->stream.flags & STREAM_WHOLE || r->frame.left < USAGE_WINDOW ||
		r->frame.left == HTTP1_UNBOUNDED);
}

#endif
