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

# On a server of few slots a heavy client holds no more places than others do, but always does: here never more than three.
# It is known by what it was let in.
finish "$DAEMON" TERM
ctl detach --pin-dir "$PIN" >/dev/null
finish "$MOCK" TERM
mock --model llama,slots=4,prefill-ms=40,token-ms=10,tokens=20
sluice --listen "$PORT=llama" --ttft-threshold-ms 300
bind=()
for i in 1 2 3 4 5 6 7 8; do
	on "$C" ip addr add "10.77.0.6$i/24" dev c0
	bind+=(--bind "10.77.0.6$i")
done
start few "$C" "$B/loadgen" --json --connect "$S4:$PORT" --concurrency 3 --duration 25 --timeout 30 --model llama --bind "$C4B"
HEAVY=$PID
load --connect "$S4:$PORT" --model llama --rate 4 --requests 80 "${bind[@]}" >"$T/crowd.json"
ctl explain "$C4B" --json >"$T/ahead.json"
ctl explain 10.77.0.61 --json >"$T/behind.json"
wait "$HEAVY" || true
mv "$T/few.log" "$T/few.json"
holds "it is above its share with a place or three, by what it was let in" \
	"j('ahead')['admission']['above_share'] and j('ahead')['admission']['client_in_flight'] <= 3 and j('ahead')['admission']['client_excess'] > 4"
holds "the others are not" "not j('behind')['admission']['above_share'] and j('behind')['admission']['client_excess'] < 4"
holds "it is refused for its share" "s['rejected_by_reason']['client-share'] > 0 and '429' in j('few')['status']"
holds "they are served beside it" "j('crowd')['completed'] >= 72"

done_here
