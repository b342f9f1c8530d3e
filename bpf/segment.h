/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Changes to a client's segment that the server is to receive: its end is cut off, or its urgent
 * pointer is cleared. Checksums are adjusted, not made anew: a segment that arrived with a wrong
 * one keeps a wrong one, and the server drops it.
 */
#ifndef SLUICE_BPF_SEGMENT_H
#define SLUICE_BPF_SEGMENT_H

#include "packet.h"

#define REMOVED_STEP 512 /* bytes that bpf_csum_diff() adds up at once, at most */

struct segment_scratch {
	__u8 removed[REMOVED_STEP];
	__u8 unchecked; /* 1: some bytes could not be read */
	__u8 pad[7];
} SLUICE_ALIGNED(8);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct segment_scratch);
	__uint(max_entries, 1);
} segment_scratch __weak SEC(".maps");

struct removed {
	struct __sk_buff *skb;
	struct segment_scratch *s;
	__u32 at, end;
	__u32 sum;
};

/* Replaces a word in a checksum (RFC 1624, equation 3). All are as the packet has them. */
static __always_inline __u16 csum_replaced(__u16 check, __u16 from, __u16 to)
{
	return ~csum_fold((__u64)(__u16)~check + (__u16)~from + to);
}

static long removed_step(__u32 i, struct removed *r)
{
	__u32 n = r->end - r->at;

	if (n > REMOVED_STEP)
		n = REMOVED_STEP;
	__builtin_memset(r->s->removed, 0, REMOVED_STEP);
	if (load_bytes(r->skb, r->at, r->s->removed, n, REMOVED_STEP)) {
		r->s->unchecked = 1;
		return 1;
	}
	r->sum = bpf_csum_diff(NULL, 0, (void *)r->s->removed, REMOVED_STEP, r->sum);
	r->at += n;
	return r->at >= r->end;
}

/* The checksum of the segment without the bytes after `keep` of its payload, and with other flags.
 * False: the bytes could not be read. */
static __always_inline bool cut_checksum(struct __sk_buff *skb, const struct packet *p, __u32 keep,
					 __u16 old_flags, __u16 new_flags, __u16 *out)
{
	__u32 header = p->payload_at - p->tcp_at, zero = 0;
	struct removed r = {
		.skb = skb, .at = p->payload_at + keep, .end = p->payload_at + p->payload_len};
	__u16 sum;

	if (packet_partial(p)) {
		*out = csum_fold(pseudo_sum(&p->key, p->ipv6, header + keep));
		return true;
	}
	r.s = bpf_map_lookup_elem(&segment_scratch, &zero);
	if (!r.s)
		return false;
	r.s->unchecked = 0;
	if (r.at < r.end)
		bpf_loop(1 << 23, removed_step, &r, 0);
	__builtin_memset(r.s->removed, 0, REMOVED_STEP); /* it held what a client sent */
	if (r.s->unchecked)
		return false;
	sum = csum_fold(r.sum);
	if (keep & 1)
		sum = sum << 8 | sum >> 8;
	*out = csum_replaced(p->check, sum, 0);
	*out = csum_replaced(*out, csum_fold(bpf_htonl(header + p->payload_len)),
			     csum_fold(bpf_htonl(header + keep)));
	*out = csum_replaced(*out, old_flags, new_flags);
	return true;
}

/*
 * Cuts the segment off after `keep` bytes of its payload, and a FIN with them; but the FIN of a
 * SYN, which no server takes, stays. The sender has to be ready to send the rest again. Returns 0.
 * An error: the packet is broken, and the caller has to drop it. A packet without a length in its
 * IP header (BIG TCP) cannot be cut: its sender repeats it in segments of usual size.
 */
SUBPROG int segment_cut(struct __sk_buff *skb, struct packet *p, __u32 keep)
{
	__u32 ip_length_at, cut;
	__be16 ip_length, shorter, flags, plain;
	__u16 check, ip_check;

	if (!p || keep > p->payload_len)
		return -1;
	cut = p->payload_len - keep;
	ip_length_at = p->l2_len + (p->ipv6 ? 4 : 2);
	if (bpf_skb_load_bytes(skb, ip_length_at, &ip_length, 2) || !ip_length ||
	    bpf_skb_load_bytes(skb, p->tcp_at + 12, &flags, 2))
		return -1;
	shorter = bpf_htons(bpf_ntohs(ip_length) - cut);
	plain = p->flags & TCP_SYN ? flags : flags & ~bpf_htons(TCP_FIN);
	if (!cut_checksum(skb, p, keep, flags, plain, &check) ||
	    bpf_skb_change_tail(skb, p->payload_at + keep, 0))
		return -1;
	if (!p->ipv6) {
		if (bpf_skb_load_bytes(skb, p->l2_len + 10, &ip_check, 2))
			return -1;
		ip_check = csum_replaced(ip_check, ip_length, shorter);
		bpf_skb_store_bytes(skb, p->l2_len + 10, &ip_check, 2, BPF_F_RECOMPUTE_CSUM);
	}
	if (bpf_skb_store_bytes(skb, ip_length_at, &shorter, 2, BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, p->tcp_at + 12, &plain, 2, BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, p->tcp_at + 16, &check, 2, BPF_F_RECOMPUTE_CSUM))
		return -1;
	p->payload_len = keep;
	p->flags = bpf_ntohs(plain);
	p->check = check;
	return 0;
}

/*
 * Clears the urgent flag and pointer. A server that does not ask for SO_OOBINLINE reads the stream
 * without the byte before the pointer (RFC 6093 2); without the flag every server reads what is
 * framed here. Returns 0, or an error as segment_cut().
 */
SUBPROG int segment_not_urgent(struct __sk_buff *skb, struct packet *p)
{
	__be16 flags, plain, pointer, none = 0;
	__u16 check;

	if (!p || bpf_skb_load_bytes(skb, p->tcp_at + 12, &flags, 2) ||
	    bpf_skb_load_bytes(skb, p->tcp_at + 18, &pointer, 2))
		return -1;
	plain = flags & ~bpf_htons(TCP_URG);
	check = p->check;
	if (!packet_partial(p))
		check = csum_replaced(csum_replaced(check, flags, plain), pointer, none);
	if (bpf_skb_store_bytes(skb, p->tcp_at + 12, &plain, 2, BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, p->tcp_at + 16, &check, 2, BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, p->tcp_at + 18, &none, 2, BPF_F_RECOMPUTE_CSUM))
		return -1;
	p->flags = bpf_ntohs(plain);
	p->check = check;
	count(SLUICE_COUNTER_URGENT_CLEARED);
	return 0;
}

#endif
