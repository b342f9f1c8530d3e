#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# sluice comes before the programs of others at its hooks: one that accepts a packet ends the chain,
# and what comes after it sees nothing.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model m,prefill-ms=5,token-ms=1,tokens=2

foreign() { on "$S" "$PY" "$HERE/foreign.py" "$@"; }
# somebody HOOK: a program of somebody else comes before all others at s0. $PID is its process.
somebody() {
	start "$1" "$S" "$PY" "$HERE/foreign.py" "$1" s0
	await_line "$1" ready "$PID"
}
refused() { [[ $(status_from "$C4" m) == 429 ]]; }

somebody tcx-in
FIRST=$PID
somebody tcx-out
sluice --listen "$PORT=m"
ctl block "$C4" --model m >/dev/null
check "a program that accepts everything, and was there first, hides no request" refused
same "sluice's program comes before it at tc ingress" "requests somebody" \
	"$(foreign list tcx-in s0)"
same "sluice's program comes before another at tc egress" "responses somebody" \
	"$(foreign list tcx-out s0)"
holds "status has no trouble" "s['troubles'] == []"

finish "$DAEMON" KILL
somebody tcx-in
same "another program may come before sluice's while no daemon runs" "somebody requests somebody" \
	"$(foreign list tcx-in s0)"
sluice --listen "$PORT=m"
check "the next daemon goes before it, and refuses" refused
same "it is first again" "requests somebody somebody" "$(foreign list tcx-in s0)"
finish "$FIRST"

done_here
