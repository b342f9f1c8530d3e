#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A server never hears of a refusal that keeps its connection (invariant 4): after 1,000 refused
# requests, head and body in two segments, the logs of uvicorn and of Python's http.server have the
# admitted requests and nothing else.
# Runs alone: a body that comes long after its head looks as if its client waited.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/storms.sh
. "$HERE/storms.sh"

N=1000
cat >"$T/server.py" <<'END'
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

server = http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler)
print("ready", file=sys.stderr, flush=True)
server.serve_forever()
END
cat >"$T/client.py" <<'END'
import http.client, json, sys

c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20)
statuses = {}
for i in range(int(sys.argv[3])):
    for model in ["closed"] * 10 + ["open"]:
        c.request("POST", "/v1/chat/completions", json.dumps({"model": model}))
        answer = c.getresponse()
        answer.read()
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
print(json.dumps(statuses))
END

sluice --config "$T/keep.yaml"
ctl block "$C4" --model closed >/dev/null

# quiet NAME COMMAND…: starts the server, which says that it is ready, and plays the requests.
quiet() {
	local name=$1 before lines

	shift
	start server "$S" "$@"
	SERVER=$PID
	await_line server "$READY" "$SERVER"
	lines=$(wc -l <"$T/server.log")
	before=$(value "k['refusals-kept']")
	on "$C" "$PY" "$T/client.py" "$S4" "$PORT" $((N / 10)) >"$T/statuses.json"
	holds "a client of $name reads $N refusals on its connection" \
		"j('statuses') == {'200': $N // 10, '429': $N} and k['refusals-kept'] == $before + $N"
	same "$name has logged the admitted requests, and nothing else" "$((N / 10)) 0" \
		"$(tail -n +$((lines + 1)) "$T/server.log" | grep -c '"POST /v1/chat/completions HTTP/1.1" 200') \
$(tail -n +$((lines + 1)) "$T/server.log" | grep -cv '"POST /v1/chat/completions HTTP/1.1" 200')"
	finish "$SERVER"
}

READY='.*running on' quiet uvicorn \
	"$PY" -m uvicorn --app-dir "$HERE" --host 0.0.0.0 --port "$PORT" app:app
READY=ready quiet http.server "$PY" "$T/server.py" "$PORT"
done_here
