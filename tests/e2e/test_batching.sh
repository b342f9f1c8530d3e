#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The tools of the wire comparison, without sluice. The mock server's engine keeps its times, and
# agrees on the wire with the simulator of the same trace. The load generator replays a trace as its
# options say, and its sums add up.
# Runs alone: it compares times.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

engine=(slots=4 prefill-tokens-per-s=8000 step-ms=10 step-ms-per-seq=1 chunk=128 kv-tokens=6000)
mock --model m --engine "$(IFS=,; echo "${engine[*]}")"
empty="mock['engine'] ==
	{'queued': 0, 'decoding': 0, 'kv_used': 0, 'preempted': mock['engine']['preempted']}"

# One trace of sixty requests in 12 s, and one of two requests that do not overlap.
"$PY" - "$T" <<'PYTHON'
import sys
def write(name, rows):
    with open(f"{sys.argv[1]}/{name}.csv", "w") as f:
        f.write("TIMESTAMP,ContextTokens,GeneratedTokens\r\n")
        for at, prompt, tokens in rows:
            f.write(f"2023-11-16 18:15:{at:010.7f},{prompt},{tokens}\r\n")
write("sixty", [(i * 0.2 + (0.1 if i >= 30 else 0), 100 + i * 37 % 900, 1 + i * 13 % 40)
                for i in range(60)])
write("alone", [(0, 1024, 21), (10, 1024, 21)])
PYTHON

# 1024 tokens are 8 chunks of 10 ms + 16 ms; each token is a step of 11 ms.
load --connect "$S4:$PORT" --model m --trace "$T/alone.csv" --speed 10 >"$T/alone.json"
holds "a request alone waits for its own prompt and decodes at the engine's pace" \
	"207 < j('alone')['ttft_ms']['min'] and j('alone')['ttft_ms']['p50'] < 240 and
	 10 < j('alone')['request_itl_ms']['min'] and j('alone')['request_itl_ms']['p50'] < 12"
holds "prompt and answer have the trace's token counts" \
	"j('alone')['itl_ms']['n'] == 2 * 21 and j('alone')['load']['arrived'] == 2"

# The simulator and the wire.
"$B/sluice-sim" --json --trace "$T/sixty.csv" --speed 1 --requests 60 --policy none --slots 4 \
	--prefill-tokens-per-s 8000 --step-ms 10 --step-ms-per-seq 1 --chunk 128 --kv-tokens 6000 \
	--ttft-threshold-ms 400 --itl-threshold-ms 40 >"$T/sim.json"
load --connect "$S4:$PORT" --model m --trace "$T/sixty.csv" --speed 1 --ttft-target-ms 400 \
	--itl-target-ms 40 --series "$T/series.csv" >"$T/wire.json"
holds "the wire and the simulator agree on met targets and on the median TTFT" \
	"abs(j('sim')['policies'][0]['met'] - j('wire')['load']['met']) <= 3 and
	 close(j('wire')['ttft_ms']['p50'], j('sim')['policies'][0]['ttft_p50_ms'], 0.1)"
holds "each request has one outcome, in its second and in its prompt-length class" \
	"all(sum(x[k] for k in ('met', 'missed', 'refused')) == x['arrived']
	     for x in [j('wire')['load'], *j('wire')['load']['by_prompt']]) and
	 j('wire')['load']['arrived'] == 60 and
	 sum(x['arrived'] for x in j('wire')['load']['by_prompt']) == 60"
same "the series has every request, second by second" \
	"12 60 $("$PY" -c "import json; print(json.load(open('$T/wire.json'))['load']['met'])")" \
	"$(awk -F, 'NR > 1 { n++; a += $2; m += $3; bad += $2 != $3 + $4 + $5 }
		END { print n, a, m (bad ? " and they do not add up" : "") }' "$T/series.csv")"

# Ten requests, from the 21st on, in two seconds.
load --connect "$S4:$PORT" --model m --trace "$T/sixty.csv" --trace-from 20 --load-rate 5 \
	--duration 2 >"$T/part.json"
holds "a window of the trace is stretched to the requested rate" \
	"j('part')['sent'] == 10 and close(j('part')['load']['seconds'], 2, 0.01) and
	 j('part')['load']['met'] == 10"

# Clients that hang up at every stage: nothing of them stays in the engine.
load --connect "$S4:$PORT" --model m --trace "$T/sixty.csv" --speed 10 --timeout 0.25 \
	>"$T/gone.json"
holds --within 2 "the engine drops the requests of clients that hang up" \
	"mock['cancelled'] > 10 and $empty"
holds "the load generator counts them as missed" \
	"j('gone')['load']['missed'] >= j('gone')['outcomes']['timeout'] > 10"

# A stuck engine sends nothing; then it continues where it stopped.
mock_set m stuck=1
load --connect "$S4:$PORT" --model m --requests 1 --max-tokens 3 --timeout 1 >"$T/stuck.json"
holds "a stuck engine gives no token" \
	"j('stuck')['outcomes']['timeout'] == 1 and j('stuck')['ttft_ms']['n'] == 0"
mock_set m stuck=0
load --connect "$S4:$PORT" --model m --requests 1 --max-tokens 3 --timeout 5 >"$T/again.json"
holds "the engine continues when it is no longer stuck" \
	"j('again')['outcomes']['ok'] == 1 and j('again')['ttft_ms']['max'] < 100 and $empty"

done_here
