#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Two daemons that judge the same requests without knowing each other: a pod's sidecar, and the
# daemon of its node, at the host's end of the pod's veth or attached in its namespace. At the
# host's end both say so; in the namespace one does at least. They stop when one of them ends.
MORE_NAMESPACES="sl-sidecar-a sl-sidecar-b"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/pods.sh
. "$HERE/pods.sh"

# One namespace in 256 has the mark of another.
apart() { (($(stat -Lc %i "$NS/$S") % 256 != $(stat -Lc %i "$NS/$1") % 256)); }

METRICS=127.0.0.1:9464
SAYS='another sluice, in the server.s pod or on its host, judges and counts the same requests'
node
pod a 10
pod b 11
mock_in a
mock_in b
apart "$A" || read -r A A4 B_POD B4 <<<"$B_POD $B4 $A $A4"

sidecar() {
	start sidecar "$A" "$B/sluiced" --pin-dir none --control "$T/sidecar.sock" --metrics off \
		--listen "$PORT" --trouble-after-secs 1
	SIDECAR=$PID
	await_line sidecar ready "$SIDECAR"
}
on_node() {
	sluice_on_node --metrics "$METRICS" --trouble-after-secs 1 "$@"
}
says() { # SOCKET SERVICE…: its status says so of these services, and of no other
	local socket=$1 said

	shift
	said=$("$B/sluicectl" --control "$T/$socket" status |
		sed -n "s/^note: \\([^ ]*\\): $SAYS.*/\\1/p" | xargs)
	[[ $said == "$*" ]] || { echo "it says so of '$said'"; return 1; }
}
metric() {
	on "$S" curl -fsS "http://$METRICS/metrics" |
		sed -n "s/^sluice_trouble{kind=\"judged-twice\",service=\"$1\"} //p"
}
seen_by() { # SOCKET COUNT: so many requests of both pods have ended there
	"$B/sluicectl" --control "$T/$1" status --json | "$PY" -c '
import json, sys
sys.exit(json.load(sys.stdin)["requests"]["admitted"] < int(sys.argv[1]))' "$2"
}

for pod in "$A4" "$B4"; do
	start "load$pod" "$C" "$B/loadgen" --connect "$pod:$PORT" --model open --concurrency 2 \
		--duration 3000
done

# The node's daemon sees each request at three hooks.
on_node --listen "$A4:$PORT" --listen "$B4:$PORT"
check "a daemon alone sees requests at several interfaces" \
	eventually 10 seen_by control.sock 500
check "… does not take itself for another" says control.sock
sidecar
check "a sidecar says that its node judges its requests, too" \
	eventually 10 says sidecar.sock "*:$PORT"
check "the node's daemon says so of that pod, and of no other" \
	eventually 10 says control.sock "$A4:$PORT"
same "… and in its metrics" "1 0" "$(metric "$A4:$PORT") $(metric "$B4:$PORT")"
holds "… and in its log, once" "log('daemon').count('judges and counts the same requests') == 1"
finish "$SIDECAR"
check "without the sidecar the node's daemon stops saying so" eventually 10 says control.sock
holds "… and that is in the log" \
	"log('daemon').count('no longer: $A4:$PORT: another sluice') == 1"
sidecar
check "another sidecar says so, too" eventually 10 says sidecar.sock "*:$PORT"
sluice_off
check "without the node's daemon it stops" eventually 10 says sidecar.sock

on_node --netns "$NS/$A" --listen "$PORT"
either() { says control.sock "*:$PORT" || says sidecar.sock "*:$PORT"; }
check "of two daemons in one namespace, one says so at least" eventually 10 either
finish "$SIDECAR"
check "… and stops when the other has ended" eventually 10 says control.sock
done_here
