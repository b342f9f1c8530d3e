#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Embeddings beside chat on one port, with policy adaptive (invariant 6). An embedding is never
# streamed: it gives a duration, and neither a first token nor a gap. A model of its own is a pool
# of its own, so a flood of embeddings moves nothing of the chat model.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model chat,slots=8,prefill-ms=60,token-ms=10,tokens=20 \
	--model embedder,slots=2,prefill-ms=40
cat >"$T/sluice.yaml" <<CONF
listen: [$PORT]
policy: adaptive
ttft-threshold-ms: 2000
itl-threshold-ms: 500
time-constant-secs: 86400
models:
  - name: chat
  - name: embedder
CONF
sluice --config "$T/sluice.yaml"

chat() { load --connect "$S4:$PORT" --model chat --rate 10 --uniform --requests 20 >"$T/$1.json"; }

# flood MODEL: embeddings at several times what the mock can do.
flood() {
	load --connect "$S4:$PORT" --path /v1/embeddings --plain --model "$1" --rate 200 \
		--requests 400 --bind "$C4B" >"$T/flood-$1.json"
}

# What chat's verdicts rest on. An average decays slowly while no sample comes.
STATE="{x: m['chat'][x] for x in ('ttft_ema_ms', 'itl_ema_ms', 'ttft_samples', 'itl_samples',
	'duration_samples', 'open', 'changes', 'limit', 'admission')}"
same_samples="all(m['chat'][x] == j('before')[x] for x in ('ttft_samples', 'itl_samples')) and
	all(close(m['chat'][x], j('before')[x], .02) for x in ('ttft_ema_ms', 'itl_ema_ms'))"
same_limits="all(m['chat'][x] == j('before')[x] for x in ('duration_samples', 'open', 'changes',
	'limit')) and all(m['chat']['admission'][x] == j('before')['admission'][x] for x in
	('ceiling', 'floor', 'server_slots', 'rate_bytes_per_second', 'queue_budget_bytes',
	 'levels_by_rank'))"

chat alone
await 3 "m['chat']['in_flight'] == 0 and m['chat']['ttft_samples'] > 10"
value "$STATE" >"$T/before.json"
flood embedder
holds "a flood of embeddings is refused in part" \
	"0 < j('flood-embedder')['completed'] == 400 - j('flood-embedder')['status']['429'] and
	 r['rejected'] == j('flood-embedder')['status']['429']"
holds --within 3 "each admitted one gives a duration, and neither a first token nor a gap" \
	"m['embedder']['duration_samples'] > 0 and m['embedder']['in_flight'] == 0 and
	 m['embedder']['ttft_samples'] == m['embedder']['itl_samples'] == 0"
holds "neither samples nor limits of the chat model have moved" \
	"$same_samples and $same_limits"

rejected=$(value "r['rejected']")
flood embedder &
FLOOD=$!
chat beside
wait "$FLOOD"
holds --within 3 "chat beside a flood of embeddings is admitted as a whole" \
	"j('beside')['completed'] == 20 and m['chat']['in_flight'] == 0 and
	 r['rejected'] == $rejected + j('flood-embedder')['status']['429']"
holds "only chat gives the chat model samples" \
	"m['chat']['ttft_samples'] <= 40 and m['chat']['duration_samples'] == 0"

value "$STATE" >"$T/before.json"
flood chat
holds --within 3 "embeddings of the chat model itself give it durations alone" \
	"m['chat']['in_flight'] == 0 and m['chat']['duration_samples'] > 0 and
	 $same_samples"

done_here
