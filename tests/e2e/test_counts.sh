#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 8: counts do not drift, and nothing is counted twice. Eight load generators send two
# thousand requests at once, over kept and new connections, IPv4 and IPv6, some with large bodies.
# Half of them are refused. sluice, the generators and the server agree on every count. Then nothing
# is in flight and nothing is left.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model open,prefill-ms=2,token-ms=1,tokens=3,slots=256 \
	--model slow,prefill-ms=20,token-ms=1,tokens=3,slots=64
sluice --listen "$PORT"
witness
GAPS=2 # gaps between an answer's three tokens
shut slow
load --connect "$S4:$PORT" --model open --requests 1 >"$T/warm.json"
await 3 "'open' in m"
await 3 "[m['open']['ttft_samples'], m['open']['itl_samples']] == [1, $GAPS]"
before=$(value \
	"[r['admitted'], r['rejected'], mock['requests_complete'], k['gaps-client-limited']]")

# Eight load generators at once. Half of their requests are for the shut model.
jobs=()
names=()
start_load() { # NAME OPTION…
	start "load-$1" "$C" "$B/loadgen" --json --model open:1 --model slow:1 "${@:2}"
	jobs+=("$PID")
	names+=("load-$1")
}
for family in 4 6; do
	[[ $family == 4 ]] && to=$S4:$PORT || to="[$S6]:$PORT"
	start_load "kept$family" --connect "$to" --requests 500 --concurrency 4 --seed "1$family"
	start_load "new$family" --connect "$to" --requests 300 --concurrency 4 --new-connections \
		--seed "2$family"
	start_load "split$family" --connect "$to" --requests 180 --concurrency 2 --split \
		--seed "3$family"
	start_load "large$family" --connect "$to" --requests 40 --concurrency 2 \
		--body-bytes 1048576 --seed "4$family"
done
wait "${jobs[@]}" || true
for name in "${names[@]}"; do mv "$T/$name.log" "$T/$name.json"; done
"$PY" - "$T" "${names[@]}" >"$T/sum.json" <<'END'
import collections, json, sys
status, models, bad, lengths = (collections.Counter() for _ in range(4))
sent = 0
for name in sys.argv[2:]:
    one = json.load(open(f"{sys.argv[1]}/{name}.json"))
    sent += one["sent"]
    status.update(one["status"])
    lengths.update(one["body_length_429"])
    for model, its in one["by_model"].items():
        models[model] += its["sent"]
        bad["open refused"] += its["status"].get("429", 0) if model == "open" else 0
        bad["slow served"] += its["status"].get("200", 0) if model == "slow" else 0
    for outcome, n in one["outcomes"].items():
        if outcome not in ("ok", "rejected", "completed", "http_error", "clean_eof_after_close",
                           "kept_open"):
            bad[outcome] += n
print(json.dumps({"sent": sent, "status": status, "models": models, "lengths": lengths,
                  "bad": {k: v for k, v in bad.items() if v}}))
END
holds "two thousand requests were sent, about half to each model, and all were answered" \
	"j('sum')['sent'] == 2040 == j('sum')['status']['200'] + j('sum')['status']['429'] and
	 j('sum')['models']['open'] == j('sum')['status']['200'] > 900 and
	 j('sum')['models']['slow'] == j('sum')['status']['429'] > 900"
holds "no request ended otherwise, and every 429 was whole" \
	"j('sum')['bad'] == {} and j('sum')['lengths']['equal'] == j('sum')['status']['429']"
holds --within 3 "sluice counts exactly the served requests as admitted" \
	"r['admitted'] == ${before}[0] + j('sum')['status']['200']"
holds "sluice counts exactly the 429s as rejected, by their one reason" \
	"r['rejected'] == s['rejected_by_reason']['ttft'] ==
	 ${before}[1] + j('sum')['status']['429'] and
	 sum(s['rejected_by_reason'].values()) == r['rejected']"
holds "the server received exactly the admitted requests" \
	"mock['requests_complete'] == ${before}[2] + j('sum')['status']['200']"
holds "the sums by client agree" \
	"sum([c['admitted'] for c in ctl('clients')['clients']]) == r['admitted'] and
	 sum([c['rejected'] for c in ctl('clients')['clients']]) == r['rejected']"
holds "the sums by service agree" \
	"[v[$PORT]['admitted'], v[$PORT]['rejected']] == [r['admitted'], r['rejected']]"
holds "no client was reset" "w['rst_in'] == 0"
holds --within 3 "nothing is in flight or waiting, of any model or client" \
	"{(x['in_flight'], x['waiting']) for x in [*s['models'], s['global']]} == {(0, 0)} and
	 s['maps']['client_in_flight']['entries'] == 0"
# sluice counts a client-limited time (retransmitted bytes, a late acknowledgement)
# instead of taking a sample.
holds --within 3 \
	"every first token and every gap is a sample or counted as client-limited, and no sample was lost" \
	"m['open']['ttft_samples'] + m['open']['itl_samples'] +
	 k['gaps-client-limited'] - ${before}[3] ==
	 (1 + $GAPS) * (j('sum')['status']['200'] + 1) and
	 m['open']['ttft_samples'] <= j('sum')['status']['200'] + 1 and
	 s['lost_samples'] == 0 == k['samples-lost']"
holds --within 3 "no connection is left" "s['maps']['conns']['entries'] == 0 and sockets('s') == []"
holds --within 15 "tombstones drain" "s['maps']['tombstones']['entries'] == 0"
holds "no reply was lost, no request was unjudged, and no map was full" \
	"{k[x] for x in ('replies-lost', 'tombstones-full', 'conns-full', 'counts-full',
	  'passed-framing-error', 'passed-unproven', 'passed-answered-early', 'passed-lease',
	  'response-framing-error')} == {0}"

done_here
