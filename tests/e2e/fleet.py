# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""One client of a fleet: fleet.py PATTERN SECONDS RATE ADDRESS HOST…
Sends RATE requests a second from ADDRESS to port 8000 of the hosts: all to the first (one), to
each in turn (all), or for a second to one after the other (hopping); or (burst) RATE requests over
four connections to the first; or (obey) to each host in turn until RATE requests are served,
SECONDS apart, waiting as a refusal says. Prints what was admitted, by host, how many waits were
broken, and the rest as JSON."""
import http.client
import json
import sys
import threading
import time

pattern, seconds, rate, address = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
hosts = sys.argv[5:]
body = json.dumps({"model": "llama", "stream": False, "messages": []})
lock = threading.Lock()
result = {"admitted": 0, "refused": 0, "failed": 0, "by_host": [0] * len(hosts),
          "slowest_ms": 0.0, "began": time.time()}


class Connection:
    def __init__(self, host):
        self.host, self.http = host, None

    def send(self):
        """The status, and the ms that a refusal says."""
        if not self.http:
            self.http = http.client.HTTPConnection(hosts[self.host], 8000, timeout=20,
                                                   source_address=(address, 0))
        began = time.monotonic()
        try:
            self.http.request("POST", "/v1/chat/completions", body,
                              {"Content-Type": "application/json"})
            answer = self.http.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.http = None
            with lock:
                result["failed"] += 1
                result["error"] = repr(error)
            return 0, 0
        if answer.will_close:
            self.http.close()
            self.http = None
        took = (time.monotonic() - began) * 1000
        with lock:
            result["slowest_ms"] = max(result["slowest_ms"], round(took, 1))
            if answer.status == 200:
                result["admitted"] += 1
                result["by_host"][self.host] += 1
            elif answer.status == 429:
                result["refused"] += 1
            else:
                result["failed"] += 1
        return answer.status, int(answer.headers.get("retry-after-ms") or 0)


start = time.monotonic()
if pattern == "obey":
    connections = [Connection(i) for i in range(len(hosts))]
    turn, result["broken"] = 0, 0
    for _ in range(int(rate)):
        waited, status = False, 429
        while status == 429:
            status, ms = connections[turn % len(hosts)].send()
            turn += 1
            result["broken"] += waited and status == 429
            waited = status == 429
            time.sleep(ms / 1000 if waited else seconds)
elif pattern == "burst":
    connections = [Connection(0) for _ in range(4)]
    for c in connections:  # connected before
        c.http = http.client.HTTPConnection(hosts[0], 8000, timeout=20, source_address=(address, 0))
        c.http.connect()

    def share(c, k):
        for i in range(int(rate)):
            if i % len(connections) == k:
                delay = start + i * seconds / rate - time.monotonic()
                if delay > 0:
                    time.sleep(delay)
                c.send()
    start = time.monotonic() + 0.05
    threads = [threading.Thread(target=share, args=(c, k)) for k, c in enumerate(connections)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
else:
    connections = [Connection(i) for i in range(len(hosts))]
    total = int(seconds * rate)
    for n in range(total):
        at = start + n / rate
        delay = at - time.monotonic()
        if delay > 0:
            time.sleep(delay)
        which = (0 if pattern == "one" else n % len(hosts) if pattern == "all"
                 else int(n / rate) % len(hosts))
        connections[which].send()
result["took"] = round(time.monotonic() - start, 2)
print(json.dumps(result))
