/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors about a segment of a kept connection. They quote its beginning, with the numbers that
 * it had where it was lost. The TCP that sent it looks for its own number, and ignores the error
 * else: it would never learn a smaller path MTU (RFC 1191, RFC 8201).
 */
#ifndef SLUICE_BPF_KEPT_ICMP_H
#define SLUICE_BPF_KEPT_ICMP_H

#include "kept.h"

#define ICMP_HEAD 8 /* bytes before the quoted packet, in both versions */

/* The types of errors: unreachable, source quench, time exceeded, parameter problem (RFC 792). In
 * ICMPv6 they are those below 128 (RFC 4443 2.1). */
static __always_inline bool icmp_error(__u8 type, bool ipv6)
{
	return ipv6 ? type < 128 : type == 3 || type == 4 || type == 11 || type == 12;
}

/*
 * An ICMP packet, from the client's side or from this host. If it quotes a segment of a kept
 * connection, the quoted sequence number becomes the one that the segment's sender knows. An outer
 * header with options or extensions is not read, nor a quoted one.
 */
SUBPROG int kept_icmp(struct __sk_buff *skb, __u32 l2_len, __u32 ipv6, __u32 to_server)
{
	__u32 at = l2_len + (ipv6 ? 40 : 20), quoted = at + ICMP_HEAD, ip_len = ipv6 ? 40 : 20;
	struct sluice_conn_key key = {};
	struct sluice_kept *k;
	__u8 type, head[20];
	struct {
		__be16 source, dest;
		__be32 seq;
	} tcp;
	__be32 seq;

	if (bpf_skb_load_bytes(skb, at, &type, 1) || !icmp_error(type, ipv6) ||
	    bpf_skb_load_bytes(skb, quoted, head, sizeof(head)) ||
	    head[ipv6 ? 6 : 9] != IPPROTO_TCP || (!ipv6 && head[0] != 0x45) ||
	    bpf_skb_load_bytes(skb, quoted + ip_len, &tcp, sizeof(tcp)))
		return 0;
	/* Who sends an error to the server quotes what the server has sent. */
	key.client_port = to_server ? tcp.dest : tcp.source;
	key.server_port = to_server ? tcp.source : tcp.dest;
	if (!port_protected(key.server_port))
		return 0;
	if (ipv6) {
		bpf_skb_load_bytes(skb, quoted + (to_server ? 24 : 8), key.client_addr, 16);
		bpf_skb_load_bytes(skb, quoted + (to_server ? 8 : 24), key.server_addr, 16);
	} else {
		key.client_addr[10] = key.client_addr[11] = 0xff;
		key.server_addr[10] = key.server_addr[11] = 0xff;
		bpf_skb_load_bytes(skb, quoted + (to_server ? 16 : 12), key.client_addr + 12, 4);
		bpf_skb_load_bytes(skb, quoted + (to_server ? 12 : 16), key.server_addr + 12, 4);
	}
	k = bpf_map_lookup_elem(&kept, &key);
	if (!k || k->hook != hook_of(skb))
		return 0;
	seq = bpf_htonl(to_server ? kept_to_server(k, 0, bpf_ntohl(tcp.seq)).ack
				  : kept_to_client(k, 0, bpf_ntohl(tcp.seq)).ack);
	bpf_l4_csum_replace(skb, at + 2, tcp.seq, seq, 4);
	bpf_skb_store_bytes(skb, quoted + ip_len + 4, &seq, 4, 0);
	return 0;
}

/* A packet of this kind. Nothing else is done with ICMP. */
static __always_inline void on_icmp(struct __sk_buff *skb, bool l2, enum kind kind, bool to_server)
{
	if (kind == PACKET_ICMP)
		kept_icmp(skb, l2 ? ETH_HLEN : 0, skb->protocol == bpf_htons(ETH_P_IPV6),
			  to_server);
}

#endif
