#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Heads that wait for their bodies, on a wire that loses each head, body or answer once, doubles
# all, or brings the body before its head. Each request is judged once, and each byte is as it was
# sent (invariants 4 and 8).
MORE_NAMESPACES=sl-hold_wire-r
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/wires.sh
. "$HERE/wires.sh"
# shellcheck source=tests/e2e/storms.sh
. "$HERE/storms.sh"

relay_between
begin

for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	for rule in doubled loses_bodies loses_answers loses_heads reordered lossy; do
		before=$(value "[k['refusals-kept'], $CLOSED, r['admitted'], r['rejected']]")
		on "$C" env SL_RELAY="$R" "$PY" "$HERE/hold.py" "$host" "$PORT" 20 \
			wire="$rule" >"$T/hold.json"
		holds --within 3 "half of 20 requests are refused on a wire with the rule $rule $over" \
			"j('hold')['errors'] == [] and j('hold')['changed'] > 0 and
			 j('hold')['admitted'] == 10 and j('hold')['refused'] == 10 and
			 j('hold')['connections'] <= 1 + j('hold')['said_close'] and
			 [k['refusals-kept'], $CLOSED, r['admitted'], r['rejected']] ==
			 [${before}[0] + j('hold')['refused'] - j('hold')['said_close'],
			  ${before}[1] + j('hold')['said_close'],
			  ${before}[2] + 10, ${before}[3] + 10]"
	done
done
holds --within 3 "no count is left" "s['global']['in_flight'] == 0"
finish "$ECHO"
same "the server has seen the admitted requests and nothing else" \
	"$(value "[r['admitted'], True]")" \
	"$("$PY" -c 'import json, sys
seen = json.loads(sys.stdin.read().split("\n")[-2])
print(json.dumps([seen["requests"], all("ConnectionReset" in e for e in seen["errors"])]))' \
		<"$T/echo.log")"
done_here
