# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Whether a fleet's store costs requests time: fleet_latency.py [--seconds S] [--rounds N]
One client sends 300 requests a second to a server that answers at once: without a fleet, with one,
and while the store fails in each way. Prints p50 and p99 of TTFT, and how many requests were not
served: medians of the rounds, which take turns."""
import argparse
import json
import shutil
import signal
import statistics
import sys
import tempfile
import threading

from network import BUILD, Network, run

RATE = 300
QUOTA = "requests=1000/1s burst=1000"
PORTS = (6379, 6380)


class Store:
    """A master and its replica, in the servers' namespace."""

    def __init__(self, network):
        self.network, self.children = network, {}
        for port in PORTS:
            self.begin(port)
        self.ask(PORTS[1], "replicaof", "127.0.0.1", str(PORTS[0]))

    def begin(self, port):
        self.children[port] = self.network.start(
            f"redis{port}", lambda: self.ask(port, "ping") == "PONG\n", "redis-server", "--port",
            str(port), "--save", "", "--dir", self.network.dir, "--repl-diskless-sync-delay", "0")

    def ask(self, port, *words):
        return run(*self.network.on(self.network.server, "redis-cli", "-p", str(port), *words),
                   check=False).stdout

    def slow(self, stop):
        """Stands still for 50 ms, again and again."""
        while not stop.wait(0.1):
            self.ask(PORTS[0], "client", "pause", "50")

    def hangs(self, stop):
        self.children[PORTS[0]].send_signal(signal.SIGSTOP)
        stop.wait()
        self.children[PORTS[0]].send_signal(signal.SIGCONT)

    def flushed(self, stop):
        while not stop.wait(0.1):
            self.ask(PORTS[0], "flushall")

    def fails_over(self, stop):
        """The two change their roles every second."""
        master = 0
        while not stop.wait(1):
            self.ask(PORTS[1 - master], "replicaof", "no", "one")
            self.ask(PORTS[master], "replicaof", "127.0.0.1", str(PORTS[1 - master]))
            master = 1 - master
        if master:
            self.ask(PORTS[0], "replicaof", "no", "one")
            self.ask(PORTS[1], "replicaof", "127.0.0.1", str(PORTS[0]))

    def dead(self, stop):
        for port in PORTS:
            self.children[port].kill()
            self.network.children.remove(self.children[port])
            self.children[port].wait()
        stop.wait()
        self.begin(PORTS[0])
        self.begin(PORTS[1])
        self.ask(PORTS[1], "replicaof", "127.0.0.1", str(PORTS[0]))


def measure(network, seconds, fault):
    stop = threading.Event()
    thread = threading.Thread(target=fault or threading.Event.wait, args=(stop,))
    thread.start()
    try:
        report = json.loads(network.run_client(
            f"{BUILD}/loadgen", "--connect", f"{network.address}:8000", "--model", "m", "--plain",
            "--rate", str(RATE), "--uniform", "--duration", str(seconds), "--json").stdout)
    finally:
        stop.set()
        thread.join()
    ttft = report["ttft_ms"]
    return ttft["p50"], ttft["p99"], report["requests"] - report["completed"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="sl-bench-fleet.")
    network = Network(directory, "sl-bench-fleet", "10.216.0")
    network.sweep()
    try:
        network.set_up()
        network.start("mock", lambda: network.listening(8000), f"{BUILD}/mock_server", "--listen",
                      "8000", "--model", "m,prefill-ms=0,token-ms=0,tokens=1,slots=64")
        store = Store(network)
        fleet = ["--fleet", "bench", *[word for port in PORTS
                                       for word in ("--fleet-store", f"127.0.0.1:{port}")]]
        rows = {"no fleet": None, "a fleet": None, "its store is slow": store.slow,
                "… hangs": store.hangs, "… is flushed, 10 times a second": store.flushed,
                "… fails over, each second": store.fails_over, "… is dead": store.dead}
        found = {name: [] for name in rows}
        for _ in range(args.rounds):
            for name, fault in rows.items():
                shared = name != "no fleet"
                daemon = network.start_sluice("8000", "--quota",
                                              QUOTA + (" fleet=on" if shared else ""),
                                              *(fleet if shared else []))
                found[name].append(measure(network, args.seconds, fault))
                network.stop(daemon)
        print("| | TTFT p50 | p99 | not served |\n|---|---|---|---|")
        for name, values in found.items():
            p50, p99, lost = (statistics.median(v) for v in zip(*values))
            print(f"| {name} | {p50:.2f} ms | {p99:.2f} ms | {lost:.0f} |")
    finally:
        network.sweep()
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
