# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash
#
# Clients that send in rounds, on connections that go on from round to round (life.py). A case
# sources lib.sh first.

ROUND=0

# rounds HOSTS N [NAMESPACE]: starts N clients, $LIFE. They connect in their first round.
rounds() {
	ROUND=0
	rm -rf "$T/rounds"
	mkdir "$T/rounds"
	start life "${3-$C}" "$PY" "$HERE/life.py" "$1" "$PORT" "$2" "$T/rounds"
	LIFE=$PID
	await_line life ready "$LIFE"
}

# round: each connection sends four requests. What they saw is in round.json.
round() {
	ROUND=$((ROUND + 1))
	: >"$T/rounds/$ROUND"
	await 30 "len(log('life').split('\n')) > $ROUND + 1"
	sed -n "$((ROUND + 1))p" "$T/life.log" >"$T/round.json"
}

# keep_on: rounds until the file $T/stop is there. The number of the last is in $T/last_round.
keep_on() {
	while [[ ! -e $T/stop ]]; do
		ROUND=$((ROUND + 1))
		: >"$T/rounds/$ROUND"
		until (($(wc -l <"$T/life.log") > ROUND)); do
			kill -0 "$LIFE" || return
			sleep 0.01
		done
	done
	echo "$ROUND" >"$T/last_round"
}

# all_rounds N CLIENTS [CLOSED]: each round after the N-th was whole: every request for "closed" was
# refused, nothing else, and no connection ended. With CLOSED, so many may have ended by a refusal.
all_rounds() {
	"$PY" - "$T/life.log" "$@" <<'END'
import json, sys
with open(sys.argv[1], encoding="utf-8") as f:
    rounds = [json.loads(line) for line in f.read().splitlines()[1:]]
rounds = rounds[int(sys.argv[2]):]
n = int(sys.argv[3])
may_close = int(sys.argv[4]) if len(sys.argv) > 4 else 0
assert len(rounds) > 1, "no round"
for i, r in enumerate(rounds):
    closed = r.pop("closed", 0)
    assert closed <= may_close, f"{i} of {len(rounds)}: {closed} closed"
    may_close -= closed
    assert r == {"open-200": 2 * n, "closed-429": 2 * n, "kept": n}, f"{i} of {len(rounds)}: {r}"
END
}
