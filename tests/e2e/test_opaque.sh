#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Unreadable traffic is timed and not touched. sluice detects TLS and HTTP/2 on an http service and
# lets it pass (invariant 1), with an honest TTFT (invariant 6). It shuts an opaque service at the
# SYN: a reset within a round trip (invariant 5), or no answer. Established connections continue
# (invariant 2), and the service opens again by itself.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

TLS=8443 H2=8080 RESET=8444 DROP=8445
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test \
	-keyout "$T/key.pem" -out "$T/cert.pem" 2>/dev/null
begin_nginx "$S" "$H2" <<CONF
access_log off;
server {
	listen $H2 http2;
	default_type application/json;
	location / { return 200 '{"choices":[]}'; }
}
CONF
cat >"$T/sluice.yaml" <<CONF
policy: ema-flag
time-constant-secs: 86400
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
sluice --config "$T/sluice.yaml"

# tls_request PORT TIMES BODY
tls_request() { on "$C" "$PY" "$HERE/tls.py" request "$S4" "$@"; }

# On an http service.
out=$(on "$C" curl -sSk -m 10 -o "$T/curl" -w '%{http_code} %{ssl_verify_result}' --data \
	'{"wait":20,"tokens":3}' \
	"https://$S4:$TLS/" || true)
same "curl reads a TLS server through a service declared http" 200 "${out%% *}"
holds --within 3 "sluice detects TLS" \
	"k['found-opaque'] == 1 and k['passed-framing-error'] == 0 and r['rejected'] == 0"
tls_request $TLS 5 '{"wait":150,"tokens":4,"gap":30}' >"$T/tls.json" 2>"$T/begun"
holds "requests on one TLS connection are all answered" \
	"j('tls')['counts'] == [4] * 5 and k['found-opaque'] == 2"
holds --within 3 "TLS is timed without its handshake: TTFT and ITL are the server's" \
	"4 <= m['tls']['ttft_samples'] <= 6 and
	 100 < m['tls']['ttft_ema_ms'] <= max(j('tls')['first_ms']) and
	 m['tls']['itl_samples'] >= 10 and
	 10 < m['tls']['itl_ema_ms'] <= (max(j('tls')['all_ms']) - 150) / 3"
out=$(on "$C" curl -sS -m 10 -o "$T/curl" -w '%{http_code} %{http_version} ' \
	--http2-prior-knowledge \
	--retry 20 --retry-connrefused --retry-delay 1 "http://$S4:$H2/" || true)
same "curl reads an HTTP/2 server through a service declared http" "200 2 " "$out"
holds --within 3 "sluice detects HTTP/2 and lets it pass" \
	"k['found-opaque'] == 3 and k['passed-framing-error'] == 0 and r['rejected'] == 0 and
	 s['global']['in_flight'] == 0"

# Declared opaque: shut by TTFT, at the SYN.
ctl set tau=3s >/dev/null
for how in reset drop; do
	[[ $how == reset ]] && port=$RESET || port=$DROP
	# This connection is established before the service shuts, and in mid-stream when it does.
	start "long-$how" "$C" "$PY" "$HERE/tls.py" request "$S4" "$port" 1 \
		'{"wait":10,"tokens":300,"gap":20}'
	LONG=$PID
	await_line "long-$how" begun "$LONG"
	tls_request "$port" 2 '{"wait":600,"tokens":1}' >"$T/slow-$how.json" 2>"$T/begun"
	await 3 "not m['$how']['open'] and m['$how']['reason'] == 'ttft'"
	ctl set --model $how ttft=1ms >/dev/null # it stays shut during the checks
	on "$C" "$PY" "$HERE/peers.py" connect "$S4" "$port" \
		--timeout "$([[ $how == reset ]] && echo 20 || echo 0.4)" >"$T/new-$how.json"
	if [[ $how == reset ]]; then
		holds "connect() to a shut opaque service fails with ECONNREFUSED at once, by its first SYN" \
			"j('new-reset')['error'] == 'ECONNREFUSED' and j('new-reset')['ms'] < 1000"
	else
		holds "connect() with action drop gets no answer" \
			"j('new-drop')['error'] == 'timeout'"
	fi
	holds "the refused connection is counted by action ($how)" \
		"s['connections']['${how/drop/dropped}'] >= 1"
	if kill -0 "$LONG" 2>/dev/null; then
		holds "an established connection continues its stream meanwhile ($how)" \
			"not m['$how']['open']"
	else
		say_not_ok "an established connection continues its stream meanwhile ($how)" \
			"it ended too soon"
	fi
	ctl set --model $how ttft=200ms >/dev/null
	wait "$LONG" || true
	grep '^{' "$T/long-$how.log" >"$T/long-$how.json"
	holds "the established connection reads its stream to the end ($how)" \
		"j('long-$how')['counts'] == [300]"
	holds --within 10 "the service opens again by itself ($how)" \
		"m['$how']['open'] and 'model $how opened' in log('daemon')"
	tls_request "$port" 1 '{"wait":1,"tokens":2}' >"$T/again.json" 2>"$T/begun"
	holds "the open service serves new connections ($how)" "j('again')['counts'] == [2]"
done
holds "the http services stay open" "m['tls']['open'] and m['h2']['open']"

done_here
