#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The daemon as a service. --check needs no privileges, and finds what a start finds. A wrong
# configuration has an exit status of its own, after which systemd does not restart the daemon. The
# loop reports to the watchdog. A running daemon has two capabilities. A group may use the socket.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

chmod 711 "$T"
cp "$B/sluiced" "$B/sluicectl" "$T/" # nobody may not be able to read the checkout
nobody() {
	timeout 100 setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all \
		--bounding-set=-all "$@"
}
# says STATUS TEXT COMMAND…: it ends with that status, and prints TEXT alone.
says() {
	local want=$1 text=$2 status=0 output

	shift 2
	output=$("$@" 2>&1 </dev/null 9>&-) || status=$?
	[[ $status == "$want" && $output == "$text" ]] ||
		{ echo "exit status $status, not $want, and: $output"; return 1; }
	[[ ! -e $PIN && ! -e $T/control.sock ]] || { echo "it left a pin or a socket"; return 1; }
}
at=(--pin-dir "$PIN" --control "$T/control.sock" --metrics off)

# ---- --check ----

printf 'interfaces: [nosuch0]\nlisten: [8000]\n' >"$T/good.yaml"
check "--check finds nothing in a good file, and needs no privileges" \
	says 0 "" nobody "$T/sluiced" --check "$T/good.yaml" "${at[@]}"
check "--check reads the other options, too" \
	says 2 'sluiced: --listen: "8000" is given twice' \
	nobody "$T/sluiced" --check "$T/good.yaml" "${at[@]}" --listen 8000 --listen 8000
check "--check reads the environment, too" \
	says 2 'sluiced: SLUICE_MODE: "dream" is not one of enforce, shadow' \
	nobody env SLUICE_MODE=dream "$T/sluiced" --check "$T/good.yaml" "${at[@]}"
printf 'interfaces: [nosuch0]\nlisten: [8000]\nmode: dream\n' >"$T/wrong.yaml"
{
	printf 'interfaces: [nosuch0]\nlisten: [8000]\nquotas:\n'
	for ((i = 1; i <= 4096; i++)); do
		printf -- '- {client: 10.1.%d.%d, requests: %d/60s}\n' \
			$((i / 256)) $((i % 256)) "$i"
	done
} >"$T/many.yaml"
for row in "wrong|$T/wrong.yaml: mode: \"dream\" is not one of enforce, shadow" \
	"many|there is no room for another quota (4095 are held)" \
	"none|$T/none.yaml: cannot be opened: No such file or directory"; do
	file=$T/${row%%|*}.yaml
	check "--check says what is wrong with ${row%%|*}.yaml" \
		says 2 "sluiced: ${row#*|}" nobody "$T/sluiced" --check "$file" "${at[@]}"
	check "a start says the same" \
		says 2 "sluiced: ${row#*|}" on "$S" timeout 100 "$T/sluiced" --config "$file" \
		"${at[@]}"
done

# ---- exit statuses ----

check "a start that may succeed later has another status than a wrong configuration" \
	says 1 "sluiced: lo has no native XDP (Operation not supported); use --xdp auto" \
	on "$S" timeout 100 "$T/sluiced" --config "$T/good.yaml" "${at[@]}" --interface lo \
	--xdp native
same "systemd does not restart the daemon after a wrong configuration" 2 \
	"$(sed -n 's/^RestartPreventExitStatus=//p' "$ROOT/scripts/sluiced.service")"

# ---- notifications ----

# It is systemd: prints a line for each notification.
on "$S" "$PY" -u - "$T/notify" >>"$T/notes" <<'PY' 9>&- &
import socket, sys

s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    print(s.recv(64).decode())
PY
PIDS+=($!)
# noted TEXT N: waits for N notifications of that text.
noted() {
	until (($(grep -cx "$1" "$T/notes") >= $2)); do
		((SECONDS < deadline)) || { echo "not $2 of $1: $(<"$T/notes")"; return 1; }
		sleep 0.02
	done
}
until [[ -S $T/notify ]]; do sleep 0.02; done
deadline=$((SECONDS + 300))
export NOTIFY_SOCKET=$T/notify
WATCHDOG_USEC=400000 sluice --listen "$PORT"
check "the first notification is that it is ready" \
	bash -c "[[ \$(head -n 1 '$T/notes') == READY=1 ]]"
check "the loop reports to the watchdog, again and again" noted WATCHDOG=1 4

# ---- privileges ----

# Prints user, CapPrm, CapEff and NoNewPrivs of the daemon.
privileges() {
	awk '/^(Uid|CapPrm|CapEff|NoNewPrivs):/ { printf "%s ", $2 }' "/proc/$DAEMON/status"
}
kept="0000008000001000 0000008000001000 1 " # CAP_BPF, CAP_NET_ADMIN
same "a daemon that root has started keeps two capabilities" "0 $kept" "$(privileges)"
ctl reload >/dev/null
finish "$DAEMON"
check "it notifies systemd that it stops" noted STOPPING=1 1
: >"$T/notes"
WATCHDOG_USEC=400000 WATCHDOG_PID=1 sluice --listen "$PORT"
same "the next daemon keeps two capabilities" "0 $kept" "$(privileges)"
ctl detach >/dev/null
wait "$DAEMON" || true
same "a watchdog that is another process's hears nothing" READY=1 "$(cat "$T/notes")"
unset NOTIFY_SOCKET

# Nobody, with the capabilities that the unit has.
three=-all,+bpf,+net_admin,+perfmon
mkdir "$PIN" "$T/nobody"
chown 65534:65534 "$PIN" "$T/nobody"
start daemon "$S" setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps="$three" \
	--ambient-caps="$three" --bounding-set="$three" "$T/sluiced" --pin-dir "$PIN/nobody" \
	--control "$T/nobody/control.sock" --metrics off --interface s0 --listen "$PORT"
DAEMON=$PID
await_line daemon ready "$DAEMON"
same "a user with ambient capabilities can run it, and it keeps two" "65534 $kept" \
	"$(privileges)"
check "it answers its user" setpriv --reuid 65534 --regid 65534 --clear-groups \
	"$T/sluicectl" --control "$T/nobody/control.sock" detach
status=0
wait "$DAEMON" || status=$?
same "it detaches" 0 "$status"
check "it leaves nothing" rmdir "$PIN"

# ---- the control socket's group ----

gid=$(getent group daemon | cut -d: -f3)
for group in daemon "$gid"; do
	sluice --listen "$PORT" --control-group "$group"
	same "the socket is of the group $group, and of mode 660" "daemon 660" \
		"$(stat -c '%G %a' "$T/control.sock")"
	check "a member of the group may use it" setpriv --reuid 65534 --regid "$gid" \
		--clear-groups "$T/sluicectl" --control "$T/control.sock" status
	check "another user may not" bash -c "! setpriv --reuid 65534 --regid 65534 \
		--clear-groups '$T/sluicectl' --control '$T/control.sock' status"
	ctl detach >/dev/null
	wait "$DAEMON" || true
done
check "a group that is not the daemon's to give is an error, and leaves no socket" \
	says 1 "sluiced: cannot give the control socket $T/nobody/control.sock to the group $gid: Operation not permitted" \
	on "$S" timeout 100 setpriv --reuid 65534 --regid 65534 --clear-groups \
	--inh-caps="$three" \
	--ambient-caps="$three" --bounding-set="$three" "$T/sluiced" --pin-dir "$PIN" \
	--control "$T/nobody/control.sock" --control-group daemon --metrics off \
	--interface s0 --listen "$PORT"

done_here
