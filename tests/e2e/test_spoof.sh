#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 3: nothing is charged to an unproven address, and spoofed packets can neither evict nor
# exhaust anyone. A flood of SYNs and whole requests comes from a million unused addresses, each one
# a client by the configuration, and from a real client's address. Real clients are judged all the
# time, by their quotas, too. No other client appears. No map grows, and sluice answers nothing.
# Data that completes a handshake is judged.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/wires.sh
. "$HERE/wires.sh"

N=1400000
"${CC:-cc}" -O2 -Wall -Wextra -Werror "$HERE/flood.c" -o "$T/flood"
# Answers to the spoofed addresses go to the clients' host, which drops them.
on "$S" ip route add 10.77.128.0/17 via "$C4"
on "$S" ip route add fd77:0:0:2::/64 via "$C6"
on "$C" sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0

mock --model open,prefill-ms=5,token-ms=1,tokens=4,slots=256 \
	--model slow,prefill-ms=20,token-ms=1,tokens=4,slots=64 \
	--model long,prefill-ms=5,token-ms=100,tokens=100,slots=4
TIGHT=10.77.0.4 LEFT=10.77.0.5
for address in "$TIGHT" "$LEFT"; do on "$C" ip addr add "$address/24" dev c0; done
cat >"$T/sluice.yaml" <<EOF
services:
  - {listen: $PORT, client-prefix-v6: 128, quota: requests=1000000/1h}
quotas:
  - {client: $TIGHT, requests: 2/1d}
  - {client: $LEFT, requests: 100/1d}
EOF
sluice --config "$T/sluice.yaml"

# one ADDRESS: sends one request from there and prints its status.
one() { status_from "$1" open; }

# Prints the kernel's state of both clients: their spent budgets.
budgets() {
	bpftool -j map dump pinned "$PIN/client_state" | "$PY" -c '
import json, sys
for e in json.load(sys.stdin):
    a = e["formatted"]["key"]["client"]["addr"]
    a = bytes(int(x, 16) if isinstance(x, str) else x for x in a)
    if a[12:15] == bytes([10, 77, 0]) and a[15] in (4, 5):
        print(a[15], e["formatted"]["value"]["request_tat_ns"])' | sort
}

# Prints the size of all maps of sluice in bytes.
memory() {
	local map

	for map in "$PIN"/*; do bpftool -j map show pinned "$map" 2>/dev/null; done |
		"$PY" -c \
			'import json, sys; print(sum(json.loads(l).get("bytes_memlock", 0) for l in sys.stdin))'
}
shut slow
load --connect "$S4:$PORT" --model open --requests 2 >"$T/warm.json"
await 3 "'open' in m"
same "two requests a day are two" "200 200 429" "$(one "$TIGHT") $(one "$TIGHT") $(one "$TIGHT")"
for _ in 1 2 3; do one "$LEFT" >/dev/null; done
spent=$(budgets)
before=$(value "[r['admitted'], r['rejected'], k['forged-answers'], mock['requests_complete']]")
bytes=$(memory)

flood() {
	start flood "$C" "$T/flood" c0 "$(mac "$S" s0)" "$1" "$S4" 10.77.128.0 "$S6" fd77:0:0:2:: \
		"$LEFT"
	FLOOD=$PID
}

# A stream that lasts longer than the flood, on its own connection.
start stream "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model long --requests 1 \
	--max-tokens 100
STREAM=$PID
await 5 "'long' in m or s['global']['in_flight'] > 0"
flood $N
clients=0 tight=0
while kill -0 "$FLOOD" 2>/dev/null; do
	clients=$((clients + 1))
	[[ $(one "$TIGHT") != 429 ]] || tight=$((tight + 1))
	load --connect "$S4:$PORT" --model open:3 --model slow:1 --requests 40 --concurrency 4 \
		--new-connections >"$T/four$clients.json"
	load --connect "[$S6]:$PORT" --model open --requests 20 --concurrency 4 \
		>"$T/six$clients.json"
done
wait "$FLOOD" || true
mv "$T/flood.log" "$T/flood.json"
wait "$STREAM" || true
mv "$T/stream.log" "$T/stream.json"
"$PY" - "$T" "$clients" >"$T/sum.json" <<'END'
import json, sys
out = {"sent": 0, "open": 0, "slow": 0, "served": 0, "refused": 0}
for i in range(1, int(sys.argv[2]) + 1):
    for name in "four", "six":
        one = json.load(open(f"{sys.argv[1]}/{name}{i}.json"))
        out["sent"] += one["sent"]
        for model in one["by_model"]:
            out[model] += one["by_model"][model]["sent"]
        out["served"] += one["completed"]
        out["refused"] += one["status"].get("429", 0)
print(json.dumps(out))
END

holds "the flood came from a million unused addresses, with 60 % SYNs" \
	"j('flood')['sent'] >= $N and j('flood')['addresses6'] == 1000000 and
	 abs(j('flood')['syns'] / j('flood')['sent'] - 0.6) < 0.02"
holds "every request of a real client during the flood was answered or refused, by its model" \
	"j('sum')['served'] == j('sum')['open'] >= 40 and
	 j('sum')['refused'] == j('sum')['slow'] > 0"
same "a client without budget was refused during the whole flood" "$clients" "$tight"
same "no budget was lost, or spent by spoofed packets" "$spent" "$(budgets)"
holds "a stream from before the flood came to its end" \
	"j('stream')['completed'] == 1 and j('stream')['itl_ms']['n'] == 100"
holds --within 3 "sluice judged all requests of real clients and nothing else" \
	"[r['admitted'], r['rejected']] ==
	 [${before}[0] + j('sum')['open'] + 1, ${before}[1] + j('sum')['slow'] + $tight]"
holds "the server saw no other request" \
	"mock['requests_complete'] == ${before}[3] + j('sum')['open'] + 1"
holds "sluice sent no answer to a spoofed address" \
	"k['forged-answers'] - ${before}[2] <= 3 * (j('sum')['slow'] + $tight)"
grown=$(($(memory) - bytes))
check "no map has grown (by $grown of $bytes bytes)" \
	test "$grown" -lt 65536 -a "$grown" -gt -65536 -a "$bytes" -gt 65536
holds "the spoofed requests are counted as passed-unproven" \
	"0.9 * (j('flood')['sent'] - j('flood')['syns']) <= k['passed-unproven'] <=
	 j('flood')['sent'] - j('flood')['syns']"
holds "no map was full" \
	"k['conns-full'] == 0 == k['tombstones-full'] == k['counts-full']"

bpftool -j map dump pinned "$PIN/conns" >"$T/conns.json"
holds "no entry of conns has an unproven address" \
	"all(bytes(int(x, 16) if isinstance(x, str) else x
	           for x in e['formatted']['key']['client_addr'])[14:] in
	     (b'\0\2', b'\0\3', b'\0\4', b'\0\5')
	     for e in j('conns')) and s['maps']['conns']['entries'] == len(j('conns')) < 20"
holds "the only clients known are the real ones" \
	"sorted(c['client'] for c in ctl('clients')['clients']) ==
	 ['$C4', '$TIGHT', '$LEFT', '$C6/128'] and
	 s['maps']['client_counts']['entries'] == 4 == s['maps']['client_state']['entries'] and
	 s['maps']['client_flags']['entries'] == 0 and
	 s['maps']['client_in_flight']['entries'] <= 3"
holds --within 3 "nothing is in flight at the end" \
	"s['global']['in_flight'] == 0 and s['global']['waiting'] == 0"

# sluice judges a request in the third segment of a handshake. A request without a handshake does
# not count.
raw_client 10.77.0.9 fd77:0:0:1::9
for pair in "$S4 10.77.0.9" "$S6 fd77:0:0:1::9"; do
	read -r host from <<<"$pair"
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	for model in open slow; do
		before=$(value "[r['admitted'], r['rejected'], k['passed-unproven']]")
		SL_CLIENT=$C SL_SERVER_MAC=$(mac "$S" s0) "$PY" "$HERE/spoof.py" third "$host" \
			"$from" $model >"$T/third.json"
		if [[ $model == open ]]; then
			holds --within 3 \
				"a request in the handshake's third segment is judged and answered $over" \
				"j('third')['status'] == '200' and
				 [r['admitted'], r['rejected']] == [${before}[0] + 1, ${before}[1]]"
		else
			holds --within 3 \
				"a request in the handshake's third segment to a shut model gets a whole 429 and FIN $over" \
				"j('third')['status'] == '429' and j('third')['fin'] and
				 not j('third')['rst'] and
				 [r['admitted'], r['rejected']] ==
				 [${before}[0], ${before}[1] + 1] and
				 not [x for x in sockets('s') if '$from]' in x[4]]"
		fi
	done
	before=$(value "[r['admitted'], r['rejected'], k['passed-unproven']]")
	SL_CLIENT=$C SL_SERVER_MAC=$(mac "$S" s0) "$PY" "$HERE/spoof.py" blind "$host" "$from" \
		slow >"$T/blind.json"
	holds --within 3 \
		"the server's kernel alone answers a request without a handshake, by a reset $over" \
		"j('blind')['rst'] and j('blind')['bytes'] == 0 and
		 [r['admitted'], r['rejected'], k['passed-unproven']] ==
		 [${before}[0], ${before}[1], ${before}[2] + 1]"
done

done_here
