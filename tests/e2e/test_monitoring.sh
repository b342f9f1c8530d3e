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

# until_says WANTED ARGUMENT…: what monitoring.py prints becomes WANTED.
until_says() {
	local wanted=$1 said='' i

	shift
	for ((i = 0; i < 300; i++)); do
		said=$(ask "$@" 2>&1) || true
		[[ $said != "$wanted" ]] || return 0
		sleep 0.2
	done
	echo "$said"
	return 1
}

# until_fires yes|no ALERT
until_fires() {
	local said='' i

	for ((i = 0; i < 300; i++)); do
		said=$(ask firing 2>&1) || true
		case $1:$said in
		yes:*"$2"*) return 0 ;;
		no:\[*) [[ $said == *"$2"* ]] || return 0 ;;
		esac
		sleep 0.2
	done
	echo "$said"
	return 1
}

load --connect "$S4:$PORT" --model llama --duration 600 --concurrency 2 >/dev/null 2>&1 &
LOADS=($!)
load --connect "$S4:$PORT" --model llama --plain --duration 600 --concurrency 1 >/dev/null 2>&1 &
LOADS+=($!)
load --connect "$S4:$PORT" --model llama --duration 600 --rate 5 --bind "$C4B" \
	>/dev/null 2>&1 &
LOADS+=($!)
check "Prometheus scrapes sluice, and each expression of the board has a value" \
	until_says '[]' board "$OURS/grafana.json"
on "$S" curl -fsS http://127.0.0.1:9464/metrics >"$T/metrics.txt"
same "promtool has nothing against the metrics" "" \
	"$(promtool check metrics <"$T/metrics.txt" 2>&1)"
kill "${LOADS[@]}"
wait "${LOADS[@]}" || true

shut llama
check "an alert fires when latency shuts the model" \
	until_says '["SluiceModelShut", "SluiceRefusing"]' firing
open_again llama
check "… and clears" until_fires no SluiceModelShut
finish "$DAEMON"
check "an alert says that no daemon answers" until_fires yes SluiceAbsent
done_here
