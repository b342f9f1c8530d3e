#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Ways to a server that pass sluice by, or in part: requests pass, and status says so. A CNI that
# hands packets into the pod past the host's end of its veth; a pod with a route of its own that is
# the client of the node's server; macvlan pods, which reach each other past the parent interface. A
# veth that is renamed is no such way.
MORE_NAMESPACES="sl-ways-a sl-ways-b sl-ways-m sl-ways-n"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/pods.sh
. "$HERE/pods.sh"

M=sl-ways-m M4=10.77.0.20 N=sl-ways-n N4=10.77.0.21
node
pod a 10
pod b 11
mock_in a

load_from() { # NAMESPACE ADDRESS OPTION…: until it is ended
	start load "$1" "$B/loadgen" --connect "$2:$PORT" --model open --concurrency 2 \
		--duration 3000 "${@:3}"
	LOAD=$PID
}
on_node() { sluice_on_node --trouble-after-secs 1 "${@/#/--listen=}"; }
says() { # KIND TEXT: status says so within a few seconds
	holds --within 10 "$1: $2" "any(x['kind'] == '$1' and '$2' in x['text']
		for x in s['trouble_details'])"
}
admits() { # SENTENCE
	local before

	before=$(value "r['admitted']")
	holds --within 10 "$1" "r['admitted'] > $before + 20 and s['trouble_details'] == []"
}

on_node "$A4:$PORT" "[$A6]:$PORT"
load_from "$B_POD" "$A4" --new-connections
admits "requests of another pod are judged"
on "$S" ip link set va name vx
admits "… and when the host's end of the veth is renamed"
holds "… which status names as it is called now" "'vx' in [x['name'] for x in s['interfaces']]"

cat >"$T/peer.c" <<'END'
	#include <linux/bpf.h>
	#include <linux/pkt_cls.h>
	#include <bpf/bpf_helpers.h>
	__attribute__((section("tc"), used)) int peer(struct __sk_buff *skb)
	{
		unsigned to;

		if (bpf_skb_load_bytes(skb, 30, &to, 4) || to != TO)
			return TC_ACT_UNSPEC;
		return bpf_redirect_peer(BY, 0);
	}
	char name[] __attribute__((section("license"), used)) = "GPL";
END
BY=$(on "$S" ip -o link show vx)
clang -O2 -g -target bpf -I"/usr/include/$(gcc -print-multiarch)" -DBY="${BY%%:*}" \
	-DTO="__builtin_bswap32(0x0a58000a)" -c "$T/peer.c" -o "$T/peer.o"
on "$S" sh -c "tc qdisc add dev vb clsact &&
	tc filter add dev vb ingress bpf da obj $T/peer.o sec tc"
says requests-unseen "sluice sees responses to a client and not its requests"
on "$S" tc qdisc del dev vb clsact
admits "they are judged again when they come by there again"
finish "$LOAD"
sluice_off
finish "$MOCK"

start routed "$S" "$B/mock_server" --listen "0.0.0.0:$PORT" --model open,tokens=3,slots=64
MOCK=$PID
await_line routed ready "$MOCK"
on "$S" sh -c "ip link set vb nomaster && ip route add $B4/32 dev vb &&
	sysctl -qw net.ipv4.conf.vb.proxy_arp=1 net.ipv4.conf.all.rp_filter=0 \
		net.ipv4.conf.vb.rp_filter=0"
on_node "$S4:$PORT"
load_from "$B_POD" "$S4"
says unseen "attach to the interface by which $B4 comes"
finish "$LOAD"
sluice_off
finish "$MOCK"

for pod in "$M $M4 v0" "$N $N4 v1"; do
	read -r ns addr name <<<"$pod"
	ip netns add "$ns"
	on "$S" ip link add "$name" link s0 type macvlan mode bridge
	ip -n "$S" link set "$name" netns "$ns"
	on "$ns" sh -c "ip link set lo up && ip addr add $addr/24 dev $name && ip link set $name up"
done
start macvlan "$M" "$B/mock_server" --listen "0.0.0.0:$PORT" --model open,tokens=3,slots=64
await_line macvlan ready "$PID"
on_node "$M4:$PORT"
load_from "$N" "$M4"
says no-server "no server with this address is found on this host"
done_here
