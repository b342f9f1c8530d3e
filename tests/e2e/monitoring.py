# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Asks Prometheus: monitoring.py board FILE prints the expressions of a board that have no value,
or an error; monitoring.py firing prints the names of the alerts that fire."""

import json
import re
import sys
import urllib.parse
import urllib.request

API = "http://127.0.0.1:9090/api/v1/"


def get(path, **query):
    with urllib.request.urlopen(API + path + "?" + urllib.parse.urlencode(query), timeout=20) as f:
        return json.load(f)["data"]


def values(expression):
    for name, value in (("$__rate_interval", "20s"), ("$instance", ".*"), ("$model", ".*")):
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return get("query", query=expression)["result"]


def board(path):
    with open(path, encoding="utf-8") as f:
        text = json.load(f)
    metrics = {x["query"]["query"] for x in text["templating"]["list"] if x["type"] == "query"}
    targets = [re.fullmatch(r"label_values\((\w+), \w+\)", x)[1] for x in metrics]
    targets += [t["expr"] for panel in text["panels"] for t in panel.get("targets", [])]
    assert len(targets) > 20
    return [expression for expression in targets if not values(expression)]


def main():
    if sys.argv[1] == "board":
        print(json.dumps(board(sys.argv[2])))
    else:
        alerts = get("alerts")["alerts"]
        print(json.dumps(sorted({a["labels"]["alertname"] for a in alerts
                                 if a["state"] == "firing"})))


if __name__ == "__main__":
    main()
