#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What others see of the daemon over HTTP: /healthz and /readyz, for the probes of an orchestrator.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

METRICS=127.0.0.1:9464
mock --model m,prefill-ms=1,token-ms=1,tokens=2

# becomes TEXT PATH: waits for this answer.
becomes() {
	local deadline=$((SECONDS + 100)) got

	until got=$(on "$S" curl -sS -m 100 -w '%{http_code}' "http://$METRICS$2") &&
		[[ $got == "$1" ]]; do
		((SECONDS < deadline)) || { echo "it answers $got"; return 1; }
		sleep 0.05
	done
}

# ---- health ----

start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics "$METRICS" \
	--interface s0 --interface late0 --listen "$PORT"
DAEMON=$PID
await_line daemon ready "$DAEMON"
check "a daemon is alive as soon as it is there" becomes $'alive\n200' /healthz
check "a wanted interface that is missing makes it not ready" \
	becomes $'not ready: 1 of 2 interfaces are not attached\n503' /readyz
on "$S" ip link add late0 type veth peer name late1
check "it is ready once that interface is attached" becomes $'ready: mode enforce\n200' /readyz
ctl set mode=shadow >/dev/null
check "it says that it only observes" becomes $'ready: mode shadow\n200' /readyz
on "$S" ip link del late0
check "it is not ready when the interface is gone" \
	becomes $'not ready: 1 of 2 interfaces are not attached\n503' /readyz
check "it is alive nevertheless" becomes $'alive\n200' /healthz
ctl detach >/dev/null
wait "$DAEMON" || true

done_here
