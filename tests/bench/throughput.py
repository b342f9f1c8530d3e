#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Keep-alive throughput with and without sluice. With it, sluice is attached and
enforces thresholds that nothing reaches.

Server and clients are in two network namespaces (sl-bench-s, sl-bench-c), joined by a veth pair. A
round is a pair of runs, bare and attached; the order alternates, so that drift of the machine
affects both. The ratio is the median of all pairs. Many short pairs give more than few long ones.

The time that sluice adds to a request has two figures. One comes from the requests per second. The
other one comes from the CPU time of the whole machine (/proc/stat), both ends and the kernel,
divided by the answered requests. Other work of the machine is part of it, so run this on an idle
machine. One more run uses the kernel's own count of the time in sluice's programs. That figure
holds on a busy machine, too.

    throughput.py [--seconds S] [--rounds N] [CASE…]
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

from network import BUILD, ROOT, Network, count_run_time, machine_ticks, ticks_us

PORT = 8000

BODY = {"model": "bench", "messages": [{"role": "user", "content": ""}], "max_tokens": 1}
BODY["messages"][0]["content"] = "x" * (500 - len(json.dumps(BODY)))

NGINX = """daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.log crit;
events {{ worker_connections 256; }}
http {{ access_log off; keepalive_requests 100000000;
client_body_temp_path {dir}; proxy_temp_path {dir};
fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
server {{ listen {port};
location / {{ return 200 '{{"choices":[{{"message":{{"content":"hello"}}}}]}}'; }}
# An upload is read to its end, and answered then.
location /v1/audio/ {{ client_max_body_size 32m; client_body_buffer_size 32m;
proxy_pass_request_body off; proxy_set_header Content-Length "";
proxy_pass http://127.0.0.1:{port}/; }} }} }}
"""
WRK = """wrk.method = "POST"
wrk.body = [[{body}]]
wrk.headers["Content-Type"] = "application/json"
wrk.path = "/v1/chat/completions"
"""
UPLOAD = """local b, bytes = "----sluice-bench", {}
math.randomseed(1)
for i = 1, 65536 do bytes[i] = string.char(math.random(0, 255)) end
local part = "--" .. b .. "\\r\\nContent-Disposition: form-data; name="
wrk.method = "POST"
wrk.body = part .. '"file"; filename="a.wav"\\r\\nContent-Type: audio/wav\\r\\n\\r\\n' ..
    string.rep(table.concat(bytes), 400) ..
    "\\r\\n" .. part .. '"model"\\r\\n\\r\\nbench\\r\\n--' .. b .. "--\\r\\n"
wrk.headers["Content-Type"] = "multipart/form-data; boundary=" .. b
wrk.path = "/v1/audio/transcriptions"
"""


class Bench(Network):
    def __init__(self, directory, seconds):
        super().__init__(directory, "sl-bench", "10.78.0")
        self.seconds = seconds

    def configure(self):
        for name, text in (("post.lua", WRK.format(body=json.dumps(BODY))),
                           ("upload.lua", UPLOAD),
                           ("nginx.conf", NGINX.format(dir=self.dir, port=PORT))):
            with open(f"{self.dir}/{name}", "w", encoding="ascii") as f:
                f.write(text)

    def serve(self, server):
        if server == "nginx":
            command = ["nginx", "-c", f"{self.dir}/nginx.conf"]
        elif server == "uvicorn":
            command = ["/usr/bin/python3", "-m", "uvicorn", "--app-dir", f"{ROOT}/tests/bench",
                       "app:app", "--host",
                       "0.0.0.0", "--port", str(PORT), "--log-level", "warning", "--no-access-log"]
        else:
            command = [f"{BUILD}/mock_server", "--listen", str(PORT), "--model", MOCKS[server]]
        return self.start("server", lambda: self.listening(PORT), *command)

    def attach(self):
        return self.start_sluice(f"{PORT}=bench", "--ttft-threshold-ms", "600000",
                                 "--itl-threshold-ms", "600000")

    def admitted(self):
        """Requests that were admitted and rejected, and segments that were dropped because they
        came before others."""
        status = json.loads(self.sluicectl("status", "--json"))
        return (status["requests"]["admitted"], status["requests"]["rejected"],
                status["counters"]["reordered-dropped"])

    def command(self, case):
        if case["streamed"]:
            return [f"{BUILD}/loadgen", "--connect", f"{self.address}:{PORT}", "--model", "bench",
                    "--stream", "--concurrency", str(case["callers"]),
                    "--duration", str(self.seconds), "--body-bytes", "500", "--max-tokens", "32",
                    "--json"]
        return ["wrk", "-t1", f"-c{case['callers']}", f"-d{self.seconds}s", "--latency", "-s",
                f"{self.dir}/{case.get('script', 'post.lua')}", f"http://{self.address}:{PORT}"]

    def load(self, case):
        """One run: requests per second, p50 and p99 in ms, CPU in us per request."""
        began, busy = time.monotonic(), machine_ticks()[0]
        out = self.run_client(*self.command(case)).stdout
        cpu, took = ticks_us(machine_ticks()[0] - busy), time.monotonic() - began
        if case["streamed"]:
            r = json.loads(out)
            n, bad = r["outcomes"]["ok"], r["sent"] - r["outcomes"]["ok"]
            rate, p50, p99 = n / took, r["total_ms"]["p50"], r["total_ms"]["p99"]
        else:
            n = int(re.search(r"(\d+) requests in", out)[1])
            errors = r"(?:Non-2xx or 3xx responses: |connect |read |write |timeout )(\d+)"
            bad = sum(map(int, re.findall(errors, out)))
            rate = float(re.search(r"Requests/sec: *([\d.]+)", out)[1])
            p50, p99 = (ms(re.search(rf"{p}% +(\S+)", out)[1]) for p in (50, 99))
        if bad:
            sys.exit(f"{case['name']}: {bad} requests failed: {out[-400:]}")
        return {"n": n, "rate": rate, "p50": p50, "p99": p99, "cpu": cpu / n}

    def programs_line(self, case):
        """For each program: runs per request and ns per run, from a separate run. The kernel's two
        clock reads are included."""
        counting = count_run_time()
        n = self.load(case)["n"]
        if counting is not None:
            os.close(counting)
        spent = {name: x for name, x in self.programs().items() if x[1]}
        each = [f"{name} {runs / n:.1f} x {ns / runs:.0f} ns" for name, (ns, runs) in spent.items()]
        total = sum(ns for ns, _ in spent.values())
        return f"programs: {total / n / 1000:.2f} us per request ({', '.join(each) or 'no pinned links'})"

    def compare(self, case, rounds):
        pairs = []
        server = self.serve(case["server"])
        self.load(case)  # warm
        for i in range(rounds):
            pair = {}
            for which in ("bare", "with") if i % 2 else ("with", "bare"):
                if which == "with":
                    sluiced = self.attach()
                pair[which] = self.load(case)
                if which == "with":
                    admitted, rejected, dropped = self.admitted()
                    pair["with"]["dropped"] = dropped / pair["with"]["n"]
                    if rejected or admitted < pair["with"]["n"]:
                        sys.exit(f"{case['name']}: sluice admitted {admitted} of"
                                 f" {pair['with']['n']}, rejected {rejected}")
                    self.stop_sluice(sluiced)
            pairs.append(pair)
        sluiced = self.attach()
        programs = self.programs_line(case)
        self.stop_sluice(sluiced)
        self.stop(server)
        return pairs, programs


def ms(text):
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


# mock: as fast as possible, unlike any model. llama: the slots and times of a small model on a
# large machine.
MOCKS = {
    "mock": "bench,slots=256,prefill-ms=0,token-ms=0,tokens=32",
    "llama": "bench,slots=8,prefill-ms=10,token-ms=2,tokens=32",
}

CASES = [
    {"name": "nginx", "server": "nginx", "streamed": False, "callers": 16},
    # 25 MB of a form, with the model after the file.
    {"name": "upload", "server": "nginx", "streamed": False, "callers": 2, "script": "upload.lua"},
    {"name": "uvicorn", "server": "uvicorn", "streamed": False, "callers": 16},
    {"name": "mock", "server": "mock", "streamed": False, "callers": 16},
    {"name": "uvicorn-stream", "server": "uvicorn", "streamed": True, "callers": 8},
    {"name": "mock-stream", "server": "mock", "streamed": True, "callers": 8},
    {"name": "llama-stream", "server": "llama", "streamed": True, "callers": 8},
]


def main():
    parser = argparse.ArgumentParser(description="throughput with sluice attached and without it")
    parser.add_argument("--seconds", type=int, default=1, help="length of each run")
    parser.add_argument("--rounds", type=int, default=15, help="pairs of runs")
    parser.add_argument("--json", action="store_true", help="print every run")
    parser.add_argument("case", nargs="*", help=", ".join(c["name"] for c in CASES))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    with tempfile.TemporaryDirectory(prefix="sl-bench.") as directory:
        os.chmod(directory, 0o755)
        bench = Bench(directory, args.seconds)
        bench.sweep()
        try:
            bench.set_up()
            bench.configure()
            print(f"{'':16} {'requests/s':>19} {'p50 ms':>15} {'p99 ms':>15} {'CPU us/request':>17}   ratio by pairs")
            print(f"{'':16} {'bare':>9} {'with':>9} {'bare':>7} {'with':>7} {'bare':>7} {'with':>7} {'bare':>8} {'with':>8}   "
                  f"median (least, most)   added us per request: by rate, by CPU")
            for case in CASES:
                if args.case and case["name"] not in args.case:
                    continue
                pairs, programs = bench.compare(case, args.rounds)

                def middle(which, what):
                    return statistics.median(p[which][what] for p in pairs)

                ratio = sorted(p["with"]["rate"] / p["bare"]["rate"] for p in pairs)
                longer = statistics.median(1e6 / p["with"]["rate"] - 1e6 / p["bare"]["rate"]
                                           for p in pairs)
                added = statistics.median(p["with"]["cpu"] - p["bare"]["cpu"] for p in pairs)
                print(f"{case['name']:16} {middle('bare', 'rate'):9.0f} {middle('with', 'rate'):9.0f} "
                      f"{middle('bare', 'p50'):7.3f} {middle('with', 'p50'):7.3f} {middle('bare', 'p99'):7.3f} "
                      f"{middle('with', 'p99'):7.3f} {middle('bare', 'cpu'):8.1f} {middle('with', 'cpu'):8.1f}   "
                      f"{statistics.median(ratio):.3f} ({ratio[0]:.3f}, {ratio[-1]:.3f})   "
                      f"{longer:+7.2f} {added:+7.2f}", flush=True)
                print(f"{'':16} $ {' '.join(bench.command(case)).replace(BUILD, 'build').replace(directory + '/', '')}",
                      flush=True)
                print(f"{'':16} {programs}", flush=True)
                print(f"{'':16} reordered-dropped: {middle('with', 'dropped'):.2f} per request",
                      flush=True)
                if args.json:
                    print(json.dumps({"case": case["name"], "pairs": pairs}), flush=True)
        finally:
            bench.sweep()


if __name__ == "__main__":
    main()
