#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 9: secrets stay out. Requests with a known key and prompt are admitted, refused,
# cut in the middle and left unfinished. Then the case searches every map, the daemon's log, its
# metrics and sluicectl's output for both.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

KEY=sk-secretsecret0123456789
PROMPT=recognisableprompt
mock --model m,prefill-ms=5,token-ms=1,tokens=2000
start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" \
	--metrics 127.0.0.1:9464 --interface s0 --interface lo --listen "$PORT"
DAEMON=$PID
await_line daemon ready "$DAEMON"

# send HEADER…: sends requests with the prompt before and after the model.
send() {
	local header headers=()

	for header; do headers+=(-H "$header"); done
	for body \
		in \
		"{\"model\":\"m\",\"max_tokens\":2,\"messages\":[{\"role\":\"user\",\"content\":\"$PROMPT\"}]}" \
		"{\"prompt\":\"$PROMPT\",\"x\":{\"model\":\"$PROMPT\"},\"max_tokens\":2,\"model\":\"m\"}"
	do
		on "$C" curl -sS -m 10 -o /dev/null "${headers[@]}" \
			-H 'Content-Type: application/json' --data "$body" \
			"http://$S4:$PORT/v1/chat/completions"
	done
}

# Sends the key in several headers and forms.
all_forms() {
	send "Authorization: Bearer $KEY"
	send "x-api-key: $KEY" "api-key: $KEY"
	send "authorization: bearer   $KEY" "Expect: 100-continue"
}

# One request stops within the key of its head, another one within its body. The scanners'
# state is then in a map.
half() { # half NAME TEXT: a connection that stays open
	"$PY" -c 'import sys; sys.stdout.write(sys.argv[1].replace("\\r\\n", "\r\n"))' "$2" \
		>"$T/half-$1"
	mkfifo "$T/hold-$1"
	on "$C" "$PY" -c 'import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.sendall(open(sys.argv[3], "rb").read())
print("sent", flush=True)
open(sys.argv[4]).read()' "$S4" "$PORT" "$T/half-$1" "$T/hold-$1" >"$T/held-$1.log" 2>&1 9>&- &
	PIDS+=($!)
	await_line "held-$1" sent
}

all_forms
half key "POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer ${KEY:0:20}"
half body \
	"POST /v1/chat/completions HTTP/1.1\\r\\nAuthorization: Bearer $KEY\\r\\nContent-Length: 9999\\r\\n\\r\\n{\"prompt\":\"$PROMPT"
start stream "$C" "$PY" "$HERE/peers.py" exact "$S4" "$PORT" --model m --stream --max-tokens 2000 \
	--out "$T/stream"
await_line stream begun
shut m
all_forms
await 3 "r['rejected'] >= 6"

# Everything that sluice lets a reader see.
{
	for map in "$PIN"/*; do
		bpftool map dump pinned "$map" 2>/dev/null
		bpftool -j map dump pinned "$map" 2>/dev/null
	done
} >"$T/maps" || true
for what in status models clients services; do
	ctl "$what"
	ctl "$what" --json
done >"$T/readings"
timeout 2 "$B/sluicectl" --control "$T/control.sock" watch --json >"$T/watched" 9>&- &
WATCH=$!
sleep 0.2 # watch prints nothing before its first event, so no line can be awaited
all_forms
wait "$WATCH" || true
on "$S" curl -sS http://127.0.0.1:9464/metrics http://127.0.0.1:9464/ >"$T/scraped"

# A dump prints strings as characters, bytes as hexadecimal or decimal numbers. The search tries
# each form.
cat >"$T/search.py" <<'PY'
import json, re, sys
name, *secrets = sys.argv[1:]
text = open(name, encoding="utf-8", errors="replace").read()
numbers = re.compile(r"(?:0x)?([0-9a-f]{2})\b", re.I)
hexes = "".join(numbers.findall(re.sub(r'["\s,]+', " ", text))).lower()
decimals = " " + re.sub(r"[\s,]+", " ", text) + " "
for secret in secrets:
    for part in (secret, secret[4:16]):
        raw = part.encode()
        if part in text or raw.hex() in hexes or " ".join(map(str, raw)) in decimals:
            print(f"{part} is in {name}")
            sys.exit(1)
PY
search() { "$PY" "$T/search.py" "$1" "$KEY" "$PROMPT"; }

printf '{"x": [%s]}' \
	"$(printf '%s' "$KEY" | od -An -tu1 | tr -s ' \n' ',' | sed 's/^,//; s/,$//')" >"$T/planted"
check "the search finds a planted key" \
	bash -c "! $PY '$T/search.py' '$T/planted' $KEY x$PROMPT"
check "the dump of the maps is not empty" test "$(wc -c <"$T/maps")" -gt 20000
check "no map has a key or a prompt" search "$T/maps"
check "the daemon's log has none" search "$T/daemon.log"
check "sluicectl's output has none" search "$T/readings"
check "the events of watch have none" search "$T/watched"
check "watch printed refusals" grep -q refusal "$T/watched"
check "the metrics and the page have none" search "$T/scraped"
check "the daemon's arguments have none" \
	bash -c \
	"tr '\\0' '\\n' </proc/$DAEMON/cmdline >'$T/args'; $PY '$T/search.py' '$T/args' $KEY $PROMPT"
check "only root can read the secret of the keyed hash" \
	bash -c "[[ ! -e $PIN/hash_key || \$(stat -c %a $PIN/hash_key) == 600 ]]"

done_here
