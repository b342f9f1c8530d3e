#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A request is judged on every path into the host, and its refusal is complete TCP (invariants 4 and
# 7): MTUs, offloads, loopback, two interfaces at once, VLAN tags, IP options, extension headers,
# MPTCP and TCP Fast Open. IP fragments cannot be framed: they pass and are counted (invariant 1). A
# packet socket sends the frames that no kernel here would send. The kernel accepts a tag with VID 0
# without 802.1Q; for other tags, packet sockets play both ends.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/wires.sh
. "$HERE/wires.sh"

mock --model open,prefill-ms=2,token-ms=1,tokens=3,slots=256 \
	--model slow,prefill-ms=20,token-ms=1,tokens=3,slots=64
second_link
sluice --listen "$PORT" --interface s2
shut slow
load --connect "$S4:$PORT" --model open --requests 1 >"$T/warm.json"
await 3 "'open' in m"

# both_kinds SENTENCE NAMESPACE ADDRESS…: admitted and refused requests, small and large. Each has
# its verdict and is counted once.
both_kinds() {
	local sentence=$1 ns=$2 to size before

	shift 2
	for to; do
		[[ $to == *:* ]] && to="[$to]"
		for size in 300 300000; do
			before=$(value "[r['admitted'], r['rejected']]")
			on "$ns" "$B/loadgen" --json --connect "$to:$PORT" --model open:1 \
				--model slow:1 --requests 12 --concurrency 3 --body-bytes $size \
				>"$T/both.json" || true
			expression 3 \
				"j('both')['by_model']['open']['completed'] ==
				j('both')['by_model']['open']['sent'] > 0 and
				j('both')['by_model']['slow']['status'] ==
				{'429': j('both')['by_model']['slow']['sent']} and
				j('both')['body_length_429']['equal'] ==
				j('both')['by_model']['slow']['sent'] > 0 and
				[r['admitted'], r['rejected']] ==
				[${before}[0] + j('both')['by_model']['open']['sent'],
				 ${before}[1] + j('both')['by_model']['slow']['sent']] and
				s['global']['in_flight'] == 0" >"$T/why" || {
				say_not_ok "$sentence" "to $to, $size bytes: $(cat "$T/why")"
				return
			}
		done
	done
	say_ok "$sentence"
}

for mtu in 1280 9000; do
	on "$S" ip link set s0 mtu $mtu
	on "$C" ip link set c0 mtu $mtu
	both_kinds "requests are judged and refused with an MTU of $mtu" "$C" "$S4" "$S6"
done
for features in "tso on gso on gro on tx on" "tso off gso off gro off tx off" \
	"tso off gso on gro on tx on" "tso off gso off gro on tx off"; do
	for end in "$S s0" "$C c0"; do
		read -r ns interface <<<"$end"
		# shellcheck disable=SC2086
		on "$ns" ethtool -K "$interface" $features >/dev/null
	done
	both_kinds "requests are judged and refused with $features" "$C" "$S4" "$S6"
done
on "$S" ip link set s0 mtu 1500
on "$C" ip link set c0 mtu 1500
both_kinds "requests are judged and refused on lo" "$S" 127.0.0.1 ::1 "$S4"
both_kinds "requests are judged and refused on a second interface" "$C" 10.77.1.1 fd77:0:0:4::1

# Packet sockets.
export SL_CLIENT=$C SL_SERVER=$S
SL_SERVER_MAC=$(mac "$S" s0)
SL_CLIENT_MAC=$(mac "$C" c0)
export SL_SERVER_MAC SL_CLIENT_MAC
raw_client 10.77.0.9 fd77:0:0:1::9
send_by() { "$PY" "$HERE/paths.py" "$@" >"$T/by.json" 2>"$T/by.err" || cat "$T/by.err"; }

declare -A what=([raw]="plain frames" [priority]="frames with a priority tag"
	[qinq]="frames with two tags"
	[options]="IPv4 options" [extension]="an IPv6 destination options header")
for how in raw priority qinq options extension; do
	for pair in "$S4 10.77.0.9" "$S6 fd77:0:0:1::9"; do
		read -r host from <<<"$pair"
		[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
		[[ $how$over == "optionsover IPv6" || $how$over == "extensionover IPv4" ]] &&
			continue
		before=$(value "[r['admitted'], r['rejected']]")
		send_by $how "$host" "$from" open
		holds --within 3 "a request in ${what[$how]} is admitted $over" \
			"j('by')['status'] == '200' and j('by')['sums'] and
			 [r['admitted'], r['rejected']] == [${before}[0] + 1, ${before}[1]]"
		send_by $how "$host" "$from" slow
		holds --within 3 \
			"a request in ${what[$how]} is refused with a whole 429, FIN, right checksums, and no socket left $over" \
			"j('by')['status'] == '429' and j('by')['fin'] and not j('by')['rst'] and
			 j('by')['sums'] and
			 [r['admitted'], r['rejected']] == [${before}[0] + 1, ${before}[1] + 1] and
			 sockets('s') == [] and
			 ('$how' not in ('priority', 'qinq') or j('by')['tags'] != ['()'])"
	done
done
for pair in "$S4 10.77.0.9" "$S6 fd77:0:0:1::9"; do
	read -r host from <<<"$pair"
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	send_by vlan "$host" "$from" slow
	holds "a request with the tags 100 and 200 gets a whole 429 with both tags $over" \
		"j('by')['status'] == '429' and j('by')['fin'] and j('by')['sums'] and
		 '100' in j('by')['tags'][0] and '200' in j('by')['tags'][0] and
		 len(j('by')['tags']) == 1"
	holds "the server's reset has both tags and its next expected byte $over" \
		"0 in j('by')['server_rst_at'] and '100' in j('by')['server_tags'][0] and
		 '200' in j('by')['server_tags'][0]"
	before=$(value "[r['admitted'], r['rejected'], k['passed-framing-error'],
		k['framing-error-reset']]")
	send_by fragments "$host" "$from" slow
	if [[ $host == "$S4" ]]; then
		holds --within 3 \
			"a request in IP fragments passes unjudged and is counted $over" \
			"j('by')['status'] == '200' and
			 [r['admitted'], r['rejected'], k['passed-framing-error']] ==
			 [${before}[0], ${before}[1], ${before}[2] + 1]"
	else
		holds --within 3 \
			"… the next one is reset $over, since the server has answered that one" \
			"j('by')['status'] == '' and
			 [r['admitted'], r['rejected'], k['passed-framing-error'],
			  k['framing-error-reset']] ==
			 [${before}[0], ${before}[1], ${before}[2], ${before}[3] + 1]"
	fi
	before=$(value "[r['admitted'], r['rejected']]")
	send_by syn-data "$host" "$from" slow
	holds --within 3 \
		"data in a SYN does not count: the request after the handshake is judged $over" \
		"j('by')['status'] == '429' and j('by')['fin'] and
		 [r['admitted'], r['rejected']] == [${before}[0], ${before}[1] + 1]"
done

# A 429 may be shorter than the headers of the request. The client leaves its checksums to
# the device. The kernel puts the checksum of the 429 at the offset of the request's TCP header.
on "$C" ethtool -K c0 tx on >/dev/null
on "$S" ethtool -K s0 tx off >/dev/null
for way in "$S4 $C4 4" "$S4 $C4 40" "$S6 $C6 8" "$S6 $C6 32"; do
	read -r host from n <<<"$way"
	[[ $host == *:* ]] && options="$n bytes of IPv6 destination options" ||
		options="$n bytes of IPv4 options"
	send_by "options-$n" "$host" "$from" open
	holds --within 3 "a client that sends $options is served" "j('by')['status'] == '200'"
	before=$(value "r['rejected']")
	send_by "options-$n" "$host" "$from" slow
	holds --within 3 \
		"such a client is refused at once with a whole 429, and no socket left ($options)" \
		"j('by') == {'status': '429', 'end': 'eof', 'sent_again': 0} and
		 r['rejected'] == $before + 1 and sockets('s') == []"
done

# Clients that request more than plain TCP.
on "$S" sysctl -qw net.ipv4.tcp_fastopen=1027
on "$C" sysctl -qw net.ipv4.tcp_fastopen=1
declare -A what=([mptcp]="an MPTCP client" [tfo]="a Fast Open client")
for how in mptcp tfo; do
	for pair in "$S4 $C4" "$S6 $C6"; do
		read -r host from <<<"$pair"
		[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
		before=$(value "[r['admitted'], r['rejected'], k['options-removed']]")
		send_by $how "$host" "$from" open
		holds --within 3 "${what[$how]} gets plain TCP and its answer $over" \
			"j('by')['status'] == '200' and
			 [r['admitted'], r['rejected'], k['options-removed']] ==
			 [${before}[0] + 1, ${before}[1], ${before}[2] + 1]"
		for _ in 1 2; do send_by $how "$host" "$from" slow; done
		holds --within 3 "${what[$how]} is refused as others are, repeatedly $over" \
			"j('by') == {'status': '429', 'end': 'eof'} and sockets('s') == [] and
			 [r['admitted'], r['rejected'], k['options-removed']] ==
			 [${before}[0] + 1, ${before}[1] + 2, ${before}[2] + 3]"
	done
done
# sluice judges a segment after any number of IPv6 headers; an MTU of 9000 fits 1100. NxBYTES:
# headers of more than 8 bytes each.
slow=$(value "mock['requests_complete_by_model'].get('slow', 0)")
for mtu in 1500 12000; do
	on "$S" ip link set s0 mtu $mtu
	on "$C" ip link set c0 mtu $mtu
	[ $mtu = 1500 ] && numbers="6 40 1x256" || numbers="300 1150 3x2048"
	for n in $numbers; do
		before=$(value \
			"[r['admitted'], r['rejected'], mock['requests_complete_by_model']['open']]")
		send_by extensions-"$n" "$S6" fd77:0:0:1::9 open
		holds --within 3 "a request after IPv6 headers ($n) is admitted" \
			"j('by')['status'] == '200' and
			 r['admitted'] == ${before}[0] + 1 and r['rejected'] == ${before}[1] and
			 mock['requests_complete_by_model']['open'] == ${before}[2] + 1"
		send_by extensions-"$n" "$S6" fd77:0:0:1::9 slow
		holds --within 3 \
			"a request after IPv6 headers ($n) is refused and does not reach the server" \
			"r['admitted'] == ${before}[0] + 1 and r['rejected'] == ${before}[1] + 1 and
			 mock['requests_complete_by_model'].get('slow', 0) == $slow and
			 k['headers-unread'] == 0"
		# The kernel cannot remove more than 4095 bytes from a packet. sluice drops it, and
		# its socket stays.
		case $n in 1150 | 3x2048) continue ;; esac
		holds --within 3 "it gets a whole 429, and no socket is left ($n)" \
			"j('by')['status'] == '429' and j('by')['fin'] and sockets('s') == []"
	done
done
send_by extensions-1153 "$S6" fd77:0:0:1::9 slow
holds --within 3 "a request after more headers than sluice reads passes and is counted" \
	"j('by')['status'] == '200' and k['headers-unread'] > 2 and s['global']['in_flight'] == 0"
on "$S" ip link set s0 mtu 1500
on "$C" ip link set c0 mtu 1500

holds --within 3 "nothing is in flight at the end" \
	"s['global']['in_flight'] == 0 and s['global']['waiting'] == 0"

done_here
