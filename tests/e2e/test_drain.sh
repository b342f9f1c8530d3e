#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A drain takes a server out of service: streams in flight end whole, what is new gets a 503 that
# closes its connection. It outlives a restart of the daemon, and ends when it said or by `resume`.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model m,prefill-ms=5,token-ms=50,tokens=100
sluice --listen "$PORT"

lacks() { ! grep -i "^$1:" "$2"; }
status_now() { status_from "$C4" m; }

# A stream of five seconds.
on "$C" curl -sS -m 60 --json '{"model":"m","stream":true}' \
	"http://$S4:$PORT/v1/chat/completions" >"$T/stream" &
STREAM=$!
await 5 "s['global']['in_flight'] == 1"
ctl drain --json >"$T/drain.json"
holds "the drain says what is in flight" "j('drain')['in_flight'] == 1 and j('drain')['status'] == 503"
same "what is new gets a 503" 503 "$(status_now)"
on "$C" curl -sS -m 10 -i --json '{"model":"m"}' "http://$S4:$PORT/v1/messages" >"$T/refused"
check "… of its API, that closes, and says when to come back" "$PY" - "$T/refused" <<'END'
import json, sys
head, body = open(sys.argv[1], newline="").read().split("\r\n\r\n", 1)
assert head.startswith("HTTP/1.1 503 Service Unavailable\r\n"), head
assert "\r\nConnection: close" in head and "\r\nRetry-After: 10" in head, head
assert "x-should-retry" not in head, head
assert json.loads(body)["error"]["type"] == "overloaded_error", body
END
check "status says so first" grep -qE "^enforce, policy [a-z-]+: DRAINING: 1 in flight, what is new gets a 503, until" \
	<(ctl status)
wait "$STREAM"
check "the stream that was in flight ends whole" grep -qx 'data: \[DONE\]' "$T/stream"
holds --within 3 "then nothing is in flight" "s['global']['in_flight'] == 0"

finish "$DAEMON"
sluice --listen "$PORT"
same "a new daemon goes on with the drain" 503 "$(status_now)"
ctl resume >/dev/null
same "after resume requests are admitted" 200 "$(status_now)"
holds "… and status shows no drain" "s['drain'] is None"

ctl drain --for 2s --status 429 >/dev/null
same "a drain by a 429" 429 "$(status_now)"
holds --within 10 "… ends when it said" "s['drain'] is None"
same "… and requests are admitted again" 200 "$(status_now)"
ctl set mode=shadow >/dev/null
ctl drain --for 2h --status 429 >/dev/null
on "$C" curl -sS -m 10 -i --json '{"model":"m"}' "http://$S4:$PORT/v1/x" >"$T/shadow"
check "a drain acts in mode shadow, too" grep -q "^HTTP/1.1 429" "$T/shadow"
check "… by a 429 that closes" grep -qi "^connection: close" "$T/shadow"
check "… and does not forbid another attempt" lacks x-should-retry "$T/shadow"
done_here
