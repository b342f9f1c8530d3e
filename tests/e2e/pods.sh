# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash disable=SC2034
#
# A node with pods. The namespace $S is the node: it routes between s0 and the bridge br0
# (10.88.0.1, fd88::1). `pod NAME N` makes the namespace sl-CASE-NAME with the addresses 10.88.0.N
# and fd88::N, behind the node's v$NAME. A case sources lib.sh first, and sets MORE_NAMESPACES.

A4=10.88.0.10 A6=fd88::10 B4=10.88.0.11 B6=fd88::11
A=sl-$CASE-a B_POD=sl-$CASE-b

node() {
	on "$S" sh -c 'ip link add br0 type bridge && ip addr add 10.88.0.1/24 dev br0 &&
		ip addr add fd88::1/64 dev br0 nodad && ip link set br0 up &&
		sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1'
	on "$C" sh -c "ip route add 10.88.0.0/24 via $S4 && ip route add fd88::/64 via $S6"
}

pod() { # NAME NUMBER
	local ns=sl-$CASE-$1

	ip netns add "$ns"
	ip link add "v$1" netns "$S" type veth peer name eth0 netns "$ns"
	on "$S" sh -c "ip link set v$1 master br0 && ip link set v$1 up"
	on "$ns" sh -c "ip link set lo up && ip addr add 10.88.0.$2/24 dev eth0 &&
		ip addr add fd88::$2/64 dev eth0 nodad && ip link set eth0 up &&
		ip route add default via 10.88.0.1 && ip -6 route add default via fd88::1"
}

mock_in() { # POD OPTION…: starts the mock there
	local ns=sl-$CASE-$1

	shift
	start mock "$ns" "$B/mock_server" --listen "0.0.0.0:$PORT" --listen "[::]:$PORT" \
		--admin "127.0.0.1:$ADMIN" --model open,prefill-ms=5,token-ms=1,tokens=3,slots=64 \
		--model slow,prefill-ms=20,token-ms=1,tokens=3,slots=64 "$@"
	MOCK=$PID
	await_line mock ready "$MOCK"
}

sluice_on_node() { # OPTION…
	start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics off \
		"$@"
	DAEMON=$PID
	await_line daemon ready "$DAEMON"
}

status() { # NAMESPACE HOST MODEL: of a streamed request
	on "$1" curl -sS -m 10 -o "$T/body" -D "$T/head" -w '%{http_code}' \
		--json "{\"model\":\"$3\",\"messages\":[],\"max_tokens\":2,\"stream\":true}" \
		"http://$2:$PORT/v1/chat/completions"
}

# What the mock of a pod has seen.
in_pod() { on "sl-$CASE-$1" curl -sS -m 5 "http://127.0.0.1:$ADMIN/stats"; }

kinds="[x['kind'] for x in s['trouble_details'] if x['kind'] != 'one-client']"
says() { # KIND TEXT: status says so within a few seconds, and no more than that
	holds --within 20 "$1: $2" "$kinds == ['$1'] and
		any('$2' in x['text'] for x in s['trouble_details'])"
}

# judged SENTENCE NAMESPACE TO CONDITION OPTION…: requests for the model `open` are served, those
# for `slow` get a whole 429, sluice has judged each of them once, and CONDITION holds.
judged() {
	local before

	before=$(value "[r['admitted'], r['rejected']]")
	on "$2" "$B/loadgen" --json --connect "$3" --model open:1 --model slow:1 "${@:5}" \
		>"$T/both.json" || true
	holds --within 3 "$1" \
		"j('both')['by_model']['open']['completed'] ==
		 j('both')['by_model']['open']['sent'] > 0 and
		 j('both')['by_model']['slow']['status'] ==
		 {'429': j('both')['by_model']['slow']['sent']} and
		 [r['admitted'] - ${before}[0], r['rejected'] - ${before}[1]] ==
		 [j('both')['by_model'][x]['sent'] for x in ('open', 'slow')] and
		 s['global']['in_flight'] == 0 and $4"
}

# block_slow NAMESPACE TO CLIENT OPTION…: makes client and models known, and blocks it for `slow`.
block_slow() {
	on "$1" "$B/loadgen" --json --connect "$2" --model open --model slow --requests 4 "${@:4}" \
		>"$T/known.json"
	ctl block "$3" --model slow >/dev/null
}

# Removes sluice at once. `detach` would wait until the tombstones have drained.
sluice_off() {
	local interface

	finish "$DAEMON" KILL
	rm -rf "$PIN"
	for interface in s0 lo br0 va vb; do
		# without tcx, no link goes with its pin
		on "$S" tc qdisc del dev $interface clsact 2>/dev/null || true
	done
}

gone() { ! on "$S" ip link show dev "$1" >/dev/null 2>&1; } # INTERFACE: the node has none
