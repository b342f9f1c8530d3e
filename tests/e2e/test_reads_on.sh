#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A client buys no pass with bytes that are no request, where its server answers them and reads on
# (invariant 1). Of each kind only the first such request passes, which comes with the bytes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start server "$S" "$PY" "$HERE/reads_on.py" serve "$S4,$S6" "$PORT"
await_line server ready "$PID"
configure() {
	cat >"$T/sluice.yaml" <<-END
		services: [{listen: $PORT, on-framing-error: $1}]
		models: [{name: closed}]
	END
}
configure auto
sluice --config "$T/sluice.yaml"
for client in "$C4" "$C6"; do ctl block "$client" --model closed >/dev/null; done

send() { on "$C" "$PY" "$HERE/reads_on.py" send "$1" "$PORT" "$2" 10 "$3" >"$T/send.json"; }
for kind in line tls http2; do
	send "$S4" $kind 100
	holds "of 10 connections that begin with $kind, one request passes" \
		"j('send').get('200', 0) == 1 and j('send')['reset'] == 10 and
		 '429' not in j('send')"
	send "$S6" $kind 100
	holds "… and over IPv6 none does" "'200' not in j('send') and j('send')['reset'] == 10"
done
holds "they are counted" \
	"k['passed-framing-error'] == 1 and k['found-opaque'] == 2 and
	 k['framing-error-reset'] == 60 and s['global']['in_flight'] == 0"
out=$(on "$C" curl -sS -m 10 -o "$T/curl" -w '%{http_code}' --data '{"model":"closed"}' \
	"http://$S4:$PORT/v1/completions" --next -sS -m 10 -o "$T/curl" -w ' %{http_code}' \
	--data '{"model":"open"}' "http://$S4:$PORT/v1/completions" || true)
same "requests on other connections are judged" "429 200" "$out"

configure pass
ctl reload >/dev/null
send "$S4" line 5
holds "with on-framing-error: pass all of them pass" "j('send')['200'] >= 5"
done_here
