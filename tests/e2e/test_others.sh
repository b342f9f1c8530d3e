#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 11: only its own address and port. Other ports, other protocols and forwarded traffic
# pass unaltered. They are in no map and are never refused, even if every model is shut and every
# client blocked.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# A third host; the server forwards to it.
F=sl-$CASE-f
MORE_NAMESPACES=$F
ip netns add "$F"
ip link add s1 netns "$S" type veth peer name f0 netns "$F"
on "$S" sh -c "ip addr add 10.78.0.1/24 dev s1 && ip link set s1 up &&
	sysctl -qw net.ipv4.ip_forward=1"
on "$F" sh -c "ip addr add 10.78.0.2/24 dev f0 && ip link set f0 up && ip link set lo up &&
	ip route add 10.77.0.0/24 via 10.78.0.1"
on "$C" ip route add 10.78.0.0/24 via "$S4"

mock --model m,prefill-ms=5,token-ms=1,tokens=2
start echo "$S" "$PY" "$HERE/peers.py" echo "$S4" 9000
await_line echo ready
start forwarded "$F" "$B/mock_server" --listen "$PORT" --model m,prefill-ms=5,token-ms=1,tokens=2
await_line forwarded ready

interfaces=(s0 s1 lo)
sluice --listen "$PORT"
witness
shut m
before=$(value "r['admitted']")

load --connect "$S4:$PORT" --model m --requests 3 >"$T/own.json"
holds "requests to its own port are refused" "j('own')['status'] == {'429': 3}"
load --connect "10.78.0.2:$PORT" --model m --requests 10 >"$T/forwarded.json"
holds "forwarded traffic to the same port of another host is served" \
	"j('forwarded')['completed'] == 10"
peer "$C" compare-echo "$S4" 9000 --body-bytes 2000000 >"$T/echo.json"
holds "2 MB to another port, in the form of a request, are echoed byte for byte" \
	"j('echo')['same'] and j('echo')['end'] == 'eof'"

# No map has an entry of that traffic. The dumps show ports in network order.
await 2 "s['maps']['conns']['entries'] == 0"
# this echo stays open for a second
peer "$C" exact "$S4" 9000 --timeout 1 --out "$T/kept" >"$T/kept.json" 2>/dev/null 9>&- &
KEPT=$!
PIDS+=("$KEPT")
on "$C" sh -c "ping -c 2 -i 0.2 $S4 >/dev/null 2>&1 || true"
dumped=$(for map in conns tombstones half_open client_counts; do
	bpftool -j map dump pinned "$PIN/$map"
done)
wait "$KEPT" || true
check "no map has an entry of the other port" \
	"$PY" -c \
	'import sys; sys.exit("10275" in sys.argv[1] or "\"server_port\":9000" in sys.argv[1])' \
	"${dumped:0:100000}"
holds "no request to the other port is counted" "r['admitted'] == $before and r['rejected'] == 3"

# A blocked client can still use the rest of the host.
ctl block "$C4" >/dev/null
ctl block "$C6" >/dev/null
peer "$C" connect "$S4" "$PORT" --bind "$C4" >"$T/blocked.json"
holds "a blocked client cannot connect to the service" "j('blocked')['error'] == 'ECONNREFUSED'"
peer "$C" compare-echo "$S4" 9000 --body-bytes 1000 --bind "$C4" >"$T/echo.json"
holds "a blocked client can connect to another port" "j('echo')['same']"
load --connect "10.78.0.2:$PORT" --model m --requests 2 --bind "$C4" >"$T/forwarded.json"
holds "a blocked client can connect through this host to another" "j('forwarded')['completed'] == 2"
check "a blocked client can ping" on "$C" "$PY" -c '
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(5)
data = struct.pack("!BBHHH", 8, 0, 0, 77, 1)
total = sum(struct.unpack("!4H", data))
check = ~((total & 0xffff) + (total >> 16)) & 0xffff
s.sendto(struct.pack("!BBHHH", 8, 0, check, 77, 1), (sys.argv[1], 0))
while True:
    answer = s.recv(100)
    if answer[20] == 0 and answer[24:26] == struct.pack("!H", 77):
        break' "$S4"

# A service with one address has no other.
ctl detach >/dev/null
wait "$DAEMON" || true
sluice --listen "10.78.0.1:$PORT"
shut m "10.78.0.1:$PORT"
load --connect "10.78.0.1:$PORT" --model m --requests 2 >"$T/own.json"
load --connect "$S4:$PORT" --model m --requests 2 >"$T/other.json"
holds "a service at one address does not act at another of the host" \
	"j('own')['status'] == {'429': 2} and j('other')['completed'] == 2"

done_here
