#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How long a long answer holds the daemon's loop. The maps are full: 65,000 clients, half of them
with something in flight, 260,000 handshakes. While one connection asks for a long
answer, another sends a short command again and again. The longest wait of a short command is about
that of the loop's longest turn, and of two connections' turns.

Usage: loop.py [--rounds N]; as root, after `make`. Prints a row for each answer."""
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
CONFIG = ("interfaces: [lo]\nlisten: [8000]\nquotas:\n"
          "  - {client: 10.0.0.0/8, requests: 100/60s, tokens: 20000/60s}\n")
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


def fill_maps():
    now = time.monotonic_ns()
    clients = [address(i) + bytes([128, 0]) + bytes(6) for i in range(65000)]
    size = sizes("client_counts")[1]
    fill("client_counts", clients,
         [struct.pack("=QQQHHHH", 7, 1, now - random.randrange(10**10), 1, 1, 0, 0)
          .ljust(size, b"\0") for _ in clients])
    key, size = sizes("client_in_flight")
    fill("client_in_flight",
         [(c + struct.pack("=I", 1)).ljust(key, b"\0") for c in clients[:32500]],
         [struct.pack("=q", 1).ljust(size, b"\0")] * 32500)
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


def measure(path, name, work, rounds):
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
    print(f"{name:32} {sorted(took)[rounds // 2] * 1e3:9.1f} {size / 1024:9.0f} "
          f"{waits[len(waits) // 2] * 1e3:9.2f} {waits[-1] * 1e3:9.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    subprocess.run(["ip", "netns", "del", SPACE], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["ip", "netns", "add", SPACE], check=True)
    inside = os.open(f"/run/netns/{SPACE}", os.O_RDONLY)
    libc.setns(inside, 0)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="sl-bench-loop.") as directory:
        control = f"{directory}/control.sock"
        config = Path(directory, "sluice.yaml")
        config.write_text(CONFIG)
        daemon = subprocess.Popen([BUILD / "sluiced", "--config", config, "--pin-dir", PIN,
                                   "--control", control, "--metrics", f"127.0.0.1:{METRICS}"],
                                  stdout=subprocess.PIPE)
        try:
            if not daemon.stdout.readline().startswith(b"ready"):
                sys.exit("loop.py: sluiced does not start")
            fill_maps()
            asker = Control(control)
            print(f"{'answer':32} {'took ms':>9} {'KiB':>9} {'median ms':>9} {'longest ms':>9}")
            measure(control, "(none)", lambda: time.sleep(1) or 0, 1)
            for command in ({"cmd": "status"}, {"cmd": "models"}, {"cmd": "clients"},
                            {"cmd": "clients", "by": "tokens"}):
                measure(control, " ".join(command.values()),
                        lambda c=command: len(asker.ask(c)), rounds)
            for page in ("/metrics", "/v1/limits"):
                def get(at=page):
                    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS}{at}") as answer:
                        return len(answer.read())
                measure(control, page, get, rounds)
            config.write_text(CONFIG + "".join(
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
