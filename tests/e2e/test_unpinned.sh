#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Without a BPF file system: a start says which mount it lacks. With `pin-dir: none` the daemon
# holds everything, says so, and whatever ends it, nothing is left and all requests pass. A second
# daemon for the same address and port is refused, with pins or without.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model m,prefill-ms=1,token-ms=1,tokens=2
# bare OPTION…: the daemon where no BPF file system is mounted, nor may be.
bare() {
	# shellcheck disable=SC2016 # the inner shell expands it
	start daemon "$S" unshare --mount sh -c 'mount --make-rprivate / && umount -a -t bpf &&
		exec setpriv --inh-caps=-all --bounding-set=-all,+net_admin,+bpf,+perfmon -- "$@"' \
		sh "$B/sluiced" --listen "$PORT=m" --interface s0 --interface lo \
		--control "$T/control.sock" --metrics off "$@"
	DAEMON=$PID
}
begin() {
	bare --pin-dir none
	await_line daemon ready "$DAEMON"
	ctl block "$C4" --model m >/dev/null
}
refused() { [[ $(status_from "$C4" m) == 429 ]]; }
served() { [[ $(status_from "$C4" m) == 200 ]]; }
attached() { on "$S" "$PY" "$HERE/foreign.py" list tcx-in s0; }
ended() { ! kill -0 "$DAEMON" 2>/dev/null; }

bare --pin-dir /sys/fs/bpf/sl-nowhere
status=0
wait "$DAEMON" || status=$?
same "without a BPF file system a start fails" 1 "$status"
# shellcheck disable=SC2016 # of the message
check "… names the mount, and the way without" grep -q \
	'no BPF file system is mounted on /sys/fs/bpf, .* or set `pin-dir: none`' "$T/daemon.log"

begin
check "with pin-dir none it refuses" refused
holds "it says at the start what that means" \
	"'when this daemon ends, also by a crash, sluice is gone' in log('daemon')"
holds "… and in status" "s['pinned'] is False and s['troubles'] == []"
check "… in words" bash -c "$B/sluicectl --control $T/control.sock status |
	grep -q '^note: nothing is pinned'"
holds "refusals close their connections" \
	"v[$PORT]['keep'] == 'off' and k['refusals-closed'] == 1 and k['refusals-kept'] == 0"
ctl reload >/dev/null
check "it refuses after a reload" refused
holds "… and closes" "k['refusals-closed'] == 2"
check "its maps are found by name" grep -q '"name":"model_flags"' <(bpftool -j map show)
# A look at the pins comes each second.
holds --within 3 "nothing is missed" "s['uptime_ms'] > 2500 and s['troubles'] == []"

finish "$DAEMON" KILL
check "when it is killed, all requests pass" served
same "… and nothing is attached" "" "$(attached)"

begin
check "another start refuses" refused
kill -TERM "$DAEMON"
check "SIGTERM ends it" eventually 20 ended
holds "… and it does not say that anything stays" \
	"'nothing is left in the kernel' in log('daemon') and 'stay' not in log('daemon')"
check "… so requests pass" served
same "… and nothing is attached, either" "" "$(attached)"

# A reload does not change where the running daemon's pins are.
echo 'pin-dir: none' >"$T/other.yaml"
bare --config "$T/other.yaml"
await_line daemon ready "$DAEMON"
echo 'pin-dir: /sys/fs/bpf/sl-nowhere' >"$T/other.yaml"
ctl reload >/dev/null
holds "after a reload with another pin-dir it is as before" \
	"s['pinned'] is False and v[$PORT]['keep'] == 'off'"
finish "$DAEMON"

begin
decided() { grep -q ^ready "$T/second.log" || ! kill -0 "$PID" 2>/dev/null; }
# beside OPTION…: starts a second daemon, and prints its exit status, or `ready` and ends it.
beside() {
	local status=0

	start second "$S" "$B/sluiced" --interface s0 --interface lo --control "$T/second.sock" \
		--metrics off "$@"
	eventually 30 decided
	if grep -q ^ready "$T/second.log"; then
		finish "$PID"
		echo ready
	else
		wait "$PID" || status=$?
		echo "$status"
	fi
}
same "a second daemon without pins for the same port is refused" 1 \
	"$(beside --pin-dir none --listen "$PORT=m")"
ANOTHER="another sluiced (process $DAEMON) judges requests to"
holds "… with a line that names the first" \
	"'$ANOTHER *:$PORT: one daemon for each address and port' in log('second')"
same "one with pins is refused" 1 "$(beside --pin-dir "$PIN" --listen "$PORT=m")"
check "… and leaves none" test ! -e "$PIN"
same "one for an address that the first has among all is refused" 1 \
	"$(beside --pin-dir none --listen "$S4:$PORT=m")"
before=$(value "r['rejected']")
check "the first refuses" refused
holds "… and counts once" "r['rejected'] == $before + 1"
same "one for another port starts" ready "$(beside --pin-dir none --listen "$((PORT + 1))=m")"

echo "listen: [$((PORT + 1))]" >"$T/second.yaml"
start second "$S" "$B/sluiced" --config "$T/second.yaml" --interface s0 --pin-dir none \
	--control "$T/second.sock" --metrics off
SECOND=$PID
await_line second ready "$SECOND"
echo "listen: [$((PORT + 1)), $PORT]" >"$T/second.yaml"
status=0
"$B/sluicectl" --control "$T/second.sock" reload >"$T/reload.txt" 2>&1 || status=$?
same "a reload to the same port is refused" 1 "$status"
check "… with the same line" grep -qF "$ANOTHER *:$PORT" "$T/reload.txt"
ctl detach >/dev/null
check "detach ends it, too" eventually 20 ended
check "a detach without a daemon finds nothing" "$B/sluicectl" --control "$T/control.sock" \
	detach --pin-dir none
check "then the reload is taken" "$B/sluicectl" --control "$T/second.sock" reload
same "a third one is refused" 1 "$(beside --pin-dir none --listen "$PORT=m")"
finish "$SECOND"

sluice --listen "$S4:$PORT=m"
same "one for all addresses is refused beside one for an address, with pins" 1 \
	"$(beside --pin-dir none --listen "$PORT=m")"
ANOTHER="another sluiced (process $DAEMON) judges requests to"
holds "… with a line that names that" "'$ANOTHER $S4:$PORT' in log('second')"
ctl detach >/dev/null
check "it ends" eventually 20 ended

# A process without rights takes the name.
start squatter "$S" setpriv --reuid 65534 --clear-groups "$PY" -c "import signal, socket
s = socket.socket(socket.AF_UNIX)
s.bind('\\0sluiced *:$PORT')
s.listen()
print('listens', flush=True)
signal.pause()"
await_line squatter listens "$PID"
same "a process of another user keeps no daemon from starting" ready \
	"$(beside --pin-dir none --listen "$PORT=m")"
done_here
