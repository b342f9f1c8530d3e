#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A wire that loses, delays, duplicates and reorders, with real TCP at both ends. Refusals that
# close are complete there, too (invariant 4): with the 429 lost once or three times, and with
# server bytes in flight or lost for good when the next request is refused. A request in disorder
# is judged once, by its real content (invariants 7 and 8).
MORE_NAMESPACES=sl-lossy-r
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/wires.sh
. "$HERE/wires.sh"

relay_between
mock --model slow,prefill-ms=20,token-ms=2,tokens=4,slots=64 \
	--model open,prefill-ms=1,token-ms=1,tokens=2,slots=64
echo "services: [{listen: $PORT, keep: off}]" >"$T/sluice.yaml"
sluice --config "$T/sluice.yaml"

# lossy NAME SCENARIO HOST [ARGUMENT…]: runs lossy.py; its result is in NAME.json.
lossy() {
	SL_SERVER=$S SL_CLIENT=$C SL_RELAY=$R SL_CTL=$B/sluicectl SL_CONTROL=$T/control.sock \
		timeout 40 "$PY" "$HERE/lossy.py" "${@:2}" >"$T/$1.json" 2>"$T/$1.log"
}

# The warm-up uses lo: no relay carries frames between two scenarios.
for model in open slow; do
	on "$S" "$B/loadgen" --json --connect "127.0.0.1:$PORT" --model "$model" --requests 1 \
		>"$T/warm.json"
done
await 3 "'open' in m and m['slow']['ttft_ema_ms'] > 2"

# Invariant 7: any order of segments. Invariant 8: a duplicate is not judged again. A body with a
# gap names no model.
for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	for how in reordered doubled overlapping; do
		for what in "500 first" "60000 first" "60000 last"; do
			read -r size where <<<"$what"
			model=open
			[[ $how$where == reorderedlast ]] && model=default
			before=$(value "[r['admitted'], mock['requests_complete']]")
			lossy mess "$how" "$host" "$size" "$where" || true
			holds --within 3 \
				"a request of $size bytes, segments $how, its model $where, is admitted once $over" \
				"j('mess')['statuses'] == [200] and j('mess')['clean'] and
				 (j('mess')['changed'] > 0 or $size < 1000) and
				 [r['admitted'] - 1, mock['requests_complete'] - 1] == $before and
				 r['rejected'] == 0 and s['global']['in_flight'] == 0 and
				 '$model' in [c['last_model'] for c in ctl('clients')['clients']
					      if ':' in c['client'] and ':' in '$host' or
					      '.' in c['client'] and '.' in '$host']"
		done
	done
done

# Invariant 4: the wire loses the 429 and nothing else, for a small request and for one of 1 MiB.
ctl set policy=ema-flag >/dev/null
ctl set --model slow ttft=1ms tau=1h >/dev/null
await 2 "not m['slow']['open']"
before=$(value "mock['requests_complete']")
for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	for times in 1 3; do
		for size in 500 1048576; do
			lossy lost lost "$host" "$times" "$size" || true
			holds --within 3 \
				"a 429 lost $times× is read whole, with a clean end, by a request of $size bytes $over" \
				"j('lost')['statuses'] == [429] and j('lost')['clean'] and
				 j('lost')['end'] == 'eof' and
				 j('lost')['lost'] == $times and j('lost')['same'] and
				 mock['requests_complete'] == $before and sockets('s') == []"
		done
	done
done
# The 429 of a request in disorder. A gap in a long body would hide a model at its end.
for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	for how in reordered doubled overlapping; do
		for what in "500 first" "60000 first" "60000 last"; do
			read -r size where <<<"$what"
			[[ $how$where != reorderedlast ]] || continue
			counted=$(value "r['rejected']")
			lossy mess "$how" "$host" "$size" "$where" slow || true
			holds --within 3 \
				"a request of $size bytes, segments $how, its model $where, is refused once, with a whole 429 and a clean end $over" \
				"j('mess')['statuses'] == [429] and j('mess')['clean'] and
				 j('mess')['end'] == 'eof' and
				 (j('mess')['changed'] > 0 or $size < 1000) and
				 r['rejected'] == $counted + 1 and
				 mock['requests_complete'] == $before and sockets('s') == [] and
				 s['global']['in_flight'] == 0"
		done
	done
done
holds "no reply was given up as lost" "k['replies-lost'] == 0"
finish "$MOCK"

# Invariant 4: server bytes in flight when the next request is refused. The client reads them, then
# the 429. If they are lost for good, the connection is reset and counted.
for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	lossy late in-flight "$host" late || true
	holds --within 3 \
		"with the end of the last answer in flight, the client reads it, the 429 and a clean end $over" \
		"j('late')['statuses'] == [200, 429] and j('late')['clean'] and
		 j('late')['end'] == 'eof'"
	holds "the server's socket got no byte of the refused request $over" \
		"j('late')['server'] == {'bytes': 0, 'end': 'ConnectionResetError'}"
	ctl clear "$([[ $host == *:* ]] && echo "$C6" || echo "$C4")" --model kept >/dev/null
	lossy cont continue "$host" late || true
	holds --within 3 \
		"with 100-continue in flight, the client reads it, the 429 and a clean end $over" \
		"j('cont')['statuses'] == [100, 429] and j('cont')['clean'] and
		 j('cont')['end'] == 'eof'"
	ctl clear "$([[ $host == *:* ]] && echo "$C6" || echo "$C4")" --model kept >/dev/null
	lost=$(value "k['replies-lost']")
	[[ $host == *:* ]] && what="100-continue" || what="the end of the last answer"
	[[ $host == *:* ]] && how="continue" || how="in-flight"
	lossy gone "$how" "$host" lost || true
	holds --within 3 "with $what lost for good, the client is reset and counted $over" \
		"j('gone')['end'] == 'ConnectionResetError' and k['replies-lost'] == $lost + 1 and
		 j('gone')['server']['end'] == 'ConnectionResetError'"
	ctl clear "$([[ $host == *:* ]] && echo "$C6" || echo "$C4")" --model kept >/dev/null
done

done_here
