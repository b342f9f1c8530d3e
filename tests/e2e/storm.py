# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Clients that keep their connections through refusals, before echo.py:

    storm.py HOST PORT CONNECTIONS REQUESTS [BODY MORE]

Each sends that many requests (20-200: from 20 to 200), of BODY bytes in the median, half of them
for the model "closed", which has to be refused, and asks for MORE bytes in the answer. One body in
200 has 1 MiB, and so has one answer. It checks each byte of each answer. Prints one JSON
object."""

import asyncio
import hashlib
import json
import random
import socket
import sys

from echo import answer

host, port, connections = sys.argv[1], *map(int, sys.argv[2:4])
requests = [int(n) for n in sys.argv[4].split("-")]
body_bytes, more_bytes = map(int, sys.argv[5:7] or (400, 300))
found = {"admitted": 0, "refused": 0, "said_close": 0, "connections": 0, "errors": []}


def size_around(rng, median):
    if rng.random() < 1 / 200:
        return 1 << 20
    return int(median * rng.lognormvariate(0, 0.7)) + 1


async def exchange(reader, writer, rng):
    """One request and its answer. Returns whether the connection goes on."""
    prompt = rng.randbytes(size_around(rng, body_bytes) // 2 + 1).hex().encode()
    closed = rng.random() < 0.5
    body = b'{"model":"%s","prompt":"%s"}' % (b"closed" if closed else b"open", prompt)
    more = size_around(rng, more_bytes)
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                 b"X-Digest: %s\r\nX-More: %d\r\nContent-Length: %d\r\n\r\n%s"
                 % (hashlib.sha256(body).hexdigest().encode(), more, len(body), body))
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status = int(head.split(" ", 2)[1])
    fields = {k.lower(): v for k, v in (x.split(": ", 1) for x in head.split("\r\n")[1:] if x)}
    got = await reader.readexactly(int(fields["content-length"]))
    assert status == (429 if closed else 200), status
    if status == 200:
        assert got == answer(body, more), "another answer"
        found["admitted"] += 1
    else:
        assert json.loads(got)["error"]["code"] == "rate_limit_exceeded", head
        found["refused"] += 1
    return fields.get("connection") != "close"


async def client(number):
    rng, writer, goes_on = random.Random(number), None, False
    for _ in range(rng.randint(requests[0], requests[-1])):
        try:
            if not goes_on:
                reader, writer = await asyncio.open_connection(host, port)
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                found["connections"] += 1
            goes_on = await asyncio.wait_for(exchange(reader, writer, rng), 60)
            if not goes_on:
                found["said_close"] += 1
                assert not await reader.read(), "bytes after the end"
                writer.close()
        except (OSError, AssertionError, asyncio.TimeoutError, asyncio.IncompleteReadError) as e:
            found["errors"].append(f"{number}: {e!r}")
            goes_on = False
    if goes_on:
        writer.close()
        await writer.wait_closed()


async def main():
    await asyncio.gather(*(client(i) for i in range(connections)))
    print(json.dumps(found))


asyncio.run(main())
