# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sends segments that the server's TCP drops, then replacements: insertion.py HOW HOST
SOURCE.

HOW is the fault of the first segments: checksum, acknowledgement (of bytes that the server never
sent), no-acknowledgement (no ACK flag), timestamp (an old one), fin (a FIN with a wrong checksum).
The first segments are a request for the model open, or a FIN. Their replacement is a request for
the model blocked. With body and head, only a part of the request has a wrong checksum: the body, or
all from within the head on. With early, bytes within an image have a wrong checksum, and come
before missing ones. Their replacement ends the image, and names a model. With retransmission
nothing is wrong: the same request for the model open is sent twice. Prints the answer as JSON.
"""

import json
import os
import struct
import sys

from rawtcp import ACK, FIN, PSH, Client, Wire, ip_packets, request


def corrupted(segment):
    return segment[:16] + bytes([segment[16] ^ 0x55]) + segment[17:]


def with_image(image):
    """A request for the model open. The image makes it longer."""
    body = b'{"images":["' + image + b'"],"model":"open","max_tokens":2}'
    return (b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def main():
    how, host, source = sys.argv[1:4]
    wire = Wire(os.environ["SL_CLIENT"], "c0", os.environ["SL_SERVER_MAC"])
    client = Client(wire, source, host, timestamps=how == "timestamp")
    client.connect()
    first, second = request("open", 900), request("open" if how == "retransmission" else "blocked",
                                                  900)
    assert len(first) == len(second)
    half = first.index(b"Content-Length") if how == "head" else first.index(b"\r\n\r\n") + 4

    def put(flags, payload=b"", ack=None, corrupt=False, after=0):
        segment = client.segment(flags, client.seq + after, payload, ack)
        for packet in ip_packets(source, host, corrupted(segment) if corrupt else segment):
            wire.send(packet)

    head = second[:half] if how in ("body", "head") else b""
    if head:
        client.send(head)
        client.pump(0.25, lambda: client.acked == client.seq - client.first)
        first, second = first[half:], second[half:]
    if how == "body":
        first = first[:-10]
    if how == "early":
        first, second = (with_image(b"x" * 400 + image) for image in
                         (b"x" * 200, b'"],"model":"blocked","y":["'.ljust(200, b"x")))
        half = first.index(b"x" * 400)
        client.send(first[:half + 200])
        put(PSH | ACK, first[half + 400:half + 600], corrupt=True, after=200)
        client.send(first[half + 200:half + 400])
        second = second[half + 400:]
    elif how == "timestamp":
        fresh = client.options
        client.options = lambda flags: fresh(flags)[:4] + struct.pack("!I", 1) + fresh(flags)[8:]
        put(PSH | ACK, first)
        client.options = fresh
    elif how == "fin":
        put(FIN | ACK, corrupt=True)
    elif how == "acknowledgement":
        put(PSH | ACK, first, ack=client.next + 1000000)
    elif how == "no-acknowledgement":
        put(PSH, first)
    else:
        put(PSH | ACK, first, corrupt=how != "retransmission")
    for _ in range(20):  # retransmits until the answer, as TCP does: what is not acknowledged
        lacks = min(len(head), client.seq - client.first - client.acked)
        put(PSH | ACK, head[len(head) - lacks:] + second, after=-lacks)
        if client.pump(0.25, lambda: client.fin or client.rst or b"}" in client.got):
            break
    client.seq += len(second)
    print(json.dumps({"status": client.got[9:12].decode(), "rst": client.rst,
                      "model": b'"blocked"' in client.got}))
    if not client.rst:
        client.close()


main()
