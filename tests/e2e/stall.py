# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Clients that stall their own stream. stall.py HOW HOST FROM MODEL TOKENS opens a stream and
prints "begun" after its first bytes. Until SIGUSR1, the client

zero    reads nothing, with a small buffer, so that its window shuts;
noack   acknowledges nothing, with an open window, by a packet socket.

Then it reads to the end. stall.py slow HOST FROM MODEL SECONDS sends a request at one byte every 50
ms or more, in SECONDS or more. It prints "begun" in the middle, sends the last byte after SIGUSR1,
and reads the answer. Each prints as JSON the bytes, the tokens and the kind of end.
"""

import json
import os
import signal
import socket
import sys
import threading
import time

from rawtcp import ACK, Client, Wire, inside

END = b"0\r\n\r\n"
PATIENCE = 300  # seconds, for a machine that is slow


def begun():
    print("begun", file=sys.stderr, flush=True)


def stream_request(model, tokens):
    body = json.dumps({"model": model, "stream": True, "max_tokens": tokens, "messages": []})
    return (f"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def main():
    how, host, source, model, number = sys.argv[1:6]
    go = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: go.set())
    message = stream_request(model, 3 if how == "slow" else int(number))
    if how == "noack":
        wire = Wire(os.environ["SL_CLIENT"], "c0", os.environ["SL_SERVER_MAC"])
        client = Client(wire, source, host)
        client.connect(PATIENCE)
        client.send(message)
        client.pump(PATIENCE, lambda: client.got.count(b"data:") > 3)
        client.acking = False
        begun()
        deadline = time.monotonic() + PATIENCE
        while not go.is_set() and time.monotonic() < deadline:
            client.pump(0.1)
        client.acking = True
        client.emit(ACK)
        client.pump(PATIENCE, lambda: client.got.endswith(END) or client.rst)
        got = client.got
        end = "rst" if client.rst else "whole" if got.endswith(END) else "cut"
        client.close()
    else:
        with inside(os.environ["SL_CLIENT"]):
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if how == "zero":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(PATIENCE)
        sock.bind((source, 0))
        sock.connect((host, 8000))
        if how == "slow":
            pause = float(number) / len(message)
            for i in range(len(message)):
                if i == len(message) - 1:
                    go.wait(PATIENCE)
                sock.send(message[i:i + 1])
                if i == len(message) // 2:
                    begun()
                time.sleep(max(0.05, pause))
            got = b""
        else:
            sock.sendall(message)
            got = sock.recv(100)
            begun()
            go.wait(PATIENCE)
        end = "whole"
        while not got.endswith(END):
            part = sock.recv(65536)
            if not part:
                end = "cut"
                break
            got += part
    print(json.dumps({"bytes": len(got), "tokens": got.count(b"data:"), "end": end}))


if __name__ == "__main__":
    main()
