# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A small TLS server and its client.

tls.py serve CERT KEY PORT…: HTTP/1.1 in TLS, with keep-alive. The body of a POST is {"wait": MS,
"tokens": N, "gap": MS}. The server answers after `wait` with N events, `gap` apart.

tls.py request HOST PORT TIMES BODY: sends TIMES requests on one connection. Prints "begun" at the
first event of each. Then prints as JSON the number of events, and the time in ms of the first and
the last byte, for each request.
"""

import json
import socket
import ssl
import sys
import threading
import time


def read_request(sock):
    got = b""
    while b"\r\n\r\n" not in got:
        part = sock.recv(65536)
        if not part:
            return None
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += sock.recv(65536)
    return json.loads(body or b"{}")


def serve_connection(context, raw):
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(raw, server_side=True) as sock:
            while True:
                wanted = read_request(sock)
                if wanted is None:
                    return
                time.sleep(wanted.get("wait", 0) / 1000)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                             b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 0\n\n\r\n")
                for i in range(1, wanted.get("tokens", 1)):
                    time.sleep(wanted.get("gap", 0) / 1000)
                    event = b"data: %d\n\n" % i
                    sock.sendall(b"%x\r\n%s\r\n" % (len(event), event))
                sock.sendall(b"0\r\n\r\n")
    except OSError:
        pass


def serve(cert, key, *ports):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def listen(listener):
        while True:
            raw, _ = listener.accept()
            threading.Thread(target=serve_connection, args=(context, raw), daemon=True).start()

    for port in ports:
        listener = socket.create_server(("", int(port)))
        threading.Thread(target=listen, args=(listener,), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def request(host, port, times, body):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    out = {"counts": [], "first_ms": [], "all_ms": []}
    with context.wrap_socket(socket.create_connection((host, int(port)), 10)) as sock:
        for _ in range(int(times)):
            sent = time.monotonic()
            sock.sendall(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s"
                         % (len(body), body.encode()))
            got = b""
            while not got.endswith(b"0\r\n\r\n"):
                part = sock.recv(65536)
                if not part:
                    break
                if not got:
                    out["first_ms"].append((time.monotonic() - sent) * 1000)
                    print("begun", file=sys.stderr, flush=True)
                got += part
            out["all_ms"].append((time.monotonic() - sent) * 1000)
            out["counts"].append(got.count(b"data: "))
    print(json.dumps(out))


if __name__ == "__main__":
    {"serve": serve, "request": request}[sys.argv[1]](*sys.argv[2:])
