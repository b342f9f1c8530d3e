#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Requests whose head and body come in two segments, as Python's http.client sends them. A refusal
# keeps their connection, and the server sees no byte of them. Nothing of an admitted one is lost or
# comes twice (invariant 4).
# Runs alone: a body that comes long after its head looks as if its client waited.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/wires.sh
. "$HERE/wires.sh"

APP=8090
cat >"$T/keep.yaml" <<END
services:
  - listen: $PORT
    keep: on
  - listen: $APP
    keep: on
models:
  - name: closed
END
start echo "$S" "$PY" "$HERE/echo.py" "$S4,$S6" "$PORT"
ECHO=$PID
await_line echo ready "$ECHO"
start app "$S" "$PY" -m uvicorn --app-dir "$HERE" app:app --host "$S4" --port "$APP" \
	--no-access-log
await_line app 'INFO:     Uvicorn running on' "$PID"
sluice --config "$T/keep.yaml"

# hold NAME HOST PORT REQUESTS OPTION…
hold() { on "$C" "$PY" "$HERE/hold.py" "${@:2}" >"$T/$1.json"; }

# A refusal may close its connection: on a slow machine the server is not heard for two seconds, or
# the body comes long after its head. Then a counter says so.
closed="sum(n for name, n in k.items() if name.startswith('keep-declined'))"
now() { value "[k['refusals-kept'], $closed, r['admitted'], r['rejected'], k['held']]"; }

# exact NAME: each byte was as sent, and each verdict is counted once. $before: now().
exact() {
	holds --within 3 "$1" \
		"j('hold')['errors'] == [] and
		 0 <= j('hold')['connections'] - j('hold')['said_close'] <= 1 and
		 [k['refusals-kept'], $closed, r['admitted'], r['rejected']] ==
		 [${before}[0] + j('hold')['refused'] - j('hold')['said_close'],
		  ${before}[1] + j('hold')['said_close'], ${before}[2] + j('hold')['admitted'],
		  ${before}[3] + j('hold')['refused']] and s['global']['in_flight'] == 0"
}

before=$(now)
hold hold "$S4" "$PORT" 10 each=1
exact "requests in two segments are admitted"
holds "nothing is held while nothing can be refused" "k['held'] == 0"
ctl block "$C4" --model closed >/dev/null
ctl block fd77:0:0:1::/64 --model closed >/dev/null

lines=$(wc -l <"$T/app.log")
before=$(now)
hold hold "$S4" "$APP" 210 server=app each=21
exact "200 of 210 requests to uvicorn are refused, and all that closes a connection is counted"
holds "most of them kept their connection" "k['refusals-kept'] - ${before}[0] >= 100"
holds "uvicorn's log has no line of them, and they left one connection, unless one was counted" \
	"j('hold')['refused'] == 200 and
	 (j('hold')['said_close'] > 0 or
	  (j('hold')['connections'] == 1 and $(wc -l <"$T/app.log") == $lines))"

# Head and body come in segments of each kind: short, longer than a segment, with checksums complete
# or left to the device, with timestamps and without, over IPv4 and IPv6.
many() {
	for host in "$S4" "$S6"; do
		[[ $host == *:* ]] && over="IPv6" || over="IPv4"
		before=$(now)
		hold hold "$host" "$PORT" 100
		exact "half of 100 requests are refused, $1, over $over"
		before=$(now)
		hold hold "$host" "$PORT" 30 body=60000
		exact "half of 30 requests of up to 60 kB are refused, $1, over $over"
		holds "their heads were held" "k['held'] > ${before}[4]"
	done
}
many "with checksums left to the device"
plain "$C" c0
many "with complete checksums"
on "$C" sysctl -qw net.ipv4.tcp_timestamps=0
many "without timestamps"
on "$C" sysctl -qw net.ipv4.tcp_timestamps=1
same "no checksum was wrong" 0 "$(on "$S" nstat -asz | awk '$1 == "TcpInCsumErrors" { print $2 }')"

# A client that waits for the head's acknowledgement: its body, or its head again, comes after its
# TCP's timer. After that its heads are not held.
on "$C" "$PY" - "$S4" "$PORT" "$T/sent" >"$T/late.log" 2>&1 <<'END' &
import hashlib, os, socket, sys, time
body = b'{"model":"open"}'
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX-More: 5\r\nX-Digest: %s\r\n"
             b"Content-Length: %d\r\n\r\n" % (hashlib.sha256(body).hexdigest().encode(), len(body)))
while not os.path.exists(sys.argv[3]):
    time.sleep(0.01)
sock.sendall(body)
print(sock.recv(65536).split(b"\r\n")[0].decode())
END
LATE=$!
await 5 "k['hold-released'] == 1"
: >"$T/sent"
wait "$LATE"
same "a head that comes again passes, and its request is admitted" "HTTP/1.1 200 OK" \
	"$(cat "$T/late.log")"
before=$(now)
hold hold "$S4" "$PORT" 20 nagle=1
exact "a client that waits for acknowledgements is refused and admitted"
holds "its heads are not held any more" "k['held'] == ${before}[4]"

before=$(now)
hold hold "$S6" "$PORT" 6 nagle=1
exact "so is one of another address, from its second request on"
holds "whose first head was held" "0 <= k['held'] - ${before}[4] <= 1"

finish "$ECHO"
same "the server has seen the admitted requests and nothing else" \
	"$(value "[r['admitted'] - 10, True]")" \
	"$("$PY" -c 'import json, sys
seen = json.loads(sys.stdin.read().split("\n")[-2])
print(json.dumps([seen["requests"], all("ConnectionReset" in e for e in seen["errors"])]))' \
		<"$T/echo.log")"
done_here
