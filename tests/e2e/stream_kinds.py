# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A server of small streams in the forms of several APIs: stream_kinds.py ADDRESS PORT. The path of
a request ends in the name of its stream. Each event leaves by itself."""

import http.server
import sys

OPENER = 'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
TEXT = 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = "data: [DONE]\n\n"
STREAMS = {
    "openai-error": [OPENER, 'data: {"error":{"message":"out of memory","code":500}}\n\n', DONE],
    "anthropic-error": [
        'event: message_start\ndata: {"type":"message_start","message":{"content":[]}}\n\n',
        'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n',
    ],
    "tgi-error": ['data:{"error":"overloaded","error_type":"overloaded"}\n\n'],
    "ollama-error": ['{"error":"model requires more memory"}\n'],
    "progress": [
        'data: {"choices":[{"delta":{"role":"assistant","content":null}}],'
        '"prompt_progress":{"total":9,"processed":%d}}\n\n' % n
        for n in range(9)
    ],
    "usage": [OPENER, TEXT, TEXT, TEXT,
              'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12}}\n\n', DONE],
    "no-usage": [OPENER, TEXT, TEXT, TEXT, DONE],
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        name = self.path.rsplit("/", 1)[1]
        self.send_response(200)
        lines = name.startswith("ollama")
        self.send_header("content-type", "application/x-ndjson" if lines else "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in STREAMS.get(name, []):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event.encode()))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
print("ready", flush=True)
server.serve_forever()
