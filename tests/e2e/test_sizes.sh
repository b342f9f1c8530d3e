#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The maps have the sizes of max-connections, max-clients and max-models. A restart with other ones
# loses nothing that is in them, under load; a map that is too small for all keeps those used last,
# and the log says how many were left out. A start without the memory names setting and limit.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/rounds.sh
. "$HERE/rounds.sh"

CROWD=1500
cat >"$T/sluice.yaml" <<END
services:
  - {listen: $PORT, keep: on}
models:
  - name: closed
END
# Connections of $C4B that are all open at once. For each file $T/go.N, N from 0 on, each of them
# sends a request, and how many got which status is a line of crowd.log.
cat >"$T/crowd.py" <<END
import collections, hashlib, json, os, socket, time
body = b'{"model":"open"}'
head = (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX-Digest: %s\r\nX-More: 1\r\n"
        b"Content-Length: %d\r\n\r\n" % (hashlib.sha256(body).hexdigest().encode(), len(body)))
socks = [socket.create_connection(("$S4", $PORT), 60, ("$C4B", 0)) for _ in range($CROWD)]
print("ready", flush=True)
done = 0
while True:
    while not os.path.exists("$T/go.%d" % done):
        time.sleep(0.02)
    done += 1
    seen = collections.Counter()
    for sock in socks:
        try:
            sock.sendall(head + body)
            data = sock.recv(4096)
            while data and len(data.split(b"\r\n\r\n", 1)[-1]) < 65:
                data += sock.recv(4096)
            seen[data.split(b" ", 2)[1].decode()] += 1
        except (OSError, IndexError) as e:
            seen[repr(e)] += 1
    print(json.dumps(seen), flush=True)
END
ASKED=0
ask() { # ask SENTENCE: each connection of the crowd is answered
	: >"$T/go.$ASKED"
	ASKED=$((ASKED + 1))
	await 60 "len(log('crowd').split('\n')) > $ASKED + 1"
	same "$1" "{\"200\": $CROWD}" "$(tail -n 1 "$T/crowd.log")"
}

ulimit -n 8192
start echo "$S" "$PY" "$HERE/echo.py" "0.0.0.0,::" "$PORT"
await_line echo ready "$PID"
sizes() { sluice --config "$T/sluice.yaml" "$@"; }
sizes
holds "the maps have the sizes of the defaults" \
	"s['maps']['conns']['max'] == 16384 and s['maps']['half_open']['max'] == 65536 and
	 s['maps']['client_state']['max'] == 65536"
taken=0
for map in "$PIN"/*; do
	[[ -d $map ]] || taken=$((taken + $(bpftool -j map show pinned "$map" |
		"$PY" -c 'import json, sys; print(json.load(sys.stdin)["bytes_memlock"])')))
done
check "they take less than 80 MiB" test "$taken" -gt 20000000 -a "$taken" -lt $((80 << 20))
echo "# they take $((taken >> 20)) MiB"
finish "$DAEMON"
sizes --max-connections 4096
ctl block "$C4" --model closed >/dev/null
ctl block fd77:0:0:1::/64 --model closed >/dev/null
ctl quota set 10.77.0.0/16 requests=$((4 * CROWD))/31d >/dev/null
start crowd "$C" "$PY" "$T/crowd.py"
await_line crowd ready "$PID"
ask "a crowd is answered"
left() {
	ctl explain "$C4B" --model open --json |
		"$PY" -c 'import json, sys; print(json.load(sys.stdin)["quota"]["requests"]["remaining"])'
}
rounds "$S4,$S6" 8
round
round

# resized SENTENCE OPTION…: another daemon, under load.
resized() {
	local sentence=$1 since=$ROUND keeper more

	shift
	rm -f "$T/stop"
	keep_on &
	keeper=$!
	await 5 "len(log('life').split('\n')) > $((since + 3))"
	finish "$DAEMON"
	sizes "$@"
	more=$(value "len(log('life').split('\n'))")
	await 5 "len(log('life').split('\n')) > $more + 2"
	: >"$T/stop"
	wait "$keeper"
	ROUND=$(cat "$T/last_round")
	check "$sentence: kept connections go on, each request is refused as before" \
		all_rounds "$since" 8
}
resized "larger maps" --max-connections 8192 --max-clients 65536
check "… hold all of the smaller ones" grep -q "new maps for .*conns.*; nothing is left out" \
	"$T/daemon.log"
holds "… and have room" "s['maps']['conns']['max'] == 8192 and
	s['maps']['conns']['entries'] >= $CROWD and s['maps']['client_state']['max'] == 131072"
spent=$(left)
ask "… the crowd is answered"
spent=$((spent - $(left)))
check "… each request is charged to the budget that was there" \
	test $((CROWD - spent)) -le 2 -a "$spent" -le "$CROWD"
resized "smaller maps" --max-connections 1024
check "… keep what was used last, and say how much is left out" \
	grep -qE "new maps for .*; not carried: [0-9]+ of conns" "$T/daemon.log"
holds "… of which the idlest give way, as always" \
	"s['maps']['conns']['max'] == 1024 and s['maps']['conns']['entries'] >= 768"
ask "… the crowd is answered"
finish "$DAEMON"

# A cgroup with less memory than the maps of max-connections take: of v2, or of v1.
group=$(sed -n 's/^0:://p' /proc/self/cgroup)
if grep -qw memory "/sys/fs/cgroup$group/cgroup.controllers" 2>/dev/null; then
	group=/sys/fs/cgroup/sl-sizes
	limit=memory.max
else
	group=/sys/fs/cgroup/memory$(sed -n 's/.*:memory://p' /proc/self/cgroup)/sl-sizes
	limit=memory.limit_in_bytes
fi
rmdir "$group" 2>/dev/null || true
mkdir "$group"
echo 100M >"$group/$limit"
status=0
(
	echo "$BASHPID" >"$group/cgroup.procs"
	on "$S" "$B/sluiced" --config "$T/sluice.yaml" --pin-dir "$PIN" --interface s0 \
		--control "$T/control.sock" --metrics off --max-connections 200000
) >"$T/daemon.log" 2>&1 || status=$?
rmdir "$group"
same "a start without the memory fails" 1 "$status"
check "… and says for which setting, how much that is, and which limit it met" grep -qE \
	"no memory for the map [a-z_]+, [0-9]+ MiB by max-connections; .*/sl-sizes may use 100 MiB" \
	"$T/daemon.log"
sizes --max-models 16
holds "what was there is still there" "s['maps']['conns']['entries'] >= 700"
histograms() {
	bpftool -j map show pinned "$PIN/histograms" |
		"$PY" -c 'import json, sys; print(json.load(sys.stdin)["max_entries"])'
}
same "there is room for the histograms of as many models as set" 18 "$(histograms)"
# names FIRST: 40 requests of the crowd's kind, each with a name of its own.
cat >"$T/names.py" <<END
import hashlib, json, socket, sys
sock, answers = socket.create_connection(("$S4", $PORT), 60), 0
for i in range(int(sys.argv[1]), int(sys.argv[1]) + 40):
    body = b'{"model":"invented-%d"}' % i
    sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX-Digest: %s\r\nX-More: 1\r\n"
                 b"Content-Length: %d\r\n\r\n%s" % (hashlib.sha256(body).hexdigest().encode(),
                                                  len(body), body))
    data = sock.recv(4096)
    while data and len(data.split(b"\r\n\r\n", 1)[-1]) < 65:
        data += sock.recv(4096)
    answers += data.startswith(b"HTTP/1.1 200 ")
print(json.dumps(answers))
END
names() { on "$C" "$PY" "$T/names.py" "$1" >"$T/names.json"; }
names 0
holds --within 3 "further names are not learned, and count as 'other'" \
	"j('names') == 40 and s['maps']['model_ids']['entries'] <= 16 and
	 'other' in m and 'invented-39' not in m and s['names_refused'] > 20"
finish "$DAEMON"
sizes
same "a larger number gives room" 1024 "$(histograms)"
names 100
holds --within 3 "… for names" "s['maps']['model_ids']['entries'] > 40"
finish "$DAEMON"
sizes --max-models 16
check "a lower one waits while names have higher numbers, and the log says so" \
	grep -qE "max-models is 16, but there is room for [45][0-9]: " "$T/daemon.log"
holds "… and none is lost" "s['maps']['model_ids']['entries'] > 40 and 'invented-139' in m"
done_here
