#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Clients that do not read cannot hold a server's slots. Twenty streams from eight addresses are
# read slowly or not at all, and take all sixteen slots. After ten seconds they hold none, and
# honest requests complete. A client with eight such streams gets no further request admitted.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

for i in {10..17}; do on "$C" ip addr add "10.77.0.$i/24" dev c0; done
mock --model llama,prefill-ms=5,token-ms=1,tokens=4000,slots=200
sluice --listen "$PORT" --policy ema-flag --ttft-threshold-ms 60000 --itl-threshold-ms 60000
load --connect "$S4:$PORT" --model llama --requests 3 --max-tokens 3 >"$T/warm.json"
await 3 "m['llama']['ttft_samples'] > 0"
ctl set --model llama max-in-flight=16 >/dev/null

start hoard "$C" "$PY" "$HERE/hoard.py" "$S4" 20 llama 10.77.0.1{0..7}
HOARD=$PID
await_line hoard begun
holds --within 3 "twenty streams that nobody reads take all sixteen slots" \
	"m['llama']['in_flight'] == 16 and s['rejected_by_reason']['in-flight'] == 4"
load --connect "$S4:$PORT" --model llama --requests 5 --max-tokens 20 >"$T/early.json"
holds "honest requests are refused meanwhile" "j('early')['status'] == {'429': 5}"
holds --within 15 "after ten seconds the streams hold no slot, and count as stalled" \
	"m['llama']['in_flight'] == 0 and m['llama']['stalled'] == 16 and
	 k['stalls-released'] == 16"
load --connect "$S4:$PORT" --model llama --requests 200 --concurrency 8 --max-tokens 20 \
	>"$T/late.json"
holds "then every honest request completes" "j('late')['completed'] == 200"

kill -USR1 "$HOARD"
wait "$HOARD" || true
grep '^{' "$T/hoard.log" >"$T/hoard.json" || true
holds --within 3 "the streams are untouched, and their ends leave nothing behind" \
	"j('hoard')['whole'] == 16 and m['llama']['stalled'] == m['llama']['in_flight'] == 0"

ctl set --model llama max-in-flight=none >/dev/null
start hoard "$C" "$PY" "$HERE/hoard.py" "$S4" 8 llama 10.77.0.10
HOARD=$PID
await_line hoard begun
await 15 "m['llama']['stalled'] == 8"
explained() { ctl explain 10.77.0.10 --model llama --json; }
load --connect "$S4:$PORT" --model llama --requests 3 --bind 10.77.0.10 >"$T/full.json"
load --connect "$S4:$PORT" --model llama --requests 3 --max-tokens 20 >"$T/other.json"
explained >"$T/explain.json"
holds "a client with eight stalled responses gets no more, and others do" \
	"j('full')['status'] == {'429': 3} and j('other')['completed'] == 3 and
	 s['rejected_by_reason']['stalled-responses'] == 3"
holds "explain says so" "j('explain')['reason'] == 'stalled-responses'"
kill -USR1 "$HOARD"
wait "$HOARD" || true
load --connect "$S4:$PORT" --model llama --requests 3 --max-tokens 20 --bind 10.77.0.10 \
	>"$T/again.json"
holds "once it has read them it is admitted again" "j('again')['completed'] == 3"

done_here
