#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Priority classes, by a header's value and by a client's address. Models that share a
# server share one pool.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model llama,slots=8,prefill-ms=60,token-ms=10,tokens=20 \
	--model second,slots=8,prefill-ms=60,token-ms=10,tokens=20 \
	--model pool:gpu0,slots=8,prefill-ms=1,token-ms=1,tokens=2
cat >"$T/sluice.yaml" <<CONF
ttft-threshold-ms: 400 + 0.5/KiB
itl-threshold-ms: 100
services:
  - listen: $PORT
    model: llama
    priority-header: X-Priority
    priority-values: {interactive: high, batch: low}
models:
  - {name: llama, pool: gpu0}
  - {name: second, pool: gpu0, floor: 3}
priorities:
  - {client: $C4B, class: lowest}
CONF
METRICS=127.0.0.1:9464
sluice --config "$T/sluice.yaml" --metrics "$METRICS"
load --connect "$S4:$PORT" --model llama --requests 4 >"$T/warm.json"
load --connect "$S4:$PORT" --model second --requests 4 >"$T/warm2.json"
await 3 "m['llama']['ttft_samples'] > 0 and m['second']['ttft_samples'] > 0"

holds "the pool is listed with its models, and both have its limit" \
	"sorted(m['pool:gpu0']['members']) == ['llama', 'second'] and
	 m['llama']['pool'] == 'gpu0' and
	 m['pool:gpu0']['admission']['ceiling'] == m['llama']['limit'] == m['second']['limit'] and
	 m['llama']['admission'] is None"
holds "the pool has the smallest floor of its models" \
	"m['pool:gpu0']['floor'] == 2 and m['second']['floor'] == 3"
holds "status shows the part of a target that grows with the request" \
	"[m['llama'][x] for x in ('ttft_threshold_ms', 'ttft_threshold_ms_per_kib')] == [400, 0.5]"

# Two equal loads, together far over the server's capacity.
start low "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model llama --rate 60 --requests 420 \
	--new-connections --header 'X-Priority: batch'
LOW=$PID
load --connect "$S4:$PORT" --model llama --rate 60 --requests 420 --new-connections \
	--header 'x-priority: interactive' >"$T/high.json"
ctl explain "$C4" --priority interactive --json >"$T/interactive.json"
ctl explain "$C4B" --json >"$T/lowest.json"
ctl explain "$C4" --model second >"$T/second.txt"
wait "$LOW" || true
cp "$T/low.log" "$T/low.json"
holds "the low class is refused before the high one" \
	"j('low')['status'].get('429', 0) > 1.2 * j('high')['status'].get('429', 0) and
	 j('low')['status'].get('429', 0) > 100"
holds "the policy is the reason for every refusal of both" \
	"sum(s['rejected_by_reason'][x] for x in ('ttft', 'in-flight', 'client-share')) ==
	 r['rejected'] > 100"
holds "the pool counts refusals by rank" \
	"sum(m['pool:gpu0']['admission']['refused_by_rank'][4:6]) == j('low')['status']['429']"
holds "refusals are counted by class and reason" \
	"[sum(s['rejected_by_class'][x].values()) for x in ('high', 'low')] ==
	 [j(x)['status'].get('429', 0) for x in ('high', 'low')] and
	 sum(sum(x.values()) for x in s['rejected_by_class'].values()) == r['rejected']"
holds "so are admitted requests, whatever class they have" \
	"[s['admitted_by_class'][x] for x in ('high', 'low', 'lowest')] ==
	 [j('high')['completed'], j('low')['completed'], 0] and
	 sum(s['admitted_by_class'].values()) == r['admitted']"
# A quota refuses before the policy compares ranks.
ctl quota set "$C4" requests=1/1h >/dev/null
for class in other interactive; do
	on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}\n' --header "x-priority: $class" \
		--json '{"model":"llama"}' "http://$S4:$PORT/v1/chat/completions"
done >"$T/over.txt"
ctl quota clear "$C4" >/dev/null
same "a client over its quota is refused" "200 429" "$(paste -sd ' ' "$T/over.txt")"
holds "a refusal by quota has its class, too" \
	"s['rejected_by_class']['high']['request-quota'] == 1"
on "$S" curl -fsS -m 5 "http://$METRICS/metrics" >"$T/metrics.txt"
check "/metrics has the class of refusals" \
	grep -q 'verdict="rejected",reason="request-quota",class="high"} 1$' "$T/metrics.txt"
admitted=$(value "s['admitted_by_class']['high']")
check "… and of admitted requests" \
	grep -q "reason=\"none\",class=\"high\"} $admitted\$" "$T/metrics.txt"
holds "explain names the class of a header" \
	"[j('interactive')[x] for x in ('class', 'class_from')] == ['high', 'header']"
holds "explain names the class of a prefix" \
	"[j('lowest')[x] for x in ('class', 'class_from')] == ['lowest', 'prefix'] and
	 j('lowest')['rank'] >= 6"
check "explain names the pool of the model" grep -q '^pool *pool:gpu0$' "$T/second.txt"
holds --within 5 "all slots are free after the load" \
	"all(m[x][y] == 0 for x in ('llama', 'second', 'pool:gpu0')
	     for y in ('in_flight', 'waiting', 'shadow_in_flight')) and
	 m['pool:gpu0']['admission']['waiting_bytes'] == 0"

limited=$(value "k['gaps-client-limited']")
load --connect "$S4:$PORT" --model pool:gpu0 --requests 2 >"$T/named.json"
holds --within 3 "a request that names a pool is one of an unknown model" \
	"j('named')['completed'] ==
	 2 >= m['other']['ttft_samples'] >= 2 - (k['gaps-client-limited'] - $limited) and
	 m['pool:gpu0']['ttft_samples'] == 0"
ctl set policy=ema-flag >/dev/null
holds "the policy can be changed at run time" \
	"s['policy'] == 'ema-flag' and m['pool:gpu0']['admission'] is None and
	 m['llama']['limit'] is None"
sed -i 's/, pool: gpu0//' "$T/sluice.yaml"
ctl reload >/dev/null
holds "reload restores the file's policy and takes models out of their pool" \
	"s['policy'] == 'adaptive' and 'pool:gpu0' not in m and m['llama']['pool'] is None and
	 m['llama']['admission'] is not None"
ctl set mode=shadow >/dev/null
load --connect "$S4:$PORT" --model llama --rate 120 --requests 360 \
	--new-connections >"$T/shadow.json"
holds "in shadow mode all pass, and sluice counts shadow refusals" \
	"j('shadow')['completed'] == 360 and r['shadow_rejected'] > 30"
holds --within 5 "no request keeps a slot" \
	"m['llama']['in_flight'] == 0 and m['llama']['shadow_in_flight'] == 0"

done_here
