# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sends pipelined requests on one connection and reads the responses:
pipeline.py HOST PORT MODEL N MAX-TOKENS [PIECES]. All requests are sent in one write or, with
PIECES, in that many. Prints one JSON object: the statuses in order, and how the connection ended
("open" if it did not).
"""

import json
import socket
import sys


def request(model, max_tokens, number):
    body = json.dumps({"model": model, "stream": True, "max_tokens": max_tokens,
                       "messages": [{"role": "user", "content": f"number {number}"}]}).encode()
    return (f"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n"
            f"Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


class Ended(Exception):
    pass


class Responses:
    def __init__(self, sock):
        self.sock, self.buf, self.last = sock, b"", False

    def more(self):
        try:
            got = self.sock.recv(65536)
        except ConnectionResetError:
            raise Ended("reset") from None
        if not got:
            raise Ended("closed")
        self.buf += got

    def line(self):
        while b"\r\n" not in self.buf:
            self.more()
        line, self.buf = self.buf.split(b"\r\n", 1)
        return line

    def bytes(self, n):
        while len(self.buf) < n:
            self.more()
        self.buf = self.buf[n:]

    def response(self):
        status = int(self.line().split()[1])
        length, chunked = 0, False
        while line := self.line().lower():
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            chunked |= line.startswith(b"transfer-encoding:")
            self.last |= line == b"connection: close"
        if not chunked:
            self.bytes(length)
            return status
        while n := int(self.line().split(b";")[0], 16):
            self.bytes(n + 2)
        self.line()
        return status


def main():
    host, port, model, n, max_tokens = sys.argv[1:6]
    pieces = int(sys.argv[6]) if len(sys.argv) > 6 else 1
    sock = socket.create_connection((host, int(port)), 120)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(120)
    text = b"".join(request(model, int(max_tokens), i) for i in range(int(n)))
    for i in range(pieces):
        sock.sendall(text[len(text) * i // pieces : len(text) * (i + 1) // pieces])
    responses, statuses, end = Responses(sock), [], "open"
    try:
        while len(statuses) < int(n):
            statuses.append(responses.response())
            if responses.last:
                responses.more()
    except Ended as why:
        end = str(why)
    print(json.dumps({"statuses": statuses, "end": end}))


main()
