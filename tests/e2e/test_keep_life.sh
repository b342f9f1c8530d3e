#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Kept connections go on to the byte while sluice comes and goes (invariants 4 and 10): through the
# end of the lease, a kill, SIGTERM, new daemons, shadow mode, a reload without the service.
# `detach` resets those that do not end in time, at both ends, and leaves nothing.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/rounds.sh
. "$HERE/rounds.sh"

config() { # config PORT: the service of the configuration
	cat >"$T/keep.yaml" <<END
services:
  - listen: $1
    keep: on
models:
  - name: closed
END
}
begin() { sluice --config "$T/keep.yaml" --lease-ms 1000; }

block() {
	ctl block "$C4" --model closed >/dev/null
	ctl block fd77:0:0:1::/64 --model closed >/dev/null
}

CLIENTS=8
clients() { rounds "$S4,$S6" "$CLIENTS"; }

# No byte was wrong and no connection ended, but by a 429 that said so; kept connections were there.
WHOLE="set(j('round')) <= {'open-200', 'closed-200', 'closed-429', 'closed', 'kept'} and
	j('round')['open-200'] == 2 * $CLIENTS and j('round').get('kept', 0) > 0"
goes_on() { # goes_on SENTENCE EXPRESSION
	round
	holds "$1" "$WHOLE and ($2)"
}
refused="j('round').get('closed-429', 0) == 2 * $CLIENTS"
passed="j('round').get('closed-200', 0) == 2 * $CLIENTS"

config "$PORT"
start echo "$S" "$PY" "$HERE/echo.py" "0.0.0.0,::" "$PORT"
await_line echo ready "$PID"
begin
block

clients
round
goes_on "refused requests keep their connections" "$refused"

kill -STOP "$DAEMON"
for ((i = 0; i < 1000; i++)); do
	round
	! expression 0 "$passed" >/dev/null || break
done
goes_on "they go on when the lease has ended" "$passed"
kill -CONT "$DAEMON"
for ((i = 0; i < 1000; i++)); do
	round
	! expression 0 "$refused" >/dev/null || break
done
goes_on "and when it is renewed" "$refused"

finish "$DAEMON" KILL
goes_on "they go on after a kill" "True"
begin
goes_on "and with a new daemon" "$refused"

finish "$DAEMON"
goes_on "they go on after SIGTERM" "True"
begin
goes_on "and with the next daemon" "$refused"

ctl set mode=shadow >/dev/null
goes_on "they go on in shadow mode" "$passed"
ctl set mode=enforce >/dev/null
goes_on "and in mode enforce" "$refused"

config $((PORT + 1))
ctl reload >/dev/null
goes_on "they go on when a reload removes the service" "$passed"
config "$PORT"
ctl reload >/dev/null
goes_on "and when the service is back" "True"

finish "$LIFE"

nothing_is_left() {
	[[ ! -e $PIN ]] || { echo "$PIN is left" && return 1; }
	! on "$S" bpftool net show | grep -E '^(s0|lo)\(' || return 1
	expression 3 "sockets('s') == [] and sockets('c') == []"
}

# left SENTENCE KILL|- COMMAND…: the connections left are reset at both ends, and nothing stays.
# KILL ends the daemon first.
left() {
	local sentence=$1 signal=$2

	shift 2
	clients
	round
	goes_on "$CLIENTS connections are kept again" "$refused"
	[[ $signal == - ]] || finish "$DAEMON" "$signal"
	check "$sentence" "$@"
	holds --within 3 "… the server has no connection any more" "sockets('s') == []"
	round
	holds "… each client has got a reset" \
		"j('round') == {'kept': $CLIENTS, 'ConnectionResetError': $CLIENTS}"
	finish "$LIFE"
	check "… and nothing is left in the kernel" nothing_is_left
}

left "detach resets the connections that have not ended in time" - \
	"$B/sluicectl" --control "$T/control.sock" detach --kept-timeout 1s
wait "$DAEMON" || true
begin
block
left "without a daemon, detach resets those whose entries are pinned" KILL \
	on "$S" "$B/sluicectl" --control "$T/control.sock" detach --pin-dir "$PIN"
done_here
