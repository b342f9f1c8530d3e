#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The lease of a daemon that lives does not end, however long what it is asked takes: while it lists 65536 clients, over
# and over, no request of a client without a budget passes. And where a lease does end, that is counted and said.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

LIMITS=127.0.0.1:9467
mock --model llama,prefill-ms=0,token-ms=0,tokens=1,slots=64
begin() { # begin LEASE-MS
	interfaces=(s0)
	sluice --listen "$PORT=llama" --quota "requests=1/1h tokens=10/1m" --lease-ms "$1" --metrics "$LIMITS"
	renice -n -15 -p "$DAEMON" >/dev/null # or it waits for others of this machine
}

begin 100
# How often the end of the lease is put off in about two seconds, as far as one looks.
"$PY" - "$PIN" >"$T/renewals.json" <<'END'
import json, subprocess, sys, time
seen, looks, end = set(), 0, time.monotonic() + 2
while time.monotonic() < end:
    out = json.loads(subprocess.check_output(["bpftool", "-j", "map", "dump", "pinned", f"{sys.argv[1]}/settings"]))
    seen.add(out[0]["formatted"]["value"]["lease_until_ns"])
    looks += 1
print(json.dumps({"renewals": len(seen), "looks": looks}))
END
holds "a lease of 100 ms is renewed far more often than it ends" \
	"j('renewals')['renewals'] > min(35, 0.6 * j('renewals')['looks'])"
ctl detach >/dev/null
wait "$DAEMON" || true

# A list as long as it can be, and a client that has spent its one request.
begin 200
"$PY" - "$PIN" >"$T/clients.batch" <<'END'
import sys
def h(b): return " ".join("%02x" % x for x in b)
for i in range(65536):
    key = bytes(10) + b"\xff\xff" + bytes([10, 1]) + i.to_bytes(2, "big") + bytes([128]) + bytes(7)
    value = (1).to_bytes(8, "little") + bytes(8) + (1 + i).to_bytes(8, "little") + bytes([0, 0, 2, 0]) + bytes(100)
    print(f"map update pinned {sys.argv[1]}/client_counts key hex {h(key)} value hex {h(value)}")
END
bpftool batch file "$T/clients.batch" >/dev/null
load --connect "$S4:$PORT" --model llama --requests 1 --max-tokens 1 >"$T/first.json"
start asking "$C" sh -c "while [ ! -e '$T/enough' ]; do '$B/loadgen' --json --connect '$S4:$PORT' --model llama \
	--requests 100 --concurrency 2 --new-connections --max-tokens 1; done"
ASKING=$PID
for _ in 1 2 3 4 5; do
	ctl clients --by tokens --json >"$T/long.json"
	on "$S" curl -sS -m 10 -o /dev/null "http://$LIMITS/v1/limits"
	on "$S" curl -sS -m 10 -o /dev/null "http://$LIMITS/metrics"
done
touch "$T/enough"
wait "$ASKING" || true
holds "the lists were as long as they can be" "j('long')['clients_known'] >= 60000 and len(j('long')['clients']) == 1000"
holds "nobody without a budget passed meanwhile" "r['admitted'] == 1 and r['rejected'] >= 100"
holds "since the lease did not end" "k['passed-lease'] == 0"

# A daemon that stands still is another matter.
kill -STOP "$DAEMON"
sleep 0.5 # longer than the lease
load --connect "$S4:$PORT" --model llama --requests 3 --max-tokens 1 >"$T/lapsed.json"
kill -CONT "$DAEMON"
holds --within 3 "of one that stands still what passed is counted" \
	"j('lapsed')['completed'] == 3 and k['passed-lease'] == 3"
check "and said" bash -c "'$B/sluicectl' --control '$T/control.sock' status |
	grep -q '^note: 3 passed although refused: the lease had run out'"
on "$S" curl -sS -m 5 "http://$LIMITS/metrics" >"$T/metrics.txt"
check "in the metrics, too" grep -q '^sluice_counter_total{counter="passed-lease"} 3$' "$T/metrics.txt"

done_here
