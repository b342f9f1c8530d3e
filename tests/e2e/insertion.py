# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Segments that the server's TCP does not take, and others in their place: insertion.py HOW HOST SOURCE.

HOW is what is wrong with the first ones, which ask for the model open (or are a FIN): checksum, acknowledgement (of what
was never sent), no-acknowledgement (flag), timestamp (an old one), fin (by its checksum). In their place comes a request for
the model blocked. body, head: so by its checksum is only a part of a request, of its body or from within its head on.
again: nothing is wrong, and the same, for the model open, comes twice. Prints how the request was answered.
"""

import json
import os
import struct
import sys

from rawtcp import ACK, FIN, PSH, Client, Wire, ip_packets, request


def spoilt(segment):
    return segment[:16] + bytes([segment[16] ^ 0x55]) + segment[17:]


def main():
    how, host, source = sys.argv[1:4]
    wire = Wire(os.environ["SL_CLIENT"], "c0", os.environ["SL_SERVER_MAC"])
    client = Client(wire, source, host, timestamps=how == "timestamp")
    client.connect()
    first, second = request("open", 900), request("open" if how == "again" else "blocked", 900)
    assert len(first) == len(second)
    half = first.index(b"Content-Length") if how == "head" else first.index(b"\r\n\r\n") + 4

    def put(flags, payload=b"", ack=None, spoil=False):
        segment = client.segment(flags, client.seq, payload, ack)
        for packet in ip_packets(source, host, spoilt(segment) if spoil else segment):
            wire.send(packet)

    if how in ("body", "head"):
        client.send(second[:half])
        first, second = first[half:], second[half:]
    if how == "body":
        first = first[:-10]
    if how == "timestamp":
        fresh = client.options
        client.options = lambda flags: fresh(flags)[:4] + struct.pack("!I", 1) + fresh(flags)[8:]
        put(PSH | ACK, first)
        client.options = fresh
    elif how == "fin":
        put(FIN | ACK, spoil=True)
    elif how == "acknowledgement":
        put(PSH | ACK, first, ack=client.next + 1000000)
    elif how == "no-acknowledgement":
        put(PSH, first)
    else:
        put(PSH | ACK, first, spoil=how != "again")
    for _ in range(20):  # until it is answered, as TCP does
        put(PSH | ACK, second)
        if client.pump(0.25, lambda: client.fin or client.rst or b"}" in client.got):
            break
    client.seq += len(second)
    print(json.dumps({"status": client.got[9:12].decode(), "rst": client.rst, "model": b'"blocked"' in client.got}))
    if not client.rst:
        client.close()


main()
