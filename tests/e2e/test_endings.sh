#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 8: counts do not drift. In flight and waiting are exact while requests run, and
# zero after their end. That holds for every kind of end: a whole response; a client that resets,
# closes, half-closes or is killed while it waits; a killed server. A thousand refusals leave
# nothing, either.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

models=(--model "m,prefill-ms=20,token-ms=10,tokens=2000,slots=8" --model "never,stuck=1"
	--model "short,prefill-ms=5,token-ms=1,tokens=4,slots=64")
mock "${models[@]}"
sluice --listen "$PORT"

zero() { # zero SENTENCE
	holds --within 10 "$1" \
		"s['global']['in_flight'] == 0 and s['global']['waiting'] == 0 and
		 all(x['in_flight'] == 0 and x['waiting'] == 0 for x in m.values())"
}

load --connect "$S4:$PORT" --model short --requests 200 --concurrency 20 >"$T/short.json"
holds "200 requests are 200 admissions" "j('short')['completed'] == 200 == r['admitted']"
zero "nothing is in flight after they have ended"

load --connect "$S4:$PORT" --model m --requests 1 --max-tokens 2 >"$T/learned.json"
await 3 "'m' in m"

# leave HOW COUNT: opens COUNT streams; after a line on descriptor 7 their client leaves.
leave() {
	mkfifo "$T/go-$1"
	on "$C" "$PY" "$HERE/peers.py" leave "$S4" "$PORT" --model m --stream --max-tokens 2000 \
		--count "$2" --how "$1" <"$T/go-$1" >"$T/leave-$1.log" 2>&1 9>&- &
	PID=$!
	PIDS+=("$PID")
	exec 7>"$T/go-$1"
	holds --within 5 "in flight is $2 with $2 open streams ($1)" \
		"m['m']['in_flight'] == $2 and m['m']['waiting'] == 0"
}

for how in rst fin half; do
	leave $how 5
	echo go >&7
	wait "$PID"
	zero "in flight returns to 0 when the client leaves in mid-stream ($how)"
done

start waiting "$C" "$B/loadgen" --connect "$S4:$PORT" --model never --requests 7 --concurrency 7 \
	--timeout 100
WAITING=$PID
holds --within 5 "requests without a first token are waiting" \
	"m['other']['waiting'] == 7 and m['other']['in_flight'] == 7 if 'other' in m else
	 m['never']['waiting'] == 7"
finish "$WAITING"
zero "waiting returns to 0 when the clients are killed"

leave read 5
finish "$MOCK" KILL
exec 7>&-
wait "$PID" || true
zero "in flight returns to 0 when the server is killed in mid-stream"
mock "${models[@]}"

holds "the daemon runs on and has lost no sample" \
	"s['detaching'] is False and s['lost_samples'] == 0"

# A thousand refusals.
shut short
before=$(value "[r['rejected'], r['admitted'], mock['requests_complete']]")
load --connect "$S4:$PORT" --model short --requests 1000 --concurrency 50 \
	--header 'Connection: close' >"$T/refused.json"
await 3 "s['maps']['tombstones']['entries'] > 0" # the daemon reads the map's fill once a second
holds "each of 1,000 refused requests gets a whole 429 and a clean end" \
	"j('refused')['status'] == {'429': 1000} and
	 j('refused')['outcomes']['clean_eof_after_close'] == 1000 and
	 j('refused')['body_length_429']['equal'] == 1000"
holds "sluice counts 1,000 refusals and no admission" \
	"[r['rejected'], r['admitted'], mock['requests_complete']] ==
	 [${before}[0] + 1000, ${before}[1], ${before}[2]]"
holds "the counts by reason, service and client agree" \
	"s['rejected_by_reason']['ttft'] == r['rejected'] == v[$PORT]['rejected'] ==
	 sum(x['rejected'] for x in ctl('clients')['clients'])"
zero "refusals are not in flight"
holds "the server has no connection of them left" "sockets('s') == []"
holds --within 15 "the tombstones drain" "s['maps']['tombstones']['entries'] == 0"
holds --within 15 "no ended connection is left in conns" "s['maps']['conns']['entries'] == 0"
holds "no map was full" "all(not x['full'] for x in s['maps'].values())"

done_here
