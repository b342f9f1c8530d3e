#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Packets arrive elsewhere than at the server's own device: at a bridge port, at the outer interface
# of a published container port (DNAT), at a device without a link header. Refusals are complete TCP
# there, too (invariant 4). If sluice sees one direction only, or a part of one, the traffic passes
# and is counted; nothing hangs and nothing drifts (invariants 1 and 8).
MORE_NAMESPACES=sl-detours-d
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/wires.sh
. "$HERE/wires.sh"

D=sl-detours-d
export SL_CLIENT=$C SL_SERVER=$S
models=(--model "open,prefill-ms=2,token-ms=1,tokens=3,slots=256"
	--model "slow,prefill-ms=20,token-ms=1,tokens=3,slots=64")
sluice_on() { # OPTION…: starts the daemon on the named interfaces only
	start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics off \
		"$@"
	DAEMON=$PID
	await_line daemon ready "$DAEMON"
}

# Removes sluice at once. `detach` would wait until the tombstones have drained.
sluice_off() {
	local interface

	finish "$DAEMON" KILL
	rm -rf "$PIN"
	for interface in s0 lo tun0; do
		# without tcx, no link goes with its pin
		on "$S" tc qdisc del dev $interface clsact 2>/dev/null || true
	done
}

mock_in() { # NAMESPACE LISTEN…: starts the mock in another namespace, with its admin port there
	local ns=$1 listen=() at

	shift
	for at; do listen+=(--listen "$at"); done
	start "mock-$ns" "$ns" "$B/mock_server" "${listen[@]}" --admin "127.0.0.1:$ADMIN" \
		"${models[@]}"
	MOCK=$PID
	await_line "mock-$ns" ready "$MOCK"
}

complete_in() { on "$1" curl -sS -m 5 "http://127.0.0.1:$ADMIN/stats"; }

# refusing SENTENCE NAMESPACE ADDRESS…: one sample shuts the slow model. Then small and large
# requests for both models go to each address.
refusing() {
	local sentence=$1 to size ns=$2

	shift 2
	load --connect "$1:$PORT" --model slow --requests 1 >"$T/one.json"
	load --connect "$1:$PORT" --model open --requests 1 >"$T/one.json"
	await 3 "m['slow']['ttft_ema_ms'] > 2 and 'open' in m"
	ctl set policy=ema-flag >/dev/null
	ctl set --model slow ttft=1ms tau=1h >/dev/null
	await 2 "not m['slow']['open']"
	complete_in "$ns" >"$T/stats0.json"
	for to; do
		for size in 300 300000; do
			load --connect "$to:$PORT" --model open:1 --model slow:1 --requests 12 \
				--concurrency 3 --body-bytes $size >"$T/both.json" || true
			complete_in "$ns" >"$T/stats.json"
			expression 3 \
				"j('both')['by_model']['open']['completed'] ==
				j('both')['by_model']['open']['sent'] > 0 and
				j('both')['by_model']['slow']['status'] ==
				{'429': j('both')['by_model']['slow']['sent']} and
				j('both')['body_length_429']['equal'] ==
				j('both')['by_model']['slow']['sent'] > 0 and
				j('stats')['requests_complete_by_model']['slow'] ==
				j('stats0')['requests_complete_by_model']['slow'] and
				j('stats')['requests_complete'] >=
				j('stats0')['requests_complete'] +
				j('both')['by_model']['open']['sent'] and
				s['global']['in_flight'] == 0 and
				r['admitted'] + r['rejected'] >= 14" >"$T/why" || {
				say_not_ok "$sentence" "to $to, $size bytes: $(cat "$T/why")"
				return
			}
		done
	done
	say_ok "$sentence"
}

# A bridge with two ports: s0 and the server's veth. sluice is on s0, where clients come in.
ip netns add "$D"
on "$D" ip link set lo up
ip link add d1 netns "$S" type veth peer name d0 netns "$D"
on "$S" sh -c 'ip link add br0 type bridge && ip addr flush dev s0 &&
	ip link set s0 master br0 && ip link set s0 up &&
	ip link set d1 master br0 && ip link set d1 up && ip link set br0 up'
on "$D" sh -c 'ip addr add 10.77.0.5/24 dev d0 && ip addr add fd77:0:0:1::5/64 dev d0 nodad &&
	ip link set d0 up'
mock_in "$D" "10.77.0.5:$PORT" "[fd77:0:0:1::5]:$PORT"
sluice_on --interface s0 --listen "10.77.0.5:$PORT" --listen "[fd77:0:0:1::5]:$PORT"
refusing "a bridged server: requests are judged and refused at the bridge port of the clients" \
	"$D" 10.77.0.5 "[fd77:0:0:1::5]"
check "the bridged server's sockets are reset" eventually 1 no_sockets_in "$D" "$PORT" 80
finish "$MOCK"
sluice_off

# A published port: DNAT to a container. sluice is on the outer interface; its service has the
# host's address.
on "$S" sh -c "ip link del br0 && ip addr add $S4/24 dev s0 && ip addr add 172.30.0.1/24 dev d1 &&
	sysctl -qw net.ipv4.ip_forward=1"
on "$D" sh -c 'ip addr flush dev d0 && ip addr add 172.30.0.2/24 dev d0 &&
	ip route add default via 172.30.0.1'
on "$S" nft -f - <<END
table ip published {
	chain in {
		type nat hook prerouting priority dstnat
		ip daddr $S4 tcp dport $PORT dnat to 172.30.0.2:80
	}
	chain out { type nat hook postrouting priority srcnat; oifname "s0" masquerade; }
}
END
mock_in "$D" 80
sluice_on --interface s0 --listen "$S4:$PORT"
refusing "a published container port: requests are judged and refused on the outer interface" "$D" \
	"$S4"
check "the container's server is reset through the translation" \
	eventually 1 no_sockets_in "$D" "$PORT" 80
finish "$MOCK"
sluice_off
on "$S" sh -c 'nft delete table ip published && sysctl -qw net.ipv4.ip_forward=0 &&
	ip addr flush dev d1'

# A device without a link header.
mock "${models[@]}"
start tun "$S" "$PY" "$HERE/paths.py" tun 10.79.0.1 10.79.0.2 slow
TUN=$PID
await_line tun begun "$TUN"
on "$S" sh -c 'ip addr add 10.79.0.1/24 dev tun0 && ip link set tun0 up'
sluice_on --interface tun0 --interface s0 --listen "$PORT"
load --connect "$S4:$PORT" --model slow --requests 1 >"$T/one.json"
load --connect "$S4:$PORT" --model open --requests 1 >"$T/one.json"
await 3 "m['slow']['ttft_ema_ms'] > 2 and 'open' in m"
ctl set policy=ema-flag >/dev/null
ctl set --model slow ttft=1ms tau=1h >/dev/null
await 2 "not m['slow']['open']"
kill -USR1 "$TUN"
wait "$TUN" || true
grep '^{' "$T/tun.log" >"$T/tun.json" || true
holds --within 3 "on a device without a link header a request is admitted and timed" \
	"j('tun')['open']['status'] == '200' and m['open']['in_flight'] == 0 and r['admitted'] == 3"
holds "another one is refused with a whole 429, FIN and right checksums" \
	"j('tun')['slow']['status'] == '429' and j('tun')['slow']['fin'] and
	 not j('tun')['slow']['rst'] and
	 j('tun')['slow']['sums'] and r['rejected'] == 1 and sockets('s') == []"
sluice_off

# Responses leave by an interface that sluice is not attached to.
second_link
on "$C" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.c2.rp_filter=0 \
	net.ipv4.conf.c0.rp_filter=0
on "$S" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.s2.rp_filter=0 \
	net.ipv4.conf.s0.rp_filter=0
sluice_on --interface s0 --interface lo --listen "$PORT"
on "$S" "$B/loadgen" --json --connect "127.0.0.1:$PORT" --model open --requests 1 >"$T/one.json"
await 3 "'open' in m"
on "$S" ip route add "$C4/32" via 10.77.1.2 dev s2
load --connect "$S4:$PORT" --model open --requests 40 --concurrency 4 >"$T/kept.json" || true
load --connect "$S4:$PORT" --model open --requests 20 --concurrency 4 --new-connections \
	--body-bytes 100000 >"$T/new.json" || true
holds --within 3 \
	"if responses leave by another interface, all requests are answered" \
	"j('kept')['completed'] == 40 and j('new')['completed'] == 20"
holds --within 5 "unseen responses are counted, and nothing stays in flight" \
	"k['unseen-responses'] >= 1 and s['global']['in_flight'] == 0 and
	 s['global']['waiting'] == 0 and
	 [x for x in ctl('clients')['clients'] if x['in_flight']] == []"
ctl block "$C4" --model open >/dev/null
load --connect "$S4:$PORT" --model open --requests 20 --concurrency 4 --timeout 8 \
	>"$T/block.json" || true
holds "a blocked client's requests get a whole 429 or a whole answer there" \
	"sum(j('block')['status'].values()) == 20 and set(j('block')['status']) <= {'200', '429'}"
ctl clear "$C4" --model open >/dev/null
on "$S" ip route del "$C4/32"

# Requests arrive by two interfaces; sluice is attached to one of them.
SL_SERVER_MAC=$(mac "$S" s0)
SL_SERVER_MAC2=$(mac "$S" s2)
export SL_SERVER_MAC SL_SERVER_MAC2
raw_client 10.77.0.9
for model in open slow; do
	before=$(value "k['unseen-requests']")
	"$PY" "$HERE/paths.py" both "$S4" 10.77.0.9 $model >"$T/both.json"
	holds --within 3 \
		"a request ($model) with one half by another interface is answered and counted" \
		"j('both')['status'] == '200' and k['unseen-requests'] == $before + 1 and
		 s['global']['in_flight'] == 0"
done

done_here
