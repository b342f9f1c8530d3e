#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Pipelined requests wait in their client's TCP, each until the response before it has ended, and
# each is judged once (invariants 1, 2 and 8). A script of sockets, undici and wrk pipeline. So does
# a client of a connection that is older than sluice, to a server in another network namespace.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

D=$S-d
MORE_NAMESPACES=$D

pipeline() { on "$C" "$PY" "$HERE/pipeline.py" "$@" >"$T/pipeline.json"; }

mock --model llama,prefill-ms=1,token-ms=1,tokens=4,slots=64 \
	--model slow,prefill-ms=1,token-ms=20,tokens=100,slots=64
sluice --listen "$PORT"

pipeline "$S4" "$PORT" llama 5 2
holds --within 3 "five requests in one write are answered in order, each judged once" \
	"j('pipeline')['statuses'] == [200] * 5 and r['admitted'] == 5 and
	 mock['requests_complete'] == 5 and k['pipelined-held'] >= 4 and
	 s['global']['in_flight'] == 0"
pipeline "$S6" "$PORT" llama 5 2 30
holds --within 3 "so are five requests in 30 pieces, over IPv6" \
	"j('pipeline')['statuses'] == [200] * 5 and r['admitted'] == 10 and
	 mock['requests_complete'] == 10"

ctl quota set "$C4" requests=3/1h >/dev/null
before=$(value "[r['admitted'], r['rejected'], mock['requests_complete']]")
pipeline "$S4" "$PORT" llama 26 2
holds --within 3 "of 26 requests a quota of 3 admits 3, and the fourth reads its 429 to the end" \
	"j('pipeline') == {'statuses': [200] * 3 + [429], 'end': 'closed'} and
	 [r['admitted'], r['rejected'], mock['requests_complete']] ==
	 [${before}[0] + 3, ${before}[1] + 1, ${before}[2] + 3]"
ctl quota clear "$C4" >/dev/null

# The second request waits behind a stream of two seconds.
before=$(value "[r['admitted'], r['rejected'], mock['requests_complete']]")
pipeline "$S4" "$PORT" slow 2 100 &
pid=$!
await 5 "s['global']['in_flight'] == 1 and k['pipelined-held'] > 0"
ctl block "$C4" --model slow >/dev/null
wait "$pid"
holds --within 3 "a request behind a long stream is judged when the stream has ended" \
	"j('pipeline')['statuses'] == [200, 429] and
	 [r['admitted'], r['rejected'], mock['requests_complete']] ==
	 [${before}[0] + 1, ${before}[1] + 1, ${before}[2] + 1]"
ctl clear "$C4" >/dev/null

before=$(value "[r['admitted'], mock['requests_complete'], k['pipelined-held']]")
on "$C" node "$HERE/undici.mjs" "$B/npm" "http://$S4:$PORT" llama 12 6 >"$T/undici.json"
holds --within 3 "undici pipelines 12 requests, six at a time, and gets 12 answers" \
	"j('undici')['statuses'] == [200] * 12 and
	 [r['admitted'], mock['requests_complete']] == [${before}[0] + 12, ${before}[1] + 12] and
	 k['pipelined-held'] > ${before}[2]"

cat >"$T/pipeline.lua" <<'END'
init = function()
	wrk.method, wrk.headers["Content-Type"] = "POST", "application/json"
	wrk.body = '{"model":"llama","max_tokens":1,"messages":[]}'
	all = string.rep(wrk.format(nil, "/v1/chat/completions"), 4)
end
request = function() return all end
done = function(summary)
	local e = summary.errors
	io.write(string.format('{"requests":%d,"errors":%d}\n', summary.requests,
		e.connect + e.read + e.write + e.status + e.timeout))
end
END
before=$(value "[r['admitted'], mock['requests_complete']]")
on "$C" wrk -t 1 -c 4 -d 4s --timeout 30s -s "$T/pipeline.lua" "http://$S4:$PORT/" >"$T/wrk.log"
grep '^{' "$T/wrk.log" >"$T/wrk.json"
# wrk leaves in the middle of its last requests.
holds --within 5 "wrk pipelines four requests at a time without an error, each judged once" \
	"j('wrk')['requests'] > 0 and j('wrk')['errors'] == 0 and
	 0 <= r['admitted'] - ${before}[0] - j('wrk')['requests'] <= 16 and
	 mock['requests_complete'] - ${before}[1] == r['admitted'] - ${before}[0] and
	 s['global']['in_flight'] == 0 and k['passed-framing-error'] == 0"
ctl detach >/dev/null
finish "$DAEMON"
finish "$MOCK"

# A published port: DNAT to a container, where no socket can be found. The connection is older than
# sluice.
ip netns add "$D"
on "$D" ip link set lo up
ip link add d1 netns "$S" type veth peer name d0 netns "$D"
on "$S" sh -c 'ip addr add 172.30.0.1/24 dev d1 && ip link set d1 up &&
	sysctl -qw net.ipv4.ip_forward=1'
on "$D" sh -c 'ip addr add 172.30.0.2/24 dev d0 && ip link set d0 up &&
	ip route add default via 172.30.0.1'
on "$S" nft -f - <<END
table ip published {
	chain in {
		type nat hook prerouting priority dstnat
		ip daddr $S4 tcp dport $PORT dnat to 172.30.0.2:80
	}
}
END
start mock "$D" "$B/mock_server" --listen 80 --admin 127.0.0.1:$ADMIN \
	--model llama,prefill-ms=1,token-ms=1,tokens=2
await_line mock ready
start kept "$C" "$PY" "$HERE/kept.py" "$S4" "$PORT" llama
KEPT=$PID
await_line kept 1
interfaces=(s0)
sluice --listen "$S4:$PORT=llama"
ctl block "$C4" --model llama >/dev/null
kill -USR1 "$KEPT"
await_line kept 2
kill -USR1 "$KEPT"
await_line kept 3
same "a connection older than sluice, to a container, is judged from its second request on" \
	"1 200,2 200,3 429" "$(paste -s -d, "$T/kept.log")"
holds "the segments before that are counted" "k['passed-unproven'] > 0 and r['rejected'] == 1 and r['admitted'] == 0"

done_here
