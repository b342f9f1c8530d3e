# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash
#
# Clients that send in rounds, on connections that go on from round to round (life.py). A case
# sources lib.sh first.

ROUND=0

# rounds HOSTS N: starts N clients, $LIFE. They connect in their first round.
rounds() {
	ROUND=0
	rm -rf "$T/rounds"
	mkdir "$T/rounds"
	start life "$C" "$PY" "$HERE/life.py" "$1" "$PORT" "$2" "$T/rounds"
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
