#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Compares limiters before a server that is running on this host: no limiter, nginx's limit_conn at
the best fixed number, ema-flag and adaptive.

    trial.py --server ADDR:PORT --model NAME [--pid PID] [--rows "ROW; …"] [--seconds N]
             [--rounds N]

It needs a server of its own, idle otherwise, with an OpenAI-compatible API, and clients and server
meet on loopback: ADDR is an address of this host. First it measures the server by itself: the
latency of a request alone, and the goodput of a closed loop over N callers. The best goodput is the
capacity. The targets are multiples of the latency alone, if none are given. At twice the capacity
it finds the best fixed limit. Then each row plays the same arrivals for each limiter, in rounds in
which the limiters take turns.

Each result is a file in the directory of the run (--dir); a run that was interrupted goes on where
it stopped. The table has the medians of the rounds. --pid is the server's process, which the row
`freeze` stops for ten seconds. Capacity and limits are measured again with --again.

Requests to which the server answers with an error of its own have failed: they are neither late nor
in time, and a row with many of them says little."""

import argparse
import datetime
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from network import BUILD, Looks, Processes

PROXY_PORT = 18081
LIMITERS = ["none", "ema-flag", "fixed", "adaptive"]
CALLERS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]
FREEZE_S = 10


# ---- what is played ----

class Part:
    """Requests of one kind, with their times in seconds from the start of the row."""

    def __init__(self, times, prompt, tokens, plain=False, source=None):
        self.times, self.prompt, self.tokens = sorted(times), prompt, tokens
        self.plain, self.source = plain, source


def poisson(rng, rate, seconds, start=0.0):
    times, at = [], start
    while rate > 0:
        at += rng.expovariate(rate)
        if at >= start + seconds:
            break
        times.append(at)
    return times


def steady(load, unary=0.0, long_prompts=0.0):
    def play(t, rng):
        parts = [[], [], []]
        for at in poisson(rng, load * t.capacity, t.seconds):
            dice = rng.random()
            parts[0 if dice < unary else 1 if dice < unary + long_prompts else 2].append(at)
        return [Part(parts[0], t.prompt, t.tokens, plain=True),
                Part(parts[1], t.long_prompt, t.tokens), Part(parts[2], t.prompt, t.tokens)]
    return play


def bursts(load):
    """Three times the slots in one instant, then `load`; without a load, again every 20 s."""
    def play(t, rng):
        n = 3 * t.slots
        begins = [0.0] if load else [20.0 * i for i in range(max(1, int(t.seconds // 20)))]
        times = [at + i * 0.001 for at in begins for i in range(n)]
        return [Part(times + poisson(rng, load * t.capacity, t.seconds, 1.0), t.prompt, t.tokens)]
    return play


def heavy(t, rng):
    """Three light clients of 0.15 of the capacity each; one that brings the whole to twice it."""
    parts = [Part(poisson(rng, 0.15 * t.capacity, t.seconds), t.prompt, t.tokens,
                  source=f"127.0.1.{i}") for i in range(1, 4)]
    return parts + [Part(poisson(rng, 1.55 * t.capacity, t.seconds), t.prompt, t.tokens,
                         source="127.0.1.9")]


ROWS = {
    "0.5x": steady(0.5), "0.8x": steady(0.8), "2x": steady(2),
    "burst": bursts(0), "burst, then 0.5x": bursts(0.5),
    "half unary, 2x": steady(2, unary=0.5), "unary, 2x": steady(2, unary=1),
    "unary, 0.5x": steady(0.5, unary=1),
    "long prompts, 0.8x": steady(0.8, long_prompts=0.05),
    "freeze, 0.8x": steady(0.8), "heavy client, 2x": heavy,
}


# ---- the processes ----

def listening(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 1).close()
        return True
    except OSError:
        return False


def say_looks(looks):
    """Changes of state, the least ceiling, and whether more was in flight than the ceiling."""
    looks = [models for models in looks if models]
    states = [any(not m["open"] or (m["admission"] or {}).get("stopped") for m in models)
              for models in looks]
    ceilings = [(m["admission"]["ceiling"], m["in_flight"]) for models in looks for m in models
                if (m["admission"] or {}).get("ceiling")]
    return {"changes": sum(a != b for a, b in zip(states, states[1:])),
            "lowest_ceiling": min((c for c, _ in ceilings), default=None),
            "looks": len(looks), "looks_shut": sum(states),
            "looks_above_ceiling": sum(n > c for c, n in ceilings)}


class Trial(Processes):
    def __init__(self, options, directory):
        super().__init__(directory)
        self.o = options
        host, port = options.server.rsplit(":", 1)
        self.host, self.port = host, int(port)
        self.seconds, self.tokens, self.prompt = options.seconds, options.tokens, options.prompt
        self.long_prompt = options.long_prompt
        self.ttft_ms, self.itl_ms = options.ttft_ms, options.itl_ms
        self.capacity = self.slots = self.limit = None

    # -- children --

    def stop_all(self):
        for child in self.children[:]:
            self.stop(child)
        self.detach()

    def detach(self):
        if os.path.isdir(self.o.pin_dir):
            subprocess.run([f"{BUILD}/sluicectl", "--control", f"{self.dir}/none", "detach",
                            "--pin-dir", self.o.pin_dir], capture_output=True, check=False)

    def start_sluice(self, policy):
        return self.start("sluiced", self.sluiced_is_ready, f"{BUILD}/sluiced", "--interface", "lo",
                          "--listen", f"{self.port}={self.o.model}", "--policy", policy,
                          "--pin-dir", self.o.pin_dir, "--control", f"{self.dir}/control.sock",
                          "--ttft-threshold-ms", f"{self.ttft_ms:.0f}", "--itl-threshold-ms",
                          f"{self.itl_ms:.0f}", *self.o.sluice)

    def look(self):
        """The models as `sluicectl models` shows them; none while it has no answer."""
        out = subprocess.run([f"{BUILD}/sluicectl", "--control", f"{self.dir}/control.sock",
                              "models", "--json"], capture_output=True, text=True, check=False)
        try:
            return json.loads(out.stdout)["models"]
        except (ValueError, KeyError, TypeError):
            return []

    # -- load --

    def client(self, to, *arguments):
        command = [f"{BUILD}/loadgen", "--json", "--connect", to, "--model", self.o.model,
                   "--path", self.o.path, "--distinct", "--seed", str(random.randrange(1, 10**9)),
                   "--ttft-target-ms", f"{self.ttft_ms or 1e6:.3f}",
                   "--itl-target-ms", f"{self.itl_ms or 1e6:.3f}", "--timeout", "300",
                   "--max-time", f"{self.seconds + 320:.0f}", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def result(child):
        out, err = child.communicate()
        if child.returncode:
            sys.exit(f"trial: loadgen: {err.strip()}")
        return json.loads(out)

    def closed_loop(self, callers, seconds):
        r = self.result(self.client(self.o.server, "--concurrency", str(callers), "--duration",
                                    str(seconds), "--max-tokens", str(self.tokens),
                                    "--body-bytes", str(4 * self.prompt + 120)))
        return r

    def part_arguments(self, part, i):
        path = f"{self.dir}/part{i}.csv"
        begin = datetime.datetime(2023, 1, 1)
        with open(path, "w", encoding="ascii") as f:
            f.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
            for at in part.times:
                f.write(f"{begin + datetime.timedelta(seconds=at):%Y-%m-%d %H:%M:%S.%f}0,"
                        f"{part.prompt},{part.tokens}\n")
        arguments = ["--trace", path, "--speed", "1"]
        if part.plain:
            # A reply is in time if its tokens could have come at the targets.
            arguments += ["--plain", "--ttft-target-ms",
                          f"{self.ttft_ms + part.tokens * self.itl_ms:.0f}"]
        if part.source:
            arguments += ["--bind", part.source]
        return arguments

    def play(self, parts, to):
        """Plays the parts together; each begins with its first request. Returns their results."""
        parts = [p for p in parts if len(p.times) >= 2]
        zero, running = time.monotonic(), []
        for i, part in sorted(enumerate(parts), key=lambda p: p[1].times[0]):
            arguments = self.part_arguments(part, i)
            time.sleep(max(0, zero + part.times[0] - time.monotonic()))
            running.append((part, self.client(to, *arguments)))
        return [(part, self.result(child)) for part, child in running]

    def freeze(self):
        time.sleep(self.seconds / 3)
        os.kill(self.o.pid, signal.SIGSTOP)
        try:
            time.sleep(FREEZE_S)
        finally:
            os.kill(self.o.pid, signal.SIGCONT)

    def run(self, row, limiter, round_):
        """Plays a row before a limiter once."""
        rng = random.Random(f"{row} {round_}")
        parts = ROWS[row](self, rng)
        to, child, looks = self.o.server, None, None
        if limiter.startswith("fixed"):
            child, to = self.start_nginx(self.o.server, f"127.0.0.1:{PROXY_PORT}",
                                     int(limiter.split("=")[1]),
                                     lambda: listening(PROXY_PORT)), f"127.0.0.1:{PROXY_PORT}"
        elif limiter != "none":
            child = self.start_sluice(limiter)
            looks = Looks(self.look)
        freezer = threading.Thread(target=self.freeze)
        if row.startswith("freeze"):
            freezer.start()
        results = self.play(parts, to)
        if row.startswith("freeze"):
            freezer.join()
        seen = say_looks(looks.end()) if looks else {}
        if child:
            self.stop(child)
        self.detach()
        self.settle()
        return {**summary(results, self.seconds), **seen, "load_average": os.getloadavg()[0]}

    def settle(self):
        """Waits until the server answers a request as fast as an idle one."""
        for _ in range(60):
            r = self.closed_loop(1, 1)
            if r["ttft_ms"]["p50"] and r["ttft_ms"]["p50"] <= 2 * self.alone["ttft_ms"]:
                return
        sys.exit("trial: the server does not become idle")


def weighted(results, pick):
    values = [(pick(r), r["load"]["met"] + r["load"]["missed"]) for _, r in results
              if pick(r) is not None]
    n = sum(w for _, w in values)
    return sum(v * w for v, w in values) / n if n else None


def summary(results, seconds):
    loads = [r["load"] for _, r in results]
    arrived, met = sum(x["arrived"] for x in loads), sum(x["met"] for x in loads)
    refused, missed = sum(x["refused"] for x in loads), sum(x["missed"] for x in loads)
    failed = sum(r["outcomes"].get("http_error", 0) for _, r in results) - refused
    streams = [(p, r) for p, r in results if not p.plain] or results
    largest = max(streams, key=lambda x: x[1]["load"]["arrived"])[1]
    light = [(p, r) for p, r in results if p.source and p.source != "127.0.1.9"]
    return {"arrived": arrived, "met": met, "refused": refused, "missed": missed - failed,
            "failed": failed, "goodput": met / seconds,
            "outcomes": [{k: v for k, v in r["outcomes"].items() if v} for _, r in results],
            "ttft_ms": {q: largest["ttft_ms"].get(q) for q in ("p50", "p95", "p99")},
            "light_ttft_p50_ms": weighted(light, lambda r: r["ttft_ms"]["p50"]),
            "light_refused": sum(r["load"]["refused"] for _, r in light),
            "light_arrived": sum(r["load"]["arrived"] for _, r in light)}


# ---- the steps ----

def kept(path, make, again=False):
    """The result in this file; made and written if there is none."""
    if os.path.exists(path) and not again:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    value = make()
    with open(f"{path}.new", "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
    os.replace(f"{path}.new", path)
    return value


def measure_alone(t):
    r = t.closed_loop(1, t.o.probe_seconds)
    if not r["outcomes"].get("ok"):
        sys.exit(f"trial: {t.o.server} answers no request: {r['outcomes']}, {r['status']}")
    return {"ttft_ms": r["ttft_ms"]["p50"], "itl_ms": r["itl_ms"]["p50"]}


def measure_capacity(t):
    """The best goodput of a closed loop, and the callers from which on it grows little."""
    loops = []
    for callers in CALLERS:
        r = t.closed_loop(callers, t.o.probe_seconds)
        done = r["outcomes"].get("ok", 0) / r["load"]["seconds"]
        loops.append({"callers": callers, "completed": done, "goodput": r["goodput_rps"]})
        print(f"  {callers:3} callers: {done:6.2f} requests/s, {loops[-1]['goodput']:6.2f} in time",
              flush=True)
        best = max(x["goodput"] for x in loops)
        if callers >= 4 and loops[-1]["goodput"] < 0.5 * best:
            break
    top = max(x["completed"] for x in loops)
    return {"capacity": max(x["goodput"] for x in loops), "loops": loops,
            "slots": next(x["callers"] for x in loops if x["completed"] >= 0.93 * top)}


def find_limit(t):
    tried = {}
    for factor in (0.5, 1, 1.5, 2, 3):
        limit = max(1, round(factor * t.slots))
        if limit not in tried:
            tried[limit] = t.run("2x", f"fixed={limit}", 0)["goodput"]
            print(f"  limit {limit:3}: {tried[limit]:6.2f} requests/s in time", flush=True)
    return {"limit": max(tried, key=tried.get), "tried": tried}


def file_name(row, limiter, round_):
    return re.sub(r"[^a-z0-9.]+", "-", f"{row}-{limiter}-{round_}".lower()) + ".json"


def number(value, form="{:.0f}"):
    return "" if value is None else form.format(value)


def median(runs, pick):
    values = [pick(r) for r in runs if pick(r) is not None]
    return statistics.median(values) if values else None


def print_table(t, rows):
    a = t.alone
    print(f"\n{t.o.server}, model {t.o.model}: capacity {t.capacity:.2f} requests/s, {t.slots} "
          f"slots; alone TTFT {a['ttft_ms']:.0f} ms, ITL {a['itl_ms']:.1f} ms; "
          f"targets {t.ttft_ms:.0f} and {t.itl_ms:.0f} ms; fixed is {t.limit}; "
          f"{t.seconds:.0f} s a run\n")
    print("| row | limiter | goodput/s | refused | in time, of the admitted "
          "| TTFT p50 / p95 / p99 ms | changes | lowest ceiling | runs |\n|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        for limiter in LIMITERS:
            runs = []
            for round_ in range(t.o.rounds):
                path = f"{t.o.dir}/{file_name(row, limiter, round_)}"
                if os.path.exists(path):
                    with open(path, encoding="utf-8") as f:
                        runs.append(json.load(f))
            if not runs:
                continue
            admitted = median(runs, lambda r: r["met"] / max(1, r["met"] + r["missed"]))
            ttft = " / ".join(number(median(runs, lambda r, q=q: r["ttft_ms"][q]))
                              for q in ("p50", "p95", "p99"))
            print(f"| {row} | {limiter} | {median(runs, lambda r: r['goodput']):.2f} "
                  f"| {100 * median(runs, lambda r: r['refused'] / max(1, r['arrived'])):.0f} % "
                  f"| {100 * admitted:.0f} % | {ttft} "
                  f"| {number(median(runs, lambda r: r.get('changes')))} "
                  f"| {number(median(runs, lambda r: r.get('lowest_ceiling')))} | {len(runs)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, metavar="ADDR:PORT")
    parser.add_argument("--model", required=True)
    parser.add_argument("--pid", type=int, help="the server's process, for the row freeze")
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--rows", help=f"of {'; '.join(ROWS)} [all]")
    parser.add_argument("--limiters", default=",".join(LIMITERS))
    parser.add_argument("--seconds", type=float, default=60, help="of a run [60]")
    parser.add_argument("--probe-seconds", type=float, default=15,
                        help="of a closed loop, for the capacity [15]")
    parser.add_argument("--rounds", type=int, default=3, help="of fixed and adaptive [3]")
    parser.add_argument("--prompt", type=int, default=60, help="tokens of a prompt [60]")
    parser.add_argument("--long-prompt", type=int, default=2000, help="tokens of a long one [2000]")
    parser.add_argument("--tokens", type=int, default=32, help="of a reply [32]")
    parser.add_argument("--ttft-ms", type=float, help="target [10 times the TTFT alone]")
    parser.add_argument("--itl-ms", type=float, help="target [8 times the ITL alone]")
    parser.add_argument("--dir", default=f"{BUILD}/trial", help="of the results [build/trial]")
    parser.add_argument("--pin-dir", default="/sys/fs/bpf/sl-trial")
    parser.add_argument("--again", action="store_true", help="forget the results in --dir")
    parser.add_argument("--sluice", action="append", default=[], metavar="OPTION",
                        help="a further option of sluiced; repeatable")
    o = parser.parse_args()
    rows = [r.strip() for r in o.rows.split(";")] if o.rows else list(ROWS)
    rows = [r for r in rows if o.pid or not r.startswith("freeze")]
    for row in rows:
        if row not in ROWS:
            parser.error(f"no such row: {row}")
    if not listening(int(o.server.rsplit(":", 1)[1]), o.server.rsplit(":", 1)[0]):
        sys.exit(f"trial: nothing listens on {o.server}")
    if o.again:
        shutil.rmtree(o.dir, ignore_errors=True)
    os.makedirs(o.dir, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sl-trial.") as directory:
        t = Trial(o, directory)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            t.detach()
            play_all(t, rows)
        finally:
            t.stop_all()
    print_table(t, rows)


def play_all(t, rows):
    o = t.o
    t.alone = kept(f"{o.dir}/alone.json", lambda: measure_alone(t))
    t.ttft_ms = t.ttft_ms or max(50.0, 10 * t.alone["ttft_ms"])
    t.itl_ms = t.itl_ms or max(5.0, 8 * t.alone["itl_ms"])
    print(f"alone: TTFT {t.alone['ttft_ms']:.0f} ms, ITL {t.alone['itl_ms']:.1f} ms", flush=True)
    found = kept(f"{o.dir}/capacity.json", lambda: measure_capacity(t))
    t.capacity, t.slots = found["capacity"], found["slots"]
    print(f"capacity: {t.capacity:.2f} requests/s in time, {t.slots} slots", flush=True)
    t.limit = kept(f"{o.dir}/limit.json", lambda: find_limit(t))["limit"]
    for round_ in range(o.rounds):
        for row in rows:
            for limiter in o.limiters.split(","):
                if round_ and limiter not in ("fixed", "adaptive"):
                    continue
                path = f"{o.dir}/{file_name(row, limiter, round_)}"
                if os.path.exists(path):
                    continue
                name = f"fixed={t.limit}" if limiter == "fixed" else limiter
                r = kept(path, lambda n=name, w=row, i=round_: t.run(w, n, i))
                print(f"  {row}, {name}, round {round_ + 1}: {r['goodput']:.2f}/s in time, "
                      f"{r['refused']} of {r['arrived']} refused, {r['missed']} late"
                      + (f", {r['failed']} failed" if r.get("failed") else ""), flush=True)


if __name__ == "__main__":
    main()
