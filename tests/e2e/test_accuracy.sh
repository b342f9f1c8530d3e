#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What sluice says of a model's latency is what its clients measure, within 5 %: averages of TTFT and of the gaps between
# chunks, for streams of several APIs and for requests that come in several ways. The time constant is so long
# that nothing decays meanwhile.
# Runs alone: it compares times.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

models=(one split chunked late completions anthropic ollama many)
options=()
for model in "${models[@]}"; do
	options+=(--model "$model,prefill-ms=150,token-ms=12,tokens=30,slots=64")
done
mock "${options[@]}"
sluice --listen "$PORT" --time-constant-secs 86400

# agrees MODEL SENTENCE LOADGEN-OPTION…; a last line that only says "done" is a gap to sluice and none to loadgen.
agrees() {
	local model=$1 sentence=$2

	shift 2
	load --connect "$S4:$PORT" --model "$model" --requests 8 --concurrency 2 --stream "$@" \
		>"$T/$model.json"
	holds --within 3 "TTFT and ITL of $sentence are what the client measured, within 5 %" \
		"j('$model')['completed'] == m['$model']['ttft_samples'] == 8 and
		 close(m['$model']['ttft_ema_ms'], j('$model')['ttft_ms']['mean'], .05) and
		 close(m['$model']['itl_ema_ms'], j('$model')['itl_ms']['mean'], .05) and
		 0 <= m['$model']['itl_samples'] - j('$model')['itl_ms']['n'] <= 8"
}

agrees one "chat streams on one connection after the other" --new-connections
agrees many "chat streams on kept connections"
agrees split "requests that come as head and body apart" --split
agrees chunked "requests uploaded in chunks" --chunked-upload
agrees late "requests of 200 kB that name their model last" --body-bytes 200000 --model-last
agrees completions "the older completions API" --path /v1/completions
agrees anthropic "the messages API with its named events" --path /v1/messages
agrees ollama "a stream of JSON lines" --path /api/chat

done_here
