/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Makes the server of one kept connection send a packet, at which `detach` ends that connection
 * (kept.h). The daemon runs it by BPF_PROG_TEST_RUN, at the interface that translates the
 * connection. The packet has the length of an Ethernet, an IP and a TCP header; after the first, it
 * begins with the connection's key. It becomes a keep-alive probe (RFC 9293 3.8.4): one number
 * before the byte that the server expects next, which any TCP answers by an acknowledgement. So the
 * numbers of both RSTs are the server's own, and they take the way of any packet of the two.
 *
 * Linux 6.1 leaves softirqs on in such a run. So the program uses no scratch of its CPU.
 */
#include "kept.h"

SEC("tc")
int probe(struct __sk_buff *skb)
{
	struct packet p = {.ipv6 = skb->protocol == bpf_htons(ETH_P_IPV6)};
	struct forged f = {.flags = TCP_ACK};
	__u8 head[FORGE_HEAD_MAX];
	struct sluice_conn *conn;
	__u32 len;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &p.key, sizeof(p.key)))
		return TC_ACT_SHOT;
	conn = bpf_map_lookup_elem(&conns, &p.key);
	if (!conn || !(conn->flags & SLUICE_CONN_KEPT))
		return TC_ACT_SHOT;
	f.seq = conn->s_ack - 1;
	f.ack = conn->s_next;
	kept_forged(skb, &p, &f);
	len = forge_head(head, NULL, &p.key, p.ipv6, false, &f);
	if (bpf_skb_store_bytes(skb, 0, conn->link, sizeof(conn->link), 0) ||
	    store_bytes(skb, ETH_HLEN, head, len, FORGE_HEAD_MAX, 0))
		return TC_ACT_SHOT;
	skb->tc_index = OWN_KEPT_PROBE;
	return bpf_clone_redirect(skb, skb->ifindex, way_to_server(skb, &p)) ? TC_ACT_SHOT
									     : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
