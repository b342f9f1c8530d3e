#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Real servers with one daemon: uvicorn with a streaming application, nginx that answers by
# itself, and nginx as a proxy of uvicorn. sluice's figures agree with the clients'. The servers
# neither log nor answer a refused request (invariant 4).
# Runs alone: it compares times.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

APP=8000 FIXED=8080 PROXY=8081 UPSTREAM=8090 # the last is not protected
for port in $APP $UPSTREAM; do
	start "uvicorn-$port" "$S" "$PY" -m uvicorn --app-dir "$HERE" app:app --host "" \
		--port "$port"
done
begin_nginx "$S" "$FIXED" "$PROXY" <<CONF
access_log $T/nginx/access.log;
client_max_body_size 8m;
server {
	listen $FIXED;
	listen [::]:$FIXED;
	default_type application/json;
	location / { return 200 '{"choices":[]}'; }
}
server {
	listen $PROXY;
	listen [::]:$PROXY;
	location / {
		proxy_pass http://127.0.0.1:$UPSTREAM;
		proxy_buffering off;
		proxy_http_version 1.1;
	}
}
CONF
for port in $APP $UPSTREAM; do eventually 10 listens "$S" "$port"; done
sluice --listen "$APP=app" --listen "$FIXED=fixed" --listen "$PROXY=proxy" \
	--time-constant-secs 86400

streams() { # streams MODEL PORT: MODEL is the service's default model
	load --connect "$S4:$2" --model "$1" --requests 6 --max-tokens 20 \
		--new-connections >"$T/$1.json"
}

for pair in app:$APP:uvicorn proxy:$PROXY:"nginx before uvicorn"; do
	IFS=: read -r model port name <<<"$pair"
	limited=$(value "k['gaps-client-limited']")
	streams "$model" "$port"
	holds --within 3 "each token of $name is a sample or counted as client-limited" \
		"j('$model')['completed'] == 6 >= m['$model']['ttft_samples'] > 0 and
		 m['$model']['ttft_samples'] + m['$model']['itl_samples'] +
		 k['gaps-client-limited'] == 6 * 20 + $limited"
	holds "TTFT of $name is at most the client's, and ITL is the client's, within 5 %" \
		"m['$model']['ttft_ema_ms'] <=
		 1.0001 *
		 j('$model')['ttft_ms']['mean' if m['$model']['ttft_samples'] == 6 else 'max'] and
		 close(m['$model']['itl_ema_ms'], j('$model')['itl_ms']['mean'], .05)"
	holds "head and empty first event are not the first token of $name: it comes after 200 ms" \
		"m['$model']['ttft_ema_ms'] >= 199"
done

seen() { on "$S" curl -sS "http://127.0.0.1:$APP/seen" "http://127.0.0.1:$UPSTREAM/seen"; }

refused_by() { # MODEL PORT HOST: small and large requests of curl and python are refused
	local host=$3

	[[ $host == *:* ]] && host="[$host]"
	for size in 0 300000; do
		peer "$C" http "$3" "$2" --model "$1" --body-bytes "$size" \
			>"$T/p.json"
		expression 0 \
			"j('p')['status'] == 429 and j('p')['whole'] and j('p')['end'] in ('eof', 'kept')" ||
			return 1
	done
	[[ $(on "$C" curl -sS -m 10 -o "$T/c.json" -w '%{http_code}' --json "{\"model\":\"$1\"}" \
		"http://$host:$2/v1/chat/completions") == 429 ]]
}

ctl set policy=ema-flag ttft=1ms tau=1h >/dev/null
await 3 "not m['app']['open'] and not m['proxy']['open']"
requests=$(seen)
lines=$(wc -l <"$T/nginx/access.log")
check "uvicorn's clients read a whole 429" refused_by app "$APP" "$S4"
check "nginx's clients read a whole 429" refused_by proxy "$PROXY" "$S4"
check "uvicorn's clients read a whole 429 over IPv6" refused_by app "$APP" "$S6"
check "nginx's clients read a whole 429 over IPv6" refused_by proxy "$PROXY" "$S6"
same "the application received no refused request" "$requests" "$(seen)"
# nginx may log 400 or 408 (a broken or slow request) and 499 (the client closed), without an
# answer.
check "nginx forwarded and answered no refused request" \
	bash -c "! tail -n +$((lines + 1)) '$T/nginx/access.log' | grep -vE '\" (400|408|499) 0 '"
check "uvicorn answered no refused request" \
	bash -c "! grep -E '\" (429|500) ' '$T/uvicorn-$APP.log'"
for port in $APP $PROXY; do
	holds --within 3 "no connection of them is left at port $port" "sockets('s', $port) == []"
done

# nginx answers by itself: a kept connection serves many requests, and a later one is refused there.
ctl set ttft=none >/dev/null
await 3 "m['fixed']['open'] and m['app']['open']"
load --connect "$S4:$FIXED" --model fixed --plain --requests 200 --concurrency 4 >"$T/fixed.json"
holds "nginx serves 200 plain requests on kept connections" \
	"j('fixed')['completed'] == 200 and j('fixed')['connections'] <= 8"

# nginx answers 413 before it has read a request that is too long.
counted=$(value "[r['admitted'], k['passed-framing-error'], k['response-framing-error']]")
for host in "$S4" "$S6"; do
	check "a client reads nginx's 413 in mid-request and a clean end ($host)" \
		on "$C" "$PY" -c '
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
s.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 5000)
got = b""
while part := s.recv(65536):
    got += part
assert got.startswith(b"HTTP/1.1 413 "), got' "$host" "$FIXED"
done
holds --within 3 "that is no admission and no framing error, and nothing is in flight" \
	"[r['admitted'], k['passed-framing-error'], k['response-framing-error']] == $counted and
	 m['fixed']['in_flight'] == 0 and
	 s['global']['waiting'] == 0"
ctl block "$C4" --model fixed >/dev/null
load --connect "$S4:$FIXED" --model fixed --plain --requests 50 --concurrency 4 \
	--header "Connection: close" >"$T/shut.json"
holds "requests are refused one by one when the client is blocked for that model" \
	"j('shut')['status'] == {'429': 50} and
	 j('shut')['outcomes']['clean_eof_after_close'] == 50"

done_here
