#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Several models on one port, each judged by its own latency. sluice shuts the slow model and serves
# the fast one. The slow model opens again by itself when its average has decayed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model fast,prefill-ms=10,token-ms=5,tokens=8,slots=64 \
	--model slow,prefill-ms=400,token-ms=5,tokens=8,slots=64 \
	--model late,prefill-ms=400,token-ms=5,tokens=8,slots=64
sluice --listen "$PORT" --policy ema-flag --ttft-threshold-ms 200 --itl-threshold-ms 200 \
	--time-constant-secs 10

load --connect "$S4:$PORT" --model fast --requests 8 >"$T/fast.json"
load --connect "$S4:$PORT" --model slow --requests 2 --concurrency 2 >"$T/slow.json"
holds "a model serves before its first sample" "j('slow')['completed'] == 2"
holds --within 3 "a model over its target is shut, for its own reason" \
	"not m['slow']['open'] and m['slow']['reason'] == 'ttft'"
holds "the other model on the same port stays open" "m['fast']['open']"

load --connect "$S4:$PORT" --model fast:1 --model slow:1 --uniform --rate 40 --requests 40 \
	>"$T/mix.json"
holds "every request to the shut model gets a 429" \
	"j('mix')['by_model']['slow']['completed'] == 0 and
	 j('mix')['by_model']['slow']['status']['429'] == j('mix')['by_model']['slow']['sent'] > 9"
holds "every request to the open model is answered" \
	"j('mix')['by_model']['fast']['completed'] == j('mix')['by_model']['fast']['sent'] > 9"
holds "every 429 has a whole body of the announced length" \
	"j('mix')['body_length_429']['equal'] == j('mix')['by_model']['slow']['sent']"
holds "every 429 has a Retry-After in seconds, up to the average's time constant" \
	"j('mix')['retry_after_s']['missing'] == 0 and j('mix')['retry_after_s']['min'] >= 1 and
	 j('mix')['retry_after_s']['max'] <= 10"
holds "the server's application saw no refused request" \
	"mock['requests_complete_by_model']['slow'] == 2 and
	 mock['requests_complete'] == 10 + j('mix')['by_model']['fast']['sent']"

on "$C" curl -sS -m 5 -D "$T/head" -o "$T/refused.json" --json '{"model":"slow","messages":[]}' \
	"http://$S4:$PORT/v1/chat/completions"
check "the refusal's header names JSON" grep -qi '^content-type: application/json' "$T/head"
check "the refusal's header keeps the connection" bash -c "! grep -qi '^connection:' '$T/head'"
check "the refusal has retry-after-ms" grep -qiE '^retry-after-ms: +[0-9]+' "$T/head"
holds "the error has OpenAI's format and names the model" \
	"j('refused')['error']['code'] == 'rate_limit_exceeded' and
	 j('refused')['error']['type'] == 'requests' and j('refused')['error']['param'] is None and
	 'slow' in j('refused')['error']['message'] and
	 'Please try again after ' in j('refused')['error']['message']"

mock_set slow prefill-ms=20
holds --within 12 "the shut model opens again by itself" \
	"m['slow']['open'] and 'model slow opened' in log('daemon')"
load --connect "$S4:$PORT" --model slow --requests 1 >"$T/again.json"
holds "the model then serves" "j('again')['completed'] == 1"

load --connect "$S4:$PORT" --model late --requests 2 --concurrency 2 >"$T/late.json"
holds --within 3 "another model is shut" "not m['late']['open'] and j('late')['completed'] == 2"
load --connect "$S4:$PORT" --model late --requests 1 >"$T/refused.json"
sentence() {
	ctl explain "$C4" --json |
		"$PY" -c 'import json,sys; print(json.load(sys.stdin)["sentence"])'
}
explained() { # the first command of the sentence admits
	local said

	said=$(sentence)
	[[ $said == *": \`sluicectl set ttft="*"ms --model late\`."* ]] || return 1
	eval "ctl $(cut -d '`' -f 2 <<<"$said" | cut -d ' ' -f 2-)" >/dev/null
	[[ $(sentence) == Admitted:* ]]
}
check "explain is for the model used last; its command raises the target, and that opens it" \
	explained
load --connect "$S4:$PORT" --model late --requests 1 >"$T/raised.json"
holds "the model then serves" "j('raised')['completed'] == 1"
holds "refusals are counted once each, under their reason" \
	"r['rejected'] == s['rejected_by_reason']['ttft'] ==
	 j('mix')['by_model']['slow']['sent'] + 2"


ctl block "$C4" --model fast >/dev/null
start refused "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model fast --rate 10 --duration 60
holds --within 10 "status has what is refused now, a second" \
	"s['rates']['rejected_per_s_by_reason']['client-blocked'] ==
	 s['rates']['rejected_per_s'] > 0"
refused_now=': [0-9.]+ requests a second are refused \(client-blocked [0-9.]+\), [0-9.]+ admitted; '
said() { ctl status | head -n 1 | grep -Eq "$refused_now"; }
check "… and its first line says so" said
finish "$PID"
holds --within 10 "… and no longer when nothing is" "s['rates']['rejected_per_s'] == 0"
done_here
