#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Three hosts start for the first time while there is no store: each gives out its share among as
# many hosts as are configured, or whole budgets where that is configured.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

cat >"$T/fleet.yaml" <<END
fleet: test
fleet-store: [$STORE:$STORE_PORT]
services:
  - {listen: $PORT, quota: requests=20/10s burst=20 fleet=on}
END
# A unit at once on each host, and the one that is under way.
most="20 + 2 * r['took'] + 2 * 3"

make_fleet
for i in "${HOSTS[@]}"; do start_host "$i" --fleet-hosts-min 3; done
await_hosts "${HOSTS[@]}"
drive cold all 15 24 10.78.0.1
check "hosts that never heard from a store give out one quota together" drove cold \
	"r['admitted'] <= $most and r['failed'] == 0"
check "… and something each" drove cold "min(r['by_host']) >= 1"
for i in "${HOSTS[@]}"; do finish "${DAEMONS[$i]}"; done
for i in "${HOSTS[@]}"; do start_host "$i" --fleet-hosts-min 3 --fleet-fallback whole; done
await_hosts "${HOSTS[@]}"
drive whole all 15 24 10.78.0.2
check "with fleet-fallback: whole, each gives out its own" drove whole \
	"r['admitted'] > 2 * ($most) and r['failed'] == 0"

# A store comes, and all are one again.
begin_store --loglevel warning
for i in "${HOSTS[@]}"; do
	check "host $i joins the store" eventually 60 fleet_is "$i" "f['up'] and f['hosts'] == 3"
done
done_here
