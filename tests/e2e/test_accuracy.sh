#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What sluice says of a model's latency is what its clients measure: averages of TTFT and of the gaps between chunks, for
# streams of several APIs and for requests that come in several ways. The time constant is so long that nothing decays
# meanwhile. A first token is timed between the server's reading and its sending at the least and between its client's
# sending and reading at the most, so that TTFT has two bounds, whatever the machine does besides.
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

# agrees MODEL EVENTS SENTENCE LOADGEN-OPTION…: each answer has so many events, of which the first ends TTFT. A time that
# the client spoilt is counted in place of its sample.
agrees() {
	local model=$1 events=$2 sentence=$3 spoilt

	shift 3
	spoilt=$(value "k['gaps-client-limited']")
	load --connect "$S4:$PORT" --model "$model" --requests 8 --concurrency 2 --stream "$@" \
		>"$T/$model.json"
	holds --within 3 "each event of $sentence is a sample, or counted as spoilt" \
		"j('$model')['completed'] == 8 >= m['$model']['ttft_samples'] > 0 and
		 m['$model']['ttft_samples'] + m['$model']['itl_samples'] + k['gaps-client-limited'] - $spoilt == 8 * $events"
	holds "TTFT is no less than the server takes and no more than the client measured" \
		"$PREFILL <= m['$model']['ttft_ema_ms'] <=
		 1.0001 * j('$model')['ttft_ms']['mean' if m['$model']['ttft_samples'] == 8 else 'max']"
	holds "and ITL what the client measured, within 5 %" \
		"close(m['$model']['itl_ema_ms'], j('$model')['itl_ms']['mean'], .05)"
}

agrees one 31 "chat streams on one connection after the other" --new-connections
agrees many 31 "chat streams on kept connections"
agrees split 31 "requests that come as head and body apart" --split
agrees chunked 31 "requests uploaded in chunks" --chunked-upload
agrees late 31 "requests of 200 kB that name their model last" --body-bytes 200000 --model-last
agrees completions 31 "the older completions API" --path /v1/completions
agrees anthropic 33 "the messages API with its named events" --path /v1/messages
agrees ollama 31 "a stream of JSON lines" --path /api/chat

done_here
