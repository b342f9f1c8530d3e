#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What streams are and what they cost, on the wire (invariant 6): errors inside a 200, progress,
# usage. A client that hangs up holds its slot or frees it, as its service says. Known POSTs pass.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

KINDS=8010 FREE=8020
start kinds "$S" "$PY" "$HERE/stream_kinds.py" "$S4" "$KINDS"
await_line kinds ready "$PID"
for port in "$PORT" "$FREE"; do
	start "server-$port" "$S" "$PY" "$HERE/peers.py" serve "$S4" "$port" \
		--steps 30 --gap 0.2
	await_line "server-$port" ready "$PID"
done
cat >"$T/sluice.yaml" <<CONF
services:
  - listen: $KINDS=kinds
  - listen: $PORT=usual
  - listen: $FREE=free
    on-disconnect: free
CONF
sluice --config "$T/sluice.yaml"

# ask PORT PATH [MODEL]: sends a request for a stream, and prints the status.
ask() {
	on "$C" curl -sS -m 100 -o "$T/out" -w '%{http_code}' \
		--json "{\"model\":\"${3:-kinds}\",\"stream\":true,\"messages\":[]}" \
		"http://$S4:$1$2"
}

n=0
for api in openai anthropic tgi ollama; do
	ask "$KINDS" "/$api-error" >/dev/null
	n=$((n + 1))
	holds --within 3 "an error in a 200 stream is a failed response and no sample: $api" \
		"m['kinds']['failed'] == $n and m['kinds']['ttft_samples'] == 0 and
		 m['kinds']['in_flight'] == m['kinds']['waiting'] == 0"
done
ask "$KINDS" /progress >/dev/null
holds --within 3 "the progress of a prompt is no sample" \
	"r['admitted'] == $((n + 1)) and m['kinds']['in_flight'] == 0 and
	 m['kinds']['ttft_samples'] == 0 and m['kinds']['failed'] == $n"

# left NAME: what is left of the client's tokens after the stream NAME.
left() {
	ask "$KINDS" "/$1" >/dev/null
	await 3 "m['kinds']['in_flight'] == 0"
	ctl explain "$C4" --model kinds --json >"$T/left.json"
	value "j('left')['quota']['tokens']['remaining']"
}
ctl quota set "$C4" tokens=100/24h >/dev/null
same "a stream without usage costs its texts" 97 "$(left no-usage)"
same "a stream that states its usage costs that" 85 "$(left usage)"
ctl quota clear "$C4" >/dev/null
holds --within 3 "openers, usage and closing events are no chunks" \
	"m['kinds']['ttft_samples'] == 2 and m['kinds']['itl_samples'] == 4"

# A client that hangs up. The first stream of each says how long one usually takes.
for service in "usual $PORT" "free $FREE"; do
	read -r name port <<<"$service"
	ask "$port" /v1/chat/completions "$name" >/dev/null &
	whole=$!
	wait "$whole"
	mkfifo "$T/go-$name"
	start "leave-$name" "$C" sh -c \
		"exec '$PY' '$HERE/peers.py' leave $S4 $port --model $name --stream --how rst <'$T/go-$name'"
	exec 9>"$T/go-$name"
	await_line "leave-$name" begun "$PID"
	await 3 "m['$name']['in_flight'] == 1"
	echo >&9
	exec 9>&-
	if [[ $name == usual ]]; then
		holds --within 2 "a client that hangs up holds its slot for the usual time" \
			"m['usual']['departed'] == 1 and m['usual']['in_flight'] == 1"
		holds --within 10 "… and no longer" \
			"m['usual']['departed'] == 0 and m['usual']['in_flight'] == 0"
	else
		holds --within 2 "with on-disconnect: free it frees its slot at once" \
			"m['free']['departed'] == 0 and m['free']['in_flight'] == 0"
	fi
done

admitted=$(value "r['admitted']")
ask "$KINDS" /tokenize >/dev/null
ask "$KINDS" /api/show >/dev/null
ask "$KINDS" /no-usage >/dev/null
holds --within 3 "known POSTs pass and are not judged" \
	"r['admitted'] == $admitted + 1 and m['kinds']['failed'] == $n"

done_here
