#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Adaptive admission between clients: a light client beside a heavy one is served, and the heavy one has the rest.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# Some 30 requests a second are what it can do, and four times that come.
mock --model llama,slots=8,prefill-ms=60,token-ms=10,tokens=20
sluice --listen "$PORT=llama" --ttft-threshold-ms 500

start heavy "$C" "$B/loadgen" --json --connect "$S4:$PORT" --rate 120 --duration 20 --new-connections --timeout 30 \
	--model llama --bind "$C4B"
HEAVY=$PID
await 15 "r['rejected'] > 20"
load --connect "$S4:$PORT" --model llama --rate 2 --requests 30 --bind "$C4" >"$T/light.json"
wait "$HEAVY" || true
cp "$T/heavy.log" "$T/heavy.json"
holds "a light client beside a heavy one is served" "j('light')['completed'] >= 27"
holds "the heavy one is refused, for its share among other reasons" \
	"j('heavy')['status']['429'] > 500 and s['rejected_by_reason']['client-share'] > 0"
holds "and has what the light one leaves" "j('heavy')['completed'] > 200"

done_here
