/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Observes the client's interface, independently of sluice: counts the TCP segments of the test's
 * port by kind. A case can request the loss of the next N answers. The number is exact, so that
 * "lost once" means once.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORT 8000
#define FIN  1
#define SYN  2
#define RST  4

struct seen {
	__u64 syn_out, syn_ack_in, fin_in, fin_out, rst_in, rst_out, lost, in, out;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct seen);
	__uint(max_entries, 1);
} seen SEC(".maps");

/* The number of segments with FIN still to lose. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} to_lose SEC(".maps");

/* The number of data segments without FIN still to lose. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} data_to_lose SEC(".maps");

/* The connections on which the client has sent its FIN, by IP version and port. A server that sent
 * its own FIN twice receives two acknowledgements of it, and answers the second with a RST. That is
 * no reset of a client, and is not counted in `rst_in`. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u32);
	__type(value, __u8);
	__uint(max_entries, 65536);
} closed SEC(".maps");

/* Returns the flags of a TCP segment from or to the port, or -1 for any other packet, and the
 * connection's key in `closed`. Reads IPv4 without options and IPv6 without extension headers: the
 * cases send no others. */
static __always_inline int tcp_flags(struct __sk_buff *skb, __u32 *connection)
{
	__u32 at = ETH_HLEN;
	__be16 ports[2];
	__u8 protocol, flags;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, at + 9, &protocol, 1))
			return -1;
		at += 20;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, at + 6, &protocol, 1))
			return -1;
		at += 40;
	} else {
		return -1;
	}
	if (protocol != IPPROTO_TCP || bpf_skb_load_bytes(skb, at, ports, sizeof(ports)) ||
	    bpf_skb_load_bytes(skb, at + 13, &flags, 1))
		return -1;
	*connection = skb->protocol << 16 | (ports[0] == bpf_htons(PORT) ? ports[1] : ports[0]);
	return ports[0] == bpf_htons(PORT) || ports[1] == bpf_htons(PORT) ? flags : -1;
}

SEC("tc")
int to_client(struct __sk_buff *skb)
{
	__u32 zero = 0, *lose = bpf_map_lookup_elem(&to_lose, &zero);
	__u32 *lose_data = bpf_map_lookup_elem(&data_to_lose, &zero);
	struct seen *s = bpf_map_lookup_elem(&seen, &zero);
	__u32 connection;
	int flags = tcp_flags(skb, &connection);

	if (flags < 0 || !s || !lose || !lose_data)
		return TC_ACT_OK;
	if (flags & FIN && *lose) {
		(*lose)--;
		__sync_fetch_and_add(&s->lost, 1);
		return TC_ACT_SHOT;
	}
	if (*lose_data && !(flags & (FIN | SYN | RST)) && skb->len > ETH_HLEN + 100) {
		(*lose_data)--;
		__sync_fetch_and_add(&s->lost, 1);
		return TC_ACT_SHOT;
	}
	__sync_fetch_and_add(&s->in, 1);
	if (flags & SYN)
		__sync_fetch_and_add(&s->syn_ack_in, 1);
	if (flags & FIN)
		__sync_fetch_and_add(&s->fin_in, 1);
	if (flags & RST && !bpf_map_lookup_elem(&closed, &connection))
		__sync_fetch_and_add(&s->rst_in, 1);
	return TC_ACT_OK;
}

SEC("tc")
int from_client(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct seen *s = bpf_map_lookup_elem(&seen, &zero);
	__u32 connection;
	int flags = tcp_flags(skb, &connection);

	if (flags < 0 || !s)
		return TC_ACT_OK;
	__sync_fetch_and_add(&s->out, 1);
	if (flags & SYN) {
		__sync_fetch_and_add(&s->syn_out, 1);
		bpf_map_delete_elem(&closed, &connection);
	}
	if (flags & FIN) {
		__u8 yes = 1;

		__sync_fetch_and_add(&s->fin_out, 1);
		bpf_map_update_elem(&closed, &connection, &yes, BPF_ANY);
	}
	if (flags & RST)
		__sync_fetch_and_add(&s->rst_out, 1);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
