#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Quotas, as clients and operators see them. A client that waits for Retry-After is served. A
# response states the rest of the budget. explain predicts the next verdict. A client in debt waits
# until time has paid it. A restart forgets nothing.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model llama,prefill-ms=5,token-ms=2,tokens=4,slots=64 \
	--model talk,prefill-ms=5,token-ms=1,tokens=40,slots=64

cat >"$T/sluice.yaml" <<EOF
services:
  - listen: $PORT=llama
    quota: requests=4/10s
    feedback: date
models:
  - name: talk
    quota: tokens=40/20s token-burst=20
quotas:
  - {client: $C4B, requests: 2/1h}
  - {client: fd77:0:0:2::/64, requests: 1/1h}
EOF
LIMITS=127.0.0.1:9464
start_sluice() { sluice --config "$T/sluice.yaml" --metrics "$LIMITS"; }
start_sluice

# send HOST [CURL-OPTION…]: sends one request and prints its status. The head is in $T/head, the
# body in $T/answer.json.
send() {
	local host=$1

	shift
	[[ $host == *:* ]] && host="[$host]"
	on "$C" curl -sS -m 20 -D "$T/head" -o "$T/answer.json" -w '%{http_code}' "$@" \
		--json \
		"{\"model\":\"${MODEL:-llama}\",\"stream\":${STREAM:-false},\"messages\":[]}" \
		"http://$host:$PORT/v1/chat/completions"
}

# field NAME: prints a field of the last answer's head, without trailing spaces.
field() { tr -d '\r' <"$T/head" | sed -nE "s/^$1: *(.*[^ ]) *\$/\\1/Ip"; }

# pause MILLISECONDS
pause() { sleep "$(($1 / 1000)).$(printf '%03d' $(($1 % 1000)))"; }

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Twenty requests in sequence at 4 per 10 s. Each refused one waits for retry-after-ms, after
# one retry that is too early.
twenty() {
	local sent status ms refused=0 served=0 early=0 longest=0

	while ((served < 20)); do
		sent=$(now_ms)
		status=$(send "$S4")
		if [[ $status == 429 ]]; then
			refused=$((refused + 1))
			ms=$(field retry-after-ms)
			if ((ms > longest)); then longest=$ms; fi
			(($(field retry-after) == (ms + 999) / 1000)) ||
				echo "Retry-After is not that of $ms ms"
			if ((ms > 300)); then
				pause $((ms - 200))
				status=$(send "$S4")
				if [[ $status == 200 ]]; then
					# A busy machine may have made the pause longer. Only a
					# service within ms is too early.
					if (($(now_ms) - sent < ms)); then early=$((early + 1)); fi
					served=$((served + 1))
					continue
				fi
				ms=$(field retry-after-ms)
			fi
			pause "$ms"
			status=$(send "$S4")
			[[ $status == 200 ]] || echo "$status after a wait of $ms ms"
		fi
		[[ $status == 200 ]] || break
		served=$((served + 1))
	done
	printf 'served %d refused %d early %d longest %d ms %d\n' "$served" "$refused" "$early" \
		"$longest" $(($(now_ms) - began))
}
began=$(now_ms)
OUT=$(twenty)
same "a client that waits for retry-after-ms is served, every time" "served 20 refused" \
	"${OUT:0:17}"
check "no request is served before" grep -q ' early 0 ' <<<"$OUT"
check "twenty requests at 4 per 10 s take 16 intervals of 2.5 s" \
	test "${OUT##* }" -ge 39900
check "no Retry-After is longer than one interval" \
	test "$(sed -E 's/.* longest ([0-9]+) .*/\1/' <<<"$OUT")" -le 2500
send "$S4" >/dev/null
send "$S4" >/dev/null
same "RateLimit-Policy states the quota" '"requests";q=4;w=10' "$(field ratelimit-policy)"
same "RateLimit states the reset" "\"requests\";r=0;t=$(field retry-after)" "$(field ratelimit)"
holds "the error names the quota" \
	"'used up its quota of 4 requests per 10 s. Please try again after' in j('answer')['error']['message']"

# The rest of the budget, over both protocols, with checksums by the kernel and by the device.
for tx in on off; do
	for ns in "$S s0" "$C c0"; do
		# shellcheck disable=SC2086
		set -- $ns
		on "$1" ethtool -K "$2" tx "$tx" >/dev/null
	done
	for host in "$S4" "$S6"; do
		client=$C4
		[[ $host == *:* ]] && client=$C6
		ctl quota set "$client" requests=1000/1h burst=$((100 + RANDOM % 900)) >/dev/null
		left=()
		for _ in 1 2 3 4 5; do
			send "$host" >/dev/null
			left+=("$(field ratelimit | sed -E 's/.*r=([0-9]+);.*/\1/')")
		done
		same "each answer over $host states one request less (tx checksums $tx)" \
			"$(seq -s ' ' "${left[0]}" -1 $((left[0] - 4)))" "${left[*]}"
		ctl quota clear "$client" >/dev/null
	done
done
for ns in "$S s0" "$C c0"; do
	# shellcheck disable=SC2086
	set -- $ns
	on "$1" ethtool -K "$2" tx on >/dev/null
done

# explain and the verdict after it.
ctl quota set "$C4" requests=2/60s >/dev/null
agreed=0
for _ in 1 2 3 4 5 6; do
	predicted=$(ctl explain "$C4" --json |
		"$PY" -c 'import json,sys; print(json.load(sys.stdin)["verdict"])')
	status=$(send "$S4")
	[[ "$predicted $status" == "admitted 200" || "$predicted $status" == "rejected 429" ]] &&
		agreed=$((agreed + 1))
done
same "explain predicts the next verdict" 6 "$agreed"
ctl explain "$C4" --json >"$T/explain.json"
on "$S" curl -sS -m 5 "http://$LIMITS/v1/limits?client=$C4&model=llama" >"$T/limits.json"
on "$S" curl -sS -m 5 "http://$LIMITS/v1/limits" >"$T/list.json"
holds "explain shows the quota and its numbers" \
	"j('explain')['reason'] == 'request-quota' and j('explain')['quota']['from'] == 'client' and
	 j('explain')['quota']['by'] == 'manual' and
	 j('explain')['quota']['requests']['remaining'] == 0 and
	 0 < j('explain')['retry_after_ms'] <= 30000"
holds "/v1/limits shows the same" \
	"j('limits')['quota'] == 'requests=2/60s' and j('limits')['requests']['remaining'] == 0 and
	 not j('limits')['admitted'] and
	 0 <= j('explain')['retry_after_ms'] - j('limits')['retry_after_ms'] < 15000"
holds "/v1/limits lists the known clients" \
	"'$C4' in [c['client'] for c in j('list')['limits']] and j('list')['clients_known'] >= 2"
same "/v1/limits answers 400 to a malformed client" 400 \
	"$(on "$S" curl -sS -m 5 -o /dev/null -w \
	'%{http_code}' "http://$LIMITS/v1/limits?client=nobody")"

# Each refusal's sentence has the command that ends it.
sentence() {
	ctl explain "$C4" --json |
		"$PY" -c 'import json,sys; print(json.load(sys.stdin)["sentence"])'
}
remedied() { # remedied PART N: explain says PART; what its Nth command admits is admitted
	local said

	said=$(sentence)
	[[ $said == "Refused ("*"$1"* ]] || return 1
	eval "ctl $(cut -d '`' -f $((2 * $2)) <<<"$said" | cut -d ' ' -f 2-)" >/dev/null
	[[ $(sentence) == Admitted:* && $(send "$S4") == 200 ]]
}
check "the command for a spent quota gives the client more" remedied "request quota of 2 in 60 s" 1
while [[ $(send "$S4") == 200 ]]; do :; done
ctl quota set "$C4" requests=2/60s >/dev/null
check "where the client has spent that quota before, another command admits it" \
	remedied "request quota of 2 in 60 s" 2
ctl clear "$C4" >/dev/null
ctl quota set "$C4" requests=100/60s >/dev/null
ctl block "$C4" --for 10m >/dev/null
check "the command for a blocked client lifts the block" remedied "this client is blocked until " 1
ctl drain >/dev/null
check "the command for a drain ends it" remedied "an operator drains this server without end" 1
ctl allow "$C4" --for 10m >/dev/null
ctl explain "$C4" | head -n 1 >"$T/allowed.txt"
check "the first line says that a rule allows the client" \
	grep -q '^Admitted: a rule allows this client until ' "$T/allowed.txt"
ctl clear "$C4" >/dev/null

# The official client waits by itself.
ctl quota set "$C4" requests=1/10s >/dev/null
send "$S4" >/dev/null
refused=$(value "r['rejected']")
on "$C" node "$HERE/openai.mjs" "$B/npm" "http://$S4:$PORT/v1" llama 2 plain >"$T/openai.json"
holds "the openai client waits for Retry-After and succeeds by its own retry" \
	"j('openai')['error'] is None and len(j('openai')['text']) > 3 and
	 r['rejected'] == $refused + 1"
ctl quota clear "$C4" >/dev/null

# Tokens: one stream takes 40 of a budget of 20.
sent=$(now_ms)
same "a client with tokens left is served" 200 "$(MODEL=talk STREAM=true send "$S4")"
ctl explain "$C4" --model talk --json >"$T/debt.json"
holds "its stream puts it into debt, which falls by two tokens a second" \
	"j('debt')['reason'] == 'token-quota' and
	 19 - 2 * ($(now_ms) - $sent) / 1000 <= j('debt')['quota']['tokens']['debt'] <= 21"
same "a client in debt is refused" 429 "$(MODEL=talk STREAM=true send "$S4")"
same "the refusal states its token quota" '"tokens";q=40;w=20' "$(field ratelimit-policy)"
same "another model serves it" 200 "$(send "$S4")"
MODEL="talk" send "$S4" >/dev/null
pause "$(field retry-after-ms)"
same "without debt, it is served again" 200 "$(MODEL=talk STREAM=true send "$S4")"

# Manual quotas, the file's quotas, and a restart.
ctl quota set "$C4B" requests=3/1h >/dev/null
ctl quota set 10.77.0.0/16 requests=500/1h burst=50 >/dev/null
for _ in 1 2 3; do send "$S4" --interface "$C4B" >/dev/null; done
ctl quota show --json >"$T/before.json"
ctl explain "$C4B" --json >"$T/spent.json"
holds "a manual quota overrides the file's" \
	"j('spent')['quota']['by'] == 'manual' and j('spent')['quota']['requests']['remaining'] == 0"
finish "$DAEMON"
start_sluice
ctl quota show --json >"$T/after.json"
holds "quotas survive a restart, manual ones and ids included" "j('before') == j('after')"
same "the spent budget survives it, too" 429 "$(send "$S4" --interface "$C4B")"
ctl quota clear "$C4B" >/dev/null
ctl explain "$C4B" --json >"$T/files.json"
holds "the file's quota applies again after a clear" \
	"j('files')['quota']['by'] == 'file' and j('files')['quota']['quota'] == 'requests=2/1h'"
check "quota clear cannot remove the file's quota" \
	bash -c "! '$B/sluicectl' --control '$T/control.sock' quota clear $C4B 2>'$T/no'"
check "the error names the reason" grep -q "the configuration's" "$T/no"
sed -i 's,requests: 2/1h,requests: 7/1h,' "$T/sluice.yaml"
ctl reload >/dev/null
ctl quota show --json >"$T/reloaded.json"
holds "a reload applies the file's new quota and keeps manual ones" \
	"sorted(q['quota'] for q in j('reloaded')['quotas'] if q['kind'] in ('client', 'prefix')) ==
	 ['requests=1/1h', 'requests=500/1h burst=50', 'requests=7/1h']"

# Output names a key by its hash.
printf 'sk-very-secret\n' | ctl quota set key=- requests=5/1m >"$T/key"
check "quota set reads a secret and shows its hash" \
	grep -qE '^set key:[0-9a-f]{16} to requests=5/60s$' "$T/key"
check "no map has the secret" \
	bash -c "! for m in $PIN/*; do bpftool map dump pinned \$m 2>/dev/null; done | grep -q very"

done_here
