# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Clients that withhold the last byte of their requests: withhold.py HOST PORT PATH N. Prints how
many were served (20 events), reset, or closed after another status, and then keeps the served ones
open until the end of its input."""

import json
import selectors
import socket
import sys

BODY = b"prompt=" + b"x" * 100
host, port, path, n = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
request = (f"POST {path} HTTP/1.1\r\nHost: test\r\n"
           "Content-Type: application/x-www-form-urlencoded\r\n"
           f"Content-Length: {len(BODY)}\r\n\r\n").encode() + BODY
reading = selectors.DefaultSelector()
for _ in range(n):
    sock = socket.create_connection((host, port), 60)
    sock.sendall(request[:-1])
    reading.register(sock, selectors.EVENT_READ, bytearray())
ends = {}
served = []
while reading.get_map():
    ready = reading.select(60)
    if not ready:
        sys.exit("nothing came for a minute")
    for key, _ in ready:
        sock, got = key.fileobj, key.data
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            data, end = b"", "reset"
        else:
            end = got[9:12].decode() or "closed"
        got += data
        if data and got.count(b"data: ") < 20:
            continue
        if data:
            served.append(sock)
            end = "served"
        reading.unregister(sock)
        ends[end] = ends.get(end, 0) + 1
print(json.dumps(ends), flush=True)
sys.stdin.read()
