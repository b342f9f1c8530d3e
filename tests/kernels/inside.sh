#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The tests that scripts/test-kernels runs in each guest. The daemon has the capabilities of its
# systemd unit and no others; it runs on a veth between two network namespaces. The tests cover
#
# - a model that its latency shuts, and the 429 that a client then reads;
# - the same through devices for 802.1Q and 802.1ad tags, and in segments of more than 64 KiB
#   (BIG TCP): the kernel of a development machine may lack these;
# - refusals that keep their connections, on each of these ways;
# - a blocked client's ECONNREFUSED, by tc and by XDP;
# - a detach that leaves nothing;
# - the datapath tests of DATAPATH_TESTS.
#
# The script needs a kernel without another sluice: its search for leftovers would find that, too. A
# check prints one line, `ok - …` or `not ok - …: why`. Emulation is slow: WAIT bounds each wait, in
# seconds.
set -uo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
build=$here/build
wait=${WAIT:-240}
ns=/run/netns
pin=/sys/fs/bpf/sl-kernels
failed=0
pids=()
export LC_ALL=C http_proxy='' https_proxy='' all_proxy='' no_proxy='*'

ok() { printf 'ok - %s\n' "$1"; }

not_ok() {
	local why=${2//$'\n'/ | }

	printf 'not ok - %s: %s\n' "$1" "${why:0:900}"
	failed=1
}

# check SENTENCE COMMAND…: if the command fails, its output is the reason.
check() {
	local sentence=$1 why

	shift
	if why=$("$@" 2>&1); then ok "$sentence"; else not_ok "$sentence" "${why:-$* failed}"; fi
}

# soon COMMAND…: repeats the command until it succeeds, for `wait` seconds at most.
soon() {
	local deadline=$((SECONDS + wait))

	until "$@" >"$t/soon" 2>&1; do
		((SECONDS < deadline)) || {
			cat "$t/soon"
			return 1
		}
		sleep 0.2
	done
}

on() { nsenter --net="$ns/$1" "${@:2}"; }

ctl() { "$build/sluicectl" --control "$t/control.sock" "$@"; }

end() {
	local pid

	for pid in ${pids[@]+"${pids[@]}"}; do
		kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	pids=()
}

clean() {
	end
	ctl detach >/dev/null 2>&1
	ip netns del slk-s 2>/dev/null
	ip netns del slk-c 2>/dev/null
	rm -rf "$pin" "$t"
}

# Prints the unit's capabilities in setpriv's form.
unit_capabilities() {
	sed -n 's/^CapabilityBoundingSet=//p' "$here/scripts/sluiced.service" | tr 'A-Z ' 'a-z\n' |
		sed 's/^cap_/+/' | paste -s -d, | sed 's/^/-all,/'
}

# daemon NAME OPTION…: starts sluiced and waits until it is ready.
listen=(--listen 8000)
daemon() {
	local name=$1

	shift
	on slk-s setpriv --no-new-privs --bounding-set="$(unit_capabilities)" "$build/sluiced" \
		--pin-dir "$pin" --control "$t/control.sock" --metrics off --interface s0 \
		"${listen[@]}" --policy ema-flag --ttft-threshold-ms 3000 \
		--itl-threshold-ms none --time-constant-secs 3600 "$@" >"$t/$name" 2>&1 </dev/null &
	pids+=($!)
	soon grep -q '^ready' "$t/$name" || {
		tail -n 5 "$t/$name"
		kill -KILL "${pids[-1]}"
		wait "${pids[-1]}" 2>/dev/null
		return 1
	}
}

programs() {
	bpftool prog show 2>/dev/null |
		grep -oE ' name (gate|gate_generic|requests|requests_l3|responses|responses_l3) ' |
		sort -u | wc -l
}

all_loaded() {
	[[ $(programs) == 6 ]] || {
		echo "$(programs) of 6 programs are loaded"
		return 1
	}
}

has_tcx() { [[ -n $(compgen -G "$pin/links/*requests*") ]]; }

attached() {
	local filters

	if [[ $want_tcx == 1 ]]; then
		has_tcx || { echo "no tcx link is pinned"; return 1; }
		return 0
	fi
	! has_tcx || { echo "there is a tcx link"; return 1; }
	for filters in ingress egress; do
		[[ $(on slk-s tc filter show dev s0 "$filters") == *bpf* ]] || {
			echo "no filter at $filters"
			return 1
		}
	done
}

model() { [[ $(ctl models --json | tr -d ' \n') =~ \"name\":\"$1\"[^}]*\"open\":$2 ]]; }

send() { # send ADDRESS MODEL: sends a request and prints its status
	on slk-c curl -sS -m "$wait" -o "$t/body" -w '%{http_code}\n' \
		--json "{\"model\":\"$2\",\"stream\":true,\"messages\":[]}" \
		"http://$1:8000/v1/chat/completions"
}

answers() { [[ $(send "$1" "$2" 2>&1 | tee "$t/status") == "$3" ]] ||
	{ cat "$t/status"; return 1; }; }

# reads_to_the_end ADDRESS: a client reads the whole 429 up to the end of the connection.
reads_to_the_end() {
	local body='{"model":"slow","messages":[]}' head text

	head="POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: ${#body}\r\n\r\n"
	text=$(on slk-c timeout "$wait" bash -c "exec 3<>/dev/tcp/$1/8000 &&
		printf '$head%s' '$body' >&3 &&
		cat <&3" 2>&1) || { echo "$text"; return 1; }
	text=${text%"${text##*[! ]}"} # spaces pad it to a constant length
	[[ $text == 'HTTP/1.1 429 '*rate_limit_exceeded*'}' ]] || { echo "$text"; return 1; }
}

refused() {
	local why status=0

	why=$(on slk-c timeout "$wait" bash -c "exec 3<>/dev/tcp/$1/8000" 2>&1) || status=$?
	[[ $why == *'Connection refused'* ]] || { echo "status $status: $why"; return 1; }
}

served() { # prints the number of complete requests at the server
	on slk-s curl -sS -m "$wait" http://127.0.0.1:8001/stats | tr -d ' \n' |
		grep -oE '"requests_complete":[0-9]+' | head -n 1 | tr -dc 0-9
}

same() { [[ $1 == "$2" ]] || { echo "wanted $1, got $2"; return 1; }; }

xdp_of() { on slk-s ip link show dev s0 | grep -oE '\<xdp(generic)?\>' | head -n 1; }

xdp_transmitted() {
	local n

	n=$(on slk-s ethtool -S s0 | awk '/xdp_tx:/ { n += $2 } END { print n + 0 }')
	((n)) || { echo "XDP_TX: 0"; return 1; }
}

nothing_left() {
	local left

	left=$(
		[[ ! -e $pin ]] || echo "$pin"
		[[ $(programs) == 0 ]] || bpftool prog show
		bpftool map show | grep -E ' name (conns|tombstones|settings|model_flags) '
		on slk-s tc filter show dev s0 ingress
		on slk-s tc filter show dev s0 egress
		xdp_of
	)
	[[ -z $left ]] || { echo "$left"; return 1; }
}

detach() {
	check "$1: detach succeeds" ctl detach
	check "$1: detach leaves no program, map, filter or pin" soon nothing_left
}

# blocked HOOK: blocks a client; HOOK is the first one of the packet's way.
blocked() {
	check "$1: the client is served before the block" answers 10.77.0.1 fast 200
	check "$1: a client can be blocked" ctl block 10.77.0.2
	check "$1: a blocked client's connect fails with ECONNREFUSED" refused 10.77.0.1
	[[ $1 != "xdp native" ]] || check "$1: XDP sent the reset" xdp_transmitted
	check "$1: the block can be cleared" ctl clear 10.77.0.2
	check "$1: the client is served after the block" answers 10.77.0.1 fast 200
}

# datapath_test NAME: runs a datapath test program and prints its cmocka results as checks.
datapath_test() {
	local name=$1 status=0

	timeout "${2:-1500}" "$build/$name" >"$t/out" 2>&1 </dev/null || status=$?
	sed -nE "s/^\[       OK \] (.*)/ok - $name: \1/p" "$t/out"
	if grep -qE '^\[  FAILED  \] [a-z]' "$t/out"; then
		sed -nE "s/^\[  FAILED  \] ([a-z_0-9]+)$/\1/p" "$t/out" | sort -u |
			while read -r test; do
				not_ok "$name: $test" "$(grep -E "^\[  ERROR   \]|error:|Error" \
					-A 3 "$t/out" | head -n 12)"
			done
		failed=1
	elif ((status)) || ! grep -q '^\[  PASSED  \]' "$t/out"; then
		not_ok "$name runs to its end" "status $status: $(tail -n 5 "$t/out")"
	fi
}

export PATH=$PATH:/usr/sbin:/sbin
t=$(mktemp -d /tmp/sluice-kernels.XXXXXX)
trap clean EXIT
for module in veth sch_ingress cls_bpf; do
	modprobe -q "$module" 2>/dev/null
done
release=$(uname -r)
want_tcx=1 generic_refused=1
[[ $(printf '%s\n' 6.6 "$release" | sort -V | head -n 1) == 6.6 ]] || want_tcx=
[[ $(printf '%s\n' 6.9 "$release" | sort -V | head -n 1) == 6.9 ]] || generic_refused=

ip netns add slk-s
ip netns add slk-c
ip link add s0 netns slk-s type veth peer name c0 netns slk-c
for end in s c; do
	on slk-$end ip link set lo up
	on slk-$end ip addr add "10.77.0.$([[ $end == s ]] && echo 1 || echo 2)/24" dev ${end}0
	on slk-$end ip addr add "fd77::$([[ $end == s ]] && echo 1 || echo 2)/64" dev ${end}0 nodad
	on slk-$end ip link set ${end}0 up
done
on slk-s "$build/mock_server" --listen 8000 --admin 127.0.0.1:8001 \
	--model fast,prefill-ms=5,token-ms=2,tokens=3 \
	--model slow,prefill-ms=9000,token-ms=2,tokens=3 \
	--model long,prefill-ms=5,token-ms=0,tokens=60000 \
	>"$t/mock" 2>&1 </dev/null &
pids+=($!)
check "the model server starts" soon grep -q '^ready' "$t/mock"

# Adds devices for tags: an 802.1Q device with hooks of its own, and an 802.1Q device within an
# 802.1ad one, without hooks.
tags() {
	local end id=1 host

	modprobe 8021q || return 1
	for end in s c; do
		host=slk-$end
		on "$host" ip link add link "${end}0" name "${end}7" type vlan id 7 &&
			on "$host" ip link add link "${end}0" name "${end}ad" type vlan \
				proto 802.1ad id 100 &&
			on "$host" ip link add link "${end}ad" name "${end}q" type vlan id 200 &&
			on "$host" ip link set "${end}7" up &&
			on "$host" ip link set "${end}ad" up &&
			on "$host" ip link set "${end}q" up &&
			on "$host" ip addr add "10.77.7.$id/24" dev "${end}7" &&
			on "$host" ip addr add "10.77.8.$id/24" dev "${end}q" || return 1
		id=2
	done
}

# Writes the lengths of the longest packets that s0 sent and received, until both exceed 64 KiB or
# `wait` seconds have passed.
longest() {
	on slk-s timeout "$wait" python3 -c '
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)
s.bind(("s0", 3))
most = {socket.PACKET_OUTGOING: 0, socket.PACKET_HOST: 0}
print("listens", flush=True)
while min(most.values()) <= 65536:
    n, _, _, (_, _, kind, _, _) = s.recvmsg_into([bytearray(1)], 0, socket.MSG_TRUNC)
    if kind in most and n > most[kind]:
        most[kind] = n
        print(*most.values(), flush=True)
' >"$t/longest" 2>&1
}

longer() {
	local lengths # sent, received

	read -ra lengths <<<"$(tail -n 1 "$t/longest")"
	((lengths[0] > 65536 && lengths[1] > 65536)) || { echo "${lengths[*]}"; return 1; }
}

# big MODEL STATUS: sends three requests over IPv6.
big() {
	on slk-c timeout "$wait" "$build/loadgen" --json --connect '[fd77::1]:8000' --model "$1" \
		--plain --requests 3 --body-bytes 4000000 >"$t/big" 2>&1
	tr -d ' \n' <"$t/big" | grep -qE "\"status\":\{\"$2\":3\}" || { cat "$t/big"; return 1; }
}

requests() { # prints admitted,rejected
	ctl status --json |
		python3 -c 'import json, sys
n = json.load(sys.stdin)["requests"]
print(n["admitted"], n["rejected"], sep=",")'
}

# both_ways PATH ADDRESS: both verdicts on a path into the host, each counted once
both_ways() {
	local before after

	before=$(requests)
	check "$1: an open model serves" answers "$2" fast 200
	check "$1: a request to the shut model reads 429" answers "$2" slow 429
	check "$1: its client reads all of it and a clean end" reads_to_the_end "$2"
	after=$((${before%,*} + 1)),$((${before#*,} + 2))
	check "$1: each was counted once" same "$after" "$(requests)"
}

# Sets an initial window of a MB: a sender sends only a part of the window at once.
long_segments() {
	local end

	for end in s c; do
		on "slk-$end" ip link set "${end}0" gso_max_size 200000 gro_max_size 200000 &&
			on "slk-$end" sysctl -qw net.ipv4.tcp_rmem='4096 1000000 8000000' \
				net.ipv4.tcp_wmem='4096 1000000 8000000' || return 1
	done
}

# keeps PATH ADDRESS CLIENT [BODY MORE]: connections go on after refusals, and each byte is as it
# was sent. BODY and MORE are bytes of requests and answers, in the median.
keeps() {
	local before

	before=$(kept_refusals)
	ctl block "$3" --model closed >/dev/null
	on slk-c timeout "$wait" python3 "$here/tests/e2e/storm.py" "$2" 8002 4 20 \
		"${4:-400}" "${5:-3000}" >"$t/storm" 2>&1
	check "$1: requests on connections that refusals kept are whole, and so are answers" \
		whole "$t/storm"
	check "$1: refusals kept connections" test "$(kept_refusals)" -gt "$before"
}

whole() { grep -q '"errors": \[\]' "$1" || { cut -c1-500 "$1"; return 1; }; }

kept_refusals() { ctl status --json | grep -oE '"refusals-kept": *[0-9]+' | grep -oE '[0-9]+$'; }

# Requests of 4 MB, and a response of some 100 KB, in segments of more than 64 KiB each way.
big_tcp() {
	local before after pid

	check "BIG TCP: both ends take segments of more than 64 KiB" long_segments
	longest &
	pid=$!
	check "BIG TCP: the packet socket listens" soon grep -q listens "$t/longest"
	before=$(requests)
	check "BIG TCP: requests of 4 MB get long answers" big long 200
	check "BIG TCP: requests of 4 MB are refused" big slow 429
	after=$((${before%,*} + 3)),$((${before#*,} + 3))
	check "BIG TCP: each was counted once" same "$after" "$(requests)"
	keeps "BIG TCP" fd77::1 fd77::/64 20000 200000
	check "BIG TCP: packets of more than 64 KiB passed both ways" longer
	kill "$pid" 2>/dev/null
	wait "$pid"
}

on slk-s python3 "$here/tests/e2e/echo.py" 0.0.0.0,:: 8002 >"$t/echo" 2>&1 </dev/null &
pids+=($!)
printf '%s\n' services: '  - listen: 8000' '  - listen: 8002' '    keep: on' \
	models: '  - name: closed' >"$t/keep.yaml"
check "the echo server starts" soon grep -q '^ready' "$t/echo"

# Adds a device without Ethernet headers, with hooks of its own.
tunnel() {
	modprobe -q ipip
	on slk-s ip link add s9 type ipip local 10.77.0.1 remote 10.77.0.2 &&
		on slk-c ip link add c9 type ipip local 10.77.0.2 remote 10.77.0.1 &&
		on slk-s ip addr add 10.77.9.1/24 dev s9 && on slk-s ip link set s9 up &&
		on slk-c ip addr add 10.77.9.2/24 dev c9 && on slk-c ip link set c9 up
}

# Not by check: the background process must be a child of this shell.
check "the kernel has devices for 802.1Q and 802.1ad" tags
check "… and for tunnels" tunnel
listen=(--config "$t/keep.yaml")
if daemon tc --xdp off --interface s7 --interface s9 >"$t/why"; then
	ok "the daemon starts with the capabilities of its unit"
	check "all six programs are loaded" all_loaded
	check "the daemon attaches by ${want_tcx:+tcx}$([[ $want_tcx ]] || echo clsact)" attached
	check "tc: an open model serves" answers 10.77.0.1 fast 200
	check "tc: an open model serves over IPv6" answers '[fd77::1]' fast 200
	check "tc: a slow model serves while it is open" answers 10.77.0.1 slow 200
	check "tc: its latency shuts it" soon model slow false
	before=$(served)
	check "tc: a request to the shut model reads 429" answers 10.77.0.1 slow 429
	check "tc: a request to the shut model reads 429 over IPv6" answers '[fd77::1]' slow 429
	check "tc: its client reads all of it and a clean end" reads_to_the_end 10.77.0.1
	check "tc: the server's application saw no refused request" same "$before" "$(served)"
	check "tc: the open model still serves" answers 10.77.0.1 fast 200
	both_ways "802.1Q, hooks on both devices" 10.77.7.1
	both_ways "802.1Q in 802.1ad" 10.77.8.1
	both_ways "a tunnel without Ethernet headers" 10.77.9.1
	big_tcp
	keeps "tc" 10.77.0.1 10.77.0.2
	keeps "IPv6" fd77::1 fd77::/64
	keeps "802.1Q, hooks on both devices" 10.77.7.1 10.77.7.2
	keeps "802.1Q in 802.1ad" 10.77.8.1 10.77.8.2
	keeps "a tunnel without Ethernet headers" 10.77.9.1 10.77.9.2
	blocked tc
	detach tc
else
	not_ok "the daemon starts with the capabilities of its unit" "$(cat "$t/why")"
fi
listen=(--listen 8000)

# Without a program on the peer, packets of XDP_TX wait in the veth until other traffic comes.
# GRO does not help.
on slk-c ip link set c0 xdpdrv obj "$build/pass.bpf.o" sec xdp
if daemon native --xdp native >"$t/why"; then
	check "xdp native: the interface has it" same xdp "$(xdp_of)"
	blocked "xdp native"
	detach "xdp native"
else
	not_ok "xdp native: the daemon starts" "$(cat "$t/why")"
fi
on slk-c ip link set c0 xdpdrv off

if [[ $generic_refused ]]; then
	timeout "$wait" nsenter --net="$ns/slk-s" "$build/sluiced" --pin-dir "$pin" \
		--control "$t/control.sock" --metrics off --interface s0 --listen 8000 \
		--xdp generic >"$t/generic" 2>&1 </dev/null
	check "xdp generic: this kernel refuses it, with the reason" \
		grep -q 'hide the link header' "$t/generic"
	check "xdp generic: the refused start leaves nothing" soon nothing_left
elif daemon generic --xdp generic >"$t/why"; then
	check "xdp generic: the interface has it" same xdpgeneric "$(xdp_of)"
	blocked "xdp generic"
	check "xdp generic: a slow model serves while it is open" answers 10.77.0.1 slow 200
	check "xdp generic: its latency shuts it" soon model slow false
	check "xdp generic: a request to the shut model reads 429" answers 10.77.0.1 slow 429
	detach "xdp generic"
else
	not_ok "xdp generic: the daemon starts" "$(cat "$t/why")"
fi
end

# Each datapath test loads the object: ten seconds under emulation, minutes for a program.
for name in ${DATAPATH_TESTS:-}; do
	datapath_test "$name"
done
exit "$failed"
