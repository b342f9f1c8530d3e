# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Hostile readers. hoard.py HOST N MODEL ADDRESS… opens N streams with small receive buffers, from
these addresses in turn, and prints "begun" when all requests are sent. It reads nothing of every
second stream, and of the others 200 bytes twice a second, so that their windows open now and then.
At SIGUSR1 it reads all streams to their ends as fast as they come, prints as JSON how many were
whole, and ends.
"""

import json
import selectors
import signal
import socket
import sys
import time

END = b"0\r\n\r\n"


def open_stream(host, source, model):
    body = json.dumps({"model": model, "stream": True, "messages": []})
    request = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n"
               f"Connection: close\r\nContent-Type: application/json\r\n"
               f"Content-Length: {len(body)}\r\n\r\n{body}")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.bind((source, 0))
    sock.connect((host, 8000))
    sock.sendall(request.encode())
    sock.setblocking(False)
    return sock


def read(sock, size):
    try:
        return sock.recv(size)
    except BlockingIOError:
        return b""


def drain(socks):
    """Reads all to their ends. Returns how many streams were whole."""
    whole = 0
    tail = {sock: b"" for sock in socks}
    with selectors.DefaultSelector() as ready:
        for sock in socks:
            ready.register(sock, selectors.EVENT_READ)
        while ready.get_map():
            for key, _ in ready.select():
                part = key.fileobj.recv(65536)
                tail[key.fileobj] = (tail[key.fileobj] + part)[-16:]
                if not part or tail[key.fileobj].endswith(END):
                    whole += bool(part)
                    ready.unregister(key.fileobj)
    return whole


def main():
    host, number, model = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    sources = sys.argv[4:]
    stop = []
    signal.signal(signal.SIGUSR1, lambda *_: stop.append(True))
    socks = [open_stream(host, sources[i % len(sources)], model) for i in range(number)]
    print("begun", flush=True)
    while not stop:
        for sock in socks[1::2]:
            read(sock, 200)
        time.sleep(0.5)
    print(json.dumps({"whole": drain(socks)}), flush=True)


if __name__ == "__main__":
    main()
