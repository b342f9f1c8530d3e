#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A pod with a second interface, as Multus gives one: the service's address is on the first, on the
# second or on both. The second is the end of a veth pair of the host, of another pod, or a macvlan
# without an end on the host. Each request is judged, or status says which pass unseen.
MORE_NAMESPACES="sl-multus-a sl-multus-b"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/pods.sh
. "$HERE/pods.sh"

on_node() { sluice_on_node --trouble-after-secs 1 "${@/#/--listen=}"; }
pod_judged() { # SENTENCE NAMESPACE TO CLIENT
	block_slow "$2" "$3:$PORT" "$4" --plain
	judged "$1" "$2" "$3:$PORT" True --plain --requests 60 --concurrency 12
}
second() { # POD NUMBER: an interface net1 at the node's bridge br1
	ip link add "n$1" netns "$S" type veth peer name net1 netns "sl-$CASE-$1"
	on "$S" sh -c "ip link set n$1 master br1 && ip link set n$1 up"
	on "sl-$CASE-$1" sh -c "ip addr add 10.89.0.$2/24 dev net1 && ip link set net1 up"
}

node
pod a 10
pod b 11
mock_in a

# ---- a veth ----

on "$S" sh -c 'ip link add br1 type bridge && ip addr add 10.89.0.1/24 dev br1 && ip link set br1 up
	sysctl -qw net.ipv4.conf.all.rp_filter=0'
on "$C" ip route add 10.89.0.0/24 via "$S4"
second a 10
second b 11
for to in 10.89.0.10 "$A4"; do
	on_node 10.89.0.10:$PORT "$A4:$PORT" "[$A6]:$PORT"
	pod_judged "services at both: $to, from outside" "$C" "$to" "$C4"
	pod_judged "… from the node" "$S" "$to" 10.8${to:4:1}.0.1
	pod_judged "… from another pod" "$B_POD" "$to" 10.8${to:4:1}.0.11
	holds "both interfaces lead to the server, and no trouble is said" "$kinds == [] and
		{x['name'] for x in s['interfaces'] if x['leads_to_server']} == {'va', 'na'}"
	sluice_off
done
on_node 10.89.0.10:$PORT "[$A6]:$PORT"
pod_judged "a service at the second and not the first" "$C" 10.89.0.10 "$C4"
says other-address "its server has the address $A4, too"
sluice_off
on_node 10.89.0.10:$PORT "[$A6]:$PORT" "$A4:$PORT"
holds --within 20 "… and nothing more once a service has it" "$kinds == []"
sluice_off
on "$S" ip link del na
on "$S" ip link del nb

# ---- a veth between two pods ----

ip link add net1 netns "$A" type veth peer name net1 netns "$B_POD"
on "$A" sh -c "ip addr add 10.90.0.10/24 dev net1 && ip link set net1 up"
on "$B_POD" sh -c "ip addr add 10.90.0.11/24 dev net1 && ip link set net1 up"
on_node 10.90.0.10:$PORT "[$A6]:$PORT" "$A4:$PORT"
says no-server "its server has this address on an interface that has no end on this host"
sluice_off
on "$A" ip link del net1

# ---- a macvlan ----

for pod in "a 20" "b 21"; do
	on "$S" ip link add "mv${pod% *}" link s0 type macvlan mode bridge
	ip -n "$S" link set "mv${pod% *}" netns "sl-$CASE-${pod% *}"
	on "sl-$CASE-${pod% *}" sh -c "ip addr add 10.77.0.${pod#* }/24 dev mv${pod% *} &&
		ip link set mv${pod% *} up"
done
on_node 10.77.0.20:$PORT "[$A6]:$PORT" "$A4:$PORT"
pod_judged "a macvlan, from outside" "$C" 10.77.0.20 "$C4"
says no-server "its server has this address on an interface that has no end on this host"
sluice_off
on_node "[$A6]:$PORT" "$A4:$PORT"
says other-address "its server has the address 10.77.0.20, too"
done_here
