/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Changes to a client's segment that the server is to receive: its end is cut off, its urgent
 * pointer is cleared, or bytes are put before its payload. Checksums are adjusted, not made anew: a
 * segment that arrived with a wrong one keeps a wrong one, and the server drops it.
 */
#ifndef SLUICE_BPF_SEGMENT_H
#define SLUICE_BPF_SEGMENT_H

#include "packet.h"

#define REMOVED_STEP 512 /* bytes that bpf_csum_diff() adds up at once, at most */

struct segment_scratch {
	__u8 removed[REMOVED_STEP];
	__u8 tcp[64];   /* a TCP header, with zeros after it */
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

/* The sum of the packet's bytes from `at` to `end`, the first one at an even offset. False: they
 * could not be read. */
static __always_inline bool segment_sum(struct __sk_buff *skb, __u32 at, __u32 end, __u16 *out)
{
	struct removed r = {.skb = skb, .at = at, .end = end};
	__u32 zero = 0;

	r.s = bpf_map_lookup_elem(&segment_scratch, &zero);
	if (!r.s)
		return false;
	r.s->unchecked = 0;
	if (at < end)
		bpf_loop(1 << 23, removed_step, &r, 0);
	__builtin_memset(r.s->removed, 0, REMOVED_STEP); /* it held what a client sent */
	*out = csum_fold(r.sum);
	return !r.s->unchecked;
}

/* The sum of bytes as it is at an odd offset. */
static __always_inline __u16 csum_odd(__u16 sum)
{
	return sum << 8 | sum >> 8;
}

/* The checksum of the segment without the bytes after `keep` of its payload, and with other flags.
 * False: the bytes could not be read. */
static __always_inline bool cut_checksum(struct __sk_buff *skb, const struct packet *p, __u32 keep,
					 __u16 old_flags, __u16 new_flags, __u16 *out)
{
	__u32 header = p->payload_at - p->tcp_at;
	__u16 sum;

	if (packet_partial(skb, p)) {
		*out = csum_fold(pseudo_sum(&p->key, p->ipv6, header + keep));
		return true;
	}
	if (!segment_sum(skb, p->payload_at + keep, p->payload_at + p->payload_len, &sum))
		return false;
	if (keep & 1)
		sum = csum_odd(sum);
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
	if (!packet_partial(skb, p))
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

/* Loads the packet's TCP header into s->tcp. Returns 0 or an error. */
static __always_inline long load_tcp(struct __sk_buff *skb, const struct packet *p,
				     struct segment_scratch *s)
{
	__builtin_memset(s->tcp, 0, sizeof(s->tcp));
	return load_bytes(skb, p->tcp_at, s->tcp, p->payload_at - p->tcp_at, 60);
}

/* The sum of the pseudo-header, with `more` bytes of payload, and of the TCP header in s->tcp. */
static __always_inline __u16 headers_sum(const struct packet *p, struct segment_scratch *s,
					 __u32 more)
{
	__u32 len = p->payload_at - p->tcp_at + p->payload_len + more;

	return csum_fold(pseudo_sum(&p->key, p->ipv6, len) +
			 (__u32)bpf_csum_diff(NULL, 0, (void *)s->tcp, sizeof(s->tcp), 0));
}

/* Whether the checksum of the segment, whose payload has this sum, is right. */
static __always_inline bool segment_is_right(struct __sk_buff *skb, const struct packet *p,
					     __u16 payload)
{
	__u32 zero = 0;
	struct segment_scratch *s = bpf_map_lookup_elem(&segment_scratch, &zero);

	if (packet_partial(skb, p))
		return true;
	return s && !load_tcp(skb, p, s) &&
	       csum_fold((__u64)headers_sum(p, s, 0) + payload) == 0xffff;
}

/*
 * Puts the bytes of `h` before the segment's payload, which follows them in the stream. Its sender
 * has to be ready to send both again. Returns 0, or an error as segment_cut(). The packet must have
 * nothing between IP's fixed header and TCP's, and go to a socket of this host: where it is left to
 * a device, the device would look for the checksum in its old place.
 */
SUBPROG int segment_prepend(struct __sk_buff *skb, struct packet *p, const struct sluice_held *h)
{
	__u32 zero = 0, tcp_len, len, ip_length_at;
	struct segment_scratch *s = bpf_map_lookup_elem(&segment_scratch, &zero);
	__u16 ip_check, check, payload, moved;
	__be16 ip_length, longer;

	if (!s || !p || !h)
		return -1;
	len = h->len;
	tcp_len = p->payload_at - p->tcp_at;
	ip_length_at = p->l2_len + (p->ipv6 ? 4 : 2);
	if (p->tcp_at != p->l2_len + (p->ipv6 ? 40 : 20) ||
	    bpf_skb_load_bytes(skb, ip_length_at, &ip_length, 2) || !ip_length ||
	    bpf_ntohs(ip_length) + len > 0xffff || load_tcp(skb, p, s))
		return -1;
	longer = bpf_htons(bpf_ntohs(ip_length) + len);
	moved = ~csum_fold(pseudo_sum(&p->key, p->ipv6, tcp_len + p->payload_len));
	if (packet_partial(skb, p)) {
		check = csum_fold(pseudo_sum(&p->key, p->ipv6, tcp_len + len + p->payload_len));
	} else {
		payload = ~headers_sum(p, s, 0); /* wrong if the checksum is: so is the next */
		*(__be32 *)(s->tcp + 4) = bpf_htonl(p->seq - len);
		*(__u16 *)(s->tcp + 16) = 0;
		check = ~csum_fold((__u64)headers_sum(p, s, len) + h->sum +
				   (len & 1 ? csum_odd(payload) : payload));
	}
	*(__be32 *)(s->tcp + 4) = bpf_htonl(p->seq - len);
	*(__u16 *)(s->tcp + 16) = check;
	if (bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_NET,
				BPF_F_ADJ_ROOM_NO_CSUM_RESET | BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	/* What the device has summed up lies at other offsets now. It is an error if it has not. */
	if (len & 1)
		bpf_csum_update(skb, (__u32)csum_odd(moved) + (__u16)~moved);
	if (!p->ipv6) {
		if (bpf_skb_load_bytes(skb, p->l2_len + 10, &ip_check, 2))
			return -1;
		ip_check = csum_replaced(ip_check, ip_length, longer);
		bpf_skb_store_bytes(skb, p->l2_len + 10, &ip_check, 2, BPF_F_RECOMPUTE_CSUM);
	}
	if (bpf_skb_store_bytes(skb, ip_length_at, &longer, 2, BPF_F_RECOMPUTE_CSUM) ||
	    store_bytes(skb, p->tcp_at, s->tcp, tcp_len, 60, BPF_F_RECOMPUTE_CSUM) ||
	    store_bytes(skb, p->payload_at, h->head, len, SLUICE_HELD_BYTES, BPF_F_RECOMPUTE_CSUM))
		return -1;
	p->seq -= len;
	p->payload_len += len;
	p->check = check;
	return 0;
}

#endif
