/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The tokens of a plain reply, from the number that the reply states near its end: OpenAI's
 * "completion_tokens", Anthropic's and the responses API's "output_tokens", Ollama's "eval_count".
 * Only the last kilobyte of the reply's last segment is searched. A reply without the number there
 * costs no tokens.
 */
#ifndef SLUICE_BPF_USAGE_H
#define SLUICE_BPF_USAGE_H

#include "maps.h"

#define USAGE_WINDOW 1024 /* bytes */

struct usage_scratch {
	__u32 at, len, tokens, pad;
	__u8 buf[USAGE_WINDOW + 64];
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
	return 0;
}

static long usage_step(__u32 i, struct usage_scratch **ctx)
{
	struct usage_scratch *s = *ctx;
	__u64 at = scan_clamp(s->at);
	__u32 n, skip;

	if (at >= s->len || at >= USAGE_WINDOW)
		return 1;
	s->at++;
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
	s->tokens = n > 10000000 ? 10000000 : n;
	return 1;
}

/* The tokens that the packet's bytes [begin, end) state; 0 if none. */
SUBPROG __u32 usage_tokens(struct __sk_buff *skb, __u32 begin, __u32 end)
{
	__u32 zero = 0, len = end - begin;
	struct usage_scratch *s = bpf_map_lookup_elem(&usage_scratch, &zero);

	if (!s || end <= begin)
		return 0;
	if (len > USAGE_WINDOW) {
		begin = end - USAGE_WINDOW;
		len = USAGE_WINDOW;
	}
	len = ((len - 1) & (USAGE_WINDOW - 1)) + 1;
	if (bpf_skb_load_bytes(skb, begin, s->buf, len))
		return 0;
	scan_store(s->buf + len, 0);
	s->at = s->tokens = 0;
	s->len = len;
	bpf_loop(USAGE_WINDOW, usage_step, &s, 0);
	return s->tokens;
}

#endif
