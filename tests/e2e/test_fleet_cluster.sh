#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Three hosts have their store in a real cluster of six servers. All keys of the fleet are in one
# hash slot. While clients send, the slot goes to another node, the master of that node hands over
# to its replica, and that one is killed. Each client's quota holds over all of it, and no request
# fails.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

NODES=(7001 7002 7003 7004 7005 7006)
declare -A SERVERS
BURST=20 RATE=2
# Three shares of 20 / 6 may be used before the store knows of them.
EXCESS=10
ABSENCES=3 # each lets each host give out one unit at once

begin_node() { # PORT
	mkdir -p "$T/$1"
	start "redis$1" "$R" redis-server --port "$1" --bind 0.0.0.0 --protected-mode no --save '' \
		--dir "$T/$1" --cluster-enabled yes --cluster-node-timeout 3000 \
		--repl-diskless-sync-delay 0 --maxmemory-policy noeviction
	SERVERS[$1]=$PID
	eventually 10 listens "$R" "$1"
}
cli() { on "$R" redis-cli -h "$STORE" -p "$@"; } # PORT COMMAND…
id_of() { cli "$1" cluster myid; } # PORT
is_whole() { cli "$1" cluster info | grep -q cluster_state:ok; }
is_master() { cli "$1" role | head -n 1 | grep -qx master; }
follows() { cli "$1" info replication | grep -q master_link_status:up; }
# node_of SLOT PORT: the port of its master, as the node at PORT knows it.
node_of() {
	cli "$2" --raw cluster nodes | "$PY" -c "import sys
for line in sys.stdin:
    words = line.split()
    spans = (w.split('-') for w in words[8:] if not w.startswith('['))
    if 'fail' not in words[2].split(',') and any(
            int(s[0]) <= $1 <= int(s[-1]) for s in spans):
        print(words[1].split('@')[0].split(':')[1])"
}
all_at() { # PORT: all hosts are back, at this node
	local i

	for i in "${HOSTS[@]}"; do
		eventually 20 fleet_is "$i" "f['up'] and f['store'] == '$STORE:$1' and f['hosts'] == 3" ||
			return 1
	done
}
# All keys of the fleet are in one slot, at this node.
keys_are_at() { # PORT
	local port key

	for port in "${NODES[@]}"; do
		if ! running "$port" || ! is_master "$port"; then continue; fi
		for key in $(cli "$port" --raw keys '*'); do
			[[ $port == "$1" && $(cli "$port" cluster keyslot "$key") == "$SLOT" ]] ||
				{ echo "$key on $port"; return 1; }
		done
	done
	cli "$1" exists 'sluice:{test}:epoch' | grep -qx 1
}
running() { kill -0 "${SERVERS[$1]}" 2>/dev/null; } # PORT
has_replica() { cli "$1" info replication | grep -q 'slave0:.*state=online'; } # PORT
replica_of() { cli "$1" --raw role | sed -n 4p; }                             # PORT
owns() { [[ $(node_of "$SLOT" "$1") == "$1" ]]; }                             # PORT
# move FROM TO: what begins and ends the move of the slot; keys go in between.
begin_move() {
	cli "$2" cluster setslot "$SLOT" importing "$(id_of "$1")" >/dev/null
	cli "$1" cluster setslot "$SLOT" migrating "$(id_of "$2")" >/dev/null
}
move_keys() {
	local keys

	while mapfile -t keys < <(cli "$1" --raw cluster getkeysinslot "$SLOT" 100) &&
		[[ ${keys[0]:-} ]]; do
		cli "$1" migrate "$STORE" "$2" "" 0 5000 keys "${keys[@]}" >/dev/null
	done
}
end_move() {
	local to

	to=$(id_of "$2")
	cli "$2" cluster setslot "$SLOT" node "$to" >/dev/null
	cli "$1" cluster setslot "$SLOT" node "$to" >/dev/null
}

make_fleet
for port in "${NODES[@]}"; do begin_node "$port"; done
on "$R" redis-cli --cluster create "${NODES[@]/#/$STORE:}" --cluster-replicas 1 --cluster-yes \
	>"$T/create.log" 2>&1
for port in "${NODES[@]}"; do eventually 20 is_whole "$port"; done
SLOT=$(cli 7001 cluster keyslot 'sluice:{test}:epoch')
FIRST=$(node_of "$SLOT" 7001)
OTHERS=()
for port in "${NODES[@]}"; do
	is_master "$port" || continue
	eventually 20 has_replica "$port"
	((port == FIRST)) || OTHERS+=("$port")
done
SECOND=${OTHERS[0]}
THIRD=$(replica_of "$SECOND")

# The hosts know the two nodes that do not have the slot.
cat >"$T/fleet.yaml" <<YAML
fleet: test
fleet-store: [$STORE:${OTHERS[1]}, $STORE:$SECOND]
services:
  - {listen: $PORT, quota: requests=20/10s burst=$BURST fleet=on}
YAML
for i in "${HOSTS[@]}"; do start_host "$i"; done
await_hosts "${HOSTS[@]}"
check "all hosts find the node that has the fleet's slot" all_at "$FIRST"

begin_drives cluster 40 20
eventually 5 fleet_is 1 "f['counts']['budgets'] > 0"
check "all keys of the fleet are in its slot" keys_are_at "$FIRST"

begin_move "$FIRST" "$SECOND"
for i in "${HOSTS[@]}"; do
	check "host $i says that the cluster moves the keys" eventually 5 fleet_is "$i" \
		"not f['up'] and 'the cluster moves the fleet\'s keys' in f['why']"
done
move_keys "$FIRST" "$SECOND"
end_move "$FIRST" "$SECOND"
check "all hosts follow the slot to its new node" all_at "$SECOND"
check "… and so did all keys" keys_are_at "$SECOND"

eventually 20 follows "$THIRD"
cli "$THIRD" cluster failover >/dev/null
check "a replica takes over at a word: all hosts find it" all_at "$THIRD"
eventually 20 follows "$SECOND"
finish "${SERVERS[$THIRD]}" KILL
check "the master is killed: all hosts find the replica that the cluster has promoted" \
	all_at "$SECOND"
begin_node "$THIRD"
eventually 20 follows "$THIRD"
check "all keys are in one slot still" keys_are_at "$SECOND"
check "no host has lost the store's contents" fleet_is 1 "f['counts']['epoch_changes'] == 0"

the_quota_holds cluster $((EXCESS + 3 * ABSENCES))
done_here
