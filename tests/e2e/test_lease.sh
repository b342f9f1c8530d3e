#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Runs alone: other work on the machine must not delay the daemon for the length of a lease.
# The lease of a running daemon does not end, whatever the daemon does. While it lists
# 65536 clients repeatedly, no request of a client without a budget passes. If a lease does end,
# sluice counts and reports it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

LIMITS=127.0.0.1:9467
mock --model llama,prefill-ms=0,token-ms=0,tokens=1,slots=64
begin() { # begin LEASE-MS
	interfaces=(s0)
	sluice --listen "$PORT=llama" --quota "requests=1/1h tokens=10/1m" --lease-ms "$1" \
		--max-clients 65536 \
		--metrics "$LIMITS"
	renice -n -15 -p "$DAEMON" >/dev/null # other work of the machine must not delay it
}

begin 100
# Counts the observed renewals of the lease in about two seconds.
"$PY" - "$PIN" >"$T/renewals.json" <<'END'
import json, subprocess, sys, time
seen, looks, end = set(), 0, time.monotonic() + 2
while time.monotonic() < end:
    out = json.loads(subprocess.check_output(
        ["bpftool", "-j", "map", "dump", "pinned", f"{sys.argv[1]}/settings"]))
    seen.add(out[0]["formatted"]["value"]["lease_until_ns"])
    looks += 1
print(json.dumps({"renewals": len(seen), "looks": looks}))
END
holds "a lease of 100 ms is renewed often enough" \
	"j('renewals')['renewals'] > min(35, 0.6 * j('renewals')['looks'])"
ctl detach >/dev/null
wait "$DAEMON" || true

# The longest possible list, and a client that has spent its one request.
begin 200
"$PY" - "$PIN" >"$T/clients.batch" <<'END'
import sys
def h(b): return " ".join("%02x" % x for x in b)
for i in range(65536):
    key = bytes(10) + b"\xff\xff" + bytes([10, 1]) + i.to_bytes(2, "big") + bytes([128]) + bytes(7)
    value = (1).to_bytes(8, "little") + bytes(8) + (1 + i).to_bytes(8, "little")
    value += bytes([0, 0, 2, 0]) + bytes(100)
    print(f"map update pinned {sys.argv[1]}/client_counts key hex {h(key)} value hex {h(value)}")
END
bpftool batch file "$T/clients.batch" >/dev/null
load --connect "$S4:$PORT" --model llama --requests 1 --max-tokens 1 >"$T/first.json"
start callers "$C" sh -c "while [ ! -e '$T/enough' ]; do
	'$B/loadgen' --json --connect '$S4:$PORT' --model llama \
	--requests 100 --concurrency 2 --new-connections --max-tokens 1; done"
CALLERS=$PID
for _ in 1 2 3 4 5; do
	ctl clients --by tokens --json >"$T/long.json"
	on "$S" curl -sS -m 10 -o /dev/null "http://$LIMITS/v1/limits"
	on "$S" curl -sS -m 10 -o /dev/null "http://$LIMITS/metrics"
done
touch "$T/enough"
wait "$CALLERS" || true
holds "the lists had their full length" \
	"j('long')['clients_known'] >= 60000 and len(j('long')['clients']) == 1000"
holds "no request without a budget passed meanwhile" "r['admitted'] == 1 and r['rejected'] >= 100"
holds "the lease did not end" "k['passed-lease'] == 0"

# A stopped daemon does lose its lease.
kill -STOP "$DAEMON"
sleep 0.5 # longer than the lease
load --connect "$S4:$PORT" --model llama --requests 3 --max-tokens 1 >"$T/lapsed.json"
kill -CONT "$DAEMON"
holds --within 3 "requests that pass after the lease are counted" \
	"j('lapsed')['completed'] == 3 and k['passed-lease'] == 3"
holds "the log says that the lease had ended" \
	"log('daemon').count('sluiced: the lease of 200 ms had ended: everything passed for ') == 1"
check "status reports them" bash -c "'$B/sluicectl' --control '$T/control.sock' status |
	grep -q '^note: 3 passed although refused: the lease had run out'"
on "$S" curl -sS -m 5 "http://$LIMITS/metrics" >"$T/metrics.txt"
check "the metrics report them" \
	grep -q '^sluice_events_total{event="passed-lease"} 3$' "$T/metrics.txt"

done_here
