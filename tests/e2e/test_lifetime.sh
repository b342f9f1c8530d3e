#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 10: the daemon may die. After a kill, traffic flows, and a shut model stays shut until
# the lease ends. A new daemon takes over without a gap, even if its start takes longer than the
# lease. A start that fails leaves the lease alone. `detach` leaves nothing. Invariant 1: after the
# lease everything passes and is counted.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model open,prefill-ms=5,token-ms=2,tokens=5,slots=64 \
	--model shut,prefill-ms=400,token-ms=2,tokens=5,slots=64
unset SLUICE_LEASE_MS # this case is about the default, too
options=(--listen "$PORT" --policy ema-flag --ttft-threshold-ms 200 --time-constant-secs 3600)
start_sluice() { sluice "${options[@]}" "$@"; }
SHORT=2000
lease_until() { bpftool -j map dump pinned "$PIN/settings" | "$PY" -c 'import json, sys
print(json.load(sys.stdin)[0]["formatted"]["value"]["lease_until_ns"])'; }
ids() { bpftool -j map dump pinned "$PIN/model_ids" | "$PY" -c 'import json, sys
print(sorted((x["formatted"]["key"]["name"], x["formatted"]["value"])
             for x in json.load(sys.stdin)))'; }
shut() {
	local i

	for ((i = 0; i < 10; i++)); do # a client-limited answer gives no sample
		load --connect "$S4:$PORT" --model "$1" --requests 1 --max-tokens 2 >"$T/shut.json"
		expression 0.5 "not m['$1']['open']" >"$T/why" && return
	done
	await 1 "not m['$1']['open']"
}

status_of() { # status_of MODEL: sends one request and prints its status
	on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}' \
		--json "{\"model\":\"$1\",\"max_tokens\":2}" "http://$S4:$PORT/v1/chat/completions"
}

start_sluice --lease-ms $SHORT
load --connect "$S4:$PORT" --model open --requests 20 --concurrency 4 >"$T/first.json"
# five tokens each
await 10 "m['open']['ttft_samples'] + m['open']['itl_samples'] + k['gaps-client-limited'] ==
	20 * 5"
shut shut
same "the model is shut at first" 429 "$(status_of shut)"

# This client runs all the time and must see no error.
start load "$C" "$PY" "$HERE/peers.py" until "$S4" "$PORT" --model open --out "$T/enough"
LOAD=$PID

before=$(value "[r['admitted'], r['rejected']]")
known=$(ids)
# probe_until_open NAME [PID]: requests both models in a loop until the shut one is served. Writes
# [model, status, sent ns, answered ns] of each request. With PID, it kills the daemon first.
probe_until_open() {
	on "$C" "$PY" - "$S4" "$PORT" ${2:+"$2"} >"$T/$1.json" <<'END'
import http.client, json, os, signal, sys, time

rows = []
def runs(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False

def send(model):
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
    send("open")
    if send("shut") == 200:
        break
    time.sleep(0.02)
print(json.dumps({"gone": gone, "rows": rows}))
END
}
probe_until_open orphaned "$DAEMON"
finish "$DAEMON"
until=$(lease_until)
holds "traffic flows after the daemon is killed" \
	"{x[1] for x in j('orphaned')['rows'] if x[0] == 'open'} == {200}"
holds "the shut model stays shut until the lease ends" \
	"j('orphaned')['rows'][1][:2] == ['shut', 429] and
	 all(x[2] < $until for x in j('orphaned')['rows'] if x[1] == 429)"
check "attachments and maps are still there" bpftool map show pinned "$PIN/conns"
holds "the shut model is served after the lease" \
	"j('orphaned')['rows'][-1][:2] == ['shut', 200] and j('orphaned')['rows'][-1][3] >= $until"
holds "the lease ends within its two seconds" "$until <= j('orphaned')['gone'] + $SHORT * 10**6"
holds "the lease does not end at once" "$until > j('orphaned')['gone']"

start_sluice
holds "a new daemon knows the models of the old one" "'open' in m and 'shut' in m"
holds --within 3 "the counts continue" \
	"r['admitted'] > ${before}[0] and
	 r['rejected'] == ${before}[1] + sum(x[1] == 429 for x in j('orphaned')['rows']) and
	 r['rejected'] > ${before}[1]"
holds "the request after the lease is counted" "k['passed-lease'] == 1"
same "the models keep their ids" "$known" "$(ids)"
shut shut

# The daemon is killed and replaced at once. The shut model is never open.
start probe "$C" "$PY" "$HERE/peers.py" until "$S4" "$PORT" --model shut --out "$T/probed"
PROBE=$PID
await_more() { await 10 "r['rejected'] > $(value "r['rejected']") + 10"; }
await_more
finish "$DAEMON" KILL

# A start that takes longer than the lease, as on a busy machine. SIGSTOP comes while the daemon
# loads: from then on it has more than one map open.
start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics off \
	--interface s0 --interface lo "${options[@]}"
DAEMON=$PID
until (($(find "/proc/$DAEMON/fd" -lname '*bpf-map' | wc -l) > 1)); do kill -0 "$DAEMON"; done
kill -STOP "$DAEMON"
sleep 4 # the default lease is 3 s
went_on=$(date +%s%N)
kill -CONT "$DAEMON"
await_line daemon ready "$DAEMON"
stated=$(value "m['shut']['retry_after_ms'] or 0")
since=$((($(date +%s%N) - went_on) / 1000000))
check "the model stays shut for ten seconds from the takeover on, not from the start on" \
	test "${stated%.*}" -ge $((10000 - since))
holds "a daemon that takes over shows the shut model" "not m['shut']['open']"
ctl set --model shut ttft=1ms >/dev/null # now it stays shut for longer
await_more
touch "$T/probed"
wait "$PROBE"
cp "$T/probe.log" "$T/probe.json"
holds "a replaced daemon leaves no gap: the shut model stays shut" \
	"set(j('probe')['errors']) == {429} and
	 len(j('probe')['errors']) == j('probe')['kept'] + j('probe')['new'] > 20"
holds "the lease did not end meanwhile" "k['passed-lease'] == 1"
check "the lease is the daemon's own again, and no longer" \
	test "$(lease_until)" -le \
	$(($("$PY" -c 'import time; print(time.monotonic_ns())') + 3 * 10 ** 9))

# SIGTERM has the same effect as SIGKILL.
finish "$DAEMON" TERM
check "SIGTERM leaves the maps, as SIGKILL does" bpftool map show pinned "$PIN/conns"
same "enforcement continues after SIGTERM, for the lease" 429 "$(status_of shut)"
start_sluice
same "enforcement continues with the next daemon" 429 "$(status_of shut)"

touch "$T/enough"
wait "$LOAD"
cp "$T/load.log" "$T/load.json"
holds "the client that ran all the time saw no error" \
	"j('load')['errors'] == [] and j('load')['kept'] > 20 and j('load')['new'] > 20"

# detach leaves nothing.
same "detach succeeds and ends the daemon" 0 "$(ctl detach >/dev/null && echo 0)"
wait "$DAEMON" || true
check "detach leaves no pin" test ! -e "$PIN"
same "detach leaves no program on an interface" "" \
	"$(on "$S" bpftool -j net show | "$PY" -c 'import json, sys
print(*[x for part in json.load(sys.stdin) for x in part.values() if x])')"
check "detach leaves no queueing discipline" \
	bash -c "! nsenter --net=$NS/$S tc qdisc show | grep -q clsact"
check "detach leaves no socket" test ! -S "$T/control.sock"
same "the shut model is served after detach" 200 "$(status_of shut)"

# After a kill, the next start fails once it has loaded. The lease stays as the dead daemon left it.
start_sluice
shut shut
finish "$DAEMON" KILL
until=$(lease_until)
same "a start that fails names the cause" 1 \
	"$(on "$S" timeout 100 "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics \
	off \
	--interface s0 --interface lo --xdp native "${options[@]}" >"$T/failed.log" 2>&1 ||
	grep -c 'lo has no native XDP' "$T/failed.log")"
same "a start that fails leaves the lease as it was" "$until" "$(lease_until)"
probe_until_open afterwards
holds "the shut model is served after that lease" \
	"j('afterwards')['rows'][-1][:2] == ['shut', 200] and
	 all(x[2] < $until for x in j('afterwards')['rows'] if x[1] == 429)"

# No daemon starts again. sluicectl detach works without one.
check "sluicectl detach cleans up after a dead daemon" ctl detach --pin-dir "$PIN"
check "it leaves no pin" test ! -e "$PIN"
same "it leaves no program" "" \
	"$(on "$S" bpftool -j net show | "$PY" -c 'import json, sys
print(*[x for part in json.load(sys.stdin) for x in part.values() if x])')"

done_here
