#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How long a long answer takes and holds the daemon's loop. The daemon knows 1,000 models and
100,000 clients, 32,500 of them with something in flight, and 260,000 handshakes. While one
connection asks for a long answer, another sends a short command again and again. The longest wait
of a short command is about that of the loop's longest turn, and of two connections' turns.

Usage: loop.py [--rounds N] [--clients N] [--models N]; as root, after `make`. Prints a row for each
answer. `ratio` is its time over that of the same daemon before it knew a client. A page walks the
clients at most every five seconds, /v1/limits every second: `first` waits for a walk."""
import argparse
import ctypes
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

BUILD = Path(os.environ.get("SLUICE_BUILD", Path(__file__).resolve().parents[2] / "build"))
PIN = "/sys/fs/bpf/sl-bench-loop"
SPACE = "sl-bench-loop"
METRICS = 9464
BPF_OBJ_GET, BPF_MAP_UPDATE_BATCH = 7, 26
SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
IN_FLIGHT = 32500
PAGES = ("/", "/v1/history", "/metrics", "/v1/limits")
CONFIG = ("interfaces: [lo]\nlisten: [8000]\nmax-clients: {clients}\nttft-threshold-ms: 1000\n"
          "models: [{models}]\nquotas:\n"
          "  - {{client: 10.0.0.0/8, requests: 100/60s, tokens: 20000/60s}}\n")
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    ret = libc.syscall(SYS_BPF, command, ctypes.byref(attr), len(attr))
    if ret < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return ret


def fill(name, keys, values):
    path = ctypes.create_string_buffer(f"{PIN}/{name}".encode())
    attr = struct.pack("=QII", ctypes.addressof(path), 0, 0)
    fd = bpf(BPF_OBJ_GET, ctypes.create_string_buffer(attr, len(attr)))
    key_bytes = ctypes.create_string_buffer(b"".join(keys))
    value_bytes = ctypes.create_string_buffer(b"".join(values))
    attr = struct.pack("=QQQQIIQQ", 0, 0, ctypes.addressof(key_bytes),
                       ctypes.addressof(value_bytes), len(keys), fd, 0, 0)
    bpf(BPF_MAP_UPDATE_BATCH, ctypes.create_string_buffer(attr, len(attr)))
    os.close(fd)


def address(i):
    return bytes(10) + b"\xff\xff" + struct.pack(">I", 0x0A000000 + i)


def sizes(name):
    info = json.loads(subprocess.check_output(["bpftool", "-j", "map", "show", "pinned",
                                               f"{PIN}/{name}"]))
    return info["bytes_key"], info["bytes_value"]


def fill_maps(count):
    now = time.monotonic_ns()
    clients = [address(i) + bytes([128, 0]) + bytes(6) for i in range(count)]
    size = sizes("client_counts")[1]
    fill("client_counts", clients,
         [struct.pack("=QQQHHHH", 7, 1, now - random.randrange(10**10), 1, 1, 0, 0)
          .ljust(size, b"\0") for _ in clients])
    key, size = sizes("client_in_flight")
    fill("client_in_flight",
         [(c + struct.pack("=I", 1)).ljust(key, b"\0") for c in clients[:IN_FLIGHT]],
         [struct.pack("=q", 1).ljust(size, b"\0")] * min(IN_FLIGHT, count))
    key, size = sizes("half_open")
    fill("half_open", [os.urandom(key) for _ in range(260000)], [bytes(size)] * 260000)


class Control:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def ask(self, command):
        self.socket.sendall(json.dumps(command).encode() + b"\n")
        return self.file.readline()


def longest_wait(path, stop, out):
    probe = Control(path)
    while not stop.is_set():
        begin = time.monotonic()
        probe.ask({"cmd": "none"})
        out.append(time.monotonic() - begin)


def measure(path, name, work, rounds, before=0):
    """Prints a row. Returns the median, in seconds; `before`: that of an earlier row."""
    waits, stop, took, size = [], threading.Event(), [], 0
    probe = threading.Thread(target=longest_wait, args=(path, stop, waits))
    probe.start()
    for _ in range(rounds):
        begin = time.monotonic()
        size = work()
        took.append(time.monotonic() - begin)
    stop.set()
    probe.join()
    waits.sort()
    median = sorted(took)[rounds // 2]
    ratio = f"{median / before:.1f}" if before else "-"
    print(f"{name:32} {median * 1e3:9.1f} {size / 1024:9.0f} "
          f"{waits[len(waits) // 2] * 1e3:9.2f} {waits[-1] * 1e3:9.1f} {ratio:>9}", flush=True)
    return median


def get(page):
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS}{page}") as answer:
        return len(answer.read())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=100000)
    parser.add_argument("--models", type=int, default=1000)
    args = parser.parse_args()
    rounds = args.rounds
    text = CONFIG.format(clients=max(65536, args.clients + args.clients // 4),
                         models=", ".join(f"{{name: model-{i}, ttft-threshold-ms: {500 + i}}}"
                                          for i in range(args.models)))
    subprocess.run(["ip", "netns", "del", SPACE], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["ip", "netns", "add", SPACE], check=True)
    inside = os.open(f"/run/netns/{SPACE}", os.O_RDONLY)
    libc.setns(inside, 0)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="sl-bench-loop.") as directory:
        control = f"{directory}/control.sock"
        config = Path(directory, "sluice.yaml")
        config.write_text(text)
        daemon = subprocess.Popen([BUILD / "sluiced", "--config", config, "--pin-dir", PIN,
                                   "--control", control, "--metrics", f"127.0.0.1:{METRICS}"],
                                  stdout=subprocess.PIPE)
        try:
            if not daemon.stdout.readline().startswith(b"ready"):
                sys.exit("loop.py: sluiced does not start")
            asker = Control(control)
            commands = ({"cmd": "status"}, {"cmd": "models"}, {"cmd": "clients"},
                        {"cmd": "clients", "by": "tokens"})
            print(f"{'answer':32} {'took ms':>9} {'KiB':>9} {'median ms':>9} {'longest ms':>9} "
                  f"{'ratio':>9}")
            measure(control, "(none)", lambda: time.sleep(1) or 0, 1)
            print("before any client:")
            before = {str(c): measure(control, " ".join(c.values()),
                                      lambda c=c: len(asker.ask(c)), rounds) for c in commands}
            before |= {p: measure(control, p, lambda p=p: get(p), rounds) for p in PAGES}
            fill_maps(args.clients)
            time.sleep(5)  # the lists of the pages are as old as they may be
            print(f"{args.clients} clients:")
            for page in ("/", "/v1/limits"):
                measure(control, f"{page}, first", lambda p=page: get(p), 1, before[page])
            for page in PAGES:
                measure(control, page, lambda p=page: get(p), rounds, before[page])
            for command in commands:
                measure(control, " ".join(command.values()), lambda c=command: len(asker.ask(c)),
                        rounds, before[str(command)])
            config.write_text(text + "".join(
                f"  - {{client: 10.{i >> 8}.{i & 255}.0/24, requests: 5/60s}}\n"
                for i in range(20000)))
            measure(control, "reload of 20,000 quotas", lambda: len(asker.ask({"cmd": "reload"})),
                    rounds)
        finally:
            if daemon.poll() is None:
                Control(control).ask({"cmd": "detach"})
            daemon.wait(60)
            subprocess.run(["ip", "netns", "del", SPACE], check=False)


main()
