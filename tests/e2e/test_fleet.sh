#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Three hosts share a quota by a real redis-server. It holds over all of them, and a client may use
# all of it on one host or over many. A store that hangs, dies or forgets gives nobody more than its
# share, and no request waits for it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

cat >"$T/fleet.yaml" <<END
fleet: test
fleet-store: [$STORE:$STORE_PORT]
services:
  - {listen: $PORT, quota: requests=20/10s burst=20 fleet=on}
quotas:
  - {client: 10.78.0.4, requests: 4/10s, fleet: on}
  - {client: 10.78.0.8, requests: 20/20000s, fleet: on}
  - {client: 10.78.0.9, requests: 4/10s, fleet: on}
  - {client: 10.78.0.10, requests: 4/10s, fleet: on}
END
# Three shares of 20 / 6 may be used before the store knows of them.
EXCESS=10
bound="within(20, 2, $EXCESS) and r['failed'] == 0"

make_fleet
begin_store --loglevel warning
for i in "${HOSTS[@]}"; do start_host "$i"; done
await_hosts "${HOSTS[@]}"
for i in "${HOSTS[@]}"; do
	check "host $i sees three hosts with the same quotas" eventually 5 fleet_is "$i" \
		"f['up'] and f['hosts'] == 3 and len(f['list']) == 3 and
		 not any(h['quotas_that_differ'] for h in f['list'])"
done

for i in {4..10}; do on "$C" ip addr add "10.78.0.$i/24" dev br0; done
# A host that asked for no grants would take a call for each sixth of what is left, 13 in all.
drive burst burst 0 20 10.78.0.8 1
check "a client may use its burst on one host, within a few calls of the store" drove burst \
	"r['admitted'] == 20 and r['refused'] <= 6"
DRIVES=
# 60 s: the requests of most of these come more often than the quota allows.
for drive in "one one 60 8 10.78.0.5" "all all 60 8 10.78.0.6" "hopping hopping 60 8 10.78.0.7" \
	"obey obey 0 20 10.78.0.4" "obey-one obey 0 20 10.78.0.9 1" \
	"hurry hurry 0 20 10.78.0.10"; do
	# shellcheck disable=SC2086
	drive $drive &
	DRIVES="$DRIVES $!"
done
# shellcheck disable=SC2086
wait $DRIVES
for pattern in one all hopping; do
	check "a client's quota is one over all hosts, and it may use all of it: $pattern" \
		drove "$pattern" "$bound and r['admitted'] >= 0.95 * could(20, 2)"
done
for obey in obey obey-one; do
	check "a client that waits as the refusal says is served then: $obey" drove "$obey" \
		"r['admitted'] == 20 and r['broken'] == 0"
	check "… and is refused once for each request beyond the burst" drove "$obey" \
		"r['refused'] - r['late'] <= 20 - 4"
done
check "a client that hurries, too, gets its quota and E" drove hurry \
	"20 <= most(4, 0.4, 3) and r['failed'] == 0"

# The store hangs. Each host gives out its share.
drive before all 2 40 10.78.0.5
drive hangs all 15 8 10.78.0.5 &
DRIVE=$!
eventually 5 fleet_is 1 "f['up']"
kill -STOP "$STORE_PID"
for i in "${HOSTS[@]}"; do
	check "host $i says that the store is away" eventually 5 fleet_is "$i" "not f['up']"
done
check "status says what this host gives out meanwhile" grep -q \
	"^fleet test: the store is away since .*; this host gives out its share of each budget" \
	<(hctl 1 status)
wait "$DRIVE"
kill -CONT "$STORE_PID"
drive back all 4 8 10.78.0.5
# Besides its share, each may give out one unit at once.
check "over that time, the quota held" drove before,hangs,back \
	"within(20, 2, $EXCESS + 3) and r['failed'] == 0"
# Without the store, hosts go by where the client was before: it gets about its rate.
check "… and a client could use it" drove before,hangs,back \
	"r['admitted'] >= 0.8 * could(20, 2)"
check "the store answers again" eventually 5 fleet_is 1 "f['up'] and f['hosts'] == 3"

# The store forgets, and then dies: hosts tell it what they know.
spent() { # all hosts know that it is: who lacks a grant is to wait for a second
	local i

	for i in "${HOSTS[@]}"; do
		(($(asks "$i" 10.78.0.8 llama '%header{retry-after-ms}') > 1000)) || return 1
	done
}
has_budget() { store --scan --pattern '*:r:*0a4e0008' | grep -q .; }
eventually 5 spent
store flushall >/dev/null
check "a host sees that the store has lost its contents" eventually 5 fleet_is 2 \
	"f['counts']['epoch_changes'] == 1"
check "what was spent stays spent" eventually 5 has_budget
drive after all 2 20 10.78.0.8
check "a flush forgives nobody" drove after "r['admitted'] == 0 and r['failed'] == 0"
store script flush >/dev/null
finish "$STORE_PID" KILL
drive dead all 3 8 10.78.0.6
check "without a store no request fails" drove dead "r['failed'] == 0 and r['admitted'] >= 1"
begin_store --loglevel warning
check "a new store is joined" eventually 5 fleet_is 3 "f['up'] and f['hosts'] == 3"
drive after all 2 20 10.78.0.8
check "a store that has died forgives nobody" drove after "r['admitted'] == 0 and r['failed'] == 0"

# Hosts come and go. One that dies takes its grant with it, a quarter of a burst at most.
on "$C" ip addr add 10.78.0.15/24 dev br0
drive together all 2 40 10.78.0.15
finish "${DAEMONS[3]}" KILL
drive gone all 12 8 10.78.0.15 1 2
check "over the death of a host, the quota held" drove together,gone "$bound"
check "… and the others give out all of it" drove together,gone \
	"r['admitted'] >= 0.95 * could(20, 2) - 5"
check "a host that has died counts no more" eventually 10 fleet_is 1 "f['hosts'] == 2"
begin_host 3
check "it counts when it is back" eventually 5 fleet_is 1 "f['hosts'] == 3"
sed -i "s/requests=20/requests=30/; s/^fleet-store:.*/fleet-store: [$STORE:$((STORE_PORT + 1))]/
	\$a fleet-period-ms: 200" "$T/fleet.yaml"
same "a reload says which settings of a fleet wait for a restart" \
	"configuration read again; a restart is needed for the new fleet-store, fleet-period-ms" \
	"$(hctl 3 reload)"
check "… and the fleet goes on as it was" eventually 5 fleet_is 3 \
	"f['name'] == 'test' and f['up'] and f['store'] == '$STORE:$STORE_PORT' and f['period_ms'] == 100"
sed -i "s/^fleet-store:.*/fleet-store: [$STORE:$STORE_PORT]/; /^fleet-period-ms/d" "$T/fleet.yaml"
check "quotas with different numbers are shown, on both hosts" eventually 5 fleet_is 1 \
	"any(h['quotas_that_differ'] == 1 and
	     h['differs'] == ':$PORT has requests=30/10s burst=20 fleet=on, and here requests=20/10s fleet=on'
	     for h in f['list'])"
hctl 1 fleet >"$T/fleet.txt"
check "fleet names the host and both quotas" grep -q \
	"^note: host-3: :$PORT has requests=30/10s burst=20 fleet=on, and here" "$T/fleet.txt"
finish "${DAEMONS[3]}"
begin_host 3 --fleet-host host-2
for i in 2 3; do
	check "a name that two hosts have is noticed on both: host $i" eventually 20 fleet_is "$i" \
		"f['name_taken'] and f['host'] == 'host-2'"
done
check "… and no other" fleet_is 1 "not f['name_taken']"
check "fleet says what to do" grep -qF "give each host a name of its own (setting \`fleet-host\`)" \
	<(hctl 2 fleet)
done_here
