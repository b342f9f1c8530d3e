#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Servers in pods: each has a network namespace, whose veth ends at a bridge of the node. sluice
# runs on the node alone. It finds the host's end of the server's veth, where requests leave and
# responses come in. Clients outside, on the node and in another pod are judged there, and a refusal
# is complete TCP (invariant 4).
MORE_NAMESPACES="sl-pods-a sl-pods-b"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/pods.sh
. "$HERE/pods.sh"

node
pod a 10
pod b 11
mock_in a
wired_sluice() { # INTERFACE…: with the model `slow` shut
	sluice_on_node "${@/#/--interface=}" --listen "$A4:$PORT" --listen "[$A6]:$PORT"
	shut slow "$A4:$PORT"
}

# judged FROM TO BYTES: half of the requests are for the model that is shut. Its server sees none of
# those whole.
judged() {
	local where="$1 to $2, $3 bytes"

	in_pod a >"$T/stats0.json"
	before=$(value "[r['admitted'], r['rejected']]")
	on "$1" "$B/loadgen" --json --connect "$2:$PORT" --model open:1 --model slow:1 \
		--requests 16 --concurrency 3 --body-bytes "$3" >"$T/both.json" || true
	in_pod a >"$T/stats.json"
	holds --within 3 "requests are answered or refused with a whole 429: $where" \
		"j('both')['by_model']['open']['completed'] ==
		 j('both')['by_model']['open']['sent'] > 0 and
		 j('both')['by_model']['slow']['status'] ==
		 {'429': j('both')['by_model']['slow']['sent']} and
		 j('both')['body_length_429']['equal'] ==
		 j('both')['by_model']['slow']['sent'] > 0 and
		 j('stats')['requests_complete_by_model']['slow'] ==
		 j('stats0')['requests_complete_by_model']['slow'] and
		 [r['admitted'] - ${before}[0], r['rejected'] - ${before}[1]] ==
		 [j('both')['by_model'][x]['sent'] for x in ('open', 'slow')] and
		 s['global']['in_flight'] == 0"
}

for wires in va auto; do
	wired_sluice $wires
	for from in $C $S $B_POD; do
		for to in "$A4" "[$A6]"; do
			for bytes in 300 300000; do judged "$from" "$to" $bytes; done
		done
	done
	holds "the interfaces are attached whole: $wires" \
		"all(x['tc'] and x['leads_to_server'] == (x['name'] == 'va') for x in s['interfaces'])"
	check "the server's sockets are reset: $wires" \
		eventually 1 no_sockets_in "sl-$CASE-a" "$PORT"
	[[ $wires == va ]] || continue
	sluice_off
done
holds "auto finds the host's end of the server's veth, and no other pod's" \
	"sorted(x['name'] for x in s['interfaces']) == ['br0', 'lo', 's0', 'va']"
sluice_off

# What has to be made again, or waits: at the pod's veth alone, clients outside.
wired_sluice va
witness
for to in "$A4" "[$A6]"; do
	[[ $to == *:* ]] && over="over IPv6" || over="over IPv4"
	lost=$(value "w['lost']")
	lose 2
	judged "$C" "$to" 300
	holds "the client makes up for lost 429s $over" "w['lost'] == $lost + 2"
	printf '{"model":"slow","x":"%01200000d"}' 0 >"$T/large"
	same "a refusal comes after the server's 100 Continue $over" "100 429" \
		"$(on "$C" curl -sS -m 10 -o /dev/null -D - -H 'Expect: 100-continue' \
			-H 'Content-Type: application/json' --data-binary "@$T/large" \
			"http://$to:$PORT/v1/chat/completions" |
			sed -n 's,^HTTP/1.1 \([0-9]*\).*,\1,p' | xargs)"
done
check "the server's sockets are reset after that" eventually 1 no_sockets_in "sl-$CASE-a" "$PORT"

# A SYN that is refused.
ctl set action=reset >/dev/null
for from in $C $S $B_POD; do
	for to in "$A4" "$A6"; do
		client=$(on "$from" ip route get "$to" | sed -n 's/.* src \([^ ]*\).*/\1/p')
		ctl block "$client" >/dev/null
		peer "$from" connect "$to" "$PORT" --bind "$client" --timeout 10 >"$T/connect.json"
		holds "connect() from a blocked client fails at once: $from to $to" \
			"j('connect')['error'] == 'ECONNREFUSED'"
		ctl clear "$client" >/dev/null
	done
done
sluice_off
done_here
