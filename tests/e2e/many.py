# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""An HTTP/1.1 server of several processes that share its port (SO_REUSEPORT): many.py ADDRESS PORT
PROCESSES. At :: it takes IPv4, too. Each process prints a line at its first request."""

import http.server
import os
import socket
import sys

ANSWER = b'{"choices":[{"message":{"content":"yes"}}]}'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served = False

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)
        if not Handler.served:
            print(f"serves {os.getpid()}", flush=True)
        Handler.served = True

    def log_message(self, *_):
        pass


def main():
    address, port, processes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    http.server.ThreadingHTTPServer.address_family = (
        socket.AF_INET6 if ":" in address else socket.AF_INET)
    http.server.ThreadingHTTPServer.request_queue_size = 128
    for _ in range(processes - 1):
        if not os.fork():
            break
    server = http.server.ThreadingHTTPServer((address, port), Handler, False)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if ":" in address:
        server.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.server_bind()
    server.server_activate()
    print("ready", flush=True)
    server.serve_forever()


main()
