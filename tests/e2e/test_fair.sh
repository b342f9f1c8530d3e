#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Policy adaptive between clients: a light client is served, and a heavy one gets the rest.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# The server can do about 30 requests a second and gets four times that.
mock --model llama,slots=8,prefill-ms=60,token-ms=10,tokens=20
sluice --listen "$PORT=llama" --ttft-threshold-ms 500

start heavy "$C" "$B/loadgen" --json --connect "$S4:$PORT" --rate 120 --duration 20 \
	--new-connections --timeout 30 --model llama --bind "$C4B"
HEAVY=$PID
await 15 "r['rejected'] > 20"
load --connect "$S4:$PORT" --model llama --rate 2 --requests 30 --bind "$C4" >"$T/light.json"
wait "$HEAVY" || true
cp "$T/heavy.log" "$T/heavy.json"
holds "a light client is served during a heavy one's load" "j('light')['completed'] >= 27"
holds "the heavy client is refused, also for its share" \
	"j('heavy')['status']['429'] > 500 and s['rejected_by_reason']['client-share'] > 0"
holds "the heavy client gets the rest" "j('heavy')['completed'] > 200"

# On a server with few slots, the heavy client never holds more than three. It holds
# them all the time, so its admissions reveal it. Together they bring more than the server can do:
# else there is room for all.
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
start few "$C" "$B/loadgen" --json --connect "$S4:$PORT" --concurrency 3 --duration 25 \
	--timeout 30 --model llama --bind "$C4B"
HEAVY=$PID
load --connect "$S4:$PORT" --model llama --rate 12 --requests 240 "${bind[@]}" >"$T/crowd.json"
ctl explain "$C4B" --json >"$T/heavy_explained.json"
ctl explain 10.77.0.61 --json >"$T/other_explained.json"
wait "$HEAVY" || true
mv "$T/few.log" "$T/few.json"
holds "three slots at most put it above its share, by its admissions" \
	"j('heavy_explained')['admission']['above_share'] and
	 j('heavy_explained')['admission']['client_in_flight'] <= 3 and
	 j('heavy_explained')['admission']['client_excess'] > 4"
holds "the other clients are within their share" \
	"not j('other_explained')['admission']['above_share'] and
	 j('other_explained')['admission']['client_excess'] < 4"
holds "the heavy client is refused for its share" \
	"s['rejected_by_reason']['client-share'] > 0 and '429' in j('few')['status']"
holds "the other clients are served" "j('crowd')['completed'] >= 180"

done_here
