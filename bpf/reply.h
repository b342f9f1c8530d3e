/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers at tc. The packet at hand is cut to its link header and rewritten: into a RST up to the
 * server's socket (on a copy), then into a 429 with FIN, an ACK or a RST back to the client, by the
 * way that it came. Sequence numbers are the caller's; the 429's text is a template of the daemon's
 * with numbers filled in.
 */
#ifndef SLUICE_BPF_REPLY_H
#define SLUICE_BPF_REPLY_H

#include "forge.h"

/* What is too large for the stack; per CPU, used by tc ingress and (never at the same time) tc
 * egress. */
struct forge_scratch {
	__u8 text[SLUICE_REPLY_MAX + SLUICE_REPLY_TAIL_MAX + 32];
	__u8 head[FORGE_HEAD_MAX];
	__u32 to_client_now; /* the packet about to pass tc egress is ours */
} SLUICE_ALIGNED(8);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct forge_scratch);
	__uint(max_entries, 1);
} forge_scratch __weak SEC(".maps");

static __always_inline struct forge_scratch *get_forge_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&forge_scratch, &zero);
}

/* Exchanges source and destination of the Ethernet header; nothing on interfaces without one. */
static __always_inline void swap_ethernet(struct __sk_buff *skb, const struct packet *p)
{
	__u8 mac[12], swapped[12];

	if (!p->l2_len || bpf_skb_load_bytes(skb, 0, mac, 12))
		return;
	__builtin_memcpy(swapped, mac + 6, 6);
	__builtin_memcpy(swapped + 6, mac, 6);
	bpf_skb_store_bytes(skb, 0, swapped, 12, BPF_F_RECOMPUTE_CSUM);
}

/*
 * Takes out what stands between IP's header and TCP's. The kernel cuts nothing above the TCP header
 * that it knows of, nor above a checksum left to the device, and goes on counting from there.
 * Behind a VLAN tag that is in the packet it does not know IP's header and takes nothing out.
 */
static __always_inline void close_up(struct __sk_buff *skb, struct packet *p)
{
	__u32 between = p->tcp_at - p->l2_len - (p->ipv6 ? 40 : 20);

	if (!between || bpf_skb_adjust_room(skb, -(__s32)between, BPF_ADJ_ROOM_NET,
					    BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return;
	p->tcp_at -= between;
	p->payload_at -= between;
}

/*
 * Makes the packet at hand into `f`. 0, or an error before anything irrevocable but the packet's
 * old content; the packet then has to be dropped. The link header stays as it was.
 */
SUBPROG int forge(struct __sk_buff *skb, struct packet *p, const struct forged *f)
{
	struct forge_scratch *s = get_forge_scratch();
	__u32 head_len, text_len, l2;

	if (!s || !p || !f)
		return -1;
	text_len = f->text_len;
	l2 = p->l2_len;
	if (l2 > L2_MAX || text_len > SLUICE_REPLY_MAX)
		return -1;
	head_len = forge_head(s->head, s->text, &p->key, p->ipv6, packet_partial(p), f);
	close_up(skb, p);
	if (bpf_skb_change_tail(skb, l2 + head_len + text_len, 0))
		return -1;
	if (store_bytes(skb, l2, s->head, head_len, FORGE_HEAD_MAX, BPF_F_RECOMPUTE_CSUM))
		return -1;
	if (text_len && store_bytes(skb, l2 + head_len, s->text, text_len, SLUICE_REPLY_MAX,
				    BPF_F_RECOMPUTE_CSUM))
		return -1;
	return 0;
}

/* Sends a RST at exactly `seq` to the server's socket, on a copy: the packet at hand is rewritten
 * but stays. */
static __always_inline int reset_server(struct __sk_buff *skb, struct packet *p, __u32 seq)
{
	struct forged f = {.seq = seq, .flags = TCP_RST};

	if (forge(skb, p, &f))
		return -1;
	return bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS);
}

/* Sends `f` to the client by the way that the packet at hand came: the program's return value. */
static __always_inline int answer_client(struct __sk_buff *skb, struct packet *p, struct forged *f)
{
	struct forge_scratch *s = get_forge_scratch();

	f->to_client = 1;
	if (!s || forge(skb, p, f))
		return TC_ACT_SHOT;
	swap_ethernet(skb, p);
	/* No tombstone waits for a RST at tc egress: the mark would vouch for a server's packet
	 * instead. */
	s->to_client_now = !(f->flags & TCP_RST);
	count(SLUICE_COUNTER_FORGED_ANSWERS);
	return bpf_redirect(skb->ifindex, 0);
}

/* Writes n in decimal to `at`, returns its digits, 1 … 10. */
static __always_inline __u32 write_number(__u8 *at, __u32 n)
{
	__u32 digits = 1, power = 10;

#pragma unroll
	for (int i = 0; i < SLUICE_NUMBER_WIDTH - 1; i++) {
		digits += n >= power;
		power *= 10;
	}
	for (int i = SLUICE_NUMBER_WIDTH - 1; i >= 0; i--) {
		if (i < (int)digits) {
			at[i] = '0' + n % 10;
			n /= 10;
		}
	}
	return digits;
}

static __always_inline struct sluice_reply *find_reply(const struct sluice_reply_key *key)
{
	struct sluice_reply_key any = *key;
	struct sluice_reply *reply = bpf_map_lookup_elem(&replies, &any);

	if (reply)
		return reply;
	any.model = SLUICE_MODEL_ALL;
	return bpf_map_lookup_elem(&replies, &any);
}

/* Whole seconds told for a wait of ms, at least 1. */
static __always_inline __u32 whole_seconds(__u32 ms)
{
	__u32 s = ms / 1000 + (ms % 1000 != 0);

	return s ? s : 1;
}

/* A place in the text, bounded where it is used: 6.1 forgets what was tested on another register.
 */
static __always_inline __u64 text_offset(__u64 at)
{
	at = scan_opaque(at);
	return at > SLUICE_REPLY_MAX ? SLUICE_REPLY_MAX : at;
}

/*
 * Makes the text of a 429 in the scratch, with its numbers. Returns its length in bytes, 0 if there
 * is none. The same key and wait give the same bytes, so that what is sent again is the same.
 */
SUBPROG __u32 fill_reply(const struct sluice_reply_key *key, __u32 retry_after_ms)
{
	struct forge_scratch *s = get_forge_scratch();
	__u32 seconds_at, ms_at, message_at, reset_at, len, digits;
	struct sluice_reply *reply;

	if (!s || !key)
		return 0;
	reply = find_reply(key);
	if (!reply)
		return 0;
	seconds_at = reply->seconds_at;
	ms_at = reply->ms_at;
	message_at = reply->message_at;
	reset_at = reply->reset_at;
	len = reply->len;
	if (len > SLUICE_REPLY_MAX || seconds_at > SLUICE_REPLY_MAX || ms_at > SLUICE_REPLY_MAX ||
	    message_at > SLUICE_REPLY_MAX || reset_at > SLUICE_REPLY_MAX ||
	    len != message_at + SLUICE_NUMBER_WIDTH + SLUICE_REPLY_TAIL_MAX)
		return 0;
	__builtin_memcpy(s->text, reply->text, SLUICE_REPLY_MAX);
	write_number(s->text + text_offset(seconds_at), whole_seconds(retry_after_ms));
	write_number(s->text + text_offset(ms_at), retry_after_ms);
	if (reset_at)
		write_number(s->text + text_offset(reset_at), whole_seconds(retry_after_ms));
	digits = write_number(s->text + text_offset(message_at), whole_seconds(retry_after_ms));
	if (digits > SLUICE_NUMBER_WIDTH)
		return 0;
	__builtin_memcpy(s->text + text_offset(message_at) + digits, reply->tail,
			 SLUICE_REPLY_TAIL_MAX);
	return len;
}

/* TSval and TSecr for an answer to the packet at hand: its own, exchanged (RFC 7323 3.2). */
SUBPROG int answer_timestamps(struct __sk_buff *skb, const struct packet *p, struct forged *f)
{
	struct timestamps t;

	if (!p || !f || !packet_timestamps(skb, p, &t))
		return 0;
	f->with_timestamps = 1;
	f->timestamps.val = t.ecr;
	f->timestamps.ecr = t.val;
	return 0;
}

#endif
