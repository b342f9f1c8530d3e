# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""An HTTP/1.1 server that answers each POST with the SHA-256 of its body, and as many more bytes as
the header X-More says: echo.py HOST PORT. They follow from the digest, so that the client can check
each of them. At its end it prints what it has received as JSON."""

import asyncio
import hashlib
import json
import signal
import sys

seen = {"connections": 0, "requests": 0, "errors": []}


def answer(body, more):
    digest = hashlib.sha256(body).hexdigest().encode()
    return (digest * (more // 64 + 2))[:64 + more]


async def serve(reader, writer):
    seen["connections"] += 1
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
            fields = {name.lower(): value for name, value in fields.items()}
            body = await reader.readexactly(int(fields["content-length"]))
            assert hashlib.sha256(body).hexdigest() == fields["x-digest"], "another body"
            seen["requests"] += 1
            text = answer(body, int(fields["x-more"]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
                         % len(text) + text)
            await writer.drain()
    except asyncio.IncompleteReadError as e:
        if e.partial:
            seen["errors"].append(f"{len(e.partial)} bytes of a request")
    except (ConnectionError, AssertionError, KeyError, ValueError) as e:
        seen["errors"].append(repr(e))
    finally:
        writer.close()


async def main():
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    server = await asyncio.start_server(serve, sys.argv[1].split(","), int(sys.argv[2]),
                                        backlog=4096, limit=1 << 20)
    print("ready", flush=True)
    await end.wait()
    server.close()
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
