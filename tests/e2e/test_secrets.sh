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

# An operator's key: after a command, neither the daemon nor sluicectl has it in memory.
cat >"$T/memory.py" <<'PY'
import sys
pid, *secrets = sys.argv[1:]
seen = 0
with open(f"/proc/{pid}/mem", "rb", 0) as mem:
    for line in open(f"/proc/{pid}/maps"):
        span, rights = line.split()[:2]
        begin, end = (int(x, 16) for x in span.split("-"))
        if rights[0] != "r" or "[v" in line:
            continue
        try:
            mem.seek(begin)
            data = mem.read(end - begin)
        except OSError:
            continue
        seen += len(data)
        for secret in secrets:
            if secret.encode() in data:
                print(f"{secret} is in {line}")
                sys.exit(1)
assert seen > 1 << 19, seen
PY
not_in_memory() { "$PY" "$T/memory.py" "$@"; }
in_memory() { ! not_in_memory "$@"; }

# The search is for each eight bytes: a copy may have lost its begin.
GIVEN=$(od -An -N 24 -tx1 /dev/urandom | tr -d ' \n')
PARTS=()
for ((i = 0; i < ${#GIVEN}; i += 8)); do PARTS+=("${GIVEN:i:8}"); done
for command in "quota set key=- requests=5/1m" "quota show key=-" "explain key=-" "block key=-" \
	"quota clear key=-"; do
	# shellcheck disable=SC2086 # words of a command
	check "$command is done" ctl $command <<<"$GIVEN"
done
check "the search of the memory finds what is there" in_memory "$DAEMON" "a line holds at most"
check "the daemon's memory has no part of an operator's key" not_in_memory "$DAEMON" "${PARTS[@]}"

# A listener that reads a line and does not answer.
cat >"$T/listener.py" <<'PY'
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
s.listen()
print("ready", flush=True)
kept = []
while True:
    kept.append(s.accept()[0])
    print(f"heard {len(kept[-1].recv(4096))}", flush=True)
PY
mkdir -m 777 "$T/open"
chmod 711 "$T"
chmod 644 "$T/listener.py"
printf '%s\n' "$GIVEN" >"$T/given"
chmod 644 "$T/given"

# given NAME SOCKET [COMMAND…]: starts sluicectl, by the command, with the key.
given() {
	start "$1" "$S" "${@:3}" bash -c \
		"exec '$B/sluicectl' --control '$2' quota set key=- requests=5/1m <'$T/given'"
	ASKS=$PID
}

start listener "$S" "$PY" "$T/listener.py" "$T/open/own"
await_line listener ready
given asks "$T/open/own"
await_line listener "heard [1-9]"
check "sluicectl's memory has no part of the key while it waits for the answer" \
	not_in_memory "$ASKS" "${PARTS[@]}"
finish "$ASKS"

start stranger "$S" setpriv --reuid 65534 --clear-groups "$PY" "$T/listener.py" "$T/open/theirs"
await_line stranger ready
given refused "$T/open/theirs"
status=0
wait "$ASKS" || status=$?
same "sluicectl gives no key to another user's program" 3 "$status"
check "it says why" grep -q 'runs neither as root nor as you: it gets no API key' "$T/refused.log"
await_line stranger "heard 0"

given theirs "$T/open/theirs" setpriv --reuid 65534 --clear-groups
await_line stranger "heard [1-9]"
say_ok "sluicectl gives a key to a program of its own user"
same "a user's own sluicectl leaves no core dump: its files in /proc are root's" 0 \
	"$(stat -c %u "/proc/$ASKS/mem")"

done_here
