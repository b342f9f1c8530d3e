#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Addresses that are translated on the way to a pod: a published port of the node, and a virtual
# address that is spread over two pods, as kube-proxy does. Packets at a pod's veth carry the pod's
# own address, so both backends are told apart. A service at the virtual address has no server, and
# status says so.
MORE_NAMESPACES="sl-vip-a sl-vip-b"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/pods.sh
. "$HERE/pods.sh"

VIP=10.96.0.10
node
pod a 10
pod b 11
mock_in b
mock_in a
on "$C" ip route add "$VIP/32" via "$S4"
on "$S" nft -f - <<END
table ip translated {
	chain in {
		type nat hook prerouting priority dstnat
		ip daddr $S4 tcp dport 9000 dnat to $A4:$PORT
		ip daddr $VIP tcp dport 80 tcp sport & 2 == 0 dnat to $A4:$PORT
		ip daddr $VIP tcp dport 80 dnat to $B4:$PORT
	}
	chain node {
		type nat hook output priority -100
		ip daddr $S4 tcp dport 9000 dnat to $A4:$PORT
	}
}
END
sluice_on_node --interface va --interface vb --trouble-after-secs 1 \
	--listen "$A4:$PORT" --listen "$B4:$PORT" --listen "$VIP:80"
holds "both pods' veths lead to their servers" \
	"sorted(x['name'] for x in s['interfaces'] if x['leads_to_server']) == ['va', 'vb']"
shut slow "$A4:$PORT"

both_judged() { # SENTENCE NAMESPACE TO
	judged "$1: requests are answered or refused with a whole 429" "$2" "$3" True \
		--requests 40 --concurrency 4 --new-connections
}
both_judged "a published port, from outside" "$C" "$S4:9000"
both_judged "a published port, from the node" "$S" "$S4:9000"

in_pod a >"$T/stats0.json"
in_pod b >"$T/b0.json"
both_judged "a virtual address" "$C" "$VIP:80"
in_pod a >"$T/a.json"
in_pod b >"$T/b.json"
holds "both backends have served some of that" \
	"j('b')['requests_complete'] > j('b0')['requests_complete'] and
	 j('a')['requests_complete'] > j('stats0')['requests_complete']"
holds --within 20 "a service at the virtual address has no server, and only that" \
	"[x['service'] for x in s['trouble_details'] if x['kind'] == 'no-server'] == ['$VIP:80']"
done_here
