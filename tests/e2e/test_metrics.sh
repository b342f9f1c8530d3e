#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# /metrics: the text format has every name that dashboards rely on, and agrees with
# `sluicectl status`.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model m,prefill-ms=30,token-ms=5,tokens=10,slots=64 \
	--model shut,prefill-ms=30,token-ms=5,tokens=10
start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" \
	--metrics 127.0.0.1:9464 --interface s0 --interface lo --listen "$PORT"
DAEMON=$PID
await_line daemon ready "$DAEMON"
# before sluice knows the name, it counts as "other"
load --connect "$S4:$PORT" --model m --requests 1 >"$T/learned.json"
await 3 "'m' in m"
load --connect "$S4:$PORT" --model m --requests 12 --concurrency 3 >"$T/m.json"
shut shut
load --connect "$S4:$PORT" --model shut --requests 7 >"$T/shut.json"
ctl set --model m max-in-flight=9 >/dev/null
ctl block "$C4B" >/dev/null
ctl set action=reset >/dev/null
peer "$C" connect "$S4" "$PORT" --bind "$C4B" >"$T/blocked.json"
# Ten tokens and a finish event, or two and a finish event. sluice counts a client-limited time
# instead of taking a sample.
EVENTS=$((13 * 10 + SHUT_REQUESTS * 2))
await 3 "s['global']['ttft_samples'] + s['global']['itl_samples'] + k['gaps-client-limited'] ==
	$EVENTS and s['connections']['reset'] == 1"

average=$(value "m['shut']['ttft_ema_ms']")
on "$S" curl -sS -D "$T/head" http://127.0.0.1:9464/metrics >"$T/metrics"
check "the header names Prometheus' text format" \
	grep -qi '^content-type: text/plain' "$T/head"
"$PY" - "$T/metrics" >"$T/metrics.json" <<'PY'
import json, re, sys
rows, types = [], {}
line_of = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
for line in open(sys.argv[1], encoding="utf-8"):
    line = line.rstrip("\n")
    if line.startswith("# TYPE "):
        _, _, name, kind = line.split(" ")
        types[name] = kind
    elif line and not line.startswith("#"):
        name, labels, value = line_of.match(line).groups()
        labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
        rows.append([name, labels, float(value)])
print(json.dumps({"rows": rows, "types": types}))
PY
# sum_of METRIC CONDITION: an expression for the sum of a metric's rows.
sum_of() { echo "sum(x[2] for x in j('metrics')['rows'] if x[0] == '$1' and $2)"; }

for name in sluice_requests_total:counter sluice_connections_total:counter \
	sluice_time_to_first_token_seconds:histogram sluice_inter_token_latency_seconds:histogram \
	sluice_ttft_ema_seconds:gauge sluice_itl_ema_seconds:gauge sluice_in_flight:gauge \
	sluice_waiting:gauge sluice_in_flight_limit:gauge sluice_model_open:gauge \
	sluice_samples_lost_total:counter sluice_map_full_total:counter \
	sluice_interface_attached:gauge sluice_trouble:gauge; do
	holds "${name%:*} is a ${name#*:}" \
		"j('metrics')['types'].get('${name%:*}') == '${name#*:}' and
		any(x[0].startswith('${name%:*}') for x in j('metrics')['rows'])"
done

holds "admissions agree with status" \
	"$(sum_of sluice_requests_total "x[1]['verdict'] == 'admitted'") == r['admitted'] ==
	 13 + $SHUT_REQUESTS"
holds "refusals agree by reason" \
	"$(sum_of sluice_requests_total \
		"x[1]['verdict'] == 'rejected' and x[1]['reason'] == 'ttft'") ==
	 s['rejected_by_reason']['ttft'] == 7"
holds "refused connections agree" \
	"$(sum_of sluice_connections_total "x[1]['action'] == 'reset'") ==
	 s['connections']['reset'] == 1"
holds "a request's labels are its service, model, verdict and reason" \
	"all(sorted(x[1]) == ['model', 'reason', 'service', 'verdict'] for x in j('metrics')['rows']
	     if x[0] == 'sluice_requests_total')"
holds "the histograms count every sample" \
	"12 - k['gaps-client-limited'] <=
	 $(sum_of sluice_time_to_first_token_seconds_count "x[1]['model'] == 'm'") <= 12 and
	 $(sum_of sluice_time_to_first_token_seconds_count True) == s['global']['ttft_samples'] and
	 $(sum_of sluice_inter_token_latency_seconds_count True) == s['global']['itl_samples'] and
	 s['global']['ttft_samples'] + s['global']['itl_samples'] + k['gaps-client-limited'] ==
	 $EVENTS"
holds "buckets grow up to the count" \
	"(lambda b: b == sorted(b) and
	  b[-1] == $(sum_of sluice_time_to_first_token_seconds_count "x[1]['model'] == 'm'"))(
	 [x[2] for x in j('metrics')['rows'] if
	  x[0] == 'sluice_time_to_first_token_seconds_bucket' and x[1]['model'] == 'm'])"
holds "the sum of TTFT is at least the server's 30 ms each and at most the client's" \
	"(lambda n, ms: 30 * n <= ms <=
	  1.0001 * n * j('m')['ttft_ms']['mean' if n == 12 else 'max'])(
	 $(sum_of sluice_time_to_first_token_seconds_count "x[1]['model'] == 'm'"),
	 1000 * $(sum_of sluice_time_to_first_token_seconds_sum "x[1]['model'] == 'm'"))"
holds "averages are in seconds, as they fall" \
	"m['shut']['ttft_ema_ms'] <=
	 $(sum_of sluice_ttft_ema_seconds "x[1]['model'] == 'shut'") * 1000 * (1 + 1e-6) and
	 $(sum_of sluice_ttft_ema_seconds "x[1]['model'] == 'shut'") * 1000 <=
	 $average * (1 + 1e-6)"
holds "open and shut agree" \
	"$(sum_of sluice_model_open "x[1]['model'] == 'm'") == 1 and
	 $(sum_of sluice_model_open "x[1]['model'] == 'shut'") == 0"
holds "a limit is shown" \
	"$(sum_of sluice_in_flight_limit "x[1]['model'] == 'm'") == 9 == m['m']['limit']"
holds "nothing is in flight" \
	"$(sum_of sluice_in_flight True) == 0 and $(sum_of sluice_waiting True) == 0"
same "the HTML page is there" 200 \
	"$(on "$S" curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:9464/)"
same "other paths are 404" 404 \
	"$(on "$S" curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:9464/etc)"
check "the metrics are on loopback only" on "$C" "$PY" -c '
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9464), 3)
    sys.exit("reached from another host")
except ConnectionRefusedError:
    pass' "$S4"

done_here
