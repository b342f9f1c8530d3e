#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Ten hosts share a quota by a real redis-server. A client may use its burst on one of them, within
# a few milliseconds, and all ten give out no more than is stated, also when one is cut off from the
# store.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
FLEET_HOSTS=10
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

BURST=20 RATE=2
EXCESS=10 # the number of hosts, and half of the burst
# From 10.78.0.192 on, nothing of a burst comes back while the case runs.
cat >"$T/fleet.yaml" <<END
fleet: test
fleet-store: [$STORE:$STORE_PORT]
services:
  - {listen: $PORT, quota: requests=$BURST/10s burst=$BURST fleet=on}
quotas:
  - {client: 10.78.0.192/26, requests: $BURST/20000s, fleet: on}
END

make_fleet
begin_store --loglevel warning
# A start takes seconds of CPU.
for ((i = 1; i < FLEET_HOSTS; i += 2)); do
	start_host "$i"
	start_host $((i + 1))
	await_hosts "$i" $((i + 1))
done
for i in "${HOSTS[@]}"; do
	check "host $i shares with nine others" eventually 5 fleet_is "$i" \
		"f['up'] and f['hosts'] == $FLEET_HOSTS"
done

# Each refused request waits for one more call of the store. In 20 ms a host makes up to ten early
# calls. So these clients get all of their burst in that time, if the store answers at once.
for i in 1 6 10; do
	on "$C" ip addr add "10.78.0.$((200 + i))/24" dev br0
	drive "burst$i" burst 0 "$BURST" "10.78.0.$((200 + i))" "$i"
	check "a client may use its burst on host $i of ten, within a few calls of the store" \
		drove "burst$i" "r['admitted'] == $BURST and r['refused'] <= 6"
done

begin_drives ten 30 20
the_quota_holds ten "$EXCESS"
check "a client that came to all hosts was served by each" drove ten-all "all(r['by_host'])"

# One is cut off, and gives out its share: a tenth, for a client that comes to all hosts.
CUT=4
cut_off() { on "$(host_ns "$CUT")" ip route "$1" blackhole "$STORE"; } # add, del
on "$C" ip addr add 10.78.0.30/24 dev br0
drive cut all 40 8 10.78.0.30 &
DRIVE=$!
eventually 5 fleet_is "$CUT" "f['counts']['budgets'] > 0"
cut_off add
check "a host that is cut off from the store says so" eventually 5 fleet_is "$CUT" "not f['up']"
check "… and the others share without it" eventually 10 fleet_is 1 \
	"f['up'] and f['hosts'] == $FLEET_HOSTS - 1"
check "… for some time" eventually 20 fleet_is "$CUT" "f['away_ms'] > 6000"
cut_off del
check "it is back with the store" eventually 10 fleet_is "$CUT" \
	"f['up'] and f['hosts'] == $FLEET_HOSTS"
wait "$DRIVE"
check "it gives out its share of the rate meanwhile, and one unit" drove cut \
	"r['away'] > 5 and r['admitted'] <= $BURST + $RATE * (r['took'] + r['away'] / 4) + $EXCESS + 1"
check "… between any two requests" drove cut "within($BURST, $RATE, $EXCESS + 1)"
check "… and the client may use its quota" drove cut \
	"r['admitted'] >= 0.95 * could($BURST, $RATE) and r['failed'] == 0"
done_here
