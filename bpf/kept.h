/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Kept connections: a request was refused, and the connection went on. The server's TCP knows
 * nothing of the request and of its 429, so each later segment is translated
 * (include/sluice/kept.h): a client's before all else, so that every other part of the programs
 * counts as the server does, and a server's likewise, on its way out.
 *
 * A packet may pass several hooks (a bridge and its port). Only the lowest one of its way
 * translates: the first that a client's packet passes, which is the last of the server's.
 */
#ifndef SLUICE_BPF_KEPT_H
#define SLUICE_BPF_KEPT_H

#include <sluice/kept.h>

#include "conn.h"
#include "reply.h"

#define KEPT_OPTIONS_MAX 40
#define OPTION_SACK      5
#define TIMESTAMPS_ONLY  0x0101080a /* the first word of options that are NOP NOP TS */

struct kept_scratch {
	__u32 at, len;
	__u32 add;     /* to the numbers of SACK blocks */
	__u32 numbers; /* so many of them follow */
	__u8 before[KEPT_OPTIONS_MAX + 24];
	__u8 after[KEPT_OPTIONS_MAX + 24];
} SLUICE_ALIGNED(8);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct kept_scratch);
	__uint(max_entries, 1);
} kept_scratch __weak SEC(".maps");

static __always_inline struct sluice_kept *kept_of(const struct sluice_conn_key *key)
{
	struct sluice_conn_key copy = *key; /* 6.1 takes no part of an argument as a key */

	return bpf_map_lookup_elem(&kept, &copy);
}

/* One step over the options: to the next one, or one number of a SACK block. */
static long kept_option_step(__u32 i, struct kept_scratch **ctx)
{
	struct kept_scratch *s = *ctx;
	__u32 at = s->at, size;
	__u8 kind, *n;

	if (at >= s->len || at >= KEPT_OPTIONS_MAX)
		return 1;
	if (s->numbers) {
		n = s->after + at;
		size = ((__u32)n[0] << 24 | (__u32)n[1] << 16 | (__u32)n[2] << 8 | n[3]) + s->add;
		n[0] = size >> 24;
		n[1] = size >> 16;
		n[2] = size >> 8;
		n[3] = size;
		s->numbers--;
		s->at = at + 4;
		return 0;
	}
	kind = s->before[at];
	if (!kind)
		return 1;
	if (kind == 1) {
		s->at = at + 1;
		return 0;
	}
	size = s->before[at + 1];
	if (size < 2 || at + size > s->len)
		return 1;
	s->numbers = kind == OPTION_SACK ? (size - 2) / 4 : 0;
	s->at = at + (s->numbers ? 2 : size);
	return 0;
}

/* Adds `add` to the numbers of the packet's SACK blocks (RFC 2018). Returns what its checksum
 * gains, `sum` included. */
SUBPROG __u32 kept_options(struct __sk_buff *skb, const struct packet *p, __u32 add, __u32 sum)
{
	struct kept_scratch *s;
	__u32 zero = 0, len;

	s = bpf_map_lookup_elem(&kept_scratch, &zero);
	if (!s || !p)
		return sum;
	len = p->payload_at - p->tcp_at - 20;
	s->at = s->numbers = 0;
	s->len = len;
	s->add = add;
	__builtin_memset(s->before, 0, sizeof(s->before));
	if (load_bytes(skb, p->tcp_at + 20, s->before, len, KEPT_OPTIONS_MAX))
		return sum;
	__builtin_memcpy(s->after, s->before, sizeof(s->after));
	bpf_loop(2 * KEPT_OPTIONS_MAX, kept_option_step, &s, 0);
	if (store_bytes(skb, p->tcp_at + 20, s->after, len, KEPT_OPTIONS_MAX, 0))
		return sum;
	return bpf_csum_diff((void *)s->before, KEPT_OPTIONS_MAX, (void *)s->after,
			     KEPT_OPTIONS_MAX, sum);
}

/*
 * Gives the packet other numbers, and adds `sack` to those of its SACK blocks. Its checksum changes
 * by the difference, in a packet that carries only the pseudo-header's sum not at all; what the
 * device has summed up stays true, since the checksum field makes up for the rest.
 */
SUBPROG int kept_rewrite(struct __sk_buff *skb, struct packet *p, __u32 seq, __u32 ack, __u32 sack)
{
	__be32 old[2], new[2], first = 0;
	__u32 len, sum;

	if (!p || bpf_skb_load_bytes(skb, p->tcp_at + 4, old, 8))
		return 0;
	new[0] = bpf_htonl(seq);
	new[1] = bpf_htonl(ack);
	len = p->payload_at - p->tcp_at - 20;
	sum = bpf_csum_diff(old, 8, new, 8, 0);
	if (len)
		bpf_skb_load_bytes(skb, p->tcp_at + 20, &first, 4);
	if (len && (len != 12 || first != bpf_htonl(TIMESTAMPS_ONLY)))
		sum = kept_options(skb, p, sack, sum);
	bpf_l4_csum_replace(skb, p->tcp_at + 16, 0, sum, 0);
	bpf_skb_store_bytes(skb, p->tcp_at + 4, new, 8, 0);
	bpf_skb_load_bytes(skb, p->tcp_at + 16, &p->check, 2);
	return 0;
}

/* Sends the pending 429, whose text is in the scratch and whose timestamps are in f, to the client.
 * Returns the program's verdict. */
static __always_inline int kept_send(struct __sk_buff *skb, struct packet *p,
				     const struct sluice_kept *k, struct forged *f)
{
	f->text_len = kept_reply_end(k) - k->reply_at;
	f->seq = k->reply_at;
	f->ack = kept_request_end(k);
	f->window = k->window;
	f->flags = TCP_ACK | TCP_PSH;
	f->kept = 1;
	return answer_client(skb, p, f);
}

/* Sends the pending 429 to the client once more. Returns the program's verdict. */
SUBPROG int kept_answer(struct __sk_buff *skb, struct packet *p, struct sluice_kept *k)
{
	struct forged f = {};

	if (!p || !k)
		return TC_ACT_SHOT;
	answer_timestamps(skb, p, &f);
	if (k->reply_at + fill_reply(&k->parts, k->retry_after_ms) != kept_reply_end(k))
		return TC_ACT_SHOT; /* a part of it has changed */
	return kept_send(skb, p, k, &f);
}

/* The numbers of a segment that is forged for the server, and passes kept_arrives() at this hook.
 */
SUBPROG int kept_forged(struct __sk_buff *skb, const struct packet *p, struct forged *f)
{
	struct sluice_kept *k;

	if (!p || !f)
		return 0;
	k = kept_of(&p->key);
	if (!k || k->hook != hook_of(skb))
		return 0;
	f->seq += kept_client(k->more);
	if (f->flags & TCP_ACK)
		f->ack += kept_server(k->more);
	return 0;
}

/*
 * Sends a RST at exactly `seq` to the server's socket. It is a copy: the current packet is
 * rewritten but stays. Where it leaves, it passes this very program meanwhile, and *p describes the
 * RST afterwards. Returns 0 or an error.
 */
static __always_inline int reset_server(struct __sk_buff *skb, struct packet *p, __u32 seq)
{
	struct forged f = {.seq = seq, .flags = TCP_RST};

	kept_forged(skb, p, &f);
	if (forge(skb, p, &f))
		return -1;
	return bpf_clone_redirect(skb, skb->ifindex, way_to_server(skb, p));
}

/*
 * What a server's packet is: one that goes on, with the client's numbers if its connection is kept;
 * the pending 429 itself or a RST of our own, which passes; or bytes from before and after that 429
 * in one piece, which have no place in the client's stream. The server has not had the client's
 * acknowledgement then, and repeats them.
 */
enum kept_leaving { KEPT_GOES_ON, KEPT_REPLY, KEPT_STRADDLES };

/* Whether `detach` has waited long enough for kept connections to end. */
static __always_inline bool kept_ends(void)
{
	const struct sluice_settings *set = get_settings();

	return set && set->stopping == SLUICE_STOPPING_KEPT;
}

/*
 * Ends a kept connection at a client's packet: resets both ends, the client at exactly the number
 * that it acknowledges. If the server expects another number than the packet's, it acknowledges
 * that, and kept_end_server() resets it. Returns the program's verdict.
 */
SUBPROG int kept_end_client(struct __sk_buff *skb, struct packet *p, struct sluice_kept *k)
{
	struct forged f = {.flags = TCP_RST, .kept = 1};
	struct forge_scratch *s = get_forge_scratch();
	int verdict;

	if (!p || !k || !s || !(p->flags & TCP_ACK))
		return TC_ACT_SHOT;
	f.seq = p->ack;
	__sync_fetch_and_or(&k->flags, SLUICE_KEPT_ENDED);
	reset_server(skb, p, kept_to_server(k, p->seq, p->ack).seq);
	verdict = answer_client(skb, p, &f);
	s->to_client_now = 1; /* where it does not go up */
	return verdict;
}

/* … at a server's packet, which becomes the RST for the client. Returns enum kept_leaving. */
SUBPROG int kept_end_server(struct __sk_buff *skb, struct packet *p, struct sluice_kept *k)
{
	struct forged f = {.flags = TCP_RST, .to_client = 1};

	if (!p || !k || !(p->flags & TCP_ACK))
		return KEPT_STRADDLES;
	f.seq = kept_to_client(k, p->seq, p->ack).seq;
	__sync_fetch_and_or(&k->flags, SLUICE_KEPT_ENDED);
	swap_ethernet(skb, p);
	if (reset_server(skb, p, p->ack))
		return KEPT_STRADDLES;
	swap_ethernet(skb, p);
	return forge(skb, p, &f) ? KEPT_STRADDLES : KEPT_REPLY;
}

/*
 * A client's packet of a kept connection: translates it, or repeats the pending 429, or ends the
 * connection. A client that has space for no byte of the 429 would acknowledge the same part at
 * once, and so for ever: it gets no answer. Returns the program's verdict, or TC_ACT_UNSPEC if the
 * packet goes on; its numbers are the server's then.
 */
SUBPROG int kept_arrives(struct __sk_buff *skb, struct packet *p, __u64 now)
{
	struct kept_numbers n;
	struct sluice_kept *k;
	__u32 flags;

	if (!p)
		return TC_ACT_UNSPEC;
	k = kept_of(&p->key);
	if (!k || k->hook != hook_of(skb))
		return TC_ACT_UNSPEC;
	k->last_seen_ns = now;
	if (!(p->flags & TCP_RST) && skb->tc_index != OWN_KEPT_PROBE && kept_ends())
		return kept_end_client(skb, p, k);
	flags = k->flags;
	barrier();
	if (flags & SLUICE_KEPT_PENDING) {
		__u32 ack = p->flags & TCP_ACK ? p->ack : k->reply_at;
		__u32 len = p->payload_len + (p->flags & TCP_FIN);

		if (!kept_acknowledge(k, flags, ack) && !(p->flags & TCP_RST) &&
		    kept_repeats(k, ack, len))
			return len || p->window ? kept_answer(skb, p, k) : TC_ACT_SHOT;
	}
	p->kept = 1;
	n = kept_to_server(k, p->seq, p->ack);
	p->seq = n.seq;
	if (p->flags & TCP_ACK)
		p->ack = n.ack;
	kept_rewrite(skb, p, p->seq, p->ack, -kept_server(k->more));
	return TC_ACT_UNSPEC;
}

/* A server's packet, which may be of a kept connection: translates it. *p keeps the server's
 * numbers. Returns enum kept_leaving. */
SUBPROG int kept_leaves(struct __sk_buff *skb, struct packet *p)
{
	struct forge_scratch *s = get_forge_scratch();
	struct kept_numbers n;
	struct sluice_kept *k;

	if (!p || !s)
		return KEPT_GOES_ON;
	k = kept_of(&p->key);
	if (!k || k->hook != hook_of(skb))
		return KEPT_GOES_ON;
	if (skb->tc_index == OWN_KEPT_ANSWER)
		return KEPT_REPLY;
	if (kept_ends()) {
		if (!(p->flags & TCP_RST))
			return kept_end_server(skb, p, k);
		if (s->to_client_now) {
			s->to_client_now = 0;
			return KEPT_REPLY;
		}
	}
	if (s->to_client_now && k->flags & SLUICE_KEPT_PENDING && p->seq == k->reply_at &&
	    p->payload_len) {
		s->to_client_now = 0;
		return KEPT_REPLY;
	}
	n = kept_to_client(k, p->seq, p->ack);
	if (k->flags & SLUICE_KEPT_PENDING && kept_before(n.seq, k->reply_at) &&
	    kept_before(k->reply_at, n.seq + p->payload_len))
		return KEPT_STRADDLES;
	kept_rewrite(skb, p, n.seq, p->flags & TCP_ACK ? n.ack : p->ack, kept_client(k->more));
	return KEPT_GOES_ON;
}

#endif
