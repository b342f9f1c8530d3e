#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Without a configured interface, sluice is at lo and where clients can come. It follows interfaces
# as they come and go, and says which named ones are missing. Kept connections outlive an interface
# that goes and comes back. `detach` leaves nothing at any of them.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/rounds.sh
. "$HERE/rounds.sh"

start echo "$S" "$PY" "$HERE/echo.py" "0.0.0.0,::" "$PORT"
await_line echo ready "$PID"

attached="{i['name'] for i in s['interfaces'] if i['tc']}"
requests_at() { on "$S" "$PY" "$HERE/foreign.py" list tcx-in "$1"; }
refused_at() { # refused_at ADDRESS
	[[ $(on "$C" curl -sS -m 10 -o /dev/null -w '%{http_code}' --json '{"model":"closed"}' \
		"http://$1:$PORT/v1/completions") == 429 ]]
}
# link NAME NETWORK: a veth pair from the server to the clients.
link() {
	ip link add "$1" netns "$S" type veth peer name "c-$1" netns "$C"
	on "$S" sh -c "ip addr add $2.1/24 dev $1 && ip link set $1 up"
	on "$C" sh -c "ip addr add $2.2/24 dev c-$1 && ip link set c-$1 up"
}

interfaces=()
sluice --listen "$PORT=closed"
for client in "$C4" 10.81.0.2 10.82.0.2; do
	ctl block "$client" --model closed >/dev/null
done
same "without an interface, sluice is at lo and at the one with an address" \
	"ready: lo (xdp off, tcx), s0 (xdp off, tcx)" \
	"$(sed -n 's/, services.*//; /^ready/p' "$T/daemon.log")"
check "it refuses there" refused_at "$S4"

link s1 10.81.0
await 3 "'s1' in $attached"
check "an interface that comes is attached, and sluice refuses there" refused_at 10.81.0.1
on "$S" ip addr del 10.81.0.1/24 dev s1
holds --within 9 "one that has lost its address is detached" \
	"'s1' not in $attached and 'interface s1 is detached' in log('daemon')"
on "$S" ip addr add 10.81.0.1/24 dev s1
await 3 "'s1' in $attached"

# Kept connections by s1: the connections of eight clients live through all rounds.
rounds 10.81.0.1 8
round
round
kept="j('round') == {'open-200': 16, 'closed-429': 16, 'kept': 8}"
holds "connections are kept through refusals" "$kept"
on "$S" ip link del s1
holds --within 3 "an interface that is deleted is missing in status" "'s1' not in $attached"
link s1 10.81.0
await 3 "'s1' in $attached"
round
holds "kept connections go on to the byte when their interface is back" "$kept"
check "no link of the old one is pinned" test "$(find "$PIN/links" -name '*_requests' | wc -l)" = 3
finish "$PID"

ctl reload >/dev/null
holds "a reload changes nothing about interfaces" "'s1' in $attached and s['troubles'] == []"
finish "$DAEMON" KILL
on "$S" ip link del s1

# ---- names and patterns ----

interfaces=(lo eth7 'lxc*')
sluice --listen "$PORT=closed"
missing='interface eth7 does not exist: sluice attaches to it when it comes'
holds "a named interface that is missing is no end of the start, but a trouble in status" \
	"s['troubles'] == ['$missing']"
holds "and a line of the log" "log('daemon').count('$missing') == 1"
same "what is not named any more is detached" "" "$(requests_at s0)"
link eth7 10.82.0
holds --within 3 "it is attached when it comes" "'eth7' in $attached and s['troubles'] == []"
check "sluice refuses there" refused_at 10.82.0.1
link lxc3 10.83.0
holds --within 3 "what matches a pattern is attached when it comes" "'lxc3' in $attached"
on "$S" ip link del lxc3
holds --within 3 "and leaves no line of status when it goes" \
	"'lxc3' not in {i['name'] for i in s['interfaces']} and s['troubles'] == []"
on "$S" ip link del eth7
holds --within 3 "a named one that goes is a trouble" "s['troubles'] == ['$missing']"
link eth7 10.82.0
link lxc3 10.83.0
await 3 "{'eth7', 'lxc3'} <= $attached"
check "detach ends the daemon" ctl detach --kept-timeout 1s
wait "$DAEMON" || true
same "it leaves nothing at interfaces that have come" "" \
	"$(requests_at lo)$(requests_at eth7)$(requests_at lxc3)"
check "nor a pin" test ! -e "$PIN"

interfaces=('nothing*')
sluice --listen "$PORT=closed"
holds "without any interface, status says that sluice sees nothing" \
	"s['troubles'] == ['sluice is attached to no interface: all traffic passes unseen']"

done_here
