# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""names.py HOST PORT FIRST COUNT: sends one request for each of COUNT invented model names, on one
connection. Head and body are one segment, because a server that answers by itself does not wait for
a later body. Prints the statuses as JSON."""

import collections
import http.client
import json
import socket
import sys


def main():
    host, port, first, count = sys.argv[1], *map(int, sys.argv[2:5])
    sock = socket.create_connection((host, port), 10)
    statuses = collections.Counter()
    for i in range(first, first + count):
        body = json.dumps({"model": f"invented-{i}", "max_tokens": 1})
        sock.sendall(("POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n"
                      "Content-Type: application/json\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        answer = http.client.HTTPResponse(sock, method="POST")
        answer.begin()
        answer.read()
        statuses[answer.status] += 1
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
