#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Policy adaptive: sluice refuses the load that the server cannot serve within its target, before it
# queues. Admitted requests are served to their end. All slots are free after the load, and the
# policy's state survives the daemon.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model llama,slots=8,prefill-ms=60,token-ms=10,tokens=20
sluice --listen "$PORT=llama" --ttft-threshold-ms 400 --itl-threshold-ms 100

holds "adaptive is the default policy" "s['policy'] == 'adaptive'"
load --connect "$S4:$PORT" --model llama --requests 1 >"$T/one.json"
holds "a lone request is served" "j('one')['completed'] == 1"
load --connect "$S4:$PORT" --model llama --rate 10 --uniform --requests 40 >"$T/light.json"
holds "a load within capacity is admitted as a whole" "j('light')['completed'] == 40"

# The server can do about 30 requests a second and gets five times that.
load --connect "$S4:$PORT" --model llama --rate 150 --requests 900 --new-connections \
	--ttft-target-ms 400 >"$T/heavy.json"
holds "the excess over capacity is refused" \
	"j('heavy')['status'].get('429', 0) > 300 and j('heavy')['completed'] > 90 and
	 j('heavy')['completed'] + j('heavy')['status']['429'] == 900"
holds "the policy is the reason for every refusal" \
	"sum(s['rejected_by_reason'][x] for x in ('ttft', 'in-flight', 'client-share')) ==
	 r['rejected'] == j('heavy')['status']['429']"
holds "every 429 has a Retry-After of 1 to 60 s" \
	"j('heavy')['retry_after_s']['missing'] == 0 and
	 1 <= j('heavy')['retry_after_s']['min'] <= j('heavy')['retry_after_s']['max'] <= 60"
holds "status shows the policy's ceiling as the limit" "m['llama']['limit'] >= 2"
holds --within 5 "all slots are free after the load" \
	"m['llama']['in_flight'] == 0 and m['llama']['waiting'] == 0"

limit=$(value "m['llama']['limit']")
finish "$DAEMON" KILL
load --connect "$S4:$PORT" --model llama --requests 2 >"$T/between.json"
holds "requests are served while no daemon runs" "j('between')['completed'] == 2"
sluice --listen "$PORT=llama" --ttft-threshold-ms 400 --itl-threshold-ms 100
holds "a new daemon continues with the limit of the last one" "m['llama']['limit'] == $limit"

done_here
