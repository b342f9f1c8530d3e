#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What each constant of policy adaptive is worth: the simulator with it halved and doubled.

    constants.py [NAME…]

Builds the simulator from copies of the policy's files in which one constant is another, and plays
the same loads with each. For a constant between 0.8 and 1.4, its distance from 1 is halved and
doubled. The table has the goodput as a share of what the chosen constants give, the mean of all
rows and in brackets the worst; by how many points the share of the admitted that met their targets
moves, likewise; and how many points more are refused at half the capacity, at most. Runs without
root; scripts/sim-table --constants writes the table into the docs. All constants take half an hour
of CPU time."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILES = ["user/core/adaptive.c", "user/core/server_slots.c"]
DEFINE = re.compile(r"^#define ([A-Z_]+)(\s+)([0-9.]+|\(1\.0 / 16\))(?=\s|$)", re.M)
ENGINES = {
    "4 slots": "--slots 4 --prefill-tokens-per-s 3000 --step-ms 15 --step-ms-per-seq 1.5 "
               "--chunk 128",
    "8 slots, prompts first": "--slots 8 --prefill-tokens-per-s 3000 --step-ms 12 "
                              "--step-ms-per-seq 3 --prefill-first --ttft-threshold-ms 1500 "
                              "--itl-threshold-ms 120",
    "32 slots": "--slots 32",
}
LOADS = [("poisson", 0.5, 0), ("poisson", 0.5, 1), ("poisson", 0.8, 0), ("poisson", 0.8, 0.5),
         ("poisson", 0.8, 1), ("poisson", 2, 0), ("poisson", 2, 0.5), ("poisson", 2, 1),
         ("step", 3, 0), ("flood", 1.5, 0), ("abuser", 2, 0)]
SEEDS = (1, 2)


def play(simulator):
    """By row: goodput, the share of the admitted in time, the share that is refused."""
    rows = {}
    for name, engine in ENGINES.items():
        for arrivals, load, unary in LOADS:
            results = []
            for seed in SEEDS:
                out = subprocess.run(
                    [simulator, "--json", "--synthetic", arrivals, "--load", str(load), "--unary",
                     str(unary), "--seed", str(seed), "--policy", "adaptive", *engine.split()],
                    check=True, capture_output=True).stdout
                results.append(json.loads(out)["policies"][0])
            rows[name, arrivals, load, unary] = [
                statistics.mean(r["goodput"] for r in results),
                statistics.mean(r["attainment"] for r in results),
                statistics.mean(r["refused"] / r["arrived"] for r in results)]
    return rows


def build(tree):
    subprocess.run(["make", "-s", "build/sluice-sim"], cwd=tree, check=True,
                   stdout=subprocess.DEVNULL)
    return f"{tree}/build/sluice-sim"


def others(text):
    """The constant halved and doubled."""
    value = eval(text)  # of this project's own source
    if 0.8 <= value <= 1.4 and value != 1:
        return [1 + (value - 1) / 2, 1 + (value - 1) * 2]
    return [value / 2, value * 2]


def compare(rows, base):
    ratios = [rows[r][0] / base[r][0] for r in base]
    met = [100 * (rows[r][1] - base[r][1]) for r in base]
    calm = [100 * (rows[r][2] - base[r][2]) for r in base if r[2] == 0.5]
    return (f"{100 * statistics.mean(ratios):.1f} ({100 * min(ratios):.0f}) | "
            f"{statistics.mean(met):+.1f} ({min(met):+.0f}) | {max(calm):+.2f}")


def main():
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="sl-constants-") as tree:
        for part in ("Makefile", "user", "include", "bpf", "LICENSE"):
            path = f"{ROOT}/{part}"
            if os.path.isdir(path):
                shutil.copytree(path, f"{tree}/{part}")
            else:
                shutil.copy(path, tree)
        base = play(build(tree))
        print("| constant | is " + "| tried | goodput, % | in time | refused " * 2 + "|\n|"
              + "---|" * 10, flush=True)
        for file in FILES:
            with open(f"{ROOT}/{file}", encoding="utf-8") as f:
                source = f.read()
            for m in DEFINE.finditer(source):
                name, text = m.group(1), m.group(3)
                if wanted and name not in wanted:
                    continue
                line = f"| {name} | {text} |"
                for value in others(text):
                    new = repr(round(value, 6)) if "." in repr(value) else str(value)
                    if re.fullmatch(r"\d+", text) and value == int(value):
                        new = str(int(value))
                    with open(f"{tree}/{file}", "w", encoding="utf-8") as f:
                        f.write(source[:m.start(3)] + new + source[m.end(3):])
                    line += f" {new} | {compare(play(build(tree)), base)} |"
                print(line, flush=True)
            with open(f"{tree}/{file}", "w", encoding="utf-8") as f:
                f.write(source)


if __name__ == "__main__":
    main()
