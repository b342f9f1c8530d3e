/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the server sends to an address that is not proven yet: its SYN-ACK, or data of a connection
 * that is not in conns. half_open keeps what the client has to acknowledge.
 */
#ifndef SLUICE_BPF_SYN_ACK_H
#define SLUICE_BPF_SYN_ACK_H

#include "kept.h"

/* Notes the last sequence number that left for an address: who acknowledges it receives there. */
static __always_inline void half_open_note(const struct packet *p, __u8 answered, __u32 last,
					   __u16 window, __u32 hook)
{
	struct sluice_half_open half = {.server_seq = last,
					.client_seq = p->ack,
					.answered = answered,
					.wscale = SLUICE_WSCALE_UNKNOWN,
					.s_window = window,
					.s_hook = hook};
	struct sluice_half_open *seen = bpf_map_lookup_elem(&half_open, &p->key);

	if (seen) {
		/* The server acknowledges bytes after the handshake, and the client's segments do
		 * not come by: else the connection would be in conns, if there is room. */
		if (answered == SLUICE_ANSWERED_DATA && seen->answered == SLUICE_ANSWERED_SYN &&
		    seq_diff(p->ack, seen->client_seq) > 0 &&
		    conns_counted(SLUICE_CONNS_ALL) < SLUICE_CONNS_CROWDED(conns_max))
			count(SLUICE_COUNTER_UNSEEN_REQUESTS);
		seen->server_seq = half.server_seq;
		seen->client_seq = half.client_seq;
		seen->s_window = window;
		seen->s_hook = hook;
		if (answered == SLUICE_ANSWERED_SYN || seen->answered < SLUICE_ANSWERED_DATA)
			seen->answered = answered;
	} else if (!bpf_map_update_elem(&half_open, &p->key, &half, BPF_ANY)) {
		count(SLUICE_COUNTER_HALF_OPEN_INSERTS);
	}
}

/*
 * The window of a SYN-ACK as later segments would state it; 0: not known. A SYN-ACK's own is not
 * scaled (RFC 7323 2.2). Stacks in use put the scale last, after a NOP, and none where the client
 * offers none.
 */
SUBPROG int syn_ack_window(struct __sk_buff *skb, const struct packet *p)
{
	__u8 option[4] = {};

	if (!p || p->payload_at < p->tcp_at + 24 ||
	    bpf_skb_load_bytes(skb, p->payload_at - 4, option, 4))
		return 0;
	return option[0] == 1 && option[1] == 3 && option[2] == 3 ? p->window >> (option[3] & 15)
								  : 0;
}

/*
 * The server's SYN-ACK: begins a handshake to be proven, and ends what had this key before. One
 * that comes again, since its acknowledgement was lost or is not enough for the server, ends
 * nothing.
 */
static __always_inline void on_syn_ack(struct __sk_buff *skb, const struct packet *p)
{
	struct sluice_conn *conn = bpf_map_lookup_elem(&conns, &p->key);

	if (conn && conn->s_next == p->seq + 1 && conn->c_next == p->ack)
		return;
	if (conn)
		conn_end(&p->key, conn);
	bpf_map_delete_elem(&tombstones, &p->key);
	bpf_map_delete_elem(&kept, &p->key);
	half_open_note(p, SLUICE_ANSWERED_SYN, p->seq, syn_ack_window(skb, p), hook_of(skb));
}

#endif
