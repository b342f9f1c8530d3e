#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The daemon's sockets: connections that idle, drip or do not read lock nobody out, and neither does
# a daemon without descriptors.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" \
	--metrics 127.0.0.1:9464 --interface s0 --interface lo --listen "$PORT"
DAEMON=$PID
await_line daemon ready "$DAEMON"
chmod 711 "$T"

cat >"$T/hold" <<'PY'
"""control|http COUNT TEXT: opens connections, one after the other, and sends TEXT on each. After a
line, it waits for an answer, of which it reads nothing. Prints `held`. Then it sends a space on
each, again and again, until its standard input ends. Prints `lost` for each that was closed."""
import select, socket, sys
kind, count, text = sys.argv[1:]
open_ = []
for _ in range(int(count)):
    if kind == "http":
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        s.connect(("127.0.0.1", 9464))
    else:
        s = socket.socket(socket.AF_UNIX)
        s.connect(sys.argv[0].replace("hold", "control.sock"))
    s.send(text.encode())
    if text.endswith("\n"):
        select.select([s], [], [])
    open_.append(s)
print("held", flush=True)
while not select.select([sys.stdin], [], [], 0.02)[0]:
    for s in list(open_):
        try:
            s.send(b" ")
        except OSError:
            open_.remove(s)
            print("lost", flush=True)
PY

# hold NAME USER KIND COUNT TEXT: that script as that user, in root's group.
hold() {
	local name=$1

	: >"$T/$name.log"
	mkfifo "$T/$name.in"
	# shellcheck disable=SC2094 # it only waits for the FIFO's end
	nsenter --net="$NS/$S" setpriv --reuid "$2" --regid 0 --clear-groups \
		"$PY" "$T/hold" "${@:3}" <"$T/$name.in" >"$T/$name.log" 2>&1 9>&- &
	PIDS+=("$!")
	exec {fd}>"$T/$name.in"
	await_line "$name" held
}
release() { exec {fd}>&-; }

hold watch 0 control 1 '{"cmd":"watch"}
'
watching=$fd
hold others 65534 control 64 '{"cmd":'
await_line others lost
check "others lose slots to each other, and root does not" \
	bash -c "! grep lost '$T/watch.log'"
check "root's command is answered although others hold every slot but root's" ctl status
same "so is another user's: the connection that has been idle longest gives way" 0 \
	"$(setpriv --reuid 65534 --regid 0 --clear-groups "$PY" - "$T/control.sock" <<'PY'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'{"cmd":"models"}\n')
print(0 if json.loads(s.makefile().readline())["ok"] else 1)
PY
)"
release
exec {watching}>&-
hold root 0 control 64 '{"cmd":"status"}
'
check "a command is answered although root's own connections do not read" ctl status
release
hold drip 0 http 40 'GET /metrics HTTP/1.1
Host: localhost
X:'
same "a scrape is served although 40 connections drip" 200 \
	"$(on "$S" curl -sS -m 100 -o "$T/metrics" -w '%{http_code}' http://127.0.0.1:9464/metrics)"
check "it is whole" grep -q sluice_build_info "$T/metrics"
release
on "$S" sysctl -qw net.ipv4.tcp_wmem='4096 4096 4096' # no answer fits into a socket
hold idle 0 http 40 'GET /metrics HTTP/1.1
Host: localhost

'
same "a scrape is served although 40 connections do not read" 200 \
	"$(on "$S" curl -sS -m 100 -o /dev/null -w '%{http_code}' http://127.0.0.1:9464/metrics)"
release

# Without descriptors: connections wait, the daemon says so once, and all goes on with descriptors.
prlimit --pid "$DAEMON" --nofile=3:4096
on "$S" curl -sS -m 200 -o "$T/late" http://127.0.0.1:9464/metrics &
late=$!
ctl status --json >"$T/status.json" &
status=$!
await_line daemon "sluiced: no descriptors for new connections"
prlimit --pid "$DAEMON" --nofile=1024:4096
code=0
wait "$late" || code=$?
same "a scrape that waited for a descriptor is served" 0 "$code"
code=0
wait "$status" || code=$?
same "and so is a command" 0 "$code"
same "the daemon has said it once" 1 "$(grep -c 'no descriptors' "$T/daemon.log")"
holds "and counted it" "s['accept_failures'] > 0"
ctl detach >/dev/null
wait "$DAEMON" || true

done_here
