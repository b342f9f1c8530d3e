#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# An upgrade to a version with other structs in its maps, and back, under load: rules, quotas and
# what is spent of them, weights, classes, learned models, a drain and kept connections stay, and no
# request passes that should not.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/rounds.sh
. "$HERE/rounds.sh"
# shellcheck source=tests/e2e/next_version.sh
. "$HERE/next_version.sh"

NOW=$B
next_version

version() { B=$1 sluice --config "$T/sluice.yaml"; }
cat >"$T/sluice.yaml" <<END
services:
  - {listen: $PORT, keep: on}
models:
  - name: closed
quotas:
  - {client: 10.77.0.77, requests: 3/1h}
priorities:
  - {client: 10.77.0.4, class: high}
END
# Requests of $C4B, each on a connection of its own, until the file $T/stop is there: how many got
# which status. It has a budget of 20.
greedy() {
	rm -f "$T/stop" "$T/greedy.json"
	cat >"$T/greedy.py" <<END
import collections, hashlib, json, os, socket
seen = collections.Counter()
body = b'{"model":"open"}'
head = (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX-Digest: %s\r\nX-More: 1\r\n"
        b"Content-Length: %d\r\n\r\n" % (hashlib.sha256(body).hexdigest().encode(), len(body)))
print("ready", flush=True)
while not os.path.exists("$T/stop"):
    try:
        with socket.create_connection(("$S4", $PORT), 20, ("$C4B", 0)) as sock:
            sock.sendall(head + body)
            seen[sock.recv(4096).split(b" ", 2)[1].decode()] += 1
    except (OSError, IndexError) as e:
        seen[repr(e)] += 1
    with open("$T/greedy.tmp", "w") as f:
        json.dump(seen, f)
    os.rename("$T/greedy.tmp", "$T/greedy.json")
END
	start greedy "$C" "$PY" "$T/greedy.py"
	GREEDY=$PID
	await_line greedy ready "$GREEDY"
}

# What operators said, and what was learned.
what_was_said() {
	ctl quota show --json
	for client in "$C4" 10.77.0.9 10.77.0.4 10.9.9.9 fd77:0:0:9::/64; do
		ctl explain "$client" --model closed --json | "$PY" -c '
import json, sys
e = json.load(sys.stdin)
if e["rule"]:
    e["rule"]["expires_in_ms"] = 0 < (e["rule"]["expires_in_ms"] or 0) <= 7200000
print({k: e[k] for k in ("verdict", "reason", "weight", "class", "rule") if k in e})'
	done
	bpftool -j map dump pinned "$PIN/model_ids" |
		"$PY" -c 'import json, sys; print(sorted(str(e["formatted"]) for e in json.load(sys.stdin)))'
}

start echo "$S" "$PY" "$HERE/echo.py" "0.0.0.0,::" "$PORT"
await_line echo ready "$PID"
version "$NOW"
ctl block "$C4" --model closed >/dev/null
ctl block fd77:0:0:1::/64 --model closed >/dev/null
ctl block 10.9.0.0/16 --for 2h >/dev/null
ctl allow 10.77.0.9 >/dev/null
ctl quota set "$C4B" requests=20/100h >/dev/null
ctl quota set fd77:0:0:9::/64 weight=2 >/dev/null
ctl quota set 10.77.0.4 tokens=500/1h --model closed >/dev/null
rounds "$S4,$S6" 8
round
round

# passes FROM TO SENTENCE: from one version to the other, under load.
passes() {
	local since

	what_was_said >"$T/before"
	greedy
	since=$ROUND
	keep_on &
	local keeper=$!
	await 5 "j('greedy').get('429', 0) > 20 and len(log('life').split('\n')) > $((since + 3))"
	finish "$DAEMON"
	version "$1"
	local more
	more=$(value "len(log('life').split('\n'))")
	await 5 "len(log('life').split('\n')) > $more + 2"
	: >"$T/stop"
	wait "$GREEDY" "$keeper"
	ROUND=$(cat "$T/last_round")
	# The other version knows no connection. The first refusal of one ends it, unless a request
	# has been admitted there before.
	check "$2: kept connections go on, each request is refused as before" \
		all_rounds "$since" 8 8
	what_was_said >"$T/after"
	check "… rules, quotas, weights, classes and learned models are there" \
		diff "$T/before" "$T/after"
	check "… in one line that says what is not" grep -q \
		"carried over what was pinned in $PIN: it was of ABI version" "$T/daemon.log"
}

passes "$NEXT" "an upgrade"
holds "… and the budget is spent to its end, no further" \
	"set(j('greedy')) == {'200', '429'} and j('greedy')['200'] == 20"
check "the requests that are under way are named" grep -q "not carried:.* conns" "$T/daemon.log"
passes "$NOW" "a downgrade"
holds "… and the budget stays spent" "set(j('greedy')) == {'429'}"

since=$ROUND
for to in "$NEXT" "$NOW"; do
	round
	finish "$DAEMON"
	version "$to"
	round
done
check "between two rounds, no connection ends with either" all_rounds "$since" 8

ctl drain --for 1h --status 429 >/dev/null
finish "$DAEMON"
version "$NEXT"
holds "a drain outlives an upgrade" "s['drain']['status'] == 429"
finish "$DAEMON" KILL
version "$NOW"
holds "… and a downgrade" "s['drain']['status'] == 429"
check "nothing of the other version is left in the pins" test ! -e "$PIN/next_map"
finish "$DAEMON"
version "$NEXT"
finish "$DAEMON" KILL
check "detach removes the other version's pins, too" \
	on "$S" "$B/sluicectl" --control "$T/control.sock" detach --pin-dir "$PIN"
check "… all of them" test ! -e "$PIN"
done_here
