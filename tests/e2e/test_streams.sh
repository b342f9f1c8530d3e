#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 2: sluice does not touch an admitted stream. A client reads the same fixed stream
# without sluice and with it. In mid-stream the model is shut, the client blocked, the operator's
# limit lowered. The bytes are always the same.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

for host in "$S4" "$S6"; do
	start "server-$host" "$S" "$PY" "$HERE/peers.py" serve "$host" "$PORT" --steps 60 \
		--gap 0.05 --hold "$T/hold"
	await_line "server-$host" ready "$PID"
done
peer "$C" exact "$S4" "$PORT" --model m --stream --out "$T/plain" >"$T/plain.json"
sluice --listen "$PORT" --policy ema-flag --ttft-threshold-ms 500 --time-constant-secs 3600
peer "$C" exact "$S4" "$PORT" --model m --stream --out "$T/watched" >"$T/watched.json"
check "a stream has the same bytes with and without sluice" cmp "$T/plain" "$T/watched"
holds "the stream has more than 10000 bytes" "j('plain')['bytes'] == j('watched')['bytes'] > 10000"
await 3 "m['m']['itl_samples'] >= 59"

# begin HOST NAME starts a stream, which waits in its middle for whole SENTENCE NAME: that compares
# all its bytes at the end.
begin() {
	touch "$T/hold"
	start "$2" "$C" "$PY" "$HERE/peers.py" exact "$1" "$PORT" --model m --stream --out "$T/$2" \
		--timeout 300
	STREAM=$PID
	await_line "$2" begun "$STREAM"
	await 3 "m['m']['in_flight'] == 1"
}

whole() {
	rm "$T/hold"
	wait "$STREAM" || true
	check "$1" cmp "$T/plain" "$T/$2"
}

refused() { # refused HOST SENTENCE: sends a new request in mid-stream
	peer "$C" http "$1" "$PORT" --model m >"$T/new.json"
	holds "$2" "j('new')['status'] == 429 and j('new')['end'] in ('eof', 'kept')"
}

for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	begin "$host" shut
	ctl set --model m itl=1ms >/dev/null
	await 2 "not m['m']['open']"
	refused "$host" "a new request is refused while the stream goes on, $over"
	holds "the stream is still in flight then, $over" "m['m']['in_flight'] == 1"
	whole "a stream is whole and unchanged when its model shuts, $over" shut
	ctl set --model m itl=none >/dev/null
	await 2 "m['m']['open']"

	begin "$host" limited
	ctl set --model m max-in-flight=1 >/dev/null
	refused "$host" "a request over the limit is refused meanwhile, $over"
	whole "a stream that fills the limit is whole, $over" limited
	ctl set --model m max-in-flight=none >/dev/null
done

begin "$S4" blocked
ctl block "$C4" >/dev/null
peer "$C" connect "$S4" "$PORT" --bind "$C4" >"$T/refused.json"
holds "a new connection of the blocked client is refused" "j('refused')['error'] == 'ECONNREFUSED'"
whole "a stream is whole when its client is blocked" blocked
ctl clear "$C4" >/dev/null

begin "$S4" detached
ctl detach >/dev/null
whole "a stream is whole when sluice is detached" detached

done_here
