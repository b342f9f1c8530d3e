#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Weights and client prefixes. A prefix's weight multiplies the common quotas; the file or a command
# sets it. sluice counts each client's refusals by reason. Two services have different client
# prefixes and quotas: a rule for an address acts on the client of that address at each service.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

WIDE=8010 # its clients are /24
LIMITS=127.0.0.1:9466
mock --listen "$WIDE" --model llama,prefill-ms=1,token-ms=0,tokens=1,slots=64

config() { # config WEIGHT
	cat >"$T/sluice.yaml" <<-EOF
		services:
		  - {listen: $PORT=llama, quota: requests=4/1h}
		  - {listen: $WIDE=llama, quota: requests=6/1h, client-prefix-v4: 24}
		client-prefixes:
		  - {prefix: 10.77.0.0/16, weight: 1}
		  - {prefix: $C4B, weight: $1}
		  - {prefix: "fd77:0:0:1::/64", weight: 0.5}
	EOF
}
start_sluice() { sluice --config "$T/sluice.yaml" --metrics "$LIMITS"; }
config 2
start_sluice

# served HOST PORT FROM N: sends N requests in sequence and prints how many were served
served() {
	local n=0 i host=$1

	[[ $host == *:* ]] && host="[$host]"
	for ((i = 0; i < $4; i++)); do
		[[ $(on "$C" curl -sS -m 5 -D "$T/head" -o "$T/answer.json" -w '%{http_code}' \
			--interface "$3" --json '{"model":"llama","max_tokens":1}' \
			"http://$host:$2/v1/chat/completions" 2>/dev/null) != 200 ]] ||
			n=$((n + 1))
	done
	echo "$n"
}

# save FILE COMMAND…: saves the command's --json in FILE.json
save() { ctl "${@:2}" --json >"$T/$1.json"; }

same "a weight of one gives the service's quota" 4 "$(served "$S4" "$PORT" "$C4" 7)"
same "a weight of two gives twice the quota" 8 "$(served "$S4" "$PORT" "$C4B" 12)"
same "the refusal states the weighted quota" '"requests";q=8;w=3600' \
	"$(tr -d '\r' <"$T/head" | sed -nE 's/^RateLimit-Policy: *(.*[^ ]) *$/\1/Ip')"
same "a weight of a half gives half the quota" 2 "$(served "$S6" "$PORT" "$C6" 3)"
save explain explain "$C4B" --service "$PORT"
holds "explain shows the weight and both quotas" \
	"[j('explain')['weight'], j('explain')['quota']['quota'],
	  j('explain')['quota']['weight_of'], j('explain')['quota']['requests']['remaining']] ==
	 [2, 'requests=8/1h', 'requests=4/1h', 0]"
on "$S" curl -sS -m 5 "http://$LIMITS/v1/limits?client=$C4B" >"$T/limits.json"
holds "/v1/limits shows the weight and the quota" \
	"[j('limits')['weight'], j('limits')['quota'], j('limits')['service']] ==
	[2, 'requests=8/1h', '*:$PORT']"
save clients clients
holds "clients shows refusals by reason and each client's quota" \
	"sorted([c['client'], c['rejected_by_reason']['request-quota'], c['quota']['quota']]
	        for c in j('clients')['clients']) ==
	 [['$C4', 3, 'requests=4/1h'], ['$C4B', 4, 'requests=8/1h'],
	  ['fd77:0:0:1::/64', 1, 'requests=2/1h']]"
check "the text of clients shows both, too" \
	bash -c "'$B/sluicectl' --control '$T/control.sock' clients |
	grep -E '^$C4B .* request-quota 4 .* weight 2$'"

# A manual weight overrides the file's; then it is cleared.
ctl quota set "$C4" weight=1.5 >/dev/null
same "a manual weight applies at once, as a new and full budget" 6 \
	"$(served "$S4" "$PORT" "$C4" 8)"
save before quota show
holds "quota show lists weights" \
	"{'client': '$C4', 'weight': 1.5, 'by': 'manual'} in j('before')['weights'] and
	 len(j('before')['weights']) == 4"
finish "$DAEMON"
start_sluice
save after quota show
holds "manual weights survive a restart" "j('before') == j('after')"
same "the spent budget survives a restart" 0 "$(served "$S4" "$PORT" "$C4" 1)"
config 3
ctl reload >/dev/null
same "a reload applies the file's new weight" 12 "$(served "$S4" "$PORT" "$C4B" 14)"
save explain explain "$C4" --service "$PORT"
holds "a reload keeps a manual weight" "j('explain')['weight'] == 1.5"
ctl quota clear "$C4" >/dev/null
save explain explain "$C4" --service "$PORT"
holds "after a clear, the longest prefix's weight applies again" \
	"[j('explain')['weight'], j('explain')['quota']['quota'],
	  j('explain')['quota']['weight_of']] == [1, 'requests=4/1h', None]"
config heavy
check "a wrong weight is refused in one line, and nothing changes" bash -c \
	"! '$B/sluicectl' --control '$T/control.sock' reload 2>'$T/no' &&
	 grep -q '\"heavy\" is not a weight' '$T/no' &&
	 [[ \$(wc -l <'$T/no') == 1 ]]"
bpftool -j map dump pinned "$PIN/weighted_quotas" >"$T/weighted.json"
holds "the kernel has two weights of two quotas, and no old ones" \
	"sorted(e['formatted']['key']['weight'] for e in j('weighted')) == [128, 128, 768, 768]"

# Two services: a /24 is one client at the second one.
save all explain 10.77.0.99
holds "explain shows a new client its client and quota at each service" \
	"[[x['service'], x['client'], x['quota']['quota'], x['client_prefix_v4']]
	  for x in j('all')['services']] ==
	 [['*:$PORT', '10.77.0.99', 'requests=4/1h', 32],
	  ['*:$WIDE', '10.77.0.0/24', 'requests=6/1h', 24]]"
save used explain "$C4"
holds "explain shows a known client its last service" \
	"[j('used').get('services'), j('used')['service']] == [None, '*:$PORT']"
same "requests of an address are charged to its /24 there" "3 3" \
	"$(served "$S4" "$WIDE" "$C4" 3) $(served "$S4" "$WIDE" "$C4" 5)"
save clients clients
holds "clients shows the quota of each client's last service" \
	"[c['quota']['quota'] for c in j('clients')['clients'] if c['client'] == '10.77.0.0/24'] ==
	 ['requests=6/1h']"
check "services shows the client prefixes" \
	bash -c "'$B/sluicectl' --control '$T/control.sock' services |
	grep -q '^\*:$WIDE: clients are address (IPv4 /24, IPv6 /64)$'"
ctl quota set "$C4" requests=1000/1h >/dev/null
same "a quota of an address applies to its /24 there" "5 5" \
	"$(served "$S4" "$WIDE" "$C4" 5) $(served "$S4" "$PORT" "$C4" 5)"
ctl block "$C4" >"$T/output"
check "block names the client of the address there" \
	grep -q "at \*:$WIDE its client is 10.77.0.0/24" "$T/output"
same "block acts on the address here and on its /24 there" "0 0 0" \
	"$(served "$S4" "$PORT" "$C4" 1) $(served "$S4" "$WIDE" "$C4" 1) $(
		served "$S4" "$WIDE" "$C4B" 1)"
ctl clear "$C4" >/dev/null
same "clear ends both" "1 1" \
	"$(served "$S4" "$PORT" "$C4" 1) $(served "$S4" "$WIDE" "$C4B" 1)"

done_here
