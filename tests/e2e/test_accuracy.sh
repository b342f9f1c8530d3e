#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# sluice's latency figures agree with its clients' measurements: average TTFT and ITL, for streams
# of several APIs and for requests in several forms. The time constant is so long that no average
# decays during the case. The true TTFT lies between the server's time (reading to sending) and the
# client's (sending to reading). So TTFT has two bounds on any machine.
# Runs alone: it compares times.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

models=(one split chunked late completions anthropic ollama many)
PREFILL=150
options=()
for model in "${models[@]}"; do
	options+=(--model "$model,prefill-ms=$PREFILL,token-ms=12,tokens=30,slots=64")
done
mock "${options[@]}"
sluice --listen "$PORT" --time-constant-secs 86400

# agrees MODEL EVENTS SENTENCE LOADGEN-OPTION…: each answer has EVENTS events; the first one
# ends TTFT. sluice counts a client-limited time instead of taking a sample.
agrees() {
	local model=$1 events=$2 sentence=$3 limited

	shift 3
	limited=$(value "k['gaps-client-limited']")
	load --connect "$S4:$PORT" --model "$model" --requests 8 --concurrency 2 --stream "$@" \
		>"$T/$model.json"
	holds --within 3 "each event of $sentence is a sample or counted as client-limited" \
		"j('$model')['completed'] == 8 >= m['$model']['ttft_samples'] > 0 and
		 m['$model']['ttft_samples'] + m['$model']['itl_samples'] +
		 k['gaps-client-limited'] == 8 * $events + $limited"
	holds "TTFT of $sentence is at least the server's time and at most the client's" \
		"$PREFILL <= m['$model']['ttft_ema_ms'] <=
		 1.0001 *
		 j('$model')['ttft_ms']['mean' if m['$model']['ttft_samples'] == 8 else 'max']"
	holds "ITL of $sentence is the client's, within 5 %" \
		"close(m['$model']['itl_ema_ms'], j('$model')['itl_ms']['mean'], .05)"
}

agrees one 30 "chat streams on new connections" --new-connections
agrees many 30 "chat streams on kept connections"
agrees split 30 "requests in two segments, head and body" --split
agrees chunked 30 "requests in chunked encoding" --chunked-upload
agrees late 30 "requests of 200 kB with the model at their end" --body-bytes 200000 --model-last
agrees completions 30 "completions API streams" --path /v1/completions
agrees anthropic 30 "messages API streams with named events" --path /v1/messages
agrees ollama 30 "streams of JSON lines" --path /api/chat

done_here
