#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Path MTU discovery on kept connections: a router between both hosts has a smaller MTU toward the
# client than either end knows. Its ICMP errors quote the client's numbers, and the server's TCP has
# to find its own in them.
MORE_NAMESPACES=sl-keep_mtu-r
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/storms.sh
. "$HERE/storms.sh"

R=${S%-s}-r
ip netns add "$R"
on "$S" ip link del s0
ip link add s0 netns "$S" type veth peer name s1 netns "$R"
ip link add c0 netns "$C" type veth peer name c1 netns "$R"
on "$R" sh -c 'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 &&
	ip addr add 10.77.0.254/32 dev s1 && ip link set s1 up &&
	ip link set c1 mtu 1300 && ip link set c1 up &&
	ip addr add fd77:0:0:5::254/64 dev s1 nodad &&
	ip addr add fd77:0:0:6::254/64 dev c1 nodad &&
	ip route add 10.77.0.1/32 dev s1 && ip route add 10.77.0.2/32 dev c1'
on "$S" sh -c 'ip addr add 10.77.0.1/32 dev s0 && ip link set s0 up &&
	ip addr add fd77:0:0:5::1/64 dev s0 nodad &&
	ip route add 10.77.0.254/32 dev s0 && ip route add 10.77.0.2/32 via 10.77.0.254 &&
	ip route add fd77:0:0:6::/64 via fd77:0:0:5::254'
on "$C" sh -c 'ip addr add 10.77.0.2/32 dev c0 && ip link set c0 up &&
	ip addr add fd77:0:0:6::2/64 dev c0 nodad &&
	ip route add 10.77.0.254/32 dev c0 && ip route add 10.77.0.1/32 via 10.77.0.254 &&
	ip route add fd77:0:0:5::/64 via fd77:0:0:6::254'

begin
ctl block fd77:0:0:6::/64 --model closed >/dev/null

for host in 10.77.0.1 fd77:0:0:5::1; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	before=$(value "k['refusals-kept']")
	check "a long answer after 90 refusals finds its way through a smaller MTU $over" \
		on "$C" "$PY" "$HERE/long_answer.py" "$host" "$PORT"
	holds "the refusals kept their connection $over" "k['refusals-kept'] == $before + 90"
done
done_here
