#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The file's rules select the judged requests and name their model. A client that is blocked for one
# model is refused wherever a request names that model, and nowhere else.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# status PATH [CURL OPTION…]: sends a POST with the other model in its body; prints its status.
status() {
	on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}' --path-as-is \
		--json '{"model":"open"}' "${@:2}" "http://$S4:$PORT$1" || true
}

# form [CURL OPTION…]: sends a form; prints its status.
form() {
	on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}' \
		"$@" "http://$S4:$PORT/v1/audio/transcriptions" || true
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
same "a model named in the path with a colon is refused" 429 "$(status /v1/models/shut:predict)"
same "a model named in the header is refused" 429 \
	"$(status /v1/chat/completions -H 'X-Model: shut')"
same "a model named in the body alone is served" 200 \
	"$(status /v1/chat/completions)"
head -c 300000 /dev/urandom >"$T/audio"
same "a model named in a form before the file is refused" 429 \
	"$(form -F model=shut -F "file=@$T/audio")"
same "a model named in a form after the file is refused" 429 \
	"$(form -F "file=@$T/audio" -F language=en -F model=shut)"
same "a model named in an urlencoded form is refused" 429 \
	"$(form -d language=en -d model=%73hut)"
same "a path of pass-paths is not judged" 200 "$(status /v1/tokenize -H 'X-Model: shut')"
same "a path that leaves pass-paths by .. is judged" 429 \
	"$(status /v1/tokenize/../models/shut -H 'X-Model: shut')"
for path in //v2/models/shut/infer /x/../v2/models/shut /v2/./models/shut '/v2/%6dodels/shut' \
	'/v2;a/models/shut;b/infer' '/v2\models\shut' /v2/models/open/../shut; do
	same "the path $path is judged as servers resolve it" 429 "$(status "$path")"
done
same "a target with scheme and host is judged by its path" 429 \
	"$(status / --request-target "http://$S4:$PORT/v2/models/shut/infer")"
same "a doubled slash alone is served" 200 "$(status //v1/chat/completions)"

same "two names are both judged" 429 \
	"$(form -H 'Content-Type: application/json' -d '{"model":"shut","model":"open"}')"
gzip -c <<<'{"model":"open"}' >"$T/compressed"
same "a compressed body is judged as the strictest" 429 \
	"$(form -H 'Content-Type: application/json' -H 'Content-Encoding: gzip' \
		--data-binary "@$T/compressed")"
same "a body without a name is judged as the strictest" 429 \
	"$(form -H 'Content-Type: application/json' -d '{}')"
same "the server has seen no refused request" 3 "$(value "mock['requests_complete']")"
holds "status shows the rules" \
	"s['services'][0]['judge_methods'] == ['POST'] and
	 s['services'][0]['on_framing_error'] == 'reset' and
	 s['services'][0]['blob_bytes'] == 4096 and
	 s['services'][0]['model_from'] == ['path', 'header', 'body'] and
	 {'kind': 'pass', 'prefix': '/v1/tokenize'} in s['services'][0]['paths']"

printf 'POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n' >"$T/ambiguous"
check "an ambiguous request is reset" on "$C" "$PY" -c "
import socket, sys
s = socket.create_connection(('$S4', $PORT), 5)
s.settimeout(5)
s.sendall(open('$T/ambiguous', 'rb').read())
try:
    sys.exit('answered: %r' % s.recv(100))
except ConnectionResetError:
    pass"
holds --within 2 "the reset is counted" "s['counters']['framing-error-reset'] == 1"

done_here
