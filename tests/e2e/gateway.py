# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Compares an API gateway that counts in Redis with sluice. The gateway is a model, not Redis. It
uses the commands of such gateways: INCR, EXPIRE if INCR returned 1, TTL for the seconds to wait.
The model moves its own clock. sluice is real: requests on the wire, and waits of Retry-After.

gateway.py HOST PORT MODEL SOURCE1 SOURCE2: sends twenty requests in sequence at 4 per 10 s to
both, to sluice from SOURCE1. It looks for the model's two faults in sluice from SOURCE2. Prints the
results as JSON.
"""

import http.client
import json
import math
import sys
import threading
import time

LIMIT, PERIOD, REQUESTS = 4, 10, 20


class Store:
    """Counters that expire: the part of Redis that a gateway needs."""

    def __init__(self):
        self.now = 0.0
        self.counters = {}  # key -> [count, time of expiry or None]

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
    """A fixed window. request() returns a status and the seconds to wait; -1 is for ever."""

    def __init__(self, store):
        self.store = store

    def request(self, dies=False):
        count = self.store.incr("client")
        if dies:
            return None, None
        if count == 1:
            self.store.expire("client", PERIOD)
        if count <= LIMIT:
            return 200, 0
        return 429, self.store.ttl("client")


def request(host, port, model, source):
    connection = http.client.HTTPConnection(host, port, timeout=10, source_address=(source, 0))
    body = json.dumps({"model": model, "messages": [], "max_tokens": 1})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, int(answer.headers.get("retry-after-ms", "0")) / 1000


def most_within(times, seconds):
    """The largest number of admissions within so many seconds."""
    return max(sum(1 for u in times if t <= u < t + seconds) for t in times)


def sequence(send, sleep, clock):
    """Sends REQUESTS requests, each with one retry after its Retry-After."""
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
    return {"rows": rows, "served": len(admitted), "refused_again": again,
            "seconds": round(clock(), 2), "refused": sum(r[1] == 429 for r in rows),
            "most_in_period": most_within(admitted, PERIOD),
            "most_in_a_second": most_within(admitted, 1)}


def model_sequence():
    store = Store()
    gateway = Gateway(store)

    def send():
        store.now += 0.01  # the time of one request
        return gateway.request()

    def sleep(seconds):
        store.now += seconds

    return sequence(send, sleep, lambda: store.now)


def model_edge():
    """One request opens the window, three come before its end, four after it. Returns the
    admissions within 0.35 s: 2 * LIMIT - 1."""
    store = Store()
    gateway = Gateway(store)
    admitted = []
    for at in (0, 9.8, 9.85, 9.9, 10.0, 10.05, 10.1, 10.15):
        store.now = at
        if gateway.request()[0] == 200:
            admitted.append(at)
    return sum(at >= 9.8 for at in admitted)


def sluice_edge(send):
    """The same pattern in sluice: a full budget, one request, ten seconds, then requests as fast
    as possible."""
    began = time.monotonic()
    first = send()[0]
    time.sleep(max(0, began + PERIOD - 0.2 - time.monotonic()))
    statuses = [send()[0]]
    while time.monotonic() < began + PERIOD + 0.15:
        statuses.append(send()[0])
        time.sleep(0.01)
    return {"first": first, "sent": len(statuses), "admitted": statuses.count(200)}


def model_lock_out():
    """The process dies between INCR and EXPIRE. Requests of the next year are counted."""
    store = Store()
    gateway = Gateway(store)
    gateway.request(dies=True)
    answers = []
    for day in range(366):
        store.now = day * 86400.0
        answers.append(gateway.request())
    return {"admitted": sum(s == 200 for s, _ in answers), "sent": len(answers),
            "last": answers[-1]}


def main():
    host, port, model = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    out = {"model": model_sequence(), "model_edge": model_edge(),
           "model_lock_out": model_lock_out()}

    def edge():
        out["sluice_edge"] = sluice_edge(lambda: request(host, port, model, sys.argv[5]))

    edge_thread = threading.Thread(target=edge)
    edge_thread.start()
    began = time.monotonic()
    out["sluice"] = sequence(lambda: request(host, port, model, sys.argv[4]), time.sleep,
                             lambda: time.monotonic() - began)
    edge_thread.join()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
