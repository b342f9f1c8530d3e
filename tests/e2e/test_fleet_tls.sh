#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A fleet that speaks TLS with its store, each side with a certificate. Hosts share a quota by it. A
# host with another authority gets no answer, says why, and gives out its share.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

TLS_PORT=6380
cat >"$T/fleet.yaml" <<END
fleet: test
fleet-store: [$STORE:$TLS_PORT]
fleet-tls-ca: $T/tls/ca.pem
fleet-tls-cert: $T/tls/client.pem
fleet-tls-key: $T/tls/client.key
fleet-hosts-min: 3
services:
  - {listen: $PORT, quota: requests=30/1h burst=30 fleet=on}
END

make_certificates "IP:$STORE"

make_fleet
# The plain port is for the redis-cli of this case.
begin_store --loglevel warning --tls-port "$TLS_PORT" --tls-auth-clients yes \
	--tls-cert-file "$T/tls/server.pem" --tls-key-file "$T/tls/server.key" \
	--tls-ca-cert-file "$T/tls/ca.pem"
for i in 3 4; do on "$C" ip addr add "10.78.0.$i/24" dev br0; done
for i in "${HOSTS[@]}"; do start_host "$i"; done
await_hosts "${HOSTS[@]}"
for i in "${HOSTS[@]}"; do
	check "over TLS, host $i is in the fleet" eventually 5 fleet_is "$i" \
		"f['up'] and f['hosts'] == 3 and f['store'] == '$STORE:$TLS_PORT'"
done
same "… and no host speaks plainly with the store" "" \
	"$(on "$R" ss -Htn state established "sport = :$STORE_PORT")"
spend_budget all 1 "" 10.78.0.1
check "a quota is one over all hosts" drove all \
	"r['admitted'] <= 30 + 30 * r['took'] / 3600 + 15 and r['failed'] == 0"
check "… and a client may use it" drove all "r['admitted'] >= 27"

finish "${DAEMONS[3]}"
begin_host 3 --fleet-tls-ca "$T/tls/other.pem"
says() { # N COMMAND PATTERN
	local said

	said=$(hctl "$1" "$2")
	grep -q "$3" <<<"$said" || { echo "$said"; return 1; }
}
why="the store's certificate is not good: .*issuer is unknown"
for command in fleet status; do
	check "of a host with another authority, $command says why it is alone" eventually 5 \
		says 3 "$command" "^fleet test: the store is away since .*$why.*; this host gives out its share"
done
spend_budget alone 1 "" 10.78.0.3 3
check "… and it gives out its share, a third" drove alone \
	"r['admitted'] <= 30 / 3 + 1 + 30 * r['took'] / 3600 and r['failed'] == 0"
check "… and no less" drove alone "r['admitted'] >= 9"
spend_budget others 1 "" 10.78.0.4 1 2
check "… while the others share as before" drove others \
	"27 <= r['admitted'] <= 30 + 30 * r['took'] / 3600 + 15 and r['failed'] == 0"
done_here
