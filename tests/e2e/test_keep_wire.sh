#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Kept connections on any wire (invariant 4): with timestamps, SACK and offloads on and off, with
# small and large MTUs, each byte is as it was sent, no connection ends, each checksum is right.
# CONNECTIONS=154 makes it 2,000 connections.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/storms.sh
. "$HERE/storms.sh"

begin
# how: timestamps, SACK, offload of the server and of the client, MTU; the sizes of body and answer
for how in "1 1 on on 1500 2000 2000" "0 1 off on 1500 400 2000" "1 0 on off 9000 2000 2000" \
	"0 0 on on 9000 3000 9000" "0 1 on on 65535 2000 20000" "1 1 off off 1280 200 4000" \
	"0 1 on off 576 100 1000" "1 0 off off 576 100 1000"; do
	read -r timestamps sack tx_s tx_c mtu body more <<<"$how"
	for ns in "$S" "$C"; do
		on "$ns" sysctl -qw "net.ipv4.tcp_timestamps=$timestamps" "net.ipv4.tcp_sack=$sack"
	done
	on "$S" ethtool -K s0 tx "$tx_s" >/dev/null
	on "$C" ethtool -K c0 tx "$tx_c" >/dev/null
	on "$S" ip link set s0 mtu "$mtu"
	on "$C" ip link set c0 mtu "$mtu"
	for host in "$S4" "$S6"; do
		[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
		[[ $mtu != 576 || $host != *:* ]] || continue
		storm "each byte is as sent $over (timestamps $timestamps, SACK $sack, offloads $tx_s $tx_c, MTU $mtu)" \
			on "$C" "$PY" "$HERE/storm.py" "$host" "$PORT" \
				"${CONNECTIONS:-16}" 20-200 "$body" "$more"
	done
done
nothing_is_left
same "no checksum was wrong" "0 0" "$(bad_checksums | xargs)"
done_here
