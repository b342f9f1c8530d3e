#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Client identity. Each API key has its own budget at one address, and one budget at two addresses.
# A proxy's word on a client address counts only if the proxy is trusted. Invariant 9: no map, log
# or page holds a key, nor does the daemon's memory.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

KEY_A=sk-Quetzalcoatl-7f3a9d1c5b2e
KEY_B=sk-Huitzilopochtli-0a1b2c3d4e
PROXIED=8010
FRONTED=8011

mock --listen "$PROXIED" --listen "$FRONTED" --model m,prefill-ms=2,token-ms=1,tokens=2

cat >"$T/sluice.yaml" <<END
interfaces: [s0, lo]
services:
  - listen: $PORT
    identity: [authorization, x-api-key, address]
    quota: "requests=2/600s"
  - listen: $PROXIED
    identity: [x-forwarded-for, address]
    trusted-proxies: [$C4/32, 10.77.9.9]
    quota: "requests=2/600s"
  - listen: $FRONTED
    proxy-protocol: on
    trusted-proxies: [$C4]
    quota: "requests=2/600s"
END
start daemon "$S" "$B/sluiced" --config "$T/sluice.yaml" --pin-dir "$PIN" \
	--control "$T/control.sock" --metrics 127.0.0.1:9465
DAEMON=$PID
await_line daemon ready "$DAEMON"

# send HOST PORT FROM [CURL OPTION…]: sends one request and prints its status
send() {
	on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}' --interface "$3" "${@:4}" \
		--json '{"model":"m","max_tokens":2}' "http://$1:$2/v1/chat/completions"
}

# send_many N …: prints N statuses, in sequence
send_many() {
	local n=$1 out=

	shift
	while ((n--)); do out+="$(send "$@") "; done
	printf '%s' "${out% }"
}

same "a key has its budget" "200 200 429" \
	"$(send_many 3 "$S4" "$PORT" "$C4" -H "Authorization: Bearer $KEY_A")"
same "another key at the same address has its own" "200 200 429" \
	"$(send_many 3 "$S4" "$PORT" "$C4" -H "x-api-key: $KEY_B")"
same "a key has one budget at all addresses" "429 429" \
	"$(send_many 1 "$S4" "$PORT" "$C4B" -H "Authorization: Bearer $KEY_A") $(
		send_many 1 "[$S6]" "$PORT" "$C6" -H "AUTHORIZATION: bearer $KEY_A")"
same "a key has one budget in all headers" "429" \
	"$(send "$S4" "$PORT" "$C4B" -H "X-API-KEY: $KEY_A")"
same "a client without a key is judged by its address" "200 200 429" \
	"$(send_many 3 "$S4" "$PORT" "$C4")"
same "a client with a malformed key is judged by its address" "429" \
	"$(send "$S4" "$PORT" "$C4" -H "Authorization: Basic dXNlcjpwYXNz")"

same "each client of a trusted proxy has a budget" "200 200 429 200 200 429" \
	"$(send_many 3 "$S4" "$PROXIED" "$C4" -H "X-Forwarded-For: 6.6.6.6, 203.0.113.1") $(
		send_many 3 "$S4" "$PROXIED" "$C4" -H "X-Forwarded-For: 203.0.113.1, 203.0.113.2")"
same "the client of a chain of trusted proxies is the address before the chain" "429" \
	"$(send "$S4" "$PROXIED" "$C4" -H "X-Forwarded-For: 6.6.6.6, 203.0.113.2, 10.77.9.9")"
same "an untrusted client's X-Forwarded-For does not count" "200 200 429" \
	"$(send "$S4" "$PROXIED" "$C4B" -H "X-Forwarded-For: 203.0.113.3") $(
		send "$S4" "$PROXIED" "$C4B" -H "X-Forwarded-For: 203.0.113.4") $(
		send "$S4" "$PROXIED" "$C4B" -H "X-Forwarded-For: 203.0.113.5")"
ctl block 203.0.113.9 >/dev/null
same "a client of a proxy can be blocked" "429" \
	"$(send "$S4" "$PROXIED" "$C4" -H "X-Forwarded-For: 203.0.113.9")"

# The mock knows no PROXY header and answers 400 or nothing. sluice has charged the request's client
# by then.
fronted() { # fronted FROM CLIENT
	on "$C" "$PY" -c '
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5, (sys.argv[3], 0))
body = b"{\"model\":\"m\"}"
s.sendall(b"PROXY TCP4 %s 10.77.0.1 4000 8011\r\n" % sys.argv[4].encode())
head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
s.sendall(head % len(body) + body)
s.settimeout(5)
data = b""
try:
    while b"\r\n\r\n" not in data:
        more = s.recv(4096)
        if not more: break
        data += more
except OSError:
    pass
print("refused" if data.startswith(b"HTTP/1.1 429") else "passed")' "$S4" "$FRONTED" "$1" "$2"
}
frontings() { # frontings N FROM CLIENT
	local n=$1 out=

	while ((n--)); do out+="$(fronted "$2" "$3") "; done
	printf '%s' "${out% }"
}
same "a PROXY header names the client of a connection" "passed passed refused passed" \
	"$(frontings 3 "$C4" 203.0.113.21) $(fronted "$C4" 203.0.113.22)"
same "an untrusted peer's PROXY header is framed and does not count" "passed passed refused" \
	"$(fronted "$C4B" 203.0.113.23) $(fronted "$C4B" 203.0.113.24) $(
		fronted "$C4B" 203.0.113.25)"

# ---- invariant 9 ----

ctl clients --json >"$T/clients.json"
check "keys are shown as their hash" grep -q '"key:[0-9a-f]\{16\}"' "$T/clients.json"

# Dumps everything that could hold a key: all maps of the daemon, pinned or not, in every
# form of a dump.
dump_maps() {
	local id

	find "/proc/$DAEMON/fdinfo" -type f -exec sed -n 's/^map_id:[[:space:]]*//p' {} + |
		sort -un >"$T/map_ids"
	bpftool prog show -j | "$PY" -c '
import json, sys
ids = {int(i) for i in open(sys.argv[1])}
for p in json.load(sys.stdin):
    if ids & set(p.get("map_ids", [])): ids |= set(p["map_ids"])
print(*sorted(ids))' "$T/map_ids" | tr ' ' '\n' >"$T/all_ids"
	while read -r id; do
		# rings cannot be dumped
		bpftool map dump id "$id" >>"$T/maps.text" 2>/dev/null || true
		bpftool -j map dump id "$id" >>"$T/maps.json" 2>/dev/null || true
	done <"$T/all_ids"
}
dump_maps
check "the dump has all maps, with the programs' scratch" "$PY" - "$T" <<'END'
import subprocess, sys, json
ids = {int(i) for i in open(sys.argv[1] + "/all_ids")}
show = ["bpftool", "-j", "map", "show", "id"]
names = {json.loads(subprocess.check_output([*show, str(i)]))["name"] for i in ids}
need = {"conns", "client_state", "client_counts", "request_scratch", "rules"}
assert need <= names, (need - names, names)
END
on "$S" curl -sS -m 5 http://127.0.0.1:9465/metrics >"$T/metrics.txt"
on "$S" curl -sS -m 5 http://127.0.0.1:9465/ >"$T/page.html"
for what in status models clients services; do
	ctl "$what" --json >>"$T/readings.json" 2>&1 || true
done
cat >"$T/search.py" <<'END'
"""Looks for any eight bytes in a row of the keys: as text, in hexadecimal, in JSON's forms."""
import json, re, sys

tmp, pid, keys = sys.argv[1], int(sys.argv[2]), [k.encode() for k in sys.argv[3:]]
parts = {k[i:i + 8] for k in keys for i in range(3, len(k) - 7)}
found = []

def look(name, data):
    found.extend((name, p) for p in parts if p in data)

for name in ("maps.text", "maps.json", "metrics.txt", "page.html", "readings.json", "clients.json",
             "daemon.log"):
    raw = open(f"{tmp}/{name}", "rb").read()
    assert raw, name
    look(name, raw)
    # bytes as a dump writes them: "73 6b 2d", "0x73","0x6b", 115,107
    flat = bytes(int(h, 16) for h in re.findall(rb"(?:0x|\b)([0-9a-fA-F]{2})\b", raw))
    look(name + " in hexadecimal", flat)
    # numbers in sequence, of any width: "name": [115,107,…] and words of eight bytes
    numbers = [int(n) for n in re.findall(rb"(?<![\w.])(\d{1,20})(?![\w.])", raw)]
    look(name + " in decimal", bytes(n for n in numbers if n < 256))
    look(name + " in words", b"".join(n.to_bytes(8, "little") for n in numbers if n < 1 << 64))
memory = 0
with open(f"/proc/{pid}/mem", "rb") as mem:
    for line in open(f"/proc/{pid}/maps"):
        span, rights = line.split()[:2]
        if not rights.startswith("r") or "[v" in line:
            continue
        begin, end = (int(x, 16) for x in span.split("-"))
        try:
            mem.seek(begin)
            data = mem.read(end - begin)
        except OSError:
            continue
        memory += len(data)
        look("memory " + line.strip(), data)
assert memory > 1 << 20, memory
assert not found, found
END
check "no eight bytes of a key are in any map, log, page or answer, or in the daemon's memory" \
	"$PY" "$T/search.py" "$T" "$DAEMON" "$KEY_A" "$KEY_B"
# The search works: it finds the name of a header in the rules.
not_found_by() { ! "$PY" "$T/search.py" "$@"; }
check "the search finds eight bytes that are there" not_found_by "$T" "$DAEMON" zzzx-api-key
same "only root can read the secret of the keyed hash" 600 "$(stat -c %a "$PIN/hash_key")"

done_here
