# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What an API gateway with a counter in Redis does, beside what sluice does. The gateway is a model, not Redis: the two
commands that such gateways are made of (INCR; EXPIRE where INCR said 1; TTL for the seconds to wait), under a clock
that the model moves itself. Sluice is real: requests on the wire, waiting as told.

gateway.py HOST PORT MODEL SOURCE SOURCE: twenty requests one after the other at 4 per 10 s through both, from the first
address, and the model's two faults, looked for here from the second, as JSON.
"""

import http.client
import json
import math
import sys
import threading
import time

LIMIT, PERIOD, REQUESTS = 4, 10, 20


class Store:
    """A store of counters that can expire, as far as a gateway needs one."""

    def __init__(self):
        self.now = 0.0
        self.counters = {}  # key -> [count, when it ends or None]

    def incr(self, key):
        counter = self.counters.get(key)
        if not counter or (counter[1] is not None and self.now >= counter[1]):
            counter = self.counters[key] = [0, None]
        counter[0] += 1
        return counter[0]

    def expire(self, key, seconds):
        self.counters[key][1] = self.now + seconds

    def ttl(self, key):
        end = self.counters[key][1]
        return -1 if end is None else math.ceil(end - self.now)


class Gateway:
    """A fixed window. ask() is a status and the seconds to wait, -1 for ever."""

    def __init__(self, store):
        self.store = store

    def ask(self, dies=False):
        count = self.store.incr("client")
        if dies:
            return None, None
        if count == 1:
            self.store.expire("client", PERIOD)
        if count <= LIMIT:
            return 200, 0
        return 429, self.store.ttl("client")


def ask(host, port, model, source):
    connection = http.client.HTTPConnection(host, port, timeout=10, source_address=(source, 0))
    body = json.dumps({"model": model, "messages": [], "max_tokens": 1})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, int(answer.headers.get("retry-after-ms", "0")) / 1000


def most_within(times, seconds):
    """The most that were admitted in any span that is shorter than so many seconds."""
    return max(sum(1 for u in times if t <= u < t + seconds) for t in times)


def sequence(send, sleep, clock):
    """As many requests as REQUESTS served in the end, each refusal waited out as told."""
    rows, admitted, again = [], [], 0
    for _ in range(REQUESTS):
        status, wait = send()
        rows.append((round(clock(), 3), status, round(wait, 3)))
        if status == 429:
            sleep(wait)
            status, wait = send()
            rows.append((round(clock(), 3), status, round(wait, 3)))
            again += status != 200
        if status == 200:
            admitted.append(clock())
    return {"rows": rows, "served": len(admitted), "refused_again": again, "seconds": round(clock(), 2),
            "refused": sum(r[1] == 429 for r in rows),
            "most_in_period": most_within(admitted, PERIOD), "most_in_a_second": most_within(admitted, 1)}


def model_sequence():
    store = Store()
    gateway = Gateway(store)

    def send():
        store.now += 0.01  # what a request takes
        return gateway.ask()

    def sleep(seconds):
        store.now += seconds

    return sequence(send, sleep, lambda: store.now)


def model_edge():
    """One request opens the window, three before its end, four behind it: how many pass in 0.35 s, at most 2 * LIMIT - 1."""
    store = Store()
    gateway = Gateway(store)
    admitted = []
    for at in (0, 9.8, 9.85, 9.9, 10.0, 10.05, 10.1, 10.15):
        store.now = at
        if gateway.ask()[0] == 200:
            admitted.append(at)
    return sum(at >= 9.8 for at in admitted)


def sluice_edge(send):
    """The same pattern over a period's end: full budget, one request, ten seconds, then as fast as can be."""
    began = time.monotonic()
    first = send()[0]
    time.sleep(max(0, began + PERIOD - 0.2 - time.monotonic()))
    asked = [send()[0]]
    while time.monotonic() < began + PERIOD + 0.15:
        asked.append(send()[0])
        time.sleep(0.01)
    return {"first": first, "asked": len(asked), "admitted": asked.count(200)}


def model_lock_out():
    """The process dies between INCR and EXPIRE; a year later."""
    store = Store()
    gateway = Gateway(store)
    gateway.ask(dies=True)
    said = []
    for day in range(366):
        store.now = day * 86400.0
        said.append(gateway.ask())
    return {"admitted": sum(s == 200 for s, _ in said), "asked": len(said), "last": said[-1]}


def main():
    host, port, model = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    out = {"model": model_sequence(), "model_edge": model_edge(), "model_lock_out": model_lock_out()}

    def edge():
        out["sluice_edge"] = sluice_edge(lambda: ask(host, port, model, sys.argv[5]))

    beside = threading.Thread(target=edge)
    beside.start()
    began = time.monotonic()
    out["sluice"] = sequence(lambda: ask(host, port, model, sys.argv[4]), time.sleep, lambda: time.monotonic() - began)
    beside.join()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
