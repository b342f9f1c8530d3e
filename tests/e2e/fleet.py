# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""One client of a fleet: fleet.py PATTERN SECONDS RATE ADDRESS SOCKET=HOST…
Sends requests from ADDRESS to port 8000 of the hosts, RATE a second: all to the first (one), to
each in turn (all), or for a second to one after the other (hopping). Or it sends to each host in
turn until RATE requests are served: a refused one again at once, when the host has heard of the
store (burst); at another host after the stated wait, the next one when all hosts have heard of the
last one (obey); or the next one at once (hurry). SOCKET is the host's control socket.

Prints as JSON what was admitted, by host, when each request was sent (times, s after began), when
each admitted one was sent and answered (admissions), how long the store was away meanwhile at the
host where that was longest (away, s), how many stated waits were not kept (late: by less than
LATE_MS; broken: by more), and the rest."""
import http.client
import json
import socket
import sys
import time

# What a host knows of the store is at most so old, or the store is away. It is also the wait that a
# host states if it lacks a grant.
LATE_MS = 1000

pattern, seconds, rate, address = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
sockets, hosts = zip(*(host.split("=") for host in sys.argv[5:]))
body = json.dumps({"model": "llama", "stream": False, "messages": []})
result = {"admitted": 0, "refused": 0, "failed": 0, "by_host": [0] * len(hosts),
          "slowest_ms": 0.0, "late": 0, "broken": 0}


def fleet_of(which):
    """The answer of a host's daemon to `fleet`; None: it is not there."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(100)
        try:
            s.connect(sockets[which])
            s.sendall(b'{"cmd":"fleet"}\n')
            return json.loads(s.makefile().readline())["fleet"]
        except (OSError, ValueError):
            return None


def away():
    """How long the store has been away, s, by host."""
    return [fleet["away_ms"] / 1000 if fleet else 0 for fleet in map(fleet_of, range(len(hosts)))]


def hears(which):
    """Waits until a host has made a call, from now on, and the store has answered it."""
    until, now = time.monotonic() + 100, fleet_of(which)["counts"]["calls"]
    while fleet_of(which)["counts"]["calls"] < now + 2:
        if time.monotonic() > until:
            sys.exit(f"host {hosts[which]} does not hear of the store")
        time.sleep(0.005)


class Connection:
    def __init__(self, host):
        self.host, self.http = host, None

    def send(self):
        """The status, and the ms that a refusal says."""
        if not self.http:
            self.http = http.client.HTTPConnection(hosts[self.host], 8000, timeout=20,
                                                   source_address=(address, 0))
        began = time.monotonic()
        times.append(round(began - start, 3))
        try:
            self.http.request("POST", "/v1/chat/completions", body,
                              {"Content-Type": "application/json"})
            answer = self.http.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.http = None
            result["failed"] += 1
            result["error"] = repr(error)
            return 0, 0
        if answer.will_close:
            self.http.close()
            self.http = None
        took = (time.monotonic() - began) * 1000
        result["slowest_ms"] = max(result["slowest_ms"], round(took, 1))
        if answer.status == 200:
            result["admitted"] += 1
            admissions.append([round(began - start, 3), round(time.monotonic() - start, 3)])
            result["by_host"][self.host] += 1
        elif answer.status == 429:
            result["refused"] += 1
        else:
            result["failed"] += 1
        return answer.status, int(answer.headers.get("retry-after-ms") or 0)


def serve_all():
    turn = 0
    for _ in range(int(rate)):
        waited = False
        while True:
            which = turn % len(hosts)
            turn += 1
            status, ms = connections[which].send()
            if status != 429:
                break
            if result["refused"] > 1000:
                sys.exit("the hosts refuse without end")
            result["late"] += waited and ms < LATE_MS
            result["broken"] += waited and ms >= LATE_MS
            waited = pattern != "burst"
            if waited:
                time.sleep(ms / 1000)
            else:
                hears(which)
        if pattern == "obey":
            hears(which)
            for other in range(len(hosts)):
                if other != which:
                    hears(other)


def send_all():
    for n in range(int(seconds * rate)):
        delay = start + n / rate - time.monotonic()
        if delay > 0:
            time.sleep(delay)
        which = (0 if pattern == "one" else n % len(hosts) if pattern == "all"
                 else int(n / rate) % len(hosts))
        connections[which].send()


connections = [Connection(i) for i in range(len(hosts))]
before, times, admissions = away(), [], []
result["began"], start = time.time(), time.monotonic()
if pattern in ("burst", "obey", "hurry"):
    serve_all()
else:
    send_all()
result["took"] = round(time.monotonic() - start, 2)
# A daemon that has begun meanwhile counts from its own start.
result["away"] = max(now - then if now >= then else now for then, now in zip(before, away()))
print(json.dumps(result | {"times": times, "admissions": admissions}))
