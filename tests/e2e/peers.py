# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Clients and servers with socket behaviour that curl and loadgen lack: they stop reading, send
slowly, leave in mid-stream, or report the exact end of a connection. Each prints one JSON object.
peers.py --help lists commands and options.
"""

import argparse
import errno
import http.client
import json
import os
import select
import signal
import socket
import struct
import sys
import time


def connect(args, timeout=20.0):
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    if getattr(args, "rcvbuf", 0):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, args.rcvbuf)
    sock.settimeout(timeout)
    if getattr(args, "bind", None):
        sock.bind((args.bind, 0))
    sock.connect((args.host, args.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def name_of(error):
    return errno.errorcode.get(error.errno, type(error).__name__) if error.errno else (
        "timeout" if isinstance(error, TimeoutError) else type(error).__name__
    )


def body_of(args):
    prompt = "x" * max(0, args.body_bytes - 100)
    return json.dumps(
        {
            "model": args.model,
            "stream": args.stream,
            "max_tokens": args.max_tokens,
            "messages": [{"role": "user", "content": prompt}],
        }
    ).encode()


def request_of(args, length):
    return (
        f"POST {args.path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def ending(sock):
    """Reads to the end. Returns the bytes and the kind of end."""
    got = b""
    try:
        while True:
            part = sock.recv(65536)
            if not part:
                return got, "eof"
            got += part
    except OSError as error:
        return got, name_of(error)


def cmd_http(args):
    """One request through http.client: its answer, and how the connection ends after it, "kept" if
    the answer does not say that it ends."""
    out = {"status": None, "error": None, "end": None}
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    conn = http.client.HTTPConnection(args.host, args.port, timeout=args.timeout)
    try:
        conn.connect()
        sock = conn.sock
        assert sock.family == family
        keep = sock.dup()  # http.client closes its own after `Connection: close`
        conn.request("POST", args.path, body_of(args), {"Content-Type": "application/json"})
        answer = conn.getresponse()
        body = answer.read()
        out["status"] = answer.status
        out["headers"] = {k.lower(): v for k, v in answer.getheaders()}
        out["whole"] = len(body) == int(answer.getheader("Content-Length", -1))
        out["body"] = json.loads(body)
        if out["headers"].get("connection") == "close":
            keep.settimeout(args.timeout)
            rest, out["end"] = ending(keep)
            out["rest"] = len(rest)
        else:
            out["end"] = "kept"
    except (OSError, http.client.HTTPException, ValueError) as error:
        out["error"] = f"{type(error).__name__}: {error}"
    return out


def cmd_until(args):
    """Requests alternately on a kept connection and on new ones, until the file --out exists."""
    out = {"kept": 0, "new": 0, "errors": []}
    kept = http.client.HTTPConnection(args.host, args.port, timeout=args.timeout)
    while not os.path.exists(args.out):
        for how in ("kept", "new"):
            conn = kept
            if how == "new":
                conn = http.client.HTTPConnection(args.host, args.port, timeout=args.timeout)
            try:
                conn.request("POST", args.path, body_of(args))
                answer = conn.getresponse()
                answer.read()
                if answer.status != 200:
                    out["errors"].append(answer.status)
                out[how] += 1
            except (OSError, http.client.HTTPException) as error:
                out["errors"].append(f"{how}: {type(error).__name__}: {error}")
            if how == "new":
                conn.close()
        time.sleep(0.02)
    return out


def cmd_connect(args):
    """connect() alone: its error and its time."""
    begin = time.monotonic()
    try:
        connect(args, args.timeout).close()
        error = None
    except OSError as caught:
        error = name_of(caught)
    return {"error": error, "ms": (time.monotonic() - begin) * 1000}


def cmd_lapse(args):
    """Connects in a loop until a connection succeeds after a refused one. Returns each
    error, and times of the clock."""
    errors, last_refused = [], 0
    while True:
        begin = time.monotonic_ns()
        try:
            connect(args, args.timeout).close()
            errors.append(None)
            if last_refused:
                return {"errors": errors, "last_refused": last_refused,
                        "served_again": time.monotonic_ns()}
        except OSError as caught:
            errors.append(name_of(caught))
            last_refused = begin
        if len(errors) == 1:
            print("begun", flush=True)
        time.sleep(0.02)


def cmd_exact(args):
    """One request. Writes every byte of the answer to --out."""
    sock = connect(args, args.timeout)
    body = body_of(args)
    sock.sendall(request_of(args, len(body)) + body)
    got = b""
    end = "eof"
    try:
        while True:
            part = sock.recv(65536)
            if not part:
                break
            if not got:
                print("begun", file=sys.stderr, flush=True)
            got += part
    except OSError as error:
        end = name_of(error)
    with open(args.out, "wb") as f:
        f.write(got)
    return {"bytes": len(got), "end": end}


def cmd_slow_reader(args):
    """Reads the first bytes of a stream, nothing for --pause seconds, then the rest."""
    sock = connect(args, 30)
    body = body_of(args)
    sock.sendall(request_of(args, len(body)) + body)
    got = sock.recv(1)
    time.sleep(args.pause)
    rest, end = ending_of_stream(sock, got)
    return {"bytes": len(rest), "end": end}


def ending_of_stream(sock, got):
    while not got.endswith(b"0\r\n\r\n"):
        part = sock.recv(65536)
        if not part:
            return got, "eof"
        got = (got + part) if len(got) < 1 << 20 else got[-64:] + part
    return got, "whole"


def cmd_slow_uploader(args):
    """Sends a request in pieces over --pause seconds, then reads the answer. `ms` is the time from
    the last piece to the end."""
    sock = connect(args, 30)
    body = body_of(args)
    message = request_of(args, len(body)) + body
    steps = 10
    for i in range(steps):
        last = time.monotonic()
        sock.sendall(message[len(message) * i // steps : len(message) * (i + 1) // steps])
        if i < steps - 1:
            time.sleep(args.pause / steps)
    got, end = ending_of_stream(sock, b"")
    return {"bytes": len(got), "end": end, "ms": (time.monotonic() - last) * 1000}


def cmd_modes(args):
    """Sends `set mode=enforce` and `set mode=shadow` to the control socket --out, --count times.
    After each answer, sends a request at once on an open connection. Returns the statuses."""
    control = socket.socket(socket.AF_UNIX)
    control.connect(args.out)
    body = body_of(args)
    statuses = {"enforce": [], "shadow": []}
    with control.makefile("rwb") as lines:
        for mode in ("enforce", "shadow") * args.count:
            sock = connect(args)
            lines.write(json.dumps({"cmd": "set", "values": [f"mode={mode}"]}).encode() + b"\n")
            lines.flush()
            assert json.loads(lines.readline())["ok"]
            sock.sendall(request_of(args, len(body)) + body)
            statuses[mode].append(int(sock.recv(65536).split(b" ")[1]))
            sock.close()
    return statuses


def cmd_leave(args):
    """Opens --count streams and waits for their first bytes. After a line on stdin, leaves them as
    --how says."""
    socks = []
    body = body_of(args)
    for _ in range(args.count):
        sock = connect(args)
        sock.sendall(request_of(args, len(body)) + body)
        socks.append(sock)
    for sock in socks:
        sock.recv(1)
    print("begun", file=sys.stderr, flush=True)
    sys.stdin.readline()
    for sock in socks:
        if args.how == "rst":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if args.how == "half":
            sock.shutdown(socket.SHUT_WR)
        elif args.how != "read":
            sock.close()
    ends = []
    if args.how in ("half", "read"):
        ends = [ending(sock)[1] for sock in socks]
    return {"ends": ends}


def cmd_serve(args):
    """A server of a fixed stream: --steps chunks, the first after --first seconds, the others
    --gap seconds apart, the same for every request. Streams wait in their middle while the file
    --hold exists."""
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((args.host, args.port))
    listener.listen(64)
    print("ready", flush=True)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = []
    for i in range(args.steps):
        text = "".join(chr(33 + (i * 7 + n) % 90) for n in range(1 + i * 37 % 400))
        event = ("data: " + json.dumps({"i": i, "choices": [{"delta": {"content": text}}]})
                 + "\n\n").encode()
        pieces.append(b"%x\r\n%s\r\n" % (len(event), event))
    pieces.append(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    live = {}  # socket → [index of the next piece, its time]
    received = {}
    while True:
        deadline = min((x[1] for x in live.values()), default=None)
        wait = None if deadline is None else max(0, deadline - time.monotonic())
        readable, _, _ = select.select([listener, *received], [], [], wait)
        for sock in readable:
            if sock is listener:
                new, _ = listener.accept()
                new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                received[new] = b""
                continue
            try:
                part = sock.recv(65536)
            except OSError:
                part = b""
            if not part:
                received.pop(sock)
                live.pop(sock, None)
                sock.close()
                continue
            received[sock] += part
            at = received[sock].find(b"\r\n\r\n")
            if at >= 0 and sock not in live:
                length = 0
                for line in received[sock][:at].split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                if len(received[sock]) >= at + 4 + length:
                    sock.sendall(head)
                    live[sock] = [0, time.monotonic() + args.first]
        for sock, state in list(live.items()):
            if state[1] > time.monotonic():
                continue
            if args.hold and state[0] == args.steps // 2 and os.path.exists(args.hold):
                state[1] = time.monotonic() + 0.02
                continue
            try:
                sock.sendall(pieces[state[0]])
            except OSError:
                pass
            state[0] += 1
            state[1] += args.gap
            if state[0] == len(pieces):
                live.pop(sock)
                received.pop(sock)
                sock.shutdown(socket.SHUT_WR)
                sock.close()


def cmd_echo(args):
    """A server that echoes every byte."""
    listener = socket.create_server((args.host, args.port),
                                    family=socket.AF_INET6 if ":" in args.host
                                    else socket.AF_INET)
    print("ready", flush=True)
    while True:
        sock, _ = listener.accept()
        while True:
            part = sock.recv(65536)
            if not part:
                break
            sock.sendall(part)
        sock.close()


def cmd_compare_echo(args):
    """Sends --body-bytes, half-closes, and compares the echo."""
    sock = connect(args)
    sent = request_of(args, args.body_bytes) + bytes(i * 131 & 255 for i in range(args.body_bytes))
    got = b""
    at = 0
    while at < len(sent):
        at += sock.send(sent[at : at + 30000])
        while len(got) < at:
            part = sock.recv(65536)
            if not part:
                return {"same": False, "end": "eof early"}
            got += part
    sock.shutdown(socket.SHUT_WR)
    rest, end = ending(sock)
    return {"same": got + rest == sent, "end": end}


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parser = argparse.ArgumentParser(description=__doc__)
    commands = {k[4:].replace("_", "-"): f for k, f in globals().items() if k.startswith("cmd_")}
    parser.add_argument("command", choices=commands)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--model", default="mock")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--max-tokens", type=int, default=8)
    parser.add_argument("--body-bytes", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=20)
    parser.add_argument("--bind")
    parser.add_argument("--rcvbuf", type=int, default=0)
    parser.add_argument("--pause", type=float, default=2)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--how", choices=("rst", "fin", "half", "read"), default="fin")
    parser.add_argument("--out")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--hold")
    parser.add_argument("--first", type=float, default=0)
    parser.add_argument("--gap", type=float, default=0.02)
    args = parser.parse_args()
    print(json.dumps(commands[args.command](args)))


if __name__ == "__main__":
    main()
