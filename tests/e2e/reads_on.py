# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A server that answers what is no request and reads on, as cpp-httplib does, and its client:

    reads_on.py serve HOST,… PORT
    reads_on.py send HOST PORT KIND CONNECTIONS REQUESTS

The client begins each connection with bytes of the kind that are no request, the first request in
the same segment, and goes on with requests. It prints how many were answered with which status."""

import asyncio
import collections
import json
import socket
import sys

BEGINS = {
    "line": b"nonsense\r\n",
    "tls": b"\x16\x03\x01\x00\x18" + b"\x01" * 24 + b"\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
BODY = b'{"model":"closed","prompt":"hello"}'
REQUEST = (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY)
           + BODY)


async def serve(reader, writer):
    try:
        while line := await reader.readline():
            length, status = 0, b"400 Bad Request"
            if line.startswith(b"POST ") and line.endswith(b" HTTP/1.1\r\n"):
                status = b"200 OK"
                while (field := await reader.readline()).strip():
                    name, _, value = field.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                await reader.readexactly(length)
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\n{}" % status)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def serve_all(hosts, port):
    server = await asyncio.start_server(serve, hosts.split(","), int(port))
    print("ready", flush=True)
    await server.serve_forever()


def statuses(sock):
    """Yields the status of each response."""
    read = b""
    while True:
        while read.count(b"\r\n\r\n{}") < 1:
            part = sock.recv(4096)
            if not part:
                return
            read += part
        one, _, read = read.partition(b"\r\n\r\n{}")
        yield one.split(b" ", 2)[1].decode()


def send(host, port, kind, connections, requests):
    seen = collections.Counter()
    for _ in range(int(connections)):
        try:
            with socket.create_connection((host, int(port)), 20) as sock:
                sock.sendall(BEGINS[kind] + REQUEST)
                for i, status in enumerate(statuses(sock)):
                    seen[status] += 1
                    if status == "200":
                        if seen["200"] >= int(requests):
                            break
                        sock.sendall(REQUEST)
            seen["ended"] += 1
        except OSError:
            seen["reset"] += 1
    print(json.dumps(seen))


if sys.argv[1] == "serve":
    asyncio.run(serve_all(*sys.argv[2:]))
else:
    send(*sys.argv[2:])
