#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 10: the daemon may die. Killed, it leaves traffic flowing and what is shut shut until its lease ends; a new one
# takes over with no gap; `detach` leaves nothing behind.
# Invariant 1: with the lease over everything passes, and that is counted.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model open,prefill-ms=5,token-ms=2,tokens=5,slots=64 --model shut,prefill-ms=400,token-ms=2,tokens=5,slots=64
start_sluice() { sluice --listen "$PORT" --lease-ms 2000 --policy ema-flag --ttft-threshold-ms 200 --time-constant-secs 3600; }
ids() { bpftool -j map dump pinned "$PIN/model_ids" | "$PY" -c 'import json, sys
print(sorted((x["formatted"]["key"]["name"], x["formatted"]["value"]) for x in json.load(sys.stdin)))'; }
shut() {
	load --connect "$S4:$PORT" --model "$1" --requests 1 --max-tokens 2 >"$T/shut.json"
	await 3 "not m['$1']['open']"
}

status_of() { # status_of MODEL: of one request
	on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}' --json "{\"model\":\"$1\",\"max_tokens\":2}" \
		"http://$S4:$PORT/v1/chat/completions"
}

start_sluice
load --connect "$S4:$PORT" --model open --requests 20 --concurrency 4 >"$T/first.json"
await 3 "m['open']['ttft_samples'] == 20"
shut shut
same "the model is shut to begin with" 429 "$(status_of shut)"

# All the while, a client that must never notice.
start load "$C" "$PY" "$HERE/peers.py" until "$S4" "$PORT" --model open --out "$T/enough"
LOAD=$PID

before=$(value "[r['admitted'], r['rejected']]")
known=$(ids)
finish "$DAEMON" KILL
killed=$(date +%s%N)
same "traffic flows when the daemon has been killed" 200 "$(status_of open)"
same "and the shut model stays shut, for its lease" 429 "$(status_of shut)"
check "attachments and maps are still there" bpftool map show pinned "$PIN/conns"
for ((i = 0; i < 200; i++)); do
	code=$(status_of shut)
	[[ $code == 429 ]] || break
	sleep 0.02
done
ended=$((($(date +%s%N) - killed) / 1000000))
same "then the lease ends, and the shut model is served" 200 "$code"
check "within the two seconds that the lease had" test "$ended" -lt 2600
check "and not at once" test "$ended" -gt 1000

start_sluice
holds "a new daemon knows the models of the old one" "'open' in m and 'shut' in m"
holds --within 3 "and the counts go on, they do not begin again" \
	"r['admitted'] > $before[0] and r['rejected'] >= $before[1] + 2"
holds "what passed because the lease was over has been counted" "k['passed-lease'] > 0"
same "the models keep their ids" "$known" "$(ids)"
shut shut

# Killed and replaced at once: what is shut is never open for a moment.
start probe "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model shut --rate 100 --duration 2
PROBE=$PID
await_more() { await 3 "r['rejected'] > $(value "r['rejected']") + 10"; }
await_more
finish "$DAEMON" KILL
start_sluice
wait "$PROBE"
cp "$T/probe.log" "$T/probe.json"
holds "a daemon killed and replaced leaves no gap: what is shut stays shut all the while" \
	"list(j('probe')['status']) == ['429'] and j('probe')['outcomes']['http_error'] == j('probe')['sent'] > 100"
holds "and the new one says that it is shut" "not m['shut']['open']"

# Ended in order: the same as killed.
finish "$DAEMON" TERM
check "SIGTERM leaves what SIGKILL does" bpftool map show pinned "$PIN/conns"
same "and enforcement goes on for the lease" 429 "$(status_of shut)"
start_sluice
same "until the next one takes over" 429 "$(status_of shut)"

touch "$T/enough"
wait "$LOAD"
cp "$T/load.log" "$T/load.json"
holds "a client that went on all the while saw no error" \
	"j('load')['errors'] == [] and j('load')['kept'] > 20 and j('load')['new'] > 20"

# Nothing left.
same "detach ends the daemon and says so" 0 "$(ctl detach >/dev/null && echo 0)"
wait "$DAEMON" || true
check "detach leaves no pin" test ! -e "$PIN"
same "nor a program on an interface" "" \
	"$(on "$S" bpftool -j net show | "$PY" -c 'import json, sys
print(*[x for part in json.load(sys.stdin) for x in part.values() if x])')"
check "nor a queueing discipline" bash -c "! nsenter --net=$NS/$S tc qdisc show | grep -q clsact"
check "nor the socket" test ! -S "$T/control.sock"
same "and what was shut is served" 200 "$(status_of shut)"

# Killed, and nobody starts again: sluicectl detach takes away what it left without a daemon.
start_sluice
finish "$DAEMON" KILL
check "sluicectl detach cleans up after a daemon that is gone" ctl detach --pin-dir "$PIN"
check "leaving no pin" test ! -e "$PIN"
same "nor a program" "" \
	"$(on "$S" bpftool -j net show | "$PY" -c 'import json, sys
print(*[x for part in json.load(sys.stdin) for x in part.values() if x])')"

done_here
