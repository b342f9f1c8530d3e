# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sends one request by an unusual path: paths.py HOW HOST FROM MODEL. HOW is

raw, priority, qinq, options, extension, fragments, syn-data    frames of that kind from a packet
socket on c0 extensions-N, extensions-NxBYTES    N extension headers, of BYTES bytes each (default
8) both       the head on c0, the body on c2 tun        a device without a link header: creates tun0
in the server's namespace, then waits for
           SIGUSR1
vlan       two VLAN tags that no kernel here accepts: packet sockets play client and server
mptcp, tfo, options-N    the kernel's TCP: MPTCP, Fast Open, or N bytes of IPv4 options or IPv6
destination options

Prints as JSON the status, the end of the connection, and whether every checksum was right.
"""

import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

from rawtcp import (ACK, FIN, PSH, RST, SYN, Client, Segment, Wire, inside, ip_packets, request,
                    tcp_segment)

S, C = os.environ["SL_SERVER"], os.environ["SL_CLIENT"]


class Tun:
    """A Wire to the IP stack of a namespace."""

    def __init__(self, namespace, name):
        with inside(namespace):
            self.fd = os.open("/dev/net/tun", os.O_RDWR)
            # TUNSETIFF, IFF_TUN|IFF_NO_PI
            fcntl.ioctl(self.fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))

    def send(self, packet):
        os.write(self.fd, packet)

    def receive(self, timeout):
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self.fd], [], [], left)[0]:
                return None
            segment = Segment.parse(os.read(self.fd, 70000))
            if segment:
                return segment


def facts(client):
    got = client.got.decode("latin-1")
    return {"status": got[9:12], "fin": client.fin, "rst": client.rst,
            "sums": all(s.whole or s.partial for s in client.segments),
            "tags": sorted({str(s.tags) for s in client.segments if s.flags & FIN})}


def finish(client):
    client.pump(6, lambda: client.fin or client.rst or b'"choices"' in client.got)
    if not client.rst:
        client.close()
    return facts(client)


def extension(size):
    """A destination options header of `size` bytes without its first byte. Its options are unknown
    ones to skip (RFC 8200 4.2)."""
    out = bytes([size // 8 - 1])
    while len(out) < size - 1:
        n = min(255, size - 1 - len(out) - 2)
        out += bytes([0x1E, n]) + bytes(n)
    return out


CLOSES = "Connection: close\r\n"  # or a refusal keeps the connection


def by_packet_socket(how, host, source, model):
    tags = {"priority": [(0x8100, 0)], "qinq": [(0x88A8, 0), (0x8100, 0)]}
    wire = Wire(C, "c0", os.environ["SL_SERVER_MAC"], tags=tags.get(how, ()))
    number, size = 0, 8
    if how.startswith("extension"):
        number, _, size = how.removeprefix("extension").removeprefix("s-").partition("x")
        number, size = int(number or 1), int(size or 8)
    client = Client(wire, source, host, timestamps=how == "raw",
                    ip_options=bytes.fromhex("94040000") if how == "options" else b"",
                    extension=extension(size), extensions=number)
    message = request(model, 900, extra=CLOSES)
    if how == "syn-data":
        # Data in the SYN, and other data after the handshake. RFC 9293 3.10.7.2 lets a server keep
        # or drop it; Linux drops it.
        syn = tcp_segment(source, host, client.sport, 8000, client.first, 0, SYN, 65535,
                          client.options(SYN), request("open"))
        for packet in ip_packets(source, host, syn):
            wire.send(packet)
        client.pump(2, lambda: client.next is not None)
        client.seq = client.first + 1
        client.emit(ACK)
        client.send(message)
    else:
        client.connect()
        if how == "fragments":
            client.emit(ACK | PSH, payload=message, fragment=400)
            client.seq += len(message)
        elif how == "both":
            other = Wire(C, "c2", os.environ["SL_SERVER_MAC2"])
            client.send(message[:200])
            client.pump(1, lambda: client.acked > 200)
            client.wire, first = other, client.wire
            client.send(message[200:])
            client.wire = first
        else:
            client.send(message)
    return finish(client)


def by_tun(host, source, model):
    tun = Tun(S, "tun0")
    go = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: go.set())
    print("begun", file=sys.stderr, flush=True)
    while not go.wait(0.1):
        pass
    out = {}
    for name in ("open", model):
        client = Client(tun, source, host)
        client.connect()
        client.send(request(name, 900, extra=CLOSES))
        out[name] = finish(client)
    return out


def by_socket(how, host, source, model):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with inside(C):
        sock = socket.socket(family, socket.SOCK_STREAM, 262 if how == "mptcp" else 0)
    # and blocking, for Fast Open's sake
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                    struct.pack("ll", 5, 0))  # stays blocking, as Fast Open needs it
    sock.bind((source, 0))
    if how.startswith("options-"):
        n = int(how[8:])
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, 4, b"\1" * n)  # IP_OPTIONS
        else:  # IPV6_DSTOPTS, with an unknown option to skip
            sock.setsockopt(socket.IPPROTO_IPV6, 59,
                            bytes([0, n // 8 - 1, 0x1E, n - 4]) + bytes(n - 4))
    message = request(model, 900, extra=CLOSES)
    if how == "tfo":
        sock.sendto(message, 0x20000000, (host, 8000))  # MSG_FASTOPEN
    else:
        sock.connect((host, 8000))
        sock.sendall(message)
    got, end = b"", None
    try:
        while b'"choices"' not in got:
            part = sock.recv(65536)
            if not part:
                end = "eof"
                break
            got += part
    except OSError as error:
        end = type(error).__name__
    out = {"status": got.decode("latin-1")[9:12], "end": end}
    if how.startswith("options-"):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        out["sent_again"] = struct.unpack_from("I", info, 100)[0]
    sock.close()
    return out


def by_vlan(host, source, model):
    """Client and server on packet sockets, with the tags 100 and 200. The server's host has s0
    only."""
    tags = [(0x88A8, 100), (0x8100, 200)]
    up = Wire(C, "c0", os.environ["SL_SERVER_MAC"], tags)
    down = Wire(S, "s0", os.environ["SL_CLIENT_MAC"], tags)
    client = Client(up, source, host)
    seen = []
    stop = threading.Event()

    def serve():
        while True:
            s = down.receive(0.1)
            if s is None and stop.is_set():
                return
            if s is None or s.dport != 8000:
                continue
            seen.append(s)
            if s.flags & SYN:
                answer = tcp_segment(host, source, 8000, s.sport, 7000, s.seq + 1, SYN | ACK)
                for packet in ip_packets(host, source, answer):
                    down.send(packet)

    thread = threading.Thread(target=serve)
    thread.start()
    client.connect()
    client.send(request(model, 900, extra=CLOSES))
    out = finish(client)
    stop.set()
    thread.join()
    # The packet socket sees frames before sluice does. The result is the RST that sluice made
    # for the server.
    resets = [s for s in seen if s.flags & RST]
    out["server_rst_at"] = [(s.seq - client.first - 1) & 0xFFFFFFFF for s in resets]
    out["server_tags"] = sorted({str(s.tags) for s in resets})
    return out


def main():
    how, host, source, model = sys.argv[1:5]
    if how == "tun":
        out = by_tun(host, source, model)
    elif how == "vlan":
        out = by_vlan(host, source, model)
    elif how in ("mptcp", "tfo") or how.startswith("options-"):
        out = by_socket(how, host, source, model)
    else:
        out = by_packet_socket(how, host, source, model)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
