#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The command line of sluice-sim. A wrong argument or a broken trace gives one line and exit status
# 2. --json parses. A seed gives the same run every time.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

sim=$B/sluice-sim
# fails STATUS TEXT ARGUMENT…: sluice-sim ends with that status and one line that contains TEXT.
fails() {
	local want=$1 text=$2 status=0 output

	shift 2
	output=$("$sim" "$@" 2>&1 </dev/null) || status=$?
	[[ $status == "$want" ]] || { echo "exit status $status, not $want: $output"; return 1; }
	[[ $(wc -l <<<"$output") == 1 ]] || { echo "more than a line: $output"; return 1; }
	[[ $output == *"$text"* ]] || { echo "no '$text' in: $output"; return 1; }
}

# fails_at_last STATUS TEXT ARGUMENT…: … after other lines.
fails_at_last() {
	local want=$1 text=$2 status=0 output

	shift 2
	output=$("$sim" "$@" 2>&1 </dev/null) || status=$?
	[[ $status == "$want" && ${output##*$'\n'} == *"$text"* ]] || { echo "$output"; return 1; }
}

# trace TEXT: writes a trace file with those lines after the header and prints its name.
trace() {
	printf 'TIMESTAMP,ContextTokens,GeneratedTokens\n%b' "$1" >"$T/trace.csv"
	echo "$T/trace.csv"
}

check "a missing load is an error" fails 2 "no load"
check "an unknown option is named" fails 2 --polcy --polcy none
check "an unknown policy is named" fails 2 hope --synthetic poisson --policy hope
check "an unknown load is named" fails 2 tide --synthetic tide
check "a malformed number is named" fails 2 'many' --synthetic poisson --slots many
check "a missing trace is named" fails 2 /nonexistent --trace /nonexistent
check "a line with missing fields is named" fails 2 "trace.csv: line 3" \
	--trace "$(trace '2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:47\n')"
check "a line with a wrong number is named" fails 2 "trace.csv: line 2" \
	--trace "$(trace '2023-11-16 18:15:46.6805900,-1,44\n')"
check "a line that goes back in time is named" fails 2 "trace.csv: line 3" \
	--trace "$(trace '2023-11-16 18:15:46.6805900,1,44\n2023-11-16 18:15:45.6805900,1,44\n')"
check "binary data is refused" fails 2 "line 1" --trace /bin/true
check "a malformed patience is named" fails 2 '--patience: "soon"' --synthetic poisson \
	--patience soon
check "a negative number of retries is named" fails 2 '--retries: "-1"' --synthetic poisson \
	--retries -1
check "too many models are refused" fails 2 '--models: "17"' --synthetic poisson --models 17
check "targets that no request can meet are refused" fails 1 "even alone" --synthetic poisson \
	--ttft-threshold-ms 1

check "a fleet has a host" fails 2 '--fleet: "0"' --fleet 0
check "a fleet has loads of its own" fails 2 "loads of its own" --fleet 2 --synthetic poisson
check "an unknown pattern is named" fails 2 tide --fleet 2 --fleet-pattern tide
check "a malformed quota is named" fails 2 many --fleet 2 --quota many

json_is_complete() {
	"$sim" --synthetic poisson --requests 500 --json | "$PY" -c 'import json, sys
run = json.load(sys.stdin)
names = [p["policy"].split("=")[0] for p in run["policies"]]
assert names == ["none", "fixed", "ema-flag", "adaptive"], names
for p in run["policies"]:
    assert p["admitted"] + p["refused"] == p["arrived"] == run["requests"], p
    assert p["met"] <= p["admitted"] and 0 <= p["jain"] <= 1, p
    assert p["falsely_refused"] <= p["refused"], p
assert run["capacity"] > 0'
}
check "--json has every policy, and its counts add up" json_is_complete

clients_retry_and_hang_up() {
	"$sim" --json --synthetic poisson --load 2 --requests 500 --models 2 --retries 2 \
		--patience 3s | "$PY" -c 'import json, sys
run = json.load(sys.stdin)
assert (run["models"], run["retries"], run["patience_s"]) == (2, 2, 3), run
for p in run["policies"]:
    assert p["admitted"] + p["refused"] == p["arrived"] == run["requests"], p
    assert 2 * p["refused"] <= p["retries"] <= 2 * p["arrived"], p
    assert (p["retries"] > 0) == (p["policy"] != "none"), p
    assert 0 <= p["gave_up"] <= p["admitted"] - p["met"], p
    assert p["gave_up"] > 0 or p["policy"] != "none", p
    first, last = p["goodput_by_model"]
    assert abs(first + last - p["goodput"]) < 1e-6 and first >= last, p
    assert p["falsely_refused"] is None, p'
}
check "clients retry and hang up as the options say, with several models" \
	clients_retry_and_hang_up

fleet_is_complete() {
	"$sim" --fleet 3 --json | "$PY" -c 'import json, sys
run = json.load(sys.stdin)
assert (run["hosts"], run["quota"]) == (3, "requests=100/60s burst=20"), run
assert len(run["patterns"]) == 15
for p in run["patterns"]:
    assert 0 < p["admitted"] <= p["offered"] and 0 <= p["over"] <= p["bound"], p
    if p["pattern"].startswith("obeying"):
        assert p["waits"] > 100 and p["waits_broken"] == 0 and p["value"] == 1, p'
}
check "of a fleet, --json has every pattern within its bound" fleet_is_complete
check "a fleet that uses too little of its budget fails" fails_at_last 1 "too little is admitted" \
	--fleet 2 --fleet-pattern burst --round-trip-ms 40

curve_has_the_limit() {
	local curve head=seconds,limit,open,in_flight,waiting,queue_budget_kib,arrived

	head+=,admitted,refused,retries,gave_up
	curve=$("$sim" --synthetic step --load 3 --policy fixed=9 --csv)
	[[ $(head -1 <<<"$curve") == "$head" ]] || return 1
	awk -F, 'NR > 1 && ($2 != 9 || $4 > 9) { exit 1 }' <<<"$curve"
}
check "--csv has the limit in every second" curve_has_the_limit

a_seed_gives_one_run() {
	local first

	first=$("$sim" --synthetic flood --seed 5 --json)
	[[ $first == "$("$sim" --synthetic flood --seed 5 --json)" ]] &&
		[[ $first != "$("$sim" --synthetic flood --seed 6 --json)" ]]
}
check "a seed gives the same run, and another seed another one" a_seed_gives_one_run
done_here
