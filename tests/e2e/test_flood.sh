#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A flood of idle connections opens the gate for nobody. Two addresses try to take all 65,536
# connections, and get three quarters of them. Then sixty more addresses take some each, and the
# idlest connections give way. All the time honest requests are answered, and a client without
# budget is refused. So it is after the flood.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

IDLE=8002 TWO=10.77.1.1 SIXTY=10.77.1.64 SPENT=10.77.0.4 HONEST=10.77.0.5
"${CC:-cc}" -O2 -Wall -Wextra -Werror "$HERE/idlers.c" -o "$T/idlers"
for address in "$SPENT" "$HONEST"; do on "$C" ip addr add "$address/24" dev c0; done
on "$C" ip route add local 10.77.1.0/24 dev lo
on "$S" ip route add 10.77.1.0/24 via "$C4"
on "$C" sysctl -qw net.ipv4.ip_local_port_range='1024 65535'
on "$S" sysctl -qw net.core.somaxconn=65535

mock --model open,prefill-ms=5,token-ms=1,tokens=4,slots=256
# A server that never accepts: its kernel completes the handshakes.
start idle "$S" "$PY" -c "import signal, socket
s = socket.create_server(('', $IDLE), backlog=65535)
print('ready', flush=True)
signal.pause()"
await_line idle ready
cat >"$T/sluice.yaml" <<EOF
services:
  - {listen: $PORT, quota: requests=1000000/1h}
  - {listen: $IDLE}
quotas:
  - {client: $SPENT, requests: 2/1d}
  - {client: $C4, requests: 3/1d}
EOF
sluice --config "$T/sluice.yaml" --max-connections 65536

# one ADDRESS: sends one request from there and prints its status.
one() { status_from "$1" open 50; }

# Prints how many connections sluice has.
conns() {
	bpftool -j map lookup pinned "$PIN/conn_counts" key 0 0 0 0 |
		"$PY" -c 'import json, sys; print(json.load(sys.stdin)["formatted"]["value"])'
}

# honest PID: sends requests of both clients as long as idlers PID is at work, and once more. Counts
# the client's that has no budget in $rounds and $refused, and the other's in $served.
honest() {
	rounds=0 refused=0 served=0
	while :; do
		rounds=$((rounds + 1))
		[[ $(one "$SPENT") != 429 ]] || refused=$((refused + 1))
		load --connect "$S4:$PORT" --model open --requests 10 --concurrency 2 \
			--bind "$HONEST" --new-connections >"$T/honest.json"
		served=$((served + $(value "j('honest')['completed']")))
		! grep -q opened "$T/$1.log" || break
	done
}

judged() {
	same "$1: a client without budget is refused ($rounds rounds)" "$rounds" "$refused"
	same "$1: every other request is answered" $((10 * rounds)) "$served"
}

same "two requests a day are two" "200 200 429" "$(one "$SPENT") $(one "$SPENT") $(one "$SPENT")"
start kept "$C" "$PY" "$HERE/kept.py" "$S4" "$PORT" open
KEPT=$PID
await_line kept '1 200'

start two "$C" "$T/idlers" "$S4" "$IDLE" 65536 "$TWO" 2
FLOOD=$PID
honest two
judged "while two addresses connect"
cp "$T/two.log" "$T/two.json"
holds "two addresses get three quarters of the connections" \
	"49000 < j('two')['opened'] <= 49152 and j('two')['failed'] == 0 and
	 j('two')['opened'] + j('two')['refused'] == 65536"
holds "their other SYNs are refused" "s['connections']['reset'] == j('two')['refused']"

start sixty "$C" "$T/idlers" "$S4" "$IDLE" 12000 "$SIXTY" 60
MORE=$PID
honest sixty
judged "while sixty more connect"
cp "$T/sixty.log" "$T/sixty.json"
holds "all of theirs are opened" "j('sixty')['opened'] == 12000"
holds --within 3 "and the idlest give way" "k['conns-evicted'] > 0 and k['conns-full'] == 0"
check "so that there is room ($(conns) connections)" test "$(conns)" -lt 57344

kill -USR1 "$KEPT"
await_line kept '2 200'
kill -USR1 "$KEPT"
await_line kept '3 200'
kill -USR1 "$KEPT"
await_line kept '4 429'
say_ok "a connection from before the flood is judged by its client's budget"

finish "$FLOOD"
finish "$MORE"
honest two
judged "after the flood"
holds "nothing has passed unjudged, and nothing was lost" \
	"k['passed-unproven'] == k['passed-lease'] == k['conns-dropped'] == 0"

done_here
