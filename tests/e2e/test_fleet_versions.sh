#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A fleet is upgraded host by host, and taken back: hosts of this version and of the next, with
# other structs in their maps, share one budget all the time.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"
# shellcheck source=tests/e2e/next_version.sh
. "$HERE/next_version.sh"

cat >"$T/fleet.yaml" <<END
fleet: test
fleet-store: [$STORE:$STORE_PORT]
services:
  - {listen: $PORT, quota: requests=40/10s burst=20 fleet=on}
END
# Three shares of 20 / 6 may be used before the store knows of them. A restart forgives nothing, but
# a host without a daemon may give out one unit besides its share of the rate.
EXCESS=$((10 + 6))
NOW=$B
next_version

# begin N BUILD: a host, of that version.
begin() { B=$2 begin_host "$1"; }
scripts_known() { store info memory | sed -n 's/^number_of_cached_scripts:\([0-9]*\).*/\1/p'; }

make_fleet
begin_store --loglevel warning
begin 1 "$NOW"
begin 2 "$NEXT"
begin 3 "$NOW"
for i in 1 2 3; do
	check "host $i shares with the hosts of the other version" eventually 5 fleet_is "$i" \
		"f['up'] and f['hosts'] == 3 and len(f['list']) == 3 and
		 not any(h['quotas_that_differ'] for h in f['list'])"
done
same "each version has its own script in the store" 2 "$(scripts_known)"

# Every host is changed while one client uses all three. A host without a daemon gives out its
# share: a third, or half of what two hosts use.
drive all all 30 12 10.78.0.1 &
DRIVE=$!
DOWN_MS=0
for change in 1-$NEXT 2-$NOW 3-$NEXT 3-$NOW 2-$NEXT 1-$NOW; do
	i=${change%%-*}
	since=$(date +%s%3N)
	finish "${DAEMONS[$i]}"
	begin "$i" "${change#*-}"
	eventually 10 fleet_is "$i" "f['up'] and f['hosts'] == 3"
	((DOWN_MS += $(date +%s%3N) - since))
done
wait "$DRIVE"
check "the quota is one over both versions, while hosts go up and down" drove all \
	"r['admitted'] <= most(20, 4, $EXCESS) + 4 / 2 * min($DOWN_MS / 1000, r['took']) and
	 r['failed'] == 0"
check "… and no less" drove all "r['admitted'] >= 0.95 * could(20, 4)"
check "… on each host" drove all "all(n > 10 for n in r['by_host'])"
check "what was spent came over with each host's maps" grep -q \
	"carried over what was pinned" "$T/daemon1.log"
done_here
