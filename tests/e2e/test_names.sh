#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Names and addresses that clients invent are bounded: thousands of model names to a server that
# accepts any, and a hundred thousand addresses. No table grows without end. A name without an entry
# is judged all the same. No invented name costs another model anything (invariants 1, 3 and 8).
# Configured names find room in a full table: by a command, at a start that adopts it, at a reload.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

ANY=8080 SLOW=8081
begin_nginx "$S" "$ANY" <<CONF
access_log off;
keepalive_requests 100000;
server {
	listen $ANY;
	listen [::]:$ANY;
	default_type application/json;
	location / { return 200 '{"choices":[]}'; }
}
CONF
"${CC:-cc}" -O2 -Wall -Wextra -Werror "$HERE/crowd.c" -o "$T/crowd"
start slow "$S" "$PY" "$HERE/peers.py" serve "$S4" "$SLOW" --steps 4 --gap 0.2
await_line slow ready "$PID"
mock --model mine,prefill-ms=5,token-ms=1,tokens=4,slots=64
sluice --listen "$PORT" --listen "$ANY=any" --listen "$SLOW=slow" --policy ema-flag \
	--max-clients 65536 \
	--itl-threshold-ms 100 --time-constant-secs 3600
load --connect "$S4:$PORT" --model mine --requests 3 >"$T/mine.json"
await 3 "m['mine']['ttft_samples'] > 0"

# sluice learns no name that the server does not know.
known=$(value "s['maps']['model_ids']['entries']")
on "$C" "$PY" "$HERE/names.py" "$S4" "$PORT" 0 300 >"$T/unknown.json"
holds --within 3 "names with a 404 answer are judged, and none is learned" \
	"j('unknown') == {'404': 300} and r['admitted'] == 303 and
	 s['maps']['model_ids']['entries'] == $known and
	 len(m) == $known + ('other' in m)"

# An invented name of a slow server shuts itself alone.
peer "$C" exact "$S4" "$SLOW" --model made-up --stream --out "$T/out" >"$T/made-up.json" \
	2>"$T/begun"
holds --within 3 "an invented name that is slow shuts itself alone" \
	"not m['made-up']['open'] and m['made-up']['reason'] == 'itl' and m['mine']['open'] and
	 m['slow']['open']"

# A server that accepts any name.
on "$C" "$PY" "$HERE/names.py" "$S4" "$ANY" 1000 3000 >"$T/any.json"
holds --within 3 "a server that accepts any name answers 3000 invented ones" \
	"j('any') == {'200': 3000} and r['admitted'] == 3304"
holds --within 3 \
	"the table keeps 1022 of them; the rest are 'other' and counted" \
	"s['maps']['model_ids']['entries'] <= 1024 and len(m) <= 1024 and 'invented-1000' in m and
	 'invented-3999' not in m and 'other' in m and s['names_refused'] >= 3000 - 1022"
for _ in 1 2; do
	peer "$C" exact "$S4" "$SLOW" --model made-up-too-late --stream --out "$T/out" \
		>"$T/late.json" 2>"$T/begun"
done
holds --within 3 "a slow name without an entry shuts 'other', and no model" \
	"m['other']['itl_samples'] > 0 and m['other']['itl_ema_ms'] > 100 and
	 not m['other']['open'] and m['mine']['open'] and 'made-up-too-late' not in m"
load --connect "$S4:$PORT" --model mine --requests 3 >"$T/mine.json"
on "$C" "$PY" "$HERE/names.py" "$S4" "$ANY" 9000 1 >"$T/more.json"
holds "known models are served, and one more invented name is refused" \
	"j('mine')['completed'] == 3 and j('more') == {'429': 1}"
ctl set --model other itl=off >/dev/null
ctl set --model mine ttft=1ms tau=1h >/dev/null
await 2 "not m['mine']['open']"
load --connect "$S4:$PORT" --model mine --requests 3 >"$T/refused.json"
holds "a known model is shut by its own latency" "j('refused')['status'] == {'429': 3}"

# A hundred thousand clients.
on "$C" ip route add local 10.78.0.0/15 dev lo
on "$C" ip route add local fd77:1::/32 dev lo
on "$C" sysctl -qw net.ipv6.ip_nonlocal_bind=1
on "$S" ip route add 10.78.0.0/15 via "$C4"
on "$S" ip route add fd77:1::/32 via "$C6"
before=$(value "r['admitted']")
for part in 0 1; do
	start "crowd$part" "$C" "$T/crowd" $((part * 50000)) 50000 "$S4" 10.78.0.0 "$S6" fd77:1:: \
		"$ANY"
	CROWD[part]=$PID
done
wait "${CROWD[@]}" || true
mv "$T/crowd0.log" "$T/crowd0.json"
mv "$T/crowd1.log" "$T/crowd1.json"
holds "a hundred thousand clients with their own addresses are all answered" \
	"j('crowd0') == j('crowd1') == {'sent': 50000, 'answered': 50000}"
holds --within 3 "each of them is judged and counted once" "r['admitted'] == $before + 100000"
holds "the client tables are bounded, and none was full" \
	"0 < s['maps']['client_counts']['entries'] <= s['maps']['client_counts']['max'] == 65536 and
	 len(ctl('clients')['clients']) <= 1000 and k['counts-full'] == 0 and k['conns-full'] == 0"
holds --within 5 \
	"no state of idle clients and ended connections is kept" \
	"s['maps']['client_in_flight']['entries'] == 0 and s['maps']['conns']['entries'] < 20 and
	 s['global']['in_flight'] == 0"
ctl block 10.79.0.0/16 >/dev/null
on "$C" timeout 5 "$T/crowd" 200000 2 "$S4" 10.78.0.0 "$S6" fd77:1:: "$ANY" >"$T/blocked.json"
holds "a blocked one of them is refused as before" "j('blocked')['answered'] == 1"

# What an operator names gets an entry, although the table is full of invented names.
names() { bpftool -j map dump pinned "$PIN/model_ids" | "$PY" -c 'import json, sys
print(len({x["formatted"]["value"] for x in json.load(sys.stdin)}))'; }
full=$(names)
ctl set --model by-command ttft=9s >"$T/by-command"
check "a command names a model that has no entry, and says so" \
	grep -q 'ttft 9000 ms.*by-command had no entry' "$T/by-command"
holds "the model is there with its target" "m['by-command']['ttft_threshold_ms'] == 9000"
finish "$DAEMON" KILL
configure() { printf 'models:\n'; printf -- '- name: %s\n' "$@"; }
configure at-start mine >"$T/sluice.yaml"
sluice --config "$T/sluice.yaml" --listen "$PORT" --listen "$ANY=new-default" \
	--listen "$SLOW=slow" --policy ema-flag --ttft-threshold-ms 60000
holds "configured names find room at a start that adopts the full table" \
	"'at-start' in m and 'new-default' in m and 'mine' in m and 'slow' in m and len(m) > 1000"
configure at-start mine at-reload >"$T/sluice.yaml"
ctl reload >/dev/null
holds "and at a reload" "'at-reload' in m and 'at-start' in m and 'new-default' in m"
same "no id has two names" "$full" "$(names)"
on "$C" "$PY" "$HERE/names.py" "$S4" "$ANY" 9000 3 >"$T/again.json"
holds "names with and without an entry are served" "j('again') == {'200': 3}"

done_here
