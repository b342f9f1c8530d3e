# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""storm.py through a wire (relay.py) that treats segments at random:

    rough.py CLIENT-NAMESPACE SERVER-NAMESPACE RELAY-NAMESPACE replies|all STORM-ARGUMENT…

It loses, doubles or delays them, or lets the next ones overtake: every second 429, or one in twelve
of all other segments, too. Prints what storm.py prints, with how often it did each."""

import heapq
import json
import os
import random
import subprocess
import sys
import threading
import time

from relay import Relay

client, server, namespace, what = sys.argv[1:5]
rng = random.Random(7)
relay = Relay(namespace, "c1", "s1")
did = {"lost": 0, "doubled": 0, "delayed": 0, "overtaken": 0}
later, waiting = [], threading.Condition()


def carry_later(up, frame, seconds):
    with waiting:
        heapq.heappush(later, (time.monotonic() + seconds, id(frame), up, frame))
        waiting.notify()


def carrier():
    while True:
        with waiting:
            while not later or later[0][0] > time.monotonic():
                waiting.wait(later[0][0] - time.monotonic() if later else None)
            _, _, up, frame = heapq.heappop(later)
        relay.carry(up, frame)


def rule(s):
    reply = s.payload.startswith(b"HTTP/1.1 429 ")
    if rng.random() > (0.5 if reply else 0.08 if what == "all" else 0):
        return None
    how = rng.choice(list(did))
    did[how] += 1
    if how == "lost":
        return []
    if how == "doubled":
        return [s.frame, s.frame]
    carry_later(s.up, s.frame, 0.03 if how == "delayed" else 0.005)
    return []


threading.Thread(target=carrier, daemon=True).start()
relay.obey(rule)
storm = subprocess.run(
    ["nsenter", f"--net=/run/netns/{client}", sys.executable,
     os.path.join(os.path.dirname(__file__), "storm.py"), *sys.argv[5:]],
    check=True, capture_output=True, text=True)
# The last FINs pass, too, and their acknowledgements.
relay.obey(None)
for end in client, server:
    show = ["nsenter", f"--net=/run/netns/{end}", "ss", "-Htn", "state", "connected", "exclude",
            "time-wait"]
    while subprocess.run(show, check=True, capture_output=True).stdout:
        time.sleep(0.02)
print(json.dumps({**json.loads(storm.stdout), "did": did}))
