/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * XDP refuses a SYN cheaply, before the kernel makes a packet buffer of it. A SYN is dropped or
 * answered with a RST if every request on its connection would be refused. Everything else passes.
 * requests.bpf.c judges SYNs in the same way where no XDP program runs.
 */
#include "account.h"
#include "forge.h"
#include "verdict.h"

static __always_inline int on_syn(struct xdp_md *xdp, bool generic)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct sluice_service *service;
	struct sluice_settings *set;
	struct forged f = {};
	struct packet p = {};
	struct judging *a;
	struct judgement *j;
	__u8 head[FORGE_HEAD_MAX], mac[6];
	__u32 len, l2;
	__u64 now;

	if (packet_parse(data, end, true, FROM_CLIENT, &p) <= 0 ||
	    (p.flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN || p.fragment ||
	    !packet_length(&p, end - data))
		return XDP_PASS;
	service = packet_service(&p);
	set = get_settings();
	a = get_judging();
	if (!service || !set || !a)
		return XDP_PASS;
	j = &a->judgement;
	now = now_ns(set);
	judge_syn(service, &p.key, now, JUDGING_PACKET);
	/* tc ingress accounts for the other cases (shadow mode, an expired lease), so that they
	 * count once. */
	if (!j->reason || j->shadow || set->stopping || now >= set->lease_until_ns)
		return XDP_PASS;
	account_syn(service, &p, now);
	if (j->action == SLUICE_ACTION_DROP)
		return XDP_DROP;

	f.to_client = 1;
	f.ack = p.seq + 1 + p.payload_len + (p.flags & TCP_FIN ? 1 : 0);
	f.flags = TCP_RST | TCP_ACK;
	len = forge_head(head, NULL, &p.key, p.ipv6, generic && packet_has_pseudo_sum(&p), &f);
	l2 = p.l2_len;
	if (bpf_xdp_adjust_tail(xdp, (int)(l2 + len) - (int)(end - data)))
		return XDP_DROP;
	data = (void *)(long)xdp->data;
	end = (void *)(long)xdp->data_end;
	if (l2 < ETH_HLEN || l2 > L2_MAX || data + ETH_HLEN > end || data + l2 + 40 > end)
		return XDP_DROP;
	__builtin_memcpy(data + l2, head, 40);
	if (p.ipv6) {
		if (data + l2 + 60 > end)
			return XDP_DROP;
		__builtin_memcpy(data + l2 + 40, head + 40, 20);
	}
	__builtin_memcpy(mac, data, 6);
	__builtin_memcpy(data, data + 6, 6);
	__builtin_memcpy(data + 6, mac, 6);
	return XDP_TX;
}

/* Native XDP: frames carry whole checksums, even those that the sender left to its device. */
SEC("xdp.frags")
int gate(struct xdp_md *xdp)
{
	return on_syn(xdp, false);
}

/* Generic XDP: the frame is the kernel's packet, and may have a checksum left to the device. */
SEC("xdp.frags")
int gate_generic(struct xdp_md *xdp)
{
	return on_syn(xdp, true);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
