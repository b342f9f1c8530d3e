#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Keep-alive throughput with sluice attached and enforcing (thresholds that nothing reaches) and without it, side by side.

Server and clients are in two network namespaces (sl-bench-s, sl-bench-c) joined by a veth pair. Rounds alternate: bare and
attached, the first of the pair changing places, so that a machine that drifts drifts under both; the ratio is taken
pair by pair and its median told. One more run, with the kernel's own count of the time in our programs, says what they
take of each request; that figure stands also where a machine is not quiet. CPU is all that the machine spent (/proc/stat), both ends and the kernel, by the
requests answered: what else runs at the time is in it, so run this on a quiet machine.

    throughput.py [--seconds S] [--rounds N] [CASE…]
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

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
SERVER, CLIENT = "sl-bench-s", "sl-bench-c"
ADDRESS, PORT = "10.78.0.1", 8000
PINS = "/sys/fs/bpf/sl-bench"

BODY = {"model": "bench", "messages": [{"role": "user", "content": ""}], "max_tokens": 1}
BODY["messages"][0]["content"] = "x" * (500 - len(json.dumps(BODY)))

NGINX = """daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.log crit;
events {{ worker_connections 256; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {dir}; proxy_temp_path {dir};
fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
server {{ listen {port}; location / {{ return 200 '{{"choices":[{{"message":{{"content":"hello"}}}}]}}'; }} }} }}
"""
WRK = """wrk.method = "POST"
wrk.body = [[{body}]]
wrk.headers["Content-Type"] = "application/json"
wrk.path = "/v1/chat/completions"
"""


def on(namespace, *command):
    return ["nsenter", f"--net=/run/netns/{namespace}", *command]


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)


def cpu_us():
    """Busy microseconds of all CPUs since the start: all but idle and waiting for disks."""
    with open("/proc/stat", encoding="ascii") as stat:
        t = [int(x) for x in stat.readline().split()[1:9]]
    return (sum(t) - t[3] - t[4]) * 1_000_000 // os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, directory, seconds):
        self.dir = directory
        self.seconds = seconds
        self.daemon = None
        self.children = []

    def sweep(self):
        for child in self.children:
            child.kill()
            child.wait()
        for namespace in (SERVER, CLIENT):
            if not os.path.exists(f"/run/netns/{namespace}"):
                continue
            for pid in run("ip", "netns", "pids", namespace, check=False).stdout.split():
                run("kill", "-KILL", pid, check=False)
            run("ip", "netns", "del", namespace, check=False)
        if os.path.isdir(PINS):
            run(f"{BUILD}/sluicectl", "--control", f"{self.dir}/none", "detach", "--pin-dir", PINS, check=False)

    def set_up(self):
        for namespace in (SERVER, CLIENT):
            run("ip", "netns", "add", namespace)
            run(*on(namespace, "ip", "link", "set", "lo", "up"))
        run("ip", "link", "add", "b0", "netns", SERVER, "type", "veth", "peer", "name", "b0", "netns", CLIENT)
        for namespace, address in ((SERVER, ADDRESS), (CLIENT, "10.78.0.2")):
            run(*on(namespace, "ip", "addr", "add", f"{address}/24", "dev", "b0"))
            run(*on(namespace, "ip", "link", "set", "b0", "up"))
        with open(f"{self.dir}/post.lua", "w", encoding="ascii") as lua:
            lua.write(WRK.format(body=json.dumps(BODY)))
        with open(f"{self.dir}/nginx.conf", "w", encoding="ascii") as conf:
            conf.write(NGINX.format(dir=self.dir, port=PORT))

    def spawn(self, name, *command):
        with open(f"{self.dir}/{name}.log", "w", encoding="utf-8") as log:
            child = subprocess.Popen(on(SERVER, *command), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.children.append(child)
        return child

    def serve(self, server):
        if server == "nginx":
            self.spawn("server", "nginx", "-c", f"{self.dir}/nginx.conf")
        elif server == "uvicorn":
            self.spawn("server", "/usr/bin/python3", "-m", "uvicorn", "--app-dir", f"{ROOT}/tests/bench", "app:app",
                       "--host", "0.0.0.0", "--port", str(PORT), "--log-level", "warning", "--no-access-log")
        else:
            self.spawn("server", f"{BUILD}/mock_server", "--listen", str(PORT), "--model", MOCKS[server])
        for _ in range(100):
            probe = f"exec 3<>/dev/tcp/{ADDRESS}/{PORT}"
            if subprocess.run(on(CLIENT, "bash", "-c", probe), stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return
            time.sleep(0.1)
        sys.exit(f"{server} does not answer: {open(self.dir + '/server.log', encoding='utf-8').read()[-500:]}")

    def stop_serving(self):
        child = self.children.pop()
        child.terminate()
        child.wait()

    def attach(self):
        child = self.spawn("sluiced", f"{BUILD}/sluiced", "--interface", "b0", "--listen", f"{PORT}=bench",
                           "--ttft-threshold-ms", "600000", "--itl-threshold-ms", "600000", "--pin-dir", PINS,
                           "--control", f"{self.dir}/control.sock", "--metrics", "off")
        for _ in range(200):
            if "ready" in open(f"{self.dir}/sluiced.log", encoding="utf-8").read():
                return
            if child.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit(f"sluiced does not start: {open(self.dir + '/sluiced.log', encoding='utf-8').read()[-500:]}")

    def detach(self):
        run(f"{BUILD}/sluicectl", "--control", f"{self.dir}/control.sock", "detach")
        child = self.children.pop()
        child.wait(20)

    def admitted(self):
        status = json.loads(run(f"{BUILD}/sluicectl", "--control", f"{self.dir}/control.sock", "status", "--json").stdout)
        return status["requests"]["admitted"], status["requests"]["rejected"]

    def command(self, case):
        if case["streamed"]:
            return [f"{BUILD}/loadgen", "--connect", f"{ADDRESS}:{PORT}", "--model", "bench", "--stream", "--concurrency",
                    str(case["callers"]), "--duration", str(self.seconds), "--body-bytes", "500", "--max-tokens", "32",
                    "--json"]
        return ["wrk", "-t1", f"-c{case['callers']}", f"-d{self.seconds}s", "--latency", "-s", f"{self.dir}/post.lua",
                f"http://{ADDRESS}:{PORT}"]

    def load(self, case):
        """One run: requests a second, p50 and p99 in ms, CPU in us a request."""
        began, cpu = time.monotonic(), cpu_us()
        out = run(*on(CLIENT, *self.command(case))).stdout
        cpu, took = cpu_us() - cpu, time.monotonic() - began
        if case["streamed"]:
            r = json.loads(out)
            n, bad = r["outcomes"]["ok"], r["sent"] - r["outcomes"]["ok"]
            rate, p50, p99 = n / took, r["total_ms"]["p50"], r["total_ms"]["p99"]
        else:
            n = int(re.search(r"(\d+) requests in", out)[1])
            bad = sum(map(int, re.findall(r"(?:Non-2xx or 3xx responses: |connect |read |write |timeout )(\d+)", out)))
            rate = float(re.search(r"Requests/sec: *([\d.]+)", out)[1])
            p50, p99 = (ms(re.search(rf"{p}% +(\S+)", out)[1]) for p in (50, 99))
        if bad:
            sys.exit(f"{case['name']}: {bad} requests failed: {out[-400:]}")
        return {"n": n, "rate": rate, "p50": p50, "p99": p99, "cpu": cpu / n}

    def programs(self, case):
        """By program: runs a request and ns a run, in a run of its own; the kernel's two clock reads are in it."""
        knob = "/proc/sys/kernel/bpf_stats_enabled"
        ids, said = {}, []
        for pin in sorted(os.listdir(f"{PINS}/links")) if os.path.isdir(f"{PINS}/links") else ():
            link = json.loads(run("bpftool", "-j", "link", "show", "pinned", f"{PINS}/links/{pin}").stdout)
            ids[pin.split("_")[-1]] = (link[0] if isinstance(link, list) else link)["prog_id"]
        with open(knob, encoding="ascii") as f:
            before = f.read()
        try:
            with open(knob, "w", encoding="ascii") as f:
                f.write("1")
            n = self.load(case)["n"]
        finally:
            with open(knob, "w", encoding="ascii") as f:
                f.write(before)
        total = 0
        for name, number in ids.items():
            info = json.loads(run("bpftool", "-j", "prog", "show", "id", str(number)).stdout)
            ns, runs = info.get("run_time_ns", 0), info.get("run_cnt", 0)
            total += ns
            if runs:
                said.append(f"{name} {runs / n:.1f} x {ns / runs:.0f} ns")
        return f"programs: {total / n / 1000:.2f} us a request ({', '.join(said) or 'no links to ask'})"

    def compare(self, case, rounds):
        pairs = []
        self.serve(case["server"])
        self.load(case)  # warm
        for i in range(rounds):
            pair = {}
            for which in ("bare", "with") if i % 2 else ("with", "bare"):
                if which == "with":
                    self.attach()
                pair[which] = self.load(case)
                if which == "with":
                    admitted, rejected = self.admitted()
                    if rejected or admitted < pair["with"]["n"]:
                        sys.exit(f"{case['name']}: sluice admitted {admitted} of {pair['with']['n']}, rejected {rejected}")
                    self.detach()
            pairs.append(pair)
        self.attach()
        programs = self.programs(case)
        self.detach()
        self.stop_serving()
        return pairs, programs


def ms(text):
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


# As fast as it can, which no model is; and with the slots and the times of a small model on a large machine.
MOCKS = {
    "mock": "bench,slots=256,prefill-ms=0,token-ms=0,tokens=32",
    "llama": "bench,slots=8,prefill-ms=10,token-ms=2,tokens=32",
}

CASES = [
    {"name": "nginx", "server": "nginx", "streamed": False, "callers": 16},
    {"name": "uvicorn", "server": "uvicorn", "streamed": False, "callers": 16},
    {"name": "mock", "server": "mock", "streamed": False, "callers": 16},
    {"name": "uvicorn-stream", "server": "uvicorn", "streamed": True, "callers": 8},
    {"name": "mock-stream", "server": "mock", "streamed": True, "callers": 8},
    {"name": "llama-stream", "server": "llama", "streamed": True, "callers": 8},
]


def main():
    parser = argparse.ArgumentParser(description="throughput with sluice attached and without it")
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs")
    parser.add_argument("--json", action="store_true", help="all runs, as they were")
    parser.add_argument("case", nargs="*", help=", ".join(c["name"] for c in CASES))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    with tempfile.TemporaryDirectory(prefix="sl-bench.") as directory:
        os.chmod(directory, 0o755)
        bench = Bench(directory, args.seconds)
        bench.sweep()
        try:
            bench.set_up()
            print(f"{'':16} {'requests/s':>19} {'p50 ms':>15} {'p99 ms':>15} {'CPU us/request':>17}   ratio by pairs")
            print(f"{'':16} {'bare':>9} {'with':>9} {'bare':>7} {'with':>7} {'bare':>7} {'with':>7} {'bare':>8} {'with':>8}   "
                  f"median (least, most)   added us a request")
            for case in CASES:
                if args.case and case["name"] not in args.case:
                    continue
                pairs, programs = bench.compare(case, args.rounds)

                def middle(which, what):
                    return statistics.median(p[which][what] for p in pairs)

                ratio = sorted(p["with"]["rate"] / p["bare"]["rate"] for p in pairs)
                added = statistics.median(p["with"]["cpu"] - p["bare"]["cpu"] for p in pairs)
                print(f"{case['name']:16} {middle('bare', 'rate'):9.0f} {middle('with', 'rate'):9.0f} "
                      f"{middle('bare', 'p50'):7.3f} {middle('with', 'p50'):7.3f} {middle('bare', 'p99'):7.3f} "
                      f"{middle('with', 'p99'):7.3f} {middle('bare', 'cpu'):8.1f} {middle('with', 'cpu'):8.1f}   "
                      f"{statistics.median(ratio):.3f} ({ratio[0]:.3f}, {ratio[-1]:.3f})   {added:+7.1f}", flush=True)
                print(f"{'':16} $ {' '.join(bench.command(case)).replace(BUILD, 'build').replace(directory + '/', '')}",
                      flush=True)
                print(f"{'':16} {programs}", flush=True)
                if args.json:
                    print(json.dumps({"case": case["name"], "pairs": pairs}), flush=True)
        finally:
            bench.sweep()


if __name__ == "__main__":
    main()
