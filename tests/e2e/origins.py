# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Servers for the case of web origins. `api PORT...` answers every request, and preflights as a
server does that allows all origins; it prints a line for each. `page PORT RESULT TARGET...` serves
a page whose script requests each target as a chat page would. What the script could read is written
to the file RESULT."""

import http.server
import json
import sys
import threading

PAGE = """<!doctype html><script>
const targets = %s, seen = {};
const body = JSON.stringify({ model: "m", messages: [] });
const headers = { "content-type": "application/json", authorization: "Bearer sk-dummy" };
async function request(target) {
  const answer = await fetch(target, { method: "POST", headers, body });
  const names = ["retry-after", "retry-after-ms", "ratelimit", "x-should-retry", "x-served-by"];
  return { status: answer.status, body: await answer.json(),
           headers: Object.fromEntries(names.map((n) => [n, answer.headers.get(n)])) };
}
(async () => {
  for (const target of targets)
    seen[target] = await request(target).catch((error) => ({ error: String(error) }));
  await fetch("/result", { method: "POST", body: JSON.stringify(seen) });
})();
</script>"""


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A refusal resets the server's connection, and a browser leaves when it likes."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text, kind="application/json", headers=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, *_):
        pass


class Api(Handler):
    def do_OPTIONS(self):
        print("preflight", self.headers["Origin"], flush=True)
        self.answer(204, "", headers=(("Access-Control-Allow-Origin", "*"),
                                      ("Access-Control-Allow-Methods", "POST"),
                                      ("Access-Control-Allow-Headers",
                                       "content-type, authorization")))

    def do_POST(self):
        self.body()
        print("request", self.path, flush=True)
        self.answer(200, "{}")


class Page(Handler):
    def do_GET(self):
        self.answer(200, PAGE % json.dumps(sys.argv[4:]), "text/html")

    def do_POST(self):
        with open(sys.argv[3], "wb") as file:
            file.write(self.body())
        self.answer(200, "{}")


def main():
    api = sys.argv[1] == "api"
    ports = sys.argv[2:] if api else sys.argv[2:3]
    for port in ports:
        server = Server(("", int(port)), Api if api else Page)
        threading.Thread(target=server.serve_forever).start()
    print("ready", flush=True)


main()
