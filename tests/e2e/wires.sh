# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash disable=SC2034
#
# Topologies other than the veth pair of lib.sh. A case sources lib.sh first. A case with further
# namespaces sets MORE_NAMESPACES before that: lib.sh then removes those of a killed run, too.

# mac NAMESPACE INTERFACE prints its hardware address.
mac() { on "$1" ip -o link show dev "$2" | sed -n 's,.* link/ether \([^ ]*\).*,\1,p'; }

# Gives both ends the addresses of lib.sh.
address_both() {
	on "$S" sh -c "ip addr add $S4/24 dev s0 && ip addr add $S6/64 dev s0 nodad &&
		ip link set s0 up"
	on "$C" sh -c "ip addr add $C4/24 dev c0 && ip addr add $C4B/24 dev c0 &&
		ip addr add $C6/64 dev c0 nodad && ip link set c0 up"
}

# plain NAMESPACE INTERFACE: switches offloads off. No frame is larger than the MTU, and every
# checksum is complete.
plain() { on "$1" ethtool -K "$2" tx off tso off gso off gro off >/dev/null; }

# Puts a namespace $R between both. Only relay.py carries frames between its s1 and c1.
relay_between() {
	local ns

	R=sl-$CASE-r
	ip netns add "$R"
	on "$R" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	on "$S" ip link del s0
	ip link add s0 netns "$S" type veth peer name s1 netns "$R"
	ip link add c0 netns "$C" type veth peer name c1 netns "$R"
	on "$R" sh -c 'ip link set s1 up && ip link set c1 up'
	address_both
	plain "$S" s0
	plain "$C" c0
}

# raw_client ADDRESS…: addresses of packet-socket clients on c0. The server has neighbour entries
# for them, and no kernel answers for them.
raw_client() {
	local address

	for address; do
		on "$S" ip neigh replace "$address" lladdr "$(mac "$C" c0)" nud permanent dev s0
	done
}

# A second link between both hosts: s2 (10.77.1.1, fd77:0:0:4::1) and c2 (10.77.1.2, fd77:0:0:4::2).
second_link() {
	ip link add s2 netns "$S" type veth peer name c2 netns "$C"
	on "$S" sh -c 'ip addr add 10.77.1.1/24 dev s2 &&
		ip addr add fd77:0:0:4::1/64 dev s2 nodad && ip link set s2 up'
	on "$C" sh -c 'ip addr add 10.77.1.2/24 dev c2 &&
		ip addr add fd77:0:0:4::2/64 dev c2 nodad && ip link set c2 up'
}
