# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Evaluates an expression on the present state of sluice, the mock server and the kernel.

holds.py SECONDS EXPRESSION repeats until the expression is true, for ten times SECONDS at most:
SECONDS is for a quiet machine. It then prints the value of each side. holds.py --print EXPRESSION
prints the value of EXPRESSION.

Each attempt reads its names anew: s is `sluicectl status --json`; m and v are its models and
services, by name and port; r is its requests, k its counters; mock is the mock server's /stats; w
is the witness's counts. j(NAME), log(NAME) and events(NAME) are files of the case. said(EVENT) is
the list of these events in the daemon's log, if that is JSON.
sockets(NAMESPACE) is the list of TCP sockets left at the port.
"""

import ast
import json
import os
import subprocess
import sys
import time

PATIENCE = 10
ENV = os.environ
NAMESPACES = {"s": ENV["SL_SERVER"], "c": ENV["SL_CLIENT"]}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def on(namespace, *command):
    return run("nsenter", f"--net=/run/netns/{NAMESPACES[namespace]}", *command)


def ctl(*words):
    return json.loads(run(ENV["SL_CTL"], "--control", ENV["SL_CONTROL"], *words, "--json"))


def mock():
    url = f"http://127.0.0.1:{ENV['SL_ADMIN']}/stats"
    return json.loads(on("s", "curl", "-sS", "-m", "5", url))


def witness():
    rows = json.loads(run("bpftool", "-j", "map", "dump", "pinned", ENV["SL_WITNESS"] + "/seen"))
    return rows[0]["formatted"]["value"]


def sockets(namespace, port=8000, state="all"):
    """Sockets of the port, without listening ones and TIME-WAIT."""
    lines = on(namespace, "ss", "-Htan", "state", state, f"( sport = :{port} or dport = :{port} )")
    rows = [line.split() for line in lines.splitlines()]
    return [row for row in rows if row[0] not in ("LISTEN", "TIME-WAIT")]


def log(name):
    with open(f"{ENV['SL_TMP']}/{name}.log", encoding="utf-8", errors="replace") as f:
        return f.read()


def j(name):
    with open(f"{ENV['SL_TMP']}/{name}.json", encoding="utf-8") as f:
        return json.load(f)


def events(name):
    """The complete lines of a log, one JSON object each."""
    return [json.loads(line) for line in log(name).split("\n")[:-1]]


def said(event):
    """The daemon's standard output, which is no JSON, has the same file."""
    lines = [json.loads(x) for x in log("daemon").split("\n")[:-1] if x.startswith("{")]
    return [x for x in lines if x["event"] == event]


def close(a, b, share):
    """a is within this share of b."""
    return abs(a - b) <= share * abs(b)


class Names(dict):
    def __missing__(self, name):
        if name == "s":
            self[name] = ctl("status")
        elif name == "m":
            self[name] = {x["name"]: x for x in self["s"]["models"]}
        elif name == "v":
            self[name] = {x["port"]: x for x in ctl("services")["services"]}
        elif name == "r":
            self[name] = self["s"]["requests"]
        elif name == "k":
            self[name] = self["s"]["counters"]
        elif name == "mock":
            self[name] = mock()
        elif name == "w":
            self[name] = witness()
        else:
            raise KeyError(name)
        return self[name]


def names():
    return Names(j=j, log=log, events=events, said=said, sockets=sockets, close=close, on=on,
                 ctl=ctl)


def sides(node, known):
    """The parts of a false expression, without literals, with their values."""
    if isinstance(node, ast.BoolOp):
        return [x for v in node.values for x in sides(v, known)]
    if isinstance(node, ast.Compare):
        return [x for v in (node.left, *node.comparators) for x in sides(v, known)]
    if isinstance(node, ast.Constant):
        return []
    if isinstance(node, ast.Call) and not isinstance(node.func, ast.Attribute):
        return [f"{ast.unparse(node)} = {evaluate(node, known)!r}"] + [
            x for v in node.args for x in sides(v, known)
        ]
    return [f"{ast.unparse(node)} = {evaluate(node, known)!r}"]


def evaluate(node, known):
    try:
        return eval(compile(ast.Expression(node), "expression", "eval"), known)
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"
    except (LookupError, TypeError, ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"


def passed(known):
    """The counters of what passed unjudged or although refused, which often explain the rest."""
    if "s" not in known:
        return []
    counters = known["s"]["counters"].items()
    return [f"{name} = {n}" for name, n in counters if name.startswith("passed-") and n]


def main():
    what, text = sys.argv[1:3]
    tree = ast.parse(f"({text})", mode="eval").body
    if what == "--print":
        print(json.dumps(evaluate(tree, names())))
        return 0
    deadline = time.monotonic() + PATIENCE * float(what)
    while True:
        known = names()
        if evaluate(tree, known) is True:
            return 0
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    print(f"{text} does not hold; " + ", ".join(sides(tree, known) + passed(known)))
    return 1


if __name__ == "__main__":
    sys.exit(main())
