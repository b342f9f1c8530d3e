/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Parses a packet into what the programs need: its ends, its position in the TCP stream, its
 * length. Every header is bounds-checked. A packet without a whole TCP header over IPv4 or IPv6 is
 * not ours. A packet to a port that is not protected leaves after one look-up, in the bitmap of
 * ports.
 */
#ifndef SLUICE_BPF_PACKET_H
#define SLUICE_BPF_PACKET_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <sluice/scan.h>

#include "count.h"

#define IPV6_EXTENSIONS_MAX 4              /* that packet_parse() walks; packet_far() walks … */
#define IPV6_HEADERS_MAX    1152           /* … at most these: more than fit 9000 bytes */
#define L2_MAX              (ETH_HLEN + 8) /* Ethernet and two VLAN tags */
#define TCP_FIN             0x01
#define TCP_SYN             0x02
#define TCP_RST             0x04
#define TCP_PSH             0x08
#define TCP_ACK             0x10
#define TCP_URG             0x20

#define PACKET_FAR -2 /* of packet_parse() */

enum packet_side { FROM_CLIENT, FROM_SERVER };

struct packet {
	struct sluice_conn_key key;
	__u32 l2_len;      /* 0 on interfaces without Ethernet */
	__u32 tcp_at;      /* offset of the TCP header */
	__u32 payload_at;  /* offset of the payload */
	__u32 payload_len; /* bytes, by the IP header */
	__u32 seq, ack;
	__u16 window; /* as in the header, not scaled */
	__u8 flags;   /* TCP_… */
	__u8 ipv6;
	__u8 fragment; /* the first of a fragmented packet: ports and sequence, but not all its
			  bytes */
	__u8 kept;     /* its numbers were translated (kept.h) */
	__u16 check;   /* the TCP checksum field as it arrived */
};

/*
 * Set in the copy of the programs that is attached in other network namespaces, where interfaces
 * have indexes of their own.
 */
const volatile __u32 hooks_elsewhere __weak = 0;

/* The hook that the packet is at, unique among those on its way. */
static __always_inline __u32 hook_of(const struct __sk_buff *skb)
{
	return skb->ifindex ^ hooks_elsewhere;
}

static __always_inline __s32 seq_diff(__u32 a, __u32 b)
{
	return (__s32)(a - b);
}

/*
 * Loads or stores n bytes of the packet at `at`; an error if n is not 1 … max. The test is on n -
 * 1, and n is then made from that same register. Linux 6.1's verifier does not carry a test over to
 * a copy, and learns nothing from a test against 0.
 */
static __always_inline long load_bytes(struct __sk_buff *skb, __u32 at, void *to, __u32 n,
				       __u32 max)
{
	__u64 before = scan_opaque((__u64)n - 1);

	return before < max ? bpf_skb_load_bytes(skb, at, to, before + 1) : -1;
}

static __always_inline long store_bytes(struct __sk_buff *skb, __u32 at, const void *from, __u32 n,
					__u32 max, __u64 flags)
{
	__u64 before = scan_opaque((__u64)n - 1);

	return before < max ? bpf_skb_store_bytes(skb, at, from, before + 1, flags) : -1;
}

/* Whether some service has this port. */
static __always_inline bool port_protected(__be16 port)
{
	__u32 host = bpf_ntohs(port), word = host >> 6;
	__u64 *bits = bpf_map_lookup_elem(&ports, &word);

	return bits && *bits >> (host & 63) & 1;
}

static __always_inline void addr_from_v4(__u8 out[16], __be32 addr)
{
	__builtin_memset(out, 0, 10);
	out[10] = out[11] = 0xff;
	__builtin_memcpy(out + 12, &addr, 4);
}

/* Sum of 16-bit words, folded (RFC 1071), not complemented. */
static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The pseudo-header's sum for a TCP segment of tcp_len bytes (RFC 9293 3.1, RFC 8200 8.1). */
static __always_inline __u64 pseudo_sum(const struct sluice_conn_key *key, bool ipv6, __u32 tcp_len)
{
	const __u32 *c = (const __u32 *)key->client_addr, *s = (const __u32 *)key->server_addr;
	__u64 sum = (__u64)c[3] + s[3] + bpf_htonl(IPPROTO_TCP) + bpf_htonl(tcp_len);

	if (ipv6)
		sum += (__u64)c[0] + c[1] + c[2] + s[0] + s[1] + s[2];
	return sum;
}

/* Reads the packet's ends from its IPv4 header. */
static __always_inline void packet_ipv4(struct packet *p, const struct iphdr *ip,
					enum packet_side side)
{
	addr_from_v4(side == FROM_CLIENT ? p->key.client_addr : p->key.server_addr, ip->saddr);
	addr_from_v4(side == FROM_CLIENT ? p->key.server_addr : p->key.client_addr, ip->daddr);
	p->ipv6 = 0;
}

/* Reads the TCP header at offset `at`. segment_len: TCP header and payload in bytes, by the IP
 * header. Returns as packet_parse() does. */
static __always_inline int packet_tcp(struct packet *p, const struct tcphdr *tcp, __u32 at,
				      __u32 segment_len, enum packet_side side)
{
	if (tcp->doff < 5)
		return 0;
	p->key.client_port = side == FROM_CLIENT ? tcp->source : tcp->dest;
	p->key.server_port = side == FROM_CLIENT ? tcp->dest : tcp->source;
	p->seq = bpf_ntohl(tcp->seq);
	p->ack = bpf_ntohl(tcp->ack_seq);
	p->window = bpf_ntohs(tcp->window);
	p->flags = ((__u8 *)tcp)[13];
	p->tcp_at = at;
	p->payload_at = at + tcp->doff * 4;
	p->payload_len = segment_len; /* packet_length() makes it the payload's */
	p->check = tcp->check;
	p->kept = 0;
	return 1;
}

/* Whether an IPv6 header of this kind is walked over. */
static __always_inline bool ipv6_extension(__u8 kind)
{
	return kind == IPPROTO_HOPOPTS || kind == IPPROTO_ROUTING || kind == IPPROTO_DSTOPTS ||
	       kind == IPPROTO_FRAGMENT;
}

/*
 * Reads the packet in [data, end). l2 false: the packet begins with its IP header. Returns
 *   1           the TCP header is whole and the server's port, by `side`, is protected;
 *   0           the packet is not ours;
 *   -1          the headers reach past `end`: the caller has to pull more of the packet in;
 *   PACKET_FAR  TCP may follow after more IPv6 extension headers than this function walks, or the
 *               extension headers reach past `end`; l2_len is set.
 */
static __always_inline int packet_parse(void *data, void *end, bool l2, enum packet_side side,
					struct packet *p)
{
	struct tcphdr *tcp;
	__u32 off = 0, ip_len;
	__be16 proto;
	void *at;

	if (l2) {
		struct ethhdr *eth = data;

		if ((void *)(eth + 1) > end)
			return -1;
		proto = eth->h_proto;
		off = sizeof(*eth);
#pragma unroll
		for (int i = 0; i < 2; i++) {
			if (proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD)) {
				if (data + off + 4 > end)
					return -1;
				proto = *(__be16 *)(data + off + 2);
				off += 4;
			}
		}
	} else {
		if (data + 1 > end)
			return -1;
		proto = *(__u8 *)data >> 4 == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	}
	p->l2_len = off;

	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + off;

		if ((void *)(ip + 1) > end)
			return -1;
		if (ip->protocol != IPPROTO_TCP || ip->version != 4 || ip->ihl < 5 ||
		    ip->frag_off & bpf_htons(0x1fff))
			return 0;
		p->fragment = !!(ip->frag_off & bpf_htons(0x2000));
		ip_len = bpf_ntohs(ip->tot_len);
		off += ip->ihl * 4;
		at = data + off;
		tcp = at;
		if ((void *)(tcp + 1) > end)
			return -1;
		if (!port_protected(side == FROM_CLIENT ? tcp->dest : tcp->source))
			return 0;
		packet_ipv4(p, ip, side);
		if (ip_len && ip_len <= ip->ihl * 4)
			return 0;
		ip_len = ip_len ? ip_len - ip->ihl * 4 : 0;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + off;
		__u32 extensions = 0;
		__u8 next;

		if ((void *)(ip + 1) > end)
			return -1;
		if (ip->version != 6)
			return 0;
		next = ip->nexthdr;
		off += sizeof(*ip);
		p->fragment = 0;
		/* RFC 8200 4: each header states the next one's kind and, except a fragment header,
		 * its own length. */
#pragma unroll
		for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
			struct ipv6_opt_hdr *opt = data + off;
			__u32 size;

			if (!ipv6_extension(next))
				break;
			if (data + off + 8 > end)
				return PACKET_FAR;
			size = (opt->hdrlen + 1) * 8;
			if (next == IPPROTO_FRAGMENT) {
				if (*(__be16 *)((void *)opt + 2) & bpf_htons(0xfff8))
					return 0;
				p->fragment |= *(__be16 *)((void *)opt + 2) & bpf_htons(1) ? 1 : 0;
				size = 8;
			}
			next = opt->nexthdr;
			extensions += size;
			off += size;
		}
		if (next != IPPROTO_TCP)
			return ipv6_extension(next) ? PACKET_FAR : 0;
		at = data + off;
		tcp = at;
		if ((void *)(tcp + 1) > end)
			return extensions ? PACKET_FAR : -1;
		if (!port_protected(side == FROM_CLIENT ? tcp->dest : tcp->source))
			return 0;
		__builtin_memcpy(side == FROM_CLIENT ? p->key.client_addr : p->key.server_addr,
				 &ip->saddr, 16);
		__builtin_memcpy(side == FROM_CLIENT ? p->key.server_addr : p->key.client_addr,
				 &ip->daddr, 16);
		ip_len = bpf_ntohs(ip->payload_len);
		if (ip_len && ip_len <= extensions)
			return 0;
		ip_len = ip_len ? ip_len - extensions : 0;
		p->ipv6 = 1;
	} else {
		return 0;
	}

	return packet_tcp(p, tcp, off, ip_len, side);
}

/* Whether the checksum field holds the pseudo-header's sum, as with CHECKSUM_PARTIAL. It is also
 * the checksum of one segment in 65,536. */
static __always_inline bool packet_has_pseudo_sum(const struct packet *p)
{
	__u32 tcp_len = p->payload_at - p->tcp_at + p->payload_len;

	return p->check == csum_fold(pseudo_sum(&p->key, p->ipv6, tcp_len));
}

/* Whether the checksum field holds the pseudo-header's sum only (CHECKSUM_PARTIAL). The kernel's
 * helper leaves the field alone just then. */
static __always_inline bool packet_partial(struct __sk_buff *skb, const struct packet *p)
{
	__u16 before, after;

	if (!packet_has_pseudo_sum(p) || bpf_skb_load_bytes(skb, p->tcp_at + 16, &before, 2))
		return false;
	bpf_l4_csum_replace(skb, p->tcp_at + 16, 0, 1, 0);
	if (bpf_skb_load_bytes(skb, p->tcp_at + 16, &after, 2) || after == before)
		return true;
	bpf_skb_store_bytes(skb, p->tcp_at + 16, &before, 2, 0);
	return false;
}

/*
 * Turns the segment's length into the payload's. An IP length of 0 (BIG TCP) means up to the
 * packet's end. False: the segment is shorter than its TCP header, or longer than the packet.
 */
static __always_inline bool packet_length(struct packet *p, __u32 packet_len)
{
	__u32 header = p->payload_at - p->tcp_at;

	if (!p->payload_len) {
		if (packet_len < p->payload_at)
			return false;
		p->payload_len = packet_len - p->payload_at;
		return true;
	}
	if (p->payload_len < header || (__u64)p->tcp_at + p->payload_len > packet_len)
		return false;
	p->payload_len -= header;
	return true;
}

enum kind { PACKET_OWN, PACKET_FOREIGN, PACKET_ICMP };

/*
 * The fast path for nearly all foreign traffic. PACKET_FOREIGN: the packet is plain TCP over IPv4
 * or IPv6 to a port that is not protected, or plain IPv4 without TCP. PACKET_ICMP: plain ICMP or
 * ICMPv6. PACKET_OWN: packet_own() has to decide.
 */
static __always_inline enum kind packet_kind(struct __sk_buff *skb, bool l2, enum packet_side side)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	void *ip = data + (l2 ? ETH_HLEN : 0);
	struct tcphdr *tcp;

	if (ip + sizeof(struct iphdr) + sizeof(*tcp) > end)
		return PACKET_OWN;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		/* version 4 without options; with an in-band VLAN tag skb->protocol is another */
		if (*(__u8 *)ip != 0x45)
			return PACKET_OWN;
		if (((struct iphdr *)ip)->protocol != IPPROTO_TCP)
			return ((struct iphdr *)ip)->protocol == IPPROTO_ICMP ? PACKET_ICMP
									      : PACKET_FOREIGN;
		tcp = ip + sizeof(struct iphdr);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (ip + sizeof(struct ipv6hdr) + sizeof(*tcp) > end)
			return PACKET_OWN;
		if (((struct ipv6hdr *)ip)->nexthdr != IPPROTO_TCP)
			return ((struct ipv6hdr *)ip)->nexthdr == IPPROTO_ICMPV6 ? PACKET_ICMP
										 : PACKET_OWN;
		tcp = ip + sizeof(struct ipv6hdr);
	} else {
		return PACKET_OWN;
	}
	return port_protected(side == FROM_CLIENT ? tcp->dest : tcp->source) ? PACKET_OWN
									     : PACKET_FOREIGN;
}

struct ipv6_walk {
	struct __sk_buff *skb;
	__u32 at;  /* offset of the current header */
	__u8 next; /* its kind */
	__u8 fragment;
	__u8 head[4]; /* kind of the next; its own length, or a fragment's offset */
	__u8 pad[2];
};

/* One extension header. */
static long ipv6_step(__u32 i, struct ipv6_walk *w)
{
	__u8 kind = w->next;

	if (!ipv6_extension(kind))
		return 1;
	if (bpf_skb_load_bytes(w->skb, w->at, w->head, sizeof(w->head))) {
		w->next = IPPROTO_NONE;
		return 1;
	}
	w->next = w->head[0];
	if (kind != IPPROTO_FRAGMENT) {
		w->at += (w->head[1] + 1) * 8;
		return 0;
	}
	w->at += 8;
	w->fragment |= w->head[3] & 1;
	if (w->head[2] || w->head[3] & 0xf8)
		w->next = IPPROTO_NONE; /* not the first fragment: no header follows */
	return 0;
}

/* Reads an IPv6 packet after packet_parse() returned PACKET_FAR. Returns 1 or 0, as that does. */
SUBPROG int packet_far(struct __sk_buff *skb, struct packet *p, enum packet_side side)
{
	struct ipv6_walk w = {.skb = skb};
	struct tcphdr tcp;
	struct ipv6hdr ip;
	__u32 begin, len;

	if (!p || bpf_skb_load_bytes(skb, p->l2_len, &ip, sizeof(ip)))
		return 0;
	begin = p->l2_len + sizeof(ip);
	w.at = begin;
	w.next = ip.nexthdr;
	bpf_loop(IPV6_HEADERS_MAX, ipv6_step, &w, 0);
	if (ipv6_extension(w.next))
		count(SLUICE_COUNTER_HEADERS_UNREAD);
	if (w.next != IPPROTO_TCP || bpf_skb_load_bytes(skb, w.at, &tcp, sizeof(tcp)) ||
	    !port_protected(side == FROM_CLIENT ? tcp.dest : tcp.source))
		return 0;
	len = bpf_ntohs(ip.payload_len);
	if (len && len <= w.at - begin)
		return 0;
	len = len ? len - (w.at - begin) : 0;
	__builtin_memcpy(side == FROM_CLIENT ? p->key.client_addr : p->key.server_addr, &ip.saddr,
			 16);
	__builtin_memcpy(side == FROM_CLIENT ? p->key.server_addr : p->key.client_addr, &ip.daddr,
			 16);
	p->ipv6 = 1;
	p->fragment = w.fragment;
	return packet_tcp(p, &tcp, w.at, len, side);
}

/* Reads a packet for a tc program: pulls the headers in if they are not linear. 1: read; 0: not
 * ours. */
SUBPROG int packet_read(struct __sk_buff *skb, struct packet *p, bool l2, enum packet_side side)
{
	int r;

	if (!p)
		return 0;
	r = packet_parse((void *)(long)skb->data, (void *)(long)skb->data_end, l2, side, p);
	if (r == -1) {
		__u32 want = L2_MAX + 60 + sizeof(struct tcphdr);

		if (bpf_skb_pull_data(skb, skb->len < want ? skb->len : want))
			return 0;
		r = packet_parse((void *)(long)skb->data, (void *)(long)skb->data_end, l2, side, p);
	}
	if (r == PACKET_FAR)
		r = packet_far(skb, p, side);
	return r > 0 && packet_length(p, skb->len);
}

/* As packet_read(), after packet_kind(): repeats no test and makes no call for plain TCP over IPv4.
 */
static __always_inline int packet_own(struct __sk_buff *skb, struct packet *p, bool l2,
				      enum packet_side side)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 at = l2 ? ETH_HLEN : 0, len;
	struct iphdr *ip = data + at;

	if (skb->protocol != bpf_htons(ETH_P_IP) ||
	    data + at + sizeof(*ip) + sizeof(struct tcphdr) > end || *(__u8 *)ip != 0x45 ||
	    ip->frag_off & bpf_htons(0x3fff) || bpf_ntohs(ip->tot_len) <= sizeof(*ip))
		return packet_read(skb, p, l2, side);
	packet_ipv4(p, ip, side);
	p->l2_len = at;
	p->fragment = 0;
	len = bpf_ntohs(ip->tot_len) - sizeof(*ip);
	at += sizeof(*ip);
	return packet_tcp(p, data + at, at, len, side) && packet_length(p, skb->len);
}

/* The service at the packet's server address and port, or NULL. */
OWN_FRAME struct sluice_service *packet_service(const struct packet *p)
{
	struct sluice_service_key key = {.port = p->key.server_port};
	struct sluice_service *service;

	__builtin_memcpy(key.addr, p->key.server_addr, 16);
	service = bpf_map_lookup_elem(&services, &key);
	if (!service && !p->ipv6 && key.addr[12] == 127) {
		key.addr[13] = key.addr[14] = 0;
		key.addr[15] = 1;
		service = bpf_map_lookup_elem(&services, &key);
		if (service && !service->wildcard)
			service = NULL;
	}
	return service;
}

/*
 * Whether the packet is dropped because a daemon is taking over the maps (settings.h). Its sender
 * sends it again. A RST would be lost, and a SYN is judged alike by each version.
 */
static __always_inline bool packet_is_paused(const struct packet *p,
					     const struct sluice_settings *s)
{
	return s->paused_until_ns && now_ns(s) < s->paused_until_ns &&
	       !(p->flags & (TCP_SYN | TCP_RST)) && packet_service(p);
}

struct timestamps {
	__be32 val, ecr;
};

/*
 * TSval and TSecr of a segment's timestamp option (RFC 7323 3.2); false: it has none. Stacks in use
 * put the option after two NOPs, aligned, or first. A walk over all options would exceed the
 * verifier's limit.
 */
static __always_inline bool packet_timestamps(struct __sk_buff *skb, const struct packet *p,
					      struct timestamps *out)
{
	__u32 opt[10] = {}, len = p->payload_at - p->tcp_at - 20;

	if (len < 12 || load_bytes(skb, p->tcp_at + 20, opt, len, sizeof(opt)))
		return false;
#pragma unroll
	for (int i = 0; i < 8; i++) {
		if (opt[i] == bpf_htonl(0x0101080a)) {
			__builtin_memcpy(out, &opt[i + 1], 8);
			return true;
		}
	}
	if (*(__u16 *)opt == bpf_htons(0x080a)) {
		__builtin_memcpy(out, (__u8 *)opt + 2, 8);
		return true;
	}
	return false;
}

#endif
