#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A server that accepts and never answers: its model is shut within a target and a second, a probe at a time still
# goes to it, and it is seen when it wakes. Another model on the port does not notice.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model llama,slots=64,prefill-ms=10,token-ms=5,tokens=5 --model second,slots=64,prefill-ms=10,token-ms=5,tokens=5
sluice --listen "$PORT=llama" --ttft-threshold-ms 500
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

done_here
