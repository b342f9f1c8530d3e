#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Real clients keep their connections through a storm of refusals (invariant 4): curl, the openai
# client, Python's http.client, httpx, requests and aiohttp, Java's HttpClient, and the pools of
# nginx and HAProxy before their upstream.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/storms.sh
. "$HERE/storms.sh"

N=40 # requests of each client
mock --model open,prefill-ms=0,token-ms=0,tokens=2,slots=64
sluice --config "$T/keep.yaml"
ctl block "$C4" --model closed >/dev/null

# keeps NAME MOST COMMAND…: the client prints its statuses, N of them, every second one a refusal.
# It needs at most MOST connections (undici opens a second one), and one more for each refusal that
# had to close one.
keeps() {
	local name=$1 most=$2 before

	shift 2
	before=$(value "[mock['connections_accepted'], $CLOSED, k['refusals-kept']]")
	on "$C" "$@" >"$T/statuses.log" 2>"$T/$name.log" || cat "$T/$name.log"
	holds --within 3 "$name keeps its connections through $((N / 2)) refusals" \
		"sorted(log('statuses').split()) == ['200'] * ($N // 2) + ['429'] * ($N // 2) and
		 k['refusals-kept'] - ${before}[2] == $N // 2 - ($CLOSED - ${before}[1]) > 0 and
		 mock['connections_accepted'] - ${before}[0] <= $most + $CLOSED - ${before}[1]"
}

urls=()
for ((i = 0; i < N; i++)); do
	((i % 2)) && model=closed || model=open
	((i == 0)) || urls+=(--next)
	urls+=(-sS -m 20 -o /dev/null -w '%{http_code}\n' --json "{\"model\":\"$model\"}"
		"http://$S4:$PORT/v1/completions")
done
keeps curl 1 curl "${urls[@]}"

cat >"$T/python.py" <<'END'
import http.client, json, sys

class OneSend(http.client.HTTPConnection):
    """Head and body in one segment."""

    def _send_output(self, message_body=None, encode_chunked=False):
        self._buffer.extend((b"", message_body or b""))
        message, self._buffer[:] = b"\r\n".join(self._buffer), []
        self.send(message)

c = OneSend(sys.argv[1], int(sys.argv[2]), timeout=20)
for i in range(int(sys.argv[3])):
    c.request("POST", "/v1/completions", json.dumps({"model": ["open", "closed"][i % 2]}).encode())
    answer = c.getresponse()
    answer.read()
    print(answer.status)
END
keeps "http.client" 1 "$PY" "$T/python.py" "$S4" "$PORT" "$N"

cat >"$T/clients.py" <<'END'
import asyncio, sys

which, url, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
bodies = [{"model": ["open", "closed"][i % 2]} for i in range(n)]
if which == "httpx":
    import httpx, socket

    connect = socket.create_connection

    def without_nagle(*args, **named):  # as httpcore does from 0.17.2 on
        s = connect(*args, **named)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    socket.create_connection = without_nagle
    with httpx.Client(timeout=20) as client:
        for body in bodies:
            print(client.post(url, json=body).status_code)
elif which == "requests":
    import requests

    with requests.Session() as session:
        for body in bodies:
            print(session.post(url, json=body, timeout=20).status_code)
else:
    import aiohttp

    async def main():
        async with aiohttp.ClientSession() as session:
            for body in bodies:
                async with session.post(url, json=body) as answer:
                    await answer.read()
                    print(answer.status)

    asyncio.run(main())
END
for name in httpx requests aiohttp; do
	keeps "$name" 1 "$PY" "$T/clients.py" "$name" "http://$S4:$PORT/v1/completions" "$N"
done

cat >"$T/Client.java" <<'END'
import java.net.URI;
import java.net.http.*;

public class Client {
	public static void main(String[] args) throws Exception {
		HttpClient client = HttpClient.newHttpClient();
		for (int i = 0; i < Integer.parseInt(args[1]); i++) {
			String body = "{\"model\":\"" + (i % 2 == 0 ? "open" : "closed") + "\"}";
			HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
				.POST(HttpRequest.BodyPublishers.ofString(body)).build();
			System.out.println(client.send(
				request, HttpResponse.BodyHandlers.ofString()).statusCode());
		}
	}
}
END
keeps Java 1 java "$T/Client.java" "http://$S4:$PORT/v1/completions" "$N"

cat >"$T/openai.mjs" <<'END'
import { createRequire } from "node:module";
const [modules, baseURL, n] = process.argv.slice(2);
const { OpenAI } = createRequire(`${modules}/`)("openai");
const client = new OpenAI({ apiKey: "sk-dummy", baseURL, maxRetries: 0, timeout: 20000 });
for (let i = 0; i < n; i++) {
  try {
    const body = { model: i % 2 ? "closed" : "open", messages: [], max_tokens: 1 };
    await client.chat.completions.create(body);
    console.log(200);
  } catch (error) {
    console.log(error.status);
  }
}
END
keeps openai 2 node "$T/openai.mjs" "$B/npm" "http://$S4:$PORT/v1" "$N"

begin_nginx "$C" 8100 <<END
access_log off;
upstream model { server $S4:$PORT; keepalive 8; }
server {
	listen 127.0.0.1:8100;
	location / {
		proxy_pass http://model;
		proxy_http_version 1.1;
		proxy_set_header Connection "";
	}
}
END
cat >"$T/haproxy.cfg" <<END
defaults
	mode http
	timeout connect 20s
	timeout client 20s
	timeout server 20s
	http-reuse always
frontend front
	bind 127.0.0.1:8101
	default_backend model
backend model
	server model $S4:$PORT
END
start haproxy "$C" haproxy -db -f "$T/haproxy.cfg"
eventually 10 listens "$C" 8101
for at in "nginx 8100" "HAProxy 8101"; do
	read -r name port <<<"$at"
	keeps "the pool of $name" 1 "$PY" "$T/python.py" 127.0.0.1 "$port" "$N"
done
done_here
