#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What is meant for each client, and what is one client: a prefix's weight times the quotas that are everybody's, from
# the file and by hand; refusals counted by reason for each client; and two services with other clients and quotas,
# where a word about an address is about its client at each.
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
again() { sluice --config "$T/sluice.yaml" --metrics "$LIMITS"; }
config 2
again

# served HOST PORT FROM N: how many of N requests are served, one behind the other
served() {
	local n=0 i host=$1

	[[ $host == *:* ]] && host="[$host]"
	for ((i = 0; i < $4; i++)); do
		[[ $(on "$C" curl -sS -m 5 -D "$T/head" -o "$T/answer.json" -w '%{http_code}' --interface "$3" \
			--json '{"model":"llama","max_tokens":1}' "http://$host:$2/v1/chat/completions" 2>/dev/null) != 200 ]] ||
			n=$((n + 1))
	done
	echo "$n"
}

say() { ctl "${@:2}" --json >"$T/$1.json"; } # say FILE COMMAND…

same "a weight of one has the service's quota" 4 "$(served "$S4" "$PORT" "$C4" 7)"
same "a weight of two has twice as much" 8 "$(served "$S4" "$PORT" "$C4B" 12)"
same "which the refusal says" '"requests";q=8;w=3600' \
	"$(tr -d '\r' <"$T/head" | sed -nE 's/^RateLimit-Policy: *(.*[^ ]) *$/\1/Ip')"
same "a weight of a half has half of it" 2 "$(served "$S6" "$PORT" "$C6" 3)"
say explain explain "$C4B" --service "$PORT"
holds "explain says the weight, the quota and what it is of" \
	"[j('explain')['weight'], j('explain')['quota']['quota'], j('explain')['quota']['weight_of'],
	  j('explain')['quota']['requests']['remaining']] == [2, 'requests=8/1h', 'requests=4/1h', 0]"
on "$S" curl -sS -m 5 "http://$LIMITS/v1/limits?client=$C4B" >"$T/limits.json"
holds "so does /v1/limits" "[j('limits')['weight'], j('limits')['quota'], j('limits')['service']] ==
	[2, 'requests=8/1h', '*:$PORT']"
say clients clients
holds "clients are counted by reason, each with its own quota" \
	"sorted([c['client'], c['rejected_by_reason']['request-quota'], c['quota']['quota']] for c in j('clients')['clients']) ==
	 [['$C4', 3, 'requests=4/1h'], ['$C4B', 4, 'requests=8/1h'], ['fd77:0:0:1::/64', 1, 'requests=2/1h']]"
check "which is said for people, too" bash -c "'$B/sluicectl' --control '$T/control.sock' clients |
	grep -E '^$C4B .* request-quota 4 .* weight 2$'"

# By hand, over the file; and back.
ctl quota set "$C4" weight=1.5 >/dev/null
same "a weight by hand holds at once: it is another budget, and full" 6 "$(served "$S4" "$PORT" "$C4" 8)"
say before quota show
holds "quota show lists weights" \
	"{'client': '$C4', 'weight': 1.5, 'by': 'hand'} in j('before')['weights'] and len(j('before')['weights']) == 4"
finish "$DAEMON"
again
say after quota show
holds "it survives a restart" "j('before') == j('after')"
same "and so does what was spent" 0 "$(served "$S4" "$PORT" "$C4" 1)"
config 3
ctl reload >/dev/null
same "a reload puts the file's new weight in force" 12 "$(served "$S4" "$PORT" "$C4B" 14)"
say explain explain "$C4" --service "$PORT"
holds "and leaves what is by hand" "j('explain')['weight'] == 1.5"
ctl quota clear "$C4" >/dev/null
say explain explain "$C4" --service "$PORT"
holds "cleared, the longest prefix's weight holds again" \
	"[j('explain')['weight'], j('explain')['quota']['quota'], j('explain')['quota']['weight_of']] == [1, 'requests=4/1h', None]"
config heavy
check "a wrong weight is refused in one line, and nothing changes" bash -c \
	"! '$B/sluicectl' --control '$T/control.sock' reload 2>'$T/no' && grep -q '\"heavy\" is not a weight' '$T/no' &&
	 [[ \$(wc -l <'$T/no') == 1 ]]"
bpftool -j map dump pinned "$PIN/weighted_quotas" >"$T/weighted.json"
holds "the kernel holds two weights of two quotas, and what is gone is gone" \
	"sorted(e['formatted']['key']['weight'] for e in j('weighted')) == [128, 128, 768, 768]"

# Two services: /24 is one client at the second.
say all explain "$C4"
holds "explain says for each service what holds there" \
	"[[x['service'], x['client'], x['quota']['quota'], x['client_prefix_v4']] for x in j('all')['services']] ==
	 [['*:$PORT', '$C4', 'requests=4/1h', 32], ['*:$WIDE', '10.77.0.0/24', 'requests=6/1h', 24]]"
same "what an address asks there, its /24 does" "3 3" "$(served "$S4" "$WIDE" "$C4" 3) $(served "$S4" "$WIDE" "$C4" 5)"
say clients clients
holds "clients show what is left at the service where each was last seen" \
	"[c['quota']['quota'] for c in j('clients')['clients'] if c['client'] == '10.77.0.0/24'] == ['requests=6/1h']"
check "services say who their clients are" bash -c "'$B/sluicectl' --control '$T/control.sock' services |
	grep -q '^\*:$WIDE: clients are address (IPv4 /24, IPv6 /64)$'"
ctl quota set "$C4" requests=1000/1h >/dev/null
same "a quota of an address is that of its /24 there" "5 5" \
	"$(served "$S4" "$WIDE" "$C4" 5) $(served "$S4" "$PORT" "$C4" 5)"
ctl block "$C4" >"$T/said"
check "a block of an address says whom it means there" grep -q "at \*:$WIDE its client is 10.77.0.0/24" "$T/said"
same "it blocks the address here, and its whole client there" "0 0 0" \
	"$(served "$S4" "$PORT" "$C4" 1) $(served "$S4" "$WIDE" "$C4" 1) $(served "$S4" "$WIDE" "$C4B" 1)"
ctl clear "$C4" >/dev/null
same "and is taken back as a whole" "1 1" "$(served "$S4" "$PORT" "$C4" 1) $(served "$S4" "$WIDE" "$C4B" 1)"

done_here
