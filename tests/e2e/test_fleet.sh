#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Three hosts share a quota by a real redis-server: it holds over all of them.
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
make_fleet
begin_store
for i in "${HOSTS[@]}"; do begin_host "$i"; done
for i in "${HOSTS[@]}"; do
	check "host $i sees three hosts" eventually 5 fleet_is "$i" "f['up'] and f['hosts'] == 3"
done
hctl 1 fleet
drive all all 10 8
cat $T/all.json
drive one one 10 8 10.78.0.2
cat $T/one.json
hctl 1 fleet
hctl 1 explain 10.78.0.1
store --scan
store info commandstats | grep evalsha
done_here
