#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Adaptive admission between clients, classes and models: a light client beside a heavy one is served, what is urgent
# goes before what is not, and models that share one GPU share one law.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# Some 30 requests a second are what a model of these can do, and four times that come.
one=slots=8,prefill-ms=60,token-ms=10,tokens=20
mock --model llama,$one --model a,$one --model b,$one
cat >"$T/sluice.yaml" <<END
interfaces: [s0]
services:
  - listen: $PORT
    model: llama
    priority-header: X-Priority
    priority-values: {interactive: high, batch: low}
ttft-threshold-ms: 500
models:
  - name: a
    group: gpu0
  - name: b
    group: gpu0
END
interfaces=()
sluice --config "$T/sluice.yaml"

# beside NAME OPTION…: heavy load in the background, of requests with these options
beside() {
	start "$1" "$C" "$B/loadgen" --json --connect "$S4:$PORT" --rate 120 --duration 20 --new-connections \
		--timeout 30 "${@:2}"
	HEAVY=$PID
	await 15 "r['rejected'] > $(value "r['rejected']") + 20"
}

wait_heavy() {
	wait "$HEAVY" || true
	cp "$T/$1.log" "$T/$1.json"
	await 10 "all(x['in_flight'] == 0 for x in s['models'])"
}

beside heavy --model llama --bind "$C4B"
load --connect "$S4:$PORT" --model llama --rate 2 --requests 30 --bind "$C4" >"$T/light.json"
wait_heavy heavy
holds "a light client beside a heavy one is served" "j('light')['completed'] >= 27"
holds "the heavy one is refused, for its share among other reasons" \
	"j('heavy')['status']['429'] > 500 and s['rejected_by_reason']['client-share'] > 0"
holds "and has what the light one leaves" "j('heavy')['completed'] > 200"

beside batch --model llama --header 'X-Priority: batch'
load --connect "$S4:$PORT" --model llama --rate 2 --requests 30 --header 'X-Priority: interactive' >"$T/urgent.json"
wait_heavy batch
holds "what is urgent goes before what is not, of the same client" "j('urgent')['completed'] >= 27"
holds "what is not has the rest" "j('batch')['completed'] > 200 and j('batch')['status']['429'] > 500"

beside group --model a --model b
holds "models of one group share one law" \
	"(lambda g: g['limit'] is not None and m['a']['group'] == m['b']['group'] and m['a']['in_flight'] <= g['limit'] and m['b']['in_flight'] <= g['limit'])(next(x for x in s['models'] if 'gpu0' in x['name']))"
wait_heavy group
holds "both are served, and both refused" \
	"all(j('group')['by_model'][x]['completed'] > 50 and j('group')['by_model'][x]['status']['429'] > 100 for x in ('a', 'b'))"

done_here
