#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A record for later: `sluicectl record` writes what passed. Its rows are as many as sluice counts,
# and sluice-sim plays them. A reader that lags loses rows, and gets their count. A record goes on
# with the next daemon, and says so.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

METRICS=127.0.0.1:9464

# record NAME OPTION…: starts a record in $T/NAME.csv; its pid is in $RECORD.
record() {
	start "$1" "$S" "$B/sluicectl" --control "$T/control.sock" record "$T/$1.csv" "${@:2}"
	RECORD=$PID
	eventually 10 test -s "$T/$1.csv"
}

# Waits until the record has so many rows.
rows() { # NAME N
	eventually 10 sh -c "[ \$(wc -l <'$T/$1.csv') -eq $(($2 + 1)) ]" ||
		say_not_ok "the record $1 has $2 rows" "$(wc -l <"$T/$1.csv") lines"
}

# The rows as JSON, for j().
read_rows() {
	"$PY" -c 'import csv, json, sys
print(json.dumps(list(csv.DictReader(open(sys.argv[1])))))' "$T/$1.csv" >"$T/$1.json"
}

tokens() { # of a model, by the metric
	on "$S" curl -fsS "http://$METRICS/metrics" |
		sed -n "s/^sluice_output_tokens_total{model=\"$1\"} //p"
}

mock --model open,prefill-ms=5,token-ms=2,tokens=4,slots=64 \
	--model slow,prefill-ms=20,token-ms=1,tokens=3,slots=64 \
	--model long,prefill-ms=5,token-ms=50,tokens=1000,slots=64
sluice --listen "$PORT" --metrics "$METRICS"
shut slow
for model in open long; do
	load --connect "$S4:$PORT" --model "$model" --requests 1 --max-tokens 1 >"$T/warm.json"
done
await 3 "'open' in m and 'long' in m"
before=$(value "[r['admitted'], r['rejected']]")
tokens_before=$(tokens open)

# ---- its rows are what sluice counts ----

record night
load --connect "$S4:$PORT" --model open:1 --model slow:1 --requests 200 --concurrency 4 \
	>"$T/sent.json"
load --connect "$S4:$PORT" --model open --plain --requests 10 --bind "$C4B" >"$T/plain.json"
start cut "$C" curl -sS -N --json '{"model":"long","stream":true,"messages":[]}' \
	"http://$S4:$PORT/v1/chat/completions"
await_line cut 'data: .*"content":"[^"]' "$PID" # a token, not the opener
finish "$PID"
rows night 211
finish "$RECORD" INT
read_rows night
cp "$T/night.csv" "$T/first.csv"
holds "the rows are as many as the requests that sluice admitted and refused" \
	"[sum(x['Verdict'] == 'admitted' for x in j('night')),
	  sum(x['Verdict'] == 'rejected' for x in j('night'))] ==
	 [r['admitted'] - ${before}[0], r['rejected'] - ${before}[1]] and len(j('night')) == 211"
holds "refused rows have a reason, and neither tokens nor an end" \
	"all((x['Model'], x['Reason'], x['GeneratedTokens'], x['End']) == ('slow', 'ttft', '', '')
	     for x in j('night') if x['Verdict'] == 'rejected')"
# A stream that its client has held up has no TTFT, either.
holds "a streamed response has a TTFT, a plain one has none, and both have their tokens" \
	"all(x['GeneratedTokens'] == '4' and x['End'] == 'completed' and
	     float(x['DurationMs']) >= 5 for x in j('night') if x['Model'] == 'open') and
	 10 <= sum(x['TtftMs'] == '' for x in j('night') if x['Model'] == 'open') <
	     sum(x['Model'] == 'open' for x in j('night'))"
holds "a client that hangs up in mid-stream has departed" \
	"[(x['Model'], x['End'], int(x['GeneratedTokens']) > 0) for x in j('night')
	  if x['End'] not in ('', 'completed')] == [('long', 'departed', True)]"
completed=$(grep -c ',open,.*,completed$' "$T/night.csv")
same "the metric counts their output tokens" "$((4 * completed))" \
	"$(($(tokens open) - tokens_before))"
same "its last line has the sums" \
	"211 requests, $(grep -c rejected "$T/night.csv") of them refused; 0 lost" \
	"$(sed 's/, in [0-9hms]*;/;/' "$T/night.log")"
same "nobody else can read it" 600 "$(stat -c %a "$T/night.csv")"
same "two clients have two pseudonyms" 2 \
	"$(cut -d, -f5 "$T/night.csv" | grep '^c' | sort -u | wc -l)"
check "no address is in it" sh -c "! grep -q '10\.77\.' '$T/night.csv'"

# ---- the simulator plays it ----

"$B/sluice-sim" --trace "$T/night.csv" --policy adaptive --json >"$T/sim.json"
holds "sluice-sim plays all of it, and says beside it what was measured" \
	"j('sim')['requests'] == 211 and
	 j('sim')['recorded']['refused'] == sum(x['Verdict'] == 'rejected' for x in j('night')) and
	 j('sim')['recorded']['admitted'] + j('sim')['recorded']['refused'] == 211 and
	 j('sim')['recorded']['ttft_p50_ms'] > 0"
"$B/sluice-sim" --trace "$T/night.csv" --trace-model open --policy none --json >"$T/one.json"
same "or one model of it" "$completed" "$(value "j('one')['requests']")"

# ---- the report ----

report() { SLUICE_CONTROL=$T/control.sock PATH=$B:$ROOT/scripts:$PATH sluice-report "$@"; }
ctl set ttft=800ms >/dev/null
ENGINE="--slots 64" report "$T/night.csv" open >"$T/report"
same "the report has half of the daemon's target, the target and its double" "400 800 1600" \
	"$(sed -n 's/^ *\([0-9.]*\) ms .*/\1/p' "$T/report" | xargs)"
check "each with what was measured, and what is simulated" sh -c \
	"[ \$(grep -c ' ms  *100.0%  *[0-9.]*%  *[0-9.]*%\$' '$T/report') = 3 ]"
report "$T/night.csv" >"$T/report"
check "without a description of the server nothing is simulated" sh -c \
	"[ \$(grep -c ' ms  *100.0%  *-  *-\$' '$T/report') = 3 ]"
status=0
report "$T/none.csv" >"$T/why" 2>&1 || status=$?
same "a record that is not there is one line and exit status 1" \
	"1 sluice-report: $T/none.csv: cannot be read: No such file or directory" \
	"$status $(<"$T/why")"
mkdir "$T/nightly"
cp "$T/night.csv" "$T/nightly/record.csv"
(
	cd "$T/nightly"
	export FOR=1ms SIZE=1G PATH=$B:$ROOT/scripts:$PATH SLUICE_CONTROL=$T/control.sock
	sed -n 's,^ExecStart=\(/usr/local/sbin/\)*,,p' "$ROOT/scripts/sluice-record.service" |
		sh -eu
) >"$T/nightly.log" 2>&1 || true
check "the commands of the unit make the same report" cmp \
	<(sed "s,^$T/night.csv,record.csv," "$T/report") "$T/nightly/report.txt"

# ---- files ----

echo text >"$T/other.csv"
check "a file that is no record is not overwritten" sh -c "! '$B/sluicectl' \
	--control '$T/control.sock' record '$T/other.csv' >'$T/why' 2>&1 &&
	grep -q 'is not overwritten' '$T/why' && [ \$(wc -l <'$T/why') = 1 ] &&
	[ \"\$(cat '$T/other.csv')\" = text ]"
printf '2026-11-30 02:00:00.000,1,2,cut' >>"$T/night.csv"
record night --for 1h
eventually 10 cmp -s "$T/night.csv" "$T/first.csv" ||
	say_not_ok "a line that a crash has cut off is removed" "$(tail -n 1 "$T/night.csv")"
check "one record has one writer" sh -c "! '$B/sluicectl' --control '$T/control.sock' \
	record '$T/night.csv' 2>'$T/why' && grep -q 'another record' '$T/why'"
load --connect "$S4:$PORT" --model open --requests 5 >"$T/more.json"
rows night 216
finish "$RECORD"
check "a record is added to" cmp -n "$(stat -c %s "$T/first.csv")" "$T/first.csv" "$T/night.csv"
ctl record - --for 1ms >"$T/stdout" 2>"$T/said"
check "standard output gets the header too" grep -q '^TIMESTAMP,.*,End$' "$T/stdout"
check "and standard error the last line" grep -q '^0 requests' "$T/said"
record small --max-size 1K
load --connect "$S4:$PORT" --model open --requests 5 >"$T/more.json"
wait "$RECORD" || true
check "a record ends before it is larger than --max-size" sh -c \
	"[ \$(stat -c %s '$T/small.csv') -le 1024 ] && grep -q 'ended at --max-size' '$T/small.log'"

# Others may empty the file, as logrotate does by copytruncate.
record turned
load --connect "$S4:$PORT" --model open --requests 5 >"$T/more.json"
rows turned 5
cp "$T/turned.csv" "$T/turned.1"
: >"$T/turned.csv"
load --connect "$S4:$PORT" --model open --requests 3 >"$T/more.json"
rows turned 3
finish "$RECORD"
check "a record that others empty goes on at the file's beginning, under its header" \
	cmp -n "$(head -n 1 "$T/turned.1" | wc -c)" "$T/turned.1" "$T/turned.csv"
check "… and the simulator plays it" "$B/sluice-sim" --trace "$T/turned.csv" --policy none

# ---- a reader that lags ----

record lags
kill -STOP "$RECORD"
load --connect "$S4:$PORT" --model slow --requests 4000 --concurrency 8 >"$T/flood.json"
kill -CONT "$RECORD"
load --connect "$S4:$PORT" --model open --requests 1 >"$T/more.json"
eventually 10 grep -q ,open, "$T/lags.csv"
finish "$RECORD" INT
lost=$(sed -n 's/.*; \([0-9]*\) lost.*/\1/p' "$T/lags.log")
same "a reader that lags loses rows, and knows how many" 4001 \
	"$((lost + $(wc -l <"$T/lags.csv") - 1))"
check "it did lose some" test "$lost" -gt 0

# ---- a new daemon ----

record long
load --connect "$S4:$PORT" --model open --requests 3 >"$T/more.json"
rows long 3
finish "$DAEMON" KILL
await_line long "sluicectl: the daemon at"
long=$RECORD
record early
same "a record without a daemon says so, and waits" 1 \
	"$(grep -c '^sluicectl: no daemon answers at .*; the record begins' "$T/early.log")"
sluice --listen "$PORT" --metrics "$METRICS"
await_line long "sluicectl: a daemon answers again"
await_line early "sluicectl: a daemon answers"
load --connect "$S4:$PORT" --model open --requests 3 >"$T/more.json"
rows long 6
rows early 3
finish "$RECORD" INT
same "it then has what passes, and no other word" 3 "$(wc -l <"$T/early.log")"
RECORD=$long
same "one client keeps its pseudonym" 1 \
	"$(cut -d, -f5 "$T/long.csv" | grep '^c' | sort -u | wc -l)"
finish "$RECORD" INT
check "a record goes on with the next daemon, and says so" \
	grep -q '^6 requests.* and what came in 1 gaps without a daemon' "$T/long.log"

# Standard output may be a file of somebody's, on a disk that is full.
mkdir "$T/full"
mount -t tmpfs -o size=8k tmpfs "$T/full"
seq 1 1500 >"$T/full/notes" # leaves less than a page
cp "$T/full/notes" "$T/notes"
ctl record - >>"$T/full/notes" 2>"$T/full.log" &
FULL=$!
eventually 20 grep -q TIMESTAMP "$T/full/notes" || true
load --connect "$S4:$PORT" --model open --requests 60 >"$T/more.json"
wait "$FULL" || true
check "a record that finds no room takes nothing from a file that it adds to" \
	cmp -n "$(stat -c %s "$T/notes")" "$T/notes" "$T/full/notes"
check "… and says so" grep -q "No space left on device" "$T/full.log"
umount "$T/full"

finish "$DAEMON"
check "a record that no daemon has answered ends with status 3" sh -c \
	"'$B/sluicectl' --control '$T/control.sock' record '$T/never.csv' --for 1ms 2>'$T/why'; [ \$? = 3 ]"

done_here
