#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Runs alone: the loads that it compares have to come at the same rate.
# From shadow to enforce with policy adaptive. Shadow mode refuses nothing and reports the refusals
# of enforce mode. A load without shadow refusals has no refusals in enforce mode. A mode applies
# from the first request after the command's answer.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model llama,slots=8,prefill-ms=60,token-ms=10,tokens=20 \
	--model long,slots=200,prefill-ms=5,token-ms=50
start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" \
	--metrics 127.0.0.1:9464 \
	--interface s0 --interface lo --listen "$PORT" --mode shadow --ttft-threshold-ms 1000
DAEMON=$PID
await_line daemon ready "$DAEMON"

# both OPTION…: a load with alternate requests of both clients.
both() { load --connect "$S4:$PORT" --new-connections --bind "$C4" --bind "$C4B" "$@"; }
for model in llama long; do
	both --model "$model" --requests 4 --max-tokens 2 >"$T/learned.json"
	await 3 "m['$model']['ttft_samples'] >= 3"
done

# A light load. The server can do about 30 requests a second.
light() { both --model llama --rate 12 --requests 60 --seed 7; }
light >"$T/light_shadow.json"
holds "shadow mode reports no refusal of a light load" \
	"r['rejected'] == r['shadow_rejected'] == 0 and s['mode'] == 'shadow'"
ctl set mode=enforce >/dev/null
light >"$T/light_enforce.json"
holds "enforce mode refuses nothing of the same load" \
	"j('light_enforce')['completed'] == j('light_shadow')['completed'] == 60 and
	 r['rejected'] == r['shadow_rejected'] == 0 and s['mode'] == 'enforce'"
ctl set mode=shadow >/dev/null

# A heavy load.
heavy() { both --model llama --rate 150 --requests 300 --seed 7; }
start watched "$S" "$B/sluicectl" --control "$T/control.sock" watch --json
heavy >"$T/heavy_shadow.json"
holds "shadow mode refuses nothing of a heavy load" \
	"j('heavy_shadow')['completed'] == 300 and r['rejected'] == 0 and
	 sum(s['rejected_by_reason'].values()) == 0"
holds "shadow mode reports how many it would refuse" "100 < r['shadow_rejected'] < 300"
holds "shadow mode reports the reasons" \
	"sum(s['shadow_rejected_by_reason'].values()) == r['shadow_rejected'] and
	 {x for x, n in s['shadow_rejected_by_reason'].items() if n} <=
	 {'ttft', 'in-flight', 'client-share'}"
on "$S" curl -fsS http://127.0.0.1:9464/metrics >"$T/metrics.log"
holds "metrics report shadow refusals by model and reason" \
	"all(sum(int(x.split()[-1]) for x in log('metrics').splitlines()
	             if x.startswith('sluice_requests_total{') and
	             'model=\"llama\"' in x and 'verdict=\"shadow_rejected\"' in x and
	             f'reason=\"{why}\"' in x) == n
	     for why, n in s['shadow_rejected_by_reason'].items()) and
	     'verdict=\"rejected\"' not in log('metrics')"
holds "clients reports shadow refusals by client and reason" \
	"{x['client']: x['shadow_rejected'] > 0 for x in ctl('clients')['clients']} ==
	 {'$C4': True, '$C4B': True} and
	 all(sum(x['shadow_rejected_by_reason'].get(why, 0) for x in ctl('clients')['clients']) == n
	     for why, n in s['shadow_rejected_by_reason'].items()) and
	 all(x['rejected'] == 0 for x in ctl('clients')['clients'])"
holds --within 5 "watch reports verdict, model, client and reason of each" \
	"{(x['verdict'], x['model'], x['client'],
	   x['reason'] in ('ttft', 'in-flight', 'client-share'))
	  for x in events('watched') if x['event'] == 'refusal'} ==
	 {('shadow_rejected', 'llama', '$C4', True), ('shadow_rejected', 'llama', '$C4B', True)}"
holds --within 5 "all slots are free after the load, shadow ones included" \
	"m['llama']['in_flight'] == m['llama']['waiting'] == m['llama']['shadow_in_flight'] == 0"

shadowed=$(value "r['shadow_rejected']")
ctl set mode=enforce >/dev/null
heavy >"$T/heavy_enforce.json"
holds "enforce mode refuses less of the same load, on the wire" \
	"0 < j('heavy_enforce')['status'].get('429', 0) == r['rejected'] < $shadowed and
	 r['shadow_rejected'] == $shadowed"
ctl set mode=shadow >/dev/null

# Long streams take every slot, and further ones are in flight in shadow only. The ceiling does not
# move meanwhile, so every new request is over it.
start streams "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model long --new-connections \
	--rate 60 --uniform --requests 80 --max-tokens 2400
STREAMS=$PID
await 20 \
	"m['long']['in_flight'] + m['long']['shadow_in_flight'] == 80 and
	 m['long']['shadow_in_flight'] > 0 and
	 m['long']['waiting'] == 0"
peer "$C" modes "$S4" "$PORT" --bind "$C4" --model long --stream --max-tokens 1 --count 50 \
	--out "$T/control.sock" >"$T/modes.json"
holds "fifty times, the first request after 'set mode=enforce' is refused, and after 'set mode=shadow' served" \
	"j('modes') == {'enforce': 50 * [429], 'shadow': 50 * [200]}"
holds "no slot was free for the refused ones" \
	"m['long']['shadow_in_flight'] > 0 and
	 s['rejected_by_reason']['in-flight'] + s['rejected_by_reason']['client-share'] >= 50"
finish "$STREAMS"

done_here
