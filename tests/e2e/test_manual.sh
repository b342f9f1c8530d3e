#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The manual pages against a live daemon with everything configured. Each field of each answer is
# described, and each that is described is in an answer; so are metrics, counters, maps and signals.
# The examples of the pages work. A page that lacks something, or says too much, is refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

MAN=$ROOT/user/man
METRICS=127.0.0.1:9464
ANSWERS=$T/answers
mkdir "$ANSWERS" "$T/man"
on "$S" ip link add eth0 type veth peer name eth1 # the examples name eth0
on "$S" ip link set eth0 up

shape=prefill-ms=20,token-ms=1,tokens=4,slots=64
mock --model "llama-3-8b,$shape" --model "talk,$shape"

cat >"$T/sluice.yaml" <<END
interfaces: [s0, lo]
fleet: manual
fleet-store: [$T/store.sock]
fleet-rules: on
trouble-after-secs: 1 # nobody listens on 8002
services:
  - listen: $PORT=llama-3-8b
    identity: [authorization, x-forwarded-for, address]
    trusted-proxies: [10.99.0.0/16]
    model-header: x-model
    quota: requests=1000/60s tokens=100000/60s fleet=on
    priority-header: x-priority
    priority-values: {batch: low}
  - listen: 8002
    quota: requests=1000/60s
  - listen: 8443
    protocol: opaque
    mode: shadow
ttft-threshold-ms: 500 + 0.2/KiB
itl-threshold-ms: 100
duration-threshold-ms: 60s
normalized-latency-threshold-ms: 30s
models:
  - name: llama-3-8b
    pool: gpu0
    max-in-flight: 64
  - name: talk
    quota: requests=2000/60s
quotas:
  - {client: 10.78.0.0/16, requests: 5/1m}
client-prefixes:
  - {prefix: 10.79.0.0/16, weight: 2}
END
start store "$S" redis-server --port 0 --unixsocket "$T/store.sock" --save '' --dir "$T"
interfaces=()
sluice --config "$T/sluice.yaml" --metrics "$METRICS"

# answer NAME ARGUMENT…: saves an answer of sluicectl. The first part of NAME is the section of the
# page that describes it. A part after a dot distinguishes several such answers.
answer() { ctl "${@:2}" --json >"$ANSWERS/$1.json"; }
page() { on "$S" curl -fsS -m 10 "http://$METRICS$1"; }
status_of() { # status_of MODEL: of a request that the second client sends
	on "$C" curl -sS -m 5 --interface "$C4B" -o /dev/null -w '%{http_code}' \
		--header 'x-priority: batch' --json "{\"model\":\"$1\"}" \
		"http://$S4:$PORT/v1/chat/completions"
}

load --connect "$S4:$PORT" --model llama-3-8b --requests 20 >"$T/llama.json"
await 5 "s['fleet']['up'] and len(s['fleet']['list']) == 1"
load --connect "$S4:$PORT" --model talk --requests 5 >"$T/talk.json"
load --connect "$S4:$PORT" --model talk --requests 3 --plain >"$T/plain.json"
await 5 "m['pool:gpu0']['admission']['rate_bytes_per_second'] is not None"
await 5 "m['talk']['ttft_samples'] == 5"
ctl block "$C4B" --model talk >/dev/null
same "a request of another class is refused" 429 "$(status_of talk)"
ctl clear "$C4B" >/dev/null
page /metrics >"$ANSWERS/metrics" # while policy adaptive knows its rate
start watch "$S" "$B/sluicectl" --control "$T/control.sock" watch --json
WATCH=$PID
start summary "$S" "$B/sluicectl" --control "$T/control.sock" watch --summary 1s --json
SUMMARY=$PID
await 5 "events('summary') != []" # the first interval is over

answer quota_set.weight quota set 10.80.0.0/16 weight=3
answer quota_set.client quota set "$C4" requests=500/60s
answer quota_set.model quota set 2001:db8::9 --model talk requests=7/1h
answer allow allow 10.81.0.0/16
answer block.note block 2001:db8::21 --for 10m
answer block.model block "$C4B" --model talk
answer explain explain "$C4" --service "$PORT"
answer explain.rule explain 2001:db8::21
answer explain.key explain key:0123456789abcdef --bytes 100 --priority batch --service "$PORT"
same "a blocked client is refused" 429 "$(status_of talk)"
shut talk
await 5 "{e['event'] for e in events('watch')} == {'refusal', 'model'}"
cp "$T/watch.log" "$ANSWERS/watch.json"
await 5 "any(e['models'] and e['clients'] for e in events('summary')) and
	 any(e['changes'] for e in events('summary'))"
cp "$T/summary.log" "$ANSWERS/watch_summary.json"
finish "$WATCH"
finish "$SUMMARY"
await 20 "s['trouble_details'] != []"
answer drain drain --for 1h
for what in status models services clients; do answer $what $what; done
answer resume resume
answer quota_show quota show
answer set.model set --model talk ttft=none
answer set set policy=adaptive ttft=500ms
answer clear clear "$C4B" --model talk
answer quota_clear quota clear "$C4"
answer reload reload
page /v1/limits >"$ANSWERS/limits.json"
page "/v1/limits?client=$C4" >"$ANSWERS/limits.one.json"
ls "$PIN" >"$ANSWERS/pins"
ctl set nonsense=1 2>&1 | sed -n 's/.*there are //p' >"$ANSWERS/set_keys" || true
# bash starts what it runs in the background with SIGQUIT ignored.
"$PY" - "$DAEMON" >"$ANSWERS/signals" <<'END'
import re, signal, sys
text = open(f"/proc/{sys.argv[1]}/status").read()
for mask in re.findall(r"^Sig(?:Blk|Ign):\s+(\w+)$", text, re.M):
    for n in range(1, 32):
        if int(mask, 16) >> n - 1 & 1 and n != signal.SIGQUIT:
            print(signal.Signals(n).name)
END

# The examples of the pages, a file each: $T/PAGE.1, $T/PAGE.2 …
for name in sluiced.8 sluicectl.8 sluice.yaml.5 sluice-sim.1; do
	awk -v to="$T/$name" '/^# / { on = $2 == "EXAMPLES" }
		on && /^```/ { inside = !inside; n += inside; next }
		on && inside { gsub(/\\\\/, "\\"); print >(to "." n) }' "$MAN/$name.scd"
done
sluicectl() {
	if [[ $1 == watch || $1 == record ]]; then
		timeout 1 "$B/sluicectl" --control "$T/control.sock" "$@" || (($? == 124))
	else
		ctl "$@"
	fi
}
jq() { cat; }
# shellcheck disable=SC2034
API_KEY=sk-test
cd "$T"
while read -r line; do
	[[ $line != 'sluicectl detach' ]] || break
	check "the example '$line' works" eval "$line"
done < <(cat "$T"/sluicectl.8.*)
same "the last example of sluicectl(8) detaches" 'sluicectl detach' "$line"
answer detach detach
wait "$DAEMON" || true

check "the pages describe all that a live daemon answers, and nothing else" \
	"$ROOT/scripts/check-docs" --answers "$ANSWERS"

sluice-sim() { "$B/sluice-sim" "$@"; }
for second in 1 2; do # requests, for the example that plays a record
	echo "2026-11-30 02:00:0$second.000,100,20,m,c1,700,50.0,900.0,admitted,,completed"
done >>night.csv
while read -r line; do
	check "the example '$line' works" eval "$line"
done < <(cat "$T"/sluice-sim.1.*)
cd "$ROOT"

# sluiced ARGUMENT…: a daemon comes up so, and leaves again. What is installed in /etc/sluice comes
# from scripts/.
sluiced() {
	start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics off \
		"${@/#\/etc\/sluice/$ROOT/scripts}"
	await_line daemon ready "$PID"
	ctl detach
	wait "$PID"
}
for example in "$T"/sluiced.8.*; do
	grep -q '^sluiced' "$example" || continue
	check "the example '$(head -n 1 "$example")' starts a daemon" eval "$(<"$example")"
done
# The files that the example names.
mkdir "$T/etc"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=sluice \
	-keyout "$T/etc/metrics.key" -out "$T/etc/metrics.pem" 2>/dev/null
cp "$T/etc/metrics.pem" "$T/etc/scrapers-ca.pem"
openssl rand -hex 32 >"$T/etc/metrics-token"
openssl rand -hex 16 >"$T/etc/hash-secret"
echo secret >"$T/etc/fleet-password"
cp "$T/etc/metrics.pem" "$T/etc/fleet-ca.pem"
cp "$T/etc/metrics.pem" "$T/etc/fleet.pem"
cp "$T/etc/metrics.key" "$T/etc/fleet.key"
chmod 600 "$T/etc/fleet.key" "$T/etc/fleet-password" "$T/etc/metrics.key" \
	"$T/etc/metrics-token" "$T/etc/hash-secret"
sed "s,/etc/sluice/,$T/etc/," "$ROOT/user/config/sluice.example.yaml" >"$T/sluice.example.yaml"
for example in "$T"/sluice.yaml.5.* "$T/sluice.example.yaml"; do
	check "the file $(basename "$example") starts a daemon" sluiced --config "$example"
done

# changed WORD PAGE SED-SCRIPT [OPTION…]: so changed, the page is refused, and a complaint has WORD.
changed() {
	local said

	cp "$MAN"/*.scd "$T/man/"
	sed -i -e "$3" "$T/man/$2.scd"
	! cmp -s "$T/man/$2.scd" "$MAN/$2.scd" || { echo "the page stays as it is"; return 1; }
	! said=$("$ROOT/scripts/check-docs" --man "$T/man" "${@:4}") ||
		{ echo "accepted"; return 1; }
	[[ $said == *"$1"* ]] || { echo "no word of $1: $said"; return 1; }
}
# without WORD PAGE HEAD [OPTION…]: the same for a page that lacks the entry with this head.
without() { changed "$1" "$2" "/^$3/,/^\$/d" "${@:4}"; }
# with WORD PAGE BEFORE HEAD [OPTION…]: the same for a page that has one entry more.
with() { changed "$1" "$2" "s/^$3/$4\\n\\tText.\\n\\n&/" "${@:5}"; }
live=(--answers "$ANSWERS")

check "an option that a page lacks is found" \
	without 'option --lease-ms' sluiced.8 '\*--lease-ms'
check "an option that no program has is found" \
	with 'option --colour' sluicectl.8 '\*--json\*$' '*--colour* _C_'
check "a default that is another is found" \
	changed --lease-ms sluiced.8 's/default is 3000/default is 2000/'
check "a command that a page lacks is found" without 'command watch' sluicectl.8 '\*watch\* '
check "a key of set that a page lacks is found" without 'key tau=T' sluicectl.8 '\*tau\*='
check "a key of the file that a page lacks is found" \
	without 'key models: max-in-flight' sluice.yaml.5 '\*max-in-flight\*:'
check "a variable that a page lacks is found" changed SLUICE_XDP sluiced.8 's/, \*SLUICE_XDP\*//'
check "an exit status that a page lacks is found" without 'exit status 3' sluicectl.8 '\*3\*$'
check "a file that is nowhere is found" \
	with /run/nowhere sluicectl.8 '\*\/sys\/fs' '*\/run\/nowhere*'
check "a field of the simulator that a page lacks is found" without jain sluice-sim.1 '\*jain\*'
check "a field of an answer that a page lacks is found" \
	without waiting_bytes sluicectl.8 '\*waiting_bytes\*' "${live[@]}"
check "a field that no answer has is found" \
	with no_such sluicectl.8 '\*oldest_waiting_ms\*' '*no_such* _integer_' "${live[@]}"
check "a field of another type is found" \
	changed lease_ms sluicectl.8 's/^\*lease_ms\* _integer_/*lease_ms* _string_/' "${live[@]}"
check "a counter that a page lacks is found" \
	without conns-full sluiced.8 '\*conns-full\*' "${live[@]}"
check "a reason that a page lacks is found" without itl sluiced.8 '\*itl\*' "${live[@]}"
check "a metric with another label is found" \
	changed sluice_waiting sluiced.8 's/^\(\*sluice_waiting\*.*\){model}/\1{client}/' \
	"${live[@]}"
check "a map that a page lacks is found" without half_open sluiced.8 '\*half_open\*' "${live[@]}"
check "a signal that a page lacks is found" without SIGHUP sluiced.8 '\*SIGHUP\*' "${live[@]}"

done_here
