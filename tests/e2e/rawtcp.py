# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TCP on packet sockets, for traffic that no kernel sends: overlapping or reordered segments, VLAN
tags, IP options, extension headers, fragments, withheld acknowledgements.

A Client uses an address that its namespace does not have, so that no kernel answers for it. A Wire
is one interface. inside() lets one process use several network namespaces: a socket stays in the
namespace of its creation.
"""

import contextlib
import ctypes
import os
import random
import select
import socket
import struct
import time

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(namespace):
    """Sockets and files that this thread opens within belong to the network namespace."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if LIBC.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        LIBC.setns(here, CLONE_NEWNET)
        os.close(here)
        os.close(there)


def checksum(data):
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def tcp_segment(src, dst, sport, dport, seq, ack, flags, window=65535, options=b"", payload=b""):
    """A TCP segment with its checksum."""
    options += b"\1" * (-len(options) % 4)
    head = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF,
                       (20 + len(options)) << 2, flags, window, 0, 0)
    segment = head + options + payload
    a, b = packed(src), packed(dst)
    pseudo = a + b + (struct.pack("!IHBB", len(segment), 0, 0, 6) if len(a) == 16 else
                      struct.pack("!BBH", 0, 6, len(segment)))
    return segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]


def ip_packets(src, dst, segment, ip_options=b"", extension=b"", extensions=0, fragment=0):
    """IP packets that carry the segment: one, or several fragments of at most `fragment` bytes.
    `extension` is an IPv6 destination options header without its first byte; `extensions` is the
    number of such headers."""
    a, b = packed(src), packed(dst)
    parts = [segment]
    ident = random.getrandbits(16)
    if fragment:
        parts = [segment[i:i + fragment] for i in range(0, len(segment), fragment)]
    out = []
    at = 0
    for i, part in enumerate(parts):
        more = i < len(parts) - 1
        if len(a) == 4:
            head = struct.pack("!BBHHHBBH4s4s", 0x45 + len(ip_options) // 4, 0,
                               20 + len(ip_options) + len(part), ident,
                               (0x2000 if more else 0) | at // 8, 64, 6, 0, a, b)
            head += ip_options
            out.append(head[:10] + struct.pack("!H", checksum(head)) + head[12:] + part)
        else:
            after, kind = part, 6
            if fragment:
                after = struct.pack("!BBHI", kind, 0, at | more, ident) + after
                kind = 44
            for _ in range(extensions):
                after = bytes([kind]) + extension + after
                kind = 60
            out.append(struct.pack("!IHBB16s16s", 6 << 28, len(after), kind, 64, a, b) + after)
        at += len(part)
    return out


class Segment:
    """A received segment. parse() returns None for any other packet."""

    @classmethod
    def parse(cls, packet, tags=(), partial=False):
        self = cls()
        self.tags, self.partial = tags, partial
        if len(packet) < 40:
            return None
        if packet[0] >> 4 == 4:
            if packet[9] != 6:
                return None
            self.src, self.dst = (socket.inet_ntop(socket.AF_INET, packet[i:i + 4])
                                  for i in (12, 16))
            tcp = packet[(packet[0] & 15) * 4:struct.unpack("!H", packet[2:4])[0]]
            pseudo = packet[12:20] + struct.pack("!BBH", 0, 6, len(tcp))
        elif packet[0] >> 4 == 6:
            if packet[6] != 6:
                return None
            self.src, self.dst = (socket.inet_ntop(socket.AF_INET6, packet[i:i + 16])
                                  for i in (8, 24))
            tcp = packet[40:40 + struct.unpack("!H", packet[4:6])[0]]
            pseudo = packet[8:40] + struct.pack("!IHBB", len(tcp), 0, 0, 6)
        else:
            return None
        if len(tcp) < 20:
            return None
        fields = struct.unpack("!HHIIBBH", tcp[:16])
        self.sport, self.dport, self.seq, self.ack, doff, self.flags, self.window = fields
        self.options, self.payload = tcp[20:(doff >> 4) * 4], tcp[(doff >> 4) * 4:]
        self.whole = not partial and checksum(pseudo + tcp) == 0
        self.end = self.seq + len(self.payload) + bool(self.flags & FIN) + bool(self.flags & SYN)
        return self


class Wire:
    """A packet socket on one interface. With `ethernet` False, the interface has no link header."""

    def __init__(self, namespace, interface, to="ff:ff:ff:ff:ff:ff", tags=(), ethernet=True):
        self.to = bytes.fromhex(to.replace(":", ""))
        self.tags, self.ethernet, self.interface = tags, ethernet, interface
        with inside(namespace):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self.sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
            self.sock.bind((interface, 3))
        self.mac = self.sock.getsockname()[4]

    def send(self, packet):
        kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
        if not self.ethernet:
            self.sock.sendto(packet, (self.interface, kind))
            return
        head = self.to + self.mac
        for tpid, vid in self.tags:
            head += struct.pack("!HH", tpid, vid)
        self.sock.send(head + struct.pack("!H", kind) + packet)

    def receive(self, timeout):
        """The next received TCP segment, or None after the timeout."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self.sock], [], [], left)[0]:
                return None
            frame, more, _, address = self.sock.recvmsg(70000, 256)
            if address[2] == PACKET_OUTGOING:
                continue
            tags, partial, at = [], False, 0
            for level, kind, data in more:
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
                    partial = bool(status & 8)
                    if status & 16:
                        tags.append((tpid, tci & 0xFFF))
            if self.ethernet:
                at = 12
                while frame[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
                    tags.append(struct.unpack("!HH", frame[at:at + 4]))
                    at += 4
                at += 2
            segment = Segment.parse(frame[at:], tuple((a, b & 0xFFF) for a, b in tags), partial)
            if segment:
                return segment


class Client:
    """The client of one connection. `seq` is the next sequence number to send, `got` the bytes
    received in order."""

    def __init__(self, wire, src, dst, port=8000, sport=None, timestamps=False, wscale=7,
                 window=65535, mss=1400, ip_options=b"", extension=b"", extensions=0):
        self.wire, self.src, self.dst, self.port = wire, src, dst, port
        self.sport = sport or random.randrange(20000, 30000)
        self.first = self.seq = random.getrandbits(31)
        self.next = None  # the server's next sequence number
        self.acked = 0  # bytes that the server has acknowledged
        self.window, self.timestamps, self.mss, self.wscale = window, timestamps, mss, wscale
        self.ts_recent = 0
        self.how = {"ip_options": ip_options, "extension": extension, "extensions": extensions}
        self.got, self.out_of_order, self.segments = b"", {}, []
        self.fin = self.rst = False
        self.acking = True

    def options(self, flags):
        out = b""
        if flags & SYN:
            out = struct.pack("!BBHBBBB", 2, 4, self.mss, 1, 3, 3, self.wscale)
        if self.timestamps:
            now = time.monotonic_ns() // 1000000 & 0xFFFFFFFF
            out += struct.pack("!BBBBII", 1, 1, 8, 10, now, self.ts_recent)
        return out

    def segment(self, flags, seq, payload=b"", ack=None):
        ack = (self.next or 0) if ack is None else ack
        return tcp_segment(self.src, self.dst, self.sport, self.port, seq,
                           ack if flags & ACK else 0, flags, self.window, self.options(flags),
                           payload)

    def emit(self, flags, seq=None, payload=b"", ack=None, fragment=0):
        segment = self.segment(flags, self.seq if seq is None else seq, payload, ack)
        for packet in ip_packets(self.src, self.dst, segment, fragment=fragment, **self.how):
            self.wire.send(packet)

    def send(self, data, size=None, flags=ACK | PSH):
        """Sends data in order, in segments of at most `size` bytes."""
        size = size or self.mss - 60
        for i in range(0, len(data), size):
            self.emit(flags, payload=data[i:i + size])
            self.seq += len(data[i:i + size])

    def connect(self, timeout=5.0, data=b""):
        """The handshake, with data in its third segment. Returns True if the server answered."""
        deadline = time.monotonic() + timeout
        while self.next is None and time.monotonic() < deadline and not self.rst:
            self.emit(SYN)
            self.pump(0.5, lambda: self.next is not None or self.rst)
        if self.next is None:
            return False
        self.seq = self.first + 1
        if data:
            self.send(data, len(data))
        else:
            self.emit(ACK)
        return True

    def pump(self, timeout, until=lambda: False):
        """Receives segments until the condition holds or the time is up. Acknowledges them if
        `acking`."""
        deadline = time.monotonic() + timeout
        while not until():
            left = deadline - time.monotonic()
            s = self.wire.receive(left) if left > 0 else None
            if s is None:
                return until()
            if (s.src, s.dst, s.sport, s.dport) == (self.dst, self.src, self.port, self.sport):
                self.take(s)
        return True

    def take(self, s):
        self.segments.append(s)
        at = s.options.find(b"\x08\x0a")
        if self.timestamps and at >= 0:
            self.ts_recent = struct.unpack("!I", s.options[at + 2:at + 6])[0]
        if s.flags & RST:
            self.rst = True
            return
        if s.flags & SYN:
            if self.next is None and s.flags & ACK and s.ack == (self.first + 1) & 0xFFFFFFFF:
                self.next = s.seq + 1
            return
        if self.next is None:
            return
        self.acked = max(self.acked, (s.ack - self.first) & 0xFFFFFFFF)
        if s.payload or s.flags & FIN:
            offset = (s.seq - self.next + (1 << 31)) % (1 << 32) - (1 << 31)
            self.out_of_order[offset + self.next] = s
            moved = True
            while moved:
                moved = False
                for seq, held in sorted(self.out_of_order.items()):
                    if seq > self.next:
                        continue
                    del self.out_of_order[seq]
                    new = held.payload[self.next - seq:]
                    end = seq + len(held.payload)
                    if end >= self.next:
                        self.got += new
                        self.next = end
                        if held.flags & FIN and not self.fin:
                            self.fin = True
                            self.next += 1
                        moved = True
            if self.acking:
                self.emit(ACK)

    def close(self):
        """Closes the connection with a FIN, and waits a second for the server's."""
        self.emit(FIN | ACK)
        self.seq += 1
        self.pump(1, lambda: self.fin or self.rst)
        self.emit(ACK)


def request(model, length=0, path="/v1/chat/completions", last=False, extra=""):
    """A whole request. Its body is padded to `length`, with the model at its start or its
    end."""
    name, pad = f'"model":"{model}"', '"prompt":"' + "x" * max(0, length - len(model) - 60) + '"'
    body = "{" + (pad + "," + name if last else name + "," + pad) + ',"max_tokens":2}'
    return (f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()
