#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Compares the cost of a 429: sluice with a spent quota, nginx limit_req, and HAProxy with a stick
table.

Each limiter runs in the same namespace (sl-bench-s) and refuses all requests but the first. wrk
sends from sl-bench-c, on kept connections and on a new one for each request ("Connection: close").
sluice keeps connections (`keep: on`), but closes one when its server was not heard for two seconds.
The table shows the connections for each refusal (ActiveOpens of the clients).

CPU is the time that the whole machine spent (/proc/stat), divided by the refusals: both ends and
the kernel. `server` is the CPU time of the server's processes with their system calls. For sluice,
that is an nginx which accepts connections and sees them reset. The time of sluice's programs is the
kernel's own count, from a separate run. Other work on the machine is part of every other figure.
The limiters alternate. The figures are medians, with least and most.

    refusals.py [--seconds S] [--rounds N] [--callers C] [--threads T]
"""

import argparse
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import time

from network import Network, count_run_time, family, machine_ticks, process_us, ticks_us
from throughput import BODY, PORT

NGINX = """daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log /dev/null crit;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000;
client_body_temp_path {dir}; proxy_temp_path {dir};
fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
limit_req_zone $binary_remote_addr zone=clients:1m rate=1r/m; limit_req_status 429;
limit_req_log_level info;
server {{ listen {port}; location / {{ {limit} root {dir}; try_files /none @hello; }}
location @hello {{ return 200 'hello'; }} }} }}
"""
HAPROXY = """global
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend api
  bind *:{port}
  stick-table type ip size 100k expire 1h store http_req_rate(1h)
  http-request track-sc0 src
  {deny} if {{ sc_http_req_rate(0) gt 1 }}
  http-request return status 200 content-type text/plain string hello
"""
DENY = "http-request deny deny_status 429"
SLUICE = """services:
  - listen: {port}=bench
    keep: on
    quota: requests=1/1h
"""
WRK = """wrk.method = "POST"
wrk.body = [[{body}]]
wrk.headers["Content-Type"] = "application/json"
wrk.path = "/v1/chat/completions"
{close}
"""


class Refusals(Network):
    def __init__(self, directory, seconds, threads):
        super().__init__(directory, "sl-bench", "10.78.0")
        self.seconds, self.threads = seconds, threads
        self.sluiced = None

    def opened(self):
        """Connections that the clients have opened."""
        lines = [x.split() for x in self.run_client("cat", "/proc/net/snmp").stdout.splitlines()
                 if x.startswith("Tcp:")]
        return int(lines[1][lines[0].index("ActiveOpens")])

    def configure(self):
        for name, text in (("nginx.conf",
                            NGINX.format(dir=self.dir, port=PORT, limit="limit_req zone=clients;")),
                           ("upstream.conf", NGINX.format(dir=self.dir, port=PORT, limit="")),
                           ("sluice.yaml", SLUICE.format(port=PORT)),
                           ("haproxy.cfg", HAPROXY.format(port=PORT, deny=DENY)),
                           ("keep.lua", WRK.format(body=json.dumps(BODY), close="")),
                           ("anew.lua", WRK.format(body=json.dumps(BODY),
                                                   close='wrk.headers["Connection"] = "close"'))):
            with open(f"{self.dir}/{name}", "w", encoding="ascii") as f:
                f.write(text)

    def begin(self, limiter):
        """Starts a limiter and spends the client's budget."""
        if limiter == "haproxy":
            command = ["haproxy", "-db", "-f", f"{self.dir}/haproxy.cfg"]
        else:
            command = ["nginx", "-c",
                       f"{self.dir}/{'upstream' if limiter == 'sluice' else 'nginx'}.conf"]
        child = self.start("server", lambda: self.listening(PORT), *command)
        if limiter == "sluice":
            self.sluiced = self.start_sluice(None, "--config", f"{self.dir}/sluice.yaml")
        for _ in range(100):
            status = self.run_client("curl", "-sS", "-m", "5", "-o", "/dev/null", "-w",
                                     "%{http_code}",
                            "--json",
                                     json.dumps(BODY),
                                     f"http://{self.address}:{PORT}/v1/chat/completions",
                                     check=False).stdout
            if status == "429":
                return child
            time.sleep(0.05)
        sys.exit(f"{limiter} does not refuse: {status} {self.log('server')[-300:]}")

    def counters(self, limiter):
        if limiter != "sluice":
            return ""
        status = json.loads(self.sluicectl("status", "--json"))
        return {**status["requests"], **{k: v for k, v in status["counters"].items() if v},
                **{k: v for k, v in status["maps"].items() if v["full"]}}

    def end(self, limiter, child):
        if limiter == "sluice":
            self.stop_sluice(self.sluiced)
        self.stop(child)

    def command(self, clients, callers):
        return ["wrk", f"-t{self.threads}", f"-c{callers}", f"-d{self.seconds}s", "-s",
                f"{self.dir}/{clients}.lua", f"http://{self.address}:{PORT}"]

    def measure(self, limiter, clients, callers, child):
        pids = family(child.pid)
        began, busy = time.monotonic(), machine_ticks()[0]
        own, conns = process_us(pids), self.opened()
        out = self.run_client(*self.command(clients, callers)).stdout
        took, cpu = time.monotonic() - began, ticks_us(machine_ticks()[0] - busy)
        own, conns = process_us(pids) - own, self.opened() - conns
        n = int(re.search(r"(\d+) requests in", out)[1])
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", out)))
        if not refused or int(refused[1]) != n:
            served = n - int(refused[1]) if refused else n
            sys.exit(f"{limiter}: {served} of {n} were not refused: {self.counters(limiter)}")
        return {"rate": n / took, "cpu": cpu / n, "server": own / n, "conns": conns / n,
                "errors": errors, "n": n}

    def programs_us(self, clients, callers, child):
        """Time in sluice's programs for each refusal, in us, with the kernel's two clock reads for
        each run."""
        counting = count_run_time()
        before = sum(ns for ns, _ in self.programs().values())
        n = self.measure("sluice", clients, callers, child)["n"]
        if counting is not None:
            os.close(counting)
        return (sum(ns for ns, _ in self.programs().values()) - before) / n / 1000


def main():
    parser = argparse.ArgumentParser(
        description="refusals per second and CPU per refusal, compared with nginx and HAProxy")
    parser.add_argument("--seconds", type=int, default=3, help="length of each run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each limiter")
    parser.add_argument("--callers", type=int, default=16, help="concurrent connections")
    parser.add_argument("--threads", type=int, default=1, help="of wrk")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    limiters = ["sluice", "nginx", "haproxy"]
    runs = {(x, c): [] for c in ("keep", "anew") for x in limiters}
    programs = {}
    with tempfile.TemporaryDirectory(prefix="sl-bench.") as directory:
        os.chmod(directory, 0o755)
        bench = Refusals(directory, args.seconds, args.threads)
        bench.sweep()
        try:
            bench.set_up()
            bench.configure()
            for i in range(args.rounds):
                for limiter in limiters[i % 3:] + limiters[:i % 3]:
                    child = bench.begin(limiter)
                    for clients in ("keep", "anew"):
                        run = bench.measure(limiter, clients, args.callers, child)
                        runs[limiter, clients].append(run)
                        if limiter == "sluice" and not i:
                            programs[clients] = bench.programs_us(clients, args.callers, child)
                    bench.end(limiter, child)
        finally:
            bench.sweep()
    with open("/proc/loadavg", encoding="ascii") as load:
        print(f"refusals, {args.callers} connections and {args.threads} threads of wrk, "
              f"{args.rounds} runs of {args.seconds} s, "
              f"load {load.read().split()[0]}")
    print(f"{'clients':8} {'':8} {'429s/s':>8} {'(least, most)':>18}  {'CPU us each':>11} {'(least, most)':>16}  "
          f"{'server us':>9}  {'connections each':>16}  errors")
    for (limiter, clients), rows in runs.items():
        def middle(what):
            return statistics.median(r[what] for r in rows)

        rates, cpus = sorted(r["rate"] for r in rows), sorted(r["cpu"] for r in rows)
        print(f"{clients:8} {limiter:8} {middle('rate'):8.0f} {f'({rates[0]:.0f}, {rates[-1]:.0f})':>18}  "
              f"{middle('cpu'):11.1f} {f'({cpus[0]:.1f}, {cpus[-1]:.1f})':>16}  {middle('server'):9.2f}  "
              f"{middle('conns'):16.2f}  {sum(r['errors'] for r in rows)}")
    print("in sluice's programs, us per refusal: "
          + ", ".join(f"{c} {us:.2f}" for c, us in programs.items()))
    for clients in ("keep", "anew"):
        print(f"$ {' '.join(bench.command(clients, args.callers)).replace(directory + '/', '')}")


if __name__ == "__main__":
    main()
