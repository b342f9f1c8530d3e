/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The options of a SYN to a protected port. Its window scale is kept, since it says how many bytes
 * every later window means. Multipath TCP and Fast Open are overwritten with NOPs. The connection
 * is then plain TCP: all its bytes come this way, in order, after a handshake that proves the
 * client's address.
 */
#ifndef SLUICE_BPF_SYN_H
#define SLUICE_BPF_SYN_H

#include "count.h"
#include "segment.h"

#define OPTIONS_MAX       40
#define OPTION_NOP        1
#define OPTION_WSCALE     3
#define OPTION_MPTCP      30
#define OPTION_FAST_OPEN  34
#define OPTION_EXPERIMENT 254 /* with the magic number of RFC 7413 A: the old Fast Open */

struct syn_scratch {
	__u32 at, len;
	__u32 removed; /* bytes */
	__u32 wscale;
	__u8 before[OPTIONS_MAX + 8];
	__u8 after[OPTIONS_MAX + 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct syn_scratch);
	__uint(max_entries, 1);
} syn_scratch SEC(".maps");

/* One step over the options: skips to the next one, or blanks one byte of an option to remove. */
static long syn_option_step(__u32 i, struct syn_scratch **ctx)
{
	struct syn_scratch *s = *ctx;
	__u32 at = s->at, size;
	__u8 kind;

	if (at >= s->len || at >= OPTIONS_MAX)
		return 1;
	if (s->removed & 0xff) {
		s->after[at] = OPTION_NOP;
		s->removed--;
		s->at++;
		return 0;
	}
	kind = s->before[at];
	if (!kind)
		return 1;
	if (kind == OPTION_NOP) {
		s->at++;
		return 0;
	}
	size = s->before[at + 1];
	if (size < 2 || at + size > s->len)
		return 1;
	if (kind == OPTION_WSCALE && size == 3)
		s->wscale = s->before[at + 2] > 14 ? 14 : s->before[at + 2];
	if (kind == OPTION_MPTCP || kind == OPTION_FAST_OPEN ||
	    (kind == OPTION_EXPERIMENT && size >= 4 && s->before[at + 2] == 0xf9 &&
	     s->before[at + 3] == 0x89))
		s->removed = 0x100 | size;
	else
		s->at += size;
	return 0;
}

/* Makes a SYN plain TCP and keeps its window scale. May change the packet. -1: drop it; 0:
 * pass it. */
SUBPROG int syn_options(struct __sk_buff *skb, struct packet *p)
{
	struct sluice_half_open half = {}, *seen;
	__u32 zero = 0, len, at;
	struct syn_scratch *s = bpf_map_lookup_elem(&syn_scratch, &zero);
	struct sluice_conn_key key;
	__s64 diff;

	if (!s || !p)
		return 0;
	key = p->key;
	at = p->tcp_at + 20;
	len = p->payload_at - at;
	s->wscale = len ? SLUICE_WSCALE_UNKNOWN : 0; /* without options there is no scale */
	s->at = s->removed = 0;
	s->len = len;
	__builtin_memset(s->before, 0, sizeof(s->before));
	if (!load_bytes(skb, at, s->before, len, OPTIONS_MAX)) {
		__builtin_memcpy(s->after, s->before, sizeof(s->after));
		s->wscale = 0; /* a scale that is not offered is not used (RFC 7323 2.2) */
		bpf_loop(2 * OPTIONS_MAX, syn_option_step, &s, 0);
		if (s->removed & 0x100) {
			diff = bpf_csum_diff((void *)s->before, OPTIONS_MAX, (void *)s->after,
					     OPTIONS_MAX, 0);
			bpf_l4_csum_replace(skb, p->tcp_at + 16, 0, diff, 0);
			store_bytes(skb, at, s->after, len, OPTIONS_MAX, 0);
			count(SLUICE_COUNTER_OPTIONS_REMOVED);
		}
	}
	if (p->payload_len) {
		/* A server that takes data without a cookie (RFC 7413 4.1.2) would get it
		 * unframed. */
		if (segment_cut(skb, p, 0))
			return -1;
		count(SLUICE_COUNTER_SYN_DATA_CUT);
	}
	seen = bpf_map_lookup_elem(&half_open, &key);
	if (seen) {
		seen->wscale = s->wscale;
		if (!seen->answered) /* else it is what a proof needs */
			seen->client_seq = p->seq + 1;
		return 0;
	}
	half.wscale = s->wscale;
	half.client_seq = p->seq + 1;
	if (!bpf_map_update_elem(&half_open, &key, &half, BPF_NOEXIST))
		count(SLUICE_COUNTER_HALF_OPEN_INSERTS);
	return 0;
}

#endif
