#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A server that accepts and never answers. sluice shuts its model, and sends it one probe. sluice
# notices when the server wakes. Another model on the port is not affected. A stopped model stays
# stopped when the daemon is killed and the next one starts.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model llama,slots=64,prefill-ms=10,token-ms=5,tokens=5 \
	--model second,slots=64,prefill-ms=10,token-ms=5,tokens=5
start_sluice() { sluice --listen "$PORT=llama" --ttft-threshold-ms 500; }
start_sluice
load --connect "$S4:$PORT" --model llama --requests 20 >"$T/warm.json"
load --connect "$S4:$PORT" --model second --requests 20 >"$T/warm2.json"
await 3 "m['llama']['ttft_samples'] == 20"

mock_set llama stuck=1
start callers "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model llama --rate 20 \
	--requests 400 --timeout 60 --new-connections
CALLERS=$PID
await 10 "m['llama']['in_flight'] > 0"
holds --within 20 "the model is shut while its requests wait" "not m['llama']['open']"
holds "its reason is the time to first token" "m['llama']['reason'] == 'ttft'"
at_shut=$(value "m['llama']['in_flight']")
load --connect "$S4:$PORT" --model second --requests 20 >"$T/other.json"
holds "the other model is served" "j('other')['completed'] == 20 and m['second']['open']"
await 20 "r['rejected'] > 60" # for six targets
holds "one probe at most reaches the stuck model, below the ceiling" \
	"m['llama']['in_flight'] <= min($at_shut + 1, m['llama']['limit'])"
mock_set llama stuck=0
holds --within 10 "the model opens when the server wakes" "m['llama']['open']"
wait "$CALLERS" || true
load --connect "$S4:$PORT" --model llama --requests 20 >"$T/after.json"
holds "all requests are served again" "j('after')['completed'] == 20"
holds "status reports two changes of its state" "m['llama']['changes'] == 2"

# The same with a killed daemon. The hanging callers stay, and the kernel keeps the
# times of the waiting requests.
mock_set llama stuck=1
start callers "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model llama --rate 20 \
	--requests 2000 --timeout 60 --new-connections
CALLERS=$PID
await 20 "not m['llama']['open']"
counted=$(value "[r['admitted'], r['rejected']]")
finish "$DAEMON" KILL
start_sluice
holds "a new daemon shows the model as stopped from its first answer on" \
	"not m['llama']['open'] and m['llama']['admission']['stopped'] and
	 m['llama']['reason'] == 'ttft'"
await 20 "r['rejected'] > ${counted}[1] + 60"
holds "while its probe is unanswered, no request was admitted since before the kill" \
	"r['admitted'] - ${counted}[0] <= 1 and k['passed-lease'] == 0"
holds "the model has not opened in between" \
	"m['llama']['changes'] == 1 and 'model llama opened' not in log('daemon')"
mock_set llama stuck=0
holds --within 10 "the model opens when the server wakes again" "m['llama']['open']"
finish "$CALLERS"
holds --within 5 "nothing is in flight after that" "m['llama']['in_flight'] == 0"
load --connect "$S4:$PORT" --model llama --requests 20 >"$T/restarted.json"
holds "all requests are then served" "j('restarted')['completed'] == 20"

done_here
