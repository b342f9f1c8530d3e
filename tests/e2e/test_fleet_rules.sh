#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Rules for all hosts of a fleet: a command on one host reaches the others by a real redis-server. A
# host that was away catches up; of the fleet's rule and the host's own the stricter holds; what the
# store says is no rule unless it is one in every part; and without the setting, nothing.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

cat >"$T/fleet.yaml" <<END
fleet: test
fleet-store: [$STORE:$STORE_PORT]
fleet-period-ms: 20
services:
  - {listen: $PORT, quota: requests=100000/1s fleet=on}
END
ONE=10.78.0.1 TWO=10.78.0.2
RULES="sluice:{test}:rules"

# gets STATUS ADDRESS HOST…: each of the hosts gives it.
gets() {
	local status=$1 address=$2 i got

	for i in "${@:3}"; do
		got=$(asks "$i" "$address") || true
		[[ $got == "$status" ]] || { echo "host $i: $got, not $status"; return 1; }
	done
}

# says PATTERN N COMMAND…: what a command prints.
says() {
	local pattern=$1 said

	shift
	said=$(hctl "$@" 2>&1) || true
	[[ $said =~ $pattern ]] || { echo "$said"; return 1; }
}

# Calls that the store has had of all hosts.
calls() { store info commandstats | sed -n 's/^cmdstat_evalsha:calls=\([0-9]*\).*/\1/p'; }
called() { (($(calls) > $1)); }

has_rules() { # N COUNT
	fleet_is "$1" "f['rules']['count'] == $2 and f['rules']['why'] is None"
}

in_store() { [[ $(store hexists "$RULES" "$1") == 1 ]]; } # FIELD

make_fleet
begin_store --loglevel warning
for i in 1 2 3; do start_host "$i" --fleet-rules on; done
await_hosts 1 2 3
for i in 1 2 3; do eventually 5 fleet_is "$i" "f['up'] and f['hosts'] == 3"; done

check "a block is in force on all hosts, and the answer says so" says \
	"^blocked $ONE, in force on 3 of 3 hosts$" 1 block "$ONE" --fleet
check "a block on one host refuses at all three" gets 000 "$ONE" 1 2 3
check "… and only that client" gets 200 "$TWO" 1 2 3
check "clear ends it on all hosts" says "^cleared $ONE, in force on 3 of 3 hosts$" \
	2 clear "$ONE" --fleet
check "… so the client is served" gets 200 "$ONE" 1 2 3
check "what is not there cannot be cleared" says "the fleet has no such rule of $ONE" \
	2 clear "$ONE" --fleet

# One model, a key, a prefix.
hctl 1 block "$ONE" --model qwen --fleet >"$T/out"
check "a block for one model is for that one" test "$(asks 2 "$ONE" qwen)$(asks 2 "$ONE")" = 429200
printf 'secret-of-a-client\n' | hctl 1 block key=- --fleet >"$T/out"
check "of an API key only the hash is in the store" grep -q "^rule.key:[0-9a-f]*.$" \
	<(store --raw hkeys "$RULES")
same "… and nowhere the key itself" 0 "$(store --raw hgetall "$RULES" | grep -c secret-of || true)"
hctl 1 block 10.78.0.2/31 --fleet >"$T/out"
check "a prefix is blocked on all hosts" gets 000 "$TWO" 1 2 3

# A host that is dead meanwhile. Its own rules, which the fleet's override, are there again later.
hctl 3 allow 10.78.0.2/31 >"$T/out"
hctl 3 allow "$ONE" --model qwen >"$T/out"
check "a block of the fleet holds beside what a host allows" gets 000 "$TWO" 3
own_rules() { # N PATTERN: of what `clients --json` has
	hctl "$1" clients --json | "$PY" -c "import json, sys
rules = json.load(sys.stdin)['rules']
sys.exit(not any((r['client'], r['verdict'], r['model']) == $2 for r in rules) and str(rules))"
}
finish "${DAEMONS[3]}" KILL
check "a dead host counts no more" eventually 10 fleet_is 1 "f['hosts'] == 2"
check "the answer names the hosts that are left" says "in force on 2 of 2 hosts$" \
	1 clear 10.78.0.2/31 --fleet
hctl 2 block "$ONE" --fleet >"$T/out"
check "… and its kernel still has the rules of before" gets 000 "$TWO" 3
begin_host 3 --fleet-rules on
check "it catches up with what was set" eventually 5 gets 000 "$ONE" 3
check "… and with what was cleared" gets 200 "$TWO" 3
check "what it had allowed itself before it died holds again" own_rules 3 \
	"('10.78.0.2/31', 'allow', None)"
check "… unless a rule of the fleet is still there" own_rules 3 "('$ONE', 'block', 'qwen')"

# A rule ends by itself.
hctl 1 block "$TWO" --for 1s --fleet >"$T/out"
check "a rule with an end holds" gets 000 "$TWO" 1
check "… and ends on every host" eventually 5 gets 200 "$TWO" 1 2 3

# The stricter wins.
hctl 2 allow "$ONE" >"$T/out"
check "a host's own allowance does not open the fleet's block" gets 000 "$ONE" 2
hctl 2 clear "$ONE" >"$T/out"
hctl 1 allow "$ONE" --fleet >"$T/out"
hctl 2 block "$ONE" >"$T/out"
check "a host's own block holds beside the fleet's allowance" gets 000 "$ONE" 2
check "… on that host only" gets 200 "$ONE" 1 3
hctl 2 clear "$ONE" >"$T/out"
check "… until it is cleared" gets 200 "$ONE" 2
hctl 2 quota set "$TWO" requests=2/1h tokens=9000/1h >"$T/out"
check "a quota for the fleet" says "^set $TWO to requests=5/1h tokens=700/1h, in force on 3" \
	1 quota set "$TWO" requests=5/1h tokens=700/1h --fleet
check "of two quotas, the lower rate of each kind holds" says \
	"requests=2/1h tokens=700/1h +fleet" 2 quota show "$TWO"
check "… and elsewhere the fleet's" says "requests=5/1h tokens=700/1h +fleet" 3 quota show "$TWO"
check "the fleet's quota is taken back" says "^cleared the quota of $TWO, in force on 3" \
	3 quota clear "$TWO" --fleet
check "… and the host's own holds as it was" says "requests=2/1h tokens=9000/1h +manual" \
	2 quota show "$TWO"
hctl 2 quota clear "$TWO" >"$T/out"
hctl 1 clear "$ONE" --fleet >"$T/out"
check "the host that had died has its own rule when the fleet's has gone" eventually 5 \
	own_rules 3 "('$ONE', 'allow', 'qwen')"
hctl 3 clear "$ONE" --model qwen >"$T/out"
hctl 3 clear 10.78.0.2/31 >"$T/out"

# What the store says is hostile.
hctl 1 block "$ONE" --fleet >"$T/out"
eventually 5 has_rules 2 2
store hset "$RULES" "rule	$TWO	" "1 0 blocked" "rule	not-a-client	" "1 0 block" \
	"law	$TWO	" "1 0 block" "quota	$TWO	" "1 0 requests=1/1s requests=9" \
	"rule	$TWO	m	" "1 0 block" "rule	10.78.0.0/24	m" "1 0 block" \
	"weight	key:0123456789abcdef	" "1 0 2" \
	"rule	10.78.0.3	" "1 99999999999999999999999 block" \
	"$(printf 'a%.0s' {1..4000})" "1 0 block" "rule	10.78.0.4	" "0 block" \
	"rule	10.78.0.5	" "99999999999999999999999 0 block" >/dev/null
store set "$RULES-version" 2000000000000000 >/dev/null
check "what is no rule is ignored, and counted" eventually 5 fleet_is 2 \
	"f['rules']['version'] == 2000000000000000 and f['rules']['ignored'] == 11 and
	 f['rules']['count'] == 2"
check "… and what is one, holds" gets 000 "$ONE" 2
check "… while others are served" gets 200 "$TWO" 2
since=$(hctl 2 fleet --json | sed -n 's/.*"since_unix_ms": \([0-9]*\).*/\1/p')
store set "$RULES-version" 'x' >/dev/null
eventually 5 called $(($(calls) + 12))
check "a version that is no number changes nothing" fleet_is 2 \
	"f['up'] and abs(f['since_unix_ms'] - $since) < 50"

# The store loses all. A host that missed a clear brings nothing back.
hctl 1 block "$TWO" --fleet >"$T/out"
eventually 5 has_rules 3 3
kill -STOP "${DAEMONS[3]}"
hctl 1 clear "$TWO" --fleet >"$T/out"
eventually 5 has_rules 2 2
has_all() { has_rules "$1" 2 && gets 000 "$ONE" "$1" && gets 200 "$TWO" "$1"; }
store flushall >/dev/null
check "a store that has lost the rules gets them back from a host" eventually 5 \
	in_store "rule	$ONE	"
kill -CONT "${DAEMONS[3]}"
for i in 1 2 3; do
	check "… and what was cleared meanwhile stays so: host $i" eventually 5 has_all "$i"
done
check "the log says so" grep -q "the store has lost rules of the fleet: this host has put [1-9]" \
	"$T"/daemon[12].log

# Off unless configured.
finish "${DAEMONS[3]}" TERM
begin_host 3
check "a host that turns the setting off drops the rules" gets 200 "$ONE" 3
eventually 5 fleet_is 3 "f['up'] and f['hosts'] == 3"
check "without the setting, a command for the fleet is refused" says \
	"rules for the whole fleet are off on this host \(setting \`fleet-rules\`\)" \
	3 block "$ONE" --fleet
check "a host without it puts nothing in force, and the answer says so" says \
	"^blocked $ONE, in force on 2 of 3 hosts, not on host-3$" 1 block "$ONE" --fleet
check "… there, the client is served" gets 200 "$ONE" 3
check "… and fleet shows it" says "host-3 .* off" 1 fleet

# A host that knows none begins a new list before the others have seen the loss.
for i in 1 2; do kill -STOP "${DAEMONS[$i]}"; done
finish "${DAEMONS[3]}" KILL
rm -r "$PIN/h3"
store flushall >/dev/null
begin_host 3 --fleet-rules on
eventually 5 fleet_is 3 "f['up']"
hctl 3 block 10.78.0.3 --fleet >"$T/out"
for i in 1 2; do kill -CONT "${DAEMONS[$i]}"; done
for i in 1 2 3; do
	check "a list that was begun anew and what is in force become one: host $i" eventually 5 \
		has_rules "$i" 3
done
check "… so a client is refused, also on the host that has joined" gets 000 "$ONE" 1 2 3
check "… and what was cleared stays so" gets 200 "$TWO" 1 2 3
hctl 1 clear 10.78.0.3 --fleet >"$T/out"

# The store is away; a daemon restarts.
finish "$STORE_PID" KILL
check "without a store, a command says so" eventually 5 says "the store is away" \
	1 clear "$ONE" --fleet
finish "${DAEMONS[2]}" TERM
begin_host 2 --fleet-rules on
check "without a store, the rules hold over a restart" gets 000 "$ONE" 2
for i in 1 3; do finish "${DAEMONS[$i]}"; done
begin_store --loglevel warning
check "before an empty store, a host that has restarted says that it can put none back" \
	eventually 5 says "the store has no list; the rules of before this start stay" 2 fleet
check "… and they hold" gets 000 "$ONE" 2
done_here
