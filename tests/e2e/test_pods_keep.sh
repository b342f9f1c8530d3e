#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Refusals that keep their connections at the host's end of a pod's veth: each byte of each request
# and each answer is as it was sent, from outside, from the node and from another pod. `detach` has
# no socket of theirs to end: it resets both ends at their next packet, which a probe provokes.
MORE_NAMESPACES="sl-pods_keep-a sl-pods_keep-b"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/pods.sh
. "$HERE/pods.sh"
# shellcheck source=tests/e2e/storms.sh
. "$HERE/storms.sh"
# shellcheck source=tests/e2e/rounds.sh
. "$HERE/rounds.sh"

serve() {
	start echo "$A" "$PY" "$HERE/echo.py" "0.0.0.0,::" "$PORT"
	ECHO=$PID
	await_line echo ready "$ECHO"
}

node
pod a 10
pod b 11
serve
cat >"$T/keep.yaml" <<END
services:
  - listen: $A4:$PORT
  - listen: "[$A6]:$PORT"
models:
  - name: closed
END
begin() {
	sluice_on_node --interface va --config "$T/keep.yaml"
	for client in "$C4" "$B4" 10.88.0.1 "$C6/64" fd88::/64; do
		ctl block "$client" --model closed >/dev/null
	done
}
begin
for from in $C $S $B_POD; do
	for to in "$A4" "$A6"; do
		storm "connections outlive refusals, and each byte is as sent: $from to $to" \
			on "$from" "$PY" "$HERE/storm.py" "$to" "$PORT" 20 30 400 2000
	done
done
holds --within 10 "nothing stays in flight" \
	"s['global']['in_flight'] == 0 and s['maps']['conns']['entries'] == 0"
finish "$ECHO"
same "the server has seen the admitted requests and nothing else" \
	"$(value "[r['admitted'], []]")" \
	"$("$PY" -c 'import json, sys
seen = json.loads(sys.stdin.read().split("\n")[-2])
print(json.dumps([seen["requests"], [e for e in seen["errors"] if "ConnectionReset" not in e]]))' \
		<"$T/echo.log")"

no_clients_in() { # NAMESPACE: none has a connection left
	! on "$1" ss -Htn state connected exclude time-wait "dport = :$PORT" | grep .
}

# eight_kept NAMESPACE: clients there, each with a kept connection.
eight_kept() {
	rounds "$A4,$A6" 8 "$1"
	round # the first refusal of each closes its connection
	round
	round
	holds "8 connections are kept: from $1" \
		"j('round') == {'open-200': 16, 'closed-429': 16, 'kept': 8}"
}

serve
for from in $C $S $B_POD; do
	eight_kept "$from"
	check "detach ends while they are silent: from $from" ctl detach --kept-timeout 1ms
	wait "$DAEMON" || true
	check "… and they end, at the server" eventually 3 no_sockets_in "$A" "$PORT"
	check "… and at the clients" eventually 3 no_clients_in "$from"
	round
	holds "… by a reset" "j('round') == {'kept': 8, 'ConnectionResetError': 8}"
	finish "$LIFE"
	begin
done

# What the daemon left attached ends them.
eight_kept "$C"
kill -9 "$DAEMON"
wait "$DAEMON" || true
check "detach without a daemon ends while they are silent" \
	on "$S" "$B/sluicectl" --control "$T/control.sock" detach --pin-dir "$PIN"
check "… and they end, at the server" eventually 3 no_sockets_in "$A" "$PORT"
check "… and at the clients" eventually 3 no_clients_in "$C"
round
holds "… by a reset" "j('round') == {'kept': 8, 'ConnectionResetError': 8}"
finish "$LIFE"
begin

eight_kept "$C"
keep_on &
KEEPER=$!
check "detach ends while they are in use" ctl detach --kept-timeout 1s
round_of() { wc -l <"$T/life.log"; }
last=$(round_of)
await 60 "len(log('life').split('\\n')) > $last + 2"
: >"$T/stop"
wait "$KEEPER"
check "each client has got a reset, once, and no wrong byte" "$PY" - "$T/life.log" <<'END'
import collections, json, sys
seen = collections.Counter()
for line in open(sys.argv[1], encoding="utf-8").read().splitlines()[1:]:
    seen.update(json.loads(line))
assert seen["ConnectionResetError"] == 8, seen
assert set(seen) <= {"open-200", "closed-200", "closed-429", "closed", "kept",
                     "ConnectionResetError"}, seen
END
same "the server has the connections that came after these, and no others" 8 \
	"$(on "$A" ss -Htn state established "sport = :$PORT" | wc -l)"
finish "$LIFE"
done_here
