#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Policy adaptive on mixes of work on the wire, at multiples of the capacity.

The mock server runs the simulator's engine in real time. One load generator plays each part of a
mix. Server and clients are in network namespaces (sl-mix-s, sl-mix-c). The simulator computes the
capacity for the same work all streamed. At the highest load each mix is also played all streamed,
at the same times. Looks at status, five a second, give changes of state, looks that were shut
although a reply had ended since the look before, and requests in flight.

    mixes.py [--seconds N] [--loads 0.3,0.8,2] [--mixes "NAME,…"]

It needs root, build/ and an otherwise idle machine; scripts/bench-wire mixes runs it."""

import argparse
import json
import random
import sys
import tempfile
import threading
import time

from network import BUILD, Looks, Network, run
from trial import Part, Trial, poisson
from wire import ENGINE, ITL_MS, TTFT_MS

PORT = 8000
PROMPT, TOKENS, LONG, IMAGE, IMAGE_BYTES = 600, 120, 1000, 1500, 400000

CHAT = {"prompt": PROMPT, "tokens": TOKENS}
PLAIN = {**CHAT, "plain": True}
KINDS = {  # share of the requests, what they are, further arguments of loadgen
    "all streamed": [(1, CHAT, [])],
    "half not streamed": [(0.5, CHAT, []), (0.5, PLAIN, [])],
    "none streamed": [(1, PLAIN, [])],
    "one long in twenty not streamed": [(0.95, CHAT, []), (0.05, {**PLAIN, "tokens": LONG}, [])],
    "images in one of six": [(5 / 6, CHAT, []), (1 / 6, CHAT, ["--image-bytes", str(IMAGE_BYTES)])],
    "embeddings beside chat": [(0.5, CHAT, []),
                               (0.5, {**PLAIN, "tokens": 1}, ["--path", "/v1/embeddings"])],
    "prompt progress": [(1, CHAT, ["--prompt-progress"])],
}


def say_looks(looks):
    pairs = list(zip(looks, looks[1:]))
    return {"changes": sum(a[0] != b[0] for a, b in pairs),
            "shut": sum(not b[0] and b[3] > a[3] for a, b in pairs),
            "in_flight": max((s[1] for s in looks), default=0),
            "ceiling": max((s[2] for s in looks), default=0)}


class Wire(Network):
    """As a Trial, for the parts that it writes."""

    ttft_ms, itl_ms, part_arguments = TTFT_MS, ITL_MS, Trial.part_arguments

    def __init__(self, directory, seconds):
        super().__init__(directory, "sl-mix", "10.80.0")
        self.seconds = seconds

    def look(self):
        m = next(m for m in json.loads(self.sluicectl("models", "--json"))["models"]
                 if m["name"] == "m")
        return m["open"], m["in_flight"], m["limit"] or 0, m["duration_samples"]

    def capacity(self, mix):
        """Of the mix all streamed, in requests/s."""
        times = [float(i) for i in range(400)]
        rows = []
        for share, work, extra in KINDS[mix]:
            prompt = work["prompt"] + (IMAGE if "--image-bytes" in extra else 0)
            rows += [f"{prompt},{work['tokens']}"] * round(share * len(times))
        random.Random(1).shuffle(rows)
        path = f"{self.dir}/all.csv"
        with open(path, "w", encoding="ascii") as f:
            f.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
            for i, row in enumerate(rows):
                f.write(f"2023-01-01 00:{i // 60:02}:{i % 60:02}.0,{row}\n")
        engine = [x for k, v in ENGINE.items() for x in (f"--{k}", str(v))]
        out = run(f"{BUILD}/sluice-sim", "--json", "--trace", path, "--load", "1", "--requests",
                  "2", "--policy", "none", "--ttft-threshold-ms", str(TTFT_MS),
                  "--itl-threshold-ms", str(ITL_MS), *engine).stdout
        return json.loads(out)["capacity"]

    def play(self, mix, rate, streamed):
        """Plays a row with a new server and a new sluice."""
        engine = ",".join(f"{k}={v}" for k, v in ENGINE.items())
        server = self.start("server", lambda: self.listening(PORT), f"{BUILD}/mock_server",
                            "--listen", str(PORT), "--model", "m,queue=16000", "--engine", engine)
        sluice = self.start_sluice(f"{PORT}=m", "--ttft-threshold-ms", str(TTFT_MS),
                                   "--itl-threshold-ms", str(ITL_MS))
        looks, results, threads = Looks(self.look), [], []
        rng = random.Random(f"{mix} {rate}")
        zero = time.monotonic()
        for i, (share, work, extra) in enumerate(KINDS[mix]):
            part = Part(poisson(rng, share * rate, self.seconds), **work)
            if streamed:
                part.plain, extra = False, [] if "--path" in extra else extra
            threads.append(threading.Thread(target=self.part, args=(part, i, extra, zero, results)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        seen = say_looks(looks.end())
        self.stop_sluice(sluice)
        self.stop(server)
        total = {k: sum(r[k] for r in results) for k in ("arrived", "met", "refused")}
        return {**total, **seen, "goodput": total["met"] / self.seconds}

    def part(self, part, i, extra, zero, results):
        if len(part.times) < 2:
            return
        arguments = self.part_arguments(part, i)
        time.sleep(max(0, zero + part.times[0] - time.monotonic()))
        # A later option wins: those of the part say what is in time.
        out = self.run_client(f"{BUILD}/loadgen", "--json", "--connect", f"{self.address}:{PORT}",
                              "--model", "m", "--ttft-target-ms", str(TTFT_MS), "--itl-target-ms",
                              str(ITL_MS), "--timeout", "300", *arguments, *extra, check=False)
        if out.returncode:
            sys.exit(f"loadgen: {out.stderr.strip()}")
        results.append(json.loads(out.stdout)["load"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--loads", default="0.3,0.8,2")
    parser.add_argument("--mixes", default=",".join(KINDS))
    args = parser.parse_args()
    loads = [float(x) for x in args.loads.split(",")]
    print("| load, mix | goodput/s | of all streamed | refused | met, of admitted | changes of state "
          "| shut while replies ended | most in flight | highest ceiling |\n|" + "---|" * 9,
          flush=True)
    with tempfile.TemporaryDirectory(prefix="sl-mix-") as directory:
        wire = Wire(directory, args.seconds)
        wire.sweep()
        try:
            wire.set_up()
            for mix in args.mixes.split(","):
                capacity = wire.capacity(mix)
                for load in loads:
                    r = wire.play(mix, load * capacity, False)
                    whole = "–"
                    if load == max(loads):
                        streamed = wire.play(mix, load * capacity, True)["goodput"]
                        whole = f"{100 * r['goodput'] / max(0.01, streamed):.0f} %"
                    print(f"| {load:g}×, {mix} | {r['goodput']:.2f} | {whole} | "
                          f"{100 * r['refused'] / r['arrived']:.1f} % | "
                          f"{100 * r['met'] / max(1, r['arrived'] - r['refused']):.0f} % | "
                          f"{r['changes']} | {r['shut']} | {r['in_flight']} | {r['ceiling']} |",
                          flush=True)
        finally:
            wire.sweep()


if __name__ == "__main__":
    main()
