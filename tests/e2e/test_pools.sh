#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Names that nobody configured open no queue each (invariant 6): with `pool: port` all models of a
# port share one, and without it, all learned names but a few share that of `other`.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

PORTS="8010 8020" NAMES=30
for port in $PORTS; do
	start "server-$port" "$S" "$PY" "$HERE/peers.py" serve "$S4" "$port" \
		--steps 300 --first 0.5 --gap 1
	await_line "server-$port" ready "$PID"
done

# flood PORT: a stream of each name at once.
flood() {
	for ((i = 1; i <= NAMES; i++)); do
		start "stream-$1-$i" "$C" curl -sS -m 300 -o "$T/out" \
			--json "{\"model\":\"name-$1-$i\",\"stream\":true,\"messages\":[]}" \
			"http://$S4:$1/v1/chat/completions"
	done
}

# A new pool has 16 slots, and fewer as soon as the first tokens are late, as all are here. In any
# time that the requests take to come, some are refused.
for port in $PORTS; do
	pool=other setting=model
	[[ $port == 8010 ]] || pool="pool:*:$port" setting=port
	cat >"$T/sluice.yaml" <<-CONF
		policy: adaptive
		ttft-threshold-ms: 100
		services:
		  - {listen: $port, pool: $setting}
	CONF
	sluice --config "$T/sluice.yaml"

	flood "$port"
	holds --within 20 "pool: $setting: new names share the slots of $pool" \
		"r['admitted'] + r['rejected'] == $NAMES and r['rejected'] >= 1 and
		 m['$pool']['in_flight'] == r['admitted']"
	await 10 "len([n for n in m if n.startswith('name-')]) >= 4"
	flood "$port"
	holds --within 20 "pool: $setting: names that are known by now open no queue each" \
		"r['admitted'] + r['rejected'] == 2 * $NAMES and r['rejected'] >= 10"
	ctl detach >/dev/null
	wait "$DAEMON" || true
done
done_here
