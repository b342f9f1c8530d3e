#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Which requests are judged, and how their model is named, as the operator's file says: a client that is blocked for
# one model is refused wherever that model is named, and nowhere else.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# status PATH [CURL OPTION…]: of a POST with a body that names the other model.
status() {
	on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}' --path-as-is --json '{"model":"open"}' "${@:2}" \
		"http://$S4:$PORT$1" || true
}

cat >"$T/sluice.yaml" <<-END
	services:
	  - listen: $PORT
	    pass-paths: [/v1/tokenize]
	    model-header: X-Model
	    on-framing-error: reset
	models: [{name: shut}, {name: open}]
END
mock --model open,prefill-ms=1,token-ms=1,tokens=2,slots=8
sluice --config "$T/sluice.yaml"
ctl block "$C4" --model shut >/dev/null

same "a model named in the path is refused" 429 "$(status /v2/models/shut/infer)"
same "… and with a colon behind it" 429 "$(status /v1/models/shut:predict)"
same "a model named in the header is refused" 429 "$(status /v1/chat/completions -H 'X-Model: shut')"
same "a model named in the body alone is served by its own rules" 200 "$(status /v1/chat/completions)"
same "a path that passes is not judged" 200 "$(status /v1/tokenize -H 'X-Model: shut')"
same "… nor is another that looks like it let through" 429 \
	"$(status /v1/tokenize/../models/shut -H 'X-Model: shut')"
same "the server has seen none of the refused" 2 "$(value "mock['requests_complete']")"
holds "status says what is judged" \
	"s['services'][0]['judge_methods'] == ['POST'] and s['services'][0]['on_framing_error'] == 'reset' and
	 s['services'][0]['model_from'] == ['path', 'header', 'body'] and
	 {'kind': 'pass', 'prefix': '/v1/tokenize'} in s['services'][0]['paths']"

printf 'POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n' >"$T/ambiguous"
check "a request that can be framed in two ways is reset" on "$C" "$PY" -c "
import socket, sys
s = socket.create_connection(('$S4', $PORT), 5)
s.settimeout(5)
s.sendall(open('$T/ambiguous', 'rb').read())
try:
    sys.exit('answered: %r' % s.recv(100))
except ConnectionResetError:
    pass"
holds --within 2 "… and counted" "s['counters']['framing-error-reset'] == 1"

done_here
