#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 10: the daemon may die. Killed, it leaves traffic flowing and what is shut shut until its lease ends; a new one
# takes over with no gap, though its start outlasts the lease, and one that fails leaves that alone; `detach` leaves nothing
# behind.
# Invariant 1: with the lease over everything passes, and that is counted.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model open,prefill-ms=5,token-ms=2,tokens=5,slots=64 --model shut,prefill-ms=400,token-ms=2,tokens=5,slots=64
options=(--listen "$PORT" --policy ema-flag --ttft-threshold-ms 200 --time-constant-secs 3600)
start_sluice() { sluice "${options[@]}" "$@"; }
SHORT=2000
lease_until() { bpftool -j map dump pinned "$PIN/settings" | "$PY" -c 'import json, sys
print(json.load(sys.stdin)[0]["formatted"]["value"]["lease_until_ns"])'; }
ids() { bpftool -j map dump pinned "$PIN/model_ids" | "$PY" -c 'import json, sys
print(sorted((x["formatted"]["key"]["name"], x["formatted"]["value"]) for x in json.load(sys.stdin)))'; }
shut() {
	local i

	for ((i = 0; i < 10; i++)); do # a sample that its client spoilt is none
		load --connect "$S4:$PORT" --model "$1" --requests 1 --max-tokens 2 >"$T/shut.json"
		expression 0.5 "not m['$1']['open']" >"$T/why" && return
	done
	await 1 "not m['$1']['open']"
}

status_of() { # status_of MODEL: of one request
	on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}' --json "{\"model\":\"$1\",\"max_tokens\":2}" \
		"http://$S4:$PORT/v1/chat/completions"
}

start_sluice --lease-ms $SHORT
load --connect "$S4:$PORT" --model open --requests 20 --concurrency 4 >"$T/first.json"
await 10 "m['open']['ttft_samples'] + m['open']['itl_samples'] + k['gaps-client-limited'] == 20 * (5 + 1)" # five tokens, and why it ended
shut shut
same "the model is shut to begin with" 429 "$(status_of shut)"

# All the while, a client that must never notice.
start load "$C" "$PY" "$HERE/peers.py" until "$S4" "$PORT" --model open --out "$T/enough"
LOAD=$PID

before=$(value "[r['admitted'], r['rejected']]")
known=$(ids)
# asks NAME [PID]: asks for either model until the one that is shut is served: [model, status, asked, answered] of each.
# Kills the daemon first, if it is told which.
asks() {
	on "$C" "$PY" - "$S4" "$PORT" ${2:+"$2"} >"$T/$1.json" <<'END'
import http.client, json, os, signal, sys, time

rows = []
def runs(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False

def ask(model):
    began = time.monotonic_ns()
    conn = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20)
    conn.request("POST", "/v1/chat/completions", json.dumps({"model": model, "max_tokens": 2}))
    answer = conn.getresponse()
    answer.read()
    rows.append([model, answer.status, began, time.monotonic_ns()])
    return answer.status

for pid in map(int, sys.argv[3:]):
    os.kill(pid, signal.SIGKILL)
    while runs(pid):
        time.sleep(0.001)
gone = time.monotonic_ns()
while time.monotonic_ns() < gone + 60e9:
    ask("open")
    if ask("shut") == 200:
        break
    time.sleep(0.02)
print(json.dumps({"gone": gone, "rows": rows}))
END
}
asks asked "$DAEMON"
finish "$DAEMON"
until=$(lease_until)
holds "traffic flows when the daemon has been killed" \
	"{x[1] for x in j('asked')['rows'] if x[0] == 'open'} == {200}"
holds "and the shut model stays shut, for its lease" \
	"j('asked')['rows'][1][:2] == ['shut', 429] and all(x[2] < $until for x in j('asked')['rows'] if x[1] == 429)"
check "attachments and maps are still there" bpftool map show pinned "$PIN/conns"
holds "then the lease ends, and the shut model is served" \
	"j('asked')['rows'][-1][:2] == ['shut', 200] and j('asked')['rows'][-1][3] >= $until"
holds "within the two seconds that the lease had" "$until <= j('asked')['gone'] + $SHORT * 10**6"
holds "and not at once" "$until > j('asked')['gone']"

start_sluice
holds "a new daemon knows the models of the old one" "'open' in m and 'shut' in m"
holds --within 3 "and the counts go on, they do not begin again" \
	"r['admitted'] > $before[0] and r['rejected'] == $before[1] + sum(x[1] == 429 for x in j('asked')['rows']) > $before[1]"
holds "what passed because the lease was over has been counted" "k['passed-lease'] == 1"
same "the models keep their ids" "$known" "$(ids)"
shut shut

# Killed and replaced at once: what is shut is never open for a moment.
start probe "$C" "$PY" "$HERE/peers.py" until "$S4" "$PORT" --model shut --out "$T/probed"
PROBE=$PID
await_more() { await 10 "r['rejected'] > $(value "r['rejected']") + 10"; }
await_more
finish "$DAEMON" KILL

# A start that takes longer than the lease, as on a busy machine: the daemon is stopped while it loads, which is when it
# has more than one map open.
start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics off --interface s0 --interface lo \
	"${options[@]}"
DAEMON=$PID
until (($(find "/proc/$DAEMON/fd" -lname '*bpf-map' | wc -l) > 1)); do kill -0 "$DAEMON"; done
kill -STOP "$DAEMON"
sleep 4 # the lease is 3 s where nothing is said
went_on=$(date +%s%N)
kill -CONT "$DAEMON"
await_line daemon ready "$DAEMON"
told=$(value "m['shut']['retry_after_ms'] or 0")
since=$((($(date +%s%N) - went_on) / 1000000))
check "the ten seconds that it then stays shut begin when it is taken over, not when the daemon was started" \
	test "${told%.*}" -ge $((10000 - since))
holds "a daemon that takes over says what is shut" "not m['shut']['open']"
ctl set --model shut ttft=1ms >/dev/null # from here on it is shut for longer than these seconds
await_more
touch "$T/probed"
wait "$PROBE"
cp "$T/probe.log" "$T/probe.json"
holds "a daemon killed and replaced leaves no gap: what is shut stays shut all the while" \
	"set(j('probe')['errors']) == {429} and len(j('probe')['errors']) == j('probe')['kept'] + j('probe')['new'] > 20"
holds "since the lease did not end meanwhile" "k['passed-lease'] == 1"
check "and it is no longer than the daemon's own again" \
	test "$(lease_until)" -le $(($("$PY" -c 'import time; print(time.monotonic_ns())') + 3 * 10 ** 9))

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

# Killed, and the next one fails when it has loaded: the lease is what the dead one left.
start_sluice
shut shut
finish "$DAEMON" KILL
until=$(lease_until)
same "a start that fails says why" 1 "$(on "$S" timeout 100 "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics off \
	--interface s0 --interface nowhere "${options[@]}" >"$T/failed.log" 2>&1 || grep -c 'nowhere' "$T/failed.log")"
same "it leaves the lease as it was" "$until" "$(lease_until)"
asks afterwards
holds "so that the shut model is served when that has ended" \
	"j('afterwards')['rows'][-1][:2] == ['shut', 200] and all(x[2] < $until for x in j('afterwards')['rows'] if x[1] == 429)"

# Nobody starts again: sluicectl detach takes away what is left without a daemon.
check "sluicectl detach cleans up after a daemon that is gone" ctl detach --pin-dir "$PIN"
check "leaving no pin" test ! -e "$PIN"
same "nor a program" "" \
	"$(on "$S" bpftool -j net show | "$PY" -c 'import json, sys
print(*[x for part in json.load(sys.stdin) for x in part.values() if x])')"

done_here
