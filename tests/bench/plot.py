#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Draws the results of wire.py as an SVG: goodput over time, one line for each policy, one panel
for each trace.

It needs the standard library only. The plot is legible on white and on black: the colours have
middle lightness, the background is transparent, and each line has a label and a dash of its
own.

    plot.py RESULTS.json >goodput.svg
"""

import json
import math
import sys

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 820, 300, 52, 170, 40, 44
WINDOW_S = 10  # each point is the mean of so many seconds
LINES = {
    "none": ("no limiter", "#8c959f", "2 4"),
    "ema-flag": ("ema-flag", "#d1741b", "8 3 2 3"),
    "fixed": ("limit_conn {limit}", "#2f81d6", "8 4"),
    "adaptive": ("adaptive", "#2da44e", "none"),
}


def smooth(series, seconds):
    """Goodput at each second: the mean of the WINDOW_S seconds around it, of fewer at both ends."""
    met = [0] * seconds
    for second, _, good, *_ in series:
        if second < seconds:
            met[second] += good
    around = [met[max(0, i - WINDOW_S // 2):i + (WINDOW_S + 1) // 2] for i in range(seconds)]
    return [sum(part) / len(part) for part in around]


def spread(wanted, gap, low, high):
    """Positions of labels, in the order of `wanted`, at least `gap` apart and within low … high."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    at = [0.0] * len(wanted)
    last = low - gap
    for i in order:
        at[i] = last = max(wanted[i], last + gap)
    last = high + gap
    for i in reversed(order):
        at[i] = last = min(at[i], last - gap)
    return at


def panel(run, top, seconds):
    lines = [(v, smooth(v["series"], seconds)) for v in run["variants"]]
    most = max([run["capacity"] * 1.1] + [y for _, points in lines for y in points])
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if most / s <= 6)
    most = math.ceil(most / step) * step
    width, height = WIDTH - LEFT - RIGHT, PANEL - TOP - BOTTOM
    bottom = top + TOP + height

    def x(second):
        return LEFT + width * second / (seconds - 1)

    def y(value):
        return bottom - height * value / most

    out = [f'<text class="title" x="{LEFT}" y="{top + 20}">{run["trace"]}: requests a second that met both targets, '
           f'at {run["load"]:g} times the capacity</text>']
    for i in range(round(most / step) + 1):
        out.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + width}" y1="{y(i * step):.1f}" y2="{y(i * step):.1f}"/>'
                   f'<text x="{LEFT - 8}" y="{y(i * step) + 4:.1f}" text-anchor="end">{i * step:g}</text>')
    every = next(s for s in (5, 10, 20, 30, 60, 120, 600, 3600) if seconds / s <= 8)
    for second in range(0, seconds + 1, every):
        out.append(f'<text x="{x(min(second, seconds - 1)):.1f}" y="{bottom + 18}" text-anchor="middle">{second}</text>')
    out.append(f'<text x="{LEFT + width / 2}" y="{bottom + 36}" text-anchor="middle">seconds; each point is the mean of '
               f'the {WINDOW_S} s around it, on the right is that of the whole run</text>')
    names, wanted = [], []
    for v, points in lines:
        name, colour, dash = LINES[v["name"]]
        path = " ".join(f"{x(i):.1f},{y(p):.1f}" for i, p in enumerate(points))
        out.append(f'<polyline points="{path}" stroke="{colour}" stroke-width="{3 if v["name"] == "adaptive" else 2}"'
                   f' stroke-dasharray="{dash}"/>')
        names.append((name.format(limit=v["limit"]), colour, v["goodput"], y(points[-1])))
        wanted.append(y(points[-1]))
    names.append(("capacity", None, run["capacity"], y(run["capacity"])))
    wanted.append(y(run["capacity"]))
    out.append(f'<line class="capacity" x1="{LEFT}" x2="{LEFT + width}" y1="{y(run["capacity"]):.1f}" '
               f'y2="{y(run["capacity"]):.1f}"/>')
    for (name, colour, value, end), at in zip(names, spread(wanted, 17, top + TOP, bottom)):
        fill = f' style="fill:{colour}"' if colour else ""
        out.append(f'<line class="lead" x1="{LEFT + width + 2}" y1="{end:.1f}" x2="{LEFT + width + 12}" y2="{at:.1f}"/>'
                   f'<text class="name" x="{LEFT + width + 16}" y="{at + 4:.1f}"{fill}>{name} {value:.2f}</text>')
    return out


def draw(results):
    seconds = results["seconds"]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{PANEL * len(results["runs"])}" '
           f'viewBox="0 0 {WIDTH} {PANEL * len(results["runs"])}" role="img">',
           "<title>Goodput over time, by policy</title>",
           "<style>text{font:12px system-ui,sans-serif;fill:#6e7781}.title{font-size:14px;font-weight:600}"
           ".name{font-weight:600}.grid{stroke:#8c959f;stroke-opacity:.3}.lead{stroke:#8c959f;stroke-opacity:.6}"
           ".capacity{stroke:#8c959f;stroke-dasharray:1 3;stroke-width:1.5}polyline{fill:none;stroke-linejoin:round}"
           "@media(prefers-color-scheme:dark){text{fill:#9ea7b3}}</style>"]
    for i, run in enumerate(results["runs"]):
        out += panel(run, i * PANEL, seconds)
    return "\n".join(out + ["</svg>", ""])


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as f:
        sys.stdout.write(draw(json.load(f)))
