#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 6: a client that sends or reads slowly does not look like a slow model and holds no
# slot. Invariant 1: its own stream's delay shuts nobody out. Three clients stall, each on its own
# model with one slot: one shuts its window, one acknowledges nothing, one sends a byte every 50 ms.
# Each stalls until the case has seen what it looks for, and for more than 10 s: after that time
# sluice releases a slot.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/wires.sh
. "$HERE/wires.sh"

options=()
for model in zero noack slow; do
	options+=(--model "$model,prefill-ms=5,token-ms=5,tokens=20,slots=64")
done
mock "${options[@]}"
# Ten seconds in one of seven first tokens would raise the average above the threshold.
sluice --listen "$PORT" --policy ema-flag --ttft-threshold-ms 1000 --time-constant-secs 86400
raw_client 10.77.0.9
for model in zero noack slow; do
	load --connect "$S4:$PORT" --model $model --requests 5 >"$T/warm.json"
	await 3 "m['$model']['ttft_samples'] > 0 and m['$model']['in_flight'] == 0"
	ctl set --model $model max-in-flight=1 >/dev/null
done
released=$(value "k['stalls-released']")

export SL_CLIENT=$C
SL_SERVER_MAC=$(mac "$S" s0)
export SL_SERVER_MAC
began=$SECONDS
start zero "$C" "$PY" "$HERE/stall.py" zero "$S4" "$C4" zero 400
ZERO=$PID
start noack "$C" "$PY" "$HERE/stall.py" noack "$S4" 10.77.0.9 noack 400
NOACK=$PID
start slow "$C" "$PY" "$HERE/stall.py" slow "$S4" "$C4" slow 10
SLOW=$PID
for name in zero noack slow; do await_line $name begun; done
await 3 "all(m[x]['in_flight'] + m[x]['stalled'] == 1 for x in ('zero', 'noack'))"

send() { # send MODEL NAME: sends a request of another client
	load --connect "$S4:$PORT" --model "$1" --requests 1 --max-tokens 5 --bind "$C4B" \
		>"$T/$2.json"
}

holds "a client that sends a byte every 50 ms holds no slot while it sends" \
	"m['slow']['in_flight'] == 0 and log('slow') == 'begun\n'"
send slow other
holds "another client takes that slot meanwhile" "j('other')['completed'] == 1"
for model in zero noack; do
	send $model early
	holds "a stalled stream ($model) holds its slot for ten seconds" \
		"j('early')['status'] == {'429': 1} or $((SECONDS - began)) >= 10"
done

holds --within 16 "sluice releases both slots while the clients still stall, and counts that" \
	"k['stalls-released'] == $released + 2 and m['zero']['in_flight'] == 0 and
	 m['noack']['in_flight'] == 0"
for model in zero noack; do
	send $model late
	holds "another client takes the slot of a stalled one ($model)" \
		"j('late')['completed'] == 1"
done
kill -USR1 "$ZERO" "$NOACK" "$SLOW"
wait "$ZERO" "$NOACK" "$SLOW" || true
for name in zero noack slow; do grep '^{' "$T/$name.log" >"$T/$name.json" || true; done
holds "their streams are untouched: both clients read to the end" \
	"j('zero')['end'] == j('noack')['end'] == j('slow')['end'] == 'whole' and
	 j('zero')['tokens'] >= 400 and j('noack')['tokens'] >= 400"

# An average times the number of its samples is their sum: it decays within a day. The stall, of at
# least ten seconds less the first late acknowledgement, would make it longer.
for model in zero noack slow; do
	holds --within 3 \
		"the stall is in no sample of its model ($model), which was never shut" \
		"m['$model']['ttft_ema_ms'] * m['$model']['ttft_samples'] < 8000 and
		 m['$model']['itl_ema_ms'] * m['$model']['itl_samples'] < 8000 and
		 m['$model']['ttft_samples'] > 5 and m['$model']['itl_samples'] > 20 and
		 m['$model']['open'] and 'shut' not in log('daemon') and
		 m['$model']['in_flight'] == 0"
done
holds "client-limited gaps are counted" "k['gaps-client-limited'] > 0"

done_here
