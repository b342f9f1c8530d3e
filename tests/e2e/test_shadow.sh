#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# From shadow to enforce under policy adaptive: shadow refuses nobody and says whom it would have; what it would not have
# refused is not refused afterwards; and the mode holds from the first request behind the command's answer.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model llama,slots=8,prefill-ms=60,token-ms=10,tokens=20 --model long,slots=200,prefill-ms=5,token-ms=50
start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics 127.0.0.1:9464 \
	--interface s0 --interface lo --listen "$PORT" --mode shadow --ttft-threshold-ms 1000
DAEMON=$PID
await_line daemon ready "$DAEMON"

# Both clients of the case, in turns.
both() { load --connect "$S4:$PORT" --new-connections --bind "$C4" --bind "$C4B" "$@"; }
for model in llama long; do
	both --model "$model" --requests 4 --max-tokens 2 >"$T/learned.json"
	await 3 "m['$model']['ttft_samples'] >= 3"
done

# What shadow would not have refused. About 30 a second is what the server does.
light() { both --model llama --rate 12 --requests 60 --seed 7; }
light >"$T/light_shadow.json"
holds "of a light load shadow would have refused nothing" "r['rejected'] == r['shadow_rejected'] == 0 and s['mode'] == 'shadow'"
ctl set mode=enforce >/dev/null
light >"$T/light_enforce.json"
holds "and nothing is, when it is enforced" \
	"j('light_enforce')['completed'] == j('light_shadow')['completed'] == 60 and r['rejected'] == r['shadow_rejected'] == 0 and s['mode'] == 'enforce'"
ctl set mode=shadow >/dev/null

# What it would have.
heavy() { both --model llama --rate 150 --requests 300 --seed 7; }
start watched "$S" "$B/sluicectl" --control "$T/control.sock" watch --json
heavy >"$T/heavy_shadow.json"
holds "in shadow mode nobody is refused, however much comes" \
	"j('heavy_shadow')['completed'] == 300 and r['rejected'] == 0 and sum(s['rejected_by_reason'].values()) == 0"
holds "but it says how many would have been" "100 < r['shadow_rejected'] < 300"
holds "for which reasons" \
	"sum(s['shadow_rejected_by_reason'].values()) == r['shadow_rejected'] and
	 {x for x, n in s['shadow_rejected_by_reason'].items() if n} <= {'ttft', 'in-flight', 'client-share'}"
on "$S" curl -fsS http://127.0.0.1:9464/metrics >"$T/metrics.log"
holds "metrics say so of each model and reason" \
	"all(sum(int(x.split()[-1]) for x in log('metrics').splitlines() if x.startswith('sluice_requests_total{') and
	             'model=\"llama\"' in x and 'verdict=\"shadow_rejected\"' in x and f'reason=\"{why}\"' in x) == n
	     for why, n in s['shadow_rejected_by_reason'].items()) and 'verdict=\"rejected\"' not in log('metrics')"
holds "clients say so of each client and reason" \
	"{x['client']: x['shadow_rejected'] > 0 for x in ctl('clients')['clients']} == {'$C4': True, '$C4B': True} and
	 all(sum(x['shadow_rejected_by_reason'].get(why, 0) for x in ctl('clients')['clients']) == n
	     for why, n in s['shadow_rejected_by_reason'].items()) and
	 all(x['rejected'] == 0 for x in ctl('clients')['clients'])"
holds --within 5 "and who watches sees each as what it is: verdict, model, client and reason" \
	"{(x['verdict'], x['model'], x['client'], x['reason'] in ('ttft', 'in-flight', 'client-share'))
	  for x in events('watched') if x['event'] == 'refusal'} ==
	 {('shadow_rejected', 'llama', '$C4', True), ('shadow_rejected', 'llama', '$C4B', True)}"
holds --within 5 "all places are free again, those that only shadow mode gave too" \
	"m['llama']['in_flight'] == m['llama']['waiting'] == m['llama']['shadow_in_flight'] == 0"

shadowed=$(value "r['shadow_rejected']")
ctl set mode=enforce >/dev/null
heavy >"$T/heavy_enforce.json"
holds "enforced, the same load is refused on the wire, and less of it" \
	"0 < j('heavy_enforce')['status'].get('429', 0) == r['rejected'] < $shadowed and r['shadow_rejected'] == $shadowed"
ctl set mode=shadow >/dev/null

# Streams that go on take every place, and some beyond: while those last the ceiling stands still, and whoever comes is over.
start streams "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model long --new-connections --rate 60 --uniform \
	--requests 80 --max-tokens 2400
STREAMS=$PID
await 20 "m['long']['in_flight'] + m['long']['shadow_in_flight'] == 80 and m['long']['shadow_in_flight'] > 0 and m['long']['waiting'] == 0"
peer "$C" modes "$S4" "$PORT" --bind "$C4" --model long --stream --max-tokens 1 --count 50 --out "$T/control.sock" \
	>"$T/modes.json"
holds "fifty times: the first request behind the answer to 'set mode=enforce' is refused, and behind 'set mode=shadow' served" \
	"j('modes') == {'enforce': 50 * [429], 'shadow': 50 * [200]}"
holds "all for want of a place" "m['long']['shadow_in_flight'] > 0 and s['rejected_by_reason']['in-flight'] + s['rejected_by_reason']['client-share'] >= 50"
finish "$STREAMS"

done_here
