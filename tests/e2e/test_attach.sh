#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# sluice comes before the programs of others at its hooks: one that accepts a packet ends the chain,
# and what comes after it sees nothing. The daemon looks once a second. What somebody removes or
# puts first, it sets right, three times a minute. What it leaves, and what is wrong meanwhile, it
# says in status, log and metrics.
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

# ---- under a live daemon ----

finish "$DAEMON"
sluice --listen "$PORT=m" --metrics 127.0.0.1:9464
metric() { # metric HOOK
	on "$S" curl -fsS http://127.0.0.1:9464/metrics |
		sed -n "s/^sluice_interface_attached{interface=\"s0\",hook=\"$1\"} //p"
}
s0="s['interfaces'][0]"
same "a metric says what is attached" "0 1 1" "$(metric xdp) $(metric tc-in) $(metric tc-out)"

somebody tcx-in
await 3 "${s0}['restored'] == 1"
same "sluice goes before a program that came first meanwhile" requests \
	"$(foreign list tcx-in s0 | cut -d ' ' -f 1)"
check "it refuses" refused
foreign detach tcx-out s0
await 3 "${s0}['restored'] == 2"
same "a program that somebody detached is attached again" responses \
	"$(foreign list tcx-out s0 | cut -d ' ' -f 1)"
holds "the log says both once" \
	"log('daemon').count('comes before') == 1 == log('daemon').count('is not attached')"
check "status says that it happened" \
	bash -c "$B/sluicectl --control $T/control.sock status |
		grep -x 'note: 2 times sluice set right what somebody had changed at s0'"

for ((i = 0; i < 50; i++)); do
	before=$(value "${s0}['restored']")
	foreign detach tcx-in s0
	await 3 "${s0}['restored'] > $before or s['troubles'] != []"
	! expression 0 "s['troubles'] != []" >/dev/null || break
done
holds "what is undone again and again is left, and status says so" \
	"any(x.startswith('s0: the tc ingress program is not attached: '
	'traffic passes unseen') and 'left for 10 minutes' in x for x in s['troubles'])"
holds "the log says so, too" "'left for 10 minutes' in log('daemon')"
same "so does the metric" "0 1" "$(metric tc-in) $(metric tc-out)"
holds "so does the interface in the JSON" "not ${s0}['tc']"
same "it is left" "" "$(foreign list tcx-in s0 | grep requests)"
ctl reload >/dev/null
holds --within 3 "a reload makes sluice set it right" "${s0}['tc'] and s['troubles'] == []"
check "it refuses again" refused

# ---- pins ----

pins=$(ls -R "$PIN")
rm -r "$PIN"
holds --within 3 "the log says that pins were removed" "'pinned again' in log('daemon')"
holds "nothing was detached meanwhile" "${s0}['tc'] and s['troubles'] == []"
same "the pins are there again" "$pins" "$(ls -R "$PIN")"
same "the secret is root's alone" 600 "$(stat -c %a "$PIN/hash_key")"
finish "$DAEMON" KILL
same "they hold the programs when the daemon is killed" requests \
	"$(foreign list tcx-in lo)"
sluice --listen "$PORT=m" --metrics 127.0.0.1:9464
holds "the next daemon adopts them" "'adopted the maps' in log('daemon')"
check "it refuses as before" refused
for ((i = 0; i < 50; i++)); do
	rm -r "$PIN"
	await 3 "log('daemon').count('pinned again') > $i or s['troubles'] != []"
	! expression 0 "s['troubles'] != []" >/dev/null || break
done
holds "pins that are removed again and again are left, and status says so" \
	"any(x.startswith('pins in ') and 'left for 10 minutes' in x for x in s['troubles'])"
check "sluice still refuses" refused
ctl reload >/dev/null
holds --within 3 "a reload makes sluice pin them again" "s['troubles'] == []"
check "detach removes everything" ctl detach
wait "$DAEMON" || true
check "no pin is left" test ! -e "$PIN"
same "no program of sluice's is left" "" "$(foreign list tcx-in s0 | grep requests)"

done_here
