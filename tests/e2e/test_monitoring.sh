#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# scripts/monitoring before a real Prometheus: the rules and their tests hold, promtool takes the
# metrics, each expression of the board has a value under load, and alerts fire and clear.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

OURS=$ROOT/scripts/monitoring
check "the alert rules are valid" promtool check rules "$OURS/sluice.rules.yaml"
check "each alert fires and clears as its test says" \
	promtool test rules "$OURS/sluice.rules-test.yaml"

mock --model llama,prefill-ms=20,token-ms=5,tokens=10
sluice --listen "$PORT" --metrics 127.0.0.1:9464 --ttft-threshold-ms 1000 --itl-threshold-ms 500
load --connect "$S4:$PORT" --model llama --requests 3 >/dev/null
await 3 "'llama' in m"
ctl block "$C4B" --model llama >/dev/null
ctl quota set "$C4" requests=100000/1h >/dev/null

# The same rules, without their waits.
sed '/^ *for:/d' "$OURS/sluice.rules.yaml" >"$T/rules.yaml"
cat >"$T/prometheus.yaml" <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$T/rules.yaml]
scrape_configs:
  - job_name: sluice
    static_configs: [{targets: ["127.0.0.1:9464"]}]
END
mkdir "$T/tsdb"
start prometheus "$S" prometheus --config.file="$T/prometheus.yaml" \
	--storage.tsdb.path="$T/tsdb" --web.listen-address=127.0.0.1:9090
ask() { on "$S" "$PY" "$HERE/monitoring.py" "$@"; }

says() { # WANTED ARGUMENT…: what monitoring.py prints
	local said

	said=$(ask "${@:2}")
	[[ $said == "$1" ]] || { echo "$said"; return 1; }
}
fires() { ask firing | grep -q "\"$1\""; } # ALERT
fires_not() { # ALERT
	local said

	said=$(ask firing)
	[[ $said != *"\"$1\""* ]] || { echo "$said"; return 1; }
}

load --connect "$S4:$PORT" --model llama --duration 600 --concurrency 2 >/dev/null 2>&1 &
LOADS=($!)
load --connect "$S4:$PORT" --model llama --plain --duration 600 --concurrency 1 >/dev/null 2>&1 &
LOADS+=($!)
load --connect "$S4:$PORT" --model llama --duration 600 --rate 5 --bind "$C4B" \
	>/dev/null 2>&1 &
LOADS+=($!)
check "Prometheus scrapes sluice, and each expression of the board has a value" \
	eventually 6 says '[]' board "$OURS/grafana.json"
on "$S" curl -fsS http://127.0.0.1:9464/metrics >"$T/metrics.txt"
check "… and the use of quotas" \
	grep -q '^sluice_quota_clients{budget="requests"} 1$' "$T/metrics.txt"
same "promtool has nothing against the metrics" "" \
	"$(promtool check metrics <"$T/metrics.txt" 2>&1)"
on "$S" curl -fsS -D "$T/head" -H 'Accept: application/openmetrics-text;version=1.0.0' \
	http://127.0.0.1:9464/metrics >"$T/openmetrics.txt"
check "OpenMetrics is served on request" grep -qi \
	'^content-type: application/openmetrics-text; version=1.0.0' "$T/head"
same "OpenMetrics has its end" "# EOF" "$(tail -n 1 "$T/openmetrics.txt")"
kill "${LOADS[@]}"
wait "${LOADS[@]}" || true

shut llama
check "an alert fires when latency shuts the model" \
	eventually 6 says '["SluiceModelShut", "SluiceRefusing"]' firing
open_again llama
check "… and clears" eventually 6 fires_not SluiceModelShut
finish "$DAEMON"
check "an alert says that no daemon answers" eventually 6 fires SluiceAbsent
done_here
