# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The scenarios of test_lossy: real TCP at both ends, and a wire (relay.py) that loses, delays,
duplicates and reorders. lossy.py SCENARIO HOST [ARGUMENT…] prints one JSON object.
"""

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time

from rawtcp import FIN, SYN, inside, ip_packets, request, tcp_segment
from relay import Relay

S, C, R = (os.environ[name] for name in ("SL_SERVER", "SL_CLIENT", "SL_RELAY"))
PORT = 8000


def ctl(*words):
    subprocess.run([os.environ["SL_CTL"], "--control", os.environ["SL_CONTROL"], *words],
                   check=True, capture_output=True)


def connect(host, port=PORT):
    with inside(C):
        sock = socket.create_connection((host, port), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(15)
    return sock


def read_all(sock):
    """Reads to the end. Returns the bytes and the kind of end."""
    got = b""
    try:
        while True:
            part = sock.recv(65536)
            if not part:
                return got, "eof"
            got += part
    except OSError as error:
        return got, type(error).__name__


def send_and_read(sock, data):
    """Sends and reads at the same time, as clients do that expect an early answer."""
    got, end = b"", None
    sock.setblocking(False)
    deadline = time.monotonic() + 15
    while end is None:
        r, w, _ = select.select([sock], [sock] if data else [], [],
                                max(0, deadline - time.monotonic()))
        if not r and not w:
            return got, "timeout"
        try:
            if r:
                part = sock.recv(65536)
                got += part
                end = None if part else "eof"
            if w:
                data = data[sock.send(data[:65536]):]
        except BlockingIOError:
            pass
        except OSError as error:
            end = type(error).__name__
    return got, end


def split_answers(got):
    """Returns status and body of each whole response, and whether no byte is left
    over."""
    out = []
    while b"\r\n\r\n" in got:
        head, _, got = got.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        if not lines[0].startswith("HTTP/1.1 "):
            return out, False
        length = 0
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        if len(got) < length:
            return out, False
        out.append((int(lines[0].split()[1]), got[:length]))
        got = got[length:]
    return out, not got


def facts(got, end):
    answers, clean = split_answers(got)
    return {"statuses": [a[0] for a in answers], "clean": clean, "end": end,
            "last": answers[-1][1].decode("latin-1") if answers else ""}


def lost(relay, host, times, size):
    """The wire loses the 429 (the FIN from the server's side) so many times."""
    left = [times]
    fins = []
    sock = connect(host)
    mine = sock.getsockname()[1]

    def rule(s):
        if not s.up and s.flags & FIN and s.dport == mine:
            fins.append(s.seq)
            if left[0]:
                left[0] -= 1
                return []
        return None

    relay.obey(rule)
    out = facts(*send_and_read(sock, request("slow", size)))
    sock.close()
    return {**out, "lost": times - left[0], "same": len(set(fins)) == 1}


def disorder(relay, host, how, size, last, model):
    """Sends a request in reordered, doubled or overlapping segments. Reads a 429 to the
    end of its connection."""
    held = []
    changed = [0]

    def overlap(a, b):
        """A segment of the second half of a and the first half of b."""
        ai, bi = len(a.payload) // 2, (len(b.payload) + 1) // 2
        segment = tcp_segment(a.src, a.dst, a.sport, a.dport, a.seq + ai, b.ack, b.flags, b.window,
                              b.options, a.payload[ai:] + b.payload[:bi])
        return a.frame[:14] + ip_packets(a.src, a.dst, segment)[0]

    def rule(s):
        if not s.up or not s.payload:
            return None
        if how == "doubled":
            changed[0] += 1
            return [s.frame, s.frame]
        if held:
            before = held.pop()
            changed[0] += 1
            if how == "reordered":
                return [s.frame, before.frame]
            if s.seq == before.end and len(s.payload) + len(before.payload) < 2800:
                return [before.frame, overlap(before, s), s.frame]
            return [before.frame, s.frame]
        if len(s.payload) < 500 and how == "reordered" or s.end == last_byte[0]:
            return None  # no segment follows that could be sent first
        held.append(s)
        return []

    last_byte = [None]
    first = [None]

    def watching(s):
        if s.up and s.flags & SYN:
            first[0] = s.seq + 1
            last_byte[0] = s.seq + 1 + len(message)
        return rule(s)

    def flush():
        """Sends a held segment after a while if no other follows, as a real wire would."""
        while not done.wait(0.02):
            with relay.lock:
                if held:
                    s = held.pop()
                    relay.carry(True, s.frame)

    message = request(model, size, last=last)
    done = threading.Event()
    relay.obey(watching)
    threading.Thread(target=flush, daemon=True).start()
    sock = connect(host)
    sock.sendall(message)
    got = b""
    while b"\r\n\r\n" not in got or not split_answers(got)[1]:
        part = sock.recv(65536)
        if not part:
            break
        got += part
    more, end = read_all(sock) if got.startswith(b"HTTP/1.1 429 ") else (b"", "kept")
    done.set()
    sock.close()
    return {**facts(got + more, end), "changed": changed[0]}


def serve_one(listener, first_answer, ready, then=b""):
    """Accepts one connection. Answers its first head, then reads to the end and counts
    the bytes."""
    sock, _ = listener.accept()
    got = b""
    seen = {"bytes": 0, "end": None}
    answered = False
    try:
        while True:
            part = sock.recv(65536)
            if not part:
                seen["end"] = "eof"
                break
            got += part
            if not answered and b"\r\n\r\n" in got:
                answered = True
                sock.sendall(first_answer)
                if then:
                    sock.sendall(then)
                ready.set()
                got = b""
    except OSError as error:
        seen["end"] = type(error).__name__
    seen["bytes"] = len(got)
    sock.close()
    return seen


class InFlight:
    """A server with last bytes that the wire delays, or loses for good, while the next
    request is refused."""

    def __init__(self, relay, host, answer, forever):
        self.relay, self.host, self.forever = relay, host, forever
        self.held, self.released = [], False
        self.sent, self.refused, self.ready = (threading.Event() for _ in range(3))
        self.tail = None
        with inside(S):
            self.listener = socket.create_server((host, PORT), reuse_port=False,
                                                 family=socket.AF_INET6 if ":" in host
                                                 else socket.AF_INET)
        self.seen = {}
        self.thread = threading.Thread(
            target=lambda: self.seen.update(serve_one(self.listener, answer, self.ready)),
            daemon=True)
        self.thread.start()

    def rule(self, s):
        if s.up:
            return None
        if s.flags & FIN:
            self.refused.set()
            if not self.forever:
                out, self.held = [s.frame, *self.held], []
                self.released = True
                return out
            return None
        if self.hold and s.payload and not self.released:
            self.sent.set()
            if not self.forever:
                self.held = [s.frame]
            return []
        return None

    def run(self, sock, message):
        """Sends the refused request while the last bytes of the answer before it are in flight."""
        got, end = send_and_read(sock, message)
        sock.close()
        self.thread.join(5)
        self.listener.close()
        return {**facts(got, end), "server": self.seen}


def in_flight(relay, host, forever):
    """The end of an answer is in flight when the next request of the connection is
    refused."""
    body = b'{"first":"' + b"a" * 3000 + b'"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    head %= len(body)
    case = InFlight(relay, host, head + body, forever)
    seen = [0]
    case.hold = False

    def rule(s):
        if not s.up and s.payload and not s.flags & FIN:
            seen[0] = max(seen[0], s.end)
            case.hold = s.payload.endswith(b'a"}')  # the last piece only
        return case.rule(s)

    relay.obey(rule)
    sock = connect(host)
    sock.sendall(request("kept"))
    assert case.sent.wait(5)
    ctl("block", sock.getsockname()[0], "--model", "kept")
    return case.run(sock, request("kept"))


def interim(relay, host, forever):
    """A 100 Continue is in flight when the body, which did not wait for it, is refused."""
    case = InFlight(relay, host, b"HTTP/1.1 100 Continue\r\n\r\n", forever)
    case.hold = True
    relay.obey(case.rule)
    sock = connect(host)
    head, _, body = request("kept", 2000, extra="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    sock.sendall(head + b"\r\n\r\n")
    assert case.sent.wait(5)
    ctl("block", sock.getsockname()[0], "--model", "kept")
    return case.run(sock, body)


def settle():
    """Waits until both ends have closed: without the relay, no frame passes."""
    show = ["nsenter", f"--net=/run/netns/{S}", "ss", "-Htn", "state", "connected", "exclude",
            "time-wait", f"( sport = :{PORT} )"]
    deadline = time.monotonic() + 3
    while (subprocess.run(show, capture_output=True, check=True).stdout
           and time.monotonic() < deadline):
        time.sleep(0.02)


def main():
    name, host, *rest = sys.argv[1:]
    relay = Relay(R, "c1", "s1")
    if name == "lost":
        out = lost(relay, host, int(rest[0]), int(rest[1]))
    elif name in ("reordered", "doubled", "overlapping"):
        out = disorder(relay, host, name, int(rest[0]), rest[1] == "last",
                       rest[2] if rest[2:] else "open")
    elif name == "in-flight":
        out = in_flight(relay, host, rest[0] == "lost")
    else:
        out = interim(relay, host, rest[0] == "lost")
    relay.obey(None)
    settle()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
