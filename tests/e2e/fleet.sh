# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash
#
# Three hosts that share quotas, or $FLEET_HOSTS, for cases that source it after lib.sh: sl-CASE-h1
# to -h3 (10.78.0.11 to .13), each with a server on port 8000 and a daemon; the store in sl-CASE-r
# (10.78.0.50), a real redis-server; a bridge in clients' namespace (10.78.0.1, .2) between them.
# shellcheck disable=SC2034 # variables for the case that sources this

R=sl-$CASE-r
STORE=10.78.0.50
STORE_PORT=6379
mapfile -t HOSTS < <(seq "${FLEET_HOSTS:-3}")
MORE_NAMESPACES="$(printf "sl-$CASE-h%d " "${HOSTS[@]}")$R"
declare -A DAEMONS

host_ns() { echo "sl-$CASE-h$1"; }
host_address() { echo "10.78.0.1$1"; }

# join NAMESPACE ADDRESS: connects a new namespace to the bridge.
join() {
	ip netns add "$1"
	ip link add h0 netns "$1" type veth peer name "b${2##*.}" netns "$C"
	on "$C" sh -c "ip link set b${2##*.} master br0 && ip link set b${2##*.} up"
	on "$1" sh -c "ip addr add $2/24 dev h0 && ip link set h0 up && ip link set lo up"
}

make_fleet() {
	local ns i

	for ns in $MORE_NAMESPACES; do
		[[ ! -e $NS/$ns ]] || ip netns del "$ns"
	done
	on "$C" sh -c "ip link add br0 type bridge && ip link set br0 up &&
		ip addr add 10.78.0.1/24 dev br0 && ip addr add 10.78.0.2/24 dev br0"
	join "$R" "$STORE"
	mkdir -p "$PIN"
	for i in "${HOSTS[@]}"; do
		join "$(host_ns "$i")" "$(host_address "$i")"
		start "server$i" "$(host_ns "$i")" "$B/mock_server" --listen "$PORT" \
			--model llama,prefill-ms=0,token-ms=0,tokens=1,slots=64
		await_line "server$i" ready "$PID"
	done
}

# begin_store [OPTION…]: starts the store, without a disk.
begin_store() {
	start store "$R" redis-server --port "$STORE_PORT" --bind 0.0.0.0 --protected-mode no \
		--save '' --appendonly no --daemonize no --dir "$T" --maxmemory-policy noeviction \
		"$@"
	STORE_PID=$PID
	eventually 10 store ping | grep -q PONG || true
	eventually 10 listens "$R" "$STORE_PORT"
}

# relayed QUOTA: the configuration of hosts that reach the store by the relay.
RELAY=7009
relayed() {
	cat >"$T/fleet.yaml" <<-END
		fleet: test
		fleet-store: [$STORE:$RELAY]
		services:
		  - {listen: $PORT, quota: $1 fleet=on}
	END
}
# begin_relay [ARGUMENT…]: starts $T/relay.py STORE STORE_PORT RELAY ARGUMENT… at the store.
begin_relay() {
	start relay "$R" "$PY" "$T/relay.py" "$STORE" "$STORE_PORT" "$RELAY" "$@"
	await_line relay ready "$PID"
}

store() { on "$R" redis-cli -p "$STORE_PORT" "$@"; }

# start_host N [OPTION…]: starts the daemon of a host. await_hosts N…: they are ready.
start_host() {
	local i=$1

	shift
	start "daemon$i" "$(host_ns "$i")" "$B/sluiced" --pin-dir "$PIN/h$i" \
		--control "$T/h$i.sock" --metrics off --interface h0 --interface lo \
		--config "$T/fleet.yaml" --fleet-host "host-$i" "$@"
	DAEMONS[$i]=$PID
}

await_hosts() {
	local i

	for i; do await_line "daemon$i" ready "${DAEMONS[$i]}"; done
}

begin_host() {
	start_host "$@"
	await_hosts "$1"
}

hctl() { # N COMMAND…
	local i=$1

	shift
	"$B/sluicectl" --control "$T/h$i.sock" "$@"
}

# asks N ADDRESS [MODEL [FORMAT]]: the status of a request to a host, or what curl's -w makes of it.
asks() {
	on "$C" curl -s -o /dev/null -w "${4:-%{http_code\}}" --interface "$2" --max-time 10 \
		--json "{\"model\":\"${3:-llama}\",\"stream\":false,\"messages\":[]}" \
		"http://$(host_address "$1"):$PORT/v1/chat/completions"
}

# fleet_is N EXPRESSION: of the answer f to `fleet --json` of a host.
fleet_is() {
	hctl "$1" fleet --json | "$PY" -c "import json, sys
f = json.load(sys.stdin)['fleet']
sys.exit(not ($2) and f'the fleet is {f}')"
}

# drive NAME PATTERN SECONDS RATE [ADDRESS [N…]]: plays a pattern of fleet.py on these hosts, or
# all; its result is in $T/NAME.json.
drive() {
	local i hosts=() numbers=("${@:6}")

	((${#numbers[@]})) || numbers=("${HOSTS[@]}")
	for i in "${numbers[@]}"; do hosts+=("$T/h$i.sock=$(host_address "$i")"); done
	on "$C" "$PY" "$HERE/fleet.py" "$2" "$3" "$4" "${5:-10.78.0.1}" "${hosts[@]}" >"$T/$1.json"
}

# drove NAME[,NAME…] EXPRESSION: of the result r of one client, or of several drives of it, one
# after the other. within(BURST, RATE, EXCESS): between any two requests, no more was admitted than
# most(), by which hosts that are without the store give out the rate once more. could(BURST, RATE):
# what one host would have admitted of these requests, at their times.
drove() {
	"$PY" - "$2" "$T" "$1" <<-'END'
		import json, sys

		def most(burst, rate, excess):
		    return burst + rate * (r["took"] + r["away"]) + excess

		def within(burst, rate, excess):
		    low = worst = 0
		    for n, (sent, answered) in enumerate(r["admissions"]):
		        low = min(low, n - rate * sent)
		        worst = max(worst, n + 1 - rate * answered - low)
		    r["most_at_once"] = round(worst, 1)
		    return worst <= burst + excess + rate * r["away"]

		def could(burst, rate):
		    level, last, admitted = 0, 0, 0
		    for time in r["times"]:
		        level, last = max(0, level - rate * (time - last)), time
		        if level + 1 <= burst:
		            level, admitted = level + 1, admitted + 1
		    return admitted

		names = (f"{sys.argv[2]}/{name}.json" for name in sys.argv[3].split(","))
		r, *more = (json.load(open(name)) for name in names)
		for next in more:
		    later = next["began"] - r["began"]
		    for key in "admitted", "refused", "failed", "away":
		        r[key] += next[key]
		    r["took"] = later + next["took"]
		    r["times"] += [later + time for time in next["times"]]
		    r["admissions"] += [(later + sent, later + answered)
		                        for sent, answered in next["admissions"]]
		if not eval(f"({sys.argv[1]})"):
		    del r["times"], r["admissions"]
		    sys.exit(str(r))
	END
}

# A client that comes to all hosts, one that keeps to a host, and one that goes from host to host.
PATTERNS=(all one hopping)

# begin_drives NAME SECONDS ADDRESS: these clients, with addresses from 10.78.0.ADDRESS on.
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

# the_quota_holds NAME EXCESS [LOSS]: that of $BURST and $RATE, when the drives have ended. LOSS:
# units that a client may pay for and not get.
the_quota_holds() {
	local pattern

	# shellcheck disable=SC2086
	wait $DRIVES
	for pattern in "${PATTERNS[@]}"; do
		check "$1: no more is admitted than is stated: $pattern" drove "$1-$pattern" \
			"within($BURST, $RATE, $2)"
		check "… a client may use its quota: $pattern" drove "$1-$pattern" \
			"r['admitted'] >= 0.95 * could($BURST, $RATE) - ${3:-0}"
		check "… and no request fails: $pattern" drove "$1-$pattern" "r['failed'] == 0"
	done
}

# spend_budget NAME TOKENS KEY ADDRESSES [N…]: a client that spends its budget, by spend.py, on
# these hosts, or all; its result is in $T/NAME.json, for drove.
spend_budget() {
	local i hosts=() numbers=("${@:5}")

	((${#numbers[@]})) || numbers=("${HOSTS[@]}")
	for i in "${numbers[@]}"; do hosts+=("$(host_address "$i")"); done
	on "$C" "$PY" "$HERE/spend.py" "${@:2:3}" "${hosts[@]}" >"$T/$1.json"
}
