#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Servers in places of their own: several processes at one port, IPv4 by an IPv6 socket, more
# addresses than the service names, an address that is translated, a proxy on the same host, a
# network namespace within another. Each request is judged, or status says what passes unseen.
MORE_NAMESPACES="sl-places-a sl-places-n"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/pods.sh
. "$HERE/pods.sh"

N=sl-places-n N4=172.20.0.2
serve() { # NAMESPACE ADDRESS [PROCESSES]
	local processes=${3:-1}

	start server "$1" "$PY" "$HERE/many.py" "$2" "$PORT" "$processes"
	SERVER=$PID
	eventually 10 bash -c "(( \$(grep -c ^ready '$T/server.log') == $processes ))"
}
end_server() { # NAMESPACE: with all its processes
	local pid

	for pid in $(pgrep -P "$SERVER" || true); do kill -KILL "$pid"; done
	finish "$SERVER" KILL
	eventually 10 bash -c "! nsenter --net='$NS/$1' ss -Htln 'sport = :$PORT' | grep -q ."
}
on_node() { sluice_on_node --trouble-after-secs 1 "$@"; }
busy() { # NAMESPACE TO OPTION…: until it is ended
	start load "$1" "$B/loadgen" --connect "$2" --model open --plain --concurrency 2 \
		--duration 3000 "${@:3}"
	LOAD=$PID
}
all_judged() { # SENTENCE NAMESPACE TO CLIENT
	block_slow "$2" "$3" "$4" --plain
	judged "$1" "$2" "$3" "set($kinds) <= {'no-server'}" --plain --requests 60 --concurrency 12
}

# ---- processes and families ----

serve "$S" :: 4
on_node --listen "$PORT"
all_judged "a port of four processes, by IPv4 at an IPv6 socket" "$C" "$S4:$PORT" "$C4"
all_judged "… by IPv6" "$C" "[$S6]:$PORT" "$C6/64"
all_judged "… by another address of lo" "$S" "127.0.1.1:$PORT" 127.0.0.1
holds "several of the processes served them" "log('server').count('serves') > 1"

# ---- addresses ----

on "$S" ip route add local 10.99.0.0/24 dev lo
on "$C" sh -c "ip route add 10.99.0.0/24 via $S4 && ip route add 10.96.0.10/32 via $S4"
busy "$C" "10.99.0.7:$PORT"
says other-address 'busy connections go to 10.99.0.7, which no service has'
finish "$LOAD"
holds --within 20 "it ends with them" "$kinds == []"

on "$S" nft -f - <<END
table ip translated {
	chain in {
		type nat hook prerouting priority dstnat
		ip daddr 10.96.0.10 tcp dport 80 redirect to :$PORT
	}
}
END
busy "$C" 10.96.0.10:80
says unseen "by which $C4 comes, or name the address that it uses, if that is translated"
finish "$LOAD"
sluice_off
on_node --listen 10.96.0.10:80
all_judged "… a service at the address that clients use" "$C" 10.96.0.10:80 "$C4"
on "$S" nft delete table ip translated
sluice_off

on_node --listen "$S4:$PORT"
all_judged "a service at one of the addresses of its server" "$C" "$S4:$PORT" "$C4"
busy "$C" "[$S6]:$PORT"
says other-address "busy connections go to $S6, which no service has"
finish "$LOAD"
sluice_off

# ---- clients on the host ----

on_node --interface s0 --listen "$PORT"
busy "$S" "127.0.0.1:$PORT"
says partly-unseen 'attach to the interface by which 127.0.0.1 comes'
finish "$LOAD"
holds --within 20 "it ends with them" "$kinds == []"
busy "$S" "127.0.0.1:$PORT" --new-connections
says partly-unseen 'attach to the interface by which 127.0.0.1 comes'
finish "$LOAD"
sluice_off
end_server "$S"

# ---- a proxy on the host ----

serve "$S" 127.0.0.1
begin_nginx "$S" "$PORT" <<END
	server {
		listen $S4:$PORT;
		location / { access_log off; proxy_pass http://127.0.0.1:$PORT; }
	}
END
PROXY=$PID
on_node --listen "$PORT"
busy "$C" "$S4:$PORT"
says relayed 'requests come by lo, as many as others are admitted'
finish "$LOAD"
sluice_off
on_node --listen "$S4:$PORT"
all_judged "… a service at the address of the proxy judges each once" "$C" "$S4:$PORT" "$C4"
sluice_off
finish "$PROXY"
end_server "$S"

# ---- a network namespace in that of a pod ----

node
pod a 10
ip netns add "$N"
ip link add vn netns "$A" type veth peer name eth0 netns "$N"
on "$A" sh -c "ip addr add 172.20.0.1/24 dev vn && ip link set vn up &&
	sysctl -qw net.ipv4.ip_forward=1"
on "$N" sh -c "ip link set lo up && ip addr add $N4/24 dev eth0 && ip link set eth0 up &&
	ip route add default via 172.20.0.1"
on "$S" ip route add 172.20.0.0/24 via "$A4"
on "$C" ip route add 172.20.0.0/24 via "$S4"
serve "$N" 0.0.0.0
on_node --listen "$N4:$PORT"
busy "$C" "$N4:$PORT"
says no-server 'what reaches it past the interfaces of sluice is unseen'
finish "$LOAD"
sluice_off
on_node --netns "$NS/$N" --listen "$PORT"
all_judged "attached there, sluice judges what comes from outside" "$C" "$N4:$PORT" "$C4"
all_judged "… from the node" "$S" "$N4:$PORT" 10.88.0.1
all_judged "… and from the pod around it" "$A" "$N4:$PORT" 172.20.0.1
done_here
