#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Without a BPF file system: a start says which mount it lacks. With `pin-dir: none` the daemon
# holds everything, says so, and whatever ends it, nothing is left and all requests pass.
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
ctl detach >/dev/null
check "detach ends it, too" eventually 20 ended
check "a detach without a daemon finds nothing" "$B/sluicectl" --control "$T/control.sock" \
	detach --pin-dir none
done_here
