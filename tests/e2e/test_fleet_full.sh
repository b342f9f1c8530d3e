#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The memory of three hosts' store is full while clients send: the store refuses to write, or makes
# room by what others have there, or by budgets of the fleet. No request fails.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

BURST=20 RATE=2
# Three shares of 20 / 6 may be used before the store knows of them.
EXCESS=10

cat >"$T/fleet.yaml" <<YAML
fleet: test
fleet-store: [$STORE:$STORE_PORT]
services:
  - {listen: $PORT, quota: requests=20/10s burst=$BURST fleet=on}
YAML

# fill NAME N: N times 100 KB of others' keys, each time by a call of its own, so that hosts are not
# kept waiting. They end in an hour, so that any policy may evict them.
fill() {
	local i

	for ((i = 0; i < $2; i++)); do
		store eval "for i = 1, 100 do
			redis.call('SET', '$1:$i:' .. i, string.rep('x', 1000), 'EX', 3600) end" 0
	done >/dev/null
}
used() { store info memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p'; }
evicted() { store info stats | sed -n 's/^evicted_keys:\([0-9]*\).*/\1/p'; }
set_store() { store config set "$@" >/dev/null; }
METRICS_PORT=9464
metrics() { on "$(host_ns 1)" curl -s "http://127.0.0.1:$METRICS_PORT/metrics"; }
metric_is() { grep -qx "$1 $2" <(metrics); } # NAME VALUE
all_hosts() { # EXPRESSION
	local i

	for i in "${HOSTS[@]}"; do eventually 20 fleet_is "$i" "$1" || return 1; done
}

make_fleet
begin_store --loglevel warning
for i in "${HOSTS[@]}"; do start_host "$i" --metrics "127.0.0.1:$METRICS_PORT"; done
await_hosts "${HOSTS[@]}"
check "all hosts share" all_hosts "f['up'] and f['hosts'] == 3 and f['store_evicts'] is None"

# It refuses to write.
begin_drives full 60 20
eventually 5 fleet_is 1 "f['counts']['budgets'] > 0"
set_store maxmemory 1
check "all hosts say that the store is full" all_hosts \
	"not f['up'] and 'memory is full' in f['why']"
check "… for some time" all_hosts "f['away_ms'] > 6000"
set_store maxmemory 0
check "… and share when it has room" all_hosts "f['up'] and f['hosts'] == 3"
# While the store is away, each host may give out a unit at once, since it knows of no other. Of an
# absence in which the whole budget comes back, that is paid for twice.
the_quota_holds full $((EXCESS + 3)) 3

# It evicts what nobody has used for long.
fill old 20
set_store maxmemory-policy allkeys-lru
set_store maxmemory "$(used)"
check "all hosts say that the store may evict budgets" all_hosts \
	"f['store_evicts'] == 'allkeys-lru'"
for command in fleet status; do
	check "$command says what to do" grep -q \
		"^note: the store may evict budgets, .* set its maxmemory-policy, allkeys-lru, to noeviction" \
		<(hctl 1 "$command")
done
check "… and so does the log, once" test "$(grep -c "may evict budgets" "$T/daemon1.log")" == 1
check "… and the metrics" metric_is sluice_fleet_store_evicts 1
begin_drives evicting 20 30
eventually 5 fleet_is 1 "f['counts']['budgets'] > 0"
before=$(evicted)
full=$(grep -c "memory is full" "$T"/daemon[123].log)
fill new 5 # and most of the old ones are left: the fleet's keys are not the oldest
check "it evicts others' keys" test "$(evicted)" -gt "$before"
the_quota_holds evicting $EXCESS
same "it is not full for anybody" "$full" "$(grep -c "memory is full" "$T"/daemon[123].log)"
set_store maxmemory-policy noeviction
check "with noeviction, all hosts say so" all_hosts "f['store_evicts'] is None"
check "… and the metrics" metric_is sluice_fleet_store_evicts 0
done_here
