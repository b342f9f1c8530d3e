# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Clients that stay busy until they are ended.

busy.py ask HOST PORT [FROM] repeats a request on one connection. busy.py say HOST PORT TEXT opens
connection after connection and begins each with TEXT (with Python's escapes).
"""

import http.client
import json
import socket
import sys
import time

PAUSE = 0.05


def ask(host, port, source=None):
    connection = http.client.HTTPConnection(
        host, int(port), timeout=10, source_address=(source, 0) if source else None)
    body = json.dumps({"model": "m", "messages": [], "max_tokens": 1})
    while True:
        connection.request("POST", "/v1/chat/completions", body,
                           {"Content-Type": "application/json"})
        connection.getresponse().read()
        time.sleep(PAUSE)


def say(host, port, text):
    first = text.encode().decode("unicode_escape").encode("latin-1")
    while True:
        with socket.create_connection((host, int(port)), 10) as client:
            client.settimeout(0.2)
            client.sendall(first)
            try:
                client.recv(4096)
            except OSError:
                pass
        time.sleep(PAUSE)


{"ask": ask, "say": say}[sys.argv[1]](*sys.argv[2:])
