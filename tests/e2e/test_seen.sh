#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Traffic is seen, or it is said: what hides traffic from sluice, or many clients behind one, is a
# sentence in status and log, and a metric. Each goes when its trouble ends.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

metric() { # metric KIND
	on "$S" curl -fsS http://127.0.0.1:9464/metrics |
		sed -n "s/^sluice_trouble{kind=\"$1\",service=\"\\*:$PORT\"} //p"
}

of() { echo "[x for x in s['trouble_details'] if x['kind'] == '$1']"; }

# begins KIND LEVEL TEXT: the trouble is in status, log and metrics.
begins() {
	holds --within 20 "$1: status says so" \
		"any('$3' in x['text'] and x['service'] == '*:$PORT' for x in $(of "$1"))"
	check "$1: so does its text" \
		bash -c "$B/sluicectl --control $T/control.sock status | grep -F '$2: *:$PORT: ' |
			grep -F '$3'"
	same "$1: so does the metric" 1 "$(metric "$1")"
	holds "$1: the log says so once" "log('daemon').count('sluiced: *:$PORT: ') >= 1 and
		sum('$3' in x and 'no longer' not in x for x in log('daemon').split('\n')) == 1"
}

ends() { # ends KIND TEXT
	holds --within 20 "$1: it ends in status" "not $(of "$1")"
	same "$1: it ends in the metrics" 0 "$(metric "$1")"
	holds "$1: the log says so once" \
		"sum('no longer: ' in x and '$2' in x for x in log('daemon').split('\n')) == 1"
}

watch_on() { # watch_on INTERFACE…: starts the daemon there
	interfaces=("$@")
	sluice --listen "$PORT" --metrics 127.0.0.1:9464 --trouble-after-secs 1
}

busy() { # busy NAME ARGUMENT…: starts a client
	start "$1" "$C" "$PY" "$HERE/busy.py" "${@:2}"
	CLIENT=$PID
}

watch_on s0 lo
begins not-listening TROUBLE 'nobody listens there'
serve() {
	mock --model m,prefill-ms=1,token-ms=1,tokens=2,slots=64 \
		--model a,prefill-ms=1,token-ms=20,tokens=50,slots=64 \
		--model b,prefill-ms=1,token-ms=20,tokens=50,slots=64
}
serve
ends not-listening 'nobody listens there'
finish "$MOCK"
await 20 "$(of not-listening) != []"
ctl drain >/dev/null
holds --within 20 "a server that is out of service may be away" "not $(of not-listening)"
serve
ctl resume >/dev/null
finish "$DAEMON"

watch_on lo
busy unseen ask "$S4" "$PORT"
begins unseen TROUBLE "attach to the interface by which $C4 comes"
finish "$CLIENT"
ends unseen "attach to the interface by which $C4 comes"
finish "$DAEMON"

# Responses leave by another interface than that by which requests come.
for ns in "$S" "$C"; do
	on "$ns" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
		"net.ipv4.conf.${ns: -1}0.rp_filter=0"
done
ip link add s1 netns "$S" type veth peer name c1 netns "$C"
on "$S" sh -c "ip link set s1 up && ip route add $C4/32 dev s1"
on "$C" ip link set c1 up
watch_on s1
busy requests ask "$S4" "$PORT" "$C4"
begins requests-unseen TROUBLE "sluice sees responses to $C4 and not its requests"
finish "$CLIENT"
ends requests-unseen 'and not its requests'
finish "$DAEMON"
watch_on s0
busy responses ask "$S4" "$PORT" "$C4"
begins responses-unseen TROUBLE "sluice sees requests of $C4 and not the responses"
finish "$CLIENT"
ends responses-unseen 'and not the responses'
finish "$DAEMON"
on "$S" ip route del "$C4/32" dev s1

watch_on s0
busy seen ask "$S4" "$PORT"
start local "$S" "$PY" "$HERE/busy.py" ask 127.0.0.1 "$PORT"
begins partly-unseen note "attach to the interface by which 127.0.0.1 comes"
finish "$PID"
ends partly-unseen 'by which 127.0.0.1 comes'
holds "what is seen is no trouble" "s['trouble_details'] == []"
finish "$CLIENT"
finish "$DAEMON"

watch_on s0 lo
busy tls say "$S4" "$PORT" '\x16\x03\x01\x00\x20a hello of thirty-two bytes, TLS.'
begins opaque TROUBLE 'clients speak TLS or HTTP/2'
finish "$CLIENT"
ends opaque 'clients speak TLS or HTTP/2'
busy garbage say "$S4" "$PORT" 'nonsense\r\n'
begins framing TROUBLE 'connections pass unjudged'
finish "$CLIENT"
ends framing 'connections pass unjudged'

start models "$C" "$B/loadgen" --connect "$S4:$PORT" --model a --model b --concurrency 8 \
	--duration 600
CLIENT=$PID
begins models note 'models that nobody configured are busy at once'
finish "$CLIENT"
ends models 'models that nobody configured are busy at once'

start many "$C" "$B/loadgen" --connect "$S4:$PORT" --model m --concurrency 16 --duration 600
CLIENT=$PID
begins one-client note "requests come from $C4: if it is a proxy"
finish "$CLIENT"
ends one-client "requests come from $C4"
holds "nothing else was wrong" "log('daemon').count('no longer: ') == 4 and s['troubles'] == []"
finish "$DAEMON"
finish "$MOCK"

# Somebody listens on every address, but of IPv6 alone.
interfaces=(s0 lo)
start six "$S" "$PY" -c "import socket, time
s = socket.create_server(('::', $PORT), family=socket.AF_INET6)
print('listens', flush=True)
time.sleep(3600)"
await_line six listens "$PID"
sluice --listen "$S4:$PORT" --listen "[$S6]:$PORT" --metrics off --trouble-after-secs 1
await 20 "$(of not-listening) != []"
holds "a listener of IPv6 alone is none of an IPv4 address" \
	"[x['service'] for x in $(of not-listening)] == ['$S4:$PORT']"

done_here
