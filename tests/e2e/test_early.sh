#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# An application of uvicorn answers from the head of a request, and streams while its client
# withholds the last byte. The request is judged, takes its slot and is charged all the same
# (invariant 1).
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start uvicorn "$S" "$PY" -m uvicorn --app-dir "$HERE" app:app --host "" --port "$PORT"
await_line uvicorn 'INFO:     Uvicorn running on' "$PID"
sluice --listen "$PORT=app"

# withhold PATH N: clients that stay until the next call of it.
withhold() {
	[[ -z ${WITHHOLD:-} ]] || finish "$WITHHOLD"
	[[ -p $T/open ]] || mkfifo "$T/open"
	exec 8<>"$T/open"
	# shellcheck disable=SC2016
	start withhold "$C" bash -c 'exec "$@" <"$0"' "$T/open" "$PY" "$HERE/withhold.py" \
		"$S4" "$PORT" "$@"
	WITHHOLD=$PID
	await_line withhold '{' "$PID"
	cp "$T/withhold.log" "$T/withhold.json"
}

withhold /v1/early 3
holds --within 3 "three requests without their last byte are in flight and counted" \
	"j('withhold') == {'served': 3} and r['admitted'] == 3 and
	 s['global']['in_flight'] == 3"
holds "they do not wait, and give no sample of a first token" \
	"m['app']['waiting'] == 0 and m['app']['ttft_samples'] == 0"
finish "$WITHHOLD"
await 5 "s['global']['in_flight'] == 0"

ctl set --model app max-in-flight=2 >/dev/null
withhold /v1/early 3
holds --within 3 "of three that begin together a limit of two lets two stream, and resets one" \
	"j('withhold') == {'served': 2, 'reset': 1} and s['global']['in_flight'] == 2 and
	 [r['admitted'], r['rejected']] == [5, 1] and
	 s['rejected_by_reason'].get('in-flight') == 1"
finish "$WITHHOLD"
await 5 "s['global']['in_flight'] == 0"
ctl set --model app max-in-flight=none >/dev/null

ctl quota set "$C4" requests=2/1h >/dev/null
withhold /v1/early 3
holds --within 3 "so does a quota of two" \
	"j('withhold') == {'served': 2, 'reset': 1} and
	 [r['admitted'], r['rejected']] == [7, 2] and
	 s['rejected_by_reason'].get('request-quota') == 1"
ctl quota clear "$C4" >/dev/null

withhold /v1/denied 3
holds --within 3 "an error that comes early is read whole, and costs nothing" \
	"j('withhold') == {'401': 3} and [r['admitted'], r['rejected']] == [7, 2]"

done_here
