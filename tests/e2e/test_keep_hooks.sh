#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Kept connections where a packet passes several hooks, or the server is elsewhere than the hook: a
# bridge and its port, a bridged server, a published container port (DNAT), loopback. A segment is
# translated once on its way, and each byte is as it was sent (invariant 4).
MORE_NAMESPACES=sl-keep_hooks-d
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

D=sl-keep_hooks-d

echo_in() { # NAMESPACE ADDRESSES PORT
	start echo "$1" "$PY" "$HERE/echo.py" "$2" "$3"
	ECHO=$PID
	await_line echo ready "$ECHO"
}

sluice_on() { # LISTEN INTERFACE…
	cat >"$T/keep.yaml" <<-END
		services:
		  - listen: $1
		    keep: on
		models:
		  - name: closed
	END
	interfaces=("${@:2}")
	sluice --config "$T/keep.yaml"
	for client in "$C4" 127.0.0.1; do ctl block "$client" --model closed >/dev/null; done
}

# All connections have ended, but of a server in another namespace that cannot be seen.
sluice_off() {
	ctl detach --kept-timeout 1s >/dev/null
	wait "$DAEMON" || true
	finish "$ECHO"
}

# storm NAMESPACE SENTENCE HOST: refusals may close a few connections, until the server of each has
# answered once, but keep most.
storm() {
	local before

	before=$(value "k['refusals-kept']")
	on "$1" "$PY" "$HERE/storm.py" "$3" "$PORT" 20 40 400 2000 >"$T/storm.json"
	holds "$2: each byte is as it was sent" "j('storm')['errors'] == []"
	holds "$2: refusals keep their connections" \
		"k['refusals-kept'] - $before ==
		 j('storm')['refused'] - j('storm')['said_close'] and
		 j('storm')['refused'] > 250 and j('storm')['said_close'] < 150"
	holds --within 100 "$2: no entry stays" "s['maps']['conns']['entries'] == 0"
}

echo_in "$S" "127.0.0.1" "$PORT"
sluice_on "$PORT" lo s0
storm "$S" "loopback" 127.0.0.1
sluice_off

# The server's own address is the bridge's.
on "$S" sh -c "ip link add br0 type bridge && ip addr flush dev s0 &&
	ip link set s0 master br0 && ip addr add $S4/24 dev br0 && ip link set br0 up"
echo_in "$S" "$S4" "$PORT"
sluice_on "$PORT" s0 br0
storm "$C" "hooks on a bridge and its port" "$S4"
sluice_off

# The server is behind another port of the bridge.
ip netns add "$D"
on "$D" ip link set lo up
ip link add d1 netns "$S" type veth peer name d0 netns "$D"
on "$S" sh -c 'ip link set d1 master br0 && ip link set d1 up'
on "$D" sh -c 'ip addr add 10.77.0.5/24 dev d0 && ip link set d0 up'
echo_in "$D" 10.77.0.5 "$PORT"
sluice_on "10.77.0.5:$PORT" s0
storm "$C" "a bridged server" 10.77.0.5
sluice_off

# A published port.
on "$S" sh -c "ip link del br0 && ip addr add $S4/24 dev s0 && ip addr add 172.30.0.1/24 dev d1 &&
	sysctl -qw net.ipv4.ip_forward=1"
on "$D" sh -c 'ip addr flush dev d0 && ip addr add 172.30.0.2/24 dev d0 &&
	ip route add default via 172.30.0.1'
on "$S" nft -f - <<END
table ip published {
	chain in {
		type nat hook prerouting priority dstnat
		ip daddr $S4 tcp dport $PORT dnat to 172.30.0.2:80
	}
	chain out { type nat hook postrouting priority srcnat; oifname "s0" masquerade; }
}
END
echo_in "$D" 172.30.0.2 80
sluice_on "$S4:$PORT" s0
storm "$C" "a published container port" "$S4"
sluice_off
done_here
