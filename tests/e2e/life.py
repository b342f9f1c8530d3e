# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Clients before echo.py that keep their connections while sluice comes and goes:

    life.py HOST,… PORT CONNECTIONS DIRECTORY

For each file N (1, 2, …) that appears in the directory, each connection sends a request for model
"open", two for "closed", and one for "open". Every byte is checked. Then it prints what it has seen
in this round, as one line of JSON. A connection that ends is opened again for the next request.
"kept" counts the connections of clients that were refused before, which are open as the round
begins."""

import asyncio
import collections
import hashlib
import json
import os
import random
import socket
import sys

from echo import answer

hosts, directory = sys.argv[1].split(","), sys.argv[4]
port, connections = map(int, sys.argv[2:4])


class Client:
    def __init__(self, number):
        self.rng, self.host = random.Random(number), hosts[number % len(hosts)]
        self.writer, self.refused = None, False

    async def exchange(self, model, found):
        prompt = self.rng.randbytes(self.rng.randrange(1, 600)).hex().encode()
        body = b'{"model":"%s","prompt":"%s"}' % (model, prompt)
        more = self.rng.randrange(1, 5000)
        self.writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX-Digest: %s\r\n"
                          b"X-More: %d\r\nContent-Length: %d\r\n\r\n%s"
                          % (hashlib.sha256(body).hexdigest().encode(), more, len(body), body))
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(x.split(": ", 1) for x in head.lower().split("\r\n")[1:] if x)
        got = await self.reader.readexactly(int(fields["content-length"]))
        status = int(head.split(" ", 2)[1])
        assert status == 429 or got == answer(body, more), "another answer"
        found[f"{model.decode()}-{status}"] += 1
        if status == 429:
            self.refused = True
        if fields.get("connection") == "close":
            found["closed"] += 1
            self.writer.close()
            self.writer = None

    async def round(self, found):
        if self.refused and self.writer:
            found["kept"] += 1
        try:
            for model in b"open", b"closed", b"closed", b"open":
                if not self.writer:
                    self.reader, self.writer = await asyncio.open_connection(self.host, port)
                    sock = self.writer.get_extra_info("socket")
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await asyncio.wait_for(self.exchange(model, found), 60)
        except (OSError, AssertionError, asyncio.TimeoutError, asyncio.IncompleteReadError) as e:
            found[type(e).__name__] += 1
            if self.writer:
                self.writer.transport.abort()
            self.writer = None


async def main():
    clients, number = [Client(i) for i in range(connections)], 1
    print("ready", flush=True)
    while True:
        while not os.path.exists(f"{directory}/{number}"):
            await asyncio.sleep(0.02)
        found = collections.Counter()
        await asyncio.gather(*(c.round(found) for c in clients))
        print(json.dumps(found), flush=True)
        number += 1


asyncio.run(main())
