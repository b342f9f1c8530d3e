# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""On one connection to echo.py 90 requests that are refused, with ten between them that are not,
and at the end one with a long answer: long_answer.py HOST PORT. The refusals have more bytes than a
server has on the way at once."""

import hashlib
import http.client
import sys

from echo import answer

LONG = 100000
REFUSED, ADMITTED, LAST = ("closed", 429, 0), ("open", 200, 10), ("open", 200, LONG)
conn = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=60)
conn.connect()
for model, status, more in ([REFUSED] * 9 + [ADMITTED]) * 10 + [LAST]:
    body = b'{"model":"%s"}' % model.encode()
    head = (f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
            f"X-Digest: {hashlib.sha256(body).hexdigest()}\r\nX-More: {more}\r\n\r\n")
    conn.sock.sendall(head.encode() + body)
    response = http.client.HTTPResponse(conn.sock, method="POST")
    response.begin()
    got = response.read()
    assert response.status == status, response.status
    assert status == 429 or got == answer(body, more), f"{len(got)} bytes"
