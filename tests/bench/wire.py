#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Compares policies on the wire, with a trace at a multiple of the engine's capacity: no limiter,
ema-flag, the best fixed limit, adaptive.

The mock server runs the simulator's engine in real time (mock_server --engine). The load generator
replays a window of the trace as an open loop. Both run in network namespaces (sl-wire-s, sl-wire-c)
that a veth pair joins and that are isolated from everything else. build/sluice-sim computes the
capacity, the window and the best fixed limit for the same engine, trace and load. That limit is
nginx's limit_conn with one key for all, so it bounds all requests in flight. The clients measure
latency and goodput. Server, limiter and clients together take a small part of one core. They run at
a high priority, so that other work disturbs them little.

    wire.py --traces DIR [--trace NAME,…] [--seconds N | --quick] [--variants LIST] [--update-docs]
    wire.py --last [--update-docs]

The results are in build/bench-wire.json and build/goodput.svg. --update-docs writes the table
into user/docs/benchmarks.md, between its two marks, and the plot into tests/bench/goodput.svg.
"""

import argparse
import csv
import glob
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import plot
from network import BUILD, ROOT, Network, count_run_time, family, machine_ticks, process_us

PORT, PROXY_PORT = 8000, 8080
RESULTS, PLOT = os.path.join(BUILD, "bench-wire.json"), os.path.join(BUILD, "goodput.svg")
PAGE = "user/docs/benchmarks.md"
MARKS = "<!-- scripts/bench-wire --update-docs writes from here -->", "<!-- … to here -->"

TTFT_MS, ITL_MS, TAU_S = 1000, 50, 15
ENGINE = {"slots": 24, "prefill-tokens-per-s": 16000, "step-ms": 12, "step-ms-per-seq": 0.4,
          "chunk": 256, "kv-tokens": 65536}
LIMITS = [*range(1, 16), *range(16, 34, 2), 36, 40, 48, 64]
VARIANTS = ["none", "ema-flag", "fixed", "adaptive"]


class Simulator:
    """Simulations of a window of a trace, at the load and at eight others within 1 % of it.

    Such a load depends on chance: an arrival some ms earlier changes later refusals. So the best
    limit is the one with the best median, and the table shows the least and the most."""

    def __init__(self, trace, seed, seconds, load):
        self.trace, self.seed = trace, seed
        self.capacity = self.simulate(2, load, "none")["capacity"]
        self.rate = load * self.capacity
        self.requests = max(2, round(self.rate * seconds))
        whole = self.simulate(self.requests, load, "none")
        self.trace_from, self.requests = whole["trace_from"], whole["requests"]
        loads = [load * (1 + i / 400) for i in range(-4, 5)]
        limits = self.simulate_all(loads, [f"fixed={n}" for n in LIMITS])
        best = max(limits, key=lambda name: statistics.median(r["goodput"] for r in limits[name]))
        self.limit = int(best.split("=")[1])
        self.results = {"fixed": limits[best],
                        **self.simulate_all(loads, ["none", "ema-flag", "adaptive"])}

    def simulate_all(self, loads, policies):
        results = {p: [] for p in policies}
        for load in loads:
            for i in range(0, len(policies), 4):
                for policy, r in zip(policies[i:],
                                     self.simulate(self.requests, load,
                                                   *policies[i:i + 4])["policies"]):
                    results[policy].append(r)
        return results

    def summary(self, name):
        runs = self.results[name]
        goodput = [r["goodput"] for r in runs]
        return {"goodput": statistics.median(goodput), "least": min(goodput), "most": max(goodput),
                "refused": statistics.median(r["refused"] / r["arrived"] for r in runs),
                "ttft_p50_ms": statistics.median(r["ttft_p50_ms"] for r in runs)}

    def simulate(self, requests, load, *policies):
        command = [f"{BUILD}/sluice-sim", "--json", "--trace", self.trace, "--seed", str(self.seed),
                   "--requests", str(requests), "--load", str(load), "--ttft-threshold-ms",
                   str(TTFT_MS),
                   "--itl-threshold-ms", str(ITL_MS), "--time-constant-secs", str(TAU_S)]
        for key, value in ENGINE.items():
            command += [f"--{key}", str(value)]
        for policy in policies:
            command += ["--policy", policy]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        if out.returncode:
            sys.exit(f"sluice-sim: {out.stderr.strip()}")
        return json.loads(out.stdout)


class Wire(Network):
    def __init__(self, directory):
        super().__init__(directory, "sl-wire", "10.79.0")
        self.counts = False

    def start_server(self):
        engine = ",".join(f"{k}={v}" for k, v in ENGINE.items())
        return self.start("server", lambda: self.listening(PORT), f"{BUILD}/mock_server",
                          "--listen", str(PORT), "--model", "m,queue=16000", "--engine", engine)

    def start_limiter(self, policy):
        return self.start_sluice(f"{PORT}=m", "--policy", policy,
                                 "--ttft-threshold-ms", str(TTFT_MS),
                                 "--itl-threshold-ms", str(ITL_MS),
                                 "--time-constant-secs", str(TAU_S))

    def programs_ms(self):
        """Run time of sluice's programs in ms; None if unknown."""
        spent = self.programs() if self.counts else {}
        return sum(ns for ns, _ in spent.values()) / 1e6 if spent else None

    def command(self, trace, sim, seconds, port):
        return [f"{BUILD}/loadgen", "--json", "--connect", f"{self.address}:{port}", "--model", "m",
                "--trace", trace, "--trace-from", str(sim.trace_from),
                "--requests", str(sim.requests), "--load-rate", f"{sim.rate:.6f}",
                "--ttft-target-ms", str(TTFT_MS), "--itl-target-ms", str(ITL_MS),
                "--timeout", "3600", "--max-time", str(10 * seconds + 300),
                "--series", f"{self.dir}/series.csv"]

    def variant(self, name, trace, sim, seconds):
        limit = sim.limit
        server = self.start_server()
        limiter, port = None, PORT
        if name == "fixed":
            limiter, port = self.start_nginx(
                f"127.0.0.1:{PORT}", PROXY_PORT, limit,
                lambda: self.listening(PROXY_PORT)), PROXY_PORT
        elif name != "none":
            limiter = self.start_limiter(name)
        sluice = name in ("ema-flag", "adaptive")
        pids = family(limiter.pid) if limiter else []
        server_us, limiter_us = process_us([server.pid]), process_us(pids)
        programs = self.programs_ms() if sluice else None
        busy, began = machine_ticks(), time.monotonic()
        out = self.run_client(*self.command(trace, sim, seconds, port), check=False)
        took = time.monotonic() - began
        if out.returncode:
            sys.exit(f"loadgen: {out.stderr.strip()}")
        busy = [b - a for a, b in zip(busy, machine_ticks())]
        server_us = process_us([server.pid]) - server_us
        limiter_us = process_us(pids) - limiter_us
        programs = self.programs_ms() - programs if programs is not None else None
        if sluice:
            self.stop_sluice(limiter)
        elif limiter:
            self.stop(limiter)
        self.stop(server)
        r = json.loads(out.stdout)
        with open(f"{self.dir}/series.csv", encoding="ascii", newline="") as f:
            series = [[int(x) for x in row] for row in list(csv.reader(f))[1:]]
        return {
            "name": name, "limit": limit if name == "fixed" else None, "took_s": took,
            "arrived": r["load"]["arrived"], "met": r["load"]["met"], "missed": r["load"]["missed"],
            "refused": r["load"]["refused"], "goodput": r["load"]["met"] / r["load"]["seconds"],
            "answered": r["outcomes"]["ok"],
            "outcomes": {k: v for k, v in r["outcomes"].items() if v},
            "ttft_p50_ms": r["ttft_ms"]["p50"], "ttft_p99_ms": r["ttft_ms"]["p99"],
            "request_itl_p99_ms": r["request_itl_ms"]["p99"],
            "by_prompt": [{k: q[k] for k in ("tokens_up_to", "arrived", "met")}
                          for q in r["load"]["by_prompt"]],
            "limiter_ms": limiter_us / 1000, "programs_ms": programs, "server_ms": server_us / 1000,
            "busy": busy[0] / max(1, busy[1]), "stolen": busy[2] / max(1, busy[1]),
            "series": series, "simulated": sim.summary(name),
        }


# ---- the report ----

NAMES = {"none": "no limiter", "ema-flag": "`ema-flag`", "adaptive": "`adaptive`"}


def ms(value):
    if value is None:
        return "–"
    return f"{value / 1000:.1f} s" if value >= 9950 else f"{value:,.0f} ms"


def cpu(v):
    """The share of one core, over the length of the run."""
    if v["name"] == "none":
        return "–"
    share = (v["limiter_ms"] + (v["programs_ms"] or 0)) / v["took_s"] / 10
    if v["name"] == "fixed":
        return f"{share:.2f} %"
    programs = "?" if v["programs_ms"] is None else f"{v['programs_ms'] / v['took_s'] / 10:.2f}"
    return f"{share:.2f} % (programs {programs})"


def simulated(v):
    return f"{v['simulated']['least']:.2f} … {v['simulated']['most']:.2f}"


def name_of(v):
    return f"nginx `limit_conn` {v['limit']}" if v["name"] == "fixed" else NAMES[v["name"]]


def table(results):
    e = results["engine"]
    lines = [f"Engine: {e['slots']} slots, {e['prefill-tokens-per-s']:,} prompt tokens/s in chunks of {e['chunk']}, steps "
             f"of {e['step-ms']} ms + {e['step-ms-per-seq']} a request, KV of {e['kv-tokens']:,} tokens. Targets: "
             f"{results['ttft_ms']} ms to the first token, {results['itl_ms']} ms between tokens. {results['machine']}."]
    for r in results["runs"]:
        lines += ["",
                  f"*{r['trace']}*, {r['requests']} requests in {r['requests'] / r['rate']:.0f} s: {r['rate']:.2f}/s, "
                  f"{r['load']:g} times the capacity of {r['capacity']:.2f}/s (the most that a constant number in flight achieves).",
                  "",
                  "| | goodput/s | simulated | refused | simulated | met, of admitted | met, by length of prompt | "
                  "TTFT p50 | p99 | CPU, of a core |",
                  "|---|---|---|---|---|---|---|---|---|---|"]
        for v in r["variants"]:
            admitted = v["arrived"] - v["refused"]
            quartiles = " ".join(f"{100 * q['met'] / max(1, q['arrived']):.0f}"
                                 for q in v["by_prompt"])
            lines.append(f"| {name_of(v)} | {v['goodput']:.2f} | {simulated(v)} | {100 * v['refused'] / v['arrived']:.0f} % | "
                         f"{100 * v['simulated']['refused']:.0f} % | "
                         f"{100 * v['met'] / max(1, admitted):.0f} % | {quartiles} % | {ms(v['ttft_p50_ms'])} | "
                         f"{ms(v['ttft_p99_ms'])} | {cpu(v)} |")
    return "\n".join(lines)


def update_docs(text, drawn):
    path = os.path.join(ROOT, PAGE)
    with open(path, encoding="utf-8") as f:
        page = f.read()
    begin, end = page.find(MARKS[0]), page.find(MARKS[1])
    if begin < 0 or end < begin:
        sys.exit(f"{PAGE} lacks the marks '{MARKS[0]}' and '{MARKS[1]}'")
    shutil.copyfile(drawn, os.path.join(ROOT, "tests/bench/goodput.svg"))
    image = "![Goodput over time, by policy](../../tests/bench/goodput.svg)"
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{page[:begin]}{MARKS[0]}\n{text}\n\n{image}\n{page[end:]}")


def report(results, update):
    text = table(results)
    print(text)
    with open(PLOT, "w", encoding="utf-8") as f:
        f.write(plot.draw(results))
    print(f"\n{os.path.relpath(RESULTS, ROOT)}, {os.path.relpath(PLOT, ROOT)}")
    if update:
        update_docs(text, PLOT)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"^model name[^:]*: *(.*)", f.read(), re.M)
    return f"{os.uname().sysname} {os.uname().release.split('-')[0]}, {os.cpu_count()} CPUs" + (
        f" ({model[1]})" if model else "")


def find_trace(directory, name):
    found = sorted(glob.glob(f"{directory}/*{glob.escape(name)}*.csv"))
    if not found:
        sys.exit(f"{directory} has no trace *{name}*.csv of the Azure LLM inference traces, 2023")
    return found[0]


def measure(args, variants):
    results = {"engine": ENGINE, "ttft_ms": TTFT_MS, "itl_ms": ITL_MS, "seconds": args.seconds,
               "seed": args.seed, "machine": machine(), "runs": []}
    traces = [(name, find_trace(args.traces, name)) for name in args.trace.split(",")]
    for leftover in glob.glob("/tmp/sl-wire.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="sl-wire.", dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        wire = Wire(directory)
        wire.sweep()
        try:
            wire.counts = count_run_time() is not None  # stays open until this process ends
            wire.set_up()
            for name, path in traces:
                sim = Simulator(path, args.seed, args.seconds, args.load)
                one = {"trace": name, "capacity": sim.capacity, "rate": sim.rate, "load": args.load,
                       "requests": sim.requests, "trace_from": sim.trace_from, "variants": []}
                results["runs"].append(one)
                print(f"{name}: {sim.requests} requests from the {sim.trace_from + 1}th on, {sim.rate:.2f}/s, capacity "
                      f"{sim.capacity:.2f}/s, best fixed limit {sim.limit}", flush=True)
                for variant in variants:
                    v = wire.variant(variant, path, sim, args.seconds)
                    one["variants"].append(v)
                    print(f"  {variant:9} {v['goodput']:.2f}/s (simulated {simulated(v)}), refused "
                          f"{v['refused']} of {v['arrived']}, TTFT p50 {ms(v['ttft_p50_ms'])} p99 {ms(v['ttft_p99_ms'])}, "
                          f"took {v['took_s']:.0f} s, machine {100 * v['busy']:.0f} % busy ({100 * v['stolen']:.0f} % stolen), "
                          f"{v['outcomes']}", flush=True)
        finally:
            wire.sweep()
    with open(RESULTS, "w", encoding="utf-8") as f:
        json.dump(results, f)
    return results


def main():
    parser = argparse.ArgumentParser(
        description="policies on the wire, compared with nginx and with the simulator")
    parser.add_argument("--traces", metavar="DIR",
                        help="directory of *conv*.csv and *code*.csv, the Azure LLM inference traces")
    parser.add_argument("--trace", default="conv", metavar="NAME,…",
                        help="the traces to run (default conv)")
    parser.add_argument("--seconds", type=int, default=120,
                        help="length of each run (default 120; runs without limiter take longer)")
    parser.add_argument("--quick", action="store_true", help="15 s each, as a check that it works")
    parser.add_argument("--load", type=float, default=2,
                        help="in multiples of the capacity (default 2)")
    parser.add_argument("--seed", type=int, default=1,
                        help="selects the part of the trace (default 1)")
    parser.add_argument("--variants", default=",".join(VARIANTS), help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--last", action="store_true", help="no run: report the last one again")
    parser.add_argument("--update-docs", action="store_true",
                        help="write table and plot into user/docs/benchmarks.md")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    if args.last:
        with open(RESULTS, encoding="utf-8") as f:
            report(json.load(f), args.update_docs)
        return
    variants = args.variants.split(",")
    if not args.traces or not set(variants) <= set(VARIANTS):
        parser.error("give --traces DIR" if not args.traces else
                     f"--variants: of {', '.join(VARIANTS)}")
    if args.quick:
        args.seconds = 15
    os.nice(-15)
    report(measure(args, variants), args.update_docs)


if __name__ == "__main__":
    main()
