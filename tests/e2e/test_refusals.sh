#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 4: a refusal that closes its connection is complete TCP. Real clients, over IPv4 and
# IPv6, read the whole 429 and a clean end. They never see a reset and never hang: not with bodies
# of 1 MiB, with "Expect: 100-continue", or with the first answer lost once or three times; with
# TCP timestamps, SACK and checksum offload on and off. The server never sees a whole request, and
# no socket is left. witness.bpf.c counts the segments on the wire.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model slow,prefill-ms=20,token-ms=2,tokens=4,slots=64
echo "services: [{listen: $PORT, keep: off}]" >"$T/sluice.yaml"
sluice --config "$T/sluice.yaml"
witness
head -c 1048576 /dev/zero | tr '\0' x >"$T/prompt"
{
	printf '{"model":"slow","messages":[{"role":"user","content":"'
	cat "$T/prompt"
	printf '"}]}'
} >"$T/big.json"
shut slow
before=$(value "mock['requests_complete']")

# curl_refused HOST OPTION…
curl_refused() {
	local host=$1 out

	shift
	[[ $host == *:* ]] && host="[$host]"
	out=$(on "$C" curl -sS -m 20 -o "$T/curl.json" -w \
		'%{http_code} %{size_download} %header{content-length}' \
		-H 'Content-Type: application/json' "$@" "http://$host:$PORT/v1/chat/completions" \
		2>&1) || {
		echo "curl: $out"
		return 1
	}
	[[ $out =~ ^429\ ([0-9]+)\ ([0-9]+)$ && ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]] ||
		{ echo "$out"; return 1; }
	"$PY" -m json.tool "$T/curl.json" >/dev/null
}

python_refused() {
	peer "$C" http "$@" --model slow >"$T/python.json"
	expression 0 \
		"j('python')['status'] == 429 and j('python')['whole'] and
		 j('python')['end'] == 'eof' and
		j('python')['rest'] == 0 and j('python')['error'] is None and
		j('python')['headers']['retry-after'].strip().isdigit()"
}

# client KIND HOST: sends one request of that kind, which is refused.
client() {
	case $1 in
	curl) curl_refused "$2" --data '{"model":"slow"}' ;;
	curl-big) curl_refused "$2" -H 'Expect:' --data-binary @"$T/big.json" ;;
	curl-expect) curl_refused "$2" -H 'Expect: 100-continue' --data-binary @"$T/big.json" ;;
	python) python_refused "$2" "$PORT" ;;
	python-big) python_refused "$2" "$PORT" --body-bytes 1048576 ;;
	esac
}

# Checks the state after a refusal. A client with unsent bytes may send a reset itself; that
# is not counted here.
nothing_else() {
	expression 3 "w['rst_in'] == 0 and mock['requests_complete'] == $before and
		mock['connections_open'] == 0 and sockets('s') == []"
}

refusal() {
	client "$1" "$2" && nothing_else
}

# settings TIMESTAMPS SACK OFFLOAD
settings() {
	local ns

	for ns in "$S" "$C"; do
		on "$ns" sysctl -qw "net.ipv4.tcp_timestamps=$1" "net.ipv4.tcp_sack=$2"
	done
	on "$S" ethtool -K s0 tx "$3" >/dev/null
	on "$C" ethtool -K c0 tx "$3" >/dev/null
}

declare -A of=([curl]="curl" [curl-big]="curl with a body of 1 MiB"
	[curl-expect]="curl with a body of 1 MiB after 100-continue" [python]="python"
	[python-big]="python with a body of 1 MiB")

for how in "1 1 on" "0 1 on" "1 0 off" "0 0 off"; do
	# shellcheck disable=SC2086
	settings $how
	read -r timestamps sack offload <<<"$how"
	for host in "$S4" "$S6"; do
		[[ $host == *:* ]] && ip=IPv6 || ip=IPv4
		with="over $ip (timestamps $timestamps, SACK $sack, offload $offload)"
		for kind in curl curl-big curl-expect python python-big; do
			check "${of[$kind]} reads a whole 429 and a clean end $with" refusal \
				"$kind" "$host"
		done
	done
done

# The answer is lost: the client retransmits, and sluice answers again.
for how in "1 1 on" "0 0 off"; do
	# shellcheck disable=SC2086
	settings $how
	for host in "$S4" "$S6"; do
		[[ $host == *:* ]] && ip=IPv6 || ip=IPv4
		for times in 1 3; do
			for kind in curl python-big; do
				lost=$(value "w['lost']")
				lose "$times"
				check "${of[$kind]} reads a whole 429 with the first answer lost $times× over $ip ($how)" \
					refusal "$kind" "$host"
				holds "the wire lost $times answers" "w['lost'] == $lost + $times"
				lose 0
			done
		done
	done
done
settings 1 1 on

# The official client, which must see a rate limit and not a broken connection.
openai() { # openai HOST RETRIES HOW
	local host=$1

	[[ $host == *:* ]] && host="[$host]"
	on "$C" node "$HERE/openai.mjs" "$B/npm" "http://$host:$PORT/v1" slow "$2" "$3" \
		>"$T/openai.json"
}

for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && ip=IPv6 || ip=IPv4
	for how in plain stream; do
		openai "$host" 0 "$how"
		holds "the openai client throws RateLimitError for a $how request over $ip" \
			"j('openai')['error'] == 'RateLimitError' and
			 j('openai')['status'] == 429 and
			 j('openai')['code'] == 'rate_limit_exceeded' and
			 j('openai')['type'] == 'requests' and
			 1 <= int(j('openai')['headers']['retry-after']) <= 60 and
			 int(j('openai')['headers']['retry-after-ms']) > 0"
		check "nothing of that request reached the server" nothing_else
	done
done

# The model opens while the client waits for Retry-After: its average falls from 20 ms to 9 ms in
# some seconds.
for how in plain stream; do
	ctl set policy=ema-flag >/dev/null
	ctl set --model slow ttft=9ms tau=5s >/dev/null
	# the retries last until it is open
	load --connect "$S4:$PORT" --model slow --requests 1 --retry 3 >"$T/warm.json"
	await 2 "not m['slow']['open']"
	refused=$(value "r['rejected']")
	openai "$S4" 2 "$how"
	holds "a $how request of the openai client succeeds by its own retry once the model is open" \
		"j('openai')['error'] is None and len(j('openai')['text']) > 3 and
		 r['rejected'] > $refused"
done

holds "no reply was lost, and the tombstones were never full" \
	"k['replies-lost'] == 0 and k['tombstones-full'] == 0"
ctl block "$C4" --model slow >/dev/null
load --connect "$S4:$PORT" --model slow --requests 1 >"$T/last.json"
await 3 "s['maps']['tombstones']['entries'] > 0" # the daemon reads the map's fill once a second
holds --within 15 "no tombstone is left at the end" "s['maps']['tombstones']['entries'] == 0"

done_here
