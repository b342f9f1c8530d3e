#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# `watch` and its summaries go on when the daemon is replaced: they say that none answers, and then
# show what the next one does. No refusal of the time between is missing in the sums.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

watches() { # watches NAME OPTION…: watches into $T/NAME.log
	start "$1" "$S" "$B/sluicectl" --control "$T/control.sock" watch "${@:2}"
}
ask() { # sends one request; all but the first are refused
	on "$C" curl -sS -m 5 -o /dev/null --json '{"model":"llama"}' \
		"http://$S4:$PORT/v1/chat/completions"
}
sum() { # of the refusals in the summaries
	"$PY" -c 'import json, sys
print(sum(json.loads(l)["requests"]["rejected"] for l in open(sys.argv[1]) if l[0] == "{"))' \
		"$T/sums.log"
}
same_sum() { [[ $(sum) == "$1" ]]; }

check "without a daemon at its start it ends" sh -c \
	"'$B/sluicectl' --control '$T/control.sock' watch --summary 1s 2>'$T/why'; [ \$? = 3 ]"
mock --model llama,prefill-ms=5,token-ms=2,tokens=4,slots=64
sluice --listen "$PORT"
ctl quota set "$C4" requests=1/1h >/dev/null
ask # the one that it may
watches events
watches text --summary 1s
watches sums --summary 1s --json
await_line text ".*quiet: no requests"
await_line sums ".*requests"
ask
await_line events ".*refused .*$C4"
eventually 10 same_sum 1 || say_not_ok "a summary has the refusal" "$(sum)"
before=$(wc -l <"$T/events.log")
finish "$DAEMON" KILL
ask # the programs refuse while the lease lasts
await_line events "sluicectl: the daemon at .* went away"
await_line text "[0-9:]*  no daemon answers at $T/control.sock: "
await_line sums "sluicectl: no daemon answers at "
sluice --listen "$PORT"
await_line events "sluicectl: a daemon answers again"
ask
eventually 10 sh -c "tail -n +$((before + 1)) '$T/events.log' | grep -q 'refused .*$C4'" ||
	say_not_ok "watch goes on with the next daemon" "$(cat "$T/events.log")"
eventually 10 same_sum 3 || say_not_ok "the summaries have all refusals" "$(sum)"
same "the summaries have the refusals of the time between, too" 3 "$(sum)"
check "a summary tells of the new daemon" grep -q 'a new daemon runs' "$T/text.log"

done_here
