#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A quota of tokens over a fleet: what all hosts charge stays within the budget and E, and a debt
# that one host made is one at the others.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

cat >"$T/fleet.yaml" <<END
fleet: test
fleet-store: [$STORE:$STORE_PORT]
services:
  - {listen: $PORT, quota: tokens=600/1h token-burst=600 fleet=on}
END
EACH=10 # tokens of a response
# Half of the burst; besides, a response of each host, and the one under way.
EXCESS=$((300 + 3 * EACH + EACH))

make_fleet
begin_store --loglevel warning
for i in "${HOSTS[@]}"; do start_host "$i"; done
await_hosts "${HOSTS[@]}"
for i in "${HOSTS[@]}"; do eventually 5 fleet_is "$i" "f['up'] and f['hosts'] == 3"; done
for i in {3..5}; do on "$C" ip addr add "10.78.0.$i/24" dev br0; done

spend_budget all "$EACH" "" 10.78.0.1
bound="r['tokens'] <= 600 + 600 * r['took'] / 3600 + $EXCESS and r['failed'] == 0"
check "the tokens of all hosts stay within the budget and E" drove all "$bound"
check "… and a client may use its budget" drove all "r['tokens'] >= 0.9 * 600"
check "… at each host" drove all "all(r['by_host'])"
spend_budget one "$EACH" "" 10.78.0.2 1
check "a client may use it at one host" drove one "$bound and r['tokens'] >= 0.9 * 600"
spend_budget rest "$EACH" "" 10.78.0.2 2 3
check "… and has nothing left at the others" drove rest "r['tokens'] <= $EXCESS"

# One response takes more than the whole budget.
spend_budget debt 900 "" 10.78.0.3 1
check "a response that is longer than the budget makes a debt" drove debt \
	"r['admitted'] == 1 and r['tokens'] == 900 and r['wait_ms'] > 1000000"
owes() { # N: a request is refused, for as long as the debt takes to be paid
	local said

	said=$(asks "$1" 10.78.0.3 llama '%{http_code} %header{retry-after}')
	[[ ${said% *} == 429 && ${said#* } -gt 1000 ]] || { echo "$said"; return 1; }
}
for i in 2 3; do
	check "… which the client owes at host $i, too" eventually 5 owes "$i"
done
check "another client owes nothing" test "$(asks 2 10.78.0.4)" = 200
done_here
