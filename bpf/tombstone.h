/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A tombstone replaces a refused connection until both ends have forgotten it. To the client it
 * plays the server: it answers with the same 429 until the client acknowledges that, so the
 * client's retransmissions make the 429 reliable. After that it acknowledges the client's bytes and
 * FIN. To the server it plays a client that is gone: it drops the server's packets and answers each
 * with a RST at its acknowledgement number, in case the first RST missed.
 *
 * While bytes of the server are in flight, the 429 follows after them in sequence, and the client's
 * own bytes stay unacknowledged. So the client retransmits, and its acknowledgement number then
 * shows whether the server's bytes have arrived. If they have not after RETRIES_MAX
 * retransmissions, they are lost, and the tombstone resets the client.
 */
#ifndef SLUICE_BPF_TOMBSTONE_H
#define SLUICE_BPF_TOMBSTONE_H

#include "kept.h"

#define RETRIES_MAX 3

/* Answers the current packet with the 429; its timestamps are in f already. */
static __always_inline int answer_429(struct __sk_buff *skb, struct packet *p,
				      const struct sluice_tombstone *t, struct forged *f)
{
	f->text_len = fill_reply(&t->parts, t->retry_after_ms);
	f->seq = t->reply_seq;
	f->ack = seq_diff(t->c_ack, t->reply_seq) < 0 ? t->rst_seq : t->c_end;
	f->flags = TCP_ACK | TCP_PSH | TCP_FIN;
	if (t->reply_end != t->reply_seq + f->text_len + 1)
		return TC_ACT_SHOT; /* a part of it has changed; the tombstone ages out */
	return answer_client(skb, p, f);
}

/* A client's segment to a tombstone. */
SUBPROG int tombstone_from_client(struct __sk_buff *skb, struct packet *p,
				  struct sluice_tombstone *t, __u64 now)
{
	struct sluice_conn_key key;
	struct forged f = {};
	bool again, was_acked;
	__u32 fin, end;

	if (!p || !t)
		return TC_ACT_UNSPEC;
	key = p->key;
	fin = p->flags & TCP_FIN ? 1 : 0;
	end = p->seq + p->payload_len + fin;
	again = seq_diff(end, t->c_end) <= 0;
	was_acked = t->flags & SLUICE_TOMBSTONE_ACKED;
	if (p->flags & TCP_RST) {
		/* Our own RST passes here on its way to the server. The client's RST ends the
		 * tombstone, and passes, too. */
		if (seq_diff(p->seq, t->rst_seq) > 0)
			bpf_map_delete_elem(&tombstones, &key);
		return TC_ACT_UNSPEC;
	}
	t->last_seen_ns = now;
	if (p->flags & TCP_ACK && seq_diff(p->ack, t->c_ack) > 0 &&
	    seq_diff(p->ack, t->reply_end) <= 0)
		t->c_ack = p->ack;
	if (t->c_ack == t->reply_end)
		t->flags |= SLUICE_TOMBSTONE_ACKED;
	if (!again)
		t->c_end = end;

	answer_timestamps(skb, p, &f);
	if (t->flags & SLUICE_TOMBSTONE_ACKED) {
		bool owed = !was_acked && t->flags & SLUICE_TOMBSTONE_DEFERRED;

		if (!p->payload_len && !fin && !owed)
			return TC_ACT_SHOT;
		f.seq = t->reply_end;
		f.ack = t->c_end;
		f.flags = TCP_ACK;
		return answer_client(skb, p, &f);
	}
	if (!p->payload_len && !fin)
		return TC_ACT_SHOT;
	if (seq_diff(t->c_ack, t->reply_seq) < 0 && again && ++t->retries > RETRIES_MAX) {
		count(SLUICE_COUNTER_REPLIES_LOST);
		f.seq = t->c_ack;
		f.flags = TCP_RST;
		bpf_map_delete_elem(&tombstones, &key);
		return answer_client(skb, p, &f);
	}
	return answer_429(skb, p, t, &f);
}

/* A packet to the client of a tombstone: our own answer passes, a packet of the server does not. */
SUBPROG int tombstone_from_server(struct __sk_buff *skb, struct packet *p,
				  struct sluice_tombstone *t)
{
	struct forge_scratch *s = get_forge_scratch();
	struct forged f = {.flags = TCP_RST};

	if (!s || !p || !t)
		return TC_ACT_UNSPEC;
	f.seq = p->ack;
	if (skb->tc_index == OWN_ANSWER)
		return TC_ACT_UNSPEC;
	if (s->to_client_now) {
		s->to_client_now = 0;
		if (p->seq == t->reply_seq || p->seq == t->reply_end)
			return TC_ACT_UNSPEC;
	}
	count(SLUICE_COUNTER_SWALLOWED);
	kept_forged(skb, p, &f);
	if (p->flags & TCP_RST || !(p->flags & TCP_ACK) || forge(skb, p, &f))
		return TC_ACT_SHOT;
	swap_ethernet(skb, p);
	return bpf_redirect(skb->ifindex, way_to_server(skb, p));
}

#endif
