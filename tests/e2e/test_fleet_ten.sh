#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Ten hosts share a quota by a real redis-server. A client may use its burst on one of them, within
# a few milliseconds, and all ten give out no more than is stated.
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

# Each refused request waits for one more call of the store, and 20 ms are time for ten calls.
for i in 1 6 10; do
	on "$C" ip addr add "10.78.0.$((200 + i))/24" dev br0
	drive "burst$i" burst 0 "$BURST" "10.78.0.$((200 + i))" "$i"
	check "a client may use its burst on host $i of ten, within a few calls of the store" \
		drove "burst$i" "r['admitted'] == $BURST and r['refused'] <= 6"
done

# 20 requests, one each millisecond. The machine may be busy: other clients try again.
quick() { # N
	on "$C" ip addr add "10.78.0.$((220 + $1))/24" dev br0
	drive "quick$1" one 0.02 1000 "10.78.0.$((220 + $1))" "$1"
	drove "quick$1" "r['times'][-1] - r['times'][0] <= 0.02 and r['admitted'] >= 0.8 * $BURST"
}
any_is_quick() {
	local i

	for i in "${HOSTS[@]}"; do
		quick "$i" && return
	done
	return 1
}
check "of a burst within 20 ms on one of ten hosts, four fifths are admitted" any_is_quick

begin_drives ten 30 20
the_quota_holds ten "$EXCESS"
check "a client that came to all hosts was served by each" drove ten-all "all(r['by_host'])"
done_here
