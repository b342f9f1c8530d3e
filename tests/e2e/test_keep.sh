#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Refusals that keep their connections: each byte of each request and each answer is as it was sent,
# the server sees only what is admitted, and no connection ends (invariant 4).
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/storms.sh
. "$HERE/storms.sh"

begin

# A refusal may close its connection: on a slow machine the server is not heard for two seconds, or
# a request comes in pieces. Then a counter says so.
for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	before=$(value "[k['refusals-kept'], $CLOSED, r['admitted'], r['rejected']]")
	on "$C" "$PY" "$HERE/storm.py" "$host" "$PORT" 40 50 400 2000 >"$T/storm.json"
	holds --within 3 "40 clients keep their connections through refusals $over" \
		"j('storm')['errors'] == [] and j('storm')['refused'] > 800 and
		 j('storm')['admitted'] > 800 and j('storm')['said_close'] < 400 and
		 j('storm')['connections'] <= 40 + j('storm')['said_close']"
	holds --within 3 "and all of them are counted $over" \
		"[k['refusals-kept'], $CLOSED, r['admitted'], r['rejected']] ==
		 [${before}[0] + j('storm')['refused'] - j('storm')['said_close'],
		  ${before}[1] + j('storm')['said_close'], ${before}[2] + j('storm')['admitted'],
		  ${before}[3] + j('storm')['refused']]"
done
holds --within 10 "no entry stays behind a connection that has ended" \
	"s['maps']['kept']['entries'] == 0 and s['maps']['conns']['entries'] == 0"
finish "$ECHO"
same "the server has seen the admitted requests and nothing else" \
	"$(value "[r['admitted'], True]")" \
	"$("$PY" -c 'import json, sys
seen = json.loads(sys.stdin.read().split("\n")[-2])
print(json.dumps([seen["requests"], len(seen["errors"]) <= int(sys.argv[1]) and
                  all("ConnectionReset" in e for e in seen["errors"])]))' \
		"$(value "$CLOSED")" <"$T/echo.log")"
done_here
