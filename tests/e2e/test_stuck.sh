#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A server that accepts and never answers: its model is shut within a target and a second, a probe at a time still
# goes to it, and it is seen when it wakes. Another model on the port does not notice. What is stopped stays so when the
# daemon is killed and the next one starts.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model llama,slots=64,prefill-ms=10,token-ms=5,tokens=5 --model second,slots=64,prefill-ms=10,token-ms=5,tokens=5
start_sluice() { sluice --listen "$PORT=llama" --ttft-threshold-ms 500 --lease-ms 10000; }
start_sluice
load --connect "$S4:$PORT" --model llama --requests 20 >"$T/warm.json"
load --connect "$S4:$PORT" --model second --requests 20 >"$T/warm2.json"
await 3 "m['llama']['ttft_samples'] == 20"

mock_set llama stuck=1
start callers "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model llama --rate 20 --requests 400 --timeout 60 \
	--new-connections
CALLERS=$PID
await 10 "m['llama']['in_flight'] > 0"
began=$(date +%s%N)
await 20 "not m['llama']['open']"
took=$((($(date +%s%N) - began) / 1000000))
check "it is shut within a target and a second of the first request that waits (took $took ms, machine's load included)" \
	test $took -lt 3000
holds "because of its time to first token" "m['llama']['reason'] == 'ttft'"
at_shut=$(value "m['llama']['in_flight']")
load --connect "$S4:$PORT" --model second --requests 20 >"$T/other.json"
holds "the other model serves on" "j('other')['completed'] == 20 and m['second']['open']"
holds --within 5 "probes flow, a few" "m['llama']['in_flight'] > $at_shut"
holds "and only a few" "m['llama']['in_flight'] < $at_shut + 20 and r['rejected'] > 10"
mock_set llama stuck=0
holds --within 10 "when the server wakes it is seen" "m['llama']['open']"
wait "$CALLERS" || true
load --connect "$S4:$PORT" --model llama --requests 20 >"$T/after.json"
holds "and all is served again" "j('after')['completed'] == 20"
holds "its state changed twice, and that is reported" "m['llama']['changes'] == 2"

# The same again, and the daemon is killed. The callers that hang stay: what waits, and since when, is in the kernel.
mock_set llama stuck=1
start callers "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model llama --rate 20 --requests 2000 --timeout 60 \
	--new-connections
CALLERS=$PID
await 20 "not m['llama']['open']"
counted=$(value "[r['admitted'], r['rejected']]")
finish "$DAEMON" KILL
start_sluice
holds "a new daemon knows that the model is stopped, from its first answer on" \
	"not m['llama']['open'] and m['llama']['admission']['stopped'] and m['llama']['reason'] == 'ttft'"
before=$(value "m['llama']['in_flight']")
holds --within 10 "under it probes flow" "m['llama']['in_flight'] > $before + 1 and r['rejected'] > $counted[1] + 40"
# Ten come in each target, and one of them is a probe.
holds "and only probes have got in since before the kill: there was no gap" \
	"r['admitted'] - $counted[0] < 3 + (r['rejected'] - $counted[1]) / 4 and k['passed-lease'] == 0"
holds "it has not opened in between" "m['llama']['changes'] == 1 and 'model llama opened' not in log('daemon')"
mock_set llama stuck=0
holds --within 10 "and when the server wakes it opens" "m['llama']['open']"
finish "$CALLERS"
holds --within 5 "and all is served again" "m['llama']['in_flight'] == 0"
load --connect "$S4:$PORT" --model llama --requests 20 >"$T/restarted.json"
holds "to everybody" "j('restarted')['completed'] == 20"

done_here
