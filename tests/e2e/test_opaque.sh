#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What cannot be read is timed and not touched: TLS and HTTP/2 on a service that was declared http
# are found out and pass (invariant 1), with an honest TTFT (invariant 6). A service declared opaque
# is shut at the SYN: a reset within a round trip (invariant 5), or silence, while established
# connections go on (invariant 2); and it opens again by itself.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

TLS=8443 H2=8080 RESET=8444 DROP=8445
mkdir -p "$T/nginx"
chmod 711 "$T"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test \
	-keyout "$T/key.pem" -out "$T/cert.pem" 2>/dev/null
cat >"$T/nginx/nginx.conf" <<CONF
daemon off;
pid $T/nginx/pid;
error_log $T/nginx/error.log;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path $T/nginx/body;
	proxy_temp_path $T/nginx/proxy;
	fastcgi_temp_path $T/nginx/fastcgi;
	uwsgi_temp_path $T/nginx/uwsgi;
	scgi_temp_path $T/nginx/scgi;
	server {
		listen $H2 http2;
		default_type application/json;
		location / { return 200 '{"choices":[]}'; }
	}
}
CONF
cat >"$T/sluice.yaml" <<CONF
policy: ema-flag
time-constant-secs: 3
services:
  - listen: $TLS
    model: tls
  - listen: $H2
    model: h2
  - listen: $RESET
    model: reset
    protocol: opaque
    action: reset
  - listen: $DROP
    model: drop
    protocol: opaque
    action: drop
models:
  - name: reset
    ttft-threshold-ms: 200
  - name: drop
    ttft-threshold-ms: 200
CONF
start tls "$S" "$PY" "$HERE/tls.py" serve "$T/cert.pem" "$T/key.pem" $TLS $RESET $DROP
await_line tls ready "$PID"
start nginx "$S" nginx -p "$T/nginx" -c "$T/nginx/nginx.conf" -e "$T/nginx/error.log"
sluice --config "$T/sluice.yaml"

ask() { on "$C" "$PY" "$HERE/tls.py" ask "$S4" "$@"; } # PORT TIMES BODY

# On an http service.
out=$(on "$C" curl -sSk -m 10 -o "$T/curl" -w '%{http_code} %{ssl_verify_result}' --data '{"wait":20,"tokens":3}' \
	"https://$S4:$TLS/" || true)
same "curl reads a TLS server through a service declared http" 200 "${out%% *}"
holds --within 3 "which is found out" "k['found-opaque'] == 1 and k['passed-framing-error'] == 0 and r['rejected'] == 0"
ask $TLS 5 '{"wait":150,"tokens":4,"gap":30}' >"$T/tls.json" 2>"$T/begun"
holds "requests on one TLS connection are all answered" "j('tls')['counts'] == [4] * 5 and k['found-opaque'] == 2"
holds --within 3 "and timed: no handshake among them, TTFT and ITL what the server took" \
	"4 <= m['tls']['ttft_samples'] <= 6 and 100 < m['tls']['ttft_ema_ms'] <= max(j('tls')['first_ms']) and
	 m['tls']['itl_samples'] >= 10 and 10 < m['tls']['itl_ema_ms'] <= (max(j('tls')['all_ms']) - 150) / 3"
out=$(on "$C" curl -sS -m 10 -o "$T/curl" -w '%{http_code} %{http_version} ' --http2-prior-knowledge \
	--retry 20 --retry-connrefused --retry-delay 1 "http://$S4:$H2/" || true)
same "curl reads an HTTP/2 server through a service declared http" "200 2 " "$out"
holds --within 3 "which is found out, too, and passes" \
	"k['found-opaque'] == 3 and k['passed-framing-error'] == 0 and r['rejected'] == 0 and s['global']['in_flight'] == 0"

# Declared opaque: shut by TTFT, at the SYN.
for how in reset drop; do
	[[ $how == reset ]] && port=$RESET || port=$DROP
	# Established while it is open, and in the middle of something when it shuts.
	start "long-$how" "$C" "$PY" "$HERE/tls.py" ask "$S4" "$port" 1 '{"wait":10,"tokens":300,"gap":20}'
	LONG=$PID
	await_line "long-$how" begun "$LONG"
	ask "$port" 2 '{"wait":600,"tokens":1}' >"$T/slow-$how.json" 2>"$T/begun"
	await 3 "not m['$how']['open'] and m['$how']['reason'] == 'ttft'"
	ctl set --model $how ttft=1ms >/dev/null # as long as it takes to look
	on "$C" "$PY" "$HERE/peers.py" connect "$S4" "$port" --timeout "$([[ $how == reset ]] && echo 20 || echo 0.4)" \
		>"$T/new-$how.json"
	if [[ $how == reset ]]; then
		holds "to a shut opaque service connect() fails with ECONNREFUSED at once, not when the SYN is sent again" \
			"j('new-reset')['error'] == 'ECONNREFUSED' and j('new-reset')['ms'] < 1000"
	else
		holds "with action drop it hears nothing" "j('new-drop')['error'] == 'timeout'"
	fi
	holds "and it is counted as a refused connection, by action ($how)" \
		"s['connections']['${how/drop/dropped}'] >= 1"
	if kill -0 "$LONG" 2>/dev/null; then
		holds "meanwhile a connection made before is still in the middle of its stream ($how)" "not m['$how']['open']"
	else
		say_not_ok "meanwhile a connection made before is still in the middle of its stream ($how)" "it ended too soon"
	fi
	ctl set --model $how ttft=200ms >/dev/null
	wait "$LONG" || true
	grep '^{' "$T/long-$how.log" >"$T/long-$how.json"
	holds "and reads it to its end ($how)" "j('long-$how')['counts'] == [300]"
	holds --within 10 "it opens again by itself ($how)" "m['$how']['open'] and 'model $how opened' in log('daemon')"
	ask "$port" 1 '{"wait":1,"tokens":2}' >"$T/again.json" 2>"$T/begun"
	holds "and serves new connections ($how)" "j('again')['counts'] == [2]"
done
holds "the http services were not shut with them" "m['tls']['open'] and m['h2']['open']"

done_here
