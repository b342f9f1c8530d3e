/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers at tc. The current packet is cut to its link header and rewritten. First it becomes a
 * RST, and a copy of that goes up to the server's socket. Then it becomes a 429 with FIN, an ACK or
 * a RST, and leaves for the client by the interface that it came in on. The caller gives the
 * sequence numbers. The daemon prepares the 429's parts; reply.h of include/ joins them.
 *
 * The host's end of a pod's veth leads to the server: requests leave there, and responses come in.
 * So the RST leaves by that interface, and the answer goes up into this host's stack.
 */
#ifndef SLUICE_BPF_REPLY_H
#define SLUICE_BPF_REPLY_H

#include <sluice/reply.h>

#include "forge.h"

/* Memory that does not fit the stack. One a CPU: tc ingress and tc egress never use it at the same
 * time. */
struct forge_scratch {
	__u8 text[SLUICE_REPLY_BUFFER];
	__u8 head[FORGE_HEAD_MAX];
	__u32 to_client_now; /* the next packet at tc egress is our answer */
} SLUICE_ALIGNED(8);

/* skb->tc_index of an answer that goes up: it passes the hooks only after others of this CPU. */
enum { OWN_ANSWER = 0x51c1, OWN_KEPT_ANSWER = 0x51c2, OWN_KEPT_PROBE = 0x51c3 };

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

/*
 * The flag of bpf_redirect() that sends a packet towards the server, by the current packet's
 * interface: BPF_F_INGRESS up the stack, 0 out. Towards the client it is the other one.
 */
SUBPROG int way_to_server(struct __sk_buff *skb, const struct packet *p)
{
	struct sluice_server_link link = {.ifindex = skb->ifindex};

	if (!p)
		return BPF_F_INGRESS;
	__builtin_memcpy(link.addr, p->key.server_addr, 16);
	return bpf_map_lookup_elem(&server_links, &link) ? 0 : BPF_F_INGRESS;
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
 * Takes out IP options or extension headers, between IP's fixed header and TCP's. This has to come
 * before the cut in forge(): the kernel cuts no packet shorter than the TCP header's offset that it
 * has noted, nor shorter than a checksum left to the device needs. After an in-band VLAN tag the
 * kernel does not find IP's header, and takes nothing out.
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
 * Rewrites the current packet into `f`. The link header stays as it was. Returns 0 or an error.
 * After an error the packet's content is lost, so the caller has to drop it.
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
	head_len = forge_head(s->head, s->text, &p->key, p->ipv6, packet_partial(skb, p), f);
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

/* Sends `f` to the client by the current packet's interface. Returns the program's verdict. */
static __always_inline int answer_client(struct __sk_buff *skb, struct packet *p, struct forged *f)
{
	struct forge_scratch *s = get_forge_scratch();
	int way = way_to_server(skb, p) ^ BPF_F_INGRESS;

	f->to_client = 1;
	if (!s || forge(skb, p, f))
		return TC_ACT_SHOT;
	swap_ethernet(skb, p);
	/* No tombstone expects a RST at tc egress: the mark would let a packet of the server pass
	 * instead. */
	if (way)
		skb->tc_index = f->kept ? OWN_KEPT_ANSWER : OWN_ANSWER;
	else
		s->to_client_now = !(f->flags & TCP_RST);
	count(SLUICE_COUNTER_FORGED_ANSWERS);
	return bpf_redirect(skb->ifindex, way);
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

static __always_inline struct sluice_reply_head *find_head(const struct sluice_reply_head_key *key)
{
	struct sluice_reply_head_key any = *key;
	struct sluice_reply_head *head = bpf_map_lookup_elem(&reply_heads, &any);

	if (head || !any.origin)
		return head;
	any.origin = 0;
	return bpf_map_lookup_elem(&reply_heads, &any);
}

/* The form of a refusal: a quota of tokens has a type of error of its own in OpenAI's API. */
static __always_inline __u32 find_form(const struct sluice_reply_parts *parts)
{
	__u32 api = parts->api;

	if (api == SLUICE_API_OPENAI && parts->reply.reason == SLUICE_REASON_TOKEN_QUOTA)
		api = SLUICE_API_OPENAI_TOKENS;
	return ((api * 2 + parts->head.unavailable) * 2 + parts->no_retry) * 2 + parts->kept;
}

/* Makes the text of a 429 in the scratch. Returns its length in bytes, 0 if a part is missing. */
SUBPROG __u32 fill_reply(const struct sluice_reply_parts *parts, __u32 retry_after_ms)
{
	struct forge_scratch *s = get_forge_scratch();
	struct sluice_reply_head *head;
	struct sluice_reply_form *form;
	struct sluice_reply *reply;
	__u32 index;

	if (!s || !parts)
		return 0;
	index = find_form(parts);
	head = find_head(&parts->head);
	form = bpf_map_lookup_elem(&reply_forms, &index);
	reply = find_reply(&parts->reply);
	if (!head || !form || !reply)
		return 0;
	return reply_make(s->text, head, reply, form, retry_after_ms);
}

/* Sets the answer's TSval and TSecr: the current packet's own, exchanged (RFC 7323 3.2). */
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
