#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What it costs to say 429: sluice under a spent quota, nginx limit_req and HAProxy with a stick table, in turns.

Each stands in the same namespace (sl-bench-s) in front of the same request, and refuses all but the first; wrk asks from
the other (sl-bench-c), by connections that are kept and by a new one for each request ("Connection: close"). A 429 of
sluice ends its connection, since what was refused never reaches the server: its client has to connect anew also where
it would keep the connection, as the others let it. How many connections a refusal took is told (ActiveOpens of
the clients), and where sluice's is compared with kept ones, a whole handshake is in its figure and in none of theirs.

CPU is all that the machine spent (/proc/stat), by the refusals: both ends and the kernel. `server` is the CPU of the
server's processes with their system calls; behind sluice that is nginx accepting connections that are then
reset. What sluice's programs take besides is the kernel's own count, from a run of its own. What else runs on the
machine is in all but that. Rounds are in turns; medians, and the least and most.

    refusals.py [--seconds S] [--rounds N]
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import throughput
from throughput import ADDRESS, BUILD, CLIENT, PINS, PORT, SERVER, cpu_us, on, run

NGINX = """daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log /dev/null crit;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {dir}; proxy_temp_path {dir};
fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
limit_req_zone $binary_remote_addr zone=clients:1m rate=1r/m; limit_req_status 429; limit_req_log_level info;
server {{ listen {port}; location / {{ {limit} root {dir}; try_files /none @said; }}
location @said {{ return 200 'hello'; }} }} }}
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
WRK = """wrk.method = "POST"
wrk.body = [[{body}]]
wrk.headers["Content-Type"] = "application/json"
wrk.path = "/v1/chat/completions"
{close}
"""


def opened():
    """Connections that the clients have begun."""
    lines = [x.split() for x in run(*on(CLIENT, "cat", "/proc/net/snmp")).stdout.splitlines() if x.startswith("Tcp:")]
    return int(lines[1][lines[0].index("ActiveOpens")])


def process_us(pids):
    """User and system time of processes, in us."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1_000_000 // os.sysconf("SC_CLK_TCK")


def family(pid):
    out = run("ps", "-o", "pid=", "--ppid", str(pid), check=False).stdout.split()
    return [pid, *[p for child in out for p in family(int(child))]]


class Refusals(throughput.Bench):
    def configure(self):
        for name, text in (("nginx.conf", NGINX.format(dir=self.dir, port=PORT, limit="limit_req zone=clients;")),
                           ("behind.conf", NGINX.format(dir=self.dir, port=PORT, limit="")),
                           ("haproxy.cfg", HAPROXY.format(port=PORT, deny=DENY)),
                           ("keep.lua", WRK.format(body=json.dumps(throughput.BODY), close="")),
                           ("anew.lua", WRK.format(body=json.dumps(throughput.BODY),
                                                   close='wrk.headers["Connection"] = "close"'))):
            with open(f"{self.dir}/{name}", "w", encoding="ascii") as f:
                f.write(text)

    def begin(self, limiter):
        """Starts a limiter and spends its client's budget."""
        if limiter == "haproxy":
            child = self.spawn("server", "haproxy", "-db", "-f", f"{self.dir}/haproxy.cfg")
        else:
            conf = "behind.conf" if limiter == "sluice" else "nginx.conf"
            child = self.spawn("server", "nginx", "-c", f"{self.dir}/{conf}")
        if limiter == "sluice":
            self.spawn("sluiced", f"{BUILD}/sluiced", "--interface", "b0", "--listen", f"{PORT}=bench", "--quota",
                       "requests=1/1h", "--pin-dir", PINS, "--control", f"{self.dir}/control.sock", "--metrics", "off")
            self.wait_for("ready", "sluiced")
        for _ in range(100):
            said = run(*on(CLIENT, "curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "--json",
                           json.dumps(throughput.BODY), f"http://{ADDRESS}:{PORT}/v1/chat/completions"), check=False).stdout
            if said == "429":
                return child
            time.sleep(0.05)
        sys.exit(f"{limiter} does not refuse: {said} {open(self.dir + '/server.log', encoding='utf-8').read()[-300:]}")

    def wait_for(self, text, name):
        for _ in range(200):
            if text in open(f"{self.dir}/{name}.log", encoding="utf-8").read():
                return
            time.sleep(0.05)
        sys.exit(f"{name} does not start: {open(f'{self.dir}/{name}.log', encoding='utf-8').read()[-500:]}")

    def counters(self, limiter):
        if limiter != "sluice":
            return ""
        status = json.loads(run(f"{BUILD}/sluicectl", "--control", f"{self.dir}/control.sock", "status", "--json").stdout)
        return {**status["requests"], **{k: v for k, v in status["counters"].items() if v},
                **{k: v for k, v in status["maps"].items() if v["full"]}}

    def end(self, limiter):
        if limiter == "sluice":
            self.detach()
        self.stop_serving()

    def ask(self, clients, callers):
        return ["wrk", "-t1", f"-c{callers}", f"-d{self.seconds}s", "-s", f"{self.dir}/{clients}.lua",
                f"http://{ADDRESS}:{PORT}"]

    def measure(self, limiter, clients, callers, child):
        pids = family(child.pid)
        began, cpu, own, conns = time.monotonic(), cpu_us(), process_us(pids), opened()
        out = run(*on(CLIENT, *self.ask(clients, callers))).stdout
        took = time.monotonic() - began
        cpu, own, conns = cpu_us() - cpu, process_us(pids) - own, opened() - conns
        n = int(re.search(r"(\d+) requests in", out)[1])
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", out)))
        if not refused or int(refused[1]) != n:
            sys.exit(f"{limiter}: {n - int(refused[1]) if refused else n} of {n} were not refused: {self.counters(limiter)}")
        return {"rate": n / took, "cpu": cpu / n, "server": own / n, "conns": conns / n, "errors": errors, "n": n}

    def programs_us(self, clients, callers, child):
        """us in sluice's programs by a refusal, with the kernel's two clock reads a run."""
        knob, total = "/proc/sys/kernel/bpf_stats_enabled", 0

        def spent():
            ns = 0
            for pin in sorted(os.listdir(f"{PINS}/links")):
                link = json.loads(run("bpftool", "-j", "link", "show", "pinned", f"{PINS}/links/{pin}").stdout)
                number = (link[0] if isinstance(link, list) else link)["prog_id"]
                ns += json.loads(run("bpftool", "-j", "prog", "show", "id", str(number)).stdout).get("run_time_ns", 0)
            return ns

        with open(knob, encoding="ascii") as f:
            before = f.read()
        try:
            with open(knob, "w", encoding="ascii") as f:
                f.write("1")
            total = spent()
            n = self.measure("sluice", clients, callers, child)["n"]
            total = spent() - total
        finally:
            with open(knob, "w", encoding="ascii") as f:
                f.write(before)
        return total / n / 1000


def main():
    parser = argparse.ArgumentParser(description="refusals a second, and CPU a refusal, beside nginx and HAProxy")
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each")
    parser.add_argument("--callers", type=int, default=16, help="connections at once")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    limiters = ["sluice", "nginx", "haproxy"]
    runs = {(x, c): [] for c in ("keep", "anew") for x in limiters}
    programs = {}
    with tempfile.TemporaryDirectory(prefix="sl-bench.") as directory:
        os.chmod(directory, 0o755)
        bench = Refusals(directory, args.seconds)
        bench.sweep()
        try:
            bench.set_up()
            bench.configure()
            for i in range(args.rounds):
                for limiter in limiters[i % 3:] + limiters[:i % 3]:
                    child = bench.begin(limiter)
                    for clients in ("keep", "anew"):
                        runs[limiter, clients].append(bench.measure(limiter, clients, args.callers, child))
                        if limiter == "sluice" and not i:
                            programs[clients] = bench.programs_us(clients, args.callers, child)
                    bench.end(limiter)
        finally:
            bench.sweep()
    with open("/proc/loadavg", encoding="ascii") as load:
        print(f"refusals, {args.callers} connections of wrk at once, {args.rounds} runs of {args.seconds} s, "
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
    print("in sluice's own programs, us a refusal: " + ", ".join(f"{c} {us:.2f}" for c, us in programs.items()))
    for clients in ("keep", "anew"):
        print(f"$ {' '.join(bench.ask(clients, args.callers)).replace(directory + '/', '')}")


if __name__ == "__main__":
    main()
