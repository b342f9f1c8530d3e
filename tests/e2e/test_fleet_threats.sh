#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What somebody can do who writes to the store of a fleet, or holds a host of it:
# user/docs/fleet.md, "Threats", row by row. The hosts' own user of the store may do what the
# documentation says, and nothing else.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

cat >"$T/fleet.yaml" <<END
fleet: test
fleet-store: [$STORE:$STORE_PORT]
fleet-user: sluice
fleet-password-file: $T/password
services:
  - {listen: $PORT, quota: requests=10/10s burst=10 fleet=on}
END
(umask 077 && echo secret >"$T/password")
ONE=10.78.0.1 TWO=10.78.0.2 THREE=10.78.0.9
KEYS="sluice:{test}:"
DEBT_MS=20000 # two bursts of ten, one a second

# The documentation's line, and what `fleet-rules: on` needs, too.
user_of_store() {
	tr -s '\n ' ' ' <"$ROOT/user/docs/fleet.md" | grep -o 'ACL SETUSER sluice on [^`]*' |
		sed 's/>PASSWORD/>secret/; s/{FLEET}/{test}/'
	# shellcheck disable=SC2016 # of Markdown
	sed -n 's/^`fleet-rules: on` needs `\(.*\)`, too\.$/\1/p' "$ROOT/user/docs/fleet.md"
}
served() { [[ $(asks "$1" "$2") == 200 ]]; }
refused() { [[ $(asks "$1" "$2") == 429 ]]; }
blocked() { [[ $(asks "$1" "$2") == 000 ]]; }
budget_key() { store --scan --pattern "${KEYS}b:*:r:*$1" | head -n 1; }
has_budget() { [[ -n $(budget_key "$1") ]]; }
store_us() {
	local time

	mapfile -t time < <(store --raw time)
	echo $((time[0] * 1000000 + 10#${time[1]}))
}

make_fleet
begin_store --loglevel warning
on "$C" ip addr add "$THREE/24" dev br0
# shellcheck disable=SC2046 # words
same "the documentation's user of the store can be made" OK "$(store $(user_of_store))"
for i in 1 2; do start_host "$i" --fleet-rules on; done
await_hosts 1 2
for i in 1 2; do
	check "host $i needs no more of the store" eventually 5 fleet_is "$i" \
		"f['up'] and f['hosts'] == 2 and f['rules']['why'] is None"
done
hctl 1 block 10.78.0.77 --fleet >"$T/out" 2>&1
check "… nor do rules for the fleet" grep -q "in force on 2 of 2 hosts" "$T/out"
hctl 1 clear 10.78.0.77 --fleet >/dev/null
store config set maxmemory 1gb maxmemory-policy volatile-ttl >/dev/null
check "… nor does the warning of a store that may evict budgets" eventually 5 fleet_is 1 \
	"f['store_evicts'] == 'volatile-ttl'"
store config set maxmemory 0 >/dev/null
check "… which may not without a limit" eventually 5 fleet_is 1 "f['store_evicts'] is None"

# ---- budgets ----

served 1 "$ONE"
eventually 5 has_budget 0a4e0001
key=$(budget_key 0a4e0001)
store set "$key" "$(($(store_us) + 9999999999999)) 0 0" >/dev/null
served 2 "$ONE" || true # the host reports
for i in 1 2; do
	check "who writes a budget locks its client out: host $i" eventually 5 refused "$i" "$ONE"
done
check "… up to the bound of debts" \
	test "$(asks 1 "$ONE" llama '%header{retry-after-ms}')" -le "$DEBT_MS"
check "… and nobody else" served 1 "$TWO"

has_budget 0a4e0002
key=$(budget_key 0a4e0002)
for value in '' x 1 '99999999999999999999 0 0' '-5 0 0' 'nan 0 0' '1e300 inf 9'; do
	store set "$key" "$value" >/dev/null
	drive odd all 0.5 6 "$TWO"
	check "a budget that is '$value' in the store fails no request" drove odd "r['failed'] == 0"
done
store del "$key" >/dev/null
store lpush "$key" x >/dev/null
drive odd all 1 6 "$TWO"
check "a key of another type fails no request" drove odd "r['failed'] == 0"
store del "$key" >/dev/null
check "… and the store is used when it is gone" eventually 10 fleet_is 1 "f['up']"

for i in 60 61 62; do on "$C" ip addr add "10.78.0.$i/24" dev br0; done
drive spends all 2 20 10.78.0.60 1 2
for i in 1 2; do
	check "who has spent a budget is refused: host $i" eventually 5 refused "$i" 10.78.0.60
done
store del "$(budget_key 0a4e003c)" >/dev/null
drive forgiven all 4 20 10.78.0.60 1 2
check "who deletes a budget forgives what was used of it" drove forgiven \
	"r['admitted'] > r['took'] + 3 and r['failed'] == 0"
check "… and gives no more than a burst" drove forgiven "within(10, 1, 5)"

# ---- news, hosts ----

for text in '' 'x y' '99999999999999999999 k' "$(store_us) $(printf 'k%.0s' {1..200})"; do
	store xadd "${KEYS}news" '*' attacker "$text" >/dev/null
done
drive news all 1 4 "$THREE"
check "news that are none are ignored" fleet_is 2 "f['up']"
now=$(store_us)
for ((i = 0; i < 300; i++)); do
	echo "zadd ${KEYS}hosts $((now + 3600000000)) false-$i"
done | on "$R" redis-cli -p "$STORE_PORT" >/dev/null
store hset "${KEYS}infos" false-107 $'version\t\e[31m9\nservice\t:8000\trequests=1/1s fleet=on\n' \
	>/dev/null
check "false hosts are counted" eventually 5 fleet_is 1 "f['hosts'] >= 300"
check "… and shown" eventually 5 fleet_is 1 "any(h['name'] == 'false-107' for h in f['list'])"
check "… and false numbers of a quota are those of another quota" eventually 5 fleet_is 1 \
	"any(h['name'] == 'false-107' and h['quotas_that_differ'] == 1 for h in f['list'])"
hctl 1 fleet >"$T/fleet.txt"
check "… without a control character" eval "! grep -q $'\e' '$T/fleet.txt'"
on "$C" ip addr add 10.78.0.10/24 dev br0
drive many one 10 8 10.78.0.10
check "… and take nothing of a budget away" drove many \
	"within(10, 1, 10) and r['admitted'] >= 0.9 * could(10, 1) and r['failed'] == 0"
store del "${KEYS}hosts" "${KEYS}infos" >/dev/null
check "they are gone with their entries" eventually 5 fleet_is 1 "f['hosts'] == 2"

# ---- rules ----

finish "${DAEMONS[2]}"
begin_host 2
eventually 5 fleet_is 2 "f['up'] and f['hosts'] == 2"
rule() { # KIND ADDRESS TEXT
	store hset "${KEYS}rules" "$1	$2	" "1 0 $3" >/dev/null
	store set "${KEYS}rules-version" "$(store_us)" >/dev/null
}
rule rule "$THREE" block
check "with fleet-rules, who writes the store blocks a client" eventually 5 blocked 1 "$THREE"
drive off all 2 6 "$TWO"
check "… and without it, does not" eval "! blocked 2 '$THREE'"
exempt() { # N
	drive exempt one 1 40 10.78.0.61 "$1"
	drove exempt "r['refused'] == 0 and r['failed'] == 0"
}
limited() { # N
	drive limited one 1 8 10.78.0.62 "$1"
	drove limited "r['refused'] >= 6 and r['failed'] == 0"
}
rule rule 10.78.0.61 allow
check "with fleet-rules, who writes the store exempts itself from its quota" eventually 5 exempt 1
check "… and without it, does not" eval "! exempt 2 >/dev/null 2>&1"
rule quota 10.78.0.62 requests=1/600s
check "with fleet-rules, who writes the store limits a client" eventually 5 limited 1
check "… and without it, does not" eval "! limited 2 >/dev/null 2>&1"

# ---- no answers ----

kill -STOP "$STORE_PID"
eventually 5 fleet_is 2 "not f['up']"
drive away all 5 4 10.78.0.10
kill -CONT "$STORE_PID"
check "who keeps the store from answering makes each host give out its share" drove away \
	"r['failed'] == 0 and 1 <= r['admitted'] <= 10 + 2 * r['took'] + 10"
done_here
