#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A refusal is the error that its client reads. Official clients throw their error for a rate limit,
# each for its own API, also if the answer is lost. A service adds its own headers. A page in a
# browser reads a refusal if its service allows the page's origin, and no other. Preflights pass.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

PAGES=9000
ALLOWED=http://127.0.0.1:$PAGES
export_config() { # export_config X-SERVED-BY
	cat >"$T/sluice.yaml" <<-END
		interfaces: [s0, lo]
		quota: requests=1/1h burst=1
		services:
		  - listen: $PORT
		    reply-headers: {X-Served-By: $1, Cache-Control: "no-store, max-age=0"}
		    cors: "*"
		  - listen: 8002
		    cors: http://a.example https://b.example $ALLOWED
		  - listen: 8003
		  - listen: 8004
		    cors: $ALLOWED
	END
}

export_config gpu-7
start api "$S" "$PY" "$HERE/origins.py" api "$PORT" 8002 8003 8004
await_line api ready
interfaces=()
sluice --config "$T/sluice.yaml"
witness
for port in "$PORT" 8002 8003 8004; do # spends the quota
	same "the first request to port $port is admitted" 200 "$(on "$C" curl -sS -m 5 \
		-o /dev/null -w '%{http_code}' --json '{"model":"m"}' "http://$S4:$port/v1/x")"
done

# official KIND MODULE-FUNCTION HOW: into $T/KIND.json
official() {
	on "$C" node "$HERE/clients.mjs" "$B/npm" "$1" "http://$S4:$PORT" m "$2" >"$T/$1.json"
}

for how in plain stream; do
	official anthropic "$how"
	holds "the anthropic client throws RateLimitError for a $how request" \
		"j('anthropic')['error'] == 'RateLimitError' and
		 j('anthropic')['status'] == 429 and
		 j('anthropic')['body']['type'] == 'error' and
		 j('anthropic')['body']['error']['type'] == 'rate_limit_error' and
		 'used up its quota' in j('anthropic')['body']['error']['message'] and
		 int(j('anthropic')['headers']['retry-after-ms']) > 60000 and
		 j('anthropic')['headers']['x-should-retry'] == 'false' and
		 'requests' in j('anthropic')['headers']['ratelimit']"
	official ollama "$how"
	holds "the ollama client throws an error with the sentence for a $how request" \
		"j('ollama')['error'] == 'ResponseError' and j('ollama')['status'] == 429 and
		 j('ollama')['message'].startswith('This client has used up its quota') and
		 j('ollama')['message'].endswith(' seconds.')"
done
on "$C" node "$HERE/openai.mjs" "$B/npm" "http://$S4:$PORT/v1" m 0 plain >"$T/openai.json"
holds "the openai client throws RateLimitError" \
	"j('openai')['error'] == 'RateLimitError' and j('openai')['code'] == 'rate_limit_exceeded'"

# refusal NAME TARGET OPTION…: into $T/NAME.json, its headers into $T/NAME.head
refusal() {
	on "$C" curl -sS -m 20 -o "$T/$1.json" -D "$T/$1.head" --json '{"model":"m"}' "${@:3}" "$2"
}

# Clients that cannot be installed here: the lines of theirs that read an error.
read_as() { # read_as triton|tgi NAME
	"$PY" - "$1" "$T/$2.json" <<-'END'
		import json, sys
		answer = json.load(open(sys.argv[2]))
		if sys.argv[1] == "triton":  # tritonclient: str(InferenceServerException)
		    message = "[" + "429" + "] " + answer["error"]
		else:  # text-generation: parse_error()
		    assert answer["error_type"] == "overloaded", answer
		    message = str(answer["error"])
		assert "used up its quota" in message, message
	END
}
for target in /v2/models/m/infer /v2/models/m/versions/1/generate; do
	refusal triton "http://$S4:$PORT$target"
	check "tritonclient reads the error of $target" read_as triton triton
done
for target in /generate /generate_stream /; do
	refusal tgi "http://$S4:$PORT$target"
	check "the clients of TGI read the error of $target" read_as tgi tgi
done
refusal absolute "http://$S4:$PORT/" --request-target "http://api.example/v1/messages?beta=true"
holds "a target in absolute form has its path's API" \
	"j('absolute')['error']['type'] == 'rate_limit_error'"

for times in 1 3; do
	before=$(value "w['lost']")
	lose_data "$times"
	refusal lost "http://$S4:$PORT/v1/messages"
	holds "the API stays the same with the answer lost $times×" \
		"w['lost'] == $before + $times and j('lost')['error']['type'] == 'rate_limit_error'"
	lose_data 0
	lose "$times"
	refusal lost "http://$S4:$PORT/v1/messages" -H 'Connection: close'
	holds "the API stays the same with the answer lost $times× on a connection that ends" \
		"w['lost'] == $before + 2 * $times and
		 j('lost')['error']['type'] == 'rate_limit_error'"
	lose 0
done

# The head has these lines.
has() { # has NAME LINE…
	local line

	for line in "${@:2}"; do
		grep -qixF "$line"$'\r' "$T/$1.head" || { cat "$T/$1.head"; return 1; }
	done
}
lacks() { ! grep -i "^$2:" "$T/$1.head"; }

refusal any "http://$S4:$PORT/v1/x"
check "a refusal has the service's own headers" has any "X-Served-By: gpu-7" \
	"Cache-Control: no-store, max-age=0" "Access-Control-Allow-Origin: *"
refusal listed "http://$S4:8002/v1/x" -H "Origin: https://b.example"
check "a listed origin is allowed" has listed "Access-Control-Allow-Origin: https://b.example" \
	"Vary: Origin"
for origin in https://c.example https://b.example.evil.example "" https://b.exampl null; do
	refusal other "http://$S4:8002/v1/x" -H "Origin: $origin"
	check "the origin '$origin' is not allowed" lacks other access-control-allow-origin
	check "… and caches are told" has other "Vary: Origin"
done
refusal none "http://$S4:8003/v1/x" -H "Origin: https://b.example"
check "without cors no origin is allowed" lacks none access-control-allow-origin
check "… and no header is added" lacks none x-served-by
refusal one "http://$S4:8004/v1/x"
check "a single origin is stated whatever the request says" has one \
	"Access-Control-Allow-Origin: $ALLOWED"
check "… without Vary" lacks one vary

# browse HOST: a page of that host requests all services, by a real browser; into $T/HOST.json
browse() {
	start page "$C" "$PY" "$HERE/origins.py" page "$PAGES" "$T/$1.json" \
		"http://$S4:$PORT/v1/chat/completions" "http://$S4:8002/v1/messages" \
		"http://$S4:8003/v1/chat/completions" "http://$S4:8004/api/chat"
	local page=$PID

	await_line page ready "$page"
	start browser "$C" chromium --headless=new --no-sandbox --disable-gpu --no-first-run \
		--disable-dev-shm-usage --disable-background-networking \
		--user-data-dir="$T/profile" "http://$1:$PAGES/"
	await 60 "len(j('$1')) == 4"
	finish "$PID" KILL
	finish "$page"
}

HOME=$T browse 127.0.0.1
any="j('127.0.0.1')['http://$S4:$PORT/v1/chat/completions']"
listed="j('127.0.0.1')['http://$S4:8002/v1/messages']"
none="j('127.0.0.1')['http://$S4:8003/v1/chat/completions']"
alone="j('127.0.0.1')['http://$S4:8004/api/chat']"
holds "a page reads a refusal of a service that allows all origins, and its numbers" \
	"${any}['status'] == 429 and ${any}['body']['error']['code'] == 'rate_limit_exceeded' and
	 int(${any}['headers']['retry-after']) > 60 and
	 int(${any}['headers']['retry-after-ms']) > 0 and
	 'requests' in ${any}['headers']['ratelimit']"
holds "a page reads a refusal of a service that lists its origin" \
	"${listed}['status'] == 429 and ${listed}['body']['error']['type'] == 'rate_limit_error' and
	 ${listed}['headers']['x-should-retry'] == 'false'"
holds "a page reads a refusal of a service with its origin alone" "${alone}['status'] == 429"
holds "a page reads no refusal of a service without cors" "'Failed to fetch' in ${none}['error']"
check "preflights reach the server" grep -q "^preflight $ALLOWED" "$T/api.log"
HOME=$T browse localhost
holds "a page of another origin reads only what all may read" \
	"${any/127.0.0.1/localhost}['status'] == 429 and
	 all('Failed to fetch' in x['error'] for x in (${listed/127.0.0.1/localhost},
	     ${none/127.0.0.1/localhost}, ${alone/127.0.0.1/localhost}))"

export_config gpu-8
ctl reload >/dev/null
refusal again "http://$S4:$PORT/v1/x"
check "a reload changes the headers" has again "X-Served-By: gpu-8"
same "only the admitted requests reached the server" 4 "$(grep -c ^request "$T/api.log")"

done_here
