# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Python's http.client, which sends the head of a request and its body by two calls: on one
connection while that goes on, before echo.py or app.py.

    hold.py HOST PORT REQUESTS [OPTION=VALUE…]

Requests are for the model "closed", which has to be refused, but for each second one, which is for
"open". Checks each byte of each answer, and prints one JSON object. Options:

    body=BYTES   of a body, at most
    each=N       each N-th request is for "open"
    nagle=1      leaves Nagle's algorithm on (RFC 896)
    server=app   the server is app.py
    wire=RULE    a rule of this file, which relay.py between both ends obeys
"""

import hashlib
import http.client
import json
import os
import random
import socket
import sys

from echo import answer
from relay import Relay

host, port, requests = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
options = dict(o.split("=", 1) for o in sys.argv[4:])
app = options.get("server") == "app"
found = {"admitted": 0, "refused": 0, "said_close": 0, "connections": 0, "changed": 0, "errors": []}
rng, chance = random.Random(7), random.Random(8)


class Connection(http.client.HTTPConnection):
    def connect(self):
        super().connect()
        found["connections"] += 1
        if options.get("nagle"):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)


def check_admitted(body, more, text):
    if app:
        assert json.loads(text)["choices"][0]["message"]["content"] == "hello", text
    else:
        assert text == answer(body, more), "another answer"


def exchange(conn, model):
    prompt = "x" * rng.randrange(int(options.get("body", 400)))
    body = json.dumps({"model": model, "prompt": prompt}).encode()
    more = rng.randrange(2000)
    conn.request("POST", "/v1/chat/completions", body,
                 {"Content-Type": "application/json", "X-More": str(more),
                  "X-Digest": hashlib.sha256(body).hexdigest(), "X-Odd": "y" * rng.randrange(9)})
    got = conn.getresponse()
    text = got.read()
    assert got.status == (429 if model == "closed" else 200), got.status
    if got.status == 200:
        check_admitted(body, more, text)
        found["admitted"] += 1
    else:
        assert json.loads(text)["error"]["code"] == "rate_limit_exceeded", text
        found["refused"] += 1
    found["said_close"] += got.will_close


# Rules of the wire: each loses or moves a segment once, so that what comes next gets through.
seen, waiting = set(), []


def first_time(s):
    """Whether a segment with these bytes has not been here before."""
    before = (s.up, s.sport, s.seq, len(s.payload)) in seen
    seen.add((s.up, s.sport, s.seq, len(s.payload)))
    return not before


def is_head(s):
    return s.up and s.payload.endswith(b"\r\n\r\n")


def doubled(s):
    return [s.frame, s.frame] if s.payload else None


def reordered(s):
    if is_head(s) and first_time(s):
        waiting.append(s.frame)
        return []
    return [s.frame, waiting.pop()] if s.up and s.payload and waiting else None


def loses_heads(s):
    return [] if is_head(s) and first_time(s) else None


def loses_bodies(s):
    return [] if s.up and s.payload and not is_head(s) and first_time(s) else None


def loses_answers(s):
    return [] if not s.up and s.payload and first_time(s) else None


def lossy(s):
    dice = chance.random()
    return [] if dice < 0.04 else [s.frame, s.frame] if dice < 0.08 else None


def counted(rule):
    def obey(s):
        out = rule(s)
        found["changed"] += out is not None
        return out
    return obey


if options.get("wire"):
    Relay(os.environ["SL_RELAY"], "c1", "s1", port).obey(counted(globals()[options["wire"]]))
each = int(options.get("each", 2))
conn = Connection(host, port, timeout=60)
for number in range(requests):
    try:
        exchange(conn, "closed" if number % each else "open")
    except (OSError, AssertionError, http.client.HTTPException) as e:
        found["errors"].append(f"{number}: {e!r}")
        conn.close()
conn.close()
print(json.dumps(found))
