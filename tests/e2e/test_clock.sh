#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 1, fail open: the lease is in the kernel's monotonic clock. In a time namespace whose
# clock differs, the daemon does not start.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# in_time OFFSET: starts the daemon in a time namespace of its own. One that starts ends after a
# minute.
in_time() {
	start daemon "$S" timeout 60 unshare --time --monotonic "$1" "$B/sluiced" --pin-dir "$PIN" \
		--control "$T/control.sock" --metrics off --interface=s0 --listen "$PORT"
}

for offset in 3600 -1; do
	in_time "$offset"
	status=0
	{ wait "$PID" || status=$?; } 2>/dev/null
	same "with a clock $offset s apart, the start fails for good" 2 "$status"
	check "with a clock $offset s apart, the error names the time namespace" \
		grep -q "^sluiced: sluiced runs in a time namespace whose monotonic clock differs from the host's by $offset.000 s" \
		"$T/daemon.log"
	check "with a clock $offset s apart, nothing is pinned" test ! -e "$PIN"
	same "with a clock $offset s apart, nothing is attached" "" \
		"$(on "$S" bpftool net show dev s0 | grep -i sluice || true)"
done

in_time 0
await_line daemon ready "$PID"
say_ok "in a time namespace without an offset, the daemon starts"

done_here
