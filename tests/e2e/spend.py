# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A client that spends its budget: spend.py TOKENS KEY ADDRESSES HOST…
Sends one request after the other to port 8000 of the hosts in turn, from the addresses (separated
by commas) in turn, until each host in turn has said that the budget is spent: a wait of more than
five seconds. A shorter one is obeyed. KEY is its API key, in one header or another, or empty. An
answer has TOKENS tokens. Prints what was admitted, by host, the tokens of the answers, and the rest
as JSON."""
import http.client
import json
import sys
import time

MOST = 2000  # requests
SPENT_MS = 5000
tokens, key, addresses = int(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
hosts = sys.argv[4:]
headers = [{"x-api-key": key}, {"Authorization": "Bearer " + key}] if key else [{}]
body = json.dumps({"model": "llama", "max_tokens": tokens, "stream": False, "messages": []})
result = {"admitted": 0, "refused": 0, "failed": 0, "by_host": [0] * len(hosts), "tokens": 0}
start, spent, sent = time.monotonic(), 0, 0
while spent < len(hosts) and sent < MOST:
    host = sent % len(hosts)
    http_ = http.client.HTTPConnection(hosts[host], 8000, timeout=60,
                                       source_address=(addresses[sent % len(addresses)], 0))
    try:
        http_.request("POST", "/v1/chat/completions", body,
                      {"Content-Type": "application/json"} | headers[sent % len(headers)])
        answer = http_.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        result["failed"] += 1
        result["error"] = repr(error)
        break
    finally:
        http_.close()
    sent += 1
    if answer.status == 200:
        spent = 0
        result["admitted"] += 1
        result["by_host"][host] += 1
        result["tokens"] += json.loads(text)["usage"]["completion_tokens"]
        continue
    if answer.status != 429:
        result["failed"] += 1
        result["error"] = answer.status
        break
    result["refused"] += 1
    wait = int(answer.headers["retry-after-ms"])
    if wait > SPENT_MS:
        spent += 1
        result["wait_ms"] = wait
    else:
        spent = 0
        time.sleep(wait / 1000)
result["took"] = round(time.monotonic() - start, 2)
print(json.dumps(result))
