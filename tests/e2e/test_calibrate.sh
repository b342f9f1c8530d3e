#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# sluice-sim --calibrate finds the engines of mock servers, and the simulator takes the options that
# it prints. A server that does something else, or a wrong argument, gives one line. The engines
# have long steps, so that a slow machine hardly adds to them; times are compared by ratios.
# Runs alone: the times of a server that runs beside others are not its own.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

sim=$B/sluice-sim
here=127.0.0.1

# serve PORT NAME STEPS PROMPTS: a mock server with an engine of these keys.
serve() {
	start "$2" "$S" "$B/mock_server" --listen "$here:$1" --model m --engine "$3,$4"
	await_line "$2" ready "$PID"
}

# fails STATUS TEXT ARGUMENT…: sluice-sim ends with that status and one line that contains TEXT.
fails() {
	local want=$1 text=$2 status=0 output

	shift 2
	output=$(on "$S" "$sim" "$@" 2>&1 </dev/null) || status=$?
	[[ $status == "$want" ]] || { echo "exit status $status, not $want: $output"; return 1; }
	[[ $(wc -l <<<"$output") == 1 ]] || { echo "more than a line: $output"; return 1; }
	[[ $output == *"$text"* ]] || { echo "no '$text' in: $output"; return 1; }
}

# calibrate PORT FILE ARGUMENT…: in the background, its pid in $PID.
calibrate() {
	on "$S" "$sim" --calibrate "$here:$1" --model m "${@:3}" >"$T/$2" 2>&1 </dev/null &
	PID=$!
	PIDS+=("$PID")
}

# ended PID SENTENCE: the calibration succeeds.
ended() {
	local status=0

	wait "$1" || status=$?
	same "$2" 0 "$status"
}

# found NAME EXPRESSION: of the calibration c in $T/NAME.json.
found() {
	"$PY" -c 'import json, sys
c = json.load(open(sys.argv[1]))
itl = {b["streams"]: b["itl_ms"] for b in c["batches"]}
near = lambda a, b: 0.6 < a / b < 1.6
assert eval("(" + sys.argv[2] + ")"), json.dumps(c)' "$T/$1.json" "$2"
}

serve 8000 chunked slots=3,step-ms=20,step-ms-per-seq=10 \
	prefill-tokens-per-s=4000,chunk=256,kv-tokens=3000
serve 8001 first slots=2,step-ms=25,step-ms-per-seq=5 \
	prefill-tokens-per-s=2000,chunk=4096,prefill-first=1,kv-tokens=700
calibrate 8000 chunked.json --json
chunked=$PID
calibrate 8001 first.json --json
first=$PID

check "a calibration needs a model" fails 2 "--model" --calibrate "$here:8000"
check "a model needs a calibration" fails 2 "--calibrate" --synthetic poisson --model m
check "a calibration plays no load" fails 2 "--calibrate" --calibrate "$here:8000" --model m \
	--synthetic poisson
check "an address without a port is named" fails 2 '"127.0.0.1"' --calibrate $here --model m
check "an empty model is named" fails 2 '--model: ""' --calibrate "$here:8000" --model ''
check "a server that is not there is named" fails 1 "$here:9 cannot connect: Connection refused" \
	--calibrate $here:9 --model m
check "a model that the server lacks is named" fails 1 "status 404" --calibrate "$here:8000" \
	--model other

ended "$chunked" "the calibration of an engine that reads prompts in chunks succeeds"
check "it finds the slots" found chunked 'c["slots"] == 3 and not c["slots_at_least"]'
check "it finds how ITL grows with the streams" found chunked \
	'list(itl) == [1, 2, 3] and near((itl[3] - itl[1]) / itl[1], 20 / 30)'
check "it finds the step and its growth" found chunked \
	'near(c["step_ms"], 20) and near(c["step_ms_per_seq"], 10)'
check "it finds the rate of prompts, and that they come in chunks" found chunked \
	'near(c["prefill_tokens_per_s"], 4000) and near(c["chunk"], 256) and
	 not c["prefill_first"] and c["prompt_beside_stream"] == "chunks"'
check "it uses the tokens that the server states, and stops at the prompt that it refuses" \
	found chunked 'c["prompt_tokens_stated"] and
	 [p["tokens"] for p in c["prompts"]] == [32, 128, 512, 2048]'
check "the manual has every field" "$ROOT/scripts/check-docs" --calibration "$T/chunked.json"

ended "$first" "the calibration of an engine that reads prompts first succeeds"
check "it finds that prompts come first, and the slots" found first \
	'c["prefill_first"] and c["slots"] == 2 and c["prompt_beside_stream"] == "first"'

the_simulator_takes_the_options() {
	local options

	options=$("$PY" -c 'import json, sys
print(json.load(open(sys.argv[1]))["options"])' "$T/chunked.json") || return 1
	# shellcheck disable=SC2086 # several options
	"$sim" --synthetic poisson --requests 200 --json $options >/dev/null
}
check "the simulator takes the options" the_simulator_takes_the_options
done_here
