# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a fleet costs: fleet.py [--seconds S] [--clients N[/EVERY][,N[/EVERY]…]]
Runs bench_fleet before a redis-server of its own, on a Unix socket. Each of N clients uses one unit
in EVERY seconds (1). A row lasts for S seconds, and for EVERY at least. It has the budgets that
reach the store a second, the CPU of store and daemon, the store's memory at its most, and how many
keys it has at the end, and after the clients' quotas are full again."""
import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time


def cpu(pid):
    fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(path, *words):
    return subprocess.run(["redis-cli", "-s", path, *words], capture_output=True, text=True,
                          check=True).stdout


def info(path, name):
    for line in ask(path, "info").splitlines():
        if line.startswith(name + ":"):
            return int(line.split(":")[1])
    return 0


def budgets(path):
    """Keys, less the fleet's own five."""
    return max(0, int(ask(path, "dbsize")) - 5)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", default="1000,100000,1000000,1000000/60")
    args = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="sl-bench-fleet.")
    path = os.path.join(directory, "store.sock")
    print("| clients, a unit each | budgets/s | calls/s | store's CPU | daemon's CPU "
          "| store's memory | keys, and later |\n|---|---|---|---|---|---|---|")
    try:
        for row in args.clients.split(","):
            clients, every = (row + "/1").split("/")[:2]
            seconds, later = max(args.seconds, float(every)), 20 + 2 * int(every)
            store = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save",
                                      "", "--dir", directory], stdout=subprocess.DEVNULL)
            try:
                while subprocess.run(["redis-cli", "-s", path, "ping"], capture_output=True,
                                     check=False).stdout != b"PONG\n":
                    time.sleep(0.05)
                before, empty = cpu(store.pid), info(path, "used_memory")
                bench = subprocess.run(["build/bench_fleet", path, clients, str(seconds), every],
                                       capture_output=True, text=True, check=True)
                result = json.loads(bench.stdout)
                used = (cpu(store.pid) - before) / result["seconds"]
                keys, memory = budgets(path), info(path, "used_memory_peak") - empty
                time.sleep(later)
                print(f"| {int(clients):,} in {every} s | {result['budgets_a_second']:,.0f} "
                      f"| {result['calls_a_second']:,.0f} | {100 * used:.0f} % "
                      f"| {100 * result['daemon_cpu']:.0f} % | {memory / 2**20:.1f} MiB "
                      f"| {keys:,}; after {later} s: {budgets(path):,} |", flush=True)
            finally:
                store.terminate()
                store.wait()
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
