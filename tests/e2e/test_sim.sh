#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# sluice-sim as an operator types it: a wrong word or a broken trace is one line and exit status 2, --json parses, a seed
# means the same run.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

sim=$B/sluice-sim
# fails STATUS TEXT ARGUMENT…: ends so, with one line that has the text.
fails() {
	local want=$1 text=$2 status=0 said

	shift 2
	said=$("$sim" "$@" 2>&1 </dev/null) || status=$?
	[[ $status == "$want" ]] || { echo "exit status $status, not $want: $said"; return 1; }
	[[ $(wc -l <<<"$said") == 1 ]] || { echo "more than a line: $said"; return 1; }
	[[ $said == *"$text"* ]] || { echo "does not say '$text': $said"; return 1; }
}

# trace TEXT: a file with those lines behind the head.
trace() {
	printf 'TIMESTAMP,ContextTokens,GeneratedTokens\n%b' "$1" >"$T/trace.csv"
	echo "$T/trace.csv"
}

check "a load is asked for" fails 2 "no load"
check "an unknown option is named" fails 2 --polcy --polcy none
check "an unknown policy is named" fails 2 hope --synthetic poisson --policy hope
check "an unknown load is named" fails 2 tide --synthetic tide
check "a number that is none is named" fails 2 'many' --synthetic poisson --slots many
check "a trace that is not there is named" fails 2 /nonexistent --trace /nonexistent
check "a line without its fields is named" fails 2 "trace.csv: line 3" \
	--trace "$(trace '2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:47\n')"
check "a line with a wrong number is named" fails 2 "trace.csv: line 2" \
	--trace "$(trace '2023-11-16 18:15:46.6805900,-1,44\n')"
check "a line that goes back in time is named" fails 2 "trace.csv: line 3" \
	--trace "$(trace '2023-11-16 18:15:46.6805900,1,44\n2023-11-16 18:15:45.6805900,1,44\n')"
check "binary data is refused" fails 2 "line 1" --trace /bin/true
check "patience is a time" fails 2 '--patience: "soon"' --synthetic poisson --patience soon
check "retries are a number" fails 2 '--retries: "-1"' --synthetic poisson --retries -1
check "no engine has so many models" fails 2 '--models: "17"' --synthetic poisson --models 17
check "targets that nobody can meet are said" fails 1 "even alone" --synthetic poisson --ttft-threshold-ms 1

json_says_all() {
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
check "--json has every policy, and its counts add up" json_says_all

clients_do_as_they_are_told() {
	"$sim" --synthetic poisson --load 2 --requests 500 --models 2 --retries 2 --patience 3s --json |
		"$PY" -c 'import json, sys
run = json.load(sys.stdin)
assert (run["models"], run["retries"], run["patience_s"]) == (2, 2, 3), run
for p in run["policies"]:
    assert p["admitted"] + p["refused"] == p["arrived"] == run["requests"], p
    assert 2 * p["refused"] <= p["retries"] <= 2 * p["arrived"] and (p["retries"] > 0) == (p["policy"] != "none"), p
    assert 0 <= p["gave_up"] <= p["admitted"] - p["met"] and (p["gave_up"] > 0 or p["policy"] != "none"), p
    first, last = p["goodput_by_model"]
    assert abs(first + last - p["goodput"]) < 1e-6 and first >= last, p
    assert p["falsely_refused"] is None, p'
}
check "clients come again and hang up as they are told to, on as many models" clients_do_as_they_are_told

curve_has_the_limit() {
	local curve

	curve=$("$sim" --synthetic step --load 3 --policy fixed=9 --csv)
	[[ $(head -1 <<<"$curve") == seconds,limit,open,in_flight,waiting,queue_budget_kib,arrived,admitted,refused,retries,gave_up ]] ||
		return 1
	awk -F, 'NR > 1 && ($2 != 9 || $4 > 9) { exit 1 }' <<<"$curve"
}
check "--csv has the limit of every second" curve_has_the_limit

a_seed_is_a_run() {
	[[ $("$sim" --synthetic flood --seed 5 --json) == "$("$sim" --synthetic flood --seed 5 --json)" ]] &&
		[[ $("$sim" --synthetic flood --seed 5 --json) != "$("$sim" --synthetic flood --seed 6 --json)" ]]
}
check "the same seed is the same run, and another is another" a_seed_is_a_run
done_here
