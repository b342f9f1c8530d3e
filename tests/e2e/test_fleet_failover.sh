#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The store of three hosts fails over while clients send: by hand, where the old master becomes a
# read-only replica, and by a sentinel, from a master that is killed and from one that hangs. Each
# client's quota holds over all of it, and no request fails.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

REPLICA_PORT=6380
SENTINEL_PORT=26379
declare -A SERVERS
# A client that comes to all hosts, one that keeps to a host, and one that goes from host to host.
PATTERNS=(all one hopping)
BURST=20 RATE=2
# Three shares of 20 / 6 may be used before the store knows of them.
EXCESS=10

# configure STORE… [SETTING]
configure() {
	cat >"$T/fleet.yaml" <<-YAML
		fleet: test
		fleet-store: [$1]
		${2:-}
		services:
		  - {listen: $PORT, quota: requests=20/10s burst=$BURST fleet=on}
	YAML
}
begin_server() { # PORT OPTION…
	start "redis$1" "$R" redis-server --port "$1" --bind 0.0.0.0 --protected-mode no --save '' \
		--appendonly no --dir "$T" --dbfilename "$1.rdb" --repl-diskless-sync-delay 0 \
		--maxmemory-policy noeviction "${@:2}"
	SERVERS[$1]=$PID
	eventually 10 listens "$R" "$1"
}
cli() { on "$R" redis-cli -h "$STORE" -p "$@"; } # PORT COMMAND…
follows() { cli "$1" info replication | grep -q master_link_status:up; }
become_master() { # PORT FORMER
	cli "$1" replicaof no one >/dev/null
	cli "$2" replicaof "$STORE" "$1" >/dev/null
}
# begin_drives NAME SECONDS ADDRESS: the clients have addresses from 10.78.0.ADDRESS on.
begin_drives() {
	local address=$3 pattern

	DRIVES=
	for pattern in "${PATTERNS[@]}"; do
		on "$C" ip addr add "10.78.0.$address/24" dev br0
		drive "$1-$pattern" "$pattern" "$2" 8 "10.78.0.$address" &
		DRIVES="$DRIVES $!"
		((++address))
	done
}
# the_quota_holds NAME SECONDS
the_quota_holds() {
	local pattern

	# shellcheck disable=SC2086
	wait $DRIVES
	for pattern in "${PATTERNS[@]}"; do
		check "$1: no more is admitted than is stated: $pattern" drove "$1-$pattern" \
			"r['admitted'] <= $BURST + $RATE * r['took'] + $EXCESS"
		check "… a client may use its quota: $pattern" drove "$1-$pattern" \
			"r['admitted'] >= 0.95 * ($BURST + $RATE * min(r['took'], $2 - 0.2))"
		check "… and no request fails: $pattern" drove "$1-$pattern" "r['failed'] == 0"
	done
}
all_at() { # PORT: all hosts are back, at this server
	local i

	for i in "${HOSTS[@]}"; do
		eventually 20 fleet_is "$i" "f['up'] and f['store'] == '$STORE:$1' and f['hosts'] == 3" ||
			return 1
	done
}
away() { # N: how often a host's store went away
	grep -c "this host gives out its share" "$T/daemon$1.log" || true
}

make_fleet
begin_server "$STORE_PORT"
begin_server "$REPLICA_PORT" --replicaof "$STORE $STORE_PORT"
eventually 10 follows "$REPLICA_PORT"

# By hand. Each way, and while the old master still takes connections.
configure "$STORE:$STORE_PORT, $STORE:$REPLICA_PORT"
for i in "${HOSTS[@]}"; do start_host "$i"; done
await_hosts "${HOSTS[@]}"
check "all hosts are at the master" all_at "$STORE_PORT"
begin_drives by-hand 60 20
eventually 5 fleet_is 1 "f['counts']['budgets'] > 0"
become_master "$REPLICA_PORT" "$STORE_PORT"
check "all hosts find the new master" all_at "$REPLICA_PORT"
eventually 10 follows "$STORE_PORT"
become_master "$STORE_PORT" "$REPLICA_PORT"
check "… and the old one, when it is one again" all_at "$STORE_PORT"
the_quota_holds by-hand 60
check "a host has seen the old master refuse" grep -q "the store is a read-only replica" \
	"$T/daemon1.log" "$T/daemon2.log" "$T/daemon3.log"
for i in "${HOSTS[@]}"; do finish "${DAEMONS[$i]}"; done

# By a sentinel.
cat >"$T/sentinel.conf" <<-CONF
	port $SENTINEL_PORT
	dir $T
	protected-mode no
	sentinel monitor fleet $STORE $STORE_PORT 1
	sentinel down-after-milliseconds fleet 500
	sentinel failover-timeout fleet 2000
CONF
start sentinel "$R" redis-sentinel "$T/sentinel.conf"
eventually 10 listens "$R" "$SENTINEL_PORT"
knows() { cli "$SENTINEL_PORT" sentinel replicas fleet | grep -qx "$1"; } # PORT
eventually 20 knows "$REPLICA_PORT"
configure "$STORE:$SENTINEL_PORT" "fleet-sentinel: fleet"
for i in "${HOSTS[@]}"; do start_host "$i"; done
await_hosts "${HOSTS[@]}"
check "the sentinel names the master" all_at "$STORE_PORT"
begin_drives sentinel 60 30
eventually 5 fleet_is 1 "f['counts']['budgets'] > 0"
finish "${SERVERS[$STORE_PORT]}" KILL
check "the master is killed: all hosts find the replica that the sentinel has promoted" \
	all_at "$REPLICA_PORT"
begin_server "$STORE_PORT" --replicaof "$STORE $REPLICA_PORT"
eventually 10 follows "$STORE_PORT"
eventually 20 knows "$STORE_PORT"
kill -STOP "${SERVERS[$REPLICA_PORT]}"
check "the master hangs: all hosts find the next one" all_at "$STORE_PORT"
kill -CONT "${SERVERS[$REPLICA_PORT]}"
eventually 20 follows "$REPLICA_PORT"
check "when the old one is back, all hosts stay" all_at "$STORE_PORT"
the_quota_holds sentinel 60
for i in "${HOSTS[@]}"; do
	check "host $i has said that the store was away" test "$(away "$i")" -ge 2
done
done_here
