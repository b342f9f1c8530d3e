# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sends one request at once, and one more on the same connection at each SIGUSR1:
kept.py HOST PORT MODEL. Prints "N STATUS" for each response.
"""

import http.client
import json
import signal
import sys

host, port, model = sys.argv[1:4]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
conn = http.client.HTTPConnection(host, int(port), timeout=60)
for number in range(1, 100):
    conn.request("POST", "/v1/chat/completions", json.dumps({"model": model, "messages": []}),
                 {"Content-Type": "application/json"})
    response = conn.getresponse()
    response.read()
    print(number, response.status, flush=True)
    signal.sigwait({signal.SIGUSR1})
