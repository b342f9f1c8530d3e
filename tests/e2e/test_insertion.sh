#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Insertion: a client sends segments that the server's TCP drops, then others with the
# same sequence numbers. The application reads the others, so sluice judges those (invariants 1 and
# 7). If it cannot, the request passes and is counted, or is reset with `on-framing-error: reset`. A
# packet socket sends both: no kernel would.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/wires.sh
. "$HERE/wires.sh"

configure() {
	cat >"$T/sluice.yaml" <<-END
		services:
		  - listen: $PORT
		    model: blocked
		    on-framing-error: $1
		models: [{name: open}, {name: blocked}]
	END
	sluice --config "$T/sluice.yaml"
	ctl block 10.77.0.9 --model blocked >/dev/null
	ctl block fd77:0:0:1::9 --model blocked >/dev/null
}

# insert HOW HOST: runs insertion.py; its result is in by.json.
insert() {
	local source=10.77.0.9

	[[ $2 == *:* ]] && source=fd77:0:0:1::9
	before=$(value \
		"[r['admitted'], r['rejected'], k['passed-framing-error'], k['framing-error-reset'],
		mock['requests_complete']]")
	"$PY" "$HERE/insertion.py" "$1" "$2" $source >"$T/by.json"
}

mock --model open,prefill-ms=2,token-ms=1,tokens=3,slots=256 \
	--model blocked,prefill-ms=2,token-ms=1,tokens=3,slots=64
configure pass
export SL_CLIENT=$C SL_SERVER=$S
SL_SERVER_MAC=$(mac "$S" s0)
export SL_SERVER_MAC
raw_client 10.77.0.9 fd77:0:0:1::9

for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	insert retransmission "$host"
	holds --within 3 "a retransmitted request is counted once $over" \
		"j('by')['status'] == '200' and s['global']['in_flight'] == 0 and
		 [r['admitted'], r['rejected'], k['passed-framing-error']] ==
		 [${before}[0] + 1, ${before}[1], ${before}[2]]"
	while read -r how what; do
		insert "$how" "$host"
		holds --within 3 "a request that replaces one with $what is judged $over" \
			"j('by')['status'] == '429' and r['rejected'] == ${before}[1] + 1 and
			 k['passed-framing-error'] == ${before}[2] and
			 mock['requests_complete'] == ${before}[4] and
			 s['global']['in_flight'] == 0"
	done <<-END
		checksum a wrong checksum
		acknowledgement an acknowledgement of what was never sent
		no-acknowledgement no ACK flag
		timestamp an old timestamp
		fin a wrong checksum and a FIN
	END
	insert body "$host"
	holds --within 3 "a request with replaced body bytes is judged as the default model $over" \
		"j('by')['status'] == '429' and r['rejected'] == ${before}[1] + 1 and
		 mock['requests_complete'] == ${before}[4] and
		 s['global']['in_flight'] == 0"
	insert early "$host"
	holds --within 3 "a request with replaced early bytes of an image is judged as the default model $over" \
		"j('by')['status'] == '429' and r['rejected'] == ${before}[1] + 1 and
		 mock['requests_complete'] == ${before}[4] and
		 s['global']['in_flight'] == 0"
	insert head "$host"
	holds --within 3 "a request with replaced head bytes passes and is counted $over" \
		"j('by')['status'] == '200' and k['passed-framing-error'] == ${before}[2] + 1 and
		 s['global']['in_flight'] == 0"
done

finish "$DAEMON"
configure reset
for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	insert head "$host"
	holds --within 3 \
		"with on-framing-error: reset it is reset, and the server has no socket left $over" \
		"j('by')['rst'] and k['framing-error-reset'] == ${before}[3] + 1 and
		 mock['requests_complete'] == ${before}[4] and
		 sockets('s') == []"
done

# A packet that passes two hooks (a bridge and its port) is no retransmission.
finish "$DAEMON"
on "$S" sh -c "ip link add br0 type bridge && ip addr flush dev s0 &&
	ip link set s0 master br0 && ip link set br0 up &&
	ip addr add $S4/24 dev br0 && ip addr add $S6/64 dev br0 nodad"
for source in 10.77.0.9 fd77:0:0:1::9; do
	on "$S" ip neigh replace $source lladdr "$(mac "$C" c0)" nud permanent dev br0
done
SL_SERVER_MAC=$(mac "$S" br0)
interfaces=(s0 br0)
configure pass
ctl block "$C4" --model blocked >/dev/null
ctl block "$C6" --model blocked >/dev/null
for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	before=$(value "[r['admitted'], r['rejected'], k['passed-framing-error']]")
	to=$host
	[[ $host == *:* ]] && to="[$host]"
	load --connect "$to:$PORT" --model open:1 --model blocked:1 --requests 40 --concurrency 1 \
		--body-bytes 5000 >"$T/two.json" || true
	holds --within 3 "requests that pass two hooks are judged and counted once $over" \
		"j('two')['by_model']['open']['completed'] ==
		 j('two')['by_model']['open']['sent'] > 0 and
		 j('two')['by_model']['blocked']['status'] ==
		 {'429': j('two')['by_model']['blocked']['sent']} and
		 [r['admitted'], r['rejected'], k['passed-framing-error']] ==
		 [${before}[0] + j('two')['by_model']['open']['sent'],
		  ${before}[1] + j('two')['by_model']['blocked']['sent'], ${before}[2]] and
		  s['global']['in_flight'] == 0"
	insert checksum "$host"
	holds --within 3 "a request that replaces another is judged at two hooks $over" \
		"j('by')['status'] == '429' and r['rejected'] == ${before}[1] + 1 and
		 mock['requests_complete'] == ${before}[4]"
done

done_here
