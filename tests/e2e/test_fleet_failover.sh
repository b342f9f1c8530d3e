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
BURST=20 RATE=2
# Three shares of 20 / 6 may be used before the store knows of them.
EXCESS=10
ABSENCES=2 # each lets each host give out one unit at once

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
is_at() { # PORT N: a host shares by this server
	fleet_is "$2" "f['up'] and f['store'] == '$STORE:$1' and f['hosts'] == 3"
}
all_at() { # PORT: all hosts are back, at this server
	local i

	for i in "${HOSTS[@]}"; do eventually 20 is_at "$1" "$i" || return 1; done
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
the_quota_holds by-hand $((EXCESS + 3 * ABSENCES))
check "a host has seen the old master refuse" grep -q "the store is a read-only replica" \
	"$T/daemon1.log" "$T/daemon2.log" "$T/daemon3.log"
for i in "${HOSTS[@]}"; do finish "${DAEMONS[$i]}"; done

# By a sentinel.
cat >"$T/sentinel.conf" <<-CONF
	port $SENTINEL_PORT
	dir $T
	protected-mode no
	sentinel monitor fleet $STORE $STORE_PORT 1
	sentinel down-after-milliseconds fleet 1000
	sentinel failover-timeout fleet 2000
CONF
start sentinel "$R" redis-sentinel "$T/sentinel.conf"
eventually 10 listens "$R" "$SENTINEL_PORT"
# The sentinel may see a master down that was only slow: it says which one is the master.
master() { cli "$SENTINEL_PORT" --raw sentinel get-master-addr-by-name fleet | sed -n 2p; }
other_than() { echo $((STORE_PORT + REPLICA_PORT - $1)); } # PORT: the other server
has_replica() {
	follows "$(other_than "$(master)")" &&
		cli "$SENTINEL_PORT" sentinel replicas fleet | grep -qx "$(other_than "$(master)")"
}
# Not PORT, but the other one is the master, and all hosts are there.
all_at_other_than() {
	local port i

	port=$(other_than "$1")
	[[ $(master) == "$port" ]] || { echo "the master is $(master)"; return 1; }
	for i in "${HOSTS[@]}"; do is_at "$port" "$i" || return 1; done
}
all_at_master() { all_at_other_than "$(other_than "$(master)")"; }
eventually 20 has_replica
configure "$STORE:$SENTINEL_PORT" "fleet-sentinel: fleet"
for i in "${HOSTS[@]}"; do start_host "$i"; done
await_hosts "${HOSTS[@]}"
check "the sentinel names the master" eventually 20 all_at_master
begin_drives sentinel 60 30
eventually 5 fleet_is 1 "f['counts']['budgets'] > 0"
eventually 20 has_replica
old=$(master)
finish "${SERVERS[$old]}" KILL
check "the master is killed: all hosts find the replica that the sentinel has promoted" \
	eventually 20 all_at_other_than "$old"
begin_server "$old" --replicaof "$STORE $(other_than "$old")"
eventually 20 has_replica
old=$(master)
kill -STOP "${SERVERS[$old]}"
check "the master hangs: all hosts find the next one" eventually 20 all_at_other_than "$old"
kill -CONT "${SERVERS[$old]}"
eventually 20 has_replica
check "when the old one is back, all hosts are at the master" eventually 20 all_at_master
the_quota_holds sentinel $((EXCESS + 3 * ABSENCES))
for i in "${HOSTS[@]}"; do
	check "host $i has said that the store was away" test "$(away "$i")" -ge 2
done
done_here
