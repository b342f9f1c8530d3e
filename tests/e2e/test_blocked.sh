#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 5: a reset is immediate. connect() from a blocked address fails at once with
# ECONNREFUSED. A drop gets no answer. Other clients are served meanwhile, and a rule ends at its
# stated time. The case runs with each hook that refuses SYNs: tc alone, native XDP, and generic XDP
# on kernels before 6.9, where sluice uses it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model m,prefill-ms=5,token-ms=1,tokens=2
witness
# A veth delivers the packets of XDP_TX only if its peer has an XDP program, too.
# This one passes everything.
pass_at_peer() {
	clang -O2 -target bpf -x c -c - -o "$T/pass.o" <<<'
		__attribute__((section("xdp"), used)) int pass(void *packet) { return 2; }
		char terms[] __attribute__((section("license"), used)) = "Dual BSD/GPL";'
	on "$C" ip link set dev c0 xdp obj "$T/pass.o" sec xdp
}

connects() { # connects HOST FROM
	peer "$C" connect "$1" "$PORT" --bind "$2" --timeout 10 >"$T/connect.json"
}

now_ns() { "$PY" -c 'import time; print(time.monotonic_ns())'; }

served() { # served HOST FROM
	[[ $(on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}' --interface "$2" \
		--json '{"model":"m"}' "http://$1:$PORT/v1/chat/completions") == 200 ]]
}

doors=(off native)
[[ $(printf '%s\n6.9\n' "$(uname -r)" | sort -V | head -n 1) == 6.9 ]] || doors+=(generic)
for xdp in "${doors[@]}"; do
	if [[ $xdp == off ]]; then at="tc"; else at="$xdp XDP"; fi
	[[ $xdp != native ]] || pass_at_peer
	interfaces=(s0) # veth has native XDP, lo has none
	sluice --listen "$PORT" --xdp "$xdp" --action reset
	holds "status shows the XDP mode of s0: $xdp" "s['interfaces'][0]['xdp'] == '$xdp'"

	ctl block "$C4" >/dev/null
	ctl block "$C6" >/dev/null
	for pair in "$S4 $C4 IPv4" "$S6 $C6 IPv6"; do
		read -r host from ip <<<"$pair"
		before=$(value "w['syn_out']")
		reset=$(value "s['connections']['reset']")
		connects "$host" "$from"
		holds "connect() from a blocked address fails with ECONNREFUSED over $ip ($at)" \
			"j('connect')['error'] == 'ECONNREFUSED'"
		holds "the answer to its first SYN did that, and is counted ($at, $ip)" \
			"w['syn_out'] == $before + 1 and s['connections']['reset'] == $reset + 1"
	done
	check "another client is served meanwhile ($at)" served "$S4" "$C4B"
	holds --within 3 "the server saw nothing of the blocked clients ($at)" \
		"mock['connections_open'] == 0 and sockets('s') == []"
	ctl clear "$C4" >/dev/null
	ctl clear "$C6" >/dev/null
	check "a cleared client is served again ($at)" served "$S4" "$C4"
	check "a cleared client is served over IPv6 ($at)" served "[$S6]" "$C6"

	# A drop: no answer, so the client retransmits its SYN.
	ctl set action=drop >/dev/null
	ctl block "$C4" >/dev/null
	before=$(value "[w['in'], s['connections']['dropped']]")
	start dropped "$C" "$PY" "$HERE/peers.py" connect "$S4" "$PORT" --bind "$C4" --timeout 60
	await 30 "s['connections']['dropped'] >= ${before}[1] + 2"
	holds "a dropped SYN gets no answer and is counted ($at)" \
		"w['in'] == ${before}[0]"
	ctl clear "$C4" >/dev/null
	wait "$PID"
	check "its connection is established once the block is gone ($at)" \
		grep -q '"error": null' "$T/dropped.log"
	ctl set action=reset >/dev/null

	# Times are of the clock of a client that connects in a loop.
	start lapse "$C" "$PY" "$HERE/peers.py" lapse "$S4" "$PORT" --bind "$C4"
	LAPSE=$PID
	await_line lapse begun "$LAPSE"
	began=$(now_ns)
	ctl block "$C4" --for 1s >/dev/null
	done=$(now_ns)
	wait "$LAPSE" || true
	sed 1d "$T/lapse.log" >"$T/lapse.json"
	holds "a block for a second blocks ($at)" "'ECONNREFUSED' in j('lapse')['errors']"
	holds "the block lasts that second ($at)" "j('lapse')['served_again'] >= $began + 10**9"
	holds "the block ends by itself ($at)" \
		"j('lapse')['last_refused'] <= $done + 10**9 and j('lapse')['errors'][-1] is None"
	holds --within 3 "the block leaves no rule ($at)" "ctl('clients')['rules'] == []"
	ctl detach >/dev/null
	wait "$DAEMON" || true
done

# A shut model and an exempt client.
sluice --listen "$PORT"
shut m
ctl allow "$C4B" >/dev/null
load --connect "$S4:$PORT" --model m --requests 5 --bind "$C4" >"$T/shut.json"
load --connect "$S4:$PORT" --model m --requests 5 --bind "$C4B" >"$T/exempt.json"
holds "an allowed client passes while the model is shut, another does not" \
	"j('shut')['status'] == {'429': 5} and j('exempt')['completed'] == 5"
ctl clear "$C4B" >/dev/null
ctl allow 10.77.0.3/32 --for 1s >/dev/null
ctl block 10.77.0.0/24 >/dev/null
connects "$S4" "$C4"
holds "a blocked network is refused at connect()" "j('connect')['error'] == 'ECONNREFUSED'"
check "an exemption within a blocked network ends at its time" \
	timeout 10 bash -c "until [[ \$(nsenter --net=$NS/$C $PY $HERE/peers.py connect $S4 $PORT \
		--bind $C4B) == *REFUSED* ]]; do sleep 0.1; done"
ctl detach >/dev/null
wait "$DAEMON" || true

# sluice reads no requests of an opaque service. While its model is shut, sluice refuses
# connections.
sluice --listen "$PORT=m" --protocol opaque --action reset
# not streamed: the head of a stream would come at once
load --connect "$S4:$PORT" --model m --plain --requests 3 >"$T/opaque.json"
holds --within 3 "an opaque service is timed, except for the first burst of a connection" \
	"j('opaque')['completed'] == 3 and m['m']['ttft_samples'] == 2"
ctl set policy=ema-flag >/dev/null
ctl set --model m ttft=1ms tau=1h >/dev/null
await 2 "not m['m']['open']"
connects "$S4" "$C4"
holds "connect() to a shut opaque service fails with ECONNREFUSED" \
	"j('connect')['error'] == 'ECONNREFUSED'"
open_again m
check "connect() succeeds again when the service opens" served "$S4" "$C4"

done_here
