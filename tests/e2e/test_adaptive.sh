#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Adaptive admission: what is more than the server can serve within its target is refused before it waits, what is
# admitted is served on; places are free again when it is over, and the law outlives its daemon.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model llama,slots=8,prefill-ms=60,token-ms=10,tokens=20
sluice --listen "$PORT=llama" --ttft-threshold-ms 400 --itl-threshold-ms 100

holds "adaptive is the policy where none is named" "s['policy'] == 'adaptive'"
load --connect "$S4:$PORT" --model llama --requests 1 >"$T/one.json"
holds "a lone request is served" "j('one')['completed'] == 1"
load --connect "$S4:$PORT" --model llama --rate 10 --uniform --requests 40 >"$T/light.json"
holds "what fits is admitted, all of it" "j('light')['completed'] == 40"

# About 30 a second is what the server does; five times that come.
load --connect "$S4:$PORT" --model llama --rate 150 --requests 900 --new-connections \
	--ttft-target-ms 400 >"$T/heavy.json"
holds "of what does not fit, the excess is refused" \
	"j('heavy')['status'].get('429', 0) > 300 and j('heavy')['completed'] > 90 and
	 j('heavy')['completed'] + j('heavy')['status']['429'] == 900"
holds "for reasons of the law" \
	"sum(s['rejected_by_reason'][x] for x in ('ttft', 'in-flight', 'client-share')) == r['rejected'] == j('heavy')['status']['429']"
holds "every 429 says when to come back, and not to all the same" \
	"j('heavy')['retry_after_s']['missing'] == 0 and 1 <= j('heavy')['retry_after_s']['min'] <= j('heavy')['retry_after_s']['max'] <= 60"
holds "the law's ceiling is shown as the limit" "m['llama']['limit'] >= 2"
holds --within 5 "all places are free again" "m['llama']['in_flight'] == 0 and m['llama']['waiting'] == 0"

limit=$(value "m['llama']['limit']")
finish "$DAEMON" KILL
load --connect "$S4:$PORT" --model llama --requests 2 >"$T/between.json"
holds "while no daemon runs requests are served" "j('between')['completed'] == 2"
sluice --listen "$PORT=llama" --ttft-threshold-ms 400 --itl-threshold-ms 100
holds "a new daemon goes on from what the last one knew" "m['llama']['limit'] == $limit"

done_here
