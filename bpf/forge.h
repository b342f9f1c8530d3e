/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Forges the headers of an answer, for XDP and tc alike: IP and TCP from nothing, with their
 * checksums.
 *
 * A packet that starts on this host may carry only the pseudo-header's sum (CHECKSUM_PARTIAL). Then
 * the answer carries only that sum, too: it is the same skb, so the kernel or the device completes
 * the answer's checksum just the same.
 */
#ifndef SLUICE_BPF_FORGE_H
#define SLUICE_BPF_FORGE_H

#include "count.h"
#include "packet.h"

#define FORGE_TTL      64
#define FORGE_WINDOW   65535
#define FORGE_HEAD_MAX (40 + 20 + 12)

/* A segment to send. Its text, if any, is in the scratch, with zeros after it up to
 * SLUICE_REPLY_MAX. */
struct forged {
	__u32 seq, ack;
	__u16 text_len;
	__u16 window; /* 0: wide */
	__u8 flags;   /* TCP_… */
	__u8 to_client;
	__u8 with_timestamps;
	__u8 kept;                    /* the 429 of a kept connection */
	struct timestamps timestamps; /* in the byte order of the option */
};

/*
 * Makes the IP and TCP headers of `f` in head[]. Returns their length in bytes. `key` names the
 * ends. `partial`: the checksum is the pseudo-header's sum only. `text`: the scratch's, or NULL.
 */
static __always_inline __u32 forge_head(__u8 head[FORGE_HEAD_MAX], const __u8 *text,
					const struct sluice_conn_key *key, bool ipv6, bool partial,
					const struct forged *f)
{
	__u32 tcp_len = 20 + (f->with_timestamps ? 12 : 0), ip_len = ipv6 ? 40 : 20;
	const __u8 *from = f->to_client ? key->server_addr : key->client_addr;
	const __u8 *to = f->to_client ? key->client_addr : key->server_addr;
	struct tcphdr *tcp = (void *)head + ip_len;
	__u64 sum;

	__builtin_memset(head, 0, FORGE_HEAD_MAX);
	if (ipv6) {
		struct ipv6hdr *ip = (void *)head;

		ip->version = 6;
		ip->payload_len = bpf_htons(tcp_len + f->text_len);
		ip->nexthdr = IPPROTO_TCP;
		ip->hop_limit = FORGE_TTL;
		__builtin_memcpy(&ip->saddr, from, 16);
		__builtin_memcpy(&ip->daddr, to, 16);
	} else {
		struct iphdr *ip = (void *)head;

		ip->version = 4;
		ip->ihl = 5;
		ip->tot_len = bpf_htons(ip_len + tcp_len + f->text_len);
		ip->frag_off = bpf_htons(0x4000);
		ip->ttl = FORGE_TTL;
		ip->protocol = IPPROTO_TCP;
		__builtin_memcpy(&ip->saddr, from + 12, 4);
		__builtin_memcpy(&ip->daddr, to + 12, 4);
		ip->check = ~csum_fold(bpf_csum_diff(NULL, 0, (void *)ip, 20, 0));
	}
	tcp->source = f->to_client ? key->server_port : key->client_port;
	tcp->dest = f->to_client ? key->client_port : key->server_port;
	tcp->seq = bpf_htonl(f->seq);
	tcp->ack_seq = bpf_htonl(f->ack);
	tcp->doff = tcp_len / 4;
	((__u8 *)tcp)[13] = f->flags;
	tcp->window = f->flags & TCP_RST ? 0 : bpf_htons(f->window ?: FORGE_WINDOW);
	if (f->with_timestamps) {
		__u8 *opt = (__u8 *)(tcp + 1);

		opt[0] = opt[1] = 1;
		opt[2] = 8;
		opt[3] = 10;
		__builtin_memcpy(opt + 4, &f->timestamps, 8);
	}
	sum = pseudo_sum(key, ipv6, tcp_len + f->text_len);
	if (partial) {
		tcp->check = csum_fold(sum);
	} else {
		sum += (__u32)bpf_csum_diff(NULL, 0, (void *)tcp, 32, 0);
		if (f->text_len && text) {
			sum += (__u32)bpf_csum_diff(NULL, 0, (void *)text, SLUICE_REPLY_MAX / 2, 0);
			sum += (__u32)bpf_csum_diff(NULL, 0, (void *)(text + SLUICE_REPLY_MAX / 2),
						    SLUICE_REPLY_MAX / 2, 0);
		}
		tcp->check = ~csum_fold(sum);
	}
	return ip_len + tcp_len;
}

#endif
