#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# API keys in a fleet. Hosts with one secret share the budget of a key, whatever address it comes
# from, and a rule by a key holds on all of them; the store has no key. A host with another secret
# has other IDs: it shares no budgets and no rules of keys, and says so.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

cat >"$T/fleet.yaml" <<END
fleet: test
fleet-store: [$STORE:$STORE_PORT]
services:
  - listen: $PORT
    identity: [x-api-key, authorization, address]
    quota: requests=20/1h burst=20 fleet=on
END
# Three shares of 20 / 6 may be used before the store knows of them.
EXCESS=10
KEY_A=sk-Coatlicue-7f3a9d1c5b2e KEY_B=sk-Xochipilli-0a1b2c3d4e KEY_C=sk-Mictlan-5d1f0b7c9e3a
FROM=10.78.0.1,10.78.0.2,10.78.0.3,10.78.0.4
umask 077
openssl rand -hex 16 >"$T/secret"
openssl rand -hex 16 >"$T/other"

# gets STATUS KEY HOST…: a request with the key to each of the hosts.
gets() {
	local status=$1 key=$2 i got

	for i in "${@:3}"; do
		got=$(on "$C" curl -s -o /dev/null -w '%{http_code}' --max-time 60 \
			-H "x-api-key: $key" --json '{"model":"llama","messages":[]}' \
			"http://$(host_address "$i"):$PORT/v1/chat/completions") || true
		[[ $got == "$status" ]] || { echo "host $i: $got, not $status"; return 1; }
	done
}
# rule N COMMAND… KEY: a command about a key for the fleet. What it prints is in $T/out.
rule() {
	local i=$1

	printf '%s\n' "${@: -1}" | hctl "$i" "${@:2:$#-2}" key=- --fleet >"$T/out" 2>&1
}
id_in_answer() { grep -o 'key:[0-9a-f]*' "$T/out" | head -n 1; }
has_rules() { # N COUNT OF-ANOTHER-SECRET
	fleet_is "$1" "f['rules']['count'] == $2 and f['rules']['of_other_secret'] == $3 and
		f['rules']['why'] is None"
}
begin() { # N SECRET
	begin_host "$1" --fleet-rules on --hash-secret-file "$T/$2"
}

make_fleet
begin_store --loglevel warning --rdbcompression no --dbfilename store.rdb
for i in 3 4; do on "$C" ip addr add "10.78.0.$i/24" dev br0; done
for i in "${HOSTS[@]}"; do begin "$i" secret; done
for i in "${HOSTS[@]}"; do
	check "host $i sees three hosts with its secret" eventually 5 fleet_is "$i" \
		"f['up'] and f['hosts'] == 3 and len(f['list']) == 3 and
		 all(h['same_secret'] for h in f['list'])"
done

# ---- one budget ----

for key in A B; do
	name=KEY_$key
	spend_budget "$key" 1 "${!name}" "$FROM"
	check "a key has one budget at all hosts, from any address: key $key" drove "$key" \
		"r['admitted'] <= 20 + 20 * r['took'] / 3600 + $EXCESS and r['failed'] == 0"
	check "… and may use it" drove "$key" "r['admitted'] >= 18"
	check "… and each host has served it" drove "$key" "all(r['by_host'])"
done
spend_budget again 1 "$KEY_A" "$FROM"
check "a key that has spent its budget is refused at every host" drove again \
	"r['admitted'] <= 3 and r['refused'] >= 3"

# ---- rules ----

rule 1 block "$KEY_C"
id=$(id_in_answer)
check "a key is blocked on all hosts" grep -qx "blocked key:[0-9a-f]\{16\}, in force on 3 of 3 hosts" \
	"$T/out"
check "… and each refuses it" gets 429 "$KEY_C" 1 2 3
check "… and serves another" gets 200 sk-of-somebody-else 1 2 3
rule 2 clear "$KEY_C"
check "a key that is cleared is served" gets 200 "$KEY_C" 1 2 3
rule 2 block "$KEY_C"
for i in "${HOSTS[@]}"; do eventually 5 has_rules "$i" 1 0; done

store save >/dev/null
check "the store has the ID of a key" grep -qa "${id#key:}" "$T/store.rdb"
not_in_store() {
	! grep -qaF -e "$1" -e "$(printf %s "$1" | od -An -v -tx1 | tr -d ' \n')" "$T/store.rdb"
}
for text in "$KEY_A" "$KEY_B" "$KEY_C" "$(<"$T/secret")"; do
	check "… and no key and no secret" not_in_store "$text"
done

# ---- another secret ----

finish "${DAEMONS[3]}"
begin 3 other
check "a host with another secret has no rule of that key" eventually 5 has_rules 3 0 1
check "… says so" grep -q "1 by key:ID are of another hash secret, and match no key here" \
	<(hctl 3 fleet)
check "… in the log, too" grep -q \
	"1 of the fleet's rules by key:ID are of another secret than this host's" "$T/daemon3.log"
check "… and keeps none in the kernel" bash -c \
	"! bpftool map dump pinned '$PIN/h3/client_flags' | grep -q '\"kind\": 1'"
check "so the key is served there" gets 200 "$KEY_C" 3
check "… and refused by the others" gets 429 "$KEY_C" 1 2
for i in 1 2; do
	check "host $i says which host has another secret" eventually 5 fleet_is "$i" \
		"[h['name'] for h in f['list'] if h['same_secret'] is False] == ['host-3']"
done
note="host-3 has another hash secret: quotas and rules by API key are not shared with it"
check "… and what that means" grep -qxF "note: $note (setting \`hash-secret-file\`)" \
	<(hctl 1 fleet)
rule 1 block "$KEY_A"
check "a rule by a key is not in force on that host, and the answer says so" grep -q \
	", in force on 2 of 3 hosts, not on host-3$" "$T/out"
hctl 1 clear "$(id_in_answer)" --fleet >"$T/out"
check "… and it names those" eventually 5 fleet_is 3 \
	"sorted(h['name'] for h in f['list'] if h['same_secret'] is False) == ['host-1', 'host-2']"
rule 3 block "$KEY_C"
check "a rule that such a host makes is in force there alone" grep -q \
	", in force on 1 of 3 hosts, not on host-[12], host-[12]$" "$T/out"
check "… where it refuses the key" gets 429 "$KEY_C" 3
dead=$(id_in_answer)
for i in 1 2; do
	check "… and host $i says that it matches no key there" eventually 5 has_rules "$i" 1 1
done

# Back to the fleet's secret.
finish "${DAEMONS[3]}"
begin 3 secret
check "with the fleet's secret, its rules hold again" eventually 5 has_rules 3 1 1
check "… and refuse the key" gets 429 "$KEY_C" 1 2 3
hctl 1 clear "$dead" --fleet >"$T/out"
for i in "${HOSTS[@]}"; do
	check "a rule of another secret can be cleared by its ID: host $i" eventually 5 \
		has_rules "$i" 1 0
done
done_here
